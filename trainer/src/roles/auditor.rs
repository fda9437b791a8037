//! Audits updates by replay: finds out, commits to it, reveals it, and has the chain settle.
//!
//! What was found is on disk, with what hides it, before the chain hears of it: a validator that is
//! started again reveals what it committed to.

use super::{
    BackgroundTask, Role, all_at_once,
    replay::{ReplayJob, ReplayScheduler, audit_tag},
    rewards::Rewards,
};
use crate::{
    context::{NodeContext, submit_housekeeping},
    error::{Result, RoleError, explain},
    strategy::Strategy,
};
use anyhow::anyhow;
use futures::future::try_join_all;
use pol_chain::{AccountId, Call, Signer, format_account};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{Audit, AuditConfig, AuditId, Evidence, Stage, evidence_commitment},
    round::BlockNumber,
    view::Overview,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::task::AbortHandle;

/// Blocks that a validator leaves to the one before it to settle a case.
const TURN: BlockNumber = 2;
/// Blocks before a case is tried again that could not be settled: that of the trainer's update
/// before it may come first.
const AGAIN: BlockNumber = 5;
/// Blocks that are kept for revealing.
const LAST: BlockNumber = 2;
/// Share of the replay stage that is kept for committing.
const RESERVE: BlockNumber = 4;

/// A validator's work in audits, between blocks.
pub struct Auditor<C> {
    peer: NodeContext,
    signer: Signer,
    workers: usize,
    strategy: C,
    rewards: Rewards,
    turns: Arc<ReplayScheduler>,
    /// What has been begun and not ended.
    begun: BTreeMap<AuditId, Due>,
    /// Audits with seats of this validator, and the task that fetches their models.
    held: BTreeMap<AuditId, AbortHandle>,
    /// When the settling of a case was last tried.
    tried: BTreeMap<(AuditId, AccountId), BlockNumber>,
}

/// What an audit waits for from this validator.
enum Due {
    Replay(BackgroundTask<Evidence>),
    Commit(Evidence, Hash),
    Reveal(BackgroundTask<Call>),
    Settle(Vec<AccountId>),
}

impl<C: Strategy> Auditor<C> {
    /// Audits for the account of `signer`, with `workers` threads.
    pub fn new(peer: NodeContext, signer: Signer, workers: usize, strategy: C) -> Self {
        let rewards = Rewards::new(peer.clone(), signer.clone());
        let (turns, begun) = (Arc::new(ReplayScheduler::new()), BTreeMap::new());
        Self {
            peer,
            signer,
            workers,
            strategy,
            rewards,
            turns,
            begun,
            held: BTreeMap::new(),
            tried: BTreeMap::new(),
        }
    }

    fn seats(&self, id: AuditId, audit: &Audit<AccountId>) -> ReplayJob<C> {
        ReplayJob {
            peer: self.peer.clone(),
            account: self.signer.account(),
            workers: self.workers,
            strategy: self.strategy.clone(),
            id,
            audit: audit.clone(),
        }
    }

    /// What `audit` waits for. Starts what takes long.
    fn due(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        config: &AuditConfig,
        now: BlockNumber,
    ) -> Result<Option<Due>> {
        let account = self.signer.account();
        if audit.stage == Stage::Settle {
            return Ok(Some(Due::Settle(self.unsettled(id, audit, now))));
        }
        let Some(holder) =
            audit.holder(&account).and_then(|place| audit.holders.get(usize::from(place)))
        else {
            return Ok(None);
        };
        if !self.held.contains_key(&id) {
            let seats = self.seats(id, audit);
            let fetching = tokio::spawn(async move {
                if let Err(RoleError::Transient(error) | RoleError::Fatal(error)) =
                    seats.keep_models().await
                {
                    tracing::debug!("audit {id}: {}", explain(&error));
                }
            });
            self.held.insert(id, fetching.abort_handle());
        }
        let until = audit.deadline(config).unwrap_or_default();
        Ok(match audit.stage {
            Stage::Replay if !holder.committed && audit.seats_of(&account).next().is_some() => {
                Some(match (self.peer.state.evidence(id)?, self.begun.remove(&id)) {
                    (Some((evidence, salt)), _) => Due::Commit(evidence, salt),
                    (None, Some(replaying)) => replaying,
                    (None, None) => {
                        let give_up = until.saturating_sub((config.replay / RESERVE).max(RESERVE));
                        Due::Replay(BackgroundTask::start(
                            self.seats(id, audit).examine(self.turns.clone(), give_up),
                        ))
                    }
                })
            }
            Stage::Reveal
                if holder.committed && !holder.revealed && self.strategy.reveals_audit() =>
            {
                Some(match self.begun.remove(&id) {
                    Some(revealing) => revealing,
                    None => {
                        let found = self.peer.state.evidence(id)?;
                        let (evidence, salt) = found.ok_or_else(|| {
                            RoleError::transient(anyhow!("audit {id}: what was found is not in this folder; its seats are lost"))
                        })?;
                        let bind = self
                            .seats(id, audit)
                            .bind(self.turns.clone(), until.saturating_sub(LAST));
                        Due::Reveal(BackgroundTask::start(async move {
                            Ok(match bind.await? {
                                None => Call::RevealAudit { audit: id, evidence, salt },
                                Some(bindings) => {
                                    let bindings = BoundedVec::truncate_from(bindings);
                                    Call::RevealSketches { audit: id, evidence, bindings, salt }
                                }
                            })
                        }))
                    }
                })
            }
            _ => None,
        })
    }

