// SPDX-License-Identifier: Apache-2.0

//! The session pallet, as used by elections.

use alloc::vec::Vec;
use polkadot_sdk::{
    frame_support::{dispatch::DispatchResult, traits::ValidatorRegistration},
    frame_system::{self, RawOrigin},
    pallet_session,
    sp_staking::offence::OffenceSeverity,
};

/// Sessions and their keys.
pub trait Sessions<AccountId> {
    /// Returns `true` if the account has session keys.
    fn has_keys(who: &AccountId) -> bool;
    /// Returns the authorities of the session.
    fn authorities() -> Vec<AccountId>;
    /// Returns the authorities of the next session.
    fn next_authorities() -> Vec<AccountId>;
    /// Disables an authority in this session, unless too many are disabled.
    fn disable(who: AccountId);
    /// Removes the session keys of an account.
    ///
    /// # Errors
    ///
    /// Fails if there are none.
    fn purge_keys(who: AccountId) -> DispatchResult;
}

impl<T> Sessions<<T as frame_system::Config>::AccountId> for pallet_session::Pallet<T>
where
    T: pallet_session::Config<ValidatorId = <T as frame_system::Config>::AccountId>,
{
    fn has_keys(who: &T::AccountId) -> bool {
        Self::is_registered(who)
    }

    fn authorities() -> Vec<T::AccountId> {
        Self::validators()
    }

    fn next_authorities() -> Vec<T::AccountId> {
        Self::queued_keys().into_iter().map(|(who, _)| who).collect()
    }

    fn disable(who: T::AccountId) {
        Self::report_offence(who, OffenceSeverity::default());
    }

    fn purge_keys(who: T::AccountId) -> DispatchResult {
        Self::purge_keys(RawOrigin::Signed(who).into())
    }
}
