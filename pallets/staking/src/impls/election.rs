// SPDX-License-Identifier: Apache-2.0

//! Election of the authorities of a session.

use crate::{Candidates, Config, Ledgers, Pallet};
use alloc::vec::Vec;
use core::cmp::Reverse;
use polkadot_sdk::{
    frame_support::traits::{Get, ValidatorRegistration},
    pallet_session::SessionManager,
    sp_staking::SessionIndex,
};

impl<T: Config> Pallet<T> {
    /// Returns the candidates of the highest election weight that have session keys, sorted by
    /// account.
    fn elect() -> Vec<T::AccountId> {
        let mut ranked: Vec<_> = Candidates::<T>::get()
            .into_iter()
            .filter(T::SessionKeys::is_registered)
            .filter_map(|who| {
                Ledgers::<T>::get(&who).map(|ledger| (Reverse(ledger.election_weight()), who))
            })
            .collect();
        ranked.sort_unstable();
        let mut elected: Vec<_> = ranked
            .into_iter()
            .take(T::MaxAuthorities::get() as usize)
            .map(|(_, who)| who)
            .collect();
        elected.sort_unstable();
        elected
    }
}

impl<T: Config> SessionManager<T::AccountId> for Pallet<T> {
    /// Returns the authorities of a session, also if they do not change: the record of each session
    /// must hold the keys in force, so that equivocations can be proved. Returns none if there is
    /// no candidate, and the current authorities stay, since a chain without authorities stops for
    /// good.
    fn new_session(_: SessionIndex) -> Option<Vec<T::AccountId>> {
        Some(Self::elect()).filter(|elected| !elected.is_empty())
    }

    fn start_session(_: SessionIndex) {}

    fn end_session(_: SessionIndex) {}
}
