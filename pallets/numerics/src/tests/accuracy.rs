// SPDX-License-Identifier: Apache-2.0

//! Errors of elementary functions against binary64, in units in the last place of the result.
//!
//! libm's functions err by less than one unit of binary64, so figures are right to 2^-28.

use super::Draw;
use crate::functions::*;
use std::thread;

/// A function, what it should give, its limit in units, and the smallest magnitude of results that
/// units are those of. Smaller results are compared with that magnitude.
type Row = (&'static str, fn(f32) -> f32, fn(f64) -> f64, f64, f64);

/// Smallest subnormal number.
const TINY: f64 = 1.401_298_464_324_817e-45;

fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x * core::f64::consts::FRAC_1_SQRT_2)
}

fn bell(x: f64) -> f64 {
    libm::exp(-x * x / 2.0) / libm::sqrt(core::f64::consts::TAU)
}

fn logistic(x: f64) -> f64 {
    if x < 0.0 { libm::exp(x) / (1.0 + libm::exp(x)) } else { 1.0 / (1.0 + libm::exp(-x)) }
}

fn inner(x: f64) -> f64 {
    libm::sqrt(8.0 / core::f64::consts::PI) * (x + 0.044715 * x * x * x)
}

fn inner_slope(x: f64) -> f64 {
    libm::sqrt(8.0 / core::f64::consts::PI) * (1.0 + 3.0 * 0.044715 * x * x)
}

const ROWS: [Row; 13] = [
    ("exp", exp, libm::exp, 1.0, TINY),
    ("log", log, libm::log, 1.0, TINY),
    ("reciprocal_root", reciprocal_root, |x| 1.0 / libm::sqrt(x), 1.5, TINY),
    ("sigmoid", sigmoid, logistic, 2.5, TINY),
    ("silu", silu, |x| x * logistic(x), 3.5, 1e-36),
    ("silu_slope", silu_slope, |x| logistic(x) * (1.0 + x * logistic(-x)), 4.0, 0.125),
    ("gelu_tanh", gelu_tanh, |x| x * logistic(inner(x)), 4.0, 0.125),
    (
        "gelu_tanh_slope",
        gelu_tanh_slope,
        |x| logistic(inner(x)) * (1.0 + x * inner_slope(x) * logistic(-inner(x))),
        8.0,
        0.125,
    ),
    ("gelu", gelu, |x| x * below(x), 8.5, 1e-30),
    ("gelu_slope", gelu_slope, |x| below(x) + x * bell(x), 10.0, 0.125),
    ("tanh", tanh, libm::tanh, 3.0, TINY),
    ("soft_cap", |x| soft_cap(x, 30.0), |x| 30.0 * libm::tanh(x / 30.0), 4.5, 1e-36),
    (
        "soft_cap_slope",
        |x| soft_cap_slope(soft_cap(x, 30.0), 30.0),
        |x| 1.0 - libm::tanh(x / 30.0) * libm::tanh(x / 30.0),
        22.0,
        0.125,
    ),
];

/// Returns the distance in units in the last place of the exact result.
fn units(found: f32, exact: f64, floor: f64) -> f64 {
    // Beyond the middle of the largest number and the next, infinity is right.
    if exact.is_nan() || exact.abs() >= 3.402_823_567_797_337e38 {
        let right = if exact.is_nan() {
            found.is_nan()
        } else {
            f64::from(found) == exact.signum() * f64::INFINITY
        };
        // A result next to overflow may be on either side.
        let near = exact.abs() < 3.402_824e38 && found.abs() >= 3.402_82e38;
        return if right || near { 0.0 } else { f64::INFINITY };
    }
    let scale = exact.abs().max(floor).max(f64::from(f32::MIN_POSITIVE));
    let unit = libm::exp2(libm::floor(libm::log2(scale)) - 23.0);
    let distance = (f64::from(found) - exact).abs() / unit;
    if distance.is_nan() { f64::INFINITY } else { distance }
}

/// Returns the largest error of a row over the arguments, and where it is.
fn largest(row: &Row, arguments: impl Iterator<Item = u32>) -> (f64, u32) {
    let (_, function, exact, _, floor) = row;
    arguments
        .map(f32::from_bits)
        // Results at infinities are NaN or limits by definition.
        .filter(|x| x.is_finite())
        .map(|x| (units(function(x), exact(x.into()), *floor), x.to_bits()))
        .fold((0.0, 0), |worst, found| if found.0 > worst.0 { found } else { worst })
}

fn check(row: &Row, (error, at): (f64, u32)) {
    let (name, .., limit, _) = row;
    println!("{name}: {error:.3} units at {:e} ({at:08x})", f32::from_bits(at));
    assert!(error <= *limit, "{name}: {error} at {:e} ({at:08x})", f32::from_bits(at));
}

#[test]
fn errors_of_a_sample_are_within_their_limits() {
    for row in &ROWS {
        let mut draw = Draw::new(3);
        let everywhere = (0..=u32::MAX).step_by(4_099);
        let middle = (0..200_000).map(|_| draw.value(20.0));
        check(row, largest(row, everywhere.chain(middle)));
    }
}

#[test]
fn the_hyperbolic_tangent_is_odd_and_ends_at_one() {
    let mut draw = Draw::new(4);
    for x in (0..100_000).map(|_| f32::from_bits(draw.value(20.0))) {
        assert_eq!(tanh(-x).to_bits(), (-tanh(x)).to_bits(), "{x}");
        assert!(tanh(x).abs() <= 1.0 && soft_cap(x, 0.3).abs() <= 0.3, "{x}");
        assert!(soft_cap_slope(soft_cap(x, 0.3), 0.3) >= 0.0, "{x}");
    }
    assert_eq!((tanh(9.1), tanh(f32::INFINITY), tanh(f32::NEG_INFINITY)), (1.0, 1.0, -1.0));
    assert_eq!((tanh(0.0).to_bits(), tanh(-0.0).to_bits()), (0, (-0f32).to_bits()));
    assert_eq!((soft_cap(1e6, 30.0), soft_cap_slope(30.0, 30.0)), (30.0, 0.0));
    assert!(tanh(f32::NAN).is_nan());
}

#[test]
#[ignore = "all 2^32 arguments of all functions take an hour on two cores"]
fn errors_of_all_arguments_are_within_their_limits() {
    for row in &ROWS {
        let threads = thread::available_parallelism().map_or(1, |count| count.get() as u64);
        let share = (1u64 << 32).div_ceil(threads);
        let worst = thread::scope(|scope| {
            let part = |i: u64| {
                let range = i * share..((i + 1) * share).min(1 << 32);
                scope.spawn(move || largest(row, range.map(|bits| bits as u32)))
            };
            let parts: Vec<_> = (0..threads).map(part).collect();
            parts
                .into_iter()
                .map(|part| part.join().unwrap())
                .fold((0.0, 0), |a, b| if b.0 > a.0 { b } else { a })
        });
        check(row, worst);
    }
}
