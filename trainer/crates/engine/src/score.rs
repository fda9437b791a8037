// SPDX-License-Identifier: Apache-2.0

//! Scores of updates: the part of a round's improvement that is due to each of them, on text drawn
//! after the updates were committed.
//!
//! A round moves the head from `θ` to `θ − Σ mᵢ`, where `mᵢ` is the part of the update `i` in the
//! [`movement()`](crate::movement()) as it was made: clipped, weighted and scaled. Excisions of
//! earlier rounds are no part of it. With the gradient `g` of the mean loss in the middle,
//! `θ − ½·Σ mᵢ`, the gain of an update is `⟨g, mᵢ⟩`. By the midpoint rule, gains add up to the fall
//! of the loss up to third order, which makes them the Shapley values of the linearised round (Wang
//! et al. 2024, "Data Shapley in One Training Run", arXiv 2406.11011). One gradient serves all
//! updates of a round, and an update needs no forward pass of its own.
//!
//! Gradients are added in a fixed order and products are float64 sums in the order of the
//! parameters, so a score has the same bits on every machine of the exact profile.

use crate::{
    EngineError, LeaseData, LeaseJob,
    aggregate::{RoundFactors, RoundUpdate},
    check_len,
    gradient::{for_each_gradient, mean_gradient},
};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{MEASURED_SHARDS, UpdateMeasurement},
    data::quality,
    payload::Payload,
    prf::Prf,
    recipe::Recipe,
};

/// Number of sequences of a probe for each update of the round, so that an update's part of the
/// cost does not depend on the round.
const SEQUENCES_PER_UPDATE: usize = 4;
/// Smallest number of sequences of a probe.
const MIN_PROBE_SEQUENCES: usize = 64;
/// Largest number of sequences of a probe.
pub const MAX_PROBE_SEQUENCES: usize = 256;
/// Number of shards of a lease that are drawn to be measured, one sequence each.
pub const OWN_SHARDS: usize = MEASURED_SHARDS;

/// Movement of a round, and the gradient of the loss in its middle on the text that all its updates
/// are measured on. It is computed once per round.
#[derive(Clone, Debug)]
pub struct ScoreProbe {
    seed: Hash,
    factors: RoundFactors,
    /// Parameters in the middle of the movement.
    middle: Vec<f32>,
    /// Gradient of the mean loss of the probe's text at `middle`.
    gradient: Vec<f32>,
}

impl ScoreProbe {
    /// Draws sequences of `texts` by the audit's `seed`, and computes their gradient in the middle
    /// of the movement from `head`, the parameters that the audited round trains, by `updates`: all
    /// that the round included, in account order.
    ///
    /// The sequences are four for each update, from 64 to [`MAX_PROBE_SEQUENCES`], spread evenly
    /// over the texts, and in these over shards, at least one of each. Without any text no update
    /// scores.
    ///
    /// # Errors
    ///
    /// Fails if libtorch has to compute, and the process is outside the recipe's numerics profile;
    /// and for payloads or parameters of another model.
    pub fn new(
        recipe: &Recipe,
        head: &[f32],
        updates: &[RoundUpdate],
        seed: &Hash,
        texts: &[LeaseData],
        workers: usize,
    ) -> Result<Self, EngineError> {
        Self::new_unless(recipe, head, updates, seed, texts, workers, || false)
    }

