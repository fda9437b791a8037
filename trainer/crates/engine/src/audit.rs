//! What a seat does: trains the drawn segments again and packs the final state again.

use crate::{
    Error, Job, TrainingState,
    blobs::read_blob,
    check_len, native,
    pack::{compress, pack},
    state::hash,
    train::replay,
};
use pol_primitives::{
    Hash,
    audit::{Case, Finding, Measure, ServedState, Shown},
    payload::Payload,
    recipe::Numerics,
    sketch::{Binding, Sketch, SketchedEnd},
    submission::Opened,
    trace::Carry,
};
use std::io::{Read, Result as IoResult};

/// What came of replaying an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// Every drawn segment was trained again.
    Ends {
        /// The leaves' digests that the replay of each drawn segment ended in.
        ends: Vec<Hash>,
        /// Whether payload and carry are what packing the final state gives.
        packed: bool,
    },
    /// Every drawn segment was trained again under the native profile.
    Sketched {
        /// What the replay of each drawn segment changed.
        ends: Vec<Sketch>,
    },
    /// The states shown cannot be those of this lease, or cannot be trained from: every honest seat
    /// finds so.
    Impossible,
}

impl Replayed {
    /// The finding that the chain compares; an update that was replayed is measured.
    pub fn finding(
        self,
        measure: impl FnOnce() -> Result<Measure, Error>,
    ) -> Result<Finding, Error> {
        Ok(match self {
            Self::Ends { ends, packed } => Finding::Replayed {
                ends: pol_primitives::BoundedVec::truncate_from(ends),
                packed,
                measure: measure()?,
            },
            Self::Sketched { ends } => Finding::Sketched {
                ends: pol_primitives::BoundedVec::truncate_from(ends),
                measure: measure()?,
            },
            Self::Impossible => Finding::Impossible,
        })
    }
}

/// Replays the drawn segments of `case` from the states its trainer shows, and packs the final
/// state.
///
/// * `job` and `base` are the lease, its data and the parameters it starts from.
/// * `opened` is the trainer's reveal: what the packed state has to give.
/// * `states` are those of [`Case::served_leaves`], in that order, whose proofs the chain has
///   checked. `open` gives the blob with the hash it is asked for; those that
///   [`audited_blobs`](crate::audited_blobs) lists are asked for.
///
/// * `seed` is the audit's: under the native profile it draws the sketches, and packing is left to
///   [`bind`], which sees the ends.
///
/// Adjacent drawn segments are one run: the second starts from where the replay of the first ended.
/// Packing is checked on the final state, which is the replay's own where the last segment is
/// drawn. Of a final state that is shown, only parameters and error feedback are read: its moments
/// go into the carry by their hashes, which the trace binds.
///
/// Besides what has to be computed, the states must agree with each other and with the lease where
/// that takes no computation: leaf 0 is the base under the lease's carry, steps count on from leaf
/// to leaf, and the error feedback stays the same until the update is packed.
///
/// What a trainer can cause is [`Replayed::Impossible`]; an error is always the auditor's own:
/// data, base or blobs that are not the ones asked for, or a process outside the numerics profile.
pub fn audit<A, R: Read>(
    job: &Job<'_>,
    base: &[f32],
    case: &Case<A>,
    opened: &Opened,
    states: &[ServedState],
    seed: &Hash,
    mut open: impl FnMut(&Hash) -> IoResult<R>,
) -> Result<Replayed, Error> {
    check_len(job.recipe.model.size() as usize, base.len())?;
    let root = hash(base);
    if root != job.lease.base_root {
        return Err(Error::OtherBase { lease: job.lease.base_root, given: root });
    }
    if !states.iter().map(|state| state.leaf).eq(case.served_leaves()) {
        return Err(Error::States);
    }
    if !agree(job, base.len(), states) {
        return Ok(Replayed::Impossible);
    }
    let replayed = match job.recipe.numerics {
        Numerics::Exact => replay_case(job, base, case, opened, states, &mut open),
        Numerics::Native { .. } => sketch_case(job, base, case, states, seed, &mut open),
    };
    match replayed {
        Err(error) if is_impossible(&error) => Ok(Replayed::Impossible),
        done => done,
    }
}

/// Whether blobs are no state of the model, or training or packing leaves the finite numbers.
fn is_impossible(error: &Error) -> bool {
    matches!(
        error,
        Error::WrongModel { .. }
            | Error::NotFinite { .. }
            | Error::Negative { .. }
            | Error::Diverged { .. }
    )
}

/// What a seat makes of the ends that a trainer opened under the native profile: whether each
/// opened sketch is that of the opened leaf, bit for bit, and whether packing the final state gives
/// payload and carry. Arguments are those of [`audit()`]; `open` is asked for the blobs that
/// [`bound_blobs`](crate::bound_blobs) lists.
pub fn bind<A, R: Read>(
    job: &Job<'_>,
    base: &[f32],
    case: &Case<A>,
    opened: &Opened,
    shown: &Shown,
    seed: &Hash,
    mut open: impl FnMut(&Hash) -> IoResult<R>,
) -> Result<Binding, Error> {
    match is_bound(job, base, case, opened, shown, seed, &mut open) {
        Ok(true) => Ok(Binding::Bound),
        Ok(false) => Ok(Binding::Other),
        Err(error) if is_impossible(&error) => Ok(Binding::Other),
        Err(error) => Err(error),
    }
}

