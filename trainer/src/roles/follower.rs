// SPDX-License-Identifier: Apache-2.0

use super::tasks::BackgroundTask;
use crate::{
    context::NodeContext,
    error::{Result, RoleError},
    model::ModelKeeper,
};
use anyhow::anyhow;
use pol_engine::determinism;
use pol_primitives::{head::Head, queries::Overview, recipe::Recipe};

/// Work of a keeper, which comes back with its result.
type ModelWork = BackgroundTask<(ModelKeeper, Result<()>)>;

/// Follower of the recipe in force and of the model at the head.
pub(super) struct HeadFollower {
    context: NodeContext,
    /// Keeper of the model, unless it is at work.
    keeper: Option<ModelKeeper>,
    /// Work on the model of a head.
    work: Option<(Head, ModelWork)>,
    recipe: Option<Recipe>,
}

impl HeadFollower {
    /// Creates a follower that knows no recipe and no model.
    pub(super) fn new(context: NodeContext) -> Self {
        let keeper = Some(ModelKeeper::new(context.clone()));
        Self { keeper, work: None, context, recipe: None }
    }

    /// Returns the recipe in force, or `None` before governance sets one.
    ///
    /// # Errors
    ///
    /// Fails for good if the recipe needs settings of libtorch that this process does not have.
    pub(super) async fn recipe(&mut self, overview: &Overview) -> Result<Option<Recipe>> {
        let known = self.recipe.as_ref().map(Recipe::hash);
        if overview.recipe_hash != known {
            let recipe = self.context.chain.recipe().await?;
            let mode = recipe.as_ref().and_then(determinism::mode);
            if mode.is_some_and(|mode| !determinism::is_applied(mode)) {
                return Err(RoleError::fatal(anyhow!(
                    "the recipe now trains exactly on libtorch, and this process was started \
                     without the settings for that: start it again"
                )));
            }
            let numerics = recipe.as_ref().map(|recipe| recipe.numerics);
            self.context.control.describe(|facts| facts.numerics = numerics);
            self.recipe = recipe;
        }
        Ok(self.recipe.clone())
    }

    /// Returns `true` if the model at the head is in the store of this machine, and `false` before
    /// round zero is attested and while the model is being computed or fetched.
    ///
    /// # Errors
    ///
    /// Fails if the model can neither be computed nor fetched.
    pub(super) async fn has_model(&mut self, overview: &Overview) -> Result<bool> {
        let Some(head) = overview.head else { return Ok(false) };
        if let Some(mut keeper) = self.keeper.take() {
            let work = BackgroundTask::start(async move {
                let followed = keeper.follow(&head).await;
                Ok((keeper, followed))
            });
            self.work = Some((head, work));
        }
        let Some((of, work)) = &mut self.work else { return Ok(false) };
        let Some(done) = work.wait().await else { return Ok(false) };
        let is_newest = *of == head;
        self.work = None;
        let (keeper, followed) = done?;
        self.keeper = Some(keeper);
        followed.map(|()| is_newest)
    }
}
