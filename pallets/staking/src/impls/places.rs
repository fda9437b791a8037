// SPDX-License-Identifier: Apache-2.0

//! Places of validators and candidates. Both lists are bounded. If one is full, whoever has more
//! takes the place of whoever has least.

use crate::{
    Candidates, Config, Endpoints, Error, Event, Ledgers, Newcomers, Pallet, Probations, Sessions,
    TotalStake, Validators, types::StakingLedger,
};
use alloc::collections::BTreeSet;
use pol_primitives::{Balance, election::Candidacy, traits::Rounds};
use polkadot_sdk::frame_support::{BoundedVec, dispatch::DispatchResult, ensure, traits::Get};

/// Puts `who` into the sorted list or removes it. Returns `false` if the list is full.
pub(super) fn set_listed<A: Ord + Clone, S: Get<u32>>(
    list: &mut BoundedVec<A, S>,
    who: &A,
    listed: bool,
) -> bool {
    match list.binary_search(who) {
        Err(at) if listed => list.try_insert(at, who.clone()).is_ok(),
        Ok(at) if !listed => {
            list.remove(at);
            true
        }
        _ => true,
    }
}

/// Sets the stake of `who` in the list sorted by account, or removes the entry. Returns `false` if
/// the list is full.
fn set_stake<A: Ord + Clone, S: Get<u32>>(
    list: &mut BoundedVec<(A, Balance), S>,
    who: &A,
    stake: Option<Balance>,
) -> bool {
    match (list.binary_search_by(|(other, _)| other.cmp(who)), stake) {
        (Err(at), Some(stake)) => list.try_insert(at, (who.clone(), stake)).is_ok(),
        (Ok(at), Some(stake)) => {
            if let Some((_, listed)) = list.get_mut(at) {
                *listed = stake;
            }
            true
        }
        (Ok(at), None) => {
            list.remove(at);
            true
        }
        (Err(_), None) => true,
    }
}

impl<T: Config> Pallet<T> {
    /// Returns the stake of a validator that is bonded, reachable and not chilled, with a place or
    /// without; none for any other account.
    fn stake_at_hand(who: &T::AccountId, ledger: &StakingLedger) -> Option<Balance> {
        let at_hand = ledger.role.attests()
            && ledger.is_bonded()
            && !ledger.chilled
            && Endpoints::<T>::contains_key(who);
        at_hand.then_some(ledger.bond)
    }

    /// Returns the stake of an active validator; none for any other account.
    pub(crate) fn stake(who: &T::AccountId, ledger: &StakingLedger) -> Option<Balance> {
        Self::stake_at_hand(who, ledger).filter(|_| !ledger.waiting)
    }

    /// Lets a validator that had `before` as its stake take a place, or wait for one.
    pub(super) fn seek_place(
        who: &T::AccountId,
        ledger: &mut StakingLedger,
        before: Option<Balance>,
    ) {
        let stake = Self::stake_at_hand(who, ledger);
        let waits = stake.is_some_and(|stake| before.is_none() && !Self::make_room(stake));
        if waits && !ledger.waiting {
            Self::deposit_event(Event::Waiting { who: who.clone() });
        }
        ledger.waiting = waits;
    }

    /// Returns `true` if the list of validators has a place for `stake`, after the lowest stake has
    /// made room if that is lower.
    fn make_room(stake: Balance) -> bool {
        let validators = Validators::<T>::get();
        if !validators.is_full() {
            return true;
        }
        let lowest = validators.into_iter().min_by_key(|(_, listed)| *listed);
        let Some((who, _)) = lowest.filter(|(_, listed)| *listed < stake) else { return false };
        Ledgers::<T>::mutate_extant(&who, |ledger| {
            let before = Self::stake(&who, ledger);
            ledger.waiting = true;
            Self::deposit_event(Event::Waiting { who: who.clone() });
            Self::set_place(&who, ledger, before).is_ok()
        })
    }

