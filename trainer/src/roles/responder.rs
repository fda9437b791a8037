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
    data::{LEASES_TAG, lease_tag},
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
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Mutex;

/// Most blocks for which an answer waits for its audit to be final before it is submitted, or half
/// of the stage if that is less. It is prepared meanwhile. From then on it is worse to give no
/// answer in time than to show states that another fork did not draw.
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
    /// Responses, and the stage that waits for them.
    preparing: BTreeMap<AuditKey, (Stage, Preparation)>,
    /// Lock of the task that trains for a response: one at a time is enough for a machine.
    training_lock: Arc<Mutex<()>>,
    /// Audits of updates whose training is not in this folder, or whose states are all damaged.
    lost: BTreeSet<AuditKey>,
    /// Round in which blobs of ended leases were last searched for.
    searched: Option<RoundNumber>,
    /// Set once an update was found to be invalid.
    convicted: Arc<AtomicBool>,
}

/// A response to a stage of an audit.
enum Preparation {
    /// Not ready yet. The result is `None` if the update's training is lost.
    Running(BackgroundTask<Option<Call>>),
    /// Ready, and kept until the stage is over, so that nothing is trained twice.
    Ready(Call),
}

/// The action that an audit waits for from the trainer.
enum ResponseStep {
    /// Prepare the response.
    Prepare(Preparation),
    /// Submit the response once it is ready.
    Respond(Preparation),
    Settle,
}

/// Result of an action.
enum StepResult {
    Done,
    /// The response goes on being prepared, or is ready for the next try.
    Response(Preparation),
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
        match step {
            ResponseStep::Prepare(preparation) => return advance(preparation).await,
            ResponseStep::Respond(preparation) => {
                let call = match advance(preparation).await? {
                    StepResult::Response(Preparation::Ready(call)) => call,
                    not_ready => return Ok(not_ready),
                };
                let chain = self.firm.chain(&key).unwrap_or_else(|| self.context.chain.clone());
                match chain.submit(&self.signer, call.clone()).await {
                    Ok(_) => note_response(audit, key.id, case),
                    Err(error) => RoleError::from(error).log_transient()?,
                }
                return Ok(StepResult::Response(Preparation::Ready(call)));
            }
            ResponseStep::Settle => {
                settle(&self.context, &self.signer, key.id, audit, self.account()).await?;
            }
        }
        Ok(StepResult::Done)
    }

    /// Returns the response to this stage of `audit`, or `None` if the update's training is lost.
    /// It is only prepared while the audit is not final and the submission `waits` for that: what
    /// has to be trained again takes most of the stage.
    fn respond(
        &mut self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        waits: bool,
    ) -> Option<ResponseStep> {
        if self.lost.contains(&key) {
            return None;
        }
        let known = self.preparing.remove(&key).map(|(_, preparation)| preparation);
        let preparation = known.unwrap_or_else(|| self.start_response(key, audit, case));
        Some(match waits && !self.firm.contains(&key) {
            true => ResponseStep::Prepare(preparation),
            false => ResponseStep::Respond(preparation),
        })
    }

    /// Starts to prepare the response to this stage of `audit`.
    fn start_response(
        &self,
        key: AuditKey,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
    ) -> Preparation {
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
        Preparation::Running(BackgroundTask::start(response.prepare()))
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

/// Looks whether a response is ready.
async fn advance(preparation: Preparation) -> Result<StepResult> {
    let Preparation::Running(mut task) = preparation else {
        return Ok(StepResult::Response(preparation));
    };
    Ok(match task.wait().await.transpose()? {
        None => StepResult::Response(Preparation::Running(task)),
        Some(None) => StepResult::Lost,
        Some(Some(call)) => StepResult::Response(Preparation::Ready(call)),
    })
}

/// Counts and logs a response that the chain accepted.
fn note_response(audit: &Audit<AccountId>, id: AuditId, case: &Case<AccountId>) {
    let (stage, what) = match audit.stage {
        Stage::Serve => (AnswerStage::Serve, "starts"),
        _ => (AnswerStage::Open, "ends"),
    };
    pol_metrics::trainer().audit_answers_total.count(stage);
    tracing::info!(
        "round {}: showed audit {id} the {what} of segments {:?}",
        audit.round,
        &case.segments[..]
    );
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
        let states = Arc::new(LeaseStates {
            account,
            workers: self.workers,
            state: context.state.clone(),
            strategy,
            recipe,
            lease,
            trace: parse_trace(journal.leaves)?,
            training_lock: self.training_lock,
            retraining: OnceLock::new(),
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
                StepResult::Response(preparation) => {
                    self.preparing.insert(key, (stage, preparation));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_response_is_prepared_once_and_kept() {
        let prepared = Arc::new(AtomicBool::new(false));
        let work = {
            let prepared = prepared.clone();
            async move {
                assert!(!prepared.swap(true, Ordering::Relaxed), "it is prepared again");
                Ok(Some(Call::Claim { round: 3 }))
            }
        };
        let mut response = Preparation::Running(BackgroundTask::start(work));
        // A block before the audit is final, one after it, and one whose submission failed.
        for _ in 0..3 {
            response = match advance(response).await.unwrap() {
                StepResult::Response(Preparation::Ready(call)) => {
                    assert_eq!(call, Call::Claim { round: 3 });
                    Preparation::Ready(call)
                }
                _ => panic!("it is not ready"),
            };
        }
        assert!(prepared.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_response_that_is_not_ready_goes_on_and_a_lost_one_ends() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let work = async { receive.await.map_err(RoleError::fatal) };
        let response = Preparation::Running(BackgroundTask::start(work));
        let StepResult::Response(response @ Preparation::Running(_)) =
            advance(response).await.unwrap()
        else {
            panic!("nothing was sent")
        };
        send.send(None).ok().unwrap();
        assert!(matches!(advance(response).await.unwrap(), StepResult::Lost));
        let failing = async { Err(RoleError::transient(anyhow!("no peer serves the data"))) };
        let failed = advance(Preparation::Running(BackgroundTask::start(failing))).await;
        assert!(failed.is_err(), "it is prepared anew with the next block");
    }

    #[test]
    fn answers_wait_for_finality_for_half_of_the_stage_at_most() {
        let ends = |serve| {
            let audit = Audit {
                round: 3,
                draw: 0,
                seed: [0; 32],
                stage: Stage::Serve,
                since: 100,
                probe: Default::default(),
                holders: Default::default(),
                cases: Default::default(),
            };
            finality_wait_end(&audit, &AuditConfig { serve, ..AuditConfig::default() })
        };
        assert_eq!([ends(20), ends(10), ends(1)], [108, 105, 100]);
    }
}
