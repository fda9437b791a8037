// SPDX-License-Identifier: Apache-2.0

//! The hash chain of the model.

use crate::{BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, RoundNumber, submission::RevealSet};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Maximum number of updates that one head excises.
pub const MAX_EXCISIONS: u32 = MAX_SUBMISSIONS;

/// A version of the shared model.
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
    /// Round that made the head.
    pub round: RoundNumber,
    /// BLAKE3 of the parameters as little-endian float32 in canonical order, which is also their
    /// address in the swarm.
    #[serde(with = "crate::hex_hash")]
    pub root: Hash,
    /// Hash of the recipe of that round.
    #[serde(with = "crate::hex_hash")]
    pub recipe_hash: Hash,
    /// Number of tokens trained on since genesis.
    pub tokens: u64,
    /// Digest that commits to every earlier head, update and shard.
    #[serde(with = "crate::hex_hash")]
    pub lineage_hash: Hash,
}

/// An included update, as hashed into the aggregate and the lineage.
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
    /// Trainer of the update.
    pub account: AccountId,
    /// BLAKE3 of the payload.
    pub payload_hash: Hash,
    /// Digest of the leased data.
    pub data_hash: Hash,
    /// Number of tokens credited.
    pub tokens: u64,
    /// Number of rounds by which the update is late. Late updates count less.
    pub staleness: u8,
}

/// An update that is removed from the model: the next head is computed as if its round had never
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
    /// Round that included the update.
    pub round: RoundNumber,
    /// Index of the update among that round's reveals.
    pub index: u8,
}

/// Returns the digest of everything that the parameters of the next head depend on: round, base,
/// recipe, included updates in account order, and excisions in ascending order.
///
/// An attestation names it, so that one made on a fork, of other updates, is not an attestation of
/// a wrong head here.
pub fn head_inputs<AccountId: Encode>(
    round: RoundNumber,
    base_root: &Hash,
    recipe_hash: &Hash,
    updates: &[IncludedUpdate<AccountId>],
    excised: &[Excision],
) -> Hash {
    let (updates, excised) = (update_fields(updates), excision_fields(excised));
    crate::digest(b"pol/inputs/1", &(round, base_root, recipe_hash, updates, excised))
}

/// Returns what names of heads hash of each update.
///
/// It is a list of fields, which stays when updates get further ones: heads keep their names.
#[allow(clippy::type_complexity, reason = "it is hashed at once")]
fn update_fields<AccountId>(
    updates: &[IncludedUpdate<AccountId>],
) -> Vec<(&AccountId, &Hash, &Hash, u64, u8)> {
    updates
        .iter()
        .map(|IncludedUpdate { account, payload_hash, data_hash, tokens, staleness }| {
            (account, payload_hash, data_hash, *tokens, *staleness)
        })
        .collect()
}

/// Returns what names of heads hash of each excision, likewise.
fn excision_fields(excised: &[Excision]) -> Vec<(RoundNumber, u8)> {
    excised.iter().map(|&Excision { round, index }| (round, index)).collect()
}

impl Head {
    /// Creates the head after `round`.
    ///
    /// `updates` are the included updates in account order, `excised` the earlier updates that this
    /// head removes, in ascending order.
    pub fn next<AccountId: Encode>(
        previous: Option<&Self>,
        round: RoundNumber,
        root: Hash,
        recipe_hash: Hash,
        updates: &[IncludedUpdate<AccountId>],
        excised: &[Excision],
    ) -> Self {
        let fields = (update_fields(updates), excision_fields(excised));
        let aggregate_root = crate::digest(b"pol/aggregate/2", &fields);
        let data_root = crate::digest(
            b"pol/data/1",
            &updates.iter().map(|update| update.data_hash).collect::<Vec<_>>(),
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

/// Permanent record of a concluded round.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct RoundRecord<AccountId> {
    /// Head that the round made; `None` if the round was void.
    pub head: Option<Head>,
    /// Reveals that the head includes.
    pub included: RevealSet,
    /// Updates of earlier heads that this head excises, in ascending order.
    pub excised: BoundedVec<Excision, ConstU32<MAX_EXCISIONS>>,
    /// Trainers that revealed, by index of their reveal.
    pub revealed: BoundedVec<AccountId, ConstU32<MAX_SUBMISSIONS>>,
    /// `true` if validators are the ones who left out what is not included: the round made a head,
    /// or enough of them reported and too few held anything.
    pub judged: bool,
    /// Block in which the round opened.
    pub opened_at: u32,
    /// Block in which the round was concluded.
    pub concluded_at: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: IncludedUpdate<u64> = IncludedUpdate {
        account: 1,
        payload_hash: [1; 32],
        data_hash: [2; 32],
        tokens: 10,
        staleness: 0,
    };

    #[test]
    fn inputs_commit_to_every_part() {
        let update = UPDATE;
        let excised = Excision { round: 0, index: 0 };
        let inputs = head_inputs(1, &[3; 32], &[4; 32], &[update], &[excised]);
        let late = IncludedUpdate { staleness: 1, ..update };
        for other in [
            head_inputs(2, &[3; 32], &[4; 32], &[update], &[excised]),
            head_inputs(1, &[5; 32], &[4; 32], &[update], &[excised]),
            head_inputs(1, &[3; 32], &[5; 32], &[update], &[excised]),
            head_inputs(1, &[3; 32], &[4; 32], &[late], &[excised]),
            head_inputs(1, &[3; 32], &[4; 32], &[update, update], &[excised]),
            head_inputs(1, &[3; 32], &[4; 32], &[update], &[]),
        ] {
            assert_ne!(inputs, other);
        }
    }

    #[test]
    fn a_head_keeps_its_name() {
        let excised = Excision { round: 0, index: 0 };
        let head = Head::next(None, 1, [5; 32], [4; 32], &[UPDATE], &[excised]);
        let name = "6fd64a4846820120886b2749b8b8db0c3ba6a92d69314795a827c45821a1006f";
        assert_eq!(Some(head.lineage_hash), crate::hex_hash::parse(name));
    }

    #[test]
    fn lineage_commits_to_every_part() {
        let update = UPDATE;
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
