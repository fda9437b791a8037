// SPDX-License-Identifier: Apache-2.0

//! Checks of the pallet's invariants.

use crate::{
    Candidates, Config, Endpoints, HoldReason, Ledgers, Newcomers, Pallet, TotalStake, Validators,
};
use alloc::{collections::BTreeSet, vec::Vec};
use pol_primitives::{Balance, MILLION, traits::Rounds};
use polkadot_sdk::{
    frame_support::{ensure, traits::fungible::InspectHold},
    sp_runtime::TryRuntimeError,
};

impl<T: Config> Pallet<T> {
    /// Checks the invariants listed in the README, in its order.
    ///
    /// # Errors
    ///
    /// Fails with the first invariant that does not hold.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        Self::check_ledgers()?;
        Self::check_validators()?;
        Self::check_candidates()?;
        Self::check_endpoints()
    }

    fn check_ledgers() -> Result<(), TryRuntimeError> {
        for (who, ledger) in Ledgers::<T>::iter() {
            let held = T::Currency::balance_on_hold(&HoldReason::Bond.into(), &who);
            ensure!(ledger.bond == held, "a bond differs from the amount on hold for it");
            ensure!(ledger.reputation <= MILLION, "a reputation exceeds one");
            ensure!(
                ledger.attested <= T::Rounds::attest_phases().saturating_add(1),
                "a member attested in a phase that has not begun"
            );
        }
        Ok(())
    }

    fn check_validators() -> Result<(), TryRuntimeError> {
        let mut validators: Vec<_> = Ledgers::<T>::iter()
            .filter_map(|(who, ledger)| Self::stake(&who, &ledger).map(|stake| (who, stake)))
            .collect();
        validators.sort_unstable();
        ensure!(
            validators == Validators::<T>::get().into_inner(),
            "the validators are not the sorted active ones with their bonds"
        );
        let newcomers: Vec<_> = Ledgers::<T>::iter()
            .filter(|(who, ledger)| !ledger.acted && Self::stake(who, ledger).is_some())
            .map(|(who, _)| who)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        ensure!(
            newcomers == Newcomers::<T>::get().into_inner(),
            "the newcomers are not the sorted active validators that have not acted"
        );
        let total =
            validators.iter().fold(0, |sum: Balance, (_, stake)| sum.saturating_add(*stake));
        ensure!(
            total == TotalStake::<T>::get(),
            "the total stake differs from the sum of the validators' stakes"
        );
        Ok(())
    }

    fn check_candidates() -> Result<(), TryRuntimeError> {
        let mut candidates: Vec<_> = Ledgers::<T>::iter()
            .filter(|(_, ledger)| ledger.is_candidate())
            .map(|(who, _)| who)
            .collect();
        candidates.sort_unstable();
        ensure!(
            candidates == Candidates::<T>::get().into_inner(),
            "the candidates are not the sorted bonded authorities"
        );
        Ok(())
    }

    fn check_endpoints() -> Result<(), TryRuntimeError> {
        ensure!(
            Endpoints::<T>::iter_keys().all(Ledgers::<T>::contains_key),
            "an endpoint belongs to an account without a ledger"
        );
        Ok(())
    }
}
