// SPDX-License-Identifier: Apache-2.0

//! The head that predicts the loss of each token. It reads final hidden states and never changes
//! what a model computes.

use crate::{Error, layers::Run, plan::Linear};
use pol_numerics::{Broadcast, Function, Summand};

/// Weight of the head's squared error in the training objective, that of `pol-model`.
const WEIGHT: f64 = 0.01;

/// Predictions of a micro-batch, one for each token.
#[derive(Default)]
pub(crate) struct Introspection {
    pub(crate) predicted: Vec<f32>,
    /// Predicted less actual losses, and their gradient.
    differences: Vec<f32>,
    gradient: Vec<f32>,
    /// Weighted half of the mean square of differences.
    pub(crate) loss: f32,
}

impl Introspection {
    pub(crate) fn new(tokens: usize) -> Self {
        let values = || vec![0.0; tokens];
        Self { predicted: values(), differences: values(), gradient: values(), loss: 0.0 }
    }

    pub(crate) fn tensors(&self) -> [&[f32]; 3] {
        [&self.predicted, &self.differences, &self.gradient]
    }
}

impl Run<'_> {
    /// Predicts the loss of each token from its final hidden state, compares it with the actual
    /// one, and computes the gradient of the head's parameters, if `gradient` is there.
    pub(crate) fn introspection(
        &mut self,
        head: &Linear,
        [hidden, losses]: [&[f32]; 2],
        memory: &mut Introspection,
        gradient: Option<&mut [f32]>,
    ) -> Result<(), Error> {
        let (kernels, tokens) = (self.kernels, self.tokens());
        let Introspection { predicted, differences, gradient: of_predicted, loss } = memory;
        self.linear(head, hidden, None, predicted)?;
        let operands = [(Broadcast::Each, &predicted[..]), (Broadcast::Each, losses)];
        self.element(Function::Subtract, 1, operands, differences)?;
        let mut squares = [0.0];
        kernels.row_sums([1, tokens], Summand::Squares, differences, None, &mut squares)?;
        *loss = squares[0] / tokens as f32 * (WEIGHT / 2.0) as f32;
        let Some(gradient) = gradient else { return Ok(()) };
        if !self.has_auxiliary {
            // Only the head's own loss depends on it.
            for range in [Some(&head.weight), head.bias.as_ref()].into_iter().flatten() {
                gradient[range.clone()].fill(0.0);
            }
            return Ok(());
        }
        let factor = [(WEIGHT / f64::from(tokens)) as f32];
        let operands = [(Broadcast::Each, &differences[..]), (Broadcast::One, &factor)];
        self.element(Function::Multiply, 1, operands, of_predicted)?;
        self.parameter_gradient(head, [hidden, of_predicted], gradient)
    }
}

#[cfg(test)]
mod tests;
