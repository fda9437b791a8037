// SPDX-License-Identifier: Apache-2.0

//! Specifications of architectures.

use super::{
    NormPlacement, OtherRotation, QueryKeyNorm, RotaryBase, RotaryScaling, Rotation, SoftCaps,
};
use crate::{Hash, Ppm, versioned::versioned};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// The architecture of a model: a decoder of the GPT-2, GPT-Neo, GPT-J or LLaMA family, or of one
/// that is made of their parts.
///
/// The SCALE encoding is canonical and versioned, and [`ModelSpec::hash`] names the architecture.
/// [`ModelSpec::validate`] bounds every field. All other functions are total: they return some
/// value for hostile fields too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Number of entries in the vocabulary.
    pub vocabulary: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Number of blocks.
    pub layers: u16,
    /// Number of attention heads in a block.
    pub heads: u16,
    /// Number of key-value heads in a block; divides `heads`. Each serves `heads / key_value_heads`
    /// neighbouring query heads (Ainslie et al. 2023, "GQA").
    pub key_value_heads: u16,
    /// Size of a head; the heads need not add up to `width`.
    pub head_size: u16,
    /// Width of the hidden layer of each feed-forward layer.
    pub feed_forward: u32,
    /// Maximum length of a sequence in tokens.
    pub context: u32,
    /// Activation function of the feed-forward layers.
    pub activation: Activation,
    /// Set if feed-forward layers are `down(activation(gate(x)) · up(x))` in place of
    /// `down(activation(up(x)))` (Shazeer 2020, "GLU Variants Improve Transformer").
    pub gated: bool,
    /// Norm of each sublayer of a block and after the last block.
    pub norm: Norm,
    /// Position encoding.
    pub positions: PositionEncoding,
    /// Blocks with local attention.
    pub local: Option<LocalAttention>,
    /// Set if attention scores are divided by the square root of the head size.
    pub scaled: bool,
    /// Set if blocks are `x + attention(n(x)) + feed_forward(n(x))`, with one norm unless `norms`
    /// says otherwise, in place of one sublayer after the other.
    pub parallel: bool,
    /// Projections with a bias.
    pub biases: Biases,
    /// Set if the output projection shares the weights of the token embedding.
    pub tied: bool,
    /// Experts in place of each feed-forward layer.
    pub experts: Option<Experts>,
    /// Modules by which the model observes and corrects itself.
    pub mind: Mind,
    /// Scaling of the rotation, by which a model reads longer texts than it was first trained on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub scaling: Option<RotaryScaling>,
    /// Blocks that are rotated in another way, or not at all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub other_rotation: Option<OtherRotation>,
    /// Norm of queries and keys.
    #[serde(default, skip_serializing_if = "is_default")]
    pub query_key_norm: Option<QueryKeyNorm>,
    /// Places of the norms in a block.
    #[serde(default, skip_serializing_if = "is_default")]
    pub norms: NormPlacement,
    /// Bounds of attention scores and logits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caps: SoftCaps,
}

/// Returns `true` for a value that encodings leave out.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

versioned!(
    ModelSpec,
    1: {
        vocabulary: u32,
        width: u32,
        layers: u16,
        heads: u16,
        key_value_heads: u16,
        head_size: u16,
        feed_forward: u32,
        context: u32,
        activation: Activation,
        gated: bool,
        norm: Norm,
        positions: PositionEncoding,
        local: Option<LocalAttention>,
        scaled: bool,
        parallel: bool,
        biases: Biases,
        tied: bool,
        experts: Option<Experts>,
        mind: Mind,
    },
    2: {
        scaling: Option<RotaryScaling>,
        other_rotation: Option<OtherRotation>,
        query_key_norm: Option<QueryKeyNorm>,
        norms: NormPlacement,
        caps: SoftCaps,
    },
);

/// Activation function of a feed-forward layer.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · Φ(x)` with `Φ` approximated by tanh (Hendrycks and Gimpel 2016), as in GPT-2.
    #[codec(index = 0)]
    GeluTanh,
    /// `x · Φ(x)` with the error function.
    #[codec(index = 1)]
    Gelu,
    /// `x · σ(x)`.
    #[codec(index = 2)]
    Silu,
    /// `max(x, 0)`.
    #[codec(index = 3)]
    Relu,
}

