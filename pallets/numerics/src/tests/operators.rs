// SPDX-License-Identifier: Apache-2.0

use super::{Draw, SPECIAL};
use crate::*;
use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

const WIDTH: u32 = 37;

fn product(rows: u32, inner: u32, columns: u32, flags: [bool; 3]) -> Op {
    let [left_transposed, right_transposed, bias] = flags;
    Op::Product(Product { rows, inner, columns, left_transposed, right_transposed, bias })
}

fn norm(kind: NormKind, weight: bool, bias: bool) -> Norm {
    Norm { rows: 3, width: WIDTH, kind, epsilon: 1e-5f32.to_bits(), weight, bias }
}

fn attention(part: AttentionPart, length: u32, window: Option<u32>) -> Op {
    Op::Attention(capped(part, length, window, None))
}

fn capped(part: AttentionPart, length: u32, window: Option<u32>, cap: Option<f32>) -> Attention {
    let (scale, cap) = (0.5f32.to_bits(), cap.map(f32::to_bits));
    Attention { part, length, heads: 4, shared: 2, size: 6, window, scale, cap }
}

const PARTS: [AttentionPart; 5] = [
    AttentionPart::Output,
    AttentionPart::LogSumExp,
    AttentionPart::QueryGradient,
    AttentionPart::KeyGradient,
    AttentionPart::ValueGradient,
];

/// No scaling, and one of each ramp.
fn scalings() -> [Option<Scaling>; 4] {
    let scaling = |factor, ramp, amplitude| Some(Scaling { factor, ramp, amplitude });
    [
        None,
        scaling(2_500_000, Ramp::All, 1_000_000_000),
        // As LLaMA 3.1, and as YaRN, whose bounds lie between pairs.
        scaling(8_000_000, Ramp::Wavelengths { short: 20_000, long: 700_000 }, 1_000_000_000),
        scaling(4_000_000, Ramp::Pairs { first: 600_000, last: 2_700_000 }, 1_138_629_436),
    ]
}

const FUNCTIONS: [Function; 18] = [
    Function::Add,
    Function::Subtract,
    Function::Multiply,
    Function::Divide,
    Function::MultiplyAdd,
    Function::Above,
    Function::Exp,
    Function::Log,
    Function::ReciprocalRoot,
    Function::Sigmoid,
    Function::Silu,
    Function::SiluSlope,
    Function::GeluTanh,
    Function::GeluTanhSlope,
    Function::Gelu,
    Function::GeluSlope,
    Function::SoftCap,
    Function::SoftCapSlope,
];

fn settings(step: u64) -> AdamWSettings {
    AdamWSettings {
        beta1: 900_000,
        beta2: 950_000,
        epsilon: 10,
        weight_decay: 100_000,
        rate: 600_000,
        step,
    }
}

fn adamw(part: AdamWPart, decays: bool) -> Op {
    let factors = AdamWFactors::new::<Soft32>(&settings(15));
    Op::AdamW(AdamW { part, len: 19, decays, factors })
}

