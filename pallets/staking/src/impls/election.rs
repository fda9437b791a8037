// SPDX-License-Identifier: Apache-2.0

//! Election of the authorities of a session, and what keeps an account out of it.

use crate::{
    Authored, AuthorityTarget, Candidates, Config, Endpoints, Event, Ledgers, Pallet, Probations,
    Sessions, types::Bar,
};
use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use pol_primitives::{
    election::{Candidate, Standing, elect, tolerance},
    traits::Bonds,
};
use polkadot_sdk::{
    frame_support::traits::Get,
    frame_system::pallet_prelude::BlockNumberFor,
    pallet_authorship,
    pallet_session::SessionManager,
    sp_runtime::{Perbill, Saturating},
    sp_staking::SessionIndex,
};

impl<T: Config> Pallet<T> {
    /// Returns the number of authorities that elections aim at.
    pub(crate) fn target() -> u32 {
        AuthorityTarget::<T>::get().unwrap_or_else(T::DefaultTarget::get)
    }

    /// Returns the candidates of an election, with the readiness of each recorded, and the
    /// authorities of the session that are no candidates any more.
    fn standings(serving: &BTreeSet<T::AccountId>) -> Vec<Candidate<T::AccountId>> {
        let mut field = Vec::new();
        let mut leaving = serving.clone();
        Candidates::<T>::mutate(|candidates| {
            for (who, candidacy) in candidates.iter_mut() {
                let (Some(ledger), serves) = (Ledgers::<T>::get(&*who), leaving.remove(who)) else {
                    continue;
                };
                let keys = T::Sessions::has_keys(who);
                let reachable = serves || Endpoints::<T>::contains_key(&*who);
                let ready = keys && reachable && !ledger.chilled && !candidacy.absent;
                candidacy.note_election(ready, serves);
                if let Some(standing) = candidacy.standing(serves).filter(|_| keys) {
                    let weight = ledger.election_weight();
                    field.push(Candidate { account: who.clone(), weight, standing });
                }
            }
        });
        let leaving = leaving.into_iter().filter(|who| {
            let is_barred = Ledgers::<T>::get(who).is_some_and(|ledger| ledger.bar.is_some());
            T::Sessions::has_keys(who) && !is_barred
        });
        field.extend(leaving.map(|account| Candidate {
            account,
            weight: 0,
            standing: Standing::Absent,
        }));
        field
    }

    /// Returns `true` if a new equivocation of this account can be punished: it has a bond, and is
    /// not excluded from elections for an earlier one.
    pub fn is_punishable(who: &T::AccountId) -> bool {
        Ledgers::<T>::get(who).is_some_and(|ledger| !ledger.is_barred(Self::now()))
    }

    /// Excludes an authority that equivocated from elections for the unbonding period, and slashes
    /// its bond.
    ///
    /// It loses the share `least` at least. If `k` of `n` authorities that serve are excluded, each
    /// of them loses `(3k/n)²`: a third of them can make two forks final.
    pub fn punish_equivocation(who: &T::AccountId, least: Perbill) {
        let until = Self::now().saturating_add(T::UnbondingPeriod::get());
        let is_new = Self::is_punishable(who);
        let noted = Self::update(who, |ledger| {
            if is_new {
                ledger.bar = Some(Bar { until, share: Perbill::zero() });
            }
            Ok(())
        });
        if noted.is_err() {
            return;
        }
        if is_new {
            Self::deposit_event(Event::Barred { who: who.clone(), until });
        }
        let serving = T::Sessions::authorities();
        let is_barred = |other: &&T::AccountId| {
            Ledgers::<T>::get(*other).is_some_and(|ledger| ledger.is_barred(Self::now()))
        };
        let others: Vec<_> =
            serving.iter().filter(|other| *other != who).filter(is_barred).collect();
        let count = |authorities: usize| u32::try_from(authorities).unwrap_or(u32::MAX);
        let offenders = count(others.len()).saturating_add(1);
        let share =
            Perbill::from_rational(offenders.saturating_mul(3), count(serving.len())).square();
        Self::raise_fine(who, share.max(least));
        others.into_iter().for_each(|other| Self::raise_fine(other, share));
    }

