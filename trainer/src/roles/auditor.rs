// SPDX-License-Identifier: Apache-2.0

//! A validator's part in audits: replay, commit to the evidence, reveal it, and settle.
//!
//! The evidence and its salt are on disk before the chain gets the commitment, so a validator that
//! is started again reveals the evidence that it committed to.

use super::{
    case_work::CaseWork,
    firm_audits::FirmAudits,
    replay::{FetchWindow, ReplayJob, ReplayScheduler},
    replay_input::{AUDITS_TAG, audit_tag},
    rewards::RewardClaimer,
    runner::BlockHandler,
    settlement::settle,
    tasks::join_logged,
};
use crate::{
    context::NodeContext,
    error::{Result, RoleError, explain},
    state::AuditKey,
    strategy::Strategy,
};
use anyhow::anyhow;
use futures::future::try_join_all;
use pol_chain::{AccountId, Call, Signer, format_account};
use pol_metrics::SPANS;
use pol_primitives::{
    BoundedVec, Hash, RoundNumber,
    audit::{Audit, AuditConfig, AuditId, Binding, Evidence, Finding, Stage, evidence_commitment},
    queries::Overview,
    round::BlockNumber,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::task::AbortHandle;
use tracing::Instrument;

/// Blocks that a validator leaves to the one before it to settle a case.
const SETTLE_TURN: BlockNumber = 2;
/// Blocks after which settling a case is tried again, twice as many each time. The trainer's
/// earlier update may have to be settled first.
const SETTLE_RETRY: BlockNumber = 5;
/// Most blocks between two tries to settle a case.
const MAX_SETTLE_RETRY: BlockNumber = 40;
/// Divisor of a stage that gives the blocks at its end in which no input is fetched any more, and
/// the fewest such blocks.
const COMPUTE_RESERVE: [BlockNumber; 2] = [4, 4];
/// Divisor of a stage that gives the blocks at its end that are kept for the call, and the fewest
/// such blocks. What is not replayed or checked by then is left out.
const CALL_RESERVE: [BlockNumber; 2] = [10, 3];

/// A role that audits updates.
pub(super) struct Auditor<S> {
    context: NodeContext,
    signer: Signer,
    workers: usize,
    strategy: S,
    rewards: RewardClaimer,
    scheduler: Arc<ReplayScheduler>,
    /// Audits that no fork can replace.
    firm: FirmAudits,
    /// Steps that go on in the background.
    running: BTreeMap<AuditKey, AuditStep>,
    /// Audits in which this validator stays silent, since it could fetch nothing of what it has to
    /// judge.
    silent: BTreeSet<AuditKey>,
    /// Audits with seats of this validator, and the task that fetches their models.
    model_fetches: BTreeMap<AuditKey, AbortHandle>,
    /// Block at which settling a case was last tried, and blocks until it is tried again.
    settle_attempts: BTreeMap<(AuditId, AccountId), (BlockNumber, BlockNumber)>,
    /// Round in which blobs of ended audits were last searched for.
    searched: Option<RoundNumber>,
}

/// Result of a step.
enum StepResult {
    Done,
    /// The step goes on in the background.
    Running(AuditStep),
    /// The step cannot be done, and nobody is to blame.
    Silent,
}

/// The step that an audit waits for from this validator.
enum AuditStep {
    /// Replays cases.
    Replay(CaseWork<Finding>),
    /// Writes the evidence to disk, until it is there, and commits to it.
    Store(Evidence),
    Commit(Evidence, Hash),
    /// Checks what trainers opened, and reveals the evidence.
    Check(CaseWork<Binding>, Evidence, Hash),
    /// Submits the call until the chain shows that the evidence is revealed.
    Reveal(Call),
    Settle(Vec<AccountId>),
}

impl<S: Strategy> Auditor<S> {
    /// Creates an auditor for the account of `signer` that replays with `workers` threads.
    pub(super) fn new(context: NodeContext, signer: Signer, workers: usize, strategy: S) -> Self {
        Self {
            rewards: RewardClaimer::new(context.clone(), signer.clone()),
            firm: FirmAudits::new(context.clone()),
            context,
            signer,
            workers,
            strategy,
            scheduler: Arc::new(ReplayScheduler::new()),
            running: BTreeMap::new(),
            silent: BTreeSet::new(),
            model_fetches: BTreeMap::new(),
            settle_attempts: BTreeMap::new(),
            searched: None,
        }
    }

    fn replay_job(&self, key: AuditKey, audit: &Audit<AccountId>) -> ReplayJob<S> {
        ReplayJob {
            context: self.context.clone(),
            account: self.signer.account(),
            workers: self.workers,
            strategy: self.strategy.clone(),
            key,
            audit: audit.clone(),
        }
    }

    /// Returns the step that `audit` waits for, and starts it if it runs in the background.
    fn next_step(
        &mut self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        config: &AuditConfig,
        now: BlockNumber,
    ) -> Result<Option<AuditStep>> {
        let account = self.signer.account();
        if audit.stage == Stage::Settle {
            return Ok(Some(AuditStep::Settle(self.cases_to_settle(key.id, audit, now))));
        }
        let place = audit.holder(&account);
        let Some(holder) = place.and_then(|place| audit.holders.get(usize::from(place))) else {
            return Ok(None);
        };
        if self.silent.contains(&key) {
            return Ok(None);
        }
        self.start_model_fetch(key, audit);
        let deadline = audit.deadline(config).unwrap_or_default();
        match audit.stage {
            Stage::Replay if !holder.committed && audit.seats_of(&account).next().is_some() => {
                self.replay_step(key, audit, deadline, now)
            }
            Stage::Reveal
                if holder.committed && !holder.revealed && self.strategy.reveals_audit() =>
            {
                self.reveal_step(key, audit, deadline, now)
            }
            _ => Ok(None),
        }
    }

    /// Starts to fetch the models of `audit` while peers still keep them, once per audit.
    fn start_model_fetch(&mut self, key: AuditKey, audit: &Audit<AccountId>) {
        if self.model_fetches.contains_key(&key) {
            return;
        }
        let job = self.replay_job(key, audit);
        let fetch = tokio::spawn(async move {
            if let Err(RoleError::Transient(error) | RoleError::Fatal(error)) =
                job.keep_models().await
            {
                tracing::debug!("audit {}: {}", key.id, explain(&error));
            }
        });
        self.model_fetches.insert(key, fetch.abort_handle());
    }

    /// Returns the step of an audit in its replay stage, or `None` if the evidence waits for the
    /// audit to be firm.
    fn replay_step(
        &mut self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        deadline: BlockNumber,
        now: BlockNumber,
    ) -> Result<Option<AuditStep>> {
        let evidence = self.context.state.evidence(&key)?;
        Ok(match (evidence, self.running.remove(&key)) {
            (Some((evidence, salt)), _) => {
                self.firm.contains(&key).then_some(AuditStep::Commit(evidence, salt))
            }
            (None, Some(AuditStep::Replay(replay))) => Some(match replay.due_results(now) {
                Some(findings) => AuditStep::Store(Evidence::truncate_from(findings)),
                None => AuditStep::Replay(replay),
            }),
            (None, Some(running)) => Some(running),
            (None, None) => {
                let (window, due) = stage_plan(audit.since, deadline);
                let (job, scheduler) = (self.replay_job(key, audit), self.scheduler.clone());
                let round = audit.round;
                let span = tracing::info_span!(target: SPANS, "audit", pol.round = round);
                Some(AuditStep::Replay(CaseWork::start(due, |findings| {
                    job.gather_evidence(scheduler, window, findings).instrument(span)
                })))
            }
        })
    }

    /// Returns the step of an audit in its reveal stage, or `None` if the evidence is lost.
    fn reveal_step(
        &mut self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        deadline: BlockNumber,
        now: BlockNumber,
    ) -> Result<Option<AuditStep>> {
        if let Some(running) = self.running.remove(&key) {
            return Ok(Some(match running {
                AuditStep::Check(check, evidence, salt) => match check.due_results(now) {
                    Some(bindings) => {
                        AuditStep::Reveal(reveal_call(key.id, evidence, bindings, salt))
                    }
                    None => AuditStep::Check(check, evidence, salt),
                },
                running => running,
            }));
        }
        let (id, stored) = (key.id, self.context.state.evidence(&key)?);
        let Some((evidence, salt)) = stored else {
            let seats: Vec<_> = audit
                .seats_of(&self.signer.account())
                .map(|(_, case)| format_account(&case.trainer))
                .collect();
            tracing::warn!(
                "round {}: the evidence that was committed to in audit {id} is not in {}; the \
                 seats on the updates of {} are lost",
                audit.round,
                self.context.state.path().display(),
                seats.join(", ")
            );
            self.silent.insert(key);
            return Ok(None);
        };
        let (window, due) = stage_plan(audit.since, deadline);
        let (job, scheduler) = (self.replay_job(key, audit), self.scheduler.clone());
        let judged = evidence.clone();
        let check = CaseWork::start(due, |bindings| async move {
            job.check_bindings(&judged, scheduler, window, bindings).await
        });
        Ok(Some(AuditStep::Check(check, evidence, salt)))
    }

    /// Performs a step.
    async fn perform(
        &self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        step: AuditStep,
    ) -> Result<StepResult> {
        let (context, signer, id) = (&self.context, &self.signer, key.id);
        match step {
            AuditStep::Replay(mut replay) => {
                let Some(findings) = replay.wait().await else {
                    return Ok(StepResult::Running(AuditStep::Replay(replay)));
                };
                let evidence = Evidence::truncate_from(findings?);
                if evidence.is_empty() {
                    return Ok(StepResult::Silent);
                }
                return self.store(key, audit, evidence).await;
            }
            AuditStep::Store(evidence) => return self.store(key, audit, evidence).await,
            AuditStep::Commit(evidence, salt) => self.commit(key, audit, &evidence, &salt).await?,
            AuditStep::Check(mut check, evidence, salt) => {
                let Some(bindings) = check.wait().await else {
                    return Ok(StepResult::Running(AuditStep::Check(check, evidence, salt)));
                };
                let call = reveal_call(id, evidence, bindings?, salt);
                return self.reveal(id, audit, call).await;
            }
            AuditStep::Reveal(call) => return self.reveal(id, audit, call).await,
            AuditStep::Settle(trainers) => {
                let settle = |trainer| settle(context, signer, id, audit, trainer);
                try_join_all(trainers.into_iter().map(settle)).await?;
            }
        }
        Ok(StepResult::Done)
    }

    /// Writes the evidence to disk and commits to it. What was replayed is kept in memory while the
    /// disk is full.
    async fn store(
        &self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        evidence: Evidence,
    ) -> Result<StepResult> {
        let mut salt = Hash::default();
        getrandom::fill(&mut salt).map_err(|error| {
            RoleError::fatal(anyhow!("the system gives no randomness: {error}"))
        })?;
        let written = self.context.state.write_evidence(&key, &evidence, &salt);
        match written.map_err(RoleError::from) {
            Err(error) if error.is_disk_full() => {
                error.log_transient()?;
                return Ok(StepResult::Running(AuditStep::Store(evidence)));
            }
            written => written?,
        }
        self.commit(key, audit, &evidence, &salt).await?;
        Ok(StepResult::Done)
    }

    /// Commits to the evidence, as soon as no fork can give the audit another draw.
    async fn commit(
        &self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        evidence: &Evidence,
        salt: &Hash,
    ) -> Result<()> {
        let Some(chain) = self.firm.chain(&key) else { return Ok(()) };
        let (account, id) = (self.signer.account(), key.id);
        let commitment = evidence_commitment(&account, &chain.genesis_hash(), id, evidence, salt);
        chain.submit(&self.signer, Call::CommitAudit { audit: id, commitment }).await?;
        pol_metrics::validator().committed_audits_total.inc();
        tracing::info!(
            "round {}: audited {} of {} updates and committed to the evidence of audit {id}",
            audit.round,
            evidence.len(),
            audit.seats_of(&account).count()
        );
        Ok(())
    }

    /// Submits the call that reveals the evidence, and keeps it until the chain shows that: what it
    /// took to make the call is not done twice.
    async fn reveal(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        call: Call,
    ) -> Result<StepResult> {
        match self.context.chain.submit(&self.signer, call.clone()).await {
            Ok(_) => {
                pol_metrics::validator().revealed_audits_total.inc();
                tracing::info!("round {}: revealed the evidence of audit {id}", audit.round);
            }
            Err(error) => RoleError::from(error).log_transient()?,
        }
        Ok(StepResult::Running(AuditStep::Reveal(call)))
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
            let attempt = self.settle_attempts.get(&(id, case.trainer)).copied();
            if now >= audit.since.saturating_add(turn * SETTLE_TURN)
                && attempt.is_none_or(|(at, wait)| now >= at.saturating_add(wait))
            {
                // Each call that is refused has a fee.
                let wait =
                    attempt.map_or(SETTLE_RETRY, |(_, wait)| (2 * wait).min(MAX_SETTLE_RETRY));
                self.settle_attempts.insert((id, case.trainer), (now, wait));
                due.push(case.trainer);
            }
        }
        due
    }

    /// Performs the steps that `audits` wait for.
    async fn advance(
        &mut self,
        audits: &[(AuditKey, Audit<AccountId>)],
        now: BlockNumber,
    ) -> Result<()> {
        let config = self.context.chain.audit_config().await?;
        self.running.retain(|key, step| {
            let stage = audits.iter().find(|(open, _)| open == key).map(|(_, audit)| audit.stage);
            matches!(
                (step, stage),
                (AuditStep::Replay(_) | AuditStep::Store(_), Some(Stage::Replay))
                    | (AuditStep::Check(..) | AuditStep::Reveal(_), Some(Stage::Reveal))
            )
        });
        let mut due = Vec::new();
        for (key, audit) in audits {
            match self.next_step(*key, audit, &config, now) {
                Ok(step) => due.extend(step.map(|step| (*key, audit, step))),
                Err(error) => error.log_transient()?,
            }
        }
        let perform = async |(key, audit, step)| Ok((key, self.perform(key, audit, step).await?));
        for (key, result) in join_logged(due.into_iter().map(perform)).await? {
            match result {
                StepResult::Done => {}
                StepResult::Running(step) => drop(self.running.insert(key, step)),
                StepResult::Silent => {
                    pol_metrics::validator().silent_audits_total.inc();
                    self.silent.insert(key);
                }
            }
        }
        Ok(())
    }

    /// Forgets audits that have ended, and those of other forks.
    async fn forget_ended(&mut self, open: &BTreeSet<AuditKey>, round: RoundNumber) -> Result<()> {
        self.settle_attempts.retain(|(id, _), _| open.iter().any(|key| key.id == *id));
        self.silent.retain(|key| open.contains(key));
        self.scheduler.retain(open).await;
        let is_over = |key: &AuditKey| !open.contains(key) && self.firm.is_over(key);
        let mut ended: BTreeSet<AuditKey> =
            self.context.state.forget_evidence(is_over)?.into_iter().collect();
        let fetches = self.model_fetches.extract_if(.., |key, _| !open.contains(key));
        ended.extend(fetches.map(|(key, fetch)| {
            fetch.abort();
            key
        }));
        // Once a round, those that an earlier process left behind too.
        if self.searched != Some(round) {
            let labels = self.context.swarm.labels_below(AUDITS_TAG).await?;
            ended.extend(labels.iter().filter_map(|label| label.parse::<AuditKey>().ok()));
            ended.retain(is_over);
            self.searched = Some(round);
        }
        for key in ended {
            self.context.swarm.release(&audit_tag(&key)).await?;
        }
        Ok(())
    }
}

