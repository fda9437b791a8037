//! A trainer led by hand: every call of a lease, one by one, so that any of them can be wrong, late
//! or left out.

use crate::network::{self, Network};
use anyhow::{Context, Result, anyhow, bail};
use pol_chain::{AccountId, Call, ChainError, Signer};
use pol_engine::{Job, LeaseData, Trace, TrainingState, parameters_to_bytes};
use pol_primitives::{
    BoundedVec, Hash, RoundNumber,
    audit::{AuditId, Case, OpenedEnd, Served, ServedState, Stage},
    lease::Lease,
    peer::Role,
    recipe::Tier,
    round::Phase,
    submission::{Claims, Reveal, Settled},
    trace::{Carry, Proof},
};
use pol_swarm::Bytes;
use pol_trainer::{cli::SwarmOptions, data::ShardReader, model, peer::Peer, state::StateFolder};

/// Blocks after which a step of a round is not waited for any more: two rounds.
const ROUND: u32 = 60;
/// Blocks after which an update is not waited to be settled any more: a round and an audit of two
/// draws.
const SETTLED: u32 = 140;
const TIER: Tier = Tier::Whale;

/// A trainer.
pub struct Hand<'a> {
    network: &'a Network,
    /// Who it is.
    pub signer: Signer,
    /// Its connection to the others.
    pub peer: Peer,
    shards: ShardReader,
}

/// A lease that was worked on.
pub struct Work {
    /// The lease.
    pub lease: Lease,
    /// The model that the update is for.
    pub base: Vec<f32>,
    /// The states at the segments' boundaries, the start first.
    pub states: Vec<TrainingState>,
    /// Their leaves.
    pub trace: Trace,
    /// The encoded update.
    pub payload: Vec<u8>,
    /// What is revealed.
    pub reveal: Reveal,
}

impl Work {
    /// The round that the update is for.
    pub fn due(&self) -> RoundNumber {
        self.lease.due_round
    }

    fn proof(&self, leaf: u16) -> Result<Proof> {
        self.trace.proof(leaf.into()).with_context(|| format!("the trace has no leaf {leaf}"))
    }

    /// The states that an audit asks for, as they are named on chain.
    pub fn named(&self, case: &Case<AccountId>) -> Result<Vec<Served>> {
        let named = |leaf: u16| -> Result<Served> {
            let state = self
                .states
                .get(usize::from(leaf))
                .with_context(|| format!("there is no state {leaf}"))?;
            let carry = if state.steps == 0 { Carry::default() } else { state.carry() };
            Ok(Served {
                state: ServedState { leaf, root: state.root(), carry },
                proof: self.proof(leaf)?,
            })
        };
        case.served_leaves().into_iter().map(named).collect()
    }
}

/// What the error of a refused call is called; an error where the call was taken or never arrived.
pub fn refusal<T>(outcome: Result<T, ChainError>) -> Result<String> {
    match outcome {
        Err(ChainError::Refused { error, .. }) => Ok(error),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("the chain took it"),
    }
}

impl<'a> Hand<'a> {
    /// Bonds the account as a trainer and registers where it is reached.
    pub async fn start(network: &'a Network, name: &str) -> Result<Self> {
        let (chain, signer) = (network.chain.clone(), network::signer(name)?);
        let swarm = SwarmOptions { listen: ([127, 0, 0, 1], 0).into(), advertise: Vec::new() };
        let peer = Peer::start(chain, &swarm, StateFolder::open(&network.path(name))?).await?;
        peer.ensure_member(&signer, Role::Trainer)
            .await
            .map_err(pol_trainer::failure::Failure::into_inner)?;
        Ok(Self { network, signer, shards: ShardReader::new(peer.clone()), peer })
    }

    /// Its account.
    pub fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// Signs a call.
    pub async fn submit(&self, call: Call) -> Result<(), ChainError> {
        self.peer.chain.submit(&self.signer, call).await.map(drop)
    }

