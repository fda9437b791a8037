//! Answers for a trainer's updates until they are settled: shows the states that audits start from, opens ends, and learns what
//! became of them.

use super::{Role, auditor::settle, rewards::Rewards};
use crate::{
    conduct::Conduct,
    data::{ShardReader, lease_tag},
    failure::{Failure, Result, explain},
    peer::{Peer, amount},
    state::{Journal, StateFolder},
};
use anyhow::anyhow;
use pol_chain::{AccountId, Call, Signer};
use pol_engine::{Job, LeaseData, Trace, TrainingState};
use pol_primitives::{
    audit::{Audit, AuditId, Case, OpenedEnd, Served, Stage},
    lease::Lease,
    recipe::Recipe,
    round::BlockNumber,
    submission::{Outcome, Settled},
    view::Overview,
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// Longest that a step waits for states to be ready: about as long as a block takes.
const MOMENT: Duration = Duration::from_secs(2);
/// Blocks after which a trainer has its own update settled, if no validator did.
const PATIENCE: BlockNumber = 10;

/// A trainer's part in the audits of its updates, between blocks.
pub struct Answers<C> {
    peer: Peer,
    signer: Signer,
    workers: usize,
    conduct: C,
    shards: ShardReader,
    rewards: Rewards,
    showing: Option<Showing>,
    /// Audits that cannot be answered from this folder.
    lost: BTreeSet<AuditId>,
}

/// States being made ready in the background.
struct Showing {
    audit: AuditId,
    task: JoinHandle<Result<Vec<Served>>>,
}

impl Drop for Showing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C: Conduct> Answers<C> {
    /// Answers for the account of `signer`; states that are not kept are trained again with `workers` threads.
    pub fn new(peer: Peer, signer: Signer, workers: usize, conduct: C) -> Self {
        let rewards = Rewards::new(peer.clone(), signer.clone());
        let shards = ShardReader::new(peer.clone());
        Self { peer, signer, workers, conduct, shards, rewards, showing: None, lost: BTreeSet::new() }
    }

    fn account(&self) -> AccountId {
        self.signer.account()
    }

    async fn act(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        overview: &Overview<AccountId>,
    ) -> Result<()> {
        match audit.stage {
            Stage::Serve if !case.served && self.conduct.shows(case) => self.show(id, audit, case).await,
            Stage::Open if case.served && !case.opened && self.conduct.opens(case) => self.open(id, audit, case).await,
            Stage::Settle if !case.settled && overview.now >= audit.since.saturating_add(PATIENCE) => {
                let again = overview.now.saturating_sub(audit.since).checked_rem(PATIENCE) == Some(0);
                if again { settle(&self.peer, &self.signer, id, audit, self.account()).await } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// The journal of the update that `audit` is about.
    fn journal(&mut self, id: AuditId, audit: &Audit<AccountId>) -> Result<Option<Journal>> {
        for nonce in self.peer.state.leases()? {
            let journal = self.peer.state.journal(nonce)?;
            if let Some(journal) = journal.filter(|journal| journal.round == audit.round && journal.reveal.is_some()) {
                return Ok(Some(journal));
            }
        }
        if self.lost.insert(id) {
            tracing::error!(
                "round {}: the update is being audited, and its training is not in {}; a penalty will be taken",
                audit.round,
                self.peer.state.path().display()
            );
        }
        Ok(None)
    }

    /// Shows the states that the drawn segments start from, once peers can fetch them.
    async fn show(&mut self, id: AuditId, audit: &Audit<AccountId>, case: &Case<AccountId>) -> Result<()> {
        if self.showing.is_none() {
            let Some(journal) = self.journal(id, audit)? else { return Ok(()) };
            let lease = self.peer.chain.audited_lease(audit.round, &self.account()).await?;
            let lease = lease.ok_or_else(|| Failure::passing(anyhow!("the node does not know the lease of audit {id}")))?;
            let recipe = self.peer.recipe(&lease.recipe).await?;
            let data = self.shards.lease_data(&recipe, &lease.shards, &[], &lease_tag(lease.nonce)).await?;
            let states = States {
                account: self.account(),
                workers: self.workers,
                state: self.peer.state.clone(),
                conduct: self.conduct.clone(),
                data: self.conduct.data(&recipe, data),
                recipe,
                lease,
                journal,
            };
            let task = tokio::spawn(states.serve(self.peer.clone(), case.served_leaves()));
            self.showing = Some(Showing { audit: id, task });
        }
        let Some(showing) = self.showing.as_mut().filter(|showing| showing.audit == id) else { return Ok(()) };
        let Ok(done) = tokio::time::timeout(MOMENT, &mut showing.task).await else { return Ok(()) };
        self.showing = None;
        let states = done??.try_into().map_err(|_| Failure::fatal(anyhow!("audit {id} asks for more states than it may")))?;
        self.peer.chain.submit(&self.signer, Call::ServeStates { audit: id, states }).await?;
        tracing::info!("round {}: shows audit {id} the states of segments {:?}", audit.round, case.segments);
        Ok(())
    }

    async fn open(&mut self, id: AuditId, audit: &Audit<AccountId>, case: &Case<AccountId>) -> Result<()> {
        let Some(journal) = self.journal(id, audit)? else { return Ok(()) };
        let leaves = Trace::from_leaves(journal.leaves).ok_or_else(|| Failure::fatal(anyhow!("a lease without a start")))?;
        let end = |leaf: u16| {
            let digest = leaves.leaves().get(usize::from(leaf)).copied();
            digest.zip(leaves.proof(leaf.into())).map(|(digest, proof)| OpenedEnd { digest, proof })
        };
        let ends: Option<Vec<OpenedEnd>> = case.opened_leaves().into_iter().map(end).collect();
        let ends = ends.and_then(|ends| ends.try_into().ok());
        let ends = ends.ok_or_else(|| Failure::passing(anyhow!("audit {id} asks for a segment that was not trained")))?;
        self.peer.chain.submit(&self.signer, Call::OpenSegments { audit: id, ends }).await?;
        tracing::info!("round {}: opened the ends of segments {:?} to audit {id}", audit.round, case.segments);
        Ok(())
    }

    /// Learns what became of updates, and forgets those that are settled.
    async fn learn(&mut self, audits: &[(AuditId, Audit<AccountId>)], overview: &Overview<AccountId>) -> Result<()> {
        let account = self.account();
        // All at one block: what is neither here nor there is over.
        let chain = self.peer.chain.at(self.peer.chain.best().await?.hash);
        let open = chain.lease(&account).await?.map(|lease| lease.nonce);
        for nonce in self.peer.state.leases()?.into_iter().filter(|nonce| open != Some(*nonce)) {
            let Some(journal) = self.peer.state.journal(nonce)? else { continue };
            let round = journal.round;
            let audited =
                audits.iter().any(|(_, audit)| audit.round == round && audit.case(&account).is_some_and(|case| !case.settled));
            if audited || round >= overview.round.number {
                continue;
            }
            if chain.submissions(round).await?.iter().any(|(trainer, _)| *trainer == account) {
                continue;
            }
            let history = chain.history(round).await?;
            if let Some((_, settled)) = history.iter().find(|(trainer, _)| *trainer == account) {
                self.tell(round, settled).await?;
            }
            self.peer.swarm.release(&lease_tag(nonce)).await?;
            self.peer.state.forget(nonce)?;
        }
        Ok(())
    }

    async fn tell(&self, round: u32, settled: &Settled) -> Result<()> {
        let bond = self.peer.chain.member(&self.account()).await?.map_or(0, |member| member.bond);
        match settled.outcome {
            Outcome::Valid => tracing::info!(
                "round {round}: the audit found the update valid: it improves text that nobody was assigned by {:.6} ± {:.6} nats \
                 a token",
                f64::from(settled.gain) / 1e6,
                f64::from(settled.error) / 1e6
            ),
            Outcome::Invalid => tracing::error!(
                "round {round}: the audit found that the update is not what its lease gives; it is taken out of the model, and the \
                 bond is {} now",
                amount(bond)
            ),
            Outcome::Withheld => tracing::error!(
                "round {round}: the audit did not get to see what it asked for; the update is taken out of the model, and the bond \
                 is {} now",
                amount(bond)
            ),
            Outcome::Unresolved => {
                tracing::warn!("round {round}: the audit came to no result; the update is taken out of the model")
            }
            Outcome::Tainted => {
                tracing::warn!("round {round}: the update went on from one that was taken out of the model, and is taken out too")
            }
            // Told when the lease was concluded.
            Outcome::NoShow | Outcome::Excluded => {}
        }
        Ok(())
    }
}

impl<C: Conduct> Role for Answers<C> {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let (audits, account) = (self.peer.chain.audits().await?, self.account());
        let serves = |id| audits.iter().any(|(open, audit)| *open == id && audit.stage == Stage::Serve);
        self.showing.take_if(|showing| !serves(showing.audit));
        self.lost.retain(|lost| audits.iter().any(|(id, _)| id == lost));
        for (id, audit) in &audits {
            if let Some(case) = audit.case(&account) {
                // One that cannot go on now does not hold up the others.
                self.act(*id, audit, case, overview).await.or_else(Failure::pass)?;
            }
        }
        self.learn(&audits, overview).await?;
        self.rewards.step(overview).await
    }
}

/// The states of a lease that is trained: those kept, and from them all others.
struct States<C> {
    account: AccountId,
    workers: usize,
    state: Arc<StateFolder>,
    conduct: C,
    recipe: Recipe,
    lease: Lease,
    data: LeaseData,
    journal: Journal,
}

impl<C: Conduct> States<C> {
    /// Makes the states at `leaves` available to peers.
    async fn serve(self, peer: Peer, leaves: Vec<u16>) -> Result<Vec<Served>> {
        let no_trace = || Failure::fatal(anyhow!("a lease without a start"));
        let trace = Trace::from_leaves(self.journal.leaves.clone()).ok_or_else(no_trace)?;
        let (mut served, states) = (Vec::with_capacity(leaves.len()), Arc::new(self));
        for leaf in leaves {
            let this = states.clone();
            let (state, blobs) = tokio::task::spawn_blocking(move || {
                let state = this.at(leaf)?;
                let blobs = state.blobs().into_iter().map(|blob| blob.to_vec().into()).collect();
                Ok::<_, Failure>((state.served(leaf), blobs))
            })
            .await??;
            let proof = trace.proof(leaf.into()).filter(|_| trace.leaves().get(usize::from(leaf)) == Some(&state.digest()));
            let proof = proof.ok_or_else(|| {
                Failure::passing(anyhow!(
                    "the state after {leaf} segments is not the one that was committed to, and cannot be shown"
                ))
            })?;
            peer.swarm.add_all(blobs, &lease_tag(states.lease.nonce)).await?;
            served.push(Served { state, proof });
        }
        Ok(served)
    }

    /// The state after `leaf` segments: loaded, or trained again from the one before it that is kept.
    fn at(&self, leaf: u16) -> Result<TrainingState> {
        let (nonce, parameters) = (self.lease.nonce, self.recipe.model.size() as usize);
        for from in self.state.kept(nonce)?.into_iter().rev().filter(|kept| *kept <= leaf) {
            let mut state = match self.state.load_state(nonce, from, parameters) {
                Ok(state) => state,
                // Thinned out a moment ago, or damaged: the one before it leads here too.
                Err(error) => {
                    tracing::warn!("round {}: {}", self.lease.due_round, explain(&error.into()));
                    continue;
                }
            };
            let Self { recipe, lease, account, data, workers, .. } = self;
            let job = Job { recipe, lease, account, data, workers: *workers };
            for segment in from..leaf {
                self.conduct.train_segment(&job, &mut state, segment)?;
            }
            return Ok(state);
        }
        Err(Failure::passing(anyhow!(
            "no state of round {} is left that segment {leaf} could be trained from",
            self.lease.due_round
        )))
    }
}
