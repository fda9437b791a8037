// SPDX-License-Identifier: Apache-2.0

//! Error feedback, which need not be in memory while a lease is trained.

use crate::{
    EngineError,
    file_array::{FileArray, PIECE},
    reading::read_blob,
};
use pol_model::{hash_values, update_hash};
use pol_primitives::Hash;
use std::{
    borrow::Cow,
    fs::File,
    io::{self, Read},
    path::Path,
    sync::OnceLock,
};

/// Bytes of a value.
const VALUE_BYTES: u64 = size_of::<f32>() as u64;

/// Error feedback of a state: the parts of earlier updates that payloads left unsent.
///
/// Training reads and changes none of it. It is packed with the update, and named by its hash until
/// then. So a state that was [loaded](crate::TrainingState::load) leaves it in the file, which
/// stays open, and that of a first lease takes no memory at all. Values that are read are compared
/// with the hash.
#[derive(Clone, Debug)]
pub struct Feedback {
    place: Place,
    /// Hash of values in memory, once it is computed.
    hash: OnceLock<Hash>,
}

#[derive(Clone, Debug)]
enum Place {
    /// This number of zeros.
    Zeros(usize),
    Memory(Vec<f32>),
    File(FileArray),
    /// A blob of this number of values, which is not here.
    Blob(Hash, usize),
}

impl Feedback {
    /// Returns the feedback of a state of `len` parameters that has taken no step.
    pub fn zeros(len: usize) -> Self {
        Self::at(Place::Zeros(len))
    }

    /// Returns the feedback of `len` values with this hash, which the state's trainer serves.
    pub(crate) fn blob(hash: Hash, len: usize) -> Self {
        Self::at(Place::Blob(hash, len))
    }

    fn at(place: Place) -> Self {
        Self { place, hash: OnceLock::new() }
    }

    /// Returns the number of values.
    pub(crate) fn len(&self) -> usize {
        match &self.place {
            Place::Zeros(len) | Place::Blob(_, len) => *len,
            Place::Memory(values) => values.len(),
            Place::File(array) => array.len(),
        }
    }

    /// Returns the BLAKE3 hash of the values. It is computed once.
    pub fn hash(&self) -> Hash {
        match &self.place {
            Place::Zeros(len) => *self.hash.get_or_init(|| hash_zeros(*len)),
            Place::Memory(values) => *self.hash.get_or_init(|| hash_values(values)),
            Place::File(array) => array.hash(),
            Place::Blob(hash, _) => *hash,
        }
    }

    /// Returns `true` if all bits of all values are zero.
    pub(crate) fn is_zero(&self) -> bool {
        match &self.place {
            Place::Zeros(_) => true,
            Place::Memory(values) => values.iter().all(|value| value.to_bits() == 0),
            Place::File(_) | Place::Blob(..) => self.hash() == hash_zeros(self.len()),
        }
    }

    /// Returns the values.
    ///
    /// # Errors
    ///
    /// Fails if they are in a file that cannot be read or has changed, or on another machine.
    pub fn values(&self) -> Result<Cow<'_, [f32]>, EngineError> {
        Ok(match &self.place {
            Place::Zeros(len) => vec![0.0; *len].into(),
            Place::Memory(values) => values.into(),
            Place::File(array) => array.read()?.into(),
            Place::Blob(hash, _) => {
                let source = io::ErrorKind::NotFound.into();
                return Err(EngineError::BlobRead { hash: *hash, source });
            }
        })
    }

    /// Changes the values by `change`. They are in memory from then on.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::values`] does.
    pub fn edit(&mut self, change: impl FnOnce(&mut Vec<f32>)) -> Result<(), EngineError> {
        let mut values = self.take()?;
        change(&mut values);
        *self = values.into();
        Ok(())
    }

    /// Takes the values out. Those in memory leave an empty vector.
    pub(crate) fn take(&mut self) -> Result<Vec<f32>, EngineError> {
        if let Place::Memory(values) = &mut self.place {
            self.hash = OnceLock::new();
            return Ok(std::mem::take(values));
        }
        Ok(self.values()?.into_owned())
    }

    /// Takes the values out as [`Self::take`] does. If they are a blob that is not here, `open`
    /// returns it.
    pub(crate) fn take_or_open<R: Read>(
        &mut self,
        open: &mut impl FnMut(&Hash) -> io::Result<R>,
    ) -> Result<Vec<f32>, EngineError> {
        match self.place {
            Place::Blob(hash, len) => read_blob(&hash, len, open),
            _ => self.take(),
        }
    }

    /// Calls `visit` with the bytes of the values, piece by piece.
    ///
    /// # Errors
    ///
    /// Fails if `visit` does, and with an [`EngineError`] as [`Self::values`] does.
    pub(crate) fn for_each_piece(
        &self,
        visit: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        match &self.place {
            Place::Zeros(len) => zeros(*len, visit),
            Place::Memory(values) => {
                bytemuck::cast_slice::<f32, u8>(values).chunks(PIECE).try_for_each(visit)
            }
            Place::File(array) => array.for_each_piece(visit),
            Place::Blob(..) => self.values().map(drop).map_err(io::Error::other),
        }
    }

    /// Leaves the values, which were read from `offset` of `file`, in the file. Zeros need none.
    pub(crate) fn leave_in(&mut self, file: File, path: &Path, offset: u64) {
        let (len, hash) = (self.len(), self.hash());
        self.place = if self.is_zero() {
            Place::Zeros(len)
        } else {
            Place::File(FileArray::new(file, path, offset, len, hash))
        };
    }
}

