// SPDX-License-Identifier: Apache-2.0

//! Training with the real engine, without a network.

use crate::cheating::{Cheat, CheatingStrategy};
use anyhow::{Context, Result};
use pol_engine::{LeaseData, TrainingState};
use pol_primitives::{
    data::ShardId,
    lease::Lease,
    recipe::{Recipe, Tier},
};
use std::sync::Arc;

/// Tier of all offline leases.
pub(crate) const TIER: Tier = Tier::Whale;

/// Text and a recipe to train on.
pub(crate) struct TrainingHarness {
    /// The recipe.
    pub(crate) recipe: Recipe,
    /// Shards to train on.
    pub(crate) shards: Vec<Vec<u32>>,
    /// Shards that nobody trains on.
    pub(crate) held_out: Vec<Vec<u32>>,
}

impl TrainingHarness {
    /// Returns the initial parameters.
    pub(crate) fn base(&self) -> Vec<f32> {
        pol_model::initial_parameters(&self.recipe.model, &self.recipe.seed)
    }

    /// Returns a fresh state at the initial parameters.
    pub(crate) fn fresh_state(&self) -> TrainingState {
        TrainingState::fresh(self.base())
    }

    /// Returns lease number `nonce` with its text. Leases take the shards in order, and start
    /// again after the last one.
    pub(crate) fn lease(&self, recipe: &Recipe, nonce: u32) -> Result<(Lease, LeaseData)> {
        let count = recipe.shards_per_lease(TIER) as usize;
        let shard = |place: usize| {
            let at = (nonce as usize * count + place)
                .checked_rem(self.shards.len())
                .context("no text to train on")?;
            Ok(self.shards[at].clone())
        };
        let data = LeaseData::new(recipe, (0..count).map(shard).collect::<Result<_>>()?)?;
        let ids: Vec<ShardId> =
            (0..count).map(|place| ShardId { manifest: 0, index: place as u32 }).collect();
        let lease = Lease {
            nonce,
            tier: TIER,
            round: 1,
            due_round: 1,
            seed: [3; 32],
            base_root: [0; 32],
            head_tokens: 0,
            recipe: recipe.hash(),
            carry: [0; 32],
            carry_round: 0,
            shards: ids.try_into().map_err(|_| anyhow::anyhow!("too many shards"))?,
        };
        Ok((lease, data))
    }

    /// Returns the strategy of a trainer that cheats.
    pub(crate) fn strategy(&self, cheat: Cheat) -> CheatingStrategy {
        CheatingStrategy { cheat, held_out: Arc::new(self.held_out.clone()), shards: 0 }
    }

    /// Returns the held-out loss of parameters, over at most 128 sequences.
    pub(crate) fn held_out_loss(&self, recipe: &Recipe, parameters: &[f32]) -> Result<f64> {
        let held_out = LeaseData::new(recipe, self.held_out.clone())?;
        let sequences: Vec<&[u32]> =
            (0..held_out.sequences()).filter_map(|at| held_out.sequence(at)).take(128).collect();
        Ok(pol_engine::evaluate(&recipe.model, parameters, &sequences, 2)?)
    }
}
