// SPDX-License-Identifier: Apache-2.0

//! Sums, functions, norms, losses, rotations, and AdamW.

use super::{Draw, Unaligned, VALUES, Values, bits, check, defined, defined_of, with_threads};
use crate::{Activation, AdamWState, Error, Gated, Kernels, RotaryTable};
use pol_numerics::*;

/// Lengths around those of lanes, chunks, and tasks.
const LENGTHS: [u32; 12] = [0, 1, 2, 31, 32, 33, 101, 1_023, 1_024, 1_025, 2_111, 40_000];

fn values(len: u32, of: Values, seed: u64) -> Vec<f32> {
    Draw(seed).values(len as usize, of)
}

/// Calls `test` with shapes and kinds of values.
fn each_shape(test: impl Fn([u32; 2], Values)) {
    for (i, columns) in LENGTHS.into_iter().enumerate() {
        let rows = if columns > 2_000 { 2 } else { [3, 1, 19, 0][i % 4] };
        VALUES.into_iter().for_each(|of| test([rows, columns], of));
    }
    test([700, 37], Values::Special);
}

#[test]
fn sums_of_rows_are_as_defined() {
    each_shape(|[rows, columns], of| {
        let a = values(rows * columns, of, 1);
        let b = values(rows * columns, of, 2);
        for summand in [Summand::Values, Summand::Squares, Summand::Products] {
            let others = (summand == Summand::Products).then_some(&b[..]);
            let expected = defined_of(&Op::Sum { rows, columns, of: summand }, &[&a, &b]);
            check(&expected, &format!("{rows} {columns} {of:?}"), |kernels, by, out| {
                let a = Unaligned::new(&a, by + 1);
                let shape = [rows, columns];
                kernels.row_sums(shape, summand, a.get(by + 1), others, out).unwrap();
            });
        }
    });
}

#[test]
fn a_row_in_another_order_has_another_sum() {
    let a = values(1_500, Values::Plain, 3);
    let sum = |values: &[f32]| {
        let mut out = [0.0];
        Kernels::best().row_sums([1, 1_500], Summand::Values, values, None, &mut out).unwrap();
        out[0].to_bits()
    };
    let mut moved = a.clone();
    moved.rotate_left(1);
    assert_ne!(sum(&a), sum(&moved));
    assert_ne!(sum(&a), a.iter().sum::<f32>().to_bits());
}

#[test]
fn chains_and_cumulative_sums_are_as_defined() {
    for (outer, length, inner) in [(1, 600, 70), (3, 257, 5), (2, 1, 129), (2, 0, 3), (0, 4, 4)] {
        for of in VALUES {
            let a = values(outer * length * inner, of, 4);
            let weights = values(outer * length, of, 5);
            for weighted in [false, true] {
                let shape = Chain { outer, length, inner, weighted };
                let expected = defined_of(&Op::Chain(shape), &[&a, &weights]);
                check(&expected, &format!("{shape:?} {of:?}"), |kernels, by, out| {
                    let a = Unaligned::new(&a, by + 2);
                    let weights = weighted.then_some(&weights[..]);
                    kernels.chain(&shape, a.get(by + 2), weights, out).unwrap();
                });
            }
        }
    }
    each_shape(|[rows, columns], of| {
        if columns > 3_000 {
            return;
        }
        let a = values(rows * columns, of, 6);
        let expected = defined_of(&Op::CumulativeSum { rows, columns }, &[&a]);
        check(&expected, "cumulative", |kernels, _, out| {
            kernels.cumulative_sum([rows, columns], &a, out).unwrap();
        });
    });
}

const FUNCTIONS: [(Function, usize); 18] = [
    (Function::Add, 2),
    (Function::Subtract, 2),
    (Function::Multiply, 2),
    (Function::Divide, 2),
    (Function::MultiplyAdd, 3),
    (Function::Above, 2),
    (Function::Exp, 1),
    (Function::Log, 1),
    (Function::ReciprocalRoot, 1),
    (Function::Sigmoid, 1),
    (Function::Silu, 1),
    (Function::SiluSlope, 2),
    (Function::GeluTanh, 1),
    (Function::GeluTanhSlope, 2),
    (Function::Gelu, 1),
    (Function::GeluSlope, 2),
    (Function::SoftCap, 2),
    (Function::SoftCapSlope, 3),
];

