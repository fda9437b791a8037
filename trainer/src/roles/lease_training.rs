// SPDX-License-Identifier: Apache-2.0

//! Training of one lease, from its start or from the journal to the packed update.

use crate::{
    error::{Result, RoleError},
    state::{Journal, LeaseKey, StateFolder},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::AccountId;
use pol_engine::{LeaseData, LeaseJob, Trace, TrainingState};
use pol_primitives::{Hash, lease::Lease, recipe::Recipe, submission::Reveal, trace::state_leaf};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

/// The update of a lease, ready to be published.
pub(super) struct PackedUpdate {
    /// Journal with the reveal of the update.
    pub(super) journal: Journal,
    /// Encoded payload.
    pub(super) payload: Vec<u8>,
}

/// The input of a lease's training.
pub(super) struct LeaseTraining<S> {
    /// Recipe of the lease.
    pub(super) recipe: Recipe,
    /// The lease.
    pub(super) lease: Lease,
    /// The trainer.
    pub(super) account: AccountId,
    /// Parameters that the lease starts from.
    pub(super) base: Arc<Vec<f32>>,
    /// Data to train on.
    pub(super) data: LeaseData,
    /// Threads that train.
    pub(super) workers: usize,
    /// Disk space for training states, in bytes.
    pub(super) state_budget: u64,
    /// Strategy of the trainer.
    pub(super) strategy: S,
    /// Secret from which the salt of the commitment is derived.
    pub(super) salt_secret: [u8; 32],
    /// Folder of the journal and the states.
    pub(super) state: Arc<StateFolder>,
    /// Set to end the training at the next segment boundary.
    pub(super) stop: Arc<AtomicBool>,
}

impl<S: Strategy> LeaseTraining<S> {
    /// Trains the remaining segments and packs the update. Returns `None` if asked to stop.
    pub(super) fn run(&self) -> Result<Option<PackedUpdate>> {
        let Self { recipe, lease, .. } = self;
        let (key, (mut journal, mut state)) = (self.key(), self.resume()?);
        let job = LeaseJob {
            recipe,
            lease,
            account: &self.account,
            data: &self.data,
            workers: self.workers,
        };
        let started = Instant::now();
        let mut tokens = 0;
        for segment in journal.segments()..recipe.segments {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let report = self.strategy.train_segment(&job, &mut state, segment)?;
            tokens += report.tokens;
            journal.leaves.push(report.leaf);
            journal.losses.push(report.loss);
            journal.speed = tokens as f64 / started.elapsed().as_secs_f64().max(f64::EPSILON);
            self.state.save_state(&key, journal.segments(), &state)?;
            self.state.write_journal(&journal)?;
            self.state.thin_states(self.state_budget)?;
            tracing::info!(
                "round {}: segment {}/{}, loss {:.3}, {:.0} tokens/s",
                lease.due_round,
                segment + 1,
                recipe.segments,
                report.loss,
                journal.speed
            );
        }
        self.pack(journal, state).map(Some)
    }

    fn key(&self) -> LeaseKey {
        LeaseKey::of(&self.lease)
    }

    /// Packs the finished lease and adds the reveal to its journal.
    fn pack(&self, mut journal: Journal, mut state: TrainingState) -> Result<PackedUpdate> {
        let Self { recipe, lease, base, .. } = self;
        let payload = self.strategy.pack(recipe, base, &mut state)?;
        self.state.save_carry(&state)?;
        let payload_hash: Hash = *blake3::hash(&payload).as_bytes();
        // Derived, so that a restarted process opens the same commitment. Secret until then.
        let salt = *blake3::Hasher::new_keyed(&self.salt_secret)
            .update(self.key().digest())
            .update(&payload_hash)
            .finalize()
            .as_bytes();
        let no_trace = || RoleError::fatal(anyhow!("a lease without segments"));
        let trace = Trace::from_leaves(journal.leaves.clone()).ok_or_else(no_trace)?;
        journal.reveal = Some(self.strategy.reveal(Reveal {
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
        let (Self { lease, base, .. }, key) = (self, self.key());
        if let Some(journal) = self.state.journal(&key)? {
            let state = self.state.load_state(&key, journal.segments(), base.len())?;
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
            let carry = self.state.load_carry(&lease.carry, base.len())?;
            state = TrainingState { parameters: state.parameters, ..carry };
        }
        let expected = state_leaf(&lease.base_root, &lease.carry);
        if state.leaf() != expected {
            return Err(RoleError::fatal(anyhow!(
                "the state in {} is not the one the lease starts from",
                self.state.path().display()
            )));
        }
        let journal = Journal::new(key, lease.due_round, expected);
        self.state.save_state(&key, 0, &state)?;
        self.state.write_journal(&journal)?;
        Ok((journal, state))
    }
}
