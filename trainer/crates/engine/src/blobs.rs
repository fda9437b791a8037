//! Training states as blobs among peers: little-endian float32 arrays, addressed by the hashes in a
//! [`ServedState`].
//!
//! The error feedback does not change while a lease is trained, so all states of a lease share that
//! blob, and the parameters of its first state are the head's. A state that has taken no step is
//! its parameters alone.

use crate::{Error, TrainingState};
use pol_primitives::{
    Hash,
    audit::{Case, ServedState, Shown},
    trace::Carry,
};
use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read, Result as IoResult},
};

impl TrainingState {
    /// What a trainer shows of this state, which is leaf `leaf` of its trace.
    pub fn served(&self, leaf: u16) -> ServedState {
        let carry = if self.steps == 0 { Carry::default() } else { self.carry() };
        ServedState { leaf, root: self.root(), carry }
    }

    /// Its blobs: parameters, and unless it is fresh first moments, second moments and error
    /// feedback; in the order of [`state_blobs`].
    pub fn blobs(&self) -> Vec<&[u8]> {
        let carried = [&self.first_moment, &self.second_moment, &self.feedback];
        let carried = carried.into_iter().take(if self.steps == 0 { 0 } else { 3 });
        std::iter::once(&self.parameters)
            .chain(carried)
            .map(|values| bytemuck::cast_slice(values))
            .collect()
    }

    /// The state that `served` names, of a model of `expected_len` parameters. `open` gives the
    /// blob with the hash it is asked for, one at a time; no memory is taken but the state's own,
    /// whatever the blobs hold.
    ///
    /// Fails with [`Error::WrongModel`], [`Error::NotFinite`] or [`Error::Negative`] when what the
    /// hashes name is no state of the model, which is the trainer's fault, and with [`Error::Blob`]
    /// or [`Error::Fetch`] when `open` does not give what it was asked for.
    pub fn from_blobs<R: Read>(
        served: &ServedState,
        expected_len: usize,
        open: &mut impl FnMut(&Hash) -> IoResult<R>,
    ) -> Result<Self, Error> {
        let parameters = read_blob(&served.root, expected_len, open)?;
        let Carry { first_moment, second_moment, feedback, steps } = served.carry;
        if steps == 0 {
            return Ok(Self::fresh(parameters));
        }
        let first_moment = read_blob(&first_moment, expected_len, open)?;
        let second_moment = read_blob(&second_moment, expected_len, open)?;
        // Its root is taken in every step.
        if let Some(index) = second_moment.iter().position(|&value| value < 0.0) {
            return Err(Error::Negative { index });
        }
        let feedback = read_blob(&feedback, expected_len, open)?;
        Ok(Self { parameters, first_moment, second_moment, feedback, steps })
    }
}

/// Hashes of the blobs of a state, parameters first: those that [`TrainingState::blobs`] gives.
pub fn state_blobs(served: &ServedState) -> Vec<Hash> {
    let Carry { first_moment, second_moment, feedback, steps } = served.carry;
    if steps == 0 {
        vec![served.root]
    } else {
        vec![served.root, first_moment, second_moment, feedback]
    }
}

/// Hashes of the blobs that [`audit`](crate::audit) opens, each once: whole states where a run of
/// drawn segments starts, and of the final state what packing reads, parameters and error feedback.
pub fn audited_blobs<A>(case: &Case<A>, states: &[ServedState]) -> Vec<Hash> {
    distinct(states.iter().flat_map(|state| {
        let all = state_blobs(state);
        if state.leaf < case.of {
            all
        } else {
            all.first().into_iter().chain(all.get(3)).copied().collect()
        }
    }))
}

/// The hashes of the blobs that binding what a trainer opened reads: those of [`audited_blobs`],
/// and the opened ends'.
pub fn bound_blobs<A>(case: &Case<A>, shown: &Shown) -> Vec<Hash> {
    let ends = shown.sketched.iter().flat_map(|end| state_blobs(&end.state));
    distinct(audited_blobs(case, &shown.states).into_iter().chain(ends))
}

fn distinct(hashes: impl Iterator<Item = Hash>) -> Vec<Hash> {
    let mut seen = BTreeSet::new();
    hashes.filter(|hash| seen.insert(*hash)).collect()
}