fn check_element(shape: Element, arity: usize, all: [&[f32]; 3]) {
    let expected = defined_of(&Op::Element(shape), &all);
    check(&expected, &format!("{shape:?}"), |kernels, by, out| {
        let moved = all.map(|values| Unaligned::new(values, by + 1));
        let operands = [0, 1, 2].map(|i| (i < arity).then(|| moved[i].get(by + 1)));
        kernels.element(&shape, operands, out).unwrap();
    });
}

#[test]
fn functions_of_elements_are_as_defined() {
    use Broadcast::{Column, Each, One, Row};
    for (function, arity) in FUNCTIONS {
        for (i, operands) in
            [[Each, Each, Each], [Each, Column, Row], [Row, Each, One], [Column, One, Each]]
                .into_iter()
                .enumerate()
        {
            let (rows, columns) = [(5, 301), (40, 1), (3, 256), (1, 700)][i];
            let all: Vec<Vec<f32>> = operands
                .iter()
                .zip(7..)
                .map(|(operand, seed)| {
                    let len = match operand {
                        Each => rows * columns,
                        Row => rows,
                        Column => columns,
                        One => 1,
                    };
                    values(len, Values::Special, seed)
                })
                .collect();
            let shape = Element { function, rows, columns, operands };
            check_element(shape, arity, [&all[0], &all[1], &all[2]]);
        }
        let none = Element { function, rows: 0, columns: 3, operands: [Each; 3] };
        check_element(none, arity, [&[]; 3]);
    }
}

#[test]
fn functions_of_any_encoding_are_as_defined() {
    let mut draw = Draw(8);
    let random: Vec<f32> = (0..60_000)
        .map(|i| match i % 3 {
            0 => f32::from_bits(draw.next() as u32),
            _ => (draw.next() >> 40) as f32 / 65_536.0 - 128.0,
        })
        .collect();
    let ones = vec![1.0; random.len()];
    for (function, arity) in FUNCTIONS.into_iter().skip(6) {
        let operands = [Broadcast::Each; 3];
        let shape = Element { function, rows: 6, columns: 10_000, operands };
        let all = if arity == 1 { [&random, &ones, &ones] } else { [&ones, &random, &ones] };
        check_element(shape, arity, all.map(|values| &values[..]));
    }
}

#[test]
fn norms_and_their_gradients_are_as_defined() {
    each_shape(|[rows, width], of| {
        let [x, dy] = [9, 10].map(|seed| values(rows * width, of, seed));
        let [w, b] = [11, 12].map(|seed| values(width, of, seed));
        for kind in [NormKind::Layer, NormKind::MeanSquare, NormKind::SumOfSquares] {
            for (weight, bias) in [(true, true), (true, false), (false, true), (false, false)] {
                let epsilon = 1e-5f32.to_bits();
                check_norm(&Norm { rows, width, kind, epsilon, weight, bias }, [&x, &dy, &w, &b]);
            }
        }
    });
}

fn check_norm(shape: &Norm, [x, dy, w, b]: [&[f32]; 4]) {
    let what = format!("{shape:?}");
    let weight = shape.weight.then_some(w);
    let bias = shape.bias.then_some(b);
    let statistics = defined_of(&Op::NormStatistics(*shape), &[x]);
    check(&statistics, &what, |kernels, by, out| {
        let x = Unaligned::new(x, by + 3);
        kernels.norm_statistics(shape, x.get(by + 3), out).unwrap();
    });
    let statistics: Vec<f32> = statistics.into_iter().map(f32::from_bits).collect();
    let scaling: Vec<&[f32]> = weight.into_iter().chain(bias).collect();
    let inputs = [&[x, &statistics][..], &scaling].concat();
    check(&defined_of(&Op::Norm(*shape), &inputs), &what, |kernels, _, out| {
        kernels.norm(shape, x, &statistics, weight, bias, out).unwrap();
    });
    // A row's gradient reads it whole for each element.
    if shape.width < 2_000 && !shape.bias {
        let expected = defined_of(&Op::NormGradient(*shape), &[dy, x, &statistics, w]);
        check(&expected, &what, |kernels, by, out| {
            let dy = Unaligned::new(dy, by + 1);
            kernels.norm_gradient(shape, dy.get(by + 1), x, &statistics, weight, out).unwrap();
        });
    }
    let expected = defined_of(&Op::NormWeightGradient(*shape), &[dy, x, &statistics]);
    check(&expected, &what, |kernels, _, out| {
        kernels.norm_weight_gradient(shape, dy, x, &statistics, out).unwrap();
    });
}

