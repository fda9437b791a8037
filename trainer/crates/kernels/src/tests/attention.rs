// SPDX-License-Identifier: Apache-2.0

use super::{Draw, Unaligned, VALUES, Values, bits, defined_of, with_threads};
use crate::{AttentionUpstream, Error, Kernels, Scratch};
use pol_numerics::{Attention, AttentionPart, Op};
use proptest::prelude::*;

fn shape([length, heads, shared, size]: [u32; 4], window: Option<u32>) -> Attention {
    let (part, scale) = (AttentionPart::LogSumExp, 0.3f32.to_bits());
    Attention { part, length, heads, shared, size, window, scale, cap: None }
}

/// Inputs in the order of the definition's.
struct Operands([Vec<f32>; 6]);

impl Operands {
    fn new(shape: &Attention, of: Values, seed: u64) -> Self {
        let Attention { length, heads, shared, size, .. } = *shape;
        let mut draw = Draw(seed);
        let mut values = |count: u32| draw.values(count as usize, of);
        let (q, k, v) = (
            values(length * heads * size),
            values(length * shared * size),
            values(length * shared * size),
        );
        let dy = values(length * heads * size);
        let products = values(length * heads);
        let part = AttentionPart::LogSumExp;
        let logarithms = defined_of(&Op::Attention(Attention { part, ..*shape }), &[&q, &k, &v]);
        let logarithms = logarithms.into_iter().map(f32::from_bits).collect();
        Self([q, k, v, dy, logarithms, products])
    }

    /// Queries, keys, and values of each token side by side.
    fn inputs(&self, shape: &Attention) -> Vec<f32> {
        let [queries, keys, values, ..] = &self.0;
        let rows = (0..shape.length as usize).flat_map(|token| {
            let row = |all: &[f32], heads: u32| {
                let width = (heads * shape.size) as usize;
                all[token * width..][..width].to_vec()
            };
            let (heads, shared) = (shape.heads, shape.shared);
            [row(queries, heads), row(keys, shared), row(values, shared)].concat()
        });
        rows.collect()
    }

    fn upstream(&self) -> AttentionUpstream<'_> {
        let [.., gradient, logarithms, products] = &self.0;
        AttentionUpstream { gradient, logarithms, products }
    }

    /// Outputs, logarithms, and the gradients of queries, keys, and values.
    fn defined(&self, shape: &Attention) -> [Vec<u32>; 5] {
        let inputs = self.0.each_ref().map(Vec::as_slice);
        [
            AttentionPart::Output,
            AttentionPart::LogSumExp,
            AttentionPart::QueryGradient,
            AttentionPart::KeyGradient,
            AttentionPart::ValueGradient,
        ]
        .map(|part| defined_of(&Op::Attention(Attention { part, ..*shape }), &inputs))
    }

    /// Runs the kernels on two sequences, both these, and returns what [`Self::defined`] does.
    fn run(&self, shape: &Attention, kernels: Kernels, scratch: &mut Scratch) -> [Vec<u32>; 5] {
        let inputs = self.inputs(shape).repeat(2);
        let [mut out, mut logarithms, mut gradient] =
            [&self.0[3], &self.0[4], &inputs].map(|like| vec![f32::INFINITY; like.len()]);
        out.extend_from_within(..);
        logarithms.extend_from_within(..);
        kernels.attention(shape, 2, &inputs, &mut out, &mut logarithms, scratch).unwrap();
        let twice = self.0.each_ref().map(|values| values.repeat(2));
        let [.., dy, sums, products] = &twice;
        let upstream = AttentionUpstream { gradient: dy, logarithms: sums, products };
        kernels.attention_gradient(shape, 2, &inputs, upstream, &mut gradient, scratch).unwrap();
        let [heads, shared, size] = [shape.heads, shape.shared, shape.size].map(|x| x as usize);
        let width = (heads + 2 * shared) * size;
        let part = |first: usize, count: usize| -> Vec<f32> {
            let rows = gradient.chunks(width.max(1));
            rows.flat_map(|row| row[first * size..(first + count) * size].to_vec()).collect()
        };
        let (dq, dk, dv) = (part(0, heads), part(heads, shared), part(heads + shared, shared));
        [out, logarithms, dq, dk, dv].map(|values| {
            let (first, second) = values.split_at(values.len() / 2);
            assert_eq!(bits(first), bits(second));
            bits(first)
        })
    }
}

