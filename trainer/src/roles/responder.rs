//! AuditResponder for a trainer's updates until they are settled: shows the states that audits start from,
//! opens ends, and learns what became of them.

use super::{BackgroundTask, Role, all_at_once, auditor::settle, rewards::Rewards};
use crate::{
    context::NodeContext,
    data::{ShardReader, lease_tag},
    display::format_amount,
    error::{Result, RoleError, explain},
    state::{Journal, StateFolder},
    strategy::Strategy,
};
use anyhow::anyhow;
use pol_chain::{AccountId, Call, Signer};
use pol_engine::{LeaseData, LeaseJob, Trace, TrainingState};
use pol_primitives::{
    Balance, Hash,
    audit::{Audit, AuditId, Case, OpenedEnd, Served, Stage},
    lease::Lease,
    recipe::{Numerics, Recipe},
    round::BlockNumber,
    sketch::SketchedEnd,
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
pub struct AuditResponder<C> {
    peer: NodeContext,
    signer: Signer,
    workers: usize,
    strategy: C,
    rewards: Rewards,
    /// AuditResponder being made ready, and the stage that waits for them.
    making: BTreeMap<AuditId, (Stage, BackgroundTask<Call>)>,
    /// Held by whoever trains to make them: one at a time is enough for a machine.
    alone: Arc<Mutex<()>>,
    /// Audits that cannot be answered from this folder.
    lost: BTreeSet<AuditId>,
}

/// What an audit waits for from the trainer.
enum Due {
    Answer(BackgroundTask<Call>),
    Settle,
}

impl<C: Strategy> AuditResponder<C> {
    /// AuditResponder for the account of `signer`; states that are not kept are trained again with
    /// `workers` threads.
    pub fn new(peer: NodeContext, signer: Signer, workers: usize, strategy: C) -> Self {
        let rewards = Rewards::new(peer.clone(), signer.clone());
        let (making, alone) = (BTreeMap::new(), Arc::default());
        Self { peer, signer, workers, strategy, rewards, making, alone, lost: BTreeSet::new() }
    }

    fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// What `audit` waits for. Starts what takes long.
    fn due(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        now: BlockNumber,
    ) -> Result<Option<Due>> {
        Ok(match audit.stage {
            Stage::Serve if !case.served && self.strategy.serves_states(case) => {
                self.answer(id, audit, case)?
            }
            Stage::Open if case.served && !case.opened && self.strategy.opens_segments(case) => {
                self.answer(id, audit, case)?
            }
            Stage::Settle if !case.settled && now >= audit.since.saturating_add(PATIENCE) => {
                (now.saturating_sub(audit.since).checked_rem(PATIENCE) == Some(0))
                    .then_some(Due::Settle)
            }
            _ => None,
        })
    }

    /// Does what is due; gives an answer back that is not ready.
    async fn act(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
        due: Due,
    ) -> Result<Option<BackgroundTask<Call>>> {
        match due {
            Due::Answer(mut making) => {
                let Some(call) = making.wait().await else { return Ok(Some(making)) };
                self.peer.chain.submit(&self.signer, call?).await?;
                let what = if audit.stage == Stage::Serve { "starts" } else { "ends" };
                tracing::info!(
                    "round {}: showed audit {id} the {what} of segments {:?}",
                    audit.round,
                    &case.segments[..]
                );
            }
            Due::Settle => settle(&self.peer, &self.signer, id, audit, self.account()).await?,
        }
        Ok(None)
    }

    /// The journal of the update that `audit` is about.
    fn journal(&mut self, id: AuditId, audit: &Audit<AccountId>) -> Result<Option<Journal>> {
        for nonce in self.peer.state.leases()? {
            let journal = self.peer.state.journal(nonce)?;
            if let Some(journal) =
                journal.filter(|journal| journal.round == audit.round && journal.reveal.is_some())
            {
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

    /// The answer to what `audit` asks at this stage, being made ready; none where the update's
    /// training is lost.
    fn answer(
        &mut self,
        id: AuditId,
        audit: &Audit<AccountId>,
        case: &Case<AccountId>,
    ) -> Result<Option<Due>> {
        if let Some((_, making)) = self.making.remove(&id) {
            return Ok(Some(Due::Answer(making)));
        }
        let Some(journal) = self.journal(id, audit)? else { return Ok(None) };
        let (peer, account, workers, round) =
            (self.peer.clone(), self.account(), self.workers, audit.round);
        let (strategy, alone, stage) = (self.strategy.clone(), self.alone.clone(), audit.stage);
        let (case, seed) = (case.clone(), audit.seed);
        Ok(Some(Due::Answer(BackgroundTask::start(async move {
            let lease = peer.chain.audited_lease(round, &account).await?;
            let lease = lease.ok_or_else(|| {
                RoleError::transient(anyhow!(
                    "the node does not know the audited lease of round {round}"
                ))
            })?;
            let recipe = peer.recipe(&lease.recipe).await?;
            if stage == Stage::Open && recipe.numerics == Numerics::Exact {
                return open(id, &case, journal.leaves);
            }
            let data = ShardReader::new(peer.clone())
                .lease_data(&recipe, &lease.shards, &[], &lease_tag(lease.nonce))
                .await?;
            let (state, data) = (peer.state.clone(), strategy.data(&recipe, data));
            let trace = Trace::from_leaves(journal.leaves).ok_or_else(no_start)?;
            let states =
                Arc::new(States { account, workers, state, strategy, recipe, lease, data, trace });
            let _alone = alone.lock().await;
            if stage == Stage::Open {
                return states.open(peer, id, &case, seed).await;
            }
            let states = states.serve(&peer, case.served_leaves()).await?.try_into();
            let states = states.map_err(|_| {
                RoleError::fatal(anyhow!("audit {id} asks for more states than it may"))
            })?;
            Ok(Call::ServeStates { audit: id, states })
        }))))
    }

    /// Learns what became of updates, and forgets those that are settled.
    async fn learn(
        &mut self,
        audits: &[(AuditId, Audit<AccountId>)],
        overview: &Overview<AccountId>,
    ) -> Result<()> {
        let account = self.account();
        // All at one block: what is neither here nor there is over.
        let chain = self.peer.chain.at(self.peer.chain.best().await?.hash);
        let open = chain.lease(&account).await?.map(|lease| lease.nonce);
        for nonce in self.peer.state.leases()?.into_iter().filter(|nonce| open != Some(*nonce)) {
            let Some(journal) = self.peer.state.journal(nonce)? else { continue };
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
            let settled =
                history.iter().find(|(trainer, _)| *trainer == account).map(|(_, settled)| settled);
            let member = self.peer.chain.member(&account).await?;
            if let Some(settled) = settled {
                Self::tell(round, settled, member.as_ref().map_or(0, |member| member.bond));
            }
            // What may happen to anybody is made good. Whoever is taken for a cheat should find out
            // why first.
            if settled.is_none_or(|settled| settled.outcome != Outcome::Invalid)
                && let Some(member) = member
            {
                self.peer.fill_bond(&self.signer, &member).await?;
            }
            self.peer.swarm.release(&lease_tag(nonce)).await?;
            self.peer.state.forget(nonce)?;
        }
        Ok(())
    }

    fn tell(round: u32, settled: &Settled, bond: Balance) {
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
                format_amount(bond)
            ),
            Outcome::Withheld => tracing::error!(
                "round {round}: the audit did not get to see what it asked for; the update is taken out of the model, and the bond \
                 is {} now",
                format_amount(bond)
            ),
            Outcome::Unresolved => {
                tracing::warn!(
                    "round {round}: the audit came to no result; the update is taken out of the model"
                )
            }
            Outcome::Tainted => {
                tracing::warn!(
                    "round {round}: the update went on from one that was taken out of the model, and is taken out too"
                )
            }
            // Told when the lease was concluded.
            Outcome::NoShow | Outcome::Excluded => {}
        }
    }
}

impl<C: Strategy> Role for AuditResponder<C> {
    async fn step(&mut self, overview: &Overview<AccountId>) -> Result<()> {
        let (audits, account) = (self.peer.chain.audits().await?, self.account());
        self.making.retain(|id, (stage, _)| {
            audits.iter().any(|(open, audit)| open == id && audit.stage == *stage)
        });
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
        let act = async |(id, audit, case, due): (_, &Audit<_>, _, _)| {
            Ok(self.act(id, audit, case, due).await?.map(|making| (id, (audit.stage, making))))
        };
        let making = all_at_once(due.into_iter().map(act)).await?;
        self.making.extend(making.into_iter().flatten());
        self.learn(&audits, overview).await?;
        self.rewards.step(overview).await
    }
}

/// What opens the ends of the drawn segments where bits are compared.
fn open(id: AuditId, case: &Case<AccountId>, leaves: Vec<Hash>) -> Result<Call> {
    let trace = Trace::from_leaves(leaves).ok_or_else(no_start)?;
    let end = |leaf: u16| {
        let digest = trace.leaves().get(usize::from(leaf)).copied();
        digest.zip(trace.proof(leaf.into())).map(|(digest, proof)| OpenedEnd { digest, proof })
    };
    let ends: Option<Vec<OpenedEnd>> = case.opened_leaves().into_iter().map(end).collect();
    let ends = ends.and_then(|ends| ends.try_into().ok());
    let ends = ends.ok_or_else(|| {
        RoleError::transient(anyhow!("audit {id} asks for a segment that was not trained"))
    })?;
    Ok(Call::OpenSegments { audit: id, ends })
}

fn no_start() -> RoleError {
    RoleError::fatal(anyhow!("a lease without a start"))
}

/// The states of a lease that is trained: those kept, and from them all others.
struct States<C> {
    account: AccountId,
    workers: usize,
    state: Arc<StateFolder>,
    strategy: C,
    recipe: Recipe,
    lease: Lease,
    data: LeaseData,
    trace: Trace,
}

impl<C: Strategy> States<C> {
    /// Makes the states at `leaves` available to peers.
    async fn serve(self: &Arc<Self>, peer: &NodeContext, leaves: Vec<u16>) -> Result<Vec<Served>> {
        let mut served = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            served.push(self.show(peer, leaf).await?.1);
        }
        Ok(served)
    }

    /// Makes the state at `leaf` available to peers.
    async fn show(
        self: &Arc<Self>,
        peer: &NodeContext,
        leaf: u16,
    ) -> Result<(TrainingState, Served)> {
        let this = self.clone();
        let (full, state, blobs) = tokio::task::spawn_blocking(move || {
            let full = this.at(leaf)?;
            let (state, blobs) = (
                full.served(leaf),
                full.blobs().into_iter().map(|blob| blob.to_vec().into()).collect(),
            );
            Ok::<_, RoleError>((full, state, blobs))
        })
        .await??;
        let committed = self.trace.leaves().get(usize::from(leaf)) == Some(&state.digest());
        let proof = self.trace.proof(leaf.into()).filter(|_| committed).ok_or_else(|| {
            RoleError::transient(anyhow!("the state after {leaf} segments is not the one that was committed to, and cannot be shown"))
        })?;
        peer.swarm.add_all(blobs, &lease_tag(self.lease.nonce)).await?;
        Ok((full, Served { state, proof }))
    }

    /// What opens the ends of the drawn segments under the native profile, once peers can fetch
    /// their states.
    async fn open(
        self: Arc<Self>,
        peer: NodeContext,
        id: AuditId,
        case: &Case<AccountId>,
        seed: Hash,
    ) -> Result<Call> {
        let mut ends = Vec::new();
        for (leaf, segment) in case.opened_leaves().into_iter().zip(case.segments.iter().copied()) {
            let (end, Served { state, proof }) = self.show(&peer, leaf).await?;
            let this = self.clone();
            let sketch = tokio::task::spawn_blocking(move || {
                let start = this.at(segment)?;
                Ok::<_, RoleError>(pol_engine::sketch_segment(
                    &this.recipe.model,
                    &seed,
                    &this.account,
                    segment,
                    &start,
                    &end,
                )?)
            });
            ends.push((SketchedEnd { state, sketch: sketch.await?? }, proof));
        }
        let ends = ends
            .try_into()
            .map_err(|_| RoleError::fatal(anyhow!("audit {id} asks for more ends than it may")))?;
        Ok(Call::OpenSketches { audit: id, ends })
    }

    /// The state after `leaf` segments: loaded, or trained again from the one before it that is
    /// kept.
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
            let job = LeaseJob { recipe, lease, account, data, workers: *workers };
            for segment in from..leaf {
                self.strategy.train_segment(&job, &mut state, segment)?;
            }
            return Ok(state);
        }
        Err(RoleError::transient(anyhow!(
            "no state of round {} is left that segment {leaf} could be trained from",
            self.lease.due_round
        )))
    }
}
