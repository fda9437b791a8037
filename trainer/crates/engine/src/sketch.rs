// SPDX-License-Identifier: Apache-2.0

//! Distances and sketches of segments: comparison of replays under the native numerics profile.
//!
//! Honest replays of this profile end near each other, not in the same bits. [`segment_distance`]
//! measures how far apart two ends of a segment are, and [`sketch_segment`] summarises one end so
//! that it fits on the chain.

use crate::{EngineError, TrainingState, check_len};
use pol_primitives::{
    Hash,
    model::ModelSpec,
    sketch::{
        BUCKETS, BucketStream, DAMPING_DIVISOR, PARTS, PartSketch, Sketch, StateArray, TensorGroup,
        bucket_and_sign, value_runs,
    },
};
use std::ops::Range;

/// Values drawn from a [`BucketStream`] at a time.
const DRAW: usize = 4_096;

/// Returns the array of `state` that `array` names.
fn values_of(state: &TrainingState, array: StateArray) -> &[f32] {
    match array {
        StateArray::Parameters => &state.parameters,
        StateArray::FirstMoment => &state.first_moment,
        StateArray::SecondMoment => &state.second_moment,
    }
}

/// Returns index range, group and factor of values that are compared alike, in canonical order.
pub(crate) fn value_ranges(
    model: &ModelSpec,
) -> impl Iterator<Item = (Range<usize>, TensorGroup, f64)> {
    let mut next = 0;
    value_runs(model).into_iter().map(move |run| {
        let start = next;
        next += run.len;
        (start..next, run.group, if run.damped { 1.0 / f64::from(DAMPING_DIVISOR) } else { 1.0 })
    })
}

fn check_states(model: &ModelSpec, states: &[&TrainingState]) -> Result<(), EngineError> {
    model.validate()?;
    let expected = model.size() as usize;
    states
        .iter()
        .flat_map(|state| StateArray::ALL.map(|array| values_of(state, array)))
        .try_for_each(|values| check_len(expected, values.len()))
}

/// Returns the distance between `claimed` and `replayed`, both ends of the segment that began at
/// `start`: for each [part](pol_primitives::sketch::part), the L2 norm of the difference divided by
/// the L2 norm of the replay's change.
///
/// A distance is infinite where the replay changed nothing and the ends differ.
///
/// # Errors
///
/// Fails for an invalid `model` and for states of another model.
pub fn segment_distance(
    model: &ModelSpec,
    start: &TrainingState,
    claimed: &TrainingState,
    replayed: &TrainingState,
) -> Result<[f64; PARTS], EngineError> {
    check_states(model, &[start, claimed, replayed])?;
    let (mut differences, mut changes) = ([0.0; PARTS], [0.0; PARTS]);
    for array in StateArray::ALL {
        let [start, claimed, replayed] =
            [start, claimed, replayed].map(|state| values_of(state, array));
        for (range, group, factor) in value_ranges(model) {
            let part = array as usize * TensorGroup::ALL.len() + group as usize;
            for index in range {
                let [start, claimed, replayed] =
                    [start, claimed, replayed].map(|values| f64::from(values[index]) * factor);
                differences[part] += (claimed - replayed).powi(2);
                changes[part] += (replayed - start).powi(2);
            }
        }
    }
    Ok(std::array::from_fn(|part| {
        if differences[part] == 0.0 { 0.0 } else { (differences[part] / changes[part]).sqrt() }
    }))
}

/// Returns the sketch of the change from `start` to `end` in segment `segment` of `trainer`'s
/// update, with buckets and signs drawn by an audit's `seed`.
///
/// Sums are float64 in index order, so every machine computes the same bits from the same states.
///
/// # Errors
///
/// Fails for states of another model and for values that are not finite.
pub fn sketch_segment(
    model: &ModelSpec,
    seed: &Hash,
    trainer: &[u8],
    segment: u16,
    start: &TrainingState,
    end: &TrainingState,
) -> Result<Sketch, EngineError> {
    check_states(model, &[start, end])?;
    let mut sketch = Sketch::default();
    let parts_of_arrays = sketch.parts.chunks_mut(TensorGroup::ALL.len());
    for (array, parts) in StateArray::ALL.into_iter().zip(parts_of_arrays) {
        let (start, end) = (values_of(start, array), values_of(end, array));
        let mut stream = BucketStream::new(seed, trainer, segment, array);
        let mut sums = [[0.0f64; BUCKETS]; TensorGroup::ALL.len()];
        let mut bytes = [0; DRAW];
        for (range, group, factor) in value_ranges(model) {
            let sums = &mut sums[group as usize];
            let chunks = start[range.clone()].chunks(DRAW).zip(end[range].chunks(DRAW));
            for (start, end) in chunks {
                stream.draw(&mut bytes[..start.len()]);
                for ((&start, &end), &byte) in start.iter().zip(end).zip(&bytes) {
                    let (bucket, is_negative) = bucket_and_sign(byte);
                    let change = (f64::from(end) - f64::from(start)) * factor;
                    sums[bucket] += if is_negative { -change } else { change };
                }
            }
        }
        for (part, sums) in parts.iter_mut().zip(&sums) {
            *part = to_fixed_point(sums).ok_or_else(|| first_not_finite(start, end))?;
        }
    }
    Ok(sketch)
}

fn first_not_finite(start: &[f32], end: &[f32]) -> EngineError {
    let index =
        start.iter().zip(end).position(|(start, end)| !start.is_finite() || !end.is_finite());
    EngineError::NotFinite { index: index.unwrap_or(0) }
}

