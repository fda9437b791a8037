// SPDX-License-Identifier: Apache-2.0

//! Operators of the definition for tests, each computed with integers alone.

use pol_numerics::{Broadcast, Chain, Element, Function, Op, Product, Soft32, recompute};
use pol_primitives::prf::Prf;

/// Draws encodings of numbers from −1 to 1.
pub(crate) fn draw(len: usize, seed: u8) -> Vec<u32> {
    let mut prf = Prf::new("test", &[seed; 32], &[]);
    (0..len).map(|_| (prf.below(2_000_001) as f32 / 1e6 - 1.0).to_bits()).collect()
}

/// Decodes numbers.
pub(crate) fn floats(bits: &[u32]) -> Vec<f32> {
    bits.iter().copied().map(f32::from_bits).collect()
}

/// Encodes numbers.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Returns the output of an operator.
pub(crate) fn op(op: Op, inputs: &[&[u32]]) -> Vec<u32> {
    let element = |index| recompute::<Soft32>(&op, inputs as &[&[u32]], index).unwrap();
    (0..op.len().unwrap()).map(element).collect()
}

/// Returns a product of matrices.
pub(crate) fn product(
    [rows, inner, columns]: [u32; 3],
    transposed: [bool; 2],
    [left, right]: [&[u32]; 2],
    bias: Option<&[u32]>,
) -> Vec<u32> {
    let [left_transposed, right_transposed] = transposed;
    let bias_set = bias.is_some();
    let shape = Product { rows, inner, columns, left_transposed, right_transposed, bias: bias_set };
    op(Op::Product(shape), &[left, right, bias.unwrap_or_default()])
}

/// Returns a function of each element.
pub(crate) fn element(
    function: Function,
    columns: u32,
    operands: [(Broadcast, &[u32]); 3],
) -> Vec<u32> {
    let rows = (operands[0].1.len() as u32) / columns;
    let shape = Element { function, rows, columns, operands: operands.map(|(shape, _)| shape) };
    op(Op::Element(shape), &operands.map(|(_, values)| values))
}

/// Returns a function of two tensors of a shape.
pub(crate) fn both(function: Function, a: &[u32], b: &[u32]) -> Vec<u32> {
    let none: (Broadcast, &[u32]) = (Broadcast::One, &[]);
    element(function, 1, [(Broadcast::Each, a), (Broadcast::Each, b), none])
}

/// Returns sums of columns.
pub(crate) fn columns(values: &[u32], inner: u32) -> Vec<u32> {
    let length = values.len() as u32 / inner;
    op(Op::Chain(Chain { outer: 1, length, inner, weighted: false }), &[values])
}

/// Returns rows of a table.
pub(crate) fn rows(table: &[u32], places: &[u32], width: u32) -> Vec<u32> {
    places
        .iter()
        .flat_map(|&row| &table[(row * width) as usize..][..width as usize])
        .copied()
        .collect()
}
