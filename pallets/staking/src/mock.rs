// SPDX-License-Identifier: Apache-2.0

//! Runtime with this pallet, balances and sessions.

use crate as pallet_pol_staking;
use pol_primitives::{
    Balance, POL, RoundNumber,
    member::Role,
    traits::{Departures, Rounds},
};
use polkadot_sdk::{
    frame_support::{derive_impl, parameter_types, traits::ConstU32},
    frame_system, pallet_balances, pallet_session,
    sp_core::crypto::key_types::DUMMY,
    sp_io::TestExternalities,
    sp_runtime::{BuildStorage, impl_opaque_keys, testing::UintAuthorityId, traits::ConvertInto},
};

pub(crate) type AccountId = u64;

/// Initial balance of every account of the tests.
pub(crate) const WEALTH: Balance = 100_000 * POL;
/// Unbonding period, in blocks.
pub(crate) const UNBONDING_PERIOD: u32 = 10;

polkadot_sdk::frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system = 0,
        Balances: pallet_balances = 1,
        Staking: pallet_pol_staking = 2,
        Session: pallet_session = 3,
    }
);

parameter_types! {
    pub static AttestPhases: u32 = 0;
    pub static Left: Vec<AccountId> = Vec::new();
}

/// Accounts that left, in order.
pub struct Departed;

impl Departures<AccountId> for Departed {
    fn note_departure(account: &AccountId) {
        Left::mutate(|left| left.push(*account));
    }
}

/// Round whose state the test sets.
pub struct TestRounds;

impl Rounds for TestRounds {
    fn number() -> RoundNumber {
        0
    }
    fn attest_phases() -> u32 {
        AttestPhases::get()
    }
    fn max_missed_phases() -> u32 {
        3
    }
    fn escrow_rounds() -> RoundNumber {
        0
    }
}

impl_opaque_keys! {
    pub struct SessionKeys {
        pub dummy: UintAuthorityId,
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
    type ExistentialDeposit = polkadot_sdk::frame_support::traits::ConstU128<POL>;
    type AccountStore = System;
}

impl pallet_session::Config for Test {
    type RuntimeEvent = RuntimeEvent;
    type ValidatorId = AccountId;
    type ValidatorIdOf = ConvertInto;
    type ShouldEndSession = pallet_session::PeriodicSessions<ConstU32<5>, ConstU32<0>>;
    type NextSessionRotation = ();
    type SessionManager = Staking;
    type SessionHandler = pallet_session::TestSessionHandler;
    type Keys = SessionKeys;
    type DisablingStrategy = pallet_session::disabling::UpToLimitDisablingStrategy;
    type WeightInfo = ();
    type Currency = Balances;
    type KeyDeposit = ();
}

impl crate::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type Rounds = TestRounds;
    type Departures = Departed;
    type Sessions = Session;
    type GovernanceOrigin = polkadot_sdk::frame_system::EnsureRoot<AccountId>;
    type UnbondingPeriod = ConstU32<UNBONDING_PERIOD>;
    type MaxValidators = ConstU32<3>;
    type MaxAuthorities = ConstU32<8>;
    type DefaultTarget = ConstU32<2>;
    type AbsencePenalty = polkadot_sdk::frame_support::traits::ConstU128<{ 20 * POL }>;
    type WeightInfo = ();
}

fn session_keys(of: AccountId) -> (AccountId, AccountId, SessionKeys) {
    (of, of, SessionKeys { dummy: UintAuthorityId(of) })
}

/// Runs `test` on a chain where accounts 1 to 200 own [`WEALTH`], `members` are bonded and
/// `authorities` have session keys. Then checks the pallet's invariants.
pub(crate) fn with_genesis(
    members: &[(AccountId, Role, Balance)],
    authorities: &[AccountId],
    test: impl FnOnce(),
) {
    assert_eq!(<SessionKeys as polkadot_sdk::sp_runtime::traits::OpaqueKeys>::key_ids(), &[DUMMY]);
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: (1..=200).map(|who| (who, WEALTH)).collect(),
            ..Default::default()
        },
        staking: crate::GenesisConfig { members: members.to_vec() },
        session: pallet_session::GenesisConfig {
            keys: authorities.iter().copied().map(session_keys).collect(),
            ..Default::default()
        },
        ..Default::default()
    };
    AttestPhases::set(0);
    let mut chain = TestExternalities::new(genesis.build_storage().unwrap());
    chain.execute_with(|| {
        System::set_block_number(1);
        test();
        Staking::do_try_state().unwrap();
    });
}

/// Runs `test` on a chain without members.
pub(crate) fn run(test: impl FnOnce()) {
    with_genesis(&[], &[], test);
}
