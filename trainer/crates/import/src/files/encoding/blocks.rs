// SPDX-License-Identifier: Apache-2.0

//! Blocks whose values are rounded to equal steps, or to the values of a small table.
//!
//! Operations are those of `ggml-quants.c` in llama.cpp in their order, so that values are the same
//! to the bit.

use super::{half_at, word_at};

pub(super) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let scale = half_at(block, 0);
    for (i, value) in out.iter_mut().enumerate() {
        *value = if block[2 + i / 8] >> (i % 8) & 1 == 1 { scale } else { -scale };
    }
}

pub(super) fn q2_0(block: &[u8; 18], out: &mut [f32; 64]) {
    let scale = half_at(block, 0);
    for (i, value) in out.iter_mut().enumerate() {
        *value = (f32::from(block[2 + i / 4] >> (i % 4 * 2) & 3) - 1.0) * scale;
    }
}

pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    for (value, &quant) in out.iter_mut().zip(&block[2..]) {
        *value = f32::from(quant as i8) * scale;
    }
}

pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    nibbles(&block[2..], out, |quant| (f32::from(quant) - 8.0) * scale);
}

pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[4..], out, |quant| f32::from(quant) * scale + minimum);
}

pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    nibbles(&block[6..], out, f32::from);
    fifth_bits(&block[2..6], out);
    out.iter_mut().for_each(|value| *value = (*value - 16.0) * scale);
}

pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    nibbles(&block[8..], out, f32::from);
    fifth_bits(&block[4..8], out);
    out.iter_mut().for_each(|value| *value = *value * scale + minimum);
}

pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    k_parts(block, &[], &block[16..], out);
}

pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    k_parts(block, &block[16..48], &block[48..], out);
}

pub(super) fn q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    let scale = f32::from_bits(word_at(block, 0));
    // Sums of 16 values each follow, which only products of rows need.
    for (value, &quant) in out.iter_mut().zip(&block[4..]) {
        *value = scale * f32::from(quant as i8);
    }
}

pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half_at(block, 0);
    nibbles(&block[2..], out, |quant| scale * f32::from(IQ4[usize::from(quant)]));
}

pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = half_at(block, 64);
    for (i, value) in out.iter_mut().enumerate() {
        *value = scale * (f32::from(two_bits(&block[..64], i)) - 1.0);
    }
}

pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let scale = half_of_power(block[0]);
    nibbles(&block[1..], out, |quant| scale * f32::from(FP4[usize::from(quant)]));
}

pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = half_of_fp8(block[part]);
        nibbles(&block[4 + part * 8..], out, |quant| scale * f32::from(FP4[usize::from(quant)]));
    }
}

/// Decodes half as many bytes as values: low nibbles are the first half, high nibbles the others.
fn nibbles<const N: usize>(quants: &[u8], out: &mut [f32; N], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(N / 2);
    for ((low, high), &quant) in low.iter_mut().zip(high).zip(quants) {
        (*low, *high) = (value(quant & 15), value(quant >> 4));
    }
}

/// Adds 16 to each value whose bit is set.
fn fifth_bits(bits: &[u8], out: &mut [f32; 32]) {
    for (i, value) in out.iter_mut().enumerate() {
        *value += f32::from(bits[i / 8] >> (i % 8) & 1) * 16.0;
    }
}

/// Decodes a block of Q4_K or, with `high` bits, Q5_K. The block has a scale and a scale of the
/// minima; each of 8 parts has 6 bits of either.
fn k_parts(block: &[u8], high: &[u8], quants: &[u8], out: &mut [f32; 256]) {
    let (scale, minimum_scale, packed) = (half_at(block, 0), half_at(block, 2), &block[4..16]);
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (factor, offset) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            let both = packed[part + 4];
            (both & 15 | packed[part - 4] >> 6 << 4, both >> 4 | packed[part] >> 6 << 4)
        };
        let (factor, offset) = (scale * f32::from(factor), minimum_scale * f32::from(offset));
        // Two parts share 32 bytes. Low nibbles are the first part.
        let quants = &quants[part / 2 * 32..][..32];
        for (i, (value, &quant)) in out.iter_mut().zip(quants).enumerate() {
            let low = quant >> (part % 2 * 4) & 15;
            let fifth = high.get(i).map_or(0, |bits| bits >> part & 1);
            *value = factor * f32::from(low | fifth << 4) - offset;
        }
    }
}

