//! Everything needed to replay a training step, in integers.

use crate::{
    Hash, MILLION, Ppm,
    model::ModelSpec,
    rewrite::{InvalidRewrite, Rewrite},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Billionths, the fixed point of learning rates and optimiser constants.
pub type Ppb = u64;
/// One, as [`Ppb`].
pub const BILLION: Ppb = 1_000_000_000;

/// The class of a trainer's machine. Every tier trains the same model; only batch parameters
/// differ.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// A phone or a small board.
    #[codec(index = 0)]
    Mobile,
    /// A laptop.
    #[codec(index = 1)]
    #[default]
    Participant,
    /// A workstation.
    #[codec(index = 2)]
    Miner,
    /// A data-centre machine.
    #[codec(index = 3)]
    Whale,
}

impl Tier {
    /// All tiers, smallest first.
    pub const ALL: [Self; 4] = [Self::Mobile, Self::Participant, Self::Miner, Self::Whale];
}

/// Batch parameters of one tier.
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
pub struct TierParameters {
    /// Sequences in a micro-batch.
    pub micro_batch: u16,
    /// Micro-batches whose gradients are averaged in one step.
    pub accumulation: u16,
    /// Optimiser steps of one lease; a multiple of the recipe's segments.
    pub inner_steps: u16,
    /// Rounds a lease lives: 1 means that it is due in the round that gave it.
    pub cadence: u8,
}

impl TierParameters {
    /// Sequences consumed by one optimiser step.
    pub fn sequences_per_step(&self) -> u32 {
        u32::from(self.micro_batch).saturating_mul(u32::from(self.accumulation))
    }

    /// Sequences consumed by a full lease.
    pub fn sequences(&self) -> u32 {
        self.sequences_per_step().saturating_mul(u32::from(self.inner_steps))
    }
}

/// AdamW (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization").
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
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: Ppm,
    /// Decay of the second moment.
    pub beta2: Ppm,
    /// Added to the root of the second moment.
    pub epsilon: Ppb,
    /// Decoupled weight decay.
    pub weight_decay: Ppm,
}

/// The inner learning rate: linear warm-up over a trainer's own steps, then linear decay over the
/// model's tokens.
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
pub struct LearningRateSchedule {
    /// The largest rate.
    pub peak: Ppb,
    /// Steps until the peak.
    pub warmup_steps: u32,
    /// Tokens of the head over which the rate falls to `floor`; zero keeps it at the peak.
    pub decay_tokens: u64,
    /// The rate after the decay, as a share of the peak.
    pub floor: Ppm,
}

impl LearningRateSchedule {
    /// The rate of a trainer's step `step` (from 0, over all its leases) on a head of `head_tokens`
    /// tokens.
    pub fn rate(&self, step: u64, head_tokens: u64) -> Ppb {
        let warm = if self.warmup_steps == 0 {
            u64::from(MILLION)
        } else {
            ratio(step.saturating_add(1), u64::from(self.warmup_steps))
        };
        let decayed = if self.decay_tokens == 0 {
            u64::from(MILLION)
        } else {
            let fall = u64::from(MILLION.saturating_sub(self.floor.min(MILLION)));
            u64::from(MILLION).saturating_sub(ppm_of(fall, ratio(head_tokens, self.decay_tokens)))
        };
        ppm_of(ppm_of(self.peak, warm), decayed)
    }
}

/// `part / whole` in millionths, at most one.
fn ratio(part: u64, whole: u64) -> u64 {
    let scaled = u128::from(part)
        .saturating_mul(u128::from(MILLION))
        .checked_div(u128::from(whole))
        .unwrap_or(0);
    u64::try_from(scaled).unwrap_or(u64::MAX).min(u64::from(MILLION))
}

