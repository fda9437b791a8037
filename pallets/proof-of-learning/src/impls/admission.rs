// SPDX-License-Identifier: Apache-2.0

//! Admission of calls before a block includes them.

use crate::{pallet::*, weights::WeightInfo};
use polkadot_sdk::{
    frame_support::{
        dispatch::{DispatchErrorWithPostInfo, WithPostDispatchInfo},
        pallet_prelude::*,
        traits::EnsureOrigin,
    },
    frame_system::RawOrigin,
};

impl<T: Config> Pallet<T> {
    /// Checks that `call` of `who` can succeed as things stand, by the checks that the call itself
    /// begins with.
    ///
    /// Anybody may settle and conclude, and somebody else may have done so a moment ago. Such a
    /// call passes, and fails in the block: if the pool dropped it, the caller's own duties would
    /// wait for its nonce.
    ///
    /// # Errors
    ///
    /// The error that the call would fail with.
    pub fn admits(who: &T::AccountId, call: &Call<T>) -> DispatchResult {
        match call {
            Call::join_round { tier } => Self::check_joining(who, *tier)?,
            Call::commit { round, .. } => Self::check_committing(who, *round).map(drop)?,
            Call::reveal { round, reveal } => Self::check_opening(who, *round, reveal).map(drop)?,
            Call::report_held { round, held } => Self::check_report(who, *round, held).map(drop)?,
            Call::attest_head { round, inputs, root } => {
                Self::check_attestation(who, *round, inputs, root).map(drop)?
            }
            Call::serve_states { audit, states } => {
                Self::check_states(*audit, who, states).map(drop)?
            }
            Call::commit_audit { audit, .. } => Self::check_seats(*audit, who).map(drop)?,
            Call::open_segments { audit, ends } => {
                Self::check_ends(*audit, who, ends, &[]).map(drop)?
            }
            Call::open_sketches { audit, ends } => {
                let (sketched, ends) = Self::split_ends(ends);
                Self::check_ends(*audit, who, &ends, &sketched)?;
            }
            Call::reveal_audit { audit, evidence, salt } => {
                Self::check_evidence(*audit, who, evidence, &[], salt).map(drop)?
            }
            Call::reveal_sketches { audit, evidence, bindings, salt } => {
                Self::check_evidence(*audit, who, evidence, bindings, salt).map(drop)?
            }
            Call::settle { audit, trainer } => match Self::unsettled_case(*audit, trainer) {
                Ok(_) | Err(Error::AlreadySettled | Error::NoSuchAudit) => {}
                Err(error) => Err(error)?,
            },
            Call::measure_head { round, metrics } => {
                Self::check_measuring(who, *round, metrics).map(drop)?
            }
            Call::set_recipe { .. } | Call::set_lengths { .. } | Call::set_audits { .. } => {
                let origin = RawOrigin::Signed(who.clone()).into();
                T::GovernanceOrigin::ensure_origin(origin)?;
            }
            Call::conclude { .. } | Call::reset_carry {} | Call::__Ignore(..) => {}
        }
        Ok(())
    }

    /// Returns the failure of a call that did nothing but these checks, which pays for no more.
    pub(crate) fn refused(error: impl Into<DispatchError>) -> DispatchErrorWithPostInfo {
        error.with_weight(T::WeightInfo::admit())
    }
}
