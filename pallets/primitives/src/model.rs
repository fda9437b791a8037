//! The architecture every peer builds, described so that two peers with the same description hold
//! the same parameters.

use crate::{Hash, MILLION, Ppm};
use alloc::{format, string::String, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A model's architecture. Its SCALE encoding is canonical; [`ModelSpec::hash`] names it.
///
/// One description covers decoders of the GPT-2, GPT-Neo, GPT-J and LLaMA families.
/// [`ModelSpec::validate`] bounds every field; everything else here gives an answer, if a useless
/// one, for hostile values too.
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
pub struct ModelSpec {
    /// Entries of the vocabulary.
    pub vocabulary: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Number of blocks.
    pub layers: u16,
    /// Attention heads of a block.
    pub heads: u16,
    /// Heads of keys and values; divides `heads`. Each serves that many neighbouring heads of
    /// queries (Ainslie et al. 2023, "GQA").
    pub key_value_heads: u16,
    /// Size of a head; heads need not add up to the width.
    pub head_size: u16,
    /// Width of the hidden layer of each feed-forward part.
    pub feed_forward: u32,
    /// Longest sequence, in tokens.
    pub context: u32,
    /// Non-linearity of the feed-forward parts.
    pub activation: Activation,
    /// Feed-forward parts are `down(activation(gate(x)) · up(x))` in place of
    /// `down(activation(up(x)))` (Shazeer 2020, "GLU Variants Improve Transformer").
    pub gated: bool,
    /// Norm before each part of a block and after the last block.
    pub norm: Norm,
    /// How a token's place in the sequence is told.
    pub positions: PositionEncoding,
    /// Blocks whose attention sees only the latest tokens.
    pub local: Option<LocalAttention>,
    /// Attention scores are divided by the square root of the head size.
    pub scaled: bool,
    /// Blocks are `x + attention(n(x)) + feed_forward(n(x))`, with one norm, in place of one part
    /// after the other.
    pub parallel: bool,
    /// Which projections add a bias.
    pub biases: Biases,
    /// The output projection is the embedding of the tokens.
    pub tied: bool,
    /// Experts in the place of each feed-forward part.
    pub experts: Option<Experts>,
    /// Parts by which the model observes and corrects itself.
    pub mind: Mind,
}

/// Non-linearity of a feed-forward part.
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
    /// `x · Φ(x)` with `Φ` approximated by tanh (Hendrycks and Gimpel 2016), GPT-2's.
    #[codec(index = 0)]
    GeluTanh,
    /// `x · Φ(x)` by the error function.
    #[codec(index = 1)]
    Gelu,
    /// `x · σ(x)`.
    #[codec(index = 2)]
    Silu,
}

/// A norm over the width. `epsilon`, in billionths, is added to the mean square before its root is
/// taken.
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
        /// In billionths.
        epsilon: u32,
    },
    /// Mean square 1, then a weight (Zhang and Sennrich 2019, "Root Mean Square Layer
    /// Normalization").
    #[codec(index = 1)]
    Rms {
        /// In billionths.
        epsilon: u32,
    },
}

impl Norm {
    /// What is added before the root is taken, in billionths.
    pub const fn epsilon(&self) -> u32 {
        match *self {
            Self::Layer { epsilon } | Self::Rms { epsilon } => epsilon,
        }
    }

    /// Parameters of a norm for each value of the width: weight, or weight and bias.
    const fn vectors(&self) -> u64 {
        match self {
            Self::Layer { .. } => 2,
            Self::Rms { .. } => 1,
        }
    }
}

/// How a token's place in the sequence is told.
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
    /// A learned vector for each place is added to the token's.
    #[codec(index = 0)]
    Learned,
    /// Queries and keys are turned by angles that grow with the place: pair `i` of `dimensions / 2`
    /// by `base^(−2i / dimensions)` a token (Su et al. 2021, "RoFormer").
    #[codec(index = 1)]
    Rotary {
        /// Leading dimensions of a head that are turned; even.
        dimensions: u16,
        /// Base of the wavelengths, usually 10,000.
        base: u32,
        /// Pairs are neighbours (GPT-J) rather than half of `dimensions` apart (LLaMA).
        interleaved: bool,
    },
}

