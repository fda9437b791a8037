// SPDX-License-Identifier: Apache-2.0

use super::{Draw, Unaligned, VALUES, Values, bits, check, defined_of, with_threads};
use crate::{Error, Extras, Kernels, Scratch};
use pol_numerics::{Op, Product};
use proptest::prelude::*;

fn shape([rows, inner, columns]: [u32; 3], flags: u32) -> Product {
    let [left_transposed, right_transposed, bias] = [1, 2, 4].map(|flag| flags & flag != 0);
    Product { rows, inner, columns, left_transposed, right_transposed, bias }
}

struct Operands {
    left: Vec<f32>,
    right: Vec<f32>,
    bias: Vec<f32>,
}

impl Operands {
    fn new(shape: &Product, of: Values, seed: u64) -> Self {
        let mut draw = Draw(seed);
        let mut values = |a: u32, b: u32| draw.values((a * b) as usize, of);
        Self {
            left: values(shape.rows, shape.inner),
            right: values(shape.inner, shape.columns),
            bias: values(shape.columns, shape.bias.into()),
        }
    }

    fn defined(&self, shape: &Product) -> Vec<u32> {
        defined_of(&Op::Product(*shape), &[&self.left, &self.right, &self.bias])
    }

    fn run(&self, shape: &Product, kernels: Kernels, by: usize, out: &mut [f32]) {
        let left = Unaligned::new(&self.left, by + 1);
        let right = Unaligned::new(&self.right, by + 2);
        let bias = shape.bias.then_some(&self.bias[..]);
        let mut scratch = Scratch::default();
        let (left, right) = (left.get(by + 1), right.get(by + 2));
        kernels.product(shape, left, right, bias, out, &mut scratch).unwrap();
    }
}

fn check_product(shape: &Product, of: Values, seed: u64) {
    let operands = Operands::new(shape, of, seed);
    let expected = operands.defined(shape);
    check(&expected, &format!("{shape:?} {of:?}"), |kernels, by, out| {
        operands.run(shape, kernels, by, out);
    });
}

#[test]
fn products_are_as_defined_in_all_directions() {
    let shapes = [
        [0, 3, 2],
        [2, 0, 3],
        [3, 2, 0],
        [1, 1, 1],
        [13, 256, 33],
        [7, 257, 31],
        [97, 513, 61],
        [3, 1_031, 5],
        [101, 17, 131],
    ];
    for (shape_index, extents) in shapes.into_iter().enumerate() {
        for flags in 0..8 {
            let of = VALUES[(shape_index + flags as usize) % 3];
            check_product(&shape(extents, flags), of, flags.into());
        }
    }
}

/// Returns some terms of a side, which lies with its vectors or its terms apart.
fn terms(
    values: &[f32],
    inner: usize,
    is_contiguous: bool,
    at: std::ops::Range<usize>,
) -> Vec<f32> {
    let count = values.len() / inner;
    if is_contiguous {
        values.chunks(inner).flat_map(|vector| vector[at.clone()].to_vec()).collect()
    } else {
        values[at.start * count..at.end * count].to_vec()
    }
}

#[test]
fn a_product_in_parts_is_one_product_to_which_values_are_added() {
    for flags in 0..8 {
        let shape = shape([101, 900, 67], flags);
        let of = VALUES[flags as usize % 3];
        let operands = Operands::new(&shape, of, flags.into());
        let addend = Draw(77).values(101 * 67, of);
        let expected = operands.defined(&shape).into_iter().map(f32::from_bits);
        let expected = expected.zip(&addend).map(|(x, y)| crate::canonical(x + y).to_bits());
        let expected: Vec<u32> = expected.collect();
        check(&expected, "parts", |kernels, _, out| {
            let mut scratch = Scratch::default();
            for (part, at) in [0..256, 256..768, 768..900].into_iter().enumerate() {
                let left = terms(&operands.left, 900, !shape.left_transposed, at.clone());
                let right = terms(&operands.right, 900, shape.right_transposed, at.clone());
                let is_last = part == 2;
                let bias = shape.bias && is_last;
                let extras = Extras {
                    bias: bias.then_some(&operands.bias[..]),
                    addend: is_last.then_some(&addend[..]),
                    continues: part > 0,
                };
                let shape = Product { inner: at.len() as u32, bias, ..shape };
                kernels.product_with(&shape, &left, &right, extras, out, &mut scratch).unwrap();
            }
            let shape = Product { inner: 0, bias: false, ..shape };
            let extras = Extras { continues: true, ..Extras::default() };
            kernels.product_with(&shape, &[], &[], extras, out, &mut scratch).unwrap();
        });
    }
}

