// SPDX-License-Identifier: Apache-2.0

//! Everything that the replay of one update reads, fetched from the chain and from peers.

use super::tasks::Stop;
use crate::{
    blocking_blob::BlockingBlob,
    context::NodeContext,
    data::{ShardReader, fetch_together, unless_malformed},
    error::{Result, RoleError},
    model::hold_model,
    state::{AuditKey, StateFolder},
};
use anyhow::anyhow;
use futures::FutureExt;
use pol_chain::AccountId;
use pol_engine::{LeaseData, LeaseJob, ScoreProbe, StoredProbe};
use pol_primitives::{
    BoundedVec, Hash, RoundNumber,
    audit::{AuditResponse, Binding, Case, Finding, UpdateMeasurement},
    lease::Lease,
    payload::Payload,
    recipe::Recipe,
    submission::RevealRecord,
};
use pol_swarm::Swarm;
use std::{borrow::Cow, io, sync::Arc};

/// Probe of a round, and the accounts of the updates that it measures.
pub(super) struct RoundMeasure {
    probe: ProbePlace,
    accounts: Vec<AccountId>,
}

/// Place of a probe between the measurements by it.
enum ProbePlace {
    /// File of its own.
    File(Box<StoredProbe>),
    /// Memory, if the disk has no room.
    Memory(Box<ScoreProbe>),
}

impl RoundMeasure {
    /// Creates the measure of a round by `probe`, which is left in a file in `folder`: replays take
    /// its place in memory. A disk that has no room for it beside the margin of writes is left to
    /// what has to be stored.
    pub(super) fn new(probe: ScoreProbe, accounts: Vec<AccountId>, folder: &StateFolder) -> Self {
        let room = folder.require_room(probe.stored_bytes()).map_err(io::Error::other);
        let probe = room.and_then(|()| probe.store(folder.path())).map_or_else(
            |error| {
                tracing::debug!("the probe of a round stays in memory: {error}");
                ProbePlace::Memory(Box::new(probe))
            },
            |stored| ProbePlace::File(Box::new(stored)),
        );
        Self { probe, accounts }
    }

    /// Returns the probe.
    fn probe(&self) -> Result<Cow<'_, ScoreProbe>> {
        Ok(match &self.probe {
            ProbePlace::File(stored) => Cow::Owned(stored.load()?),
            ProbePlace::Memory(probe) => Cow::Borrowed(probe),
        })
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

/// The input of a replay: text in memory, and models and states in the store.
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
    arrays: ArrayReader,
    data: LeaseData,
}

/// An update in memory, to be measured.
pub(super) struct MeasuredUpdate {
    records: ReplayRecords,
    data: LeaseData,
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
        let (trainer, blobs) = (case.trainer, records.blobs(context));
        let hashes = pol_engine::binding_blobs(case, response);
        let holds = hashes.iter().map(|hash| blobs.hold(hash).boxed()).collect();
        match fetch_together(holds, &[trainer]).await {
            Err(error) if error.is_too_large() => return Ok(Self::Untrainable),
            held => drop(held?),
        }
        let mut shards = ShardReader::new(context.clone());
        let held = shards.hold(recipe, &lease.shards, &[trainer], tag).await;
        if unless_malformed(held)?.is_none() {
            return Ok(Self::Untrainable);
        }
        hold_model(context, &lease.base_root, recipe, &[trainer], tag).await?;
        context.hold_payload(recipe, round, &trainer, &reveal.payload_hash).await?;
        Ok(Self::Complete(Box::new(records)))
    }

    /// Reads the text, and leaves the arrays where they are.
    pub(super) async fn load(&self, context: &NodeContext) -> Result<ReplayInput> {
        let records = match self {
            Self::Complete(records) => ReplayRecords::clone(records),
            Self::Untrainable => return Ok(ReplayInput::Untrainable),
            Self::Missing => return Ok(ReplayInput::Missing),
        };
        let Some(data) = records.data(context).await? else { return Ok(ReplayInput::Untrainable) };
        let arrays = ArrayReader { swarm: context.swarm.clone(), max_bytes: records.state_bytes() };
        Ok(ReplayInput::Complete(Box::new(ReplayMaterial { records, arrays, data })))
    }

    /// Returns the records of all input, unless some is missing or untrainable.
    pub(super) fn into_records(self) -> Option<ReplayRecords> {
        match self {
            Self::Complete(records) => Some(*records),
            Self::Untrainable | Self::Missing => None,
        }
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
            max_bytes: self.state_bytes(),
            tag: self.tag.clone(),
        }
    }

    /// Returns the largest size of a blob of a state.
    fn state_bytes(&self) -> u64 {
        self.recipe.model.size().saturating_mul(size_of::<f32>() as u64)
    }

    /// Reads the text of the lease, or returns `None` if it is malformed.
    async fn data(&self, context: &NodeContext) -> Result<Option<LeaseData>> {
        let mut shards = ShardReader::new(context.clone());
        let Self { recipe, case, lease, tag, .. } = self;
        unless_malformed(shards.lease_data(recipe, &lease.shards, &[case.trainer], tag).await)
    }

    /// Returns the place of the update among those that `measure` is of.
    pub(super) fn place_in(&self, measure: &RoundMeasure) -> Option<usize> {
        measure.accounts.iter().position(|account| *account == self.case.trainer)
    }

    /// Reads the update into memory, to be measured. Returns `None` if its text is malformed.
    pub(super) async fn update(&self, context: &NodeContext) -> Result<Option<MeasuredUpdate>> {
        let Some(data) = self.data(context).await? else { return Ok(None) };
        let Self { recipe, round, case, reveal, .. } = self;
        let payload =
            context.fetch_payload(recipe, *round, &case.trainer, &reveal.payload_hash).await?;
        Ok(Some(MeasuredUpdate { records: self.clone(), data, payload }))
    }

    fn job<'a>(&'a self, data: &'a LeaseData, workers: usize) -> LeaseJob<'a> {
        let Self { recipe, lease, case, .. } = self;
        LeaseJob { recipe, lease, account: &case.trainer, data, workers }
    }
}

