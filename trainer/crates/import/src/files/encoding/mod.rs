// SPDX-License-Identifier: Apache-2.0

//! Encodings of values and their decoding to float32.

mod blocks;
mod codebooks;
mod encode;
mod grids;

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
    /// Blocks of 128 signs with a scale.
    Q1_0,
    /// Blocks of 64 values from −1 to 2 with a scale.
    Q2_0,
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
    /// Blocks of 256 values of 8 bits with a scale of single precision and sums.
    Q8K,
    /// Blocks of 256 values: 32 points of a grid of 2048, moved by 8 shifts, with 8 scales.
    Iq1S,
    /// Blocks of 256 values: 32 points of that grid, moved by 32 shifts, with 16 scales.
    Iq1M,
    /// Blocks of 256 values: 32 points of a grid of 256 with signs, in 8 parts with scales.
    Iq2Xxs,
    /// Blocks of 256 values: 32 points of a grid of 512 with signs, in 16 parts with scales.
    Iq2Xs,
    /// Blocks of 256 values: 32 points of a grid of 1024 with signs, in 16 parts with scales.
    Iq2S,
    /// Blocks of 256 values: 64 points of a grid of 256 with signs, in 8 parts with scales.
    Iq3Xxs,
    /// Blocks of 256 values: 64 points of a grid of 512 with signs, in 8 parts with scales.
    Iq3S,
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
    /// Blocks of 64 floating-point numbers of 4 bits in 4 parts with scales that are floating-point
    /// numbers of 8 bits.
    Nvfp4,
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
            Self::Q1_0 => "Q1_0",
            Self::Q2_0 => "Q2_0",
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
            Self::Q8K => "Q8_K",
            Self::Iq1S => "IQ1_S",
            Self::Iq1M => "IQ1_M",
            Self::Iq2Xxs => "IQ2_XXS",
            Self::Iq2Xs => "IQ2_XS",
            Self::Iq2S => "IQ2_S",
            Self::Iq3Xxs => "IQ3_XXS",
            Self::Iq3S => "IQ3_S",
            Self::Iq4Nl => "IQ4_NL",
            Self::Iq4Xs => "IQ4_XS",
            Self::Tq1_0 => "TQ1_0",
            Self::Tq2_0 => "TQ2_0",
            Self::Mxfp4 => "MXFP4",
            Self::Nvfp4 => "NVFP4",
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
            Self::Q1_0 => (128, 18),
            Self::Q2_0 => (64, 18),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 | Self::Iq4Nl => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q2K => (256, 84),
            Self::Q3K | Self::Iq3S => (256, 110),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Q8K => (256, 292),
            Self::Iq1S => (256, 50),
            Self::Iq1M => (256, 56),
            Self::Iq2Xxs => (256, 66),
            Self::Iq2Xs => (256, 74),
            Self::Iq2S => (256, 82),
            Self::Iq3Xxs => (256, 98),
            Self::Iq4Xs => (256, 136),
            Self::Tq1_0 => (256, 54),
            Self::Tq2_0 => (256, 66),
            Self::Mxfp4 => (32, 17),
            Self::Nvfp4 => (64, 36),
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
            Self::Q1_0 => decode_blocks(bytes, values, blocks::q1_0),
            Self::Q2_0 => decode_blocks(bytes, values, blocks::q2_0),
            Self::Q8_0 => decode_blocks(bytes, values, blocks::q8_0),
            Self::Q4_0 => decode_blocks(bytes, values, blocks::q4_0),
            Self::Q4_1 => decode_blocks(bytes, values, blocks::q4_1),
            Self::Q5_0 => decode_blocks(bytes, values, blocks::q5_0),
            Self::Q5_1 => decode_blocks(bytes, values, blocks::q5_1),
            Self::Q2K => decode_blocks(bytes, values, blocks::q2_k),
            Self::Q3K => decode_blocks(bytes, values, blocks::q3_k),
            Self::Q4K => decode_blocks(bytes, values, blocks::q4_k),
            Self::Q5K => decode_blocks(bytes, values, blocks::q5_k),
            Self::Q6K => decode_blocks(bytes, values, blocks::q6_k),
            Self::Q8K => decode_blocks(bytes, values, blocks::q8_k),
            Self::Iq1S => decode_blocks(bytes, values, codebooks::iq1_s),
            Self::Iq1M => decode_blocks(bytes, values, codebooks::iq1_m),
            Self::Iq2Xxs => decode_blocks(bytes, values, codebooks::iq2_xxs),
            Self::Iq2Xs => decode_blocks(bytes, values, codebooks::iq2_xs),
            Self::Iq2S => decode_blocks(bytes, values, codebooks::iq2_s),
            Self::Iq3Xxs => decode_blocks(bytes, values, codebooks::iq3_xxs),
            Self::Iq3S => decode_blocks(bytes, values, codebooks::iq3_s),
            Self::Iq4Nl => decode_blocks(bytes, values, blocks::iq4_nl),
            Self::Iq4Xs => decode_blocks(bytes, values, blocks::iq4_xs),
            Self::Tq1_0 => decode_blocks(bytes, values, blocks::tq1_0),
            Self::Tq2_0 => decode_blocks(bytes, values, blocks::tq2_0),
            Self::Mxfp4 => decode_blocks(bytes, values, blocks::mxfp4),
            Self::Nvfp4 => decode_blocks(bytes, values, blocks::nvfp4),
            Self::Other { name, .. } => {
                return Err(format!("is of type {name}, which weights are not"));
            }
        }
        Ok(())
    }

    /// Makes little-endian blocks of big-endian ones.
    pub(super) fn swap_bytes(self, bytes: &mut [u8]) {
        for block in bytes.chunks_exact_mut(self.block().1 as usize) {
            for &(start, size, count) in self.numbers().unwrap_or_default() {
                block[start..start + size * count].chunks_exact_mut(size).for_each(<[u8]>::reverse);
            }
        }
    }

    /// Returns the places of the numbers in a block that take several bytes: the first byte, the
    /// size, and the count. They are what the decoders of llama.cpp read as such numbers, even
    /// where its structures have bytes. `None` stands for types that llama.cpp quantises in one way
    /// and decodes in another on big-endian machines, where the bytes of its grids lie the other
    /// way round, so that nobody can tell what such blocks mean.
    pub(super) const fn numbers(self) -> Option<&'static [(usize, usize, usize)]> {
        Some(match self {
            Self::F64 => &[(0, 8, 1)],
            Self::F32 | Self::Q8K => &[(0, 4, 1)],
            Self::F16
            | Self::Bf16
            | Self::Q1_0
            | Self::Q2_0
            | Self::Q8_0
            | Self::Q4_0
            | Self::Iq4Nl => &[(0, 2, 1)],
            Self::Q4_1 | Self::Q4K | Self::Q5K | Self::Iq4Xs => &[(0, 2, 2)],
            Self::Q5_0 => &[(0, 2, 1), (2, 4, 1)],
            Self::Q5_1 => &[(0, 2, 2), (4, 4, 1)],
            Self::Q2K => &[(80, 2, 2)],
            Self::Q3K => &[(108, 2, 1)],
            Self::Q6K => &[(208, 2, 1)],
            Self::Tq1_0 => &[(52, 2, 1)],
            Self::Tq2_0 => &[(64, 2, 1)],
            Self::Mxfp4 | Self::Nvfp4 | Self::Other { .. } => &[],
            Self::Iq1S
            | Self::Iq1M
            | Self::Iq2Xxs
            | Self::Iq2Xs
            | Self::Iq2S
            | Self::Iq3Xxs
            | Self::Iq3S => return None,
        })
    }
}

fn scalars<const N: usize>(bytes: &[u8], values: &mut [f32], value: impl Fn([u8; N]) -> f32) {
    for (out, &bytes) in values.iter_mut().zip(bytes.as_chunks::<N>().0) {
        *out = value(bytes);
    }
}

fn decode_blocks<const N: usize, const M: usize>(
    bytes: &[u8],
    values: &mut [f32],
    decode: impl Fn(&[u8; N], &mut [f32; M]),
) {
    for (block, out) in bytes.as_chunks::<N>().0.iter().zip(values.as_chunks_mut::<M>().0) {
        decode(block, out);
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_bits(short_at(block, at)).to_f32_const()
}

fn short_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from(short_at(block, at)) | u32::from(short_at(block, at + 2)) << 16
}
