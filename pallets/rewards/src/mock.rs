// SPDX-License-Identifier: Apache-2.0

//! Runtime with this pallet and balances.

use crate as pallet_pol_rewards;
use pol_primitives::{
    Balance, POL, RoundNumber,
    explanation::{RoundEnd, RoundWork, UpdateSummary},
    rewards::{self, EmissionSchedule},
    traits::{Rounds, WorkRecords},
};
use polkadot_sdk::{
    frame_support::{
        PalletId, derive_impl, parameter_types,
        traits::{ConstU32, ConstU128},
    },
    frame_system, pallet_balances,
    sp_io::TestExternalities,
    sp_runtime::BuildStorage,
};

pub(crate) type AccountId = u64;

/// Number of rounds after which a reward expires.
pub(crate) const KEPT_ROUNDS: RoundNumber = 300;

/// Existential deposit.
pub(crate) const DEPOSIT: Balance = POL;
/// Initial length of the escrow, in rounds.
pub(crate) const INITIAL_ESCROW: RoundNumber = 2;

polkadot_sdk::frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system = 0,
        Balances: pallet_balances = 1,
        Rewards: pallet_pol_rewards = 2,
    }
);

parameter_types! {
    // Account ids of the tests are short, so the ids differ in the first four letters.
    pub const PotId: PalletId = PalletId(*b"pots/pol");
    pub const TreasuryId: PalletId = PalletId(*b"trsy/pol");
    pub static MaxEmission: Balance = rewards::MAX_EMISSION;
    pub static Round: RoundNumber = 0;
    pub static EscrowRounds: RoundNumber = INITIAL_ESCROW;
    pub static End: Option<RoundEnd> = None;
    pub static Update: Option<UpdateSummary> = None;
}

/// Round whose state the test sets.
pub struct TestRounds;

impl Rounds for TestRounds {
    fn number() -> RoundNumber {
        Round::get()
    }
    fn attest_phases() -> u32 {
        0
    }
    fn max_missed_phases() -> u32 {
        0
    }
    fn escrow_rounds() -> RoundNumber {
        EscrowRounds::get()
    }
}

/// Work that the test sets. Rounds before the one under way have ended with an update.
impl WorkRecords<AccountId> for TestRounds {
    fn work(_: &AccountId, round: RoundNumber) -> RoundWork<AccountId> {
        let has_ended = round < Round::get();
        let end = if has_ended { RoundEnd::Head(1) } else { RoundEnd::Open };
        let end = End::get().unwrap_or(end);
        RoundWork { end, update: Update::get(), open_seats: 0, unsettled: Vec::new() }
    }
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
    type AccountData = pallet_balances::AccountData<Balance>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type Balance = Balance;
    type ExistentialDeposit = ConstU128<DEPOSIT>;
    type AccountStore = System;
}

impl crate::Config for Test {
    type Currency = Balances;
    type MaxEmission = MaxEmission;
    type PotId = PotId;
    type TreasuryId = TreasuryId;
    type KeptRounds = ConstU32<KEPT_ROUNDS>;
    type Rounds = TestRounds;
    type Work = TestRounds;
    type GovernanceOrigin = frame_system::EnsureRoot<AccountId>;
    type WeightInfo = ();
}

/// Runs `test` on a chain with this emission where accounts 1 to 9 own `wealth` each. Then checks
/// the pallet's invariants.
pub(crate) fn run_with(emission: EmissionSchedule, wealth: Balance, test: impl FnOnce()) {
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: (1..=9).map(|who| (who, wealth)).collect(),
            ..Default::default()
        },
        rewards: crate::GenesisConfig { emission, ..Default::default() },
        ..Default::default()
    };
    Round::set(0);
    EscrowRounds::set(INITIAL_ESCROW);
    End::set(None);
    Update::set(None);
    MaxEmission::set(rewards::MAX_EMISSION);
    let mut chain = TestExternalities::new(genesis.build_storage().unwrap());
    chain.execute_with(|| {
        System::set_block_number(1);
        test();
        Rewards::do_try_state().unwrap();
    });
}

/// Runs `test` with the default emission. A round of a hundred blocks or more emits 70, 18, 7 and 5
/// POL for trainers, validators, providers and the treasury.
pub(crate) fn run(test: impl FnOnce()) {
    run_with(EmissionSchedule::default(), 1_000 * POL, test);
}
