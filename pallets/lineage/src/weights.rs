// SPDX-License-Identifier: Apache-2.0

//! Weights of the calls.
//!
//! Estimated by hand from the storage that each call touches, with a margin, until benchmarks
//! replace them.

use polkadot_sdk::frame_support::weights::{Weight, constants::RocksDbWeight};

/// Weights of the calls.
pub trait WeightInfo {
    /// Weight of `register_source`.
    fn register_source() -> Weight;
    /// Weight of `register_manifest`.
    fn register_manifest() -> Weight;
    /// Weight of `withdraw_manifest`.
    fn withdraw_manifest() -> Weight;
    /// Weight of `withdraw_source`.
    fn withdraw_source() -> Weight;
    /// Weight of `retire_manifest`.
    fn retire_manifest() -> Weight;
    /// Weight of `admit_manifest`.
    fn admit_manifest() -> Weight;
    /// Weight of `pause_manifest`.
    fn pause_manifest() -> Weight;
    /// Weight of `resume_manifest`.
    fn resume_manifest() -> Weight;
    /// Weight of `report_manifest`.
    fn report_manifest() -> Weight;
    /// Weight of a block that removes `chunks` chunks of records and `slots` slots.
    fn expire(chunks: u32, slots: u32) -> Weight;
}

/// Returns the weight of a call: 100 µs of compute, 16 KiB of proof (one list of the pool and the
/// single entries), and the storage operations.
fn weight(reads: u64, writes: u64) -> Weight {
    let storage = RocksDbWeight::get();
    Weight::from_parts(100_000_000, 16_384).saturating_add(storage.reads_writes(reads, writes))
}

impl WeightInfo for () {
    // Source, next id, deposit, account, holds.
    fn register_source() -> Weight {
        weight(4, 5)
    }

    // Source, recipe, eight parents and their retirements, content, documents of both sides and the
    // manifest of the other, count, deposit, account, holds, manifests of the source, round,
    // manifest.
    fn register_manifest() -> Weight {
        weight(29, 8)
    }

    // Manifest, first slot, pool, free shards, content, documents, report, manifests of the source,
    // deposit, account, holds.
    fn withdraw_manifest() -> Weight {
        weight(11, 11)
    }

    // Source, manifests of the source, deposit, account, holds.
    fn withdraw_source() -> Weight {
        weight(5, 4)
    }

    // Manifest, retirement, pool, free shards, report, manifests of the source, deposit, account,
    // holds, issuance.
    fn retire_manifest() -> Weight {
        weight(10, 10)
    }

    // Manifest, recipe, retirements of eight parents, content, documents of both sides and the
    // manifest of the other, pool, free shards.
    fn admit_manifest() -> Weight {
        weight(17, 5)
    }

    // Manifest, pool, free shards, report.
    fn pause_manifest() -> Weight {
        weight(4, 4)
    }

    // Manifest, recipe, pool, free shards, deposit, account, holds.
    fn resume_manifest() -> Weight {
        weight(8, 6)
    }

    // Stakes and their total, manifest, report, block number; with the quorum also pool, free
    // shards, deposit, account, holds, issuance. The report, the stakes, and the newcomers hold up
    // to 1,000 validators each.
    fn report_manifest() -> Weight {
        weight(12, 8).saturating_add(Weight::from_parts(100_000_000, 98_304))
    }

    // The manifest that leaves; or the count, the next id, a manifest, and the manifests of the
    // source. Each entry is found and removed.
    fn expire(chunks: u32, slots: u32) -> Weight {
        let storage = RocksDbWeight::get();
        let chunk = Weight::from_parts(5_000_000, 2_048).saturating_add(storage.reads_writes(1, 1));
        let slot = Weight::from_parts(5_000_000, 512).saturating_add(storage.reads_writes(1, 1));
        Weight::from_parts(20_000_000, 4_096)
            .saturating_add(storage.reads_writes(6, 4))
            .saturating_add(chunk.saturating_mul(chunks.into()))
            .saturating_add(slot.saturating_mul(slots.into()))
    }
}
