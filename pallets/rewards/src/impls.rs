//! Emission, shares and fines, and what the learning pallet calls.

use crate::{
    Books, Config, Earnings, Emission, Event, LastEmitted, MAX_FORFEITED, MAX_REWARDS, Pallet,
    Pools,
};
use alloc::vec::Vec;
use pol_primitives::{
    Balance, RoundNumber,
    rewards::{self, Earned, RoundPool},
    traits::{Payouts, Rounds},
    view::Reward,
};
use polkadot_sdk::{
    frame_support::traits::{
        Get,
        fungible::Mutate,
        tokens::{Fortitude, Precision, Preservation},
    },
    sp_runtime::{DispatchResult, traits::AccountIdConversion},
};

const LOG_TARGET: &str = "runtime::pol-rewards";

impl<T: Config> Pallet<T> {
    /// The account that holds what waits. Nobody has its key.
    pub fn pot() -> T::AccountId {
        T::PotId::get().into_account_truncating()
    }

    /// The treasury's account. Nobody has its key.
    pub fn treasury() -> T::AccountId {
        T::TreasuryId::get().into_account_truncating()
    }

    /// Where all money of learning went.
    pub fn books() -> rewards::Books {
        Books::<T>::get()
    }

    /// What is left of a round's emission; none before it is concluded and after the last claim.
    pub fn pool(round: RoundNumber) -> Option<RoundPool> {
        Pools::<T>::get(round)
    }

    /// What waits for the account, from the newest round to the oldest; at most 1,024.
    pub fn rewards(account: T::AccountId) -> Vec<Reward> {
        let earnings = Earnings::<T>::iter_prefix(account).take(MAX_REWARDS);
        let reward = |(key, earned): (_, Earned)| {
            let round = RoundNumber::from(key);
            let pool = Pools::<T>::get(round)?;
            let amount = (pool.unsettled == 0).then(|| pool.share(&earned));
            Some(Reward { round, amount, from: Self::matures(round) })
        };
        earnings.filter_map(reward).collect()
    }

    /// The round from which on a share of `round` can be claimed.
    pub(crate) fn matures(round: RoundNumber) -> RoundNumber {
        round.saturating_add(T::Rounds::escrow())
    }

    /// Stores a round's pool, or forgets it when there is nobody left to pay.
    pub(crate) fn put_pool(round: RoundNumber, pool: RoundPool) {
        if pool.is_done() {
            Pools::<T>::remove(round);
        } else {
            Pools::<T>::insert(round, pool);
        }
    }

    /// Pays what waits in the pot. The pot's own existential deposit is never touched, so it lives
    /// on.
    pub(crate) fn pay(to: &T::AccountId, amount: Balance) -> DispatchResult {
        if amount > 0 {
            T::Currency::transfer(&Self::pot(), to, amount, Preservation::Preserve)?;
            Books::<T>::mutate(|books| {
                books.waiting = books.waiting.saturating_sub(amount);
                books.paid = books.paid.saturating_add(amount);
            });
        }
        Ok(())
    }

    /// Pays the treasury; burns what its account cannot take, which is less than the existential
    /// deposit.
    fn pay_treasury(amount: Balance) {
        if Self::pay(&Self::treasury(), amount).is_err() {
            Self::burn(amount);
        }
    }

    /// Burns what waits in the pot.
    fn burn(amount: Balance) {
        if amount == 0 {
            return;
        }
        match T::Currency::burn_from(
            &Self::pot(),
            amount,
            Preservation::Preserve,
            Precision::Exact,
            Fortitude::Force,
        ) {
            Ok(_) => Books::<T>::mutate(|books| {
                books.waiting = books.waiting.saturating_sub(amount);
                books.burned = books.burned.saturating_add(amount);
            }),
            Err(error) => {
                log::error!(target: LOG_TARGET, "cannot burn {amount}, which stays in the pot: {error:?}")
            }
        }
    }

    /// Shares out what a cheat lost, which waits in the pot. A prover whose account cannot take its
    /// part leaves it to the treasury.
    fn share_out(amount: Balance, provers: &[T::AccountId]) {
        let half = amount / 2;
        let each = Balance::try_from(provers.len())
            .ok()
            .and_then(|count| (amount / 4).checked_div(count))
            .unwrap_or(0);
        let paid = provers.iter().filter(|prover| Self::pay(prover, each).is_ok());
        let to_provers = paid.fold(0, |sum: Balance, _| sum.saturating_add(each));
        Self::burn(half);
        Self::pay_treasury(amount.saturating_sub(half).saturating_sub(to_provers));
        Self::deposit_event(Event::Fined { amount, to_provers });
    }