    /// Updates validators, newcomers and total stake to a ledger whose stake was `before`.
    pub(super) fn set_place(
        who: &T::AccountId,
        ledger: &mut StakingLedger,
        before: Option<Balance>,
    ) -> DispatchResult {
        let stake = Self::stake(who, ledger);
        if stake.is_some() != before.is_some() {
            ledger.attested = T::Rounds::attest_phases();
            ledger.acted &= stake.is_some();
        }
        if stake != before {
            let room = Validators::<T>::mutate(|list| set_stake(list, who, stake));
            ensure!(room, Error::<T>::NoPlace);
            TotalStake::<T>::mutate(|total| {
                *total =
                    total.saturating_sub(before.unwrap_or(0)).saturating_add(stake.unwrap_or(0));
            });
            Self::deposit_event(Event::StakeChanged { who: who.clone(), stake });
        }
        let is_newcomer = stake.is_some() && !ledger.acted;
        let room = Newcomers::<T>::mutate(|list| set_listed(list, who, is_newcomer));
        ensure!(room, Error::<T>::NoPlace);
        Ok(())
    }

    /// Makes an authority a candidate if there is room, after a candidate of a lower weight has
    /// made room if there is one. Returns `true` if the authority is a candidate now.
    pub(crate) fn seek_candidacy(who: &T::AccountId, ledger: &StakingLedger) -> bool {
        if Self::is_candidate(who) {
            return true;
        }
        let mut candidates = Candidates::<T>::get();
        if candidates.is_full() {
            let lightest = Self::lightest_candidate(&candidates);
            let Some((_, lightest)) =
                lightest.filter(|(weight, _)| *weight < ledger.election_weight())
            else {
                Self::deposit_event(Event::Waiting { who: who.clone() });
                return false;
            };
            candidates.retain(|(other, _)| *other != lightest);
            Self::deposit_event(Event::Waiting { who: lightest });
        }
        let at = candidates.partition_point(|(other, _)| other < who);
        let newcomer = Candidacy::newcomer();
        let probation = Probations::<T>::get(who).unwrap_or(newcomer.probation);
        let candidacy = Candidacy { probation, ..newcomer };
        let listed = candidates.try_insert(at, (who.clone(), candidacy)).is_ok();
        Candidates::<T>::put(candidates);
        listed
    }

    /// Returns the candidate that makes room first, with its weight. Authorities of this session
    /// and of the next one never do: whoever has proven itself is not replaced by bonds alone.
    /// Absent candidates weigh nothing.
    fn lightest_candidate(
        candidates: &[(T::AccountId, Candidacy)],
    ) -> Option<(Balance, T::AccountId)> {
        let serving: BTreeSet<T::AccountId> =
            T::Sessions::authorities().into_iter().chain(T::Sessions::next_authorities()).collect();
        let weight = |who: &T::AccountId, candidacy: &Candidacy| {
            let ledger = Ledgers::<T>::get(who).filter(|_| !candidacy.absent);
            ledger.map_or(0, |ledger| ledger.election_weight())
        };
        candidates
            .iter()
            .filter(|(who, _)| !serving.contains(who))
            .map(|(who, candidacy)| (weight(who, candidacy), who.clone()))
            .min_by_key(|(weight, _)| *weight)
    }

    /// Returns `true` if the account is a candidate.
    pub(crate) fn is_candidate(who: &T::AccountId) -> bool {
        Candidates::<T>::get().binary_search_by(|(other, _)| other.cmp(who)).is_ok()
    }

    /// Removes an account from the candidates.
    pub(super) fn remove_candidate(who: &T::AccountId) {
        let mut candidates = Candidates::<T>::get();
        if let Ok(at) = candidates.binary_search_by(|(other, _)| other.cmp(who)) {
            candidates.remove(at);
            Candidates::<T>::put(candidates);
        }
    }

    /// Ends the absence of a candidate. Returns `true` if it was absent.
    pub(crate) fn end_absence(who: &T::AccountId) -> bool {
        Candidates::<T>::mutate(|candidates| {
            let at = candidates.binary_search_by(|(other, _)| other.cmp(who));
            let candidacy = at.ok().and_then(|at| candidates.get_mut(at));
            candidacy.is_some_and(|(_, candidacy)| core::mem::take(&mut candidacy.absent))
        })
    }
}
