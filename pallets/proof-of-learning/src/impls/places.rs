// SPDX-License-Identifier: Apache-2.0

//! Places of the round under way.

use crate::{pallet::*, weights::WeightInfo};
use codec::Encode;
use pol_primitives::{
    RoundNumber,
    places::{Place, Rank, Room},
    round::Round,
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::{frame_support::pallet_prelude::*, sp_runtime::SaturatedConversion};

impl<T: Config> Pallet<T> {
    /// Returns the rank that the seed of `round` draws for the account.
    fn rank(who: &T::AccountId, round: &Round) -> Rank {
        let late = T::Bonds::bonded_since(who).is_none_or(|since| since >= round.number);
        Rank::draw(&round.seed, &who.encode(), late)
    }

    /// Returns the room for a lease of `who` in `due_round`, in which `due` leases are due already.
    pub(crate) fn room(
        who: &T::AccountId,
        round: &Round,
        due_round: RoundNumber,
        due: u32,
    ) -> Room<T::AccountId> {
        let delay = due_round.saturating_sub(round.number);
        let rank = Self::rank(who, round);
        TakenPlaces::<T>::get().room(due_round, delay, due, rank, Self::now())
    }

    /// Gives `who` a place in `due_round`, for which `displaced` makes room.
    pub(crate) fn take_place(
        who: &T::AccountId,
        round: &mut Round,
        due_round: RoundNumber,
        displaced: Option<&T::AccountId>,
    ) -> Result<Weight, Error<T>> {
        let weight = displaced.map_or(Weight::zero(), |account| Self::displace(account, round));
        let place = Place { account: who.clone(), due_round, rank: Self::rank(who, round) };
        let (join, now) = (PhaseLengths::<T>::get().join, Self::now());
        let given = TakenPlaces::<T>::mutate(|places| places.give(place, displaced, join, now));
        ensure!(given, Error::<T>::RoundIsFull);
        Ok(weight)
    }

    /// Ends the lease of an account that lost its place in `round`. It costs the account nothing.
    fn displace(account: &T::AccountId, round: &mut Round) -> Weight {
        let Some(lease) = Leases::<T>::take(account) else { return Weight::zero() };
        T::Pool::release(&lease.shards);
        Self::unlock_bond(account);
        if Submissions::<T>::take(lease.due_round, account).is_some() {
            round.committed = round.committed.saturating_sub(1);
        }
        Self::deposit_event(Event::PlaceLost {
            account: account.clone(),
            due_round: lease.due_round,
        });
        T::WeightInfo::conclude(lease.shards.len().saturated_into())
    }
}
