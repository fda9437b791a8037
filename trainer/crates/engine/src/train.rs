// SPDX-License-Identifier: Apache-2.0

use crate::{
    EngineError, LeaseData, TrainingState,
    gradient::{Batch, BatchGradient, Gradients, Settings},
    optimiser,
    threads::Threads,
};
use pol_kernels::Kernels;
use pol_model::Layout;
use pol_numerics::clip_factor;
use pol_primitives::{
    Hash, MILLION,
    lease::{Lease, micro_batch},
    recipe::{Numerics, Recipe},
};
use std::ops::Range;
use tch::Cuda;

/// Inputs that fix a lease's training, except for the state it starts from.
#[derive(Clone, Copy, Debug)]
pub struct LeaseJob<'a> {
    /// Recipe that the lease names.
    pub recipe: &'a Recipe,
    /// The lease.
    pub lease: &'a Lease,
    /// Account of the trainer.
    pub account: &'a [u8; 32],
    /// Decoded shards of the lease.
    pub data: &'a LeaseData,
    /// Most threads that compute, at least one. The result does not depend on it.
    pub workers: usize,
}

/// L2 norms of the gradients of some optimiser steps, over all parameters and before they are
/// clipped.
///
/// A gradient is that of the step's mean objective: the loss, and the auxiliary losses of experts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradientNorms {
    /// Mean of the norms.
    pub mean: f64,
    /// Largest norm.
    pub largest: f64,
    /// Number of steps whose gradient was clipped.
    pub clipped: u16,
}

/// Result of training one segment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentReport {
    /// Mean training loss, in nats per token.
    pub loss: f64,
    /// Norms of the gradients of its steps.
    pub gradient: GradientNorms,
    /// Number of tokens read.
    pub tokens: u64,
    /// Leaf of the state after the segment.
    pub leaf: Hash,
}

/// Trains segment `segment` (from 0) of the lease, from the state after the segment before it.
///
/// # Errors
///
/// Fails if libtorch has to compute, and the process is outside the recipe's numerics profile; if
/// job and state do not fit together; and if training diverges. Afterwards the state is somewhere
/// within the segment and of no further use.
pub fn train_segment(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
) -> Result<SegmentReport, EngineError> {
    let (segments, steps) = (job.recipe.segments, job.recipe.steps_per_segment(job.lease.tier));
    if segment >= segments {
        return Err(EngineError::NoSuchSegment { segment, segments });
    }
    let mut run = TrainingRun::new(job, state)?;
    let (mut loss, mut gradient) = (0.0, GradientNorms::default());
    for step in 0..steps {
        let taken = run.step(state, segment * steps + step)?;
        loss += taken.loss;
        gradient.mean += taken.gradient_norm / f64::from(steps);
        gradient.largest = gradient.largest.max(taken.gradient_norm);
        gradient.clipped += u16::from(taken.is_clipped);
    }
    let report = SegmentReport {
        loss: loss / f64::from(steps),
        gradient,
        tokens: job.recipe.tokens(job.lease.tier, steps),
        leaf: state.leaf(),
    };
    tracing::debug!(segment, loss = report.loss, steps = state.steps, "trained a segment");
    Ok(report)
}

/// Trains segment `segment` again from a state served by its trainer.
///
/// Returns the state it ends in and that state's leaf, which an auditor compares with the one
/// opened. This calls [`train_segment`], as the trainer did.
///
/// # Errors
///
/// Fails as [`train_segment`] does.
pub fn replay(
    job: &LeaseJob<'_>,
    start: TrainingState,
    segment: u16,
) -> Result<(TrainingState, Hash), EngineError> {
    let mut state = start;
    let report = train_segment(job, &mut state, segment)?;
    Ok((state, report.leaf))
}

/// Result of an optimiser step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepReport {
    /// Mean loss in nats per token.
    loss: f64,
    /// L2 norm of the gradient, before it is clipped.
    gradient_norm: f64,
    /// Set if the gradient was clipped.
    is_clipped: bool,
}

/// Model, data order and buffers that the steps of a lease share.
pub(crate) struct TrainingRun<'a> {
    job: &'a LeaseJob<'a>,
    layout: Layout,
    threads: Threads,
    gradients: Gradients,
    /// Micro-batches that are computed as one batch.
    together: u16,
    /// Sequences of the lease in reading order.
    pub(crate) order: Vec<u32>,
    /// Sum of the gradients of a step's micro-batches, added in their order.
    pub(crate) gradient_sum: Vec<f32>,
}

impl<'a> TrainingRun<'a> {
    pub(crate) fn new(job: &'a LeaseJob<'a>, state: &TrainingState) -> Result<Self, EngineError> {
        let LeaseJob { recipe, lease, account, data, .. } = *job;
        recipe.validate().map_err(EngineError::Recipe)?;
        let given = recipe.hash();
        if lease.recipe != given {
            return Err(EngineError::RecipeMismatch { lease: lease.recipe, given });
        }
        if data.shards() != lease.shards.len() || data.shards() == 0 {
            return Err(EngineError::ShardCount {
                expected: lease.shards.len(),
                found: data.shards(),
            });
        }
        let layout = Layout::new(&recipe.model)?;
        state.validate(layout.len())?;
        let tier = recipe.tier(lease.tier);
        let tokens = usize::from(tier.micro_batch) * usize::from(recipe.sequence);
        let threads = Threads::new(tokens, layout.len(), job.workers)?;
        let (settings, together) = libtorch_settings(job);
        Ok(Self {
            job,
            threads,
            gradients: Gradients::new(recipe, settings)?,
            together,
            order: lease.order(account, recipe),
            gradient_sum: vec![0.0; layout.len()],
            layout,
        })
    }

