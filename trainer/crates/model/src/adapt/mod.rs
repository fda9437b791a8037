// SPDX-License-Identifier: Apache-2.0

//! Creates models of other sizes from trained ones.
//!
//! [`adapt`] fills the parameters of a target from those of a source of the same family. **Growing
//! keeps the function**: logits before and after differ by rounding only. New parts are connected
//! so that they have no effect at first but learn from the first step (after Chen et al. 2016,
//! "Net2Net"):
//!
//! - *Layers*: new blocks are copies of the last block, with zeros as their two output projections
//!   and their gate. Where norms are behind sublayers, their weights are the zeros.
//! - *Feed-forward*: new neurons start as in a new model; their outgoing weights are zero.
//! - *Heads*: new heads start as in a new model; their outgoing weights are zero. The number of
//!   heads that share keys and values stays.
//! - *Width, to a multiple `k`*: every channel is repeated `k` times. Its incoming weights are
//!   copied, its outgoing weights are split into `k` unequal parts, and the final norm is divided
//!   by `k`.
//! - *Width, otherwise*: new channels are zero with RMSNorm and hold the mean of the others with
//!   LayerNorm. Their outgoing weights start as in a new model. Norms are scaled by `√(d/D)` and
//!   epsilon by `d/D`.
//! - *Vocabulary, context*: new rows start as in a new model. Logits of the old tokens stay.
//! - *Biases, untied head, mind*: biases are zero, the head is a copy of the embedding, and the
//!   gates of the mind are closed.
//!
//! Repeated channels keep mean and variance. Zero channels would change the mean of a LayerNorm, so
//! new channels hold the mean of the others instead. They do so from the embedding to the last
//! block, because the stream is a sum. The variance becomes `d/D` of what it was, and the norm maps
//! the new channels to zero. The scaled epsilon is rounded to a billionth.
//!
//! Outgoing weights of repeated channels are split unequally, by initial values that sum to zero.
//! Equal parts would have equal gradients forever.
//!
//! **Shrinking keeps the strongest parts** and not the function: blocks evenly spaced from the
//! first to the last; neurons and heads of each block with the largest product of squared incoming
//! and outgoing weights; channels with the largest sum of squares of the weights that write to
//! them; the first tokens and positions. The order is kept.

mod axes;
mod compatibility;
mod difference;
mod fill;
mod report;
mod selection;
#[cfg(test)]
mod tests;

pub use compatibility::adapted_norm;
pub use difference::{LogitDifference, logit_difference};
pub use report::{AdaptReport, SizeChange};

use crate::{Layout, RewritePlan, initial_parameters};
use axes::AxisRules;
use pol_primitives::{
    Hash,
    model::{InvalidSpec, ModelSpec},
    rewrite::{InvalidRewrite, Rewrite},
};
use selection::{KeptUnits, Source, source_block};

/// Parameters of an adapted model and a report.
#[derive(Clone, Debug)]
pub struct AdaptedModel {
    /// Parameters of the target in canonical order.
    pub parameters: Vec<f32>,
    /// Sizes that changed and values that were kept.
    pub report: AdaptReport,
}

/// Error of adapting a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdaptError {
    /// A specification is invalid.
    #[error("the specification is invalid: {0}")]
    Spec(InvalidSpec),
    /// The parameters do not belong to the source.
    #[error("the source has {expected} parameters, got {found}")]
    Length {
        /// Number of parameters of the source.
        expected: usize,
        /// Number of parameters given.
        found: usize,
    },
    /// The models differ in more than sizes.
    #[error(
        "the models differ in {0}, which adapting cannot change; \
         choose a target of the source's kind"
    )]
    Kind(&'static str),
    /// The target's epsilon would change the function.
    #[error("the target's norm needs an epsilon of {expected} billionths, not {found}")]
    Epsilon {
        /// Epsilon that keeps the function, in billionths.
        expected: u32,
        /// Epsilon of the target, in billionths.
        found: u32,
    },
    /// A rewrite does not apply to the model.
    #[error("the rewrite {rewrite:?} does not fit: {invalid}")]
    Rewrite {
        /// The rewrite.
        rewrite: Rewrite,
        /// Reason.
        invalid: InvalidRewrite,
    },
}