impl<S: Strategy> BlockHandler for Auditor<S> {
    async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        let audits = self.context.chain.audits().await?;
        let audits: Vec<_> =
            audits.into_iter().map(|(id, audit)| (AuditKey::of(id, &audit), audit)).collect();
        self.firm.update(!audits.is_empty()).await?;
        if !audits.is_empty() {
            self.advance(&audits, overview.now).await?;
        }
        let open = audits.iter().map(|(key, _)| *key).collect();
        // A full disk keeps labels of blobs from being released, and no reward from being claimed.
        let forgotten = self.forget_ended(&open, overview.round.number).await;
        self.rewards.claim_due(overview).await?;
        forgotten
    }
}

/// Returns the blocks in which input is fetched in the stage from block `since` to `deadline`, and
/// the block from which on the results so far have to do.
fn stage_plan(since: BlockNumber, deadline: BlockNumber) -> (FetchWindow, BlockNumber) {
    let length = deadline.saturating_sub(since);
    let before_end = |[divisor, fewest]: [BlockNumber; 2]| {
        deadline.saturating_sub((length / divisor).max(fewest).min(length / 2))
    };
    (FetchWindow { since, give_up: before_end(COMPUTE_RESERVE) }, before_end(CALL_RESERVE))
}

/// Returns the call that reveals `evidence`. There are no bindings under the exact profile.
fn reveal_call(
    audit: AuditId,
    evidence: Evidence,
    bindings: Vec<(u8, Binding)>,
    salt: Hash,
) -> Call {
    if bindings.is_empty() {
        return Call::RevealAudit { audit, evidence, salt };
    }
    let bindings = bindings.into_iter().map(|(_, binding)| binding).collect();
    Call::RevealSketches { audit, evidence, bindings: BoundedVec::truncate_from(bindings), salt }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_ends_with_time_to_compute_and_time_for_the_call() {
        let plan = |length: BlockNumber| {
            let (window, due) = stage_plan(1_000, 1_000 + length);
            assert_eq!(window.since, 1_000);
            (window.give_up - 1_000, due - 1_000)
        };
        assert_eq!((plan(100), plan(20), plan(10)), ((75, 90), (15, 17), (6, 7)));
        assert_eq!((plan(4), plan(1)), ((2, 2), (1, 1)), "most of a short stage is for the work");
    }

    #[test]
    fn bindings_are_revealed_in_the_order_of_the_evidence() {
        let findings = vec![(2, Finding::Impossible), (5, Finding::Unavailable)];
        let evidence = || Evidence::truncate_from(findings.clone());
        let exact = reveal_call(7, evidence(), Vec::new(), [1; 32]);
        assert!(matches!(exact, Call::RevealAudit { audit: 7, .. }));
        let bindings = vec![(2, Binding::Unchecked), (5, Binding::Bound)];
        let native = reveal_call(7, evidence(), bindings, [1; 32]);
        let Call::RevealSketches { bindings, salt, .. } = native else { panic!("{native:?}") };
        assert_eq!((bindings.to_vec(), salt), (vec![Binding::Unchecked, Binding::Bound], [1; 32]));
    }
}
