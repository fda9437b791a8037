//! A runtime of this pallet and balances.

use crate as pallet_pol_rewards;
use pol_primitives::{Balance, POL, rewards::Emission};
use polkadot_sdk::{
    frame_support::{PalletId, derive_impl, parameter_types, traits::ConstU128},
    frame_system, pallet_balances,
    sp_io::TestExternalities,
    sp_runtime::BuildStorage,
};

polkadot_sdk::frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system = 0,
        Balances: pallet_balances = 1,
        Rewards: pallet_pol_rewards = 2,
    }
);

parameter_types! {
    pub const PotId: PalletId = PalletId(*b"pol/pot_");
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
    type PotId = PotId;
    type GovernanceOrigin = frame_system::EnsureRoot<u64>;
    type WeightInfo = ();
}

/// Runs `test` on a chain with this emission where account 1 owns `wealth`, and checks the pallet's equations afterwards.
pub fn run(emission: Emission, wealth: Balance, test: impl FnOnce()) {
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig { balances: vec![(1, wealth)], ..Default::default() },
        rewards: crate::GenesisConfig { emission, ..Default::default() },
        ..Default::default()
    };
    let mut chain = TestExternalities::new(genesis.build_storage().unwrap());
    chain.execute_with(|| {
        System::set_block_number(1);
        test();
        Rewards::do_try_state().unwrap();
    });
}
