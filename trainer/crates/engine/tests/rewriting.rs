// SPDX-License-Identifier: Apache-2.0

//! Training through rewrites of the model, under the exact profile.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::{LeaseSetup, text};
use pol_engine::{TrainingState, evaluate};
use pol_model::{RewritePlan, initial_parameters};
use pol_primitives::{
    model::Experts,
    recipe::{Recipe, Tier},
    rewrite::Rewrite,
};
use test_recipe::recipe;

/// Returns the loss on text that is not trained on.
fn held_out(recipe: &Recipe, state: &TrainingState) -> f64 {
    let data = text(recipe, 2, 99);
    let sequences: Vec<&[u32]> = (0..data.sequences()).filter_map(|i| data.sequence(i)).collect();
    evaluate(&recipe.model, &state.parameters, &sequences, 2).unwrap()
}

#[test]
fn peers_agree_on_rewritten_models_and_training_goes_on() {
    let mut recipe = recipe();
    let train = |recipe: &Recipe, start: &TrainingState, seed: u32, workers: usize| {
        let setup = LeaseSetup::new(recipe, Tier::Miner, [9; 32], start, seed);
        setup.train(start.clone(), recipe.segments, workers).pop().unwrap()
    };
    let mut state = train(
        &recipe,
        &TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed)),
        1,
        2,
    );
    let rewrites = [
        Rewrite::Upcycle { experts: Experts::new(5, 2) },
        Rewrite::InsertBlock { at: 1 },
        Rewrite::SplitExpert { expert: 2 },
        Rewrite::Widen { feed_forward: 40 },
        Rewrite::AddExpert { like: 0 },
    ];
    for (seed, rewrite) in (2..).zip(rewrites) {
        let before = held_out(&recipe, &state);
        let rewrite_state =
            || state.rewrite(&RewritePlan::new(&recipe.model, &rewrite).unwrap()).unwrap();
        let (rewritten, other) = (rewrite_state(), rewrite_state());
        assert_eq!(
            (rewritten.root(), rewritten.leaf()),
            (other.root(), other.leaf()),
            "{rewrite:?}"
        );
        assert_ne!(rewritten.root(), state.root());

        recipe.model = rewrite.apply(&recipe.model).unwrap();
        rewritten.validate(recipe.model.size() as usize).unwrap();
        assert!(
            (held_out(&recipe, &rewritten) - before).abs() < 1e-5,
            "{rewrite:?} changed what the model computes"
        );

        state = train(&recipe, &rewritten, seed, 2);
        assert_eq!(state.leaf(), train(&recipe, &other, seed, 1).leaf(), "{rewrite:?}");
        let after = held_out(&recipe, &state);
        assert!(after < before, "{rewrite:?}: the loss rose from {before} to {after}");
    }
}
