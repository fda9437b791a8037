// SPDX-License-Identifier: Apache-2.0

//! Commitments, reveals and their records.

use crate::{
    BoundedVec, ConstU32, Hash, RoundNumber, metrics::MetricsClaim, recipe::Tier,
    trace::MerkleProof,
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A trainer's unverified figures about its training. They affect neither rewards nor penalties.
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
)]
pub struct TrainingClaims {
    /// Mean training loss of the first segment, in millionths of a nat per token.
    pub first_loss: u32,
    /// Mean training loss of the last segment, in millionths of a nat per token.
    pub last_loss: u32,
    /// Number of tokens trained on per second.
    pub tokens_per_second: u32,
    /// Metrics that the trainer measured of the head it trained from. Validators measure them too.
    pub metrics: Option<MetricsClaim>,
}

/// The contents of a commitment, opened by the call `reveal`.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Reveal {
    /// BLAKE3 of the payload, which is its address in the swarm.
    pub payload_hash: Hash,
    /// Merkle root over the trace leaves, which are the states at segment boundaries.
    pub trace_root: Hash,
    /// Hash of the carry after the lease.
    pub carry_hash: Hash,
    /// Number of steps taken: whole segments, at most those of the recipe.
    pub steps: u16,
    /// Proof that leaf 0 of the trace is the base of the lease with the trainer's carry.
    pub first_leaf: MerkleProof,
    /// Random salt that hides the contents of the commitment.
    pub salt: Hash,
}

impl Reveal {
    /// Returns the commitment of `account` on the chain `genesis` for `round`.
    ///
    /// The commitment binds the account, so that a copy by another account is worthless.
    pub fn commitment(&self, account: &[u8], genesis: &Hash, round: RoundNumber) -> Hash {
        let Self { payload_hash, trace_root, carry_hash, steps, salt, .. } = self;
        crate::digest(
            b"pol/commit/1",
            &(account, genesis, round, payload_hash, trace_root, carry_hash, steps, salt),
        )
    }
}

/// Status of a submission that is not settled.
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
pub enum SubmissionStatus {
    /// Committed and not opened.
    #[codec(index = 0)]
    Committed,
    /// Opened, and may be included.
    #[codec(index = 1)]
    Revealed,
    /// Part of a head, and under audit.
    #[codec(index = 2)]
    Included,
}

/// Final outcome of a submission.
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
pub enum Outcome {
    /// Never opened.
    #[codec(index = 0)]
    NoShow,
    /// Opened in time, but left out of the head, or the round was void.
    #[codec(index = 1)]
    Excluded,
    /// Included, and found to be the result of its lease.
    #[codec(index = 2)]
    Valid,
    /// Included, found to be another result, and excised.
    #[codec(index = 3)]
    Invalid,
    /// Included, and excised because its trainer did not answer the audit.
    #[codec(index = 4)]
    Withheld,
    /// Included, and excised because no quorum agreed on a finding.
    #[codec(index = 5)]
    Unresolved,
    /// Included, and excised because it continued from an excised update.
    #[codec(index = 6)]
    Tainted,
}

impl Outcome {
    /// Returns `true` if the update remains part of the model.
    pub fn stays(self) -> bool {
        self == Self::Valid
    }
}

/// Permanent record of a submission.
///
/// It holds the finding of the audit and the data from which the history of the model is replayed.
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
pub struct SubmissionRecord {
    /// Final outcome.
    pub outcome: Outcome,
    /// Tier of the trainer.
    pub tier: Tier,
    /// Number of rounds by which the update was late.
    pub staleness: u8,
    /// Index among the round's reveals.
    pub index: u8,
    /// BLAKE3 of the payload; zeros if the commitment was never opened.
    pub payload_hash: Hash,
    /// Digest of the leased data.
    pub data_hash: Hash,
    /// Number of tokens credited.
    pub tokens: u64,
    /// [Gain](crate::audit::UpdateMeasurement) on unassigned text, in billionths of a nat per
    /// token.
    pub gain: i32,
}

/// A trainer's submission to a round.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Submission {
    /// [`Reveal::commitment`].
    pub commitment: Hash,
    /// Tier of the trainer.
    pub tier: Tier,
    /// Number of rounds between the head that it was trained from and the head that it updates.
    pub staleness: u8,
    /// Figures claimed by the trainer.
    pub claims: TrainingClaims,
    /// Digest of the leased data.
    pub data_hash: Hash,
    /// Current status.
    pub status: SubmissionStatus,
    /// Opened contents; `None` until the reveal.
    pub opened: Option<RevealRecord>,
}

/// The revealed part of a submission.
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
pub struct RevealRecord {
    /// Index among the round's reveals, to which a [`RevealSet`] refers.
    pub index: u8,
    /// BLAKE3 of the payload.
    pub payload_hash: Hash,
    /// Merkle root of the trace.
    pub trace_root: Hash,
    /// Hash of the carry after the lease.
    pub carry_hash: Hash,
    /// Number of steps taken.
    pub steps: u16,
    /// Number of tokens credited.
    pub tokens: u64,
}

/// A set of reveals of one round, by index.
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
    Serialize,
    Deserialize,
)]
#[serde(from = "Vec<u8>", into = "Vec<u8>")]
pub struct RevealSet(BoundedVec<u8, ConstU32<{ crate::MAX_SUBMISSIONS.div_ceil(8) }>>);

