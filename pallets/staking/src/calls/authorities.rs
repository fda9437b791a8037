// SPDX-License-Identifier: Apache-2.0

//! Calls about the set of authorities.

use crate::{AuthorityTarget, Config, Error, Event, Ledgers, Pallet, Sessions};
use pol_primitives::member::Role;
use polkadot_sdk::frame_support::{dispatch::DispatchResult, ensure, traits::Get};

impl<T: Config> Pallet<T> {
    pub(crate) fn do_set_authority_target(target: u32) -> DispatchResult {
        ensure!((1..=T::MaxAuthorities::get()).contains(&target), Error::<T>::TargetOutOfRange);
        AuthorityTarget::<T>::put(target);
        Self::deposit_event(Event::AuthorityTargetSet { target });
        Ok(())
    }

    pub(crate) fn do_purge_session_keys(who: T::AccountId) -> DispatchResult {
        let is_authority =
            Ledgers::<T>::get(&who).is_some_and(|ledger| ledger.role == Role::Authority);
        ensure!(!is_authority && !Self::serves(&who), Error::<T>::KeysInUse);
        T::Sessions::purge_keys(who)
    }

    /// Returns `true` if the account is an authority of this session or the next.
    pub(super) fn serves(who: &T::AccountId) -> bool {
        T::Sessions::authorities().contains(who) || T::Sessions::next_authorities().contains(who)
    }
}
