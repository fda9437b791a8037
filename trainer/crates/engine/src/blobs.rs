// SPDX-License-Identifier: Apache-2.0

//! Blobs of training states: little-endian float32 arrays, addressed by the hashes in a
//! [`TraceState`].
//!
//! The error feedback does not change while a lease is trained, so all states of a lease share that
//! blob, and the parameters of its first state are the head's. A state that has taken no step
//! consists of its parameters alone.

use crate::{EngineError, Feedback, ParameterBytes, TrainingState, reading::read_blob};
use pol_primitives::{
    Hash,
    audit::{AuditResponse, Case, TraceState},
    trace::Carry,
};
use std::{
    borrow::Cow,
    collections::BTreeSet,
    io::{Read, Result as IoResult},
    sync::Arc,
};

impl TrainingState {
    /// Returns the hashes of this state, which is leaf `leaf` of its trainer's trace.
    pub fn trace_state(&self, leaf: u16) -> TraceState {
        let carry = if self.steps == 0 { Carry::default() } else { self.carry() };
        TraceState { leaf, root: self.root(), carry }
    }

    /// Returns the blobs of this state, in the order of [`state_blobs`]: parameters, and unless it
    /// is fresh first moments, second moments and error feedback.
    ///
    /// # Errors
    ///
    /// Fails if the feedback is in a file that cannot be read.
    pub fn blobs(&self) -> Result<Vec<Cow<'_, [u8]>>, EngineError> {
        let mut blobs = vec![bytes_of(&self.parameters)];
        if self.steps > 0 {
            blobs.extend([bytes_of(&self.first_moment), bytes_of(&self.second_moment)]);
            blobs.push(match self.feedback.values()? {
                Cow::Borrowed(values) => bytes_of(values),
                Cow::Owned(values) => bytes_of(&values).into_owned().into(),
            });
        }
        Ok(blobs)
    }

    /// Returns the blobs of this state, as [`Self::blobs`] does, without copies.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::blobs`] does.
    pub fn into_blobs(mut self) -> Result<Vec<ParameterBytes>, EngineError> {
        let mut blobs = vec![self.parameters];
        if self.steps > 0 {
            blobs.extend([self.first_moment, self.second_moment, self.feedback.take()?]);
        }
        Ok(blobs.into_iter().map(|values| ParameterBytes(Arc::new(values))).collect())
    }

    /// Reads the blobs of `state`, of a model of `expected_len` parameters.
    ///
    /// `open` returns the blob with the given hash; blobs are opened one at a time. Memory is
    /// bounded by the state's size, whatever the blobs hold.
    ///
    /// # Errors
    ///
    /// If the hashes do not name a state of the model, which is the trainer's fault, fails with
    /// [`EngineError::WrongModel`], [`EngineError::NotFinite`] or [`EngineError::NegativeMoment`].
    /// If `open` does not return what it was asked for, fails with [`EngineError::BlobMismatch`] or
    /// [`EngineError::BlobRead`].
    pub fn from_blobs<R: Read>(
        state: &TraceState,
        expected_len: usize,
        open: &mut impl FnMut(&Hash) -> IoResult<R>,
    ) -> Result<Self, EngineError> {
        let mut read = Self::without_feedback(state, expected_len, open)?;
        if read.steps > 0 {
            read.feedback = read_blob(&state.carry.feedback, expected_len, open)?.into();
        }
        Ok(read)
    }

    /// Reads the blobs of `state` as [`Self::from_blobs`] does, but not the error feedback, which
    /// is read where the update is packed.
    pub(crate) fn without_feedback<R: Read>(
        state: &TraceState,
        expected_len: usize,
        open: &mut impl FnMut(&Hash) -> IoResult<R>,
    ) -> Result<Self, EngineError> {
        let parameters = read_blob(&state.root, expected_len, open)?;
        let Carry { first_moment, second_moment, feedback, steps } = state.carry;
        if steps == 0 {
            return Ok(Self::fresh(parameters));
        }
        let first_moment = read_blob(&first_moment, expected_len, open)?;
        let second_moment = read_blob(&second_moment, expected_len, open)?;
        // Every step takes their square roots.
        if let Some(index) = second_moment.iter().position(|&value| value < 0.0) {
            return Err(EngineError::NegativeMoment { index });
        }
        let feedback = Feedback::blob(feedback, expected_len);
        Ok(Self { parameters, first_moment, second_moment, feedback, steps })
    }
}

fn bytes_of(values: &[f32]) -> Cow<'_, [u8]> {
    Cow::Borrowed(bytemuck::cast_slice(values))
}

/// Returns the hashes of a state's blobs, in the order of [`TrainingState::blobs`].
pub fn state_blobs(state: &TraceState) -> Vec<Hash> {
    let Carry { first_moment, second_moment, feedback, steps } = state.carry;
    if steps == 0 {
        vec![state.root]
    } else {
        vec![state.root, first_moment, second_moment, feedback]
    }
}

/// Returns the hashes of the blobs that [`audit()`](crate::audit()) opens, each once: whole states
/// at the start of a run of drawn segments, and parameters and error feedback of the final state,
/// which packing reads.
pub fn audit_blobs<A>(case: &Case<A>, states: &[TraceState]) -> Vec<Hash> {
    distinct(states.iter().flat_map(|state| {
        let all = state_blobs(state);
        if state.leaf < case.trace_segments {
            all
        } else {
            all.first().into_iter().chain(all.get(3)).copied().collect()
        }
    }))
}

