// SPDX-License-Identifier: Apache-2.0

//! A feed-forward layer of some rows, forward and backward: all tokens, or those of an expert.

use crate::{Error, layers::Run, plan::FeedForward};
use pol_kernels::Gated;
use std::ops::Range;

/// Values of rows inside a layer: inputs of the activation in a gated layer, those on its other
/// side or without a gate, and inputs of the last projection.
#[derive(Default)]
pub(crate) struct Inner<T> {
    pub(crate) gate: T,
    pub(crate) up: T,
    pub(crate) hidden: T,
}

/// Gradients inside a layer: of the inputs of the activation, and in a gated layer of the other
/// side.
#[derive(Default)]
pub(crate) struct InnerGradient<T> {
    pub(crate) hidden: T,
    pub(crate) up: T,
}

impl Inner<Vec<f32>> {
    pub(crate) fn all(&self) -> Inner<&[f32]> {
        Inner { gate: &self.gate, up: &self.up, hidden: &self.hidden }
    }

    pub(crate) fn all_mut(&mut self) -> Inner<&mut [f32]> {
        Inner { gate: &mut self.gate, up: &mut self.up, hidden: &mut self.hidden }
    }

    /// Returns the values of some rows of `width` values.
    pub(crate) fn rows(&self, rows: &Range<usize>, width: u32) -> Inner<&[f32]> {
        let part = |values| part(values, rows, width);
        Inner { gate: part(&self.gate), up: part(&self.up), hidden: part(&self.hidden) }
    }

    pub(crate) fn rows_mut(&mut self, rows: &Range<usize>, width: u32) -> Inner<&mut [f32]> {
        let Self { gate, up, hidden } = self;
        let [gate, up, hidden] = [gate, up, hidden].map(|values| part_mut(values, rows, width));
        Inner { gate, up, hidden }
    }
}

impl InnerGradient<Vec<f32>> {
    pub(crate) fn all(&self) -> InnerGradient<&[f32]> {
        InnerGradient { hidden: &self.hidden, up: &self.up }
    }

    pub(crate) fn all_mut(&mut self) -> InnerGradient<&mut [f32]> {
        InnerGradient { hidden: &mut self.hidden, up: &mut self.up }
    }

    /// Returns the values of some rows of `width` values.
    pub(crate) fn rows(&self, rows: &Range<usize>, width: u32) -> InnerGradient<&[f32]> {
        let part = |values| part(values, rows, width);
        InnerGradient { hidden: part(&self.hidden), up: part(&self.up) }
    }

    pub(crate) fn rows_mut(
        &mut self,
        rows: &Range<usize>,
        width: u32,
    ) -> InnerGradient<&mut [f32]> {
        let Self { hidden, up } = self;
        let [hidden, up] = [hidden, up].map(|values| part_mut(values, rows, width));
        InnerGradient { hidden, up }
    }
}

fn part<'a>(values: &'a [f32], rows: &Range<usize>, width: u32) -> &'a [f32] {
    // Layers without a gate have no such values.
    values.get(rows.start * width as usize..rows.end * width as usize).unwrap_or_default()
}

fn part_mut<'a>(values: &'a mut [f32], rows: &Range<usize>, width: u32) -> &'a mut [f32] {
    values.get_mut(rows.start * width as usize..rows.end * width as usize).unwrap_or_default()
}

impl Run<'_> {
    /// Computes `addend` plus the layer's outputs for the rows of `x`.
    pub(crate) fn feed_forward(
        &mut self,
        layer: &FeedForward,
        x: &[f32],
        inner: Inner<&mut [f32]>,
        addend: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let Inner { gate, up, hidden } = inner;
        self.linear(&layer.up, x, None, up)?;
        let activation = self.plan.activation();
        match &layer.gate {
            Some(linear) => {
                self.linear(linear, x, None, gate)?;
                self.kernels.activate(activation, gate, Some(up), hidden)?;
            }
            None => self.kernels.activate(activation, up, None, hidden)?,
        }
        self.linear(&layer.down, hidden, addend, out)
    }

    /// Computes gradients inside the layer, whose outputs have the gradient `dy`.
    pub(crate) fn inner_gradient(
        &mut self,
        layer: &FeedForward,
        inner: Inner<&[f32]>,
        dy: &[f32],
        gradient: &mut [f32],
        out: InnerGradient<&mut [f32]>,
    ) -> Result<(), Error> {
        let Inner { gate, up, hidden } = inner;
        self.linear_gradient(&layer.down, [hidden, dy], gradient, None, out.hidden)?;
        let (kernels, activation) = (self.kernels, self.plan.activation());
        let (x, gated) = match &layer.gate {
            Some(_) => (gate, Some(Gated { up, gradient: out.up })),
            None => (up, None),
        };
        Ok(kernels.activation_gradient(activation, x, gated, out.hidden)?)
    }

    /// Computes the gradient of the layer's inputs `x` from those inside. `part` is of their shape.
    pub(crate) fn input_gradient(
        &mut self,
        layer: &FeedForward,
        x: &[f32],
        inner: InnerGradient<&[f32]>,
        gradient: &mut [f32],
        part: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let InnerGradient { hidden, up } = inner;
        match &layer.gate {
            Some(linear) => {
                self.linear_gradient(&layer.up, [x, up], gradient, None, part)?;
                self.linear_gradient(linear, [x, hidden], gradient, Some(part), out)
            }
            None => self.linear_gradient(&layer.up, [x, hidden], gradient, None, out),
        }
    }
}
