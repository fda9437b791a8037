// SPDX-License-Identifier: Apache-2.0

//! Checks of the pallet's invariants.

use crate::{
    Config, ConsumedShards, FreeShards, HoldReason, LeasedShards, LeavingManifest, ManifestCount,
    ManifestDeposits, ManifestOfContent, ManifestOfDocuments, Manifests, ManifestsOf, NextChecked,
    NextSource, Pallet, Pool, Reports, Retirements, ShardBitmap, ShardRecords, Slots,
    SourceDeposits, Sources, types::locate_in_bitmap,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use pol_primitives::{
    Balance,
    data::{Manifest, ManifestId, ManifestStatus, SourceId, SourceKind},
};
use polkadot_sdk::{
    frame_support::{ensure, traits::fungible::InspectHold},
    sp_runtime::TryRuntimeError,
};

/// Kind, provider and number of free shards of a manifest in the pool.
type PooledManifest<AccountId> = (SourceKind, AccountId, u32);
/// Manifests in the pool.
type PooledManifests<AccountId> = BTreeMap<ManifestId, PooledManifest<AccountId>>;

/// Returns the index of the shard whose record is at `place` of `chunk`.
fn shard_index(chunk: u32, place: u8) -> u32 {
    (chunk << 7) | u32::from(place)
}

/// Leased and consumed shards of a manifest.
struct TakenShards {
    leased: BTreeMap<u32, ShardBitmap>,
    /// Chunk and place of each record.
    consumed: BTreeSet<(u32, u8)>,
}

impl TakenShards {
    fn load<T: Config>(id: ManifestId) -> Self {
        let consumed = ConsumedShards::<T>::iter_prefix(id).flat_map(|(chunk, records)| {
            records.places().map(|place| (chunk, place)).collect::<Vec<_>>()
        });
        Self { leased: LeasedShards::<T>::iter_prefix(id).collect(), consumed: consumed.collect() }
    }

    fn is_leased(&self, index: u32) -> bool {
        let (chunk, bit) = locate_in_bitmap(index);
        self.leased.get(&chunk).is_some_and(|bitmap| bitmap.contains(bit))
    }

    fn is_consumed(&self, index: u32) -> bool {
        self.consumed.contains(&ShardRecords::locate(index))
    }
}

impl<T: Config> Pallet<T> {
    /// Checks the invariants listed in the README, in its order.
    ///
    /// # Errors
    ///
    /// Fails with the first invariant that does not hold.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        let mut pooled = Self::check_pool()?;
        for (id, record) in Manifests::<T>::iter() {
            Self::check_registration(id, &record)?;
            let pool_entry = pooled.remove(&id);
            if record.info.held_out {
                Self::check_held_out(&record, pool_entry)?;
            } else {
                Self::check_counts(&record, pool_entry)?;
                let taken = TakenShards::load::<T>(id);
                Self::check_taken(&record, &taken)?;
                Self::check_slots(id, &record, &taken)?;
            }
        }
        ensure!(pooled.is_empty(), "the pool holds a manifest that is not registered");
        Self::check_contents()?;
        Self::check_leaving()?;
        Self::check_reports()?;
        Self::check_sources()?;
        Self::check_deposits()
    }

    fn check_pool() -> Result<PooledManifests<T::AccountId>, TryRuntimeError> {
        let mut pooled = PooledManifests::new();
        for (kind, entries) in Pool::<T>::iter() {
            for entry in entries {
                ensure!(
                    pooled.insert(entry.manifest, (kind, entry.provider, entry.free)).is_none(),
                    "a manifest is in the pool twice"
                );
            }
        }
        let free = pooled.values().fold(0u32, |sum, (.., free)| sum.saturating_add(*free));
        ensure!(free == FreeShards::<T>::get(), "the free shards differ from those of the pool");
        Ok(pooled)
    }

    /// Checks id, kind, content hash and source of a manifest.
    fn check_registration(
        id: ManifestId,
        record: &Manifest<T::AccountId>,
    ) -> Result<(), TryRuntimeError> {
        ensure!(id < ManifestCount::<T>::get(), "the id of a manifest is beyond the count");
        let was_admitted = record.status != ManifestStatus::Proposed;
        ensure!(
            record.kind.is_some() == was_admitted,
            "a manifest has a kind before it was admitted, or none after"
        );
        ensure!(
            !was_admitted || ManifestOfContent::<T>::get(record.info.content_hash) == Some(id),
            "the content hash of a manifest is not stored"
        );
        ensure!(
            !was_admitted
                || record.info.documents.is_none_or(|documents| {
                    let stored =
                        ManifestOfDocuments::<T>::get(documents.root, record.info.held_out);
                    stored == Some(id)
                }),
            "the documents of a manifest are not stored"
        );
        ensure!(
            (record.status == ManifestStatus::Retired) == Retirements::<T>::contains_key(id),
            "a manifest was retired for no reason, or it was not retired and has one"
        );
        ensure!(
            record.info.parents.iter().all(|parent| *parent < id),
            "a manifest is older than its parent"
        );
        ensure!(
            Sources::<T>::contains_key(record.info.source),
            "the source of a manifest is not registered"
        );
        let has_ended = matches!(record.status, ManifestStatus::Retired | ManifestStatus::Consumed);
        ensure!(
            !has_ended || !ManifestDeposits::<T>::contains_key(id),
            "a manifest that has ended has a deposit"
        );
        ensure!(
            has_ended == record.ended.is_some(),
            "a manifest has ended in no round, or it has not ended and names one"
        );
        Ok(())
    }

    fn check_contents() -> Result<(), TryRuntimeError> {
        let count = ManifestCount::<T>::get();
        let was_admitted = |(hash, id): (_, ManifestId)| match Manifests::<T>::get(id) {
            Some(record) => {
                record.info.content_hash == hash && record.status != ManifestStatus::Proposed
            }
            // It ended long ago.
            None => id < count,
        };
        ensure!(
            ManifestOfContent::<T>::iter().all(was_admitted),
            "a content hash is that of no admitted manifest"
        );
        let has_documents = |(root, held_out, id): (_, _, ManifestId)| match Manifests::<T>::get(id)
        {
            Some(Manifest { info, status, .. }) => {
                info.documents.is_some_and(|documents| documents.root == root)
                    && info.held_out == held_out
                    && status != ManifestStatus::Proposed
            }
            None => id < count,
        };
        ensure!(
            ManifestOfDocuments::<T>::iter().all(has_documents),
            "documents are those of no admitted manifest"
        );
        ensure!(
            Retirements::<T>::iter_keys().all(|id| id < count),
            "a manifest was retired that nobody registered"
        );
        Ok(())
    }

    fn check_leaving() -> Result<(), TryRuntimeError> {
        let leaving = LeavingManifest::<T>::get();
        ensure!(
            leaving.is_none_or(|id| !Manifests::<T>::contains_key(id)),
            "a manifest leaves and is registered"
        );
        ensure!(
            NextChecked::<T>::get() <= ManifestCount::<T>::get(),
            "the next manifest to check is beyond the count"
        );
        let is_known = |id| leaving == Some(id) || Manifests::<T>::contains_key(id);
        let records = ConsumedShards::<T>::iter_keys().map(|(id, _)| id);
        let slots = Slots::<T>::iter_keys().map(|(id, _)| id);
        let leased = LeasedShards::<T>::iter_keys().map(|(id, _)| id);
        ensure!(
            records.chain(slots).chain(leased).all(is_known),
            "shards are of a manifest that is neither registered nor leaves"
        );
        Ok(())
    }

    fn check_reports() -> Result<(), TryRuntimeError> {
        for (id, report) in Reports::<T>::iter() {
            ensure!(
                Manifests::<T>::get(id)
                    .is_some_and(|record| record.status == ManifestStatus::Admitted),
                "a manifest that is not admitted was reported"
            );
            let distinct: BTreeSet<_> = report.validators.iter().collect();
            ensure!(
                distinct.len() == report.validators.len() && !distinct.is_empty(),
                "a validator reported a manifest twice, or nobody did"
            );
        }
        Ok(())
    }

    fn check_held_out(
        record: &Manifest<T::AccountId>,
        pool_entry: Option<PooledManifest<T::AccountId>>,
    ) -> Result<(), TryRuntimeError> {
        ensure!(
            (record.free, record.leased, record.consumed) == (0, 0, 0),
            "the counts of a held-out manifest are not zero"
        );
        ensure!(pool_entry.is_none(), "a held-out manifest is in the pool");
        Ok(())
    }

    fn check_counts(
        record: &Manifest<T::AccountId>,
        pool_entry: Option<PooledManifest<T::AccountId>>,
    ) -> Result<(), TryRuntimeError> {
        let sum = record.free.saturating_add(record.leased).saturating_add(record.consumed);
        ensure!(
            sum == record.info.shards,
            "free, leased and consumed shards do not add up to the manifest's shards"
        );
        ensure!(
            record.status == ManifestStatus::Retired
                || (record.consumed == record.info.shards)
                    == (record.status == ManifestStatus::Consumed),
            "a manifest is consumed, but not all its shards, or the other way round"
        );
        let pooled_kind = record.kind.filter(|_| record.status == ManifestStatus::Admitted);
        let expected = pooled_kind.map(|kind| (kind, record.owner.clone(), record.free));
        ensure!(
            pool_entry == expected,
            "the pool does not hold exactly the admitted manifests with their free shards"
        );
        Ok(())
    }

    fn check_taken(
        record: &Manifest<T::AccountId>,
        taken: &TakenShards,
    ) -> Result<(), TryRuntimeError> {
        let bits = taken.leased.values().fold(0u32, |sum, bitmap| sum.saturating_add(bitmap.len()));
        ensure!(bits == record.leased, "the bitmaps differ from the count of leased shards");
        ensure!(
            Ok(record.consumed) == taken.consumed.len().try_into(),
            "the records differ from the count of consumed shards"
        );
        let is_leased = |&(chunk, place): &(u32, u8)| taken.is_leased(shard_index(chunk, place));
        ensure!(!taken.consumed.iter().any(is_leased), "a leased shard is consumed");
        Ok(())
    }

    fn check_slots(
        id: ManifestId,
        record: &Manifest<T::AccountId>,
        taken: &TakenShards,
    ) -> Result<(), TryRuntimeError> {
        let slots: BTreeMap<_, _> = Slots::<T>::iter_prefix(id).collect();
        ensure!(
            slots.keys().all(|&position| position < record.free),
            "a slot is beyond the free shards"
        );
        let free: BTreeSet<_> =
            (0..record.free).map(|at| slots.get(&at).copied().unwrap_or(at)).collect();
        ensure!(free.len() == record.free as usize, "a free shard is in two slots");
        ensure!(
            free.last().is_none_or(|&last| last < record.info.shards),
            "a slot holds a shard beyond the manifest"
        );
        let is_taken = |index| taken.is_leased(index) || taken.is_consumed(index);
        ensure!(!free.into_iter().any(is_taken), "a free shard is leased or consumed");
        Ok(())
    }

    fn check_sources() -> Result<(), TryRuntimeError> {
        let mut per_source: BTreeMap<SourceId, u32> = BTreeMap::new();
        for record in Manifests::<T>::iter_values() {
            let count = per_source.entry(record.info.source).or_default();
            *count = count.saturating_add(1);
        }
        ensure!(
            per_source == ManifestsOf::<T>::iter().collect(),
            "the counts of the sources' manifests are wrong"
        );
        ensure!(
            Sources::<T>::iter_keys().all(|id| id < NextSource::<T>::get()),
            "the id of a source is beyond the next one"
        );
        Ok(())
    }

    fn check_deposits() -> Result<(), TryRuntimeError> {
        let mut deposits: BTreeMap<T::AccountId, Balance> = BTreeMap::new();
        let manifests = Manifests::<T>::iter()
            .map(|(id, record)| (record.owner, ManifestDeposits::<T>::get(id)));
        let sources =
            Sources::<T>::iter().map(|(id, source)| (source.owner, SourceDeposits::<T>::get(id)));
        for (owner, deposit) in manifests.chain(sources) {
            let sum = deposits.entry(owner).or_default();
            *sum = sum.saturating_add(deposit);
        }
        for (owner, deposit) in deposits {
            let held = T::Currency::balance_on_hold(&HoldReason::Deposit.into(), &owner);
            ensure!(held == deposit, "the deposits of an owner differ from the amount on hold");
        }
        Ok(())
    }
}
