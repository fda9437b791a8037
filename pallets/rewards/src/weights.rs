// SPDX-License-Identifier: Apache-2.0

//! Weights of the calls.
//!
//! Estimated by hand from the storage that each call touches, with a margin, until benchmarks
//! replace them.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights of the calls.
pub trait WeightInfo {
    /// Weight of `set_emission`.
    fn set_emission() -> Weight;
    /// Weight of `claim`.
    fn claim() -> Weight;
    /// Weight of a block that lets `rewards` rewards expire.
    fn expire(rewards: u32) -> Weight;
}

impl WeightInfo for () {
    // Emission.
    fn set_emission() -> Weight {
        Weight::from_parts(50_000_000, 1_024)
            .saturating_add(RocksDbWeight::get().reads_writes(1, 1))
    }

    // Earnings, pool, round, audit configuration, ledger, and the accounts of pot and caller.
    fn claim() -> Weight {
        Weight::from_parts(100_000_000, 16_384)
            .saturating_add(RocksDbWeight::get().reads_writes(7, 6))
    }

    // First kept round, round, ledger, issuance and the pot's account; for each reward its place in
    // both maps, and at most one pool.
    fn expire(rewards: u32) -> Weight {
        let each = Weight::from_parts(10_000_000, 1_024)
            .saturating_add(RocksDbWeight::get().reads_writes(3, 3));
        Weight::from_parts(20_000_000, 4_096)
            .saturating_add(RocksDbWeight::get().reads_writes(5, 4))
            .saturating_add(each.saturating_mul(rewards.into()))
    }
}
