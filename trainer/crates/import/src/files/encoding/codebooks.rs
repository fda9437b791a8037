// SPDX-License-Identifier: Apache-2.0

//! Blocks of IQ1 to IQ3: 256 values, of which 8 or 4 neighbours are a point of a grid, with signs
//! and scales.
//!
//! Operations are those of `ggml-quants.c` in llama.cpp in their order, so that values are the same
//! to the bit.

use super::{grids, half_at, short_at, word_at};

/// Distance of the values of IQ1 from those of the grid.
const IQ1_SHIFT: f32 = 0.125;

pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (points, word) = (&block[2 + part * 8..], word_at(block, 6 + part * 8));
        let scale = scale * (0.5 + (word >> 28) as f32) * 0.25;
        for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let point = &grids::IQ2_XXS[usize::from(points[i])];
            signed(out, point, even_signs(word >> (i * 7)), scale);
        }
    }
}

pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let number = u32::from(short_at(block, 2 + i * 2));
        let scale = scale * (0.5 + f32::from(nibble(&block[66..], i / 2))) * 0.25;
        signed(out, &grids::IQ2_XS[number as usize % 512], even_signs(number >> 9), scale);
    }
}

pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = usize::from(block[66 + i / 4] >> (i % 4 * 2) & 3);
        let point = &grids::IQ2_S[usize::from(block[2 + i]) | high << 8];
        let scale = scale * (0.5 + f32::from(nibble(&block[74..], i / 2))) * 0.25;
        signed(out, point, block[34 + i], scale);
    }
}

pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = word_at(block, 66 + i / 4 * 4);
        let scale = scale * (0.5 + (word >> 28) as f32) * 0.5;
        let points = [2, 3].map(|at| grids::IQ3_XXS[usize::from(block[at + i * 2])]);
        signed(out, points.as_flattened(), even_signs(word >> (i % 4 * 7)), scale);
    }
}

pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let points = [i * 2, i * 2 + 1].map(|i| {
            let high = usize::from(block[66 + i / 8] >> (i % 8) & 1);
            grids::IQ3_S[usize::from(block[2 + i]) | high << 8]
        });
        let scale = scale * f32::from(1 + 2 * nibble(&block[106..], i / 4));
        signed(out, points.as_flattened(), block[74 + i], scale);
    }
}

pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let scale = half_at(block, 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = short_at(block, 34 + i / 4 * 2);
        let scale = scale * f32::from(2 * (word >> 12 & 7) + 1);
        let high = word >> (i % 4 * 3) & 7;
        shifted(out, block[2 + i], high, word >> 15 == 1, scale);
    }
}

pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let words = [48, 50, 52, 54].map(|at| short_at(block, at));
    // The highest bits of the words are a half-precision number, the others scales of 16 values.
    let scale = words.iter().rev().fold(0, |bits, word| bits << 4 | word >> 12);
    let scale = half_at(&scale.to_le_bytes(), 0);
    for (i, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let scale = scale * f32::from(2 * (words[i / 8] >> (i / 2 % 4 * 3) & 7) + 1);
        let high = u16::from(block[32 + i / 2] >> (i % 2 * 4));
        shifted(out, block[i], high & 7, high & 8 != 0, scale);
    }
}

/// Writes the values of a point, of which those with a bit in `signs` are negative.
fn signed(out: &mut [f32; 8], point: &[i8], signs: u8, scale: f32) {
    for (i, (value, &coordinate)) in out.iter_mut().zip(point).enumerate() {
        let sign = if signs >> i & 1 == 1 { -1.0 } else { 1.0 };
        *value = scale * f32::from(coordinate) * sign;
    }
}

/// Writes the values of a point of IQ1, whose number has 3 `high` bits.
fn shifted(out: &mut [f32; 8], low: u8, high: u16, down: bool, scale: f32) {
    let shift = if down { -IQ1_SHIFT } else { IQ1_SHIFT };
    let point = &grids::IQ1[usize::from(u16::from(low) | high << 8)];
    for (value, &coordinate) in out.iter_mut().zip(point) {
        *value = scale * (f32::from(coordinate) + shift);
    }
}

/// Returns the signs of 8 values from those of the first 7: an even number of them is negative.
fn even_signs(bits: u32) -> u8 {
    let first = (bits & 127) as u8;
    first | (first.count_ones() as u8 & 1) << 7
}

/// Returns nibble `i` of `bytes`, the low one of a byte first.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 2] >> (i % 2 * 4) & 15
}
