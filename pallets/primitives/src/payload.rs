// SPDX-License-Identifier: Apache-2.0

//! The encoding of compressed updates.
//!
//! The parameters form one vector in canonical order, which is cut into chunks of [`CHUNK_SIZE`]
//! values. A payload holds the `top_k` largest values of each chunk, each as a 12-bit index and a
//! 2-bit code: the sign and one of two magnitudes. The magnitudes are bfloat16 and stored once per
//! chunk. The encoding is canonical: decoding rejects any other bytes.
//!
//! ```text
//! "POLU" 0x01 | top_k: u16 | values: u64 | chunks
//! chunk = low: u16 | high: u16 | top_k × 14 bits | zero padding to a byte
//! ```
//!
//! Integers are little-endian, and bits fill bytes from the lowest. An entry is
//! `index | code << 12`. Bit 0 of the code is the sign (1 is negative), bit 1 the magnitude (1 is
//! high). Indices ascend.

use alloc::vec::Vec;

/// Number of values in a chunk; the last chunk may be shorter.
pub const CHUNK_SIZE: usize = 4_096;
const MAGIC: [u8; 5] = *b"POLU\x01";
const HEADER: usize = 15;
const ENTRY_BITS: usize = 14;

/// One kept value of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Position in the chunk.
    pub index: u16,
    /// Set if the value is negative.
    pub negative: bool,
    /// Set if the value has the high magnitude of the chunk.
    pub high: bool,
}

/// The kept values of one chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Low magnitude: bits of a finite, non-negative bfloat16.
    pub low: u16,
    /// High magnitude, in the same form.
    pub high: u16,
    /// Kept values by ascending index: `top_k` of them, or all values of a shorter chunk.
    pub entries: Vec<ChunkEntry>,
}

/// A compressed update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Number of values kept of each chunk.
    pub top_k: u16,
    /// Number of parameters.
    pub values: u64,
    /// Chunks of [`CHUNK_SIZE`] parameters each.
    pub chunks: Vec<Chunk>,
}

/// Error of decoding a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPayload {
    /// The magic bytes are missing.
    Magic,
    /// The payload is for another model or recipe.
    Shape,
    /// The payload is too short or too long.
    Length,
    /// An index is out of range or order, a magnitude is negative or not finite, or the padding is
    /// not zero.
    Content,
}

impl core::fmt::Display for InvalidPayload {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Magic => "the bytes are not a payload, or one of a later version",
            Self::Shape => "the payload is for another model or recipe",
            Self::Length => "the payload has the wrong length",
            Self::Content => "the payload holds an invalid index, magnitude or padding",
        })
    }
}

impl core::error::Error for InvalidPayload {}

/// Returns the number of entries of a chunk of `len` values.
fn entry_count(top_k: u16, len: usize) -> usize {
    usize::from(top_k).min(len)
}

fn chunk_bytes(top_k: u16, len: usize) -> usize {
    entry_count(top_k, len).saturating_mul(ENTRY_BITS).div_ceil(8).saturating_add(4)
}

/// Returns the lengths of the chunks of `values` parameters.
pub fn chunk_lengths(values: u64) -> impl Iterator<Item = usize> {
    let chunk = CHUNK_SIZE as u64;
    (0..values.div_ceil(chunk))
        .map(move |i| values.saturating_sub(i.saturating_mul(chunk)).min(chunk) as usize)
}

/// Returns the size in bytes of a payload for `values` parameters.
pub fn encoded_size(top_k: u16, values: u64) -> u64 {
    let whole = values.checked_div(CHUNK_SIZE as u64).unwrap_or(0);
    let rest = values.checked_rem(CHUNK_SIZE as u64).unwrap_or(0) as usize;
    let tail = if rest == 0 { 0 } else { chunk_bytes(top_k, rest) as u64 };
    (HEADER as u64)
        .saturating_add(whole.saturating_mul(chunk_bytes(top_k, CHUNK_SIZE) as u64))
        .saturating_add(tail)
}

fn is_magnitude(bits: u16) -> bool {
    // The sign is clear, and the exponent is not all ones.
    bits & 0x8000 == 0 && bits & 0x7f80 != 0x7f80
}

