// SPDX-License-Identifier: Apache-2.0

//! Calls that decide about manifests: admission, pauses, retirement, and reports of validators.

use crate::{
    Config, Error, Event, ManifestDeposits, ManifestOfContent, ManifestOfDocuments, Manifests,
    Pallet, PauseReason, Reports, Retirements, UnavailabilityReport,
};
use alloc::collections::BTreeSet;
use pol_primitives::{
    Balance,
    data::{Manifest, ManifestId, ManifestStatus, SourceKind},
    lineage::Retirement,
    round::is_quorum,
    traits::{Rounds, ValidatorStakes},
};
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResult, ensure, traits::Get},
    frame_system::{self, pallet_prelude::BlockNumberFor},
    sp_runtime::{DispatchError, traits::Saturating},
};

impl<T: Config> Pallet<T> {
    /// Returns the record of a registered manifest.
    fn registered(manifest: ManifestId) -> Result<Manifest<T::AccountId>, DispatchError> {
        Ok(Manifests::<T>::get(manifest).ok_or(Error::<T>::UnknownManifest)?)
    }

    /// Returns the record of a manifest of training text.
    fn training_manifest(manifest: ManifestId) -> Result<Manifest<T::AccountId>, DispatchError> {
        let record = Self::registered(manifest)?;
        ensure!(!record.info.held_out, Error::<T>::HeldOut);
        Ok(record)
    }

    pub(crate) fn do_admit_manifest(manifest: ManifestId, kind: SourceKind) -> DispatchResult {
        let mut record = Self::registered(manifest)?;
        ensure!(record.status == ManifestStatus::Proposed, Error::<T>::NotProposed);
        // Recipe, parents and admissions may have changed since the registration.
        Self::check_format(&record.info)?;
        Self::check_parents(&record.info)?;
        Self::check_content(&record.info)?;
        ManifestOfContent::<T>::insert(record.info.content_hash, manifest);
        if let Some(documents) = &record.info.documents {
            ManifestOfDocuments::<T>::insert(documents.root, record.info.held_out, manifest);
        }
        record.kind = Some(kind);
        Self::admit(manifest, record)?;
        Self::deposit_event(Event::ManifestAdmitted { manifest, kind });
        Ok(())
    }

    /// Puts a manifest into the pool, unless it is held out.
    fn admit(manifest: ManifestId, mut record: Manifest<T::AccountId>) -> DispatchResult {
        record.status = ManifestStatus::Admitted;
        Self::add_to_pool(manifest, &record)?;
        Manifests::<T>::insert(manifest, record);
        Ok(())
    }

    pub(crate) fn do_pause_manifest(manifest: ManifestId) -> DispatchResult {
        let mut record = Self::training_manifest(manifest)?;
        ensure!(record.status == ManifestStatus::Admitted, Error::<T>::NotAdmitted);
        Self::pause(manifest, &mut record, PauseReason::Governance);
        Manifests::<T>::insert(manifest, record);
        Ok(())
    }

    /// Takes an admitted manifest out of the pool until it is resumed.
    pub(crate) fn pause(
        manifest: ManifestId,
        record: &mut Manifest<T::AccountId>,
        reason: PauseReason,
    ) {
        Self::remove_from_pool(manifest, record);
        Reports::<T>::remove(manifest);
        record.status = ManifestStatus::Paused;
        record.effect = Default::default();
        Self::deposit_event(Event::ManifestPaused { manifest, reason });
    }

    pub(crate) fn do_resume_manifest(manifest: ManifestId) -> DispatchResult {
        let record = Self::registered(manifest)?;
        ensure!(record.status == ManifestStatus::Paused, Error::<T>::NotPaused);
        Self::check_format(&record.info)?;
        if !ManifestDeposits::<T>::contains_key(manifest) {
            let deposit = Self::manifest_deposit(&record.info);
            Self::hold_deposit(&record.owner, deposit)?;
            ManifestDeposits::<T>::insert(manifest, deposit);
        }
        Self::admit(manifest, record)?;
        Self::deposit_event(Event::ManifestResumed { manifest });
        Ok(())
    }

    pub(crate) fn do_retire_manifest(
        manifest: ManifestId,
        retirement: Retirement,
    ) -> DispatchResult {
        let mut record = Self::registered(manifest)?;
        match record.status {
            // Nothing refers to a manifest that was never admitted.
            ManifestStatus::Proposed => {
                Manifests::<T>::remove(manifest);
                Self::forget_manifest_of(record.info.source);
            }
            ManifestStatus::Admitted | ManifestStatus::Paused => {
                Self::remove_from_pool(manifest, &record);
                Reports::<T>::remove(manifest);
                record.status = ManifestStatus::Retired;
                record.ended = Some(T::Rounds::number());
                Manifests::<T>::insert(manifest, &record);
            }
            // It is out of the pool, and has its deposit back.
            ManifestStatus::Consumed => {
                record.status = ManifestStatus::Retired;
                Manifests::<T>::insert(manifest, &record);
            }
            ManifestStatus::Retired => return Err(Error::<T>::AlreadyRetired.into()),
        }
        Retirements::<T>::insert(manifest, retirement);
        let burned = if retirement.for_cause {
            Self::burn_manifest_deposit(manifest, &record)?
        } else {
            Self::release_deposit(&record.owner, ManifestDeposits::<T>::take(manifest))?;
            0
        };
        Self::deposit_event(Event::ManifestRetired { manifest, retirement, burned });
        Ok(())
    }

    pub(crate) fn do_report_manifest(
        validator: T::AccountId,
        manifest: ManifestId,
    ) -> DispatchResult {
        let stakes = T::Validators::stakes();
        ensure!(stakes.iter().any(|(who, _)| *who == validator), Error::<T>::NotValidator);
        let mut record = Self::training_manifest(manifest)?;
        ensure!(record.status == ManifestStatus::Admitted, Error::<T>::NotAdmitted);
        let mut report = Self::open_report(manifest);
        ensure!(!report.validators.contains(&validator), Error::<T>::AlreadyReported);
        let added = report.validators.try_push(validator.clone());
        added.map_err(|_| Error::<T>::TooManyReports)?;
        Self::deposit_event(Event::ManifestReported { manifest, validator });
        // Parts and whole are the stakes of this moment. Stake that has left since its report, also
        // to report again, counts once.
        let reporters: BTreeSet<_> = report.validators.iter().collect();
        let (mut part, mut whole): (Balance, Balance) = (0, 0);
        for (who, stake) in &stakes {
            whole = whole.saturating_add(*stake);
            part = part.saturating_add(if reporters.contains(who) { *stake } else { 0 });
        }
        if is_quorum(part, whole) {
            Self::pause(manifest, &mut record, PauseReason::Unavailable);
            let burned = Self::burn_manifest_deposit(manifest, &record)?;
            Manifests::<T>::insert(manifest, record);
            Self::deposit_event(Event::DepositLost { manifest, burned });
        } else {
            Reports::<T>::insert(manifest, report);
        }
        Ok(())
    }

    /// Returns the reports about a manifest, none if they have expired.
    fn open_report(manifest: ManifestId) -> UnavailabilityReport<T::AccountId, BlockNumberFor<T>> {
        let now = frame_system::Pallet::<T>::block_number();
        Reports::<T>::get(manifest)
            .filter(|report| now.saturating_sub(report.since) <= T::ReportWindow::get())
            .unwrap_or(UnavailabilityReport { since: now, validators: Default::default() })
    }
}
