// SPDX-License-Identifier: Apache-2.0

//! Checks of the pallet's invariants.

use crate::{
    Authored, Candidates, Config, Endpoints, HoldReason, Ledgers, Newcomers, Pallet, Probations,
    Sessions, TotalStake, Validators,
};
use alloc::{collections::BTreeSet, vec::Vec};
use pol_primitives::{
    Balance, MILLION,
    audit::MAX_STRIKES,
    election::{MAX_PROBATION, PROBATION},
    traits::Rounds,
};
use polkadot_sdk::{
    frame_support::{
        ensure,
        traits::{Get, fungible::InspectHold},
    },
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
            ensure!(ledger.locked <= ledger.bond, "more is locked than the bond");
            ensure!(ledger.reputation <= MILLION, "a reputation exceeds one");
            ensure!(ledger.strikes <= MAX_STRIKES, "a member has more strikes than there can be");
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
        let candidates = Candidates::<T>::get();
        ensure!(
            candidates.iter().map(|(who, _)| who).is_sorted_by(|a, b| a < b),
            "the candidates are not sorted by account"
        );
        ensure!(
            candidates.iter().all(|(who, candidacy)| {
                (PROBATION..=MAX_PROBATION).contains(&candidacy.probation)
                    && !(candidacy.absent && candidacy.proven)
                    && Ledgers::<T>::get(who).is_some_and(|ledger| ledger.may_stand())
            }),
            "a candidate is no bonded authority, or its record is impossible"
        );
        ensure!(
            candidates.iter().all(|(who, candidacy)| {
                Probations::<T>::get(who).unwrap_or(PROBATION) == candidacy.probation
            }),
            "a candidate's probation is not the one that its absences led to"
        );
        ensure!(
            Probations::<T>::iter_keys().all(Ledgers::<T>::contains_key),
            "a probation belongs to an account without a ledger"
        );
        let authorities = T::Sessions::authorities();
        ensure!(
            Authored::<T>::iter_keys().all(|who| authorities.contains(&who)),
            "somebody else than an authority produced a block"
        );
        ensure!(
            (1..=T::MaxAuthorities::get()).contains(&Self::target()),
            "elections aim at an impossible number of authorities"
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
