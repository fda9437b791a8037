// SPDX-License-Identifier: Apache-2.0

//! Removal of manifests that ended long ago, with the records of their shards.

use crate::{
    Config, ConsumedShards, Event, LeavingManifest, ManifestCount, Manifests, NextChecked, Pallet,
    Slots, WeightInfo,
};
use alloc::vec::Vec;
use pol_primitives::{
    data::{Manifest, ManifestId},
    traits::Rounds,
};
use polkadot_sdk::frame_support::{traits::Get, weights::Weight};

/// Maximum number of chunks of records that one block removes. Full rounds of eight blocks consume
/// 512 shards a block, which are four chunks.
pub(crate) const MAX_CHUNKS: u32 = 8;
/// Maximum number of slots that one block removes. Only retired manifests leave any.
pub(crate) const MAX_SLOTS: u32 = 64;

impl<T: Config> Pallet<T> {
    /// Goes on to remove the manifest that leaves. If there is none, checks if the next one is to
    /// leave.
    pub(crate) fn expire() -> Weight {
        match LeavingManifest::<T>::get() {
            Some(manifest) => Self::remove_entries(manifest),
            None => {
                Self::check_next();
                T::WeightInfo::expire(0, 0)
            }
        }
    }

    /// Removes the next registered manifest if it ended long ago. Its content hash stays, so that
    /// the same data is not admitted again.
    fn check_next() {
        let (count, next) = (ManifestCount::<T>::get(), NextChecked::<T>::get());
        if count == 0 {
            return;
        }
        let manifest = if next < count { next } else { 0 };
        NextChecked::<T>::put(manifest.saturating_add(1));
        let Some(record) = Manifests::<T>::get(manifest).filter(Self::is_over) else { return };
        Manifests::<T>::remove(manifest);
        Self::forget_manifest_of(record.info.source);
        LeavingManifest::<T>::put(manifest);
        Self::deposit_event(Event::ManifestForgotten { manifest });
    }

    /// Returns `true` if the manifest ended [`Config::KeptRounds`] ago, and all its leases too.
    fn is_over(record: &Manifest<T::AccountId>) -> bool {
        let is_old = |ended: u32| ended.saturating_add(T::KeptRounds::get()) < T::Rounds::number();
        record.leased == 0 && record.ended.is_some_and(is_old)
    }

    /// Removes some records and slots of the manifest that leaves.
    fn remove_entries(manifest: ManifestId) -> Weight {
        let chunks: Vec<u32> =
            ConsumedShards::<T>::iter_key_prefix(manifest).take(MAX_CHUNKS as usize).collect();
        let slots: Vec<u32> =
            Slots::<T>::iter_key_prefix(manifest).take(MAX_SLOTS as usize).collect();
        chunks.iter().for_each(|chunk| ConsumedShards::<T>::remove(manifest, chunk));
        slots.iter().for_each(|position| Slots::<T>::remove(manifest, position));
        let (chunks, slots) = (chunks.len() as u32, slots.len() as u32);
        if chunks < MAX_CHUNKS && slots < MAX_SLOTS {
            LeavingManifest::<T>::kill();
        }
        T::WeightInfo::expire(chunks, slots)
    }
}
