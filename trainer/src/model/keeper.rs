// SPDX-License-Identifier: Apache-2.0

//! The model at the chain's head.

use super::{
    compute::{initial_model, replay_round},
    fetch::fetch_model,
    global::GlobalModel,
};
use crate::{
    context::NodeContext,
    display::short_hash,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_engine::parameters_to_bytes;
use pol_primitives::{RoundNumber, head::Head, recipe::Recipe};

/// Heads whose parameters are kept, for peers that lag behind and for audits of the updates made
/// from them.
const KEPT_MODELS: u32 = 4;
/// Most rounds to catch up with by applying updates. Beyond that, fetching the parameters is
/// cheaper.
const MAX_CATCH_UP: u32 = 4;
/// Label of the last model that came from a peer.
const FETCHED_TAG: &str = "model/fetched";

/// Follower of the head that holds its model.
pub struct ModelKeeper {
    context: NodeContext,
    /// The newest head that was followed, and its model.
    current: Option<(Head, GlobalModel)>,
}

impl ModelKeeper {
    /// Creates a keeper without a model.
    pub fn new(context: NodeContext) -> Self {
        Self { context, current: None }
    }

    /// Returns the model of `head`, which was made by `recipe`, and serves it to peers. The model
    /// is computed from updates where that is possible and fetched from peers where it is not.
    ///
    /// # Errors
    ///
    /// Fails if the model can neither be computed nor fetched.
    pub async fn at(&mut self, head: &Head, recipe: &Recipe) -> Result<GlobalModel> {
        if let Some((_, current)) = &self.current
            && current.root == head.root
        {
            return Ok(current.clone());
        }
        let computed = match self.compute(head).await {
            Ok(model) => model,
            Err(RoleError::Transient(error)) => {
                tracing::debug!("cannot compute the model of round {}: {error:#}", head.round);
                None
            }
            Err(fatal) => return Err(fatal),
        };
        let swarm = &self.context.swarm;
        let model = match computed {
            Some(model) => model,
            None => {
                tracing::info!("fetching the model of round {} from peers", head.round);
                swarm.release(FETCHED_TAG).await?;
                fetch_model(&self.context, &head.root, recipe, &[], FETCHED_TAG).await?
            }
        };
        let tag = model_tag(head.round);
        swarm.release(&tag).await?;
        swarm.add(parameters_to_bytes(&model.parameters).into(), &tag).await?;
        tracing::info!(
            "model of round {} is {} ({} tokens)",
            head.round,
            short_hash(&head.root),
            head.tokens
        );
        self.current = Some((*head, model.clone()));
        Ok(model)
    }

    /// Computes the model of `head` from the current one or from the initial one. Returns `None` if
    /// the way there is too long or the result is not the head.
    async fn compute(&self, head: &Head) -> Result<Option<GlobalModel>> {
        let chain = &self.context.chain;
        let (mut before, mut model) = match &self.current {
            Some((known, model))
                if head.round > known.round && head.round - known.round <= MAX_CATCH_UP =>
            {
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
            model = replay_round(&self.context, &before, &model, &record, &next).await?.0;
            before = next;
            if model.root != next.root {
                return Err(RoleError::transient(anyhow!(
                    "round {round} gives {} here and {} on chain",
                    short_hash(&model.root),
                    short_hash(&next.root)
                )));
            }
        }
        Ok((model.root == head.root).then_some(model))
    }
}

/// Returns the label of a round's model. Labels repeat, so that a newer model replaces an older
/// one.
fn model_tag(round: RoundNumber) -> String {
    format!("model/{}", round % KEPT_MODELS)
}
