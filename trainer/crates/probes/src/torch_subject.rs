// SPDX-License-Identifier: Apache-2.0

//! Observation of models on libtorch, for those that kernels have no extents for.

use crate::{TokenPredictions, observations::BatchObservations};
use pol_model::{
    Decoder, Error, ExpertUtilisation, Layout, Weights,
    mind::{coherence, needs_second_pass},
};
use pol_primitives::model::ModelSpec;
use tch::{Kind, Tensor};

/// Model under measurement.
pub(crate) struct TorchSubject {
    decoder: Decoder,
    weights: Weights,
    /// The same model with the gate of its second pass closed.
    closed: Option<Weights>,
}

impl TorchSubject {
    pub(crate) fn new(spec: &ModelSpec, parameters: &[f32]) -> Result<Self, Error> {
        // The number of threads changes bits.
        tch::set_num_threads(1);
        let (decoder, layout) = (Decoder::new(spec)?, Layout::new(spec)?);
        let weights = Weights::new(&layout, parameters)?;
        let closed = if spec.mind.second_pass > 0 {
            let mut closed = parameters.to_vec();
            // The gate is the last parameter.
            closed.iter_mut().next_back().into_iter().for_each(|gate| *gate = 0.0);
            Some(Weights::new(&layout, &closed)?)
        } else {
            None
        };
        Ok(Self { decoder, weights, closed })
    }

    /// Observes a batch of sequences of equal length.
    pub(crate) fn observe(&self, sequences: &[&[u32]]) -> Result<BatchObservations, Error> {
        let _no_grad = tch::no_grad_guard();
        let batch = sequences.len();
        let rows: Vec<i64> = sequences.concat().into_iter().map(i64::from).collect();
        let tokens = Tensor::f_from_slice(&rows)?.f_view([batch as i64, -1])?;
        let inputs = tokens.f_narrow(1, 0, tokens.size2()?.1 - 1)?;
        let targets = tokens.f_narrow(1, 1, tokens.size2()?.1 - 1)?.f_reshape([-1])?;
        let (predictions, expected) = self.predict(&self.weights, &inputs, &targets)?;
        let mut seen = BatchObservations { predictions, ..BatchObservations::default() };
        if let Some(expected) = expected {
            seen.predicted_losses = Vec::try_from(expected.f_to_kind(Kind::Double)?)?;
        }
        if let Some(closed) = &self.closed
            && let (first, Some(expected)) = self.predict(closed, &inputs, &targets)?
        {
            let chosen = needs_second_pass(&expected.f_view([batch as i64, -1])?, None)?;
            seen.chosen = Vec::try_from(chosen.f_reshape([-1])?)?;
            seen.first_losses = first.losses;
        }
        for amplitudes in self.decoder.amplitudes(&self.weights, &inputs)? {
            let branches = usize::try_from(amplitudes.size2()?.1 / 2).unwrap_or(0);
            let amplitudes = Vec::<f32>::try_from(amplitudes.f_reshape([-1])?)?;
            seen.coherences.push(coherence(&amplitudes, branches));
        }
        if let Some(mut used) = ExpertUtilisation::new(self.decoder.spec(), 1) {
            let output = self.decoder.forward_loss(&self.weights, &tokens)?;
            used.observe(&output.routing, &vec![0; batch])?;
            seen.loads = (0..used.blocks()).map(|block| used.loads(None, block)).collect();
        }
        Ok(seen)
    }

    /// Predicts `targets`. Returns the predictions and, with introspection, the predicted losses.
    fn predict(
        &self,
        weights: &Weights,
        inputs: &Tensor,
        targets: &Tensor,
    ) -> Result<(TokenPredictions, Option<Tensor>), Error> {
        let width = i64::from(self.decoder.spec().width);
        let hidden = self.decoder.hidden_states(weights, inputs, None)?.f_view([-1, width])?;
        let logits = self.decoder.lm_head(weights, &hidden)?;
        Ok((TokenPredictions::new(&logits, targets)?, self.decoder.introspect(weights, &hidden)?))
    }
}
