//! How a member behaves where the protocol can only ask it to.
//!
//! Roles call a [`Strategy`] at every point at which a member could do something else than its duty.
//! Whatever is not overridden is honest, and [`HonestStrategy`] overrides nothing.

use crate::error::Result;
use pol_chain::AccountId;
use pol_engine::{EngineError, LeaseData, LeaseJob, SegmentReport, TrainingState};
use pol_primitives::{
    audit::{Case, Finding},
    recipe::Recipe,
    submission::{Claims, Reveal},
};

/// The choices of a member.
pub trait Strategy: Clone + Send + Sync + 'static {
    /// The text that a lease is trained on, given what was leased.
    fn data(&self, _recipe: &Recipe, leased: LeaseData) -> LeaseData {
        leased
    }

    /// Trains segment `segment` of the lease, from 0: brings `state` from its start to its end.
    fn train_segment(
        &self,
        job: &LeaseJob<'_>,
        state: &mut TrainingState,
        segment: u16,
    ) -> Result<SegmentReport, EngineError> {
        pol_engine::train_segment(job, state, segment)
    }

    /// Packs the finished lease: the encoded payload, with what was left unsent in `state`.
    fn pack(
        &self,
        recipe: &Recipe,
        base: &[f32],
        state: &mut TrainingState,
    ) -> Result<Vec<u8>, EngineError> {
        Ok(pol_engine::pack(recipe, base, state)?.encode())
    }

    /// What will be revealed, before the commitment to it is made.
    fn reveal(&self, reveal: Reveal) -> Reveal {
        reveal
    }

    /// What the trainer says of its own work.
    fn claims(&self, claims: Claims) -> Claims {
        claims
    }

    /// Whether the trainer shows the states that the audit of its update starts from.
    fn serves_states(&self, _case: &Case<AccountId>) -> bool {
        true
    }

    /// Whether the trainer opens the ends of its drawn segments.
    fn opens_segments(&self, _case: &Case<AccountId>) -> bool {
        true
    }

    /// What a validator says it found in its seat on `case`. `honest` does the work of finding out:
    /// it is called on a thread that may compute, and need not be called at all.
    fn audit_finding(
        &self,
        _case: &Case<AccountId>,
        honest: impl FnOnce() -> Result<Finding>,
    ) -> Result<Finding> {
        honest()
    }

    /// Whether a validator reveals what it committed to.
    fn reveals_audit(&self) -> bool {
        true
    }
}

/// Does what the protocol says.
#[derive(Clone, Copy, Debug, Default)]
pub struct HonestStrategy;

impl Strategy for HonestStrategy {}
