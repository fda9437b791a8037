//! The native numerics profile: any fast kernels, and replays that end near each other.
//!
//! A recipe of this profile is trained with any number of threads, any instruction set, and on CUDA
//! where libtorch has it; all in float32. [`distance`] says how far apart two ends of a segment
//! are, [`sketch`] the same in what fits on the chain, and [`deviate`] what comes of the cheapest
//! cheats, which a tolerance has to tell from honest replays.

use crate::{
    Error, Job, TrainingState, check_len, determinism,
    train::{Run, train_segment},
};
use pol_primitives::{
    Hash, MILLION, Ppm,
    model::ModelSpec,
    recipe::{Numerics, Recipe},
    sketch::{self, Array, DAMPING, Group, PARTS, PartSketch, Places, SUMS, Sketch, place},
};
use std::ops::Range;
use tch::{Cuda, Device};

/// Whether recipes of the native profile are computed by a CUDA device in this process.
///
/// A program linked to the CPU's libtorch finds CUDA when a full libtorch of the same version is
/// loaded before it, with `LD_PRELOAD=libtorch_cuda.so` and its folder on `LD_LIBRARY_PATH`.
pub fn cuda() -> bool {
    Cuda::is_available()
}

/// Fails unless this process computes under `numerics`.
pub(crate) fn check(numerics: Numerics) -> Result<(), determinism::Error> {
    match numerics {
        Numerics::Exact => determinism::check(),
        Numerics::Native { .. } => Ok(()),
    }
}

/// Where recipes of `numerics` are computed; sets libtorch up for it.
pub(crate) fn prepare(numerics: Numerics) -> Device {
    match numerics {
        Numerics::Exact => {
            // The number of intra-op threads changes bits; workers use the cores.
            tch::set_num_threads(1);
            Device::Cpu
        }
        Numerics::Native { .. } => Device::cuda_if_available(),
    }
}

/// What is compared of one array.
fn array(state: &TrainingState, array: Array) -> &[f32] {
    match array {
        Array::Parameters => &state.parameters,
        Array::FirstMoment => &state.first_moment,
        Array::SecondMoment => &state.second_moment,
    }
}

/// Indices, group and factor of values that are compared alike, in canonical order.
fn runs(model: &ModelSpec) -> impl Iterator<Item = (Range<usize>, Group, f64)> {
    let mut next = 0;
    sketch::runs(model).into_iter().map(move |run| {
        let start = next;
        next += run.len;
        (start..next, run.group, if run.damped { 1.0 / f64::from(DAMPING) } else { 1.0 })
    })
}

fn check_states(model: &ModelSpec, states: &[&TrainingState]) -> Result<(), Error> {
    model.validate()?;
    let expected = model.size() as usize;
    states
        .iter()
        .flat_map(|state| Array::ALL.map(|of| array(state, of)))
        .try_for_each(|values| check_len(expected, values.len()))
}