/// One of every operator, in odd shapes.
fn all() -> Vec<Op> {
    let (rows, columns) = (3, 1_100);
    let mut all = vec![
        product(3, 600, 5, [false, false, true]),
        product(3, 257, 5, [true, false, false]),
        product(3, 1, 5, [false, true, false]),
        product(2, 0, 2, [false; 3]),
        Op::Chain(Chain { outer: 2, length: 300, inner: 3, weighted: false }),
        Op::Chain(Chain { outer: 2, length: 7, inner: 3, weighted: true }),
        Op::Sum { rows, columns, of: Summand::Values },
        Op::Sum { rows, columns: 31, of: Summand::Squares },
        Op::Sum { rows, columns: 65, of: Summand::Products },
        Op::CumulativeSum { rows, columns: 9 },
        Op::LogSumExp { rows, columns },
        Op::CrossEntropy { rows, columns: 11 },
        Op::CrossEntropyGradient { rows, columns: 11 },
        Op::Softmax { rows, columns: 13 },
        Op::SoftmaxGradient { rows, columns: 13 },
        Op::Embedding { rows: 5, entries: 4, width: 3 },
        Op::EmbeddingGradient { rows: 5, entries: 4, width: 3 },
        Op::Choice { rows: 4, count: 7, active: 3 },
        adamw(AdamWPart::Parameters, true),
        adamw(AdamWPart::Parameters, false),
        adamw(AdamWPart::First, true),
        adamw(AdamWPart::Second, true),
    ];
    all.extend(FUNCTIONS.map(|function| {
        let operands = [Broadcast::Each, Broadcast::Column, Broadcast::Row];
        Op::Element(Element { function, rows: 3, columns: 9, operands })
    }));
    for kind in [NormKind::Layer, NormKind::MeanSquare, NormKind::SumOfSquares] {
        for (weight, bias) in [(true, kind == NormKind::Layer), (false, false)] {
            let norm = norm(kind, weight, bias);
            all.extend([Op::NormStatistics(norm), Op::Norm(norm), Op::NormGradient(norm)]);
            all.push(Op::NormWeightGradient(norm));
        }
    }
    for part in PARTS {
        all.extend([attention(part, 9, None), attention(part, 70, Some(3))]);
        all.push(Op::Attention(capped(part, 70, Some(67), Some(0.7))));
    }
    for (turned, scaling) in [false, true, false, true].into_iter().zip(scalings()) {
        let angles = Angles { dimensions: 8, base: 10_000, scaling };
        let (interleaved, inverse) = (turned, turned);
        let rotation = Rotation { length: 5, heads: 2, size: 10, angles, interleaved, inverse };
        all.push(Op::Rotation(rotation));
    }
    all
}

/// Inputs for any operator: five tensors of numbers, of which some are integers instead.
fn inputs(op: &Op, seed: u64, special: bool) -> Vec<Vec<u32>> {
    let mut draw = Draw::new(seed);
    let mut all: Vec<Vec<u32>> = (0..6).map(|_| draw.values(4_000, 2.0)).collect();
    if special {
        for values in &mut all {
            for (value, place) in values.iter_mut().zip(0..) {
                if place % 5 == seed as usize % 5 {
                    *value = SPECIAL[draw.next() as usize % SPECIAL.len()];
                }
            }
        }
    }
    let integers = match *op {
        Op::CrossEntropy { columns, .. } | Op::CrossEntropyGradient { columns, .. } => {
            Some((2, columns))
        }
        Op::Embedding { entries, .. } | Op::EmbeddingGradient { entries, .. } => Some((1, entries)),
        _ => None,
    };
    if let Some((input, bound)) = integers {
        all[input].iter_mut().for_each(|value| *value %= bound);
    }
    all
}

fn run<F: Single>(op: &Op, inputs: &[Vec<u32>]) -> Vec<u32> {
    let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
    (0..op.len().unwrap()).map(|i| recompute::<F>(op, &inputs[..], i).unwrap()).collect()
}

#[test]
fn software_and_hardware_give_the_same_bits() {
    for op in all() {
        for seed in 0..6 {
            let inputs = inputs(&op, seed, seed > 2);
            assert_eq!(run::<f32>(&op, &inputs), run::<Soft32>(&op, &inputs), "{op:?}");
        }
    }
}

#[test]
fn the_fingerprint_is_that_of_the_results() {
    let mut hasher = blake3::Hasher::new();
    hasher.update(VERSION.as_bytes());
    for op in all() {
        for seed in 0..4 {
            for bits in run::<Soft32>(&op, &inputs(&op, seed, seed > 1)) {
                hasher.update(&bits.to_le_bytes());
            }
        }
    }
    let found = *hasher.finalize().as_bytes();
    assert_eq!(found, FINGERPRINT, "a bit changed: change VERSION too; now {found:?}");
}

