// SPDX-License-Identifier: Apache-2.0

//! Everything that the replay of one update reads, fetched from the chain and from peers.

use super::tasks::Stop;
use crate::{
    context::NodeContext,
    data::{ShardReader, unless_malformed},
    error::{Result, RoleError},
    model::{fetch_model, hold_model},
    state::AuditKey,
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::{LeaseData, LeaseJob, ScoreProbe};
use pol_primitives::{
    BoundedVec, Hash, RoundNumber,
    audit::{AuditResponse, Binding, Case, Finding, UpdateMeasurement},
    lease::Lease,
    payload::Payload,
    recipe::Recipe,
    submission::RevealRecord,
};
use pol_swarm::Bytes;
use std::{io, sync::Arc};
use tokio::runtime::Handle;

/// Probe of a round, and the accounts of the updates that it measures.
pub(super) struct RoundMeasure {
    pub(super) probe: ScoreProbe,
    pub(super) accounts: Vec<AccountId>,
}

impl RoundMeasure {
    /// Returns the place of the trainer's update among those of the round.
    fn place(&self, trainer: &AccountId) -> Option<usize> {
        self.accounts.iter().position(|account| account == trainer)
    }
}

/// Label of the blobs of all audits.
pub(super) const AUDITS_TAG: &str = "audit";

/// Returns the label of the blobs that an audit needs.
pub(super) fn audit_tag(audit: &AuditKey) -> String {
    format!("{AUDITS_TAG}/{audit}")
}

/// The records and blobs that a replay reads, on this machine as far as they can be had.
pub(super) enum HeldInput {
    /// All input.
    Complete(Box<ReplayRecords>),
    /// Input that nobody can train from: a blob that the trainer named as part of a state is too
    /// large to be one, or a shard of the lease is [malformed](crate::data::MalformedData).
    Untrainable,
    /// A blob that no peer serves, not even the trainer, who needed it to train.
    Missing,
}

/// Records of the chain that name all input of a replay.
#[derive(Clone)]
pub(super) struct ReplayRecords {
    recipe: Arc<Recipe>,
    round: RoundNumber,
    case: Case<AccountId>,
    lease: Lease,
    reveal: RevealRecord,
    response: AuditResponse,
    tag: String,
}

/// The input of a replay, in memory.
pub(super) enum ReplayInput {
    /// All input.
    Complete(Box<ReplayMaterial>),
    /// See [`HeldInput::Untrainable`].
    Untrainable,
    /// See [`HeldInput::Missing`].
    Missing,
}

/// All input of a replay.
pub(super) struct ReplayMaterial {
    records: ReplayRecords,
    blobs: StateBlobs,
    data: LeaseData,
    base: Arc<Vec<f32>>,
    payload: Payload,
}

impl HeldInput {
    /// Fetches everything that the replay of `case` in `audit` of `round`, or of a part of a case,
    /// needs. The trainer is asked first: it has to serve all of it. Inputs that are on this
    /// machine already are not read, so that a further try costs little.
    pub(super) async fn fetch(
        context: &NodeContext,
        recipe: &Arc<Recipe>,
        audit: &AuditKey,
        round: RoundNumber,
        case: &Case<AccountId>,
    ) -> Result<Self> {
        let records = ReplayRecords::read(context, recipe, audit, round, case).await?;
        let ReplayRecords { lease, reveal, response, tag, .. } = &records;
        let blobs = records.blobs(context);
        for hash in pol_engine::binding_blobs(case, response) {
            match blobs.hold(&hash).await {
                Err(error) if error.is_too_large() => return Ok(Self::Untrainable),
                held => held?,
            }
        }
        let trainer = case.trainer;
        let mut shards = ShardReader::new(context.clone());
        let held = shards.hold(recipe, &lease.shards, &[trainer], tag).await;
        if unless_malformed(held)?.is_none() {
            return Ok(Self::Untrainable);
        }
        hold_model(context, &lease.base_root, recipe, &[trainer], tag).await?;
        context.hold_payload(recipe, round, &trainer, &reveal.payload_hash).await?;
        Ok(Self::Complete(Box::new(records)))
    }

    /// Reads the input into memory.
    pub(super) async fn load(&self, context: &NodeContext) -> Result<ReplayInput> {
        let records = match self {
            Self::Complete(records) => ReplayRecords::clone(records),
            Self::Untrainable => return Ok(ReplayInput::Untrainable),
            Self::Missing => return Ok(ReplayInput::Missing),
        };
        let ReplayRecords { recipe, round, case, lease, reveal, tag, .. } = &records;
        let first = [case.trainer];
        let mut shards = ShardReader::new(context.clone());
        let data = shards.lease_data(recipe, &lease.shards, &first, tag).await;
        let Some(data) = unless_malformed(data)? else { return Ok(ReplayInput::Untrainable) };
        let base = fetch_model(context, &lease.base_root, recipe, &first, tag).await?;
        let payload =
            context.fetch_payload(recipe, *round, &case.trainer, &reveal.payload_hash).await?;
        let (blobs, base) = (records.blobs(context), base.parameters);
        Ok(ReplayInput::Complete(Box::new(ReplayMaterial { records, blobs, data, base, payload })))
    }
}

impl ReplayRecords {
    async fn read(
        context: &NodeContext,
        recipe: &Arc<Recipe>,
        audit: &AuditKey,
        round: RoundNumber,
        case: &Case<AccountId>,
    ) -> Result<Self> {
        let (chain, trainer) = (&context.chain, case.trainer);
        let unknown = || {
            RoleError::transient(anyhow!(
                "the node does not know the audit's lease or the trainer's response"
            ))
        };
        let lease = chain.audited_lease(round, &trainer).await?.ok_or_else(unknown)?;
        let mut response = chain.audit_response(audit.id, &trainer).await?.ok_or_else(unknown)?;
        let leaves = case.served_leaves();
        response.states.retain(|state| leaves.contains(&state.leaf));
        let submissions = chain.submissions(round).await?;
        let reveal = submissions
            .into_iter()
            .find(|(account, _)| *account == trainer)
            .and_then(|(_, submission)| submission.opened)
            .ok_or_else(unknown)?;
        let (recipe, case, tag) = (recipe.clone(), case.clone(), audit_tag(audit));
        Ok(Self { recipe, round, case, lease, reveal, response, tag })
    }

    fn blobs(&self, context: &NodeContext) -> StateBlobs {
        StateBlobs {
            context: context.clone(),
            trainer: self.case.trainer,
            max_bytes: self.recipe.model.size().saturating_mul(size_of::<f32>() as u64),
            tag: self.tag.clone(),
        }
    }
}

impl ReplayInput {
    /// Replays the update and measures it, if there is a measure of its round.
    pub(super) fn finding(
        &self,
        measure: Option<&RoundMeasure>,
        seed: &Hash,
        workers: usize,
        stop: &Stop,
    ) -> Result<Finding> {
        self.judge(Finding::Impossible, Finding::Unavailable, |material| {
            let ReplayMaterial { records, base, payload, .. } = material;
            let ReplayRecords { case, reveal, response, .. } = records;
            let job = material.job(workers);
            let outcome =
                pol_engine::audit(&job, base, case, reveal, &response.states, seed, |hash| {
                    material.open(hash, stop)
                })?;
            stop.check()?;
            let unmeasured = || {
                let shards = BoundedVec::truncate_from(vec![0; job.lease.shards.len()]);
                Ok(UpdateMeasurement { shards, ..UpdateMeasurement::default() })
            };
            Ok(outcome.finding(|| {
                let place = |measure: &RoundMeasure| measure.place(&case.trainer);
                match measure.and_then(|measure| Some((measure, place(measure)?))) {
                    Some((measure, place)) => {
                        pol_engine::score(&measure.probe, &job, payload, place)
                    }
                    None => unmeasured(),
                }
            })?)
        })
    }

    /// Compares the opened ends with the states that they are of.
    pub(super) fn binding(&self, seed: &Hash, workers: usize, stop: &Stop) -> Result<Binding> {
        self.judge(Binding::Mismatch, Binding::Unavailable, |material| {
            let ReplayMaterial { records, base, .. } = material;
            let ReplayRecords { case, reveal, response, .. } = records;
            let job = material.job(workers);
            Ok(pol_engine::check_binding(&job, base, case, reveal, response, seed, |hash| {
                material.open(hash, stop)
            })?)
        })
    }

    fn judge<T>(
        &self,
        untrainable: T,
        missing: T,
        judge: impl FnOnce(&ReplayMaterial) -> Result<T>,
    ) -> Result<T> {
        match self {
            Self::Complete(material) => judge(material),
            Self::Untrainable => Ok(untrainable),
            Self::Missing => Ok(missing),
        }
    }
}

impl ReplayMaterial {
    fn job(&self, workers: usize) -> LeaseJob<'_> {
        LeaseJob {
            recipe: &self.records.recipe,
            lease: &self.records.lease,
            account: &self.records.case.trainer,
            data: &self.data,
            workers,
        }
    }

    /// Opens the blob with this hash, which is on this machine by now. May block. Every run of
    /// segments begins with this, so that none begins once nobody needs it.
    fn open(&self, hash: &Hash, stop: &Stop) -> io::Result<io::Cursor<Bytes>> {
        let blob = stop.check().and_then(|()| Handle::current().block_on(self.blobs.fetch(hash)));
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
    async fn hold(&self, hash: &Hash) -> Result<()> {
        self.context.hold_blob(hash, self.max_bytes, &[self.trainer], &self.tag).await
    }

    async fn fetch(&self, hash: &Hash) -> Result<Bytes> {
        self.context.fetch_blob(hash, self.max_bytes, &[self.trainer], &self.tag).await
    }
}