    /// Returns the number of threads that compute.
    pub(crate) fn threads(&self) -> usize {
        match &self.gradients {
            Gradients::Kernels(_) => self.threads.current_num_threads(),
            Gradients::Libtorch(libtorch) => libtorch.threads(),
        }
    }

    /// Takes one optimiser step, the lease's `step`-th from 0.
    pub(crate) fn step(
        &mut self,
        state: &mut TrainingState,
        step: u16,
    ) -> Result<StepReport, EngineError> {
        let sum_of_losses = self.accumulate(&state.parameters, step)?;
        self.apply_gradient(state, step, sum_of_losses)
    }

    /// Applies the gradients in `gradient_sum`, whose micro-batches had losses of this
    /// `sum_of_losses`.
    pub(crate) fn apply_gradient(
        &mut self,
        state: &mut TrainingState,
        step: u16,
        sum_of_losses: f64,
    ) -> Result<StepReport, EngineError> {
        let LeaseJob { recipe, lease, .. } = *self.job;
        let accumulation = recipe.tier(lease.tier).accumulation;
        let loss = sum_of_losses / f64::from(accumulation);
        let Self { layout, threads, gradient_sum, .. } = self;
        let squares = threads.install(|| optimiser::sum_of_squares(gradient_sum))?;
        let norm = f64::from(squares).sqrt() / f64::from(accumulation);
        if !norm.is_finite() || !loss.is_finite() {
            return Err(EngineError::Diverged { step });
        }
        let rate = recipe.schedule.rate(state.steps, lease.head_tokens);
        state.steps = state.steps.saturating_add(1);
        let factor = clip_factor(squares, accumulation.into(), recipe.gradient_clip);
        threads.install(|| {
            optimiser::step(&recipe.optimiser, rate, layout, state, gradient_sum, factor)
        })?;
        let is_clipped = norm > f64::from(recipe.gradient_clip) / f64::from(MILLION);
        Ok(StepReport { loss, gradient_norm: norm, is_clipped })
    }

    /// Sums the gradients of the step's micro-batches at `parameters` into `gradient_sum`, in their
    /// order. Returns the sum of their losses.
    ///
    /// So the order of additions, and with it every bit, is the same for any number of threads.
    /// Only under the native profile may micro-batches be one batch.
    pub(crate) fn accumulate(&mut self, parameters: &[f32], step: u16) -> Result<f64, EngineError> {
        let accumulation = self.job.recipe.tier(self.job.lease.tier).accumulation;
        let (job, order, together) = (self.job, &self.order, self.together);
        let batches: Vec<Batch<'_>> = (0..accumulation)
            .step_by(together.into())
            .map(|first| batch(job, order, step, first..accumulation.min(first + together)))
            .collect();
        let Self { gradients, gradient_sum, threads, .. } = self;
        let (mut sum_of_losses, mut is_first) = (0.0, true);
        gradients.for_each(threads, parameters, &batches, |BatchGradient { loss, gradient }| {
            sum_of_losses += loss;
            if std::mem::take(&mut is_first) {
                std::mem::swap(gradient_sum, gradient);
                Ok(())
            } else {
                Ok(threads.install(|| Kernels::best().add(gradient, gradient_sum))?)
            }
        })?;
        Ok(sum_of_losses)
    }
}

/// Returns how libtorch computes the gradients of a lease, and the number of micro-batches that it
/// takes as one batch.
fn libtorch_settings(job: &LeaseJob<'_>) -> (Settings, u16) {
    let recipe = job.recipe;
    let workers = job.workers.clamp(1, recipe.tier(job.lease.tier).accumulation.into());
    let native = recipe.numerics != Numerics::Exact && !Cuda::is_available();
    let plain = Settings { workers, threads: None, fused_attention: native, with_auxiliary: true };
    if !native || workers == 1 {
        (plain, 1)
    } else if recipe.model.experts.is_some() {
        // The auxiliary losses of experts are not means over sequences, so their micro-batches stay
        // separate.
        (Settings { threads: Some(1), ..plain }, 1)
    } else {
        // One batch on all threads computes each gradient once, not once per worker.
        (Settings { workers: 1, threads: Some(workers), ..plain }, workers as u16)
    }
}

/// Returns the sequences of some micro-batches of a step.
fn batch<'a>(job: &LeaseJob<'a>, order: &[u32], step: u16, micros: Range<u16>) -> Batch<'a> {
    let LeaseJob { recipe, lease, data, .. } = *job;
    let terms = micros.len() as u16;
    let rows =
        micros.flat_map(|micro| micro_batch(recipe, lease.tier, step, micro, data.sequences()));
    let sequences = rows.filter_map(|position| data.sequence(*order.get(position as usize)?));
    Batch { sequences: sequences.collect(), terms }
}
