// SPDX-License-Identifier: Apache-2.0

//! Blocks of 256 inputs of GGUF's K-quants, found again in the float32 values that they stand for.
//!
//! The scales of a block's parts are multiples of one f16, by integers of 6 bits, and so are its
//! minima. A part of a Q4_K has 32 weights, which bound its scale so narrowly that few f16 have a
//! multiple there. The part with the widest range gives these, and the other parts tell which of
//! them is right. The f16 of the minima is found in the same way. A block is compared with each
//! weight to the bit, so it is right or refused.

use super::{
    blocks::{BLOCK_INPUTS, SHORT_BLOCK_INPUTS, SUPER_INPUTS},
    halves::{from_half, to_half},
    k_quants::{Steps, margin, nearest, symmetric_levels},
};
use half::f16;

/// Parts of a block with levels of 4 or 5 bits.
pub(super) const PARTS: usize = SUPER_INPUTS / BLOCK_INPUTS;
/// Parts of a block with levels of 6 bits.
pub(super) const SHORT_PARTS: usize = SUPER_INPUTS / SHORT_BLOCK_INPUTS;
/// Largest integer of a scale or a minimum.
const MAX_FACTOR: u8 = 63;
/// Level of a weight of zero in a block with levels of 6 bits.
const ZERO_LEVEL: u8 = 32;

/// Weights of a part.
type Weights = [f32; BLOCK_INPUTS];
/// Levels of a part.
type Levels = [u8; BLOCK_INPUTS];

/// Block of weights `scale · level + offset`. Scale and offset of a part are products of an f16 and
/// the part's integers.
#[derive(Debug)]
pub(super) struct AffineBlock {
    pub(super) scale: u16,
    pub(super) offset: u16,
    pub(super) factors: [[u8; 2]; PARTS],
    pub(super) levels: [Levels; PARTS],
}

/// Levels and scale that a part may have, and bounds of its minimum.
struct Choice {
    factor: u8,
    levels: Levels,
    least: f64,
    most: f64,
}

impl AffineBlock {
    /// Finds the block of `weights`, if they are one with levels up to `highest`.
    pub(super) fn find(weights: &[Weights; PARTS], highest: u8) -> Option<Self> {
        if weights.as_flattened().iter().all(|weight| *weight == 0.0) {
            return Self::with_minimum(weights, &Default::default(), [0, 0], highest);
        }
        let mut steps: [Vec<Steps>; PARTS] = Default::default();
        for (steps, part) in steps.iter_mut().zip(weights) {
            if range(part) > 0.0 {
                steps.extend(Steps::of(part, highest));
                if steps.is_empty() {
                    return None;
                }
            }
        }
        let widest = (0..PARTS).max_by(|&a, &b| range(&weights[a]).total_cmp(&range(&weights[b])));
        steps[widest?]
            .iter()
            .flat_map(|steps| multiples(steps.least, steps.most))
            .find_map(|scale| Self::with_scale(weights, &steps, scale, highest))
    }

    /// Returns the block whose scales are multiples of an f16, if there is one.
    fn with_scale(
        weights: &[Weights; PARTS],
        steps: &[Vec<Steps>; PARTS],
        scale: u16,
        highest: u8,
    ) -> Option<Self> {
        let mut choices: [Vec<Choice>; PARTS] = Default::default();
        for ((choices, steps), part) in choices.iter_mut().zip(steps).zip(weights) {
            for steps in steps {
                choices.extend(Choice::all(part, steps, from_half(scale).into(), highest));
            }
            if choices.is_empty() && !steps.is_empty() {
                return None;
            }
        }
        // Parts that cannot have a minimum of zero tell the f16 of all minima.
        let telling = choices
            .iter()
            .filter(|all| !all.is_empty() && !all.iter().any(|choice| choice.allows(0.0)))
            .min_by(|a, b| a.len().cmp(&b.len()).then(b[0].most.total_cmp(&a[0].most)));
        let Some(telling) = telling else {
            return Self::with_minimum(weights, &choices, [scale, 0], highest);
        };
        telling
            .iter()
            .flat_map(|choice| multiples(choice.least, choice.most))
            .find_map(|minimum| Self::with_minimum(weights, &choices, [scale, minimum], highest))
    }

