// SPDX-License-Identifier: Apache-2.0

//! Removal of what is no longer needed: records of old rounds, and the state of accounts that left.

use crate::{pallet::*, types::MAX_EXPIRED, weights::WeightInfo};
use alloc::vec::Vec;
use pol_primitives::{
    RoundNumber,
    submission::Outcome,
    traits::{Bonds, Departures},
};
use polkadot_sdk::frame_support::{pallet_prelude::*, traits::Get};

// ---- Rounds ----

impl<T: Config> Pallet<T> {
    /// Removes records of the oldest kept round, if [`Config::KeptRounds`] have passed since, and
    /// nothing waits for it any more.
    pub(crate) fn expire() -> Weight {
        let (round, number) = (FirstKept::<T>::get(), CurrentRound::<T>::get().number);
        if round.saturating_add(T::KeptRounds::get()) >= number {
            return T::WeightInfo::keep();
        }
        if Records::<T>::contains_key(round) {
            if let Some(account) = Submissions::<T>::iter_key_prefix(round).next() {
                return T::WeightInfo::expire(0)
                    .saturating_add(Self::conclude_old(round, &account));
            }
            if !Self::is_past(round) {
                return T::WeightInfo::expire(0);
            }
            Records::<T>::remove(round);
            HeadMetrics::<T>::remove(round);
        }
        let batch: Vec<_> = History::<T>::iter_prefix(round).take(MAX_EXPIRED as usize).collect();
        for (account, settled) in &batch {
            History::<T>::remove(round, account);
            if settled.outcome != Outcome::NoShow
                && SeenPayloads::<T>::get(settled.payload_hash) == Some(round)
            {
                SeenPayloads::<T>::remove(settled.payload_hash);
            }
        }
        let removed = batch.len() as u32;
        if removed < MAX_EXPIRED {
            FirstKept::<T>::put(round.saturating_add(1));
        }
        T::WeightInfo::expire(removed)
    }

    /// Concludes the account's lease of an old `round`, since nobody else did. A lease that is
    /// concluded waits for a settlement.
    fn conclude_old(round: RoundNumber, account: &T::AccountId) -> Weight {
        match Leases::<T>::get(account).filter(|lease| lease.due_round == round) {
            Some(lease) => Self::conclude_lease(account, lease),
            None => Weight::zero(),
        }
    }

    /// Returns `true` if no head needs the records of `round` any more: it is not the newest, and
    /// none of its updates waits to be taken out.
    fn is_past(round: RoundNumber) -> bool {
        let is_newest = CurrentHead::<T>::get().is_some_and(|head| head.round <= round);
        !is_newest && Excisions::<T>::get().iter().all(|(excision, _)| excision.round > round)
    }

    /// Returns `true` if a carry of `round` is too old to continue from. The outcome of its update
    /// is known for as long again.
    pub(crate) fn is_stale_carry(round: RoundNumber) -> bool {
        round.saturating_add(T::KeptRounds::get() >> 1) < CurrentRound::<T>::get().number
    }
}

// ---- Accounts ----

impl<T: Config> Pallet<T> {
    /// Removes the standing of an account that has neither a bond nor a lease.
    pub(crate) fn forget_stranger(account: &T::AccountId) {
        if T::Bonds::bonded_since(account).is_none() && !Leases::<T>::contains_key(account) {
            Standings::<T>::remove(account);
        }
    }
}

impl<T: Config> Departures<T::AccountId> for Pallet<T> {
    fn note_departure(account: &T::AccountId) {
        Self::forget_stranger(account);
    }
}
