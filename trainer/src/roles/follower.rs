// SPDX-License-Identifier: Apache-2.0

use crate::{
    context::NodeContext,
    data::lease_tag,
    error::{Result, RoleError},
    model::{GlobalModel, ModelKeeper, fetch_model},
    state::LeaseKey,
};
use anyhow::anyhow;
use pol_engine::determinism::{self, NumericsMode};
use pol_primitives::{
    lease::Lease,
    queries::Overview,
    recipe::{Numerics, Recipe},
};

/// Follower of the recipe in force and of the model at the head.
pub(super) struct HeadFollower {
    context: NodeContext,
    keeper: ModelKeeper,
    recipe: Option<Recipe>,
}

impl HeadFollower {
    /// Creates a follower that knows no recipe and no model.
    pub(super) fn new(context: NodeContext) -> Self {
        Self { keeper: ModelKeeper::new(context.clone()), context, recipe: None }
    }

    /// Returns the recipe in force, or `None` before governance sets one.
    ///
    /// # Errors
    ///
    /// Fails for good if the network computes exactly and this process does not.
    pub(super) async fn recipe(&mut self, overview: &Overview) -> Result<Option<Recipe>> {
        let known = self.recipe.as_ref().map(Recipe::hash);
        if overview.recipe_hash != known {
            let recipe = self.context.chain.recipe().await?;
            if recipe.as_ref().is_some_and(|recipe| recipe.numerics == Numerics::Exact)
                && !determinism::is_applied(NumericsMode::Exact)
            {
                return Err(RoleError::fatal(anyhow!(
                    "the network computes exactly now, and this process was started for the \
                     native profile: start it again"
                )));
            }
            self.recipe = recipe;
        }
        Ok(self.recipe.clone())
    }

    /// Returns the model at the head, or `None` before round zero is attested.
    ///
    /// # Errors
    ///
    /// Fails if the model can neither be computed nor fetched.
    pub(super) async fn model(&mut self, overview: &Overview) -> Result<Option<GlobalModel>> {
        match &overview.head {
            Some(head) => self.keeper.at(head).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the model that `lease` starts from, and keeps it until the update is settled: peers
    /// may have kept only its successors.
    ///
    /// # Errors
    ///
    /// Fails if no peer serves the model.
    pub(super) async fn lease_base(&self, lease: &Lease, recipe: &Recipe) -> Result<GlobalModel> {
        fetch_model(&self.context, &lease.base_root, recipe, &[], &lease_tag(&LeaseKey::of(lease)))
            .await
    }
}