    /// Joins the next round that can be joined.
    pub async fn lease(&self) -> Result<Lease> {
        let joined = || async {
            let overview = self.peer.chain.overview().await?;
            if overview.head.is_none() || !overview.round.joinable(overview.now + 1) {
                return Ok(None);
            }
            match self.submit(Call::JoinRound { tier: TIER }).await {
                Ok(()) => Ok(self.peer.chain.lease(&self.account()).await?),
                Err(ChainError::Refused { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        self.network.until("a round can be joined", ROUND, joined).await
    }

    /// The model that a lease starts from.
    pub async fn model(&self, root: &Hash) -> Result<Vec<f32>> {
        let model = model::fetch(&self.peer, root, &self.network.recipe, &[], "hand").await;
        Ok(model.map_err(pol_trainer::failure::Failure::into_inner)?.parameters.to_vec())
    }

    /// The lease's text.
    pub async fn data(&mut self, lease: &Lease) -> Result<LeaseData> {
        let data = self.shards.lease_data(&self.network.recipe, &lease.shards, &[], "hand").await;
        data.map_err(pol_trainer::failure::Failure::into_inner)
    }

    /// Trains the first `segments` segments honestly, packs and keeps the update where others find
    /// it.
    pub async fn work(&mut self, lease: Lease, segments: u16) -> Result<Work> {
        let (base, data) = (self.model(&lease.base_root).await?, self.data(&lease).await?);
        let (recipe, account) = (self.network.recipe.clone(), self.account());
        let work = tokio::task::spawn_blocking(move || -> Result<Work> {
            let job =
                Job { recipe: &recipe, lease: &lease, account: &account, data: &data, workers: 1 };
            let mut states = vec![TrainingState::fresh(base.clone())];
            let mut last = TrainingState::fresh(base.clone());
            for segment in 0..segments {
                pol_engine::train_segment(&job, &mut last, segment)?;
                states.push(last.clone());
            }
            let trace = Trace::from_leaves(states.iter().map(TrainingState::leaf).collect())
                .context("no states")?;
            let payload = pol_engine::pack(&recipe, &base, &mut last)?.encode();
            let reveal = Reveal {
                payload_hash: *blake3::hash(&payload).as_bytes(),
                trace_root: trace.root(),
                carry_hash: last.carry().hash(),
                steps: segments * recipe.steps_per_segment(lease.tier),
                first_leaf: trace.proof(0).context("no first leaf")?,
                salt: last.leaf(),
            };
            Ok(Work { lease, base, states, trace, payload, reveal })
        })
        .await??;
        self.peer.swarm.add(work.payload.clone().into(), "hand").await?;
        Ok(work)
    }

    /// A whole honest lease, up to its payload.
    pub async fn work_on_next(&mut self) -> Result<Work> {
        let lease = self.lease().await?;
        self.work(lease, self.network.recipe.segments).await
    }

    /// What commits this account to a reveal.
    pub fn commitment(&self, round: RoundNumber, reveal: &Reveal) -> Hash {
        reveal.commitment(&self.account(), &self.peer.chain.genesis(), round)
    }

    /// Commits.
    pub async fn commit(&self, round: RoundNumber, commitment: Hash) -> Result<(), ChainError> {
        self.submit(Call::Commit { round, commitment, claims: Claims::default() }).await
    }

    /// Waits for a round's phase.
    pub async fn reach(&self, round: RoundNumber, phase: Phase) -> Result<()> {
        let reached = || async {
            let now = self.peer.chain.overview().await?.round;
            if now.number > round {
                return Err(anyhow!("round {round} ended before its phase {phase:?} was seen"));
            }
            Ok((now.number == round && now.phase == phase).then_some(()))
        };
        self.network
            .until(&format!("round {round} is in its phase {phase:?}"), ROUND, reached)
            .await
    }

    /// Commits to a reveal and opens it; what the chain says of the opening.
    pub async fn commit_and_reveal(
        &self,
        round: RoundNumber,
        reveal: Reveal,
    ) -> Result<Result<(), ChainError>> {
        self.commit(round, self.commitment(round, &reveal)).await?;
        self.reach(round, Phase::Reveal).await?;
        Ok(self.submit(Call::Reveal { round, reveal }).await)
    }

    /// Waits for the audit of this account's update, and for a stage of it.
    pub async fn audited(
        &self,
        round: RoundNumber,
        stage: Stage,
    ) -> Result<(AuditId, Case<AccountId>)> {
        let account = self.account();
        let found = || async {
            for (id, audit) in self.peer.chain.audits().await? {
                if audit.round == round
                    && let Some(case) = audit.case(&account)
                {
                    return Ok((audit.stage >= stage).then(|| (id, case.clone())));
                }
            }
            Ok(None)
        };
        self.network
            .until(&format!("the audit of round {round} is in its stage {stage:?}"), SETTLED, found)
            .await
    }

    /// Keeps the parts of a state where others find them.
    pub async fn share(&self, state: &TrainingState) -> Result<()> {
        let parts = [&state.parameters, &state.first_moment, &state.second_moment, &state.feedback];
        let blobs: Vec<Bytes> =
            parts.into_iter().map(|values| parameters_to_bytes(values).into()).collect();
        self.peer.swarm.add_all(blobs, "hand").await?;
        Ok(())
    }

    /// Names states on chain.
    pub async fn serve(&self, audit: AuditId, states: Vec<Served>) -> Result<(), ChainError> {
        self.submit(Call::ServeStates { audit, states: BoundedVec::truncate_from(states) }).await
    }

    /// Opens the ends of the drawn segments.
    pub async fn open(&self, audit: AuditId, case: &Case<AccountId>, work: &Work) -> Result<()> {
        let end = |leaf: u16| -> Result<OpenedEnd> {
            let digest = *work.trace.leaves().get(usize::from(leaf)).context("no such leaf")?;
            Ok(OpenedEnd { digest, proof: work.proof(leaf)? })
        };
        let ends = case.opened_leaves().into_iter().map(end).collect::<Result<Vec<_>>>()?;
        Ok(self.submit(Call::OpenSegments { audit, ends: BoundedVec::truncate_from(ends) }).await?)
    }

    /// Goes through the audits of a revealed update, of which there are two where the first finds
    /// nothing, and tells how it ended. `named` gives the states to show, the honest ones where it
    /// gives none.
    pub async fn stand_audits(
        &self,
        work: &Work,
        named: impl Fn(&Case<AccountId>) -> Result<Option<Vec<Served>>>,
    ) -> Result<Settled> {
        let account = self.account();
        let answer = || async {
            for (id, audit) in self.peer.chain.audits().await? {
                let Some(case) = audit.case(&account).filter(|_| audit.round == work.due()) else {
                    continue;
                };
                if audit.stage == Stage::Serve && !case.served {
                    let states = match named(case)? {
                        Some(states) => states,
                        None => {
                            for leaf in case.served_leaves() {
                                self.share(
                                    work.states.get(usize::from(leaf)).context("no such state")?,
                                )
                                .await?;
                            }
                            work.named(case)?
                        }
                    };
                    self.serve(id, states).await?;
                } else if audit.stage == Stage::Open && case.served && !case.opened {
                    self.open(id, case, work).await?;
                }
            }
            self.history(work.due()).await
        };
        self.network
            .until(&format!("the update of round {} is settled", work.due()), SETTLED, answer)
            .await
    }

    /// How the update of a round ended, once it has.
    pub async fn ended(&self, round: RoundNumber) -> Result<Settled> {
        self.network
            .until(&format!("the update of round {round} is settled"), SETTLED, || {
                self.history(round)
            })
            .await
    }

    async fn history(&self, round: RoundNumber) -> Result<Option<Settled>> {
        let (account, history) = (self.account(), self.peer.chain.history(round).await?);
        Ok(history.into_iter().find(|(who, _)| *who == account).map(|(_, settled)| settled))
    }
}
