// SPDX-License-Identifier: Apache-2.0

//! Commitments to updates, and their reveals.

use crate::pallet::*;
use codec::Encode;
use pol_primitives::{
    Hash, RoundNumber,
    lease::Lease,
    recipe::Recipe as Spec,
    round::{Phase, Round},
    submission::{Reveal, RevealRecord, Submission, SubmissionStatus, TrainingClaims},
    trace::{merkle_verify, state_leaf},
};
use polkadot_sdk::frame_support::pallet_prelude::*;

impl<T: Config> Pallet<T> {
    /// Returns the round under way, which must be `round`, and the account's lease that it may
    /// commit to an update of.
    pub(crate) fn check_committing(
        who: &T::AccountId,
        round: RoundNumber,
    ) -> Result<(Round, Lease), Error<T>> {
        let current = CurrentRound::<T>::get();
        ensure!(round == current.number, Error::<T>::WrongRound);
        ensure!(current.phase == Phase::Train, Error::<T>::NotTraining);
        let lease = Leases::<T>::get(who).ok_or(Error::<T>::NoLease)?;
        ensure!(lease.due_round == round, Error::<T>::NotDue);
        ensure!(lease.round >= RecipeSince::<T>::get(), Error::<T>::RecipeChanged);
        ensure!(!Submissions::<T>::contains_key(round, who), Error::<T>::AlreadyCommitted);
        Ok((current, lease))
    }

    /// Body of [`Pallet::commit`].
    pub(crate) fn do_commit(
        who: T::AccountId,
        round: RoundNumber,
        commitment: Hash,
        claims: TrainingClaims,
    ) -> DispatchResult {
        let (mut current, lease) = Self::check_committing(&who, round)?;
        let submission = Submission {
            commitment,
            tier: lease.tier,
            staleness: Self::staleness(&lease, &current),
            claims,
            data_hash: lease.data_hash(),
            status: SubmissionStatus::Committed,
            opened: None,
        };
        Submissions::<T>::insert(round, &who, submission);
        current.committed = current.committed.saturating_add(1);
        CurrentRound::<T>::put(current);
        Self::deposit_event(Event::Committed { account: who, round });
        Ok(())
    }

    /// Checks the opening of the account's commitment in `round`. Returns its submission, and the
    /// number of tokens credited to it.
    pub(crate) fn check_opening(
        who: &T::AccountId,
        round: RoundNumber,
        reveal: &Reveal,
    ) -> Result<(Submission, u64), DispatchError> {
        let current = CurrentRound::<T>::get();
        ensure!(round == current.number, Error::<T>::WrongRound);
        ensure!(current.phase == Phase::Reveal, Error::<T>::NotRevealing);
        let submission = Submissions::<T>::get(round, who).ok_or(Error::<T>::NotCommitted)?;
        ensure!(submission.status == SubmissionStatus::Committed, Error::<T>::AlreadyRevealed);
        let commitment = reveal.commitment(&who.encode(), &Self::genesis_hash(), round);
        ensure!(commitment == submission.commitment, Error::<T>::WrongOpening);

        // A commitment has a lease, and its round a recipe, until the round is over.
        let lease = Leases::<T>::get(who).ok_or(DispatchError::Corruption)?;
        let recipe = Recipe::<T>::get().ok_or(DispatchError::Corruption)?;
        Self::ensure_trace(reveal, &lease, &recipe)?;
        // Nobody can have made the payload before the lease was given. Later somebody else can, out
        // of the same public lease, and must not keep the trainer from revealing.
        let seen = SeenPayloads::<T>::get(reveal.payload_hash);
        ensure!(seen.is_none_or(|seen| seen >= lease.round), Error::<T>::PayloadSeen);
        Ok((submission, lease.tokens(&recipe, reveal.steps)))
    }

    /// Body of [`Pallet::reveal`].
    pub(crate) fn do_reveal(
        who: T::AccountId,
        round: RoundNumber,
        reveal: Reveal,
    ) -> DispatchResult {
        let (mut submission, tokens) = Self::check_opening(&who, round, &reveal)?;
        let mut current = CurrentRound::<T>::get();
        let mut revealed = Revealed::<T>::get();
        let index = u8::try_from(revealed.len()).map_err(|_| DispatchError::Corruption)?;
        revealed.try_push(who.clone()).map_err(|_| DispatchError::Corruption)?;
        Revealed::<T>::put(revealed);
        SeenPayloads::<T>::insert(reveal.payload_hash, round);
        let Reveal { payload_hash, trace_root, carry_hash, steps, .. } = reveal;
        submission.opened =
            Some(RevealRecord { index, payload_hash, trace_root, carry_hash, steps, tokens });
        submission.status = SubmissionStatus::Revealed;
        Submissions::<T>::insert(round, &who, submission);
        current.revealed = current.revealed.saturating_add(1);
        CurrentRound::<T>::put(current);
        Self::deposit_event(Event::Revealed { account: who, round, payload_hash, index });
        Ok(())
    }

    /// Checks that the reveal is of whole segments of the lease, and that its trace starts at the
    /// lease's base under the lease's carry.
    fn ensure_trace(reveal: &Reveal, lease: &Lease, recipe: &Spec) -> Result<(), Error<T>> {
        let steps_per_segment = recipe.steps_per_segment(lease.tier);
        let is_whole = reveal.steps.checked_rem(steps_per_segment) == Some(0);
        let is_leased = (1..=recipe.tier(lease.tier).inner_steps).contains(&reveal.steps);
        ensure!(is_whole && is_leased, Error::<T>::WrongSteps);
        let segments = u32::from(reveal.steps.checked_div(steps_per_segment).unwrap_or(0));
        let is_first = merkle_verify(
            &reveal.trace_root,
            segments.saturating_add(1),
            0,
            &state_leaf(&lease.base_root, &lease.carry),
            &reveal.first_leaf,
        );
        ensure!(is_first, Error::<T>::WrongFirstLeaf);
        Ok(())
    }
}
