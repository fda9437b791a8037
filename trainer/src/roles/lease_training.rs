// SPDX-License-Identifier: Apache-2.0

//! Training of one lease, from its input to the packed update.
//!
//! Memory holds what a step changes, and nothing else: the parameters that the lease starts from,
//! and the error feedback, are read where the update is packed.
//!
//! A full disk does not end the training: states that cannot be saved stay in memory, and the
//! update waits until it can be stored.

use super::tasks::{Stop, compute};
use crate::{
    context::{NodeContext, payload_tag},
    control::{Control, GradientFigures, Progress},
    data::{ShardReader, lease_tag, unless_malformed},
    error::{Result, RoleError},
    model::{GlobalModel, hold_model, load_model},
    state::{Journal, LeaseKey, NewestState, StateError, StateFolder},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::{EngineError, LeaseData, LeaseJob, SegmentReport, Trace, TrainingState};
use pol_metrics::SPANS;
use pol_primitives::{Hash, lease::Lease, recipe::Recipe, submission::Reveal, trace::state_leaf};
use pol_swarm::SwarmError;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Handle;

/// Pause before a write is tried again that found no space.
const FULL_PAUSE: Duration = Duration::from_secs(5);
/// Time between two looks at whether a pause should end early.
const STOP_PAUSE: Duration = Duration::from_millis(100);

/// The update of a lease, which is on disk and served.
pub(super) struct PackedUpdate {
    /// Journal with the reveal of the update.
    pub(super) journal: Journal,
    /// Size of the payload, in bytes.
    pub(super) bytes: usize,
}

/// A lease, and what its training takes.
pub(super) struct LeaseWork<S> {
    /// Chain client, swarm and folder of the journal and the states.
    pub(super) context: NodeContext,
    /// Recipe of the lease.
    pub(super) recipe: Recipe,
    /// The lease.
    pub(super) lease: Lease,
    /// The trainer.
    pub(super) account: AccountId,
    /// Threads that train.
    pub(super) workers: usize,
    /// Disk space for training states, in bytes.
    pub(super) state_budget: u64,
    /// Set once the states of a lease have less space than its audit needs.
    pub(super) is_scarce: Arc<AtomicBool>,
    /// Strategy of the trainer.
    pub(super) strategy: S,
}

impl<S: Strategy> LeaseWork<S> {
    /// Fetches the input of the lease, which is kept until the update is settled, trains what is
    /// left of it, and stores the update. The inner result is an error if the lease cannot be
    /// trained.
    ///
    /// # Errors
    ///
    /// Fails if the input cannot be had, which time may mend.
    pub(super) async fn run(self) -> Result<Result<PackedUpdate>> {
        let context = self.context.clone();
        let training = match self.fetch_input().await? {
            Ok(training) => training,
            Err(reason) => return Ok(Err(RoleError::transient(anyhow!(reason)))),
        };
        match compute(move |stop| training.run(stop)).await {
            Ok((journal, payload)) => store_update(&context, journal, payload).await.map(Ok),
            // Not the lease's fault. What was saved is not trained again.
            Err(error) if error.is_disk_full() || is_unreadable(&error) => Err(error),
            Err(error) => Ok(Err(error)),
        }
    }

    /// Returns the training with all its input, or the reason for which there can be none.
    async fn fetch_input(self) -> Result<Result<LeaseTraining<S>, &'static str>> {
        let Self { context, recipe, lease, .. } = &self;
        let (state, key) = (&context.state, LeaseKey::of(lease));
        let (tag, mut shards) = (lease_tag(&key), ShardReader::new(context.clone()));
        let read = shards.lease_data_and_contents(recipe, &lease.shards, &[], &tag).await;
        let Some((data, contents)) = unless_malformed(read)? else {
            return Ok(Err("nobody can train on its data"));
        };
        if state.journal(&key)?.is_some_and(|journal| journal.contents != contents) {
            state.forget_lease(&key)?;
        }
        hold_model(context, &lease.base_root, recipe, &[], &tag).await?;
        let read_base = base_reader(context, &lease.base_root, recipe);
        let salt_secret = state.peer_secret()?;
        let (audits, block) =
            (context.chain.audit_config().await?, context.chain.block_time().await?);
        // Half of the stage is for the way to the chain, and the next lease is trained meanwhile.
        // Each drawn segment has a start.
        let answer_time =
            block.saturating_mul(audits.serve) / (4 * u32::from(audits.segments.max(1)));
        let Self { context, recipe, lease, account, workers, state_budget, is_scarce, strategy } =
            self;
        Ok(Ok(LeaseTraining {
            folder: context.state,
            control: context.control,
            data: strategy.data(&recipe, data),
            recipe,
            lease,
            account,
            workers,
            state_budget,
            is_scarce,
            strategy,
            read_base,
            contents,
            salt_secret,
            answer_time,
        }))
    }
}

