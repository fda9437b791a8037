// SPDX-License-Identifier: Apache-2.0

use crate::{Decoder, Error, Layout, Weights};
use pol_primitives::model::ModelSpec;
use serde::Serialize;
use tch::Tensor;

/// Difference between the logits of two models.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogitDifference {
    /// Largest absolute difference.
    pub largest: f64,
    /// Largest absolute logit of the first model.
    pub scale: f64,
}

/// Measures the difference between the logits of two models after each of `tokens`. Each model is a
/// specification and its parameters.
///
/// Only as many tokens as both contexts allow are used, and only the part of the vocabulary that
/// both models have.
///
/// # Errors
///
/// Fails if a specification is invalid, if parameters belong to another model, or if none of
/// `tokens` is in both vocabularies.
pub fn logit_difference(
    models: [(&ModelSpec, &[f32]); 2],
    tokens: &[u32],
) -> Result<LogitDifference, Error> {
    let _no_grad = tch::no_grad_guard();
    let smaller =
        |size: fn(&ModelSpec) -> u32| models.iter().map(|(spec, _)| size(spec)).min().unwrap_or(0);
    let (context, vocabulary) = (smaller(|spec| spec.context), smaller(|spec| spec.vocabulary));
    let shared = tokens.iter().filter(|&&token| token < vocabulary).take(context as usize);
    let shared: Vec<i64> = shared.copied().map(i64::from).collect();
    let shared = Tensor::f_from_slice(&shared)?.f_unsqueeze(0)?;
    let [before, after] = models.map(|(spec, parameters)| {
        let weights = Weights::new(&Layout::new(spec)?, parameters)?;
        let logits = Decoder::new(spec)?.logits(&weights, &shared)?;
        Ok::<_, Error>(logits.f_narrow(1, 0, vocabulary.into())?)
    });
    let before = before?;
    let largest = |logits: Tensor| -> Result<f64, Error> {
        Ok(logits.f_abs()?.f_max()?.f_double_value(&[])?)
    };
    Ok(LogitDifference { largest: largest(before.f_sub(&after?)?)?, scale: largest(before)? })
}
