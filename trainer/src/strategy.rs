// SPDX-License-Identifier: Apache-2.0

//! Choices of a member that the protocol can check but not force.
//!
//! Roles call a [`Strategy`] wherever a member could deviate from the protocol. Every default
//! method is honest, and [`HonestStrategy`] overrides none.

use crate::error::Result;
use pol_chain::AccountId;
use pol_engine::{EngineError, LeaseData, LeaseJob, SegmentReport, TrainingState};
use pol_primitives::{
    audit::{Case, Finding},
    recipe::Recipe,
    submission::{Reveal, TrainingClaims},
};

/// The choices of a trainer or validator.
pub trait Strategy: Clone + Send + Sync + 'static {
    /// Returns the text to train a lease on, given the leased text.
    fn data(&self, _recipe: &Recipe, leased: LeaseData) -> LeaseData {
        leased
    }

    /// Trains segment `segment` of the lease, counted from 0: brings `state` from the segment's
    /// start to its end.
    ///
    /// # Errors
    ///
    /// Fails if the engine cannot train the segment.
    fn train_segment(
        &self,
        job: &LeaseJob<'_>,
        state: &mut TrainingState,
        segment: u16,
    ) -> Result<SegmentReport, EngineError> {
        pol_engine::train_segment(job, state, segment)
    }

    /// Packs the finished lease into an encoded payload and leaves the unsent rest in `state`.
    ///
    /// # Errors
    ///
    /// Fails if the engine cannot pack the update.
    fn pack(
        &self,
        recipe: &Recipe,
        base: &[f32],
        state: &mut TrainingState,
    ) -> Result<Vec<u8>, EngineError> {
        Ok(pol_engine::pack(recipe, base, state)?.encode())
    }

    /// Returns the reveal that the trainer commits to, given the honest one.
    fn reveal(&self, reveal: Reveal) -> Reveal {
        reveal
    }

    /// Returns the figures that the trainer claims about its own work, given the honest ones.
    fn claims(&self, claims: TrainingClaims) -> TrainingClaims {
        claims
    }

    /// Returns `true` if the trainer serves the states that the audit of its update starts from.
    fn serves_states(&self, _case: &Case<AccountId>) -> bool {
        true
    }

    /// Returns `true` if the trainer opens the ends of its drawn segments.
    fn opens_segments(&self, _case: &Case<AccountId>) -> bool {
        true
    }

    /// Returns the finding that a validator reports from its seat on `case`.
    ///
    /// `honest` replays the case. It is called on a thread that may compute, and a strategy need
    /// not call it.
    ///
    /// # Errors
    ///
    /// Fails if the replay fails.
    fn audit_finding(
        &self,
        _case: &Case<AccountId>,
        honest: impl FnOnce() -> Result<Finding>,
    ) -> Result<Finding> {
        honest()
    }

    /// Returns `true` if a validator reveals the evidence that it committed to.
    fn reveals_audit(&self) -> bool {
        true
    }
}

/// The strategy that follows the protocol.
#[derive(Clone, Copy, Debug, Default)]
pub struct HonestStrategy;

impl Strategy for HonestStrategy {}
