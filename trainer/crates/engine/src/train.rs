// SPDX-License-Identifier: Apache-2.0

use crate::{
    EngineError, LeaseData, TrainingState,
    device::{check_profile, prepare_device},
    optimiser::{AdamWStep, StepBuffers},
    sum_of_squares,
};
use pol_model::{Decoder, Layout, Weights};
use pol_primitives::{
    Hash,
    lease::{Lease, micro_batch},
    recipe::{Numerics, Recipe},
};
use std::ops::Range;
use tch::{Device, Kind, Tensor};

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
    /// Threads that micro-batches are spread over, at least one. The result does not depend on it.
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
/// Fails if the process does not compute under the recipe's numerics profile, if job and state do
/// not fit together, and if training diverges. Afterwards the state is somewhere within the segment
/// and of no further use.
pub fn train_segment(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
) -> Result<SegmentReport, EngineError> {
    check_profile(job.recipe.numerics)?;
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
    decoder: Decoder,
    weights: Weights,
    device: Device,
    /// Threads of each operation, and number of micro-batches computed as one batch. `None` where
    /// both are one, or where libtorch chooses its threads.
    threads: Option<u16>,
    /// Sequences of the lease in reading order.
    pub(crate) order: Vec<u32>,
    workers: Vec<Worker>,
    /// Sum of the gradients of a step's micro-batches, added in micro-batch order.
    pub(crate) gradient_sum: Vec<f32>,
}

/// Buffers in which one thread leaves gradient and loss of a micro-batch.
struct Worker {
    gradient: Vec<f32>,
    loss: f64,
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
        let device = prepare_device(recipe.numerics);
        let mut workers = job.workers.clamp(1, recipe.tier(lease.tier).accumulation.into());
        let native = device == Device::Cpu && recipe.numerics != Numerics::Exact;
        let threads = (native && workers > 1).then(|| {
            // One batch on all threads computes each gradient once, not once per worker. The
            // auxiliary losses of experts are not means over sequences, so their micro-batches stay
            // separate.
            if recipe.model.experts.is_none() {
                std::mem::replace(&mut workers, 1) as u16
            } else {
                1
            }
        });
        let worker = || Worker { gradient: vec![0.0; layout.len()], loss: 0.0 };
        Ok(Self {
            job,
            decoder: Decoder::new(&recipe.model)?.with_fused_attention(native),
            weights: Weights::on_device(&layout, &state.parameters, device)?,
            device,
            threads,
            order: lease.order(account, recipe),
            workers: (0..workers).map(|_| worker()).collect(),
            gradient_sum: vec![0.0; layout.len()],
            layout,
        })
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
        // The sum is `accumulation` times the gradient; averaging and clipping are one product.
        let norm = self.sum_of_squares().sqrt() / f64::from(accumulation);
        if !norm.is_finite() || !loss.is_finite() {
            return Err(EngineError::Diverged { step });
        }
        let clip = f64::from(recipe.gradient_clip) / 1e6;
        let is_clipped = norm > clip;
        let scale = if is_clipped { clip / norm } else { 1.0 } / f64::from(accumulation);
        let rate = recipe.schedule.rate(state.steps, lease.head_tokens) as f64 / 1e9;
        state.steps = state.steps.saturating_add(1);
        let buffers = StepBuffers {
            parameters: &mut state.parameters,
            first_moment: &mut state.first_moment,
            second_moment: &mut state.second_moment,
            gradient: &self.gradient_sum,
            scale: scale as f32,
        };
        AdamWStep::new(&recipe.optimiser, rate, state.steps).apply(
            &self.layout,
            buffers,
            self.job.workers,
        );
        Ok(StepReport { loss, gradient_norm: norm, is_clipped })
    }

    /// Returns the squared norm of `gradient_sum`. One thread computes it unless micro-batches are
    /// taken together, since the order of additions changes bits.
    fn sum_of_squares(&self) -> f64 {
        let threads = usize::from(self.threads.unwrap_or(1));
        let mut parts = self.gradient_sum.chunks(self.gradient_sum.len().div_ceil(threads).max(1));
        std::thread::scope(|scope| {
            let first = parts.next().unwrap_or_default();
            let others: Vec<_> = parts.map(|part| scope.spawn(|| sum_of_squares(part))).collect();
            let first = sum_of_squares(first);
            others.into_iter().fold(first, |sum, thread| sum + thread.join().unwrap_or(f64::NAN))
        })
    }

    /// Sums the gradients of the step's micro-batches at `parameters` into `gradient_sum`, in their
    /// order. Returns the sum of their losses.
    ///
    /// Workers take one micro-batch each, then their gradients are added. So the order of
    /// additions, and with it every bit, is the same for any number of workers. Only under the
    /// native profile may micro-batches be one batch.
    pub(crate) fn accumulate(&mut self, parameters: &[f32], step: u16) -> Result<f64, EngineError> {
        if let Some(threads) = self.threads {
            // Evaluation in the same process sets the number of threads too.
            tch::set_num_threads(threads.into());
        }
        self.weights.refresh(parameters)?;
        let together = self.threads.unwrap_or(1);
        let accumulation = self.job.recipe.tier(self.job.lease.tier).accumulation;
        let mut groups = (0..accumulation)
            .step_by(together.into())
            .map(|first| first..accumulation.min(first + together));
        let (mut sum_of_losses, mut is_first) = (0.0, true);
        while groups.len() > 0 {
            let count = self.train_wave(&mut groups, step)?;
            for worker in &mut self.workers[..count] {
                sum_of_losses += worker.loss;
                if std::mem::take(&mut is_first) {
                    std::mem::swap(&mut self.gradient_sum, &mut worker.gradient);
                } else {
                    let pairs = self.gradient_sum.iter_mut().zip(&worker.gradient);
                    pairs.for_each(|(sum, &gradient)| *sum += gradient);
                }
            }
        }
        Ok(sum_of_losses)
    }

    /// Trains the next of `groups` on one worker each, in parallel. Returns the number of workers
    /// that took one; these are the first.
    fn train_wave(
        &mut self,
        groups: &mut impl Iterator<Item = Range<u16>>,
        step: u16,
    ) -> Result<usize, EngineError> {
        let Self { job, decoder, weights, device, order, workers, .. } = self;
        let decoder = &*decoder;
        let wave: Vec<_> = workers.iter_mut().zip(groups).collect();
        let count = wave.len();
        std::thread::scope(|scope| {
            let mut tasks = Vec::with_capacity(count);
            for (worker, micros) in wave {
                let (weights, micro_batches) = (weights.share(true)?, micros.len());
                let tokens = batch(job, order, step, micros)?
                    .f_to(*device)
                    .map_err(pol_model::Error::from)?;
                tasks.push(move || worker.train(decoder, &weights, &tokens, micro_batches));
            }
            // The calling thread runs the last task.
            let own = tasks.pop();
            let others: Vec<_> = tasks.into_iter().map(|task| scope.spawn(task)).collect();
            let own = own.map(|mut task| task());
            others
                .into_iter()
                .map(|thread| thread.join().unwrap_or(Err(EngineError::WorkerPanicked)))
                .chain(own)
                .collect::<Result<(), EngineError>>()
        })?;
        Ok(count)
    }
}

