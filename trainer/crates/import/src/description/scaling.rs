// SPDX-License-Identifier: Apache-2.0

//! Scaled rotations in the units of a specification.

use pol_primitives::model::{RotaryScaling, ScalingRamp};
use std::f64::consts::TAU;

/// Unit of wavelengths in parts of a token.
const WAVELENGTH_UNIT: f64 = RotaryScaling::WAVELENGTH_UNIT as f64;
/// Unit of pairs.
const PAIR_UNIT: u32 = RotaryScaling::PAIR_UNIT;

/// Returns linear scaling by `factor` with an `amplitude` of queries and keys, or `None` if they
/// are out of range.
pub(crate) fn linear(factor: f64, amplitude: f64) -> Option<RotaryScaling> {
    scaled(factor, ScalingRamp::All, amplitude)
}

/// Returns the scaling of LLaMA 3 between two wavelengths in tokens, or `None` if a number is out
/// of range.
pub(crate) fn between_wavelengths(factor: f64, short: f64, long: f64) -> Option<RotaryScaling> {
    let [short, long] =
        [short, long].map(|tokens| units(tokens, WAVELENGTH_UNIT).filter(|&units| units > 0));
    let (short, long) = (short?, long?);
    (short < long).then(|| scaled(factor, ScalingRamp::Wavelengths { short, long }, 1.0)).flatten()
}

/// Parameters of YaRN.
pub(crate) struct Yarn {
    pub(crate) factor: f64,
    /// Factor of queries and keys.
    pub(crate) amplitude: f64,
    /// Turns within the original context from which a pair is kept.
    pub(crate) beta_fast: f64,
    /// Turns within the original context up to which a pair is scaled wholly.
    pub(crate) beta_slow: f64,
    /// Context of the first training, in tokens.
    pub(crate) original: f64,
    /// Set if the bounds of the ramp are whole pairs.
    pub(crate) truncate: bool,
    pub(crate) dimensions: u16,
    pub(crate) base: u32,
}

impl Yarn {
    /// Usual bounds of the ramp in turns.
    pub(crate) const USUAL_BETAS: (f64, f64) = (32.0, 1.0);

    /// Returns the usual factor of queries and keys.
    pub(crate) fn usual_amplitude(factor: f64) -> f64 {
        if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 }
    }

    /// Returns the scaling, or `None` if a number is out of range.
    pub(crate) fn scaling(&self) -> Option<RotaryScaling> {
        let dimensions = f64::from(self.dimensions);
        // Pair that turns so often within the original context.
        let pair = |turns: f64| {
            dimensions * (self.original / (turns * TAU)).ln() / (2.0 * f64::from(self.base).ln())
        };
        let (first, last) = (pair(self.beta_fast), pair(self.beta_slow));
        let (first, last) =
            if self.truncate { (first.floor(), last.ceil()) } else { (first, last) };
        let (first, last) = (first.max(0.0), last.min(dimensions - 1.0));
        // The reference keeps the ramp from being a step in the same way.
        let last = if first == last { last + 0.001 } else { last };
        let bound = |pair: f64| units(pair, f64::from(PAIR_UNIT));
        let (first, last) = (bound(first)?, bound(last)?);
        if first >= last {
            return None;
        }
        scaled(self.factor, ScalingRamp::Pairs { first, last }, self.amplitude)
    }
}

/// Rotation whose rates are divided by other numbers in texts that are longer than those of the
/// first training (Ding et al. 2024, "LongRoPE").
///
/// A specification has one rotation for all texts. It is that of short ones, and its context ends
/// where they do.
pub(crate) struct LongRope<'a> {
    /// Divisor of the rate of each pair in texts of at most `original` tokens.
    pub(crate) short: &'a [f32],
    /// Divisors in longer texts.
    pub(crate) long: &'a [f32],
    /// Context of the first training, in tokens.
    pub(crate) original: u32,
    /// Factor of queries and keys in all texts.
    pub(crate) amplitude: f64,
}

/// Reason for which a [`LongRope`] is no scaling of a specification.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LongRopeError {
    /// The divisors of short texts differ, and a specification has no list of them.
    ManyFactors,
    /// A number is out of range.
    OutOfRange,
}

