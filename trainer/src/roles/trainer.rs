// SPDX-License-Identifier: Apache-2.0

//! The trainer's role: lease data, train, commit and reveal.

use super::{
    follower::HeadFollower,
    lease_training::{LeaseWork, PackedUpdate},
    measurer::{HeadMeasurer, HeadMetrics},
    responder::{AuditResponder, count_outcome},
    runner::{BlockHandler, OverviewSender},
    sole_process::SoleProcess,
    tasks::{BackgroundTask, RoleTask, compute},
};
use crate::{
    context::{BondRaise, NodeContext, own_key_advice, submit_housekeeping},
    control::{ActivityKind, PlanState, Progress, WorkEvent},
    data::{contents, lease_tag},
    disk,
    display::{format_amount, short_hash},
    error::{Result, RoleError, explain},
    state::{Journal, LeaseKey, StateError},
    strategy::Strategy,
};
use pol_chain::{AccountId, Call, ChainError, Signer};
use pol_engine::check_arithmetic;
use pol_primitives::{
    Balance, Hash, MAX_SUBMISSIONS, MILLION, RoundNumber,
    lease::Lease,
    member::{Role, UPDATE_LOCK},
    metrics::MetricsClaim,
    queries::{Member, Overview},
    recipe::{Recipe, Tier},
    round::{Phase, Round},
    submission::{Outcome, Submission, SubmissionStatus, TrainingClaims},
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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
    sole: SoleProcess,
    config: TrainerConfig,
    strategy: S,
    follower: HeadFollower,
    /// Set once this process had the newest head, so that it can soon have the next.
    had_head: bool,
    training: Option<TrainingTask>,
    /// The lease that this folder cannot finish.
    given_up: Option<LeaseKey>,
    /// Round that had no place for this trainer.
    refused: Option<RoundNumber>,
    /// Round in which this trainer took a place.
    placed: Option<RoundNumber>,
    /// Set once the log says that places are still drawn.
    contested: bool,
    /// Set once the log says that the lease is not final.
    waiting: bool,
    /// Set once the log says that the account cannot lease.
    barred: bool,
    /// Set once the log says that the bond does not cover another update.
    locked: bool,
    /// Set once an update was found to be invalid.
    convicted: Arc<AtomicBool>,
    /// Set once the log says that finality lags too far for a lease.
    lagging: bool,
    /// `true` while the disk has no space for another update.
    crowded: bool,
    /// Set once the states of a lease have less space than its audit needs.
    is_scarce: Arc<AtomicBool>,
    /// Optimiser state that was read and is sound, or was written by this process.
    sound_carry: Option<Hash>,
    responder: RoleTask,
    measurer: RoleTask,
    head_metrics: HeadMetrics,
}

/// Training in the background. It stops when this value is dropped.
struct TrainingTask {
    lease: LeaseKey,
    /// Work that fails while the input of the lease cannot be had. Its result is an error if the
    /// lease cannot be trained.
    work: BackgroundTask<Result<PackedUpdate>>,
}

