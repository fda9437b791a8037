use crate::{Error, check_len};
use pol_model::Rewriting;
use pol_primitives::{
    Hash,
    trace::{Carry, state_leaf},
};
use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::Path,
};

/// What a trainer's model is at one moment: everything that training changes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingState {
    /// The model, in canonical order.
    pub parameters: Vec<f32>,
    /// Adam's first moments.
    pub first_moment: Vec<f32>,
    /// Adam's second moments.
    pub second_moment: Vec<f32>,
    /// What earlier payloads left unsent.
    pub feedback: Vec<f32>,
    /// Optimiser steps taken, over all leases.
    pub steps: u64,
}

impl TrainingState {
    /// The state of a trainer's first lease from these parameters.
    pub fn fresh(parameters: Vec<f32>) -> Self {
        let zeros = vec![0.0; parameters.len()];
        Self {
            parameters,
            first_moment: zeros.clone(),
            second_moment: zeros.clone(),
            feedback: zeros,
            steps: 0,
        }
    }

    /// The state after a rewrite of the model: what is carried goes along where parameters are
    /// copied, and starts from zero where they are new. Steps stay.
    pub fn rewritten(&self, rewriting: &Rewriting) -> Result<Self, Error> {
        Ok(Self {
            parameters: rewriting.parameters(&self.parameters)?,
            first_moment: rewriting.carried(&self.first_moment)?,
            second_moment: rewriting.carried(&self.second_moment)?,
            feedback: rewriting.carried(&self.feedback)?,
            steps: self.steps,
        })
    }

    /// BLAKE3 of the parameters, as in [`Head::root`](pol_primitives::head::Head::root).
    pub fn root(&self) -> Hash {
        hash(&self.parameters)
    }

    /// What goes from this lease to the next.
    pub fn carry(&self) -> Carry {
        Carry {
            first_moment: hash(&self.first_moment),
            second_moment: hash(&self.second_moment),
            feedback: hash(&self.feedback),
            steps: self.steps,
        }
    }

    /// The trace's leaf for this state.
    pub fn leaf(&self) -> Hash {
        // A fresh carry is known without hashing three vectors.
        let carry = if self.steps == 0 { [0; 32] } else { self.carry().hash() };
        state_leaf(&self.root(), &carry)
    }

    /// Refuses a state of another model, and one that claims to be fresh and is not: its leaf would
    /// not show that.
    pub fn check(&self, expected_len: usize) -> Result<(), Error> {
        let carried = [&self.first_moment, &self.second_moment, &self.feedback];
        check_len(expected_len, self.parameters.len())?;
        for values in carried {
            check_len(expected_len, values.len())?;
        }
        if self.steps == 0 && carried.into_iter().flatten().any(|value| value.to_bits() != 0) {
            return Err(Error::NotFresh);
        }
        Ok(())
    }

    /// Writes the state to `path`, whole or not at all: what was there before stays until the new
    /// file is on disk.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        self.write_file(path).map_err(Error::io(path))
    }

    /// Reads what [`Self::save`] wrote for a model of `expected_len` parameters. Memory is bounded
    /// by the model's size, never by what the file says, so the file may come from anybody.
    pub fn load(path: &Path, expected_len: usize) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
        Self::read(BufReader::with_capacity(1 << 20, file), expected_len)
            .map_err(|refusal| refusal.at(path))
    }

    fn write_file(&self, path: &Path) -> io::Result<()> {
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mut hasher = blake3::Hasher::new();
        let mut writer = BufWriter::with_capacity(1 << 20, file.as_file_mut());
        let header = header(self.parameters.len() as u64, self.steps);
        let arrays = [&self.parameters, &self.first_moment, &self.second_moment, &self.feedback];
        for part in std::iter::once(header.as_slice())
            .chain(arrays.into_iter().map(|values| bytemuck::cast_slice(values)))
        {
            hasher.update(part);
            writer.write_all(part)?;
        }
        writer.write_all(hasher.finalize().as_bytes())?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The new name must outlive a power cut as well.
        File::open(folder)?.sync_all()
    }

    fn read(mut reader: impl Read, expected_len: usize) -> Result<Self, Refusal> {
        let mut found = [0; HEADER];
        reader.read_exact(&mut found)?;
        let (magic, numbers) = found.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Refusal::Corrupt("it does not begin like one, or is of a later version"));
        }
        let [count, steps] =
            [0, 8].map(|at| numbers[at..].first_chunk().copied().map_or(0, u64::from_le_bytes));
        if count != expected_len as u64 {
            return Err(Refusal::WrongModel { expected: expected_len as u64, found: count });
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&found);
        let mut array = || -> Result<Vec<f32>, Refusal> {
            let mut values = vec![0.0; expected_len];
            reader.read_exact(bytemuck::cast_slice_mut(&mut values))?;
            hasher.update(bytemuck::cast_slice(&values));
            Ok(values)
        };
        let (parameters, first_moment, second_moment, feedback) =
            (array()?, array()?, array()?, array()?);
        let mut checksum = [0; 32];
        reader.read_exact(&mut checksum)?;
        if hasher.finalize() != checksum {
            return Err(Refusal::Corrupt("its checksum does not match its contents"));
        }
        if reader.read(&mut [0])? != 0 {
            return Err(Refusal::Corrupt("it is too long"));
        }
        let state = Self { parameters, first_moment, second_moment, feedback, steps };
        state
            .check(expected_len)
            .map_err(|_| Refusal::Corrupt("it has taken no step but its carry is not zero"))?;
        Ok(state)
    }
}

