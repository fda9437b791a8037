use crate::{
    Error, LeaseData, TrainingState, native,
    optimiser::{Step, Vectors},
    sum_of_squares,
};
use pol_model::{Decoder, Layout, Weights};
use pol_primitives::{
    Hash,
    lease::{Lease, micro_batch},
    recipe::Recipe,
};
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
    /// Threads that micro-batches are spread over; at least one is used. The result does not depend on it.
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
/// On an error the state is somewhere within the segment and good for nothing. Fails where the process does not compute under
/// the recipe's numerics profile, when job and state do not fit together, and when training diverges.
pub fn train_segment(job: &Job<'_>, state: &mut TrainingState, segment: u16) -> Result<SegmentReport, Error> {
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
    let report =
        SegmentReport { loss: loss / f64::from(steps), tokens: job.recipe.tokens(job.lease.tier, steps), leaf: state.leaf() };
    tracing::debug!(segment, loss = report.loss, steps = state.steps, "trained a segment");
    Ok(report)
}

/// Trains segment `segment` again from a state served by its trainer; returns the state it ends in and that state's leaf, which
/// an auditor compares with the one opened. The very function the trainer called.
pub fn replay(job: &Job<'_>, start: TrainingState, segment: u16) -> Result<(TrainingState, Hash), Error> {
    let mut state = start;
    let report = train_segment(job, &mut state, segment)?;
    Ok((state, report.leaf))
}

/// A lease under way: what its steps share.
pub(crate) struct Run<'a> {
    job: &'a Job<'a>,
    layout: Layout,
    decoder: Decoder,
    device: Device,
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
        let workers = job.workers.clamp(1, recipe.tier(lease.tier).accumulation.into());
        let worker = || Worker { gradient: vec![0.0; layout.len()], loss: 0.0 };
        Ok(Self {
            job,
            decoder: Decoder::new(&recipe.model)?,
            device,
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

    /// Takes the step along the gradients in `sum`, whose micro-batches had losses of this `sum_of_losses`. Returns the mean loss.
    pub(crate) fn follow(&mut self, state: &mut TrainingState, step: u16, sum_of_losses: f64) -> Result<f64, Error> {
        let Job { recipe, lease, .. } = *self.job;
        let accumulation = recipe.tier(lease.tier).accumulation;
        let loss = sum_of_losses / f64::from(accumulation);
        // `sum` is `accumulation` times the gradient; averaging and clipping are one product.
        let norm = sum_of_squares(&self.sum).sqrt() / f64::from(accumulation);
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
        Step::new(&recipe.optimiser, rate, state.steps).apply(&self.layout, vectors);
        Ok(loss)
    }

    /// Sums the gradients of the step's micro-batches at `parameters` into `sum`, in their order; returns the sum of their losses.
    ///
    /// Workers take one micro-batch each, then their gradients are added; so the order of additions, and with it every
    /// bit, is the same for any number of workers.
    pub(crate) fn accumulate(&mut self, parameters: &[f32], step: u16) -> Result<f64, Error> {
        let Self { job, layout, decoder, device, order, workers, sum } = self;
        let (decoder, weights) = (&*decoder, Weights::on(layout, parameters, *device)?);
        let mut micros = 0..job.recipe.tier(job.lease.tier).accumulation;
        let (mut total, mut first) = (0.0, true);
        while !micros.is_empty() {
            let wave: Vec<_> = workers.iter_mut().zip(&mut micros).collect();
            let trained = std::thread::scope(|scope| {
                let mut tasks = Vec::with_capacity(wave.len());
                for (worker, micro) in wave {
                    let (weights, tokens) =
                        (weights.share(true)?, batch(job, order, step, micro)?.f_to(*device).map_err(pol_model::Error::from)?);
                    tasks.push(move || worker.train(decoder, &weights, &tokens).map(|()| worker));
                }
                // The last one needs no thread of its own.
                let own = tasks.pop();
                let others: Vec<_> = tasks.into_iter().map(|task| scope.spawn(task)).collect();
                let own = own.map(|task| task());
                let others = others.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Worker)));
                others.chain(own).collect::<Result<Vec<_>, Error>>()
            })?;
            for worker in trained {
                total += worker.loss;
                if std::mem::take(&mut first) {
                    sum.copy_from_slice(&worker.gradient);
                } else {
                    sum.iter_mut().zip(&worker.gradient).for_each(|(sum, &gradient)| *sum += gradient);
                }
            }
        }
        Ok(total)
    }
}

impl Worker {
    fn train(&mut self, decoder: &Decoder, weights: &Weights, tokens: &Tensor) -> Result<(), Error> {
        let outcome = decoder.outcome(weights, tokens)?;
        let loss = outcome.losses.f_detach().and_then(|losses| losses.f_mean(Kind::Float));
        self.loss = loss.and_then(|loss| loss.f_double_value(&[])).map_err(pol_model::Error::from)?;
        weights.gradient(&outcome.objective, &mut self.gradient)?;
        Ok(())
    }
}

/// The tokens of one micro-batch, int64 `[micro_batch, sequence + 1]`.
fn batch(job: &Job<'_>, order: &[u32], step: u16, micro: u16) -> Result<Tensor, Error> {
    let Job { recipe, lease, data, .. } = *job;
    let rows = micro_batch(recipe, lease.tier, step, micro, data.sequences());
    let sequences = rows.filter_map(|position| data.sequence(*order.get(position as usize)?));
    let length = i64::from(recipe.sequence) + 1;
    tokens(sequences, length)
}

/// Sequences of `length` tokens each as one int64 tensor `[sequences, length]`.
pub(crate) fn tokens<'a>(sequences: impl Iterator<Item = &'a [u32]>, length: i64) -> Result<Tensor, Error> {
    let tokens: Vec<i64> = sequences.flatten().copied().map(i64::from).collect();
    let tensor = Tensor::f_from_slice(&tokens).and_then(|flat| flat.f_view([-1, length]));
    Ok(tensor.map_err(pol_model::Error::from)?)
}
