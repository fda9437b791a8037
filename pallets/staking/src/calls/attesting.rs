// SPDX-License-Identifier: Apache-2.0

//! Calls that change who attests.

use crate::{Config, Endpoints, Error, Event, Ledgers, Pallet};
use pol_primitives::{member::Endpoint, traits::Rounds};
use polkadot_sdk::frame_support::{dispatch::DispatchResult, ensure};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_set_endpoint(who: T::AccountId, endpoint: Endpoint) -> DispatchResult {
        ensure!(!endpoint.addresses.is_empty(), Error::<T>::NoAddress);
        Self::update(&who, |_| {
            Endpoints::<T>::insert(&who, endpoint);
            Ok(())
        })?;
        Self::deposit_event(Event::EndpointSet { who });
        Ok(())
    }

    pub(crate) fn do_chill(validator: T::AccountId) -> DispatchResult {
        Self::update(&validator, |ledger| {
            ensure!(Self::stake(&validator, ledger).is_some(), Error::<T>::NotActive);
            let missed = T::Rounds::attest_phases().saturating_sub(ledger.attested);
            ensure!(missed >= T::Rounds::max_missed_phases(), Error::<T>::IsAlive);
            ledger.chilled = true;
            Ok(())
        })?;
        Self::deposit_event(Event::Chilled { who: validator });
        Ok(())
    }

    pub(crate) fn do_unchill(who: T::AccountId) -> DispatchResult {
        let before = Ledgers::<T>::get(&who).ok_or(Error::<T>::NotBonded)?;
        let served_bar = before.bar.is_some_and(|bar| Self::now() >= bar.until);
        Self::update(&who, |ledger| {
            ledger.bar = ledger.bar.filter(|_| !served_bar);
            ledger.chilled = false;
            Ok(())
        })?;
        let ledger = Ledgers::<T>::get(&who).ok_or(Error::<T>::NotBonded)?;
        let returns = Self::end_absence(&who) || before.chilled || served_bar;
        let is_unlisted = ledger.may_stand() && !Self::is_candidate(&who);
        let has_place =
            before.waiting && !ledger.waiting || is_unlisted && Self::seek_candidacy(&who, &ledger);
        if !returns && !has_place {
            ensure!(ledger.bar.is_none(), Error::<T>::IsBarred);
            ensure!(!ledger.waiting && !is_unlisted, Error::<T>::NoPlace);
            return Err(Error::<T>::NotChilled.into());
        }
        Self::deposit_event(Event::Unchilled { who });
        Ok(())
    }
}
