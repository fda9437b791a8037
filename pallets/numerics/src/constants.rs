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
const TAU: u64 = core::f64::consts::TAU.to_bits();
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

/// Angles by which pairs of values turn for each position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Angles {
    /// Number of values that turn; even.
    pub dimensions: u32,
    /// Base of the rates, at least 1: pair `i` turns by `base^(−2i / dimensions)`.
    pub base: u32,
    /// Scaling of the rates.
    pub scaling: Option<Scaling>,
}

/// Scaling of the rates of angles: `kept · rate + (1 − kept) · rate / factor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling {
    /// Divisor of the rates in millionths, at least 1.
    pub factor: u32,
    /// Share of each rate that is kept.
    pub ramp: Ramp,
    /// Factor on sines and cosines, in billionths.
    pub amplitude: u32,
}

/// Share of each rate that is kept when rates are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ramp {
    /// Nothing.
    All,
    /// All up to wavelength `short`, nothing from `long` on, linear in the rate in between.
    Wavelengths {
        /// Longest wavelength that is kept, in thousandths of a position; not zero.
        short: u32,
        /// Shortest wavelength that is scaled wholly, in thousandths of a position.
        long: u32,
    },
    /// All up to pair `first`, nothing from `last` on, linear in the index in between.
    Pairs {
        /// Last pair that is kept, in millionths.
        first: u32,
        /// First pair that is scaled wholly, in millionths.
        last: u32,
    },
}

impl Angles {
    /// Returns `true` if there are such angles.
    pub(crate) fn are_valid(&self) -> bool {
        let Self { dimensions, base, scaling } = *self;
        let is_valid = |Scaling { factor, ramp, .. }| {
            let rises = match ramp {
                Ramp::All => true,
                Ramp::Wavelengths { short, long } => 0 < short && short < long,
                Ramp::Pairs { first, last } => first < last,
            };
            rises && factor >= 1_000_000
        };
        dimensions % 2 == 0 && base > 0 && scaling.is_none_or(is_valid)
    }

    /// Returns the angle of a pair for each position.
    fn rate<D: Double>(&self, pair: u32) -> D {
        let integer = |x: u32| D::from_integer(x.into());
        let power = integer(pair).plus(integer(pair)).over(integer(self.dimensions)).negated();
        let rate = exp(power.times(log(integer(self.base))));
        self.scaling.map_or(rate, |scaling| scaling.scaled(pair, rate))
    }
}

impl Scaling {
    fn scaled<D: Double>(&self, pair: u32, rate: D) -> D {
        let kept = self.kept(pair, rate);
        let slower = rate.over(parts(self.factor.into(), 1_000_000));
        rate.times(kept).plus(slower.times(D::ONE.minus(kept)))
    }

    fn kept<D: Double>(&self, pair: u32, rate: D) -> D {
        let kept: D = match self.ramp {
            Ramp::All => D::ZERO,
            Ramp::Wavelengths { short, long } => {
                let [short, long] = [short, long].map(|length| parts::<D>(1_000, length.into()));
                rate.over(D::from_bits(TAU)).minus(long).over(short.minus(long))
            }
            Ramp::Pairs { first, last } => {
                let [first, last] = [first, last].map(|pair| parts::<D>(pair.into(), 1_000_000));
                last.minus(D::from_integer(pair.into())).over(last.minus(first))
            }
        };
        if kept.is_below(D::ZERO) {
            D::ZERO
        } else if D::ONE.is_below(kept) {
            D::ONE
        } else {
            kept
        }
    }
}

/// Returns `count / whole`.
fn parts<D: Double>(count: u64, whole: u64) -> D {
    D::from_integer(count).over(D::from_integer(whole))
}

/// Returns sine and cosine of the angle of a pair at `position`, times the amplitude.
///
/// `None` unless there are such angles, `pair < dimensions / 2`, and `position` is below 2^30.
pub fn rotary<F: Single>(angles: &Angles, pair: u32, position: u32) -> Option<(F, F)> {
    if !angles.are_valid() || pair >= angles.dimensions / 2 || position >= 1 << 30 {
        return None;
    }
    let turned = F::Wide::from_integer(position.into()).times(angles.rate(pair));
    let (sine, cosine) = sine_cosine(turned);
    let Some(Scaling { amplitude, .. }) = angles.scaling else {
        return Some((sine.narrow(), cosine.narrow()));
    };
    let amplitude: F::Wide = parts(amplitude.into(), 1_000_000_000);
    Some((sine.times(amplitude).narrow(), cosine.times(amplitude).narrow()))
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
        let millionths = |count: u32| parts::<F::Wide>(count.into(), 1_000_000);
        let one = F::Wide::ONE;
        let correction = |beta| one.minus(power(beta, settings.step));
        let (beta1, beta2) = (millionths(settings.beta1), millionths(settings.beta2));
        let rate: F::Wide = parts(settings.rate, 1_000_000_000);
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
    let clip: F::Wide = parts(clip.into(), 1_000_000);
    let scale = if clip.is_below(norm) { clip.over(norm) } else { F::Wide::ONE };
    scale.over(count).narrow()
}