/// Stores the update of a lease: its payload for peers, and then the journal that names it. Waits
/// for space on the disk, so that nothing has to be trained again.
async fn store_update(
    context: &NodeContext,
    journal: Journal,
    payload: Vec<u8>,
) -> Result<PackedUpdate> {
    let (bytes, payload) = (payload.len(), pol_swarm::Bytes::from(payload));
    let store = async || -> Result<()> {
        context.swarm.add(payload.clone(), &payload_tag(journal.round)).await?;
        Ok(context.state.write_journal(&journal)?)
    };
    while let Err(error) = store().await {
        if !error.is_disk_full() {
            return Err(error);
        }
        error.log_transient()?;
        context.state.make_room(bytes as u64, &[journal.lease])?;
        tokio::time::sleep(FULL_PAUSE).await;
    }
    Ok(PackedUpdate { journal, bytes })
}

/// Reader of the parameters that a lease starts from. May block.
type ReadBase = Box<dyn Fn() -> Result<Vec<f32>> + Send>;

/// Returns a reader of the model whose parameters hash to `root`, which is on this machine by now.
fn base_reader(context: &NodeContext, root: &Hash, recipe: &Recipe) -> ReadBase {
    let (context, root, recipe) = (context.clone(), *root, recipe.clone());
    Box::new(move || {
        parameters_of(root, Handle::current().block_on(load_model(&context, &root, &recipe)))
    })
}

/// Returns the parameters of a model that was to be read from the store.
fn parameters_of(root: Hash, read: Result<Option<GlobalModel>>) -> Result<Vec<f32>> {
    let unreadable = |source| RoleError::from(EngineError::BlobRead { hash: root, source });
    let model = match read {
        // The store opens itself again, and the model is still in it.
        Err(RoleError::Transient(error))
            if matches!(error.downcast_ref(), Some(SwarmError::Store(_))) =>
        {
            return Err(unreadable(io::Error::other(error)));
        }
        read => read?,
    };
    let missing = || unreadable(io::Error::other("the store has no whole copy of it"));
    Ok(Arc::unwrap_or_clone(model.ok_or_else(missing)?.parameters))
}

/// Returns `true` if `error` is that of an input that was here and cannot be read any more. It is
/// fetched again, or an earlier state takes its place.
fn is_unreadable(error: &RoleError) -> bool {
    let RoleError::Transient(error) = error else { return false };
    matches!(error.downcast_ref(), Some(EngineError::BlobRead { .. }))
}

/// Returns the state that `lease` starts from: parameters `base`, and the optimiser state that an
/// earlier lease left in `folder`.
///
/// # Errors
///
/// Fails if that optimiser state is missing or damaged, or if `base` is not what the lease names.
pub(super) fn start_of(
    folder: &StateFolder,
    lease: &Lease,
    base: Vec<f32>,
) -> Result<TrainingState, String> {
    let state = if lease.carry == [0; 32] {
        TrainingState::fresh(base)
    } else {
        let carry = folder.load_carry(&lease.carry, base.len());
        let carry = carry.map_err(|error| {
            format!("the optimiser state that it starts from cannot be read: {error}")
        })?;
        TrainingState { parameters: base, ..carry }
    };
    if state.leaf() != start_leaf(lease) {
        let folder = folder.path().display();
        return Err(format!("the state in {folder} is not the one that it starts from"));
    }
    Ok(state)
}

/// Returns the leaf of the state that `lease` starts from.
fn start_leaf(lease: &Lease) -> Hash {
    state_leaf(&lease.base_root, &lease.carry)
}

/// Returns the L2 norm of the difference of two vectors.
fn distance(from: &[f32], to: &[f32]) -> f64 {
    let squares = from.iter().zip(to).map(|(from, to)| f64::from(to - from).powi(2));
    squares.sum::<f64>().sqrt()
}

/// A lease and the input of its training.
struct LeaseTraining<S> {
    /// Folder of the journal and the states.
    folder: Arc<StateFolder>,
    /// Handle to report to.
    control: Control,
    recipe: Recipe,
    lease: Lease,
    account: AccountId,
    workers: usize,
    state_budget: u64,
    /// Set once the states have less space than an audit needs.
    is_scarce: Arc<AtomicBool>,
    strategy: S,
    /// Reads the parameters that the lease starts from.
    read_base: ReadBase,
    /// Data to train on.
    data: LeaseData,
    /// Digest of the [contents](crate::data::contents) that the data is of.
    contents: Hash,
    /// Secret from which the salt of the commitment is derived.
    salt_secret: [u8; 32],
    /// Time in which a state has to be trained again when an audit asks for it.
    answer_time: Duration,
}

/// Returns the largest number of segments between two kept states from which each one between them
/// can be trained again in time, if a segment takes `segment_time`.
fn answerable_gap(answer_time: Duration, segment_time: Duration) -> u16 {
    let trained = answer_time.as_nanos().checked_div(segment_time.as_nanos());
    trained
        .and_then(|trained| u16::try_from(trained).ok())
        .map_or(u16::MAX, |n| n.saturating_add(1))
}

