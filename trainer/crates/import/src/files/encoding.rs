// SPDX-License-Identifier: Apache-2.0

//! Encodings of values and their decoding to float32.

use half::{bf16, f16};
use std::fmt;

/// Encoding of a tensor's values. The names are those of the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// IEEE 754 double precision.
    F64,
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32 values of 8 bits with a scale.
    Q8_0,
    /// Blocks of 32 values of 4 bits around 8 with a scale.
    Q4_0,
    /// Blocks of 32 values of 4 bits with a scale and a minimum.
    Q4_1,
    /// Blocks of 32 values of 5 bits around 16 with a scale.
    Q5_0,
    /// Blocks of 32 values of 5 bits with a scale and a minimum.
    Q5_1,
    /// Blocks of 256 values of 2 bits in 16 parts with scales and minima of 4 bits.
    Q2K,
    /// Blocks of 256 values of 3 bits in 16 parts with scales of 6 bits.
    Q3K,
    /// Blocks of 256 values of 4 bits in 8 parts with scales and minima of 6 bits.
    Q4K,
    /// Blocks of 256 values of 5 bits in 8 parts with scales and minima of 6 bits.
    Q5K,
    /// Blocks of 256 values of 6 bits in 16 parts with scales of 8 bits.
    Q6K,
    /// Blocks of 32 values from a table of 16, with a scale.
    Iq4Nl,
    /// Blocks of 256 values from that table in 8 parts with scales of 6 bits.
    Iq4Xs,
    /// Blocks of 256 values of −1, 0, and 1, five to a byte, with a scale.
    Tq1_0,
    /// Blocks of 256 values of −1, 0, and 1, four to a byte, with a scale.
    Tq2_0,
    /// Blocks of 32 floating-point numbers of 4 bits with an exponent (OCP 2023, "Microscaling
    /// Formats").
    Mxfp4,
    /// Integers or booleans, which weights are not.
    Other {
        /// Name of the type.
        name: &'static str,
        /// Bytes per value.
        bytes: u64,
    },
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
            Self::Tq1_0 => "TQ1_0",
            Self::Tq2_0 => "TQ2_0",
            Self::Mxfp4 => "MXFP4",
            Self::Other { name, .. } => name,
        })
    }
}

impl Encoding {
    /// Returns the number of values and bytes of a block, the smallest decodable unit.
    pub const fn block(self) -> (u64, u64) {
        match self {
            Self::F64 => (1, 8),
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q2K => (256, 84),
            Self::Q3K => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Iq4Xs => (256, 136),
            Self::Tq1_0 => (256, 54),
            Self::Tq2_0 => (256, 66),
            Self::Mxfp4 => (32, 17),
            Self::Other { bytes, .. } => (1, bytes),
        }
    }

    /// Returns `true` if values are rounded to a few levels.
    pub const fn is_quantised(self) -> bool {
        self.block().0 > 1
    }

    /// Decodes whole blocks. `bytes` and `values` have the same number of blocks.
    ///
    /// # Errors
    ///
    /// Fails with a reason if the encoding is not one of weights.
    pub(crate) fn decode(self, bytes: &[u8], values: &mut [f32]) -> Result<(), String> {
        match self {
            Self::F64 => scalars(bytes, values, |b| f64::from_le_bytes(b) as f32),
            Self::F32 => scalars(bytes, values, f32::from_le_bytes),
            Self::F16 => scalars(bytes, values, |b| f16::from_le_bytes(b).to_f32_const()),
            Self::Bf16 => scalars(bytes, values, |b| bf16::from_le_bytes(b).to_f32_const()),
            Self::Q8_0 => blocks::<34, 32>(bytes, values, |block, out| {
                let scale = half_at(block, 0);
                for (value, &quant) in out.iter_mut().zip(&block[2..]) {
                    *value = f32::from(quant as i8) * scale;
                }
            }),
            Self::Q4_0 => blocks::<18, 32>(bytes, values, |block, out| {
                let scale = half_at(block, 0);
                nibbles(&block[2..], out, |quant| (f32::from(quant) - 8.0) * scale);
            }),
            Self::Q4_1 => blocks::<20, 32>(bytes, values, |block, out| {
                let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
                nibbles(&block[4..], out, |quant| f32::from(quant) * scale + minimum);
            }),
            Self::Q5_0 => blocks::<22, 32>(bytes, values, |block, out| {
                let scale = half_at(block, 0);
                nibbles(&block[6..], out, f32::from);
                fifth_bits(&block[2..6], out);
                out.iter_mut().for_each(|value| *value = (*value - 16.0) * scale);
            }),
            Self::Q5_1 => blocks::<24, 32>(bytes, values, |block, out| {
                let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
                nibbles(&block[8..], out, f32::from);
                fifth_bits(&block[4..8], out);
                out.iter_mut().for_each(|value| *value = *value * scale + minimum);
            }),
            Self::Q4K => blocks::<144, 256>(bytes, values, |block, out| {
                k_parts(block, &[], &block[16..], out)
            }),
            Self::Q5K => blocks::<176, 256>(bytes, values, |block, out| {
                k_parts(block, &block[16..48], &block[48..], out)
            }),
            Self::Q2K => blocks::<84, 256>(bytes, values, q2_k),
            Self::Q3K => blocks::<110, 256>(bytes, values, q3_k),
            Self::Q6K => blocks::<210, 256>(bytes, values, q6_k),
            Self::Iq4Nl => blocks::<18, 32>(bytes, values, |block, out| {
                let scale = half_at(block, 0);
                nibbles(&block[2..], out, |quant| scale * f32::from(IQ4[usize::from(quant)]));
            }),
            Self::Iq4Xs => blocks::<136, 256>(bytes, values, iq4_xs),
            Self::Tq1_0 => blocks::<54, 256>(bytes, values, tq1_0),
            Self::Tq2_0 => blocks::<66, 256>(bytes, values, |block, out| {
                let scale = half_at(block, 64);
                for (i, value) in out.iter_mut().enumerate() {
                    *value = scale * (f32::from(two_bits(&block[..64], i)) - 1.0);
                }
            }),
            Self::Mxfp4 => blocks::<17, 32>(bytes, values, |block, out| {
                let scale = half_of_power(block[0]);
                nibbles(&block[1..], out, |quant| scale * f32::from(FP4[usize::from(quant)]));
            }),
            Self::Other { name, .. } => {
                return Err(format!("is of type {name}, which weights are not"));
            }
        }
        Ok(())
    }
}