/// Runs an operator on numbers.
fn floats(op: &Op, inputs: &[&[f32]]) -> Vec<f32> {
    let bits = |values: &&[f32]| values.iter().map(|value| value.to_bits()).collect();
    let inputs: Vec<Vec<u32>> = inputs.iter().map(bits).collect();
    run::<f32>(op, &inputs).into_iter().map(f32::from_bits).collect()
}

fn random(len: usize, seed: u64, scale: f32) -> Vec<f32> {
    Draw::new(seed).values(len, scale).into_iter().map(f32::from_bits).collect()
}

#[test]
fn a_product_is_chains_of_256_in_order() {
    let (left, right) = (random(600, 1, 1.0), random(600, 2, 1.0));
    let mut total = None;
    for (left, right) in left.chunks(256).zip(right.chunks(256)) {
        let sum = left.iter().zip(right).fold(0f32, |sum, (a, b)| a.mul_add(*b, sum));
        total = Some(total.map_or(sum, |total: f32| total + sum));
    }
    let expected = total.unwrap();
    for flags in [[false, false], [true, true]] {
        let op = product(1, 600, 1, [flags[0], flags[1], false]);
        assert_eq!(floats(&op, &[&left, &right])[0].to_bits(), expected.to_bits());
    }
    // Another order, or a rounding more, is seen.
    let backwards = left.iter().zip(&right).rev().fold(0f32, |sum, (a, b)| a.mul_add(*b, sum));
    let split = left.iter().zip(&right).fold(0f32, |sum, (a, b)| a * b + sum);
    assert_ne!(backwards.to_bits(), expected.to_bits());
    assert_ne!(split.to_bits(), expected.to_bits());
}

#[test]
fn a_row_is_summed_in_32_lanes() {
    for len in [0, 1, 5, 32, 33, 1_000, 1_024, 1_025, 3_000] {
        let values = random(len, 4, 1.0);
        let reduced = |part: &[f32]| {
            let mut lanes = [0f32; 32];
            part.iter().zip((0..32).cycle()).for_each(|(value, lane)| lanes[lane] += value);
            for half in [16, 8, 4, 2, 1] {
                for lane in 0..half {
                    lanes[lane] += lanes[lane + half];
                }
            }
            lanes[0]
        };
        let chunks: Vec<f32> = values.chunks(1_024).map(reduced).collect();
        let expected = if len > 1_024 { reduced(&chunks) } else { reduced(&values) };
        let op = Op::Sum { rows: 1, columns: len as u32, of: Summand::Values };
        assert_eq!(floats(&op, &[&values]), [expected]);
    }
}

#[test]
fn sums_of_more_than_a_million_terms_are_refused() {
    let op = Op::Sum { rows: 1, columns: MAX_EXTENT + 1, of: Summand::Values };
    assert_eq!(recompute::<Soft32>(&op, &[][..], 0), Err(Error::Shape));
    let long = MAX_EXTENT;
    let shape = capped(AttentionPart::QueryGradient, long, None, None);
    struct Ones;
    impl Inputs for Ones {
        fn get(&self, _: u8, _: u64) -> Option<u32> {
            Some(0x3f80_0000)
        }
    }
    let last = u64::from(long) * 24 - 1;
    assert_eq!(recompute::<f32>(&Op::Attention(shape), &Ones, last), Err(Error::TooLong));
}

#[test]
fn gradients_of_keys_that_thousands_of_queries_see_are_recomputed() {
    struct Counted(Cell<u32>);
    impl Inputs for Counted {
        fn get(&self, _: u8, _: u64) -> Option<u32> {
            self.0.set(self.0.get() + 1);
            Some(0x3f80_0000)
        }
    }
    // Attention as LLaMA 3.2 has it: all 4,096 queries of four heads see the first key.
    let shape = capped(AttentionPart::KeyGradient, 4_096, None, None);
    let op = Op::Attention(Attention { heads: 32, shared: 8, size: 64, ..shape });
    let inputs = Counted(Cell::new(0));
    assert!(recompute::<f32>(&op, &inputs, 0).is_ok());
    assert_eq!(inputs.0.get(), 4 * 4_096 * (4 * 64 + 3));
}

