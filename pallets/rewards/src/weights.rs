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
            .saturating_add(RocksDbWeight::get().reads_writes(7, 5))
    }
}
