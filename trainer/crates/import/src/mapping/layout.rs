// SPDX-License-Identifier: Apache-2.0

//! Conversions of the layout of a tensor's values.

/// Side of the square tiles, such that source and target tile fit in the L1 cache.
const TILE: usize = 32;

/// Transposes `part` `[outputs, inputs]` into the columns of `into` `[inputs, columns]` from
/// `column` on.
pub(super) fn write_transposed(
    part: &[f32],
    inputs: usize,
    into: &mut [f32],
    columns: usize,
    column: usize,
) {
    let outputs = part.len() / inputs;
    for output in (0..outputs).step_by(TILE) {
        let up_to = (output + TILE).min(outputs);
        for input in (0..inputs).step_by(TILE) {
            for i in input..(input + TILE).min(inputs) {
                let row = &mut into[i * columns + column + output..i * columns + column + up_to];
                for (value, o) in row.iter_mut().zip(output..) {
                    *value = part[o * inputs + i];
                }
            }
        }
    }
}

/// Reorders the rows of each head from interleaved to half-split: the first row of every rotated
/// pair comes before all second rows.
pub(super) fn half_split(values: &[f32], heads: usize, inputs: usize) -> Vec<f32> {
    let size = values.len() / inputs / heads;
    let rows = (0..heads * size).flat_map(|row| {
        let (head, place) = (row / size, row % size);
        let (half, pair) = (place / (size / 2), place % (size / 2));
        let from = (head * size + pair * 2 + half) * inputs;
        &values[from..from + inputs]
    });
    rows.copied().collect()
}

/// Reorders rows of `groups` groups of heads, each of which has as many queries as `heads`, a key,
/// and a value, to all queries, all keys, and all values.
pub(super) fn separate_heads(values: &[f32], groups: usize, heads: usize) -> Vec<f32> {
    let size = values.len() / (groups * (heads + 2));
    let places = |kind: std::ops::Range<usize>| {
        (0..groups).flat_map(move |group| {
            kind.clone().map(move |place| (group * (heads + 2) + place) * size)
        })
    };
    let kinds = [0..heads, heads..heads + 1, heads + 1..heads + 2];
    let places = kinds.into_iter().flat_map(places);
    places.flat_map(|from| &values[from..from + size]).copied().collect()
}

/// Returns the `outputs` columns of `values` `[inputs, columns]` from `column` on as
/// `[outputs, inputs]`.
pub(super) fn read_transposed(
    values: &[f32],
    columns: usize,
    column: usize,
    outputs: usize,
) -> Vec<f32> {
    let inputs = values.len() / columns;
    let mut part = vec![0.0; outputs * inputs];
    for output in (0..outputs).step_by(TILE) {
        for input in (0..inputs).step_by(TILE) {
            for o in output..(output + TILE).min(outputs) {
                let up_to = (input + TILE).min(inputs);
                for (value, i) in
                    part[o * inputs + input..o * inputs + up_to].iter_mut().zip(input..)
                {
                    *value = values[i * columns + column + o];
                }
            }
        }
    }
    part
}

/// Reverses [`half_split`].
pub(super) fn interleave(values: &[f32], heads: usize, inputs: usize) -> Vec<f32> {
    let size = values.len() / inputs / heads;
    let rows = (0..heads * size).flat_map(|row| {
        let (head, place) = (row / size, row % size);
        let from = (head * size + place % 2 * (size / 2) + place / 2) * inputs;
        &values[from..from + inputs]
    });
    rows.copied().collect()
}

/// Reverses [`separate_heads`].
pub(super) fn join_heads(values: &[f32], groups: usize, heads: usize) -> Vec<f32> {
    let size = values.len() / (groups * (heads + 2));
    let places = (0..groups).flat_map(|group| {
        let queries = group * heads..(group + 1) * heads;
        queries.chain([groups * heads + group, groups * (heads + 1) + group])
    });
    places.flat_map(|place| &values[place * size..(place + 1) * size]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_reordered() {
        // One head of size 6: pairs (0, 1), (2, 3), (4, 5) become halves.
        assert_eq!(half_split(&[0., 1., 2., 3., 4., 5.], 1, 1), [0., 2., 4., 1., 3., 5.]);
        assert_eq!(
            half_split(&[0., 0., 1., 1., 2., 2., 3., 3.], 2, 2),
            [0., 0., 1., 1., 2., 2., 3., 3.]
        );
    }

    #[test]
    fn heads_are_separated() {
        // Two heads of one row each: query, key, and value of the first, then of the second.
        let rows = [0., 0., 1., 1., 2., 2., 3., 3., 4., 4., 5., 5.];
        let separated = [0., 0., 3., 3., 1., 1., 4., 4., 2., 2., 5., 5.];
        assert_eq!(separate_heads(&rows, 2, 1), separated);
        // Two groups of two heads: the fifth row is the first query of the second group.
        let rows = [0., 1., 2., 3., 4., 5., 6., 7.];
        assert_eq!(separate_heads(&rows, 2, 2), [0., 1., 4., 5., 2., 6., 3., 7.]);
        // One group has them in order.
        assert_eq!(separate_heads(&rows, 1, 6), rows);
    }

    proptest! {
        #[test]
        fn parts_are_transposed_side_by_side(
            inputs in 1usize..70,
            first in 1usize..70,
            second in 1usize..70,
        ) {
            let columns = first + second;
            let parts = [first, second]
                .map(|outputs| (0..outputs * inputs).map(|i| i as f32).collect::<Vec<_>>());
            let mut into = vec![-1.0; inputs * columns];
            write_transposed(&parts[0], inputs, &mut into, columns, 0);
            write_transposed(&parts[1], inputs, &mut into, columns, first);
            for i in 0..inputs {
                for o in 0..columns {
                    let (part, row) =
                        if o < first { (&parts[0], o) } else { (&parts[1], o - first) };
                    prop_assert_eq!(into[i * columns + o], part[row * inputs + i]);
                }
            }
            prop_assert_eq!(&read_transposed(&into, columns, 0, first), &parts[0]);
            prop_assert_eq!(&read_transposed(&into, columns, first, second), &parts[1]);
        }

        #[test]
        fn orders_of_rows_are_reversed(
            groups in 1usize..5,
            heads in 1usize..5,
            pairs in 1usize..4,
            inputs in 1usize..4,
        ) {
            let of = |rows: usize| (0..rows * inputs).map(|i| i as f32).collect::<Vec<_>>();
            let values = of(groups * 2 * pairs);
            let halves = half_split(&values, groups, inputs);
            prop_assert_eq!(&interleave(&halves, groups, inputs), &values);
            let values = of(groups * (heads + 2) * pairs);
            let separate = separate_heads(&values, groups, heads);
            prop_assert_eq!(&join_heads(&separate, groups, heads), &values);
        }
    }
}
