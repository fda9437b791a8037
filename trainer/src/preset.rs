// SPDX-License-Identifier: Apache-2.0

//! Sizes of models and leases, and the recipes made of them.

use clap::ValueEnum;
use pol_data::IngestRecord;
use pol_engine::ARITHMETIC;
use pol_primitives::{
    Hash, MILLION,
    model::ModelSpec,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, TierParameters},
};

/// Divisor applied to the learning rate when fine-tuning: a higher rate would destroy what the
/// imported model knows.
pub(crate) const FINE_TUNING_DIVISOR: u64 = 10;

/// Named sizes of a model and of leases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// A model that trains in seconds, for tests.
    Tiny,
    /// 1.9 million parameters at a vocabulary of 8,192: learns visibly on a laptop within minutes.
    Demo,
    /// Leases of eight steps of one to four sequences, in four segments: for imported models that a
    /// laptop can only just train.
    FineTune,
}

/// Fields of a recipe that presets and benchmarks choose. The others are the same for all.
pub(crate) struct RecipeSizes {
    /// Entries of the vocabulary.
    pub(crate) vocabulary: u32,
    /// Width of the residual stream.
    pub(crate) width: u32,
    /// Blocks.
    pub(crate) layers: u16,
    /// Attention heads.
    pub(crate) heads: u16,
    /// Tokens of a sequence.
    pub(crate) sequence: u16,
    /// Tokens that a shard trains on.
    pub(crate) shard_tokens: u32,
    /// Micro-batch, accumulation, inner steps and cadence by tier, smallest tier first.
    pub(crate) tiers: [(u16, u16, u16, u8); 4],
    /// Segments of a lease.
    pub(crate) segments: u16,
}

impl Preset {
    /// Returns the preset's sizes for ingested data.
    pub(crate) fn sizes(self, data: &IngestRecord) -> RecipeSizes {
        let IngestRecord { vocabulary, sequence, shard_tokens, .. } = *data;
        match self {
            Self::Tiny => RecipeSizes {
                vocabulary,
                width: 32,
                layers: 1,
                heads: 2,
                sequence,
                shard_tokens,
                tiers: [(4, 1, 8, 1); 4],
                segments: 8,
            },
            Self::FineTune => RecipeSizes {
                tiers: [(1, 1, 8, 4), (1, 1, 8, 1), (1, 2, 8, 1), (1, 4, 8, 1)],
                // Each segment ends in a state, which takes gigabytes for a large model.
                segments: 4,
                ..Self::Tiny.sizes(data)
            },
            Self::Demo => RecipeSizes {
                vocabulary,
                width: 128,
                layers: 4,
                heads: 4,
                sequence,
                shard_tokens,
                // The smallest tier, a phone, trains half a laptop's data over four rounds.
                tiers: [(4, 1, 20, 4), (8, 1, 20, 1), (8, 2, 20, 1), (8, 4, 20, 1)],
                // One step each: the least work that an audit can ask of a seat.
                segments: 20,
            },
        }
    }
}

impl RecipeSizes {
    /// Returns the recipe of these sizes for the tokenizer with this hash.
    pub(crate) fn recipe(self, tokenizer: Hash) -> Recipe {
        let Self { vocabulary, width, layers, heads, sequence, shard_tokens, tiers, segments } =
            self;
        let feed_forward = width.saturating_mul(4);
        Recipe {
            model: ModelSpec::gpt2(vocabulary, width, layers, heads, feed_forward, sequence.into()),
            tokenizer,
            // The start of the model may be public. Only the data must not be known in advance.
            seed: *blake3::hash(b"pol initial model").as_bytes(),
            pretrained: None,
            held_out: None,
            rewrite: None,
            sequence,
            shard_tokens,
            tiers: tiers.map(|(micro_batch, accumulation, inner_steps, cadence)| TierParameters {
                micro_batch,
                accumulation,
                inner_steps,
                cadence,
            }),
            optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
            schedule: LearningRateSchedule {
                peak: 2_000_000,
                warmup_steps: 20,
                decay_tokens: 0,
                floor: MILLION,
            },
            gradient_clip: MILLION,
            outer_rate: MILLION,
            compression: Compression { top_k: 512, feedback: 950_000 },
            segments,
            numerics: Numerics::Exact,
            arithmetic: Some(ARITHMETIC),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid() {
        for preset in [Preset::Tiny, Preset::Demo, Preset::FineTune] {
            let data = IngestRecord {
                vocabulary: 8_192,
                sequence: 128,
                shard_tokens: 4_096,
                ..Default::default()
            };
            assert_eq!(preset.sizes(&data).recipe([0; 32]).validate(), Ok(()), "{preset:?}");
        }
    }
}