#[test]
fn softmax_and_cross_entropy_are_as_defined() {
    each_shape(|[rows, columns], of| {
        let shape = [rows, columns];
        let x: Vec<f32> =
            values(rows * columns, of, 13).into_iter().map(|value| value * 20.0).collect();
        let dy = values(rows * columns, of, 14);
        let sums = defined_of(&Op::LogSumExp { rows, columns }, &[&x]);
        check(&sums, "sums", |kernels, by, out| {
            let x = Unaligned::new(&x, by + 1);
            kernels.log_sum_exp(shape, x.get(by + 1), out).unwrap();
        });
        if columns < 2_000 {
            let shares = defined_of(&Op::Softmax { rows, columns }, &[&x]);
            check(&shares, "shares", |kernels, _, out| kernels.softmax(shape, &x, out).unwrap());
            let shares: Vec<f32> = shares.into_iter().map(f32::from_bits).collect();
            let expected = defined_of(&Op::SoftmaxGradient { rows, columns }, &[&dy, &shares]);
            check(&expected, "gradient of shares", |kernels, _, out| {
                kernels.softmax_gradient(shape, &dy, &shares, out).unwrap();
            });
        }
        if columns == 0 {
            return;
        }
        let mut draw = Draw(15);
        let targets: Vec<u32> = (0..rows).map(|_| draw.next() as u32 % columns).collect();
        let upstream = values(rows, of, 16);
        let inputs = [&bits(&x)[..], &sums, &targets, &bits(&upstream)];
        let sums: Vec<f32> = sums.iter().map(|&sum| f32::from_bits(sum)).collect();
        let expected = defined(&Op::CrossEntropy { rows, columns }, &inputs);
        check(&expected, "losses", |kernels, _, out| {
            kernels.cross_entropy(shape, &x, &sums, &targets, out).unwrap();
        });
        let expected = defined(&Op::CrossEntropyGradient { rows, columns }, &inputs);
        check(&expected, "gradient of logits", |kernels, _, out| {
            out.copy_from_slice(&x);
            kernels.cross_entropy_gradient(shape, out, &sums, &targets, &upstream, None).unwrap();
        });
        let cap = 25.0f32;
        let operands = [Broadcast::Each, Broadcast::Each, Broadcast::One];
        let bounded = Element { function: Function::SoftCapSlope, rows, columns, operands };
        let expected = defined(&Op::Element(bounded), &[&expected, &bits(&x), &[cap.to_bits()]]);
        check(&expected, "gradient before a bound", |kernels, _, out| {
            out.copy_from_slice(&x);
            let cap = Some(cap);
            kernels.cross_entropy_gradient(shape, out, &sums, &targets, &upstream, cap).unwrap();
        });
    });
}

#[test]
fn bounded_values_are_as_defined() {
    for (len, of) in LENGTHS.into_iter().flat_map(|len| VALUES.map(|of| (len, of))) {
        let x: Vec<f32> = values(len, of, 34).into_iter().map(|value| value * 20.0).collect();
        for cap in [30.0, 0.5, -1.0, 0.0, f32::INFINITY, f32::NAN] {
            let operands = [Broadcast::Each, Broadcast::One, Broadcast::One];
            let shape = Element { function: Function::SoftCap, rows: 1, columns: len, operands };
            let expected = defined_of(&Op::Element(shape), &[&x, &[cap]]);
            check(&expected, &format!("cap {cap}"), |kernels, _, out| {
                out.copy_from_slice(&x);
                kernels.soft_cap(cap, out);
            });
        }
    }
}

