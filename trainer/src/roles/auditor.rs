// SPDX-License-Identifier: Apache-2.0

//! A validator's part in audits: replay, commit to the evidence, reveal it, and settle.
//!
//! The evidence and its salt are on disk before the chain gets the commitment, so a validator that
//! is started again reveals the evidence that it committed to.

use super::{
    replay::{ReplayJob, ReplayScheduler},
    replay_input::audit_tag,
    rewards::RewardClaimer,
    runner::BlockHandler,
    settlement::settle,
    tasks::{BackgroundTask, join_logged},
};
use crate::{
    context::NodeContext,
    error::{Result, RoleError, explain},
    strategy::Strategy,
};
use anyhow::anyhow;
use futures::future::try_join_all;
use pol_chain::{AccountId, Call, Signer};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{Audit, AuditConfig, AuditId, Evidence, Stage, evidence_commitment},
    queries::Overview,
    round::BlockNumber,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::task::AbortHandle;

/// Blocks that a validator leaves to the one before it to settle a case.
const SETTLE_TURN: BlockNumber = 2;
/// Blocks after which settling a case is tried again. The trainer's earlier update may have to be
/// settled first.
const SETTLE_RETRY: BlockNumber = 5;
/// Blocks at the end of the reveal stage that are kept for the reveal.
const REVEAL_RESERVE: BlockNumber = 2;
/// Divisor of the replay stage that gives the blocks kept for the commitment, and the fewest such
/// blocks.
const COMMIT_RESERVE: BlockNumber = 4;

/// A role that audits updates.
pub(super) struct Auditor<S> {
    context: NodeContext,
    signer: Signer,
    workers: usize,
    strategy: S,
    rewards: RewardClaimer,
    scheduler: Arc<ReplayScheduler>,
    /// Steps that go on in the background.
    running: BTreeMap<AuditId, AuditStep>,
    /// Audits with seats of this validator, and the task that fetches their models.
    model_fetches: BTreeMap<AuditId, AbortHandle>,
    /// Blocks at which settling a case was last tried.
    settle_attempts: BTreeMap<(AuditId, AccountId), BlockNumber>,
}

/// The step that an audit waits for from this validator.
enum AuditStep {
    Replay(BackgroundTask<Evidence>),
    Commit(Evidence, Hash),
    Reveal(BackgroundTask<Call>),
    Settle(Vec<AccountId>),
}

impl<S: Strategy> Auditor<S> {
    /// Creates an auditor for the account of `signer` that replays with `workers` threads.
    pub(super) fn new(context: NodeContext, signer: Signer, workers: usize, strategy: S) -> Self {
        Self {
            rewards: RewardClaimer::new(context.clone(), signer.clone()),
            context,
            signer,
            workers,
            strategy,
            scheduler: Arc::new(ReplayScheduler::new()),
            running: BTreeMap::new(),
            model_fetches: BTreeMap::new(),
            settle_attempts: BTreeMap::new(),
        }
    }

    fn replay_job(&self, id: AuditId, audit: &Audit<AccountId>) -> ReplayJob<S> {
        ReplayJob {
            context: self.context.clone(),
            account: self.signer.account(),
            workers: self.workers,
            strategy: self.strategy.clone(),
            id,
            audit: audit.clone(),
        }
    }

