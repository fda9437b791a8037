// SPDX-License-Identifier: Apache-2.0

//! The trainer's role: lease data, train, commit and reveal.

use super::{
    follower::HeadFollower,
    lease_training::{LeaseTraining, PackedUpdate},
    measurer::{HeadMeasurer, HeadMetrics},
    responder::AuditResponder,
    runner::{BlockHandler, OverviewSender},
    tasks::RoleTask,
};
use crate::{
    context::{NodeContext, payload_tag, submit_housekeeping},
    data::{ShardReader, lease_tag},
    display::short_hash,
    error::{Result, RoleError, explain},
    state::{Journal, LeaseKey},
    strategy::Strategy,
};
use pol_chain::{AccountId, Call, ChainError, Signer};
use pol_primitives::{
    Hash, MAX_SUBMISSIONS, MILLION, RoundNumber,
    lease::Lease,
    member::Role,
    metrics::MetricsClaim,
    queries::Overview,
    recipe::{Recipe, Tier},
    round::Phase,
    submission::{Outcome, Submission, SubmissionStatus, TrainingClaims},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::task::JoinHandle;

/// Resources that a trainer uses.
#[derive(Clone, Copy, Debug)]
pub struct TrainerConfig {
    /// Size of a lease.
    pub tier: Tier,
    /// Threads that train.
    pub workers: usize,
    /// Disk space for the training states of updates that are not settled, in bytes.
    pub state_budget: u64,
}

/// The trainer's role.
pub struct Trainer<S> {
    context: NodeContext,
    signer: Signer,
    config: TrainerConfig,
    strategy: S,
    follower: HeadFollower,
    shards: ShardReader,
    training: Option<TrainingTask>,
    /// The lease that this folder cannot finish.
    given_up: Option<LeaseKey>,
    /// Round that had no place for this trainer.
    refused: Option<RoundNumber>,
    /// Set once the log says that the lease is not final.
    waiting: bool,
    /// Set once the log says that the account cannot lease.
    barred: bool,
    /// Set once the log says that finality lags too far for a lease.
    lagging: bool,
    responder: RoleTask,
    measurer: RoleTask,
    head_metrics: HeadMetrics,
}

/// Training in the background. Dropping it asks it to stop.
struct TrainingTask {
    lease: LeaseKey,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Option<PackedUpdate>>>,
}

impl Drop for TrainingTask {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl<S: Strategy> Trainer<S> {
    /// Creates a trainer for the account of `signer`. Must be called within a tokio runtime: tasks
    /// answer the audits of its updates and measure heads.
    pub fn new(context: NodeContext, signer: Signer, config: TrainerConfig, strategy: S) -> Self {
        let responder =
            AuditResponder::new(context.clone(), signer.clone(), config.workers, strategy.clone());
        let measurer = HeadMeasurer::new(context.clone(), None);
        let head_metrics = measurer.subscribe();
        Self {
            follower: HeadFollower::new(context.clone()),
            shards: ShardReader::new(context.clone()),
            context,
            signer,
            config,
            strategy,
            training: None,
            given_up: None,
            refused: None,
            waiting: false,
            barred: false,
            lagging: false,
            responder: RoleTask::new(responder),
            measurer: RoleTask::new(measurer),
            head_metrics,
        }
    }

    fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// Concludes a lease whose round has ended, and logs the outcome.
    async fn conclude(&mut self, lease: &Lease) -> Result<()> {
        self.training = None;
        let (context, account, round) = (&self.context, self.account(), lease.due_round);
        // A validator that takes this trainer for gone may have concluded the lease already.
        submit_housekeeping(&context.chain, &self.signer, Call::Conclude { account }).await?;
        let history = context.chain.history(round).await?;
        let record = history.into_iter().find(|(trainer, _)| *trainer == account);
        match record.map(|(_, record)| record.outcome) {
            Some(Outcome::NoShow) => tracing::warn!(
                "round {round}: the commitment was never opened; a penalty was taken"
            ),
            Some(Outcome::Excluded) => tracing::warn!(
                "round {round}: the update was not included; its data returns to the pool"
            ),
            None if self.submission(lease).await?.is_none() => {
                tracing::warn!("round {round}: the lease ran out; its data returns to the pool");
            }
            _ => tracing::info!(
                "round {round}: the update is part of the model, and will be audited"
            ),
        }
        self.retain_carries().await.map(drop)
    }

    /// Removes optimiser states that no lease can start from, and returns the carry of the next
    /// lease.
    async fn retain_carries(&self) -> Result<Hash> {
        let (context, account) = (&self.context, self.account());
        let next = context.chain.standing(&account).await?.carry;
        // A reorganisation may bring this one back.
        let firm = context.chain.at(context.firm_block().await?.hash);
        let firm = firm.standing(&account).await?.carry;
        context.state.retain_carries(&[next, firm])?;
        Ok(next)
    }

    /// Returns this account's submission for the lease's round, if there is one.
    async fn submission(&self, lease: &Lease) -> Result<Option<Submission>> {
        let submissions = self.context.chain.submissions(lease.due_round).await?;
        Ok(submissions
            .into_iter()
            .find(|(account, _)| *account == self.account())
            .map(|(_, submission)| submission))
    }

    /// Returns `true` if the chain would lease to this account.
    async fn may_join(&mut self) -> Result<bool> {
        let member = self.context.chain.member(&self.account()).await?;
        let may_join = member.is_some_and(|member| member.role == Role::Trainer && member.bonded);
        if !may_join && !std::mem::replace(&mut self.barred, true) {
            tracing::error!(
                "{} is not bonded as a trainer any more: the bond was withdrawn, or penalties have \
                 used it up. Start this process again to bond anew",
                self.signer.ss58()
            );
        }
        self.barred = !may_join;
        Ok(may_join)
    }

    /// Returns `true` if a lease taken now would be final in time for its commitment. Until it is
    /// final, nothing is committed, and a lease that lapses costs part of the bond.
    async fn is_final_in_time(&mut self, overview: &Overview) -> Result<bool> {
        let firm = self.context.firm_block().await?.number;
        let lags = lags_too_far(overview.height, firm, overview.config.train);
        if lags && !std::mem::replace(&mut self.lagging, true) {
            tracing::warn!(
                "block {firm} is the last final one, too far behind block {}; leasing nothing \
                 until finality catches up",
                overview.height
            );
        }
        self.lagging = lags;
        Ok(!lags)
    }

    /// Returns `true` if the round has a place and data for another lease, as far as can be seen.
    fn has_room(&self, overview: &Overview, recipe: &Recipe) -> bool {
        let (round, tier) = (&overview.round, self.config.tier);
        // A lease that lasts longer is due in a later round, whose leases are not counted here.
        let is_due_now = recipe.tier(tier).cadence <= 1;
        // The call takes effect in the next block at the earliest.
        round.is_joinable(overview.now + 1)
            && overview.free_shards > 0
            && !(is_due_now && round.due >= MAX_SUBMISSIONS)
            && self.refused != Some(round.number)
    }

    /// Takes a lease.
    async fn join(&mut self, overview: &Overview, recipe: &Recipe) -> Result<()> {
        let (chain, state, tier) = (&self.context.chain, &self.context.state, self.config.tier);
        // Another member may have concluded the last lease, and a rewrite of the model drops the
        // carry.
        let carry = self.retain_carries().await?;
        if carry != [0; 32] && !state.has_carry(&carry) {
            tracing::warn!(
                "the optimiser state {} is not on this machine; starting with a fresh one",
                short_hash(&carry)
            );
            chain.submit(&self.signer, Call::ResetCarry).await?;
        }
        let joined = chain.submit(&self.signer, Call::JoinRound { tier }).await;
        if let Err(ChainError::Refused { error, .. }) = &joined
            && error == "RoundIsFull"
        {
            tracing::info!("the round is full; waiting for the next one");
            self.refused = Some(overview.round.number);
            return Ok(());
        }
        joined?;
        if let Some(lease) = chain.lease(&self.account()).await? {
            let tokens = lease.tokens(recipe, recipe.tier(tier).inner_steps);
            tracing::info!(
                "round {}: leased {} shards, {tokens} tokens",
                lease.round,
                lease.shards.len()
            );
        }
        Ok(())
    }

    /// Gives up the lease: waits for its round to end without working for it.
    fn give_up(&mut self, lease: &Lease, reason: &str) {
        tracing::warn!(
            "round {}: {reason}; this lease is lost, and the next one starts without it",
            lease.due_round
        );
        self.training = None;
        self.given_up = Some(LeaseKey::of(lease));
    }

    /// Starts or resumes the training of the lease.
    async fn start_training(&mut self, recipe: &Recipe, lease: &Lease) -> Result<()> {
        let (state, key) = (self.context.state.clone(), LeaseKey::of(lease));
        let is_started = state.journal(&key)?.is_some();
        if lease.carry != [0; 32] && !is_started && !state.has_carry(&lease.carry) {
            self.give_up(lease, "the optimiser state that it starts from is not on this machine");
            return Ok(());
        }
        let model = self.follower.lease_base(lease, recipe).await?;
        let data = self.shards.lease_data(recipe, &lease.shards, &[], &lease_tag(&key)).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let training = LeaseTraining {
            recipe: recipe.clone(),
            lease: lease.clone(),
            account: self.account(),
            base: model.parameters,
            data: self.strategy.data(recipe, data),
            workers: self.config.workers,
            state_budget: self.config.state_budget,
            strategy: self.strategy.clone(),
            salt_secret: state.peer_secret()?,
            state,
            stop: stop.clone(),
        };
        let task = tokio::task::spawn_blocking(move || training.run());
        self.training = Some(TrainingTask { lease: key, stop, task });
        Ok(())
    }

    /// Returns the journal of the finished lease. Starts the training or waits for it if the lease
    /// is not finished.
    ///
    /// Training the same lease again gives the same update, so a folder that lost one may still
    /// open its commitment.
    async fn finished_journal(
        &mut self,
        recipe: &Recipe,
        lease: &Lease,
    ) -> Result<Option<Journal>> {
        let key = LeaseKey::of(lease);
        if let Some(journal) = self.context.state.journal(&key)?
            && let Some(reveal) = &journal.reveal
            && self.context.swarm.has(reveal.payload_hash).await?
        {
            return Ok(Some(journal));
        }
        match &self.training {
            Some(training) if training.lease == key => {
                if !training.task.is_finished() {
                    return Ok(None);
                }
            }
            // Training of the lease that another fork gave stops here.
            _ => {
                self.start_training(recipe, lease).await?;
                return Ok(None);
            }
        }
        let Some(mut training) = self.training.take() else { return Ok(None) };
        let trained = match (&mut training.task).await? {
            Err(RoleError::Transient(error)) => {
                // Training it again would end the same.
                self.give_up(lease, &format!("it cannot be trained: {}", explain(&error)));
                return Ok(None);
            }
            trained => trained?,
        };
        let Some(PackedUpdate { journal, payload }) = trained else { return Ok(None) };
        let Some(reveal) = &journal.reveal else { return Ok(None) };
        let bytes = payload.len();
        self.context.swarm.add(payload.into(), &payload_tag(lease.due_round)).await?;
        self.context.state.write_journal(&journal)?;
        tracing::info!(
            "round {}: trained {} steps at {:.0} tokens/s, loss {:.3} to {:.3}, payload {bytes} \
             bytes",
            lease.due_round,
            reveal.steps,
            journal.speed,
            journal.losses.first().copied().unwrap_or_default(),
            journal.losses.last().copied().unwrap_or_default(),
        );
        Ok(Some(journal))
    }

    /// Trains the lease, and commits and reveals its update when the chain waits for it.
    async fn work_on(&mut self, overview: &Overview, recipe: &Recipe, lease: &Lease) -> Result<()> {
        let round = &overview.round;
        let submission = self.submission(lease).await?;
        if submission
            .as_ref()
            .is_some_and(|submission| submission.status != SubmissionStatus::Committed)
        {
            return Ok(());
        }
        let Some(journal) = self.finished_journal(recipe, lease).await? else { return Ok(()) };
        let Some(reveal) = journal.reveal.clone().filter(|_| lease.due_round == round.number)
        else {
            return Ok(());
        };
        let (chain, due_round) = (&self.context.chain, lease.due_round);
        let commitment = reveal.commitment(&self.account(), &chain.genesis_hash(), due_round);
        match (submission, round.phase) {
            (None, Phase::Train) => {
                let Some(firm) = self.firm_lease(lease).await? else { return Ok(()) };
                let claims = self.claims(&journal, lease);
                let call = Call::Commit { round: due_round, commitment, claims };
                self.context.chain.at(firm).submit(&self.signer, call).await?;
                tracing::info!("round {due_round}: committed");
            }
            (Some(submission), _) if submission.commitment != commitment => {
                self.give_up(lease, "it was committed with another folder or another peer.key");
            }
            (Some(_), Phase::Reveal) => {
                chain.submit(&self.signer, Call::Reveal { round: due_round, reveal }).await?;
                tracing::info!("round {due_round}: revealed");
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the [firm](NodeContext::firm_block) block if it has `lease`, so that the commitment
    /// is bound to it, or `None` if it does not yet: a commitment to the update of a lease that a
    /// fork replaces would cost the bond. Work on a replaced lease is forgotten.
    async fn firm_lease(&mut self, lease: &Lease) -> Result<Option<Hash>> {
        let (context, key) = (&self.context, LeaseKey::of(lease));
        let firm = context.firm_block().await?;
        let found = context.chain.at(firm.hash).lease(&self.account()).await?;
        if found.is_some_and(|found| LeaseKey::of(&found) == key) {
            for other in context.state.leases()? {
                if other.nonce == key.nonce && other != key {
                    context.swarm.release(&lease_tag(&other)).await?;
                    context.state.forget_lease(&other)?;
                }
            }
            self.waiting = false;
            return Ok(Some(firm.hash));
        }
        if !std::mem::replace(&mut self.waiting, true) {
            tracing::info!("round {}: waiting for the lease to be final", lease.due_round);
        }
        Ok(None)
    }

    /// Returns the trainer's claims: figures of the journal, and metrics of the lease's base if
    /// they are measured by now. Committing does not wait for them.
    fn claims(&self, journal: &Journal, lease: &Lease) -> TrainingClaims {
        let metrics: Option<MetricsClaim> = self
            .head_metrics
            .borrow()
            .iter()
            .find(|(root, _)| *root == lease.base_root)
            .map(|(_, metrics)| *metrics);
        let micro = |loss: Option<&f64>| loss.map_or(0, |loss| (loss * f64::from(MILLION)) as u32);
        self.strategy.claims(TrainingClaims {
            first_loss: micro(journal.losses.first()),
            last_loss: micro(journal.losses.last()),
            tokens_per_second: journal.speed as u32,
            metrics,
        })
    }
}

/// Returns `true` if block `firm` is further behind block `best` than the `train` phase is long.
fn lags_too_far(best: u32, firm: u32, train: u32) -> bool {
    best.saturating_sub(firm) > train
}

impl<S: Strategy> BlockHandler for Trainer<S> {
    async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        self.responder.check().await?;
        let Some(recipe) = self.follower.recipe(overview).await? else { return Ok(()) };
        // The model is kept up to date for the next lease and for peers.
        if self.follower.model(overview).await?.is_none() {
            return Ok(());
        }
        self.measurer.on_block(overview).await?;
        let round = &overview.round;
        let Some(lease) = self.context.chain.lease(&self.account()).await? else {
            return if self.has_room(overview, &recipe)
                && self.is_final_in_time(overview).await?
                && self.may_join().await?
            {
                self.join(overview, &recipe).await
            } else {
                Ok(())
            };
        };
        if lease.due_round < round.number {
            return self.conclude(&lease).await;
        }
        if lease.recipe != recipe.hash() {
            // Its update cannot be committed any more.
            self.training = None;
            return Ok(());
        }
        if self.given_up == Some(LeaseKey::of(&lease)) {
            return Ok(());
        }
        self.work_on(overview, &recipe, &lease).await
    }

    fn tasks(&self) -> Vec<OverviewSender> {
        vec![self.responder.sender()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_wait_for_finality_that_lags_longer_than_training_lasts() {
        assert!(!lags_too_far(200, 100, 100) && lags_too_far(201, 100, 100));
        assert!(!lags_too_far(5, 6, 0), "the best block may be read before the final one");
    }
}
