// SPDX-License-Identifier: Apache-2.0

//! Gradients on kernels: all threads share a batch, and every bit is the network's.

use super::{Batch, BatchGradient, PIECE, Settings};
use crate::{EngineError, check_len};
use pol_primitives::model::ModelSpec;
use pol_step::{Plan, Step};
use rayon::prelude::*;

/// Gradients on kernels, by the threads of the pool that a call comes from.
pub(crate) struct OnKernels {
    spec: ModelSpec,
    with_auxiliary: bool,
    /// Memory of the last batch, for others of its shape.
    step: Option<(Shape, Step)>,
    tokens: Vec<u32>,
    gradient: Vec<f32>,
}

/// Number of sequences, and of tokens that each predicts.
type Shape = [u32; 2];

impl OnKernels {
    pub(crate) fn new(spec: &ModelSpec, settings: Settings) -> Result<Self, EngineError> {
        Ok(Self {
            gradient: vec![0.0; Plan::new(spec)?.len()],
            with_auxiliary: settings.with_auxiliary,
            spec: *spec,
            step: None,
            tokens: Vec::new(),
        })
    }

    pub(crate) fn for_each(
        &mut self,
        parameters: &[f32],
        batches: &[Batch<'_>],
        mut visit: impl FnMut(BatchGradient<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        check_len(self.gradient.len(), parameters.len())?;
        for Batch { sequences, terms } in batches {
            let length = sequences.first().map_or(0, |first| first.len().saturating_sub(1));
            let shape = [sequences.len() as u32, length as u32];
            let step = step_of(&mut self.step, &self.spec, shape)?;
            self.tokens.clear();
            sequences.iter().for_each(|sequence| self.tokens.extend_from_slice(sequence));
            let loss = if self.with_auxiliary {
                step.gradient(parameters, &self.tokens, &mut self.gradient)
            } else {
                step.loss_gradient(parameters, &self.tokens, &mut self.gradient)
            };
            let mut loss = f64::from(loss?);
            if *terms != 1 {
                loss *= f64::from(*terms);
                let factor = f32::from(*terms);
                self.gradient.par_chunks_mut(PIECE).for_each(|values| {
                    values.iter_mut().for_each(|value| *value *= factor);
                });
            }
            visit(BatchGradient { loss, gradient: &mut self.gradient })?;
        }
        Ok(())
    }
}

/// Returns the memory of batches of a shape, in the place of that of another shape.
fn step_of<'a>(
    kept: &'a mut Option<(Shape, Step)>,
    spec: &ModelSpec,
    shape: Shape,
) -> Result<&'a mut Step, EngineError> {
    if kept.as_ref().is_none_or(|(of, _)| *of != shape) {
        // The old memory goes before the new one is there.
        *kept = None;
    }
    match kept {
        Some((_, step)) => Ok(step),
        None => {
            let [sequences, length] = shape;
            let step = Step::new(spec, sequences, length)?;
            Ok(&mut kept.insert((shape, step)).1)
        }
    }
}
