// SPDX-License-Identifier: Apache-2.0

//! Models computed from a seed or from the updates of a round.

use super::{
    excision::excised_rounds,
    fetch::{fetch_model, included_updates},
    global::{BaseModel, GlobalModel, HeldUpdate, PRETRAINED_TAG},
    rewrite::{rewrite_model, rewrite_plan},
};
use crate::{blocking_blob::open_model, context::NodeContext, error::Result};
use pol_chain::AccountId;
use pol_engine::{EngineError, ExcisedRound};
use pol_primitives::{
    head::{Head, IncludedUpdate, RoundRecord},
    recipe::Recipe,
};

/// Returns the model that a recipe begins with: fetched if it was imported, drawn from the seed if
/// not.
///
/// # Errors
///
/// Fails if an imported model cannot be fetched.
pub async fn initial_model(context: &NodeContext, recipe: &Recipe) -> Result<GlobalModel> {
    if let Some(root) = &recipe.pretrained {
        return fetch_model(context, root, recipe, &[], PRETRAINED_TAG).await;
    }
    let (spec, seed) = (recipe.model, recipe.seed);
    Ok(tokio::task::spawn_blocking(move || {
        GlobalModel::new(pol_model::initial_parameters(&spec, &seed))
    })
    .await?)
}

/// Returns the model after `updates`, which are in account order, and without the updates that are
/// `excised` from earlier rounds. Memory holds the new model and parts of what it is made of.
///
/// # Errors
///
/// Fails if a payload does not fit the recipe or a parameter does not stay finite, and if the base
/// or a payload is not in the store any more.
pub async fn apply_updates(
    context: &NodeContext,
    recipe: &Recipe,
    base: &BaseModel,
    updates: Vec<HeldUpdate>,
    excised: Vec<ExcisedRound<HeldUpdate>>,
) -> Result<GlobalModel> {
    let (swarm, recipe, base) = (context.swarm.clone(), recipe.clone(), base.clone());
    let model = tokio::task::spawn_blocking(move || {
        let next = match base {
            BaseModel::Memory(model) => {
                pol_engine::aggregate(&recipe, &model.parameters, &updates, &excised)?
            }
            BaseModel::Stored(root) => {
                let mut base = open_model(&swarm, &root, &recipe)?;
                let read_base = |values: &mut [f32]| base.read(values);
                let next = pol_engine::aggregate_onto(&recipe, read_base, &updates, &excised);
                // A base that is damaged explains whatever went wrong with it.
                base.finish(recipe.model.size() as usize)?;
                next?
            }
        };
        Ok::<_, EngineError>(GlobalModel::new(next))
    });
    Ok(model.await??)
}

/// Computes the model of the head `next` and returns it with the updates it was made of. `base` is
/// the model of the head `before` it, and `record` the chain's record of the round of `next`.
///
/// # Errors
///
/// Fails if a payload cannot be fetched or the model cannot be computed.
pub async fn replay_round(
    context: &NodeContext,
    before: &Head,
    base: &BaseModel,
    record: &RoundRecord<AccountId>,
    next: &Head,
) -> Result<(GlobalModel, Vec<IncludedUpdate<AccountId>>)> {
    let recipe = context.recipe(&next.recipe_hash).await?;
    if let Some(plan) = rewrite_plan(context, before, &recipe).await? {
        // A rewrite has a round of its own, without updates and excisions.
        return Ok((rewrite_model(context, before, base, plan).await?, Vec::new()));
    }
    let included = included_updates(context, &recipe, next.round, record).await?;
    let updates = included.iter().map(|included| included.update).collect();
    let excised = excised_rounds(context, next.round, &record.excised).await?;
    Ok((apply_updates(context, &recipe, base, included, excised).await?, updates))
}
