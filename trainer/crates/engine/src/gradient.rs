// SPDX-License-Identifier: Apache-2.0

//! Gradients of the loss on given text, beside training.

use crate::{
    EngineError, check_len,
    device::{check_profile, prepare_device},
    train::tokens,
};
use pol_model::{Decoder, Layout, Weights};
use pol_primitives::recipe::Recipe;
use std::thread;
use tch::{Device, Kind};

/// Largest number of sequences in a batch.
const BATCH_SIZE: u16 = 8;

/// Returns the gradient of the mean loss of `sequences` at `parameters`; zeros if there are none.
///
/// Batches are not larger than the recipe's largest micro-batch, which fits in memory. Their
/// gradients are added in order, so that no bit depends on the number of `workers`.
pub(crate) fn mean_gradient(
    recipe: &Recipe,
    parameters: &[f32],
    sequences: &[&[u32]],
    workers: usize,
) -> Result<Vec<f32>, EngineError> {
    let micro_batch = recipe.tiers.iter().map(|tier| tier.micro_batch).max().unwrap_or(1);
    let batches: Vec<&[&[u32]]> =
        sequences.chunks(micro_batch.clamp(1, BATCH_SIZE).into()).collect();
    let mut sum = vec![0f32; parameters.len()];
    for_each_gradient(recipe, parameters, &batches, workers, |gradient| {
        sum.iter_mut().zip(gradient).for_each(|(sum, &value)| *sum += value);
        Ok(())
    })?;
    let scale = 1.0 / sequences.len().max(1) as f32;
    sum.iter_mut().for_each(|value| *value *= scale);
    Ok(sum)
}

/// Calls `visit` with the gradient of each batch's sum of losses at `parameters`, in order. Each of
/// `workers` threads computes one batch at a time.
///
/// # Errors
///
/// Fails if the process does not compute under the recipe's numerics profile, for parameters of
/// another model, and if `visit` fails.
pub(crate) fn for_each_gradient(
    recipe: &Recipe,
    parameters: &[f32],
    batches: &[&[&[u32]]],
    workers: usize,
    mut visit: impl FnMut(&[f32]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    check_profile(recipe.numerics)?;
    let (layout, decoder) = (Layout::new(&recipe.model)?, Decoder::new(&recipe.model)?);
    check_len(layout.len(), parameters.len())?;
    let device = prepare_device(recipe.numerics);
    tch::set_num_threads(1);
    let weights = Weights::on_device(&layout, parameters, device)?;
    let workers = workers.clamp(1, batches.len().max(1));
    let mut gradients = vec![vec![0f32; layout.len()]; workers];
    for wave in batches.chunks(workers) {
        thread::scope(|scope| {
            let mut threads = Vec::with_capacity(wave.len());
            for (batch, gradient) in wave.iter().zip(&mut gradients) {
                let (decoder, weights) = (&decoder, weights.share(true)?);
                threads.push(
                    scope.spawn(move || batch_gradient(decoder, &weights, batch, device, gradient)),
                );
            }
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or(Err(EngineError::WorkerPanicked)))
        })?;
        gradients.iter().take(wave.len()).try_for_each(|gradient| visit(gradient))?;
    }
    Ok(())
}

/// Computes the gradient of the sum of the losses of `batch`.
fn batch_gradient(
    decoder: &Decoder,
    weights: &Weights,
    batch: &[&[u32]],
    device: Device,
    gradient: &mut [f32],
) -> Result<(), EngineError> {
    let length = batch.first().map_or(0, |first| first.len()) as i64;
    let tokens = tokens(batch.iter().copied(), length)?;
    let tokens = tokens.f_to(device).map_err(pol_model::Error::from)?;
    let losses = decoder.loss(weights, &tokens)?;
    let sum = losses.f_sum(Kind::Float).map_err(pol_model::Error::from)?;
    Ok(weights.gradient(&sum, gradient)?)
}
