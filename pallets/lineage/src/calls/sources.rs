// SPDX-License-Identifier: Apache-2.0

//! Calls that register and withdraw sources.

use crate::{Config, Error, Event, ManifestsOf, NextSource, Pallet, SourceDeposits, Sources};
use pol_primitives::data::{ShortText, Source, SourceId};
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResult, ensure, traits::Get},
    sp_runtime::ArithmeticError,
};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_register_source(
        owner: T::AccountId,
        address: ShortText,
        licence: ShortText,
    ) -> DispatchResult {
        let source = NextSource::<T>::get();
        NextSource::<T>::put(source.checked_add(1).ok_or(ArithmeticError::Overflow)?);
        let deposit = T::ManifestDeposit::get();
        Self::hold_deposit(&owner, deposit)?;
        SourceDeposits::<T>::insert(source, deposit);
        Sources::<T>::insert(source, Source { owner: owner.clone(), address, licence });
        Self::deposit_event(Event::SourceRegistered { source, owner });
        Ok(())
    }

    pub(crate) fn do_withdraw_source(who: T::AccountId, source: SourceId) -> DispatchResult {
        let record = Sources::<T>::take(source).ok_or(Error::<T>::UnknownSource)?;
        ensure!(record.owner == who, Error::<T>::NotOwner);
        ensure!(ManifestsOf::<T>::get(source) == 0, Error::<T>::HasManifests);
        Self::release_deposit(&who, SourceDeposits::<T>::take(source))?;
        Self::deposit_event(Event::SourceWithdrawn { source });
        Ok(())
    }
}
