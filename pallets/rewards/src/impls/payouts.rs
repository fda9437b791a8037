// SPDX-License-Identifier: Apache-2.0

//! Implementation of [`Payouts`] for the learning pallet.

use crate::{
    Config, DescendingRound, Earners, Earnings, Emission, Event, LOG_TARGET, LastEmitted, Pallet,
    Pools, RewardLedger, UnsettledRounds,
};
use alloc::collections::BTreeSet;
use core::ops::Range;
use pol_primitives::{
    Balance, RoundNumber,
    audit::MAX_ESCROW_ROUNDS,
    rewards::{RoundEarnings, RoundPool},
    round::BlockNumber,
    traits::{Payouts, Rounds},
};
use polkadot_sdk::frame_support::traits::{Get, fungible::Mutate};

impl<T: Config> Pallet<T> {
    /// Returns the rounds whose rewards can still be forfeited: those that are not settled, and
    /// those in escrow.
    fn waiting_rounds() -> BTreeSet<RoundNumber> {
        let number = T::Rounds::number();
        let escrow = T::Rounds::escrow_rounds().min(MAX_ESCROW_ROUNDS);
        let first = number.saturating_add(1).saturating_sub(escrow);
        UnsettledRounds::<T>::get().into_iter().chain(first..=number).collect()
    }
}

impl<T: Config> Payouts<T::AccountId> for Pallet<T> {
    fn emit_round(round: RoundNumber, time: Range<BlockNumber>, updates: u32) {
        let (last, emission) = (LastEmitted::<T>::get(), Emission::<T>::get());
        if last.is_some_and(|(last, _)| round <= last) {
            log::error!(
                target: LOG_TARGET,
                "round {round} or a later one has emitted before; it does not emit again"
            );
            return;
        }
        let from = last.map_or(0, |(_, until)| until).max(time.start);
        let room = T::MaxEmission::get().saturating_sub(RewardLedger::<T>::get().emitted);
        let total = emission.of_round(from..time.end).min(room);
        if updates == 0 || total == 0 {
            return;
        }
        let mut unsettled = UnsettledRounds::<T>::get();
        if unsettled.try_push(round).is_err() {
            log::error!(target: LOG_TARGET, "too many rounds are unsettled; {round} emits nothing");
            return;
        }
        let shares = emission.divide(total);
        if let Err(error) = T::Currency::mint_into(&Self::pot_account(), total) {
            log::error!(target: LOG_TARGET, "cannot mint {total} for round {round}: {error:?}");
            return;
        }
        LastEmitted::<T>::put((round, time.end));
        UnsettledRounds::<T>::put(unsettled);
        RewardLedger::<T>::mutate(|ledger| {
            ledger.emitted = ledger.emitted.saturating_add(total);
            ledger.waiting = ledger.waiting.saturating_add(total);
        });
        Pools::<T>::insert(round, RoundPool::new(&shares, emission.per_seat, updates));
        Self::pay_treasury(shares.treasury);
        Self::deposit_event(Event::Escrowed { round, shares });
    }

    fn record_settlement(
        round: RoundNumber,
        improved: bool,
        earned: &[(T::AccountId, RoundEarnings)],
    ) {
        // A round that emitted nothing has no pool.
        let Some(mut pool) = Pools::<T>::get(round) else { return };
        let Some(unsettled) = pool.unsettled.checked_sub(1) else {
            log::error!(
                target: LOG_TARGET,
                "every update of round {round} is settled; a further settlement is ignored"
            );
            return;
        };
        pool.unsettled = unsettled;
        pool.improved |= improved;
        let nothing = RoundEarnings::default();
        for (account, earned) in earned.iter().filter(|(_, earned)| *earned != nothing) {
            pool.add(earned);
            Earnings::<T>::mutate(account, DescendingRound::from(round), |sum| {
                *sum = Some(sum.unwrap_or_default().plus(earned));
            });
            Earners::<T>::insert(round, account, ());
        }
        if unsettled == 0 {
            UnsettledRounds::<T>::mutate(|rounds| rounds.retain(|other| *other != round));
            let unearned = pool.take_unearned();
            Self::burn(unearned);
            Self::deposit_event(Event::RoundSettled { round, unearned });
        }
        Self::put_pool(round, pool);
    }

    fn pot_account() -> T::AccountId {
        Self::pot_account()
    }

    fn burn_fine(amount: Balance) {
        if amount == 0 {
            return;
        }
        RewardLedger::<T>::mutate(|ledger| {
            ledger.seized = ledger.seized.saturating_add(amount);
            ledger.waiting = ledger.waiting.saturating_add(amount);
        });
        Self::burn(amount);
        Self::deposit_event(Event::Fined { amount });
    }

    fn forfeit(account: &T::AccountId) {
        let (mut amount, mut rounds): (Balance, u32) = (0, 0);
        for round in Self::waiting_rounds() {
            let key = DescendingRound::from(round);
            let Some(earned) = Earnings::<T>::get(account, key) else { continue };
            let Some(mut pool) = Pools::<T>::get(round) else { continue };
            if pool.unsettled == 0 {
                amount = amount.saturating_add(pool.take(&earned));
            } else {
                // The share is not known before the round is settled, so it falls to the others.
                pool.remove(&earned);
            }
            Earnings::<T>::remove(account, key);
            Earners::<T>::remove(round, account);
            Self::put_pool(round, pool);
            rounds = rounds.saturating_add(1);
        }
        Self::burn(amount);
        if rounds > 0 {
            Self::deposit_event(Event::Forfeited { who: account.clone(), rounds, amount });
        }
    }
}
