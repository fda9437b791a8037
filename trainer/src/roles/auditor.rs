//! Audits updates by replay: finds out, commits to it, reveals it, and has the chain settle.
//!
//! What was found is on disk, with what hides it, before the chain hears of it: a validator that is started again reveals what
//! it committed to.

use super::{
    Role,
    evidence::{Seats, audit_tag},
    rewards::Rewards,
};
use crate::{
    conduct::Conduct,
    failure::{Failure, Result, explain},
    peer::{Peer, submit_housekeeping},
};
use anyhow::anyhow;
use futures::future::try_join_all;
use pol_chain::{AccountId, Call, Signer, format_account};
use pol_primitives::{
    Hash,
    audit::{Audit, AuditConfig, AuditId, Evidence, Stage, evidence_commitment},
    round::BlockNumber,
    view::Overview,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::task::{AbortHandle, JoinHandle};

/// Longest that a step waits for a replay: about as long as a block takes.
const MOMENT: Duration = Duration::from_secs(2);
/// Blocks that a validator leaves to the one before it to settle a case.
const TURN: BlockNumber = 2;
/// Blocks before a case is tried again that could not be settled: that of the trainer's update before it may come first.
const AGAIN: BlockNumber = 5;
/// Share of the replay stage that is kept for committing.
const RESERVE: BlockNumber = 4;

/// A validator's work in audits, between blocks.
pub struct Auditor<C> {
    peer: Peer,
    signer: Signer,
    workers: usize,
    conduct: C,
    rewards: Rewards,
    /// The replay under way.
    replaying: Option<Replaying>,
    /// Audits with seats of this validator, and the task that fetches their models.
    held: BTreeMap<AuditId, AbortHandle>,
    /// When the settling of a case was last tried.
    tried: BTreeMap<(AuditId, AccountId), BlockNumber>,
}

/// A replay in the background.
struct Replaying {
    audit: AuditId,
    task: JoinHandle<Result<Evidence>>,
}

impl Drop for Replaying {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C: Conduct> Auditor<C> {
    /// Audits for the account of `signer`, with `workers` threads.
    pub fn new(peer: Peer, signer: Signer, workers: usize, conduct: C) -> Self {
        let rewards = Rewards::new(peer.clone(), signer.clone());
        Self { peer, signer, workers, conduct, rewards, replaying: None, held: BTreeMap::new(), tried: BTreeMap::new() }
    }

    fn seats(&self, id: AuditId, audit: &Audit<AccountId>) -> Seats<C> {
        Seats {
            peer: self.peer.clone(),
            account: self.signer.account(),
            workers: self.workers,
            conduct: self.conduct.clone(),
            id,
            audit: audit.clone(),
        }
    }

    /// Does what `audit` waits for.
    async fn act(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        config: &AuditConfig,
        overview: &Overview<AccountId>,
    ) -> Result<()> {
        let account = self.signer.account();
        if audit.stage == Stage::Settle {
            return self.settle(id, audit, overview.now).await;
        }
        let Some(holder) = audit.holder(&account).and_then(|place| audit.holders.get(usize::from(place))) else { return Ok(()) };
        if !self.held.contains_key(&id) {
            let seats = self.seats(id, audit);
            let fetching = tokio::spawn(async move {
                if let Err(Failure::Passing(error) | Failure::Fatal(error)) = seats.keep_models().await {
                    tracing::debug!("audit {id}: {}", explain(&error));
                }
            });
            self.held.insert(id, fetching.abort_handle());
        }
        match audit.stage {
            Stage::Replay if !holder.committed && audit.seats_of(&account).next().is_some() => {
                self.replay(id, audit, config).await
            }
            Stage::Reveal if holder.committed && !holder.revealed && self.conduct.reveals_audit() => {
                let found = self.peer.state.evidence(id)?;
                let (evidence, salt) = found.ok_or_else(|| {
                    Failure::passing(anyhow!("audit {id}: what was found is not in this folder; its seats are lost"))
                })?;
                self.peer.chain.submit(&self.signer, Call::RevealAudit { audit: id, evidence, salt }).await?;
                tracing::info!("round {}: revealed what audit {id} found", audit.round);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Commits to what the seats found, or goes on finding out.
    async fn replay(&mut self, id: AuditId, audit: &Audit<AccountId>, config: &AuditConfig) -> Result<()> {
        if let Some((evidence, salt)) = self.peer.state.evidence(id)? {
            return self.commit(id, audit, &evidence, &salt).await;
        }
        if self.replaying.is_none() {
            let until = audit.deadline(config).unwrap_or_default();
            let give_up = until.saturating_sub((config.replay / RESERVE).max(RESERVE));
            let task = tokio::spawn(self.seats(id, audit).examine(give_up));
            self.replaying = Some(Replaying { audit: id, task });
        }
        let Some(replaying) = self.replaying.as_mut().filter(|replaying| replaying.audit == id) else { return Ok(()) };
        let Ok(done) = tokio::time::timeout(MOMENT, &mut replaying.task).await else { return Ok(()) };
        self.replaying = None;
        let evidence = done??;
        let mut salt = Hash::default();
        getrandom::fill(&mut salt).map_err(|error| Failure::fatal(anyhow!("the system gives no randomness: {error}")))?;
        self.peer.state.write_evidence(id, &evidence, &salt)?;
        self.commit(id, audit, &evidence, &salt).await
    }

    async fn commit(&self, id: AuditId, audit: &Audit<AccountId>, evidence: &Evidence, salt: &Hash) -> Result<()> {
        let commitment = evidence_commitment(&self.signer.account(), &self.peer.chain.genesis(), id, evidence, salt);
        self.peer.chain.submit(&self.signer, Call::CommitAudit { audit: id, commitment }).await?;
        tracing::info!("round {}: audited {} updates and committed to what audit {id} found", audit.round, evidence.len());
        Ok(())
    }

    /// Has the chain settle the cases whose turn it is: validators take turns, so that not all of them try at once.
    async fn settle(&mut self, id: AuditId, audit: &Audit<AccountId>, now: BlockNumber) -> Result<()> {
        let holders = u32::try_from(audit.holders.len()).unwrap_or(u32::MAX);
        let place = audit.holder(&self.signer.account()).map(u32::from);
        let mut due = Vec::new();
        for (at, case) in (0u32..).zip(&audit.cases).filter(|(_, case)| !case.settled) {
            let turn = place.and_then(|place| (at + place).checked_rem(holders)).unwrap_or(holders);
            let tried = self.tried.get(&(id, case.trainer));
            if now >= audit.since.saturating_add(turn * TURN) && tried.is_none_or(|tried| now >= tried + AGAIN) {
                self.tried.insert((id, case.trainer), now);
                due.push(case.trainer);
            }
        }
        try_join_all(due.into_iter().map(|trainer| settle(&self.peer, &self.signer, id, audit, trainer))).await?;
        Ok(())
    }

    /// Forgets audits that have ended.
    async fn forget(&mut self, open: &BTreeSet<AuditId>) -> Result<()> {
        self.tried.retain(|(id, _), _| open.contains(id));
        let mut over: BTreeSet<AuditId> = self.peer.state.keep_evidence(open)?.into_iter().collect();
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
    peer: &Peer,
    signer: &Signer,
    id: AuditId,
    audit: &Audit<AccountId>,
    trainer: AccountId,
) -> Result<()> {
    if submit_housekeeping(&peer.chain, signer, Call::Settle { audit: id, trainer }).await? {
        let history = peer.chain.history(audit.round).await?;
        let outcome = history.iter().find(|(account, _)| *account == trainer).map(|(_, settled)| settled.outcome);
        let said = outcome.map_or("undecided; more seats are drawn".to_owned(), |outcome| format!("settled: {outcome:?}"));
        tracing::info!("round {}: the update of {} is {said}", audit.round, format_account(&trainer));
    }
    Ok(())
}

impl<C: Conduct> Role for Auditor<C> {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let audits = self.peer.chain.audits().await?;
        if !audits.is_empty() {
            let config = self.peer.chain.audit_config().await?;
            let replays = |id| audits.iter().any(|(open, audit)| *open == id && audit.stage == Stage::Replay);
            self.replaying.take_if(|replaying| !replays(replaying.audit));
            for (id, audit) in &audits {
                // One that cannot go on now does not hold up the others.
                self.act(*id, audit, &config, overview).await.or_else(Failure::pass)?;
            }
        }
        self.forget(&audits.iter().map(|(id, _)| *id).collect()).await?;
        self.rewards.step(overview).await
    }
}
