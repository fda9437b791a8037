// SPDX-License-Identifier: Apache-2.0

//! Float16 numbers by their bits.

use half::f16;

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