/// Attention to the latest tokens only, in some blocks.
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
    /// Tokens that a token sees, itself among them.
    pub window: u32,
    /// After how many blocks the pattern repeats; 64 at most.
    pub period: u8,
    /// Block `i` is local where bit `i mod period` is set.
    pub layers: u64,
}

/// Which projections add a bias.
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
    /// Queries, keys and values.
    pub query_key_value: bool,
    /// The output of attention.
    pub attention_output: bool,
    /// All projections of the feed-forward parts.
    pub feed_forward: bool,
    /// The output projection.
    pub head: bool,
}

/// Experts: each feed-forward part is `count` of them, and a router sends a token to the `active`
/// that fit it best (Shazeer et al. 2017, "Outrageously Large Neural Networks").
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
    /// Experts of a block, 2 to 64.
    pub count: u8,
    /// Experts that a token goes to, 1 to `count`.
    pub active: u8,
    /// Weight, in training, of the loss that asks for equal use of experts (Fedus et al. 2021,
    /// "Switch Transformers"); at most 1.
    pub balance: Ppm,
    /// Weight, in training, of the square of the router's log-partition function (Zoph et al. 2022,
    /// "ST-MoE"); at most 1.
    pub z: Ppm,
}

impl Experts {
    /// Most experts of a block.
    pub const MAX_COUNT: u8 = 64;

    /// With the weights that those papers settled on: 0.01 and 0.001.
    pub const fn new(count: u8, active: u8) -> Self {
        Self { count, active, balance: 10_000, z: 1_000 }
    }
}

/// Parts by which the model observes and corrects itself. None of them changes a model's output at
/// the moment it is added.
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
    /// A head that predicts the loss of each token.
    pub introspection: bool,
    /// So many of the last blocks run again for tokens whose predicted loss is high; needs
    /// introspection, 0 is none.
    pub second_pass: u16,
}

/// Sizes of the superposition of a block.
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
    /// Branch states, 2 to 16.
    pub branches: u8,
    /// Rank of each branch and of the coupling between tokens; at most the width.
    pub rank: u16,
}

/// Why a specification is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSpec {
    /// A size is zero.
    Zero,
    /// Heads without a size, or heads of keys and values that do not divide the heads.
    Heads,
    /// Rotary dimensions that are odd, none or more than a head has, or a base below 2.
    Rotary,
    /// A pattern of local blocks that is empty or longer than its period, or an empty window.
    Local,
    /// An epsilon of zero or above a hundredth.
    Epsilon,
    /// Fewer than 2 or more than 64 experts, more active than there are, or a weight above 1.
    Experts,
    /// Branches, rank or a second pass out of range, or a second pass without introspection.
    Mind,
    /// A size is beyond what the protocol accepts.
    TooLarge,
}

impl core::fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Zero => "every size of a model must be at least 1",
            Self::Heads => "each head needs a size (GPT-2 shapes: a width that is a multiple of the heads), and the heads of keys and values must divide the heads",
            Self::Rotary => "rotary dimensions must be even, at least 2 and at most the size of a head, their base at least 2",
            Self::Local => {
                "a local window must be at least 1, its period 1 to 64, and its pattern must name a block within the period"
            }
            Self::Epsilon => "a norm's epsilon must be 1 to 10,000,000 billionths",
            Self::Experts => "a block has 2 to 64 experts, of which at least 1 is active, and their losses weigh at most 1",
            Self::Mind => {
                "a superposition has 2 to 16 branches of rank 1 to the width; a second pass needs introspection and at most all blocks"
            }
            Self::TooLarge => {
                "a size is beyond the protocol's limits (65,536 wide, 512 layers, 2^20 vocabulary, 2^34 parameters)"
            }
        })
    }
}

