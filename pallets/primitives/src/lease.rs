//! Which data a trainer gets, and in which order it is read.

use crate::{
    BoundedVec, ConstU32, Hash, MAX_LEASE_SHARDS, RoundNumber,
    data::ShardId,
    prf::Prf,
    recipe::{Recipe, Tier},
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A trainer's right and duty to train on some shards. Together with the recipe and the trainer's
/// account it fixes every input of the training, so anyone can replay it.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Lease {
    /// How many leases the account had before.
    pub nonce: u32,
    /// The tier it joined as.
    pub tier: Tier,
    /// The round that gave it.
    pub round: RoundNumber,
    /// The round that its update is for.
    pub due_round: RoundNumber,
    /// Seed of the round that gave it.
    pub seed: Hash,
    /// Root of the head it starts from.
    pub base_root: Hash,
    /// Tokens of that head, which the learning rate depends on.
    pub head_tokens: u64,
    /// The recipe it is trained by.
    pub recipe: Hash,
    /// Carry of the trainer's last included submission; zero for none.
    pub carry: Hash,
    /// The round that included that submission; of no meaning without a carry.
    pub carry_round: RoundNumber,
    /// The data.
    pub shards: BoundedVec<ShardId, ConstU32<MAX_LEASE_SHARDS>>,
}

impl Lease {
    /// Digest of the data, which the model's lineage commits to.
    pub fn data_hash(&self) -> Hash {
        crate::digest(b"pol/lease-data/1", &self.shards)
    }

    /// Training sequences in the leased shards.
    pub fn sequences(&self, recipe: &Recipe) -> u32 {
        (self.shards.len() as u32).saturating_mul(recipe.sequences_per_shard())
    }

    /// Tokens credited for `steps` steps: those read, each counted once.
    pub fn tokens(&self, recipe: &Recipe, steps: u16) -> u64 {
        let unique = u64::from(self.sequences(recipe)).saturating_mul(u64::from(recipe.sequence));
        recipe.tokens(self.tier, steps).min(unique)
    }

    /// The stream that shards are drawn with.
    pub fn draw(seed: &Hash, account: &[u8], nonce: u32) -> Prf {
        Prf::new("pol/lease/1", seed, &[account, &nonce.to_le_bytes()])
    }

    /// The order in which the lease's sequences are read: a permutation nobody could choose.
    pub fn order(&self, account: &[u8], recipe: &Recipe) -> Vec<u32> {
        Prf::new("pol/order/1", &self.seed, &[account, &self.nonce.to_le_bytes()])
            .permutation(self.sequences(recipe))
    }
}

/// Indices into [`Lease::order`] of the sequences of one micro-batch. A lease short of data is read
/// again from the start.
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
