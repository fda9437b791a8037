// SPDX-License-Identifier: Apache-2.0

//! A trainer that acts call by call, so that any call can be wrong, late or missing.

use crate::network::{self, Network, POLL_INTERVAL};
use anyhow::{Context, Error, Result, anyhow, bail};
use futures::future::try_join;
use pol_chain::{AccountId, Call, ChainError, Signer};
use pol_engine::{LeaseData, LeaseJob, Trace, TrainingState, parameters_to_bytes};
use pol_primitives::{
    BoundedVec, Hash, RoundNumber,
    audit::{Audit, AuditId, Case, LeafProof, Stage, StateProof, TraceState},
    lease::Lease,
    member::{Role, UPDATE_LOCK},
    recipe::Tier,
    round::Phase,
    submission::{Reveal, SubmissionRecord, TrainingClaims},
    trace::{Carry, MerkleProof},
};
use pol_swarm::Bytes;
use pol_trainer::{context::NodeContext, data::ShardReader, error::RoleError, model};
use std::{cell::RefCell, collections::VecDeque, rc::Rc};
use tokio::sync::Mutex;

/// Longest wait for a phase of a round, in blocks: two rounds.
const PHASE_BLOCKS: u32 = 60;
/// Longest wait for a settlement, in blocks: a round and an audit of two draws.
const SETTLEMENT_BLOCKS: u32 = 140;
const TIER: Tier = Tier::Whale;
/// Updates that may wait for their audits.
const OPEN_UPDATES: usize = 8;
/// Label of everything that scripts keep in the swarm.
const BLOB_LABEL: &str = "scripted";

/// A trainer that acts call by call.
pub(crate) struct ScriptedTrainer<'a> {
    network: &'a Network,
    /// Its key.
    pub(crate) signer: Signer,
    /// Its connections.
    pub(crate) context: NodeContext,
    shards: Mutex<ShardReader>,
}

/// A trained lease with everything that its trainer submits or serves.
pub(crate) struct TrainedLease {
    /// The lease.
    pub(crate) lease: Lease,
    /// Parameters of the model that the update applies to.
    pub(crate) base: Vec<f32>,
    /// States at the segments' boundaries, the start first.
    pub(crate) states: Vec<TrainingState>,
    /// Leaves of these states.
    pub(crate) trace: Trace,
    /// The encoded update.
    pub(crate) payload: Vec<u8>,
    /// The opening of the commitment.
    pub(crate) reveal: Reveal,
}

impl TrainedLease {
    /// Returns the round that the update is due in.
    pub(crate) fn due_round(&self) -> RoundNumber {
        self.lease.due_round
    }

    fn state(&self, leaf: u16) -> Result<&TrainingState> {
        self.states.get(usize::from(leaf)).with_context(|| format!("there is no state {leaf}"))
    }

    fn proof(&self, leaf: u16) -> Result<MerkleProof> {
        self.trace.proof(leaf.into()).with_context(|| format!("the trace has no leaf {leaf}"))
    }

    /// Returns the states that an audit asks for, as they are named on chain.
    pub(crate) fn state_proofs(&self, case: &Case<AccountId>) -> Result<Vec<StateProof>> {
        let prove = |leaf: u16| -> Result<StateProof> {
            let state = self.state(leaf)?;
            let carry = if state.steps == 0 { Carry::default() } else { state.carry() };
            let state = TraceState { leaf, root: state.root(), carry };
            Ok(StateProof { state, proof: self.proof(leaf)? })
        };
        case.served_leaves().into_iter().map(prove).collect()
    }
}

/// Returns the name of the error that a call was refused with.
///
/// # Errors
///
/// Fails if the call was accepted or did not arrive.
pub(crate) fn refusal<T>(outcome: Result<T, ChainError>) -> Result<String> {
    match outcome {
        Err(ChainError::Refused { error, .. }) => Ok(error),
        Err(error) => Err(error.into()),
        Ok(_) => bail!("the chain accepted the call"),
    }
}