impl core::error::Error for InvalidSpec {}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All ones.
    Ones,
    /// Normal around zero, with this standard deviation in millionths.
    Normal(u32),
}

/// One parameter tensor: its name, shape (row-major) and start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Name in the GPT-2 convention, such as `h.0.attn.c_attn.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<u32>,
    /// Its start.
    pub init: Init,
    /// Whether weight decay applies: to matrices, not to vectors.
    pub decays: bool,
}

impl Parameter {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1usize, |product, &size| product.saturating_mul(size as usize))
    }

    /// Whether it has no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ModelSpec {
    /// The GPT-2 shape: learned positions, LayerNorm, GELU (tanh form), biases everywhere but in
    /// the head, tied embeddings (Radford et al. 2019, "Language Models are Unsupervised Multitask
    /// Learners"). Invalid unless the heads divide the width.
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
        }
    }

    /// The name of this architecture.
    pub fn hash(&self) -> Hash {
        crate::digest(b"pol/model/2", self)
    }

    /// Checks sizes against each other and the protocol's limits.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let Self {
            vocabulary,
            width,
            layers,
            heads,
            key_value_heads,
            head_size,
            feed_forward,
            context,
            ..
        } = *self;
        let sizes = [
            vocabulary,
            width,
            u32::from(layers),
            u32::from(heads),
            u32::from(key_value_heads),
            feed_forward,
            context,
        ];
        if sizes.contains(&0) {
            return Err(InvalidSpec::Zero);
        }
        if head_size == 0 || heads.checked_rem(key_value_heads) != Some(0) {
            return Err(InvalidSpec::Heads);
        }
        if let PositionEncoding::Rotary { dimensions, base, .. } = self.positions
            && (dimensions == 0
                || !dimensions.is_multiple_of(2)
                || dimensions > head_size
                || base < 2)
        {
            return Err(InvalidSpec::Rotary);
        }
        if let Some(LocalAttention { window, period, layers }) = self.local
            && (window == 0
                || layers == 0
                || !(1..=64).contains(&period)
                || layers.checked_shr(period.into()).unwrap_or(0) > 0)
        {
            return Err(InvalidSpec::Local);
        }
        if !(1..=10_000_000).contains(&self.norm.epsilon()) {
            return Err(InvalidSpec::Epsilon);
        }
        if self.experts.is_some_and(|Experts { count, active, balance, z }| {
            !(2..=Experts::MAX_COUNT).contains(&count)
                || active == 0
                || active > count
                || balance > MILLION
                || z > MILLION
        }) {
            return Err(InvalidSpec::Experts);
        }
        let Mind { superposition, introspection, second_pass } = self.mind;
        if superposition.is_some_and(|Superposition { branches, rank }| {
            !(2..=16).contains(&branches) || rank == 0 || u32::from(rank) > width
        }) || second_pass > layers
            || (second_pass > 0 && !introspection)
        {
            return Err(InvalidSpec::Mind);
        }
        if width > 1 << 16
            || layers > 512
            || vocabulary > 1 << 20
            || feed_forward > 1 << 18
            || context > 1 << 20
            || self.attention_width() > 1 << 16
            || self.size() > 1 << 34
        {
            return Err(InvalidSpec::TooLarge);
        }
        Ok(())
    }

    /// Width of what the heads give together.
    pub fn attention_width(&self) -> u32 {
        u32::from(self.heads).saturating_mul(self.head_size.into())
    }

    /// Width of a block's keys, which is that of its values.
    pub fn key_value_width(&self) -> u32 {
        u32::from(self.key_value_heads).saturating_mul(self.head_size.into())
    }

    /// Width of a block's queries, keys and values together, which are one projection.
    pub fn query_key_value_width(&self) -> u32 {
        self.attention_width().saturating_add(self.key_value_width().saturating_mul(2))
    }

    /// Whether the attention of block `index` sees the latest tokens only, and how many.
    pub fn window(&self, index: u16) -> Option<u32> {
        let LocalAttention { window, period, layers } = self.local?;
        let bit = index.checked_rem(period.into())?;
        (layers.checked_shr(bit.into())? & 1 == 1).then_some(window)
    }

    /// Number of parameters.
    pub fn size(&self) -> u64 {
        let [v, d, f, c] =
            [self.vocabulary, self.width, self.feed_forward, self.context].map(u64::from);
        let [attention, projected] =
            [self.attention_width(), self.query_key_value_width()].map(u64::from);
        let sum = |terms: &[u64]| terms.iter().fold(0u64, |sum, &term| sum.saturating_add(term));
        let when = |condition: bool, size: u64| if condition { size } else { 0 };
        let norm = d.saturating_mul(self.norm.vectors());
        let inputs = f.saturating_mul(if self.gated { 2 } else { 1 });
        let expert = sum(&[
            d.saturating_mul(inputs.saturating_add(f)),
            when(self.biases.feed_forward, inputs.saturating_add(d)),
        ]);
        let feed_forward = self.experts.map_or(expert, |Experts { count, .. }| {
            sum(&[expert, d, 1]).saturating_mul(count.into())
        });
        let superposition =
            self.mind.superposition.map_or(0, |Superposition { branches, rank }| {
                let [branches, rank] = [branches.into(), rank.into()].map(|size: u64| size);
                let columns = sum(&[
                    branches.saturating_mul(2),
                    branches.saturating_mul(rank),
                    rank.saturating_mul(3),
                    1,
                ]);
                d.saturating_mul(columns)
            });
        let block = sum(&[
            norm.saturating_mul(if self.parallel { 1 } else { 2 }),
            d.saturating_mul(projected),
            when(self.biases.query_key_value, projected),
            attention.saturating_mul(d),
            when(self.biases.attention_output, d),
            feed_forward,
            superposition,
        ]);
        sum(&[
            v.saturating_mul(d),
            when(self.positions == PositionEncoding::Learned, c.saturating_mul(d)),
            block.saturating_mul(self.layers.into()),
            norm,
            when(!self.tied, v.saturating_mul(d)),
            when(self.biases.head, v),
            when(self.mind.introspection, d.saturating_add(1)),
            when(self.mind.second_pass > 0, 1),
        ])
    }

    /// Every parameter tensor in canonical order: the order of the parameter blob whose BLAKE3 hash
    /// is a head's root.
    ///
    /// Names are GPT-2's. Matrices are `[in, out]`, but those of the vocabulary
    /// `[vocabulary, width]`; with experts, those of the feed-forward parts are `[count, in, out]`
    /// and their biases `[count, out]`.
    pub fn parameters(&self) -> Vec<Parameter> {
        let Self { vocabulary, width, layers, feed_forward, context, biases, .. } = *self;
        let [attention, projected] = [self.attention_width(), self.query_key_value_width()];
        // GPT-2 scales the projections that feed the residual stream by 1/√(2·layers).
        let residual = residual_deviation(layers);
        let mut all = Parameters(Vec::new());
        all.matrix("wte.weight".into(), &[vocabulary, width], 20_000);
        if self.positions == PositionEncoding::Learned {
            all.matrix("wpe.weight".into(), &[context, width], 10_000);
        }
        for i in 0..layers {
            let name = |part: &str| format!("h.{i}.{part}");
            all.norm(&name("ln_1"), self.norm, width);
            all.matrix(name("attn.c_attn.weight"), &[width, projected], 20_000);
            all.bias(biases.query_key_value, name("attn.c_attn.bias"), &[projected]);
            all.matrix(name("attn.c_proj.weight"), &[attention, width], residual);
            all.bias(biases.attention_output, name("attn.c_proj.bias"), &[width]);
            if !self.parallel {
                all.norm(&name("ln_2"), self.norm, width);
            }
            if let Some(Experts { count, .. }) = self.experts {
                all.matrix(name("mlp.router.weight"), &[width, count.into()], 20_000);
                all.vector(name("mlp.router.bias"), &[count.into()], Init::Zeros);
            }
            let count = self.experts.map(|experts| experts.count.into());
            let stacked = |shape: &[u32]| {
                count.into_iter().chain(shape.iter().copied()).collect::<Vec<u32>>()
            };
            let mut projection = |part: &str, rows: u32, columns: u32, deviation: u32| {
                all.matrix(
                    name(&format!("mlp.{part}.weight")),
                    &stacked(&[rows, columns]),
                    deviation,
                );
                all.bias(
                    biases.feed_forward,
                    name(&format!("mlp.{part}.bias")),
                    &stacked(&[columns]),
                );
            };
            if self.gated {
                projection("c_gate", width, feed_forward, 20_000);
            }
            projection("c_fc", width, feed_forward, 20_000);
            projection("c_proj", feed_forward, width, residual);
            if let Some(Superposition { branches, rank }) = self.mind.superposition {
                let [branches, rank] = [u32::from(branches), u32::from(rank)];
                all.matrix(
                    name("mind.amplitudes.weight"),
                    &[width, branches.saturating_mul(2)],
                    20_000,
                );
                all.matrix(
                    name("mind.branches.weight"),
                    &[width, branches.saturating_mul(rank)],
                    20_000,
                );
                all.matrix(name("mind.query.weight"), &[width, rank], 20_000);
                all.matrix(name("mind.key.weight"), &[width, rank], 20_000);
                all.matrix(name("mind.out.weight"), &[rank, width], 20_000);
                all.vector(name("mind.gate"), &[width], Init::Zeros);
            }
        }
        all.norm("ln_f", self.norm, width);
        if !self.tied {
            all.matrix("lm_head.weight".into(), &[vocabulary, width], 20_000);
        }
        all.bias(biases.head, "lm_head.bias".into(), &[vocabulary]);
        if self.mind.introspection {
            all.vector("mind.introspection.weight".into(), &[width], Init::Zeros);
            all.vector("mind.introspection.bias".into(), &[1], Init::Zeros);
        }
        if self.mind.second_pass > 0 {
            all.vector("mind.second_pass.gate".into(), &[1], Init::Zeros);
        }
        all.0
    }
}