impl Worker {
    /// Computes gradient and loss of `tokens`, summed over its `count` micro-batches of equal size.
    fn train(
        &mut self,
        decoder: &Decoder,
        weights: &Weights,
        tokens: &Tensor,
        count: usize,
    ) -> Result<(), EngineError> {
        let outcome = decoder.forward_loss(weights, tokens)?;
        let loss = outcome.losses.f_detach().and_then(|losses| losses.f_mean(Kind::Float));
        self.loss =
            loss.and_then(|loss| loss.f_double_value(&[])).map_err(pol_model::Error::from)?
                * count as f64;
        let objective = match count {
            1 => outcome.objective,
            // The objective is a mean over all micro-batches, and their sum is needed.
            _ => outcome.objective.f_mul_scalar(count as f64).map_err(pol_model::Error::from)?,
        };
        weights.gradient(&objective, &mut self.gradient)?;
        Ok(())
    }
}

/// Returns the tokens of some micro-batches of a step, int64
/// `[micros · micro_batch, sequence + 1]`.
fn batch(
    job: &LeaseJob<'_>,
    order: &[u32],
    step: u16,
    micros: Range<u16>,
) -> Result<Tensor, EngineError> {
    let LeaseJob { recipe, lease, data, .. } = *job;
    let rows =
        micros.flat_map(|micro| micro_batch(recipe, lease.tier, step, micro, data.sequences()));
    let sequences = rows.filter_map(|position| data.sequence(*order.get(position as usize)?));
    let length = i64::from(recipe.sequence) + 1;
    tokens(sequences, length)
}

/// Copies sequences of `length` tokens each to one int64 tensor `[sequences, length]`.
pub(crate) fn tokens<'a>(
    sequences: impl Iterator<Item = &'a [u32]>,
    length: i64,
) -> Result<Tensor, EngineError> {
    let tokens: Vec<i64> = sequences.flatten().copied().map(i64::from).collect();
    let tensor = Tensor::f_from_slice(&tokens).and_then(|flat| flat.f_view([-1, length]));
    Ok(tensor.map_err(pol_model::Error::from)?)
}