impl MeasuredUpdate {
    /// Measures the update, which is at `place` among those that `measure` is of.
    pub(super) fn measure(
        &self,
        measure: &RoundMeasure,
        place: usize,
        workers: usize,
    ) -> Result<UpdateMeasurement> {
        let job = self.records.job(&self.data, workers);
        let probe = measure.probe()?;
        Ok(pol_engine::score(&probe, &job, &self.payload, place)?)
    }
}

impl ReplayInput {
    /// Replays the update. The measurement of the finding is zero.
    pub(super) fn finding(&self, seed: &Hash, workers: usize, stop: &Stop) -> Result<Finding> {
        self.judge(Finding::Impossible, Finding::Unavailable, |material| {
            let ReplayMaterial { records, arrays, data } = material;
            let ReplayRecords { case, reveal, response, .. } = records;
            let (job, states) = (records.job(data, workers), &response.states);
            let open = |hash: &Hash| arrays.open(hash, stop);
            let outcome = pol_engine::audit(&job, case, reveal, states, seed, open)?;
            Ok(outcome.finding(|| {
                let shards = BoundedVec::truncate_from(vec![0; job.lease.shards.len()]);
                Ok(UpdateMeasurement { shards, ..UpdateMeasurement::default() })
            })?)
        })
    }

    /// Compares the opened ends with the states that they are of.
    pub(super) fn binding(&self, seed: &Hash, workers: usize, stop: &Stop) -> Result<Binding> {
        self.judge(Binding::Mismatch, Binding::Unavailable, |material| {
            let ReplayMaterial { records, arrays, data } = material;
            let ReplayRecords { case, reveal, response, .. } = records;
            let job = records.job(data, workers);
            let open = |hash: &Hash| arrays.open(hash, stop);
            Ok(pol_engine::check_binding(&job, case, reveal, response, seed, open)?)
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

/// The blobs of the states that a trainer serves.
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
}

/// Reader of the arrays that a replay reads: of the states that a trainer serves, and of the model
/// that it started from. They are read one at a time: together they are gigabytes if the model is
/// large.
struct ArrayReader {
    swarm: Swarm,
    /// Largest size of a blob.
    max_bytes: u64,
}

impl ArrayReader {
    /// Opens the blob with this hash, which is on this machine by now. May block. Every run of
    /// segments begins with this, so that none begins once nobody needs it.
    ///
    /// No peer is asked, as others wait for the replay. A blob that is damaged is fetched again
    /// before the next try.
    fn open(&self, hash: &Hash, stop: &Stop) -> io::Result<BlockingBlob> {
        stop.check().map_err(io::Error::other)?;
        BlockingBlob::open(&self.swarm, hash, self.max_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tasks::compute, *};
    use crate::error::explain;
    use pol_engine::TrainingState;
    use pol_swarm::{Bytes, SwarmConfig};
    use std::{
        fs,
        path::Path,
        time::{Duration, Instant},
    };

    const PARAMETERS: usize = 50_000;
    const MAX_BYTES: u64 = 200_000;

    async fn swarm(directory: &Path, secret: u8) -> Swarm {
        let (secret, bind) = ([secret; 32], ([127, 0, 0, 1], 0).into());
        let config = SwarmConfig { directory: directory.into(), secret, bind, advertise: vec![] };
        Swarm::start(config).await.unwrap()
    }

    /// Reads a state as a replay does.
    async fn read(swarm: &Swarm, state: &TrainingState) -> Result<TrainingState> {
        let reader = ArrayReader { swarm: swarm.clone(), max_bytes: MAX_BYTES };
        let served = state.trace_state(0);
        compute(move |stop| {
            let mut open = |hash: &Hash| reader.open(hash, stop);
            Ok(TrainingState::from_blobs(&served, PARAMETERS, &mut open)?)
        })
        .await
    }

    #[tokio::test]
    async fn a_state_that_is_damaged_ends_no_process_and_is_fetched_again() {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let state = TrainingState::fresh((0..PARAMETERS).map(|value| value as f32).collect());
        let (root, blob) = (state.root(), Bytes::copy_from_slice(&state.blobs().unwrap()[0]));
        let trainer = swarm(folders[0].path(), 1).await;
        trainer.add(blob.clone(), "lease").await.unwrap();
        let seat = swarm(folders[1].path(), 2).await;
        seat.add(blob, "audit").await.unwrap();
        assert_eq!(read(&seat, &state).await.unwrap(), state);
        seat.shutdown().await.unwrap();

        let file = folders[1].path().join(format!("data/{}.data", hex::encode(root)));
        let mut bytes = fs::read(&file).unwrap();
        bytes[100_000] ^= 1;
        fs::write(file, bytes).unwrap();
        let seat = swarm(folders[1].path(), 2).await;
        let hold = async || {
            let deadline = Instant::now() + Duration::from_secs(60);
            seat.hold(root, MAX_BYTES, &[trainer.endpoint()], "audit", deadline).await
        };
        hold().await.unwrap();
        let damaged = read(&seat, &state).await.unwrap_err();
        let RoleError::Transient(error) = damaged else { panic!("{damaged}") };
        assert!(explain(&error).contains("no whole copy"), "{error:#}");
        hold().await.unwrap();
        assert_eq!(read(&seat, &state).await.unwrap(), state);
    }
}
