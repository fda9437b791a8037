// SPDX-License-Identifier: Apache-2.0

//! Constants of a step, computed in binary64: rotary angles, and factors of AdamW.

use crate::real::{Double, Real, Single};

/// Reciprocal factorials of 0 to 16.
#[allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "the compiler runs it, and refuses overflow and wrong places"
)]
const FACTORIALS: [u64; 17] = {
    let mut all = [0; 17];
    let (mut i, mut factorial) = (0, 1.0);
    while i < 17 {
        if i > 1 {
            factorial *= i as f64;
        }
        all[i] = (1.0f64 / factorial).to_bits();
        i += 1;
    }
    all
};
/// Adding and subtracting this number rounds to an integer: 1.5 · 2^52.
const ROUND: u64 = 0x4338_0000_0000_0000;
const TWO_OVER_PI: u64 = core::f64::consts::FRAC_2_PI.to_bits();
/// π/2, negated, in two parts.
const HALF_PI: [u64; 2] =
    [(-core::f64::consts::FRAC_PI_2).to_bits(), (-6.123_233_995_736_766e-17f64).to_bits()];
const LOG2_E: u64 = core::f64::consts::LOG2_E.to_bits();
/// The logarithm of 2 in two parts.
const LN_2: [u64; 2] = [core::f64::consts::LN_2.to_bits(), 2.319_046_813_846_3e-17f64.to_bits()];
const ROOT_HALF: u64 = core::f64::consts::FRAC_1_SQRT_2.to_bits();
const ONE: u64 = 1f64.to_bits();
/// Terms of the series of a logarithm.
const LOG_TERMS: u64 = 11;

/// Returns `Σ x^i · coefficient i`, by Horner's rule.
fn series<D: Double>(coefficients: impl DoubleEndedIterator<Item = D>, x: D) -> D {
    coefficients.rev().fold(D::ZERO, |sum, coefficient| sum.fused(x, coefficient))
}

/// Returns the natural logarithm of a positive, normal, finite number.
fn log<D: Double>(x: D) -> D {
    let offset = x.to_bits().wrapping_add(ONE.wrapping_sub(ROOT_HALF));
    let exponent = (offset >> 52).wrapping_sub(1_023);
    let mantissa = D::from_bits((offset & ((1 << 52) - 1)).wrapping_add(ROOT_HALF));
    let whole = D::from_bits(ROUND.wrapping_add(exponent)).minus(D::from_bits(ROUND));
    // ln m = 2 · artanh s.
    let s = mantissa.minus(D::ONE).over(mantissa.plus(D::ONE));
    let odd = (0..LOG_TERMS).map(|i| D::ONE.over(D::from_integer(i.wrapping_mul(2) | 1)));
    let sum = series(odd, s.times(s)).times(s.plus(s));
    let [high, low] = LN_2.map(D::from_bits);
    whole.fused(high, whole.fused(low, sum))
}

/// Returns `e^x` for `x` between −700 and 700.
fn exp<D: Double>(x: D) -> D {
    let shifted = x.fused(D::from_bits(LOG2_E), D::from_bits(ROUND));
    let whole = shifted.minus(D::from_bits(ROUND)).negated();
    let [high, low] = LN_2.map(D::from_bits);
    let r = whole.fused(low, whole.fused(high, x));
    let sum = series(FACTORIALS.iter().take(14).map(|&bits| D::from_bits(bits)), r);
    let exponent = shifted.to_bits().wrapping_sub(ROUND).wrapping_add(1_023);
    sum.times(D::from_bits(exponent.wrapping_shl(52)))
}

/// Returns sine and cosine of an angle of at most 2^30.
fn sine_cosine<D: Double>(angle: D) -> (D, D) {
    let shifted = angle.fused(D::from_bits(TWO_OVER_PI), D::from_bits(ROUND));
    let whole = shifted.minus(D::from_bits(ROUND));
    let [high, low] = HALF_PI.map(D::from_bits);
    let r = whole.fused(low, whole.fused(high, angle));
    let square = r.times(r).negated();
    let terms = |first| FACTORIALS.iter().skip(first).step_by(2).map(|&bits| D::from_bits(bits));
    let sine = series(terms(1), square).times(r);
    let cosine = series(terms(0), square);
    match shifted.to_bits() & 3 {
        0 => (sine, cosine),
        1 => (cosine, sine.negated()),
        2 => (sine.negated(), cosine.negated()),
        _ => (cosine.negated(), sine),
    }
}

