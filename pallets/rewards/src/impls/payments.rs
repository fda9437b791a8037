// SPDX-License-Identifier: Apache-2.0

//! Accounts of the pallet and the payments between them.

use crate::{Config, LOG_TARGET, Pallet, Pools, RewardLedger};
use pol_primitives::{Balance, RoundNumber, rewards::RoundPool, traits::Rounds};
use polkadot_sdk::{
    frame_support::traits::{
        Get,
        fungible::Mutate,
        tokens::{Fortitude, Precision, Preservation},
    },
    sp_runtime::{DispatchResult, traits::AccountIdConversion},
};

impl<T: Config> Pallet<T> {
    /// Returns the account that holds all funds in escrow. It has no key.
    pub fn pot_account() -> T::AccountId {
        T::PotId::get().into_account_truncating()
    }

    /// Returns the treasury's account. It has no key.
    pub fn treasury_account() -> T::AccountId {
        T::TreasuryId::get().into_account_truncating()
    }

    /// Returns the first round in which a reward of `round` can be claimed.
    pub(crate) fn claimable_from(round: RoundNumber) -> RoundNumber {
        round.saturating_add(T::Rounds::escrow_rounds())
    }

    /// Stores the pool of a round, or removes it if every share is claimed.
    pub(crate) fn put_pool(round: RoundNumber, pool: RoundPool) {
        if pool.is_done() {
            Pools::<T>::remove(round);
        } else {
            Pools::<T>::insert(round, pool);
        }
    }

    /// Pays an amount from the pot. The pot's own existential deposit is never spent.
    pub(crate) fn pay(to: &T::AccountId, amount: Balance) -> DispatchResult {
        if amount > 0 {
            T::Currency::transfer(&Self::pot_account(), to, amount, Preservation::Preserve)?;
            RewardLedger::<T>::mutate(|ledger| {
                ledger.waiting = ledger.waiting.saturating_sub(amount);
                ledger.paid = ledger.paid.saturating_add(amount);
            });
        }
        Ok(())
    }

    /// Pays an amount to the treasury. Burns it if the treasury's account cannot take it, which
    /// happens below the existential deposit only.
    pub(crate) fn pay_treasury(amount: Balance) {
        if Self::pay(&Self::treasury_account(), amount).is_err() {
            Self::burn(amount);
        }
    }

    /// Burns an amount from the pot.
    pub(crate) fn burn(amount: Balance) {
        if amount == 0 {
            return;
        }
        match T::Currency::burn_from(
            &Self::pot_account(),
            amount,
            Preservation::Preserve,
            Precision::Exact,
            Fortitude::Force,
        ) {
            Ok(_) => RewardLedger::<T>::mutate(|ledger| {
                ledger.waiting = ledger.waiting.saturating_sub(amount);
                ledger.burned = ledger.burned.saturating_add(amount);
            }),
            Err(error) => log::error!(
                target: LOG_TARGET,
                "cannot burn {amount}, which stays in the pot: {error:?}"
            ),
        }
    }
}
