// SPDX-License-Identifier: Apache-2.0

//! A trainer's part in the audits of its updates: serve the states that they start from, open the
//! ends of segments, and learn the outcome.

use super::{
    lease_states::{LeaseStates, open_segments, parse_trace},
    rewards::RewardClaimer,
    runner::BlockHandler,
    settlement::settle,
    tasks::{BackgroundTask, join_logged},
};
use crate::{
    context::NodeContext,
    data::{ShardReader, lease_tag},
    display::format_amount,
    error::{Result, RoleError},
    state::Journal,
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::{AccountId, Call, Signer};
use pol_primitives::{
    Balance, RoundNumber,
    audit::{Audit, AuditId, Case, Stage},
    queries::Overview,
    recipe::Numerics,
    round::BlockNumber,
    submission::{Outcome, SubmissionRecord},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::Mutex;

/// Blocks after which a trainer settles its own update if no validator did, and between tries.
const SELF_SETTLE_INTERVAL: BlockNumber = 10;

/// A role that answers the audits of a trainer's updates.
pub(super) struct AuditResponder<S> {
    context: NodeContext,
    signer: Signer,
    workers: usize,
    strategy: S,
    rewards: RewardClaimer,
    /// Responses in preparation, and the stage that waits for them.
    preparing: BTreeMap<AuditId, (Stage, BackgroundTask<Call>)>,
    /// Lock of the task that trains for a response: one at a time is enough for a machine.
    training_lock: Arc<Mutex<()>>,
    /// Audits of updates whose training is not in this folder.
    lost: BTreeSet<AuditId>,
}

/// The action that an audit waits for from the trainer.
enum ResponseStep {
    Respond(BackgroundTask<Call>),
    Settle,
}

impl<S: Strategy> AuditResponder<S> {
    /// Creates a responder for the account of `signer`. It trains states that are not kept again,
    /// with `workers` threads.
    pub(super) fn new(context: NodeContext, signer: Signer, workers: usize, strategy: S) -> Self {
        Self {
            rewards: RewardClaimer::new(context.clone(), signer.clone()),
            context,
            signer,
            workers,
            strategy,
            preparing: BTreeMap::new(),
            training_lock: Arc::default(),
            lost: BTreeSet::new(),
        }
    }

    fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// Returns the step that `audit` waits for, and starts it if it runs in the background.
    fn next_step(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        now: BlockNumber,
    ) -> Result<Option<ResponseStep>> {
        match audit.stage {
            Stage::Serve if !case.served && self.strategy.serves_states(case) => {
                self.respond(id, audit, case)
            }
            Stage::Open if case.served && !case.opened && self.strategy.opens_segments(case) => {
                self.respond(id, audit, case)
            }
            Stage::Settle
                if !case.settled && now >= audit.since.saturating_add(SELF_SETTLE_INTERVAL) =>
            {
                let blocks = now.saturating_sub(audit.since);
                let due = blocks.checked_rem(SELF_SETTLE_INTERVAL) == Some(0);
                Ok(due.then_some(ResponseStep::Settle))
            }
            _ => Ok(None),
        }
    }

    /// Performs a step. Returns a response that is not ready.
    async fn perform(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        step: ResponseStep,
    ) -> Result<Option<BackgroundTask<Call>>> {
        match step {
            ResponseStep::Respond(mut preparing) => {
                let Some(call) = preparing.wait().await else { return Ok(Some(preparing)) };
                self.context.chain.submit(&self.signer, call?).await?;
                let what = if audit.stage == Stage::Serve { "starts" } else { "ends" };
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
        Ok(None)
    }

    /// Returns the journal of the update that `audit` is about.
    fn journal(&mut self, id: AuditId, audit: &Audit<AccountId>) -> Result<Option<Journal>> {
        let state = &self.context.state;
        for nonce in state.leases()? {
            let journal = state.journal(nonce)?;
            if let Some(journal) =
                journal.filter(|journal| journal.round == audit.round && journal.reveal.is_some())
            {
                return Ok(Some(journal));
            }
        }
        if self.lost.insert(id) {
            tracing::error!(
                "round {}: the update is being audited, and its training is not in {}; a penalty \
                 will be taken",
                audit.round,
                state.path().display()
            );
        }
        Ok(None)
    }

    /// Returns the response to this stage of `audit`, in preparation, or `None` if the update's
    /// training is lost.
    fn respond(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
    ) -> Result<Option<ResponseStep>> {
        if let Some((_, preparing)) = self.preparing.remove(&id) {
            return Ok(Some(ResponseStep::Respond(preparing)));
        }
        let Some(journal) = self.journal(id, audit)? else { return Ok(None) };
        let response = Response {
            context: self.context.clone(),
            account: self.account(),
            workers: self.workers,
            strategy: self.strategy.clone(),
            training_lock: self.training_lock.clone(),
            id,
            audit: audit.clone(),
            case: case.clone(),
            journal,
        };
        Ok(Some(ResponseStep::Respond(BackgroundTask::start(response.prepare()))))
    }

    /// Logs the outcomes of updates that were settled, and forgets their leases.
    async fn conclude_settled(
        &mut self,
        audits: &[(AuditId, Audit<AccountId>)],
        overview: &Overview<AccountId>,
    ) -> Result<()> {
        let account = self.account();
        // All reads are of one block: what is in none of them is over.
        let best = self.context.chain.best_block().await?;
        let chain = self.context.chain.at(best.hash);
        let open = chain.lease(&account).await?.map(|lease| lease.nonce);
        let leases = self.context.state.leases()?;
        for nonce in leases.into_iter().filter(|nonce| open != Some(*nonce)) {
            let Some(journal) = self.context.state.journal(nonce)? else { continue };
            let round = journal.round;
            let audited = audits.iter().any(|(_, audit)| {
                audit.round == round && audit.case(&account).is_some_and(|case| !case.settled)
            });
            if audited || round >= overview.round.number {
                continue;
            }
            if chain.submissions(round).await?.iter().any(|(trainer, _)| *trainer == account) {
                continue;
            }
            let history = chain.history(round).await?;
            let record =
                history.iter().find(|(trainer, _)| *trainer == account).map(|(_, record)| record);
            let member = self.context.chain.member(&account).await?;
            if let Some(record) = record {
                log_outcome(round, record, member.as_ref().map_or(0, |member| member.bond));
            }
            // Any trainer may lose a part of its bond and fills it up again. One that was found to
            // cheat should find out the reason first.
            if record.is_none_or(|record| record.outcome != Outcome::Invalid)
                && let Some(member) = member
            {
                self.context.fill_bond(&self.signer, &member).await?;
            }
            self.context.swarm.release(&lease_tag(nonce)).await?;
            self.context.state.forget_lease(nonce)?;
        }
        Ok(())
    }
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
    journal: Journal,
}

impl<S: Strategy> Response<S> {
    /// Returns the call to submit, once peers can fetch the states that it names.
    async fn prepare(self) -> Result<Call> {
        let Self { context, account, strategy, id, audit, case, journal, .. } = self;
        let round = audit.round;
        let lease = context.chain.audited_lease(round, &account).await?.ok_or_else(|| {
            RoleError::transient(anyhow!(
                "the node does not know the audited lease of round {round}"
            ))
        })?;
        let recipe = context.recipe(&lease.recipe).await?;
        if audit.stage == Stage::Open && recipe.numerics == Numerics::Exact {
            return open_segments(id, &case, journal.leaves);
        }
        let data = ShardReader::new(context.clone())
            .lease_data(&recipe, &lease.shards, &[], &lease_tag(lease.nonce))
            .await?;
        let states = Arc::new(LeaseStates {
            account,
            workers: self.workers,
            state: context.state.clone(),
            data: strategy.data(&recipe, data),
            strategy,
            recipe,
            lease,
            trace: parse_trace(journal.leaves)?,
        });
        let _training = self.training_lock.lock().await;
        if audit.stage == Stage::Open {
            states.open_sketches(&context, id, &case, audit.seed).await
        } else {
            states.serve(&context, id, &case).await
        }
    }
}

fn log_outcome(round: RoundNumber, record: &SubmissionRecord, bond: Balance) {
    match record.outcome {
        Outcome::Valid => tracing::info!(
            "round {round}: the audit found the update valid: it improves unassigned text by {:.6} \
             ± {:.6} nats per token",
            f64::from(record.gain) / 1e6,
            f64::from(record.error) / 1e6
        ),
        Outcome::Invalid => tracing::error!(
            "round {round}: the audit found that the update is not what its lease gives; it is \
             taken out of the model, and the bond is {} now",
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
    async fn on_block(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let (audits, account) = (self.context.chain.audits().await?, self.account());
        self.preparing.retain(|id, (stage, _)| {
            audits.iter().any(|(open, audit)| open == id && audit.stage == *stage)
        });
        self.lost.retain(|lost| audits.iter().any(|(id, _)| id == lost));
        let mut due = Vec::new();
        for (id, audit) in &audits {
            if let Some(case) = audit.case(&account) {
                match self.next_step(*id, audit, case, overview.now) {
                    Ok(step) => due.extend(step.map(|step| (*id, audit, case, step))),
                    Err(error) => error.log_transient()?,
                }
            }
        }
        let perform = async |(id, audit, case, step): (_, &Audit<_>, _, _)| {
            let preparing = self.perform(id, audit, case, step).await?;
            Ok(preparing.map(|preparing| (id, (audit.stage, preparing))))
        };
        let preparing = join_logged(due.into_iter().map(perform)).await?;
        self.preparing.extend(preparing.into_iter().flatten());
        self.conclude_settled(&audits, overview).await?;
        self.rewards.claim_due(overview).await
    }
}