/// Returns a function of elements, by its definition.
fn each(function: Function, operands: [&[f32]; 2]) -> Vec<f32> {
    let columns = operands[0].len() as u32;
    let zero = [Broadcast::Each, Broadcast::One, Broadcast::One];
    let all = [Broadcast::Each; 3];
    let operands_of = if function == Function::Above { zero } else { all };
    let element = Element { function, rows: 1, columns, operands: operands_of };
    defined_of(&Op::Element(element), &operands).into_iter().map(f32::from_bits).collect()
}

#[test]
fn activations_are_functions_of_the_definition() {
    for (activation, functions) in [
        (Activation::GeluTanh, Some((Function::GeluTanh, Function::GeluTanhSlope))),
        (Activation::Gelu, Some((Function::Gelu, Function::GeluSlope))),
        (Activation::Silu, Some((Function::Silu, Function::SiluSlope))),
        (Activation::Relu, None),
    ] {
        for of in VALUES {
            let [x, up, dy] = [31, 32, 33].map(|seed| values(1_003, of, seed));
            let above = each(Function::Above, [&x, &[0.0]]);
            let value = match functions {
                Some((function, _)) => each(function, [&x, &[]]),
                None => each(Function::Multiply, [&x, &above]),
            };
            let slope = |dy: &[f32]| match functions {
                Some((_, slope)) => each(slope, [dy, &x]),
                None => each(Function::Multiply, [dy, &above]),
            };
            check(&bits(&value), "activation", |kernels, _, out| {
                kernels.activate(activation, &x, None, out).unwrap();
            });
            let product = each(Function::Multiply, [&value, &up]);
            check(&bits(&product), "gated activation", |kernels, _, out| {
                kernels.activate(activation, &x, Some(&up), out).unwrap();
            });
            check(&bits(&slope(&dy)), "gradient", |kernels, _, out| {
                out.copy_from_slice(&dy);
                kernels.activation_gradient(activation, &x, None, out).unwrap();
            });
            let gradient_of_up = each(Function::Multiply, [&dy, &value]);
            let gradient_of_x = slope(&each(Function::Multiply, [&dy, &up]));
            for is_up in [false, true] {
                let expected = if is_up { &gradient_of_up } else { &gradient_of_x };
                check(&bits(expected), "gated gradient", |kernels, _, out| {
                    let (mut of_up, mut of_x) = (vec![0.0; dy.len()], dy.clone());
                    let gated = Gated { up: &up, gradient: &mut of_up };
                    kernels.activation_gradient(activation, &x, Some(gated), &mut of_x).unwrap();
                    out.copy_from_slice(if is_up { &of_up } else { &of_x });
                });
            }
        }
    }
    let wrong = Kernels::best().activate(Activation::Silu, &[0.0; 2], None, &mut [0.0; 3]);
    assert_eq!(wrong, Err(Error::Length { tensor: "x", expected: 3, found: 2 }));
}

#[test]
fn sums_in_place_are_as_defined() {
    for of in VALUES {
        let [x, y] = [41, 42].map(|seed| values(40_001, of, seed));
        check(&bits(&each(Function::Add, [&x, &y])), "sum", |kernels, _, out| {
            out.copy_from_slice(&x);
            kernels.add(&y, out).unwrap();
        });
    }
    assert!(Kernels::best().add(&[0.0], &mut []).is_err());
}

#[test]
fn rows_of_one_extreme_value_are_as_defined() {
    for value in [f32::NEG_INFINITY, f32::INFINITY, f32::NAN, 0.0, -0.0, f32::MAX, 1e-45] {
        for columns in [1, 32, 1_500] {
            let mut x = vec![value; columns as usize];
            x[0] = if value == 0.0 { -value } else { value };
            let sums = defined_of(&Op::LogSumExp { rows: 1, columns }, &[&x]);
            check(&sums, "sums", |kernels, _, out| {
                kernels.log_sum_exp([1, columns], &x, out).unwrap();
            });
            let shares = defined_of(&Op::Softmax { rows: 1, columns }, &[&x]);
            check(&shares, "shares", |kernels, _, out| {
                kernels.softmax([1, columns], &x, out).unwrap();
            });
        }
    }
}

