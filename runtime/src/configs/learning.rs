// SPDX-License-Identifier: Apache-2.0

//! Configuration of the learning protocol's pallets.

use super::*;
use frame_support::traits::{Get, Randomness};
use pol_primitives::{MILLION, RoundNumber, member::UPDATE_LOCK, rewards::MAX_EMISSION};

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
    /// Number of rounds for which records and unclaimed rewards are kept: a month of the shortest
    /// rounds, ten weeks of rounds of a minute.
    pub const KeptRounds: RoundNumber = 100_000;
    /// Id of the treasury's account.
    pub const Treasury: PalletId = PalletId(*b"pol/trsy");
}

/// Slot of the block, as the consensus of blocks counts them.
pub struct CurrentSlot;

impl Get<u64> for CurrentSlot {
    fn get() -> u64 {
        pallet_babe::CurrentSlot::<Runtime>::get().into()
    }
}

impl pallet_proof_of_learning::Config for Runtime {
    type Randomness = BlockRandomness;
    type Beacon = Beacon;
    type Bonds = PolStaking;
    type Pool = Lineage;
    type Payouts = Rewards;
    type GovernanceOrigin = GovernanceOrigin;
    type NoShowPenalty = ConstU128<{ 10 * POL }>;
    // For the first lapse, about ten times the fees of a lease of ten shards. Each in a row costs
    // twice the one before: ten use up the tenth of a trainer's smallest bond that may be missing.
    type LapsePenalty = ConstU128<{ POL / 10 }>;
    // As much is locked for each unsettled update, and the smallest bond covers it once, also after
    // small penalties.
    type InvalidPenalty = ConstU128<UPDATE_LOCK>;
    type WithheldPenalty = ConstU128<{ 200 * POL }>;
    type SeatPenalty = ConstU128<{ 50 * POL }>;
    type SeatStrikes = ConstU32<3>;
    // Bits can flip in an honest validator's memory once, hardly in two rounds in a row.
    type WrongRootPenalty = ConstU128<{ 100 * POL }>;
    type WrongRootStrikes = ConstU32<2>;
    // A call of up to 150 ms finds room in a block that is not congested.
    type CongestedShare = CongestedShare;
    // A deadline of 20 blocks then lasts 21 minutes while all blocks are full.
    type MaxStandstill = ConstU32<20>;
    type KeptRounds = KeptRounds;
    type CurrentSlot = CurrentSlot;
    type WeightInfo = pallet_proof_of_learning::weights::SubstrateWeight<Runtime>;
}

impl pallet_pol_staking::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Rounds = ProofOfLearning;
    type Departures = ProofOfLearning;
    type Sessions = Session;
    type GovernanceOrigin = GovernanceOrigin;
    type UnbondingPeriod = ConstU32<UNBONDING_PERIOD>;
    type MaxValidators = ConstU32<{ pol_primitives::MAX_VALIDATORS }>;
    type MaxAuthorities = MaxAuthorities;
    // Finality tolerates the loss of seven, and each produces nine blocks a session on average.
    type DefaultTarget = ConstU32<22>;
    type AbsencePenalty = ConstU128<{ 20 * POL }>;
    type WeightInfo = ();
}

impl pallet_pol_lineage::Config for Runtime {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type ManifestDeposit = ConstU128<{ 100 * POL }>;
    // A manifest of the maximum of 2^20 shards takes 10,586 POL.
    type ShardDeposit = ConstU128<{ POL / 100 }>;
    type ProviderShare = ConstU32<{ MILLION / 2 }>;
    type EffectWindow = ConstU32<256>;
    type ReportWindow = ConstU32<DAYS>;
    type KeptRounds = KeptRounds;
    type Rounds = ProofOfLearning;
    type Recipe = ProofOfLearning;
    type Validators = PolStaking;
    type AdmissionOrigin = GovernanceOrigin;
    type WeightInfo = ();
}

impl pallet_pol_rewards::Config for Runtime {
    type Currency = Balances;
    type MaxEmission = ConstU128<MAX_EMISSION>;
    type PotId = RewardsPot;
    type TreasuryId = Treasury;
    type KeptRounds = KeptRounds;
    type Rounds = ProofOfLearning;
    type Work = ProofOfLearning;
    type GovernanceOrigin = GovernanceOrigin;
    type WeightInfo = ();
}

impl pallet_pol_beacon::Config for Runtime {
    type Time = Timestamp;
    type BlockTime = ConstU64<SLOT_DURATION>;
    type GovernanceOrigin = GovernanceOrigin;
    type WeightInfo = ();
}