    /// Does what is due; gives back what has not ended.
    async fn act(&self, id: AuditId, audit: &Audit<AccountId>, due: Due) -> Result<Option<Due>> {
        match due {
            Due::Replay(mut replaying) => {
                let Some(evidence) = replaying.wait().await else {
                    return Ok(Some(Due::Replay(replaying)));
                };
                let (evidence, mut salt) = (evidence?, Hash::default());
                getrandom::fill(&mut salt).map_err(|error| {
                    RoleError::fatal(anyhow!("the system gives no randomness: {error}"))
                })?;
                self.peer.state.write_evidence(id, &evidence, &salt)?;
                self.commit(id, audit, &evidence, &salt).await?;
            }
            Due::Commit(evidence, salt) => self.commit(id, audit, &evidence, &salt).await?,
            Due::Reveal(mut revealing) => {
                let Some(call) = revealing.wait().await else {
                    return Ok(Some(Due::Reveal(revealing)));
                };
                self.peer.chain.submit(&self.signer, call?).await?;
                tracing::info!("round {}: revealed what audit {id} found", audit.round);
            }
            Due::Settle(trainers) => {
                try_join_all(
                    trainers
                        .into_iter()
                        .map(|trainer| settle(&self.peer, &self.signer, id, audit, trainer)),
                )
                .await?;
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
        let commitment = evidence_commitment(
            &self.signer.account(),
            &self.peer.chain.genesis(),
            id,
            evidence,
            salt,
        );
        self.peer.chain.submit(&self.signer, Call::CommitAudit { audit: id, commitment }).await?;
        tracing::info!(
            "round {}: audited {} updates and committed to what audit {id} found",
            audit.round,
            evidence.len()
        );
        Ok(())
    }

    /// Trainers of the cases to settle: validators take turns, so that not all of them try at once.
    fn unsettled(
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
            let tried = self.tried.get(&(id, case.trainer));
            if now >= audit.since.saturating_add(turn * TURN)
                && tried.is_none_or(|tried| now >= tried + AGAIN)
            {
                self.tried.insert((id, case.trainer), now);
                due.push(case.trainer);
            }
        }
        due
    }

    /// Forgets audits that have ended.
    async fn forget(&mut self, open: &BTreeSet<AuditId>) -> Result<()> {
        self.tried.retain(|(id, _), _| open.contains(id));
        let mut over: BTreeSet<AuditId> =
            self.peer.state.keep_evidence(open)?.into_iter().collect();
        over.extend(self.held.extract_if(.., |id, _| !open.contains(id)).map(|(id, fetching)| {
            fetching.abort();
            id
        }));
        for id in over {
            self.peer.swarm.release(&audit_tag(id)).await?;
        }
        Ok(())
    }
}

/// Has the chain settle `trainer`'s case, which others may do at the same time.
pub(super) async fn settle(
    peer: &NodeContext,
    signer: &Signer,
    id: AuditId,
    audit: &Audit<AccountId>,
    trainer: AccountId,
) -> Result<()> {
    if submit_housekeeping(&peer.chain, signer, Call::Settle { audit: id, trainer }).await? {
        let history = peer.chain.history(audit.round).await?;
        let outcome = history
            .iter()
            .find(|(account, _)| *account == trainer)
            .map(|(_, settled)| settled.outcome);
        let said = outcome.map_or("undecided; more seats are drawn".to_owned(), |outcome| {
            format!("settled: {outcome:?}")
        });
        tracing::info!(
            "round {}: the update of {} is {said}",
            audit.round,
            format_account(&trainer)
        );
    }
    Ok(())
}

impl<C: Strategy> Role for Auditor<C> {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let audits = self.peer.chain.audits().await?;
        if !audits.is_empty() {
            let config = self.peer.chain.audit_config().await?;
            self.begun.retain(|id, due| {
                let stage =
                    audits.iter().find(|(open, _)| open == id).map(|(_, audit)| audit.stage);
                matches!(
                    (due, stage),
                    (Due::Replay(_), Some(Stage::Replay)) | (Due::Reveal(_), Some(Stage::Reveal))
                )
            });
            let mut due = Vec::new();
            for (id, audit) in &audits {
                match self.due(*id, audit, &config, overview.now) {
                    Ok(now) => due.extend(now.map(|now| (*id, audit, now))),
                    Err(failure) => failure.pass()?,
                }
            }
            let act = async |(id, audit, due)| {
                Ok(self.act(id, audit, due).await?.map(|begun| (id, begun)))
            };
            let begun = all_at_once(due.into_iter().map(act)).await?;
            self.begun.extend(begun.into_iter().flatten());
        }
        self.forget(&audits.iter().map(|(id, _)| *id).collect()).await?;
        self.rewards.step(overview).await
    }
}