/// How far `claimed` is from `replayed`, both ends of the segment that began at `start`: for each
/// [part](pol_primitives::sketch::part), the L2 norm of the difference over that of what the replay
/// changed. Not finite where the replay changed nothing.
pub fn distance(
    model: &ModelSpec,
    start: &TrainingState,
    claimed: &TrainingState,
    replayed: &TrainingState,
) -> Result<[f64; PARTS], Error> {
    check_states(model, &[start, claimed, replayed])?;
    let (mut differences, mut changes) = ([0.0; PARTS], [0.0; PARTS]);
    for of in Array::ALL {
        let [start, claimed, replayed] = [start, claimed, replayed].map(|state| array(state, of));
        for (range, group, factor) in runs(model) {
            let part = of as usize * Group::ALL.len() + group as usize;
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

/// The sketch of what segment `segment` of `trainer`'s update changed, from `start` to `end`, drawn
/// by an audit's `seed`: the same on every machine, since it is float64 sums in index order.
///
/// Fails for states of another model, and for values that are not finite.
pub fn sketch(
    model: &ModelSpec,
    seed: &Hash,
    trainer: &[u8],
    segment: u16,
    start: &TrainingState,
    end: &TrainingState,
) -> Result<Sketch, Error> {
    check_states(model, &[start, end])?;
    let mut result = Sketch::default();
    for (of, parts) in Array::ALL.into_iter().zip(result.parts.chunks_mut(Group::ALL.len())) {
        let (start, end) = (array(start, of), array(end, of));
        let mut places = Places::new(seed, trainer, segment, of);
        let mut sums = [[0.0f64; SUMS]; Group::ALL.len()];
        let mut bytes = [0; 4_096];
        for (range, group, factor) in runs(model) {
            let sums = &mut sums[group as usize];
            for (start, end) in
                start[range.clone()].chunks(bytes.len()).zip(end[range].chunks(bytes.len()))
            {
                places.draw(&mut bytes[..start.len()]);
                for ((&start, &end), &byte) in start.iter().zip(end).zip(&bytes) {
                    let (sum, turned) = place(byte);
                    let change = (f64::from(end) - f64::from(start)) * factor;
                    sums[sum] += if turned { -change } else { change };
                }
            }
        }
        for (part, sums) in parts.iter_mut().zip(&sums) {
            *part = fixed(sums).ok_or_else(|| {
                let index = start
                    .iter()
                    .zip(end)
                    .position(|(start, end)| !start.is_finite() || !end.is_finite());
                Error::NotFinite { index: index.unwrap_or(0) }
            })?;
        }
    }
    Ok(result)
}

/// Float64 sums as fixed-point numbers with one exponent, by exact operations; none where one is
/// not finite.
fn fixed(sums: &[f64; SUMS]) -> Option<PartSketch> {
    let largest =
        sums.iter().fold(
            0.0,
            |largest: f64, sum| {
                if sum.is_finite() { largest.max(sum.abs()) } else { f64::INFINITY }
            },
        );
    if !largest.is_finite() {
        return None;
    }
    // Sums of float32 values are far inside the normal numbers of float64.
    let power = |exponent: i32| f64::from_bits(((1_023 + exponent) as u64) << 52);
    let exponent = (largest.to_bits() >> 52) as i32 - 1_023 - 61;
    if largest == 0.0 {
        return Some(PartSketch::default());
    }
    Some(PartSketch::new(&sums.map(|sum| (sum * power(-exponent)) as i64), exponent as i16))
}

/// How a trainer may save work, or do harm, while it stays near what it should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
    /// This times the learning rate.
    Rate(Ppm),
    /// The segment's last step is not taken.
    SkippedStep,
    /// Every micro-batch is cut to its first half.
    HalfBatch,
    /// The least that computing in a coarser format does: gradients are taken, in float32, at
    /// parameters rounded to this many bits after the leading one. bfloat16 has 7, TF32 and float16
    /// have 10.
    Rounded(u8),
    /// First moments are this times what they should be; parameters are honest.
    Momentum(Ppm),
    /// Every group of parameters is moved by this share of its change, in the direction in which
    /// the loss grows fastest.
    Drift(Ppm),
}

/// Trains `segment` of the lease with `deviation`, as [`train_segment`] does without.
pub fn deviate(
    job: &Job<'_>,
    state: &mut TrainingState,
    segment: u16,
    deviation: Deviation,
) -> Result<(), Error> {
    check(job.recipe.numerics)?;
    let steps = job.recipe.steps_per_segment(job.lease.tier);
    let first = segment * steps;
    match deviation {
        Deviation::Rate(share) => {
            let mut recipe = job.recipe.clone();
            recipe.schedule.peak = u64::try_from(
                u128::from(recipe.schedule.peak) * u128::from(share) / u128::from(MILLION),
            )
            .unwrap_or(recipe.schedule.peak);
            by_another_recipe(job, &recipe, |job| train_segment(job, state, segment).map(drop))
        }
        Deviation::SkippedStep => {
            let mut run = Run::new(job, state)?;
            for step in first..first + steps.saturating_sub(1) {
                run.step(state, step)?;
            }
            state.steps += 1;
            Ok(())
        }
        Deviation::HalfBatch => {
            let mut recipe = job.recipe.clone();
            let (sizes, full) = (
                &mut recipe.tiers[job.lease.tier as usize],
                job.recipe.tier(job.lease.tier).micro_batch,
            );
            sizes.micro_batch = full.div_ceil(2);
            let half = sizes.micro_batch;
            by_another_recipe(job, &recipe, |job| {
                let mut run = Run::new(job, state)?;
                // The sequences that the first half of each micro-batch would have read.
                run.order = run
                    .order
                    .chunks(full.into())
                    .flat_map(|rows| rows.iter().take(half.into()))
                    .copied()
                    .collect();
                let read = run.order.clone();
                run.order
                    .extend(read.iter().cycle().take(job.data.sequences() as usize - read.len()));
                (first..first + steps).try_for_each(|step| run.step(state, step).map(drop))
            })
        }
        Deviation::Rounded(bits) => {
            let mut run = Run::new(job, state)?;
            for step in first..first + steps {
                let rounded: Vec<f32> =
                    state.parameters.iter().map(|&value| rounded(value, bits)).collect();
                let loss = run.accumulate(&rounded, step)?;
                run.follow(state, step, loss)?;
            }
            Ok(())
        }
        Deviation::Momentum(share) => {
            train_segment(job, state, segment)?;
            let factor = share as f32 / MILLION as f32;
            state.first_moment.iter_mut().for_each(|moment| *moment *= factor);
            Ok(())
        }
        Deviation::Drift(share) => {
            let start = state.parameters.clone();
            train_segment(job, state, segment)?;
            let mut run = Run::new(job, state)?;
            run.accumulate(&state.parameters, first)?;
            drift(
                &job.recipe.model,
                &start,
                &mut state.parameters,
                &run.sum,
                f64::from(share) / f64::from(MILLION),
            );
            Ok(())
        }
    }
}

/// `job` under `recipe`, which its lease then is for.
fn by_another_recipe<T>(job: &Job<'_>, recipe: &Recipe, run: impl FnOnce(&Job<'_>) -> T) -> T {
    let mut lease = job.lease.clone();
    lease.recipe = recipe.hash();
    run(&Job { recipe, lease: &lease, ..*job })
}

/// Moves each group of `parameters` along `gradient` by `share` of the norm of what changed in it
/// since `start`.
fn drift(model: &ModelSpec, start: &[f32], parameters: &mut [f32], gradient: &[f32], share: f64) {
    let (mut changes, mut slopes) = ([0.0; Group::ALL.len()], [0.0; Group::ALL.len()]);
    for (range, group, _) in runs(model) {
        for index in range {
            changes[group as usize] +=
                (f64::from(parameters[index]) - f64::from(start[index])).powi(2);
            slopes[group as usize] += f64::from(gradient[index]).powi(2);
        }
    }
    for (range, group, _) in runs(model) {
        let factor = share
            * (changes[group as usize] / slopes[group as usize].max(f64::MIN_POSITIVE)).sqrt();
        for (parameter, &slope) in parameters[range.clone()].iter_mut().zip(&gradient[range]) {
            *parameter = (f64::from(*parameter) + factor * f64::from(slope)) as f32;
        }
    }
}

/// The number with `bits` bits after the leading one that is nearest to `value`, ties to even; for
/// 22 bits at most.
fn rounded(value: f32, bits: u8) -> f32 {
    let (pattern, dropped) = (value.to_bits(), 23 - u32::from(bits.min(22)));
    let half = (1u32 << (dropped - 1)) - 1 + (pattern >> dropped & 1);
    f32::from_bits(pattern.wrapping_add(half) >> dropped << dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_recipe::recipe;
    use pol_primitives::prf::Prf;
    use proptest::prelude::*;

    /// A state that lies around `centre` by up to `spread` in every value.
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
    fn rounding_is_to_the_nearest() {
        assert_eq!(rounded(1.0, 7), 1.0);
        assert_eq!(rounded(-f32::from_bits(0x3f80_8001), 7), -f32::from_bits(0x3f81_0000));
        assert_eq!(rounded(f32::from_bits(0x3f80_8000), 7), 1.0, "ties to even");
        assert_eq!(rounded(f32::from_bits(0x3f80_1001), 10), f32::from_bits(0x3f80_2000));
        assert_eq!(rounded(f32::from_bits(0x3f80_0003), 22), f32::from_bits(0x3f80_0004));
    }

    #[test]
    fn a_sketch_is_pinned() {
        // Peers of different builds must agree on it: a trainer's sketch is checked against the
        // state it is of.
        let recipe = recipe();
        let mut prf = Prf::new("states", &[1; 32], &[]);
        let start = TrainingState::fresh(vec![0.0; recipe.model.size() as usize]);
        let end = near(&start, 0.01, &mut prf);
        let sketch = sketch(&recipe.model, &[5; 32], &[6; 32], 7, &start, &end).unwrap();
        let name = blake3::Hash::from_bytes(pol_primitives::digest(b"", &sketch)).to_hex();
        assert_eq!(&name[..16], "f45238b93a9a725d");
    }

    #[test]
    fn nothing_changed_is_no_distance_and_anything_else_is_beyond() {
        let model = recipe().model;
        let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
        let end = near(&start, 0.1, &mut Prf::new("states", &[2; 32], &[]));
        assert_eq!(distance(&model, &start, &end, &end).unwrap(), [0.0; PARTS]);
        assert!(
            distance(&model, &start, &end, &start)
                .unwrap()
                .iter()
                .all(|distance| distance.is_infinite())
        );
        assert_eq!(distance(&model, &start, &start, &end).unwrap(), [1.0; PARTS]);
        let still = sketch(&model, &[0; 32], &[], 0, &start, &start).unwrap();
        assert_eq!(still, Sketch::default());
    }

    #[test]
    fn states_that_do_not_fit_are_refused() {
        let model = recipe().model;
        let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
        let mut end = start.clone();
        end.second_moment.pop();
        assert!(matches!(
            sketch(&model, &[0; 32], &[], 0, &start, &end),
            Err(Error::WrongModel { .. })
        ));
        assert!(matches!(distance(&model, &start, &end, &start), Err(Error::WrongModel { .. })));
        let mut end = start.clone();
        end.first_moment[9] = f32::INFINITY;
        assert!(matches!(
            sketch(&model, &[0; 32], &[], 0, &start, &end),
            Err(Error::NotFinite { index: 9 })
        ));
    }

    #[test]
    fn what_no_output_depends_on_counts_little_and_not_nothing() {
        let model = recipe().model;
        let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
        let replayed = near(&start, 0.01, &mut Prf::new("states", &[3; 32], &[]));
        let damped = runs(&model).find(|(_, _, factor)| *factor != 1.0).unwrap().0;
        let vectors = Group::Vectors as usize;
        let moved = |by: f32| {
            let mut claimed = replayed.clone();
            claimed.parameters[damped.clone()].iter_mut().for_each(|value| *value += by);
            distance(&model, &start, &claimed, &replayed).unwrap()[vectors]
        };
        assert!(moved(0.01) > 0.0 && moved(0.01) < 0.01, "{}", moved(0.01));
        assert!(moved(1e30) > 1e20);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// A factor of three is far outside what the draw can do.
        #[test]
        fn sketches_agree_with_the_exact_distance(seed: Hash, thousandths in 2u16..400, segment: u16) {
            let model = recipe().model;
            let mut prf = Prf::new("states", &seed, &[]);
            let start = TrainingState::fresh(vec![0.5; model.size() as usize]);
            let replayed = near(&start, 0.01, &mut prf);
            let claimed = near(&replayed, 0.01 * f32::from(thousandths) / 1_000.0, &mut prf);
            let exact = distance(&model, &start, &claimed, &replayed).unwrap();
            let [claimed, replayed] = [claimed, replayed].map(|end| sketch(&model, &seed, &[1; 32], segment, &start, &end).unwrap());
            for (exact, estimate) in exact.into_iter().zip(claimed.distance(&replayed)) {
                let estimate = f64::from(estimate) / 1e6;
                prop_assert!(estimate < 3.0 * exact + 3e-4 && estimate + 3e-4 > exact / 3.0, "{estimate} for {exact}");
            }
        }
    }
}