/// Returns the hashes of the blobs that [`check_binding`](crate::check_binding) opens, each once:
/// those of [`audit_blobs`] and of the opened ends.
pub fn binding_blobs<A>(case: &Case<A>, response: &AuditResponse) -> Vec<Hash> {
    let ends = response.sketched.iter().flat_map(|end| state_blobs(&end.state));
    distinct(audit_blobs(case, &response.states).into_iter().chain(ends))
}

fn distinct(hashes: impl Iterator<Item = Hash>) -> Vec<Hash> {
    let mut seen = BTreeSet::new();
    hashes.filter(|hash| seen.insert(*hash)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashMap,
        io::{self, ErrorKind},
    };

    fn state() -> TrainingState {
        let values = |scale: f32| -> Vec<f32> { (0..9).map(|i| i as f32 * scale).collect() };
        TrainingState {
            parameters: values(0.5),
            first_moment: values(-0.25),
            second_moment: values(0.125),
            feedback: values(3.0).into(),
            steps: 7,
        }
    }

    fn store(state: &TrainingState) -> HashMap<Hash, Vec<u8>> {
        let blobs = state.blobs().unwrap().into_iter();
        blobs.map(|blob| (*blake3::hash(&blob).as_bytes(), blob.into_owned())).collect()
    }

    fn read(
        served: &TraceState,
        store: &HashMap<Hash, Vec<u8>>,
    ) -> Result<TrainingState, EngineError> {
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
            let served = state.trace_state(3);
            let found = state.blobs().unwrap();
            assert_eq!((served.digest(), found.len()), (state.leaf(), blobs));
            let hashes: Vec<Hash> =
                found.iter().map(|blob| *blake3::hash(blob).as_bytes()).collect();
            assert_eq!(state_blobs(&served), hashes);
            assert_eq!(&read(&served, &store(state)).unwrap(), state);
            let moved = state.clone().into_blobs().unwrap();
            let moved: Vec<&[u8]> = moved.iter().map(|blob| blob.as_ref()).collect();
            assert_eq!(found, moved);
        }
        assert_eq!(fresh.trace_state(0).carry, Carry::default());
    }

    #[test]
    fn blobs_that_are_not_a_state_are_told_from_missing_and_damaged_ones() {
        let honest = state();
        let served = honest.trace_state(1);
        let mut blobs = store(&honest);
        blobs.get_mut(&served.carry.feedback).unwrap()[5] ^= 1;
        let read_error = |blobs: &HashMap<Hash, Vec<u8>>| read(&served, blobs).unwrap_err();
        let feedback = served.carry.feedback;
        assert!(matches!(
            read_error(&blobs),
            EngineError::BlobMismatch { hash } if hash == feedback
        ));
        blobs.remove(&served.carry.feedback);
        assert!(matches!(
            read_error(&blobs),
            EngineError::BlobRead { hash, .. } if hash == feedback
        ));

        let bad = |change: fn(&mut TrainingState)| {
            let mut state = state();
            change(&mut state);
            read(&state.trace_state(1), &store(&state))
        };
        assert!(matches!(
            bad(|s| s.feedback.edit(|values| values.push(0.0)).unwrap()),
            Err(EngineError::WrongModel { expected: 9, found: 10 })
        ));
        assert!(matches!(
            bad(|s| s.parameters.clear()),
            Err(EngineError::WrongModel { expected: 9, found: 0 })
        ));
        assert!(matches!(
            bad(|s| s.first_moment[2] = f32::NAN),
            Err(EngineError::NotFinite { index: 2 })
        ));
        assert!(matches!(
            bad(|s| s.second_moment[4] = -1e-9),
            Err(EngineError::NegativeMoment { index: 4 })
        ));
        // Half a value too many.
        let (odd, served) =
            ([&bytes_of(&honest.parameters)[..], &[1, 2]].concat(), honest.trace_state(1));
        let served = TraceState { root: *blake3::hash(&odd).as_bytes(), ..served };
        let mut blobs = store(&honest);
        blobs.insert(served.root, odd);
        assert!(matches!(
            read(&served, &blobs),
            Err(EngineError::WrongModel { expected: 9, found: 9 })
        ));
    }

    #[test]
    fn a_fresh_state_ignores_the_hashes_of_its_carry() {
        let fresh = TrainingState::fresh(state().parameters);
        let carry = Carry { first_moment: [9; 32], ..Carry::default() };
        let served = TraceState { carry, ..fresh.trace_state(0) };
        assert_eq!(served.digest(), fresh.leaf());
        assert_eq!(read(&served, &store(&fresh)).unwrap(), fresh);
    }

    #[test]
    fn feedback_is_left_to_those_who_pack() {
        let state = state();
        let served = state.trace_state(3);
        let mut blobs = store(&state);
        blobs.remove(&served.carry.feedback);
        let mut open = |hash: &Hash| {
            blobs.get(hash).map(Vec::as_slice).ok_or_else(|| io::Error::from(ErrorKind::NotFound))
        };
        let start = TrainingState::without_feedback(&served, 9, &mut open).unwrap();
        assert_eq!((start.leaf(), &start), (state.leaf(), &state));
        assert!(start.validate(9).is_ok() && start.feedback.values().is_err());
    }
}
