// SPDX-License-Identifier: Apache-2.0

//! Weights of the calls.
//!
//! Estimated by hand from the storage that each call touches and from the arithmetic of its points,
//! with a margin, until benchmarks replace them.

use polkadot_sdk::frame_support::weights::{
    Weight,
    constants::{RocksDbWeight, WEIGHT_REF_TIME_PER_MILLIS},
};

/// Compute of a verification. The pairings and products take a few milliseconds in host functions;
/// the hash to the curve and three square roots take about as long in WASM.
const VERIFICATION: Weight = Weight::from_parts(20 * WEIGHT_REF_TIME_PER_MILLIS, 0);

/// Weights of the calls.
pub trait WeightInfo {
    /// Weight of `submit_pulse`.
    fn submit_pulse() -> Weight;
    /// Weight of `set_beacon`.
    fn set_beacon() -> Weight;
}

impl WeightInfo for () {
    // The beacon and the awaited pulse.
    fn submit_pulse() -> Weight {
        Weight::from_parts(50_000_000, 2_048)
            .saturating_add(VERIFICATION)
            .saturating_add(RocksDbWeight::get().reads_writes(2, 1))
    }

    // The same, and the check of the key.
    fn set_beacon() -> Weight {
        Weight::from_parts(50_000_000, 2_048)
            .saturating_add(VERIFICATION)
            .saturating_add(RocksDbWeight::get().reads_writes(1, 2))
    }
}
