// SPDX-License-Identifier: Apache-2.0

//! Application of a [`Rewrite`] to the vectors of a model, and proposals of rewrites.

mod expert_names;
mod propose;
#[cfg(test)]
mod tests;

pub use expert_names::expert_names;
pub use propose::{
    MIN_PLATEAU_LOSSES, RewriteProposal, RewriteReason, propose_rewrites, relative_loss_drop,
};

use crate::{Error, Layout, TensorSlot, init::init_parameter};
use pol_primitives::{
    Hash,
    model::ModelSpec,
    rewrite::{InvalidRewrite, Rewrite},
};
use std::collections::HashMap;

/// Distance of a new expert's choice bias below the lowest bias. The squashed scores that biases
/// are added to lie between −1 and 1, so the new expert is never chosen at first.
const DORMANT_OFFSET: f32 = 2.0;

/// A rewrite of a model, ready to be applied to its vectors. The results have the same bits on
/// every machine.
#[derive(Clone, Debug)]
pub struct RewritePlan {
    rewrite: Rewrite,
    spec: ModelSpec,
    key: Hash,
    before: Layout,
    after: Layout,
}

/// Source index of each index along a dimension; `None` for a new index.
type SourceIndices = Vec<Option<usize>>;

impl RewritePlan {
    /// Plans `rewrite` for a model of `spec`.
    ///
    /// # Errors
    ///
    /// Fails if `rewrite` does not apply to `spec`.
    pub fn new(spec: &ModelSpec, rewrite: &Rewrite) -> Result<Self, InvalidRewrite> {
        let after = rewrite.apply(spec)?;
        Ok(Self {
            rewrite: *rewrite,
            spec: after,
            key: rewrite.key(spec),
            before: Layout::new(spec)?,
            after: Layout::new(&after)?,
        })
    }

    /// Returns the specification of the rewritten model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Rewrites `parameters`. New values are copies, zeros, or drawn from the rewrite's streams.
    ///
    /// # Errors
    ///
    /// Fails if `parameters` belong to another model.
    pub fn rewrite_parameters(&self, parameters: &[f32]) -> Result<Vec<f32>, Error> {
        self.apply(parameters, true)
    }

    /// Rewrites a vector that accompanies the parameters, such as an Adam moment or the error
    /// feedback. Values are copied where parameters are copied and zero where parameters are new.
    ///
    /// # Errors
    ///
    /// Fails if `vector` belongs to another model.
    pub fn rewrite_state(&self, vector: &[f32]) -> Result<Vec<f32>, Error> {
        self.apply(vector, false)
    }

    fn apply(&self, vector: &[f32], draw_new: bool) -> Result<Vec<f32>, Error> {
        if vector.len() != self.before.len() {
            return Err(Error::Length { expected: self.before.len(), found: vector.len() });
        }
        let sources: HashMap<&str, &TensorSlot> =
            self.before.tensors().iter().map(|slot| (slot.parameter.name.as_str(), slot)).collect();
        let mut rewritten = Vec::with_capacity(self.after.len());
        for slot in self.after.tensors() {
            let source = self.source_name(slot).and_then(|name| sources.get(name.as_str()));
            match source {
                Some(source) => self.rewrite_tensor(slot, source, vector, draw_new, &mut rewritten),
                None => {
                    let new = if draw_new { self.new_values(slot, None) } else { Vec::new() };
                    let value = |index: usize| new.get(index).copied().unwrap_or(0.0);
                    rewritten.extend((0..slot.parameter.len()).map(value));
                }
            }
        }
        Ok(rewritten)
    }