/// `value · share` for a share in millionths.
fn ppm_of(value: u64, share: u64) -> u64 {
    let product = u128::from(value)
        .saturating_mul(u128::from(share))
        .checked_div(u128::from(MILLION))
        .unwrap_or(0);
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// How an update is compressed: per chunk, the largest values by magnitude, two bits each, the rest
/// fed back (error feedback: Karimireddy et al. 2019, arXiv 1901.09847).
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
pub struct Compression {
    /// Values kept of each chunk of [`crate::payload::CHUNK`].
    pub top_k: u16,
    /// Share of the unsent rest that is carried to the next update.
    pub feedback: Ppm,
}

/// Which replays count as equal.
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
pub enum Numerics {
    /// Bit for bit.
    #[codec(index = 0)]
    Exact,
    /// Within a distance, so that any fast kernel may be used: [`crate::sketch`].
    #[codec(index = 1)]
    Native {
        /// How far the claimed end of a segment may lie from the replayed one, in every group of
        /// values: the L2 norm of the difference over that of the replayed change.
        /// [`MIN_TOLERANCE`] to [`MAX_TOLERANCE`].
        tolerance: Ppm,
    },
}

/// The smallest tolerance: well above what the rounding of a [sketch](crate::sketch::Sketch) can
/// cause.
pub const MIN_TOLERANCE: Ppm = 1_000;
/// The largest tolerance: a segment must at least point where its replay does.
pub const MAX_TOLERANCE: Ppm = 100_000;

/// Everything needed to replay a training step. Changed only by governance, effective at the next
/// round.
#[derive(
    Clone,
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
pub struct Recipe {
    /// The architecture.
    pub model: ModelSpec,
    /// BLAKE3 of the tokenizer's JSON file.
    #[serde(with = "crate::hex_hash")]
    pub tokenizer: Hash,
    /// Seed of the initial parameters.
    #[serde(with = "crate::hex_hash")]
    pub seed: Hash,
    /// BLAKE3 of the parameters that training starts from instead, where they come from elsewhere;
    /// members send them to each other.
    #[serde(default, with = "crate::hex_hash::option", skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<Hash>,
    /// The rewrite that leads to the architecture from that of the recipe before; none for a
    /// network's first. It is carried out once, by the first head of this architecture: see
    /// [`Self::rewrite_from`]. Later recipes may keep it or leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Tokens of a training sequence.
    pub sequence: u16,
    /// Tokens a shard trains on; a multiple of `sequence`.
    pub shard_tokens: u32,
    /// Batch parameters by tier, in the order of [`Tier::ALL`].
    pub tiers: [TierParameters; 4],
    /// The inner optimiser.
    pub optimiser: AdamW,
    /// Its learning rate.
    pub schedule: LearningRateSchedule,
    /// Largest L2 norm of a step's gradient.
    pub gradient_clip: Ppm,
    /// Step along the averaged update.
    pub outer_rate: Ppm,
    /// How updates are compressed.
    pub compression: Compression,
    /// Segments of a lease, the unit of audits.
    pub segments: u16,
    /// Which replays count as equal.
    pub numerics: Numerics,
}

/// Why a recipe is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRecipe {
    /// The model's specification.
    Model(crate::model::InvalidSpec),
    /// Sequence length zero, longer than the context, or a shard that is not a whole number of
    /// sequences.
    Sequence,
    /// A tier with a size of zero, steps that are not whole segments, or more data than a lease can
    /// hold.
    Tier,
    /// A constant of the optimiser, the schedule or the compression out of its range.
    Constant,
    /// No segments, or more than a trace can have.
    Segments,
    /// A tolerance out of its range.
    Tolerance,
}

impl core::fmt::Display for InvalidRecipe {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Model(invalid) => write!(f, "model: {invalid}"),
            Self::Sequence => f.write_str("a sequence must fit the context, and a shard must be a whole number of sequences"),
            Self::Tier => f.write_str("a tier's sizes must be at least 1, its steps whole segments, its data at most 64 shards"),
            Self::Constant => f.write_str("a constant of the optimiser, schedule or compression is out of range"),
            Self::Segments => f.write_str("a lease has 1 to 64 segments"),
            Self::Tolerance => f.write_str("the tolerance of the native profile is 1,000 to 100,000 millionths"),
        }
    }
}

impl core::error::Error for InvalidRecipe {}