/// Creates the set of a list of indices, as [`RevealSet::from_indices`] does.
impl From<Vec<u8>> for RevealSet {
    fn from(indices: Vec<u8>) -> Self {
        Self::from_indices(indices)
    }
}

/// Returns the indices in ascending order.
impl From<RevealSet> for Vec<u8> {
    fn from(set: RevealSet) -> Self {
        set.indices().collect()
    }
}

impl RevealSet {
    /// Creates the set of `indices`. Indices beyond [`MAX_SUBMISSIONS`](crate::MAX_SUBMISSIONS) are
    /// left out.
    pub fn from_indices(indices: impl IntoIterator<Item = u8>) -> Self {
        let mut bits = Vec::new();
        for index in indices.into_iter().filter(|&index| u32::from(index) < crate::MAX_SUBMISSIONS)
        {
            let at = usize::from(index >> 3);
            if bits.len() <= at {
                bits.resize(at.saturating_add(1), 0u8);
            }
            if let Some(byte) = bits.get_mut(at) {
                *byte |= 1 << (index & 7);
            }
        }
        Self(BoundedVec::truncate_from(bits))
    }

    /// Returns `true` if the set contains `index`.
    pub fn contains(&self, index: u8) -> bool {
        self.0.get(usize::from(index >> 3)).is_some_and(|byte| byte & (1 << (index & 7)) != 0)
    }

    /// Returns the indices in ascending order.
    pub fn indices(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).take(crate::MAX_SUBMISSIONS as usize).filter(|&index| self.contains(index))
    }

    /// Returns the number of indices.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Returns `true` if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns `true` if the encoding is canonical (no trailing zero bytes) and all indices are
    /// below `count`.
    pub fn is_canonical(&self, count: u32) -> bool {
        self.0.last() != Some(&0) && self.indices().all(|index| u32::from(index) < count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_commitment_binds_everything() {
        let reveal = Reveal {
            payload_hash: [1; 32],
            trace_root: [2; 32],
            carry_hash: [3; 32],
            steps: 4,
            first_leaf: MerkleProof::new(),
            salt: [5; 32],
        };
        let commitment = reveal.commitment(&[6; 32], &[7; 32], 8);
        assert_ne!(commitment, reveal.commitment(&[0; 32], &[7; 32], 8));
        assert_ne!(commitment, reveal.commitment(&[6; 32], &[0; 32], 8));
        assert_ne!(commitment, reveal.commitment(&[6; 32], &[7; 32], 0));
        for changed in [
            Reveal { payload_hash: [0; 32], ..reveal.clone() },
            Reveal { trace_root: [0; 32], ..reveal.clone() },
            Reveal { carry_hash: [0; 32], ..reveal.clone() },
            Reveal { steps: 0, ..reveal.clone() },
            Reveal { salt: [0; 32], ..reveal.clone() },
        ] {
            assert_ne!(commitment, changed.commitment(&[6; 32], &[7; 32], 8));
        }
    }

    #[test]
    fn what_is_kept_forever_is_small() {
        assert!(
            SubmissionRecord::max_encoded_len() < 128,
            "{}",
            SubmissionRecord::max_encoded_len()
        );
        let settled = SubmissionRecord {
            outcome: Outcome::Tainted,
            tier: Tier::Whale,
            staleness: u8::MAX,
            index: u8::MAX,
            payload_hash: [1; 32],
            data_hash: [2; 32],
            tokens: u64::MAX,
            gain: i32::MIN,
        };
        assert!(settled.encode().len() <= SubmissionRecord::max_encoded_len());
        assert_eq!(SubmissionRecord::decode(&mut &settled.encode()[..]), Ok(settled));
        assert!(Submission::max_encoded_len() <= 256, "{}", Submission::max_encoded_len());
    }

    #[test]
    fn only_valid_updates_stay() {
        use Outcome::*;
        let all = [NoShow, Excluded, Valid, Invalid, Withheld, Unresolved, Tainted];
        assert_eq!(all.into_iter().filter(|outcome| outcome.stays()).collect::<Vec<_>>(), [Valid]);
    }

    proptest! {
        #[test]
        fn a_canonical_set_has_one_encoding(bytes: Vec<u8>, count in 0..=crate::MAX_SUBMISSIONS) {
            let Ok(set) = RevealSet::decode(&mut &bytes[..]) else { return Ok(()) };
            if set.is_canonical(count) {
                prop_assert_eq!(&set, &RevealSet::from_indices(set.indices()));
                prop_assert!(set.len() <= count);
            }
        }

        #[test]
        fn a_set_holds_what_it_was_made_of(indices: BTreeSet<u8>) {
            let set = RevealSet::from_indices(indices.iter().copied());
            let expected: Vec<u8> = indices
                .iter()
                .copied()
                .filter(|&i| u32::from(i) < crate::MAX_SUBMISSIONS)
                .collect();
            prop_assert_eq!(set.indices().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(set.len() as usize, expected.len());
            prop_assert!(set.is_canonical(crate::MAX_SUBMISSIONS));
            if let Some(&last) = expected.last() {
                prop_assert!(!set.is_canonical(u32::from(last)));
            }
        }
    }
}
