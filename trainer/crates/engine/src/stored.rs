// SPDX-License-Identifier: Apache-2.0

//! States in files, which peers fetch without their being in memory.

use crate::{
    EngineError,
    feedback::hash_zeros,
    state::{ARRAYS, HEADER_LEN, NOT_FRESH, ReadError, read_parts},
};
use pol_model::{hash_values, update_hash};
use pol_primitives::{Hash, audit::TraceState, trace::Carry};
use std::{
    fs::File,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

/// Bytes that are hashed at a time.
const PIECE: usize = 1 << 20;

/// A sound state in a file, of which only the hashes are in memory. The file stays open, also if it
/// is removed.
#[derive(Clone, Debug)]
pub struct StoredState {
    file: Arc<File>,
    /// Bytes of an array.
    array_bytes: u64,
    /// Hashes of parameters, first moments, second moments, and error feedback.
    arrays: [Hash; ARRAYS],
    steps: u64,
}

/// A part of a file that is a blob.
#[derive(Clone, Debug)]
pub struct FilePart {
    /// The file.
    pub file: Arc<File>,
    /// Offset of the first byte.
    pub offset: u64,
    /// Number of bytes.
    pub bytes: u64,
    /// BLAKE3 hash of the bytes.
    pub hash: Hash,
}

impl StoredState {
    /// Opens a file that [`TrainingState::save`](crate::TrainingState::save) wrote for a model of
    /// `expected_len` parameters, and reads it once.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is damaged, or is of another model.
    pub fn open(path: &Path, expected_len: usize) -> Result<Self, EngineError> {
        let file = File::open(path).map_err(EngineError::io(path))?;
        let array_bytes = expected_len as u64 * size_of::<f32>() as u64;
        let mut arrays = Vec::with_capacity(ARRAYS);
        let mut piece = vec![0; PIECE];
        let steps = read_parts(BufReader::new(&file), expected_len, |reader| {
            let (mut left, mut hasher) = (array_bytes, blake3::Hasher::new());
            while left > 0 {
                let bytes = &mut piece[..left.min(PIECE as u64) as usize];
                reader.read_exact(bytes)?;
                update_hash(&mut hasher, bytes);
                left -= bytes.len() as u64;
            }
            arrays.push(*hasher.finalize().as_bytes());
            Ok(())
        });
        let corrupt = |why| ReadError::Corrupt(why).at(path);
        let steps = steps.map_err(|error| error.at(path))?;
        let arrays: [Hash; ARRAYS] = arrays.try_into().map_err(|_| corrupt("it lacks an array"))?;
        let zeros = || hash_zeros(expected_len);
        if steps == 0 && arrays[1..].iter().any(|array| *array != zeros()) {
            return Err(corrupt(NOT_FRESH));
        }
        Ok(Self { file: Arc::new(file), array_bytes, arrays, steps })
    }

    /// Returns the hashes of this state, which is leaf `leaf` of its trainer's trace.
    pub fn trace_state(&self, leaf: u16) -> TraceState {
        let [root, first_moment, second_moment, feedback] = self.arrays;
        let carry = Carry { first_moment, second_moment, feedback, steps: self.steps };
        TraceState { leaf, root, carry: if self.steps == 0 { Carry::default() } else { carry } }
    }

    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be read, or have changed since the file was opened.
    pub fn parameters(&self) -> io::Result<Vec<f32>> {
        let mut values = vec![0f32; self.array_bytes as usize / size_of::<f32>()];
        self.file.read_exact_at(bytemuck::cast_slice_mut(&mut values), HEADER_LEN as u64)?;
        if hash_values(&values) == self.arrays[0] {
            Ok(values)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "the parameters have changed"))
        }
    }

    /// Returns the blobs of this state, in the order of [`state_blobs`](crate::state_blobs).
    pub fn blobs(&self) -> Vec<FilePart> {
        let count = if self.steps == 0 { 1 } else { ARRAYS };
        let offsets = (HEADER_LEN as u64..).step_by(self.array_bytes.max(1) as usize);
        let parts = self.arrays.iter().zip(offsets).take(count);
        let part = |(hash, offset): (&Hash, u64)| FilePart {
            file: self.file.clone(),
            offset,
            bytes: self.array_bytes,
            hash: *hash,
        };
        parts.map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TrainingState, state_blobs};
    use std::fs;

    /// A state of 600,000 bytes an array.
    fn state(steps: u64) -> TrainingState {
        let mut state = TrainingState::fresh((0..150_000).map(|i| i as f32 * 0.5).collect());
        if steps > 0 {
            state.first_moment[149_999] = -3.0;
            state.second_moment[7] = 2.0;
            state.feedback.edit(|values| values[0] = 9.0).unwrap();
            state.steps = steps;
        }
        state
    }

    #[test]
    fn a_stored_state_has_the_hashes_and_blobs_of_the_state() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        for steps in [0, 7] {
            let state = state(steps);
            state.save(&path).unwrap();
            let stored = StoredState::open(&path, 150_000).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(stored.trace_state(3), state.trace_state(3));
            assert_eq!(stored.parameters().unwrap(), state.parameters);
            let blobs = stored.blobs();
            let hashes: Vec<Hash> = blobs.iter().map(|blob| blob.hash).collect();
            assert_eq!(hashes, state_blobs(&state.trace_state(3)));
            let read = blobs.iter().map(|blob| {
                let mut bytes = vec![0; blob.bytes as usize];
                blob.file.read_exact_at(&mut bytes, blob.offset).unwrap();
                bytes
            });
            assert_eq!(state.blobs().unwrap(), read.collect::<Vec<_>>());
        }
    }

    #[test]
    fn damaged_files_and_those_of_other_models_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        state(7).save(&path).unwrap();
        let error = StoredState::open(&path, 150_001).unwrap_err();
        assert!(matches!(error, EngineError::WrongModel { found: 150_000, .. }), "{error}");
        let sound = fs::read(&path).unwrap();
        for at in [0, 20, 24, 1_000_000, 2_400_023, 2_400_050] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert!(StoredState::open(&path, 150_000).is_err(), "byte {at}");
        }
        fs::write(&path, [&sound[..], &[0]].concat()).unwrap();
        assert!(StoredState::open(&path, 150_000).is_err());
        fs::write(&path, &sound[..sound.len() - 1]).unwrap();
        assert!(StoredState::open(&path, 150_000).is_err());
        let mut hidden = state(7);
        hidden.steps = 0;
        hidden.save(&path).unwrap();
        let error = StoredState::open(&path, 150_000).unwrap_err();
        assert!(error.to_string().contains("its carry is not zero"), "{error}");
    }
}
