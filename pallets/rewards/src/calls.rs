// SPDX-License-Identifier: Apache-2.0

//! Bodies of the calls.

use crate::{Config, DescendingRound, Earners, Earnings, Emission, Error, Event, Pallet, Pools};
use pol_primitives::{RoundNumber, rewards::EmissionSchedule, traits::Rounds};
use polkadot_sdk::frame_support::{dispatch::DispatchResult, ensure};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_set_emission(emission: EmissionSchedule) -> DispatchResult {
        ensure!(emission.is_valid(), Error::<T>::InvalidEmission);
        Emission::<T>::put(emission);
        Self::deposit_event(Event::EmissionSet { emission });
        Ok(())
    }

    pub(crate) fn do_claim(who: T::AccountId, round: RoundNumber) -> DispatchResult {
        let earned = Earnings::<T>::take(&who, DescendingRound::from(round))
            .ok_or(Error::<T>::NothingToClaim)?;
        Earners::<T>::remove(round, &who);
        let mut pool = Pools::<T>::get(round).ok_or(Error::<T>::NothingToClaim)?;
        ensure!(T::Rounds::number() >= Self::claimable_from(round), Error::<T>::TooEarly);
        ensure!(pool.unsettled == 0, Error::<T>::Unsettled);
        let amount = pool.take(&earned);
        Self::put_pool(round, pool);
        Self::pay(&who, amount)?;
        Self::deposit_event(Event::Claimed { who, round, amount });
        Ok(())
    }
}