fn check(shape: &Attention, of: Values, seed: u64) {
    let operands = Operands::new(shape, of, seed);
    let expected = operands.defined(shape);
    // Memory of another shape, full of other numbers.
    let mut scratch = Scratch::default();
    for buffer in &mut scratch.buffers {
        buffer.get(1_000).fill(f32::NAN);
    }
    for kernels in Kernels::all() {
        let found = operands.run(shape, kernels, &mut scratch);
        for (part, (found, expected)) in found.iter().zip(&expected).enumerate() {
            if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
                let (found, expected, name) = (found[at], expected[at], kernels.name());
                panic!("{shape:?} {of:?} {name}: part {part}: {found:08x} at {at}, {expected:08x}");
            }
        }
    }
}

#[test]
fn attention_and_its_gradients_are_as_defined() {
    for (i, (extents, window)) in [
        ([0, 2, 1, 4], None),
        ([1, 1, 1, 1], None),
        ([3, 2, 2, 0], None),
        ([4, 0, 3, 5], None),
        ([9, 4, 2, 6], None),
        ([64, 2, 1, 8], None),
        ([65, 3, 1, 33], None),
        ([130, 2, 2, 7], None),
        ([200, 1, 1, 3], None),
        ([5, 2, 1, 257], None),
        ([3, 1, 1, 600], None),
        ([70, 2, 1, 5], Some(1)),
        ([70, 2, 1, 5], Some(3)),
        ([150, 2, 2, 4], Some(64)),
        ([150, 2, 1, 4], Some(65)),
        ([210, 1, 1, 4], Some(100)),
        ([140, 1, 1, 4], Some(u32::MAX)),
    ]
    .into_iter()
    .enumerate()
    {
        VALUES.into_iter().for_each(|of| check(&shape(extents, window), of, i as u64));
    }
}

#[test]
fn scores_without_a_finite_maximum_are_as_defined() {
    for scale in [0.0, -1.0, f32::INFINITY, f32::NAN, 1e-45, 3e38] {
        for window in [None, Some(2)] {
            let shape = Attention { scale: scale.to_bits(), ..shape([67, 2, 1, 3], window) };
            VALUES.into_iter().for_each(|of| check(&shape, of, 1));
        }
    }
}

#[test]
fn bounded_attention_and_its_gradients_are_as_defined() {
    for cap in [0.2, 1.0, 50.0, -0.5, 0.0, 1e-45, 3e38, f32::INFINITY, f32::NAN] {
        for (extents, window) in [
            ([0, 2, 1, 4], None),
            ([3, 2, 2, 0], None),
            ([65, 3, 1, 9], None),
            ([130, 4, 2, 6], Some(65)),
            ([70, 2, 1, 5], Some(1)),
        ] {
            let shape = Attention { cap: Some(cap.to_bits()), ..shape(extents, window) };
            VALUES.into_iter().for_each(|of| check(&shape, of, 8));
        }
    }
}

#[test]
fn a_bound_changes_attention_and_every_gradient() {
    let plain = shape([66, 2, 1, 8], None);
    let operands = Operands::new(&plain, Values::Plain, 9);
    let run = |cap: Option<f32>| {
        let shape = Attention { cap: cap.map(f32::to_bits), ..plain };
        operands.run(&shape, Kernels::best(), &mut Scratch::default())
    };
    let (without, with) = (run(None), run(Some(2.0)));
    assert!(without.iter().zip(&with).all(|(without, with)| without != with));
}

#[test]
fn threads_do_not_change_attention() {
    for cap in [None, Some(1.5)] {
        check_threads(&Attention {
            cap: cap.map(f32::to_bits),
            ..shape([140, 4, 2, 16], Some(90))
        });
    }
}

