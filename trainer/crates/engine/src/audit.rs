// SPDX-License-Identifier: Apache-2.0

//! Work of a seat in an audit: trains the drawn segments again and packs the final state again.

use crate::{
    EngineError, Feedback, LeaseJob, TrainingState,
    feedback::hash_zeros,
    pack::compress,
    reading::{BlobValues, read_blob},
    sketch::sketch_segment,
    train::replay,
};
use pol_model::hash_values;
use pol_primitives::{
    BoundedVec, Hash,
    audit::{AuditResponse, Binding, Case, Finding, SketchedEnd, TraceState, UpdateMeasurement},
    payload::Payload,
    recipe::Numerics,
    sketch::Sketch,
    submission::RevealRecord,
    trace::Carry,
};
use std::io::{Read, Result as IoResult};

/// Result of replaying the drawn segments of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayOutcome {
    /// Every drawn segment was trained again under the exact profile.
    Ends {
        /// Digest of the leaf at the end of each replayed segment.
        ends: Vec<Hash>,
        /// `true` if packing the final state gives the revealed payload and carry.
        packed: bool,
    },
    /// Every drawn segment was trained again under the native profile.
    Sketched {
        /// Sketch of the change in each replayed segment.
        ends: Vec<Sketch>,
    },
    /// The states shown cannot be those of this lease, or cannot be trained from. Every honest seat
    /// finds the same.
    Impossible,
}

impl ReplayOutcome {
    /// Converts the outcome to the finding that the chain compares. An update that was replayed is
    /// measured with `measure`.
    ///
    /// # Errors
    ///
    /// Fails if `measure` fails.
    pub fn finding(
        self,
        measure: impl FnOnce() -> Result<UpdateMeasurement, EngineError>,
    ) -> Result<Finding, EngineError> {
        Ok(match self {
            Self::Ends { ends, packed } => Finding::Replayed {
                ends: BoundedVec::truncate_from(ends),
                packed,
                measure: measure()?,
            },
            Self::Sketched { ends } => {
                Finding::Sketched { ends: BoundedVec::truncate_from(ends), measure: measure()? }
            }
            Self::Impossible => Finding::Impossible,
        })
    }
}

/// Replays the drawn segments of `case` from the states that its trainer serves, and packs the
/// final state.
///
/// * `job` is the lease and its data.
/// * `reveal` is the trainer's reveal, which the packed state has to match.
/// * `states` are those of [`Case::served_leaves`], in that order; the chain has checked their
///   proofs.
/// * `seed` is the audit's. It draws the sketches of the native profile, where packing is left to
///   [`check_binding`], which knows the ends.
/// * `open` returns the blob with the given hash. It is called for the blobs that
///   [`audit_blobs`](crate::audit_blobs) lists, and for the parameters that the lease starts from.
///
/// Memory holds one state at a time. Under the exact profile error feedback and base are read as
/// the update is packed, once training has given its gradients back.
///
/// Adjacent drawn segments are one run: the second starts from the replayed end of the first.
/// Packing is checked on the final state, which is the replay's own if the last segment is drawn.
/// Of a final state that is served, only parameters and error feedback are read: its moments enter
/// the carry by their hashes, which the trace binds.
///
/// Before any computation, the states must agree with each other and with the lease: leaf 0 is the
/// base under the lease's carry, steps count on from leaf to leaf, and the error feedback stays the
/// same until the update is packed.
///
/// # Errors
///
/// Whatever a trainer can cause is [`ReplayOutcome::Impossible`]. An error is always the auditor's
/// own: data or blobs other than those asked for, or a process outside the numerics profile.
pub fn audit<A, R: Read>(
    job: &LeaseJob<'_>,
    case: &Case<A>,
    reveal: &RevealRecord,
    states: &[TraceState],
    seed: &Hash,
    mut open: impl FnMut(&Hash) -> IoResult<R>,
) -> Result<ReplayOutcome, EngineError> {
    if !states.iter().map(|state| state.leaf).eq(case.served_leaves()) {
        return Err(EngineError::StatesMismatch);
    }
    if !are_consistent(job, states) {
        return Ok(ReplayOutcome::Impossible);
    }
    let outcome = match job.recipe.numerics {
        Numerics::Exact => replay_case(job, case, reveal, states, &mut open),
        Numerics::Native { .. } => sketch_case(job, case, states, seed, &mut open),
    };
    match outcome {
        Err(error) if is_trainers_fault(&error) => Ok(ReplayOutcome::Impossible),
        outcome => outcome,
    }
}

