// SPDX-License-Identifier: Apache-2.0

//! Queries of the runtime API.

use crate::pallet::*;
use alloc::vec::Vec;
use codec::Encode;
use pol_primitives::{
    Hash, RoundNumber,
    audit::{Audit, AuditConfig, AuditId, AuditResponse},
    head::{Excision, IncludedUpdate, RoundRecord},
    inclusion::Voter,
    lease::Lease,
    metrics::{HeadMeasurement, PendingMeasurement},
    queries::{AUDITS_PAGE, Attestation, Overview},
    recipe::Recipe as Spec,
    round::Phase,
    standing::Standing,
    submission::{RevealSet, Submission, SubmissionRecord},
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::{frame_system, sp_runtime::SaturatedConversion};

/// Sorts entries by encoded account, the order in which peers go through accounts.
fn by_account<A: Encode, V>(entries: impl Iterator<Item = (A, V)>) -> Vec<(A, V)> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_cached_key(|(account, _)| account.encode());
    entries
}

// ---- Network, recipes and accounts ----

impl<T: Config> Pallet<T> {
    /// Returns the state of the network at this block.
    pub fn overview() -> Overview {
        let (now, round, config) =
            (Self::now(), CurrentRound::<T>::get(), PhaseLengths::<T>::get());
        Overview {
            height: frame_system::Pallet::<T>::block_number().saturated_into(),
            now,
            round,
            config,
            head: CurrentHead::<T>::get(),
            recipe_hash: Self::recipe_hash(),
            free_shards: T::Pool::free_shards(),
            validator_stake: T::Bonds::total_validator_stake(),
        }
    }

    /// Returns the recipe in force.
    pub fn recipe() -> Option<Spec> {
        Recipe::<T>::get()
    }

    /// Returns a recipe that is or was in force.
    pub fn recipe_by_hash(hash: Hash) -> Option<Spec> {
        Recipes::<T>::get(hash)
    }

    /// Returns the account's open lease.
    pub fn lease(account: &T::AccountId) -> Option<Lease> {
        Leases::<T>::get(account)
    }

    /// Returns the state that the account brings into its next lease.
    ///
    /// The carry is zero if the model was rewritten since, if it is half as old as records get, or
    /// if it continues from an update that was taken out.
    pub fn standing(account: &T::AccountId) -> Standing {
        let mut standing = Standings::<T>::get(account);
        if standing.carry_round <= ModelSince::<T>::get()
            || Self::is_stale_carry(standing.carry_round)
            || Self::continues_from_excised(account, standing.carry_round)
        {
            standing.carry = Hash::default();
        }
        standing
    }

    /// Returns `true` if the account's update of `round`, or one that it continues from, was taken
    /// out.
    ///
    /// Reads at most as many updates as wait to be settled: the last settled one accounts for all
    /// before it.
    fn continues_from_excised(account: &T::AccountId, mut round: RoundNumber) -> bool {
        while let Some(lease) = AuditedLeases::<T>::get(round, account) {
            if lease.carry == Hash::default() {
                return false;
            }
            round = lease.carry_round;
        }
        History::<T>::get(round, account).is_some_and(|settled| !settled.outcome.stays())
    }
}

// ---- Rounds and heads ----

impl<T: Config> Pallet<T> {
    /// Returns the unsettled submissions to `round` by account, at most 64.
    pub fn submissions(round: RoundNumber) -> Vec<(T::AccountId, Submission)> {
        by_account(Submissions::<T>::iter_prefix(round))
    }

    /// Returns the settled submissions to `round` by account, at most 64.
    pub fn history(round: RoundNumber) -> Vec<(T::AccountId, SubmissionRecord)> {
        by_account(History::<T>::iter_prefix(round))
    }

    /// Returns the updates that the head of `round` was made of, by account and whatever their
    /// outcome; none for a round without a head, and for one whose records are no longer kept.
    pub fn updates(round: RoundNumber) -> Vec<IncludedUpdate<T::AccountId>> {
        Records::<T>::get(round).map_or_else(Vec::new, |record| {
            Self::updates_of(round, &record.revealed, &record.included)
        })
    }

    /// Returns the record of a concluded round, while it is kept.
    pub fn round_record(round: RoundNumber) -> Option<RoundRecord<T::AccountId>> {
        Records::<T>::get(round)
    }

    /// Returns the attestations of the attest phase under way.
    pub fn attestations() -> Vec<Attestation<T::AccountId>> {
        Attestations::<T>::iter_prefix(AttestPhases::<T>::get())
            .map(|(account, attestation)| Attestation { account, root: attestation.root })
            .collect()
    }

    /// Returns the reveals that validators have reported to hold, in account order, until the
    /// round has a head.
    pub fn held_reports() -> Vec<(T::AccountId, RevealSet)> {
        let count = CurrentCount::<T>::get();
        let report =
            |voter: &Voter<T::AccountId>| Some((voter.account.clone(), voter.held.clone()?));
        count.voters().iter().filter_map(report).collect()
    }

    /// Returns the updates that the head being attested takes out of the model, in ascending order;
    /// none outside the attest phase.
    pub fn excisions() -> Vec<Excision> {
        let round = CurrentRound::<T>::get();
        if round.phase == Phase::Attest { Self::excisable(&round).into_inner() } else { Vec::new() }
    }

    /// Returns the measurement of the head of `round`, once it is decided.
    pub fn head_measurement(round: RoundNumber) -> Option<HeadMeasurement> {
        HeadMetrics::<T>::get(round)
    }

    /// Returns the pending measurement of the newest head, with the reports on it; none before the
    /// block after the head.
    pub fn pending_measurement() -> Option<PendingMeasurement<T::AccountId>> {
        let (round, seed) = ProbeSeed::<T>::get()?;
        let is_newest = CurrentHead::<T>::get().is_some_and(|head| head.round == round);
        let reports = || HeadReports::<T>::get().into_inner();
        is_newest.then(|| PendingMeasurement { round, seed, reports: reports() })
    }
}

// ---- Audits ----

impl<T: Config> Pallet<T> {
    /// Returns the parameters of audits.
    pub fn audit_config() -> AuditConfig {
        AuditSettings::<T>::get()
    }

    /// Returns up to [`AUDITS_PAGE`] open audits from the number `start` on, in the stage that they
    /// have reached, oldest first.
    pub fn audits(start: AuditId) -> Vec<(AuditId, Audit<T::AccountId>)> {
        let (config, now) = (AuditSettings::<T>::get(), Self::now());
        let mut open: Vec<AuditId> = Audits::<T>::iter_keys().filter(|id| *id >= start).collect();
        open.sort_unstable();
        let audit = |id| {
            let mut audit = Audits::<T>::get(id)?;
            audit.advance(&config, now);
            Some((id, audit))
        };
        open.into_iter().take(AUDITS_PAGE).filter_map(audit).collect()
    }

    /// Returns the trainer's response to an open audit.
    pub fn audit_response(id: AuditId, trainer: &T::AccountId) -> Option<AuditResponse> {
        AuditResponses::<T>::get(id, trainer)
    }

    /// Returns the lease of the account's update to `round`, open or concluded, until the update is
    /// settled.
    pub fn audited_lease(round: RoundNumber, account: &T::AccountId) -> Option<Lease> {
        let open = || Leases::<T>::get(account).filter(|lease| lease.due_round == round);
        AuditedLeases::<T>::get(round, account).or_else(open)
    }
}