fn check_threads(shape: &Attention) {
    let operands = Operands::new(shape, Values::Small, 4);
    let run = |threads| {
        with_threads(threads, || operands.run(shape, Kernels::best(), &mut Scratch::default()))
    };
    let expected = run(1);
    assert!((2..=7).all(|threads| run(threads) == expected));
}

#[test]
fn alignment_does_not_change_attention() {
    let shape = shape([66, 2, 1, 8], None);
    let operands = Operands::new(&shape, Values::Plain, 5);
    let expected = operands.run(&shape, Kernels::best(), &mut Scratch::default());
    for by in 1..5 {
        let moved = Unaligned::new(&operands.inputs(&shape), by);
        let mut out = vec![0.0; expected[0].len()];
        let mut logarithms = vec![0.0; expected[1].len()];
        let scratch = &mut Scratch::default();
        Kernels::best()
            .attention(&shape, 1, moved.get(by), &mut out, &mut logarithms, scratch)
            .unwrap();
        assert_eq!([bits(&out), bits(&logarithms)], expected[..2]);
    }
}

#[test]
fn chunks_in_another_place_give_other_bits() {
    // The same tokens one place later: the sums are those of other chunks.
    let (early, late) = (shape([80, 1, 1, 8], Some(70)), shape([81, 1, 1, 8], Some(70)));
    let operands = Operands::new(&early, Values::Plain, 6);
    let moved = operands.0.each_ref().map(|values| {
        let width = values.len() / 80;
        [&vec![0.0; width][..], values].concat()
    });
    let mut scratch = Scratch::default();
    let found = operands.run(&early, Kernels::best(), &mut scratch);
    let later = Operands(moved).run(&late, Kernels::best(), &mut scratch);
    assert_ne!(found[0][79 * 8..], later[0][80 * 8..]);
}

#[test]
fn wrong_sizes_of_attention_are_errors() {
    let shape = shape([3, 2, 1, 4], None);
    let operands = Operands::new(&shape, Values::Plain, 7);
    let kernels = Kernels::best();
    let scratch = &mut Scratch::default();
    let wrong = |tensor, expected, found| Err(Error::Length { tensor, expected, found });
    let (mut out, mut logarithms) = (vec![0.0; 24], vec![0.0; 6]);
    let inputs = &operands.inputs(&shape)[..];
    let found = kernels.attention(&shape, 1, &inputs[1..], &mut out, &mut logarithms, scratch);
    assert_eq!(found, wrong("inputs", 48, 47));
    let found = kernels.attention(&shape, 2, inputs, &mut out, &mut logarithms, scratch);
    assert_eq!(found, wrong("inputs", 96, 48));
    let found = kernels.attention(&shape, 1, inputs, &mut out[1..], &mut logarithms, scratch);
    assert_eq!(found, wrong("out", 24, 23));
    for hostile in [
        Attention { window: Some(0), ..shape },
        Attention { shared: 0, ..shape },
        Attention { length: u32::MAX, ..shape },
    ] {
        let found = kernels.attention(&hostile, 1, inputs, &mut out, &mut logarithms, scratch);
        assert_eq!(found, Err(Error::Shape(pol_numerics::Error::Shape)));
    }
    let upstream = AttentionUpstream { products: &[], ..operands.upstream() };
    let mut gradient = vec![0.0; 48];
    let found = kernels.attention_gradient(&shape, 1, inputs, upstream, &mut gradient, scratch);
    assert_eq!(found, wrong("products", 6, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_attention_is_as_defined(
        length in 0u32..140,
        shared in 1u32..3,
        group in 1u32..3,
        size in 0u32..9,
        window in proptest::option::of(1u32..150),
        cap in proptest::option::of(0.1f32..9.0),
        seed: u64,
        of in 0usize..3,
    ) {
        let cap = cap.map(f32::to_bits);
        let shape = shape([length, shared * group, shared, size], window);
        check(&Attention { cap, ..shape }, VALUES[of], seed);
    }
}
