// SPDX-License-Identifier: Apache-2.0

//! Gradients of batches of text, in order, on kernels or on libtorch.
//!
//! Under the exact profile, kernels compute every recipe whose micro-batches they have extents for,
//! and libtorch the others. The recipe alone decides, so that all members compute alike.

mod kernels;
mod libtorch;

use crate::{
    EngineError, check_arithmetic,
    device::{check_profile, prepare_device},
    threads::Threads,
};
use kernels::OnKernels;
use libtorch::OnLibtorch;
use pol_primitives::recipe::{Numerics, Recipe};
use pol_step::Plan;
use rayon::{ThreadPool, prelude::*};

pub(crate) use libtorch::tokens;

/// Largest number of sequences in a batch of text to measure on.
const BATCH_SIZE: u16 = 8;
/// Values of a gradient that a thread changes at a time.
const PIECE: usize = 1 << 14;

/// Choices of a computation of gradients. Kernels heed `with_auxiliary` alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Batches that are computed at a time.
    pub(crate) workers: usize,
    /// Threads of each operation. `None` where libtorch chooses.
    pub(crate) threads: Option<usize>,
    /// Set for attention of the fastest kernels, which may differ in bits.
    pub(crate) fused_attention: bool,
    /// Set for gradients of what training minimises, which has the auxiliary losses of experts.
    pub(crate) with_auxiliary: bool,
}

/// Sequences whose mean objective is one term of a sum.
pub(crate) struct Batch<'a> {
    /// Sequences of equal length, each with one token more than it predicts.
    pub(crate) sequences: Vec<&'a [u32]>,
    /// Factor on the mean: how many terms of equal size the batch stands for.
    pub(crate) terms: u16,
}

/// Loss of a batch, and the gradient of its objective; both times its number of terms.
pub(crate) struct BatchGradient<'a> {
    pub(crate) loss: f64,
    /// The values are of no further use to whoever made them, so they may be swapped for others of
    /// the same number.
    pub(crate) gradient: &'a mut Vec<f32>,
}

/// Something that computes gradients of a recipe's model.
pub(crate) enum Gradients {
    Kernels(Box<OnKernels>),
    Libtorch(Box<OnLibtorch>),
}

impl Gradients {
    /// Prepares gradients of the recipe's model.
    ///
    /// # Errors
    ///
    /// Fails if the recipe names another arithmetic than this software's; if a model of the exact
    /// profile has a part without defined operators; and if libtorch has to compute and the process
    /// is outside the recipe's numerics profile.
    pub(crate) fn new(recipe: &Recipe, settings: Settings) -> Result<Self, EngineError> {
        check_arithmetic(recipe)?;
        if pol_step::covers(recipe) {
            return Ok(Self::Kernels(Box::new(OnKernels::new(&recipe.model, settings)?)));
        }
        if recipe.numerics == Numerics::Exact {
            // Micro-batches may be too large for kernels. A part of the model that has no defined
            // operators is an error that names it.
            Plan::new(&recipe.model)?;
        }
        check_profile(recipe.numerics)?;
        let device = prepare_device(recipe.numerics);
        Ok(Self::Libtorch(Box::new(OnLibtorch::new(&recipe.model, device, settings)?)))
    }

    /// Calls `visit` with loss and gradient of each of `batches` at `parameters`, in order. Kernels
    /// use the threads of `pool`; libtorch has its own.
    ///
    /// # Errors
    ///
    /// Fails for parameters of another model, and if `visit` fails.
    pub(crate) fn for_each(
        &mut self,
        pool: &ThreadPool,
        parameters: &[f32],
        batches: &[Batch<'_>],
        visit: impl FnMut(BatchGradient<'_>) -> Result<(), EngineError> + Send,
    ) -> Result<(), EngineError> {
        match self {
            Self::Kernels(kernels) => pool.install(|| kernels.for_each(parameters, batches, visit)),
            Self::Libtorch(libtorch) => libtorch.for_each(parameters, batches, visit),
        }
    }
}

/// Returns the gradient of the mean loss of `sequences` at `parameters`; zeros if there are none.
///
/// Batches are not larger than the recipe's largest micro-batch, which fits in memory. Their
/// gradients are added in order, so that no bit depends on the number of `workers`. After each of
/// them `is_stopped` is asked whether to fail with [`EngineError::Stopped`].
pub(crate) fn mean_gradient(
    recipe: &Recipe,
    parameters: &[f32],
    sequences: &[&[u32]],
    workers: usize,
    is_stopped: impl Fn() -> bool + Sync,
) -> Result<Vec<f32>, EngineError> {
    let micro_batch = recipe.tiers.iter().map(|tier| tier.micro_batch).max().unwrap_or(1);
    let batches: Vec<&[&[u32]]> =
        sequences.chunks(micro_batch.clamp(1, BATCH_SIZE).into()).collect();
    let mut sum = vec![0f32; parameters.len()];
    for_each_gradient(recipe, parameters, &batches, workers, |gradient| {
        if is_stopped() {
            return Err(EngineError::Stopped);
        }
        let pieces = sum.par_chunks_mut(PIECE).zip(gradient.par_chunks(PIECE));
        pieces.for_each(|(sum, gradient)| {
            sum.iter_mut().zip(gradient).for_each(|(sum, &value)| *sum += value);
        });
        Ok(())
    })?;
    let scale = 1.0 / sequences.len().max(1) as f32;
    sum.iter_mut().for_each(|value| *value *= scale);
    Ok(sum)
}

/// Calls `visit` with the gradient of each batch's sum of losses at `parameters`, in order, with
/// `workers` threads, on one of which `visit` runs.
///
/// # Errors
///
/// Fails if libtorch has to compute, and the process is outside the recipe's numerics profile; for
/// parameters of another model; and if `visit` fails.
pub(crate) fn for_each_gradient(
    recipe: &Recipe,
    parameters: &[f32],
    batches: &[&[&[u32]]],
    workers: usize,
    mut visit: impl FnMut(&[f32]) -> Result<(), EngineError> + Send,
) -> Result<(), EngineError> {
    let tokens =
        batches.iter().map(|batch| batch.len()).max().unwrap_or(0) * usize::from(recipe.sequence);
    let threads = Threads::new(tokens, parameters.len(), workers)?;
    let settings = Settings {
        workers: workers.clamp(1, batches.len().max(1)),
        threads: Some(1),
        fused_attention: false,
        with_auxiliary: false,
    };
    let mut gradients = Gradients::new(recipe, settings)?;
    let batches: Vec<Batch<'_>> = batches
        .iter()
        .map(|rows| Batch { sequences: rows.to_vec(), terms: rows.len() as u16 })
        .collect();
    gradients.for_each(&threads, parameters, &batches, |of_batch| {
        threads.install(|| visit(of_batch.gradient))
    })
}

#[cfg(test)]
mod tests;