/// Converts float64 sums to fixed-point numbers with one exponent, by exact operations. Returns
/// `None` if a sum is not finite.
fn to_fixed_point(sums: &[f64; BUCKETS]) -> Option<PartSketch> {
    let magnitude = |sum: &f64| if sum.is_finite() { sum.abs() } else { f64::INFINITY };
    let largest = sums.iter().map(magnitude).fold(0.0, f64::max);
    if !largest.is_finite() {
        return None;
    }
    if largest == 0.0 {
        return Some(PartSketch::default());
    }
    // Sums of float32 values are far inside the normal numbers of float64.
    let power = |exponent: i32| f64::from_bits(((1_023 + exponent) as u64) << 52);
    let exponent = (largest.to_bits() >> 52) as i32 - 1_023 - 61;
    Some(PartSketch::new(&sums.map(|sum| (sum * power(-exponent)) as i64), exponent as i16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_recipe::recipe;
    use pol_primitives::prf::Prf;
    use proptest::prelude::*;

    /// Returns a state whose values differ from those of `centre` by up to `spread`.
    fn near(centre: &TrainingState, spread: f32, prf: &mut Prf) -> TrainingState {
        let mut moved = |values: &[f32]| -> Vec<f32> {
            values
                .iter()
                .map(|value| value + spread * (prf.below(2_001) as f32 / 1_000.0 - 1.0))
                .collect()
        };
        TrainingState {
            parameters: moved(&centre.parameters),
            first_moment: moved(&centre.first_moment),
            second_moment: moved(&centre.second_moment),
            feedback: centre.feedback.clone(),
            steps: centre.steps,
        }
    }

    #[test]
    fn a_sketch_is_pinned() {
        // Different builds must agree on it: a trainer's sketch is checked against its state.
        let recipe = recipe();
        let mut prf = Prf::new("states", &[1; 32], &[]);
        let start = TrainingState::fresh(vec![0.0; recipe.model.size() as usize]);
        let end = near(&start, 0.01, &mut prf);
        let sketch = sketch_segment(&recipe.model, &[5; 32], &[6; 32], 7, &start, &end).unwrap();
        let name = blake3::Hash::from_bytes(pol_primitives::digest(b"", &sketch)).to_hex();
        assert_eq!(&name[..16], "f45238b93a9a725d");
    }

    #[test]
    fn equal_ends_have_no_distance_and_a_replay_that_stood_still_is_infinitely_far() {
        let model = recipe().model;
        let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
        let end = near(&start, 0.1, &mut Prf::new("states", &[2; 32], &[]));
        assert_eq!(segment_distance(&model, &start, &end, &end).unwrap(), [0.0; PARTS]);
        assert!(
            segment_distance(&model, &start, &end, &start)
                .unwrap()
                .iter()
                .all(|distance| distance.is_infinite())
        );
        assert_eq!(segment_distance(&model, &start, &start, &end).unwrap(), [1.0; PARTS]);
        let still = sketch_segment(&model, &[0; 32], &[], 0, &start, &start).unwrap();
        assert_eq!(still, Sketch::default());
    }

    #[test]
    fn states_of_another_model_are_refused() {
        let model = recipe().model;
        let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
        let mut end = start.clone();
        end.second_moment.pop();
        assert!(matches!(
            sketch_segment(&model, &[0; 32], &[], 0, &start, &end),
            Err(EngineError::WrongModel { .. })
        ));
        assert!(matches!(
            segment_distance(&model, &start, &end, &start),
            Err(EngineError::WrongModel { .. })
        ));
        let mut end = start.clone();
        end.first_moment[9] = f32::INFINITY;
        assert!(matches!(
            sketch_segment(&model, &[0; 32], &[], 0, &start, &end),
            Err(EngineError::NotFinite { index: 9 })
        ));
    }

    #[test]
    fn key_biases_count_little_but_count() {
        let model = recipe().model;
        let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
        let replayed = near(&start, 0.01, &mut Prf::new("states", &[3; 32], &[]));
        let damped = value_ranges(&model).find(|(_, _, factor)| *factor != 1.0).unwrap().0;
        let vectors = TensorGroup::Vectors as usize;
        let moved = |by: f32| {
            let mut claimed = replayed.clone();
            claimed.parameters[damped.clone()].iter_mut().for_each(|value| *value += by);
            segment_distance(&model, &start, &claimed, &replayed).unwrap()[vectors]
        };
        assert!(moved(0.01) > 0.0 && moved(0.01) < 0.01, "{}", moved(0.01));
        assert!(moved(1e30) > 1e20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// A factor of three is far outside what the draw can do.
        #[test]
        fn sketches_agree_with_the_exact_distance(
            seed: Hash,
            thousandths in 2u16..400,
            segment: u16,
        ) {
            let model = recipe().model;
            let mut prf = Prf::new("states", &seed, &[]);
            let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
            let replayed = near(&start, 0.01, &mut prf);
            let claimed = near(&replayed, 0.01 * f32::from(thousandths) / 1_000.0, &mut prf);
            let exact = segment_distance(&model, &start, &claimed, &replayed).unwrap();
            let sketch =
                |end| sketch_segment(&model, &seed, &[1; 32], segment, &start, end).unwrap();
            let [claimed, replayed] = [&claimed, &replayed].map(sketch);
            for (exact, estimate) in exact.into_iter().zip(claimed.distance(&replayed)) {
                let estimate = f64::from(estimate) / 1e6;
                prop_assert!(
                    estimate < 3.0 * exact + 3e-4 && estimate + 3e-4 > exact / 3.0,
                    "{estimate} for {exact}"
                );
            }
        }
    }
}
