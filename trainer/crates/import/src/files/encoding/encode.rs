// SPDX-License-Identifier: Apache-2.0

//! Encoding of values, for checkpoints that others read.

use super::Encoding;
use half::{bf16, f16};

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
