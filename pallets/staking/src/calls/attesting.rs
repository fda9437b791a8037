// SPDX-License-Identifier: Apache-2.0

//! Calls that change who attests.

use crate::{Config, Endpoints, Error, Event, Pallet};
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
        Self::update(&who, |ledger| {
            ensure!(ledger.chilled, Error::<T>::NotChilled);
            ledger.chilled = false;
            Ok(())
        })?;
        Self::deposit_event(Event::Unchilled { who });
        Ok(())
    }
}
