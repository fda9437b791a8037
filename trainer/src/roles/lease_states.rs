// SPDX-License-Identifier: Apache-2.0

//! States of a trained lease, as audits ask for them.

use super::{
    lease_training::start_of,
    tasks::{Stop, compute},
};
use crate::{
    context::NodeContext,
    data::lease_tag,
    error::{Result, RoleError},
    model::fetch_model,
    state::{LeaseKey, NewestState, StateFolder},
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

/// Error of states that this machine cannot show any more. Time does not mend it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct LostStates(String);

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
            RoleError::transient(LostStates(format!(
                "the state after {leaf} segments, trained again, is not the one that was \
                 committed to"
            )))
        })?;
        context.swarm.add_all(blobs, &lease_tag(&LeaseKey::of(&self.lease))).await?;
        Ok((full, StateProof { state, proof }))
    }

    /// Saves the state that the lease starts from again, so that others can be trained from it.
    ///
    /// # Errors
    ///
    /// Fails with [`LostStates`] if it is not what was committed to, or cannot be had, and if no
    /// peer serves its parameters.
    pub(super) async fn restore_start(self: &Arc<Self>, context: &NodeContext) -> Result<()> {
        let (root, tag) = (&self.lease.base_root, lease_tag(&LeaseKey::of(&self.lease)));
        let base = fetch_model(context, root, &self.recipe, &[], &tag).await?.parameters;
        let this = self.clone();
        compute(move |_| this.save_start(&base)).await
    }

    /// See [`Self::restore_start`].
    pub(super) fn save_start(&self, base: &[f32]) -> Result<()> {
        let start = start_of(&self.state, &self.lease, base);
        let start = start.map_err(|reason| RoleError::transient(LostStates(reason)))?;
        if self.trace.leaves().first() != Some(&start.leaf()) {
            let reason = "the lease did not start from this state".to_owned();
            return Err(RoleError::transient(LostStates(reason)));
        }
        Ok(self.state.save_state(&LeaseKey::of(&self.lease), 0, &start)?)
    }

    /// Returns the state after `leaf` segments: loaded, or trained again from the newest kept state
    /// before it.
    ///
    /// # Errors
    ///
    /// Fails with [`LostStates`] if no state is left to train from.
    pub(super) fn at(&self, leaf: u16, stop: &Stop) -> Result<TrainingState> {
        let Self { recipe, lease, account, data, workers, .. } = self;
        let (key, parameters) = (LeaseKey::of(lease), recipe.model.size() as usize);
        let NewestState { found, damaged } =
            self.state.newest_state(&key, self.trace.leaves(), leaf, parameters)?;
        let damaged = damaged.join("; ");
        let Some((from, mut state)) = found else {
            return Err(RoleError::transient(LostStates(format!(
                "no state is left from which the one after {leaf} segments could be trained{}",
                if damaged.is_empty() { String::new() } else { format!(" ({damaged})") }
            ))));
        };
        if !damaged.is_empty() {
            tracing::warn!(
                "round {}: {damaged}. Such a state is of no use and was removed: the one after \
                 {leaf} segments is trained again from that after {from}. Check the disk",
                lease.due_round
            );
        }
        let job = LeaseJob { recipe, lease, account, data, workers: *workers };
        for segment in from..leaf {
            stop.check()?;
            self.strategy.train_segment(&job, &mut state, segment)?;
        }
        Ok(state)
    }
}