#[test]
fn special_numbers_multiply_as_defined() {
    for of in [Values::Small, Values::Special] {
        for seed in 0..20 {
            check_product(&shape([5, 3 + seed as u32 % 3, 35], 4), of, seed);
            check_product(&shape([14, 260, 3], 1), of, seed);
        }
    }
}

#[test]
fn sides_beyond_the_packed_memory_multiply_in_parts() {
    // 2^23 values are a single block of rows here, and there are more rows.
    let shape = Product { left_transposed: false, ..shape([98, 90_000, 3], 0) };
    let operands = Operands::new(&shape, Values::Plain, 9);
    let expected = operands.defined(&shape);
    check(&expected, "long", |kernels, by, out| operands.run(&shape, kernels, by, out));
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let shape = shape([150, 300, 200], 2);
    let operands = Operands::new(&shape, Values::Small, 3);
    let expected = operands.defined(&shape);
    for threads in 1..=7 {
        with_threads(threads, || {
            check(&expected, &format!("{threads} threads"), |kernels, by, out| {
                operands.run(&shape, kernels, by, out);
            });
        });
    }
}

#[test]
fn another_order_of_a_sum_or_another_rounding_is_seen() {
    let shape = shape([6, 600, 9], 2);
    let operands = Operands::new(&shape, Values::Plain, 5);
    let expected = operands.defined(&shape);
    let rows = |values: &[f32]| values.chunks(600).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (left, right) = (rows(&operands.left), rows(&operands.right));
    let all = |sum: &dyn Fn(&[f32], &[f32]) -> f32| -> Vec<u32> {
        left.iter().flat_map(|l| right.iter().map(|r| sum(l, r).to_bits())).collect()
    };
    let chain = |l: &[f32], r: &[f32]| l.iter().zip(r).fold(0f32, |sum, (l, r)| l.mul_add(*r, sum));
    let chunked = |l: &[f32], r: &[f32]| {
        l.chunks(256).zip(r.chunks(256)).map(|(l, r)| chain(l, r)).reduce(|a, b| a + b).unwrap()
    };
    assert_eq!(all(&chunked), expected);
    assert_ne!(all(&chain), expected);
    let reversed = |l: &[f32], r: &[f32]| {
        let back = |values: &[f32]| values.iter().rev().copied().collect::<Vec<_>>();
        chunked(&back(l), &back(r))
    };
    assert_ne!(all(&reversed), expected);
    let split = |l: &[f32], r: &[f32]| l.iter().zip(r).fold(0f32, |sum, (l, r)| sum + l * r);
    assert_ne!(all(&split), expected);
    // A kernel whose operands are reordered alike differs as well.
    let reordered = Operands {
        left: left.iter().flat_map(|row| row.iter().rev().copied()).collect(),
        right: right.iter().flat_map(|row| row.iter().rev().copied()).collect(),
        bias: Vec::new(),
    };
    let mut out = vec![0.0; expected.len()];
    reordered.run(&shape, Kernels::best(), 0, &mut out);
    assert_ne!(bits(&out), expected);
}

#[test]
fn wrong_sizes_are_errors_that_name_the_tensor() {
    let (shape, kernels) = (shape([2, 3, 4], 4), Kernels::best());
    let scratch = &mut Scratch::default();
    let (left, right, bias) = (&[0.0; 6][..], &[0.0; 12][..], &[0.0; 4][..]);
    let mut run = |shape: &Product, left: &[f32], bias, out: &mut [f32]| {
        kernels.product(shape, left, right, bias, out, scratch)
    };
    let wrong = |tensor, expected, found| Err(Error::Length { tensor, expected, found });
    assert_eq!(run(&shape, &left[1..], Some(bias), &mut [0.0; 8]), wrong("left", 6, 5));
    assert_eq!(run(&shape, left, Some(bias), &mut [0.0; 7]), wrong("out", 8, 7));
    assert_eq!(run(&shape, left, None, &mut [0.0; 8]), Err(Error::Presence { tensor: "bias" }));
    let huge = Product { rows: u32::MAX, ..shape };
    let refused = Err(Error::Shape(pol_numerics::Error::Shape));
    assert_eq!(run(&huge, left, Some(bias), &mut [0.0; 8]), refused);
    assert_eq!(run(&shape, left, Some(bias), &mut [0.0; 8]), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn every_shape_multiplies_as_defined(
        rows in 0u32..40,
        inner in 0u32..70,
        columns in 0u32..80,
        flags in 0u32..8,
        seed: u64,
        of in 0usize..3,
    ) {
        check_product(&shape([rows, inner, columns], flags), VALUES[of], seed);
    }
}
