// SPDX-License-Identifier: Apache-2.0

//! Leased data and its reading order.

use crate::{
    BoundedVec, ConstU32, Hash, MAX_LEASE_SHARDS, RoundNumber,
    data::ShardId,
    prf::Prf,
    recipe::{Recipe, Tier},
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A trainer's right and duty to train on some shards.
///
/// Recipe, lease and account together determine every input of the training, so anyone can replay
/// it.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Lease {
    /// Number of earlier leases of the account.
    pub nonce: u32,
    /// Tier that the trainer joined as.
    pub tier: Tier,
    /// Round that granted the lease.
    pub round: RoundNumber,
    /// Round in which the update is due.
    pub due_round: RoundNumber,
    /// Seed of the round that granted the lease.
    pub seed: Hash,
    /// Root of the head that training starts from.
    pub base_root: Hash,
    /// Tokens of that head, on which the learning rate depends.
    pub head_tokens: u64,
    /// Hash of the recipe to train by.
    pub recipe: Hash,
    /// Hash of the carry of the trainer's last included submission; zeros if there is none.
    pub carry: Hash,
    /// Round that included that submission. Meaningless without a carry.
    pub carry_round: RoundNumber,
    /// Leased shards.
    pub shards: BoundedVec<ShardId, ConstU32<MAX_LEASE_SHARDS>>,
}

impl Lease {
    /// Returns the hash that names the whole lease.
    ///
    /// It is of a list of fields, which stays when leases get further ones: a lease keeps its name.
    pub fn hash(&self) -> Hash {
        let Self { nonce, tier, round, due_round, seed, base_root, head_tokens, .. } = self;
        let Self { recipe, carry, carry_round, shards, .. } = self;
        let grant = (nonce, tier, round, due_round, seed, base_root, head_tokens);
        crate::digest(b"pol/lease-name/1", &(grant, recipe, carry, carry_round, shards))
    }

    /// Returns the digest of the leased data, to which the lineage of the model commits.
    pub fn data_hash(&self) -> Hash {
        crate::digest(b"pol/lease-data/1", &self.shards)
    }

    /// Returns the number of training sequences in the leased shards.
    pub fn sequences(&self, recipe: &Recipe) -> u32 {
        (self.shards.len() as u32).saturating_mul(recipe.sequences_per_shard())
    }

    /// Returns the number of tokens credited for `steps` steps: the tokens read, each counted once.
    pub fn tokens(&self, recipe: &Recipe, steps: u16) -> u64 {
        let unique = u64::from(self.sequences(recipe)).saturating_mul(u64::from(recipe.sequence));
        recipe.tokens(self.tier, steps).min(unique)
    }

    /// Returns the stream from which the shards of a lease are drawn.
    pub fn draw(seed: &Hash, account: &[u8], nonce: u32) -> Prf {
        Prf::new("pol/lease/1", seed, &[account, &nonce.to_le_bytes()])
    }

    /// Returns the order in which the sequences are read: a permutation that the account cannot
    /// choose.
    pub fn order(&self, account: &[u8], recipe: &Recipe) -> Vec<u32> {
        Prf::new("pol/order/1", &self.seed, &[account, &self.nonce.to_le_bytes()])
            .permutation(self.sequences(recipe))
    }
}

/// Returns the indices into [`Lease::order`] of the sequences of one micro-batch.
///
/// A lease that is short of data is read again from the start.
pub fn micro_batch(
    recipe: &Recipe,
    tier: Tier,
    step: u16,
    micro: u16,
    sequences: u32,
) -> impl Iterator<Item = u32> + use<> {
    let sizes = recipe.tier(tier);
    let rows = u32::from(sizes.micro_batch);
    let first = u32::from(step)
        .saturating_mul(sizes.sequences_per_step())
        .saturating_add(u32::from(micro).saturating_mul(rows));
    (first..first.saturating_add(rows))
        .map(move |position| position.checked_rem(sequences).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::tests::recipe;

    fn lease(shards: u32) -> Lease {
        Lease {
            nonce: 3,
            tier: Tier::Whale,
            round: 1,
            due_round: 1,
            seed: [5; 32],
            base_root: [6; 32],
            head_tokens: 0,
            recipe: [0; 32],
            carry: [0; 32],
            carry_round: 0,
            shards: (0..shards)
                .map(|index| ShardId { manifest: 0, index })
                .collect::<Vec<_>>()
                .try_into()
                .unwrap(),
        }
    }

    #[test]
    fn a_lease_keeps_its_name_which_binds_all_of_it() {
        let lease = lease(2);
        let name = "79eb7842c18c381a20bef7e7155e19cb0e94e9108eb341f205ec569d79f6c68d";
        assert_eq!(Some(lease.hash()), crate::hex_hash::parse(name));
        for other in [
            Lease { nonce: 4, ..lease.clone() },
            Lease { tier: Tier::Miner, ..lease.clone() },
            Lease { round: 0, ..lease.clone() },
            Lease { due_round: 2, ..lease.clone() },
            Lease { seed: [0; 32], ..lease.clone() },
            Lease { base_root: [0; 32], ..lease.clone() },
            Lease { head_tokens: 1, ..lease.clone() },
            Lease { recipe: [1; 32], ..lease.clone() },
            Lease { carry: [1; 32], ..lease.clone() },
            Lease { carry_round: 1, ..lease.clone() },
            Lease { shards: BoundedVec::new(), ..lease.clone() },
        ] {
            assert_ne!(other.hash(), lease.hash());
        }
    }

    #[test]
    fn a_full_lease_reads_every_sequence_once() {
        let (recipe, lease) = (recipe(), lease(10));
        let sizes = *recipe.tier(lease.tier);
        let order = lease.order(&[9; 32], &recipe);
        let mut read: Vec<u32> = (0..sizes.inner_steps)
            .flat_map(|step| (0..sizes.accumulation).map(move |micro| (step, micro)))
            .flat_map(|(step, micro)| {
                micro_batch(&recipe, lease.tier, step, micro, lease.sequences(&recipe))
            })
            .map(|position| order[position as usize])
            .collect();
        read.sort_unstable();
        assert_eq!(read, (0..320).collect::<Vec<_>>());
        assert_eq!(lease.tokens(&recipe, 20), 40_960);
    }

    #[test]
    fn a_short_lease_earns_each_token_once() {
        let (recipe, lease) = (recipe(), lease(1));
        assert_eq!(lease.tokens(&recipe, 20), 4_096);
        assert!(
            micro_batch(&recipe, lease.tier, 19, 1, lease.sequences(&recipe))
                .all(|position| position < 32)
        );
    }

    #[test]
    fn the_order_depends_on_account_and_nonce() {
        let (recipe, mut lease) = (recipe(), lease(10));
        let order = lease.order(&[9; 32], &recipe);
        assert_ne!(order, lease.order(&[8; 32], &recipe));
        lease.nonce += 1;
        assert_ne!(order, lease.order(&[9; 32], &recipe));
    }
}