    /// Returns the step that `audit` waits for, and starts it if it runs in the background.
    fn next_step(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        config: &AuditConfig,
        now: BlockNumber,
    ) -> Result<Option<AuditStep>> {
        let account = self.signer.account();
        if audit.stage == Stage::Settle {
            return Ok(Some(AuditStep::Settle(self.cases_to_settle(id, audit, now))));
        }
        let place = audit.holder(&account);
        let Some(holder) = place.and_then(|place| audit.holders.get(usize::from(place))) else {
            return Ok(None);
        };
        self.start_model_fetch(id, audit);
        let deadline = audit.deadline(config).unwrap_or_default();
        match audit.stage {
            Stage::Replay if !holder.committed && audit.seats_of(&account).next().is_some() => {
                self.replay_step(id, audit, config, deadline).map(Some)
            }
            Stage::Reveal
                if holder.committed && !holder.revealed && self.strategy.reveals_audit() =>
            {
                self.reveal_step(id, audit, deadline).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Starts to fetch the models of `audit` while peers still keep them, once per audit.
    fn start_model_fetch(&mut self, id: AuditId, audit: &Audit<AccountId>) {
        if self.model_fetches.contains_key(&id) {
            return;
        }
        let job = self.replay_job(id, audit);
        let fetch = tokio::spawn(async move {
            if let Err(RoleError::Transient(error) | RoleError::Fatal(error)) =
                job.keep_models().await
            {
                tracing::debug!("audit {id}: {}", explain(&error));
            }
        });
        self.model_fetches.insert(id, fetch.abort_handle());
    }

    fn replay_step(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        config: &AuditConfig,
        deadline: BlockNumber,
    ) -> Result<AuditStep> {
        let evidence = self.context.state.evidence(id)?;
        Ok(match (evidence, self.running.remove(&id)) {
            (Some((evidence, salt)), _) => AuditStep::Commit(evidence, salt),
            (None, Some(running)) => running,
            (None, None) => {
                let reserve = (config.replay / COMMIT_RESERVE).max(COMMIT_RESERVE);
                let give_up = deadline.saturating_sub(reserve);
                let job = self.replay_job(id, audit);
                AuditStep::Replay(BackgroundTask::start(
                    job.gather_evidence(self.scheduler.clone(), give_up),
                ))
            }
        })
    }

    fn reveal_step(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        deadline: BlockNumber,
    ) -> Result<AuditStep> {
        if let Some(running) = self.running.remove(&id) {
            return Ok(running);
        }
        let stored = self.context.state.evidence(id)?;
        let (evidence, salt) = stored.ok_or_else(|| {
            RoleError::transient(anyhow!(
                "audit {id}: the evidence is not in this folder; its seats are lost"
            ))
        })?;
        let job = self.replay_job(id, audit);
        let bindings =
            job.check_bindings(self.scheduler.clone(), deadline.saturating_sub(REVEAL_RESERVE));
        Ok(AuditStep::Reveal(BackgroundTask::start(async move {
            Ok(match bindings.await? {
                None => Call::RevealAudit { audit: id, evidence, salt },
                Some(bindings) => {
                    let bindings = BoundedVec::truncate_from(bindings);
                    Call::RevealSketches { audit: id, evidence, bindings, salt }
                }
            })
        })))
    }

    /// Performs a step. Returns it if it still goes on in the background.
    async fn perform(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        step: AuditStep,
    ) -> Result<Option<AuditStep>> {
        let (context, signer) = (&self.context, &self.signer);
        match step {
            AuditStep::Replay(mut replay) => {
                let Some(evidence) = replay.wait().await else {
                    return Ok(Some(AuditStep::Replay(replay)));
                };
                let (evidence, mut salt) = (evidence?, Hash::default());
                getrandom::fill(&mut salt).map_err(|error| {
                    RoleError::fatal(anyhow!("the system gives no randomness: {error}"))
                })?;
                context.state.write_evidence(id, &evidence, &salt)?;
                self.commit(id, audit, &evidence, &salt).await?;
            }
            AuditStep::Commit(evidence, salt) => self.commit(id, audit, &evidence, &salt).await?,
            AuditStep::Reveal(mut reveal) => {
                let Some(call) = reveal.wait().await else {
                    return Ok(Some(AuditStep::Reveal(reveal)));
                };
                context.chain.submit(signer, call?).await?;
                tracing::info!("round {}: revealed the evidence of audit {id}", audit.round);
            }
            AuditStep::Settle(trainers) => {
                let settle = |trainer| settle(context, signer, id, audit, trainer);
                try_join_all(trainers.into_iter().map(settle)).await?;
            }
        }
        Ok(None)
    }

    async fn commit(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        evidence: &Evidence,
        salt: &Hash,
    ) -> Result<()> {
        let (chain, account) = (&self.context.chain, self.signer.account());
        let commitment = evidence_commitment(&account, &chain.genesis_hash(), id, evidence, salt);
        chain.submit(&self.signer, Call::CommitAudit { audit: id, commitment }).await?;
        tracing::info!(
            "round {}: audited {} updates and committed to the evidence of audit {id}",
            audit.round,
            evidence.len()
        );
        Ok(())
    }

    /// Returns the trainers whose cases to settle now. Validators take turns, so that not all of
    /// them try at once.
    fn cases_to_settle(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        now: BlockNumber,
    ) -> Vec<AccountId> {
        let holders = u32::try_from(audit.holders.len()).unwrap_or(u32::MAX);
        let place = audit.holder(&self.signer.account()).map(u32::from);
        let mut due = Vec::new();
        for (at, case) in (0u32..).zip(&audit.cases).filter(|(_, case)| !case.settled) {
            let turn = place.and_then(|place| (at + place).checked_rem(holders)).unwrap_or(holders);
            let attempt = self.settle_attempts.get(&(id, case.trainer));
            if now >= audit.since.saturating_add(turn * SETTLE_TURN)
                && attempt.is_none_or(|attempt| now >= attempt + SETTLE_RETRY)
            {
                self.settle_attempts.insert((id, case.trainer), now);
                due.push(case.trainer);
            }
        }
        due
    }

    /// Performs the steps that `audits` wait for.
    async fn advance(
        &mut self,
        audits: &[(AuditId, Audit<AccountId>)],
        now: BlockNumber,
    ) -> Result<()> {
        let config = self.context.chain.audit_config().await?;
        self.running.retain(|id, step| {
            let stage = audits.iter().find(|(open, _)| open == id).map(|(_, audit)| audit.stage);
            matches!(
                (step, stage),
                (AuditStep::Replay(_), Some(Stage::Replay))
                    | (AuditStep::Reveal(_), Some(Stage::Reveal))
            )
        });
        let mut due = Vec::new();
        for (id, audit) in audits {
            match self.next_step(*id, audit, &config, now) {
                Ok(step) => due.extend(step.map(|step| (*id, audit, step))),
                Err(error) => error.log_transient()?,
            }
        }
        let perform = async |(id, audit, step)| {
            Ok(self.perform(id, audit, step).await?.map(|running| (id, running)))
        };
        let running = join_logged(due.into_iter().map(perform)).await?;
        self.running.extend(running.into_iter().flatten());
        Ok(())
    }

    /// Forgets audits that have ended.
    async fn forget_ended(&mut self, open: &BTreeSet<AuditId>) -> Result<()> {
        self.settle_attempts.retain(|(id, _), _| open.contains(id));
        let mut ended: BTreeSet<AuditId> =
            self.context.state.retain_evidence(open)?.into_iter().collect();
        let fetches = self.model_fetches.extract_if(.., |id, _| !open.contains(id));
        ended.extend(fetches.map(|(id, fetch)| {
            fetch.abort();
            id
        }));
        for id in ended {
            self.context.swarm.release(&audit_tag(id)).await?;
        }
        Ok(())
    }
}

impl<S: Strategy> BlockHandler for Auditor<S> {
    async fn on_block(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let audits = self.context.chain.audits().await?;
        if !audits.is_empty() {
            self.advance(&audits, overview.now).await?;
        }
        self.forget_ended(&audits.iter().map(|(id, _)| *id).collect()).await?;
        self.rewards.claim_due(overview).await
    }
}
