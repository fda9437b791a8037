//! The model's hash chain.

use crate::{BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber, submission::RevealSet};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Most updates that one head takes out.
pub const MAX_EXCISIONS: u32 = MAX_SUBMISSIONS;

/// The one global model.
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
pub struct Head {
    /// The round that made it.
    pub round: RoundNumber,
    /// BLAKE3 of its parameters: little-endian float32 in canonical order. Also their address among
    /// peers.
    #[serde(with = "crate::hex_hash")]
    pub root: Hash,
    /// The recipe it was made by.
    #[serde(with = "crate::hex_hash")]
    pub recipe_hash: Hash,
    /// Tokens trained on since genesis.
    pub tokens: u64,
    /// Commits to every head, update and shard before it.
    #[serde(with = "crate::hex_hash")]
    pub lineage_hash: Hash,
}

/// One included update, as the aggregate and the lineage see it.
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
pub struct IncludedUpdate<AccountId> {
    /// Who trained it.
    pub account: AccountId,
    /// BLAKE3 of the payload.
    pub payload_hash: Hash,
    /// Digest of the leased data.
    pub data_hash: Hash,
    /// Tokens credited.
    pub tokens: u64,
    /// Rounds it is late, which discount it.
    pub staleness: u8,
}

/// An update that is taken out of the model: the next head is computed as if its round had never
/// included it.
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
pub struct Excision {
    /// The round that included it.
    pub round: RoundNumber,
    /// Its index among that round's reveals.
    pub index: u8,
}

impl Head {
    /// The head after `round`, made of `updates` in account order and without those `excised` from
    /// earlier ones, ascending.
    pub fn next<AccountId: Encode>(
        previous: Option<&Self>,
        round: RoundNumber,
        root: Hash,
        recipe_hash: Hash,
        updates: &[IncludedUpdate<AccountId>],
        excised: &[Excision],
    ) -> Self {
        let aggregate_root = crate::digest(b"pol/aggregate/2", &(updates, excised));
        let data_root = crate::digest(
            b"pol/data/1",
            &updates.iter().map(|update| update.data_hash).collect::<alloc::vec::Vec<_>>(),
        );
        let parent = previous.map_or([0; 32], |head| head.lineage_hash);
        let tokens = updates.iter().fold(previous.map_or(0, |head| head.tokens), |sum, update| {
            sum.saturating_add(update.tokens)
        });
        let lineage_hash = crate::digest(
            b"pol/lineage/1",
            &(parent, root, aggregate_root, data_root, recipe_hash),
        );
        Self { round, root, recipe_hash, tokens, lineage_hash }
    }
}

/// What is kept of a concluded round forever.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct RoundRecord<AccountId> {
    /// The head it made; none when it was void.
    pub head: Option<Head>,
    /// Which of its reveals the head includes.
    pub included: RevealSet,
    /// Updates of earlier heads that this one takes out, ascending.
    pub excised: BoundedVec<Excision, ConstU32<MAX_EXCISIONS>>,
    /// The trainers that revealed, by index.
    pub revealed: BoundedVec<AccountId, ConstU32<MAX_SUBMISSIONS>>,
    /// Block in which it opened.
    pub opened_at: u32,
    /// Block in which it was concluded.
    pub concluded_at: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lineage_commits_to_every_part() {
        let update = IncludedUpdate {
            account: 1u64,
            payload_hash: [1; 32],
            data_hash: [2; 32],
            tokens: 10,
            staleness: 0,
        };
        let first = Head::next::<u64>(None, 0, [3; 32], [4; 32], &[], &[]);
        let next = |previous, root, recipe, updates: &[IncludedUpdate<u64>]| {
            Head::next(previous, 1, root, recipe, updates, &[]).lineage_hash
        };
        let lineage = next(Some(&first), [5; 32], [4; 32], &[update]);
        assert_ne!(lineage, next(None, [5; 32], [4; 32], &[update]));
        assert_ne!(lineage, next(Some(&first), [6; 32], [4; 32], &[update]));
        assert_ne!(lineage, next(Some(&first), [5; 32], [5; 32], &[update]));
        assert_ne!(lineage, next(Some(&first), [5; 32], [4; 32], &[]));
        assert_ne!(
            lineage,
            next(
                Some(&first),
                [5; 32],
                [4; 32],
                &[IncludedUpdate { data_hash: [9; 32], ..update }]
            )
        );
        let excised = Head::next(
            Some(&first),
            1,
            [5; 32],
            [4; 32],
            &[update],
            &[Excision { round: 0, index: 0 }],
        );
        assert_ne!(lineage, excised.lineage_hash);
        assert_eq!(
            Head::next(Some(&first), 1, [5; 32], [4; 32], &[update, update], &[]).tokens,
            20
        );
    }
}
