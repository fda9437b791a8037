//! Drawing shards, taking them back and using them up, and what the other pallets call.

use crate::{
    Config, Consumed, Error, Event, FreeShards, HoldReason, Leased, ManifestCount, Manifests,
    Pallet, Pool, PoolEntry, Records, Slots, Sources, types::locate,
};
use alloc::{collections::BTreeMap, vec::Vec};
use pol_primitives::{
    Balance, MAX_LEASE_SHARDS, Ppm, RoundNumber,
    data::{
        Manifest, ManifestId, ManifestInfo, ShardId, ShardRecord, Source, SourceId, SourceKind,
    },
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

/// Shards of one kind that nobody has.
fn free_of(entries: &[PoolEntry]) -> u32 {
    entries.iter().fold(0, |sum: u32, entry| sum.saturating_add(entry.free))
}

/// The entry that the free shard number `position` over all `entries` is in, and its position
/// there.
fn find<'a>(
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

/// Draws up to `count` different numbers below `bound`, every set of them as likely as any other
/// (Robert Floyd; Bentley 1987, "Programming Pearls: A Sample of Brilliance").
fn draw_different(count: u32, bound: u32, prf: &mut Prf) -> Vec<u32> {
    let mut drawn = Vec::new();
    for last in bound.saturating_sub(count)..bound {
        let number = prf.below(last.saturating_add(1));
        drawn.push(if drawn.contains(&number) { last } else { number });
    }
    drawn
}

impl<T: Config> Pallet<T> {
    /// Puts the deposit on hold; returns it.
    pub(crate) fn hold(who: &T::AccountId) -> Result<Balance, DispatchError> {
        let deposit = T::ManifestDeposit::get();
        T::Currency::hold(&HoldReason::Deposit.into(), who, deposit).map_err(|error| {
            if error == TokenError::FundsUnavailable.into() {
                Error::<T>::InsufficientFunds.into()
            } else {
                error
            }
        })?;
        Ok(deposit)
    }

    pub(crate) fn release_deposit(who: &T::AccountId, deposit: Balance) -> DispatchResult {
        T::Currency::release(&HoldReason::Deposit.into(), who, deposit, Precision::Exact)
            .map(|_| ())
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

    /// Draws the free shard at `position`: the last free shard moves there, so each is drawn once
    /// (Fisher and Yates).
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

    fn consume_one(shard: &ShardId, became: ShardRecord) -> Result<(), Misplaced> {
        Self::end_lease(shard, |record| {
            let (chunk, place) = Records::locate(shard.index);
            Consumed::<T>::mutate(shard.manifest, chunk, |records| {
                records.get_or_insert_default().insert(place, became)
            });
            record.consumed = record.consumed.saturating_add(1);
            if record.consumed == record.info.shards {
                Self::unpool(&record.info, shard.manifest);
                Self::deposit_event(Event::ManifestConsumed { manifest: shard.manifest });
            }
            Ok(())
        })
    }

    /// The manifests that the shards are in, each with how many of them.
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

    /// What became of a shard; none while it is not part of the model.
    pub fn shard(id: ShardId) -> Option<ShardRecord> {
        let (chunk, place) = Records::locate(id.index);
        Consumed::<T>::get(id.manifest, chunk)?.get(place)
    }

    /// A source.
    pub fn source(id: SourceId) -> Option<Source<T::AccountId>> {
        Sources::<T>::get(id)
    }

    /// A manifest.
    pub fn manifest(id: ManifestId) -> Option<Manifest<T::AccountId>> {
        Manifests::<T>::get(id)
    }

    /// Manifests ever registered; their numbers count from zero, and those of withdrawn ones stay
    /// empty.
    pub fn manifest_count() -> u32 {
        ManifestCount::<T>::get()
    }

    /// The pallet's accounting as equations.
    #[cfg(any(feature = "try-runtime", feature = "std"))]
    pub fn do_try_state() -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        use crate::{
            ContentSeen, ManifestDeposits, ManifestsOf, NextSource, Retired, SourceDeposits,
        };
        use alloc::collections::BTreeSet;
        use polkadot_sdk::frame_support::{ensure, traits::fungible::InspectHold};

        let mut deposits: BTreeMap<T::AccountId, Balance> = BTreeMap::new();
        let mut add = |who, deposit: Balance| {
            let sum = deposits.entry(who).or_default();
            *sum = sum.saturating_add(deposit);
        };
        let mut pool = BTreeMap::new();
        for (kind, entries) in Pool::<T>::iter() {
            for entry in entries {
                ensure!(
                    pool.insert(entry.manifest, (kind, entry.free)).is_none(),
                    "a manifest is in the pool twice"
                );
            }
        }
        let free = pool.values().fold(0u32, |sum, (_, free)| sum.saturating_add(*free));
        ensure!(free == FreeShards::<T>::get(), "the free shards are not those of the pool");

        let mut per_source: BTreeMap<SourceId, u32> = BTreeMap::new();
        for (id, record) in Manifests::<T>::iter() {
            let (info, pooled) = (&record.info, pool.remove(&id));
            ensure!(id < ManifestCount::<T>::get(), "a manifest is beyond the count");
            ensure!(
                ContentSeen::<T>::get(info.content_hash) == Some(id),
                "a manifest's content is not known"
            );
            let source = Sources::<T>::get(info.source).ok_or("a manifest has no source")?;
            let count = per_source.entry(info.source).or_default();
            *count = count.saturating_add(1);
            add(record.owner.clone(), ManifestDeposits::<T>::get(id));
            if info.held_out {
                ensure!(
                    (record.free, record.leased, record.consumed) == (0, 0, 0),
                    "a held-out manifest is counted"
                );
                ensure!(pooled.is_none(), "a held-out manifest is in the pool");
                continue;
            }
            let sum = record.free.saturating_add(record.leased).saturating_add(record.consumed);
            ensure!(sum == info.shards, "free, leased and consumed do not add up to the shards");
            let in_pool = record.consumed < info.shards && !Retired::<T>::contains_key(id);
            let expected = in_pool.then_some((source.kind, record.free));
            ensure!(
                pooled == expected,
                "the pool does not hold exactly the manifests with shards left, as they are"
            );
            let leased: BTreeMap<_, _> = Leased::<T>::iter_prefix(id).collect();
            let bits = leased.values().fold(0u32, |sum, bitmap| sum.saturating_add(bitmap.len()));
            ensure!(bits == record.leased, "the bitmaps do not hold the leased shards");
            let consumed: BTreeSet<_> = Consumed::<T>::iter_prefix(id)
                .flat_map(|(chunk, records)| {
                    records.places().map(|place| (chunk, place)).collect::<Vec<_>>()
                })
                .collect();
            ensure!(
                Ok(record.consumed) == consumed.len().try_into(),
                "the records are not those of the consumed shards"
            );
            let in_lease = |&(chunk, place): &(u32, u8)| {
                let (chunk, bit) = locate((chunk << 7) | u32::from(place));
                leased.get(&chunk).is_some_and(|bitmap| bitmap.contains(bit))
            };
            ensure!(!consumed.iter().any(in_lease), "a leased shard is consumed");

            let slots: BTreeMap<_, _> = Slots::<T>::iter_prefix(id).collect();
            ensure!(
                slots.keys().all(|&position| position < record.free),
                "a slot is beyond the free shards"
            );
            let shards: BTreeSet<_> =
                (0..record.free).map(|at| slots.get(&at).copied().unwrap_or(at)).collect();
            ensure!(shards.len() == record.free as usize, "a free shard is in two slots");
            ensure!(shards.last().is_none_or(|&last| last < info.shards), "a slot holds no shard");
            let taken = |index| {
                let (chunk, bit) = locate(index);
                leased.get(&chunk).is_some_and(|bitmap| bitmap.contains(bit))
                    || consumed.contains(&Records::locate(index))
            };
            ensure!(!shards.into_iter().any(taken), "a free shard is leased or consumed");
        }
        ensure!(pool.is_empty(), "the pool holds a manifest that is not registered");
        ensure!(
            Retired::<T>::iter_keys().all(Manifests::<T>::contains_key),
            "a retired manifest is not registered"
        );
        ensure!(
            per_source == ManifestsOf::<T>::iter().collect(),
            "the sources' manifests are miscounted"
        );
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

impl<T: Config> ShardPool<T::AccountId> for Pallet<T> {
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
                    // One draw over all entries finds both the manifest, by its free shards, and
                    // the position in it.
                    let drawn = prf.below(free_of(entries));
                    let Some((entry, position)) = find(entries.iter_mut(), drawn) else { break };
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

    fn consume(shards: &[ShardId], round: RoundNumber, index: u8, deltas: &[i32]) {
        let deltas = deltas.iter().copied().chain(core::iter::repeat(0));
        for (shard, delta) in shards.iter().zip(deltas) {
            if let Err(error) = Self::consume_one(shard, ShardRecord { round, index, delta }) {
                log::error!(target: LOG_TARGET, "cannot consume {shard:?}: {error:?}");
            }
        }
    }

    /// In the order of leases, so that what is measured on is what comes next.
    fn sample(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        let mut shards = Vec::new();
        let mut left = count.min(MAX_LEASE_SHARDS);
        for kind in SourceKind::ALL {
            if left == 0 {
                break;
            }
            let mut entries = Pool::<T>::get(kind);
            for drawn in draw_different(left, free_of(&entries), prf) {
                let Some((entry, position)) = find(entries.iter_mut(), drawn) else { continue };
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
        let (mut worth, mut counted): (u64, u64) = (0, 0);
        for (record, count) in Self::manifests_of(shards) {
            let bonus = Self::kind(&record.info).map_or(0, SourceKind::bonus);
            worth = worth.saturating_add(u64::from(bonus).saturating_mul(count.into()));
            counted = counted.saturating_add(count.into());
        }
        worth.checked_div(counted).and_then(|mean| Ppm::try_from(mean).ok()).unwrap_or(0)
    }
}