fn is_bound<A, R: Read>(
    job: &Job<'_>,
    base: &[f32],
    case: &Case<A>,
    opened: &Opened,
    shown: &Shown,
    seed: &Hash,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<bool, Error> {
    for (SketchedEnd { state, sketch }, segment) in shown.sketched.iter().zip(&case.segments) {
        let start = at(&shown.states, *segment)?;
        // The chain compares all but the feedback of a fresh start, which has no name.
        if start.carry.steps == 0 && state.carry.feedback != hash(&vec![0.0; base.len()]) {
            return Ok(false);
        }
        let start = TrainingState::from_blobs(start, base.len(), open)?;
        let end = TrainingState::from_blobs(state, base.len(), open)?;
        if native::sketch(&job.recipe.model, seed, job.account, *segment, &start, &end)? != *sketch
        {
            return Ok(false);
        }
    }
    let mut states = shown.sketched.iter().map(|end| &end.state).chain(&shown.states);
    packs(job, base, opened, states.find(|state| state.leaf == case.of).ok_or(Error::States)?, open)
}

/// The state among `states` that is leaf `leaf`.
fn at(states: &[ServedState], leaf: u16) -> Result<&ServedState, Error> {
    states.iter().find(|state| state.leaf == leaf).ok_or(Error::States)
}

fn sketch_case<A, R: Read>(
    job: &Job<'_>,
    base: &[f32],
    case: &Case<A>,
    states: &[ServedState],
    seed: &Hash,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<Replayed, Error> {
    let mut ends = Vec::with_capacity(case.segments.len());
    for &segment in &case.segments {
        let start = TrainingState::from_blobs(at(states, segment)?, base.len(), open)?;
        let (end, _) = replay(job, start.clone(), segment)?;
        ends.push(native::sketch(&job.recipe.model, seed, job.account, segment, &start, &end)?);
    }
    Ok(Replayed::Sketched { ends })
}

/// Whether packing the final state `last` gives what was revealed.
fn packs<R: Read>(
    job: &Job<'_>,
    base: &[f32],
    opened: &Opened,
    last: &ServedState,
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<bool, Error> {
    let parameters = read_blob(&last.root, base.len(), open)?;
    let mut feedback = match last.carry.steps {
        0 => vec![0.0; base.len()],
        _ => read_blob(&last.carry.feedback, base.len(), open)?,
    };
    let payload = compress(job.recipe, base, &parameters, &mut feedback)?;
    Ok(is_packed(opened, &payload, || Carry { feedback: hash(&feedback), ..last.carry }))
}

/// Whether states can be of one lease, as far as their names tell.
fn agree(job: &Job<'_>, parameters: usize, states: &[ServedState]) -> bool {
    let lease = job.lease;
    let is_fresh = lease.carry == Hash::default();
    let per_segment = u64::from(job.recipe.steps_per_segment(lease.tier));
    let steps_before = |state: &ServedState| {
        u64::from(state.leaf)
            .checked_mul(per_segment)
            .and_then(|steps| state.carry.steps.checked_sub(steps))
    };
    let (mut before, mut feedback) = (None, None);
    states.iter().all(|state| {
        let starts_right =
            state.leaf > 0 || (state.root == lease.base_root && state.carry.hash() == lease.carry);
        let Some(steps) = steps_before(state) else { return false };
        let counts_on = (steps == 0) == is_fresh && *before.get_or_insert(steps) == steps;
        let zeros = || hash(&vec![0.0; parameters]);
        let keeps_feedback = state.carry.steps == 0
            || *feedback
                .get_or_insert_with(|| if is_fresh { zeros() } else { state.carry.feedback })
                == state.carry.feedback;
        starts_right && counts_on && keeps_feedback
    })
}

fn replay_case<A, R: Read>(
    job: &Job<'_>,
    base: &[f32],
    case: &Case<A>,
    opened: &Opened,
    states: &[ServedState],
    open: &mut impl FnMut(&Hash) -> IoResult<R>,
) -> Result<Replayed, Error> {
    let (mut shown, mut ends) = (states.iter(), Vec::with_capacity(case.segments.len()));
    // The leaf that the replay has come to.
    let mut reached: Option<(u16, TrainingState)> = None;
    for &segment in &case.segments {
        let start = match reached.take() {
            Some((leaf, state)) if leaf == segment => state,
            _ => TrainingState::from_blobs(shown.next().ok_or(Error::States)?, base.len(), open)?,
        };
        let (state, leaf) = replay(job, start, segment)?;
        ends.push(leaf);
        reached = Some((segment.saturating_add(1), state));
    }
    let packed = match (reached, shown.next()) {
        (Some((leaf, mut state)), None) if leaf == case.of => {
            let payload = pack(job.recipe, base, &mut state)?;
            is_packed(opened, &payload, || state.carry())
        }
        (_, Some(last)) => packs(job, base, opened, last, open)?,
        _ => return Err(Error::States),
    };
    Ok(Replayed::Ends { ends, packed })
}

fn is_packed(opened: &Opened, payload: &Payload, carry: impl FnOnce() -> Carry) -> bool {
    blake3::hash(&payload.encode()) == opened.payload_hash && carry().hash() == opened.carry_hash
}
