// SPDX-License-Identifier: Apache-2.0

//! Implementation of [`Bonds`] for the learning pallet.

use crate::{Config, Event, Ledgers, Pallet, TotalStake, Validators};
use alloc::vec::Vec;
use pol_primitives::{
    Balance, Hash,
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

    fn validator_stake(account: &T::AccountId) -> Option<Balance> {
        Ledgers::<T>::get(account).and_then(|ledger| Self::stake(account, &ledger))
    }

    fn total_validator_stake() -> Balance {
        TotalStake::<T>::get()
    }

    fn lead(seed: &Hash, turn: u32) -> Option<T::AccountId> {
        let validators = Validators::<T>::get();
        let first = seed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let at = first.wrapping_add(turn.into()).checked_rem(validators.len() as u64)?;
        validators.into_iter().nth(usize::try_from(at).ok()?).map(|(account, _)| account)
    }

    fn note_attested(account: &T::AccountId, phase: u32) {
        // The current phase counts as attended before it ends.
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.attested = ledger.attested.max(phase.saturating_add(1))
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

    fn note_seat(account: &T::AccountId, right: bool) -> u32 {
        Ledgers::<T>::mutate_extant(account, |ledger| {
            ledger.reputation = move_reputation(ledger.reputation, right);
            ledger.strikes = if right { 0 } else { ledger.strikes.saturating_add(1) };
            ledger.strikes
        })
    }
}
