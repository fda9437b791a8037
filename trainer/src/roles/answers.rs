//! Answers for a trainer's updates until they are settled: shows the states that audits start from, opens ends, and learns what
//! became of them.

use super::{Background, Role, auditor::settle, rewards::Rewards};
use crate::{
    conduct::Conduct,
    data::{ShardReader, lease_tag},
    failure::{Failure, Result, explain},
    peer::{Peer, amount},
    state::{Journal, StateFolder},
};
use anyhow::anyhow;
use futures::future::join_all;
use pol_chain::{AccountId, Call, Signer};
use pol_engine::{Job, LeaseData, Trace, TrainingState};
use pol_primitives::{
    RoundNumber,
    audit::{Audit, AuditId, Case, OpenedEnd, Served, Stage},
    lease::Lease,
    recipe::Recipe,
    round::BlockNumber,
    submission::{Outcome, Settled},
    view::Overview,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::sync::Mutex;

/// Blocks after which a trainer has its own update settled, if no validator did.
const PATIENCE: BlockNumber = 10;

/// A trainer's part in the audits of its updates, between blocks.
pub struct Answers<C> {
    peer: Peer,
    signer: Signer,
    workers: usize,
    conduct: C,
    rewards: Rewards,
    /// States being made ready.
    showing: BTreeMap<AuditId, Background<Vec<Served>>>,
    /// Held by whoever trains to make them: one at a time is enough for a machine.
    alone: Arc<Mutex<()>>,
    /// Audits that cannot be answered from this folder.
    lost: BTreeSet<AuditId>,
}

/// What an audit waits for from the trainer.
enum Due {
    Show(Background<Vec<Served>>),
    Open(Box<Journal>),
    Settle,
}

impl<C: Conduct> Answers<C> {
    /// Answers for the account of `signer`; states that are not kept are trained again with `workers` threads.
    pub fn new(peer: Peer, signer: Signer, workers: usize, conduct: C) -> Self {
        let rewards = Rewards::new(peer.clone(), signer.clone());
        let (showing, alone) = (BTreeMap::new(), Arc::default());
        Self { peer, signer, workers, conduct, rewards, showing, alone, lost: BTreeSet::new() }
    }

    fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// What `audit` waits for. Starts what takes long.
    fn due(&mut self, id: AuditId, audit: &Audit<AccountId>, case: &Case<AccountId>, now: BlockNumber) -> Result<Option<Due>> {
        Ok(match audit.stage {
            Stage::Serve if !case.served && self.conduct.shows(case) => match self.showing.remove(&id) {
                Some(showing) => Some(Due::Show(showing)),
                None => self
                    .journal(id, audit)?
                    .map(|journal| Due::Show(Background::start(self.make(audit.round, case.served_leaves(), journal)))),
            },
            Stage::Open if case.served && !case.opened && self.conduct.opens(case) => {
                self.journal(id, audit)?.map(|journal| Due::Open(Box::new(journal)))
            }
            Stage::Settle if !case.settled && now >= audit.since.saturating_add(PATIENCE) => {
                (now.saturating_sub(audit.since).checked_rem(PATIENCE) == Some(0)).then_some(Due::Settle)
            }
            _ => None,
        })
    }

    /// Does what is due; gives states back that are not ready.
    async fn act(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        due: Due,
    ) -> Result<Option<Background<Vec<Served>>>> {
        match due {
            Due::Show(mut showing) => {
                let Some(states) = showing.wait().await else { return Ok(Some(showing)) };
                let states = states?.try_into();
                let states = states.map_err(|_| Failure::fatal(anyhow!("audit {id} asks for more states than it may")))?;
                self.peer.chain.submit(&self.signer, Call::ServeStates { audit: id, states }).await?;
                tracing::info!("round {}: shows audit {id} the states of segments {:?}", audit.round, &case.segments[..]);
            }
            Due::Open(journal) => self.open(id, audit, case, *journal).await?,
            Due::Settle => settle(&self.peer, &self.signer, id, audit, self.account()).await?,
        }
        Ok(None)
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

    /// Makes the states at `leaves` of the update of `round` available to peers.
    fn make(&self, round: RoundNumber, leaves: Vec<u16>, journal: Journal) -> impl Future<Output = Result<Vec<Served>>> + use<C> {
        let (peer, account, workers) = (self.peer.clone(), self.account(), self.workers);
        let (conduct, alone) = (self.conduct.clone(), self.alone.clone());
        async move {
            let lease = peer.chain.audited_lease(round, &account).await?;
            let lease =
                lease.ok_or_else(|| Failure::passing(anyhow!("the node does not know the audited lease of round {round}")))?;
            let recipe = peer.recipe(&lease.recipe).await?;
            let data = ShardReader::new(peer.clone()).lease_data(&recipe, &lease.shards, &[], &lease_tag(lease.nonce)).await?;
            let (state, data) = (peer.state.clone(), conduct.data(&recipe, data));
            let states = States { account, workers, state, conduct, recipe, lease, data, journal };
            let _alone = alone.lock().await;
            states.serve(peer, leaves).await
        }
    }

    async fn open(&self, id: AuditId, audit: &Audit<AccountId>, case: &Case<AccountId>, journal: Journal) -> Result<()> {
        let leaves = Trace::from_leaves(journal.leaves).ok_or_else(|| Failure::fatal(anyhow!("a lease without a start")))?;
        let end = |leaf: u16| {
            let digest = leaves.leaves().get(usize::from(leaf)).copied();
            digest.zip(leaves.proof(leaf.into())).map(|(digest, proof)| OpenedEnd { digest, proof })
        };
        let ends: Option<Vec<OpenedEnd>> = case.opened_leaves().into_iter().map(end).collect();
        let ends = ends.and_then(|ends| ends.try_into().ok());
        let ends = ends.ok_or_else(|| Failure::passing(anyhow!("audit {id} asks for a segment that was not trained")))?;
        self.peer.chain.submit(&self.signer, Call::OpenSegments { audit: id, ends }).await?;
        tracing::info!("round {}: opened the ends of segments {:?} to audit {id}", audit.round, &case.segments[..]);
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
        self.showing.retain(|id, _| serves(*id));
        self.lost.retain(|lost| audits.iter().any(|(id, _)| id == lost));
        let mut due = Vec::new();
        for (id, audit) in &audits {
            if let Some(case) = audit.case(&account) {
                match self.due(*id, audit, case, overview.now) {
                    Ok(now) => due.extend(now.map(|now| (*id, audit, case, now))),
                    Err(failure) => failure.pass()?,
                }
            }
        }
        // At the same time: each submission waits for a block.
        let act = async |(id, audit, case, due)| (id, self.act(id, audit, case, due).await);
        for (id, done) in join_all(due.into_iter().map(act)).await {
            match done {
                Ok(showing) => self.showing.extend(showing.map(|showing| (id, showing))),
                // One that cannot go on now does not hold up the others.
                Err(failure) => failure.pass()?,
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
