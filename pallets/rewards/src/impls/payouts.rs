// SPDX-License-Identifier: Apache-2.0

//! Implementation of [`Payouts`] for the learning pallet.

use crate::{
    Config, DescendingRound, Earnings, Emission, Event, LOG_TARGET, LastEmitted,
    MAX_FORFEITED_ROUNDS, Pallet, Pools, RewardLedger,
};
use alloc::vec::Vec;
use pol_primitives::{
    Balance, RoundNumber,
    rewards::{RoundEarnings, RoundPool},
    traits::{Payouts, Rounds},
};
use polkadot_sdk::frame_support::traits::fungible::Mutate;

impl<T: Config> Payouts<T::AccountId> for Pallet<T> {
    fn emit_round(round: RoundNumber, updates: u32) {
        let shares = Emission::<T>::get().shares_of(round);
        let total = shares.total();
        if updates == 0 || total == 0 {
            return;
        }
        if LastEmitted::<T>::get().is_some_and(|last| round <= last) {
            log::error!(
                target: LOG_TARGET,
                "round {round} or a later one has emitted before; it does not emit again"
            );
            return;
        }
        if let Err(error) = T::Currency::mint_into(&Self::pot_account(), total) {
            log::error!(target: LOG_TARGET, "cannot mint {total} for round {round}: {error:?}");
            return;
        }
        LastEmitted::<T>::put(round);
        RewardLedger::<T>::mutate(|ledger| {
            ledger.emitted = ledger.emitted.saturating_add(total);
            ledger.waiting = ledger.waiting.saturating_add(total);
        });
        Pools::<T>::insert(round, RoundPool::new(&shares, updates));
        Self::pay_treasury(shares.treasury);
        Self::deposit_event(Event::Escrowed { round, shares });
    }

    fn record_settlement(round: RoundNumber, earned: &[(T::AccountId, RoundEarnings)]) {
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
        let nothing = RoundEarnings::default();
        for (account, earned) in earned.iter().filter(|(_, earned)| *earned != nothing) {
            pool.add(earned);
            Earnings::<T>::mutate(account, DescendingRound::from(round), |sum| {
                *sum = Some(sum.unwrap_or_default().plus(earned));
            });
        }
        if unsettled == 0 {
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
        let newest: Vec<_> =
            Earnings::<T>::iter_prefix(account).take(MAX_FORFEITED_ROUNDS).collect();
        for (key, earned) in newest {
            let round = RoundNumber::from(key);
            let Some(mut pool) = Pools::<T>::get(round) else { continue };
            let settled = pool.unsettled == 0;
            if settled && T::Rounds::number() >= Self::claimable_from(round) {
                continue;
            }
            if settled {
                amount = amount.saturating_add(pool.take(&earned));
            } else {
                // The share is not known before the round is settled, so it falls to the others.
                pool.remove(&earned);
            }
            Earnings::<T>::remove(account, key);
            Self::put_pool(round, pool);
            rounds = rounds.saturating_add(1);
        }
        Self::burn(amount);
        if rounds > 0 {
            Self::deposit_event(Event::Forfeited { who: account.clone(), rounds, amount });
        }
    }
}
