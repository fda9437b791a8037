// SPDX-License-Identifier: Apache-2.0

//! Training of one lease, from its input to the packed update.

use super::tasks::{Stop, compute};
use crate::{
    context::NodeContext,
    control::Progress,
    data::{ShardReader, lease_tag, unless_malformed},
    error::{Result, RoleError},
    model::fetch_model,
    state::{Journal, LeaseKey, StateFolder},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::{LeaseData, LeaseJob, Trace, TrainingState};
use pol_metrics::SPANS;
use pol_primitives::{Hash, lease::Lease, recipe::Recipe, submission::Reveal, trace::state_leaf};
use std::{sync::Arc, time::Instant};

/// The update of a lease, ready to be published.
pub(super) struct PackedUpdate {
    /// Journal with the reveal of the update.
    pub(super) journal: Journal,
    /// Encoded payload.
    pub(super) payload: Vec<u8>,
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
    /// Strategy of the trainer.
    pub(super) strategy: S,
}

impl<S: Strategy> LeaseWork<S> {
    /// Fetches the input of the lease, which is kept until the update is settled, and trains what
    /// is left of it. The inner result is an error if the lease cannot be trained.
    ///
    /// # Errors
    ///
    /// Fails if the input cannot be had, which time may mend.
    pub(super) async fn run(self) -> Result<Result<PackedUpdate>> {
        match self.fetch_input().await? {
            Ok(training) => Ok(compute(move |stop| training.run(stop)).await),
            Err(reason) => Ok(Err(RoleError::transient(anyhow!(reason)))),
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
        let mut journal = state.journal(&key)?;
        if journal.take_if(|journal| journal.contents != contents).is_some() {
            state.forget_lease(&key)?;
        }
        if lease.carry != [0; 32] && journal.is_none() && !state.has_carry(&lease.carry) {
            return Ok(Err("the optimiser state that it starts from is not on this machine"));
        }
        let base = fetch_model(context, &lease.base_root, recipe, &[], &tag).await?.parameters;
        let (data, salt_secret) = (self.strategy.data(recipe, data), state.peer_secret()?);
        Ok(Ok(LeaseTraining { work: self, base, data, contents, salt_secret }))
    }
}

/// The input of a lease's training.
struct LeaseTraining<S> {
    work: LeaseWork<S>,
    /// Parameters that the lease starts from.
    base: Arc<Vec<f32>>,
    /// Data to train on.
    data: LeaseData,
    /// Digest of the [contents](crate::data::contents) that the data is of.
    contents: Hash,
    /// Secret from which the salt of the commitment is derived.
    salt_secret: [u8; 32],
}

impl<S: Strategy> LeaseTraining<S> {
    /// Trains the remaining segments and packs the update.
    ///
    /// # Errors
    ///
    /// Fails if asked to stop, which happens between segments.
    fn run(&self, stop: &Stop) -> Result<PackedUpdate> {
        let LeaseWork { recipe, lease, account, workers, strategy, .. } = &self.work;
        let round = lease.due_round;
        let _lease = tracing::info_span!(target: SPANS, "train_lease", pol.round = round).entered();
        let folder = self.folder();
        let (key, (mut journal, mut state)) = (self.key(), self.resume()?);
        let job = LeaseJob { recipe, lease, account, data: &self.data, workers: *workers };
        let started = Instant::now();
        let mut tokens = 0;
        for segment in journal.segments()..recipe.segments {
            stop.check()?;
            let _segment =
                tracing::info_span!(target: SPANS, "train_segment", pol.segment = segment)
                    .entered();
            let segment_started = Instant::now();
            let report = strategy.train_segment(&job, &mut state, segment)?;
            let metrics = pol_metrics::trainer();
            metrics.segment_duration_seconds.observe_since(segment_started);
            metrics.segments_total.inc();
            metrics.tokens_total.add(report.tokens);
            metrics.loss_nats.set(report.loss);
            let share = f64::from(segment + 1) / f64::from(recipe.segments);
            metrics.lease_progress_ratio.set(share);
            tokens += report.tokens;
            journal.leaves.push(report.leaf);
            journal.losses.push(report.loss);
            journal.speed = tokens as f64 / started.elapsed().as_secs_f64().max(f64::EPSILON);
            folder.save_state(&key, journal.segments(), &state)?;
            folder.write_journal(&journal)?;
            // Others may use the disk too. Without any space, only the states that have to be kept
            // are left.
            let space = folder.space(recipe.model.size()).unwrap_or(0);
            folder.thin_states(self.work.state_budget.min(space))?;
            tracing::info!(
                "round {}: segment {}/{}, loss {:.3}, {:.0} tokens/s",
                lease.due_round,
                segment + 1,
                recipe.segments,
                report.loss,
                journal.speed
            );
            self.note_segment(&journal);
        }
        self.pack(journal, state)
    }

    /// Reports the newest segment.
    fn note_segment(&self, journal: &Journal) {
        let LeaseWork { context, recipe, lease, .. } = &self.work;
        let (shards, segments) = (lease.shards.len(), journal.segments());
        context.control.note_segment(Progress {
            loss: journal.losses.last().copied(),
            tokens_per_second: Some(journal.speed),
            ..Progress::new(lease.due_round, recipe, lease.tier, shards, segments)
        });
    }

    fn key(&self) -> LeaseKey {
        LeaseKey::of(&self.work.lease)
    }

    fn folder(&self) -> &StateFolder {
        &self.work.context.state
    }

    /// Packs the finished lease and adds the reveal to its journal.
    fn pack(&self, mut journal: Journal, mut state: TrainingState) -> Result<PackedUpdate> {
        let LeaseWork { recipe, lease, strategy, .. } = &self.work;
        let payload = strategy.pack(recipe, &self.base, &mut state)?;
        self.folder().save_carry(&state)?;
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
        Ok(PackedUpdate { journal, payload })
    }

    /// Returns the journal and the newest state of the lease. Without a journal, these are the
    /// lease's start.
    fn resume(&self) -> Result<(Journal, TrainingState)> {
        let (lease, base, folder, key) = (&self.work.lease, &self.base, self.folder(), self.key());
        if let Some(journal) = folder.journal(&key)? {
            let state = folder.load_state(&key, journal.segments(), base.len())?;
            if journal.segments() > 0 {
                tracing::info!(
                    "round {}: going on after segment {}",
                    lease.due_round,
                    journal.segments()
                );
            }
            return Ok((journal, state));
        }
        let mut state = TrainingState::fresh(base.to_vec());
        if lease.carry != [0; 32] {
            let carry = folder.load_carry(&lease.carry, base.len())?;
            state = TrainingState { parameters: state.parameters, ..carry };
        }
        let expected = state_leaf(&lease.base_root, &lease.carry);
        if state.leaf() != expected {
            return Err(RoleError::fatal(anyhow!(
                "the state in {} is not the one the lease starts from",
                folder.path().display()
            )));
        }
        let journal = Journal::new(key, lease.due_round, self.contents, expected);
        folder.save_state(&key, 0, &state)?;
        folder.write_journal(&journal)?;
        Ok((journal, state))
    }
}