/// Feature that [`LongRopeError::ManyFactors`] names.
pub(crate) const MANY_FACTORS: &str =
    "rope scaling of type 'longrope' with short factors that differ between pairs";

impl LongRope<'_> {
    /// Returns the usual factor of queries and keys in a model whose context is `factor` times that
    /// of its first training.
    pub(crate) fn usual_amplitude(factor: f64, original: f64) -> f64 {
        if factor > 1.0 { (1.0 + factor.ln() / original.ln()).sqrt() } else { 1.0 }
    }

    /// Returns the scaling of short texts, if there is any.
    pub(crate) fn scaling(&self) -> Result<Option<RotaryScaling>, LongRopeError> {
        let factor = self.short.first().copied().unwrap_or(1.0);
        if self.short.iter().any(|other| other != &factor) {
            return Err(LongRopeError::ManyFactors);
        }
        let scaling = linear(factor.into(), self.amplitude).ok_or(LongRopeError::OutOfRange)?;
        let none = RotaryScaling {
            factor: RotaryScaling::FACTOR_UNIT,
            ramp: ScalingRamp::All,
            amplitude: RotaryScaling::AMPLITUDE_UNIT,
        };
        Ok((scaling != none).then_some(scaling))
    }

    /// Returns the longest text that is short, unless long ones are rotated alike.
    pub(crate) fn longest(&self) -> Option<u32> {
        (self.short != self.long).then_some(self.original)
    }
}

/// Returns the scaling of LLaMA 3 whose divisors of the rates `base^(−2i / dimensions)` are
/// `divisors`, or `None` if there is none. The divisors are float32.
pub(crate) fn from_divisors(divisors: &[f32], base: u32) -> Option<RotaryScaling> {
    let dimensions = 2.0 * divisors.len() as f64;
    let rates = || (0..divisors.len()).map(|i| f64::from(base).powf(-2.0 * i as f64 / dimensions));
    let factor = divisors.iter().copied().fold(1.0, f32::max).into();
    // Between the wavelengths, the kept share is a line over the rate.
    let kept: Vec<(f64, f64)> = rates()
        .zip(divisors)
        .map(|(rate, &divisor)| {
            (rate / TAU, (1.0 / f64::from(divisor) - 1.0 / factor) / (1.0 - 1.0 / factor))
        })
        .filter(|&(_, kept)| (1e-4..1.0 - 1e-4).contains(&kept))
        .collect();
    let ends = (kept.first().copied(), kept.last().copied());
    let fitted = match ends {
        (Some((high, a)), Some((low, b))) if high > low => {
            let slope = (a - b) / (high - low);
            let zero = low - b / slope;
            Some((1.0 / (zero + 1.0 / slope), 1.0 / zero))
        }
        _ => None,
    };
    // LLaMA 3.1 and later have 2,048 and 8,192, should too few pairs be between.
    let candidates = fitted.map(|(short, long)| (short.round(), long.round())).into_iter();
    candidates.chain([(2_048.0, 8_192.0)]).find_map(|(short, long)| {
        let scaling = between_wavelengths(factor, short, long)?;
        let agrees = rates().zip(divisors).all(|(rate, &divisor)| {
            let kept = ((rate / TAU - 1.0 / long) / (1.0 / short - 1.0 / long)).clamp(0.0, 1.0);
            let expected = 1.0 / (kept + (1.0 - kept) / factor);
            (expected - f64::from(divisor)).abs() <= 1e-5 * expected
        });
        agrees.then_some(scaling)
    })
}

