// SPDX-License-Identifier: Apache-2.0

//! Everything that the replay of one update reads, fetched from the chain and from peers.

use crate::{
    context::NodeContext,
    data::ShardReader,
    error::{Result, RoleError},
    model::fetch_model,
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::{LeaseData, LeaseJob, ScoreProbe};
use pol_primitives::{
    BoundedVec, Hash, RoundNumber,
    audit::{AuditId, AuditResponse, Binding, Case, Finding, UpdateMeasurement},
    lease::Lease,
    payload::Payload,
    recipe::Recipe,
    submission::RevealRecord,
};
use pol_swarm::SwarmError;
use std::{io, sync::Arc};
use tokio::runtime::Handle;

/// Returns the label of the blobs that an audit needs.
pub(super) fn audit_tag(id: AuditId) -> String {
    format!("audit/{id}")
}

/// The available input of a replay.
pub(super) enum ReplayInput {
    /// All input.
    Complete(Box<ReplayMaterial>),
    /// A blob that the trainer named as part of a state is too large to be one.
    OversizedState,
    /// A blob that no peer serves, not even the trainer, who needed it to train.
    Missing,
}

/// All input of a replay.
pub(super) struct ReplayMaterial {
    recipe: Arc<Recipe>,
    case: Case<AccountId>,
    lease: Lease,
    reveal: RevealRecord,
    response: AuditResponse,
    blobs: StateBlobs,
    data: LeaseData,
    base: Arc<Vec<f32>>,
    payload: Payload,
}

impl ReplayInput {
    /// Fetches everything that the replay of `case` in audit `id` of `round` needs. The trainer is
    /// asked first: it has to serve all of it.
    pub(super) async fn fetch(
        context: &NodeContext,
        shards: &mut ShardReader,
        recipe: &Arc<Recipe>,
        id: AuditId,
        round: RoundNumber,
        case: &Case<AccountId>,
    ) -> Result<Self> {
        let (chain, trainer, tag) = (&context.chain, case.trainer, audit_tag(id));
        let unknown = || {
            RoleError::transient(anyhow!(
                "the node does not know the audit's lease or the trainer's response"
            ))
        };
        let lease = chain.audited_lease(round, &trainer).await?.ok_or_else(unknown)?;
        let response = chain.audit_response(id, &trainer).await?.ok_or_else(unknown)?;
        let submissions = chain.submissions(round).await?;
        let reveal = submissions
            .into_iter()
            .find(|(account, _)| *account == trainer)
            .and_then(|(_, submission)| submission.opened)
            .ok_or_else(unknown)?;
        let max_bytes = recipe.model.size().saturating_mul(size_of::<f32>() as u64);
        let blobs = StateBlobs { context: context.clone(), trainer, max_bytes, tag: tag.clone() };
        for hash in pol_engine::binding_blobs(case, &response) {
            match blobs.fetch(&hash).await {
                Err(RoleError::Transient(error))
                    if matches!(error.downcast_ref(), Some(SwarmError::TooLarge { .. })) =>
                {
                    return Ok(Self::OversizedState);
                }
                fetched => drop(fetched?),
            }
        }
        let data = shards.lease_data(recipe, &lease.shards, &[trainer], &tag).await?;
        let base = fetch_model(context, &lease.base_root, recipe, &[trainer], &tag).await?;
        let payload = context.fetch_payload(recipe, &trainer, &reveal.payload_hash).await?;
        Ok(Self::Complete(Box::new(ReplayMaterial {
            recipe: recipe.clone(),
            case: case.clone(),
            lease,
            reveal,
            response,
            blobs,
            data,
            base: base.parameters,
            payload,
        })))
    }

    /// Replays the update and measures it on `probe`, if there is one.
    pub(super) fn finding(
        &self,
        probe: Option<&ScoreProbe>,
        seed: &Hash,
        workers: usize,
    ) -> Result<Finding> {
        self.judge(Finding::Impossible, Finding::Unavailable, |material| {
            let ReplayMaterial { case, reveal, response, base, payload, .. } = material;
            let job = material.job(workers);
            let outcome =
                pol_engine::audit(&job, base, case, reveal, &response.states, seed, |hash| {
                    material.open(hash)
                })?;
            let unmeasured = || {
                let shards = BoundedVec::truncate_from(vec![0; job.lease.shards.len()]);
                Ok(UpdateMeasurement { shards, ..UpdateMeasurement::default() })
            };
            Ok(outcome.finding(|| {
                probe.map_or_else(unmeasured, |probe| pol_engine::score(probe, &job, payload))
            })?)
        })
    }

    /// Compares the opened ends with the states that they are of.
    pub(super) fn binding(&self, seed: &Hash, workers: usize) -> Result<Binding> {
        self.judge(Binding::Mismatch, Binding::Unavailable, |material| {
            let ReplayMaterial { case, reveal, response, base, .. } = material;
            let job = material.job(workers);
            Ok(pol_engine::check_binding(&job, base, case, reveal, response, seed, |hash| {
                material.open(hash)
            })?)
        })
    }

    fn judge<T>(
        &self,
        oversized: T,
        missing: T,
        judge: impl FnOnce(&ReplayMaterial) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Complete(material) => judge(material),
            Self::OversizedState => Ok(oversized),
            Self::Missing => Ok(missing),
        }
    }
}

impl ReplayMaterial {
    fn job(&self, workers: usize) -> LeaseJob<'_> {
        LeaseJob {
            recipe: &self.recipe,
            lease: &self.lease,
            account: &self.case.trainer,
            data: &self.data,
            workers,
        }
    }

    /// Opens the blob with this hash, which is on this machine by now. May block.
    fn open(&self, hash: &Hash) -> io::Result<io::Cursor<Vec<u8>>> {
        let blob = Handle::current().block_on(self.blobs.fetch(hash));
        blob.map(io::Cursor::new).map_err(|error| io::Error::other(error.to_string()))
    }
}

/// The blobs of the states that a trainer serves. They are read one at a time: together they are
/// gigabytes if the model is large.
struct StateBlobs {
    context: NodeContext,
    trainer: AccountId,
    max_bytes: u64,
    tag: String,
}

impl StateBlobs {
    async fn fetch(&self, hash: &Hash) -> Result<Vec<u8>> {
        self.context.fetch_blob(hash, self.max_bytes, &[self.trainer], &self.tag).await
    }
}
