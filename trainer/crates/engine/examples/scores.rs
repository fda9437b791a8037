// SPDX-License-Identifier: Apache-2.0

//! Measures scores: their cost beside that of a lease and of a whole audit, for the demo's model,
//! and their fairness, for rounds of a small one.
//!
//! `cargo run --release -p pol-engine --example scores -- [ROUNDS]`

#[path = "../tests/fixture/mod.rs"]
mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::season::Season;
use pol_engine::bench::measure_audit_cost;
use pol_primitives::{
    audit::AuditConfig,
    model::ModelSpec,
    recipe::{LearningRateSchedule, Recipe, Tier, TierParameters},
};
use std::{env, error::Error};

fn main() -> Result<(), Box<dyn Error>> {
    let rounds: u32 = env::args().nth(1).map_or(Ok(20), |count| count.parse())?;

    let cost = measure_audit_cost(&demo_recipe(), Tier::Miner, 1, &AuditConfig::default())?;
    let (lease, share) = (cost.trainer_seconds(), |seconds: f64| seconds / cost.trainer_seconds());
    println!(
        "a lease takes {lease:.2} s; a seat on it {:.1} % of that: replay {:.1} %, score {:.1} %, \
         states and packing {:.1} %; {} seats {:.1} %",
        100.0 * share(cost.seat_seconds()),
        100.0 * share(cost.replay),
        100.0 * share(cost.scoring_seconds()),
        100.0 * share(cost.states + cost.packing),
        cost.seats,
        100.0 * cost.ratio(),
    );
    for peak in [10_000_000, 3_000_000, 1_000_000] {
        let recipe = small_recipe(peak);
        for (name, segments, forger) in [
            ("four equal trainers", [4; 4], None),
            ("one of half", [4, 4, 2, 4], None),
            ("one on the probe's held-out text", [4; 4], Some(2)),
        ] {
            let season = Season::train_beside(&recipe, &segments, rounds, forger);
            let mean = season.scores.iter().sum::<f64>() / 4.0;
            let shares: Vec<f64> = season.scores.iter().map(|score| score / mean).collect();
            let fall: f64 = season.rounds.iter().map(|round| round.1).sum();
            println!(
                "peak rate {:.0e}, {name}: the loss falls by {fall:.2} nats in {rounds} rounds; \
                 gains are {:.1} % of that; scores {shares:.3?} of the mean",
                peak as f64 / 1e9,
                100.0 * season.accounted(),
            );
        }
    }
    Ok(())
}

/// Recipe with model and leases of the demo: 320 sequences of 128 tokens in 20 segments.
fn demo_recipe() -> Recipe {
    let tier = TierParameters { micro_batch: 8, accumulation: 2, inner_steps: 20, cadence: 1 };
    Recipe {
        model: ModelSpec::gpt2(8_192, 128, 4, 4, 512, 128),
        sequence: 128,
        shard_tokens: 4_096,
        tiers: [tier; 4],
        segments: 20,
        ..small_recipe(1_000_000)
    }
}

/// Recipe of the tests at another peak of the learning rate. The lower it is, the slower the loss
/// falls.
fn small_recipe(peak: u64) -> Recipe {
    let recipe = test_recipe::recipe();
    Recipe { schedule: LearningRateSchedule { peak, ..recipe.schedule }, ..recipe }
}
