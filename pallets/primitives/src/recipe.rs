// SPDX-License-Identifier: Apache-2.0

//! Recipes: everything needed to replay a training step, in integers.

use crate::{
    Hash, MILLION, Ppm,
    model::ModelSpec,
    rewrite::{InvalidRewrite, Rewrite},
    versioned::versioned,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A ratio in parts per billion, the fixed point of learning rates and optimiser constants.
pub type Ppb = u64;
/// The ratio 1 as [`Ppb`].
pub const BILLION: Ppb = 1_000_000_000;

/// Class of a trainer's machine. Every tier trains the same model, with different batch parameters.
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
    /// Phones and small boards.
    #[codec(index = 0)]
    Mobile,
    /// Laptops.
    #[codec(index = 1)]
    #[default]
    Participant,
    /// Workstations.
    #[codec(index = 2)]
    Miner,
    /// Data-centre machines.
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
    /// Number of sequences in a micro-batch.
    pub micro_batch: u16,
    /// Number of micro-batches whose gradients are averaged in one step.
    pub accumulation: u16,
    /// Number of optimiser steps of a lease; a multiple of the recipe's segments.
    pub inner_steps: u16,
    /// Lifetime of a lease in rounds; 1 if it is due in the round that granted it.
    pub cadence: u8,
}

impl TierParameters {
    /// Returns the number of sequences consumed by one optimiser step.
    pub fn sequences_per_step(&self) -> u32 {
        u32::from(self.micro_batch).saturating_mul(u32::from(self.accumulation))
    }

    /// Returns the number of sequences consumed by a full lease.
    pub fn sequences(&self) -> u32 {
        self.sequences_per_step().saturating_mul(u32::from(self.inner_steps))
    }
}

/// Constants of AdamW (Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization").
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
    /// Decay rate of the first moment.
    pub beta1: Ppm,
    /// Decay rate of the second moment.
    pub beta2: Ppm,
    /// Addend to the root of the second moment.
    pub epsilon: Ppb,
    /// Decoupled weight decay.
    pub weight_decay: Ppm,
}

/// Schedule of the inner learning rate: linear warm-up over a trainer's steps, then linear decay
/// over the tokens of the model.
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
    /// Learning rate after warm-up, per step.
    pub peak: Ppb,
    /// Number of warm-up steps.
    pub warmup_steps: u32,
    /// Number of tokens of the head over which the rate falls to `floor`; 0 disables the decay.
    pub decay_tokens: u64,
    /// Learning rate after the decay, as a share of the peak.
    pub floor: Ppm,
}

impl LearningRateSchedule {
    /// Returns the learning rate of a trainer's step `step`, counted from 0 over all its leases, on
    /// a head of `head_tokens` tokens.
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

/// Returns `part / whole` in millionths, at most 1.
fn ratio(part: u64, whole: u64) -> u64 {
    let scaled = u128::from(part)
        .saturating_mul(u128::from(MILLION))
        .checked_div(u128::from(whole))
        .unwrap_or(0);
    u64::try_from(scaled).unwrap_or(u64::MAX).min(u64::from(MILLION))
}

/// Returns `value · share` for a share in millionths.
fn ppm_of(value: u64, share: u64) -> u64 {
    let product = u128::from(value)
        .saturating_mul(u128::from(share))
        .checked_div(u128::from(MILLION))
        .unwrap_or(0);
    u64::try_from(product).unwrap_or(u64::MAX)
}

/// Compression of updates.
///
/// The largest values by magnitude of each chunk are sent with two bits each. The rest is fed back
/// into the next update (error feedback: Karimireddy et al. 2019, arXiv 1901.09847).
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
    /// Number of values kept of each chunk of [`CHUNK_SIZE`](crate::payload::CHUNK_SIZE) values.
    pub top_k: u16,
    /// Share of the unsent rest that is carried to the next update.
    pub feedback: Ppm,
}

/// Numerics profile: the criterion by which two replays count as equal.
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
    /// Replays agree in every bit.
    #[codec(index = 0)]
    Exact,
    /// Replays agree within a distance, so that any fast kernel may be used; see [`crate::sketch`].
    #[codec(index = 1)]
    Native {
        /// Maximum distance between the claimed and the replayed end of a segment, in every part of
        /// a [sketch](crate::sketch::Sketch): the L2 norm of the difference over that of the
        /// replayed change. In [`MIN_TOLERANCE`]`..=`[`MAX_TOLERANCE`].
        tolerance: Ppm,
    },
}

