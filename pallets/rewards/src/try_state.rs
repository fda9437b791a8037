// SPDX-License-Identifier: Apache-2.0

//! Checks of the pallet's invariants.

use crate::{
    Config, DescendingRound, Earners, Earnings, Emission, FirstKept, LastEmitted, Pallet, Pools,
    RewardLedger, UnsettledRounds,
};
use alloc::{collections::BTreeMap, vec::Vec};
use pol_primitives::{
    Balance, RoundNumber,
    rewards::{Ledger, RoundEarnings, RoundPool},
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Get, fungible::Inspect},
    },
    sp_runtime::TryRuntimeError,
};

impl<T: Config> Pallet<T> {
    /// Checks the invariants listed in the README, in its order.
    ///
    /// # Errors
    ///
    /// Fails with the first invariant that does not hold.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        Self::check_ledger()?;
        Self::check_pots()?;
        ensure!(Emission::<T>::get().is_valid(), "the emission is invalid");
        Ok(())
    }

    fn check_ledger() -> Result<(), TryRuntimeError> {
        let Ledger { emitted, seized, paid, burned, waiting } = RewardLedger::<T>::get();
        let (inflow, outflow) = (
            emitted.checked_add(seized),
            paid.checked_add(burned).and_then(|sum| sum.checked_add(waiting)),
        );
        ensure!(
            inflow.is_some() && inflow == outflow,
            "emitted + seized differs from paid + burned + waiting"
        );
        ensure!(emitted <= T::MaxEmission::get(), "more than the maximum was emitted");
        let left =
            Pools::<T>::iter_values().fold(0, |sum: Balance, pool| sum.saturating_add(pool.left()));
        ensure!(left == waiting, "the waiting funds differ from the sum of the pools");
        // Transfers from outside may add to the pot.
        let covered = waiting.saturating_add(T::Currency::minimum_balance());
        ensure!(
            T::Currency::balance(&Self::pot_account()) >= covered,
            "the pot does not cover the waiting funds and its existential deposit"
        );
        Ok(())
    }

    fn check_pots() -> Result<(), TryRuntimeError> {
        let mut sums: BTreeMap<RoundNumber, RoundEarnings> = BTreeMap::new();
        for (account, key, earned) in Earnings::<T>::iter() {
            ensure!(earned != RoundEarnings::default(), "an entry of earnings is empty");
            ensure!(
                Earners::<T>::contains_key(RoundNumber::from(key), &account),
                "earnings are not listed by round"
            );
            let sum = sums.entry(key.into()).or_default();
            *sum = sum.plus(&earned);
        }
        for (round, pool) in Pools::<T>::iter() {
            Self::check_pool(round, &pool, sums.remove(&round).unwrap_or_default())?;
        }
        ensure!(sums.is_empty(), "an account has earnings in a round without a pool");
        let listed = Earners::<T>::iter_keys().all(|(round, account)| {
            Earnings::<T>::contains_key(account, DescendingRound::from(round))
        });
        ensure!(listed, "earnings are listed that nobody has");
        let first = FirstKept::<T>::get();
        ensure!(Pools::<T>::iter_keys().all(|round| round >= first), "a pool has expired");
        let mut unsettled: Vec<_> = Pools::<T>::iter()
            .filter(|(_, pool)| pool.unsettled > 0)
            .map(|(round, _)| round)
            .collect();
        unsettled.sort_unstable();
        ensure!(
            unsettled == UnsettledRounds::<T>::get().into_inner(),
            "the unsettled rounds are not those of the pools with unsettled updates"
        );
        Ok(())
    }

    fn check_pool(
        round: RoundNumber,
        pool: &RoundPool,
        earned: RoundEarnings,
    ) -> Result<(), TryRuntimeError> {
        let pots = [
            (pool.trainers, earned.training),
            (pool.validators, earned.seats.into()),
            (pool.providers, earned.effect.into()),
        ];
        ensure!(
            pots.iter().all(|(pot, earned)| pot.weight == *earned),
            "the weight of a pot differs from the sum of its earnings"
        );
        let unearned = pots.iter().any(|(pot, _)| pot.weight == 0 && pot.left > 0);
        ensure!(pool.unsettled > 0 || !unearned, "a settled round has a pot without earnings");
        ensure!(!pool.is_done(), "the pool of a fully claimed round still exists");
        ensure!(
            LastEmitted::<T>::get().is_some_and(|(last, _)| round <= last),
            "a pool is newer than the last round that emitted"
        );
        Ok(())
    }
}