/// Returns sine and cosine of the angle `position · base^(−2 · pair / dimensions)`.
///
/// `None` unless `pair < dimensions / 2`, `dimensions` is not zero, `base` is at least 1, and
/// `position` is below 2^30.
pub fn rotary<F: Single>(dimensions: u32, base: u32, pair: u32, position: u32) -> Option<(F, F)> {
    if pair >= dimensions / 2 || base == 0 || position >= 1 << 30 {
        return None;
    }
    let integer = |x: u32| F::Wide::from_integer(x.into());
    let power = integer(pair).plus(integer(pair)).over(integer(dimensions)).negated();
    let rate = exp(power.times(log(integer(base))));
    let (sine, cosine) = sine_cosine(integer(position).times(rate));
    Some((sine.narrow(), cosine.narrow()))
}

/// Returns `base` to the power `exponent`, by squaring.
fn power<D: Double>(mut base: D, mut exponent: u64) -> D {
    let mut product = D::ONE;
    while exponent > 0 {
        if exponent & 1 == 1 {
            product = product.times(base);
        }
        base = base.times(base);
        exponent >>= 1;
    }
    product
}

/// Settings of AdamW, as recipes state them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdamWSettings {
    /// Decay of the first moment, in millionths.
    pub beta1: u32,
    /// Decay of the second moment, in millionths.
    pub beta2: u32,
    /// Addend to the root of the second moment, in billionths.
    pub epsilon: u64,
    /// Decay of weights, in millionths.
    pub weight_decay: u32,
    /// Learning rate of the step, in billionths.
    pub rate: u64,
    /// Number of the step, from 1.
    pub step: u64,
}

/// Factors of a step of AdamW, as encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdamWFactors {
    /// Decay of the first moment.
    pub beta1: u32,
    /// 1 less that.
    pub share1: u32,
    /// Decay of the second moment.
    pub beta2: u32,
    /// 1 less that.
    pub share2: u32,
    /// Addend to the root of the second moment.
    pub epsilon: u32,
    /// Learning rate, divided by the bias correction of the first moment.
    pub rate: u32,
    /// Inverse root of the bias correction of the second moment.
    pub correction2: u32,
    /// Factor on parameters that decay.
    pub decay: u32,
}

impl AdamWFactors {
    /// Computes the factors of a step, with the arithmetic of `F`.
    pub fn new<F: Single>(settings: &AdamWSettings) -> Self {
        let parts = |count: u64, whole: u64| {
            F::Wide::from_integer(count).over(F::Wide::from_integer(whole))
        };
        let millionths = |count: u32| parts(count.into(), 1_000_000);
        let one = F::Wide::ONE;
        let correction = |beta| one.minus(power(beta, settings.step));
        let (beta1, beta2) = (millionths(settings.beta1), millionths(settings.beta2));
        let rate = parts(settings.rate, 1_000_000_000);
        let bits = |x: F::Wide| x.narrow().to_bits();
        Self {
            beta1: bits(beta1),
            share1: bits(millionths(1_000_000u32.saturating_sub(settings.beta1))),
            beta2: bits(beta2),
            share2: bits(millionths(1_000_000u32.saturating_sub(settings.beta2))),
            epsilon: bits(parts(settings.epsilon, 1_000_000_000)),
            rate: bits(rate.over(correction(beta1))),
            correction2: bits(one.over(correction(beta2).root())),
            decay: bits(one.minus(rate.times(millionths(settings.weight_decay)))),
        }
    }
}

/// Returns the factor on the sum of the gradients of `count` micro-batches, whose sum of squares
/// is `squares`: the mean, shortened to a norm of `clip` millionths where it is longer.
pub fn clip_factor<F: Single>(squares: F, count: u32, clip: u32) -> F {
    let count = F::Wide::from_integer(count.into());
    let norm = squares.widen().root().over(count);
    let clip = F::Wide::from_integer(clip.into()).over(F::Wide::from_integer(1_000_000));
    let scale = if clip.is_below(norm) { clip.over(norm) } else { F::Wide::ONE };
    scale.over(count).narrow()
}
