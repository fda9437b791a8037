// SPDX-License-Identifier: Apache-2.0

use crate::{EngineError, check_len, gradient::tokens};
use pol_model::{Decoder, Layout, MAX_EVALUATION_BATCH, Weights, evaluation_batch};
use pol_primitives::model::ModelSpec;

/// Returns the mean cross-entropy of each sequence, in nats per token, over every token but the
/// first.
///
/// All sequences have the same length, 2 to context + 1 tokens. Batches are spread over `workers`
/// threads.
///
/// # Errors
///
/// Fails for no sequences, for sequences of different or unusable length, and for parameters of
/// another model.
pub fn losses(
    spec: &ModelSpec,
    parameters: &[f32],
    sequences: &[&[u32]],
    workers: usize,
) -> Result<Vec<f64>, EngineError> {
    let length = sequences.first().map_or(0, |first| first.len());
    if length < 2 || sequences.iter().any(|sequence| sequence.len() != length) {
        return Err(EngineError::InvalidSequences);
    }
    let (layout, decoder) = (Layout::new(spec)?, Decoder::new(spec)?);
    check_len(layout.len(), parameters.len())?;
    tch::set_num_threads(1);
    let weights = Weights::new(&layout, parameters)?;
    let mut losses = vec![0.0; sequences.len()];
    // A sequence's loss does not depend on the number of workers.
    let size = evaluation_batch(spec, length - 1);
    let mut batches: Vec<_> = sequences.chunks(size).zip(losses.chunks_mut(size)).collect();
    let share = batches.len().div_ceil(workers.max(1));
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        while !batches.is_empty() {
            let part = batches.split_off(batches.len().saturating_sub(share));
            let weights = weights.share(false)?;
            threads.push(scope.spawn(move || -> Result<(), EngineError> {
                part.into_iter().try_for_each(|(sequences, losses)| {
                    batch_losses(&decoder, &weights, sequences, losses)
                })
            }));
        }
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or(Err(EngineError::WorkerPanicked)))
    })?;
    Ok(losses)
}

/// Returns the mean of [`losses`].
///
/// # Errors
///
/// Fails as [`losses`] does.
pub fn evaluate(
    spec: &ModelSpec,
    parameters: &[f32],
    sequences: &[&[u32]],
    workers: usize,
) -> Result<f64, EngineError> {
    let losses = losses(spec, parameters, sequences, workers)?;
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}

fn batch_losses(
    decoder: &Decoder,
    weights: &Weights,
    sequences: &[&[u32]],
    losses: &mut [f64],
) -> Result<(), EngineError> {
    let length = sequences.first().map_or(0, |first| first.len()) as i64;
    let tensor = decoder.loss(weights, &tokens(sequences.iter().copied(), length)?)?;
    let mut values = [0f32; MAX_EVALUATION_BATCH];
    tensor.f_copy_data(&mut values, sequences.len()).map_err(pol_model::Error::from)?;
    losses.iter_mut().zip(values).for_each(|(loss, value)| *loss = value.into());
    Ok(())
}
