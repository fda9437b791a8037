// SPDX-License-Identifier: Apache-2.0

//! Implementation of [`ShardPool`] for the learning pallet.

use crate::{Config, FreeShards, LOG_TARGET, Manifests, Pallet, Pool};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use pol_primitives::{
    MAX_LEASE_SHARDS, Ppm, RoundNumber,
    data::{ManifestId, ManifestStatus, ShardId, ShardRecord, SourceKind},
    prf::Prf,
    provider_draw::ProviderDraw,
    traits::ShardPool,
};
use polkadot_sdk::{
    frame_support::{storage::with_transaction_unchecked, traits::Get},
    sp_runtime::TransactionOutcome,
};

impl<T: Config> ShardPool<T::AccountId> for Pallet<T> {
    fn free_shards() -> u32 {
        FreeShards::<T>::get()
    }

    fn lease(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        let count = count.min(MAX_LEASE_SHARDS);
        let mut pool = SourceKind::ALL.map(Pool::<T>::get);
        let mut draw = ProviderDraw::new(count, T::ProviderShare::get());
        let mut shards = Vec::new();
        for _ in 0..count {
            let Some(place) = draw.next(&pool, prf) else { break };
            let entries = pool.get_mut(place.kind);
            let Some(entry) = entries.and_then(|entries| entries.get_mut(place.manifest)) else {
                break;
            };
            shards.push(Self::lease_one(entry, place.position));
        }
        for (kind, entries) in SourceKind::ALL.into_iter().zip(pool) {
            if !entries.is_empty() {
                Pool::<T>::insert(kind, entries);
            }
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
        for (at, shard) in shards.iter().enumerate() {
            let delta = deltas.get(at).copied().unwrap_or(0);
            if let Err(error) = Self::consume_one(shard, ShardRecord { round, index, delta }) {
                log::error!(target: LOG_TARGET, "cannot consume {shard:?}: {error:?}");
            }
        }
    }

    /// Draws as a lease does, so that updates are measured on the data that comes next.
    fn sample(count: u32, prf: &mut Prf) -> Vec<ShardId> {
        with_transaction_unchecked(|| TransactionOutcome::Rollback(Self::lease(count, prf)))
    }

    fn effects(shards: &[ShardId], deltas: &[i32]) -> Vec<(T::AccountId, u64)> {
        let mut effects: BTreeMap<ManifestId, u64> = BTreeMap::new();
        for (shard, delta) in shards.iter().zip(deltas) {
            let sum = effects.entry(shard.manifest).or_default();
            *sum = sum.saturating_add(u64::try_from(*delta).unwrap_or(0));
        }
        let mut providers: BTreeMap<T::AccountId, u64> = BTreeMap::new();
        for (manifest, effect) in effects.into_iter().filter(|(_, effect)| *effect > 0) {
            if let Some(record) = Manifests::<T>::get(manifest) {
                let sum = providers.entry(record.owner).or_default();
                *sum = sum.saturating_add(effect);
            }
        }
        providers.into_iter().collect()
    }

    fn bonus(shards: &[ShardId]) -> Ppm {
        let mut bonuses: BTreeMap<ManifestId, Option<Ppm>> = BTreeMap::new();
        let of = |shard: &ShardId| {
            *bonuses.entry(shard.manifest).or_insert_with(|| {
                Some(Manifests::<T>::get(shard.manifest)?.kind.map_or(0, SourceKind::bonus))
            })
        };
        let known: Vec<u64> = shards.iter().filter_map(of).map(u64::from).collect();
        let sum = known.iter().fold(0u64, |sum, bonus| sum.saturating_add(*bonus));
        let mean = sum.checked_div(known.len() as u64);
        mean.and_then(|mean| Ppm::try_from(mean).ok()).unwrap_or(0)
    }

    fn is_stopped(shards: &[ShardId]) -> bool {
        let manifests: BTreeSet<ManifestId> = shards.iter().map(|shard| shard.manifest).collect();
        manifests.into_iter().filter_map(Manifests::<T>::get).any(|manifest| {
            matches!(manifest.status, ManifestStatus::Paused | ManifestStatus::Retired)
        })
    }
}