/// A norm over the width.
///
/// `epsilon`, in billionths, is added to the mean square before the square root.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Mean 0 and variance 1, then weight and bias (Ba et al. 2016, "Layer Normalization").
    #[codec(index = 0)]
    Layer {
        /// Addend in billionths.
        epsilon: u32,
    },
    /// Mean square 1, then a weight (Zhang and Sennrich 2019, "Root Mean Square Layer
    /// Normalization").
    #[codec(index = 1)]
    Rms {
        /// Addend in billionths.
        epsilon: u32,
    },
}

impl Norm {
    /// Returns the addend to the mean square, in billionths.
    pub const fn epsilon(&self) -> u32 {
        match *self {
            Self::Layer { epsilon } | Self::Rms { epsilon } => epsilon,
        }
    }

    /// Returns the number of parameter vectors of the norm: weight, or weight and bias.
    pub(super) const fn vectors(&self) -> u64 {
        match self {
            Self::Layer { .. } => 2,
            Self::Rms { .. } => 1,
        }
    }
}

/// Encoding of a token's position in the sequence.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PositionEncoding {
    /// A learned vector for each position is added to the token embedding.
    #[codec(index = 0)]
    Learned,
    /// Queries and keys are rotated by angles proportional to the position: pair `i` of
    /// `dimensions / 2` by `base^(−2i / dimensions)` per token (Su et al. 2021, "RoFormer").
    #[codec(index = 1)]
    Rotary {
        /// Number of leading dimensions of a head that are rotated; even.
        dimensions: u16,
        /// Base of the wavelengths, usually 10,000.
        base: u32,
        /// Set if the dimensions of a pair are neighbours (GPT-J) and not `dimensions / 2` apart
        /// (LLaMA).
        interleaved: bool,
    },
}

/// Attention to the latest tokens only, in a pattern of blocks.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct LocalAttention {
    /// Number of tokens that a token attends to, including itself.
    pub window: u32,
    /// Number of blocks after which the pattern repeats; at most 64.
    pub period: u8,
    /// Bit mask of the pattern: block `i` is local if bit `i mod period` is set.
    pub layers: u64,
}

/// Projections with a bias.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Biases {
    /// Projection to queries, keys and values.
    pub query_key_value: bool,
    /// Output projection of attention.
    pub attention_output: bool,
    /// All projections of the feed-forward layers.
    pub feed_forward: bool,
    /// Output projection to the vocabulary.
    pub head: bool,
}

/// Mixture of experts: each feed-forward layer consists of `count` experts, and a router sends each
/// token to the `active` experts with the highest scores (Shazeer et al. 2017, "Outrageously Large
/// Neural Networks").
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Experts {
    /// Number of experts in a block, 2 to 64.
    pub count: u8,
    /// Number of experts that process a token, 1 to `count`.
    pub active: u8,
    /// Weight of the load-balancing loss in training (Fedus et al. 2021, "Switch Transformers"); at
    /// most 1.
    pub balance: Ppm,
    /// Weight of the router z-loss in training (Zoph et al. 2022, "ST-MoE"); at most 1.
    pub z: Ppm,
}

impl Experts {
    /// Maximum number of experts in a block.
    pub const MAX_COUNT: u8 = 64;

    /// Creates a mixture of experts with the loss weights of those papers: 0.01 and 0.001.
    pub const fn new(count: u8, active: u8) -> Self {
        Self { count, active, balance: 10_000, z: 1_000 }
    }
}

/// Modules by which the model observes and corrects itself. Adding one does not change the output
/// of the model at first.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Mind {
    /// Branch states with complex amplitudes in every block.
    pub superposition: Option<Superposition>,
    /// Set if the model has an introspection head, which predicts the loss of each token.
    pub introspection: bool,
    /// Number of last blocks that run a second time for tokens with a high predicted loss; 0 for
    /// none. A second pass needs introspection.
    pub second_pass: u16,
}

/// Sizes of the superposition in a block.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Superposition {
    /// Number of branch states, 2 to 16.
    pub branches: u8,
    /// Rank of each branch and of the coupling between tokens; at most `width`.
    pub rank: u16,
}

