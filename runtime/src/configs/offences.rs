// SPDX-License-Identifier: Apache-2.0

//! Reports of equivocations: what proves them, which are taken, and what they cost.
//!
//! The pallets of consensus check evidence. This module closes what they leave open:
//!
//! - [`KeyOwners`] compares a key with those of its session. The library compares a key of the
//!   current session with those that accounts have set last, so that an authority could change its
//!   keys and then equivocate with the old ones.
//! - [`NewOffenders`] takes one report about an authority until its exclusion ends. A report that
//!   costs the offender nothing would otherwise fill blocks without a fee.
//! - [`Verified`] checks a report as a whole before it enters a block. The library looks at the
//!   signatures only when the call is executed, and such a call has no sender who pays for it.

use super::*;
use core::marker::PhantomData;
use frame_support::{
    storage::{TransactionOutcome, with_transaction},
    traits::KeyOwnerProofSystem,
};
use sp_runtime::{
    DispatchError, KeyTypeId,
    transaction_validity::{InvalidTransaction, TransactionValidityError},
};
use sp_session::MembershipProof;
use sp_staking::offence::{
    Offence, OffenceDetails, OffenceError, OffenceReportSystem, OffenceSeverity, OnOffenceHandler,
    ReportOffence,
};

pub(super) type Offender = historical::IdentificationTuple<Runtime>;

/// Owners of session keys, by the keys in force in a session.
pub struct KeyOwners;

impl<K: AsRef<[u8]> + Clone> KeyOwnerProofSystem<(KeyTypeId, K)> for KeyOwners {
    type Proof = MembershipProof;
    type IdentificationTuple = Offender;

    fn prove(key: (KeyTypeId, K)) -> Option<MembershipProof> {
        let proof = undone(|| {
            let keys = Babe::authorities().into_iter().zip(Grandpa::grandpa_authorities());
            for (who, ((babe, _), (grandpa, _))) in Session::validators().into_iter().zip(keys) {
                pallet_session::NextKeys::<Runtime>::insert(who, SessionKeys { babe, grandpa });
            }
            Historical::prove(key.clone())
        })?;
        // The library also proves that nobody owns a key.
        Self::check_proof(key, proof.clone())?;
        Some(proof)
    }

    fn check_proof(key: (KeyTypeId, K), proof: MembershipProof) -> Option<Offender> {
        undone(|| {
            // Only the keys of other sessions are compared with the root that was stored when the
            // session was planned, which holds the keys in force.
            let other = SessionIndex::MAX;
            pallet_session::CurrentIndex::<Runtime>::put(other);
            if proof.session == other { None } else { Historical::check_proof(key, proof) }
        })
    }
}

/// Returns what `act` returns, and undoes what it does to the state.
fn undone<R>(act: impl FnOnce() -> Option<R>) -> Option<R> {
    with_transaction(|| TransactionOutcome::Rollback(Ok::<_, DispatchError>(act()))).ok()?
}

/// Offences of authorities that are not punished yet.
pub struct NewOffenders;

impl NewOffenders {
    fn are_settled(offenders: &[Offender]) -> bool {
        offenders.iter().all(|(who, ())| !PolStaking::is_punishable(who))
    }
}

impl<O: Offence<Offender>> ReportOffence<AccountId, Offender, O> for NewOffenders {
    fn report_offence(reporters: Vec<AccountId>, offence: O) -> Result<(), OffenceError> {
        if Self::are_settled(&offence.offenders()) {
            return Err(OffenceError::DuplicateReport);
        }
        Offences::report_offence(reporters, offence)
    }

    fn is_known_offence(offenders: &[Offender], slot: &O::Slot) -> bool {
        Self::are_settled(offenders)
            || <Offences as ReportOffence<AccountId, Offender, O>>::is_known_offence(
                offenders, slot,
            )
    }
}

/// System of reports `S` that takes a report into a block only if its call succeeds.
pub struct Verified<S>(PhantomData<S>);

impl<S, E> OffenceReportSystem<Option<AccountId>, E> for Verified<S>
where
    S: OffenceReportSystem<Option<AccountId>, E>,
    E: Clone,
{
    type Longevity = S::Longevity;

    fn publish_evidence(evidence: E) -> Result<(), ()> {
        S::publish_evidence(evidence)
    }

    fn check_evidence(evidence: E) -> Result<(), TransactionValidityError> {
        S::check_evidence(evidence.clone())?;
        undone(|| S::process_evidence(None, evidence).ok())
            .ok_or_else(|| InvalidTransaction::BadProof.into())
    }

    fn process_evidence(reporter: Option<AccountId>, evidence: E) -> Result<(), DispatchError> {
        S::process_evidence(reporter, evidence)
    }
}

/// Smallest share of its bond that an equivocation costs an authority.
const MIN_EQUIVOCATION_SHARE: Perbill = Perbill::from_percent(10);

/// Handler of equivocations: slashes a share of the authority's bond, excludes the authority from
/// elections for as long as equivocations can be reported, and disables it until it is replaced.
pub struct SlashEquivocation;

impl OnOffenceHandler<AccountId, Offender, Weight> for SlashEquivocation {
    fn on_offence(
        offenders: &[OffenceDetails<AccountId, Offender>],
        shares: &[Perbill],
        _: SessionIndex,
    ) -> Weight {
        for (offence, share) in offenders.iter().zip(shares) {
            let (account, ()) = &offence.offender;
            let share = MIN_EQUIVOCATION_SHARE.max(*share);
            // An unbonding authority still signs for the sessions it was elected for.
            PolStaking::punish_equivocation(account, share);
            Session::report_offence(account.clone(), OffenceSeverity(share));
        }
        // The library drops this. `ReportWeight` charges for it.
        Weight::zero()
    }
}

/// Weights of reports: those of the pallets twice, since a report is tried before it is executed,
/// and the fines of all offenders that serve at the time.
pub struct ReportWeight;

impl ReportWeight {
    fn of_report(library: Weight, authorities: u32) -> Weight {
        let fines = <Runtime as frame_system::Config>::DbWeight::get().reads_writes(8, 6);
        library.saturating_add(fines.saturating_mul(authorities.into())).saturating_mul(2)
    }
}

impl pallet_babe::WeightInfo for ReportWeight {
    fn plan_config_change() -> Weight {
        <() as pallet_babe::WeightInfo>::plan_config_change()
    }

    fn report_equivocation(authorities: u32, nominators: u32) -> Weight {
        let library = <() as pallet_babe::WeightInfo>::report_equivocation(authorities, nominators);
        Self::of_report(library, authorities)
    }
}

impl pallet_grandpa::WeightInfo for ReportWeight {
    fn report_equivocation(authorities: u32, nominators: u32) -> Weight {
        let library =
            <() as pallet_grandpa::WeightInfo>::report_equivocation(authorities, nominators);
        Self::of_report(library, authorities)
    }

    fn note_stalled() -> Weight {
        <() as pallet_grandpa::WeightInfo>::note_stalled()
    }
}