/// Minimum tolerance, well above the rounding errors of a [sketch](crate::sketch::Sketch).
pub const MIN_TOLERANCE: Ppm = 1_000;
/// Maximum tolerance. Beyond it, a segment need not even point in the direction of its replay.
pub const MAX_TOLERANCE: Ppm = 100_000;

/// Everything needed to replay a training step.
///
/// Only governance changes the recipe, with effect from the next round. The SCALE encoding is
/// versioned, so that a recipe keeps its [name](Self::hash) when recipes get further fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// Architecture of the model.
    pub model: ModelSpec,
    /// BLAKE3 of the tokenizer's JSON file.
    #[serde(with = "crate::hex_hash")]
    pub tokenizer: Hash,
    /// Seed from which the initial parameters are drawn.
    #[serde(with = "crate::hex_hash")]
    pub seed: Hash,
    /// BLAKE3 of imported parameters that training starts from in place of drawn ones. Members
    /// fetch them from each other.
    #[serde(default, with = "crate::hex_hash::option", skip_serializing_if = "Option::is_none")]
    pub pretrained: Option<Hash>,
    /// Content hash of the manifest of held-out text on which members evaluate the model; `None` if
    /// they evaluate it on none.
    #[serde(default, with = "crate::hex_hash::option", skip_serializing_if = "Option::is_none")]
    pub held_out: Option<Hash>,
    /// Rewrite that leads from the architecture of the previous recipe to this one; `None` for the
    /// first recipe of a network.
    ///
    /// The first head of this architecture carries it out; see [`Self::rewrite_from`]. Later
    /// recipes may keep it or leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Number of tokens in a training sequence.
    pub sequence: u16,
    /// Number of tokens that a shard trains on; a multiple of `sequence`.
    pub shard_tokens: u32,
    /// Batch parameters by tier, in the order of [`Tier::ALL`].
    pub tiers: [TierParameters; 4],
    /// Inner optimiser.
    pub optimiser: AdamW,
    /// Learning rate of the inner optimiser.
    pub schedule: LearningRateSchedule,
    /// Maximum L2 norm of the gradient of a step, in millionths.
    pub gradient_clip: Ppm,
    /// Step size of the outer optimiser along the averaged update.
    pub outer_rate: Ppm,
    /// Compression of updates.
    pub compression: Compression,
    /// Number of segments of a lease. Audits replay whole segments.
    pub segments: u16,
    /// Numerics profile.
    pub numerics: Numerics,
    /// Name of the arithmetic of the exact profile: a hash that changes with every bit that it
    /// computes. Members whose software computes otherwise wait. `None` under the native profile,
    /// and if members are trusted to agree on a version of the software.
    #[serde(default, with = "crate::hex_hash::option", skip_serializing_if = "Option::is_none")]
    pub arithmetic: Option<Hash>,
}

versioned!(
    Recipe,
    1: {
        model: ModelSpec,
        tokenizer: Hash, seed: Hash, pretrained: Option<Hash>, rewrite: Option<Rewrite>,
        sequence: u16, shard_tokens: u32,
        tiers: [TierParameters; 4],
        optimiser: AdamW, schedule: LearningRateSchedule,
        gradient_clip: Ppm, outer_rate: Ppm,
        compression: Compression,
        segments: u16, numerics: Numerics,
    },
    2: { held_out: Option<Hash> },
    3: { arithmetic: Option<Hash> },
);

/// Error of a recipe that is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRecipe {
    /// The architecture is invalid.
    Model(crate::model::InvalidSpec),
    /// The sequence is empty or longer than the context, or a shard is not a whole number of
    /// sequences.
    Sequence,
    /// A tier has a size of 0, steps that are not whole segments, or more data than a lease holds.
    Tier,
    /// A constant of the optimiser, the schedule or the compression is out of range.
    Constant,
    /// There are no segments, or more than a trace can have.
    Segments,
    /// The tolerance is out of range.
    Tolerance,
    /// The native profile names an arithmetic.
    Arithmetic,
}

