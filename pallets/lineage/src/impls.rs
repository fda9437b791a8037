//! Drawing shards, taking them back and using them up, and what the other pallets call.

use crate::{
    Config, Consumed, Consumption, Error, Event, FreeShards, HoldReason, Leased, ManifestCount, Manifests, Pallet, Pool,
    PoolEntry, Slots, Sources, types::locate,
};
use alloc::vec::Vec;
use pol_primitives::{
    Balance, MAX_LEASE_SHARDS, RoundNumber,
    data::{Manifest, ManifestId, ManifestInfo, ShardId, Source, SourceId, SourceKind},
    prf::Prf,
    traits::ShardPool,
};
use polkadot_sdk::{
    frame_support::traits::{Get, fungible::MutateHold, tokens::Precision},
    sp_runtime::{DispatchError, DispatchResult, TokenError},
};

const LOG_TARGET: &str = "runtime::pol-lineage";

/// A shard was not where the caller thought.
#[derive(Debug)]
enum Misplaced {
    NoManifest,
    NotLeased,
    NoSource,
}

impl<T: Config> Pallet<T> {
    /// Puts the deposit on hold; returns it.
    pub(crate) fn hold(who: &T::AccountId) -> Result<Balance, DispatchError> {
        let deposit = T::ManifestDeposit::get();
        T::Currency::hold(&HoldReason::Deposit.into(), who, deposit).map_err(|error| {
            if error == TokenError::FundsUnavailable.into() { Error::<T>::InsufficientFunds.into() } else { error }
        })?;
        Ok(deposit)
    }

    pub(crate) fn release_deposit(who: &T::AccountId, deposit: Balance) -> DispatchResult {
        T::Currency::release(&HoldReason::Deposit.into(), who, deposit, Precision::Exact).map(|_| ())
    }

    fn kind(info: &ManifestInfo) -> Option<SourceKind> {
        Sources::<T>::get(info.source).map(|source| source.kind)
    }

    /// Takes a manifest out of the pool; whether it was there.
    pub(crate) fn unpool(info: &ManifestInfo, manifest: ManifestId) -> bool {
        Self::kind(info).is_some_and(|kind| {
            Pool::<T>::mutate(kind, |entries| {
                let place = entries.iter().position(|entry| entry.manifest == manifest);
                place.map(|at| entries.remove(at)).is_some()
            })
        })
    }

    /// Draws the free shard at `position`: the last free shard moves there, so each is drawn once (Fisher and Yates).
    fn draw(entry: &mut PoolEntry, position: u32) -> ShardId {
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
        let (chunk, bit) = locate(index);
        Leased::<T>::mutate(manifest, chunk, |bitmap| bitmap.get_or_insert_default().insert(bit));
        ShardId { manifest, index }
    }

    fn put_slot(manifest: ManifestId, position: u32, index: u32) {
        if position != index {
            Slots::<T>::insert(manifest, position, index);
        }
    }

    /// Ends the lease of a shard and lets `and_then` say what becomes of it.
    fn end_lease(
        shard: &ShardId,
        and_then: impl FnOnce(&mut Manifest<T::AccountId>) -> Result<(), Misplaced>,
    ) -> Result<(), Misplaced> {
        Manifests::<T>::try_mutate(shard.manifest, |record| {
            let record = record.as_mut().ok_or(Misplaced::NoManifest)?;
            let (chunk, bit) = locate(shard.index);
            Leased::<T>::try_mutate_exists(shard.manifest, chunk, |bitmap| {
                let leased = bitmap.as_mut().ok_or(Misplaced::NotLeased)?;
                if !leased.remove(bit) {
                    return Err(Misplaced::NotLeased);
                }
                if leased.is_empty() {
                    *bitmap = None;
                }
                record.leased = record.leased.saturating_sub(1);
                and_then(record)
            })
        })
    }

    fn release_one(shard: &ShardId) -> Result<(), Misplaced> {
        Self::end_lease(shard, |record| {
            let kind = Self::kind(&record.info).ok_or(Misplaced::NoSource)?;
            Self::put_slot(shard.manifest, record.free, shard.index);
            record.free = record.free.saturating_add(1);
            Pool::<T>::mutate(kind, |entries| {
                // A retired manifest is not in the pool.
                if let Some(entry) = entries.iter_mut().find(|entry| entry.manifest == shard.manifest) {
                    entry.free = record.free;
                    FreeShards::<T>::mutate(|total| *total = total.saturating_add(1));
                }
            });
            Ok(())
        })
    }

    fn consume_one(shard: &ShardId, round: RoundNumber) -> Result<(), Misplaced> {
        Self::end_lease(shard, |record| {
            let (chunk, bit) = locate(shard.index);
            Consumed::<T>::mutate(shard.manifest, chunk, |bitmap| bitmap.get_or_insert_default().insert(bit));
            Consumption::<T>::mutate(shard.manifest, round, |count| *count = count.saturating_add(1));
            record.consumed = record.consumed.saturating_add(1);
            if record.consumed == record.info.shards {
                Self::unpool(&record.info, shard.manifest);
                Self::deposit_event(Event::ManifestConsumed { manifest: shard.manifest });
            }
            Ok(())
        })
    }

    /// A source.
    pub fn source(id: SourceId) -> Option<Source<T::AccountId>> {
        Sources::<T>::get(id)
    }

    /// A manifest.
    pub fn manifest(id: ManifestId) -> Option<Manifest<T::AccountId>> {
        Manifests::<T>::get(id)
    }

    /// Manifests ever registered; their numbers count from zero, and those of withdrawn ones stay empty.
    pub fn manifest_count() -> u32 {
        ManifestCount::<T>::get()
    }