    /// Returns the block whose scales and minima are multiples of these f16, if there is one.
    fn with_minimum(
        weights: &[Weights; PARTS],
        choices: &[Vec<Choice>; PARTS],
        [scale, minimum]: [u16; 2],
        highest: u8,
    ) -> Option<Self> {
        const SIGN: u16 = 1 << 15;
        let offset = minimum ^ SIGN;
        let units = [from_half(scale), from_half(offset)];
        let mut block =
            Self { scale, offset, factors: [[0; 2]; PARTS], levels: [[0; BLOCK_INPUTS]; PARTS] };
        for (index, (part, choices)) in weights.iter().zip(choices).enumerate() {
            (block.factors[index], block.levels[index]) = if choices.is_empty() {
                flat(part, units, highest)?
            } else {
                choices.iter().find_map(|choice| choice.with_minimum(part, units))?
            };
        }
        Some(block)
    }
}

impl Choice {
    /// Returns the choices of a part with some steps, whose scale is a multiple of `scale`.
    fn all(
        weights: &Weights,
        steps: &Steps,
        scale: f64,
        highest: u8,
    ) -> impl Iterator<Item = Self> {
        let factor = nearest((steps.least + steps.most) / 2.0 / scale);
        let is_multiple = (1.0..=f64::from(MAX_FACTOR)).contains(&factor)
            && (steps.least..=steps.most).contains(&(factor * scale));
        let lowest = if is_multiple { 0..highest - steps.span + 1 } else { 0..0 };
        lowest.filter_map(move |lowest| {
            let (mut least, mut most) = (0.0f64, f64::INFINITY);
            for (&weight, above) in weights.iter().zip(steps.above) {
                let minimum = factor * scale * (above + f64::from(lowest)) - f64::from(weight);
                least = least.max(minimum - margin(weight));
                most = most.min(minimum + margin(weight));
            }
            let levels = steps.above.map(|above| above as u8 + lowest);
            (least <= most).then_some(Self { factor: factor as u8, levels, least, most })
        })
    }

    /// Returns `true` if the part can have this minimum.
    fn allows(&self, minimum: f64) -> bool {
        (self.least..=self.most).contains(&minimum)
    }

    /// Returns the part's integers and levels, if its minimum is a multiple of the second unit.
    fn with_minimum(&self, weights: &Weights, units: [f32; 2]) -> Option<([u8; 2], Levels)> {
        let unit = -f64::from(units[1]);
        let factor =
            if self.allows(0.0) { 0.0 } else { nearest((self.least + self.most) / 2.0 / unit) };
        if !(0.0..=f64::from(MAX_FACTOR)).contains(&factor) || !self.allows(factor * unit) {
            return None;
        }
        let factors = [self.factor, factor as u8];
        let mut all = weights.iter().zip(self.levels);
        let is_right = all.all(|(w, level)| weight(units, factors, level) == *w);
        is_right.then_some((factors, self.levels))
    }
}

/// Returns the weight that kernels compute from two f16, the integers of a part, and a level.
fn weight(units: [f32; 2], factors: [u8; 2], level: u8) -> f32 {
    let [scale, offset] = [0, 1].map(|i| units[i] * f32::from(factors[i]));
    f32::from(level) * scale + offset
}

/// Returns integers and levels of a part whose weights are all the same.
fn flat(weights: &Weights, units: [f32; 2], highest: u8) -> Option<([u8; 2], Levels)> {
    let [scale, offset] = units.map(f64::from);
    let target = weights[0];
    // A part with a weight that is not a number has no range either.
    if !weights.iter().all(|weight| *weight == target) {
        return None;
    }
    (0..=MAX_FACTOR).find_map(|minimum| {
        (0..=highest).find_map(|level| {
            let rise = f64::from(target) - offset * f64::from(minimum);
            let factor = if level == 0 { 0.0 } else { rise / (scale * f64::from(level)) };
            let factor = nearest(factor.clamp(0.0, f64::from(MAX_FACTOR))) as u8;
            let factors = [factor, minimum];
            (weight(units, factors, level) == target).then_some((factors, [level; BLOCK_INPUTS]))
        })
    })
}

