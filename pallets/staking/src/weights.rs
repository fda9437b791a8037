// SPDX-License-Identifier: Apache-2.0

//! Weights of the calls.
//!
//! Estimated by hand from the storage that each call touches, with a margin, until benchmarks
//! replace them.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights of the calls.
pub trait WeightInfo {
    /// Weight of `bond`.
    fn bond() -> Weight;
    /// Weight of `bond_extra`.
    fn bond_extra() -> Weight;
    /// Weight of `unbond`.
    fn unbond() -> Weight;
    /// Weight of `withdraw`.
    fn withdraw() -> Weight;
    /// Weight of `set_endpoint`.
    fn set_endpoint() -> Weight;
    /// Weight of `chill`.
    fn chill() -> Weight;
    /// Weight of `unchill`.
    fn unchill() -> Weight;
    /// Weight of `set_authority_target`.
    fn set_authority_target() -> Weight;
    /// Weight of `purge_session_keys`.
    fn purge_session_keys() -> Weight;
}

/// Returns the weight of a call: 100 µs of compute, 80 KiB of proof (full lists of 1,000 validators
/// with their stakes, 128 candidates and the authorities of two sessions, and the single entries),
/// and the storage operations.
fn weight(reads: u64, writes: u64) -> Weight {
    let storage = RocksDbWeight::get();
    Weight::from_parts(100_000_000, 81_920).saturating_add(storage.reads_writes(reads, writes))
}

impl WeightInfo for () {
    // Ledger, account, holds, candidates, and if their list is full the authorities of two sessions
    // and the ledgers of all candidates.
    fn bond() -> Weight {
        weight(135, 5)
    }

    // Ledger, endpoint, account, holds, validators, total stake, candidates with their ledgers, the
    // authorities of two sessions, round, and the ledger and endpoint of the validator that makes
    // room.
    fn bond_extra() -> Weight {
        weight(142, 9)
    }

    // Ledger, endpoint, validators, total stake, candidates, round.
    fn unbond() -> Weight {
        weight(7, 4)
    }

    // Ledger, endpoint, account, holds; the lease and the standing of a trainer.
    fn withdraw() -> Weight {
        weight(6, 6)
    }

    // Ledger, endpoint, validators, total stake, round, and the ledger and endpoint of the
    // validator that makes room.
    fn set_endpoint() -> Weight {
        weight(10, 6)
    }

    // Ledger, endpoint, validators, total stake, round and its configuration.
    fn chill() -> Weight {
        weight(8, 3)
    }

    // Like `bond_extra`.
    fn unchill() -> Weight {
        weight(142, 7)
    }

    // The target.
    fn set_authority_target() -> Weight {
        weight(0, 1)
    }

    // Ledger, authorities of two sessions, two keys with their owners, account, holds.
    fn purge_session_keys() -> Weight {
        weight(9, 6)
    }
}
