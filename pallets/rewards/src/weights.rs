//! Weights of the calls.
//!
//! Set by hand from the storage each call touches, on the generous side, until benchmarks replace
//! them.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// What each call costs.
pub trait WeightInfo {
    /// Weight of `set_emission`.
    fn set_emission() -> Weight;
    /// Weight of `claim`.
    fn claim() -> Weight;
}

impl WeightInfo for () {
    // The emission.
    fn set_emission() -> Weight {
        Weight::from_parts(50_000_000, 1_024)
            .saturating_add(RocksDbWeight::get().reads_writes(1, 1))
    }

    // Earnings, pool, round, audit configuration, books, and the accounts of pot and caller.
    fn claim() -> Weight {
        Weight::from_parts(100_000_000, 16_384)
            .saturating_add(RocksDbWeight::get().reads_writes(7, 5))
    }
}