impl From<InvalidSpec> for AdaptError {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Spec(invalid)
    }
}

/// Creates the parameters of `target` from the `parameters` of `source`, by the rules of this
/// [module](self). Initial values are drawn with `seed`. The result is the same on every machine.
///
/// # Errors
///
/// Fails if a specification is invalid, if `parameters` do not belong to `source`, or if the models
/// differ in more than sizes.
pub fn adapt(
    source: &ModelSpec,
    parameters: &[f32],
    target: &ModelSpec,
    seed: &Hash,
) -> Result<AdaptedModel, AdaptError> {
    let (source_layout, target_layout) = (Layout::new(source)?, Layout::new(target)?);
    if parameters.len() != source_layout.len() {
        return Err(AdaptError::Length { expected: source_layout.len(), found: parameters.len() });
    }
    compatibility::check(source, target)?;
    let tensors = Source::new(&source_layout, parameters);
    let channels = tensors.kept_channels(source, target);
    let mut adapted = initial_parameters(target, seed);
    let mut report = AdaptReport::new(source, target);
    // Kept units of the source block that the current block is made of.
    let mut units: Option<(u16, KeptUnits)> = None;
    for slot in target_layout.tensors() {
        let (part, block) = match slot.block_part() {
            Some((index, part)) => (part, Some(source_block(index, source.layers, target.layers))),
            None => (slot.parameter.name.as_str(), None),
        };
        let values = &mut adapted[slot.range()];
        if block.is_some_and(|(_, is_silent)| is_silent) && is_silenced(target, part) {
            values.fill(0.0);
            report.zero += values.len() as u64;
            continue;
        }
        if let Some((index, _)) = block
            && units.as_ref().is_none_or(|(of, _)| *of != index)
        {
            units = Some((index, tensors.kept_units(index, source, target)));
        }
        let name = match block {
            Some((index, _)) => format!("h.{index}.{part}"),
            None if part == "lm_head.weight" && source.tied => "wte.weight".to_owned(),
            None => part.to_owned(),
        };
        let Some(old) = tensors.slot(&name) else {
            report.added.push(slot.parameter.name.clone());
            report.fresh += values.len() as u64;
            continue;
        };
        let rules = AxisRules {
            source,
            target,
            channels: &channels,
            units: units.as_ref().map(|(_, units)| units),
        };
        fill::fill(values, slot, &parameters[old.range()], old, &rules.axes(part), &mut report);
    }
    Ok(AdaptedModel { parameters: adapted, report })
}

/// Returns `true` for the tensors of a silent block that are zero, so that it adds nothing to the
/// residual stream.
fn is_silenced(spec: &ModelSpec, part: &str) -> bool {
    // A norm would divide by the size of zeros, so it is the norm that is silent.
    if spec.norms.is_behind() {
        return part.starts_with("ln_1_behind.")
            || part.starts_with("ln_2_behind.")
            || part == "mind.gate";
    }
    matches!(
        part,
        "attn.c_proj.weight"
            | "attn.c_proj.bias"
            | "mlp.c_proj.weight"
            | "mlp.c_proj.bias"
            | "mind.gate"
    )
}

/// Applies `rewrites` one after the other to the model of `spec` with `parameters`. Returns the new
/// specification and parameters.
///
/// # Errors
///
/// Fails if `parameters` do not belong to `spec` or a rewrite does not apply.
pub fn apply_rewrites(
    spec: &ModelSpec,
    parameters: Vec<f32>,
    rewrites: &[Rewrite],
) -> Result<(ModelSpec, Vec<f32>), AdaptError> {
    rewrites.iter().try_fold((*spec, parameters), |(spec, parameters), rewrite| {
        let refused = |invalid| AdaptError::Rewrite { rewrite: *rewrite, invalid };
        let plan = RewritePlan::new(&spec, rewrite).map_err(refused)?;
        let wrong_length =
            |_| AdaptError::Length { expected: spec.size() as usize, found: parameters.len() };
        Ok((*plan.spec(), plan.rewrite_parameters(&parameters).map_err(wrong_length)?))
    })
}
