// SPDX-License-Identifier: Apache-2.0

//! Findings of seats, and verdicts.

use super::{AuditId, MAX_AUDITED_SEGMENTS, MAX_SKETCHED_SEGMENTS};
use crate::{
    BoundedVec, ConstU32, Hash, MAX_LEASE_SHARDS, MAX_SUBMISSIONS, MILLION, Ppm, sketch::Sketch,
    statistics::weighted_median,
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A seat's measurement of an update.
///
/// Gains are in billionths of a nat per token, saturating, and positive if the update helps. They
/// are products of gradients in the middle of the round's movement with the part of the movement
/// that is the update's. Those of all updates of a round add up to the fall of the loss, up to
/// third order, so they are the Shapley values of the linearised round (Wang et al. 2024, "Data
/// Shapley in One Training Run", arXiv 2406.11011).
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
    /// Mean gain on the leased shards that were drawn.
    pub own: i32,
    /// [Quality](crate::data::quality) of the leased text.
    pub quality: Ppm,
    /// Parts of `gain` that are due to the leased shards, in the order of the lease. They are
    /// signed, at most `gain` in all, and zero for shards that were not drawn.
    pub shards: BoundedVec<i32, ConstU32<MAX_LEASE_SHARDS>>,
}

/// Number of shards of a lease that audits draw to be measured. All others have a part of zero.
pub const MEASURED_SHARDS: usize = 4;

impl UpdateMeasurement {
    /// Returns the score that rewards depend on: `gain`, at least 0.
    pub fn score(&self) -> u32 {
        u32::try_from(self.gain).unwrap_or(0)
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

/// Findings of a validator in an audit, each with the index of its case in
/// [`Audit::cases`](super::Audit::cases), in ascending order. The validator is silent about cases
/// that are left out.
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

/// Verdict of an audit on an update, or opinion of one of its seats.
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
    /// Two thirds of the seats replayed to the opened end.
    #[codec(index = 0)]
    Valid,
    /// Two thirds of the seats of a second draw agreed on another result.
    #[codec(index = 1)]
    Invalid,
    /// The trainer did not serve a start or open an end, or two thirds of the seats of a second
    /// draw could not fetch a state.
    #[codec(index = 2)]
    Withheld,
    /// Neither draw decided.
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
    /// The seat could not check the ends and blames nobody. It counts as silent.
    #[codec(index = 3)]
    Unchecked,
}

/// A seat on an update, as compared by [`exact`](super::exact) and [`native`](super::native).
///
/// Each seat has one vote. Stake decides who is drawn, and counts no second time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seat<'a> {
    /// Revealed finding; `None` if the validator revealed nothing.
    pub finding: Option<&'a Finding>,
    /// Check of the opened ends; `None` under the exact profile.
    pub binding: Option<Binding>,
}

/// Returns `true` if `votes` of `seats` seats decide: at least two thirds of all of them, silent
/// ones included.
///
/// ```
/// use pol_primitives::audit::is_seat_quorum;
///
/// assert!(is_seat_quorum(2, 3) && is_seat_quorum(11, 16) && is_seat_quorum(1, 1));
/// assert!(!is_seat_quorum(1, 2) && !is_seat_quorum(10, 16) && !is_seat_quorum(0, 0));
/// ```
pub fn is_seat_quorum(votes: usize, seats: usize) -> bool {
    votes > 0 && votes.saturating_mul(3) >= seats.saturating_mul(2)
}

/// Returns the verdict of a draw whose seats have the `opinions`, and two thirds of them `found`.
///
/// The first draw only acquits, and only where no seat objects. Anything else goes to a second draw
/// before it costs anybody anything.
pub fn verdict_of_draw(draw: u8, found: Verdict, opinions: &[Option<Verdict>]) -> Verdict {
    let is_disputed = opinions.iter().flatten().any(|opinion| *opinion != Verdict::Valid);
    if draw == 0 && is_disputed { Verdict::Unresolved } else { found }
}

/// Returns the median of each figure, in which every seat counts once. The median of two is the
/// lower one.
pub(super) fn median(right: &[&UpdateMeasurement]) -> UpdateMeasurement {
    let median = |figure: &dyn Fn(&UpdateMeasurement) -> i64| {
        weighted_median(right.iter().map(|measure| (figure(measure), 1)))
    };
    let signed = |value: i64| i32::try_from(value).unwrap_or(0);
    let shards = right.iter().map(|measure| measure.shards.len()).max().unwrap_or(0);
    let shards = (0..shards)
        .map(|at| signed(median(&|measure| measure.shards.get(at).copied().unwrap_or(0).into())));
    UpdateMeasurement {
        gain: signed(median(&|measure| measure.gain.into())),
        own: signed(median(&|measure| measure.own.into())),
        quality: u32::try_from(median(&|measure| measure.quality.min(MILLION).into())).unwrap_or(0),
        shards: BoundedVec::truncate_from(shards.collect()),
    }
}
