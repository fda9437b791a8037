// SPDX-License-Identifier: Apache-2.0

//! Acts of trainers and seats in the stages of an audit.

use crate::{calls::CheckedAudit, pallet::*};
use alloc::vec::Vec;
use codec::Encode;
use pol_primitives::{
    Hash, RoundNumber,
    audit::{
        Audit, AuditId, AuditResponse, Binding, Case, Evidence, Finding, LeafProof,
        MEASURED_SHARDS, SketchedEnd, Stage, StateProof, TraceState, evidence_commitment,
    },
    recipe::Numerics,
    trace::{MerkleProof, merkle_verify},
};
use polkadot_sdk::frame_support::pallet_prelude::*;

impl<T: Config> Pallet<T> {
    /// Checks the states that `who` shows. Returns the audit.
    pub(crate) fn check_states(
        id: AuditId,
        who: &T::AccountId,
        states: &[StateProof],
    ) -> Result<CheckedAudit<T::AccountId>, DispatchError> {
        let (audit, config) = Self::audit_in(id, Stage::Serve)?;
        let case = audit.case(who).ok_or(Error::<T>::NotUnderAudit)?;
        ensure!(!case.served, Error::<T>::AlreadyServed);
        ensure!(
            states.iter().map(|served| served.state.leaf).eq(case.served_leaves()),
            Error::<T>::WrongStates
        );
        let (root, leaves) = Self::trace_of(audit.round, case)?;
        let is_proved = |StateProof { state, proof }: &StateProof| {
            merkle_verify(&root, leaves, state.leaf.into(), &state.digest(), proof)
        };
        ensure!(states.iter().all(is_proved), Error::<T>::WrongProof);
        Ok((audit, config))
    }

    /// Body of [`Pallet::serve_states`].
    pub(crate) fn do_serve_states(
        id: AuditId,
        who: T::AccountId,
        states: &[StateProof],
    ) -> DispatchResult {
        let (mut audit, config) = Self::check_states(id, &who, states)?;
        Self::case_mut(&mut audit, &who)?.served = true;
        let states = BoundedVec::truncate_from(states.iter().map(|served| served.state).collect());
        AuditResponses::<T>::insert(id, &who, AuditResponse { states, ..AuditResponse::default() });
        Self::deposit_event(Event::StatesServed { audit: id, account: who });
        Self::store_audit(id, audit, &config);
        Ok(())
    }

    /// Checks that `who` has seats to commit for. Returns the audit, and its place in it.
    pub(crate) fn check_seats(
        id: AuditId,
        who: &T::AccountId,
    ) -> Result<(CheckedAudit<T::AccountId>, u16), DispatchError> {
        let (audit, config) = Self::audit_in(id, Stage::Replay)?;
        let place = audit
            .holder(who)
            .filter(|_| audit.seats_of(who).next().is_some())
            .ok_or(Error::<T>::NoSeat)?;
        let holder = audit.holders.get(usize::from(place)).ok_or(DispatchError::Corruption)?;
        ensure!(!holder.committed, Error::<T>::SeatCommitted);
        Ok(((audit, config), place))
    }

    /// Body of [`Pallet::commit_audit`].
    pub(crate) fn do_commit_audit(
        id: AuditId,
        who: T::AccountId,
        commitment: Hash,
    ) -> DispatchResult {
        let ((mut audit, config), place) = Self::check_seats(id, &who)?;
        let holder = audit.holders.get_mut(usize::from(place)).ok_or(DispatchError::Corruption)?;
        holder.committed = true;
        AuditCommitments::<T>::insert(id, &who, commitment);
        Self::deposit_event(Event::AuditCommitted { audit: id, account: who });
        Self::store_audit(id, audit, &config);
        Ok(())
    }

    /// Body of [`Pallet::open_segments`].
    pub(crate) fn do_open_segments(
        id: AuditId,
        who: T::AccountId,
        ends: &[LeafProof],
    ) -> DispatchResult {
        Self::open_ends(id, who, ends, &[])
    }

    /// Body of [`Pallet::open_sketches`].
    pub(crate) fn do_open_sketches(
        id: AuditId,
        who: T::AccountId,
        ends: Vec<(SketchedEnd, MerkleProof)>,
    ) -> DispatchResult {
        let (sketched, ends) = Self::split_ends(&ends);
        Self::open_ends(id, who, &ends, &sketched)
    }