/// Why a recipe cannot go on from the model of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSuccessor {
    /// The tokenizer, the seed, the parameters to start from or the size of shards differ, or the
    /// architecture without a rewrite.
    Fixed,
    /// The rewrite does not fit the architecture before.
    Rewrite(InvalidRewrite),
    /// The rewrite leads to another architecture than the recipe's.
    OtherModel,
}

impl core::fmt::Display for InvalidSuccessor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Fixed => {
                f.write_str("a model keeps its tokenizer, seed, first parameters and shard size, and changes by rewrites only")
            }
            Self::Rewrite(invalid) => write!(f, "the rewrite does not fit the model: {invalid}"),
            Self::OtherModel => f.write_str("the rewrite leads to another model than the recipe's"),
        }
    }
}

impl core::error::Error for InvalidSuccessor {}

impl Recipe {
    /// The rewrite by which a head of this recipe comes about from one of the recipe `before`; none
    /// where the architecture stays, whatever rewrite the recipe names then. Since every rewrite
    /// changes the architecture, none is carried out twice, and two recipes in a row always tell
    /// whether one is.
    pub fn rewrite_from(&self, before: &Self) -> Result<Option<Rewrite>, InvalidSuccessor> {
        let fixed =
            |recipe: &Self| (recipe.tokenizer, recipe.seed, recipe.pretrained, recipe.shard_tokens);
        if fixed(self) != fixed(before) {
            return Err(InvalidSuccessor::Fixed);
        }
        if self.model == before.model {
            return Ok(None);
        }
        let rewrite = self.rewrite.ok_or(InvalidSuccessor::Fixed)?;
        match rewrite.apply(&before.model) {
            Ok(model) if model == self.model => Ok(Some(rewrite)),
            Ok(_) => Err(InvalidSuccessor::OtherModel),
            Err(invalid) => Err(InvalidSuccessor::Rewrite(invalid)),
        }
    }

    /// The name of this recipe.
    pub fn hash(&self) -> Hash {
        crate::digest(b"pol/recipe/1", self)
    }

    /// Batch parameters of `tier`.
    pub fn tier(&self, tier: Tier) -> &TierParameters {
        let [mobile, participant, miner, whale] = &self.tiers;
        match tier {
            Tier::Mobile => mobile,
            Tier::Participant => participant,
            Tier::Miner => miner,
            Tier::Whale => whale,
        }
    }

    /// Training sequences in a shard.
    pub fn sequences_per_shard(&self) -> u32 {
        self.shard_tokens.checked_div(u32::from(self.sequence)).unwrap_or(0)
    }

    /// Shards a lease of `tier` holds: enough that every sequence is read at most once.
    pub fn shards_per_lease(&self, tier: Tier) -> u32 {
        let per_shard = self.sequences_per_shard().max(1);
        self.tier(tier).sequences().div_ceil(per_shard)
    }

    /// Optimiser steps of a segment of `tier`.
    pub fn steps_per_segment(&self, tier: Tier) -> u16 {
        self.tier(tier).inner_steps.checked_div(self.segments).unwrap_or(0)
    }

    /// Tokens trained on by `steps` steps of `tier`.
    pub fn tokens(&self, tier: Tier, steps: u16) -> u64 {
        u64::from(self.tier(tier).sequences_per_step())
            .saturating_mul(u64::from(steps))
            .saturating_mul(u64::from(self.sequence))
    }