impl Payload {
    /// Encodes the payload in its canonical form.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(encoded_size(self.top_k, self.values) as usize);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.top_k.to_le_bytes());
        bytes.extend_from_slice(&self.values.to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend_from_slice(&chunk.low.to_le_bytes());
            bytes.extend_from_slice(&chunk.high.to_le_bytes());
            let (mut pending, mut bits) = (0u32, 0u32);
            for entry in &chunk.entries {
                let code = u32::from(entry.index)
                    | u32::from(entry.negative) << 12
                    | u32::from(entry.high) << 13;
                pending |= code << bits;
                bits = bits.saturating_add(ENTRY_BITS as u32);
                while bits >= 8 {
                    bytes.push(pending as u8);
                    pending >>= 8;
                    bits = bits.saturating_sub(8);
                }
            }
            if bits > 0 {
                bytes.push(pending as u8);
            }
        }
        bytes
    }

    /// Decodes a payload for a model of `values` parameters and a recipe that keeps `top_k` values
    /// of each chunk.
    ///
    /// The expected size bounds the memory use, whatever the bytes claim.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are not the canonical encoding of such a payload.
    pub fn decode(bytes: &[u8], top_k: u16, values: u64) -> Result<Self, InvalidPayload> {
        let (header, mut body) = bytes.split_at_checked(HEADER).ok_or(InvalidPayload::Length)?;
        if !header.starts_with(&MAGIC) {
            return Err(InvalidPayload::Magic);
        }
        let expected = top_k.to_le_bytes().into_iter().chain(values.to_le_bytes());
        if !header.iter().copied().skip(MAGIC.len()).eq(expected) {
            return Err(InvalidPayload::Shape);
        }
        if bytes.len() as u64 != encoded_size(top_k, values) {
            return Err(InvalidPayload::Length);
        }
        let mut chunks = Vec::with_capacity(values.div_ceil(CHUNK_SIZE as u64) as usize);
        for len in chunk_lengths(values) {
            let (chunk, rest) =
                body.split_at_checked(chunk_bytes(top_k, len)).ok_or(InvalidPayload::Length)?;
            chunks.push(decode_chunk(chunk, entry_count(top_k, len), len)?);
            body = rest;
        }
        Ok(Self { top_k, values, chunks })
    }
}

fn decode_chunk(bytes: &[u8], count: usize, len: usize) -> Result<Chunk, InvalidPayload> {
    let &[low0, low1, high0, high1, ref packed @ ..] = bytes else {
        return Err(InvalidPayload::Length);
    };
    let (low, high) = (u16::from_le_bytes([low0, low1]), u16::from_le_bytes([high0, high1]));
    if !is_magnitude(low) || !is_magnitude(high) || low > high {
        return Err(InvalidPayload::Content);
    }
    let mut entries = Vec::with_capacity(count);
    let (mut pending, mut bits, mut packed) = (0u32, 0u32, packed.iter());
    let mut next = 0u16;
    for _ in 0..count {
        while bits < ENTRY_BITS as u32 {
            pending |= u32::from(*packed.next().ok_or(InvalidPayload::Length)?) << bits;
            bits = bits.saturating_add(8);
        }
        let index = (pending & 0xfff) as u16;
        if index < next || usize::from(index) >= len {
            return Err(InvalidPayload::Content);
        }
        next = index.saturating_add(1);
        entries.push(ChunkEntry {
            index,
            negative: pending & 1 << 12 != 0,
            high: pending & 1 << 13 != 0,
        });
        pending >>= ENTRY_BITS;
        bits = bits.saturating_sub(ENTRY_BITS as u32);
    }
    if pending != 0 || packed.next().is_some() {
        return Err(InvalidPayload::Content);
    }
    Ok(Chunk { low, high, entries })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prf::Prf;
    use proptest::prelude::*;

    fn payload(top_k: u16, values: u64, seed: u8) -> Payload {
        let mut prf = Prf::new("payload", &[seed; 32], &[]);
        let chunks = chunk_lengths(values)
            .map(|len| {
                let mut indices = prf.permutation(len as u32);
                indices.truncate(entry_count(top_k, len));
                indices.sort_unstable();
                let entries = indices
                    .into_iter()
                    .map(|i| ChunkEntry {
                        index: i as u16,
                        negative: prf.below(2) == 1,
                        high: prf.below(2) == 1,
                    })
                    .collect();
                let low = prf.below(0x7f80) as u16;
                Chunk { low, high: low + prf.below(0x7f80 - u32::from(low)) as u16, entries }
            })
            .collect();
        Payload { top_k, values, chunks }
    }

    #[test]
    fn fourteen_bits_a_value() {
        assert_eq!(encoded_size(64, 4_096), 15 + 4 + 112);
    }

    #[test]
    fn misplaced_payloads_are_refused() {
        let bytes = payload(64, 5_000, 1).encode();
        assert_eq!(Payload::decode(&bytes, 65, 5_000), Err(InvalidPayload::Shape));
        assert_eq!(Payload::decode(&bytes, 64, 5_001), Err(InvalidPayload::Shape));
        assert_eq!(
            Payload::decode(&bytes[..bytes.len() - 1], 64, 5_000),
            Err(InvalidPayload::Length)
        );
        assert_eq!(Payload::decode(&[0; 40], 64, 5_000), Err(InvalidPayload::Magic));
        assert_eq!(Payload::decode(&[], 64, 5_000), Err(InvalidPayload::Length));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_encoded_is_decoded(top_k in 1u16..300, values in 1u64..20_000, seed: u8) {
            let payload = payload(top_k, values, seed);
            let bytes = payload.encode();
            prop_assert_eq!(bytes.len() as u64, encoded_size(top_k, values));
            prop_assert_eq!(Payload::decode(&bytes, top_k, values).unwrap(), payload);
        }

        #[test]
        fn a_flipped_bit_is_refused_or_decodes_to_itself(
            seed: u8,
            at: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let mut bytes = payload(32, 9_000, seed).encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(decoded) = Payload::decode(&bytes, 32, 9_000) {
                prop_assert_eq!(decoded.encode(), bytes);
            }
        }
    }
}