/// First bytes of a state file; the last one is the version.
const MAGIC: [u8; 8] = *b"POLSTAT\x01";
/// Magic, number of parameters, steps.
const HEADER: usize = 24;

fn header(count: u64, steps: u64) -> Vec<u8> {
    MAGIC.into_iter().chain(count.to_le_bytes()).chain(steps.to_le_bytes()).collect()
}

/// Why bytes are not a state.
enum Refusal {
    Corrupt(&'static str),
    WrongModel { expected: u64, found: u64 },
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Corrupt("it is too short"),
            _ => Self::Io(error),
        }
    }
}

impl Refusal {
    fn at(self, path: &Path) -> Error {
        let path = path.to_path_buf();
        match self {
            Self::Corrupt(why) => Error::Corrupt { path, why },
            Self::WrongModel { expected, found } => Error::WrongModel { expected, found },
            Self::Io(source) => Error::Io { path, source },
        }
    }
}

/// The address of an array's blob.
pub(crate) fn hash(values: &[f32]) -> Hash {
    *blake3::hash(bytemuck::cast_slice(values)).as_bytes()
}

/// The blob of a parameter vector, whose BLAKE3 hash is the head's root: little-endian float32 in
/// canonical order.
pub fn parameters_to_bytes(parameters: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(parameters).to_vec()
}

/// Reads what [`parameters_to_bytes`] wrote for a model of `expected_len` parameters; every value
/// must be finite.
pub fn parameters_from_bytes(bytes: &[u8], expected_len: usize) -> Result<Vec<f32>, Error> {
    let (values, rest) = bytes.as_chunks::<4>();
    if values.len() != expected_len || !rest.is_empty() {
        return Err(Error::WrongModel {
            expected: expected_len as u64,
            found: values.len() as u64,
        });
    }
    let values: Vec<f32> = values.iter().map(|&value| f32::from_le_bytes(value)).collect();
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(Error::NotFinite { index }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn state(len: usize) -> TrainingState {
        let values = |scale: f32| (0..len).map(|i| i as f32 * scale).collect();
        TrainingState {
            parameters: values(0.5),
            first_moment: values(-0.25),
            second_moment: values(0.125),
            feedback: values(3.0),
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
    fn what_is_saved_is_loaded() {
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
            Err(Error::WrongModel { expected: 11, found: 10 })
        ));
        assert!(matches!(
            TrainingState::load(&folder.path().join("none"), 10),
            Err(Error::Io { .. })
        ));
    }

    #[test]
    fn every_part_is_in_the_leaf() {
        let leaf = state(4).leaf();
        let changed = |change: fn(&mut TrainingState)| {
            let mut state = state(4);
            change(&mut state);
            state.leaf()
        };
        assert_ne!(leaf, changed(|s| s.parameters[1] += 1.0));
        assert_ne!(leaf, changed(|s| s.first_moment[1] += 1.0));
        assert_ne!(leaf, changed(|s| s.second_moment[1] += 1.0));
        assert_ne!(leaf, changed(|s| s.feedback[1] += 1.0));
        assert_ne!(leaf, changed(|s| s.steps += 1));
        let fresh = TrainingState::fresh(vec![1.0, 2.0]);
        assert_eq!(fresh.leaf(), state_leaf(&fresh.root(), &fresh.carry().hash()));
        assert_eq!(fresh.carry().hash(), [0; 32]);
    }

    #[test]
    fn a_carry_cannot_hide_behind_zero_steps() {
        let mut state = state(4);
        state.steps = 0;
        assert!(matches!(state.check(4), Err(Error::NotFresh)));
        assert!(matches!(
            TrainingState::read(saved(&state).as_slice(), 4),
            Err(Refusal::Corrupt(_))
        ));
        assert!(TrainingState::fresh(vec![1.0; 4]).check(4).is_ok());
    }

    #[test]
    fn parameters_are_read_as_written() {
        let parameters = [1.0, -0.0, f32::MIN_POSITIVE / 2.0, f32::MAX];
        let bytes = parameters_to_bytes(&parameters);
        let read = parameters_from_bytes(&bytes, 4).unwrap();
        assert_eq!(
            read.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
            parameters.map(f32::to_bits)
        );
        assert!(matches!(parameters_from_bytes(&bytes[1..], 4), Err(Error::WrongModel { .. })));
        assert!(matches!(parameters_from_bytes(&bytes, 5), Err(Error::WrongModel { .. })));
        let infinite = parameters_to_bytes(&[0.0, f32::INFINITY]);
        assert!(matches!(parameters_from_bytes(&infinite, 2), Err(Error::NotFinite { index: 1 })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_damaged_file_is_refused(at: prop::sample::Index, bit in 0u8..8, cut: prop::sample::Index) {
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