impl Encoding {
    /// Appends the bytes of whole blocks of `values`. Values are rounded to the nearest one.
    ///
    /// # Errors
    ///
    /// Fails with the index of a value that is too large, or without one if this encoding can only
    /// be decoded.
    pub(crate) fn encode(self, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), Option<usize>> {
        let too_large = |is_finite: fn(f32) -> bool| {
            values.iter().position(|&value| !is_finite(value)).map_or(Ok(()), |at| Err(Some(at)))
        };
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|value| value.to_le_bytes())),
            Self::F16 => {
                too_large(|value| f16::from_f32(value).is_finite())?;
                bytes.extend(values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()));
            }
            Self::Bf16 => {
                too_large(|value| bf16::from_f32(value).is_finite())?;
                bytes.extend(values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()));
            }
            Self::Q8_0 => {
                too_large(|value| f16::from_f32(value / 127.0).is_finite())?;
                values.as_chunks::<32>().0.iter().for_each(|block| q8_0(block, bytes));
            }
            _ => return Err(None),
        }
        Ok(())
    }
}

/// Appends a block of [`Encoding::Q8_0`], as llama.cpp makes it.
fn q8_0(values: &[f32; 32], bytes: &mut Vec<u8>) {
    let scale = values.iter().fold(0f32, |largest, value| largest.max(value.abs())) / 127.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    bytes.extend(f16::from_f32(scale).to_le_bytes());
    bytes.extend(values.iter().map(|value| (value * inverse).round() as i8 as u8));
}

fn scalars<const N: usize>(bytes: &[u8], values: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = value(bytes);
    }
}

fn blocks<const N: usize, const M: usize>(
    bytes: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; N], &mut [f32; M]),
) {
    for (block, out) in bytes.as_chunks::<N>().0.iter().zip(values.as_chunks_mut::<M>().0) {
        decode(block, out);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32_const()
}

/// Decodes 16 bytes: low nibbles are the first 16 values, high nibbles the others.
fn nibbles(quants: &[u8], out: &mut [f32; 32], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(16);
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

/// Returns the 2 bits of value `i` of 256: in each half, 32 bytes have four rows of 32 values.
fn two_bits(quants: &[u8], i: usize) -> u8 {
    quants[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, minimum_scale) = (half_at(block, 80), half_at(block, 82));
    for (i, value) in out.iter_mut().enumerate() {
        let both = block[i / 16];
        let (factor, offset) = (scale * f32::from(both & 15), minimum_scale * f32::from(both >> 4));
        *value = factor * f32::from(two_bits(&block[16..80], i)) - offset;
    }
}

fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
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

fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let (scale, high) = (half_at(block, 0), u16::from_le_bytes([block[2], block[3]]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = block[4 + part / 2] >> (part % 2 * 4) & 15;
        let factor = u16::from(low) | (high >> (part * 2) & 3) << 4;
        let factor = scale * (f32::from(factor) - 32.0);
        let quants = &block[8 + part * 16..][..16];
        nibbles(quants, out, |quant| factor * f32::from(IQ4[usize::from(quant)]));
    }
}

fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
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

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
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