#[test]
fn an_element_reads_what_it_depends_on_and_names_what_is_missing() {
    struct Recorded<'a>(&'a [&'a [u32]], RefCell<BTreeSet<(u8, u64)>>);
    impl Inputs for Recorded<'_> {
        fn get(&self, input: u8, index: u64) -> Option<u32> {
            self.1.borrow_mut().insert((input, index));
            Inputs::get(self.0, input, index)
        }
    }
    let (left, right) = ([0x3f80_0000; 6], [0x3f80_0000; 6]);
    let all = [&left[..], &right[..]];
    let recorded = Recorded(&all, RefCell::default());
    let op = product(2, 3, 2, [false; 3]);
    assert_eq!(recompute::<Soft32>(&op, &recorded, 3), Ok(3f32.to_bits()));
    let expected = [(0, 3), (0, 4), (0, 5), (1, 1), (1, 3), (1, 5)];
    assert_eq!(*recorded.1.borrow(), BTreeSet::from(expected));
    let part = [&left[..5], &right[..]];
    let missing = Err(Error::Missing { input: 0, index: 5 });
    assert_eq!(recompute::<Soft32>(&op, &part[..], 3), missing);
    assert_eq!(recompute::<Soft32>(&op, &part[..], 4), Err(Error::Index));
}

#[test]
fn hostile_shapes_and_integers_are_errors() {
    let (interleaved, inverse) = (false, false);
    let rotation = |angles| {
        Op::Rotation(Rotation { length: 3, heads: 1, size: 3, angles, interleaved, inverse })
    };
    let short = Some(Scaling { factor: 999_999, ramp: Ramp::All, amplitude: 1 });
    let (zeros, big) = ([0u32; 64], [u32::MAX; 64]);
    let inputs = [&zeros[..], &big[..], &big[..]];
    for op in [
        Op::Embedding { rows: 2, entries: 4, width: 3 },
        Op::CrossEntropy { rows: 2, columns: 4 },
        Op::Choice { rows: 1, count: 256, active: 1 },
        Op::Choice { rows: 1, count: 2, active: 3 },
        attention(AttentionPart::Output, u32::MAX, None),
        attention(AttentionPart::Output, 4, Some(0)),
        product(u32::MAX, u32::MAX, u32::MAX, [false; 3]),
        rotation(Angles { dimensions: 4, base: 10, scaling: None }),
        rotation(Angles { dimensions: 1, base: 10, scaling: None }),
        rotation(Angles { dimensions: 2, base: 0, scaling: None }),
        rotation(Angles { dimensions: 2, base: 10, scaling: short }),
    ] {
        assert_eq!(recompute::<Soft32>(&op, &inputs[..], 0), Err(Error::Shape), "{op:?}");
    }
}

