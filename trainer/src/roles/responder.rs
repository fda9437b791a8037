// SPDX-License-Identifier: Apache-2.0

//! A trainer's part in the audits of its updates: serve the states that they start from, open the
//! ends of segments, and learn the outcome.

use super::{
    firm_audits::FirmAudits,
    lease_states::{LeaseStates, LostStates, open_segments, parse_trace},
    rewards::RewardClaimer,
    runner::BlockHandler,
    settlement::settle,
    tasks::{BackgroundTask, join_logged},
};
use crate::{
    context::NodeContext,
    control::WorkEvent,
    data::{LEASES_TAG, ShardReader, lease_tag},
    display::format_amount,
    error::{Result, RoleError, explain},
    state::{AuditKey, LeaseKey},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::{AccountId, Call, Signer};
use pol_metrics::{AnswerStage, UpdateOutcome};
use pol_primitives::{
    Balance, RoundNumber,
    audit::{Audit, AuditConfig, AuditId, Case, Stage},
    queries::Overview,
    recipe::Numerics,
    round::BlockNumber,
    submission::{Outcome, SubmissionRecord},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// Most blocks for which an answer waits for its audit to be final, or half of the stage if that is
/// less. From then on it is worse to give no answer in time than to show states that another fork
/// did not draw.
const FINALITY_WAIT: BlockNumber = 8;
/// Blocks after which a trainer settles its own update if no validator did, and between tries.
const SELF_SETTLE_INTERVAL: BlockNumber = 10;

/// Pause before a state that could not be restored is tried again.
const RESTORE_PAUSE: Duration = Duration::from_secs(6);

/// A role that answers the audits of a trainer's updates.
pub(super) struct AuditResponder<S> {
    context: NodeContext,
    signer: Signer,
    workers: usize,
    strategy: S,
    rewards: RewardClaimer,
    /// Audits that no fork can replace.
    firm: FirmAudits,
    /// Responses in preparation, and the stage that waits for them.
    preparing: BTreeMap<AuditKey, (Stage, BackgroundTask<Option<Call>>)>,
    /// Lock of the task that trains for a response: one at a time is enough for a machine.
    training_lock: Arc<Mutex<()>>,
    /// Audits of updates whose training is not in this folder, or whose states are all damaged.
    lost: BTreeSet<AuditKey>,
    /// Round in which blobs of ended leases were last searched for.
    searched: Option<RoundNumber>,
    /// Set once an update was found to be invalid.
    convicted: Arc<AtomicBool>,
}

/// The action that an audit waits for from the trainer.
enum ResponseStep {
    Respond(BackgroundTask<Option<Call>>),
    Settle,
}

/// Result of an action.
enum StepResult {
    Done,
    /// The response is not ready.
    Preparing(BackgroundTask<Option<Call>>),
    /// The update's training is not in this folder.
    Lost,
}

impl<S: Strategy> AuditResponder<S> {
    /// Creates a responder for the account of `signer`. It trains states that are not kept again,
    /// with `workers` threads.
    pub(super) fn new(context: NodeContext, signer: Signer, workers: usize, strategy: S) -> Self {
        Self {
            rewards: RewardClaimer::new(context.clone(), signer.clone()),
            firm: FirmAudits::new(context.clone()),
            context,
            signer,
            workers,
            strategy,
            preparing: BTreeMap::new(),
            training_lock: Arc::default(),
            lost: BTreeSet::new(),
            searched: None,
            convicted: Arc::default(),
        }
    }

    /// Returns a flag that is set once an update was found to be invalid.
    pub(super) fn convicted(&self) -> Arc<AtomicBool> {
        self.convicted.clone()
    }

    fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// Returns the step that `audit` waits for, and starts it if it runs in the background.
    fn next_step(
        &mut self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        config: &AuditConfig,
        now: BlockNumber,
    ) -> Option<ResponseStep> {
        let wait_ends = finality_wait_end(audit, config);
        match audit.stage {
            Stage::Serve if !case.served && self.strategy.serves_states(case) => {
                self.respond(key, audit, case, now < wait_ends)
            }
            Stage::Open if case.served && !case.opened && self.strategy.opens_segments(case) => {
                self.respond(key, audit, case, now < wait_ends)
            }
            Stage::Settle
                if !case.settled && now >= audit.since.saturating_add(SELF_SETTLE_INTERVAL) =>
            {
                let blocks = now.saturating_sub(audit.since);
                let due = blocks.checked_rem(SELF_SETTLE_INTERVAL) == Some(0);
                due.then_some(ResponseStep::Settle)
            }
            _ => None,
        }
    }

    /// Performs a step.
    async fn perform(
        &self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        step: ResponseStep,
    ) -> Result<StepResult> {
        let id = key.id;
        match step {
            ResponseStep::Respond(mut preparing) => {
                let Some(call) = preparing.wait().await else {
                    return Ok(StepResult::Preparing(preparing));
                };
                let Some(call) = call? else { return Ok(StepResult::Lost) };
                let chain = self.firm.chain(&key).unwrap_or_else(|| self.context.chain.clone());
                chain.submit(&self.signer, call).await?;
                let is_serving = audit.stage == Stage::Serve;
                let stage = if is_serving { AnswerStage::Serve } else { AnswerStage::Open };
                pol_metrics::trainer().audit_answers_total.count(stage);
                let what = if is_serving { "starts" } else { "ends" };
                tracing::info!(
                    "round {}: showed audit {id} the {what} of segments {:?}",
                    audit.round,
                    &case.segments[..]
                );
            }
            ResponseStep::Settle => {
                settle(&self.context, &self.signer, id, audit, self.account()).await?;
            }
        }
        Ok(StepResult::Done)
    }

    /// Returns the response to this stage of `audit`, in preparation, or `None` if the update's
    /// training is lost, or if the audit is not final yet and the response `waits` for that.
    fn respond(
        &mut self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        waits: bool,
    ) -> Option<ResponseStep> {
        if let Some((_, preparing)) = self.preparing.remove(&key) {
            return Some(ResponseStep::Respond(preparing));
        }
        let may_change = waits && !self.firm.contains(&key);
        if may_change || self.lost.contains(&key) {
            return None;
        }
        let response = Response {
            context: self.context.clone(),
            account: self.account(),
            workers: self.workers,
            strategy: self.strategy.clone(),
            training_lock: self.training_lock.clone(),
            id: key.id,
            audit: audit.clone(),
            case: case.clone(),
        };
        Some(ResponseStep::Respond(BackgroundTask::start(response.prepare())))
    }

    /// Releases the blobs of leases that ended before they had a journal.
    async fn release_ended(&self) -> Result<()> {
        let (context, account) = (&self.context, self.account());
        // Read first, since a lease that is taken meanwhile is open below.
        let labels = context.swarm.labels_below(LEASES_TAG).await?;
        let mut kept = BTreeSet::new();
        let firm = context.chain.at(context.firm_block().await?.hash);
        for chain in [&firm, &context.chain] {
            kept.extend(chain.lease(&account).await?.map(|lease| LeaseKey::of(&lease)));
        }
        kept.extend(context.state.leases()?);
        for key in labels.iter().filter_map(|label| label.parse::<LeaseKey>().ok()) {
            if !kept.contains(&key) {
                context.swarm.release(&lease_tag(&key)).await?;
            }
        }
        Ok(())
    }

    /// Forgets the leases that are settled on the firm chain, and logs their outcomes.
    async fn conclude_settled(&self) -> Result<()> {
        let (context, account) = (&self.context, self.account());
        let leases = context.state.leases()?;
        if leases.is_empty() {
            return Ok(());
        }
        // All reads are of one block: what is in none of them is over. A fork cannot bring it back.
        let chain = context.chain.at(context.firm_block().await?.hash);
        let current = chain.overview().await?.round.number;
        let open = chain.lease(&account).await?.map(|lease| LeaseKey::of(&lease));
        let newest = context.chain.lease(&account).await?.map(|lease| LeaseKey::of(&lease));
        for key in leases.into_iter().filter(|key| open != Some(*key)) {
            let Some(journal) = context.state.journal(&key)? else {
                // Without a journal its states are of no use, unless its training just begins.
                if newest != Some(key) {
                    context.state.forget_lease(&key)?;
                }
                continue;
            };
            let round = journal.round;
            if round >= current
                || chain.submissions(round).await?.iter().any(|(trainer, _)| *trainer == account)
            {
                continue;
            }
            let history = chain.history(round).await?;
            let record =
                history.iter().find(|(trainer, _)| *trainer == account).map(|(_, record)| record);
            let member = context.chain.member(&account).await?;
            if let Some(record) = record {
                log_outcome(round, record, member.as_ref().map_or(0, |member| member.bond));
                // These were counted when the lease was concluded.
                if !matches!(record.outcome, Outcome::NoShow | Outcome::Excluded) {
                    count_outcome(record.outcome);
                    let outcome = record.outcome.into();
                    context.control.send(WorkEvent::Settled { round, outcome });
                }
            }
            // Any trainer may lose a part of its bond and fills it up again. One that was found to
            // cheat should find out the reason first.
            if record.is_some_and(|record| record.outcome == Outcome::Invalid) {
                self.convicted.store(true, Ordering::Relaxed);
            }
            if !self.convicted.load(Ordering::Relaxed)
                && let Some(member) = member
            {
                context.fill_bond(&self.signer, &member).await?;
            }
            // First what makes room: a full disk keeps labels from being released until then.
            context.state.forget_lease(&key)?;
            context.swarm.release(&lease_tag(&key)).await?;
        }
        Ok(())
    }
}

/// Returns the first block at which an answer to this stage of `audit` does not wait any longer for
/// the audit to be final.
fn finality_wait_end(audit: &Audit<AccountId>, config: &AuditConfig) -> BlockNumber {
    let blocks = audit.deadline(config).map_or(0, |end| end.saturating_sub(audit.since));
    audit.since.saturating_add(FINALITY_WAIT.min(blocks / 2))
}

/// Everything needed to prepare a response to one stage of an audit.
struct Response<S> {
    context: NodeContext,
    account: AccountId,
    workers: usize,
    strategy: S,
    training_lock: Arc<Mutex<()>>,
    id: AuditId,
    audit: Audit<AccountId>,
    case: Case<AccountId>,
}

impl<S: Strategy> Response<S> {
    /// Returns the call to submit, once peers can fetch the states that it names, or `None` if the
    /// training of the audited lease is lost.
    async fn prepare(self) -> Result<Option<Call>> {
        let Self { context, account, strategy, id, audit, case, .. } = self;
        let round = audit.round;
        let lease = context.chain.audited_lease(round, &account).await?.ok_or_else(|| {
            RoleError::transient(anyhow!(
                "the node does not know the audited lease of round {round}"
            ))
        })?;
        let key = LeaseKey::of(&lease);
        let journal = context.state.journal(&key)?.filter(|journal| journal.reveal.is_some());
        let Some(journal) = journal else {
            return Ok(lose(&context, round, "its training is not there").await);
        };
        let recipe = context.recipe(&lease.recipe).await?;
        if audit.stage == Stage::Open && recipe.numerics == Numerics::Exact {
            return open_segments(id, &case, journal.leaves).map(Some);
        }
        let data = ShardReader::new(context.clone())
            .lease_data(&recipe, &lease.shards, &[], &lease_tag(&key))
            .await?;
        let training = self.training_lock.lock_owned().await;
        let states = Arc::new(LeaseStates {
            account,
            workers: self.workers,
            state: context.state.clone(),
            data: strategy.data(&recipe, data),
            strategy,
            recipe,
            lease,
            trace: parse_trace(journal.leaves)?,
            _training: training,
        });
        let respond = async || match audit.stage {
            Stage::Open => states.open_sketches(&context, id, &case, audit.seed).await,
            _ => states.serve(&context, id, &case).await,
        };
        let mut call = respond().await;
        if let Some(lost) = lost_states(&call) {
            tracing::warn!("round {round}: {lost}; restoring the state that the lease starts from");
            call = match restore_start(&states, &context).await {
                Ok(()) => respond().await,
                Err(error) => Err(error),
            };
        }
        match lost_states(&call) {
            Some(lost) => Ok(lose(&context, round, &lost).await),
            None => call.map(Some),
        }
    }
}

/// Restores the state that a lease starts from, once a peer serves its parameters and the disk has
/// space. Whoever waits for an audit stops this with its stage.
async fn restore_start<S: Strategy>(
    states: &Arc<LeaseStates<S>>,
    context: &NodeContext,
) -> Result<()> {
    loop {
        match states.restore_start(context).await {
            Err(RoleError::Transient(error)) if !error.is::<LostStates>() => {
                tracing::debug!("not restored yet: {}", explain(&error));
                tokio::time::sleep(RESTORE_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Returns the reason if `call` cannot be made since states are lost.
fn lost_states(call: &Result<Call>) -> Option<String> {
    let Err(RoleError::Transient(error)) = call else { return None };
    Some(error.downcast_ref::<LostStates>()?.to_string())
}

/// Says once that the audit of the update for `round` cannot be answered, and what it costs.
async fn lose(context: &NodeContext, round: RoundNumber, reason: &str) -> Option<Call> {
    // The message matters more than the amount.
    let penalty = context.chain.withheld_penalty().await.map(format_amount);
    tracing::error!(
        "round {round}: the update is being audited, and {} cannot give what the audit asks for: \
         {reason}. A penalty of {} will be taken from the bond. Training goes on; check the disk",
        context.state.path().display(),
        penalty.unwrap_or_else(|_| "an unknown amount".into())
    );
    None
}

/// Counts the outcome of an update.
pub(super) fn count_outcome(outcome: Outcome) {
    pol_metrics::trainer().updates_total.count(match outcome {
        Outcome::NoShow => UpdateOutcome::NoShow,
        Outcome::Excluded => UpdateOutcome::Excluded,
        Outcome::Valid => UpdateOutcome::Valid,
        Outcome::Invalid => UpdateOutcome::Invalid,
        Outcome::Withheld => UpdateOutcome::Withheld,
        Outcome::Unresolved => UpdateOutcome::Unresolved,
        Outcome::Tainted => UpdateOutcome::Tainted,
    });
}

fn log_outcome(round: RoundNumber, record: &SubmissionRecord, bond: Balance) {
    match record.outcome {
        Outcome::Valid => tracing::info!(
            "round {round}: the audit found the update valid: it improves unassigned text by {:.6} \
             nats per token",
            f64::from(record.gain) / 1e9
        ),
        Outcome::Invalid => tracing::error!(
            "round {round}: the audit found that the update is not what its lease gives; it is \
             taken out of the model, and the bond is {} now. This process raises it no more: find \
             out the reason before starting it again",
            format_amount(bond)
        ),
        Outcome::Withheld => tracing::error!(
            "round {round}: the audit did not get to see what it asked for; the update is taken \
             out of the model, and the bond is {} now",
            format_amount(bond)
        ),
        Outcome::Unresolved => tracing::warn!(
            "round {round}: the audit came to no result; the update is taken out of the model"
        ),
        Outcome::Tainted => tracing::warn!(
            "round {round}: the update went on from one that was taken out of the model, and is \
             taken out too"
        ),
        // Logged when the lease was concluded.
        Outcome::NoShow | Outcome::Excluded => {}
    }
}

impl<S: Strategy> BlockHandler for AuditResponder<S> {
    async fn on_block(&mut self, overview: &Overview) -> Result<()> {
        let (audits, account) = (self.context.chain.audits().await?, self.account());
        let audits: Vec<_> =
            audits.into_iter().map(|(id, audit)| (AuditKey::of(id, &audit), audit)).collect();
        self.firm.update(!audits.is_empty()).await?;
        self.preparing.retain(|key, (stage, _)| {
            audits.iter().any(|(open, audit)| open == key && audit.stage == *stage)
        });
        self.lost.retain(|lost| audits.iter().any(|(key, _)| key == lost));
        let cases: Vec<_> = audits
            .iter()
            .filter_map(|(key, audit)| Some((*key, audit, audit.case(&account)?)))
            .collect();
        let mut due = Vec::new();
        if !cases.is_empty() {
            let config = self.context.chain.audit_config().await?;
            for (key, audit, case) in cases {
                let step = self.next_step(key, audit, case, &config, overview.now);
                due.extend(step.map(|step| (key, audit, case, step)));
            }
        }
        let perform = async |(key, audit, case, step): (_, &Audit<_>, _, _)| {
            Ok((key, audit.stage, self.perform(key, audit, case, step).await?))
        };
        for (key, stage, result) in join_logged(due.into_iter().map(perform)).await? {
            match result {
                StepResult::Done => {}
                StepResult::Preparing(response) => {
                    self.preparing.insert(key, (stage, response));
                }
                StepResult::Lost => drop(self.lost.insert(key)),
            }
        }
        self.rewards.claim_due(overview).await?;
        self.conclude_settled().await?;
        if self.searched != Some(overview.round.number) {
            self.release_ended().await?;
            self.searched = Some(overview.round.number);
        }
        Ok(())
    }
}
