// SPDX-License-Identifier: Apache-2.0

//! Calls that open, change and close a role and its bond.

use crate::{
    Config, Endpoints, Error, Event, HoldReason, Ledgers, Pallet, Probations, types::StakingLedger,
};
use pol_primitives::{
    Balance,
    member::Role,
    traits::{Departures, Rounds},
};
use polkadot_sdk::frame_support::{
    dispatch::DispatchResult,
    ensure,
    traits::{Get, fungible::MutateHold, tokens::Precision},
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_bond(who: &T::AccountId, role: Role, amount: Balance) -> DispatchResult {
        ensure!(!Ledgers::<T>::contains_key(who), Error::<T>::AlreadyBonded);
        ensure!(amount >= role.minimum_bond(), Error::<T>::BondTooSmall);
        Ledgers::<T>::insert(who, StakingLedger::new(role, T::Rounds::number()));
        Self::update(who, |ledger| Self::hold(who, ledger, amount))?;
        Self::deposit_event(Event::Bonded { who: who.clone(), role, amount });
        Ok(())
    }

    pub(crate) fn do_bond_extra(who: T::AccountId, amount: Balance) -> DispatchResult {
        Self::update(&who, |ledger| {
            ensure!(ledger.free_at.is_none(), Error::<T>::RoleEnded);
            Self::hold(&who, ledger, amount)
        })?;
        Self::deposit_event(Event::BondRaised { who, amount });
        Ok(())
    }

    pub(crate) fn do_unbond(who: T::AccountId) -> DispatchResult {
        let free_at = Self::now().saturating_add(T::UnbondingPeriod::get());
        Self::update(&who, |ledger| {
            ensure!(ledger.free_at.is_none(), Error::<T>::RoleEnded);
            ledger.free_at = Some(free_at);
            Ok(())
        })?;
        Self::deposit_event(Event::Unbonded { who, free_at });
        Ok(())
    }

    pub(crate) fn do_withdraw(who: T::AccountId) -> DispatchResult {
        let ledger = Ledgers::<T>::take(&who).ok_or(Error::<T>::NotBonded)?;
        let free_at = ledger.free_at.ok_or(Error::<T>::RoleNotEnded)?;
        ensure!(Self::now() >= free_at, Error::<T>::StillUnbonding);
        ensure!(ledger.locked == 0, Error::<T>::StillLocked);
        // A bond backs what its owner signs, also if nobody else can take its place.
        ensure!(!Self::serves(&who), Error::<T>::StillUnbonding);
        let reason = HoldReason::Bond.into();
        let amount = T::Currency::release(&reason, &who, ledger.bond, Precision::Exact)?;
        Endpoints::<T>::remove(&who);
        Probations::<T>::remove(&who);
        T::Departures::note_departure(&who);
        Self::deposit_event(Event::Withdrawn { who, amount });
        Ok(())
    }
}