    /// Slashes the bond of an authority that equivocated until it has lost this share of it.
    fn raise_fine(who: &T::AccountId, share: Perbill) {
        let mut fine = 0;
        let raised = Self::update(who, |ledger| {
            let Some(bar) = ledger.bar.as_mut().filter(|bar| bar.share < share) else {
                return Ok(());
            };
            let left = Perbill::one().saturating_sub(bar.share);
            let due = Perbill::from_rational(
                share.saturating_sub(bar.share).deconstruct(),
                left.deconstruct(),
            );
            bar.share = share;
            // What backs a lease of a later role stays, since another penalty may be due from it.
            fine = due.mul_ceil(ledger.bond).min(ledger.bond.saturating_sub(ledger.locked));
            Ok(())
        });
        if raised.is_ok() && fine > 0 {
            <Self as Bonds<_>>::slash(who, fine);
        }
    }
}

impl<T: Config> SessionManager<T::AccountId> for Pallet<T> {
    /// Returns the authorities of a session, also if they do not change: the record of each session
    /// must hold the keys in force, so that equivocations can be proved. Returns none if nobody can
    /// be elected, and the current authorities stay, since a chain without authorities stops for
    /// good.
    fn new_session(_: SessionIndex) -> Option<Vec<T::AccountId>> {
        let serving = T::Sessions::authorities().into_iter().collect();
        let field = Self::standings(&serving);
        let elected = elect(field, serving.len(), Self::target() as usize);
        Some(elected).filter(|elected| !elected.is_empty())
    }

    /// Returns the authorities of the first two sessions: all candidates with keys.
    fn new_session_genesis(_: SessionIndex) -> Option<Vec<T::AccountId>> {
        let candidates = Candidates::<T>::get().into_iter().map(|(who, _)| who);
        let elected: Vec<_> = candidates
            .filter(T::Sessions::has_keys)
            .take(T::MaxAuthorities::get() as usize)
            .collect();
        Some(elected).filter(|elected| !elected.is_empty())
    }

    /// Disables the authorities that were elected before they were barred. The session pallet
    /// enables everybody when the set changes.
    fn start_session(_: SessionIndex) {
        for who in T::Sessions::authorities() {
            if Ledgers::<T>::get(&who).is_some_and(|ledger| ledger.bar.is_some()) {
                T::Sessions::disable(who);
            }
        }
    }

    /// Finds and fines the authorities that produced no or too few blocks.
    fn end_session(_: SessionIndex) {
        let serving = T::Sessions::authorities();
        let authored: BTreeMap<_, u32> = Authored::<T>::drain().collect();
        let total = authored.values().fold(0u32, |sum, blocks| sum.saturating_add(*blocks));
        let authorities = u32::try_from(serving.len()).unwrap_or(u32::MAX);
        let serving: BTreeSet<_> = serving.into_iter().collect();
        let mut absent = Vec::new();
        Candidates::<T>::mutate(|candidates| {
            for (who, candidacy) in candidates.iter_mut().filter(|(who, _)| serving.contains(who)) {
                let own = authored.get(who).copied().unwrap_or(0);
                if let Some(factor) = candidacy.note_session(own, total, authorities) {
                    Probations::<T>::insert(&*who, candidacy.probation);
                    Self::deposit_event(Event::Absent { who: who.clone() });
                    absent.push((who.clone(), factor));
                }
            }
        });
        // If more are absent than finality tolerates, the network was parted, which is not theirs
        // to prevent.
        if absent.len() <= tolerance(serving.len()) {
            for (who, factor) in absent {
                let penalty = T::AbsencePenalty::get().saturating_mul(factor.into());
                <Self as Bonds<_>>::slash(&who, penalty);
            }
        }
    }
}

impl<T: Config> pallet_authorship::EventHandler<T::AccountId, BlockNumberFor<T>> for Pallet<T> {
    fn note_author(author: T::AccountId) {
        Authored::<T>::mutate(author, |blocks| *blocks = blocks.saturating_add(1));
    }
}
