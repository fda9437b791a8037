// SPDX-License-Identifier: Apache-2.0

//! Runtime with this pallet and balances.

use crate as pallet_pol_lineage;
use pol_primitives::{
    Balance, Hash, MILLION, POL, RoundNumber,
    traits::{DataFormat, Rounds, ValidatorStakes},
};
use polkadot_sdk::{
    frame_support::{
        derive_impl, parameter_types,
        traits::{ConstU32, ConstU128},
    },
    frame_system, pallet_balances,
    sp_io::TestExternalities,
    sp_runtime::BuildStorage,
};

pub(crate) type AccountId = u64;

/// Number of rounds for which a manifest is kept after its end.
pub(crate) const KEPT_ROUNDS: u32 = 10;

/// Initial balance of the accounts of the tests.
pub(crate) const WEALTH: Balance = 10_000 * POL;
/// Deposit for a source, and for a manifest without its shards.
pub(crate) const DEPOSIT: Balance = 10 * POL;
/// Deposit for a shard.
pub(crate) const SHARD_DEPOSIT: Balance = POL / 1_000;
/// Length of a window of effects.
pub(crate) const WINDOW: u32 = 20;
/// Number of blocks in which reports must reach a quorum.
pub(crate) const REPORT_WINDOW: u32 = 100;
/// Stake of each of the validators 1 to 3.
pub(crate) const STAKE: Balance = 5_000 * POL;
/// Number of tokens in a shard, and hash of the tokenizer.
pub(crate) const FORMAT: (u32, Hash) = (4_096, [1; 32]);

polkadot_sdk::frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system = 0,
        Balances: pallet_balances = 1,
        Lineage: pallet_pol_lineage = 2,
    }
);

parameter_types! {
    pub static Round: RoundNumber = 0;
    pub static RecipeFormat: Option<(u32, Hash)> = None;
    pub static Validators: Vec<AccountId> = vec![1, 2, 3];
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
        0
    }
}

/// Format of the recipe, which the test sets.
pub struct TestFormat;

impl DataFormat for TestFormat {
    fn shard_tokens_and_tokenizer() -> Option<(u32, Hash)> {
        RecipeFormat::get()
    }
}

/// Validators of equal stake, 1 to 3 at first.
pub struct TestStakes;

impl ValidatorStakes<AccountId> for TestStakes {
    fn stakes() -> Vec<(AccountId, Balance)> {
        Validators::get().into_iter().map(|account| (account, STAKE)).collect()
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
    type ExistentialDeposit = ConstU128<POL>;
    type AccountStore = System;
}

impl crate::Config for Test {
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type ManifestDeposit = ConstU128<DEPOSIT>;
    type ShardDeposit = ConstU128<SHARD_DEPOSIT>;
    type ProviderShare = ConstU32<{ MILLION / 2 }>;
    type EffectWindow = ConstU32<WINDOW>;
    type ReportWindow = ConstU32<REPORT_WINDOW>;
    type KeptRounds = ConstU32<KEPT_ROUNDS>;
    type Rounds = TestRounds;
    type Recipe = TestFormat;
    type Validators = TestStakes;
    type AdmissionOrigin = frame_system::EnsureRoot<AccountId>;
    type WeightInfo = ();
}

/// Runs `test` on a chain where accounts 1 to 3 own [`WEALTH`]. Then checks the pallet's
/// invariants.
pub(crate) fn run(test: impl FnOnce()) {
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig {
            balances: (1..=3).map(|who| (who, WEALTH)).collect(),
            ..Default::default()
        },
        ..Default::default()
    };
    Round::set(0);
    RecipeFormat::set(Some(FORMAT));
    Validators::set(vec![1, 2, 3]);
    let mut chain = TestExternalities::new(genesis.build_storage().unwrap());
    chain.execute_with(|| {
        System::set_block_number(1);
        test();
        Lineage::do_try_state().unwrap();
    });
}
