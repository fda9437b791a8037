// SPDX-License-Identifier: Apache-2.0

use crate::{EngineError, Feedback, check_len, replace_file};
use pol_model::{RewritePlan, hash_values, update_hash};
use pol_primitives::{
    Hash,
    trace::{Carry, state_leaf},
};
use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
};

/// State of a trainer's model: everything that training changes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// Parameters of the model, in canonical order.
    pub parameters: Vec<f32>,
    /// Adam's first moments.
    pub first_moment: Vec<f32>,
    /// Adam's second moments.
    pub second_moment: Vec<f32>,
    /// Parts of earlier updates that payloads left unsent.
    pub feedback: Feedback,
    /// Number of optimiser steps taken, over all leases.
    pub steps: u64,
}

impl TrainingState {
    /// Creates the state of a trainer's first lease from these parameters.
    pub fn fresh(parameters: Vec<f32>) -> Self {
        let len = parameters.len();
        Self {
            parameters,
            first_moment: vec![0.0; len],
            second_moment: vec![0.0; len],
            feedback: Feedback::zeros(len),
            steps: 0,
        }
    }

    /// Returns the state after a rewrite of the model. Moments and feedback are copied where
    /// parameters are, and are zero where parameters are new. The number of steps stays.
    ///
    /// # Errors
    ///
    /// Fails if the state is of another model than the plan's, and if its feedback is in a file
    /// that cannot be read.
    pub fn rewrite(&self, plan: &RewritePlan) -> Result<Self, EngineError> {
        let feedback = self.feedback.values()?;
        Ok(Self {
            parameters: plan.rewrite_parameters(&self.parameters)?,
            first_moment: plan.rewrite_state(&self.first_moment)?,
            second_moment: plan.rewrite_state(&self.second_moment)?,
            feedback: plan.rewrite_state(&feedback)?.into(),
            steps: self.steps,
        })
    }

    /// Returns the size of the state in bytes, on the disk or as blobs.
    pub fn bytes(&self) -> u64 {
        (ARRAYS * size_of_val(self.parameters.as_slice())) as u64
    }

    /// Returns the BLAKE3 hash of the parameters, as in
    /// [`Head::root`](pol_primitives::head::Head::root).
    pub fn root(&self) -> Hash {
        hash_values(&self.parameters)
    }

    /// Returns the part of the state that goes from this lease to the next, by its hashes.
    pub fn carry(&self) -> Carry {
        Carry {
            first_moment: hash_values(&self.first_moment),
            second_moment: hash_values(&self.second_moment),
            feedback: self.feedback.hash(),
            steps: self.steps,
        }
    }

    /// Returns the leaf of a trace for this state.
    pub fn leaf(&self) -> Hash {
        // A fresh carry is known without hashing the moments.
        let carry = if self.steps == 0 { [0; 32] } else { self.carry().hash() };
        state_leaf(&self.root(), &carry)
    }

    /// Checks that the state is of a model of `expected_len` parameters, and that it is fresh if it
    /// has taken no step: its leaf would not show moments or feedback then.
    ///
    /// # Errors
    ///
    /// Fails with [`EngineError::WrongModel`] or [`EngineError::NotFresh`] otherwise.
    pub fn validate(&self, expected_len: usize) -> Result<(), EngineError> {
        let moments = [&self.first_moment, &self.second_moment];
        check_len(expected_len, self.parameters.len())?;
        for values in moments {
            check_len(expected_len, values.len())?;
        }
        check_len(expected_len, self.feedback.len())?;
        let are_zero = || {
            moments.into_iter().flatten().all(|value| value.to_bits() == 0)
                && self.feedback.is_zero()
        };
        if self.steps == 0 && !are_zero() {
            return Err(EngineError::NotFresh);
        }
        Ok(())
    }

