use crate::{
    Error, LeaseData, TrainingState, native,
    optimiser::{Step, Vectors},
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

/// Everything that fixes a lease's training but the state it starts from.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The recipe that the lease names.
    pub recipe: &'a Recipe,
    /// The lease.
    pub lease: &'a Lease,
    /// The trainer.
    pub account: &'a [u8; 32],
    /// The lease's shards.
    pub data: &'a LeaseData,
    /// Threads that micro-batches are spread over; at least one is used. The result does not depend
    /// on it.
    pub workers: usize,
}

/// What a segment did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SegmentReport {
    /// Mean training loss, in nats per token.
    pub loss: f64,
    /// Tokens read.
    pub tokens: u64,
    /// Leaf of the state after it.
    pub leaf: Hash,
}

/// Trains segment `segment` (from 0) of the lease, from the state after the segment before it.
///
/// On an error the state is somewhere within the segment and good for nothing. Fails where the
/// process does not compute under the recipe's numerics profile, when job and state do not fit
/// together, and when training diverges.
pub fn train_segment(
    job: &Job<'_>,
    state: &mut TrainingState,
    segment: u16,
) -> Result<SegmentReport, Error> {
    native::check(job.recipe.numerics)?;
    let (segments, steps) = (job.recipe.segments, job.recipe.steps_per_segment(job.lease.tier));
    if segment >= segments {
        return Err(Error::Segment { segment, segments });
    }
    let mut run = Run::new(job, state)?;
    let mut loss = 0.0;
    for step in 0..steps {
        loss += run.step(state, segment * steps + step)?;
    }
    let report = SegmentReport {
        loss: loss / f64::from(steps),
        tokens: job.recipe.tokens(job.lease.tier, steps),
        leaf: state.leaf(),
    };
    tracing::debug!(segment, loss = report.loss, steps = state.steps, "trained a segment");
    Ok(report)
}

/// Trains segment `segment` again from a state served by its trainer; returns the state it ends in
/// and that state's leaf, which an auditor compares with the one opened. The very function the
/// trainer called.
pub fn replay(
    job: &Job<'_>,
    start: TrainingState,
    segment: u16,
) -> Result<(TrainingState, Hash), Error> {
    let mut state = start;
    let report = train_segment(job, &mut state, segment)?;
    Ok((state, report.leaf))
}

/// A lease under way: what its steps share.
pub(crate) struct Run<'a> {
    job: &'a Job<'a>,
    layout: Layout,
    decoder: Decoder,
    weights: Weights,
    device: Device,
    /// Threads of each operation, and micro-batches that are one batch; none where both are one, or
    /// libtorch's own affair.
    threads: Option<u16>,
    /// Sequences of the lease in reading order.
    pub(crate) order: Vec<u32>,
    workers: Vec<Worker>,
    /// Sum of a step's gradients, in micro-batch order.
    pub(crate) sum: Vec<f32>,
}

/// Where one thread leaves the gradient and the loss of a micro-batch.
struct Worker {
    gradient: Vec<f32>,
    loss: f64,
}

impl<'a> Run<'a> {
    pub(crate) fn new(job: &'a Job<'a>, state: &TrainingState) -> Result<Self, Error> {
        let Job { recipe, lease, account, data, .. } = *job;
        recipe.validate().map_err(Error::Recipe)?;
        let given = recipe.hash();
        if lease.recipe != given {
            return Err(Error::OtherRecipe { lease: lease.recipe, given });
        }
        if data.shards() != lease.shards.len() || data.shards() == 0 {
            return Err(Error::Shards { expected: lease.shards.len(), found: data.shards() });
        }
        let layout = Layout::new(&recipe.model)?;
        state.check(layout.len())?;
        let device = native::prepare(recipe.numerics);
        let mut workers = job.workers.clamp(1, recipe.tier(lease.tier).accumulation.into());
        let native = device == Device::Cpu && recipe.numerics != Numerics::Exact;
        let threads = (native && workers > 1).then(|| {
            // One batch on all threads makes each gradient once, not once a worker. What experts
            // are trained for beside the loss is not a mean over sequences, so each of their
            // micro-batches stays by itself.
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
            weights: Weights::on(&layout, &state.parameters, device)?,
            device,
            threads,
            order: lease.order(account, recipe),
            workers: (0..workers).map(|_| worker()).collect(),
            sum: vec![0.0; layout.len()],
            layout,
        })
    }

    /// One optimiser step, the lease's `step`-th from 0. Returns the mean loss in nats per token.
    pub(crate) fn step(&mut self, state: &mut TrainingState, step: u16) -> Result<f64, Error> {
        let loss = self.accumulate(&state.parameters, step)?;
        self.follow(state, step, loss)
    }

    /// Takes the step along the gradients in `sum`, whose micro-batches had losses of this
    /// `sum_of_losses`. Returns the mean loss.
    pub(crate) fn follow(
        &mut self,
        state: &mut TrainingState,
        step: u16,
        sum_of_losses: f64,
    ) -> Result<f64, Error> {
        let Job { recipe, lease, .. } = *self.job;
        let accumulation = recipe.tier(lease.tier).accumulation;
        let loss = sum_of_losses / f64::from(accumulation);
        // `sum` is `accumulation` times the gradient; averaging and clipping are one product.
        let norm = self.sum_of_squares().sqrt() / f64::from(accumulation);
        if !norm.is_finite() || !loss.is_finite() {
            return Err(Error::Diverged { step });
        }
        let clip = f64::from(recipe.gradient_clip) / 1e6;
        let scale = if norm > clip { clip / norm } else { 1.0 } / f64::from(accumulation);
        let rate = recipe.schedule.rate(state.steps, lease.head_tokens) as f64 / 1e9;
        state.steps = state.steps.saturating_add(1);
        let vectors = Vectors {
            parameters: &mut state.parameters,
            first_moment: &mut state.first_moment,
            second_moment: &mut state.second_moment,
            gradient: &self.sum,
            scale: scale as f32,
        };
        Step::new(&recipe.optimiser, rate, state.steps).apply(
            &self.layout,
            vectors,
            self.job.workers,
        );
        Ok(loss)
    }