#[test]
fn rotations_are_as_defined() {
    let scaled = |ramp| Some(Scaling { factor: 8_000_000, ramp, amplitude: 1_138_629_436 });
    let wavelengths = scaled(Ramp::Wavelengths { short: 20_000, long: 700_000 });
    for (length, heads, size, dimensions, scaling) in [
        (5, 3, 10, 8, None),
        (9, 1, 64, 64, None),
        (2, 2, 7, 0, None),
        (0, 1, 4, 2, None),
        (5, 3, 10, 8, scaled(Ramp::All)),
        (9, 2, 20, 16, wavelengths),
        (9, 2, 20, 16, scaled(Ramp::Pairs { first: 1_500_000, last: 5_200_000 })),
    ] {
        let angles = Angles { dimensions, base: 10_000, scaling };
        let table = RotaryTable::new(angles, length + 3).unwrap();
        for of in VALUES {
            for (interleaved, inverse) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let shape = Rotation { length, heads, size, angles, interleaved, inverse };
                let x = values(length * heads * size, of, 17);
                let width = heads * size;
                check(&defined_of(&Op::Rotation(shape), &[&x]), "rotation", |kernels, _, out| {
                    out.copy_from_slice(&x);
                    kernels.rotate(&shape, &table, width, out).unwrap();
                });
                // Two sequences whose rows are wider, by values that stay.
                let wide = |x: &[f32]| -> Vec<f32> {
                    let rows = x.chunks(width as usize);
                    let rows: Vec<f32> = rows.flat_map(|row| [row, &[7.0; 3]].concat()).collect();
                    rows.repeat(2)
                };
                let expected = defined_of(&Op::Rotation(shape), &[&x]);
                let expected: Vec<f32> = expected.into_iter().map(f32::from_bits).collect();
                check(&bits(&wide(&expected)), "wide rotation", |kernels, _, out| {
                    out.copy_from_slice(&wide(&x));
                    kernels.rotate(&shape, &table, width + 3, out).unwrap();
                });
                let slower = scaled(Ramp::Pairs { first: 0, last: 1 });
                for other in [Angles { base: 500, ..angles }, Angles { scaling: slower, ..angles }]
                {
                    let other = RotaryTable::new(other, length).unwrap();
                    let refused = Kernels::best().rotate(&shape, &other, width, &mut x.clone());
                    assert_eq!(refused, Err(Error::Angles));
                }
                let refused = Kernels::best().rotate(&shape, &table, width, &mut [0.0; 1]);
                assert!(matches!(refused, Err(Error::Length { tensor: "rows", .. })));
            }
        }
    }
    for (dimensions, base) in [(3, 10_000), (4, 0)] {
        assert!(RotaryTable::new(Angles { dimensions, base, scaling: None }, 4).is_err());
    }
}

/// Parameters, moments, and gradients after some steps, on so many threads.
fn steps(kernels: Kernels, count: u64, len: usize, of: Values, threads: usize) -> [Vec<f32>; 3] {
    let mut draw = Draw(18);
    let mut state = [draw.values(len, of), vec![0.0; len], vec![0.0; len]];
    with_threads(threads, || {
        for step in 1..=count {
            let gradients = draw.values(len, of);
            let factors = AdamWFactors::new::<f32>(&settings(step));
            let [parameters, first, second] = &mut state;
            let all = AdamWState { parameters, first, second };
            kernels.adamw(&factors, step % 2 == 0, all, &gradients, 0.3).unwrap();
        }
    });
    state
}

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

