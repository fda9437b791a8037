// SPDX-License-Identifier: Apache-2.0

//! Float16 numbers, and their bits.

use half::{f16, slice::HalfFloatSliceExt};

/// Largest finite float16.
const LARGEST_HALF: f32 = 65_504.0;

/// Keys or values, in the precision in which a cache keeps them.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
}

impl<'a> Stored<'a> {
    /// Returns the numbers as float32. Those of float16 are converted in `memory`.
    #[inline(always)]
    pub(super) fn widened<'m>(self, memory: &'m mut Vec<f32>) -> &'m [f32]
    where
        'a: 'm,
    {
        match self {
            Self::F32(numbers) => numbers,
            Self::F16(numbers) => {
                memory.resize(numbers.len(), 0.0);
                numbers.convert_to_f32_slice(memory);
                memory
            }
        }
    }
}

/// Writes the float16 numbers that are nearest to `values` to `out`, and of two the even one.
/// Values beyond the largest finite one become that.
pub(super) fn round_to_halves(values: &[f32], out: &mut [f16]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = f16::from_f32(value.clamp(-LARGEST_HALF, LARGEST_HALF));
    }
}

/// Returns the value of the float16 with these bits.
pub(super) fn from_half(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// Returns the bits of `value` as an f16, if that is exact.
pub(super) fn to_half(value: f32) -> Option<u16> {
    let half = f16::from_f32(value);
    (half.is_finite() && half.to_f32() == value).then_some(half.to_bits())
}

/// Returns the f16 nearest to the positive `value`, and its neighbours.
pub(super) fn near_half(value: f32) -> [u16; 3] {
    // Numbers of one sign are ordered as their bits.
    let nearest = f16::from_f32(value).to_bits().clamp(1, 0x7bfe);
    [nearest, nearest - 1, nearest + 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_bounded_and_to_even() {
        let mut values: Vec<f32> =
            (0..4_000).map(|i| 1.01_f32.powi(i % 2_000 - 1_000) * (1 - i % 2 * 2) as f32).collect();
        values.extend([2_049.0, 2_051.0, 65_519.0, 1e30, f32::NEG_INFINITY, 0.0]);
        let mut halves = vec![f16::ZERO; values.len()];
        round_to_halves(&values, &mut halves);
        let mut memory = vec![7.0; 3];
        let widened = Stored::F16(&halves).widened(&mut memory);
        assert_eq!(widened.len(), values.len());
        assert_eq!(widened[4_000..], [2_048.0, 2_052.0, 65_504.0, 65_504.0, -65_504.0, 0.0]);
        for (value, rounded) in values.iter().zip(widened).take(4_000) {
            // Half of the last of 11 bits, and for the smallest numbers half of the least one.
            let bound = (value.abs() / 2_048.0).max(3e-8);
            assert!((value - rounded).abs() <= bound, "{value} became {rounded}");
        }
        let narrow = Stored::F32(&values).widened(&mut memory);
        assert_eq!(narrow, values);
    }

    #[test]
    fn half_precision_is_exact_or_not_at_all() {
        for (bits, number) in
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65_504.0), (1, 5.960_464_5e-8), (0, 0.0)]
        {
            assert_eq!((from_half(bits), to_half(number)), (number, Some(bits)));
        }
        assert_eq!([1e-9, 65_520.0, 1.0001, f32::NAN, f32::INFINITY].map(to_half), [None; 5]);
        assert!((0..0x7c00).all(|bits| near_half(from_half(bits)).contains(&bits)));
    }
}
