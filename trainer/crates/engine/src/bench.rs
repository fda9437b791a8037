// SPDX-License-Identifier: Apache-2.0

//! Measurements of training speed and of audit costs on this machine.

use crate::{
    EngineError, LeaseData, LeaseJob, RoundUpdate, ScoreProbe, TrainingState,
    determinism::{self, NumericsMode},
    pack::{compress, pack, reader},
    reading::read_blob,
    replay, score,
    train::{TrainingRun, train_segment},
};
use pol_model::{hash_values, initial_parameters};
use pol_primitives::{
    Hash,
    audit::AuditConfig,
    data::ShardId,
    lease::Lease,
    payload::encoded_size,
    prf::Prf,
    recipe::{Numerics, Recipe, Tier},
};
use std::{
    borrow::Cow,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// Training speed of this process.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Throughput {
    /// Kernels, or `None` for the native profile under an environment of its own.
    pub mode: Option<NumericsMode>,
    /// Number of worker threads.
    pub workers: usize,
    /// Number of optimiser steps measured.
    pub steps: u32,
    /// Number of tokens trained on in these steps.
    pub tokens: u64,
    /// Duration of these steps, in seconds.
    pub seconds: f64,
}

impl Throughput {
    /// Returns the number of tokens trained on per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }
}

/// Trains `recipe`'s model on random tokens, as `tier` would, for at least `duration` after one
/// warm-up step.
///
/// Under the native profile libtorch computes with the kernels that the process was started with;
/// [`determinism::configure`] selects them for a child process.
///
/// # Errors
///
/// Fails for an invalid recipe; if libtorch has to compute, and the process is outside the recipe's
/// numerics profile; and if training diverges.
pub fn measure_throughput(
    recipe: &Recipe,
    tier: Tier,
    workers: usize,
    duration: Duration,
) -> Result<Throughput, EngineError> {
    let lease = RandomLease::new(recipe, tier)?;
    let mut state = TrainingState::fresh(lease.base.to_vec());
    let job = lease.job(recipe, workers);
    let mut run = TrainingRun::new(&job, &state)?;
    let inner_steps = recipe.tier(tier).inner_steps;
    run.step(&mut state, 0)?;
    let (start, mut steps) = (Instant::now(), 0u32);
    while steps == 0 || start.elapsed() < duration {
        steps += 1;
        run.step(&mut state, (steps % u32::from(inner_steps)) as u16)?;
    }
    Ok(Throughput {
        mode: match recipe.numerics {
            Numerics::Exact => Some(NumericsMode::Exact),
            Numerics::Native { .. } => {
                determinism::is_applied(NumericsMode::Stock).then_some(NumericsMode::Stock)
            }
        },
        workers: run.threads(),
        steps,
        tokens: recipe.tokens(tier, 1) * u64::from(steps),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Number of updates of a round among which the cost of its probe is divided.
pub const SCORED_UPDATES: u16 = 16;

/// Cost of one update for its trainer and of one seat for a validator, in seconds on this machine.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AuditCost {
    /// Tier of the trainer.
    pub tier: Tier,
    /// Number of segments of a lease.
    pub segments: u16,
    /// Number of segments that an audit draws.
    pub drawn: u8,
    /// Number of seats on an update.
    pub seats: u8,
    /// Trainer: all steps of the lease.
    pub train: f64,
    /// Trainer: hashing the states at segment boundaries.
    pub trace: f64,
    /// Trainer: packing the update.
    pub pack: f64,
    /// Seat: training the drawn segments again and hashing the states they end in.
    pub replay: f64,
    /// Seat: reading the served states and checking them against their hashes.
    pub states: f64,
    /// Seat: packing the final state again.
    pub packing: f64,
    /// Seat: measuring the update by the gradient of the round.
    pub score: f64,
    /// Validator: movement of a round of `SCORED_UPDATES` updates and gradient of its probe, once
    /// per round for any number of seats.
    pub probe: f64,
    /// Maximum number of bytes that a seat fetches: served states, payload and the lease's shards.
    pub bytes: u64,
}

impl AuditCost {
    /// Returns the trainer's cost of the update, in seconds.
    pub fn trainer_seconds(&self) -> f64 {
        self.train + self.trace + self.pack
    }

    /// Returns a seat's cost of the score, with its part of the round's gradient, in seconds.
    pub fn scoring_seconds(&self) -> f64 {
        self.score + self.probe / f64::from(SCORED_UPDATES)
    }

    /// Returns the cost of a seat, in seconds.
    pub fn seat_seconds(&self) -> f64 {
        self.replay + self.states + self.packing + self.scoring_seconds()
    }

    /// Returns the cost of all seats on the update, relative to the trainer's.
    pub fn ratio(&self) -> f64 {
        f64::from(self.seats) * self.seat_seconds() / self.trainer_seconds()
    }
}

/// Trains a whole lease of `recipe` as `tier` would, on random tokens, and does the work of a seat
/// in an audit under `config`, with `workers` threads each.
///
/// Only for recipes of the exact profile. Drawn segments are assumed to lie apart and not to
/// include the last one, which is the most expensive case.
///
/// # Errors
///
/// Fails for an invalid recipe; if libtorch has to compute, and the process is outside the exact
/// profile; and if training diverges.
pub fn measure_audit_cost(
    recipe: &Recipe,
    tier: Tier,
    workers: usize,
    config: &AuditConfig,
) -> Result<AuditCost, EngineError> {
    let lease = RandomLease::new(recipe, tier)?;
    let job = lease.job(recipe, workers);
    let (segments, drawn, middle) = (recipe.segments, config.segments, recipe.segments / 2);
    let trained = train_timed(&job, &lease.base, middle)?;
    let leaf = median_seconds(|| Ok(trained.end.leaf()))?;
    let mut packed_state = trained.end.clone();
    let (payload, pack_seconds) = timed(|| pack(recipe, &lease.base, &mut packed_state))?;

    let replay = median_seconds(|| replay(&job, trained.start.clone(), middle))?;
    let reading = measure_reading(&lease.base, &trained, middle, segments)?;
    let packing = median_seconds(|| {
        let mut feedback = trained.end.feedback.values()?.into_owned();
        let base = reader(&lease.base);
        let payload = compress(recipe, base, &trained.end.parameters, &mut feedback)?;
        Ok((blake3::hash(&payload.encode()), hash_values(&feedback)))
    })?;
    let texts = [1, 2].map(|seed| RandomLease::text(recipe, config.probe.into(), seed));
    let texts: Vec<LeaseData> = texts.into_iter().collect::<Result<_, _>>()?;
    let update = RoundUpdate { payload, staleness: 0, tokens: 1 };
    let updates = vec![update; SCORED_UPDATES.into()];
    let new_probe = || ScoreProbe::new(recipe, &lease.base, &updates, &[1; 32], &texts, workers);
    let (probe, probe_seconds) = timed(new_probe)?;
    let score = median_seconds(|| score(&probe, &job, &updates[0].payload, 0))?;

    Ok(AuditCost {
        tier,
        segments,
        drawn,
        seats: config.seats,
        train: trained.seconds - leaf * f64::from(segments),
        trace: leaf * f64::from(segments + 1),
        pack: pack_seconds,
        replay: replay * f64::from(drawn),
        states: reading.start * f64::from(drawn) + reading.end,
        packing,
        score,
        probe: probe_seconds,
        bytes: bytes_of_seat(recipe, tier, drawn),
    })
}

/// Lease that was trained and timed.
struct TrainedLease {
    /// State before the middle segment.
    start: TrainingState,
    /// Final state, not packed yet.
    end: TrainingState,
    /// Median duration of a segment, times the number of segments.
    seconds: f64,
}

fn train_timed(job: &LeaseJob<'_>, base: &[f32], middle: u16) -> Result<TrainedLease, EngineError> {
    let mut state = TrainingState::fresh(base.to_vec());
    // The first segment is slower, so one is trained for nothing.
    train_segment(job, &mut state.clone(), 0)?;
    let (mut times, mut start) = (Vec::new(), state.clone());
    for segment in 0..job.recipe.segments {
        if segment == middle {
            start = state.clone();
        }
        times.push(timed(|| train_segment(job, &mut state, segment))?.1);
    }
    let seconds = median(&mut times) * f64::from(job.recipe.segments);
    Ok(TrainedLease { start, end: state, seconds })
}

/// Seconds that a seat needs to read and check states.
struct ReadingSeconds {
    /// For the state at the start of a drawn segment.
    start: f64,
    /// For the base, and for parameters and error feedback of the final state, whose feedback is
    /// that of all states.
    end: f64,
}

fn measure_reading(
    base: &[f32],
    trained: &TrainedLease,
    middle: u16,
    segments: u16,
) -> Result<ReadingSeconds, EngineError> {
    let TrainedLease { start, end, .. } = trained;
    let (served, last) = (start.trace_state(middle), end.trace_state(segments));
    let (start_blobs, end_blobs) = (start.blobs()?, end.blobs()?);
    let (mut open_start, mut open_end) = (blob_source(&start_blobs), blob_source(&end_blobs));
    let count = base.len();
    Ok(ReadingSeconds {
        start: median_seconds(|| TrainingState::without_feedback(&served, count, &mut open_start))?,
        end: median_seconds(|| {
            hash_values(base);
            read_blob(&last.root, count, &mut open_end)?;
            read_blob(&last.carry.feedback, count, &mut open_end)
        })?,
    })
}

/// Returns the maximum number of bytes that a seat fetches in an audit of `drawn` segments of an
/// update of `tier`.
pub fn bytes_of_seat(recipe: &Recipe, tier: Tier, drawn: u8) -> u64 {
    let array = recipe.model.size().saturating_mul(4);
    // Each start has three arrays of its own; all share the error feedback; the final state adds
    // its parameters.
    let states = array.saturating_mul(3 * u64::from(drawn) + 2);
    let shard = 4 * (u64::from(recipe.shard_tokens) + 1);
    let shards = u64::from(recipe.shards_per_lease(tier)) * shard;
    let payload = encoded_size(recipe.compression.top_k, recipe.model.size());
    states.saturating_add(payload).saturating_add(shards)
}

/// Lease on random tokens, from the recipe's initial model.
struct RandomLease {
    lease: Lease,
    data: LeaseData,
    base: Arc<Vec<f32>>,
}

impl RandomLease {
    fn new(recipe: &Recipe, tier: Tier) -> Result<Self, EngineError> {
        recipe.validate().map_err(EngineError::Recipe)?;
        let count = recipe.shards_per_lease(tier);
        let base = initial_parameters(&recipe.model, &recipe.seed);
        let lease = Lease {
            nonce: 0,
            tier,
            round: 0,
            due_round: 0,
            seed: [0; 32],
            base_root: hash_values(&base),
            head_tokens: 0,
            recipe: recipe.hash(),
            carry: [0; 32],
            carry_round: 0,
            shards: (0..count)
                .map(|index| ShardId { manifest: 0, index })
                .collect::<Vec<_>>()
                .try_into()
                .unwrap_or_default(),
        };
        Ok(Self { lease, data: Self::text(recipe, count, 0)?, base: Arc::new(base) })
    }

    fn text(recipe: &Recipe, shards: u32, seed: u8) -> Result<LeaseData, EngineError> {
        let mut prf = Prf::new("pol/bench/1", &[seed; 32], &[]);
        let mut shard =
            || (0..=recipe.shard_tokens).map(|_| prf.below(recipe.model.vocabulary)).collect();
        LeaseData::new(recipe, (0..shards).map(|_| shard()).collect())
    }

    fn job<'a>(&'a self, recipe: &'a Recipe, workers: usize) -> LeaseJob<'a> {
        LeaseJob { recipe, lease: &self.lease, account: &[0; 32], data: &self.data, workers }
    }
}

/// Returns a function that opens `blobs`.
fn blob_source<'a>(
    blobs: &'a [Cow<'_, [u8]>],
) -> impl FnMut(&Hash) -> io::Result<&'a [u8]> + use<'a> {
    let blobs: Vec<(blake3::Hash, &'a [u8])> =
        blobs.iter().map(|blob| (blake3::hash(blob), &blob[..])).collect();
    move |address| {
        let found = blobs.iter().find(|(hash, _)| hash == address);
        found.map(|(_, blob)| *blob).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Returns the result of `run` and its duration in seconds.
fn timed<T>(run: impl FnOnce() -> Result<T, EngineError>) -> Result<(T, f64), EngineError> {
    let start = Instant::now();
    let value = run()?;
    Ok((value, start.elapsed().as_secs_f64()))
}

/// Returns the median duration of `run` in seconds, over five runs.
fn median_seconds<T>(mut run: impl FnMut() -> Result<T, EngineError>) -> Result<f64, EngineError> {
    let times: Result<Vec<f64>, EngineError> = (0..5).map(|_| Ok(timed(&mut run)?.1)).collect();
    Ok(median(&mut times?))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
