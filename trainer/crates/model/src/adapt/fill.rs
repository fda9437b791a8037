// SPDX-License-Identifier: Apache-2.0

use super::{
    AdaptReport,
    axes::{Axis, NewValue},
    selection::first,
};
use crate::TensorSlot;

/// Fills the tensor `slot`, whose `values` are initial values, from the tensor `old` of the source
/// with the values `source`.
pub(super) fn fill(
    values: &mut [f32],
    slot: &TensorSlot,
    source: &[f32],
    old: &TensorSlot,
    axes: &[Axis],
    report: &mut AdaptReport,
) {
    let [outer, rows, columns] = slot.outer_rows_columns();
    let [_, old_rows, old_columns] = old.outer_rows_columns();
    let whole = |size: usize| Axis::new(first(size, size), NewValue::Initial);
    let (whole_rows, whole_columns) = (whole(rows), whole(columns));
    let column_axis = axes.last().unwrap_or(&whole_columns);
    let row_axis = axes.len().checked_sub(2).and_then(|at| axes.get(at)).unwrap_or(&whole_rows);
    let scale = row_axis.scale * column_axis.scale;
    let parts = row_axis.split as f32;
    for matrix in 0..outer {
        let values = &mut values[matrix * rows * columns..][..rows * columns];
        if row_axis.split > 1 {
            centre_copies(values, old_rows, row_axis.split, column_axis);
        }
        for (row, from_row) in row_axis.from.iter().enumerate() {
            let old = from_row.map(|from_row| {
                &source[(matrix * old_rows + from_row) * old_columns..][..old_columns]
            });
            let mean =
                old.filter(|_| column_axis.new == NewValue::RowMean).map(|old| mean(old) * scale);
            for (column, from_column) in column_axis.from.iter().enumerate() {
                let value = &mut values[row * columns + column];
                match (old, from_column) {
                    (Some(old), &Some(from_column)) => {
                        let old = old[from_column] * scale;
                        *value = if row_axis.split > 1 { old / parts + *value } else { old };
                        report.kept += 1;
                    }
                    (old, from_column) => {
                        let is_zero =
                            |axis: &Axis, is_new: bool| is_new && axis.new == NewValue::Zero;
                        if is_zero(row_axis, old.is_none())
                            || is_zero(column_axis, from_column.is_none())
                        {
                            *value = 0.0;
                            report.zero += 1;
                        } else if let Some(mean) = mean {
                            *value = mean;
                            report.kept += 1;
                        } else {
                            report.fresh += 1;
                        }
                    }
                }
            }
        }
    }
}

/// Subtracts the mean of the `split` copies of each row from them, so that they sum to zero.
///
/// New columns stay as they are. The copies of a channel are equal at first, so weights that sum to
/// zero would make a new column ignore it.
fn centre_copies(values: &mut [f32], old_rows: usize, split: usize, column_axis: &Axis) {
    let columns = column_axis.from.len();
    for column in (0..columns).filter(|&column| column_axis.from[column].is_some()) {
        for row in 0..old_rows {
            let places = (0..split).map(|copy| (row + copy * old_rows) * columns + column);
            let mean = places.clone().map(|place| values[place]).sum::<f32>() / split as f32;
            places.for_each(|place| values[place] -= mean);
        }
    }
}

pub(super) fn mean(values: &[f32]) -> f32 {
    (values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64) as f32
}