/// Checks the ends that a trainer opened under the native profile: each opened sketch must be that
/// of the opened leaf, bit for bit, and packing the final state must give payload and carry.
///
/// Arguments are those of [`audit()`], with the trainer's whole `response`. `open` is called for
/// the blobs that [`binding_blobs`](crate::binding_blobs) lists, and for the lease's base.
///
/// # Errors
///
/// Fails only for reasons of the auditor's own, as [`audit()`] does.
pub fn check_binding<A, R: Read>(
    job: &LeaseJob<'_>,
    case: &Case<A>,
    reveal: &RevealRecord,
    response: &AuditResponse,
    seed: &Hash,
    mut open: impl FnMut(&Hash) -> IoResult<R>,
) -> Result<Binding, EngineError> {
    match is_bound(job, case, reveal, response, seed, &mut open) {
        Ok(true) => Ok(Binding::Bound),
        Ok(false) => Ok(Binding::Mismatch),
        Err(error) if is_trainers_fault(&error) => Ok(Binding::Mismatch),
        Err(error) => Err(error),
    }
}

/// Returns `true` for errors that a trainer can cause: blobs that are not a state of the model, and
/// training or packing whose values do not stay finite.
fn is_trainers_fault(error: &EngineError) -> bool {
    matches!(
        error,
        EngineError::WrongModel { .. }
            | EngineError::NotFinite { .. }
            | EngineError::NegativeMoment { .. }
            | EngineError::Diverged { .. }
    )
}

/// Returns the number of parameters of the lease's model.
fn parameters_of(job: &LeaseJob<'_>) -> usize {
    job.recipe.model.size() as usize
}

/// Returns `true` if the states can be of one lease, as far as their hashes tell.
fn are_consistent(job: &LeaseJob<'_>, states: &[TraceState]) -> bool {
    let lease = job.lease;
    let is_fresh = lease.carry == Hash::default();
    let steps_per_segment = u64::from(job.recipe.steps_per_segment(lease.tier));
    let steps_before_lease = |state: &TraceState| {
        u64::from(state.leaf)
            .checked_mul(steps_per_segment)
            .and_then(|steps| state.carry.steps.checked_sub(steps))
    };
    let (mut common_steps, mut common_feedback) = (None, None);
    states.iter().all(|state| {
        let starts_right =
            state.leaf > 0 || (state.root == lease.base_root && state.carry.hash() == lease.carry);
        let Some(steps) = steps_before_lease(state) else { return false };
        let counts_on = (steps == 0) == is_fresh && *common_steps.get_or_insert(steps) == steps;
        let zeros = || hash_zeros(parameters_of(job));
        let keeps_feedback = state.carry.steps == 0
            || *common_feedback
                .get_or_insert_with(|| if is_fresh { zeros() } else { state.carry.feedback })
                == state.carry.feedback;
        starts_right && counts_on && keeps_feedback
    })
}

