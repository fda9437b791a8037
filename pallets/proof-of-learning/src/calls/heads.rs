// SPDX-License-Identifier: Apache-2.0

//! Reports of held updates, and attestations of the next head.

use crate::{pallet::*, types::StakedAttestation, weights::WeightInfo};
use pol_primitives::{
    Balance, Hash, RoundNumber,
    inclusion::{InvalidReport, StakeCount},
    round::{Phase, Round},
    submission::RevealSet,
    traits::Bonds,
};
use polkadot_sdk::frame_support::pallet_prelude::*;

impl<T: Config> Pallet<T> {
    /// Checks a report of held updates. Returns the round under way, and its count with the report.
    pub(crate) fn check_report(
        who: &T::AccountId,
        round: RoundNumber,
        held: &RevealSet,
    ) -> Result<(Round, StakeCount<T::AccountId>), Error<T>> {
        let current = CurrentRound::<T>::get();
        ensure!(round == current.number, Error::<T>::WrongRound);
        ensure!(current.phase == Phase::Hold, Error::<T>::NotHolding);
        ensure!(held.is_canonical(current.revealed), Error::<T>::BadHeld);
        let mut count = CurrentCount::<T>::get();
        count.report(who, held.clone())?;
        Ok((current, count))
    }

    /// Body of [`Pallet::report_held`].
    pub(crate) fn do_report_held(
        who: T::AccountId,
        round: RoundNumber,
        held: RevealSet,
    ) -> DispatchResult {
        let (mut current, count) = Self::check_report(&who, round, &held)?;
        current.stake = count.whole();
        current.decided = count.is_decided(current.revealed);
        CurrentCount::<T>::put(count);
        CurrentRound::<T>::put(current);
        T::Bonds::note_active(&who);
        Self::deposit_event(Event::HeldReported { account: who, round, held });
        Ok(())
    }

    /// Checks an attestation. Returns `true` if it is of a head that the round before has made.
    pub(crate) fn check_attestation(
        who: &T::AccountId,
        round: RoundNumber,
        inputs: &Hash,
        root: &Hash,
    ) -> Result<bool, Error<T>> {
        let current = CurrentRound::<T>::get();
        // Until a phase of the round after it ends, the phase that made a head is the last one that
        // ended. A late attestation must not count for a later phase, or a validator that never
        // helps a quorum would pass for alive.
        let is_late = current.attempt == 0
            && round.checked_add(1) == Some(current.number)
            && CurrentHead::<T>::get()
                .is_some_and(|head| (head.round, &head.root) == (round, root));
        if is_late {
            ensure!(T::Bonds::validator_stake(who).is_some(), Error::<T>::NotAValidator);
            let phase = AttestPhases::<T>::get().saturating_sub(1);
            ensure!(!T::Bonds::has_attested(who, phase), Error::<T>::AlreadyAttested);
            return Ok(true);
        }
        ensure!(round == current.number, Error::<T>::WrongRound);
        ensure!(current.phase == Phase::Attest, Error::<T>::NotAttesting);
        ensure!(Self::count_with(who).is_some(), Error::<T>::NotAValidator);
        ensure!(*inputs == current.inputs, Error::<T>::WrongInputs);
        let earlier = Attestations::<T>::get(AttestPhases::<T>::get(), who);
        ensure!(earlier.is_none_or(|earlier| earlier.root != *root), Error::<T>::AlreadyAttested);
        Ok(false)
    }

    /// Body of [`Pallet::attest_head`].
    pub(crate) fn do_attest_head(
        who: T::AccountId,
        round: RoundNumber,
        inputs: Hash,
        root: Hash,
    ) -> DispatchResultWithPostInfo {
        let is_late =
            Self::check_attestation(&who, round, &inputs, &root).map_err(Self::refused)?;
        let (mut current, head, phase) =
            (CurrentRound::<T>::get(), CurrentHead::<T>::get(), AttestPhases::<T>::get());
        if is_late {
            T::Bonds::note_attested(&who, phase.saturating_sub(1));
            Self::deposit_event(Event::Attested { account: who, round, root });
            return Ok(Some(T::WeightInfo::attest_head()).into());
        }
        let (count, stake) = Self::count_with(&who).ok_or(Error::<T>::NotAValidator)?;
        let tally = Self::tally(phase, &who, &StakedAttestation { root, stake });
        if count.whole() != current.stake || head.is_none() {
            current.stake = count.whole();
            CurrentRound::<T>::put(&current);
            CurrentCount::<T>::put(&count);
        }
        T::Bonds::note_attested(&who, phase);
        Self::deposit_event(Event::Attested { account: who, round, root });

        let mut weight = T::WeightInfo::attest_head();
        if count.suffices(tally) {
            weight = weight.saturating_add(T::WeightInfo::adopt(current.included.len()));
            Self::adopt(current, head, root)?;
        }
        Ok(Some(weight).into())
    }

    /// Returns the count under way, in which `who` acts, and its stake; none if it had none when
    /// the count began.
    ///
    /// Until there is a head, the count begins anew with each validator that acts, but for those
    /// that have. It first begins with the first bond, and whoever bonds first would otherwise
    /// decide alone, or hold up all others.
    fn count_with(who: &T::AccountId) -> Option<(StakeCount<T::AccountId>, Balance)> {
        let mut count = CurrentCount::<T>::get();
        if !CurrentHead::<T>::exists() {
            count.refresh(T::Bonds::stakes(), &T::Bonds::newcomers());
        }
        let stake = count.act(who)?;
        Some((count, stake))
    }

    /// Stores `who`'s attestation in place of its earlier one. Returns the stake for the attested
    /// head.
    fn tally(phase: u32, who: &T::AccountId, attestation: &StakedAttestation) -> Balance {
        let root = attestation.root;
        if let Some(earlier) = Attestations::<T>::get(phase, who) {
            let rest = Tallies::<T>::get(phase, earlier.root).saturating_sub(earlier.stake);
            if rest == 0 {
                Tallies::<T>::remove(phase, earlier.root);
            } else {
                Tallies::<T>::insert(phase, earlier.root, rest);
            }
        }
        let tally = Tallies::<T>::get(phase, root).saturating_add(attestation.stake);
        Tallies::<T>::insert(phase, root, tally);
        Attestations::<T>::insert(phase, who, attestation);
        tally
    }
}

impl<T> From<InvalidReport> for Error<T> {
    fn from(invalid: InvalidReport) -> Self {
        match invalid {
            InvalidReport::NotAVoter => Self::NotAValidator,
            InvalidReport::NotMore => Self::NothingMoreHeld,
        }
    }
}
