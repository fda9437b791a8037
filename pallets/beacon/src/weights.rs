// SPDX-License-Identifier: Apache-2.0

//! Weights of the calls.
//!
//! The verification of a pulse is measured. The rest is estimated by hand from the storage that
//! each call touches, with a margin, until benchmarks replace it.

use polkadot_sdk::frame_support::weights::{
    Weight,
    constants::{RocksDbWeight, WEIGHT_REF_TIME_PER_MILLIS},
};

/// Compute of a verification: 3.6 ms in the runtime's WASM, pairings in host functions included, on
/// the machine of `docs/benchmarks.md`. It is charged almost three times, for slower machines. The
/// node's test `beacon` measures it, and fails if it takes longer.
const VERIFICATION: Weight = Weight::from_parts(10 * WEIGHT_REF_TIME_PER_MILLIS, 0);

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
