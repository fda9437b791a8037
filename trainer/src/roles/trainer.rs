//! Leases data, trains, commits and reveals.

use super::{
    Follower, Role, RoleTask,
    measurer::{Found, Measurer},
    responder::AuditResponder,
};
use crate::{
    context::{NodeContext, payload_tag, submit_housekeeping},
    data::{ShardReader, lease_tag},
    display::short_hash,
    error::{Result, RoleError},
    state::{Journal, StateFolder},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::{AccountId, Call, Signer};
use pol_engine::{LeaseData, LeaseJob, Trace, TrainingState};
use pol_primitives::{
    Hash, MILLION,
    lease::Lease,
    metrics::ClaimedMetrics,
    peer::Role as PeerRole,
    recipe::{Recipe, Tier},
    round::Phase,
    submission::{Claims, Outcome, Reveal, Status, Submission},
    trace::state_leaf,
    view::Overview,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};
use tokio::task::JoinHandle;

/// What a trainer's machine gives.
#[derive(Clone, Copy, Debug)]
pub struct TrainerConfig {
    /// Size of a lease.
    pub tier: Tier,
    /// Threads that train.
    pub workers: usize,
    /// Bytes of training states kept for updates that are not settled.
    pub state_budget: u64,
}

/// A trainer's state between blocks.
pub struct Trainer<C> {
    peer: NodeContext,
    signer: Signer,
    work: TrainerConfig,
    strategy: C,
    follower: Follower,
    shards: ShardReader,
    training: Option<Training>,
    /// The lease, by its nonce, that this folder cannot finish.
    given_up: Option<u32>,
    /// Whether leases are out of reach, which was said.
    barred: bool,
    /// AuditResponder for updates that are not settled.
    answers: RoleTask,
    /// Measures of new heads, and what they found.
    measurer: RoleTask,
    found: Found,
}

/// Training in the background. Dropping it asks it to stop.
struct Training {
    nonce: u32,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Option<Packed>>>,
}

impl Drop for Training {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The update of a lease, ready to be sent.
struct Packed {
    journal: Journal,
    payload: Vec<u8>,
}

impl<C: Strategy> Trainer<C> {
    /// A trainer for the account of `signer`. Called within a runtime: audits of its updates are
    /// answered, and heads measured, in tasks.
    pub fn new(peer: NodeContext, signer: Signer, work: TrainerConfig, strategy: C) -> Self {
        let (follower, shards) = (Follower::new(peer.clone()), ShardReader::new(peer.clone()));
        let answers = RoleTask::new(AuditResponder::new(
            peer.clone(),
            signer.clone(),
            work.workers,
            strategy.clone(),
        ));
        let measurer = Measurer::new(peer.clone(), None);
        let found = measurer.found();
        Self {
            peer,
            signer,
            work,
            strategy,
            follower,
            shards,
            training: None,
            given_up: None,
            barred: false,
            answers,
            measurer: RoleTask::new(measurer),
            found,
        }
    }

    fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// Ends what the chain no longer waits for, and learns how it ended.
    async fn conclude(&mut self, lease: &Lease) -> Result<()> {
        self.training = None;
        // A validator that takes this trainer for gone may have been faster.
        submit_housekeeping(
            &self.peer.chain,
            &self.signer,
            Call::Conclude { account: self.account() },
        )
        .await?;
        let round = lease.due_round;
        let history = self.peer.chain.history(round).await?;
        let settled = history.into_iter().find(|(account, _)| *account == self.account());
        match settled.map(|(_, settled)| settled.outcome) {
            Some(Outcome::NoShow) => tracing::warn!(
                "round {round}: the commitment was never opened; a penalty was taken"
            ),
            Some(Outcome::Excluded) => {
                tracing::warn!(
                    "round {round}: the update was not included; its data returns to the pool"
                )
            }
            None if self.submission(lease).await?.is_none() => {
                tracing::warn!("round {round}: the lease ran out; its data returns to the pool")
            }
            _ => tracing::info!(
                "round {round}: the update is part of the model, and will be audited"
            ),
        }
        let standing = self.peer.chain.standing(&self.account()).await?;
        self.peer.state.keep_carry(&standing.carry)?;
        Ok(())
    }

    async fn submission(&self, lease: &Lease) -> Result<Option<Submission>> {
        let submissions = self.peer.chain.submissions(lease.due_round).await?;
        Ok(submissions
            .into_iter()
            .find(|(account, _)| *account == self.account())
            .map(|(_, submission)| submission))
    }

    /// Whether the chain would lease to this account. A call that it refuses costs its fee and
    /// takes the place of another in the block.
    async fn may_join(&mut self) -> Result<bool> {
        let member = self.peer.chain.member(&self.account()).await?;
        let may = member.is_some_and(|member| {
            member.role == PeerRole::Trainer && member.role.is_backed_by(member.bond)
        });
        if !may && !std::mem::replace(&mut self.barred, true) {
            tracing::error!(
                "{} is not bonded as a trainer any more: the bond was withdrawn, or penalties have used it up. Start this process again to bond \
                 anew",
                self.signer.ss58()
            );
        }
        self.barred = !may;
        Ok(may)
    }

    async fn join(&mut self, recipe: &Recipe) -> Result<()> {
        let standing = self.peer.chain.standing(&self.account()).await?;
        // Others may have concluded the last lease, and a rewrite of the model forgets what was
        // carried.
        self.peer.state.keep_carry(&standing.carry)?;
        if standing.carry != [0; 32] && !self.peer.state.has_carry(&standing.carry) {
            tracing::warn!(
                "the optimiser state {} is not on this machine; starting with a fresh one",
                short_hash(&standing.carry)
            );
            self.peer.chain.submit(&self.signer, Call::ResetCarry).await?;
        }
        self.peer.chain.submit(&self.signer, Call::JoinRound { tier: self.work.tier }).await?;
        if let Some(lease) = self.peer.chain.lease(&self.account()).await? {
            let tokens = lease.tokens(recipe, recipe.tier(self.work.tier).inner_steps);
            tracing::info!(
                "round {}: leased {} shards, {tokens} tokens",
                lease.round,
                lease.shards.len()
            );
        }
        Ok(())
    }

    /// Waits for the lease's round to end without working for it.
    fn give_up(&mut self, lease: &Lease, why: &str) {
        tracing::warn!(
            "round {}: {why}; this lease is lost, and the next one starts without it",
            lease.due_round
        );
        self.given_up = Some(lease.nonce);
    }

    /// Starts training the lease, or goes on with it.
    async fn train(&mut self, recipe: &Recipe, lease: &Lease) -> Result<()> {
        let begun = self.peer.state.journal(lease.nonce)?.is_some();
        if lease.carry != [0; 32] && !begun && !self.peer.state.has_carry(&lease.carry) {
            self.give_up(lease, "the optimiser state that it starts from is not on this machine");
            return Ok(());
        }
        let model = self.follower.lease_base(lease, recipe).await?;
        let data =
            self.shards.lease_data(recipe, &lease.shards, &[], &lease_tag(lease.nonce)).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let inputs = Inputs {
            recipe: recipe.clone(),
            lease: lease.clone(),
            account: self.account(),
            base: model.parameters,
            data: self.strategy.data(recipe, data),
            work: self.work,
            strategy: self.strategy.clone(),
            salt_secret: self.peer.state.peer_secret()?,
            state: self.peer.state.clone(),
            stop: stop.clone(),
        };
        let task = tokio::task::spawn_blocking(move || inputs.train());
        self.training = Some(Training { nonce: lease.nonce, stop, task });
        Ok(())
    }

    /// The finished update of the lease, if there is one; starts or follows the training when there
    /// is not.
    ///
    /// Training the same lease again gives the same update, so a folder that lost one may still
    /// open its commitment.
    async fn packed(&mut self, recipe: &Recipe, lease: &Lease) -> Result<Option<Journal>> {
        if let Some(journal) = self.peer.state.journal(lease.nonce)?
            && let Some(reveal) = &journal.reveal
            && self.peer.swarm.has(reveal.payload_hash).await?
        {
            return Ok(Some(journal));
        }
        match &self.training {
            Some(training) if training.nonce == lease.nonce => {
                if !training.task.is_finished() {
                    return Ok(None);
                }
            }
            _ => {
                self.train(recipe, lease).await?;
                return Ok(None);
            }
        }
        let Some(mut training) = self.training.take() else { return Ok(None) };
        let Some(Packed { journal, payload }) = (&mut training.task).await?? else {
            return Ok(None);
        };
        let Some(reveal) = &journal.reveal else { return Ok(None) };
        let bytes = payload.len();
        self.peer.swarm.add(payload.into(), &payload_tag(&reveal.payload_hash)).await?;
        self.peer.state.write_journal(&journal)?;
        tracing::info!(
            "round {}: trained {} steps at {:.0} tokens/s, loss {:.3} to {:.3}, payload {bytes} bytes",
            lease.due_round,
            reveal.steps,
            journal.speed,
            journal.losses.first().copied().unwrap_or_default(),
            journal.losses.last().copied().unwrap_or_default(),
        );
        Ok(Some(journal))
    }
}

impl<C: Strategy> Role for Trainer<C> {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        self.answers.step(overview).await?;
        let Some(recipe) = self.follower.recipe(overview).await? else { return Ok(()) };
        // Kept up to date for the next lease and for peers.
        if self.follower.model(overview, &recipe).await?.is_none() {
            return Ok(());
        }
        self.measurer.step(overview).await?;
        let round = &overview.round;
        let Some(lease) = self.peer.chain.lease(&self.account()).await? else {
            // The call takes effect in the next block at the earliest.
            return if round.joinable(overview.now + 1) && self.may_join().await? {
                self.join(&recipe).await
            } else {
                Ok(())
            };
        };
        if lease.due_round < round.number {
            return self.conclude(&lease).await;
        }
        if lease.recipe != recipe.hash() {
            // Its work cannot be committed any more.
            self.training = None;
            return Ok(());
        }
        if self.given_up == Some(lease.nonce) {
            return Ok(());
        }
        let submission = self.submission(&lease).await?;
        if submission.as_ref().is_some_and(|submission| submission.status != Status::Committed) {
            return Ok(());
        }
        let Some(journal) = self.packed(&recipe, &lease).await? else { return Ok(()) };
        let Some(reveal) = journal.reveal.clone().filter(|_| lease.due_round == round.number)
        else {
            return Ok(());
        };
        let commitment =
            reveal.commitment(&self.account(), &self.peer.chain.genesis(), lease.due_round);
        match (submission, round.phase) {
            (None, Phase::Train) => {
                // Committing does not wait for what is not found yet.
                let metrics = self
                    .found
                    .borrow()
                    .iter()
                    .find(|(root, _)| *root == lease.base_root)
                    .map(|(_, found)| *found);
                let claims = self.strategy.claims(claims(&journal, metrics));
                let call = Call::Commit { round: lease.due_round, commitment, claims };
                self.peer.chain.submit(&self.signer, call).await?;
                tracing::info!("round {}: committed", lease.due_round);
            }
            (Some(submission), _) if submission.commitment != commitment => {
                self.give_up(&lease, "it was committed with another folder or another peer.key");
            }
            (Some(_), Phase::Reveal) => {
                self.peer
                    .chain
                    .submit(&self.signer, Call::Reveal { round: lease.due_round, reveal })
                    .await?;
                tracing::info!("round {}: revealed", lease.due_round);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Everything a lease's training is made of.
struct Inputs<C> {
    recipe: Recipe,
    lease: Lease,
    account: AccountId,
    base: Arc<Vec<f32>>,
    data: LeaseData,
    work: TrainerConfig,
    strategy: C,
    salt_secret: [u8; 32],
    state: Arc<StateFolder>,
    stop: Arc<AtomicBool>,
}

impl<C: Strategy> Inputs<C> {
    /// Trains what is left of the lease and packs the update; none when asked to stop.
    fn train(&self) -> Result<Option<Packed>> {
        let Self { recipe, lease, base, .. } = self;
        let (mut journal, mut state) = self.resume()?;
        let job = LeaseJob {
            recipe,
            lease,
            account: &self.account,
            data: &self.data,
            workers: self.work.workers,
        };
        let steps_per_segment = recipe.steps_per_segment(lease.tier);
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
            self.state.save_state(lease.nonce, journal.segments(), &state)?;
            self.state.write_journal(&journal)?;
            self.state.thin(self.work.state_budget)?;
            tracing::info!(
                "round {}: segment {}/{}, loss {:.3}, {:.0} tokens/s",
                lease.due_round,
                segment + 1,
                recipe.segments,
                report.loss,
                journal.speed
            );
        }
        let payload = self.strategy.pack(recipe, base, &mut state)?;
        self.state.save_carry(&state)?;
        let payload_hash: Hash = *blake3::hash(&payload).as_bytes();
        // Derived, so that a restart opens the same commitment; secret until then.
        let salt = *blake3::Hasher::new_keyed(&self.salt_secret)
            .update(&lease.nonce.to_le_bytes())
            .update(&payload_hash)
            .finalize()
            .as_bytes();
        let no_trace = || RoleError::fatal(anyhow!("a lease without segments"));
        let trace = Trace::from_leaves(journal.leaves.clone()).ok_or_else(no_trace)?;
        journal.reveal = Some(self.strategy.reveal(Reveal {
            payload_hash,
            trace_root: trace.root(),
            carry_hash: state.carry().hash(),
            steps: recipe.segments * steps_per_segment,
            first_leaf: trace.proof(0).ok_or_else(no_trace)?,
            salt,
        }));
        Ok(Some(Packed { journal, payload }))
    }

    /// Where the training stands: what the journal says, or the lease's start.
    fn resume(&self) -> Result<(Journal, TrainingState)> {
        let Self { lease, base, .. } = self;
        if let Some(journal) = self.state.journal(lease.nonce)? {
            let state = self.state.load_state(lease.nonce, journal.segments(), base.len())?;
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
        let journal = Journal::new(lease.nonce, lease.due_round, expected);
        self.state.save_state(lease.nonce, 0, &state)?;
        self.state.write_journal(&journal)?;
        Ok((journal, state))
    }
}

/// The journal's figures, and what was found of the head before, as the trainer's own claims.
fn claims(journal: &Journal, metrics: Option<ClaimedMetrics>) -> Claims {
    let micro = |loss: Option<&f64>| loss.map_or(0, |loss| (loss * f64::from(MILLION)) as u32);
    Claims {
        first_loss: micro(journal.losses.first()),
        last_loss: micro(journal.losses.last()),
        tokens_per_second: journal.speed as u32,
        metrics,
    }
}