/// The array with this hash, of `expected_len` finite values.
pub(crate) fn read_blob<R: Read>(
    hash: &Hash,
    expected_len: usize,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<Vec<f32>, Error> {
    let fetch = |source| Error::Fetch { hash: *hash, source };
    let mut reader = open(hash).map_err(fetch)?;
    let mut values = vec![0f32; expected_len];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut values);
    let (mut hasher, mut found, mut spare) = (blake3::Hasher::new(), 0, [0; 4_096]);
    loop {
        // What is beyond the array is hashed and forgotten.
        let target =
            bytes.get_mut(found..).filter(|rest| !rest.is_empty()).unwrap_or(&mut spare[..]);
        match reader.read(target) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&target[..read]);
                found += read;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(fetch(error)),
        }
    }
    if hasher.finalize() != *hash {
        return Err(Error::Blob { hash: *hash });
    }
    if found != expected_len * size_of::<f32>() {
        return Err(Error::WrongModel {
            expected: expected_len as u64,
            found: (found / size_of::<f32>()) as u64,
        });
    }
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(values),
        Some(index) => Err(Error::NotFinite { index }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::HashMap, io};

    fn state() -> TrainingState {
        let values = |scale: f32| (0..9).map(|i| i as f32 * scale).collect();
        TrainingState {
            parameters: values(0.5),
            first_moment: values(-0.25),
            second_moment: values(0.125),
            feedback: values(3.0),
            steps: 7,
        }
    }

    fn store(blobs: &[&[u8]]) -> HashMap<Hash, Vec<u8>> {
        blobs.iter().map(|blob| (*blake3::hash(blob).as_bytes(), blob.to_vec())).collect()
    }

    fn read(served: &ServedState, store: &HashMap<Hash, Vec<u8>>) -> Result<TrainingState, Error> {
        let mut open = |hash: &Hash| {
            store
                .get(hash)
                .map(|bytes| bytes.as_slice())
                .ok_or_else(|| io::Error::from(ErrorKind::NotFound))
        };
        TrainingState::from_blobs(served, 9, &mut open)
    }

    #[test]
    fn a_state_is_its_blobs() {
        let (state, fresh) = (state(), TrainingState::fresh(state().parameters));
        for (state, blobs) in [(&state, 4), (&fresh, 1)] {
            let served = state.served(3);
            assert_eq!((served.digest(), state.blobs().len()), (state.leaf(), blobs));
            let hashes: Vec<Hash> =
                state.blobs().into_iter().map(|blob| *blake3::hash(blob).as_bytes()).collect();
            assert_eq!(state_blobs(&served), hashes);
            assert_eq!(&read(&served, &store(&state.blobs())).unwrap(), state);
        }
        assert_eq!(fresh.served(0).carry, Carry::default());
    }

    #[test]
    fn blobs_that_are_no_state_are_told_from_blobs_that_are_not_there() {
        let honest = state();
        let served = honest.served(1);
        let mut blobs = store(&honest.blobs());
        blobs.get_mut(&served.carry.feedback).unwrap()[5] ^= 1;
        assert!(
            matches!(read(&served, &blobs), Err(Error::Blob { hash }) if hash == served.carry.feedback)
        );
        blobs.remove(&served.carry.feedback);
        assert!(
            matches!(read(&served, &blobs), Err(Error::Fetch { hash, .. }) if hash == served.carry.feedback)
        );

        let bad = |change: fn(&mut TrainingState)| {
            let mut state = state();
            change(&mut state);
            read(&state.served(1), &store(&state.blobs()))
        };
        assert!(matches!(
            bad(|s| s.feedback.push(0.0)),
            Err(Error::WrongModel { expected: 9, found: 10 })
        ));
        assert!(matches!(
            bad(|s| s.parameters.clear()),
            Err(Error::WrongModel { expected: 9, found: 0 })
        ));
        assert!(matches!(
            bad(|s| s.first_moment[2] = f32::NAN),
            Err(Error::NotFinite { index: 2 })
        ));
        assert!(matches!(bad(|s| s.second_moment[4] = -1e-9), Err(Error::Negative { index: 4 })));
        // Half a value too much.
        let (odd, served) = ([honest.blobs()[0], &[1, 2]].concat(), honest.served(1));
        let served = ServedState { root: *blake3::hash(&odd).as_bytes(), ..served };
        let mut blobs = store(&honest.blobs());
        blobs.insert(served.root, odd);
        assert!(matches!(read(&served, &blobs), Err(Error::WrongModel { expected: 9, found: 9 })));
    }

    #[test]
    fn a_fresh_state_names_no_carry() {
        let fresh = TrainingState::fresh(state().parameters);
        let carry = Carry { first_moment: [9; 32], ..Carry::default() };
        let served = ServedState { carry, ..fresh.served(0) };
        assert_eq!(served.digest(), fresh.leaf());
        assert_eq!(read(&served, &store(&fresh.blobs())).unwrap(), fresh);
    }
}