    /// The pallet's accounting as equations.
    #[cfg(any(feature = "try-runtime", feature = "std"))]
    pub fn do_try_state() -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        use crate::{ContentSeen, ManifestDeposits, ManifestsOf, NextSource, Retired, SourceDeposits};
        use alloc::collections::{BTreeMap, BTreeSet};
        use polkadot_sdk::frame_support::{ensure, traits::fungible::InspectHold};

        let mut deposits: BTreeMap<T::AccountId, Balance> = BTreeMap::new();
        let mut add = |who, deposit: Balance| {
            let sum = deposits.entry(who).or_default();
            *sum = sum.saturating_add(deposit);
        };
        let mut pool = BTreeMap::new();
        for (kind, entries) in Pool::<T>::iter() {
            for entry in entries {
                ensure!(pool.insert(entry.manifest, (kind, entry.free)).is_none(), "a manifest is in the pool twice");
            }
        }
        let free = pool.values().fold(0u32, |sum, (_, free)| sum.saturating_add(*free));
        ensure!(free == FreeShards::<T>::get(), "the free shards are not those of the pool");

        let mut per_source: BTreeMap<SourceId, u32> = BTreeMap::new();
        for (id, record) in Manifests::<T>::iter() {
            let (info, pooled) = (&record.info, pool.remove(&id));
            ensure!(id < ManifestCount::<T>::get(), "a manifest is beyond the count");
            ensure!(ContentSeen::<T>::get(info.content_hash) == Some(id), "a manifest's content is not known");
            let source = Sources::<T>::get(info.source).ok_or("a manifest has no source")?;
            let count = per_source.entry(info.source).or_default();
            *count = count.saturating_add(1);
            add(record.owner.clone(), ManifestDeposits::<T>::get(id));
            if info.held_out {
                ensure!((record.free, record.leased, record.consumed) == (0, 0, 0), "a held-out manifest is counted");
                ensure!(pooled.is_none(), "a held-out manifest is in the pool");
                continue;
            }
            let sum = record.free.saturating_add(record.leased).saturating_add(record.consumed);
            ensure!(sum == info.shards, "free, leased and consumed do not add up to the shards");
            let in_pool = record.consumed < info.shards && !Retired::<T>::contains_key(id);
            let expected = in_pool.then_some((source.kind, record.free));
            ensure!(pooled == expected, "the pool does not hold exactly the manifests with shards left, as they are");
            let bits = |chunks: &BTreeMap<u32, crate::Bitmap>| chunks.values().map(|bitmap| bitmap.len()).sum::<u32>();
            let leased: BTreeMap<_, _> = Leased::<T>::iter_prefix(id).collect();
            let consumed: BTreeMap<_, _> = Consumed::<T>::iter_prefix(id).collect();
            ensure!(bits(&leased) == record.leased, "the bitmaps do not hold the leased shards");
            ensure!(bits(&consumed) == record.consumed, "the bitmaps do not hold the consumed shards");
            let rounds = Consumption::<T>::iter_prefix_values(id).fold(0u32, |sum, count| sum.saturating_add(count));
            ensure!(rounds == record.consumed, "the rounds' consumption is not the consumed shards");

            let slots: BTreeMap<_, _> = Slots::<T>::iter_prefix(id).collect();
            ensure!(slots.keys().all(|&position| position < record.free), "a slot is beyond the free shards");
            let shards: BTreeSet<_> = (0..record.free).map(|at| slots.get(&at).copied().unwrap_or(at)).collect();
            ensure!(shards.len() == record.free as usize, "a free shard is in two slots");
            ensure!(shards.last().is_none_or(|&last| last < info.shards), "a slot holds no shard");
            let taken = |index| {
                let (chunk, bit) = locate(index);
                [&leased, &consumed].into_iter().any(|map| map.get(&chunk).is_some_and(|bitmap| bitmap.contains(bit)))
            };
            ensure!(!shards.into_iter().any(taken), "a free shard is leased or consumed");
        }
        ensure!(pool.is_empty(), "the pool holds a manifest that is not registered");
        ensure!(Retired::<T>::iter_keys().all(Manifests::<T>::contains_key), "a retired manifest is not registered");
        ensure!(per_source == ManifestsOf::<T>::iter().collect(), "the sources' manifests are miscounted");
        for (id, source) in Sources::<T>::iter() {
            ensure!(id < NextSource::<T>::get(), "a source is beyond the count");
            add(source.owner, SourceDeposits::<T>::get(id));
        }
        for (who, deposit) in deposits {
            let held = T::Currency::balance_on_hold(&HoldReason::Deposit.into(), &who);
            ensure!(held == deposit, "an owner's deposits are not what is on hold");
        }
        Ok(())
    }
}

impl<T: Config> ShardPool for Pallet<T> {
    fn free() -> u32 {
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
                    let free = entries.iter().fold(0u32, |sum, entry| sum.saturating_add(entry.free));
                    // One draw over all entries finds both the manifest, by its free shards, and the position in it.
                    let mut position = prf.below(free);
                    let drawn = entries.iter_mut().find(|entry| {
                        let here = position < entry.free;
                        if !here {
                            position = position.saturating_sub(entry.free);
                        }
                        here
                    });
                    let Some(entry) = drawn else { break };
                    shards.push(Self::draw(entry, position));
                }
            });
        }
        shards
    }

    fn release(shards: &[ShardId]) {
        for shard in shards {
            if let Err(error) = Self::release_one(shard) {
                log::error!(target: LOG_TARGET, "cannot take back {shard:?}: {error:?}");
            }
        }
    }

    fn consume(shards: &[ShardId], round: RoundNumber) {
        for shard in shards {
            if let Err(error) = Self::consume_one(shard, round) {
                log::error!(target: LOG_TARGET, "cannot consume {shard:?}: {error:?}");
            }
        }
    }
}
