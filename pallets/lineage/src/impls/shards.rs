// SPDX-License-Identifier: Apache-2.0

//! Changes of the state of single shards.

use crate::{
    Config, ConsumedShards, Event, FreeShards, LeasedShards, Manifests, Pallet, Pool, PoolEntry,
    ShardRecords, Slots, Sources, types::locate_in_bitmap,
};
use pol_primitives::data::{Manifest, ManifestId, ManifestInfo, ShardId, ShardRecord, SourceKind};

/// Reason why a shard cannot change its state.
#[derive(Debug)]
pub(super) enum ShardError {
    UnknownManifest,
    UnknownSource,
    NotLeased,
}

impl<T: Config> Pallet<T> {
    /// Returns the kind of a manifest's source.
    pub(crate) fn kind(info: &ManifestInfo) -> Option<SourceKind> {
        Sources::<T>::get(info.source).map(|source| source.kind)
    }

    /// Removes a manifest from the pool. Returns `true` if it was there.
    pub(crate) fn remove_from_pool(info: &ManifestInfo, manifest: ManifestId) -> bool {
        Self::kind(info).is_some_and(|kind| {
            Pool::<T>::mutate(kind, |entries| {
                let place = entries.iter().position(|entry| entry.manifest == manifest);
                place.map(|at| entries.remove(at)).is_some()
            })
        })
    }

    /// Leases the free shard at `position`. The last free shard moves to its position, so that each
    /// shard is drawn once (Fisher–Yates shuffle).
    pub(super) fn lease_one(entry: &mut PoolEntry, position: u32) -> ShardId {
        let (manifest, last) = (entry.manifest, entry.free.saturating_sub(1));
        let index = Slots::<T>::take(manifest, position).unwrap_or(position);
        if position != last {
            Self::put_slot(manifest, position, Slots::<T>::take(manifest, last).unwrap_or(last));
        }
        entry.free = last;
        FreeShards::<T>::mutate(|total| *total = total.saturating_sub(1));
        Manifests::<T>::mutate_extant(manifest, |record| {
            record.free = last;
            record.leased = record.leased.saturating_add(1);
        });
        let (chunk, bit) = locate_in_bitmap(index);
        LeasedShards::<T>::mutate(manifest, chunk, |bitmap| {
            bitmap.get_or_insert_default().insert(bit)
        });
        ShardId { manifest, index }
    }

    fn put_slot(manifest: ManifestId, position: u32, index: u32) {
        if position != index {
            Slots::<T>::insert(manifest, position, index);
        }
    }

    /// Ends the lease of a shard. `and_then` sets its next state.
    fn end_lease(
        shard: &ShardId,
        and_then: impl FnOnce(&mut Manifest<T::AccountId>) -> Result<(), ShardError>,
    ) -> Result<(), ShardError> {
        Manifests::<T>::try_mutate(shard.manifest, |record| {
            let record = record.as_mut().ok_or(ShardError::UnknownManifest)?;
            let (chunk, bit) = locate_in_bitmap(shard.index);
            LeasedShards::<T>::try_mutate_exists(shard.manifest, chunk, |bitmap| {
                let leased = bitmap.as_mut().ok_or(ShardError::NotLeased)?;
                if !leased.remove(bit) {
                    return Err(ShardError::NotLeased);
                }
                if leased.is_empty() {
                    *bitmap = None;
                }
                record.leased = record.leased.saturating_sub(1);
                and_then(record)
            })
        })
    }

    /// Returns a leased shard to the free ones.
    pub(super) fn release_one(shard: &ShardId) -> Result<(), ShardError> {
        Self::end_lease(shard, |record| {
            let kind = Self::kind(&record.info).ok_or(ShardError::UnknownSource)?;
            Self::put_slot(shard.manifest, record.free, shard.index);
            record.free = record.free.saturating_add(1);
            Pool::<T>::mutate(kind, |entries| {
                // A retired manifest is not in the pool.
                if let Some(entry) =
                    entries.iter_mut().find(|entry| entry.manifest == shard.manifest)
                {
                    entry.free = record.free;
                    FreeShards::<T>::mutate(|total| *total = total.saturating_add(1));
                }
            });
            Ok(())
        })
    }

    /// Consumes a leased shard and stores its record.
    pub(super) fn consume_one(
        shard: &ShardId,
        shard_record: ShardRecord,
    ) -> Result<(), ShardError> {
        Self::end_lease(shard, |record| {
            let (chunk, place) = ShardRecords::locate(shard.index);
            ConsumedShards::<T>::mutate(shard.manifest, chunk, |records| {
                records.get_or_insert_default().insert(place, shard_record)
            });
            record.consumed = record.consumed.saturating_add(1);
            if record.consumed == record.info.shards {
                Self::remove_from_pool(&record.info, shard.manifest);
                Self::deposit_event(Event::ManifestConsumed { manifest: shard.manifest });
            }
            Ok(())
        })
    }
}
