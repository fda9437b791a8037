// SPDX-License-Identifier: Apache-2.0

//! Rewrites of the model's architecture.

use super::{
    fetch::load_model,
    global::{BaseModel, GlobalModel},
};
use crate::{
    context::NodeContext,
    error::{Result, RoleError},
};
use anyhow::anyhow;
use pol_engine::EngineError;
use pol_model::RewritePlan;
use pol_primitives::{head::Head, recipe::Recipe};

/// Returns the rewrite of the model of `head` that the first head made by `recipe` performs, or
/// `None` if the architecture stays.
///
/// # Errors
///
/// Fails if the node does not know the head's recipe or the rewrite does not fit it.
pub async fn rewrite_plan(
    context: &NodeContext,
    head: &Head,
    recipe: &Recipe,
) -> Result<Option<RewritePlan>> {
    if head.recipe_hash == recipe.hash() {
        return Ok(None);
    }
    let before = context.recipe(&head.recipe_hash).await?;
    let rewrite = recipe.rewrite_from(&before).map_err(RoleError::transient)?;
    rewrite
        .map(|rewrite| RewritePlan::new(&before.model, &rewrite))
        .transpose()
        .map_err(RoleError::transient)
}

/// Returns `base`, the model of `head`, rewritten by `plan`.
///
/// # Errors
///
/// Fails if the plan is for another architecture, and if the base is not in the store any more.
pub async fn rewrite_model(
    context: &NodeContext,
    head: &Head,
    base: &BaseModel,
    plan: RewritePlan,
) -> Result<GlobalModel> {
    let model = match base {
        BaseModel::Memory(model) => Some(model.clone()),
        BaseModel::Stored(root) => {
            let recipe = context.recipe(&head.recipe_hash).await?;
            load_model(context, root, &recipe).await?
        }
    };
    let model = model.ok_or_else(|| {
        RoleError::transient(anyhow!("the model of round {} is not here yet", head.round))
    })?;
    let parameters = model.parameters;
    let model = tokio::task::spawn_blocking(move || {
        Ok::<_, EngineError>(GlobalModel::new(plan.rewrite_parameters(&parameters)?))
    });
    Ok(model.await??)
}