    /// Splits sketched ends into the ends alone, and the proofs of their states.
    pub(crate) fn split_ends(
        ends: &[(SketchedEnd, MerkleProof)],
    ) -> (Vec<SketchedEnd>, Vec<LeafProof>) {
        let split = |(end, proof): &(SketchedEnd, MerkleProof)| {
            (*end, LeafProof { digest: end.state.digest(), proof: proof.clone() })
        };
        ends.iter().map(split).unzip()
    }

    /// Checks the ends that `who` opens. Returns the audit, and what the trainer has shown before.
    pub(crate) fn check_ends(
        id: AuditId,
        who: &T::AccountId,
        ends: &[LeafProof],
        sketched: &[SketchedEnd],
    ) -> Result<(CheckedAudit<T::AccountId>, AuditResponse), DispatchError> {
        let (audit, config) = Self::audit_in(id, Stage::Open)?;
        let case = audit.case(who).ok_or(Error::<T>::NotUnderAudit)?;
        ensure!(case.served, Error::<T>::NotServed);
        ensure!(!case.opened, Error::<T>::AlreadyOpened);
        let at = case.opened_leaves();
        ensure!(ends.len() == at.len(), Error::<T>::WrongEnds);
        let (root, leaves) = Self::trace_of(audit.round, case)?;
        let is_proved = |(end, at): (&LeafProof, &u16)| {
            merkle_verify(&root, leaves, (*at).into(), &end.digest, &end.proof)
        };
        ensure!(ends.iter().zip(&at).all(is_proved), Error::<T>::WrongProof);
        let shown = AuditResponses::<T>::get(id, who).ok_or(DispatchError::Corruption)?;
        Self::ensure_profile(audit.round, case, &shown.states, sketched)?;
        Ok(((audit, config), shown))
    }

    /// Stores the ends that `who` opens, with their states and sketches if the recipe is native.
    fn open_ends(
        id: AuditId,
        who: T::AccountId,
        ends: &[LeafProof],
        sketched: &[SketchedEnd],
    ) -> DispatchResult {
        let ((mut audit, config), mut shown) = Self::check_ends(id, &who, ends, sketched)?;
        Self::case_mut(&mut audit, &who)?.opened = true;
        shown.ends = BoundedVec::truncate_from(ends.iter().map(|end| end.digest).collect());
        shown.sketched = BoundedVec::truncate_from(sketched.to_vec());
        AuditResponses::<T>::insert(id, &who, shown);
        Self::deposit_event(Event::SegmentsOpened { audit: id, account: who });
        Self::store_audit(id, audit, &config);
        Ok(())
    }

    /// Checks that ends are sketched if and only if the recipe is native, and that each sketched
    /// end can follow from the state shown as the start of its segment.
    fn ensure_profile(
        round: RoundNumber,
        case: &Case<T::AccountId>,
        states: &[TraceState],
        sketched: &[SketchedEnd],
    ) -> DispatchResult {
        let lease = Self::audited_lease(round, &case.trainer).ok_or(DispatchError::Corruption)?;
        let recipe = Recipes::<T>::get(lease.recipe).ok_or(DispatchError::Corruption)?;
        if recipe.numerics == Numerics::Exact {
            ensure!(sketched.is_empty(), Error::<T>::OtherProfile);
            return Ok(());
        }
        ensure!(sketched.len() == case.segments.len(), Error::<T>::OtherProfile);
        let steps = recipe.steps_per_segment(lease.tier);
        // No two drawn segments touch, so the start of each was shown.
        let follows = sketched.iter().zip(&case.segments).all(|(end, &segment)| {
            states
                .iter()
                .find(|state| state.leaf == segment)
                .is_some_and(|start| end.follows(start, segment, steps))
        });
        ensure!(follows, Error::<T>::DoesNotFollow);
        Ok(())
    }

    /// Body of [`Pallet::reveal_audit`].
    pub(crate) fn do_reveal_audit(
        id: AuditId,
        who: T::AccountId,
        evidence: Evidence,
        salt: Hash,
    ) -> DispatchResult {
        Self::reveal_evidence(id, who, evidence, &[], salt)
    }

    /// Body of [`Pallet::reveal_sketches`].
    pub(crate) fn do_reveal_sketches(
        id: AuditId,
        who: T::AccountId,
        evidence: Evidence,
        bindings: &[Binding],
        salt: Hash,
    ) -> DispatchResult {
        Self::reveal_evidence(id, who, evidence, bindings, salt)
    }

