// SPDX-License-Identifier: Apache-2.0

//! Losses of sequences on kernels, and on libtorch if a sequence is too large for them.
//!
//! On kernels a sequence's loss has one value for each model and text: neither the profile, the
//! processor, the number of threads, nor other sequences change a bit of it.

use crate::{EngineError, check_len, gradient::tokens, threads::Threads};
use pol_model::{Decoder, Layout, MAX_EVALUATION_BATCH, Weights, evaluation_batch};
use pol_primitives::model::ModelSpec;
use pol_step::{Evaluation, Plan, most_sequences};

/// Returns the mean cross-entropy of each sequence, in nats per token, over every token but the
/// first.
///
/// All sequences have the same length, 2 to context + 1 tokens. They are read in batches, which
/// `workers` threads share.
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
    check_len(Plan::new(spec)?.len(), parameters.len())?;
    let size = evaluation_batch(spec, length - 1);
    let fits = most_sequences(spec, u32::try_from(length - 1).unwrap_or(u32::MAX)) > 0;
    let compute = if fits { on_kernels } else { on_libtorch };
    compute(spec, parameters, sequences, size, workers)
}

/// Returns the mean of [`losses`]: their float64 sum in order, divided by their number.
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

/// Computes losses in batches of up to `size` sequences, which all threads share.
fn on_kernels(
    spec: &ModelSpec,
    parameters: &[f32],
    sequences: &[&[u32]],
    size: usize,
    workers: usize,
) -> Result<Vec<f64>, EngineError> {
    let length = sequences.first().map_or(0, |first| first.len());
    let tokens = size.min(sequences.len()) * length;
    let threads = Threads::new(tokens, parameters.len(), workers)?;
    let mut losses = Vec::with_capacity(sequences.len());
    threads.install(|| {
        Evaluation::in_batches(spec, sequences, size, |evaluation, tokens| {
            let of_batch = evaluation.losses(parameters, tokens)?;
            losses.extend(of_batch.iter().copied().map(f64::from));
            Ok::<_, EngineError>(())
        })
    })?;
    Ok(losses)
}

/// Computes losses in batches of `size` sequences, each on one of `workers` threads.
fn on_libtorch(
    spec: &ModelSpec,
    parameters: &[f32],
    sequences: &[&[u32]],
    size: usize,
    workers: usize,
) -> Result<Vec<f64>, EngineError> {
    let (layout, decoder) = (Layout::new(spec)?, Decoder::new(spec)?);
    tch::set_num_threads(1);
    let weights = Weights::new(&layout, parameters)?;
    let mut losses = vec![0.0; sequences.len()];
    // A sequence's loss does not depend on the number of workers.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{share_all_batches, test_recipe};
    use pol_model::initial_parameters;
    use pol_primitives::{
        model::{Experts, Mind, Superposition},
        prf::Prf,
    };

    #[test]
    fn losses_have_one_value_and_are_near_those_of_libtorch() {
        share_all_batches();
        let mut spec = test_recipe::recipe().model;
        let superposition = Some(Superposition { branches: 3, rank: 4 });
        let mind = Mind { superposition, introspection: true, second_pass: 1 };
        for (experts, mind) in
            [(None, Mind::default()), (Some(Experts::new(4, 2)), Mind::default()), (None, mind)]
        {
            (spec.experts, spec.mind) = (experts, mind);
            let parameters = initial_parameters(&spec, &[2; 32]);
            let mut prf = Prf::new("text", &[0; 32], &[]);
            let rows: Vec<Vec<u32>> =
                (0..11).map(|_| (0..17).map(|_| prf.below(spec.vocabulary)).collect()).collect();
            let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
            let expected = losses(&spec, &parameters, &rows, 1).unwrap();
            // Neither batches nor threads matter.
            for (size, workers) in [(1, 1), (2, 4), (3, 2), (8, 3), (11, 4), (99, 1)] {
                let found = on_kernels(&spec, &parameters, &rows, size, workers).unwrap();
                assert_eq!(found, expected, "{size} sequences, {workers} threads");
            }
            let other = on_libtorch(&spec, &parameters, &rows, 8, 2).unwrap();
            assert_eq!((expected.len(), other.len()), (11, 11));
            for (found, other) in expected.iter().zip(&other) {
                assert!((found / other - 1.0).abs() < 1e-5, "{found} {other}");
            }
            let mean = expected.iter().sum::<f64>() / 11.0;
            assert_eq!(evaluate(&spec, &parameters, &rows, 3).unwrap(), mean);
        }
    }

    #[test]
    fn sequences_that_are_too_large_for_kernels_are_read_on_libtorch() {
        // A token counts once for each head.
        let small = ModelSpec::gpt2(8, 2, 1, 1, 2, 33);
        let spec = ModelSpec { heads: 1 << 15, head_size: 1, ..small };
        let parameters = initial_parameters(&spec, &[2; 32]);
        let text: Vec<u32> = (0..34).map(|token| token * token % 8).collect();
        let (long, short) = (&text[..], &text[..33]);
        assert_eq!([32, 33].map(|length| most_sequences(&spec, length)), [1, 0]);
        let libtorch = |text| on_libtorch(&spec, &parameters, &[text, text], 1, 2).unwrap();
        let found = losses(&spec, &parameters, &[long, long], 2).unwrap();
        assert_eq!(found, libtorch(long));
        let found = losses(&spec, &parameters, &[short, short], 2).unwrap();
        assert!((found[0] / libtorch(short)[0] - 1.0).abs() < 1e-5 && found[0] == found[1]);
    }
}
