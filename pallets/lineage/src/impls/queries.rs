// SPDX-License-Identifier: Apache-2.0

//! Queries of the runtime API.

use crate::{
    Config, ConsumedShards, ManifestCount, ManifestOfContent, ManifestOfDocuments, Manifests,
    Pallet, RECORDS_PER_CHUNK, Retirements, ShardRecords, Sources,
};
use alloc::vec::Vec;
use pol_primitives::{
    Hash, RoundNumber,
    data::{Manifest, ManifestId, ManifestInfo, ShardId, ShardRecord, Source, SourceId},
    lineage::Retirement,
    queries::{MANIFESTS_PAGE, Page, RECORD_CHUNKS_PAGE},
};

impl<T: Config> Pallet<T> {
    /// Returns the record of a consumed shard; none for any other shard.
    pub fn shard_record(id: ShardId) -> Option<ShardRecord> {
        let (chunk, place) = ShardRecords::locate(id.index);
        ConsumedShards::<T>::get(id.manifest, chunk)?.get(place)
    }

    /// Returns the indices and records of the consumed shards of a manifest from `start` on, in
    /// ascending order: all, or those of `round`.
    ///
    /// It reads at most [`RECORD_CHUNKS_PAGE`] chunks.
    pub fn shard_records(
        manifest: ManifestId,
        round: Option<RoundNumber>,
        start: u32,
    ) -> Page<(u32, ShardRecord)> {
        let shards = Manifests::<T>::get(manifest).map_or(0, |record| record.info.shards);
        let chunks = shards.div_ceil(RECORDS_PER_CHUNK);
        let (first, _) = ShardRecords::locate(start);
        let end = first.saturating_add(RECORD_CHUNKS_PAGE).min(chunks);
        let is_meant = |(index, record): &(u32, ShardRecord)| {
            *index >= start && round.is_none_or(|round| record.round == round)
        };
        let records = |chunk| {
            let stored = ConsumedShards::<T>::get(manifest, chunk).unwrap_or_default();
            stored.iter(chunk).filter(is_meant).collect::<Vec<_>>()
        };
        Page {
            items: (first..end).flat_map(records).collect(),
            next: (end < chunks).then(|| end.saturating_mul(RECORDS_PER_CHUNK)),
        }
    }

    /// Returns a source.
    pub fn source(id: SourceId) -> Option<Source<T::AccountId>> {
        Sources::<T>::get(id)
    }

    /// Returns a manifest.
    pub fn manifest(id: ManifestId) -> Option<Manifest<T::AccountId>> {
        Manifests::<T>::get(id)
    }

    /// Returns the admitted manifest of this content.
    pub fn manifest_of_content(content_hash: Hash) -> Option<ManifestId> {
        ManifestOfContent::<T>::get(content_hash)
    }

    /// Returns the admitted manifests of the documents with this root: that of the training text,
    /// then that of the held-out text.
    pub fn manifests_of_documents(root: Hash) -> Vec<ManifestId> {
        let of_side = |held_out| ManifestOfDocuments::<T>::get(root, held_out);
        [false, true].into_iter().filter_map(of_side).collect()
    }

    /// Returns the decision by which a manifest was retired or refused.
    pub fn retirement(manifest: ManifestId) -> Option<Retirement> {
        Retirements::<T>::get(manifest)
    }

    /// Returns manifests from `start` on that were made from a manifest, in ascending order.
    pub fn children(manifest: ManifestId, start: ManifestId) -> Page<ManifestId> {
        // Parents are registered before their children.
        let start = start.max(manifest.saturating_add(1));
        Self::manifests_where(start, |info| info.parents.contains(&manifest))
    }

    /// Returns manifests from `start` on that were made from a source, in ascending order.
    pub fn manifests_of_source(source: SourceId, start: ManifestId) -> Page<ManifestId> {
        Self::manifests_where(start, |info| info.source == source)
    }

    /// Looks at [`MANIFESTS_PAGE`] ids from `start` on. Returns those of registered manifests that
    /// are meant.
    fn manifests_where(
        start: ManifestId,
        is_meant: impl Fn(&ManifestInfo) -> bool,
    ) -> Page<ManifestId> {
        let count = ManifestCount::<T>::get();
        let end = start.saturating_add(MANIFESTS_PAGE).min(count);
        let is_found =
            |id: &ManifestId| Manifests::<T>::get(id).is_some_and(|record| is_meant(&record.info));
        Page {
            items: (start..end).filter(is_found).collect(),
            next: (start < end && end < count).then_some(end),
        }
    }

    /// Returns the number of manifests ever registered. Their ids count from zero, and the ids of
    /// withdrawn manifests stay unused.
    pub fn manifest_count() -> u32 {
        ManifestCount::<T>::get()
    }
}
