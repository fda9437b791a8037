// SPDX-License-Identifier: Apache-2.0

//! File format of a model.
//!
//! | field | bytes |
//! |---|---|
//! | `pol-qual` | 8 |
//! | version, 1 | 1 |
//! | bits of a bucket's number | 1 |
//! | seed of the features, little-endian | 8 |
//! | weights | all others |
//! | BLAKE3 of all bytes before | 32 |
//!
//! Weights are zigzag numbers in LEB128. A zero is followed by the number of further zeros, and a
//! run of zeros is as long as it can be: a model has one encoding.

use super::{
    QualityModel,
    features::{BUCKET_BITS, Features},
};

const MAGIC: &[u8; 8] = b"pol-qual";
const VERSION: u8 = 1;
const DIGEST_BYTES: usize = 32;

/// Encodes a model.
pub(super) fn encode(model: &QualityModel) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([VERSION, model.bits]);
    bytes.extend(model.seed.to_le_bytes());
    let mut weights = model.weights.iter().copied().peekable();
    while let Some(weight) = weights.next() {
        let weight = i32::from(weight);
        put(&mut bytes, ((weight << 1) ^ (weight >> 31)) as u32);
        if weight == 0 {
            let mut zeros = 0;
            while weights.next_if_eq(&0).is_some() {
                zeros += 1;
            }
            put(&mut bytes, zeros);
        }
    }
    let digest = blake3::hash(&bytes);
    bytes.extend(digest.as_bytes());
    bytes
}

/// Decodes a model.
///
/// # Errors
///
/// Returns the contradiction found if the bytes are not those of a model.
pub(super) fn decode(bytes: &[u8]) -> Result<QualityModel, &'static str> {
    let (content, digest) =
        bytes.split_last_chunk::<DIGEST_BYTES>().ok_or("it is shorter than its digest")?;
    let rest = content.strip_prefix(MAGIC).ok_or("it does not start with `pol-qual`")?;
    let (&[version, bits], rest) = rest.split_first_chunk().ok_or("its header is cut off")?;
    if version != VERSION {
        return Err("its version is none that this program reads");
    }
    if blake3::hash(content) != *digest {
        return Err("its digest is not that of its content");
    }
    if !BUCKET_BITS.contains(&bits) {
        return Err("its number of buckets is out of range");
    }
    let (seed, mut rest) = rest.split_first_chunk().ok_or("its header is cut off")?;
    let seed = u64::from_le_bytes(*seed);
    let model = QualityModel {
        bits,
        seed,
        features: Features::new(seed, bits),
        weights: weights(&mut rest, 1 << bits)?,
    };
    // Longer forms of the same numbers and split runs are other bytes than this program writes.
    if encode(&model) == bytes { Ok(model) } else { Err("it is not in its shortest form") }
}

/// Decodes exactly `count` weights.
fn weights(bytes: &mut &[u8], count: usize) -> Result<Vec<i16>, &'static str> {
    let mut weights = Vec::with_capacity(count);
    while weights.len() < count {
        let zigzag = take(bytes)?;
        let weight = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        weights.push(i16::try_from(weight).map_err(|_| "a weight is out of range")?);
        if weight == 0 {
            let zeros = take(bytes)? as usize;
            if zeros > count - weights.len() {
                return Err("a run of zeros passes the last bucket");
            }
            weights.resize(weights.len() + zeros, 0);
        }
    }
    if bytes.is_empty() { Ok(weights) } else { Err("bytes follow the last weight") }
}

fn put(bytes: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u32, &'static str> {
    let mut value = 0;
    for shift in [0, 7, 14] {
        let (&byte, rest) = bytes.split_first().ok_or("its weights are cut off")?;
        *bytes = rest;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number is too long")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn model(weights: Vec<i16>) -> QualityModel {
        let bits = weights.len().ilog2() as u8;
        QualityModel { bits, seed: 5, features: Features::new(5, bits), weights }
    }

    /// Encodes bytes as a model's, with a true digest.
    fn sealed(mut content: Vec<u8>) -> Vec<u8> {
        let digest = blake3::hash(&content);
        content.extend(digest.as_bytes());
        content
    }

    fn header(bits: u8) -> Vec<u8> {
        [&b"pol-qual"[..], &[1, bits], &5u64.to_le_bytes()].concat()
    }

    fn reason(bytes: &[u8]) -> &'static str {
        decode(bytes).unwrap_err()
    }

    #[test]
    fn each_contradiction_has_its_reason() {
        let mut extremes = vec![0; 256];
        extremes[..3].copy_from_slice(&[i16::MIN, i16::MAX, -1]);
        let good = encode(&model(extremes));
        assert!(decode(&good).is_ok());
        assert_eq!(reason(&good[..20]), "it is shorter than its digest");
        assert_eq!(reason(&sealed(vec![0; 40])), "it does not start with `pol-qual`");
        assert_eq!(reason(&sealed(b"pol-qual".to_vec())), "its header is cut off");
        assert_eq!(reason(&sealed(header(8)[..12].to_vec())), "its header is cut off");
        let mut other = header(8);
        other[8] = 2;
        assert_eq!(reason(&sealed(other)), "its version is none that this program reads");
        let mut flipped = good;
        flipped[20] ^= 1;
        assert_eq!(reason(&flipped), "its digest is not that of its content");
        for bits in [7, 21, 255] {
            assert_eq!(reason(&sealed(header(bits))), "its number of buckets is out of range");
        }
        let weights = |weights: &[u8]| reason(&sealed([&header(8)[..], weights].concat()));
        assert_eq!(weights(&[]), "its weights are cut off");
        assert_eq!(weights(&[0]), "its weights are cut off");
        assert_eq!(weights(&[0xff, 0xff, 0x7f]), "a weight is out of range");
        assert_eq!(weights(&[0xff; 4]), "a number is too long");
        assert_eq!(weights(&[0, 0x80, 2]), "a run of zeros passes the last bucket");
        assert_eq!(weights(&[0, 0xff, 1, 2]), "bytes follow the last weight");
        assert_eq!(weights(&[0, 0, 0, 0xfe, 1]), "it is not in its shortest form");
        assert_eq!(weights(&[0x80, 0, 0xff, 1]), "it is not in its shortest form");
    }

    proptest! {
        #[test]
        fn models_come_back(weights in proptest::collection::vec(-300i16..300, 256), zeros: u8) {
            let mut weights = weights;
            weights[..usize::from(zeros)].fill(0);
            let model = model(weights);
            prop_assert_eq!(decode(&encode(&model)), Ok(model));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, bits: u8) {
            let _ = decode(&bytes);
            let _ = decode(&sealed([header(bits), bytes].concat()));
        }
    }
}
