// SPDX-License-Identifier: Apache-2.0

//! Findings of seats, and verdicts.

use super::{AuditId, MAX_AUDITED_SEGMENTS, MAX_SKETCHED_SEGMENTS};
use crate::{
    Balance, BoundedVec, ConstU32, Hash, MAX_LEASE_SHARDS, MAX_SUBMISSIONS, MILLION, Ppm,
    sketch::Sketch, statistics::weighted_median,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A seat's measurement of an update.
///
/// Gains are mean losses without the update minus mean losses with it, in millionths of a nat per
/// token: positive if the update helps.
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
    /// Gain on unassigned text.
    pub gain: i32,
    /// Standard error of `gain`.
    pub error: u32,
    /// Gain on the leased text.
    pub own: i32,
    /// [Quality](crate::data::quality) of the leased text.
    pub quality: Ppm,
    /// Gain on each leased shard, in the order of the lease.
    pub shards: BoundedVec<i32, ConstU32<MAX_LEASE_SHARDS>>,
}

impl UpdateMeasurement {
    /// Returns the score that rewards depend on: `gain` minus two standard errors, at least 0.
    pub fn score(&self) -> u32 {
        let sure = i64::from(self.gain).saturating_sub(i64::from(self.error).saturating_mul(2));
        u32::try_from(sure.max(0)).unwrap_or(u32::MAX)
    }
}

/// Finding of a seat.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Finding {
    /// The seat replayed the drawn segments under the exact profile.
    #[codec(index = 0)]
    Replayed {
        /// Digests of the states in which its replays of the drawn segments ended.
        ends: BoundedVec<Hash, ConstU32<MAX_AUDITED_SEGMENTS>>,
        /// Set if packing the final state gives the payload and the carry.
        packed: bool,
        /// Measurement of the update.
        measure: UpdateMeasurement,
    },
    /// The served states cannot be trained: they are not states of the model, or training diverges.
    #[codec(index = 1)]
    Impossible,
    /// A served state could not be fetched.
    #[codec(index = 2)]
    Unavailable,
    /// The seat replayed the drawn segments under the native profile. Its [`Binding`] reports on
    /// payload and carry.
    #[codec(index = 3)]
    Sketched {
        /// Sketches of the changes by its replays of the drawn segments.
        ends: BoundedVec<Sketch, ConstU32<MAX_SKETCHED_SEGMENTS>>,
        /// Measurement of the update.
        measure: UpdateMeasurement,
    },
}

/// Findings of a validator in all its seats of an audit, each with the index of its case in
/// [`Audit::cases`](super::Audit::cases), in ascending order.
pub type Evidence = BoundedVec<(u8, Finding), ConstU32<MAX_SUBMISSIONS>>;

/// Returns the commitment that hides `evidence` until it is revealed.
///
/// The commitment binds validator, chain and audit, so that a copy is worthless.
pub fn evidence_commitment(
    account: &[u8],
    genesis: &Hash,
    audit: AuditId,
    evidence: &Evidence,
    salt: &Hash,
) -> Hash {
    crate::digest(b"pol/evidence/1", &(account, genesis, audit, evidence, salt))
}

/// Verdict of an audit on an update.
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
    /// A quorum replayed to the opened end.
    #[codec(index = 0)]
    Valid,
    /// A quorum agreed on another result.
    #[codec(index = 1)]
    Invalid,
    /// The trainer did not serve a start or open an end, or a quorum could not fetch a state.
    #[codec(index = 2)]
    Withheld,
    /// No finding had a quorum.
    #[codec(index = 3)]
    Unresolved,
}

/// Check of the opened ends by a seat, under the native profile.
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
    /// The opened sketches match the opened leaves, and packing the final state gives the payload
    /// and the carry.
    #[codec(index = 0)]
    Bound,
    /// The sketches do not match, or packing gives another payload or carry.
    #[codec(index = 1)]
    Mismatch,
    /// An opened state could not be fetched.
    #[codec(index = 2)]
    Unavailable,
}

/// A seat on an update, as compared by [`exact`](super::exact) and [`native`](super::native).
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    /// Stake of the validator.
    pub stake: Balance,
    /// Revealed finding; `None` if the validator revealed nothing.
    pub finding: Option<&'a Finding>,
    /// Check of the opened ends; `None` under the exact profile.
    pub binding: Option<Binding>,
}

/// Returns the stake-weighted median of each figure.
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
