// SPDX-License-Identifier: Apache-2.0

//! Expiry of rewards that nobody claims.

use crate::{
    Config, DescendingRound, Earners, Earnings, Event, FirstKept, MAX_EXPIRED, Pallet, Pools,
    WeightInfo,
};
use alloc::vec::Vec;
use pol_primitives::{Balance, RoundNumber, rewards::RoundPool, traits::Rounds};
use polkadot_sdk::frame_support::{traits::Get, weights::Weight};

impl<T: Config> Pallet<T> {
    /// Burns rewards of the oldest rounds, if [`Config::KeptRounds`] have passed since.
    pub(crate) fn expire() -> Weight {
        let (first, number) = (FirstKept::<T>::get(), T::Rounds::number());
        let is_old = |round: RoundNumber| round.saturating_add(T::KeptRounds::get()) < number;
        let (mut round, mut room) = (first, MAX_EXPIRED);
        while room > 0 && is_old(round) {
            // A round without a pool costs room too, so that void ones do not add up.
            room = room.saturating_sub(1);
            match Pools::<T>::get(round) {
                Some(pool) if pool.unsettled > 0 => break,
                Some(pool) => room = room.saturating_sub(Self::expire_some(round, pool, room)),
                None => round = round.saturating_add(1),
            }
        }
        if round > first {
            FirstKept::<T>::put(round);
        }
        T::WeightInfo::expire(MAX_EXPIRED.saturating_sub(room))
    }

    /// Burns up to `most` rewards of a round. Returns their number.
    fn expire_some(round: RoundNumber, mut pool: RoundPool, most: u32) -> u32 {
        let earners: Vec<_> = Earners::<T>::iter_key_prefix(round).take(most as usize).collect();
        let mut amount: Balance = 0;
        for account in &earners {
            Earners::<T>::remove(round, account);
            let earned = Earnings::<T>::take(account, DescendingRound::from(round));
            amount = amount.saturating_add(pool.take(&earned.unwrap_or_default()));
        }
        Self::put_pool(round, pool);
        Self::burn(amount);
        Self::deposit_event(Event::Expired { round, amount });
        earners.len() as u32
    }
}
