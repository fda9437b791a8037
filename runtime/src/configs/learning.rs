// SPDX-License-Identifier: Apache-2.0

//! Configuration of the learning protocol's pallets.

use super::*;
use frame_support::traits::Randomness;
use frame_system::EnsureRoot;
use pol_primitives::member::Role;

/// Randomness of the parent block's VRF, which only its author knows before that block.
///
/// Every slot of this chain has a VRF output. Block 1 has no parent with one and uses the hash of
/// the parent instead.
pub struct BlockRandomness;

impl Randomness<Hash, BlockNumber> for BlockRandomness {
    fn random(subject: &[u8]) -> (Hash, BlockNumber) {
        use sp_runtime::traits::Hash as _;
        let (random, since) = pallet_babe::ParentBlockRandomness::<Runtime>::random(subject);
        (random.unwrap_or_else(|| BlakeTwo256::hash_of(&(System::parent_hash(), subject))), since)
    }
}

parameter_types! {
    /// Id of the account that holds rewards in escrow.
    pub const RewardsPot: PalletId = PalletId(*b"pol/pots");
    /// Id of the treasury's account.
    pub const Treasury: PalletId = PalletId(*b"pol/trsy");
}

impl pallet_proof_of_learning::Config for Runtime {
    type Randomness = BlockRandomness;
    type Bonds = PolStaking;
    type Pool = Lineage;
    type Payouts = Rewards;
    type GovernanceOrigin = EnsureRoot<AccountId>;
    type NoShowPenalty = ConstU128<{ 10 * POL }>;
    // About ten times the fees of a lease of ten shards. A trainer with a bond of 1,000 POL can
    // lose a thousand of these before its bond is too small.
    type LapsePenalty = ConstU128<{ POL / 10 }>;
    // The smallest bond of a trainer, so that a cheat loses all of it and must bond again.
    type InvalidPenalty = ConstU128<{ Role::Trainer.minimum_bond() }>;
    type WithheldPenalty = ConstU128<{ 200 * POL }>;
    type SeatPenalty = ConstU128<{ 50 * POL }>;
    type SeatStrikes = ConstU32<3>;
    type WeightInfo = pallet_proof_of_learning::weights::SubstrateWeight<Runtime>;
}

impl pallet_pol_staking::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Rounds = ProofOfLearning;
    type SessionKeys = Session;
    type UnbondingPeriod = ConstU32<UNBONDING_PERIOD>;
    type MaxValidators = ConstU32<1_000>;
    type MaxAuthorities = MaxAuthorities;
    type WeightInfo = ();
}

impl pallet_pol_lineage::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type ManifestDeposit = ConstU128<{ 100 * POL }>;
    type Rounds = ProofOfLearning;
    type Recipe = ProofOfLearning;
    type GovernanceOrigin = EnsureRoot<AccountId>;
    type WeightInfo = ();
}

impl pallet_pol_rewards::Config for Runtime {
    type Currency = Balances;
    type PotId = RewardsPot;
    type TreasuryId = Treasury;
    type Rounds = ProofOfLearning;
    type GovernanceOrigin = EnsureRoot<AccountId>;
    type WeightInfo = ();
}
