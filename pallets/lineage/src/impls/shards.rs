// SPDX-License-Identifier: Apache-2.0

//! Changes of the state of single shards.

use crate::{
    Config, ConsumedShards, Error, Event, FreeShards, LeasedShards, Manifests, Pallet, PauseReason,
    Pool, PoolEntry, Reports, ShardRecords, Slots, types::locate_in_bitmap,
};
use pol_primitives::{
    data::{Manifest, ManifestId, ManifestStatus, ShardId, ShardRecord},
    traits::Rounds,
};
use polkadot_sdk::frame_support::{dispatch::DispatchResult, traits::Get};

/// Reason why a shard cannot change its state.
#[derive(Debug)]
pub(super) enum ShardError {
    UnknownManifest,
    NotLeased,
}

impl<T: Config> Pallet<T> {
    /// Adds an admitted manifest to the pool, unless it is held out.
    pub(crate) fn add_to_pool(
        manifest: ManifestId,
        record: &Manifest<T::AccountId>,
    ) -> DispatchResult {
        let Some(kind) = record.kind.filter(|_| !record.info.held_out) else { return Ok(()) };
        let (provider, free) = (record.owner.clone(), record.free);
        let entry = PoolEntry { manifest, provider, free };
        Pool::<T>::try_mutate(kind, |entries| entries.try_push(entry))
            .map_err(|_| Error::<T>::PoolIsFull)?;
        FreeShards::<T>::mutate(|total| *total = total.saturating_add(free));
        Ok(())
    }

    /// Removes a manifest from the pool. Returns `true` if it was there.
    pub(crate) fn remove_from_pool(manifest: ManifestId, record: &Manifest<T::AccountId>) -> bool {
        let removed = record.kind.and_then(|kind| {
            Pool::<T>::mutate(kind, |entries| {
                let place = entries.iter().position(|entry| entry.manifest == manifest);
                place.map(|at| entries.remove(at))
            })
        });
        let free = removed.as_ref().map_or(0, |entry| entry.free);
        FreeShards::<T>::mutate(|total| *total = total.saturating_sub(free));
        removed.is_some()
    }

    /// Leases the free shard at `position`. The last free shard moves to its position, so that each
    /// shard is drawn once (Fisher–Yates shuffle).
    pub(super) fn lease_one(entry: &mut PoolEntry<T::AccountId>, position: u32) -> ShardId {
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
            Self::put_slot(shard.manifest, record.free, shard.index);
            record.free = record.free.saturating_add(1);
            let Some(kind) = record.kind else { return Ok(()) };
            Pool::<T>::mutate(kind, |entries| {
                // A paused or retired manifest is not in the pool.
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
    ///
    /// A delta of zero does not count for the effect of the manifest. Audits measure a few shards
    /// of each lease, and give zero to the others and to those that they could not measure.
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
            let is_useless = shard_record.delta != 0
                && record.effect.note(shard_record.delta, T::EffectWindow::get().max(1));
            if record.consumed == record.info.shards {
                Self::end(shard.manifest, record);
            } else if is_useless && record.status == ManifestStatus::Admitted {
                Self::pause(shard.manifest, record, PauseReason::NoEffect);
            }
            Ok(())
        })
    }

    /// Ends a manifest whose last shard was consumed. A retired one stays retired.
    fn end(manifest: ManifestId, record: &mut Manifest<T::AccountId>) {
        if record.status != ManifestStatus::Retired {
            Self::remove_from_pool(manifest, record);
            Reports::<T>::remove(manifest);
            Self::release_consumed(manifest, &record.owner);
            record.status = ManifestStatus::Consumed;
            record.ended = Some(T::Rounds::number());
        }
        Self::deposit_event(Event::ManifestConsumed { manifest });
    }
}
