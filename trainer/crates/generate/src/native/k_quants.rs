// SPDX-License-Identifier: Apache-2.0

//! Blocks of GGUF's K-quants, found again in the float32 values that they stand for.
//!
//! A model is float32 everywhere but in this decoder, so the blocks that its checkpoint came in are
//! gone. A weight of Q4_K or Q5_K is `scale · level - minimum`, rounded once, where the scale is
//! the product of an f16 and an integer of 6 bits, and the minimum too. That leaves so few choices
//! that 32 weights show theirs. What is found is compared with each weight to the bit, so a block
//! is right or refused.

use super::blocks::{BLOCK_INPUTS, SHORT_BLOCK_INPUTS};

/// Returns scales and levels with which weights are `scale · (level - 32)`, the smallest scale
/// first. The product is exact for those of a Q6_K, so the largest weight divided by its level is
/// the scale.
pub(super) fn symmetric_levels(
    weights: &[f32; SHORT_BLOCK_INPUTS],
) -> impl Iterator<Item = (f32, [u8; SHORT_BLOCK_INPUTS])> {
    let end =
        weights.iter().copied().fold(0.0f32, |end, w| if w.abs() > end.abs() { w } else { end });
    // Only level 0 lies 32 steps from zero.
    let steps = (1..32).rev().map(|steps| steps as f32);
    std::iter::once(-32.0).chain(steps.clone()).chain(steps.map(|steps| -steps)).filter_map(
        move |steps: f32| {
            let scale = end / steps;
            let mut levels = [32; SHORT_BLOCK_INPUTS];
            for (level, &weight) in levels.iter_mut().zip(weights) {
                let nearest = if scale == 0.0 { 0.0 } else { nearest((weight / scale).into()) };
                if !(-32.0..=31.0).contains(&nearest) || nearest as f32 * scale != weight {
                    return None;
                }
                *level = (nearest + 32.0) as u8;
            }
            Some((scale, levels))
        },
    )
}

/// Levels that weights may have, above the lowest one, and bounds of their scale.
pub(super) struct Steps {
    /// Levels between the smallest and the largest weight.
    pub(super) span: u8,
    /// Levels above that of the smallest weight, as integers.
    pub(super) above: [f64; BLOCK_INPUTS],
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Steps {
    /// Returns the steps that `weights`, of which some differ, may have with levels up to
    /// `highest`, those with the largest span first.
    pub(super) fn of(
        weights: &[f32; BLOCK_INPUTS],
        highest: u8,
    ) -> impl Iterator<Item = Self> + use<> {
        let wide = weights.map(f64::from);
        let low = wide.iter().copied().fold(f64::INFINITY, f64::min);
        let high = wide.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let margins = weights.map(margin);
        let largest = margins.iter().copied().fold(0.0, f64::max);
        (1..=highest).rev().filter_map(move |span| {
            // The weights show the levels above the lowest one.
            let step = (high - low) / f64::from(span);
            let above = wide.map(|weight| nearest((weight - low) / step));
            let is_near = |(weight, above): (&f64, &f64)| {
                (weight - low - above * step).abs() <= 4.0 * largest
            };
            if !wide.iter().zip(&above).all(is_near) {
                return None;
            }
            let (mut least, mut most) = (0.0f64, f64::INFINITY);
            for ((weight, above), rounding) in wide.iter().zip(above).zip(margins) {
                if above > 0.0 {
                    let (rise, rounding) = (weight - low, rounding + margin(low as f32));
                    least = least.max((rise - rounding) / above);
                    most = most.min((rise + rounding) / above);
                }
            }
            (least <= most).then_some(Self { span, above, least, most })
        })
    }
}

/// Weights `scale · level + offset`, with two roundings.
pub(super) struct Grid {
    pub(super) scale: f32,
    pub(super) offset: f32,
    pub(super) levels: [u8; BLOCK_INPUTS],
}

impl Grid {
    /// Finds the grid of `weights`, if they have one with levels up to `highest`.
    pub(super) fn find(weights: &[f32; BLOCK_INPUTS], highest: u8) -> Option<Self> {
        let wide = weights.map(f64::from);
        let low = wide.iter().copied().fold(f64::INFINITY, f64::min);
        let high = wide.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low == high {
            let flat = Self { scale: 0.0, offset: low as f32, levels: [0; BLOCK_INPUTS] };
            return Some(flat).filter(|grid| grid.gives(weights));
        }
        let margins = weights.map(margin);
        Steps::of(weights, highest).find_map(|steps| {
            short_numbers(steps.least, steps.most).find_map(|scale| {
                (0..=highest - steps.span).find_map(|lowest| {
                    let levels = steps.above.map(|above| above + f64::from(lowest));
                    Self::with_scale(weights, scale, levels, &margins)
                })
            })
        })
    }

    /// Returns the grid with this scale and these levels, if there is an offset for it.
    fn with_scale(
        weights: &[f32; BLOCK_INPUTS],
        scale: f64,
        levels: [f64; BLOCK_INPUTS],
        margins: &[f64; BLOCK_INPUTS],
    ) -> Option<Self> {
        let (mut least, mut most) = (f64::NEG_INFINITY, f64::INFINITY);
        for ((&weight, level), rounding) in weights.iter().zip(levels).zip(margins) {
            let offset = f64::from(weight) - scale * level;
            least = least.max(offset - rounding);
            most = most.min(offset + rounding);
        }
        if least > most {
            return None;
        }
        let middle = (least + most) / 2.0;
        let offset = [17, 20, 24]
            .into_iter()
            .map(|bits| shortened(middle, bits))
            .find(|offset| (least..=most).contains(offset))
            .unwrap_or(middle);
        let levels = levels.map(|level| level as u8);
        let grid = Self { scale: scale as f32, offset: offset as f32, levels };
        Some(grid).filter(|grid| grid.gives(weights))
    }

