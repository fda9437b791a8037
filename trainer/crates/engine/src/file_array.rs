// SPDX-License-Identifier: Apache-2.0

//! Arrays that stay in a file until they are needed.

use crate::EngineError;
use pol_model::{hash_values, update_hash};
use pol_primitives::Hash;
use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes that are read at a time.
pub(crate) const PIECE: usize = 1 << 20;
/// Bytes of a value.
const VALUE_BYTES: u64 = size_of::<f32>() as u64;

/// Values within an open file. They are compared with their hash wherever they are read.
#[derive(Clone, Debug)]
pub(crate) struct FileArray {
    file: Arc<File>,
    path: PathBuf,
    /// Offset of the first value, in bytes.
    offset: u64,
    len: usize,
    hash: Hash,
}

impl FileArray {
    /// Returns `len` values with this hash, which are in the file at `path` from `offset` on.
    pub(crate) fn new(file: File, path: &Path, offset: u64, len: usize, hash: Hash) -> Self {
        Self { file: Arc::new(file), path: path.into(), offset, len, hash }
    }

    /// Writes `values` to a file in `folder` that has no name and goes with the last handle.
    pub(crate) fn write(folder: &Path, values: &[f32]) -> io::Result<Self> {
        let mut file = tempfile::tempfile_in(folder)?;
        file.write_all(bytemuck::cast_slice(values))?;
        Ok(Self::new(file, folder, 0, values.len(), hash_values(values)))
    }

    /// Returns the number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns the hash of the values.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// Reads the values.
    pub(crate) fn read(&self) -> Result<Vec<f32>, EngineError> {
        let mut values = vec![0f32; self.len];
        let bytes = bytemuck::cast_slice_mut(&mut values);
        self.file.read_exact_at(bytes, self.offset).map_err(|source| self.unreadable(source))?;
        if hash_values(&values) == self.hash { Ok(values) } else { Err(self.changed()) }
    }

    /// Calls `visit` with the bytes of the values, piece by piece. Fails as `visit` does, and with
    /// an [`EngineError`] as [`Self::read`] does.
    pub(crate) fn for_each_piece(
        &self,
        mut visit: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let (mut at, end) = (self.offset, self.offset + self.len as u64 * VALUE_BYTES);
        let (mut piece, mut hasher) = (vec![0; PIECE], blake3::Hasher::new());
        while at < end {
            let bytes = &mut piece[..(end - at).min(PIECE as u64) as usize];
            let read = self.file.read_exact_at(bytes, at);
            read.map_err(|source| io::Error::other(self.unreadable(source)))?;
            update_hash(&mut hasher, bytes);
            visit(bytes)?;
            at += bytes.len() as u64;
        }
        if hasher.finalize() == self.hash { Ok(()) } else { Err(io::Error::other(self.changed())) }
    }

    /// Returns the error of a file that was written to or damaged since it was read.
    fn changed(&self) -> EngineError {
        let reason = "values in it have changed while they were in use; check the disk";
        self.unreadable(io::Error::new(io::ErrorKind::InvalidData, reason))
    }

    fn unreadable(&self, source: io::Error) -> EngineError {
        let reason = format!("{}: {source}", self.path.display());
        let source = io::Error::new(source.kind(), reason);
        EngineError::BlobRead { hash: self.hash, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Values of more than one piece.
    fn values() -> Vec<f32> {
        (0..300_000).map(|value| value as f32 * 0.5 - 3.0).collect()
    }

    fn bytes_of(array: &FileArray) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        array.for_each_piece(|piece| {
            found.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn a_file_without_a_name_gives_the_values_back() {
        let folder = tempfile::tempdir().unwrap();
        let array = FileArray::write(folder.path(), &values()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(array.read().unwrap(), values());
        assert_eq!(bytes_of(&array).unwrap(), bytemuck::cast_slice::<f32, u8>(&values()));
        assert_eq!((array.len(), array.hash()), (300_000, hash_values(&values())));
    }

    #[test]
    fn a_file_that_changes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for at in [5, 600_000, 1_200_004] {
            let mut bytes = vec![7u8; 5];
            bytes.extend_from_slice(bytemuck::cast_slice(&values()));
            fs::write(&path, &bytes).unwrap();
            let file = File::open(&path).unwrap();
            let array = FileArray::new(file, &path, 5, 300_000, hash_values(&values()));
            assert_eq!(array.read().unwrap(), values());
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(bytes_of(&array).unwrap_err().to_string().contains("have changed"));
            let error = array.read().unwrap_err().to_string();
            assert!(error.contains("file: values in it have changed"), "{error}");
        }
    }
}
