// SPDX-License-Identifier: Apache-2.0

//! Implementation of [`ShardPool`] for the learning pallet.

use crate::{Config, FreeShards, LOG_TARGET, Manifests, Pallet, Pool, PoolEntry, Slots};
use alloc::{collections::BTreeMap, vec::Vec};
use pol_primitives::{
    MAX_LEASE_SHARDS, Ppm, RoundNumber,
    data::{Manifest, ManifestId, ShardId, ShardRecord, SourceKind},
    prf::Prf,
    traits::ShardPool,
};

/// Returns the number of free shards of the manifests.
fn count_free(entries: &[PoolEntry]) -> u32 {
    entries.iter().fold(0, |sum: u32, entry| sum.saturating_add(entry.free))
}

/// Returns the entry that holds the free shard at `position` over all entries, and its position in
/// that entry.
fn find_free<'a>(
    mut entries: impl Iterator<Item = &'a mut PoolEntry>,
    mut position: u32,
) -> Option<(&'a mut PoolEntry, u32)> {
    let entry = entries.find(|entry| {
        let here = position < entry.free;
        if !here {
            position = position.saturating_sub(entry.free);
        }
        here
    })?;
    Some((entry, position))
}

/// Draws up to `count` distinct numbers below `bound`. Every set of them is equally likely (Robert
/// Floyd; Bentley 1987, "Programming Pearls: A Sample of Brilliance").
fn draw_distinct(count: u32, bound: u32, prf: &mut Prf) -> Vec<u32> {
    let mut drawn = Vec::new();
    for last in bound.saturating_sub(count)..bound {
        let number = prf.below(last.saturating_add(1));
        drawn.push(if drawn.contains(&number) { last } else { number });
    }
    drawn
}

impl<T: Config> Pallet<T> {
    /// Returns the manifests of the shards, each with the number of its shards among them.
    fn manifests_of(shards: &[ShardId]) -> impl Iterator<Item = (Manifest<T::AccountId>, u32)> {
        let mut counts: BTreeMap<ManifestId, u32> = BTreeMap::new();
        for shard in shards {
            let count = counts.entry(shard.manifest).or_default();
            *count = count.saturating_add(1);
        }
        counts
            .into_iter()
            .filter_map(|(id, count)| Manifests::<T>::get(id).map(|record| (record, count)))
    }
}

impl<T: Config> ShardPool<T::AccountId> for Pallet<T> {
    fn free_shards() -> u32 {
        FreeShards::<T>::get()
    }

    fn lease(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        let count = count.min(MAX_LEASE_SHARDS) as usize;
        let mut shards = Vec::with_capacity(count);
        for kind in SourceKind::ALL {
            if shards.len() == count {
                break;
            }
            Pool::<T>::mutate(kind, |entries| {
                while shards.len() < count {
                    // One draw over all entries selects the manifest, in proportion to its free
                    // shards, and the position in it.
                    let drawn = prf.below(count_free(entries));
                    let Some((entry, position)) = find_free(entries.iter_mut(), drawn) else {
                        break;
                    };
                    shards.push(Self::lease_one(entry, position));
                }
            });
        }
        shards
    }

    fn release(shards: &[ShardId]) {
        for shard in shards {
            if let Err(error) = Self::release_one(shard) {
                log::error!(target: LOG_TARGET, "cannot release {shard:?}: {error:?}");
            }
        }
    }

    fn consume(shards: &[ShardId], round: RoundNumber, index: u8, deltas: &[i32]) {
        let deltas = deltas.iter().copied().chain(core::iter::repeat(0));
        for (shard, delta) in shards.iter().zip(deltas) {
            if let Err(error) = Self::consume_one(shard, ShardRecord { round, index, delta }) {
                log::error!(target: LOG_TARGET, "cannot consume {shard:?}: {error:?}");
            }
        }
    }

    /// Draws in the order of leases, so that updates are measured on the data that comes next.
    fn sample(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        let mut shards = Vec::new();
        let mut left = count.min(MAX_LEASE_SHARDS);
        for kind in SourceKind::ALL {
            if left == 0 {
                break;
            }
            let mut entries = Pool::<T>::get(kind);
            for drawn in draw_distinct(left, count_free(&entries), prf) {
                let Some((entry, position)) = find_free(entries.iter_mut(), drawn) else {
                    continue;
                };
                let index = Slots::<T>::get(entry.manifest, position).unwrap_or(position);
                shards.push(ShardId { manifest: entry.manifest, index });
                left = left.saturating_sub(1);
            }
        }
        shards
    }

    fn owners(shards: &[ShardId]) -> Vec<(T::AccountId, u32)> {
        let mut owners: BTreeMap<T::AccountId, u32> = BTreeMap::new();
        for (record, count) in Self::manifests_of(shards) {
            let sum = owners.entry(record.owner).or_default();
            *sum = sum.saturating_add(count);
        }
        owners.into_iter().collect()
    }

    fn bonus(shards: &[ShardId]) -> Ppm {
        let (mut sum, mut counted): (u64, u64) = (0, 0);
        for (record, count) in Self::manifests_of(shards) {
            let bonus = Self::kind(&record.info).map_or(0, SourceKind::bonus);
            sum = sum.saturating_add(u64::from(bonus).saturating_mul(count.into()));
            counted = counted.saturating_add(count.into());
        }
        sum.checked_div(counted).and_then(|mean| Ppm::try_from(mean).ok()).unwrap_or(0)
    }
}
