//! How well a model predicts text that nobody trains on.

use crate::{data::ShardReader, error::Result};
use pol_engine::LeaseData;
use pol_primitives::{Hash, recipe::Recipe};
use std::sync::Arc;

/// Measures models on the network's held-out text.
pub struct HeldOutEval {
    /// The text, and the recipe that it was cut for.
    data: Option<(Hash, Arc<LeaseData>)>,
    sequences: usize,
}

impl HeldOutEval {
    /// A measure over `sequences` sequences.
    pub fn new(sequences: usize) -> Self {
        Self { data: None, sequences }
    }

    /// The held-out text, cut for `recipe`; none while none is registered.
    pub async fn data(
        &mut self,
        shards: &mut ShardReader,
        recipe: &Recipe,
    ) -> Result<Option<Arc<LeaseData>>> {
        let hash = recipe.hash();
        if self.data.as_ref().is_none_or(|(cut_for, _)| *cut_for != hash) {
            self.data =
                shards.held_out(recipe, self.sequences).await?.map(|data| (hash, Arc::new(data)));
        }
        Ok(self.data.as_ref().map(|(_, data)| data.clone()))
    }

    /// Mean loss of the model in nats a token; none while no held-out text is registered.
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

/// Evenly spaced sequences of `data`: `count`, or as many as there are.
pub fn evenly_spaced(data: &LeaseData, count: usize) -> Vec<&[u32]> {
    let held = data.sequences();
    let count = held.min(u32::try_from(count).unwrap_or(u32::MAX));
    (0..count)
        .filter_map(|i| data.sequence((u64::from(i) * u64::from(held) / u64::from(count)) as u32))
        .collect()
}