/// Values of IQ4_NL and IQ4_XS, closer together around zero.
const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of floating-point numbers of 4 bits.
const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// Returns half of 2 to the power of `exponent` − 127, to which [`FP4`] belongs.
fn half_of_power(exponent: u8) -> f32 {
    let bits = match exponent {
        // Subnormal numbers.
        0 | 1 => 0x0020_0000 << exponent,
        _ => (u32::from(exponent) - 1) << 23,
    };
    f32::from_bits(bits)
}

/// Returns half of a floating-point number of 8 bits without a sign, to which [`FP4`] belongs. NaN
/// is 0, as in llama.cpp.
fn half_of_fp8(bits: u8) -> f32 {
    let (exponent, mantissa) = (u32::from(bits >> 3 & 15), u32::from(bits & 7));
    match (bits, exponent) {
        (0x7f, _) => 0.0,
        // Subnormal numbers: multiples of 2⁻⁹.
        (_, 0) => mantissa as f32 / 1024.0,
        // The exponent is biased by 7, that of a float32 by 127.
        _ => f32::from_bits((exponent + 119) << 23 | mantissa << 20),
    }
}

/// Returns the 2 bits of value `i` of 256: in each half, 32 bytes have four rows of 32 values.
fn two_bits(quants: &[u8], i: usize) -> u8 {
    quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, minimum_scale) = (half_at(block, 80), half_at(block, 82));
    for (i, value) in out.iter_mut().enumerate() {
        let both = block[i / 16];
        let (factor, offset) = (scale * f32::from(both & 15), minimum_scale * f32::from(both >> 4));
        *value = factor * f32::from(two_bits(&block[16..80], i)) - offset;
    }
}

pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, quants, packed, scale) =
        (&block[..32], &block[32..96], &block[96..108], half_at(block, 108));
    for (i, value) in out.iter_mut().enumerate() {
        let part = i / 16;
        let low = packed[part % 8] >> (part / 8 * 4) & 15;
        let factor = low | (packed[8 + part % 4] >> (part / 4 * 2) & 3) << 4;
        // The third bit is the sign's: without it the value is four less.
        let third = f32::from(high[i % 32] >> (i / 32) & 1) * 4.0 - 4.0;
        let quant = f32::from(two_bits(quants, i)) + third;
        *value = scale * (f32::from(factor) - 32.0) * quant;
    }
}

pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (scale, high) = (half_at(block, 0), u16::from_le_bytes([block[2], block[3]]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = block[4 + part / 2] >> (part % 2 * 4) & 15;
        let factor = u16::from(low) | (high >> (part * 2) & 3) << 4;
        let factor = scale * (f32::from(factor) - 32.0);
        let quants = &block[8 + part * 16..][..16];
        nibbles(quants, out, |quant| factor * f32::from(IQ4[usize::from(quant)]));
    }
}

pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    let scale = half_at(block, 52);
    // Digits of base 3, as fractions of 256: rows of 32 bytes, then of 16, and of 4 with the last.
    for (i, value) in out.iter_mut().enumerate() {
        let (byte, place) = match i {
            0..160 => (block[i % 32], i / 32),
            160..240 => (block[32 + i % 16], (i - 160) / 16),
            _ => (block[48 + i % 4], (i - 240) / 4),
        };
        let digits = byte.wrapping_mul([1, 3, 9, 27, 81][place]);
        *value = scale * (f32::from((u16::from(digits) * 3) >> 8) - 1.0);
    }
}

pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (low, high, scales, scale) =
        (&block[..128], &block[128..192], &block[192..208], half_at(block, 208));
    for (i, value) in out.iter_mut().enumerate() {
        // In each half, 64 bytes of low bits and 32 bytes of high bits encode four rows of 32
        // values.
        let (half, row, column) = (i / 128, i % 128 / 32, i % 32);
        let four = low[half * 64 + row % 2 * 32 + column] >> (row / 2 * 4) & 15;
        let two = high[half * 32 + column] >> (row * 2) & 3;
        *value = scale * f32::from(scales[i / 16] as i8) * (f32::from(four | two << 4) - 32.0);
    }
}
