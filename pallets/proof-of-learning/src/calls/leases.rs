// SPDX-License-Identifier: Apache-2.0

//! Joining a round, concluding a lease and resetting the carry.

use crate::{pallet::*, weights::WeightInfo};
use codec::Encode;
use pol_primitives::{
    Hash, RoundNumber,
    lease::Lease,
    places::Room,
    recipe::{Recipe as Spec, Tier},
    round::Round,
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::{frame_support::pallet_prelude::*, sp_runtime::SaturatedConversion};

impl<T: Config> Pallet<T> {
    /// Checks that the account may have a lease as a machine of `tier`.
    pub(crate) fn check_joining(who: &T::AccountId, tier: Tier) -> Result<(), Error<T>> {
        let round = CurrentRound::<T>::get();
        ensure!(round.is_joinable(Self::now()), Error::<T>::NotJoining);
        let lease = Leases::<T>::get(who);
        let is_over = |lease: &Lease| Self::is_over(lease, round.number);
        ensure!(lease.as_ref().is_none_or(is_over), Error::<T>::AlreadyLeased);
        ensure!(T::Bonds::is_trainer(who), Error::<T>::NotATrainer);
        // The conclusion of a past lease may unlock its part of the bond.
        ensure!(lease.is_some() || Self::has_free_bond(who), Error::<T>::BondIsLocked);
        let recipe = Recipe::<T>::get().ok_or(Error::<T>::NotJoining)?;
        let (due_round, due) = Self::due_leases(&round, &recipe, tier);
        let room = Self::room(who, &round, due_round, due);
        ensure!(room != Room::None, Error::<T>::RoundIsFull);
        // A past lease, or that of an account that makes room, may return its shards.
        let returns = lease.is_some() || room != Room::Free;
        ensure!(returns || T::Pool::free_shards() > 0, Error::<T>::NoData);
        Ok(())
    }

    /// Returns `true` if the bond covers the penalty for one more update, beside those that wait
    /// for their settlement.
    fn has_free_bond(who: &T::AccountId) -> bool {
        T::Bonds::free_bond(who) >= T::InvalidPenalty::get()
    }

    /// Returns the round that a lease given in `round` would be due in, and the number of leases
    /// due in that one.
    fn due_leases(round: &Round, recipe: &Spec, tier: Tier) -> (RoundNumber, u32) {
        let delay = u32::from(recipe.tier(tier).cadence).saturating_sub(1);
        let due_round = round.number.saturating_add(delay);
        let due = if delay == 0 { round.due } else { DueLeases::<T>::get(due_round) };
        (due_round, due)
    }

    /// Body of [`Pallet::join_round`].
    pub(crate) fn do_join_round(who: T::AccountId, tier: Tier) -> DispatchResultWithPostInfo {
        Self::check_joining(&who, tier).map_err(Self::refused)?;
        let mut round = CurrentRound::<T>::get();
        let concluded = Self::conclude_past(&who, round.number)?;
        // The past lease may have cost part of the bond, so the bond is checked after it.
        ensure!(T::Bonds::is_trainer(&who), Error::<T>::NotATrainer);
        ensure!(Self::has_free_bond(&who), Error::<T>::BondIsLocked);

        // A train phase has both.
        let recipe = Recipe::<T>::get().ok_or(DispatchError::Corruption)?;
        let head = CurrentHead::<T>::get().ok_or(DispatchError::Corruption)?;
        let (due_round, due) = Self::due_leases(&round, &recipe, tier);
        let displaced = match Self::room(&who, &round, due_round, due) {
            Room::Free => None,
            Room::Of(account) => Some(account),
            Room::None => return Err(Error::<T>::RoundIsFull.into()),
        };
        let displacing = Self::take_place(&who, &mut round, due_round, displaced.as_ref())?;

        let mut standing = Self::standing(&who);
        let mut prf = Lease::draw(&round.seed, &who.encode(), standing.nonce);
        let shards = T::Pool::lease(recipe.shards_per_lease(tier), &mut prf);
        let shards = BoundedVec::try_from(shards).map_err(|_| DispatchError::Corruption)?;
        ensure!(!shards.is_empty(), Error::<T>::NoData);

        let leased = shards.len().saturated_into();
        let lease = Lease {
            nonce: standing.nonce,
            tier,
            round: round.number,
            due_round,
            seed: round.seed,
            base_root: round.base_root,
            head_tokens: head.tokens,
            recipe: recipe.hash(),
            carry: standing.carry,
            carry_round: standing.carry_round,
            shards,
        };
        if displaced.is_some() {
            CurrentRound::<T>::put(round);
        } else {
            Self::count_lease(round, due_round, due);
        }
        Leases::<T>::insert(&who, lease);
        T::Bonds::lock(&who, T::InvalidPenalty::get());
        standing.nonce = standing.nonce.saturating_add(1);
        Standings::<T>::insert(&who, standing);
        Self::deposit_event(Event::Leased { account: who, due_round, shards: leased });
        let weight = T::WeightInfo::join_round(leased);
        Ok(Some(weight.saturating_add(concluded).saturating_add(displacing)).into())
    }

    /// Adds a lease to the `due` ones of `due_round`, and starts the clock of `round`, which is
    /// under way, where the lease does.
    fn count_lease(mut round: Round, due_round: RoundNumber, due: u32) {
        let (now, lengths, deadline) = (Self::now(), PhaseLengths::<T>::get(), round.deadline);
        if due_round == round.number {
            round.count_due_lease(&lengths, now);
        } else {
            DueLeases::<T>::insert(due_round, due.saturating_add(1));
            LastDueRound::<T>::mutate(|last| *last = due_round.max(*last));
            round.note_later_lease(&lengths, now);
        }
        if round.deadline == deadline {
            CurrentRound::<T>::put(round);
        } else {
            Self::enter(round);
        }
    }

    /// Body of [`Pallet::conclude`].
    pub(crate) fn do_conclude(account: &T::AccountId) -> DispatchResultWithPostInfo {
        let lease = Self::past_lease(account).map_err(Self::refused)?;
        Ok(Some(Self::conclude_lease(account, lease)).into())
    }

    /// Returns the account's lease, which must be over.
    pub(crate) fn past_lease(account: &T::AccountId) -> Result<Lease, Error<T>> {
        let is_over = |lease: &Lease| Self::is_over(lease, CurrentRound::<T>::get().number);
        Leases::<T>::get(account).filter(is_over).ok_or(Error::<T>::NothingToConclude)
    }

    /// Returns `true` if nothing can be committed to the lease in round `number` or later: its
    /// round is over, or its recipe was replaced.
    fn is_over(lease: &Lease, number: RoundNumber) -> bool {
        lease.due_round < number || lease.round < RecipeSince::<T>::get()
    }

    /// Body of [`Pallet::reset_carry`].
    pub(crate) fn do_reset_carry(who: T::AccountId) -> DispatchResultWithPostInfo {
        let concluded =
            Self::conclude_past(&who, CurrentRound::<T>::get().number).map_err(Self::refused)?;
        Standings::<T>::mutate_exists(&who, |standing| {
            if let Some(standing) = standing {
                standing.carry = Hash::default();
            }
        });
        Self::deposit_event(Event::CarryReset { account: who });
        Ok(Some(T::WeightInfo::reset_carry().saturating_add(concluded)).into())
    }

    /// Concludes `account`'s lease if it has one that is over in round `number`. Fails if it has
    /// one that is not.
    fn conclude_past(account: &T::AccountId, number: RoundNumber) -> Result<Weight, Error<T>> {
        match Leases::<T>::get(account) {
            None => Ok(Weight::zero()),
            Some(lease) if Self::is_over(&lease, number) => {
                Ok(Self::conclude_lease(account, lease))
            }
            Some(_) => Err(Error::<T>::AlreadyLeased),
        }
    }
}
