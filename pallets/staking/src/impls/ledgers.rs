// SPDX-License-Identifier: Apache-2.0

//! Changes of ledgers, bonds and penalties.

use super::places::set_listed;
use crate::{
    Config, Error, HoldReason, LOG_TARGET, Ledgers, Newcomers, Pallet, types::StakingLedger,
};
use pol_primitives::Balance;
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResult, traits::fungible::MutateHold},
    frame_system,
    sp_runtime::{DispatchError, SaturatedConversion, TokenError},
};

impl<T: Config> Pallet<T> {
    pub(crate) fn now() -> u32 {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// Returns the amount that a penalty can reach: the bond until its withdrawal, also that of an
    /// ended role.
    pub fn slashable(account: &T::AccountId) -> Balance {
        Ledgers::<T>::get(account).map_or(0, |ledger| ledger.bond)
    }

    /// Adds `amount` to a bond and puts it on hold.
    pub(crate) fn hold(
        who: &T::AccountId,
        ledger: &mut StakingLedger,
        amount: Balance,
    ) -> DispatchResult {
        T::Currency::hold(&HoldReason::Bond.into(), who, amount).map_err(|error| {
            if error == TokenError::FundsUnavailable.into() {
                Error::<T>::InsufficientFunds.into()
            } else {
                error
            }
        })?;
        ledger.bond = ledger.bond.saturating_add(amount);
        Ok(())
    }

    /// Changes an account's ledger, and updates validators, newcomers, total stake and candidates
    /// accordingly. Only [`Self::note_act`] and whoever takes a place change them otherwise.
    pub(crate) fn update(
        who: &T::AccountId,
        change: impl FnOnce(&mut StakingLedger) -> DispatchResult,
    ) -> DispatchResult {
        Ledgers::<T>::try_mutate(who, |ledger| {
            let ledger = ledger.as_mut().ok_or(Error::<T>::NotBonded)?;
            let (old, stake) = (*ledger, Self::stake(who, ledger));
            change(ledger)?;
            ledger.backed = ledger.role.is_backed_by(ledger.bond, ledger.backed);
            Self::seek_place(who, ledger, stake);
            Self::set_place(who, ledger, stake)?;
            if !ledger.may_stand() {
                Self::remove_candidate(who);
            } else if !old.may_stand() || ledger.bond > old.bond {
                Self::seek_candidacy(who, ledger);
            }
            Ok(())
        })
    }

    /// Notes that a member acted, and applies `change` to its ledger.
    pub(crate) fn note_act(who: &T::AccountId, change: impl FnOnce(&mut StakingLedger)) {
        Ledgers::<T>::mutate_extant(who, |ledger| {
            if !ledger.acted && Self::stake(who, ledger).is_some() {
                ledger.acted = true;
                Newcomers::<T>::mutate(|list| set_listed(list, who, false));
            }
            change(ledger);
        });
    }

    /// Takes up to `amount` off an account's bond, also off that of an ended role, and returns the
    /// amount taken. `take` removes at most the given amount from the hold and returns the amount
    /// removed.
    pub(crate) fn penalise(
        who: &T::AccountId,
        amount: Balance,
        take: impl FnOnce(&T::RuntimeHoldReason, Balance) -> Result<Balance, DispatchError>,
    ) -> Balance {
        let amount = amount.min(Self::slashable(who));
        if amount == 0 {
            return 0;
        }
        let mut taken = 0;
        let penalised = Self::update(who, |ledger| {
            taken = take(&HoldReason::Bond.into(), amount)?;
            ledger.bond = ledger.bond.saturating_sub(taken);
            ledger.locked = ledger.locked.min(ledger.bond);
            Ok(())
        });
        if let Err(error) = penalised {
            log::error!(
                target: LOG_TARGET,
                "cannot take {amount} from the bond of {who:?}: {error:?}"
            );
        }
        taken
    }
}
