// SPDX-License-Identifier: Apache-2.0

//! Storage that grows, against what `docs/protocol.md` says of it.

use super::*;
use frame_support::traits::{StorageInfo, StorageInfoTrait};
use pol_primitives::{MAX_LEASE_SHARDS, MAX_SUBMISSIONS};

/// Pallets of the protocol.
const PALLETS: [&str; 5] = ["ProofOfLearning", "PolStaking", "Lineage", "Rewards", "Beacon"];
/// Blocks of the shortest rounds.
const ROUND: u64 = 8;
/// Seats of an update in its first draw.
const SEATS: u64 = 3;

/// Returns the maps of the protocol's pallets.
fn maps() -> Vec<StorageInfo> {
    let is_map = |info: &StorageInfo| info.max_values != Some(1);
    let is_ours =
        |info: &StorageInfo| PALLETS.contains(&str::from_utf8(&info.pallet_name).unwrap());
    let all = AllPalletsWithSystem::storage_info();
    all.into_iter().filter(|info| is_map(info) && is_ours(info)).collect()
}

fn name(info: &StorageInfo) -> &str {
    str::from_utf8(&info.storage_name).unwrap()
}

/// Returns the section of the documentation, on one line.
fn section() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("## Storage that grows").expect("there is such a section");
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    section.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Formats a number with commas.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// Formats a number of bytes.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[test]
fn the_documentation_names_every_map_and_the_sizes_of_those_that_grow() {
    let section = section();
    let kept = u64::from(<Runtime as pallet_proof_of_learning::Config>::KeptRounds::get());
    let (updates, shards) = (u64::from(MAX_SUBMISSIONS), u64::from(MAX_LEASE_SHARDS));
    let earners = updates * (1 + SEATS);
    // Most entries of each map, as far as it follows from the number of kept rounds.
    let growing = [
        ("Records", kept),
        ("History", kept * updates),
        ("SeenPayloads", kept * updates),
        ("HeadMetrics", kept),
        ("Pools", kept),
        ("Earnings", kept * earners),
        ("Earners", kept * earners),
        // Chunks of full manifests that are consumed meanwhile.
        (
            "ConsumedShards",
            kept * updates * shards / u64::from(pallet_pol_lineage::RECORDS_PER_CHUNK),
        ),
    ];
    let maps = maps();
    for info in &maps {
        let named = format!("`{}`", name(info));
        assert!(section.contains(&named), "{named} is missing: what bounds it?");
        assert!(info.max_size.is_some(), "{named} has entries of any size");
    }
    for (of, entries) in growing {
        let info = maps.iter().find(|info| name(info) == of).unwrap();
        let bytes = u64::from(info.max_size.unwrap());
        let (each, all) = (grouped(bytes), grouped(entries));
        let row = format!("| `{of}` | {each} | {all} | {} |", size(bytes * entries));
        assert!(section.contains(&row), "the documentation should have the row\n{row}");
    }
}

#[test]
fn the_documentation_names_full_load() {
    let blocks = u64::from(365 * DAYS);
    let rounds = format!("{} rounds a year", grouped(blocks / ROUND));
    assert!(section().contains(&rounds), "{rounds}");
}
