// SPDX-License-Identifier: Apache-2.0

//! Calls of providers: they register and withdraw manifests.

use crate::{
    Config, Error, Event, ManifestCount, ManifestDeposits, ManifestOfContent, ManifestOfDocuments,
    Manifests, ManifestsOf, Pallet, Reports, Retirements, Slots, Sources,
};
use pol_primitives::{
    MILLION,
    data::{MAX_SHARDS, Manifest, ManifestId, ManifestInfo, ManifestStatus, SourceId},
    lineage::{Documents, Retirement},
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
        ensure!(info.derivation.is_named(), Error::<T>::InvalidDerivation);
        let is_in_range = info.documents.as_ref().is_none_or(Documents::is_in_range);
        ensure!(is_in_range, Error::<T>::InvalidDocuments);
        let has_parents = !info.derivation.activity.needs_parents() || !info.parents.is_empty();
        ensure!(has_parents, Error::<T>::MissingParent);
        ensure!(info.parents.iter().all(Manifests::<T>::contains_key), Error::<T>::UnknownParent);
        Self::check_parents(info)?;
        Self::check_format(info)?;
        Self::check_content(info)
    }

    /// Checks that text may be derived from the parents of a manifest. Parents that are no longer
    /// kept are barred like others.
    pub(crate) fn check_parents(info: &ManifestInfo) -> DispatchResult {
        let is_barred =
            |parent| Retirements::<T>::get(parent).as_ref().is_some_and(Retirement::bars_children);
        ensure!(!info.parents.iter().any(is_barred), Error::<T>::ParentRetired);
        Ok(())
    }

    /// Checks that a manifest has the format of the recipe.
    pub(crate) fn check_format(info: &ManifestInfo) -> DispatchResult {
        let format = T::Recipe::shard_tokens_and_tokenizer().ok_or(Error::<T>::NoRecipe)?;
        ensure!(format == (info.shard_tokens, info.tokenizer), Error::<T>::WrongFormat);
        Ok(())
    }

    /// Checks that no manifest of the same content or documents was admitted. Documents may be
    /// admitted once on each side of a split that was made together.
    pub(crate) fn check_content(info: &ManifestInfo) -> DispatchResult {
        let is_admitted = ManifestOfContent::<T>::contains_key(info.content_hash);
        ensure!(!is_admitted, Error::<T>::AlreadyAdmitted);
        let Some(documents) = &info.documents else { return Ok(()) };
        let of_side = |held_out| ManifestOfDocuments::<T>::get(documents.root, held_out);
        ensure!(of_side(info.held_out).is_none(), Error::<T>::DocumentsAlreadyAdmitted);
        let is_pair = of_side(!info.held_out).is_none_or(|other| {
            Manifests::<T>::get(other).is_some_and(|Manifest { info: other, .. }| {
                let made = (other.source, &other.derivation, &other.documents);
                made == (info.source, &info.derivation, &info.documents)
            })
        });
        ensure!(is_pair, Error::<T>::ForeignDocuments);
        Ok(())
    }

    pub(crate) fn do_withdraw_manifest(who: T::AccountId, manifest: ManifestId) -> DispatchResult {
        let record = Manifests::<T>::take(manifest).ok_or(Error::<T>::UnknownManifest)?;
        ensure!(record.owner == who, Error::<T>::NotOwner);
        if record.status != ManifestStatus::Proposed {
            // A released shard lies at another position, so slots are a trace of a lease.
            let is_untouched = record.free == record.info.shards
                && Slots::<T>::iter_key_prefix(manifest).next().is_none();
            // A paused manifest has left the pool.
            let is_out = Self::remove_from_pool(manifest, &record)
                || record.status == ManifestStatus::Paused;
            ensure!(is_untouched && is_out, Error::<T>::InUse);
            ManifestOfContent::<T>::remove(record.info.content_hash);
            if let Some(documents) = &record.info.documents {
                ManifestOfDocuments::<T>::remove(documents.root, record.info.held_out);
            }
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
