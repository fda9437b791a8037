// SPDX-License-Identifier: Apache-2.0

//! Trains a small lease, packs the update, audits one segment of it and applies it to the model.
//!
//! `cargo run --release -p pol-engine --example lease`

use pol_engine::{
    LeaseData, LeaseJob, RoundUpdate, Trace, TrainingState, aggregate, evaluate, pack, replay,
    train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    MILLION,
    data::ShardId,
    lease::Lease,
    model::ModelSpec,
    recipe::{AdamW, Compression, LearningRateSchedule, Numerics, Recipe, Tier, TierParameters},
};
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let (recipe, account) = (recipe(), [7; 32]);
    let base = initial_parameters(&recipe.model, &recipe.seed);
    let shards = recipe.shards_per_lease(Tier::Participant);
    let lease = lease(&recipe, &base, shards)?;
    let text = (0..shards).map(|shard| counting_text(&recipe, shard)).collect();
    let data = LeaseData::new(&recipe, text)?;
    let job =
        LeaseJob { recipe: &recipe, lease: &lease, account: &account, data: &data, workers: 2 };

    // The trainer: train every segment and commit to the state after each.
    let mut state = TrainingState::fresh(base.clone());
    let mut trace = Trace::new(state.leaf());
    let mut states = vec![state.clone()];
    for segment in 0..recipe.segments {
        let report = train_segment(&job, &mut state, segment)?;
        println!("segment {segment}: loss {:.3} over {} tokens", report.loss, report.tokens);
        trace.push(report.leaf);
        states.push(state.clone());
    }
    let payload = pack(&recipe, &base, &mut state)?;
    println!("trace root {}", blake3::Hash::from_bytes(trace.root()));
    println!("the update has {} bytes", payload.encode().len());

    // An auditor: train segment 1 again with another number of workers, and compare the leaf.
    let auditor = LeaseJob { workers: 1, ..job };
    let (_, leaf) = replay(&auditor, states.swap_remove(1), 1)?;
    println!("the replay of segment 1 ends in the same bits: {}", leaf == trace.leaves()[2]);

    // Every validator: the next head from the round's updates.
    let update = RoundUpdate { payload, staleness: 0, tokens: 1 };
    let head = aggregate(&recipe, &base, &[update], &[])?;
    let sequences: Vec<&[u32]> = (0..data.sequences()).filter_map(|i| data.sequence(i)).collect();
    let [before, after] = [&base, &head].map(|model| evaluate(&recipe.model, model, &sequences, 2));
    println!("loss {:.3} before and {:.3} after the update", before?, after?);
    Ok(())
}

/// Returns a recipe of 5,760 parameters with leases of 4 segments of 2 steps.
fn recipe() -> Recipe {
    let tier = TierParameters { micro_batch: 2, accumulation: 3, inner_steps: 8, cadence: 1 };
    Recipe {
        model: ModelSpec::gpt2(64, 16, 2, 2, 32, 16),
        tokenizer: [1; 32],
        seed: [2; 32],
        pretrained: None,
        held_out: None,
        rewrite: None,
        sequence: 16,
        shard_tokens: 128,
        tiers: [tier; 4],
        optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
        schedule: LearningRateSchedule {
            peak: 10_000_000,
            warmup_steps: 4,
            decay_tokens: 0,
            floor: 100_000,
        },
        gradient_clip: MILLION,
        outer_rate: MILLION,
        compression: Compression { top_k: 512, feedback: 950_000 },
        segments: 4,
        numerics: Numerics::Exact,
        arithmetic: None,
    }
}

/// Returns the lease that the chain would give out.
fn lease(recipe: &Recipe, base: &[f32], shards: u32) -> Result<Lease, Box<dyn Error>> {
    let shards: Vec<ShardId> = (0..shards).map(|index| ShardId { manifest: 0, index }).collect();
    Ok(Lease {
        nonce: 0,
        tier: Tier::Participant,
        round: 0,
        due_round: 0,
        seed: [3; 32],
        base_root: pol_model::hash_values(base),
        head_tokens: 0,
        recipe: recipe.hash(),
        carry: [0; 32],
        carry_round: 0,
        shards: shards.try_into().map_err(|_| "too many shards")?,
    })
}

/// Returns a shard of text in which every token is its predecessor plus one.
fn counting_text(recipe: &Recipe, shard: u32) -> Vec<u32> {
    (0..=recipe.shard_tokens).map(|at| (at + 7 * shard) % recipe.model.vocabulary).collect()
}
