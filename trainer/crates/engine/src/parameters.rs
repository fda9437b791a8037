// SPDX-License-Identifier: Apache-2.0

//! Parameters of a model as the bytes of their blob.

use crate::{EngineError, check_finite};
use std::sync::Arc;

/// Bytes of a parameter.
const VALUE_BYTES: usize = size_of::<f32>();

/// Returns the blob of a parameter vector: little-endian float32 in canonical order. Its BLAKE3
/// hash is the head's root.
pub fn parameters_to_bytes(parameters: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(parameters).to_vec()
}

/// Reads the blob of a model with `expected_len` parameters that [`parameters_to_bytes`] returned.
///
/// # Errors
///
/// Fails for another number of parameters and for values that are not finite.
pub fn parameters_from_bytes(bytes: &[u8], expected_len: usize) -> Result<Vec<f32>, EngineError> {
    let mut pieces = ParameterPieces::new(expected_len);
    pieces.push(bytes);
    pieces.finish()
}

/// Parameters as the bytes of their blob, without a copy.
#[derive(Clone, Debug)]
pub struct ParameterBytes(pub Arc<Vec<f32>>);

impl AsRef<[u8]> for ParameterBytes {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self.0.as_slice())
    }
}

/// Parameters of a blob that arrives piece by piece.
#[derive(Clone, Debug)]
pub struct ParameterPieces {
    values: Vec<f32>,
    /// Number of bytes that arrived.
    found: usize,
}

impl ParameterPieces {
    /// Creates the parameters of a model of `expected_len`, of which none arrived.
    pub fn new(expected_len: usize) -> Self {
        Self { values: vec![0.0; expected_len], found: 0 }
    }

    /// Adds the next bytes. Those beyond the model are counted only.
    pub fn push(&mut self, piece: &[u8]) {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.values);
        if let Some(rest) = bytes.get_mut(self.found..) {
            let len = piece.len().min(rest.len());
            rest[..len].copy_from_slice(&piece[..len]);
        }
        self.found += piece.len();
    }

    /// Returns the parameters, once all bytes arrived.
    ///
    /// # Errors
    ///
    /// Fails for another number of parameters and for values that are not finite.
    pub fn finish(self) -> Result<Vec<f32>, EngineError> {
        if self.found != self.values.len() * VALUE_BYTES {
            return Err(EngineError::WrongModel {
                expected: self.values.len() as u64,
                found: (self.found / VALUE_BYTES) as u64,
            });
        }
        check_finite(&self.values)?;
        Ok(self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_written() {
        let parameters = [1.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX];
        let bytes = parameters_to_bytes(&parameters);
        let read = parameters_from_bytes(&bytes, 4).unwrap();
        assert_eq!(
            read.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
            parameters.map(f32::to_bits)
        );
        assert!(matches!(
            parameters_from_bytes(&bytes[1..], 4),
            Err(EngineError::WrongModel { .. })
        ));
        assert!(matches!(parameters_from_bytes(&bytes, 5), Err(EngineError::WrongModel { .. })));
        let infinite = parameters_to_bytes(&[0.0, f32::INFINITY]);
        assert!(matches!(
            parameters_from_bytes(&infinite, 2),
            Err(EngineError::NotFinite { index: 1 })
        ));
    }

    #[test]
    fn parameters_arrive_in_any_pieces() {
        let parameters = [1.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX];
        let held = ParameterBytes(Arc::new(parameters.to_vec()));
        let bytes: &[u8] = held.as_ref();
        assert_eq!(bytes, parameters_to_bytes(&parameters));
        for size in [1, 3, 4, 7, 16] {
            let mut pieces = ParameterPieces::new(4);
            bytes.chunks(size).for_each(|piece| pieces.push(piece));
            let found = pieces.finish().unwrap();
            assert!(found.iter().map(|value| value.to_bits()).eq(parameters.map(f32::to_bits)));
        }
        let read = |len, bytes: &[u8]| {
            let mut pieces = ParameterPieces::new(len);
            pieces.push(bytes);
            pieces.finish()
        };
        for (len, count) in [(4, 15), (3, 16), (5, 16), (1, 0)] {
            let other = read(len, &bytes[..count]);
            assert!(matches!(other, Err(EngineError::WrongModel { .. })), "{len} {count}");
        }
        let infinite = parameters_to_bytes(&[0.0, f32::INFINITY]);
        assert!(matches!(read(2, &infinite), Err(EngineError::NotFinite { index: 1 })));
    }
}
