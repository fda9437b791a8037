//! How well a model predicts text that nobody trains on.

use crate::{data::ShardReader, failure::Result};
use pol_engine::LeaseData;
use pol_primitives::recipe::Recipe;
use std::sync::Arc;

/// Measures models on the network's held-out text.
pub struct HeldOut {
    data: Option<Arc<LeaseData>>,
    sequences: usize,
}

impl HeldOut {
    /// A measure over `sequences` sequences.
    pub fn new(sequences: usize) -> Self {
        Self { data: None, sequences }
    }

    /// Mean loss of the model in nats a token; none while no held-out text is registered.
    pub async fn loss(
        &mut self,
        shards: &mut ShardReader,
        recipe: &Recipe,
        parameters: Arc<Vec<f32>>,
        workers: usize,
    ) -> Result<Option<f64>> {
        if self.data.is_none() {
            self.data = shards.held_out(recipe, self.sequences).await?.map(Arc::new);
        }
        let Some(data) = self.data.clone() else { return Ok(None) };
        let (spec, held) = (recipe.model, data.sequences());
        let count = held.min(u32::try_from(self.sequences).unwrap_or(u32::MAX));
        let loss = tokio::task::spawn_blocking(move || {
            // Evenly spaced sequences of what was fetched.
            let chosen: Vec<&[u32]> =
                (0..count).filter_map(|i| data.sequence((u64::from(i) * u64::from(held) / u64::from(count)) as u32)).collect();
            pol_engine::evaluate(&spec, &parameters, &chosen, workers)
        })
        .await??;
        Ok(Some(loss))
    }
}
