// SPDX-License-Identifier: Apache-2.0

//! The model at the chain's head.

use super::{
    compute::{initial_model, replay_round},
    fetch::fetch_model,
    global::GlobalModel,
};
use crate::{
    context::{NodeContext, PAYLOADS_TAG, payload_tag},
    display::short_hash,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_engine::parameters_to_bytes;
use pol_primitives::{RoundNumber, head::Head};
use pol_swarm::SwarmError;

/// Heads whose parameters are kept, for peers that lag behind and for audits of the updates made
/// from them.
const KEPT_MODELS: u32 = 4;
/// Most rounds to catch up with by applying updates. Beyond that, fetching the parameters is
/// cheaper.
const MAX_CATCH_UP: u32 = 4;
/// Most rounds to catch up with after the parameters were fetched. If the network was faster than
/// the transfer, another transfer would not arrive in time either.
const MAX_CATCH_UP_FETCHED: u32 = 16;
/// Rounds whose payloads are kept. Members that catch up need those of the last rounds, and those
/// of the rounds from which these took updates out.
const KEPT_PAYLOADS: u32 = 2 * MAX_CATCH_UP_FETCHED;
/// Label of the last model that came from a peer.
const FETCHED_TAG: &str = "model/fetched";

/// Follower of the head that holds its model.
pub struct ModelKeeper {
    context: NodeContext,
    /// The newest head that was followed, and its model.
    current: Option<(Head, GlobalModel)>,
    /// The head whose model is being fetched. It stays the same when newer heads appear, so that a
    /// transfer that takes longer than a round ends all the same.
    target: Option<Head>,
    /// Set from the end of a transfer until the newest head is reached.
    is_behind: bool,
}

impl ModelKeeper {
    /// Creates a keeper without a model.
    pub fn new(context: NodeContext) -> Self {
        Self { context, current: None, target: None, is_behind: false }
    }

    /// Returns the model of `head` and serves it to peers. The model is computed from updates where
    /// that is possible and fetched from peers where it is not.
    ///
    /// # Errors
    ///
    /// Fails if the model can neither be computed nor fetched.
    pub async fn at(&mut self, head: &Head) -> Result<GlobalModel> {
        if let Some((_, current)) = &self.current
            && current.root == head.root
        {
            return Ok(current.clone());
        }
        let mut computed = self.try_compute(head).await?;
        if computed.is_none() && self.fetch(head).await? {
            computed = self.try_compute(head).await?;
        }
        let model = computed.ok_or_else(|| {
            RoleError::transient(anyhow!("the model of round {} is not here yet", head.round))
        })?;
        let tag = model_tag(head.round);
        let swarm = &self.context.swarm;
        swarm.release(&tag).await?;
        swarm.add(parameters_to_bytes(&model.parameters).into(), &tag).await?;
        swarm.release(FETCHED_TAG).await?;
        tracing::info!(
            "model of round {} is {} ({} tokens)",
            head.round,
            short_hash(&head.root),
            head.tokens
        );
        self.is_behind = false;
        self.prune_payloads(head.round).await?;
        Ok(model)
    }

    /// Fetches the model of `head`, or goes on fetching that of an earlier head. Returns `true` if
    /// there is a model to go on from.
    async fn fetch(&mut self, head: &Head) -> Result<bool> {
        let context = &self.context;
        let target = match self.target {
            Some(target) => target,
            None => {
                context.swarm.release(FETCHED_TAG).await?;
                tracing::info!("fetching the model of round {} from peers", head.round);
                *self.target.insert(*head)
            }
        };
        let recipe = context.recipe(&target.recipe_hash).await?;
        match fetch_model(context, &target.root, &recipe, &[], FETCHED_TAG).await {
            Ok(model) => {
                self.target = None;
                self.is_behind = true;
                self.current = Some((target, model));
                Ok(true)
            }
            Err(RoleError::Transient(error)) => {
                if let Some(SwarmError::Unavailable { failures, .. }) = error.downcast_ref()
                    && failures.nobody_has_it()
                {
                    self.target = None;
                }
                Err(RoleError::Transient(error))
            }
            Err(fatal) => Err(fatal),
        }
    }

    /// Computes the model of `head` if the way there is short enough. Returns `None` if it is not,
    /// or if an update cannot be had.
    async fn try_compute(&mut self, head: &Head) -> Result<Option<GlobalModel>> {
        match self.compute(head).await {
            Err(RoleError::Transient(error)) => {
                tracing::debug!("cannot compute the model of round {}: {error:#}", head.round);
                Ok(None)
            }
            computed => computed,
        }
    }

    /// Computes the model of `head` from the current one or from the initial one. Returns `None` if
    /// the way there is too long or the result is not the head.
    async fn compute(&mut self, head: &Head) -> Result<Option<GlobalModel>> {
        let chain = self.context.chain.clone();
        let most = if self.is_behind { MAX_CATCH_UP_FETCHED } else { MAX_CATCH_UP };
        let (mut before, mut model) = match &self.current {
            Some((known, model)) if (known.round..=known.round + most).contains(&head.round) => {
                (*known, model.clone())
            }
            _ if head.round <= MAX_CATCH_UP => {
                let record = chain.round_record(0).await?;
                let Some(first) = record.and_then(|record| record.head) else { return Ok(None) };
                let recipe = self.context.recipe(&first.recipe_hash).await?;
                (first, initial_model(&self.context, &recipe).await?)
            }
            _ => return Ok(None),
        };
        for round in before.round + 1..=head.round {
            let Some(record) = chain.round_record(round).await? else { continue };
            let Some(next) = record.head else { continue };
            if self.is_behind {
                let left = head.round - round + 1;
                tracing::info!("catching up with the network: {left} rounds are left");
            }
            model = replay_round(&self.context, &before, &model, &record, &next).await?.0;
            before = next;
            if model.root != next.root {
                return Err(RoleError::transient(anyhow!(
                    "round {round} gives {} here and {} on chain",
                    short_hash(&model.root),
                    short_hash(&next.root)
                )));
            }
            self.current = Some((next, model.clone()));
        }
        if model.root != head.root {
            return Ok(None);
        }
        self.current = Some((*head, model.clone()));
        Ok(Some(model))
    }

    /// Releases the payloads of rounds that are settled and long over, unless the member keeps all.
    async fn prune_payloads(&self, newest: RoundNumber) -> Result<()> {
        let context = &self.context;
        if context.policy.archive {
            return Ok(());
        }
        let rounds = context.swarm.labels_below(PAYLOADS_TAG).await?;
        let rounds = rounds.iter().filter_map(|round| round.parse::<RoundNumber>().ok());
        let over: Vec<_> =
            rounds.filter(|round| round.saturating_add(KEPT_PAYLOADS) <= newest).collect();
        if over.is_empty() {
            return Ok(());
        }
        let chain = context.chain.at(context.firm_block().await?.hash);
        let excisions = chain.excisions().await?;
        for round in over {
            if excisions.iter().all(|excision| excision.round != round)
                && chain.submissions(round).await?.is_empty()
            {
                context.swarm.release(&payload_tag(round)).await?;
            }
        }
        Ok(())
    }
}

/// Returns the label of a round's model. Labels repeat, so that a newer model replaces an older
/// one.
fn model_tag(round: RoundNumber) -> String {
    format!("model/{}", round % KEPT_MODELS)
}