impl ModelSpec {
    /// Creates a GPT-2 architecture: learned positions, LayerNorm, GELU (tanh form), biases
    /// everywhere but in the head, tied embeddings (Radford et al. 2019, "Language Models are
    /// Unsupervised Multitask Learners"). It is invalid unless `heads` divides `width`.
    pub const fn gpt2(
        vocabulary: u32,
        width: u32,
        layers: u16,
        heads: u16,
        feed_forward: u32,
        context: u32,
    ) -> Self {
        let head_size = match (width.checked_rem(heads as u32), width.checked_div(heads as u32)) {
            (Some(0), Some(size)) if size <= u16::MAX as u32 => size as u16,
            _ => 0,
        };
        Self {
            vocabulary,
            width,
            layers,
            heads,
            key_value_heads: heads,
            head_size,
            feed_forward,
            context,
            activation: Activation::GeluTanh,
            gated: false,
            norm: Norm::Layer { epsilon: 10_000 },
            positions: PositionEncoding::Learned,
            local: None,
            scaled: true,
            parallel: false,
            biases: Biases {
                query_key_value: true,
                attention_output: true,
                feed_forward: true,
                head: false,
            },
            tied: true,
            experts: None,
            mind: Mind { superposition: None, introspection: false, second_pass: 0 },
            scaling: None,
            other_rotation: None,
            query_key_norm: None,
            norms: NormPlacement::Before,
            caps: SoftCaps { attention: None, logits: None },
        }
    }

    /// Returns the hash that names this architecture.
    pub fn hash(&self) -> Hash {
        crate::digest(b"pol/model/2", self)
    }

    /// Returns the width of all heads together.
    pub fn attention_width(&self) -> u32 {
        u32::from(self.heads).saturating_mul(self.head_size.into())
    }

    /// Returns the width of the keys of a block, which is also that of the values.
    pub fn key_value_width(&self) -> u32 {
        u32::from(self.key_value_heads).saturating_mul(self.head_size.into())
    }

    /// Returns the width of the projection to queries, keys and values.
    pub fn query_key_value_width(&self) -> u32 {
        self.attention_width().saturating_add(self.key_value_width().saturating_mul(2))
    }

    /// Returns the rotation of most blocks, and that of the blocks of `other_rotation`; `None` if
    /// queries and keys are not rotated.
    pub fn rotations(&self) -> [Option<Rotation>; 2] {
        let PositionEncoding::Rotary { dimensions, base, interleaved } = self.positions else {
            return [None; 2];
        };
        let most = Rotation { dimensions, base, interleaved, scaling: self.scaling };
        let base = self.other_rotation.and_then(|other| other.base);
        let other = base.map(|RotaryBase { base, scaling }| Rotation { base, scaling, ..most });
        [Some(most), other]
    }

    /// Returns `true` if block `index` is one of `other_rotation`.
    pub fn has_other_rotation(&self, index: u16) -> bool {
        self.other_rotation.is_some_and(|other| is_in_pattern(index, other.period, other.layers))
    }

    /// Returns the rotation of queries and keys in block `index`, or `None` if they are not
    /// rotated.
    pub fn rotation(&self, index: u16) -> Option<Rotation> {
        let [most, other] = self.rotations();
        if self.has_other_rotation(index) { other } else { most }
    }

    /// Returns the widths of the norms of queries and of keys, or `None` without such norms.
    pub fn query_key_norm_widths(&self) -> Option<[u32; 2]> {
        Some(match self.query_key_norm? {
            QueryKeyNorm::Head => [self.head_size.into(); 2],
            QueryKeyNorm::Whole => [self.attention_width(), self.key_value_width()],
        })
    }

    /// Returns `true` if no output depends on biases of the keys of block `index`: they add the
    /// same number to all scores of a query, which softmax cancels.
    pub fn cancels_key_biases(&self, index: u16) -> bool {
        self.rotation(index).is_none()
            && self.query_key_norm.is_none()
            && self.caps.attention.is_none()
    }

    /// Returns the window of block `index` in tokens, or `None` if its attention is global.
    pub fn window(&self, index: u16) -> Option<u32> {
        let LocalAttention { window, period, layers } = self.local?;
        is_in_pattern(index, period, layers).then_some(window)
    }
}

/// Returns `true` if the pattern of blocks has block `index`.
fn is_in_pattern(index: u16, period: u8, layers: u64) -> bool {
    let bit = index.checked_rem(period.into());
    bit.and_then(|bit| layers.checked_shr(bit.into())).is_some_and(|bits| bits & 1 == 1)
}