impl From<Vec<f32>> for Feedback {
    fn from(values: Vec<f32>) -> Self {
        Self::at(Place::Memory(values))
    }
}

/// Feedback is the same if its bits are, wherever they are.
impl PartialEq for Feedback {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.hash() == other.hash()
    }
}

/// Calls `visit` with the bytes of `len` zeros, piece by piece.
fn zeros(len: usize, mut visit: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut left = len as u64 * VALUE_BYTES;
    let piece = vec![0; left.min(PIECE as u64) as usize];
    while left > 0 {
        let bytes = &piece[..left.min(PIECE as u64) as usize];
        visit(bytes)?;
        left -= bytes.len() as u64;
    }
    Ok(())
}

/// Returns the hash of `len` zeros.
pub(crate) fn hash_zeros(len: usize) -> Hash {
    let mut hasher = blake3::Hasher::new();
    let mut left = len as u64 * VALUE_BYTES;
    let piece = vec![0; left.min(PIECE as u64) as usize];
    while left > 0 {
        let bytes = &piece[..left.min(PIECE as u64) as usize];
        update_hash(&mut hasher, bytes);
        left -= bytes.len() as u64;
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    /// Values of more than one piece.
    fn values() -> Vec<f32> {
        (0..300_000).map(|value| value as f32 * 0.5 - 3.0).collect()
    }

    fn bytes_of(feedback: &Feedback) -> io::Result<Vec<u8>> {
        let mut found = Vec::new();
        feedback.for_each_piece(|piece| {
            found.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(found)
    }

    /// Returns the feedback of [`values`] in a file, after five other bytes.
    fn in_file(path: &Path) -> Feedback {
        let mut file = File::create(path).unwrap();
        file.write_all(&[7; 5]).unwrap();
        file.write_all(bytemuck::cast_slice(&values())).unwrap();
        let mut feedback = Feedback::from(values());
        feedback.leave_in(File::open(path).unwrap(), path, 5);
        assert!(matches!(feedback.place, Place::File(_)));
        feedback
    }

    #[test]
    fn feedback_is_the_same_wherever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let (filed, held) = (in_file(&path), Feedback::from(values()));
        // A file that is removed stays open.
        fs::remove_file(&path).unwrap();
        assert_eq!(filed, held);
        assert_eq!((filed.hash(), filed.len()), (hash_values(&values()), 300_000));
        assert_eq!(filed.values().unwrap(), values());
        for feedback in [&filed, &held] {
            assert_eq!(bytes_of(feedback).unwrap(), bytemuck::cast_slice::<f32, u8>(&values()));
            assert!(!feedback.is_zero());
        }
        let mut changed = filed.clone();
        changed.edit(|values| values[299_999] += 1.0).unwrap();
        assert_ne!(changed, filed);
        assert_eq!(changed.values().unwrap()[299_999], values()[299_999] + 1.0);
    }

    #[test]
    fn zeros_take_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [0; 40_000]).unwrap();
        let (zeros, mut read) = (Feedback::zeros(10_000), Feedback::from(vec![0.0; 10_000]));
        assert!(read.is_zero() && read == zeros);
        read.leave_in(File::open(&path).unwrap(), &path, 0);
        assert!(matches!(read.place, Place::Zeros(10_000)));
        assert_eq!(zeros.hash(), hash_values(&[0.0; 10_000]));
        assert_eq!(bytes_of(&zeros).unwrap(), [0; 40_000]);
        assert_eq!(zeros.values().unwrap(), vec![0.0; 10_000]);
        assert!(!Feedback::from(vec![-0.0]).is_zero(), "its bits are not zero");
        // More than a piece.
        let many = Feedback::zeros(300_000);
        assert_eq!(many.hash(), hash_values(&vec![0.0; 300_000]));
        assert!(bytes_of(&many).unwrap() == vec![0; 1_200_000]);
    }

    #[test]
    fn a_blob_is_read_where_it_is_needed() {
        let (values, hash) = (values(), hash_values(&values()));
        let mut feedback = Feedback::blob(hash, values.len());
        assert_eq!(feedback, Feedback::from(values.clone()));
        assert!(matches!(feedback.values(), Err(EngineError::BlobRead { .. })));
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let mut open = |bytes: &[u8]| feedback.take_or_open(&mut |_: &Hash| Ok(bytes));
        assert_eq!(open(bytes).unwrap(), values);
        let other = open(&bytes[4..]);
        assert!(matches!(other, Err(EngineError::BlobMismatch { hash: found }) if found == hash));
    }
}