    /// The pallet's accounting as equations.
    #[cfg(any(feature = "try-runtime", feature = "std"))]
    pub fn do_try_state() -> Result<(), polkadot_sdk::sp_runtime::TryRuntimeError> {
        use alloc::collections::BTreeMap;
        use polkadot_sdk::frame_support::{ensure, traits::fungible::Inspect};

        let rewards::Books { emitted, seized, paid, burned, waiting } = Books::<T>::get();
        let (came, went) = (
            emitted.checked_add(seized),
            paid.checked_add(burned).and_then(|sum| sum.checked_add(waiting)),
        );
        ensure!(
            came.is_some() && came == went,
            "what was emitted and seized is not what was paid, burned and waits"
        );
        let left =
            Pools::<T>::iter_values().fold(0, |sum: Balance, pool| sum.saturating_add(pool.left()));
        ensure!(left == waiting, "what waits is not what the pools have left");
        // Anybody may send the pot more.
        let covered = waiting.saturating_add(T::Currency::minimum_balance());
        ensure!(
            T::Currency::balance(&Self::pot()) >= covered,
            "the pot does not cover what waits and its own deposit"
        );

        let mut sums: BTreeMap<RoundNumber, Earned> = BTreeMap::new();
        for (_, key, earned) in Earnings::<T>::iter() {
            ensure!(earned != Earned::default(), "nothing earned is stored");
            let sum = sums.entry(key.into()).or_default();
            *sum = sum.plus(&earned);
        }
        for (round, pool) in Pools::<T>::iter() {
            let Earned { training, seats, shards } = sums.remove(&round).unwrap_or_default();
            let pots = [
                (pool.trainers, training),
                (pool.validators, seats.into()),
                (pool.providers, shards.into()),
            ];
            ensure!(
                pots.iter().all(|(pot, earned)| pot.weight == *earned),
                "a pot's weight is not what was earned"
            );
            let unearned = pots.iter().any(|(pot, _)| pot.weight == 0 && pot.left > 0);
            ensure!(
                pool.unsettled > 0 || !unearned,
                "a settled round has a pot that nobody earned"
            );
            ensure!(!pool.is_done(), "a round that nobody has a share of is still there");
            ensure!(
                LastEmitted::<T>::get().is_some_and(|last| round <= last),
                "a round is newer than the last one"
            );
        }
        ensure!(sums.is_empty(), "somebody earned in a round without a pool");
        ensure!(Emission::<T>::get().is_valid(), "the emission is invalid");
        Ok(())
    }
}

impl<T: Config> Payouts<T::AccountId> for Pallet<T> {
    fn round_concluded(round: RoundNumber, updates: u32) {
        let shares = Emission::<T>::get().of(round);
        let total = shares.total();
        if updates == 0 || total == 0 {
            return;
        }
        if LastEmitted::<T>::get().is_some_and(|last| round <= last) {
            log::error!(target: LOG_TARGET, "round {round} or a later one was concluded before; nothing is emitted twice");
            return;
        }
        if let Err(error) = T::Currency::mint_into(&Self::pot(), total) {
            log::error!(target: LOG_TARGET, "cannot mint {total} for round {round}: {error:?}");
            return;
        }
        LastEmitted::<T>::put(round);
        Books::<T>::mutate(|books| {
            books.emitted = books.emitted.saturating_add(total);
            books.waiting = books.waiting.saturating_add(total);
        });
        Pools::<T>::insert(round, RoundPool::new(&shares, updates));
        Self::pay_treasury(shares.treasury);
        Self::deposit_event(Event::Escrowed { round, shares });
    }

    fn settled(round: RoundNumber, earned: &[(T::AccountId, Earned)]) {
        // A round that emitted nothing has nothing to share.
        let Some(mut pool) = Pools::<T>::get(round) else { return };
        let Some(unsettled) = pool.unsettled.checked_sub(1) else {
            log::error!(target: LOG_TARGET, "every update of round {round} was settled before; nothing is earned twice");
            return;
        };
        pool.unsettled = unsettled;
        for (account, earned) in earned.iter().filter(|(_, earned)| *earned != Earned::default()) {
            pool.add(earned);
            Earnings::<T>::mutate(account, crate::NewestFirst::from(round), |sum| {
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

    fn pot() -> T::AccountId {
        Self::pot()
    }

    fn fined(amount: Balance, provers: &[T::AccountId]) {
        if amount == 0 {
            return;
        }
        Books::<T>::mutate(|books| {
            books.seized = books.seized.saturating_add(amount);
            books.waiting = books.waiting.saturating_add(amount);
        });
        Self::share_out(amount, provers);
    }

    fn forfeit(account: &T::AccountId, provers: &[T::AccountId]) {
        let (mut amount, mut rounds): (Balance, u32) = (0, 0);
        let newest: Vec<_> = Earnings::<T>::iter_prefix(account).take(MAX_FORFEITED).collect();
        for (key, earned) in newest {
            let round = RoundNumber::from(key);
            let Some(mut pool) = Pools::<T>::get(round) else { continue };
            let settled = pool.unsettled == 0;
            if settled && T::Rounds::number() >= Self::matures(round) {
                continue;
            }
            if settled {
                amount = amount.saturating_add(pool.take(&earned));
            } else {
                // Its share is not known yet, and falls to the others.
                pool.remove(&earned);
            }
            Earnings::<T>::remove(account, key);
            Self::put_pool(round, pool);
            rounds = rounds.saturating_add(1);
        }
        if rounds > 0 {
            Self::deposit_event(Event::Forfeited { who: account.clone(), rounds, amount });
        }
        if amount > 0 {
            Self::share_out(amount, provers);
        }
    }
}
