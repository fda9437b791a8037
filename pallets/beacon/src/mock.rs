// SPDX-License-Identifier: Apache-2.0

//! Runtime with this pallet and a clock.

use crate as pallet_pol_beacon;
use pol_primitives::beacon::{self, bls::BeaconSecret};
use polkadot_sdk::{
    frame_support::{derive_impl, traits::ConstU64},
    frame_system, pallet_timestamp,
    sp_io::TestExternalities,
    sp_runtime::BuildStorage,
};

polkadot_sdk::frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system = 0,
        Timestamp: pallet_timestamp = 1,
        Beacon: pallet_pol_beacon = 2,
    }
);

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = frame_system::mocking::MockBlockU32<Test>;
}

#[derive_impl(pallet_timestamp::config_preludes::TestDefaultConfig)]
impl pallet_timestamp::Config for Test {}

impl crate::Config for Test {
    type Time = Timestamp;
    type BlockTime = ConstU64<3_000>;
    type GovernanceOrigin = frame_system::EnsureRoot<u64>;
    type WeightInfo = ();
}

/// Time of block 1, in seconds.
pub(crate) const START: u64 = 1_000;
/// Number of blocks that a draw waits.
pub(crate) const PATIENCE: u32 = 12;

/// Returns a beacon with a round each 3 seconds, of which the 301st is due in block 1.
pub(crate) fn beacon(secret: &BeaconSecret) -> beacon::BeaconConfig {
    beacon::BeaconConfig {
        key: secret.key(),
        genesis: 100,
        period: 3,
        margin: 10,
        patience: PATIENCE,
    }
}

/// Runs `test` in block 1 of a chain with this beacon. Then checks the pallet's invariants.
pub(crate) fn run_with(beacon: Option<beacon::BeaconConfig>, test: impl FnOnce()) {
    let genesis = RuntimeGenesisConfig {
        beacon: crate::GenesisConfig { beacon, ..Default::default() },
        ..Default::default()
    };
    TestExternalities::new(genesis.build_storage().unwrap()).execute_with(|| {
        System::set_block_number(1);
        Timestamp::set_timestamp(START * 1_000);
        test();
        Beacon::do_try_state().unwrap();
    });
}

/// Runs `test` with the beacon of the development key.
pub(crate) fn run(test: impl FnOnce(&BeaconSecret)) {
    let secret = BeaconSecret::development();
    run_with(Some(beacon(&secret)), || test(&secret));
}
