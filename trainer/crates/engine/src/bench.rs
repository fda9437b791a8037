//! How fast this machine trains, and what auditing costs beside it.

use crate::{
    Error, Job, LeaseData, Probe, TrainingState,
    blobs::read_blob,
    determinism::{self, Mode},
    pack::{compress, pack},
    replay, score,
    state::hash,
    train::{Run, train_segment},
};
use pol_model::initial_parameters;
use pol_primitives::{
    Hash,
    audit::AuditConfig,
    data::ShardId,
    lease::Lease,
    payload::encoded_size,
    prf::Prf,
    recipe::{Recipe, Tier},
};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// Training speed of this process.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Throughput {
    /// The numerics profile; none when the environment fits neither.
    pub mode: Option<Mode>,
    /// Worker threads.
    pub workers: usize,
    /// Optimiser steps measured.
    pub steps: u32,
    /// Tokens trained on in them.
    pub tokens: u64,
    /// Seconds they took.
    pub seconds: f64,
}

impl Throughput {
    /// Tokens trained on per second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }
}

/// Trains `recipe`'s model on random tokens, as `tier` would, for at least `duration` after one
/// step to warm up, under whatever numerics the process was started with:
/// [`determinism::configure`] chooses them for a child process.
pub fn measure(
    recipe: &Recipe,
    tier: Tier,
    workers: usize,
    duration: Duration,
) -> Result<Throughput, Error> {
    let work = Work::new(recipe, tier)?;
    let mut state = TrainingState::fresh(work.base.to_vec());
    let job = work.job(recipe, workers);
    let mut run = Run::new(&job, &state)?;
    let inner_steps = recipe.tier(tier).inner_steps;
    run.step(&mut state, 0)?;
    let (start, mut steps) = (Instant::now(), 0u32);
    while steps == 0 || start.elapsed() < duration {
        steps += 1;
        run.step(&mut state, (steps % u32::from(inner_steps)) as u16)?;
    }
    Ok(Throughput {
        mode: [Mode::Exact, Mode::Stock].into_iter().find(|&mode| determinism::applied(mode)),
        workers: workers.clamp(1, recipe.tier(tier).accumulation.into()),
        steps,
        tokens: recipe.tokens(tier, 1) * u64::from(steps),
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// What one update costs its trainer, and what one seat on it costs a validator; in seconds of this
/// machine.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct AuditCost {
    /// The trainer's tier.
    pub tier: Tier,
    /// Segments of a lease.
    pub segments: u16,
    /// Segments that an audit draws.
    pub drawn: u8,
    /// Seats on an update.
    pub seats: u8,
    /// The trainer: all steps of the lease.
    pub train: f64,
    /// The trainer: hashing the states at segment boundaries.
    pub trace: f64,
    /// The trainer: packing the update.
    pub pack: f64,
    /// A seat: training the drawn segments again and hashing what they end in.
    pub replay: f64,
    /// A seat: reading the states shown and checking them against their hashes.
    pub states: f64,
    /// A seat: packing the final state again.
    pub packing: f64,
    /// A seat: measuring what the update is worth.
    pub score: f64,
    /// A validator: losses of the probe under the head, once a round whatever its number of seats.
    pub probe: f64,
    /// Bytes a seat fetches at most: states shown, payload and the lease's shards.
    pub bytes: u64,
}

impl AuditCost {
    /// Seconds of a trainer for the update.
    pub fn trainer(&self) -> f64 {
        self.train + self.trace + self.pack
    }

    /// Seconds of a seat.
    pub fn seat(&self) -> f64 {
        self.replay + self.states + self.packing + self.score
    }

    /// Seconds of all seats on the update over the trainer's. What is done once a round is left
    /// out.
    pub fn ratio(&self) -> f64 {
        f64::from(self.seats) * self.seat() / self.trainer()
    }
}

/// Trains a whole lease of `recipe` as `tier` would, on random tokens, and does what a seat of an
/// audit under `config` does, with `workers` threads each. Under the exact profile only. Drawn
/// segments are taken to lie apart and not to be the last one, which is the dearest case.
pub fn audit_cost(
    recipe: &Recipe,
    tier: Tier,
    workers: usize,
    config: &AuditConfig,
) -> Result<AuditCost, Error> {
    let work = Work::new(recipe, tier)?;
    let job = work.job(recipe, workers);
    let (segments, drawn, middle) = (recipe.segments, config.segments, recipe.segments / 2);
    let mut state = TrainingState::fresh(work.base.to_vec());
    // What is done for the first time takes longer.
    train_segment(&job, &mut state.clone(), 0)?;

    let (mut times, mut start) = (Vec::new(), state.clone());
    for segment in 0..segments {
        if segment == middle {
            start = state.clone();
        }
        times.push(timed(|| train_segment(&job, &mut state, segment))?.1);
    }
    let end = state.clone();
    let leaf = often(|| Ok(state.leaf()))?;
    let (payload, packed) = timed(|| pack(recipe, &work.base, &mut state))?;
    let whole = median(&mut times) * f64::from(segments);

    let replay = often(|| replay(&job, start.clone(), middle))?;
    let (shown, last) = (start.served(middle), end.served(segments));
    let (mut open_shown, mut open_last) = (source(&start), source(&end));
    let count = work.base.len();
    let state_read = often(|| TrainingState::from_blobs(&shown, count, &mut open_shown))?;
    let parts_read = often(|| {
        hash(&work.base);
        read_blob(&last.root, count, &mut open_last)?;
        read_blob(&last.carry.feedback, count, &mut open_last)
    })?;
    let packing = often(|| {
        let mut feedback = end.feedback.clone();
        let payload = compress(recipe, &work.base, &end.parameters, &mut feedback)?;
        Ok((blake3::hash(&payload.encode()), hash(&feedback)))
    })?;
    let text = Work::text(recipe, config.probe.into(), 1)?;
    let (probe, probe_time) =
        timed(|| Probe::new(recipe, work.base.clone(), &[1; 32], &text, workers))?;
    let score = often(|| score(&probe, &job, &payload))?;

    let array = 4 * count as u64;
    // Each start has three arrays of its own; all share the error feedback; the final state adds
    // its parameters.
    let states = (3 * u64::from(drawn) + 2) * array;
    let shards = work.lease.shards.len() as u64 * 4 * (u64::from(recipe.shard_tokens) + 1);
    Ok(AuditCost {
        tier,
        segments,
        drawn,
        seats: config.seats,
        train: whole - leaf * f64::from(segments),
        trace: leaf * f64::from(segments + 1),
        pack: packed,
        replay: replay * f64::from(drawn),
        states: state_read * f64::from(drawn) + parts_read,
        packing,
        score,
        probe: probe_time,
        bytes: states + encoded_size(recipe.compression.top_k, recipe.model.size()) + shards,
    })
}

/// A lease on random tokens, from the recipe's initial model.
struct Work {
    lease: Lease,
    data: LeaseData,
    base: Arc<Vec<f32>>,
}

impl Work {
    fn new(recipe: &Recipe, tier: Tier) -> Result<Self, Error> {
        recipe.validate().map_err(Error::Recipe)?;
        let count = recipe.shards_per_lease(tier);
        let base = initial_parameters(&recipe.model, &recipe.seed);
        let lease = Lease {
            nonce: 0,
            tier,
            round: 0,
            due_round: 0,
            seed: [0; 32],
            base_root: hash(&base),
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

    fn text(recipe: &Recipe, shards: u32, seed: u8) -> Result<LeaseData, Error> {
        let mut prf = Prf::new("pol/bench/1", &[seed; 32], &[]);
        let mut shard =
            || (0..=recipe.shard_tokens).map(|_| prf.below(recipe.model.vocabulary)).collect();
        LeaseData::new(recipe, (0..shards).map(|_| shard()).collect())
    }

    fn job<'a>(&'a self, recipe: &'a Recipe, workers: usize) -> Job<'a> {
        Job { recipe, lease: &self.lease, account: &[0; 32], data: &self.data, workers }
    }
}

/// Gives the blobs of `state`.
fn source<'a>(state: &'a TrainingState) -> impl FnMut(&Hash) -> io::Result<&'a [u8]> + use<'a> {
    let blobs: Vec<(blake3::Hash, &'a [u8])> =
        state.blobs().into_iter().map(|blob| (blake3::hash(blob), blob)).collect();
    move |address| {
        let found = blobs.iter().find(|(hash, _)| hash == address);
        found.map(|(_, blob)| *blob).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What `run` gives, and the seconds it takes.
fn timed<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<(T, f64), Error> {
    let start = Instant::now();
    let value = run()?;
    Ok((value, start.elapsed().as_secs_f64()))
}

/// Median of the seconds that `run` takes, of five runs.
fn often<T>(mut run: impl FnMut() -> Result<T, Error>) -> Result<f64, Error> {
    let times: Result<Vec<f64>, Error> = (0..5).map(|_| Ok(timed(&mut run)?.1)).collect();
    Ok(median(&mut times?))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
