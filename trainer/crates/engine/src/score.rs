// SPDX-License-Identifier: Apache-2.0

//! Scores of updates: the improvement of the model by one update alone, on text drawn after the
//! update was committed.
//!
//! All figures are differences of two losses of the same sequence `x`, without and with the update
//! `Δ̂` alone: `δ(x) = loss(θ; x) − loss(θ − α·Δ̂; x)`, where `θ` is the head that the update's
//! round trains and `α` the recipe's outer rate. Differences in difficulty between texts mostly
//! cancel in `δ`, so few sequences are enough. With `n` sequences, the mean `m = Σδ/n` has the
//! standard error `√(Σ(δ − m)² / (n·(n − 1)))`. Sums are float64 in the order of the draw, and
//! losses do not depend on the number of workers, so a score has the same bits on every machine of
//! the exact profile.

use crate::{EngineError, LeaseData, LeaseJob, check_len, evaluate::losses, movement};
use pol_primitives::{
    BoundedVec, Hash, audit::UpdateMeasurement, data::quality, payload::Payload, prf::Prf,
    recipe::Recipe,
};
use std::sync::Arc;

/// Number of sequences that gains are measured on, spread evenly over the shards of the probe.
pub const PROBE_SEQUENCES: usize = 8;
/// Number of sequences measured in each of the lease's own shards.
pub const OWN_SEQUENCES: usize = 1;

/// Text that all updates of a round are measured on, with its losses under the round's head.
///
/// It is computed once per round.
#[derive(Clone, Debug)]
pub struct ScoreProbe {
    head: Arc<Vec<f32>>,
    seed: Hash,
    sequences: Vec<Vec<u32>>,
    before: Vec<f64>,
}

impl ScoreProbe {
    /// Draws [`PROBE_SEQUENCES`] sequences of `text`, at least one of each of its shards, by the
    /// audit's `seed`, and computes their losses under `head`, the parameters that the audited
    /// round trains.
    ///
    /// `text` holds the shards that the audit's probe names, or held-out text if it names none.
    /// Without any text no update scores.
    ///
    /// # Errors
    ///
    /// Fails for an invalid recipe and for parameters of another model.
    pub fn new(
        recipe: &Recipe,
        head: Arc<Vec<f32>>,
        seed: &Hash,
        text: &LeaseData,
        workers: usize,
    ) -> Result<Self, EngineError> {
        let mut prf = Prf::new("pol/score-probe/1", seed, &[]);
        let each = PROBE_SEQUENCES.div_ceil(text.shards().max(1));
        let sequences: Vec<&[u32]> =
            (0..text.shards()).flat_map(|shard| draw(text, shard, each, &mut prf)).collect();
        let before = finite_losses(recipe, &head, &sequences, workers)?;
        let sequences = sequences.into_iter().map(<[u32]>::to_vec).collect();
        Ok(Self { head, seed: *seed, sequences, before })
    }
}

/// Measures the update that `payload` encodes: its gain on the probe, and on [`OWN_SEQUENCES`]
/// sequences of each shard of the lease, drawn by the audit's seed and the trainer's account.
///
/// Figures are rounded to millionths of a nat per token and saturate. A loss that is not finite
/// counts as the largest finite loss, so an update that breaks the model scores nothing. The
/// standard error of a single difference is its magnitude, so that its score is zero. Without text
/// to measure on, gain and error are zero.
///
/// # Errors
///
/// Fails for payload or head of another model or recipe.
pub fn score(
    probe: &ScoreProbe,
    job: &LeaseJob<'_>,
    payload: &Payload,
) -> Result<UpdateMeasurement, EngineError> {
    let LeaseJob { recipe, account, data, workers, .. } = *job;
    let movement = movement(recipe, &[(payload.clone(), 0)])?;
    check_len(movement.len(), probe.head.len())?;
    let after: Vec<f32> =
        probe.head.iter().zip(movement).map(|(&value, movement)| value - movement).collect();

    let mut prf = Prf::new("pol/score-own/1", &probe.seed, &[account]);
    let own: Vec<Vec<&[u32]>> =
        (0..data.shards()).map(|shard| draw(data, shard, OWN_SEQUENCES, &mut prf)).collect();
    let own_sequences = own.concat();
    let own_before = finite_losses(recipe, &probe.head, &own_sequences, workers)?;
    let sequences: Vec<&[u32]> =
        probe.sequences.iter().map(Vec::as_slice).chain(own_sequences).collect();
    let losses = finite_losses(recipe, &after, &sequences, workers)?;
    let before = probe.before.iter().chain(&own_before);
    let differences: Vec<f64> = before.zip(losses).map(|(before, after)| before - after).collect();
    let (gains, own_gains) = differences.split_at(probe.before.len());

    let mut rest = own_gains;
    let shards = own.iter().map(|sequences| {
        let (shard, after) = rest.split_at(sequences.len());
        rest = after;
        signed(mean(shard))
    });
    Ok(UpdateMeasurement {
        gain: signed(mean(gains)),
        error: unsigned(standard_error(gains)),
        shards: BoundedVec::truncate_from(shards.collect()),
        own: signed(mean(own_gains)),
        quality: quality((0..data.sequences()).filter_map(|index| data.sequence(index))),
    })
}

/// Draws up to `count` different sequences of shard `shard`.
fn draw<'a>(text: &'a LeaseData, shard: usize, count: usize, prf: &mut Prf) -> Vec<&'a [u32]> {
    let per_shard = text.sequences().checked_div(text.shards() as u32).unwrap_or(0);
    let order = prf.permutation(per_shard).into_iter().take(count);
    order.filter_map(|within| text.sequence(shard as u32 * per_shard + within)).collect()
}

/// Computes [`losses`], also of no sequences, with `f32::MAX` for losses that are not finite.
fn finite_losses(
    recipe: &Recipe,
    parameters: &[f32],
    sequences: &[&[u32]],
    workers: usize,
) -> Result<Vec<f64>, EngineError> {
    if sequences.is_empty() {
        return Ok(Vec::new());
    }
    let losses = losses(&recipe.model, parameters, sequences, workers)?;
    Ok(losses
        .into_iter()
        .map(|loss| if loss.is_finite() { loss } else { f32::MAX.into() })
        .collect())
}

/// Returns the mean, or zero for no values.
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Returns the standard error of the mean: for one value its magnitude, for none zero.
fn standard_error(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return mean(values).abs();
    }
    let (mean, count) = (mean(values), values.len() as f64);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (count * (count - 1.0))).sqrt()
}

/// Rounds to millionths, saturating.
fn signed(nats: f64) -> i32 {
    (nats * 1e6).round() as i32
}

/// Rounds to millionths, saturating.
fn unsigned(nats: f64) -> u32 {
    (nats * 1e6).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_the_mean() {
        assert_eq!(standard_error(&[]), 0.0);
        assert_eq!(standard_error(&[-0.25]), 0.25);
        // Deviation 2 over the root of four.
        assert!(
            (standard_error(&[1.0, 1.0, 3.0, 3.0]) - (4.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-15
        );
        assert_eq!((mean(&[]), mean(&[1.0, 2.0])), (0.0, 1.5));
    }

    #[test]
    fn figures_are_rounded_and_saturate() {
        assert_eq!((signed(1.4e-6), signed(-1.6e-6), unsigned(2.5e-6)), (1, -2, 3));
        assert_eq!((signed(-3e38), signed(3e38), unsigned(1e76)), (i32::MIN, i32::MAX, u32::MAX));
    }
}