    /// Returns `true` if kernels compute `weights` from this grid.
    fn gives(&self, weights: &[f32; BLOCK_INPUTS]) -> bool {
        let weight = |level: u8| f32::from(level) * self.scale + self.offset;
        self.levels.iter().zip(weights).all(|(&level, &expected)| weight(level) == expected)
    }
}

/// Returns half of the distance between the float32 numbers near `weight`: as much as rounding
/// changes it.
pub(super) fn margin(weight: f32) -> f64 {
    const HALF_OF_LAST_BIT: f64 = 1.0 / (1 << 24) as f64;
    let power = f32::from_bits(weight.to_bits() & 0x7f80_0000);
    f64::from(power) * HALF_OF_LAST_BIT
}

/// Returns numbers between two positive bounds, those with few bits first.
fn short_numbers(least: f64, most: f64) -> impl Iterator<Item = f64> {
    (6..=24).flat_map(move |bits| {
        let unit = unit(most, bits);
        let (first, last) = ((least / unit).ceil(), (most / unit).floor());
        let middle = ((first + last) / 2.0).floor();
        let found = (first <= last).then_some([first, last, middle]);
        found.into_iter().flatten().map(move |count| count * unit).filter(|number| *number > 0.0)
    })
}

/// Rounds `number` to so many bits.
fn shortened(number: f64, bits: u64) -> f64 {
    let unit = unit(number, bits);
    nearest(number / unit) * unit
}

/// Returns the value of the last of so many bits of `number`.
fn unit(number: f64, bits: u64) -> f64 {
    let power = f64::from_bits(number.to_bits() & 0x7ff0_0000_0000_0000);
    // Two to the power of 1 - bits.
    power * f64::from_bits((1_023 + 1 - bits) << 52)
}

/// Returns the integer nearest to a number below 2⁵¹, without a call of a function.
pub(super) fn nearest(number: f64) -> f64 {
    /// Adding and subtracting this constant rounds to an integer.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    number + ROUND - ROUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::prelude::*;

    /// Returns the weights of a part of a Q4_K or Q5_K, in the operations of llama.cpp.
    fn part(
        (scale, minimum): (f32, f32),
        (factor, offset): (u8, u8),
        levels: [u8; BLOCK_INPUTS],
    ) -> [f32; BLOCK_INPUTS] {
        let [scale, minimum] = [scale, minimum].map(|number| f16::from_f32(number).to_f32());
        let (scale, minimum) = (scale * f32::from(factor), minimum * f32::from(offset));
        levels.map(|level| scale * f32::from(level) - minimum)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn parts_of_k_quants_are_found(
            exponent in -20f32..2.0,
            ratio in -4f32..6.0,
            numbers in (0u8..64, 0u8..64),
            (highest, levels) in prop_oneof![Just(15u8), Just(31)].prop_flat_map(|highest| {
                let range = (0..=highest, 0..=highest)
                    .prop_flat_map(|(a, b)| proptest::array::uniform32(a.min(b)..=a.max(b)));
                (Just(highest), range)
            }),
        ) {
            let scale = exponent.exp2();
            let weights = part((scale, scale * ratio.exp2()), numbers, levels);
            let grid = Grid::find(&weights, highest);
            prop_assert!(grid.is_some(), "{weights:?}");
        }

        #[test]
        fn parts_of_q6_k_are_found(
            scale in -8f32..8.0,
            factor: i8,
            levels in proptest::array::uniform16(-32i8..32),
        ) {
            let scale = f16::from_f32(scale.powi(5)).to_f32() * f32::from(factor);
            let weights = levels.map(|level| scale * f32::from(level));
            let (found, levels) = symmetric_levels(&weights).next().unwrap();
            prop_assert_eq!(levels.map(|level| found * (f32::from(level) - 32.0)), weights);
        }
    }

    #[test]
    fn weights_without_levels_are_refused() {
        let scattered: [f32; BLOCK_INPUTS] =
            std::array::from_fn(|i| (i as f32 * 0.37).sin() * 1.234_567);
        let not_numbers = [f32::NAN; BLOCK_INPUTS];
        let mut hole = [1.0; BLOCK_INPUTS];
        hole[7] = f32::NAN;
        let mut infinite = [1.0; BLOCK_INPUTS];
        infinite[7] = f32::INFINITY;
        // More levels than there are.
        let many: [f32; BLOCK_INPUTS] = std::array::from_fn(|i| i as f32);
        for highest in [15, 31] {
            for weights in [scattered, not_numbers, hole, infinite] {
                assert!(Grid::find(&weights, highest).is_none(), "{weights:?}");
            }
        }
        assert!(Grid::find(&many, 15).is_none());
        assert!(Grid::find(&many, 31).is_some());
        for weights in [scattered, not_numbers, hole, infinite] {
            let weights = std::array::from_fn(|i| weights[i]);
            assert!(symmetric_levels(&weights).next().is_none(), "{weights:?}");
        }
    }
}
