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
    EngineError, LeaseData, LeaseJob, Update,
    aggregate::RoundFactors,
    check_len,
    file_array::FileArray,
    gradient::{for_each_gradient, mean_gradient},
    pack::reader,
};
use pol_primitives::{
    BoundedVec, Hash,
    audit::{MEASURED_SHARDS, UpdateMeasurement},
    data::quality,
    payload::Payload,
    prf::Prf,
    recipe::Recipe,
};
use std::{io, path::Path};

/// Parameters of the head that are read at a time.
const HEAD_PIECE: usize = 1 << 18;
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
    pub fn new<U: Update>(
        recipe: &Recipe,
        head: &[f32],
        updates: &[U],
        seed: &Hash,
        texts: &[LeaseData],
        workers: usize,
    ) -> Result<Self, EngineError> {
        check_len(recipe.model.size() as usize, head.len())?;
        Self::new_unless(recipe, reader(head), updates, seed, texts, workers, || false)
    }

    /// Computes a probe as [`Self::new`] does, unless `is_stopped` returns `true`. It is asked
    /// after each batch of sequences. `read_head` fills its argument with the next parameters of
    /// the head, which need not be in memory as a whole.
    ///
    /// # Errors
    ///
    /// Fails with [`EngineError::Stopped`] if it was stopped, as [`Self::new`] does, and as
    /// `read_head` does.
    pub fn new_unless<U: Update>(
        recipe: &Recipe,
        mut read_head: impl FnMut(&mut [f32]) -> Result<(), EngineError>,
        updates: &[U],
        seed: &Hash,
        texts: &[LeaseData],
        workers: usize,
        is_stopped: impl Fn() -> bool + Sync,
    ) -> Result<Self, EngineError> {
        let factors = RoundFactors::new(recipe, updates)?;
        let mut middle = factors.movement(updates)?;
        let mut head = vec![0.0; HEAD_PIECE.min(middle.len())];
        for middle in middle.chunks_mut(HEAD_PIECE) {
            let head = &mut head[..middle.len()];
            read_head(head)?;
            middle.iter_mut().zip(&*head).for_each(|(value, &head)| *value = head - 0.5 * *value);
        }
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

    /// Returns the bytes that [`store`](Self::store) writes.
    pub fn stored_bytes(&self) -> u64 {
        (size_of_val(&*self.middle) + size_of_val(&*self.gradient)) as u64
    }

    /// Leaves the probe in a file in `folder` that has no name and goes with it.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub fn store(&self, folder: &Path) -> io::Result<StoredProbe> {
        let Self { seed, factors, middle, gradient } = self;
        let (seed, factors) = (*seed, factors.clone());
        let [middle, gradient] = [middle, gradient].map(|values| FileArray::write(folder, values));
        Ok(StoredProbe { seed, factors, middle: middle?, gradient: gradient? })
    }
}

/// A [`ScoreProbe`] whose two vectors of the model's length are in files.
#[derive(Clone, Debug)]
pub struct StoredProbe {
    seed: Hash,
    factors: RoundFactors,
    middle: FileArray,
    gradient: FileArray,
}

impl StoredProbe {
    /// Brings the probe into memory.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, or has changed.
    pub fn load(&self) -> Result<ScoreProbe, EngineError> {
        Ok(ScoreProbe {
            seed: self.seed,
            factors: self.factors.clone(),
            middle: self.middle.read()?,
            gradient: self.gradient.read()?,
        })
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
