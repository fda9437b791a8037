// SPDX-License-Identifier: Apache-2.0

//! Implementation of [`Bonds`] for the learning pallet.

use crate::{
    Config, Event, Ledgers, Newcomers, Pallet, TotalStake, Validators, types::StakingLedger,
};
use alloc::vec::Vec;
use pol_primitives::{
    Balance, RoundNumber,
    audit::SeatTally,
    member::{Role, move_reputation},
    traits::Bonds,
};
use polkadot_sdk::frame_support::traits::{
    fungible::MutateHold,
    tokens::{Fortitude, Precision, Restriction},
};

impl<T: Config> Bonds<T::AccountId> for Pallet<T> {
    fn is_trainer(account: &T::AccountId) -> bool {
        Ledgers::<T>::get(account)
            .is_some_and(|ledger| ledger.role == Role::Trainer && ledger.is_bonded())
    }

    fn bonded_since(account: &T::AccountId) -> Option<RoundNumber> {
        Ledgers::<T>::get(account).map(|ledger| ledger.since)
    }

    fn validator_stake(account: &T::AccountId) -> Option<Balance> {
        Ledgers::<T>::get(account).and_then(|ledger| Self::stake(account, &ledger))
    }

    fn total_validator_stake() -> Balance {
        TotalStake::<T>::get()
    }

    fn newcomers() -> Vec<T::AccountId> {
        Newcomers::<T>::get().into_inner()
    }

    fn note_active(account: &T::AccountId) {
        Self::note_act(account, |_| ());
    }

    fn note_attested(account: &T::AccountId, phase: u32) {
        // The current phase counts as attended before it ends.
        Self::note_act(account, |ledger| {
            ledger.attested = ledger.attested.max(phase.saturating_add(1));
        });
    }

    fn has_attested(account: &T::AccountId, phase: u32) -> bool {
        Ledgers::<T>::get(account).is_some_and(|ledger| ledger.attested > phase)
    }

    fn note_root(account: &T::AccountId, right: bool) -> u32 {
        let Some(ledger) = Ledgers::<T>::get(account) else { return 0 };
        let wrong_roots = if right { 0 } else { ledger.wrong_roots.saturating_add(1) };
        if wrong_roots != ledger.wrong_roots {
            Ledgers::<T>::insert(account, StakingLedger { wrong_roots, ..ledger });
        }
        wrong_roots
    }

    fn free_bond(account: &T::AccountId) -> Balance {
        Ledgers::<T>::get(account)
            .filter(|ledger| ledger.role == Role::Trainer && ledger.is_bonded())
            .map_or(0, |ledger| ledger.bond.saturating_sub(ledger.locked))
    }

    fn lock(account: &T::AccountId, amount: Balance) {
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.locked = ledger.locked.saturating_add(amount);
        });
    }

    fn unlock(account: &T::AccountId, amount: Balance) {
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.locked = ledger.locked.saturating_sub(amount);
        });
    }

    fn slash(account: &T::AccountId, amount: Balance) -> Balance {
        let taken = Self::penalise(account, amount, |reason, amount| {
            T::Currency::burn_held(reason, account, amount, Precision::BestEffort, Fortitude::Force)
        });
        if taken > 0 {
            Self::deposit_event(Event::Slashed { who: account.clone(), amount: taken });
        }
        taken
    }

    fn seize(account: &T::AccountId, amount: Balance, to: &T::AccountId) -> Balance {
        let taken = Self::penalise(account, amount, |reason, amount| {
            let (precision, force) = (Precision::BestEffort, Fortitude::Force);
            T::Currency::transfer_on_hold(
                reason,
                account,
                to,
                amount,
                precision,
                Restriction::Free,
                force,
            )
        });
        if taken > 0 {
            Self::deposit_event(Event::Seized {
                who: account.clone(),
                amount: taken,
                to: to.clone(),
            });
        }
        taken
    }

    fn stakes() -> Vec<(T::AccountId, Balance)> {
        Validators::<T>::get().into_inner()
    }

    fn note_training(account: &T::AccountId, accepted: bool) {
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.reputation = move_reputation(ledger.reputation, accepted)
        });
    }

    fn note_seats(account: &T::AccountId, tally: &SeatTally) -> u32 {
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.reputation = move_reputation(ledger.reputation, tally.is_good());
            ledger.strikes = tally.strikes_after(ledger.strikes);
            ledger.strikes
        })
    }
}