impl<S: Strategy> LeaseTraining<S> {
    /// Trains the remaining segments and packs the update. Returns its journal with the reveal, and
    /// its encoded payload.
    ///
    /// # Errors
    ///
    /// Fails if the lease cannot be trained, and if asked to stop, which happens between segments.
    fn run(&self, stop: &Stop) -> Result<(Journal, Vec<u8>)> {
        let Self { recipe, lease, account, workers, strategy, .. } = self;
        let round = lease.due_round;
        let _lease = tracing::info_span!(target: SPANS, "train_lease", pol.round = round).entered();
        let (mut journal, mut state) = self.resume()?;
        let job = LeaseJob { recipe, lease, account, data: &self.data, workers: *workers };
        let started = Instant::now();
        let (mut tokens, mut slowest) = (0, Duration::ZERO);
        for segment in journal.segments()..recipe.segments {
            stop.check()?;
            let _segment =
                tracing::info_span!(target: SPANS, "train_segment", pol.segment = segment)
                    .entered();
            let segment_started = Instant::now();
            let report = strategy.train_segment(&job, &mut state, segment)?;
            slowest = slowest.max(segment_started.elapsed());
            let metrics = pol_metrics::trainer();
            metrics.segment_duration_seconds.observe_since(segment_started);
            metrics.segments_total.inc();
            metrics.tokens_total.add(report.tokens);
            metrics.loss_nats.set(report.loss);
            metrics.gradient_norm.set(report.gradient.mean);
            metrics.clipped_steps_total.add(report.gradient.clipped.into());
            let share = f64::from(segment + 1) / f64::from(recipe.segments);
            metrics.lease_progress_ratio.set(share);
            tokens += report.tokens;
            journal.leaves.push(report.leaf);
            journal.losses.push(report.loss);
            journal.speed = tokens as f64 / started.elapsed().as_secs_f64().max(f64::EPSILON);
            self.save_within(answerable_gap(self.answer_time, slowest), &journal, &state)?;
            tracing::info!(
                "round {}: segment {}/{}, loss {:.3}, {:.0} tokens/s",
                lease.due_round,
                segment + 1,
                recipe.segments,
                report.loss,
                journal.speed
            );
            self.note_segment(&journal, &report);
        }
        self.pack(journal, state, stop)
    }

