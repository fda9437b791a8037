// SPDX-License-Identifier: Apache-2.0

//! Queries of the runtime API.

use crate::{
    Config, ConsumedShards, ManifestCount, ManifestOfContent, Manifests, Pallet, ShardRecords,
    Sources,
};
use pol_primitives::{
    Hash,
    data::{Manifest, ManifestId, ShardId, ShardRecord, Source, SourceId},
};

impl<T: Config> Pallet<T> {
    /// Returns the record of a consumed shard; none for any other shard.
    pub fn shard_record(id: ShardId) -> Option<ShardRecord> {
        let (chunk, place) = ShardRecords::locate(id.index);
        ConsumedShards::<T>::get(id.manifest, chunk)?.get(place)
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

    /// Returns the number of manifests ever registered. Their ids count from zero, and the ids of
    /// withdrawn manifests stay unused.
    pub fn manifest_count() -> u32 {
        ManifestCount::<T>::get()
    }
}