    /// Checks every constant against its range and the others: whether a network can train by it.
    pub fn validate(&self) -> Result<(), InvalidRecipe> {
        self.model.validate().map_err(InvalidRecipe::Model)?;
        let sequence = u32::from(self.sequence);
        let whole = self.shard_tokens.checked_rem(sequence) == Some(0) && self.shard_tokens > 0;
        if sequence > self.model.context
            || !whole
            || self.shard_tokens > crate::data::MAX_SHARD_TOKENS
        {
            return Err(InvalidRecipe::Sequence);
        }
        if self.segments == 0 || u32::from(self.segments) > crate::MAX_SEGMENTS {
            return Err(InvalidRecipe::Segments);
        }
        for tier in Tier::ALL {
            let sizes = self.tier(tier);
            let positive = sizes.micro_batch > 0
                && sizes.accumulation > 0
                && sizes.inner_steps > 0
                && sizes.cadence > 0;
            let segmented = sizes.inner_steps.checked_rem(self.segments) == Some(0);
            let shards = self.shards_per_lease(tier);
            if !positive || !segmented || shards == 0 || shards > crate::MAX_LEASE_SHARDS {
                return Err(InvalidRecipe::Tier);
            }
        }
        let AdamW { beta1, beta2, epsilon, weight_decay } = self.optimiser;
        let in_range = beta1 < MILLION
            && beta2 < MILLION
            && epsilon > 0
            && epsilon < BILLION
            && weight_decay < MILLION
            && self.schedule.peak > 0
            && self.schedule.peak < BILLION
            && self.schedule.floor <= MILLION
            && self.gradient_clip > 0
            && self.outer_rate > 0
            && self.outer_rate <= MILLION.saturating_mul(4)
            && self.compression.top_k > 0
            && usize::from(self.compression.top_k) <= crate::payload::CHUNK_SIZE
            && self.compression.feedback <= MILLION;
        if !in_range {
            return Err(InvalidRecipe::Constant);
        }
        match self.numerics {
            Numerics::Native { tolerance }
                if !(MIN_TOLERANCE..=MAX_TOLERANCE).contains(&tolerance) =>
            {
                Err(InvalidRecipe::Tolerance)
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn recipe() -> Recipe {
        let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 20, cadence: 1 };
        Recipe {
            model: ModelSpec::gpt2(8_192, 128, 4, 4, 512, 128),
            tokenizer: [1; 32],
            seed: [2; 32],
            pretrained: None,
            rewrite: None,
            sequence: 128,
            shard_tokens: 4_096,
            tiers: [tier; 4],
            optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
            schedule: LearningRateSchedule {
                peak: 1_000_000,
                warmup_steps: 20,
                decay_tokens: 0,
                floor: 100_000,
            },
            gradient_clip: MILLION,
            outer_rate: MILLION,
            compression: Compression { top_k: 256, feedback: 950_000 },
            segments: 10,
            numerics: Numerics::Exact,
        }
    }

    #[test]
    fn a_sensible_recipe_is_valid() {
        let recipe = recipe();
        assert_eq!(recipe.validate(), Ok(()));
        assert_eq!(recipe.shards_per_lease(Tier::Whale), 10);
        assert_eq!(recipe.tokens(Tier::Whale, 20), 40_960);
    }

    #[test]
    fn each_range_is_checked() {
        let check = |change: fn(&mut Recipe), expected| {
            let mut recipe = recipe();
            change(&mut recipe);
            assert_eq!(recipe.validate(), Err(expected));
        };
        check(|r| r.sequence = 0, InvalidRecipe::Sequence);
        check(|r| r.sequence = 256, InvalidRecipe::Sequence);
        check(|r| r.shard_tokens = 4_000, InvalidRecipe::Sequence);
        check(|r| r.segments = 0, InvalidRecipe::Segments);
        check(|r| r.segments = 65, InvalidRecipe::Segments);
        check(|r| r.segments = 3, InvalidRecipe::Tier);
        check(|r| r.tiers[0].inner_steps = 60_000, InvalidRecipe::Tier);
        check(|r| r.tiers[3].cadence = 0, InvalidRecipe::Tier);
        check(|r| r.optimiser.beta2 = MILLION, InvalidRecipe::Constant);
        check(|r| r.compression.top_k = 4_097, InvalidRecipe::Constant);
        check(|r| r.schedule.peak = BILLION, InvalidRecipe::Constant);
        check(
            |r| r.numerics = Numerics::Native { tolerance: MIN_TOLERANCE - 1 },
            InvalidRecipe::Tolerance,
        );
        check(
            |r| r.numerics = Numerics::Native { tolerance: MAX_TOLERANCE + 1 },
            InvalidRecipe::Tolerance,
        );
    }

    #[test]
    fn both_profiles_are_accepted() {
        let recipe = Recipe { numerics: Numerics::Native { tolerance: MIN_TOLERANCE }, ..recipe() };
        assert_eq!(recipe.validate(), Ok(()));
        assert_eq!(recipe.numerics.encode(), [1, 0xe8, 3, 0, 0]);
        assert_eq!(
            Numerics::Exact.encode(),
            [0],
            "what was encoded before there was another profile stays readable"
        );
    }

    #[test]
    fn a_rewrite_is_carried_out_where_the_architecture_changes_and_nowhere_else() {
        let (before, insert) = (recipe(), Rewrite::InsertBlock { at: 1 });
        let after = Recipe {
            model: insert.apply(&before.model).unwrap(),
            rewrite: Some(insert),
            ..before.clone()
        };
        assert_eq!(after.rewrite_from(&before), Ok(Some(insert)));
        assert_eq!(after.rewrite_from(&after), Ok(None));
        // Kept or left out, it is not carried out again; a second block of the same place is
        // another model.
        let tuned = Recipe { outer_rate: 5, ..after.clone() };
        let dropped = Recipe { rewrite: None, ..after.clone() };
        for (recipe, before) in [(&tuned, &after), (&dropped, &after), (&tuned, &dropped)] {
            assert_eq!(recipe.rewrite_from(before), Ok(None));
        }
        let again = Recipe { model: insert.apply(&after.model).unwrap(), ..after.clone() };
        assert_eq!(again.rewrite_from(&after), Ok(Some(insert)));

        assert_eq!(dropped.rewrite_from(&before), Err(InvalidSuccessor::Fixed));
        assert_eq!(again.rewrite_from(&before), Err(InvalidSuccessor::OtherModel));
        assert_eq!(before.rewrite_from(&after), Err(InvalidSuccessor::Fixed));
        let misfit = Recipe { rewrite: Some(Rewrite::SplitExpert { expert: 0 }), ..after.clone() };
        assert_eq!(
            misfit.rewrite_from(&before),
            Err(InvalidSuccessor::Rewrite(InvalidRewrite::NoExperts))
        );
        for other in [
            Recipe { tokenizer: [9; 32], ..after.clone() },
            Recipe { seed: [9; 32], ..after.clone() },
            Recipe { pretrained: Some([9; 32]), ..after.clone() },
            Recipe { shard_tokens: 8_192, ..after },
        ] {
            assert_eq!(other.rewrite_from(&before), Err(InvalidSuccessor::Fixed));
        }
    }

    #[test]
    fn recipes_from_before_there_were_rewrites_read_on() {
        let json = serde_json::to_value(recipe()).unwrap();
        assert!(json.get("rewrite").is_none());
        assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), recipe());
        let rewritten = Recipe { rewrite: Some(Rewrite::Widen { feed_forward: 640 }), ..recipe() };
        let json = serde_json::to_value(&rewritten).unwrap();
        assert_eq!(json["rewrite"], serde_json::json!({ "widen": { "feed_forward": 640 } }));
        assert_eq!(serde_json::from_value::<Recipe>(json).unwrap(), rewritten);
        assert_ne!(rewritten.hash(), recipe().hash());
        assert!(rewritten.encoded_size() <= Recipe::max_encoded_len());
    }

    #[test]
    fn the_rate_warms_up_and_decays() {
        let schedule = LearningRateSchedule {
            peak: 1_000_000,
            warmup_steps: 10,
            decay_tokens: 1_000,
            floor: 100_000,
        };
        assert_eq!(schedule.rate(0, 0), 100_000);
        assert_eq!(schedule.rate(9, 0), 1_000_000);
        assert_eq!(schedule.rate(99, 500), 550_000);
        assert_eq!(schedule.rate(99, 5_000), 100_000);
    }

    proptest! {
        #[test]
        fn the_rate_never_passes_its_peak(step: u64, tokens: u64, peak in 0..BILLION, warmup_steps: u32, decay_tokens: u64, floor: u32) {
            let schedule = LearningRateSchedule { peak, warmup_steps, decay_tokens, floor };
            prop_assert!(schedule.rate(step, tokens) <= peak);
        }
    }
}
