//! Commitments, reveals, and what is kept of them.

use crate::{
    BoundedVec, ConstU32, Hash, RoundNumber, metrics::MetricsClaim, recipe::Tier,
    trace::MerkleProof,
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// What a trainer says about its own work. Information only: nothing is ever paid or punished by
/// it.
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
    /// Mean training loss of the first segment, in millionths of a nat.
    pub first_loss: u32,
    /// Mean training loss of the last segment.
    pub last_loss: u32,
    /// Tokens trained on per second.
    pub tokens_per_second: u32,
    /// What it measured of the head that it trained from, which validators measure too; none where
    /// it did not.
    pub metrics: Option<MetricsClaim>,
}

/// What a commitment binds, opened by `reveal`.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Reveal {
    /// BLAKE3 of the payload, its address among peers.
    pub payload_hash: Hash,
    /// Merkle root over the state leaves at segment boundaries.
    pub trace_root: Hash,
    /// Carry after this lease.
    pub carry_hash: Hash,
    /// Steps taken: whole segments, at most the recipe's.
    pub steps: u16,
    /// Proof that leaf 0 of the trace is the lease's base under the trainer's carry.
    pub first_leaf: MerkleProof,
    /// What hid all this.
    pub salt: Hash,
}

impl Reveal {
    /// The commitment of `account` on chain `genesis` for `round`. Binding the account makes a
    /// copied one worthless.
    pub fn commitment(&self, account: &[u8], genesis: &Hash, round: RoundNumber) -> Hash {
        let Self { payload_hash, trace_root, carry_hash, steps, salt, .. } = self;
        crate::digest(
            b"pol/commit/1",
            &(account, genesis, round, payload_hash, trace_root, carry_hash, steps, salt),
        )
    }
}

/// Where a submission stands until it is settled.
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
    /// Committed, not opened.
    #[codec(index = 0)]
    Committed,
    /// Opened; may be included.
    #[codec(index = 1)]
    Revealed,
    /// Part of a head; its audit is under way.
    #[codec(index = 2)]
    Included,
}

/// How a submission ended.
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
    /// Opened in time and left out of the head, or its round was void.
    #[codec(index = 1)]
    Excluded,
    /// Included, and found to be what its lease gives.
    #[codec(index = 2)]
    Valid,
    /// Included, found to be something else, and taken out of the model again.
    #[codec(index = 3)]
    Invalid,
    /// Included, and taken out since its trainer did not show what an audit asked for.
    #[codec(index = 4)]
    Withheld,
    /// Included, and taken out since no quorum found anything.
    #[codec(index = 5)]
    Unresolved,
    /// Included, and taken out since it went on from an update that was taken out.
    #[codec(index = 6)]
    Tainted,
}

impl Outcome {
    /// Whether it is part of the model.
    pub fn stays(self) -> bool {
        self == Self::Valid
    }
}

/// What is kept of a submission forever: what the model's history is replayed from, and what its
/// audit found.
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
    /// How it ended.
    pub outcome: Outcome,
    /// The tier it was trained as.
    pub tier: Tier,
    /// Rounds it was late.
    pub staleness: u8,
    /// Position among the round's reveals.
    pub index: u8,
    /// BLAKE3 of the payload; zeros when it was never opened.
    pub payload_hash: Hash,
    /// Digest of the leased data.
    pub data_hash: Hash,
    /// Tokens it was credited with.
    pub tokens: u64,
    /// Improvement on text nobody was assigned, in millionths of a nat a token.
    pub gain: i32,
    /// Standard error of that.
    pub error: u32,
}

/// One trainer's work in one round.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Submission {
    /// Hash of everything in the reveal.
    pub commitment: Hash,
    /// The tier it was trained as.
    pub tier: Tier,
    /// Rounds between the base it was trained from and the head it updates.
    pub staleness: u8,
    /// The trainer's own figures.
    pub claims: TrainingClaims,
    /// Digest of the leased data.
    pub data_hash: Hash,
    /// Where it stands.
    pub status: SubmissionStatus,
    /// What was opened.
    pub opened: Option<RevealRecord>,
}

/// The opened part of a submission.
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
    /// Position among the round's reveals, which the included set refers to.
    pub index: u8,
    /// BLAKE3 of the payload.
    pub payload_hash: Hash,
    /// Root of its trace.
    pub trace_root: Hash,
    /// Carry after it.
    pub carry_hash: Hash,
    /// Steps taken.
    pub steps: u16,
    /// Tokens credited.
    pub tokens: u64,
}

/// A set of a round's reveals, by index.
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
pub struct RevealSet(BoundedVec<u8, ConstU32<{ crate::MAX_SUBMISSIONS.div_ceil(8) }>>);

impl RevealSet {
    /// The set of `indices`; those beyond the protocol's limit are left out.
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

    /// Whether it holds `index`.
    pub fn contains(&self, index: u8) -> bool {
        self.0.get(usize::from(index >> 3)).is_some_and(|byte| byte & (1 << (index & 7)) != 0)
    }

    /// Its indices, ascending.
    pub fn indices(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).take(crate::MAX_SUBMISSIONS as usize).filter(|&index| self.contains(index))
    }

    /// How many it holds.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has its one encoding (no trailing zero bytes) and holds only indices below
    /// `count`.
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
            error: u32::MAX,
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
        fn a_set_holds_what_it_was_made_of(indices: BTreeSet<u8>) {
            let set = RevealSet::from_indices(indices.iter().copied());
            let expected: Vec<u8> = indices.iter().copied().filter(|&i| u32::from(i) < crate::MAX_SUBMISSIONS).collect();
            prop_assert_eq!(set.indices().collect::<Vec<_>>(), expected.clone());
            prop_assert_eq!(set.len() as usize, expected.len());
            prop_assert!(set.is_canonical(crate::MAX_SUBMISSIONS));
            if let Some(&last) = expected.last() {
                prop_assert!(!set.is_canonical(u32::from(last)));
            }
        }
    }
}