impl<S: Strategy> Trainer<S> {
    /// Creates a trainer for the account of `signer`. Must be called within a tokio runtime: tasks
    /// answer the audits of its updates and measure heads.
    pub fn new(context: NodeContext, signer: Signer, config: TrainerConfig, strategy: S) -> Self {
        let responder = AuditResponder::new(
            context.with_own_turns(),
            signer.clone(),
            config.workers,
            strategy.clone(),
        );
        let measurer = HeadMeasurer::new(context.clone(), None);
        let head_metrics = measurer.subscribe();
        pol_metrics::trainer().worker_threads.set(config.workers as f64);
        pol_metrics::trainer().last_commitment_timestamp_seconds.set_now();
        Self {
            follower: HeadFollower::new(context.clone()),
            sole: SoleProcess::new(context.clone(), signer.clone()),
            context,
            signer,
            config,
            strategy,
            had_head: false,
            training: None,
            given_up: None,
            refused: None,
            placed: None,
            contested: false,
            waiting: false,
            barred: false,
            locked: false,
            convicted: responder.convicted(),
            lagging: false,
            crowded: false,
            is_scarce: Arc::default(),
            sound_carry: None,
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
        if let Some((_, record)) = &record {
            count_outcome(record.outcome);
        }
        let (included, sentence) = match record.map(|(_, record)| record.outcome) {
            Some(Outcome::NoShow) => {
                (false, "the commitment was never opened; a penalty was taken")
            }
            Some(Outcome::Excluded) => {
                (false, "the update was not included; its data returns to the pool")
            }
            None if self.submission(lease).await?.is_none() => {
                (false, "the lease ran out; its data returns to the pool")
            }
            _ => (true, "the update is part of the model, and will be audited"),
        };
        if included {
            tracing::info!("round {round}: {sentence}");
        } else {
            tracing::warn!("round {round}: {sentence}");
        }
        self.context.control.note_outcome(round, included, sentence);
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
        // A node that lags does not know yet what the last lease left.
        let own = context.state.newest_carry()?;
        context.state.retain_carries(&[next, firm, own.unwrap_or(next)])?;
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
        let member = member.filter(|member| member.role == Role::Trainer && member.bonded);
        let may_join = member.is_some();
        if !may_join && !std::mem::replace(&mut self.barred, true) {
            tracing::error!(
                "{} is not bonded as a trainer any more: the bond was withdrawn, or penalties have \
                 used it up. Start this process again to bond anew",
                self.signer.ss58()
            );
        }
        self.barred = !may_join;
        match member {
            Some(member) => self.covers_another(&member).await,
            None => Ok(false),
        }
    }

    /// Returns `true` if the bond covers another update, beside those that wait for their audits.
    /// Raises it if it does not and the balance allows, unless an update was found to be invalid: a
    /// machine that computes wrongly would use up the balance in this way.
    async fn covers_another(&mut self, member: &Member<AccountId>) -> Result<bool> {
        let missing = missing_bond(member);
        if self.convicted.load(Ordering::Relaxed) {
            return Ok(missing == 0);
        }
        let raise = match missing {
            0 => BondRaise::Done,
            missing => self.context.raise_bond(&self.signer, missing).await?,
        };
        let covers = raise == BondRaise::Done;
        if !covers && !std::mem::replace(&mut self.locked, true) {
            let remedy = match raise {
                BondRaise::OwnKeyOnly => {
                    format!("to train meanwhile: {}", own_key_advice(&self.signer, missing))
                }
                _ => format!(
                    "the balance does not cover that; send {} some POL to train meanwhile",
                    self.signer.ss58()
                ),
            };
            tracing::warn!(
                "{} of the bond of {} back updates that wait for their audits, and another one \
                 needs {} more: waiting until one is settled. {remedy}",
                format_amount(member.locked),
                format_amount(member.bond),
                format_amount(missing)
            );
        }
        self.locked = !covers;
        Ok(covers)
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

    /// Returns `true` if the round can be joined, as far as can be seen. If its places are taken,
    /// this trainer may have a lower rank than somebody who has one.
    fn may_ask(&self, overview: &Overview) -> bool {
        let round = &overview.round;
        // The call takes effect in the next block at the earliest.
        round.is_joinable(overview.now + 1)
            && (overview.free_shards > 0 || round.due >= MAX_SUBMISSIONS)
            && self.refused != Some(round.number)
    }

    /// Returns `true` if the lease can still be lost to another trainer of lower rank, so that work
    /// on it may be in vain.
    fn may_lose(&mut self, overview: &Overview, lease: &Lease) -> bool {
        let round = &overview.round;
        let is_of_round = lease.round == round.number && lease.due_round == round.number;
        let may_lose = is_of_round && round.is_contested(overview.now + 1);
        if may_lose && !std::mem::replace(&mut self.contested, true) {
            tracing::info!(
                "round {}: all places are taken; training begins once they are drawn",
                round.number
            );
        }
        self.contested = may_lose;
        may_lose
    }

    /// Stops the work for a lease whose place went to another trainer.
    fn note_lost_place(&mut self, round: &Round) {
        if round.due >= MAX_SUBMISSIONS && self.placed.take() == Some(round.number) {
            self.training = None;
            self.context.control.note_lost_lease();
            tracing::info!(
                "round {}: more than {MAX_SUBMISSIONS} trainers asked for places, and others were \
                 drawn. This costs nothing, and the next round draws anew",
                round.number
            );
        }
    }

    /// Returns `true` if the disk has space for the states of another update.
    fn has_space(&mut self, recipe: &Recipe) -> Result<bool> {
        let shortage = match self.context.state.space(recipe.model.size()) {
            Ok(_) => None,
            Err(StateError::Disk(shortage)) => Some(shortage),
            Err(error) => return Err(error.into()),
        };
        if let Some(shortage) = &shortage
            && !self.crowded
        {
            tracing::warn!("{shortage}; leasing nothing until then");
        }
        self.crowded = shortage.is_some();
        // Those of updates that wait for their audits leave too little for another one.
        if self.is_scarce.load(Ordering::Relaxed) {
            let waits = !self.context.state.leases()?.is_empty();
            self.is_scarce.store(waits, Ordering::Relaxed);
            if waits {
                return Ok(false);
            }
        }
        // The store of blobs may need more.
        Ok(!self.crowded && !disk::is_full(self.context.state.path()))
    }

    /// Returns `true` if the optimiser state `carry` can be read from this folder. Another start of
    /// the process may have written it, and a lease that starts from a damaged one is lost.
    async fn has_carry(&mut self, carry: Hash, recipe: &Recipe) -> Result<bool> {
        if self.sound_carry == Some(carry) && self.context.state.has_carry(&carry) {
            return Ok(true);
        }
        self.sound_carry = None;
        let (state, parameters) = (self.context.state.clone(), recipe.model.size() as usize);
        let loaded = compute(move |_| Ok(state.load_carry(&carry, parameters).map(drop))).await?;
        match loaded {
            Ok(()) => self.sound_carry = Some(carry),
            Err(error) => tracing::warn!(
                "the optimiser state {} cannot be read from this machine ({error}); starting with \
                 a fresh one",
                short_hash(&carry)
            ),
        }
        Ok(self.sound_carry == Some(carry))
    }

    /// Takes a lease.
    async fn join(&mut self, overview: &Overview, recipe: &Recipe) -> Result<()> {
        // Another member may have concluded the last lease, and a rewrite of the model drops the
        // carry.
        let carry = self.retain_carries().await?;
        let has_carry = carry == [0; 32] || self.has_carry(carry, recipe).await?;
        let (chain, tier) = (&self.context.chain, self.config.tier);
        if !has_carry {
            chain.submit(&self.signer, Call::ResetCarry).await?;
        }
        let joined = chain.submit(&self.signer, Call::JoinRound { tier }).await;
        if let Err(ChainError::Refused { error, .. }) = &joined
            && error == "RoundIsFull"
        {
            tracing::info!(
                "round {}: others were drawn for all places; asking again in the next round",
                overview.round.number
            );
            self.refused = Some(overview.round.number);
            return Ok(());
        }
        joined?;
        if let Some(lease) = chain.lease(&self.account()).await? {
            self.placed = Some(lease.round);
            pol_metrics::trainer().leases_total.inc();
            let tokens = lease.tokens(recipe, recipe.tier(tier).inner_steps);
            let progress = Progress::new(lease.due_round, recipe, tier, lease.shards.len(), 0);
            self.context.control.note_lease(progress, tokens);
            let due = match lease.due_round {
                due if due > lease.round => format!(", due in round {due}"),
                _ => String::new(),
            };
            tracing::info!(
                "round {}: leased {} shards, {tokens} tokens{due}",
                lease.round,
                lease.shards.len()
            );
        }
        Ok(())
    }

    /// Reports a trainer without a lease, and ends one that was asked to stop and whose updates are
    /// all settled.
    async fn note_idle(&self) -> Result<()> {
        let control = &self.context.control;
        let (state, _, sentence) = control.state().plan();
        let kind = match state {
            PlanState::Running => ActivityKind::Waiting,
            PlanState::Paused => ActivityKind::Paused,
            PlanState::Stopping => ActivityKind::Stopping,
            PlanState::Stopped => return Ok(()),
        };
        control.note_no_lease(kind, &sentence);
        // Audits still ask for the states of updates that are in the folder.
        if state == PlanState::Stopping && self.context.state.leases()?.is_empty() {
            let firm = self.context.chain.at(self.context.firm_block().await?.hash);
            if firm.lease(&self.account()).await?.is_none() {
                control.end();
            }
        }
        Ok(())
    }

    /// Reports the work on a lease.
    fn note_work(&self, lease: &Lease, submission: Option<&Submission>) {
        let (kind, sentence) = match submission.map(|submission| submission.status) {
            None => (ActivityKind::Training, "trains its lease"),
            Some(SubmissionStatus::Committed) => {
                (ActivityKind::Committed, "has committed to its update")
            }
            Some(_) => (ActivityKind::Revealed, "has revealed its update"),
        };
        self.context.control.note(kind, Some(lease.due_round), sentence);
    }

    /// Gives up the lease: waits for its round to end without working for it.
    fn give_up(&mut self, lease: &Lease, reason: &str) {
        tracing::warn!(
            "round {}: {reason}; this lease is lost, and the next one starts without it",
            lease.due_round
        );
        self.training = None;
        self.given_up = Some(LeaseKey::of(lease));
        pol_metrics::trainer().abandoned_leases_total.inc();
    }

    /// Keeps the model up to date, for the next lease and for peers, and returns `true` if that of
    /// the newest head is here. Work on a lease goes on without it.
    async fn follow_head(&mut self, overview: &Overview) -> Result<bool> {
        let has_head = match self.follower.has_model(overview).await {
            Ok(has_head) => has_head,
            Err(error) => {
                error.log_transient()?;
                false
            }
        };
        if has_head {
            self.measurer.on_block(overview).await?;
        }
        Ok(has_head)
    }

    /// Fetches the input of the lease and starts or resumes its training, in the background.
    fn start_training(&self, recipe: &Recipe, lease: &Lease) -> TrainingTask {
        let work = LeaseWork {
            context: self.context.clone(),
            recipe: recipe.clone(),
            lease: lease.clone(),
            account: self.account(),
            workers: self.config.workers,
            state_budget: self.config.state_budget,
            is_scarce: self.is_scarce.clone(),
            strategy: self.strategy.clone(),
        };
        TrainingTask { lease: LeaseKey::of(lease), work: BackgroundTask::start(work.run()) }
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
        // Training of the lease that another fork gave stops here.
        let training = self.training.take().filter(|training| training.lease == key);
        let mut training = training.unwrap_or_else(|| self.start_training(recipe, lease));
        let Some(trained) = training.work.wait().await else {
            self.training = Some(training);
            return Ok(None);
        };
        let PackedUpdate { journal, bytes } = match trained? {
            Err(RoleError::Transient(error)) => {
                // Training it again would end the same.
                self.give_up(lease, &format!("it cannot be trained: {}", explain(&error)));
                return Ok(None);
            }
            trained => trained?,
        };
        let Some(reveal) = &journal.reveal else { return Ok(None) };
        self.sound_carry = Some(reveal.carry_hash);
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
        self.note_work(lease, submission.as_ref());
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
                let Some(firm) = self.firm_lease(lease, &journal.contents).await? else {
                    return Ok(());
                };
                let claims = self.claims(&journal, lease);
                let call = Call::Commit { round: due_round, commitment, claims };
                self.context.chain.at(firm).submit(&self.signer, call).await?;
                pol_metrics::trainer().commitments_total.inc();
                pol_metrics::trainer().last_commitment_timestamp_seconds.set_now();
                tracing::info!("round {due_round}: committed");
                self.context.control.send(WorkEvent::Commit { round: due_round });
            }
            (Some(submission), _) if submission.commitment != commitment => {
                self.give_up(
                    lease,
                    "it was committed with another folder or another peer.key, or was trained \
                     again under a profile that does not repeat bits",
                );
            }
            (Some(_), Phase::Reveal) => {
                chain.submit(&self.signer, Call::Reveal { round: due_round, reveal }).await?;
                pol_metrics::trainer().reveals_total.inc();
                tracing::info!("round {due_round}: revealed");
                self.context.control.send(WorkEvent::Reveal { round: due_round });
            }
            _ => {}
        }
        Ok(())
    }