#[test]
fn gradients_of_norms_and_softmax_are_slopes() {
    let (width, h) = (7, 1e-3f32);
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let (x, dy) = (random(width, 1, 2.0), random(width, 2, 1.0));
    let (w, b) = (random(width, 3, 1.0), random(width, 4, 1.0));
    for kind in [NormKind::Layer, NormKind::MeanSquare, NormKind::SumOfSquares] {
        let norm = Norm { rows: 1, width: width as u32, ..norm(kind, true, true) };
        let forward = |x: &[f32]| {
            let statistics = floats(&Op::NormStatistics(norm), &[x]);
            floats(&Op::Norm(norm), &[x, &statistics, &w, &b])
        };
        let statistics = floats(&Op::NormStatistics(norm), &[&x]);
        let found = floats(&Op::NormGradient(norm), &[&dy, &x, &statistics, &w]);
        check_slopes(&x, h, &found, |x| dot(&forward(x), &dy));
    }
    let columns = width as u32;
    let softmax = |x: &[f32]| floats(&Op::Softmax { rows: 1, columns }, &[x]);
    let found = floats(&Op::SoftmaxGradient { rows: 1, columns }, &[&dy, &softmax(&x)]);
    check_slopes(&x, h, &found, |x| dot(&softmax(x), &dy));
    let target = f32::from_bits(2);
    let loss = |x: &[f32]| {
        let sum = floats(&Op::LogSumExp { rows: 1, columns }, &[x]);
        floats(&Op::CrossEntropy { rows: 1, columns }, &[x, &sum, &[target]])[0].into()
    };
    let sum = floats(&Op::LogSumExp { rows: 1, columns }, &[&x]);
    let gradient = Op::CrossEntropyGradient { rows: 1, columns };
    let found = floats(&gradient, &[&x, &sum, &[target], &[1.0]]);
    check_slopes(&x, h, &found, loss);
}

/// Compares gradients with central differences of `objective`.
fn check_slopes(x: &[f32], h: f32, gradient: &[f32], objective: impl Fn(&[f32]) -> f64) {
    for (i, &found) in gradient.iter().enumerate() {
        let moved = |by: f32| {
            let mut x = x.to_vec();
            x[i] += by;
            objective(&x)
        };
        let slope = (moved(h) - moved(-h)) / f64::from(2.0 * h);
        assert!((slope - f64::from(found)).abs() < 2e-3, "{i}: {found}, difference {slope}");
    }
}

#[test]
fn gradients_of_attention_are_slopes() {
    check_gradients_of_attention(None);
}

#[test]
fn gradients_of_bounded_attention_are_slopes() {
    check_gradients_of_attention(Some(0.3));
}

