// SPDX-License-Identifier: Apache-2.0

//! Deviations from honest training: the cheapest cheats, which a tolerance of the native profile
//! has to tell from honest replays.

use crate::{
    EngineError, LeaseJob, TrainingState,
    sketch::value_ranges,
    train::{TrainingRun, train_segment},
};
use pol_primitives::{MILLION, Ppm, model::ModelSpec, recipe::Recipe, sketch::TensorGroup};
use std::ops::Range;

/// Ways to save work, or to do harm, while staying near honest training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
    /// Factor on the learning rate.
    Rate(Ppm),
    /// Omission of the segment's last step.
    SkippedStep,
    /// Every micro-batch cut to its first half.
    HalfBatch,
    /// Gradients taken, in float32, at parameters rounded to this many bits after the leading one:
    /// the least error of computing in a coarser format. bfloat16 has 7 bits, TF32 and float16 have
    /// 10.
    Rounded(u8),
    /// Factor on the first moments at the end; parameters are honest.
    Momentum(Ppm),
    /// Displacement of every group of parameters by this share of its change, in the direction in
    /// which the loss grows fastest.
    Drift(Ppm),
}

/// Trains `segment` of the lease as [`train_segment`] does, but with `deviation`.
///
/// # Errors
///
/// Fails as [`train_segment`] does.
pub fn train_with_deviation(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
    deviation: Deviation,
) -> Result<(), EngineError> {
    let steps = job.recipe.steps_per_segment(job.lease.tier);
    let first = segment * steps;
    match deviation {
        Deviation::Rate(factor) => scale_rate(job, state, segment, factor),
        Deviation::SkippedStep => skip_last_step(job, state, first..first + steps),
        Deviation::HalfBatch => halve_batches(job, state, first..first + steps),
        Deviation::Rounded(bits) => round_parameters(job, state, first..first + steps, bits),
        Deviation::Momentum(factor) => {
            train_segment(job, state, segment)?;
            let factor = factor as f32 / MILLION as f32;
            state.first_moment.iter_mut().for_each(|moment| *moment *= factor);
            Ok(())
        }
        Deviation::Drift(share) => {
            let start = state.parameters.clone();
            train_segment(job, state, segment)?;
            let mut run = TrainingRun::new(job, state)?;
            run.accumulate(&state.parameters, first)?;
            let share = f64::from(share) / f64::from(MILLION);
            drift(&job.recipe.model, &start, &mut state.parameters, &run.gradient_sum, share);
            Ok(())
        }
    }
}

fn scale_rate(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    segment: u16,
    factor: Ppm,
) -> Result<(), EngineError> {
    let mut recipe = job.recipe.clone();
    let peak = u128::from(recipe.schedule.peak) * u128::from(factor) / u128::from(MILLION);
    recipe.schedule.peak = u64::try_from(peak).unwrap_or(recipe.schedule.peak);
    with_recipe(job, &recipe, |job| train_segment(job, state, segment).map(drop))
}

fn skip_last_step(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    steps: Range<u16>,
) -> Result<(), EngineError> {
    let mut run = TrainingRun::new(job, state)?;
    for step in steps.start..steps.end.saturating_sub(1) {
        run.step(state, step)?;
    }
    state.steps += 1;
    Ok(())
}

fn halve_batches(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    mut steps: Range<u16>,
) -> Result<(), EngineError> {
    let mut recipe = job.recipe.clone();
    let full = job.recipe.tier(job.lease.tier).micro_batch;
    let half = full.div_ceil(2);
    recipe.tiers[job.lease.tier as usize].micro_batch = half;
    with_recipe(job, &recipe, |job| {
        let mut run = TrainingRun::new(job, state)?;
        // The sequences that the first half of each micro-batch would have read.
        let read: Vec<u32> = run
            .order
            .chunks(full.into())
            .flat_map(|rows| rows.iter().take(half.into()))
            .copied()
            .collect();
        let sequences = job.data.sequences() as usize;
        run.order = read.iter().copied().cycle().take(sequences).collect();
        steps.try_for_each(|step| run.step(state, step).map(drop))
    })
}

fn round_parameters(
    job: &LeaseJob<'_>,
    state: &mut TrainingState,
    steps: Range<u16>,
    bits: u8,
) -> Result<(), EngineError> {
    let mut run = TrainingRun::new(job, state)?;
    for step in steps {
        let rounded: Vec<f32> =
            state.parameters.iter().map(|&value| round_to_bits(value, bits)).collect();
        let sum_of_losses = run.accumulate(&rounded, step)?;
        run.apply_gradient(state, step, sum_of_losses)?;
    }
    Ok(())
}

/// Runs `run` on `job` with its recipe replaced by `recipe`.
fn with_recipe<T>(job: &LeaseJob<'_>, recipe: &Recipe, run: impl FnOnce(&LeaseJob<'_>) -> T) -> T {
    let mut lease = job.lease.clone();
    lease.recipe = recipe.hash();
    run(&LeaseJob { recipe, lease: &lease, ..*job })
}

/// Moves each group of `parameters` along `gradient` by `share` of the norm of the group's change
/// since `start`.
fn drift(model: &ModelSpec, start: &[f32], parameters: &mut [f32], gradient: &[f32], share: f64) {
    let mut changes = [0.0; TensorGroup::ALL.len()];
    let mut slopes = [0.0; TensorGroup::ALL.len()];
    for (range, group, _) in value_ranges(model) {
        for index in range {
            changes[group as usize] +=
                (f64::from(parameters[index]) - f64::from(start[index])).powi(2);
            slopes[group as usize] += f64::from(gradient[index]).powi(2);
        }
    }
    for (range, group, _) in value_ranges(model) {
        let factor = share
            * (changes[group as usize] / slopes[group as usize].max(f64::MIN_POSITIVE)).sqrt();
        for (parameter, &slope) in parameters[range.clone()].iter_mut().zip(&gradient[range]) {
            *parameter = (f64::from(*parameter) + factor * f64::from(slope)) as f32;
        }
    }
}

/// Rounds `value` to `bits` bits after the leading one, at most 22; to nearest, ties to even.
fn round_to_bits(value: f32, bits: u8) -> f32 {
    let (pattern, dropped) = (value.to_bits(), 23 - u32::from(bits.min(22)));
    let half = (1u32 << (dropped - 1)) - 1 + (pattern >> dropped & 1);
    f32::from_bits(pattern.wrapping_add(half) >> dropped << dropped)
}

#[cfg(test)]
mod tests {
    use super::round_to_bits;

    #[test]
    fn rounding_is_to_the_nearest() {
        assert_eq!(round_to_bits(1.0, 7), 1.0);
        assert_eq!(round_to_bits(-f32::from_bits(0x3f80_8001), 7), -f32::from_bits(0x3f81_0000));
        assert_eq!(round_to_bits(f32::from_bits(0x3f80_8000), 7), 1.0, "ties to even");
        assert_eq!(round_to_bits(f32::from_bits(0x3f80_1001), 10), f32::from_bits(0x3f80_2000));
        assert_eq!(round_to_bits(f32::from_bits(0x3f80_0003), 22), f32::from_bits(0x3f80_0004));
    }
}
