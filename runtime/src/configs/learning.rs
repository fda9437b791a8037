//! Parameters of the learning protocol's pallets.

use super::*;
use frame_support::traits::Randomness;
use frame_system::EnsureRoot;
use pol_primitives::peer::Role;

/// Randomness of the parent block's VRF, known to nobody but its author before that block.
///
/// Every slot of this chain has a VRF. The parent's hash stands in before block 2, where there is
/// none yet.
pub struct BlockRandomness;

impl Randomness<Hash, BlockNumber> for BlockRandomness {
    fn random(subject: &[u8]) -> (Hash, BlockNumber) {
        use sp_runtime::traits::Hash as _;
        let (random, since) = pallet_babe::ParentBlockRandomness::<Runtime>::random(subject);
        (random.unwrap_or_else(|| BlakeTwo256::hash_of(&(System::parent_hash(), subject))), since)
    }
}

parameter_types! {
    pub const RewardsPot: PalletId = PalletId(*b"pol/pots");
    pub const Treasury: PalletId = PalletId(*b"pol/trsy");
}

impl pallet_proof_of_learning::Config for Runtime {
    type Randomness = BlockRandomness;
    type Bonds = PolStaking;
    type Pool = Lineage;
    type Payouts = Rewards;
    type GovernanceOrigin = EnsureRoot<AccountId>;
    type NoShowPenalty = ConstU128<{ 10 * POL }>;
    // About ten times the fees of a lease of ten shards. Of a bond of 1,000 POL, a trainer can lose
    // a thousand of these before it is out.
    type LapsePenalty = ConstU128<{ POL / 10 }>;
    // The smallest bond of a trainer: whoever cheats starts again, if at all.
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