/// The same by the definition.
fn defined_steps(count: u64, len: usize, of: Values) -> [Vec<u32>; 3] {
    let mut draw = Draw(18);
    let mut state = [bits(&draw.values(len, of)), vec![0; len], vec![0; len]];
    for step in 1..=count {
        let (gradients, factor) = (bits(&draw.values(len, of)), [0.3f32.to_bits()]);
        let factors = AdamWFactors::new::<Soft32>(&settings(step));
        let inputs = [&state[0][..], &state[1], &state[2], &gradients, &factor];
        let parts = [AdamWPart::Parameters, AdamWPart::First, AdamWPart::Second];
        state = parts.map(|part| {
            let (len, decays) = (len as u32, step % 2 == 0);
            defined(&Op::AdamW(AdamW { part, len, decays, factors }), &inputs)
        });
    }
    state
}

#[test]
fn three_hundred_steps_of_adamw_are_as_defined() {
    for (count, len, of) in [
        (300, 101, Values::Plain),
        (300, 33, Values::Small),
        (3, 40_001, Values::Special),
        (1, 0, Values::Plain),
    ] {
        let expected = defined_steps(count, len, of);
        for (i, kernels) in Kernels::all().into_iter().enumerate() {
            let found = steps(kernels, count, len, of, 1 + i).map(|values| bits(&values));
            assert!(found == expected, "{} {count} {len} {of:?}", kernels.name());
        }
    }
    let (mut a, mut b, mut c) = ([0.0; 3], [0.0; 3], [0.0; 2]);
    let factors = AdamWFactors::new::<f32>(&settings(1));
    let all = AdamWState { parameters: &mut a, first: &mut b, second: &mut c };
    let wrong = Error::Length { tensor: "second moments", expected: 3, found: 2 };
    assert_eq!(Kernels::best().adamw(&factors, true, all, &[0.0; 3], 1.0), Err(wrong));
}

#[test]
fn threads_do_not_change_rows() {
    let (rows, columns) = (300, 211);
    let x = values(rows * columns, Values::Small, 19);
    let norm = Norm {
        rows,
        width: columns,
        kind: NormKind::Layer,
        epsilon: 0,
        weight: false,
        bias: false,
    };
    let run = |threads| {
        with_threads(threads, || {
            let mut all = vec![vec![0.0; (rows * columns) as usize]; 4];
            let kernels = Kernels::best();
            let mut statistics = vec![0.0; rows as usize * 2];
            kernels.norm_statistics(&norm, &x, &mut statistics).unwrap();
            kernels.norm(&norm, &x, &statistics, None, None, &mut all[0]).unwrap();
            kernels.norm_gradient(&norm, &x, &x, &statistics, None, &mut all[1]).unwrap();
            kernels.softmax([rows, columns], &x, &mut all[2]).unwrap();
            all[3].truncate(columns as usize);
            kernels.norm_weight_gradient(&norm, &x, &x, &statistics, &mut all[3]).unwrap();
            all.iter().flat_map(|values| bits(values)).collect::<Vec<_>>()
        })
    };
    let expected = run(1);
    assert!((2..=7).all(|threads| run(threads) == expected));
}

#[test]
fn wrong_sizes_of_rows_are_errors() {
    let (kernels, x) = (Kernels::best(), [0.0; 6]);
    let wrong = |tensor, expected, found| Err(Error::Length { tensor, expected, found });
    let mut out = [0.0; 6];
    assert_eq!(kernels.softmax([2, 3], &x[1..], &mut out), wrong("values", 6, 5));
    assert_eq!(kernels.softmax([2, 3], &x, &mut out[1..]), wrong("out", 6, 5));
    let found = kernels.row_sums([2, 3], Summand::Products, &x, None, &mut out[..2]);
    assert_eq!(found, Err(Error::Presence { tensor: "others" }));
    let targets = [1, 3];
    let found = kernels.cross_entropy([2, 3], &x, &[0.0; 2], &targets, &mut out[..2]);
    assert_eq!(found, Err(Error::Entry { tensor: "targets", entry: 3, bound: 3 }));
    let operands = [Broadcast::Each; 3];
    let shape = Element { function: Function::Exp, rows: 2, columns: 3, operands };
    let found = kernels.element(&shape, [Some(&x), Some(&x), None], &mut out);
    assert_eq!(found, Err(Error::Presence { tensor: "the second operand" }));
}
