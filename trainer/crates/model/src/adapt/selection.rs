// SPDX-License-Identifier: Apache-2.0

//! Selection of the blocks, channels, heads and neurons of the source that the target keeps.

use crate::{Layout, TensorSlot};
use pol_primitives::model::ModelSpec;
use std::collections::HashMap;

/// Source index of each index of the target; `None` for a new index.
pub(super) type SourceIndices = Vec<Option<usize>>;

/// Tensors of the source.
pub(super) struct Source<'a> {
    slots: HashMap<&'a str, &'a TensorSlot>,
    parameters: &'a [f32],
}

/// Heads and neurons of a block that the target keeps.
pub(super) struct KeptUnits {
    /// Groups of heads that share keys and values.
    pub(super) head_groups: SourceIndices,
    pub(super) neurons: SourceIndices,
}

impl<'a> Source<'a> {
    pub(super) fn new(layout: &'a Layout, parameters: &'a [f32]) -> Self {
        let slots =
            layout.tensors().iter().map(|slot| (slot.parameter.name.as_str(), slot)).collect();
        Self { slots, parameters }
    }

    pub(super) fn slot(&self, name: &str) -> Option<&'a TensorSlot> {
        self.slots.get(name).copied()
    }

    /// Returns the sums of squares of each row or each column of a tensor `[outer, rows, columns]`;
    /// `None` if there is no such tensor.
    fn squares(&self, name: &str, by_rows: bool) -> Option<Vec<f64>> {
        let slot = self.slots.get(name)?;
        let [_, rows, columns] = slot.outer_rows_columns();
        let mut sums = vec![0.0; if by_rows { rows } else { columns }];
        for (index, &value) in self.parameters[slot.range()].iter().enumerate() {
            sums[if by_rows { index / columns % rows } else { index % columns }] +=
                f64::from(value).powi(2);
        }
        Some(sums)
    }

    /// Selects the channels of the residual stream.
    pub(super) fn kept_channels(&self, source: &ModelSpec, target: &ModelSpec) -> SourceIndices {
        let (from, to) = (source.width as usize, target.width as usize);
        if to >= from {
            let is_repeated = to.is_multiple_of(from);
            return (0..to)
                .map(|index| (is_repeated || index < from).then_some(index % from))
                .collect();
        }
        let mut strength = vec![0.0; from];
        let blocks = (0..source.layers)
            .flat_map(|i| ["attn", "mlp"].map(|part| format!("h.{i}.{part}.c_proj.weight")));
        for name in ["wte.weight".to_owned(), "wpe.weight".to_owned()].into_iter().chain(blocks) {
            let squares = self.squares(&name, false).unwrap_or_default();
            strength.iter_mut().zip(squares).for_each(|(sum, square)| *sum += square);
        }
        strongest(&strength, to)
    }

    /// Selects the heads and neurons of block `index` of the source.
    pub(super) fn kept_units(
        &self,
        index: u16,
        source: &ModelSpec,
        target: &ModelSpec,
    ) -> KeptUnits {
        let squares = |part: &str, by_rows| {
            self.squares(&format!("h.{index}.{part}"), by_rows).unwrap_or_default()
        };
        let (from, to) = (source.feed_forward as usize, target.feed_forward as usize);
        let neurons = if to >= from {
            first(from, to)
        } else {
            let incoming = squares("mlp.c_fc.weight", false);
            let outgoing = squares("mlp.c_proj.weight", true);
            strongest(&incoming.iter().zip(outgoing).map(|(a, b)| a * b).collect::<Vec<_>>(), to)
        };
        let (from, to) = (usize::from(source.key_value_heads), usize::from(target.key_value_heads));
        let head_groups = if to >= from {
            first(from, to)
        } else {
            let (columns, rows) =
                (squares("attn.c_attn.weight", false), squares("attn.c_proj.weight", true));
            let size = usize::from(source.head_size);
            let (queries, group) = (source.attention_width() as usize, rows.len() / from);
            let strength = (0..from).map(|of| {
                let values = queries + (from + of) * size;
                let incoming: f64 = columns[values..values + size].iter().sum();
                incoming * rows[of * group..(of + 1) * group].iter().sum::<f64>()
            });
            strongest(&strength.collect::<Vec<_>>(), to)
        };
        KeptUnits { head_groups, neurons }
    }
}

/// Returns the block of the source that block `index` of the target is made of, and `true` if the
/// block is silent.
pub(super) fn source_block(index: u16, source: u16, target: u16) -> (u16, bool) {
    if target >= source {
        return (index.min(source - 1), index >= source);
    }
    // Evenly spaced, rounded to the nearest.
    let (index, gaps) = (u32::from(index), u32::from(target - 1));
    let origin = (index * u32::from(source - 1) + gaps / 2).checked_div(gaps).unwrap_or(0);
    (origin as u16, false)
}

/// Maps each index below `from` to itself and the rest, up to `to`, to new places.
pub(super) fn first(from: usize, to: usize) -> SourceIndices {
    (0..to).map(|index| (index < from).then_some(index)).collect()
}

/// Returns the indices of the `count` largest values in ascending order. Ties go to the lower
/// index.
fn strongest(strength: &[f64], count: usize) -> SourceIndices {
    let mut places: Vec<usize> = (0..strength.len()).collect();
    places.sort_by(|&a, &b| strength[b].total_cmp(&strength[a]).then(a.cmp(&b)));
    places.truncate(count);
    places.sort_unstable();
    places.into_iter().map(Some).collect()
}
