// SPDX-License-Identifier: Apache-2.0

//! Rewrites of the model's architecture.

use super::global::GlobalModel;
use crate::{
    context::NodeContext,
    error::{Result, RoleError},
};
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

/// Returns `base`, rewritten by `plan`.
///
/// # Errors
///
/// Fails if the plan is for another architecture.
pub async fn rewrite_model(base: &GlobalModel, plan: RewritePlan) -> Result<GlobalModel> {
    let parameters = base.parameters.clone();
    let model = tokio::task::spawn_blocking(move || {
        Ok::<_, EngineError>(GlobalModel::new(plan.rewrite_parameters(&parameters)?))
    });
    Ok(model.await??)
}
