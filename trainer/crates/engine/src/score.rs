//! What an update is worth: how much it alone improves the model, on text drawn when nobody can
//! prepare for it any more.
//!
//! All figures are differences of two losses of the same sequence `x`, without and with the update
//! `Δ̂` alone: `δ(x) = loss(θ; x) − loss(θ − α·Δ̂; x)`, with `θ` the head that the update's round
//! trains and `α` the recipe's outer rate. Most of what makes one text harder than another cancels
//! in `δ`, so that few sequences are enough. With `n` sequences, their mean `m = Σδ/n` has the
//! standard error `√(Σ(δ − m)² / (n·(n − 1)))`. Sums are float64 in the order of the draw, and the
//! losses do not depend on the number of workers, so that a score has the same bits on every
//! machine of the exact profile.

use crate::{Error, Job, LeaseData, check_len, evaluate::losses, movement};
use pol_primitives::{
    BoundedVec, Hash, audit::Measure, data::quality, payload::Payload, prf::Prf, recipe::Recipe,
};
use std::sync::Arc;

/// Sequences that gains are measured on, spread over the shards of the probe as evenly as possible.
pub const PROBE_SEQUENCES: usize = 8;
/// Sequences of each of the lease's own shards.
pub const OWN_SEQUENCES: usize = 1;

/// The text that all updates of a round are measured on, and what the round's head makes of it:
/// computed once a round.
#[derive(Clone, Debug)]
pub struct Probe {
    head: Arc<Vec<f32>>,
    seed: Hash,
    sequences: Vec<Vec<u32>>,
    before: Vec<f64>,
}

impl Probe {
    /// Draws [`PROBE_SEQUENCES`] sequences of `text`, at least one of each of its shards, by the
    /// audit's `seed`, and computes their losses under `head`, the parameters that the audited
    /// round trains.
    ///
    /// `text` is what the audit's probe names, or held-out text where it names nothing; without any
    /// text no update scores.
    pub fn new(
        recipe: &Recipe,
        head: Arc<Vec<f32>>,
        seed: &Hash,
        text: &LeaseData,
        workers: usize,
    ) -> Result<Self, Error> {
        let mut prf = Prf::new("pol/score-probe/1", seed, &[]);
        let each = PROBE_SEQUENCES.div_ceil(text.shards().max(1));
        let sequences: Vec<&[u32]> =
            (0..text.shards()).flat_map(|shard| draw(text, shard, each, &mut prf)).collect();
        let before = finite_losses(recipe, &head, &sequences, workers)?;
        let sequences = sequences.into_iter().map(<[u32]>::to_vec).collect();
        Ok(Self { head, seed: *seed, sequences, before })
    }
}

/// Measures the update of `job`'s lease that `payload` stands for: its gain on the probe, and on
/// [`OWN_SEQUENCES`] sequences of each shard of the lease, drawn by the audit's seed and the
/// trainer's account.
///
/// Figures are rounded to millionths of a nat a token and saturate. A loss that is not a finite
/// number counts as the largest finite one, so an update that breaks the model scores nothing. The
/// error of a single difference is its own size, which leaves nothing of it; without text to
/// measure on, gain and error are zero.
pub fn score(probe: &Probe, job: &Job<'_>, payload: &Payload) -> Result<Measure, Error> {
    let Job { recipe, account, data, workers, .. } = *job;
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
    Ok(Measure {
        gain: signed(mean(gains)),
        error: unsigned(standard_error(gains)),
        shards: BoundedVec::truncate_from(shards.collect()),
        own: signed(mean(own_gains)),
        quality: quality((0..data.sequences()).filter_map(|index| data.sequence(index))),
    })
}

/// Up to `count` different sequences of shard `shard`.
fn draw<'a>(text: &'a LeaseData, shard: usize, count: usize, prf: &mut Prf) -> Vec<&'a [u32]> {
    let per_shard = text.sequences().checked_div(text.shards() as u32).unwrap_or(0);
    let order = prf.permutation(per_shard).into_iter().take(count);
    order.filter_map(|within| text.sequence(shard as u32 * per_shard + within)).collect()
}

/// [`losses`], of nothing as well, with the largest number for those that are not finite.
fn finite_losses(
    recipe: &Recipe,
    parameters: &[f32],
    sequences: &[&[u32]],
    workers: usize,
) -> Result<Vec<f64>, Error> {
    if sequences.is_empty() {
        return Ok(Vec::new());
    }
    let losses = losses(&recipe.model, parameters, sequences, workers)?;
    Ok(losses
        .into_iter()
        .map(|loss| if loss.is_finite() { loss } else { f32::MAX.into() })
        .collect())
}

/// Zero of nothing.
fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Standard error of the mean; the value's own size for one, zero for none.
fn standard_error(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return mean(values).abs();
    }
    let (mean, count) = (mean(values), values.len() as f64);
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    (squares / (count * (count - 1.0))).sqrt()
}

/// Millionths, saturating.
fn signed(nats: f64) -> i32 {
    (nats * 1e6).round() as i32
}

/// Millionths, saturating.
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
