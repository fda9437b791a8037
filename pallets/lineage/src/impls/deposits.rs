// SPDX-License-Identifier: Apache-2.0

//! Deposits of sources and manifests.

use crate::{Config, Error, HoldReason, LOG_TARGET, ManifestDeposits, Pallet};
use pol_primitives::{
    Balance,
    data::{Manifest, ManifestId, ManifestInfo},
};
use polkadot_sdk::{
    frame_support::traits::{
        Get,
        fungible::MutateHold,
        tokens::{Fortitude, Precision},
    },
    sp_runtime::{DispatchError, DispatchResult, TokenError},
};

impl<T: Config> Pallet<T> {
    /// Returns the deposit for a manifest, which grows with its shards.
    pub(crate) fn manifest_deposit(info: &ManifestInfo) -> Balance {
        let shards = T::ShardDeposit::get().saturating_mul(info.shards.into());
        T::ManifestDeposit::get().saturating_add(shards)
    }

    /// Puts a deposit on hold.
    pub(crate) fn hold_deposit(who: &T::AccountId, amount: Balance) -> DispatchResult {
        T::Currency::hold(&HoldReason::Deposit.into(), who, amount).map_err(|error| {
            if error == TokenError::FundsUnavailable.into() {
                Error::<T>::InsufficientFunds.into()
            } else {
                error
            }
        })
    }

    /// Releases a deposit.
    pub(crate) fn release_deposit(who: &T::AccountId, amount: Balance) -> DispatchResult {
        T::Currency::release(&HoldReason::Deposit.into(), who, amount, Precision::Exact).map(|_| ())
    }

    /// Burns the deposit of a manifest. Returns its amount.
    pub(crate) fn burn_manifest_deposit(
        manifest: ManifestId,
        record: &Manifest<T::AccountId>,
    ) -> Result<Balance, DispatchError> {
        let amount = ManifestDeposits::<T>::take(manifest);
        T::Currency::burn_held(
            &HoldReason::Deposit.into(),
            &record.owner,
            amount,
            Precision::Exact,
            Fortitude::Force,
        )
    }

    /// Releases the deposit of a manifest whose last shard was consumed.
    pub(crate) fn release_consumed(manifest: ManifestId, owner: &T::AccountId) {
        let amount = ManifestDeposits::<T>::take(manifest);
        if let Err(error) = Self::release_deposit(owner, amount) {
            log::error!(
                target: LOG_TARGET,
                "cannot release the deposit of manifest {manifest}: {error:?}"
            );
        }
    }
}
