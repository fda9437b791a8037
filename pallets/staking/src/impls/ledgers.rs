// SPDX-License-Identifier: Apache-2.0

//! Changes of ledgers, and of the validators, total stake and candidates that follow from them.

use crate::{
    Candidates, Config, Endpoints, Error, Event, HoldReason, LOG_TARGET, Ledgers, Newcomers,
    Pallet, TotalStake, Validators, types::StakingLedger,
};
use pol_primitives::{Balance, traits::Rounds};
use polkadot_sdk::{
    frame_support::{
        BoundedVec,
        dispatch::DispatchResult,
        ensure,
        traits::{Get, fungible::MutateHold},
    },
    frame_system,
    sp_runtime::{DispatchError, SaturatedConversion, TokenError},
};

/// Puts `who` into the sorted list or removes it. Returns `false` if the list is full.
fn set_listed<A: Ord + Clone, S: Get<u32>>(
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
    pub(crate) fn now() -> u32 {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// Returns the stake of an active validator; none for any other account.
    pub(crate) fn stake(who: &T::AccountId, ledger: &StakingLedger) -> Option<Balance> {
        let active = ledger.role.attests()
            && ledger.is_bonded()
            && !ledger.chilled
            && Endpoints::<T>::contains_key(who);
        active.then_some(ledger.bond)
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
    /// accordingly. No other function changes any of them, except for [`Self::note_act`].
    pub(crate) fn update(
        who: &T::AccountId,
        change: impl FnOnce(&mut StakingLedger) -> DispatchResult,
    ) -> DispatchResult {
        Ledgers::<T>::try_mutate(who, |ledger| {
            let ledger = ledger.as_mut().ok_or(Error::<T>::NotBonded)?;
            let (stake, candidate) = (Self::stake(who, ledger), ledger.is_candidate());
            change(ledger)?;
            let (new_stake, new_candidate) = (Self::stake(who, ledger), ledger.is_candidate());
            if new_candidate != candidate {
                let room = Candidates::<T>::mutate(|list| set_listed(list, who, new_candidate));
                ensure!(room, Error::<T>::TooManyCandidates);
            }
            if new_stake.is_some() != stake.is_some() {
                ledger.attested = T::Rounds::attest_phases();
                ledger.acted &= new_stake.is_some();
            }
            if new_stake != stake {
                let room = Validators::<T>::mutate(|list| set_stake(list, who, new_stake));
                ensure!(room, Error::<T>::TooManyValidators);
                TotalStake::<T>::mutate(|total| {
                    *total = total
                        .saturating_sub(stake.unwrap_or(0))
                        .saturating_add(new_stake.unwrap_or(0));
                });
                Self::deposit_event(Event::StakeChanged { who: who.clone(), stake: new_stake });
            }
            let is_newcomer = new_stake.is_some() && !ledger.acted;
            let room = Newcomers::<T>::mutate(|list| set_listed(list, who, is_newcomer));
            ensure!(room, Error::<T>::TooManyValidators);
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