/// Returns the parameters of YaRN that lead to `scaling`, or `None` if it is not YaRN's. Of those
/// that do, the usual ones are preferred. `context` is that of the model.
pub(crate) fn yarn_of(
    scaling: &RotaryScaling,
    dimensions: u16,
    base: u32,
    context: u32,
) -> Option<Yarn> {
    let ScalingRamp::Pairs { first, last } = scaling.ramp else { return None };
    let factor = f64::from(scaling.factor) / f64::from(RotaryScaling::FACTOR_UNIT);
    let usual = Yarn::usual_amplitude(factor);
    let unit = f64::from(RotaryScaling::AMPLITUDE_UNIT);
    let is_usual = units(usual, unit) == Some(scaling.amplitude);
    let amplitude = if is_usual { usual } else { f64::from(scaling.amplitude) / unit };
    let quotient = (f64::from(context) / factor).round().max(1.0);
    let yarn = |original: f64, (beta_fast, beta_slow): (f64, f64), truncate: bool| Yarn {
        factor,
        amplitude,
        beta_fast,
        beta_slow,
        original,
        truncate,
        dimensions,
        base,
    };
    let powers = (4..=24).map(|power| f64::from(1u32 << power));
    let usual = [quotient].into_iter().chain(powers).map(|original| {
        let (beta_fast, beta_slow) = Yarn::USUAL_BETAS;
        yarn(original, (beta_fast, beta_slow), true)
    });
    // Turns of a pair within the original context.
    let turns = |pair: f64| {
        let wavelengths = f64::from(base).powf(2.0 * pair / f64::from(dimensions));
        quotient / (TAU * wavelengths)
    };
    let [first, last] = [first, last].map(|pair| f64::from(pair) / f64::from(PAIR_UNIT));
    // Whole pairs lie in the middle between those that round to others.
    let whole = yarn(quotient, (turns(first + 0.5), turns(last - 0.5)), true);
    let exact = yarn(quotient, (turns(first), turns(last)), false);
    usual.chain([whole, exact]).find(|yarn| yarn.scaling().as_ref() == Some(scaling))
}

/// Returns the divisors of the rates `base^(−2i / dimensions)` that LLaMA 3's `scaling` stands for,
/// or `None` if it is another one.
pub(crate) fn to_divisors(scaling: &RotaryScaling, dimensions: u16, base: u32) -> Option<Vec<f32>> {
    let ScalingRamp::Wavelengths { short, long } = scaling.ramp else { return None };
    let [short, long] = [short, long].map(|length| f64::from(length) / WAVELENGTH_UNIT);
    let factor = f64::from(scaling.factor) / f64::from(RotaryScaling::FACTOR_UNIT);
    let rate = |i: u16| f64::from(base).powf(-2.0 * f64::from(i) / f64::from(dimensions)) / TAU;
    let divisor = |i| {
        let kept = ((rate(i) - 1.0 / long) / (1.0 / short - 1.0 / long)).clamp(0.0, 1.0);
        (1.0 / (kept + (1.0 - kept) / factor)) as f32
    };
    Some((0..dimensions / 2).map(divisor).collect())
}

fn scaled(factor: f64, ramp: ScalingRamp, amplitude: f64) -> Option<RotaryScaling> {
    if factor < 1.0 {
        return None;
    }
    Some(RotaryScaling {
        factor: units(factor, RotaryScaling::FACTOR_UNIT.into())?,
        ramp,
        amplitude: units(amplitude, RotaryScaling::AMPLITUDE_UNIT.into())?,
    })
}