/// Parameters listed so far.
struct Parameters(Vec<Parameter>);

impl Parameters {
    fn matrix(&mut self, name: String, shape: &[u32], deviation: u32) {
        self.0.push(Parameter {
            name,
            shape: shape.to_vec(),
            init: Init::Normal(deviation),
            decays: true,
        });
    }

    fn vector(&mut self, name: String, shape: &[u32], init: Init) {
        self.0.push(Parameter { name, shape: shape.to_vec(), init, decays: false });
    }

    fn bias(&mut self, present: bool, name: String, shape: &[u32]) {
        if present {
            self.vector(name, shape, Init::Zeros);
        }
    }

    fn norm(&mut self, name: &str, norm: Norm, width: u32) {
        self.vector(format!("{name}.weight"), &[width], Init::Ones);
        self.bias(matches!(norm, Norm::Layer { .. }), format!("{name}.bias"), &[width]);
    }
}

/// `20,000 / √(2·layers)` in integers, so that no machine's square root matters.
fn residual_deviation(layers: u16) -> u32 {
    let squared = 400_000_000u64.checked_div(u64::from(layers).saturating_mul(2)).unwrap_or(0);
    u32::try_from(squared.isqrt()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn llama() -> ModelSpec {
        ModelSpec {
            key_value_heads: 3,
            activation: Activation::Silu,
            gated: true,
            norm: Norm::Rms { epsilon: 10_000 },
            positions: PositionEncoding::Rotary {
                dimensions: 64,
                base: 100_000,
                interleaved: false,
            },
            biases: Biases::default(),
            ..ModelSpec::gpt2(49_152, 576, 30, 9, 1_536, 8_192)
        }
    }

    #[test]
    fn published_models_have_their_published_sizes() {
        let gpt2 = ModelSpec::gpt2(50_257, 768, 12, 12, 3_072, 1_024);
        assert_eq!((gpt2.size(), gpt2.validate()), (124_439_808, Ok(())));
        // SmolLM2-135M.
        assert_eq!((llama().size(), llama().validate()), (134_515_008, Ok(())));
        let gpt_j = ModelSpec {
            positions: PositionEncoding::Rotary { dimensions: 64, base: 10_000, interleaved: true },
            parallel: true,
            biases: Biases {
                query_key_value: false,
                attention_output: false,
                feed_forward: true,
                head: true,
            },
            tied: false,
            ..ModelSpec::gpt2(50_400, 4_096, 28, 16, 16_384, 2_048)
        };
        assert_eq!((gpt_j.size(), gpt_j.validate()), (6_050_882_784, Ok(())));
        let gpt_neo = ModelSpec {
            local: Some(LocalAttention { window: 256, period: 2, layers: 0b10 }),
            scaled: false,
            biases: Biases {
                query_key_value: false,
                attention_output: true,
                feed_forward: true,
                head: false,
            },
            ..ModelSpec::gpt2(50_257, 768, 12, 12, 3_072, 2_048)
        };
        assert_eq!((gpt_neo.size(), gpt_neo.validate()), (125_198_592, Ok(())));
        assert_eq!(
            [0, 1, 2, 11].map(|block| gpt_neo.window(block)),
            [None, Some(256), None, Some(256)]
        );
    }

    #[test]
    fn a_gpt2_shape_has_gpt2s_parameters() {
        let spec = ModelSpec::gpt2(11, 6, 1, 3, 5, 7);
        let listed: Vec<_> =
            spec.parameters().into_iter().map(|p| (p.name, p.shape, p.init, p.decays)).collect();
        let (normal, residual) = (Init::Normal(20_000), Init::Normal(14_142));
        let expected: [(&str, &[u32], Init, bool); 16] = [
            ("wte.weight", &[11, 6], normal, true),
            ("wpe.weight", &[7, 6], Init::Normal(10_000), true),
            ("h.0.ln_1.weight", &[6], Init::Ones, false),
            ("h.0.ln_1.bias", &[6], Init::Zeros, false),
            ("h.0.attn.c_attn.weight", &[6, 18], normal, true),
            ("h.0.attn.c_attn.bias", &[18], Init::Zeros, false),
            ("h.0.attn.c_proj.weight", &[6, 6], residual, true),
            ("h.0.attn.c_proj.bias", &[6], Init::Zeros, false),
            ("h.0.ln_2.weight", &[6], Init::Ones, false),
            ("h.0.ln_2.bias", &[6], Init::Zeros, false),
            ("h.0.mlp.c_fc.weight", &[6, 5], normal, true),
            ("h.0.mlp.c_fc.bias", &[5], Init::Zeros, false),
            ("h.0.mlp.c_proj.weight", &[5, 6], residual, true),
            ("h.0.mlp.c_proj.bias", &[6], Init::Zeros, false),
            ("ln_f.weight", &[6], Init::Ones, false),
            ("ln_f.bias", &[6], Init::Zeros, false),
        ];
        assert_eq!(
            listed,
            expected.map(|(name, shape, init, decays)| (name.into(), shape.to_vec(), init, decays))
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let spec = ModelSpec::gpt2;
        assert_eq!(spec(0, 8, 1, 1, 8, 8).validate(), Err(InvalidSpec::Zero));
        assert_eq!(spec(8, 8, 1, 3, 8, 8).validate(), Err(InvalidSpec::Heads));
        assert_eq!(spec(u32::MAX, 8, 1, 1, 8, 8).validate(), Err(InvalidSpec::TooLarge));
        assert_eq!(
            spec(1 << 20, 1 << 16, 512, 2, 1 << 18, 1 << 20).validate(),
            Err(InvalidSpec::TooLarge)
        );
        let refused = |change: &dyn Fn(&mut ModelSpec)| {
            let mut spec = llama();
            change(&mut spec);
            spec.validate().err()
        };
        let rotary =
            |dimensions, base| PositionEncoding::Rotary { dimensions, base, interleaved: false };
        let local = |window, period, layers| Some(LocalAttention { window, period, layers });
        let mind = |branches, rank| Mind {
            superposition: Some(Superposition { branches, rank }),
            ..Mind::default()
        };
        assert_eq!(refused(&|spec| spec.key_value_heads = 2), Some(InvalidSpec::Heads));
        assert_eq!(refused(&|spec| spec.head_size = u16::MAX), Some(InvalidSpec::TooLarge));
        for positions in [rotary(0, 9), rotary(7, 9), rotary(66, 9), rotary(8, 1)] {
            assert_eq!(refused(&|spec| spec.positions = positions), Some(InvalidSpec::Rotary));
        }
        for pattern in
            [local(0, 1, 1), local(1, 0, 1), local(1, 65, 1), local(1, 2, 0), local(1, 2, 4)]
        {
            assert_eq!(refused(&|spec| spec.local = pattern), Some(InvalidSpec::Local));
        }
        assert_eq!(refused(&|spec| spec.local = local(1, 64, u64::MAX)), None);
        for epsilon in [0, 10_000_001] {
            assert_eq!(
                refused(&|spec| spec.norm = Norm::Layer { epsilon }),
                Some(InvalidSpec::Epsilon)
            );
        }
        for (count, active) in [(1, 1), (65, 1), (4, 0), (4, 5)] {
            assert_eq!(
                refused(&|spec| spec.experts = Some(Experts::new(count, active))),
                Some(InvalidSpec::Experts)
            );
        }
        let weighed = |balance, z| Some(Experts { balance, z, ..Experts::new(5, 2) });
        assert_eq!(refused(&|spec| spec.experts = weighed(MILLION, MILLION)), None);
        for experts in [weighed(MILLION + 1, 0), weighed(0, MILLION + 1)] {
            assert_eq!(refused(&|spec| spec.experts = experts), Some(InvalidSpec::Experts));
        }
        for mind in [
            mind(1, 1),
            mind(17, 1),
            mind(2, 0),
            mind(2, 577),
            Mind { second_pass: 1, ..Mind::default() },
        ] {
            assert_eq!(refused(&|spec| spec.mind = mind), Some(InvalidSpec::Mind));
        }
        let again = |second_pass| Mind { introspection: true, second_pass, ..Mind::default() };
        assert_eq!(
            [30, 31].map(|n| refused(&|spec| spec.mind = again(n))),
            [None, Some(InvalidSpec::Mind)]
        );
    }

    prop_compose! {
        /// Any valid specification that is small.
        fn any_spec()(
            (vocabulary, width, layers, feed_forward, context) in (1u32..99, 1u32..33, 1u16..4, 1u32..33, 1u32..33),
            (key_value_heads, group, half) in (1u16..4, 1u16..4, 1u16..5),
            rms: bool, rotary: bool, interleaved: bool, gated: bool, scaled: bool, parallel: bool, tied: bool,
            biases in any::<[bool; 4]>(),
            activation in prop_oneof![Just(Activation::Gelu), Just(Activation::GeluTanh), Just(Activation::Silu)],
            local in proptest::option::of((1u32..9, 1u64..8)),
            experts in proptest::option::of((2u8..5, 1u8..3)),
            (superposition, introspection) in (proptest::option::of((2u8..5, 1u16..4)), any::<bool>()),
        ) -> ModelSpec {
            let epsilon = 10_000;
            ModelSpec {
                vocabulary, width, layers, feed_forward, context, activation, gated, scaled, parallel, tied,
                heads: key_value_heads * group, key_value_heads, head_size: 2 * half,
                norm: if rms { Norm::Rms { epsilon } } else { Norm::Layer { epsilon } },
                positions: if rotary {
                    PositionEncoding::Rotary { dimensions: half / 2 * 2 + 2, base: 10_000, interleaved }
                } else {
                    PositionEncoding::Learned
                },
                local: local.map(|(window, layers)| LocalAttention { window, period: 3, layers }),
                biases: Biases {
                    query_key_value: biases[0],
                    attention_output: biases[1],
                    feed_forward: biases[2],
                    head: biases[3],
                },
                experts: experts.map(|(count, active)| Experts::new(count, active)),
                mind: Mind {
                    superposition: superposition
                        .map(|(branches, rank)| Superposition { branches, rank: rank.min(width as u16) }),
                    introspection,
                    second_pass: if introspection { layers - 1 } else { 0 },
                },
            }
        }
    }

    proptest! {
        #[test]
        fn size_is_the_sum_of_the_parameters(spec in any_spec()) {
            prop_assert_eq!(spec.validate(), Ok(()));
            let parameters = spec.parameters();
            prop_assert_eq!(parameters.iter().map(|parameter| parameter.len() as u64).sum::<u64>(), spec.size());
            let names: alloc::collections::BTreeSet<_> = parameters.iter().map(|parameter| &parameter.name).collect();
            prop_assert_eq!(names.len(), parameters.len());
            prop_assert_eq!(ModelSpec::decode(&mut &spec.encode()[..]), Ok(spec));
        }

        /// Whatever bytes decode to, checks come to an end without overflow.
        #[test]
        fn hostile_specifications_are_harmless(
            bytes in any::<[u8; 26]>(), flags in any::<[bool; 12]>(), rest in any::<[u8; 32]>(), full: bool,
        ) {
            let number = |at: usize| if full { u32::MAX } else { u32::from_le_bytes(core::array::from_fn(|i| rest[at + i])) };
            let short = |at: usize| if full { u16::MAX } else { u16::from_le_bytes([bytes[at], bytes[at + 1]]) };
            let spec = ModelSpec {
                vocabulary: number(0), width: number(4), layers: short(0) % 256, heads: short(2), key_value_heads: short(4),
                head_size: short(6), feed_forward: number(8), context: number(12), activation: Activation::Silu, gated: flags[0],
                norm: Norm::Layer { epsilon: number(16) },
                positions: if flags[1] {
                    PositionEncoding::Learned
                } else {
                    PositionEncoding::Rotary { dimensions: short(8), base: number(20), interleaved: flags[2] }
                },
                local: flags[3].then_some(LocalAttention { window: number(24), period: bytes[10], layers: number(28).into() }),
                scaled: flags[4], parallel: flags[5],
                biases: Biases { query_key_value: true, attention_output: flags[6], feed_forward: true, head: flags[7] },
                tied: flags[8],
                experts: flags[9].then_some(Experts { count: bytes[11], active: bytes[12], balance: number(4), z: number(8) }),
                mind: Mind {
                    superposition: flags[10].then_some(Superposition { branches: bytes[13], rank: short(14) }),
                    introspection: flags[11],
                    second_pass: short(16),
                },
            };
            // A limit that any of these passes is one that its size passes.
            if spec.validate().is_ok() {
                prop_assert!(spec.size() <= 1 << 34);
            }
            prop_assert!(spec.size() >= u64::from(spec.width));
            prop_assert!(!spec.parameters().is_empty());
            let _ = spec.window(short(18));
        }
    }
}