    /// Saves the progress as far as possible. Says once if states are left out that are more than
    /// `gap` segments from those that are kept.
    fn save_within(&self, gap: u16, journal: &Journal, state: &TrainingState) -> Result<()> {
        let is_within = self.save_if_possible(journal, state, gap)?;
        if !is_within && !self.is_scarce.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "round {}: the disk or --state-budget has no space for a state in every {gap} \
                 segments, and training those between again takes longer than an audit waits. \
                 Give it more space: states that an audit does not get cost part of the bond. \
                 After this lease none is taken until all updates are settled",
                self.lease.due_round
            );
        }
        Ok(())
    }

    /// Saves the progress. If the disk is full even without other states of this lease, it stays in
    /// memory. Returns `false` if states are left out that are more than `gap` segments from
    /// those that are kept.
    fn save_if_possible(&self, journal: &Journal, state: &TrainingState, gap: u16) -> Result<bool> {
        match self.with_room(state, || self.save(journal, state)) {
            Err(error) if error.is_disk_full() => {
                error.log_transient()?;
                return Ok(false);
            }
            saved => saved?,
        }
        // Others may use the disk too.
        match self.folder.space(self.recipe.model.size()) {
            Ok(space) => Ok(self.folder.thin_states(self.state_budget.min(space), gap)?),
            // Without any space, only the states of this lease that have to be kept are left.
            // Those of others may be asked for sooner.
            Err(StateError::Disk(_)) => {
                self.folder.make_room(u64::MAX, &[journal.lease])?;
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what is as large as `state`. If the disk is full, other states of this lease make
    /// room: its audit comes after those of earlier leases.
    fn with_room(&self, state: &TrainingState, write: impl Fn() -> Result<()>) -> Result<()> {
        match write() {
            Err(error) if error.is_disk_full() => {
                self.folder.make_room(state.bytes(), &[self.key()])?;
                write()
            }
            done => done,
        }
    }

    /// Saves the newest state, and then the journal that names it.
    fn save(&self, journal: &Journal, state: &TrainingState) -> Result<()> {
        self.folder.save_state(&journal.lease, journal.segments(), state)?;
        Ok(self.folder.write_journal(journal)?)
    }

    /// Reports the newest segment.
    fn note_segment(&self, journal: &Journal, report: &SegmentReport) {
        let (lease, segments) = (&self.lease, journal.segments());
        self.control.note_segment(Progress {
            loss: Some(report.loss),
            gradient: Some(GradientFigures::new(&report.gradient, &self.recipe)),
            tokens_per_second: Some(journal.speed),
            ..Progress::new(lease.due_round, &self.recipe, lease.tier, lease.shards.len(), segments)
        });
    }

    fn key(&self) -> LeaseKey {
        LeaseKey::of(&self.lease)
    }

    /// Packs the finished lease and adds the reveal to its journal.
    fn pack(
        &self,
        mut journal: Journal,
        mut state: TrainingState,
        stop: &Stop,
    ) -> Result<(Journal, Vec<u8>)> {
        let Self { recipe, lease, strategy, .. } = self;
        let base = match (self.read_base)() {
            Err(RoleError::Transient(error)) => {
                self.base_of_start(&journal).ok_or(RoleError::Transient(error))?
            }
            read => read?,
        };
        let movement = distance(&base, &state.parameters);
        pol_metrics::trainer().update_norm.set(movement);
        self.control.note_update(lease.due_round, movement);
        let payload = strategy.pack(recipe, &base, &mut state)?;
        drop(base);
        let save_carry = || -> Result<()> { Ok(self.folder.save_carry(&state)?) };
        wait_for_space(stop, || self.with_room(&state, save_carry))?;
        let payload_hash: Hash = *blake3::hash(&payload).as_bytes();
        // Derived, so that a restarted process opens the same commitment. Secret until then.
        let salt = *blake3::Hasher::new_keyed(&self.salt_secret)
            .update(self.key().digest())
            .update(&payload_hash)
            .finalize()
            .as_bytes();
        let no_trace = || RoleError::fatal(anyhow!("a lease without segments"));
        let trace = Trace::from_leaves(journal.leaves.clone()).ok_or_else(no_trace)?;
        journal.reveal = Some(strategy.reveal(Reveal {
            payload_hash,
            trace_root: trace.root(),
            carry_hash: state.carry().hash(),
            steps: recipe.segments * recipe.steps_per_segment(lease.tier),
            first_leaf: trace.proof(0).ok_or_else(no_trace)?,
            salt,
        }));
        Ok((journal, payload))
    }

    /// Returns the parameters that the lease starts from out of its first state, which stays until
    /// the update is settled.
    fn base_of_start(&self, journal: &Journal) -> Option<Vec<f32>> {
        let parameters = self.recipe.model.size() as usize;
        let start = self.folder.stored_state(&self.key(), &journal.leaves, 0, parameters)?;
        start.parameters().ok()
    }

    /// Returns the journal and the newest sound state of the lease. Without them, these are the
    /// lease's start.
    fn resume(&self) -> Result<(Journal, TrainingState)> {
        let (round, key) = (self.lease.due_round, self.key());
        let start = Journal::new(key, round, self.contents, start_leaf(&self.lease));
        // Whatever else is in the folder, a lease has one start.
        let is_of_start = |known: &Journal| known.leaves.first() == start.leaves.first();
        let known = self.folder.journal(&key)?.filter(is_of_start);
        let mut journal = known.unwrap_or(start);
        let to = journal.segments();
        let parameters = self.recipe.model.size() as usize;
        let NewestState { found, damaged } =
            self.folder.newest_state(&key, &journal.leaves, to, parameters)?;
        let (segments, state) = match found {
            Some((leaf, state)) => (leaf, Some(state)),
            None => (0, None),
        };
        if !damaged.is_empty() {
            tracing::warn!(
                "round {round}: {}. Such a state is of no use and was removed: training goes on \
                 after segment {segments} of {}. Check the disk",
                damaged.join("; "),
                self.recipe.segments
            );
        } else if segments > 0 {
            tracing::info!("round {round}: going on after segment {segments}");
        }
        if segments < to {
            // Trained again, which gives the same update under the exact profile.
            journal.leaves.truncate(usize::from(segments) + 1);
            journal.losses.truncate(segments.into());
            journal.reveal = None;
        }
        if let Some(state) = state {
            return Ok((journal, state));
        }
        let state = start_of(&self.folder, &self.lease, (self.read_base)()?);
        let state = state.map_err(|reason| RoleError::transient(anyhow!(reason)))?;
        self.save(&journal, &state)?;
        Ok((journal, state))
    }
}

/// Repeats a write until the disk has space for it.
fn wait_for_space(stop: &Stop, write: impl Fn() -> Result<()>) -> Result<()> {
    loop {
        match write() {
            Err(error) if error.is_disk_full() => error.log_transient()?,
            done => return done,
        }
        let tried = Instant::now();
        while tried.elapsed() < FULL_PAUSE {
            stop.check()?;
            thread::sleep(STOP_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::lease_states::{LeaseStates, LostStates, Retraining, ServedBlobs},
        *,
    };
    use pol_engine::GradientNorms;
    use pol_primitives::{
        BoundedVec, MILLION,
        data::ShardId,
        model::ModelSpec,
        recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Tier, TierParameters},
    };
    use std::{
        env, fs,
        io::Write,
        path::{Path, PathBuf},
        process::Command,
        sync::{OnceLock, atomic::AtomicU32},
    };
    use tempfile::TempDir;

    /// Trains by arithmetic, which repeats bits without the network's kernels.
    #[derive(Clone, Default)]
    struct Arithmetic {
        /// Number of segments that were trained.
        trained: Arc<AtomicU32>,
        /// Segment after which the disk with this file is full.
        fills: Option<(u16, PathBuf)>,
    }

    impl Strategy for Arithmetic {
        fn train_segment(
            &self,
            _job: &LeaseJob<'_>,
            state: &mut TrainingState,
            segment: u16,
        ) -> Result<SegmentReport, EngineError> {
            for (at, value) in state.parameters.iter_mut().enumerate() {
                *value += f32::from(segment + 1) / (at + 7) as f32;
            }
            state.first_moment.iter_mut().for_each(|value| *value = *value * 0.5 + 1.0);
            state.steps += 2;
            self.trained.fetch_add(1, Ordering::Relaxed);
            if let Some((_, path)) = self.fills.as_ref().filter(|(last, _)| *last == segment) {
                fill(path);
            }
            let gradient = GradientNorms { mean: 0.5, largest: 1.5, clipped: 1 };
            Ok(SegmentReport { loss: 1.0, gradient, tokens: 8, leaf: state.leaf() })
        }
    }

    /// Writes a file that takes all the room there is.
    fn fill(path: &Path) {
        let mut file = fs::File::create(path).unwrap();
        for size in [1 << 16, 1 << 10, 1] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    fn recipe() -> Recipe {
        let tier = TierParameters { micro_batch: 2, accumulation: 3, inner_steps: 8, cadence: 1 };
        Recipe {
            model: ModelSpec::gpt2(64, 16, 2, 2, 32, 16),
            tokenizer: [1; 32],
            seed: [2; 32],
            pretrained: None,
            held_out: None,
            rewrite: None,
            sequence: 16,
            shard_tokens: 128,
            tiers: [tier; 4],
            optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 0 },
            schedule: LearningRateSchedule {
                peak: 10_000_000,
                warmup_steps: 4,
                decay_tokens: 0,
                floor: 100_000,
            },
            gradient_clip: MILLION,
            outer_rate: MILLION,
            compression: Compression { top_k: 512, feedback: 950_000 },
            segments: 4,
            numerics: Numerics::Exact,
            arithmetic: None,
        }
    }

    /// A lease in a folder, after a first one whose carry it may start from.
    struct Trial {
        folder: Arc<StateFolder>,
        strategy: Arithmetic,
        lease: Lease,
        base: Arc<Vec<f32>>,
        control: Control,
        state_budget: u64,
        answer_time: Duration,
        is_scarce: Arc<AtomicBool>,
        /// Set to have the base missing once.
        loses_base: Arc<AtomicBool>,
    }

    impl Trial {
        fn new(path: &Path, carried: bool) -> Self {
            let folder = Arc::new(StateFolder::open(path).unwrap());
            let base = vec![0.25; recipe().model.size() as usize];
            let mut before = TrainingState::fresh(base.clone());
            before.feedback.edit(|values| values[3] = 0.5).unwrap();
            before.steps = 8;
            folder.save_carry(&before).unwrap();
            let shard = ShardId { manifest: 0, index: 0 };
            let lease = Lease {
                nonce: 3,
                tier: Tier::Whale,
                round: 5,
                due_round: 5,
                seed: [5; 32],
                base_root: before.root(),
                head_tokens: 0,
                recipe: recipe().hash(),
                carry: if carried { before.carry().hash() } else { [0; 32] },
                carry_round: 0,
                shards: BoundedVec::truncate_from(vec![shard]),
            };
            let (strategy, control) = (Arithmetic::default(), Control::default());
            Self {
                folder,
                strategy,
                lease,
                base: base.into(),
                control,
                state_budget: 1 << 30,
                answer_time: Duration::from_secs(30),
                is_scarce: Arc::default(),
                loses_base: Arc::default(),
            }
        }

        /// Returns a reader of the base, which fails once if it is to.
        fn read_base(&self) -> ReadBase {
            let (base, fails) = (self.base.clone(), self.loses_base.clone());
            Box::new(move || match fails.swap(false, Ordering::Relaxed) {
                false => Ok(base.to_vec()),
                true => {
                    let source = io::ErrorKind::NotFound.into();
                    Err(EngineError::BlobRead { hash: [1; 32], source }.into())
                }
            })
        }

        fn data() -> LeaseData {
            LeaseData::new(&recipe(), vec![vec![1; 129]]).unwrap()
        }

        fn train(&self) -> Result<(Journal, Vec<u8>)> {
            let training = LeaseTraining {
                folder: self.folder.clone(),
                control: self.control.clone(),
                recipe: recipe(),
                lease: self.lease.clone(),
                account: [1; 32],
                workers: 1,
                state_budget: self.state_budget,
                is_scarce: self.is_scarce.clone(),
                strategy: self.strategy.clone(),
                read_base: self.read_base(),
                data: Self::data(),
                contents: [9; 32],
                salt_secret: [8; 32],
                answer_time: self.answer_time,
            };
            training.run(&Stop::default())
        }

        /// Trains in a new folder, and leaves it as a process that is killed after three segments.
        fn interrupted(carried: bool) -> (TempDir, Self, (Journal, Vec<u8>)) {
            let path = tempfile::tempdir().unwrap();
            let trial = Self::new(path.path(), carried);
            let done = trial.train().unwrap();
            fs::remove_file(trial.state(4)).unwrap();
            let mut journal = Journal { reveal: None, ..done.0.clone() };
            journal.leaves.truncate(4);
            journal.losses.truncate(3);
            trial.folder.write_journal(&journal).unwrap();
            trial.strategy.trained.store(0, Ordering::Relaxed);
            (path, trial, done)
        }

        /// Returns the states of the lease with the trace of `leaves`, for audits.
        fn states(&self, leaves: Vec<Hash>) -> LeaseStates<Arithmetic> {
            LeaseStates {
                account: [1; 32],
                workers: 1,
                state: self.folder.clone(),
                strategy: self.strategy.clone(),
                recipe: recipe(),
                lease: self.lease.clone(),
                trace: Trace::from_leaves(leaves).unwrap(),
                training_lock: Arc::default(),
                retraining: OnceLock::new(),
            }
        }

        fn state(&self, leaf: u16) -> PathBuf {
            let name = format!("states/{}-{leaf}.state", LeaseKey::of(&self.lease));
            self.folder.path().join(name)
        }

        fn damage(&self, leaf: u16) {
            damage(&self.state(leaf));
        }

        fn trained(&self) -> u32 {
            self.strategy.trained.load(Ordering::Relaxed)
        }
    }

    /// Flips a bit in the middle of a file.
    fn damage(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    }

    /// Returns what the chain gets to see of an update.
    fn update((journal, payload): &(Journal, Vec<u8>)) -> (Vec<Hash>, Option<Reveal>, Vec<u8>) {
        (journal.leaves.clone(), journal.reveal.clone(), payload.clone())
    }

    #[test]
    fn training_goes_on_from_the_newest_sound_state_to_the_same_update() {
        for carried in [false, true] {
            for (damaged, expected) in
                [(&[][..], 1), (&[3], 2), (&[3, 2], 3), (&[3, 2, 1], 4), (&[3, 2, 1, 0], 4)]
            {
                let (_path, trial, undamaged) = Trial::interrupted(carried);
                damaged.iter().for_each(|leaf| trial.damage(*leaf));
                let again = trial.train().unwrap();
                assert_eq!(trial.trained(), expected, "{damaged:?}");
                assert_eq!(update(&again), update(&undamaged), "{damaged:?}");
                let kept = trial.folder.kept_leaves(&again.0.lease).unwrap();
                assert_eq!(kept, [0, 1, 2, 3, 4], "damaged states are replaced");
            }
            let (_path, trial, undamaged) = Trial::interrupted(carried);
            let bytes = fs::read(trial.state(3)).unwrap();
            fs::write(trial.state(3), &bytes[..bytes.len() / 2]).unwrap();
            assert_eq!(update(&trial.train().unwrap()), update(&undamaged));
        }
    }

    #[test]
    fn states_are_kept_as_close_as_an_audit_waits_for() {
        let gap = |answer, segment| {
            answerable_gap(Duration::from_millis(answer), Duration::from_millis(segment))
        };
        // One segment is trained again from a state two segments before the next.
        assert_eq!([gap(15_000, 15_000), gap(15_000, 14_999)], [2, 2]);
        assert_eq!([gap(15_000, 5_000), gap(15_000, 15_001), gap(0, 1)], [4, 1, 1]);
        assert_eq!([gap(15_000, 0), gap(u64::MAX, 1)], [u16::MAX; 2]);
    }

    #[test]
    fn space_is_scarce_if_states_are_left_out_that_audits_do_not_wait_for() {
        for (answer_time, is_scarce) in
            [(Duration::from_secs(3_600), false), (Duration::ZERO, true)]
        {
            let path = tempfile::tempdir().unwrap();
            let trial = Trial { state_budget: 0, answer_time, ..Trial::new(path.path(), false) };
            let (journal, _) = trial.train().unwrap();
            assert_eq!(trial.folder.kept_leaves(&journal.lease).unwrap(), [0, 4]);
            assert_eq!(trial.is_scarce.load(Ordering::Relaxed), is_scarce);
        }
    }

    #[test]
    fn norms_of_segments_and_of_the_update_are_remembered() {
        let path = tempfile::tempdir().unwrap();
        let trial = Trial::new(path.path(), false);
        trial.train().unwrap();
        let (segments, updates) = {
            let history = trial.control.history();
            (history.segments(), history.updates())
        };
        assert_eq!(segments.iter().map(|one| one.segment).collect::<Vec<_>>(), [1, 2, 3, 4]);
        let gradient = GradientFigures { mean: 0.5, largest: 1.5, limit: 1.0, clipped_steps: 1 };
        assert!(segments.iter().all(|one| one.gradient == gradient && one.steps == 2));
        // Four segments move the value at `at` by 1 + 2 + 3 + 4 over `at` and 7.
        let squares = (0..trial.base.len()).map(|at| (10.0 / (at + 7) as f64).powi(2));
        let expected = squares.sum::<f64>().sqrt();
        assert_eq!((updates.len(), updates[0].round), (1, 5));
        assert!((updates[0].movement - expected).abs() < 1e-4, "{updates:?} for {expected}");
    }

    #[test]
    fn a_packed_update_with_a_damaged_state_gives_the_same_commitment() {
        let path = tempfile::tempdir().unwrap();
        let trial = Trial::new(path.path(), true);
        let first = trial.train().unwrap();
        trial.folder.write_journal(&first.0).unwrap();
        trial.damage(4);
        assert_eq!(update(&trial.train().unwrap()), update(&first));
    }

    #[test]
    fn a_base_that_is_lost_costs_no_lease() {
        for (carried, has_start) in [(true, true), (false, true), (true, false)] {
            let path = tempfile::tempdir().unwrap();
            let trial = Trial::new(path.path(), carried);
            let undamaged = trial.train().unwrap();
            trial.folder.write_journal(&Journal { reveal: None, ..undamaged.0.clone() }).unwrap();
            trial.strategy.trained.store(0, Ordering::Relaxed);
            trial.loses_base.store(true, Ordering::Relaxed);
            if !has_start {
                trial.damage(0);
                let error = trial.train().unwrap_err();
                assert!(is_unreadable(&error), "{error}");
            }
            // The first state has the same parameters.
            assert_eq!(update(&trial.train().unwrap()), update(&undamaged));
            assert_eq!(trial.trained(), 0, "nothing is trained again");
            assert!(!trial.loses_base.load(Ordering::Relaxed), "the base was asked for");
        }
    }

    #[test]
    fn a_store_that_fails_for_a_while_costs_no_lease() {
        let read = |error: SwarmError| parameters_of([1; 32], Err(error.into())).unwrap_err();
        let failed = read(SwarmError::Store("it is still being closed".into()));
        assert!(is_unreadable(&failed) && failed.to_string().contains("closed"), "{failed}");
        let full = read(SwarmError::DiskFull("/disk".into()));
        assert!(full.is_disk_full(), "{full}");
        let large = read(SwarmError::TooLarge { hash: [1; 32], size: 2, limit: 1 });
        assert!(!is_unreadable(&large) && !large.is_disk_full(), "time does not mend it");
        assert!(is_unreadable(&parameters_of([1; 32], Ok(None)).unwrap_err()));
    }

    #[test]
    fn a_damaged_journal_costs_the_training_so_far_and_no_more() {
        let (_path, trial, undamaged) = Trial::interrupted(true);
        damage(&trial.state(0).with_file_name(format!("{}.json", undamaged.0.lease)));
        // The start is still there, so that the optimiser state is not needed again.
        trial.folder.retain_carries(&[]).unwrap();
        assert_eq!(update(&trial.train().unwrap()), update(&undamaged));
        assert_eq!(trial.trained(), 4);
    }

    #[test]
    fn a_lease_without_any_sound_start_is_given_up() {
        for is_there in [true, false] {
            let (_path, trial, _) = Trial::interrupted(true);
            (0..=3).for_each(|leaf| trial.damage(leaf));
            let name = format!("carry-{}.state", hex::encode(trial.lease.carry));
            let carry = trial.folder.path().join(name);
            if is_there {
                damage(&carry);
            } else {
                fs::remove_file(carry).unwrap();
            }
            let error = trial.train().unwrap_err();
            assert!(matches!(error, RoleError::Transient(_)) && !error.is_disk_full());
            assert!(error.to_string().contains("optimiser state"), "{error}");
        }
    }

    #[tokio::test]
    async fn audits_are_answered_from_what_is_sound() {
        let path = tempfile::tempdir().unwrap();
        let trial = Trial::new(path.path(), false);
        let (journal, _) = trial.train().unwrap();
        let states = trial.states(journal.leaves.clone());
        let leaf = |leaf| states.at(leaf, &Stop::default()).map(|state| state.leaf());
        let turn = states.training_lock.clone().lock_owned().await;
        assert_eq!(leaf(3).unwrap(), journal.leaves[3], "it takes no data, and no turn to train");
        trial.damage(3);
        trial.damage(2);
        let error = leaf(3).unwrap_err();
        assert!(error.to_string().contains("has to be trained again"), "{error}");
        states.retraining.set(Retraining { data: Trial::data(), _turn: turn }).ok().unwrap();
        assert_eq!(leaf(3).unwrap(), journal.leaves[3]);
        [0, 1, 4].into_iter().for_each(|leaf| trial.damage(leaf));
        for _ in 0..2 {
            let RoleError::Transient(error) = leaf(3).unwrap_err() else { panic!() };
            assert!(error.is::<LostStates>(), "{error}");
        }
        // The lease's parameters are all that it starts from.
        states.save_start(trial.base.to_vec()).unwrap();
        assert_eq!(leaf(4).unwrap(), journal.leaves[4]);
        let RoleError::Transient(error) = states.save_start(vec![0.5; 5_760]).unwrap_err() else {
            panic!()
        };
        assert!(error.is::<LostStates>(), "{error}");
    }

    /// Environment variable of a test that runs in a mount namespace of its own.
    const PRIVATE: &str = "POL_TRAINER_TEST_DISK";

    /// Returns the path of a small disk: a file system in memory, which only a process of its own
    /// sees. Returns `None` to the process that ran `test` in such a one.
    fn small_disk(size: &str, test: &str) -> Option<PathBuf> {
        if let Some(disk) = env::var_os(PRIVATE) {
            return Some(disk.into());
        }
        let disk = tempfile::tempdir().unwrap();
        let script = format!(
            "mount -t tmpfs -o size={size} tmpfs \"$POL_TRAINER_TEST_DISK\"\nexec \"$0\" \"$@\""
        );
        let status = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-ec", &script])
            .arg(env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg(format!("roles::lease_training::tests::{test}"))
            .env(PRIVATE, disk.path())
            .status()
            .unwrap();
        assert!(status.success(), "this test needs unshare(1), and mounts in namespaces");
        None
    }

    #[tokio::test]
    async fn states_for_an_audit_get_room_from_the_newest_lease() {
        let name = "states_for_an_audit_get_room_from_the_newest_lease";
        let Some(disk) = small_disk("64m", name) else { return };
        let trial = Trial::new(&disk, false);
        let newest = LeaseKey::of(&Lease { nonce: 4, ..trial.lease.clone() });
        let state = TrainingState::fresh(vec![0.5; 1 << 17]);
        let audited = LeaseKey::of(&trial.lease);
        for leaf in 0..4 {
            trial.folder.save_state(&audited, leaf, &state).unwrap();
            trial.folder.save_state(&newest, leaf, &state).unwrap();
        }
        let states = trial.states(vec![[1; 32]; 4]);
        let config = pol_swarm::SwarmConfig {
            directory: disk.join("swarm"),
            secret: [7; 32],
            bind: ([127, 0, 0, 1], 0).into(),
            advertise: Vec::new(),
        };
        let swarm = pol_swarm::Swarm::start(config).await.unwrap();
        let free = || pol_hardware::disk_space(&disk).unwrap().free_bytes;
        // A copy of 2 MiB fits on the disk, and not beside what the store of blobs leaves free.
        let filler = vec![0; (free() - (9 << 20)) as usize];
        fs::write(disk.join("filler"), filler).unwrap();
        let blobs: Vec<_> = (0..4u8).map(|seed| vec![seed; 1 << 19].into()).collect();
        let label = lease_tag(&audited);
        let refused = swarm.add_all(blobs.clone(), &label).await;
        assert!(matches!(refused, Err(SwarmError::DiskFull(_))), "{refused:?}");

        let stored = states.store(&swarm, ServedBlobs::Memory(blobs.clone()));
        tokio::time::timeout(Duration::from_secs(60), stored).await.unwrap().unwrap();
        for blob in &blobs {
            let found = swarm.get(*blake3::hash(blob).as_bytes(), 1 << 20).await.unwrap();
            assert_eq!(found.as_ref(), Some(blob));
        }
        assert_eq!(trial.folder.kept_leaves(&audited).unwrap(), [0, 1, 2, 3]);
        assert_eq!(trial.folder.kept_leaves(&newest).unwrap(), [0, 3]);
        // An answer that is prepared again needs no more room, however full the disk is.
        fill(&disk.join("rest"));
        states.store(&swarm, ServedBlobs::Memory(blobs)).await.unwrap();
        swarm.shutdown().await.unwrap();
    }

    #[test]
    fn a_file_beside_the_states_leaves_a_margin() {
        let name = "a_file_beside_the_states_leaves_a_margin";
        let Some(disk) = small_disk("16m", name) else { return };
        let folder = StateFolder::open(&disk.join("state")).unwrap();
        folder.require_room(4 << 20).unwrap();
        let refused = folder.require_room(8 << 20).unwrap_err();
        assert!(matches!(refused, StateError::Disk(_)), "{refused}");
    }

    #[test]
    fn a_full_disk_only_delays_an_update() {
        let Some(disk) = small_disk("4m", "a_full_disk_only_delays_an_update") else { return };
        let elsewhere = tempfile::tempdir().unwrap();
        let undamaged = Trial::new(elsewhere.path(), true).train().unwrap();

        let mut trial = Trial::new(&disk, true);
        let filler = disk.join("filler");
        trial.strategy.fills = Some((1, filler.clone()));
        let (trained, done) = thread::scope(|scope| {
            let training = scope.spawn(|| trial.train());
            while trial.trained() < 4 {
                thread::sleep(STOP_PAUSE);
            }
            thread::sleep(Duration::from_secs(1));
            let trained = training.is_finished();
            let folder = StateFolder::journal(&trial.folder, &LeaseKey::of(&trial.lease));
            assert_eq!(folder.unwrap().unwrap().segments(), 1, "the old journal is whole");
            fs::remove_file(&filler).unwrap();
            (trained, training.join().unwrap().unwrap())
        });
        assert!(!trained, "the update cannot be stored");
        assert_eq!(update(&done), update(&undamaged));
        // A process that is killed now goes on from the newest state that was saved.
        trial.strategy = Arithmetic::default();
        assert_eq!(update(&trial.train().unwrap()), update(&undamaged));
        assert_eq!(trial.trained(), 3);
    }
}
