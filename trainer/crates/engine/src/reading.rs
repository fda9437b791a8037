// SPDX-License-Identifier: Apache-2.0

//! Values of blobs, which are hashed while they are read.

use crate::{EngineError, check_finite};
use pol_primitives::Hash;
use std::io::{ErrorKind, Read, Result as IoResult};

/// Reader of the values of a blob. What it read is to be used only once [`Self::finish`] has
/// compared all of it with the hash.
pub struct BlobValues<R> {
    hash: Hash,
    reader: R,
    hasher: blake3::Hasher,
    /// Number of bytes read.
    found: u64,
}

impl<R: Read> BlobValues<R> {
    /// Opens the blob with this hash by `open`.
    ///
    /// # Errors
    ///
    /// Fails with [`EngineError::BlobRead`] if `open` fails.
    pub fn open(
        hash: &Hash,
        open: &mut impl FnMut(&Hash) -> IoResult<R>,
    ) -> Result<Self, EngineError> {
        let reader = open(hash).map_err(|source| EngineError::BlobRead { hash: *hash, source })?;
        Ok(Self { hash: *hash, reader, hasher: blake3::Hasher::new(), found: 0 })
    }

    /// Reads the next values, as many as the blob still has. The others stay as they are.
    ///
    /// # Errors
    ///
    /// Fails with [`EngineError::BlobRead`] if the blob cannot be read.
    pub fn read(&mut self, values: &mut [f32]) -> Result<(), EngineError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(values);
        let mut filled = 0;
        while filled < bytes.len() {
            match self.read_some(&mut bytes[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(())
    }

    /// Reads what is left, and checks that the blob has its hash and `expected_len` values.
    ///
    /// # Errors
    ///
    /// Fails if it has not, or cannot be read.
    pub fn finish(mut self, expected_len: usize) -> Result<(), EngineError> {
        // Bytes beyond the array are hashed and dropped.
        let mut spare = [0; 4_096];
        while self.read_some(&mut spare)? > 0 {}
        if self.hasher.finalize() != self.hash {
            return Err(EngineError::BlobMismatch { hash: self.hash });
        }
        let size = size_of::<f32>() as u64;
        if self.found == expected_len as u64 * size {
            Ok(())
        } else {
            Err(EngineError::WrongModel { expected: expected_len as u64, found: self.found / size })
        }
    }

    /// Reads and hashes some bytes; none at the end of the blob.
    fn read_some(&mut self, bytes: &mut [u8]) -> Result<usize, EngineError> {
        loop {
            match self.reader.read(bytes) {
                Ok(read) => {
                    self.hasher.update(&bytes[..read]);
                    self.found += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(EngineError::BlobRead { hash: self.hash, source }),
            }
        }
    }
}

/// Reads the array with this hash, of `expected_len` finite values.
pub(crate) fn read_blob<R: Read>(
    hash: &Hash,
    expected_len: usize,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<Vec<f32>, EngineError> {
    let mut blob = BlobValues::open(hash, open)?;
    let mut values = vec![0f32; expected_len];
    blob.read(&mut values)?;
    blob.finish(expected_len)?;
    check_finite(&values)?;
    Ok(values)
}
