// SPDX-License-Identifier: Apache-2.0

//! Rules by which the dimensions of each tensor are filled.

use super::{
    compatibility::is_padded,
    selection::{KeptUnits, SourceIndices, first},
};
use pol_primitives::model::{ModelSpec, Norm, QueryKeyNorm};

/// Value of a new index.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NewValue {
    /// Initial value of a new model.
    Initial,
    /// Zero.
    Zero,
    /// Mean of the row in the source; along columns only.
    RowMean,
}

/// Filling of one dimension of a tensor.
pub(super) struct Axis {
    pub(super) from: SourceIndices,
    /// Value of indices without a source.
    pub(super) new: NewValue,
    /// Factor of values from the source.
    pub(super) scale: f32,
    /// Number of copies of each source index among which its value is split.
    pub(super) split: usize,
}

impl Axis {
    pub(super) fn new(from: SourceIndices, new: NewValue) -> Self {
        Self { from, new, scale: 1.0, split: 1 }
    }

    fn scaled(self, scale: f32) -> Self {
        Self { scale, ..self }
    }
}

/// Inputs of the rules.
pub(super) struct AxisRules<'a> {
    pub(super) source: &'a ModelSpec,
    pub(super) target: &'a ModelSpec,
    pub(super) channels: &'a [Option<usize>],
    pub(super) units: Option<&'a KeptUnits>,
}

impl AxisRules<'_> {
    /// Returns the axes of the tensor named `part` in its block or, outside the blocks, in the
    /// model. The list has the innermost axes of a tensor with more dimensions.
    pub(super) fn axes(&self, part: &str) -> Vec<Axis> {
        let copies = (self.target.width / self.source.width).max(1) as usize;
        let is_repeated = self.target.width.is_multiple_of(self.source.width) && copies > 1;
        let is_padded = is_padded(self.source, self.target);
        let channels = |new| Axis::new(self.channels.to_vec(), new);
        // Channels that a tensor writes, and channels that it reads.
        let written = || {
            channels(if matches!(self.source.norm, Norm::Layer { .. }) {
                NewValue::RowMean
            } else {
                NewValue::Zero
            })
        };
        let read = || {
            let split = if is_repeated { copies } else { 1 };
            Axis { split, ..channels(NewValue::Initial) }
        };
        // Padding lowers the variance of the stream. A norm's bias is added after the division.
        let narrowed = if is_padded {
            (f64::from(self.source.width) / f64::from(self.target.width)).sqrt() as f32
        } else {
            1.0
        };
        // Epsilon falls with the variance of the stream, so that of normed queries and keys has to
        // fall too. Values become smaller with them, and the output makes up for it.
        let projected = if self.source.query_key_norm.is_some() { narrowed } else { 1.0 };
        // The head, which reads the final norm, is not split.
        let last = if is_repeated { 1.0 / copies as f32 } else { 1.0 };
        let norm = |scale: f32| vec![channels(NewValue::Initial).scaled(scale)];
        let sizes =
            |from: u32, to: u32| Axis::new(first(from as usize, to as usize), NewValue::Initial);
        let vocabulary = || sizes(self.source.vocabulary, self.target.vocabulary);
        let neurons =
            |new| Axis::new(self.units.map(|units| units.neurons.clone()).unwrap_or_default(), new);
        let experts = || sizes(64, self.target.experts.map_or(0, |experts| experts.count.into()));
        let is_whole = self.source.query_key_norm == Some(QueryKeyNorm::Whole);
        match part {
            "wte.weight" => vec![vocabulary(), written()],
            "lm_head.weight" => vec![vocabulary(), channels(NewValue::Initial)],
            "lm_head.bias" => vec![vocabulary()],
            "wpe.weight" => vec![sizes(self.source.context, self.target.context), written()],
            "ln_1.weight" | "ln_2.weight" | "ln_1_behind.weight" | "ln_2_behind.weight" => {
                norm(narrowed)
            }
            "ln_1.bias" | "ln_2.bias" | "ln_1_behind.bias" | "ln_2_behind.bias" => norm(1.0),
            "ln_f.weight" => norm(narrowed * last),
            "ln_f.bias" => norm(last),
            "attn.c_attn.weight" => {
                let columns = Axis::new(self.query_key_value(), NewValue::Initial);
                vec![read(), columns.scaled(projected)]
            }
            "attn.c_attn.bias" => {
                let values = Axis::new(self.query_key_value(), NewValue::Initial);
                vec![values.scaled(projected)]
            }
            "attn.q_norm.weight" | "attn.q_norm.bias" if is_whole => {
                vec![Axis::new(self.queries(), NewValue::Initial)]
            }
            "attn.k_norm.weight" | "attn.k_norm.bias" if is_whole => {
                vec![Axis::new(self.head_values(1, 0).collect(), NewValue::Initial)]
            }
            "attn.c_proj.weight" => {
                let rows = Axis::new(self.queries(), NewValue::Zero);
                vec![rows.scaled(1.0 / projected), written()]
            }
            "mlp.c_gate.weight" | "mlp.c_fc.weight" => vec![read(), neurons(NewValue::Initial)],
            "mlp.c_gate.bias" | "mlp.c_fc.bias" => vec![neurons(NewValue::Initial)],
            "mlp.c_proj.weight" => vec![neurons(NewValue::Zero), written()],
            "attn.c_proj.bias" | "mlp.c_proj.bias" => vec![written()],
            "mind.introspection.weight" => vec![channels(NewValue::Zero)],
            "mlp.router.weight" => vec![read(), experts()],
            // Norms of each head and tensors of the mind, whose sizes do not change.
            _ => Vec::new(),
        }
    }

    /// Returns the source indices of `heads` heads per kept group, which start at `start`.
    fn head_values(&self, heads: usize, start: usize) -> impl Iterator<Item = Option<usize>> + '_ {
        let size = heads * usize::from(self.source.head_size);
        let groups = self.units.map(|units| units.head_groups.as_slice()).unwrap_or_default();
        groups.iter().flat_map(move |group| {
            (0..size).map(move |index| group.map(|group| start + group * size + index))
        })
    }

    fn queries(&self) -> SourceIndices {
        self.head_values(usize::from(self.source.heads / self.source.key_value_heads), 0).collect()
    }

    fn query_key_value(&self) -> SourceIndices {
        let (keys, values) =
            (self.source.attention_width() as usize, self.source.key_value_width() as usize);
        let queries = self.queries().into_iter();
        queries.chain(self.head_values(1, keys)).chain(self.head_values(1, keys + values)).collect()
    }
}