    /// Appends the values of the tensor `slot` to `rewritten`, made of the tensor `source` of
    /// `vector`.
    fn rewrite_tensor(
        &self,
        slot: &TensorSlot,
        source: &TensorSlot,
        vector: &[f32],
        draw_new: bool,
        rewritten: &mut Vec<f32>,
    ) {
        let values = &vector[source.range()];
        let axes = self.axes(slot, source);
        let is_copy = axes.iter().flatten().all(Option::is_some);
        let new =
            if draw_new && !is_copy { self.new_values(slot, Some(values)) } else { Vec::new() };
        let [outer, rows, columns] = axes;
        let [_, height, width] = source.outer_rows_columns();
        let mut index = 0;
        for place in outer.iter().flat_map(|outer| rows.iter().map(move |row| outer.zip(*row))) {
            let row = place.map(|(outer, row)| &values[(outer * height + row) * width..][..width]);
            for column in &columns {
                let copied = row.zip(*column).map(|(row, column)| row[column]);
                rewritten.push(copied.or_else(|| new.get(index).copied()).unwrap_or(0.0));
                index += 1;
            }
        }
    }

    /// Returns the name of the tensor that `slot` is made of; `None` for a tensor of a new block.
    fn source_name(&self, slot: &TensorSlot) -> Option<String> {
        match (self.rewrite, slot.block_part()) {
            (Rewrite::InsertBlock { at }, Some((index, part))) if index >= at => {
                (index > at).then(|| format!("h.{}.{part}", index - 1))
            }
            _ => Some(slot.parameter.name.clone()),
        }
    }

    /// Returns the source indices of the tensor `slot` along outer dimension, rows and columns.
    fn axes(&self, slot: &TensorSlot, source: &TensorSlot) -> [SourceIndices; 3] {
        let mut axes =
            source.outer_rows_columns().map(|size| (0..size).map(Some).collect::<SourceIndices>());
        let part = slot.block_part().map_or("", |(_, part)| part);
        let is_weight = part.ends_with(".weight");
        let (experts, hidden) = match part.rsplit_once('.').map(|(part, _)| part) {
            Some("mlp.router") => (Some(2), None),
            Some("mlp.c_proj") => (Some(usize::from(!is_weight)), is_weight.then_some(1)),
            Some("mlp.c_fc" | "mlp.c_gate") => (Some(usize::from(!is_weight)), Some(2)),
            _ => (None, None),
        };
        if let Some(axis) = experts {
            let axis = &mut axes[axis];
            match self.rewrite {
                Rewrite::Upcycle { experts } => *axis = vec![Some(0); experts.count.into()],
                Rewrite::AddExpert { like } => {
                    axis.push((!part.starts_with("mlp.router")).then_some(like.into()))
                }
                Rewrite::SplitExpert { expert } => {
                    axis.push((part != "mlp.router.bias").then_some(expert.into()))
                }
                Rewrite::PruneExpert { expert } => {
                    axis.remove(expert.into());
                }
                Rewrite::InsertBlock { .. } | Rewrite::Widen { .. } => {}
            }
        }
        if let (Rewrite::Widen { feed_forward }, Some(axis)) = (self.rewrite, hidden) {
            axes[axis].resize(feed_forward as usize, None);
        }
        axes
    }

    /// Returns values for the new places of the tensor `slot`, whose other values are `source`.
    /// An empty list means zeros.
    fn new_values(&self, slot: &TensorSlot, source: Option<&[f32]>) -> Vec<f32> {
        let part = slot.block_part().map_or("", |(_, part)| part);
        match source {
            // Behind a sublayer, a norm of zeros keeps the function.
            None if self.spec.norms.is_behind() && part.ends_with("_behind.weight") => Vec::new(),
            None if self.spec.norms.is_behind() => {
                let mut values = Vec::with_capacity(slot.parameter.len());
                init_parameter(&slot.parameter, &self.key, &mut values);
                values
            }
            // Zero output projections keep the function.
            _ if part.ends_with("c_proj.weight") => Vec::new(),
            Some(biases) if part == "mlp.router.bias" => {
                let lowest = biases.iter().copied().fold(f32::INFINITY, f32::min);
                vec![lowest - DORMANT_OFFSET; slot.parameter.len()]
            }
            _ => {
                let mut values = Vec::with_capacity(slot.parameter.len());
                init_parameter(&slot.parameter, &self.key, &mut values);
                values
            }
        }
    }
}