    /// Writes the state to `path` as [`replace_file`] does, followed by a checksum.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written, and if the feedback is in a file that cannot be read.
    pub fn save(&self, path: &Path) -> Result<(), EngineError> {
        let header = header(self.parameters.len() as u64, self.steps);
        let arrays = [&self.parameters, &self.first_moment, &self.second_moment];
        let arrays = arrays.into_iter().map(|values| bytemuck::cast_slice::<f32, u8>(values));
        replace_file(path, |file| {
            let mut hasher = blake3::Hasher::new();
            let mut write = |part: &[u8]| {
                update_hash(&mut hasher, part);
                file.write_all(part)
            };
            write(&header)?;
            for array in arrays {
                write(array)?;
            }
            self.feedback.for_each_piece(write)?;
            file.write_all(hasher.finalize().as_bytes())
        })
        // The feedback's own error says which file cannot be read.
        .map_err(|error| error.downcast().unwrap_or_else(EngineError::io(path)))
    }

    /// Reads a file that [`Self::save`] wrote for a model of `expected_len` parameters.
    ///
    /// The error feedback stays in the file, which is kept open. Memory is bounded by the model's
    /// size, never by the file's content, so the file may come from an untrusted source.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read, is damaged, or is of another model.
    pub fn load(path: &Path, expected_len: usize) -> Result<Self, EngineError> {
        let file = File::open(path).map_err(EngineError::io(path))?;
        let mut state = Self::read(BufReader::with_capacity(1 << 20, &file), expected_len)
            .map_err(|error| error.at(path))?;
        let offset = HEADER_LEN as u64 + 3 * size_of::<f32>() as u64 * expected_len as u64;
        state.feedback.leave_in(file, path, offset);
        Ok(state)
    }

    fn read(reader: impl Read, expected_len: usize) -> Result<Self, ReadError> {
        let mut arrays = Vec::with_capacity(ARRAYS);
        let steps = read_parts(reader, expected_len, |reader| {
            let mut values = vec![0f32; expected_len];
            reader.read_exact(bytemuck::cast_slice_mut(&mut values))?;
            arrays.push(values);
            Ok(())
        })?;
        let arrays = <[Vec<f32>; ARRAYS]>::try_from(arrays);
        let [parameters, first_moment, second_moment, feedback] =
            arrays.map_err(|_| ReadError::Corrupt("it lacks an array"))?;
        let feedback = feedback.into();
        let state = Self { parameters, first_moment, second_moment, feedback, steps };
        state.validate(expected_len).map_err(|_| ReadError::Corrupt(NOT_FRESH))?;
        Ok(state)
    }
}

/// First bytes of a state file; the last byte is the version.
const MAGIC: [u8; 8] = *b"POLSTAT\x01";
/// Length of the header in bytes: magic, number of parameters, number of steps.
pub(crate) const HEADER_LEN: usize = 24;
/// Number of arrays in a state file.
pub(crate) const ARRAYS: usize = 4;
/// Reason for which a file of a state without steps is refused.
pub(crate) const NOT_FRESH: &str = "it has taken no step but its carry is not zero";

fn header(count: u64, steps: u64) -> Vec<u8> {
    MAGIC.into_iter().chain(count.to_le_bytes()).chain(steps.to_le_bytes()).collect()
}

/// Reads a state file of a model of `expected_len` parameters, of which `read_array` reads one
/// array after the other, and returns the number of steps. The file is sound if this does not fail.
pub(crate) fn read_parts<R: Read>(
    reader: R,
    expected_len: usize,
    mut read_array: impl FnMut(&mut HashingReader<R>) -> io::Result<()>,
) -> Result<u64, ReadError> {
    let mut reader = HashingReader { reader, hasher: blake3::Hasher::new() };
    let mut found = [0; HEADER_LEN];
    reader.read_exact(&mut found)?;
    let (magic, numbers) = found.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(ReadError::Corrupt("it does not begin like a state, or is of a later version"));
    }
    let [count, steps] =
        [0, 8].map(|at| numbers[at..].first_chunk().copied().map_or(0, u64::from_le_bytes));
    if count != expected_len as u64 {
        return Err(ReadError::WrongModel { expected: expected_len as u64, found: count });
    }
    for _ in 0..ARRAYS {
        read_array(&mut reader)?;
    }
    let HashingReader { mut reader, hasher } = reader;
    let mut checksum = [0; 32];
    reader.read_exact(&mut checksum)?;
    if hasher.finalize() != checksum {
        return Err(ReadError::Corrupt("its checksum does not match its contents"));
    }
    if reader.read(&mut [0])? != 0 {
        return Err(ReadError::Corrupt("it is too long"));
    }
    Ok(steps)
}