/// Returns the difference between the largest and the smallest weight.
fn range(weights: &Weights) -> f64 {
    let wide = weights.map(f64::from);
    let low = wide.iter().copied().fold(f64::INFINITY, f64::min);
    wide.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low
}

/// Returns the positive f16 that have a multiple between two bounds: for each integer the one whose
/// product is nearest to their middle.
fn multiples(least: f64, most: f64) -> impl Iterator<Item = u16> {
    (1..=MAX_FACTOR).rev().filter_map(move |factor| {
        let half = f16::from_f64((least + most) / 2.0 / f64::from(factor));
        let product = half.to_f64() * f64::from(factor);
        (half.to_bits() > 0 && (least..=most).contains(&product)).then_some(half.to_bits())
    })
}

/// Block of weights `scale · (level - 32)`, where the scale of a part is the product of an f16 and
/// the part's integer.
#[derive(Debug)]
pub(super) struct SymmetricBlock {
    pub(super) scale: u16,
    pub(super) factors: [i8; SHORT_PARTS],
    pub(super) levels: [[u8; SHORT_BLOCK_INPUTS]; SHORT_PARTS],
}

impl SymmetricBlock {
    /// Finds the block of `weights`, if they are one.
    pub(super) fn find(weights: &[[f32; SHORT_BLOCK_INPUTS]; SHORT_PARTS]) -> Option<Self> {
        let mut choices: [Vec<(f32, [u8; SHORT_BLOCK_INPUTS])>; SHORT_PARTS] = Default::default();
        for (choices, part) in choices.iter_mut().zip(weights) {
            if part.iter().any(|weight| *weight != 0.0) {
                choices.extend(symmetric_levels(part));
                if choices.is_empty() {
                    return None;
                }
            }
        }
        let Some(telling) = choices.iter().find(|choices| !choices.is_empty()) else {
            return Self::with_scale(&choices, 0);
        };
        telling.iter().find_map(|&(scale, _)| {
            (i8::MIN..=i8::MAX).filter(|factor| *factor != 0).find_map(|factor| {
                let half = to_half(scale / f32::from(factor))?;
                let is_multiple = from_half(half) * f32::from(factor) == scale;
                is_multiple.then(|| Self::with_scale(&choices, half))?
            })
        })
    }

