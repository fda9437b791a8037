// SPDX-License-Identifier: Apache-2.0

//! Calls of providers: they register and withdraw manifests.

use crate::{
    Config, Error, Event, ManifestCount, ManifestDeposits, ManifestOfContent, Manifests,
    ManifestsOf, Pallet, Reports, Slots, Sources,
};
use pol_primitives::{
    MILLION,
    data::{MAX_SHARDS, Manifest, ManifestId, ManifestInfo, ManifestStatus, SourceId},
    traits::{DataFormat, Rounds},
};
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResult, ensure},
    sp_runtime::ArithmeticError,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_register_manifest(owner: T::AccountId, info: ManifestInfo) -> DispatchResult {
        Self::validate_manifest(&owner, &info)?;
        let manifest = ManifestCount::<T>::get();
        ManifestCount::<T>::put(manifest.checked_add(1).ok_or(ArithmeticError::Overflow)?);
        let deposit = Self::manifest_deposit(&info);
        Self::hold_deposit(&owner, deposit)?;
        ManifestDeposits::<T>::insert(manifest, deposit);
        ManifestsOf::<T>::mutate(info.source, |count| *count = count.saturating_add(1));
        Self::deposit_event(Event::ManifestRegistered {
            manifest,
            source: info.source,
            shards: info.shards,
            held_out: info.held_out,
        });
        let record = Manifest {
            owner,
            status: ManifestStatus::Proposed,
            kind: None,
            effect: Default::default(),
            free: if info.held_out { 0 } else { info.shards },
            leased: 0,
            consumed: 0,
            registered: T::Rounds::number(),
            ended: None,
            info,
        };
        Manifests::<T>::insert(manifest, record);
        Ok(())
    }

    /// Checks that `owner` may register the manifest.
    fn validate_manifest(owner: &T::AccountId, info: &ManifestInfo) -> DispatchResult {
        let source = Sources::<T>::get(info.source).ok_or(Error::<T>::UnknownSource)?;
        ensure!(source.owner == *owner, Error::<T>::NotOwner);
        ensure!((1..=MAX_SHARDS).contains(&info.shards), Error::<T>::InvalidShards);
        ensure!(info.quality <= MILLION, Error::<T>::InvalidQuality);
        ensure!(info.parents.iter().all(Manifests::<T>::contains_key), Error::<T>::UnknownParent);
        Self::check_format(info)?;
        Self::check_content(info)
    }

    /// Checks that a manifest has the format of the recipe.
    pub(crate) fn check_format(info: &ManifestInfo) -> DispatchResult {
        let format = T::Recipe::shard_tokens_and_tokenizer().ok_or(Error::<T>::NoRecipe)?;
        ensure!(format == (info.shard_tokens, info.tokenizer), Error::<T>::WrongFormat);
        Ok(())
    }

    /// Checks that no manifest of the same content is admitted.
    pub(crate) fn check_content(info: &ManifestInfo) -> DispatchResult {
        let is_admitted = ManifestOfContent::<T>::contains_key(info.content_hash);
        ensure!(!is_admitted, Error::<T>::AlreadyAdmitted);
        Ok(())
    }

    pub(crate) fn do_withdraw_manifest(who: T::AccountId, manifest: ManifestId) -> DispatchResult {
        let record = Manifests::<T>::take(manifest).ok_or(Error::<T>::UnknownManifest)?;
        ensure!(record.owner == who, Error::<T>::NotOwner);
        if record.status != ManifestStatus::Proposed {
            // A released shard lies at another position, so slots are a trace of a lease.
            let is_untouched = record.free == record.info.shards
                && Slots::<T>::iter_key_prefix(manifest).next().is_none();
            ensure!(is_untouched && Self::remove_from_pool(manifest, &record), Error::<T>::InUse);
            ManifestOfContent::<T>::remove(record.info.content_hash);
            Reports::<T>::remove(manifest);
        }
        Self::forget_manifest_of(record.info.source);
        Self::release_deposit(&who, ManifestDeposits::<T>::take(manifest))?;
        Self::deposit_event(Event::ManifestWithdrawn { manifest });
        Ok(())
    }

    /// Counts one manifest less of a source.
    pub(crate) fn forget_manifest_of(source: SourceId) {
        ManifestsOf::<T>::mutate_exists(source, |count| {
            *count = count.and_then(|count| count.checked_sub(1)).filter(|&left| left > 0);
        });
    }
}
