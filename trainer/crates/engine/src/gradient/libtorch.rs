// SPDX-License-Identifier: Apache-2.0

//! Gradients on libtorch: threads take a batch each.

use super::{Batch, BatchGradient, Settings};
use crate::{EngineError, check_len};
use pol_model::{Decoder, Layout, LossOutput, Weights};
use pol_primitives::model::ModelSpec;
use std::thread;
use tch::{Device, Kind, Tensor};

/// Gradients on libtorch.
pub(crate) struct OnLibtorch {
    layout: Layout,
    decoder: Decoder,
    device: Device,
    settings: Settings,
    weights: Option<Weights>,
    workers: Vec<Worker>,
}

/// Buffers in which one thread leaves gradient and loss of a batch.
struct Worker {
    gradient: Vec<f32>,
    loss: f64,
}

impl OnLibtorch {
    pub(crate) fn new(
        spec: &ModelSpec,
        device: Device,
        settings: Settings,
    ) -> Result<Self, EngineError> {
        let layout = Layout::new(spec)?;
        let worker = || Worker { gradient: vec![0.0; layout.len()], loss: 0.0 };
        Ok(Self {
            decoder: Decoder::new(spec)?.with_fused_attention(settings.fused_attention),
            workers: (0..settings.workers.max(1)).map(|_| worker()).collect(),
            weights: None,
            layout,
            device,
            settings,
        })
    }

    /// Returns the number of threads that compute.
    pub(crate) fn threads(&self) -> usize {
        self.workers.len().max(self.settings.threads.unwrap_or(1))
    }

    pub(crate) fn for_each(
        &mut self,
        parameters: &[f32],
        batches: &[Batch<'_>],
        mut visit: impl FnMut(BatchGradient<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        check_len(self.layout.len(), parameters.len())?;
        if let Some(threads) = self.settings.threads {
            // Other computations in the same process set the number of threads too.
            tch::set_num_threads(threads as i32);
        }
        match &mut self.weights {
            Some(weights) => weights.refresh(parameters)?,
            none => *none = Some(Weights::on_device(&self.layout, parameters, self.device)?),
        }
        for wave in batches.chunks(self.workers.len()) {
            self.compute(wave)?;
            for Worker { gradient, loss } in &mut self.workers[..wave.len()] {
                visit(BatchGradient { loss: *loss, gradient })?;
            }
        }
        Ok(())
    }

    /// Computes each batch of `wave` on one of the first workers, in parallel.
    fn compute(&mut self, wave: &[Batch<'_>]) -> Result<(), EngineError> {
        let Self { decoder, weights, device, settings, workers, .. } = self;
        let (decoder, with_auxiliary) = (&*decoder, settings.with_auxiliary);
        thread::scope(|scope| {
            let mut tasks = Vec::with_capacity(wave.len());
            for (worker, batch) in workers.iter_mut().zip(wave) {
                let Some(weights) = &*weights else { continue };
                let weights = weights.share(true)?;
                let length = batch.sequences.first().map_or(0, |first| first.len()) as i64;
                let tokens = tokens(batch.sequences.iter().copied(), length)?;
                let tokens = tokens.f_to(*device).map_err(pol_model::Error::from)?;
                let terms = batch.terms;
                tasks.push(move || {
                    worker.compute(decoder, &weights, &tokens, terms, with_auxiliary)
                });
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
        })
    }
}

impl Worker {
    /// Computes `terms` times the gradient and the loss of `tokens`.
    fn compute(
        &mut self,
        decoder: &Decoder,
        weights: &Weights,
        tokens: &Tensor,
        terms: u16,
        with_auxiliary: bool,
    ) -> Result<(), EngineError> {
        let LossOutput { losses, objective, .. } = decoder.forward_loss(weights, tokens)?;
        let mean = losses.f_mean(Kind::Float).map_err(pol_model::Error::from)?;
        let loss = mean.f_detach().and_then(|mean| mean.f_double_value(&[]));
        let loss = loss.map_err(pol_model::Error::from)?;
        let objective = if with_auxiliary { objective } else { mean };
        self.loss = loss * f64::from(terms);
        let objective = match terms {
            1 => objective,
            _ => objective.f_mul_scalar(i64::from(terms)).map_err(pol_model::Error::from)?,
        };
        Ok(weights.gradient(&objective, &mut self.gradient)?)
    }
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