/// Replays a case of the exact profile.
fn replay_case<A, R: Read>(
    job: &LeaseJob<'_>,
    case: &Case<A>,
    reveal: &RevealRecord,
    states: &[TraceState],
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<ReplayOutcome, EngineError> {
    let (mut served, mut ends) = (states.iter(), Vec::with_capacity(case.segments.len()));
    // Leaf and state at the end of the last replayed segment.
    let mut reached: Option<(u16, TrainingState)> = None;
    for &segment in &case.segments {
        let start = match reached.take() {
            Some((leaf, state)) if leaf == segment => state,
            _ => {
                let state = served.next().ok_or(EngineError::StatesMismatch)?;
                TrainingState::without_feedback(state, parameters_of(job), open)?
            }
        };
        let (state, leaf) = replay(job, start, segment)?;
        ends.push(leaf);
        reached = Some((segment.saturating_add(1), state));
    }
    let packed = match (reached, served.next()) {
        (Some((leaf, mut state)), None) if leaf == case.trace_segments => {
            let feedback = state.feedback.take_or_open(open)?;
            let (payload, feedback) = pack_again(job, &state.parameters, feedback, open)?;
            state.feedback = Feedback::blob(feedback, state.parameters.len());
            matches_reveal(reveal, &payload, || state.carry())
        }
        (reached, Some(last)) => {
            // Its place in memory is needed.
            drop(reached);
            packs_to_reveal(job, reveal, last, open)?
        }
        _ => return Err(EngineError::StatesMismatch),
    };
    Ok(ReplayOutcome::Ends { ends, packed })
}

/// Replays a case of the native profile.
fn sketch_case<A, R: Read>(
    job: &LeaseJob<'_>,
    case: &Case<A>,
    states: &[TraceState],
    seed: &Hash,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<ReplayOutcome, EngineError> {
    let mut ends = Vec::with_capacity(case.segments.len());
    for &segment in &case.segments {
        let start = state_at(states, segment)?;
        let start = TrainingState::from_blobs(start, parameters_of(job), open)?;
        let (end, _) = replay(job, start.clone(), segment)?;
        ends.push(sketch_segment(&job.recipe.model, seed, job.account, segment, &start, &end)?);
    }
    Ok(ReplayOutcome::Sketched { ends })
}

fn is_bound<A, R: Read>(
    job: &LeaseJob<'_>,
    case: &Case<A>,
    reveal: &RevealRecord,
    response: &AuditResponse,
    seed: &Hash,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<bool, EngineError> {
    let (model, parameters) = (&job.recipe.model, parameters_of(job));
    for (SketchedEnd { state, sketch }, segment) in response.sketched.iter().zip(&case.segments) {
        let start = state_at(&response.states, *segment)?;
        // The chain compares all but the feedback of a fresh start, whose hash is not in its carry.
        if start.carry.steps == 0 && state.carry.feedback != hash_zeros(parameters) {
            return Ok(false);
        }
        let start = TrainingState::from_blobs(start, parameters, open)?;
        let end = TrainingState::from_blobs(state, parameters, open)?;
        if sketch_segment(model, seed, job.account, *segment, &start, &end)? != *sketch {
            return Ok(false);
        }
    }
    let last = response
        .sketched
        .iter()
        .map(|end| &end.state)
        .chain(&response.states)
        .find(|state| state.leaf == case.trace_segments)
        .ok_or(EngineError::StatesMismatch)?;
    packs_to_reveal(job, reveal, last, open)
}

/// Returns the state among `states` that is leaf `leaf`.
fn state_at(states: &[TraceState], leaf: u16) -> Result<&TraceState, EngineError> {
    states.iter().find(|state| state.leaf == leaf).ok_or(EngineError::StatesMismatch)
}

/// Returns `true` if packing the final state `last` gives the revealed payload and carry.
fn packs_to_reveal<R: Read>(
    job: &LeaseJob<'_>,
    reveal: &RevealRecord,
    last: &TraceState,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<bool, EngineError> {
    let len = parameters_of(job);
    let parameters = read_blob(&last.root, len, open)?;
    let feedback = match last.carry.steps {
        0 => vec![0.0; len],
        _ => read_blob(&last.carry.feedback, len, open)?,
    };
    let (payload, feedback) = pack_again(job, &parameters, feedback, open)?;
    Ok(matches_reveal(reveal, &payload, || Carry { feedback, ..last.carry }))
}

/// Packs the update that ends in `parameters`, and returns it with the hash of the feedback that it
/// leaves. The base is read, and compared with its hash, on the way.
fn pack_again<R: Read>(
    job: &LeaseJob<'_>,
    parameters: &[f32],
    mut feedback: Vec<f32>,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<(Payload, Hash), EngineError> {
    let mut base = BlobValues::open(&job.lease.base_root, open)?;
    let packed = compress(job.recipe, |values| base.read(values), parameters, &mut feedback);
    // A base that is damaged explains whatever went wrong with it.
    base.finish(parameters.len())?;
    Ok((packed?, hash_values(&feedback)))
}

fn matches_reveal(reveal: &RevealRecord, payload: &Payload, carry: impl FnOnce() -> Carry) -> bool {
    blake3::hash(&payload.encode()) == reveal.payload_hash && carry().hash() == reveal.carry_hash
}