    /// Returns the block whose scales are multiples of an f16, if there is one.
    fn with_scale(
        choices: &[Vec<(f32, [u8; SHORT_BLOCK_INPUTS])>; SHORT_PARTS],
        scale: u16,
    ) -> Option<Self> {
        let unit = from_half(scale);
        let mut block = Self {
            scale,
            factors: [0; SHORT_PARTS],
            levels: [[ZERO_LEVEL; SHORT_BLOCK_INPUTS]; SHORT_PARTS],
        };
        for (index, choices) in choices.iter().enumerate().filter(|(_, all)| !all.is_empty()) {
            let choose = |&(scale, levels): &(f32, [u8; SHORT_BLOCK_INPUTS])| {
                let factor = nearest((scale / unit).into());
                let is_multiple =
                    (-128.0..=127.0).contains(&factor) && factor as f32 * unit == scale;
                is_multiple.then_some((factor as i8, levels))
            };
            (block.factors[index], block.levels[index]) = choices.iter().find_map(choose)?;
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{array::uniform8, prelude::*};

    /// Returns the weights of a Q4_K or Q5_K, in the operations of llama.cpp.
    fn affine(
        units: [f32; 2],
        factors: &[(u8, u8); PARTS],
        levels: &[Levels; PARTS],
    ) -> [Weights; PARTS] {
        let [scale, minimum] = units.map(|unit| f16::from_f32(unit).to_f32());
        std::array::from_fn(|part| {
            let scale = scale * f32::from(factors[part].0);
            let minimum = minimum * f32::from(factors[part].1);
            levels[part].map(|level| scale * f32::from(level) - minimum)
        })
    }

    fn check(weights: &[Weights; PARTS], highest: u8) -> bool {
        let Some(block) = AffineBlock::find(weights, highest) else { return false };
        let units = [block.scale, block.offset].map(from_half);
        assert!(block.levels.as_flattened().iter().all(|level| *level <= highest));
        assert!(block.factors.as_flattened().iter().all(|factor| *factor <= MAX_FACTOR));
        for (index, part) in weights.iter().enumerate() {
            let found = block.levels[index].map(|level| weight(units, block.factors[index], level));
            assert_eq!(found, *part);
        }
        true
    }

    /// Levels of a part between any two.
    fn some_levels(highest: u8) -> impl Strategy<Value = Levels> {
        (0..=highest, 0..=highest)
            .prop_flat_map(|(a, b)| proptest::array::uniform32(a.min(b)..=a.max(b)))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn blocks_of_q4_k_are_found(
            exponent in -14f32..2.0,
            ratio in -4f32..6.0,
            factors in uniform8((0u8..64, 0u8..64)),
            levels in uniform8(some_levels(15)),
        ) {
            let scale = exponent.exp2();
            prop_assert!(check(&affine([scale, scale * ratio.exp2()], &factors, &levels), 15));
        }

        #[test]
        fn blocks_of_q5_k_are_found(
            exponent in -14f32..2.0,
            ratio in -4f32..6.0,
            factors in uniform8((0u8..64, 0u8..64)),
            levels in uniform8(some_levels(31)),
        ) {
            let scale = exponent.exp2();
            prop_assert!(check(&affine([scale, scale * ratio.exp2()], &factors, &levels), 31));
        }

        #[test]
        fn blocks_of_q6_k_are_found(
            scale in -8f32..8.0,
            factors: [i8; SHORT_PARTS],
            levels in proptest::array::uniform16(proptest::array::uniform16(-32i8..32)),
        ) {
            let scale = f16::from_f32(scale.powi(5)).to_f32();
            let weights: [[f32; SHORT_BLOCK_INPUTS]; SHORT_PARTS] = std::array::from_fn(|part| {
                let scale = scale * f32::from(factors[part]);
                levels[part].map(|level| scale * f32::from(level))
            });
            let block = SymmetricBlock::find(&weights).unwrap();
            for (index, part) in weights.iter().enumerate() {
                let scale = from_half(block.scale) * f32::from(block.factors[index]);
                let found = block.levels[index].map(|level| (f32::from(level) - 32.0) * scale);
                prop_assert_eq!(found, *part);
            }
        }
    }

    #[test]
    fn weights_of_zero_are_a_block() {
        assert!(check(&[[0.0; BLOCK_INPUTS]; PARTS], 15));
        let mut some = [[0.0; BLOCK_INPUTS]; PARTS];
        some[5] = std::array::from_fn(|i| (i % 16) as f32 / 8.0 - 1.0);
        assert!(check(&some, 15));
        let zeros = SymmetricBlock::find(&[[0.0; SHORT_BLOCK_INPUTS]; SHORT_PARTS]).unwrap();
        assert_eq!(zeros.levels, [[ZERO_LEVEL; SHORT_BLOCK_INPUTS]; SHORT_PARTS]);
    }

    #[test]
    fn weights_without_common_scales_are_refused() {
        let levels: [Levels; PARTS] =
            std::array::from_fn(|part| std::array::from_fn(|i| ((i * 7 + part) % 16) as u8));
        let whole = affine([0.01, 0.02], &[(63, 40); PARTS], &levels);
        assert!(check(&whole, 15));
        let mut other = whole;
        other[3] = other[3].map(|weight| weight * 1.234_567);
        assert!(!check(&other, 15));
        for strange in [f32::NAN, f32::INFINITY, 1e-3] {
            let mut other = whole;
            other[6][9] = strange;
            assert!(!check(&other, 15), "{strange}");
        }
        let mut even = whole;
        even[6] = [even[6][0]; BLOCK_INPUTS];
        assert!(check(&even, 15));
        even[6][9] = f32::NAN;
        assert!(AffineBlock::find(&even, 15).is_none());
        assert!(!check(&[[0.37; BLOCK_INPUTS]; PARTS], 15));
        let scattered: [[f32; SHORT_BLOCK_INPUTS]; SHORT_PARTS] = std::array::from_fn(|part| {
            std::array::from_fn(|i| ((part * 16 + i) as f32 * 0.37).sin() * 1.234_567)
        });
        assert!(SymmetricBlock::find(&scattered).is_none());
    }
}
