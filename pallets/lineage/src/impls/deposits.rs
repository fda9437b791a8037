// SPDX-License-Identifier: Apache-2.0

//! Deposits of sources and manifests.

use crate::{Config, Error, HoldReason, Pallet};
use pol_primitives::Balance;
use polkadot_sdk::{
    frame_support::traits::{Get, fungible::MutateHold, tokens::Precision},
    sp_runtime::{DispatchError, DispatchResult, TokenError},
};

impl<T: Config> Pallet<T> {
    /// Puts the deposit on hold and returns its amount.
    pub(crate) fn hold_deposit(who: &T::AccountId) -> Result<Balance, DispatchError> {
        let deposit = T::ManifestDeposit::get();
        T::Currency::hold(&HoldReason::Deposit.into(), who, deposit).map_err(|error| {
            if error == TokenError::FundsUnavailable.into() {
                Error::<T>::InsufficientFunds.into()
            } else {
                error
            }
        })?;
        Ok(deposit)
    }

    /// Releases a deposit.
    pub(crate) fn release_deposit(who: &T::AccountId, deposit: Balance) -> DispatchResult {
        T::Currency::release(&HoldReason::Deposit.into(), who, deposit, Precision::Exact)
            .map(|_| ())
    }
}