    /// Computes a probe as [`Self::new`] does, unless `is_stopped` returns `true`. It is asked
    /// after each batch of sequences.
    ///
    /// # Errors
    ///
    /// Fails with [`EngineError::Stopped`] if it was stopped, and as [`Self::new`] does.
    pub fn new_unless(
        recipe: &Recipe,
        head: &[f32],
        updates: &[RoundUpdate],
        seed: &Hash,
        texts: &[LeaseData],
        workers: usize,
        is_stopped: impl Fn() -> bool + Sync,
    ) -> Result<Self, EngineError> {
        let factors = RoundFactors::new(recipe, updates)?;
        let mut middle = factors.movement(updates);
        check_len(middle.len(), head.len())?;
        middle.iter_mut().zip(head).for_each(|(value, &head)| *value = head - 0.5 * *value);
        let mut prf = Prf::new("pol/score-probe/1", seed, &[]);
        let count = SEQUENCES_PER_UPDATE
            .saturating_mul(updates.len())
            .clamp(MIN_PROBE_SEQUENCES, MAX_PROBE_SEQUENCES);
        let of_text = count.div_ceil(texts.len().max(1));
        let mut sequences = Vec::new();
        for text in texts {
            let of_shard = of_text.div_ceil(text.shards().max(1));
            for shard in 0..text.shards() {
                sequences.extend(draw(text, shard, of_shard, &mut prf));
            }
        }
        let gradient = mean_gradient(recipe, &middle, &sequences, workers, is_stopped)?;
        Ok(Self { seed: *seed, factors, middle, gradient })
    }
}

/// Measures the update at `place` among those of the round, which `payload` encodes and `job`
/// describes.
///
/// Its gain on the probe is divided among [`OWN_SHARDS`] shards of the lease, drawn by the audit's
/// seed and the trainer's account, in proportion to the product of the probe's gradient with that
/// of a sequence of the shard: by as much as a step on the shard improves the probe. The others
/// count as zero. Figures are rounded to billionths of a nat per token and saturate. Without text
/// to measure on, the gain is zero.
///
/// # Errors
///
/// Fails for a payload of another model or recipe, and if the round has no such update.
pub fn score(
    probe: &ScoreProbe,
    job: &LeaseJob<'_>,
    payload: &Payload,
    place: usize,
) -> Result<UpdateMeasurement, EngineError> {
    let LeaseJob { recipe, account, data, workers, .. } = *job;
    let mut prf = Prf::new("pol/score-own/1", &probe.seed, &[account]);
    let mut drawn = prf.permutation(data.shards() as u32);
    drawn.truncate(OWN_SHARDS);
    let sequences: Vec<&[u32]> =
        drawn.iter().flat_map(|&shard| draw(data, shard as usize, 1, &mut prf)).collect();
    let batches: Vec<&[&[u32]]> = sequences.chunks(1).collect();

    let gain = probe.factors.product(place, payload, &probe.gradient)?;
    let (mut own, mut alignments) = (0.0, Vec::with_capacity(drawn.len()));
    for_each_gradient(recipe, &probe.middle, &batches, workers, |gradient| {
        alignments.push(product(&probe.gradient, gradient));
        own += probe.factors.product(place, payload, gradient)?;
        Ok(())
    })?;
    let mut shards = vec![0; data.shards()];
    let whole: f64 = alignments.iter().map(|alignment| alignment.abs()).sum();
    for (&shard, alignment) in drawn.iter().zip(alignments) {
        if let Some(part) = shards.get_mut(shard as usize).filter(|_| whole > 0.0) {
            // Rounded towards zero, so that the parts are not more than the whole.
            *part = (gain * (alignment / whole) * 1e9) as i32;
        }
    }
    Ok(UpdateMeasurement {
        gain: billionths(gain),
        own: billionths(own / sequences.len().max(1) as f64),
        quality: quality((0..data.sequences()).filter_map(|index| data.sequence(index))),
        shards: BoundedVec::truncate_from(shards),
    })
}

/// Draws up to `count` different sequences of shard `shard`.
fn draw<'a>(text: &'a LeaseData, shard: usize, count: usize, prf: &mut Prf) -> Vec<&'a [u32]> {
    let per_shard = text.sequences().checked_div(text.shards() as u32).unwrap_or(0);
    let order = prf.permutation(per_shard).into_iter().take(count);
    order.filter_map(|within| text.sequence(shard as u32 * per_shard + within)).collect()
}

/// Returns the inner product, a float64 sum in order.
fn product(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(&left, &right)| f64::from(left) * f64::from(right)).sum()
}

/// Rounds to billionths, saturating. What is not a number becomes zero.
fn billionths(nats: f64) -> i32 {
    (nats * 1e9).round() as i32
}

#[cfg(test)]
mod tests;
