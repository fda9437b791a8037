// SPDX-License-Identifier: Apache-2.0

//! Sequences of thousands of tokens.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::LeaseSetup;
use pol_engine::{TrainingState, losses};
use pol_model::initial_parameters;
use pol_primitives::{
    model::{LocalAttention, ModelSpec, Norm, PositionEncoding},
    recipe::{Recipe, Tier, TierParameters},
};

const LENGTH: u16 = 4_096;

/// Returns two recipes: global attention with learned positions; and rotary positions with a
/// context longer than the text, where one block of two attends to the last 300 tokens.
fn recipes() -> [Recipe; 2] {
    let context = u32::from(LENGTH);
    let learned = ModelSpec::gpt2(64, 16, 2, 2, 32, context);
    let rotary = ModelSpec {
        context: 4 * context,
        key_value_heads: 1,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: PositionEncoding::Rotary { dimensions: 8, base: 500_000, interleaved: false },
        local: Some(LocalAttention { window: 300, period: 2, layers: 0b10 }),
        ..learned
    };
    let tier = TierParameters { micro_batch: 1, accumulation: 2, inner_steps: 2, cadence: 1 };
    [learned, rotary].map(|model| Recipe {
        model,
        sequence: LENGTH,
        shard_tokens: LENGTH.into(),
        tiers: [tier; 4],
        segments: 2,
        ..test_recipe::recipe()
    })
}

#[test]
fn long_sequences_train_and_replay_to_the_same_bits() {
    for recipe in recipes() {
        assert_eq!(recipe.validate(), Ok(()));
        let start = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
        let setup = LeaseSetup::new(&recipe, Tier::Participant, [7; 32], &start, 1);
        let states = setup.train(start, 2, 2);
        let (end, leaf) = pol_engine::replay(&setup.job(1), states[1].clone(), 1).unwrap();
        assert_eq!((&end, leaf), (&states[2], states[2].leaf()));

        let sequences: Vec<&[u32]> =
            (0..setup.data.sequences()).filter_map(|i| setup.data.sequence(i)).collect();
        assert_eq!(sequences[0].len(), usize::from(LENGTH) + 1);
        let mean = |state: &TrainingState| {
            let losses = losses(&recipe.model, &state.parameters, &sequences, 2).unwrap();
            losses.iter().sum::<f64>() / losses.len() as f64
        };
        let (before, after) = (mean(&states[0]), mean(&states[2]));
        assert!(after < before - 0.01, "two steps lead from {before} to {after}");
    }
}
