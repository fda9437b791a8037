// SPDX-License-Identifier: Apache-2.0

//! Calls that register, withdraw and retire manifests.

use crate::{
    Config, Error, Event, FreeShards, ManifestCount, ManifestDeposits, ManifestOfContent,
    Manifests, ManifestsOf, Pallet, Pool, PoolEntry, RetiredManifests, Slots, Sources,
};
use pol_primitives::{
    MILLION,
    data::{MAX_SHARDS, Manifest, ManifestId, ManifestInfo, SourceKind},
    traits::{DataFormat, Rounds},
};
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResult, ensure},
    sp_runtime::{ArithmeticError, DispatchError},
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_register_manifest(owner: T::AccountId, info: ManifestInfo) -> DispatchResult {
        let kind = Self::validate_manifest(&owner, &info)?;
        let manifest = ManifestCount::<T>::get();
        ManifestCount::<T>::put(manifest.checked_add(1).ok_or(ArithmeticError::Overflow)?);
        ManifestDeposits::<T>::insert(manifest, Self::hold_deposit(&owner)?);
        ManifestsOf::<T>::mutate(info.source, |count| *count = count.saturating_add(1));
        ManifestOfContent::<T>::insert(info.content_hash, manifest);
        let free = if info.held_out { 0 } else { info.shards };
        if !info.held_out {
            Pool::<T>::try_mutate(kind, |entries| entries.try_push(PoolEntry { manifest, free }))
                .map_err(|_| Error::<T>::PoolIsFull)?;
            FreeShards::<T>::mutate(|total| *total = total.saturating_add(free));
        }
        Self::deposit_event(Event::ManifestRegistered {
            manifest,
            source: info.source,
            shards: info.shards,
            held_out: info.held_out,
        });
        let registered = T::Rounds::number();
        Manifests::<T>::insert(
            manifest,
            Manifest { owner, info, free, leased: 0, consumed: 0, registered },
        );
        Ok(())
    }

    /// Checks that `owner` may register the manifest. Returns the kind of its source.
    fn validate_manifest(
        owner: &T::AccountId,
        info: &ManifestInfo,
    ) -> Result<SourceKind, DispatchError> {
        let source = Sources::<T>::get(info.source).ok_or(Error::<T>::UnknownSource)?;
        ensure!(source.owner == *owner, Error::<T>::NotOwner);
        ensure!((1..=MAX_SHARDS).contains(&info.shards), Error::<T>::InvalidShards);
        ensure!(info.quality <= MILLION, Error::<T>::InvalidQuality);
        let format = T::Recipe::shard_tokens_and_tokenizer().ok_or(Error::<T>::NoRecipe)?;
        ensure!(format == (info.shard_tokens, info.tokenizer), Error::<T>::WrongFormat);
        ensure!(info.parents.iter().all(Manifests::<T>::contains_key), Error::<T>::UnknownParent);
        ensure!(
            !ManifestOfContent::<T>::contains_key(info.content_hash),
            Error::<T>::AlreadyRegistered
        );
        Ok(source.kind)
    }

    pub(crate) fn do_withdraw_manifest(who: T::AccountId, manifest: ManifestId) -> DispatchResult {
        let record = Manifests::<T>::take(manifest).ok_or(Error::<T>::UnknownManifest)?;
        ensure!(record.owner == who, Error::<T>::NotOwner);
        if !record.info.held_out {
            // A released shard lies at another position, so slots are a trace of a lease.
            let untouched = record.free == record.info.shards
                && Slots::<T>::iter_key_prefix(manifest).next().is_none();
            ensure!(untouched && Self::remove_from_pool(&record.info, manifest), Error::<T>::InUse);
            FreeShards::<T>::mutate(|total| *total = total.saturating_sub(record.free));
        }
        ManifestOfContent::<T>::remove(record.info.content_hash);
        ManifestsOf::<T>::mutate_exists(record.info.source, |count| {
            *count = count.and_then(|count| count.checked_sub(1)).filter(|&left| left > 0);
        });
        Self::release_deposit(&who, ManifestDeposits::<T>::take(manifest))?;
        Self::deposit_event(Event::ManifestWithdrawn { manifest });
        Ok(())
    }

    pub(crate) fn do_retire_manifest(manifest: ManifestId) -> DispatchResult {
        let record = Manifests::<T>::get(manifest).ok_or(Error::<T>::UnknownManifest)?;
        ensure!(Self::remove_from_pool(&record.info, manifest), Error::<T>::NotPooled);
        FreeShards::<T>::mutate(|total| *total = total.saturating_sub(record.free));
        RetiredManifests::<T>::insert(manifest, ());
        Self::deposit_event(Event::ManifestRetired { manifest });
        Ok(())
    }
}
