// SPDX-License-Identifier: Apache-2.0

//! Observations of a batch, on kernels or on libtorch.

use crate::TokenPredictions;
use pol_model::mind::coherence;
use pol_step::Observations;

/// Observations of the tokens of a batch, as the metrics need them.
#[derive(Default)]
pub(crate) struct BatchObservations {
    pub(crate) predictions: TokenPredictions,
    /// Losses that introspection predicts.
    pub(crate) predicted_losses: Vec<f64>,
    /// Set for tokens that take the second pass, and losses of all before it.
    pub(crate) chosen: Vec<bool>,
    pub(crate) first_losses: Vec<f64>,
    /// Coherence of each block.
    pub(crate) coherences: Vec<f64>,
    /// Number of tokens of each expert, by block.
    pub(crate) loads: Vec<Vec<u64>>,
}

impl BatchObservations {
    /// Takes what kernels observed of `tokens`, sequences of `length`.
    pub(crate) fn new(seen: Observations, tokens: &[u32], length: usize, branches: usize) -> Self {
        let doubles = |values: Vec<f32>| values.into_iter().map(f64::from).collect();
        let targets = tokens.chunks(length).flat_map(|sequence| sequence.iter().skip(1));
        let correct = seen.likeliest.iter().zip(targets);
        let coherence = |amplitudes: &Vec<f32>| coherence(amplitudes, branches);
        let load = |block: Vec<u32>| block.into_iter().map(u64::from).collect();
        Self {
            predictions: TokenPredictions {
                losses: doubles(seen.losses),
                confidence: doubles(seen.confidence),
                correct: correct.map(|(likeliest, target)| likeliest == target).collect(),
            },
            predicted_losses: doubles(seen.predicted_losses),
            chosen: seen.chosen,
            first_losses: doubles(seen.first_losses),
            coherences: seen.amplitudes.iter().map(coherence).collect(),
            loads: seen.loads.into_iter().map(load).collect(),
        }
    }
}
