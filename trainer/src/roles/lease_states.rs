// SPDX-License-Identifier: Apache-2.0

//! States of a trained lease, as audits ask for them.

use super::tasks::{Stop, compute};
use crate::{
    context::NodeContext,
    data::lease_tag,
    error::{Result, RoleError, explain},
    state::{LeaseKey, StateFolder},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::{AccountId, Call};
use pol_engine::{LeaseData, LeaseJob, Trace, TrainingState, sketch_segment};
use pol_primitives::{
    Hash,
    audit::{AuditId, Case, LeafProof, SketchedEnd, StateProof},
    lease::Lease,
    recipe::Recipe,
};
use std::sync::Arc;
use tokio::sync::OwnedMutexGuard;

/// Returns the trace with these leaves.
pub(super) fn parse_trace(leaves: Vec<Hash>) -> Result<Trace> {
    Trace::from_leaves(leaves).ok_or_else(|| RoleError::fatal(anyhow!("a lease without a start")))
}

/// Returns the call that opens the ends of the drawn segments under the exact profile.
pub(super) fn open_segments(
    id: AuditId,
    case: &Case<AccountId>,
    leaves: Vec<Hash>,
) -> Result<Call> {
    let trace = parse_trace(leaves)?;
    let end = |leaf: u16| {
        let digest = trace.leaves().get(usize::from(leaf)).copied();
        digest.zip(trace.proof(leaf.into())).map(|(digest, proof)| LeafProof { digest, proof })
    };
    let ends: Option<Vec<LeafProof>> = case.opened_leaves().into_iter().map(end).collect();
    let ends = ends.and_then(|ends| ends.try_into().ok());
    let ends = ends.ok_or_else(|| {
        RoleError::transient(anyhow!("audit {id} asks for a segment that was not trained"))
    })?;
    Ok(Call::OpenSegments { audit: id, ends })
}

/// The states of a lease: those on disk, and all others by training again.
pub(super) struct LeaseStates<S> {
    /// The trainer.
    pub(super) account: AccountId,
    /// Threads that train.
    pub(super) workers: usize,
    /// Folder of the states.
    pub(super) state: Arc<StateFolder>,
    /// Strategy that the lease was trained by.
    pub(super) strategy: S,
    /// Recipe of the lease.
    pub(super) recipe: Recipe,
    /// The lease.
    pub(super) lease: Lease,
    /// Data that the lease was trained on.
    pub(super) data: LeaseData,
    /// Trace that was committed to.
    pub(super) trace: Trace,
    /// Turn to train. A thread that goes on after its task was aborted holds it too.
    pub(super) _training: OwnedMutexGuard<()>,
}

impl<S: Strategy> LeaseStates<S> {
    /// Returns the call that serves the states `case` asks for, once peers can fetch them.
    pub(super) async fn serve(
        self: &Arc<Self>,
        context: &NodeContext,
        id: AuditId,
        case: &Case<AccountId>,
    ) -> Result<Call> {
        let leaves = case.served_leaves();
        let mut states = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            states.push(self.publish(context, leaf).await?.1);
        }
        let states = states.try_into().map_err(|_| {
            RoleError::fatal(anyhow!("audit {id} asks for more states than it may"))
        })?;
        Ok(Call::ServeStates { audit: id, states })
    }

    /// Returns the call that opens the ends of the drawn segments under the native profile, once
    /// peers can fetch their states.
    pub(super) async fn open_sketches(
        self: &Arc<Self>,
        context: &NodeContext,
        id: AuditId,
        case: &Case<AccountId>,
        seed: Hash,
    ) -> Result<Call> {
        let mut ends = Vec::new();
        for (leaf, segment) in case.opened_leaves().into_iter().zip(case.segments.iter().copied()) {
            let (end, StateProof { state, proof }) = self.publish(context, leaf).await?;
            let this = self.clone();
            let sketch = compute(move |stop| {
                let start = this.at(segment, stop)?;
                let (spec, account) = (&this.recipe.model, &this.account);
                Ok(sketch_segment(spec, &seed, account, segment, &start, &end)?)
            });
            ends.push((SketchedEnd { state, sketch: sketch.await? }, proof));
        }
        let ends = ends
            .try_into()
            .map_err(|_| RoleError::fatal(anyhow!("audit {id} asks for more ends than it may")))?;
        Ok(Call::OpenSketches { audit: id, ends })
    }

    /// Makes the state at `leaf` available to peers, and returns it with its proof.
    async fn publish(
        self: &Arc<Self>,
        context: &NodeContext,
        leaf: u16,
    ) -> Result<(TrainingState, StateProof)> {
        let this = self.clone();
        let (full, state, blobs) = compute(move |stop| {
            let full = this.at(leaf, stop)?;
            let state = full.trace_state(leaf);
            let blobs = full.blobs().into_iter().map(|blob| blob.to_vec().into()).collect();
            Ok((full, state, blobs))
        })
        .await?;
        let committed = self.trace.leaves().get(usize::from(leaf)) == Some(&state.digest());
        let proof = self.trace.proof(leaf.into()).filter(|_| committed).ok_or_else(|| {
            RoleError::transient(anyhow!(
                "the state after {leaf} segments is not the one that was committed to, and cannot \
                 be served"
            ))
        })?;
        context.swarm.add_all(blobs, &lease_tag(&LeaseKey::of(&self.lease))).await?;
        Ok((full, StateProof { state, proof }))
    }

    /// Returns the state after `leaf` segments: loaded, or trained again from the newest kept state
    /// before it.
    fn at(&self, leaf: u16, stop: &Stop) -> Result<TrainingState> {
        let (key, parameters) = (LeaseKey::of(&self.lease), self.recipe.model.size() as usize);
        let kept = self.state.kept_leaves(&key)?;
        for from in kept.into_iter().rev().filter(|kept| *kept <= leaf) {
            let mut state = match self.state.load_state(&key, from, parameters) {
                Ok(state) => state,
                // Removed a moment ago, or damaged: the state before it leads here too.
                Err(error) => {
                    tracing::warn!("round {}: {}", self.lease.due_round, explain(&error.into()));
                    continue;
                }
            };
            let Self { recipe, lease, account, data, workers, .. } = self;
            let job = LeaseJob { recipe, lease, account, data, workers: *workers };
            for segment in from..leaf {
                stop.check()?;
                self.strategy.train_segment(&job, &mut state, segment)?;
            }
            return Ok(state);
        }
        Err(RoleError::transient(anyhow!(
            "no state of round {} is left that segment {leaf} could be trained from",
            self.lease.due_round
        )))
    }
}
