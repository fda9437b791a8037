//! The architecture every peer builds, described so that two peers with the same description hold the same parameters.

use crate::Hash;
use alloc::{format, string::String, vec, vec::Vec};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A model's architecture. Its SCALE encoding is canonical; [`ModelSpec::hash`] names it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum ModelSpec {
    /// The GPT-2 shape: learned positions, pre-norm LayerNorm, GELU (tanh form), tied embeddings
    /// (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners").
    #[codec(index = 0)]
    Gpt2(Gpt2Spec),
}

/// Sizes of a GPT-2 shaped decoder.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo, Serialize, Deserialize,
)]
pub struct Gpt2Spec {
    /// Entries of the vocabulary.
    pub vocabulary: u32,
    /// Width of the residual stream.
    pub width: u32,
    /// Number of blocks.
    pub layers: u16,
    /// Attention heads per block; divides `width`.
    pub heads: u16,
    /// Width of the hidden layer of each feed-forward part.
    pub feed_forward: u32,
    /// Longest sequence, in tokens.
    pub context: u32,
}

/// Why a specification is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSpec {
    /// A size is zero.
    Zero,
    /// The width is not a multiple of the number of heads.
    Heads,
    /// A size is beyond what the protocol accepts.
    TooLarge,
}

impl core::fmt::Display for InvalidSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Zero => "every size of a model must be at least 1",
            Self::Heads => "the width must be a multiple of the number of heads",
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
    /// The name of this architecture.
    pub fn hash(&self) -> Hash {
        crate::digest(b"pol/model/1", self)
    }

    /// Checks sizes against each other and the protocol's limits.
    pub fn validate(&self) -> Result<(), InvalidSpec> {
        let Self::Gpt2(spec) = self;
        let Gpt2Spec { vocabulary, width, layers, heads, feed_forward, context } = *spec;
        if [vocabulary, width, u32::from(layers), u32::from(heads), feed_forward, context].contains(&0) {
            return Err(InvalidSpec::Zero);
        }
        if width.checked_rem(u32::from(heads)) != Some(0) {
            return Err(InvalidSpec::Heads);
        }
        if width > 1 << 16
            || layers > 512
            || vocabulary > 1 << 20
            || feed_forward > 1 << 18
            || context > 1 << 20
            || self.size() > 1 << 34
        {
            return Err(InvalidSpec::TooLarge);
        }
        Ok(())
    }

    /// Number of parameters.
    pub fn size(&self) -> u64 {
        let Self::Gpt2(spec) = self;
        let [v, d, l, f, c] =
            [spec.vocabulary, spec.width, u32::from(spec.layers), spec.feed_forward, spec.context].map(u64::from);
        // Attention 4d² + 4d, feed-forward 2df + f + d, two norms 4d.
        let block = d
            .saturating_mul(d)
            .saturating_mul(4)
            .saturating_add(d.saturating_mul(9))
            .saturating_add(d.saturating_mul(f).saturating_mul(2))
            .saturating_add(f);
        v.saturating_add(c).saturating_mul(d).saturating_add(l.saturating_mul(block)).saturating_add(d.saturating_mul(2))
    }

    /// Longest sequence, in tokens.
    pub fn context(&self) -> u32 {
        let Self::Gpt2(spec) = self;
        spec.context
    }

    /// Entries of the vocabulary.
    pub fn vocabulary(&self) -> u32 {
        let Self::Gpt2(spec) = self;
        spec.vocabulary
    }

    /// Every parameter tensor in canonical order: the order of the parameter blob whose BLAKE3 hash is a head's root.
    pub fn parameters(&self) -> Vec<Parameter> {
        let Self::Gpt2(spec) = self;
        let Gpt2Spec { vocabulary, width, layers, feed_forward, context, .. } = *spec;
        // GPT-2 scales the projections that feed the residual stream by 1/√(2·layers).
        let residual = residual_deviation(layers);
        let matrix = |name: String, rows: u32, columns: u32, deviation: u32| Parameter {
            name,
            shape: vec![rows, columns],
            init: Init::Normal(deviation),
            decays: true,
        };
        let vector = |name: String, size: u32, init: Init| Parameter { name, shape: vec![size], init, decays: false };
        let mut all =
            vec![matrix("wte.weight".into(), vocabulary, width, 20_000), matrix("wpe.weight".into(), context, width, 10_000)];
        for i in 0..layers {
            let name = |part: &str| format!("h.{i}.{part}");
            all.extend([
                vector(name("ln_1.weight"), width, Init::Ones),
                vector(name("ln_1.bias"), width, Init::Zeros),
                matrix(name("attn.c_attn.weight"), width, width.saturating_mul(3), 20_000),
                vector(name("attn.c_attn.bias"), width.saturating_mul(3), Init::Zeros),
                matrix(name("attn.c_proj.weight"), width, width, residual),
                vector(name("attn.c_proj.bias"), width, Init::Zeros),
                vector(name("ln_2.weight"), width, Init::Ones),
                vector(name("ln_2.bias"), width, Init::Zeros),
                matrix(name("mlp.c_fc.weight"), width, feed_forward, 20_000),
                vector(name("mlp.c_fc.bias"), feed_forward, Init::Zeros),
                matrix(name("mlp.c_proj.weight"), feed_forward, width, residual),
                vector(name("mlp.c_proj.bias"), width, Init::Zeros),
            ]);
        }
        all.extend([vector("ln_f.weight".into(), width, Init::Ones), vector("ln_f.bias".into(), width, Init::Zeros)]);
        all
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

    fn spec(vocabulary: u32, width: u32, layers: u16, heads: u16, feed_forward: u32, context: u32) -> ModelSpec {
        ModelSpec::Gpt2(Gpt2Spec { vocabulary, width, layers, heads, feed_forward, context })
    }

    #[test]
    fn gpt2_small_has_its_published_size() {
        let gpt2 = spec(50_257, 768, 12, 12, 3_072, 1_024);
        assert_eq!(gpt2.size(), 124_439_808);
        assert_eq!(gpt2.validate(), Ok(()));
    }

    #[test]
    fn nonsense_is_refused() {
        assert_eq!(spec(0, 8, 1, 1, 8, 8).validate(), Err(InvalidSpec::Zero));
        assert_eq!(spec(8, 8, 1, 3, 8, 8).validate(), Err(InvalidSpec::Heads));
        assert_eq!(spec(u32::MAX, 8, 1, 1, 8, 8).validate(), Err(InvalidSpec::TooLarge));
        assert_eq!(spec(1 << 20, 1 << 16, 512, 1, 1 << 18, 1 << 20).validate(), Err(InvalidSpec::TooLarge));
    }

    proptest! {
        #[test]
        fn size_is_the_sum_of_the_parameters(v in 1u32..999, d in 1u32..65, l in 1u16..6, f in 1u32..99, c in 1u32..99) {
            let spec = spec(v, d, l, 1, f, c);
            let sum: usize = spec.parameters().iter().map(Parameter::len).sum();
            prop_assert_eq!(sum as u64, spec.size());
        }
    }
}