    /// Returns the [firm](NodeContext::firm_block) block if it has `lease`, and data of the
    /// contents that it was `trained_on`, so that the commitment is bound to it. Returns `None` if
    /// it does not yet: a commitment to the update of a lease that a fork replaces would cost the
    /// bond. Work on a replaced lease or on replaced data is forgotten.
    async fn firm_lease(&mut self, lease: &Lease, trained_on: &Hash) -> Result<Option<Hash>> {
        let (context, key) = (&self.context, LeaseKey::of(lease));
        let firm = context.firm_block().await?;
        let chain = context.chain.at(firm.hash);
        let found = chain.lease(&self.account()).await?;
        if found.is_some_and(|found| LeaseKey::of(&found) == key) {
            let is_same_data = contents(&chain, &lease.shards).await? == *trained_on;
            for other in context.state.leases()? {
                if other.nonce == key.nonce && (other != key || !is_same_data) {
                    context.swarm.release(&lease_tag(&other)).await?;
                    context.state.forget_lease(&other)?;
                }
            }
            if !is_same_data {
                tracing::warn!(
                    "round {}: another fork registered the data under the same number; training \
                     again",
                    lease.due_round
                );
                self.training = None;
                return Ok(None);
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

/// Returns the amount by which the bond is too small for another update.
fn missing_bond(member: &Member<AccountId>) -> Balance {
    member.locked.saturating_add(UPDATE_LOCK).saturating_sub(member.bond)
}

/// Returns `true` if block `firm` is further behind block `best` than the `train` phase is long.
fn lags_too_far(best: u32, firm: u32, train: u32) -> bool {
    best.saturating_sub(firm) > train
}

impl<S: Strategy> BlockHandler for Trainer<S> {
    async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        self.responder.check().await?;
        self.sole.check(overview.height).await?;
        // Says so if there is room again.
        disk::is_full(self.context.state.path());
        let Some(recipe) = self.follower.recipe(overview).await? else {
            return self.note_idle().await;
        };
        let can_compute = check_arithmetic(&recipe);
        if can_compute.is_ok() {
            self.had_head |= self.follow_head(overview).await?;
        }
        let round = &overview.round;
        // A node that lags shows an earlier lease or none, and work on the present one would stop.
        self.context.firm_block().await?;
        let Some(lease) = self.context.chain.lease(&self.account()).await? else {
            self.note_lost_place(round);
            self.note_idle().await?;
            can_compute?;
            // The window may be over before a large model has been computed.
            return if self.had_head
                && self.sole.is_registered()
                && self.context.control.may_lease()
                && self.may_ask(overview)
                && self.is_final_in_time(overview).await?
                && self.has_space(&recipe)?
                && self.may_join().await?
            {
                self.join(overview, &recipe).await
            } else {
                Ok(())
            };
        };
        // Nothing can be committed to a lease of an earlier recipe.
        if lease.due_round < round.number || lease.recipe != recipe.hash() {
            return self.conclude(&lease).await;
        }
        if self.given_up == Some(LeaseKey::of(&lease)) || self.may_lose(overview, &lease) {
            return Ok(());
        }
        // What was trained before an upgrade of this program can still be committed and revealed.
        self.work_on(overview, &recipe, &lease).await?;
        Ok(can_compute?)
    }

    fn tasks(&self) -> Vec<OverviewSender> {
        vec![self.responder.sender()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::POL;

    #[test]
    fn a_bond_covers_the_updates_that_wait_and_one_more() {
        let missing = |bond, locked| {
            let (role, bond, locked) = (Role::Trainer, bond * POL, locked * POL);
            missing_bond(&Member {
                account: [1; 32],
                role,
                bond,
                locked,
                bonded: true,
                chilled: false,
                absent: false,
                endpoint: None,
            })
        };
        assert_eq!(missing(1_000, 0), 0);
        assert_eq!(missing(1_000, 900), 800 * POL);
        assert_eq!(missing(1_900, 900), 0);
        // A conviction leaves the locks of the other updates without a margin.
        assert_eq!(missing(1_900, 1_800), 800 * POL);
    }

    #[test]
    fn leases_wait_for_finality_that_lags_longer_than_training_lasts() {
        assert!(!lags_too_far(200, 100, 100) && lags_too_far(201, 100, 100));
        assert!(!lags_too_far(5, 6, 0), "the best block may be read before the final one");
    }
}
