// SPDX-License-Identifier: Apache-2.0

//! Evaluation of models on text that is never trained on.

use crate::{data::ShardReader, error::Result};
use pol_engine::LeaseData;
use pol_primitives::{Hash, recipe::Recipe};
use std::sync::Arc;

/// Evaluation of models on the network's held-out text.
pub struct HeldOutEval {
    /// Held-out text, and the hash of the recipe that it was cut for.
    data: Option<(Hash, Arc<LeaseData>)>,
    /// Number of sequences.
    sequences: usize,
}

impl HeldOutEval {
    /// Creates an evaluation over `sequences` sequences.
    pub fn new(sequences: usize) -> Self {
        Self { data: None, sequences }
    }

    /// Returns the held-out text, cut for `recipe`, or `None` while none is registered.
    ///
    /// # Errors
    ///
    /// Fails if the text cannot be fetched.
    pub async fn data(
        &mut self,
        shards: &mut ShardReader,
        recipe: &Recipe,
    ) -> Result<Option<Arc<LeaseData>>> {
        let hash = recipe.hash();
        if self.data.as_ref().is_none_or(|(cut_for, _)| *cut_for != hash) {
            self.data = shards
                .held_out(recipe, self.sequences, None)
                .await?
                .map(|data| (hash, Arc::new(data)));
        }
        Ok(self.data.as_ref().map(|(_, data)| data.clone()))
    }

    /// Returns the model's mean loss in nats per token, or `None` while no held-out text is
    /// registered.
    ///
    /// # Errors
    ///
    /// Fails if the text cannot be fetched or the loss cannot be computed.
    pub async fn loss(
        &mut self,
        shards: &mut ShardReader,
        recipe: &Recipe,
        parameters: Arc<Vec<f32>>,
        workers: usize,
    ) -> Result<Option<f64>> {
        let Some(data) = self.data(shards, recipe).await? else { return Ok(None) };
        let (spec, count) = (recipe.model, self.sequences);
        let loss = tokio::task::spawn_blocking(move || {
            pol_engine::evaluate(&spec, &parameters, &evenly_spaced(&data, count), workers)
        })
        .await??;
        Ok(Some(loss))
    }
}

/// Returns `count` evenly spaced sequences of `data`, or all if there are fewer.
pub fn evenly_spaced(data: &LeaseData, count: usize) -> Vec<&[u32]> {
    let available = data.sequences();
    let count = available.min(u32::try_from(count).unwrap_or(u32::MAX));
    (0..count)
        .filter_map(|i| {
            data.sequence((u64::from(i) * u64::from(available) / u64::from(count)) as u32)
        })
        .collect()
}