impl core::fmt::Display for InvalidRecipe {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Model(invalid) => write!(f, "model: {invalid}"),
            Self::Sequence => f.write_str(
                "a sequence must fit the context, and a shard must be a whole number of sequences",
            ),
            Self::Tier => f.write_str(
                "a tier's sizes must be at least 1, its steps whole segments, \
                 its data at most 64 shards",
            ),
            Self::Constant => {
                f.write_str("a constant of the optimiser, schedule or compression is out of range")
            }
            Self::Segments => f.write_str("a lease has 1 to 64 segments"),
            Self::Tolerance => f.write_str(
                "the tolerance of the native profile must be 1,000 to 100,000 millionths",
            ),
            Self::Arithmetic => {
                f.write_str("only the exact profile has an arithmetic; leave the field out")
            }
        }
    }
}

impl core::error::Error for InvalidRecipe {}

/// Error of a recipe that cannot follow another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSuccessor {
    /// The tokenizer, the seed, the initial parameters or the size of shards differ, or the
    /// architecture differs without a rewrite.
    Fixed,
    /// The rewrite does not fit the previous architecture.
    Rewrite(InvalidRewrite),
    /// The rewrite leads to another architecture than the recipe's.
    OtherModel,
}

impl core::fmt::Display for InvalidSuccessor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Fixed => f.write_str(
                "a recipe must keep the tokenizer, seed, initial parameters and shard size, \
                     and change the model by a rewrite only",
            ),
            Self::Rewrite(invalid) => write!(f, "the rewrite does not fit the model: {invalid}"),
            Self::OtherModel => {
                f.write_str("the rewrite leads to another model than that of the recipe")
            }
        }
    }
}

impl core::error::Error for InvalidSuccessor {}

impl Recipe {
    /// Returns the rewrite that leads from a head of the recipe `before` to a head of this recipe,
    /// or `None` if the architecture is the same.
    ///
    /// Every rewrite changes the architecture. So no rewrite is carried out twice, and two
    /// consecutive recipes determine if one is carried out.
    ///
    /// # Errors
    ///
    /// Fails if this recipe cannot follow `before`.
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

    /// Returns this recipe with the native profile.
    #[must_use]
    pub fn into_native(self, tolerance: Ppm) -> Self {
        Self { numerics: Numerics::Native { tolerance }, arithmetic: None, ..self }
    }

    /// Returns the hash that names this recipe: that of its versioned encoding.
    pub fn hash(&self) -> Hash {
        crate::digest(b"pol/recipe/1", self)
    }

    /// Returns the batch parameters of `tier`.
    pub fn tier(&self, tier: Tier) -> &TierParameters {
        let [mobile, participant, miner, whale] = &self.tiers;
        match tier {
            Tier::Mobile => mobile,
            Tier::Participant => participant,
            Tier::Miner => miner,
            Tier::Whale => whale,
        }
    }

    /// Returns the number of training sequences in a shard.
    pub fn sequences_per_shard(&self) -> u32 {
        self.shard_tokens.checked_div(u32::from(self.sequence)).unwrap_or(0)
    }

    /// Returns the number of shards in a full lease of `tier`, in which no sequence is read twice.
    pub fn shards_per_lease(&self, tier: Tier) -> u32 {
        let per_shard = self.sequences_per_shard().max(1);
        self.tier(tier).sequences().div_ceil(per_shard)
    }

    /// Returns the number of optimiser steps in a segment of `tier`.
    pub fn steps_per_segment(&self, tier: Tier) -> u16 {
        self.tier(tier).inner_steps.checked_div(self.segments).unwrap_or(0)
    }

    /// Returns the number of tokens that `steps` steps of `tier` train on.
    pub fn tokens(&self, tier: Tier, steps: u16) -> u64 {
        u64::from(self.tier(tier).sequences_per_step())
            .saturating_mul(u64::from(steps))
            .saturating_mul(u64::from(self.sequence))
    }

    /// Checks that every constant is in range and that the constants are consistent.
    ///
    /// # Errors
    ///
    /// Fails with the first constant that a network cannot train with.
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
            Numerics::Native { .. } if self.arithmetic.is_some() => Err(InvalidRecipe::Arithmetic),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
