//! Findings of seats, and the verdicts that follow from them.

use super::{AuditId, MAX_AUDITED_SEGMENTS, MAX_SKETCHED_SEGMENTS};
use crate::{
    Balance, BoundedVec, ConstU32, Hash, MAX_LEASE_SHARDS, MAX_SUBMISSIONS, MILLION, Ppm,
    sketch::Sketch, statistics::weighted_median,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// What an update did to the model, measured by a seat: differences of mean loss without and with
/// the update alone, positive where it helps, in millionths of a nat a token.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct UpdateMeasurement {
    /// On text nobody was assigned.
    pub gain: i32,
    /// Standard error of that.
    pub error: u32,
    /// On the lease's own text.
    pub own: i32,
    /// How little the lease's text repeats itself: [`crate::data::quality`].
    pub quality: Ppm,
    /// On each of the lease's shards, in its order.
    pub shards: BoundedVec<i32, ConstU32<MAX_LEASE_SHARDS>>,
}

impl UpdateMeasurement {
    /// What pays: the improvement that is beyond doubt, none where it might be chance.
    pub fn score(&self) -> u32 {
        let sure = i64::from(self.gain).saturating_sub(i64::from(self.error).saturating_mul(2));
        u32::try_from(sure.max(0)).unwrap_or(u32::MAX)
    }
}

/// What a seat found.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Finding {
    /// It replayed the drawn segments.
    #[codec(index = 0)]
    Replayed {
        /// Digests of the states that its own replay of each drawn segment ended in.
        ends: BoundedVec<Hash, ConstU32<MAX_AUDITED_SEGMENTS>>,
        /// Whether payload and carry are what packing the final state gives.
        packed: bool,
        /// What the update did.
        measure: UpdateMeasurement,
    },
    /// The states shown cannot be trained from: they are not states of the model, or training them
    /// diverges.
    #[codec(index = 1)]
    Impossible,
    /// A state that was named could not be fetched.
    #[codec(index = 2)]
    Unavailable,
    /// It replayed the drawn segments under the native profile. Whether payload and carry are what
    /// packing gives is part of its [`Binding`](crate::sketch::Binding).
    #[codec(index = 3)]
    Sketched {
        /// Sketches of what its own replay of each drawn segment changed.
        ends: BoundedVec<Sketch, ConstU32<MAX_SKETCHED_SEGMENTS>>,
        /// What the update did.
        measure: UpdateMeasurement,
    },
}

/// What a validator found in all its seats of an audit: case, by its place in [`Audit::cases`], and
/// finding; ascending.
pub type Evidence = BoundedVec<(u8, Finding), ConstU32<MAX_SUBMISSIONS>>;

/// What hides `evidence` until it is revealed: bound to validator, chain and audit, so a copied one
/// is worthless.
pub fn evidence_commitment(
    account: &[u8],
    genesis: &Hash,
    audit: AuditId,
    evidence: &Evidence,
    salt: &Hash,
) -> Hash {
    crate::digest(b"pol/evidence/1", &(account, genesis, audit, evidence, salt))
}

/// What an audit says about an update.
#[derive(
    Clone,
    Copy,
    Debug,
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
pub enum Verdict {
    /// A quorum replayed to what was opened.
    #[codec(index = 0)]
    Valid,
    /// A quorum replayed to one other thing.
    #[codec(index = 1)]
    Invalid,
    /// The trainer did not show a start or open an end, or a quorum could not fetch what it named.
    #[codec(index = 2)]
    Withheld,
    /// There was no quorum for anything.
    #[codec(index = 3)]
    Unresolved,
}

/// What a seat found when it fetched the ends that were opened.
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
)]
pub enum Binding {
    /// The opened sketches are those of the opened leaves, and packing the final state gives
    /// payload and carry.
    #[codec(index = 0)]
    Bound,
    /// They are not, or it does not.
    #[codec(index = 1)]
    Mismatch,
    /// A state that was named could not be fetched.
    #[codec(index = 2)]
    Unavailable,
}

/// One seat on an update.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// Its stake.
    pub stake: Balance,
    /// What it committed to and revealed.
    pub finding: Option<&'a Finding>,
    /// What it said of the opened ends.
    pub binding: Option<Binding>,
}

/// The median of each figure, by stake.
pub(super) fn median(right: &[(&UpdateMeasurement, Balance)]) -> UpdateMeasurement {
    let median = |figure: &dyn Fn(&UpdateMeasurement) -> i64| {
        weighted_median(right.iter().map(|(measure, stake)| (figure(measure), *stake)))
    };
    let signed = |value: i64| i32::try_from(value).unwrap_or(0);
    let unsigned = |value: i64| u32::try_from(value).unwrap_or(0);
    let shards = right.iter().map(|(measure, _)| measure.shards.len()).max().unwrap_or(0);
    let shards = (0..shards)
        .map(|at| signed(median(&|measure| measure.shards.get(at).copied().unwrap_or(0).into())));
    UpdateMeasurement {
        gain: signed(median(&|measure| measure.gain.into())),
        error: unsigned(median(&|measure| measure.error.into())),
        own: signed(median(&|measure| measure.own.into())),
        quality: unsigned(median(&|measure| measure.quality.min(MILLION).into())),
        shards: BoundedVec::truncate_from(shards.collect()),
    }
}