    /// The squared norm of `sum`: by one thread unless micro-batches are taken together, since the
    /// order of additions counts.
    fn sum_of_squares(&self) -> f64 {
        let mut parts =
            self.sum.chunks(self.sum.len().div_ceil(self.threads.unwrap_or(1).into()).max(1));
        std::thread::scope(|scope| {
            let first = parts.next().unwrap_or_default();
            let others: Vec<_> = parts.map(|part| scope.spawn(|| sum_of_squares(part))).collect();
            let first = sum_of_squares(first);
            others.into_iter().fold(first, |sum, thread| sum + thread.join().unwrap_or(f64::NAN))
        })
    }

    /// Sums the gradients of the step's micro-batches at `parameters` into `sum`, in their order;
    /// returns the sum of their losses.
    ///
    /// Workers take one micro-batch each, then their gradients are added; so the order of
    /// additions, and with it every bit, is the same for any number of workers. Only under the
    /// native profile may micro-batches be one batch.
    pub(crate) fn accumulate(&mut self, parameters: &[f32], step: u16) -> Result<f64, Error> {
        let Self { job, decoder, weights, device, threads, order, workers, sum, .. } = self;
        if let Some(threads) = *threads {
            // Whoever measures models in this process sets this too.
            tch::set_num_threads(threads.into());
        }
        weights.refresh(parameters)?;
        let (decoder, together, all) =
            (&*decoder, threads.unwrap_or(1), job.recipe.tier(job.lease.tier).accumulation);
        let mut groups =
            (0..all).step_by(together.into()).map(|first| first..all.min(first + together));
        let (mut total, mut first) = (0.0, true);
        while groups.len() > 0 {
            let wave: Vec<_> = workers.iter_mut().zip(&mut groups).collect();
            let trained = std::thread::scope(|scope| {
                let mut tasks = Vec::with_capacity(wave.len());
                for (worker, micros) in wave {
                    let (weights, count) = (weights.share(true)?, micros.len());
                    let tokens = batch(job, order, step, micros)?
                        .f_to(*device)
                        .map_err(pol_model::Error::from)?;
                    tasks.push(move || {
                        worker.train(decoder, &weights, &tokens, count).map(|()| worker)
                    });
                }
                // The last one needs no thread of its own.
                let own = tasks.pop();
                let others: Vec<_> = tasks.into_iter().map(|task| scope.spawn(task)).collect();
                let own = own.map(|task| task());
                let others =
                    others.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Worker)));
                others.chain(own).collect::<Result<Vec<_>, Error>>()
            })?;
            for worker in trained {
                total += worker.loss;
                if std::mem::take(&mut first) {
                    std::mem::swap(sum, &mut worker.gradient);
                } else {
                    sum.iter_mut()
                        .zip(&worker.gradient)
                        .for_each(|(sum, &gradient)| *sum += gradient);
                }
            }
        }
        Ok(total)
    }
}

impl Worker {
    /// Leaves the sums over `count` micro-batches of equal size, which `tokens` holds.
    fn train(
        &mut self,
        decoder: &Decoder,
        weights: &Weights,
        tokens: &Tensor,
        count: usize,
    ) -> Result<(), Error> {
        let outcome = decoder.outcome(weights, tokens)?;
        let loss = outcome.losses.f_detach().and_then(|losses| losses.f_mean(Kind::Float));
        self.loss =
            loss.and_then(|loss| loss.f_double_value(&[])).map_err(pol_model::Error::from)?
                * count as f64;
        let objective = match count {
            1 => outcome.objective,
            // The gradient of the mean over all of them, as many times.
            _ => outcome.objective.f_mul_scalar(count as f64).map_err(pol_model::Error::from)?,
        };
        weights.gradient(&objective, &mut self.gradient)?;
        Ok(())
    }
}

/// The tokens of some micro-batches of a step, int64 `[micros · micro_batch, sequence + 1]`.
fn batch(job: &Job<'_>, order: &[u32], step: u16, micros: Range<u16>) -> Result<Tensor, Error> {
    let Job { recipe, lease, data, .. } = *job;
    let rows =
        micros.flat_map(|micro| micro_batch(recipe, lease.tier, step, micro, data.sequences()));
    let sequences = rows.filter_map(|position| data.sequence(*order.get(position as usize)?));
    let length = i64::from(recipe.sequence) + 1;
    tokens(sequences, length)
}

/// Sequences of `length` tokens each as one int64 tensor `[sequences, length]`.
pub(crate) fn tokens<'a>(
    sequences: impl Iterator<Item = &'a [u32]>,
    length: i64,
) -> Result<Tensor, Error> {
    let tokens: Vec<i64> = sequences.flatten().copied().map(i64::from).collect();
    let tensor = Tensor::f_from_slice(&tokens).and_then(|flat| flat.f_view([-1, length]));
    Ok(tensor.map_err(pol_model::Error::from)?)
}