    /// Checks the findings that `who` reveals. Returns the audit, and its place in it.
    pub(crate) fn check_evidence(
        id: AuditId,
        who: &T::AccountId,
        evidence: &Evidence,
        bindings: &[Binding],
        salt: &Hash,
    ) -> Result<(CheckedAudit<T::AccountId>, u16), DispatchError> {
        let (audit, config) = Self::audit_in(id, Stage::Reveal)?;
        let place = audit.holder(who).ok_or(Error::<T>::NoSeat)?;
        let is_exact = Self::is_exact(&audit)?;
        let holder = audit.holders.get(usize::from(place)).ok_or(DispatchError::Corruption)?;
        ensure!(holder.committed, Error::<T>::SeatNotCommitted);
        ensure!(!holder.revealed, Error::<T>::SeatRevealed);
        let commitment =
            evidence_commitment(&who.encode(), &Self::genesis_hash(), id, evidence, salt);
        ensure!(AuditCommitments::<T>::get(id, who) == Some(commitment), Error::<T>::WrongEvidence);
        ensure!(Self::fits_seats(&audit, who, evidence, is_exact), Error::<T>::BadEvidence);
        let expected_bindings = if is_exact { 0 } else { evidence.len() };
        ensure!(bindings.len() == expected_bindings, Error::<T>::OtherProfile);
        Ok(((audit, config), place))
    }

    /// Stores `who`'s findings, with one of the `bindings` for each if the recipe is native.
    fn reveal_evidence(
        id: AuditId,
        who: T::AccountId,
        evidence: Evidence,
        bindings: &[Binding],
        salt: Hash,
    ) -> DispatchResult {
        let ((mut audit, config), place) =
            Self::check_evidence(id, &who, &evidence, bindings, &salt)?;
        let holder = audit.holders.get_mut(usize::from(place)).ok_or(DispatchError::Corruption)?;
        holder.revealed = true;
        AuditCommitments::<T>::remove(id, &who);
        let bindings = bindings.iter().copied().map(Some).chain(core::iter::repeat(None));
        for ((case, finding), binding) in evidence.into_iter().zip(bindings) {
            Findings::<T>::insert(id, (case, place), (finding, binding));
        }
        Self::deposit_event(Event::AuditRevealed { audit: id, account: who });
        Self::store_audit(id, audit, &config);
        Ok(())
    }

    /// Returns `true` if the audit compares bits. All its cases are of one round and so of one
    /// recipe.
    fn is_exact(audit: &Audit<T::AccountId>) -> Result<bool, DispatchError> {
        let case = audit.cases.first().ok_or(DispatchError::Corruption)?;
        Ok(Self::audited_recipe(audit.round, &case.trainer)?.numerics == Numerics::Exact)
    }

    /// Returns `true` if `evidence` is of cases that `who` has to replay, at least one, in their
    /// order, in the recipe's profile and with as many ends and figures as each case asks for.
    /// `who` is silent about the cases that it leaves out.
    fn fits_seats(
        audit: &Audit<T::AccountId>,
        who: &T::AccountId,
        evidence: &Evidence,
        is_exact: bool,
    ) -> bool {
        let mut seats = audit.seats_of(who);
        let fits = |(of, finding): &(u8, Finding)| {
            let Some((_, case)) = seats.find(|(at, _)| at == of) else { return false };
            let (ends, measure) = match finding {
                Finding::Replayed { ends, measure, .. } if is_exact => (ends.len(), measure),
                Finding::Sketched { ends, measure } if !is_exact => (ends.len(), measure),
                Finding::Impossible | Finding::Unavailable => return true,
                Finding::Replayed { .. } | Finding::Sketched { .. } => return false,
            };
            let shards =
                Self::audited_lease(audit.round, &case.trainer).map(|lease| lease.shards.len());
            let measured = measure.shards.iter().filter(|&&delta| delta != 0).count();
            ends == case.segments.len()
                && shards == Some(measure.shards.len())
                && measured <= MEASURED_SHARDS
        };
        !evidence.is_empty() && evidence.iter().all(fits)
    }

    /// Returns the case of `trainer` to change.
    fn case_mut<'a>(
        audit: &'a mut Audit<T::AccountId>,
        trainer: &T::AccountId,
    ) -> Result<&'a mut Case<T::AccountId>, Error<T>> {
        audit
            .cases
            .iter_mut()
            .find(|case| case.trainer == *trainer)
            .ok_or(Error::<T>::NotUnderAudit)
    }

    /// Returns the root of the case's trace, and the number of its leaves.
    fn trace_of(
        round: RoundNumber,
        case: &Case<T::AccountId>,
    ) -> Result<(Hash, u32), DispatchError> {
        let root = Self::reveal_record(round, &case.trainer)?.trace_root;
        Ok((root, u32::from(case.trace_segments).saturating_add(1)))
    }
}