impl<'a> ScriptedTrainer<'a> {
    /// Bonds the account as a trainer and registers its endpoint.
    pub(crate) async fn start(network: &'a Network, name: &str) -> Result<Self> {
        let signer = network::signer(name)?;
        let context = network.connect_observer(name).await?;
        let member = context.ensure_member(&signer, Role::Trainer).await;
        member.map_err(RoleError::into_inner)?;
        let shards = Mutex::new(ShardReader::new(context.clone()));
        Ok(Self { network, signer, shards, context })
    }

    /// Returns its account.
    pub(crate) fn account(&self) -> AccountId {
        self.signer.account()
    }

    /// Signs and submits a call.
    pub(crate) async fn submit(&self, call: Call) -> Result<(), ChainError> {
        self.context.chain.submit(&self.signer, call).await.map(drop)
    }

    /// Joins the next round that can be joined; returns the lease.
    pub(crate) async fn join_round(&self) -> Result<Lease> {
        let joined = || async {
            let overview = self.context.chain.overview().await?;
            if overview.head.is_none() || !overview.round.is_joinable(overview.now + 1) {
                return Ok(None);
            }
            match self.submit(Call::JoinRound { tier: TIER }).await {
                Ok(()) => Ok(self.context.chain.lease(&self.account()).await?),
                Err(ChainError::Refused { error, .. }) if error == "BondIsLocked" => {
                    self.submit(Call::BondExtra { amount: UPDATE_LOCK }).await?;
                    Ok(None)
                }
                Err(ChainError::Refused { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        };
        self.network.until("a round can be joined", PHASE_BLOCKS, joined).await
    }

    async fn fetch_model(&self, root: &Hash) -> Result<Vec<f32>> {
        let recipe = &self.network.recipe;
        let model = model::fetch_model(&self.context, root, recipe, &[], BLOB_LABEL).await;
        Ok(model.map_err(RoleError::into_inner)?.parameters.to_vec())
    }

    async fn fetch_text(&self, lease: &Lease) -> Result<LeaseData> {
        let (recipe, mut reader) = (&self.network.recipe, self.shards.lock().await);
        let data = reader.lease_data(recipe, &lease.shards, &[], BLOB_LABEL).await;
        data.map_err(RoleError::into_inner)
    }

    /// Trains the first `segments` segments honestly, packs the update and serves it.
    pub(crate) async fn train(&self, lease: Lease, segments: u16) -> Result<TrainedLease> {
        let base = self.fetch_model(&lease.base_root).await?;
        let data = self.fetch_text(&lease).await?;
        let (recipe, account) = (self.network.recipe.clone(), self.account());
        let folder = self.context.state.clone();
        let trained = tokio::task::spawn_blocking(move || -> Result<TrainedLease> {
            let job = LeaseJob {
                recipe: &recipe,
                lease: &lease,
                account: &account,
                data: &data,
                workers: 1,
            };
            let mut last = TrainingState::fresh(base.clone());
            if lease.carry != [0; 32] {
                let carried = folder.load_carry(&lease.carry, base.len())?;
                last = TrainingState { parameters: last.parameters, ..carried };
            }
            let mut states = vec![last.clone()];
            for segment in 0..segments {
                pol_engine::train_segment(&job, &mut last, segment)?;
                states.push(last.clone());
            }
            let leaves = states.iter().map(TrainingState::leaf).collect();
            let trace = Trace::from_leaves(leaves).context("no states")?;
            let payload = pol_engine::pack(&recipe, &base, &mut last)?.encode();
            folder.save_carry(&last)?;
            let reveal = Reveal {
                payload_hash: *blake3::hash(&payload).as_bytes(),
                trace_root: trace.root(),
                carry_hash: last.carry().hash(),
                steps: segments * recipe.steps_per_segment(lease.tier),
                first_leaf: trace.proof(0).context("no first leaf")?,
                salt: last.leaf(),
            };
            Ok(TrainedLease { lease, base, states, trace, payload, reveal })
        })
        .await??;
        self.add_blob(trained.payload.clone()).await?;
        Ok(trained)
    }

    /// Joins the next round and trains the whole lease honestly.
    pub(crate) async fn train_next(&self) -> Result<TrainedLease> {
        let lease = self.join_round().await?;
        self.train(lease, self.network.recipe.segments).await
    }

    /// Serves a blob; returns its hash.
    pub(crate) async fn add_blob(&self, bytes: Vec<u8>) -> Result<Hash> {
        Ok(self.context.swarm.add(bytes.into(), BLOB_LABEL).await?)
    }

    /// Returns this account's commitment to a reveal.
    pub(crate) fn commitment(&self, round: RoundNumber, reveal: &Reveal) -> Hash {
        reveal.commitment(&self.account(), &self.context.chain.genesis_hash(), round)
    }

    /// Submits a commitment.
    pub(crate) async fn commit(
        &self,
        round: RoundNumber,
        commitment: Hash,
    ) -> Result<(), ChainError> {
        self.submit(Call::Commit { round, commitment, claims: TrainingClaims::default() }).await
    }

    /// Waits for a phase of a round.
    pub(crate) async fn wait_for_phase(&self, round: RoundNumber, phase: Phase) -> Result<()> {
        let reached = || async {
            let now = self.context.chain.overview().await?.round;
            if now.number > round {
                return Err(anyhow!("round {round} ended before its phase {phase:?} was seen"));
            }
            Ok((now.number == round && now.phase == phase).then_some(()))
        };
        let event = format!("round {round} is in its phase {phase:?}");
        self.network.until(&event, PHASE_BLOCKS, reached).await
    }

    /// Commits to a reveal and opens it; returns the chain's answer to the opening.
    pub(crate) async fn commit_and_reveal(
        &self,
        round: RoundNumber,
        reveal: Reveal,
    ) -> Result<Result<(), ChainError>> {
        self.commit(round, self.commitment(round, &reveal)).await?;
        self.wait_for_phase(round, Phase::Reveal).await?;
        Ok(self.submit(Call::Reveal { round, reveal }).await)
    }

    /// Waits until the audit of this account's update has reached `stage`.
    pub(crate) async fn wait_for_audit(
        &self,
        round: RoundNumber,
        stage: Stage,
    ) -> Result<(AuditId, Case<AccountId>)> {
        let account = self.account();
        let found = || async {
            for (id, audit) in self.context.chain.audits().await? {
                if audit.round == round
                    && let Some(case) = audit.case(&account)
                {
                    return Ok((audit.stage >= stage).then(|| (id, case.clone())));
                }
            }
            Ok(None)
        };
        let event = format!("the audit of round {round} is in its stage {stage:?}");
        self.network.until(&event, SETTLEMENT_BLOCKS, found).await
    }

    /// Serves the arrays of a state.
    pub(crate) async fn share_state(&self, state: &TrainingState) -> Result<()> {
        let feedback = state.feedback.values()?;
        let arrays = [&state.parameters, &state.first_moment, &state.second_moment];
        let arrays = arrays.into_iter().map(Vec::as_slice).chain([&feedback[..]]);
        let blobs: Vec<Bytes> = arrays.map(|values| parameters_to_bytes(values).into()).collect();
        self.context.swarm.add_all(blobs, BLOB_LABEL).await?;
        Ok(())
    }

    /// Names states on chain.
    pub(crate) async fn name_states(
        &self,
        audit: AuditId,
        states: Vec<StateProof>,
    ) -> Result<(), ChainError> {
        self.submit(Call::ServeStates { audit, states: BoundedVec::truncate_from(states) }).await
    }

    /// Opens the ends of the drawn segments.
    async fn open_segments(
        &self,
        audit: AuditId,
        case: &Case<AccountId>,
        trained: &TrainedLease,
    ) -> Result<()> {
        let end = |leaf: u16| -> Result<LeafProof> {
            let digest = *trained.trace.leaves().get(usize::from(leaf)).context("no such leaf")?;
            Ok(LeafProof { digest, proof: trained.proof(leaf)? })
        };
        let ends = case.opened_leaves().into_iter().map(end).collect::<Result<Vec<_>>>()?;
        Ok(self.submit(Call::OpenSegments { audit, ends: BoundedVec::truncate_from(ends) }).await?)
    }

    /// Answers the audits of a revealed update, of which there are two if the first is undecided,
    /// and returns the outcome. `states` returns the states to name; the honest ones are served
    /// and named where it returns `None`.
    pub(crate) async fn answer_audits(
        &self,
        trained: &TrainedLease,
        states: impl Fn(&Case<AccountId>) -> Result<Option<Vec<StateProof>>>,
    ) -> Result<SubmissionRecord> {
        let answer = || async {
            for (id, audit) in self.context.chain.audits().await? {
                if audit.round == trained.due_round() {
                    self.answer(id, &audit, trained, &states).await?;
                }
            }
            self.record(trained.due_round()).await
        };
        let event = format!("the update of round {} is settled", trained.due_round());
        self.network.until(&event, SETTLEMENT_BLOCKS, answer).await
    }

    async fn answer(
        &self,
        id: AuditId,
        audit: &Audit<AccountId>,
        trained: &TrainedLease,
        states: impl Fn(&Case<AccountId>) -> Result<Option<Vec<StateProof>>>,
    ) -> Result<()> {
        let Some(case) = audit.case(&self.account()) else { return Ok(()) };
        if audit.stage == Stage::Serve && !case.served {
            let named = match states(case)? {
                Some(named) => named,
                None => {
                    for leaf in case.served_leaves() {
                        self.share_state(trained.state(leaf)?).await?;
                    }
                    trained.state_proofs(case)?
                }
            };
            self.name_states(id, named).await?;
        } else if audit.stage == Stage::Open && case.served && !case.opened {
            self.open_segments(id, case, trained).await?;
        }
        Ok(())
    }

    /// Trains the first `segments` segments of a lease in every round, and answers the audits, for
    /// as long as it is polled. Returns an error only.
    pub(crate) async fn train_rounds(&self, segments: u16) -> Error {
        let trained = RefCell::new(VecDeque::new());
        let train = async {
            loop {
                let update = Rc::new(self.train(self.join_round().await?, segments).await?);
                let (round, reveal) = (update.due_round(), update.reveal.clone());
                trained.borrow_mut().push_front(update);
                trained.borrow_mut().truncate(OPEN_UPDATES);
                let revealed = self.commit_and_reveal(round, reveal).await;
                if let Err(error) = revealed.and_then(|answer| Ok(answer?)) {
                    tracing::warn!("round {round}: {error:#}");
                }
            }
        };
        let answer = async {
            loop {
                for (id, audit) in self.context.chain.audits().await? {
                    let is_of = |update: &&Rc<TrainedLease>| update.due_round() == audit.round;
                    let update = trained.borrow().iter().find(is_of).cloned();
                    let Some(update) = update else { continue };
                    if let Err(error) = self.answer(id, &audit, &update, |_| Ok(None)).await {
                        tracing::warn!("audit {id}: {error:#}");
                    }
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        let ended: Result<((), ())> = try_join(train, answer).await;
        ended.err().unwrap_or_else(|| anyhow!("nobody trained"))
    }

    /// Waits until the update of a round is settled.
    pub(crate) async fn wait_for_outcome(&self, round: RoundNumber) -> Result<SubmissionRecord> {
        let event = format!("the update of round {round} is settled");
        self.network.until(&event, SETTLEMENT_BLOCKS, || self.record(round)).await
    }

    async fn record(&self, round: RoundNumber) -> Result<Option<SubmissionRecord>> {
        let (account, history) = (self.account(), self.context.chain.history(round).await?);
        Ok(history.into_iter().find(|(who, _)| *who == account).map(|(_, record)| record))
    }
}