fn check_gradients_of_attention(cap: Option<f32>) {
    let (length, window) = (67u32, Some(65));
    let queries = length as usize * 24;
    let (q, dy) = (random(queries, 1, 1.0), random(queries, 2, 1.0));
    let (k, v) = (random(queries / 2, 3, 1.0), random(queries / 2, 4, 1.0));
    let op = |part| Op::Attention(capped(part, length, window, cap));
    let forward = |q: &[f32], k: &[f32], v: &[f32]| floats(&op(AttentionPart::Output), &[q, k, v]);
    let (output, sums) =
        (forward(&q, &k, &v), floats(&op(AttentionPart::LogSumExp), &[&q, &k, &v]));
    let along = Op::Sum { rows: length * 4, columns: 6, of: Summand::Products };
    let along = floats(&along, &[&output, &dy]);
    let objective = |q: &[f32], k: &[f32], v: &[f32]| -> f64 {
        forward(q, k, v).iter().zip(&dy).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let all = [&q[..], &k, &v, &dy, &sums, &along];
    let places = [0, 7, 300, queries / 2 - 1];
    for (part, operand) in [
        (AttentionPart::QueryGradient, 0),
        (AttentionPart::KeyGradient, 1),
        (AttentionPart::ValueGradient, 2),
    ] {
        let found = floats(&op(part), &all);
        for place in places {
            let moved = |by: f32| {
                let mut values = [q.clone(), k.clone(), v.clone()];
                values[operand][place] += by;
                objective(&values[0], &values[1], &values[2])
            };
            let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
            let difference = (slope - f64::from(found[place])).abs();
            assert!(difference < 2e-3, "{part:?} {place}: {} {slope}", found[place]);
        }
    }
}

/// Returns the angle of a pair at a position, with the mathematics of libm.
fn angle(angles: &Angles, pair: u32, position: u32) -> f64 {
    let power = -2.0 * f64::from(pair) / f64::from(angles.dimensions);
    let rate = libm::pow(angles.base.into(), power);
    let Some(Scaling { factor, ramp, .. }) = angles.scaling else {
        return f64::from(position) * rate;
    };
    let kept = match ramp {
        Ramp::All => 0.0,
        Ramp::Wavelengths { short, long } => {
            let [least, most] = [long, short].map(|length| 1_000.0 / f64::from(length));
            (rate / core::f64::consts::TAU - least) / (most - least)
        }
        Ramp::Pairs { first, last } => {
            let [first, last] = [first, last].map(|pair| f64::from(pair) / 1e6);
            (last - f64::from(pair)) / (last - first)
        }
    };
    let kept = kept.clamp(0.0, 1.0);
    f64::from(position) * (rate * kept + rate / (f64::from(factor) / 1e6) * (1.0 - kept))
}

#[test]
fn rotations_turn_by_sines_that_are_right_to_a_rounding() {
    let plain = [(64, 10_000), (128, 500_000), (8, 1)].map(|of| (of, None));
    let scaled = scalings().map(|scaling| ((8, 10_000), scaling));
    for ((dimensions, base), scaling) in plain.into_iter().chain(scaled) {
        let angles = Angles { dimensions, base, scaling };
        let size = scaling.map_or(1.0, |scaling| f64::from(scaling.amplitude) / 1e9);
        for position in [0, 1, 15, 4_095, 131_071, (1 << 30) - 1] {
            for pair in 0..dimensions / 2 {
                let (sine, cosine) = rotary::<f32>(&angles, pair, position).unwrap();
                let soft = rotary::<Soft32>(&angles, pair, position).unwrap();
                let bits = |x: (Soft32, Soft32)| (Single::to_bits(x.0), Single::to_bits(x.1));
                assert_eq!((sine.to_bits(), cosine.to_bits()), bits(soft));
                let angle = angle(&angles, pair, position);
                // Half a unit of binary32, and what a unit of the rate in binary64 turns.
                let half = if size > 1.0 { 6.1e-8 } else { 3.1e-8 };
                let tolerance = half + angle * 1e-15;
                let close = |found: f32, exact: f64| (f64::from(found) - exact * size).abs();
                assert!(close(sine, libm::sin(angle)) < tolerance, "{angles:?} {angle}");
                assert!(close(cosine, libm::cos(angle)) < tolerance, "{angles:?} {angle}");
            }
        }
    }
}

#[test]
fn a_ramp_keeps_some_rates_and_scales_others() {
    let [_, _, wavelengths, pairs] = scalings();
    let plain = Angles { dimensions: 8, base: 10_000, scaling: None };
    // Wavelengths of the pairs: 6, 63, 628, and 6,283 positions.
    for scaling in [wavelengths, pairs] {
        // The amplitude is tested above.
        let scaling = scaling.map(|scaling| Scaling { amplitude: 1_000_000_000, ..scaling });
        let ramp = Angles { scaling, ..plain };
        let all = scaling.map(|scaling| Scaling { ramp: Ramp::All, ..scaling });
        let all = Angles { scaling: all, ..plain };
        let at = |angles: &Angles, pair| rotary::<f32>(angles, pair, 777);
        assert_eq!((at(&ramp, 0), at(&ramp, 3)), (at(&plain, 0), at(&all, 3)));
        for pair in 1..3 {
            let mixed = angle(&ramp, pair, 1);
            assert!(angle(&all, pair, 1) < mixed && mixed < angle(&plain, pair, 1));
        }
    }
}

#[test]
fn angles_that_are_not_defined_are_refused() {
    let at = |dimensions, base, scaling, pair, position| {
        rotary::<f32>(&Angles { dimensions, base, scaling }, pair, position)
    };
    assert!(at(8, 10_000, None, 3, 0).is_some() && at(8, 10_000, None, 4, 0).is_none());
    assert!(at(8, 0, None, 0, 0).is_none() && at(0, 10_000, None, 0, 0).is_none());
    assert!(at(7, 10_000, None, 0, 0).is_none() && at(8, 1, None, 0, 1 << 30).is_none());
    let of = |factor, ramp| Some(Scaling { factor, ramp, amplitude: 1_000_000_000 });
    for refused in [
        of(0, Ramp::All),
        of(999_999, Ramp::All),
        of(2_000_000, Ramp::Wavelengths { short: 0, long: 5 }),
        of(2_000_000, Ramp::Wavelengths { short: 5, long: 5 }),
        of(2_000_000, Ramp::Pairs { first: 5, last: 5 }),
    ] {
        assert!(at(8, 10_000, refused, 0, 0).is_none(), "{refused:?}");
    }
    let extreme = Ramp::Wavelengths { short: u32::MAX - 1, long: u32::MAX };
    assert!(at(8, u32::MAX, of(u32::MAX, extreme), 3, (1 << 30) - 1).is_some());
}

#[test]
fn factors_of_adamw_are_right_at_every_step() {
    for step in (1..400).chain([10_000, 1_000_000, u64::MAX]) {
        let factors = AdamWFactors::new::<f32>(&settings(step));
        assert_eq!(factors, AdamWFactors::new::<Soft32>(&settings(step)));
        let left = |beta: f64| 1.0 - libm::pow(beta, step as f64);
        let near = |bits: u32, exact: f64| {
            let found = f64::from(f32::from_bits(bits));
            assert!((found / exact - 1.0).abs() < 6.1e-8, "step {step}: {found} {exact}");
        };
        near(factors.rate, 6e-4 / left(0.9));
        near(factors.correction2, 1.0 / libm::sqrt(left(0.95)));
        near(factors.decay, 1.0 - 6e-5);
    }
    let long = clip_factor(400f32, 4, 1_000_000);
    assert_eq!((long, clip_factor(4f32, 4, 1_000_000)), (0.05, 0.25));
}

#[test]
fn experts_are_chosen_by_rank_and_ties_go_to_the_first() {
    let op = Op::Choice { rows: 2, count: 4, active: 3 };
    let scores = [1.0, 3.0, 1.0, -2.0, f32::NAN, 0.0, 0.0, 5.0];
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    let inputs: Vec<Vec<u32>> = vec![bits(&scores), bits(&[0.0, 0.0, 0.0, 0.5])];
    assert_eq!(run::<Soft32>(&op, &inputs), [1, 0, 2, 3, 1, 2]);
}

/// Root mean square errors of sums of 4,096 products, relative to their size, in units of 2^-24.
#[test]
fn chunked_chains_err_less_than_one_chain() {
    let (inner, mut errors) = (4_096u32, [0.0f64; 3]);
    for seed in 0..40 {
        let (a, b) = (random(4_096, seed, 1.0), random(4_096, seed + 99, 1.0));
        let pairs = || a.iter().zip(&b);
        let exact: f64 = pairs().map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let chunked = floats(&product(1, inner, 1, [false; 3]), &[&a, &b])[0];
        let chain = pairs().fold(0f32, |sum, (a, b)| a.mul_add(*b, sum));
        let lanes = {
            let op = Op::Sum { rows: 1, columns: inner, of: Summand::Products };
            floats(&op, &[&a, &b])[0]
        };
        for (error, found) in errors.iter_mut().zip([chunked, chain, lanes]) {
            *error += (f64::from(found) - exact).powi(2) / 40.0;
        }
    }
    // The size of a sum of 4,096 products of uniform numbers is 64 / 3.
    let [chunked, chain, lanes] = errors.map(|error| error.sqrt() / (64.0 / 3.0) * 16_777_216.0);
    println!("chains of 256: {chunked:.2}, one chain: {chain:.2}, lanes: {lanes:.2}");
    assert!(chunked < 0.6 * chain && lanes < chunked, "{chunked} {chain} {lanes}");
}