/// Reader that hashes all bytes that are read.
pub(crate) struct HashingReader<R> {
    reader: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(bytes)?;
        update_hash(&mut self.hasher, &bytes[..read]);
        Ok(read)
    }
}

/// Reasons why bytes are not a state.
pub(crate) enum ReadError {
    Corrupt(&'static str),
    WrongModel { expected: u64, found: u64 },
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Corrupt("it is too short"),
            _ => Self::Io(error),
        }
    }
}

impl ReadError {
    pub(crate) fn at(self, path: &Path) -> EngineError {
        let path = path.to_path_buf();
        match self {
            Self::Corrupt(why) => EngineError::CorruptState { path, why },
            Self::WrongModel { expected, found } => EngineError::WrongModel { expected, found },
            Self::Io(source) => EngineError::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(len: usize) -> TrainingState {
        let values = |scale: f32| -> Vec<f32> { (0..len).map(|i| i as f32 * scale).collect() };
        TrainingState {
            parameters: values(0.5),
            first_moment: values(-0.25),
            second_moment: values(0.125),
            feedback: Feedback::from(values(3.0)),
            steps: 7,
        }
    }

    fn saved(state: &TrainingState) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        state.save(&path).unwrap();
        std::fs::read(path).unwrap()
    }

    #[test]
    fn a_saved_state_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        state(9).save(&path).unwrap();
        state(10).save(&path).unwrap();
        assert_eq!(TrainingState::load(&path, 10).unwrap(), state(10));
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
        assert!(matches!(
            TrainingState::load(&path, 11),
            Err(EngineError::WrongModel { expected: 11, found: 10 })
        ));
        assert!(matches!(
            TrainingState::load(&folder.path().join("none"), 10),
            Err(EngineError::Io { .. })
        ));
    }

    #[test]
    fn the_leaf_depends_on_every_part() {
        let leaf = state(4).leaf();
        let changed = |change: fn(&mut TrainingState)| {
            let mut state = state(4);
            change(&mut state);
            state.leaf()
        };
        assert_ne!(leaf, changed(|s| s.parameters[1] += 1.0));
        assert_ne!(leaf, changed(|s| s.first_moment[1] += 1.0));
        assert_ne!(leaf, changed(|s| s.second_moment[1] += 1.0));
        assert_ne!(leaf, changed(|s| s.feedback.edit(|values| values[1] += 1.0).unwrap()));
        assert_ne!(leaf, changed(|s| s.steps += 1));
        let fresh = TrainingState::fresh(vec![1.0, 2.0]);
        assert_eq!(fresh.leaf(), state_leaf(&fresh.root(), &fresh.carry().hash()));
        assert_eq!(fresh.carry().hash(), [0; 32]);
    }

    #[test]
    fn a_carry_cannot_hide_behind_zero_steps() {
        let mut state = state(4);
        state.steps = 0;
        assert!(matches!(state.validate(4), Err(EngineError::NotFresh)));
        assert!(matches!(
            TrainingState::read(saved(&state).as_slice(), 4),
            Err(ReadError::Corrupt(_))
        ));
        assert!(TrainingState::fresh(vec![1.0; 4]).validate(4).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_damaged_file_is_refused(
            at: prop::sample::Index,
            bit in 0u8..8,
            cut: prop::sample::Index,
        ) {
            let bytes = saved(&state(20));
            let read = |bytes: &[u8]| TrainingState::read(bytes, 20).is_ok();
            prop_assert!(read(&bytes));
            let mut flipped = bytes.clone();
            flipped[at.index(bytes.len())] ^= 1 << bit;
            prop_assert!(!read(&flipped));
            prop_assert!(!read(&bytes[..cut.index(bytes.len())]));
            let mut longer = bytes;
            longer.push(0);
            prop_assert!(!read(&longer));
        }
    }
}