/// Converts `value` to whole units, of which one has `unit`.
fn units(value: f64, unit: f64) -> Option<u32> {
    let units = (value * unit).round();
    (0.0..=f64::from(u32::MAX)).contains(&units).then_some(units as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yarn_leads_back_to_its_parameters() {
        let yarn = |original, betas: (f64, f64), truncate, amplitude| Yarn {
            factor: 4.0,
            amplitude,
            beta_fast: betas.0,
            beta_slow: betas.1,
            original,
            truncate,
            dimensions: 128,
            base: 1_000_000,
        };
        let usual = Yarn::usual_amplitude(4.0);
        for (yarn, context) in [
            (yarn(32_768.0, (32.0, 1.0), true, usual), 131_072),
            (yarn(32_768.0, (32.0, 1.0), true, 1.0), 32_768),
            (yarn(3_000.0, (16.0, 2.0), true, usual), 1_000),
            (yarn(3_000.0, (16.0, 2.0), false, 0.5), 1_000),
        ] {
            let scaling = yarn.scaling().unwrap();
            let found = yarn_of(&scaling, 128, 1_000_000, context).unwrap();
            assert_eq!(found.scaling(), Some(scaling));
            if yarn.original == 32_768.0 {
                assert_eq!((found.original, found.beta_fast), (32_768.0, 32.0));
            }
        }
        assert!(yarn_of(&linear(2.0, 1.0).unwrap(), 128, 10_000, 64).is_none());
    }

    /// Divisors of LLaMA 3.2, as llama.cpp's converter writes them.
    fn divisors(factor: f64, pairs: usize, base: f64) -> Vec<f32> {
        let rate = |i: usize| base.powf(-(i as f64) / pairs as f64);
        let divisor = |wavelength: f64| {
            if wavelength < 2_048.0 {
                1.0
            } else if wavelength > 8_192.0 {
                factor
            } else {
                let smooth = (8_192.0 / wavelength - 1.0) / 3.0;
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        (0..pairs).map(|i| divisor(TAU / rate(i)) as f32).collect()
    }

    #[test]
    fn divisors_lead_back_to_the_scaling() {
        let ramp = ScalingRamp::Wavelengths { short: 2_048_000, long: 8_192_000 };
        for (factor, pairs) in [(8.0, 64), (32.0, 32), (8.0, 8), (4.0, 4)] {
            let expected = scaled(factor, ramp, 1.0);
            let divisors = divisors(factor, pairs, 5e5);
            assert_eq!(from_divisors(&divisors, 500_000), expected);
            let scaling = expected.unwrap();
            let ours = to_divisors(&scaling, 2 * pairs as u16, 500_000).unwrap();
            assert!(ours.iter().zip(&divisors).all(|(a, b)| (a - b).abs() <= 1e-6 * b));
        }
        // Another curve is no such scaling.
        let mut other = divisors(8.0, 32, 5e5);
        other[16] *= 1.01;
        assert_eq!(from_divisors(&other, 500_000), None);
        assert_eq!(from_divisors(&[2.0, f32::NAN], 10_000), None);
    }

    #[test]
    fn long_texts_may_have_another_rotation() {
        let amplitude = LongRope::usual_amplitude(32.0, 4_096.0);
        let long_rope = |short, long| LongRope { short, long, original: 4_096, amplitude };
        // Phi-4-mini's, whose factor of queries and keys others write as 1.1902.
        let (ones, others) = ([1.0f32; 3], [1.0, 1.118_320_7, 32.03]);
        let phi4 = long_rope(&ones, &others);
        let scaling = phi4.scaling().unwrap().unwrap();
        assert_eq!((scaling.factor, scaling.amplitude), (1_000_000, 1_190_238_071));
        assert_eq!((scaling.ramp, phi4.longest()), (ScalingRamp::All, Some(4_096)));
        // All texts alike.
        let alike = long_rope(&[1.05, 1.05], &[1.05, 1.05]);
        assert_eq!(alike.scaling().unwrap().unwrap().factor, 1_050_000);
        assert_eq!(alike.longest(), None);
        let none = LongRope { amplitude: 1.0, ..phi4 };
        assert_eq!((none.scaling(), none.longest()), (Ok(None), Some(4_096)));
        assert_eq!(long_rope(&others, &ones).scaling(), Err(LongRopeError::ManyFactors));
        for (factor, amplitude) in [(0.5, 1.0), (f32::NAN, 1.0), (1.0, f64::INFINITY)] {
            let short = [factor];
            let out = LongRope { short: &short, amplitude, ..long_rope(&ones, &ones) };
            let expected = if factor.is_nan() {
                LongRopeError::ManyFactors
            } else {
                LongRopeError::OutOfRange
            };
            assert_eq!(out.scaling(), Err(expected));
        }
        assert_eq!(LongRope::usual_amplitude(1.0, 4_096.0), 1.0);
        assert!(LongRope::usual_amplitude(2.0, 1.0).is_infinite());
    }

    #[test]
    fn numbers_out_of_range_are_no_scaling() {
        assert_eq!(linear(0.5, 1.0), None);
        assert_eq!(linear(5_000.0, 1.0), None);
        assert_eq!(linear(f64::NAN, 1.0), None);
        assert_eq!(linear(1.0, -1.0), None);
        assert_eq!(between_wavelengths(8.0, 9.0, 9.0), None);
        assert_eq!(between_wavelengths(8.0, 9.0, f64::INFINITY), None);
        let yarn = |original| Yarn {
            factor: 4.0,
            amplitude: 1.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original,
            truncate: true,
            dimensions: 64,
            base: 10_000,
        };
        assert_eq!(yarn(0.0).scaling(), None);
        assert!(yarn(4_096.0).scaling().is_some());
    }
}
