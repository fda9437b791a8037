//! How fast this machine trains.

use crate::{
    Error, Job, LeaseData, TrainingState,
    determinism::{self, Mode},
    train::Run,
};
use pol_model::initial_parameters;
use pol_primitives::{
    data::ShardId,
    lease::Lease,
    prf::Prf,
    recipe::{Recipe, Tier},
};
use std::time::{Duration, Instant};

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

/// Trains `recipe`'s model on random tokens, as `tier` would, for at least `duration` after one step to warm up, under
/// whatever numerics the process was started with: [`determinism::configure`] chooses them for a child process.
pub fn measure(recipe: &Recipe, tier: Tier, workers: usize, duration: Duration) -> Result<Throughput, Error> {
    recipe.validate().map_err(Error::Recipe)?;
    let mut prf = Prf::new("pol/bench/1", &[0; 32], &[]);
    let mut shard = || (0..=recipe.shard_tokens).map(|_| prf.below(recipe.model.vocabulary())).collect();
    let count = recipe.shards_per_lease(tier);
    let data = LeaseData::new(recipe, (0..count).map(|_| shard()).collect())?;
    let shards: Vec<ShardId> = (0..count).map(|index| ShardId { manifest: 0, index }).collect();
    let lease = Lease {
        nonce: 0,
        tier,
        round: 0,
        due_round: 0,
        seed: [0; 32],
        base_root: [0; 32],
        head_tokens: 0,
        recipe: recipe.hash(),
        carry: [0; 32],
        shards: shards.try_into().unwrap_or_default(),
    };
    let mut state = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let job = Job { recipe, lease: &lease, account: &[0; 32], data: &data, workers };
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
