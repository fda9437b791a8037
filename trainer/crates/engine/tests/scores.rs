// SPDX-License-Identifier: Apache-2.0

//! Scores of updates, under the exact profile.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::{LeaseSetup, text};
use pol_engine::{
    ScoreProbe, TrainingState,
    determinism::{self, NumericsMode},
    losses, movement, score,
};
use pol_model::initial_parameters;
use pol_primitives::{audit::UpdateMeasurement, data::quality, payload::Payload, recipe::Tier};
use std::sync::Arc;
use test_recipe::recipe;

/// Trains a lease on the recipe's initial model, and returns it with its update.
fn trained() -> (LeaseSetup, Payload) {
    determinism::ensure(NumericsMode::Exact).expect("the exact profile");
    let recipe = recipe();
    let start = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let setup = LeaseSetup::new(&recipe, Tier::Miner, [9; 32], &start, 1);
    let submitted = setup.honest(start, 4, 2);
    let payload =
        Payload::decode(&submitted.payload, recipe.compression.top_k, recipe.model.size()).unwrap();
    (setup, payload)
}

fn probe(setup: &LeaseSetup, shards: u32, seed: u8) -> ScoreProbe {
    let text = text(&setup.recipe, shards, 50);
    ScoreProbe::new(&setup.recipe, Arc::new(setup.base.clone()), &[seed; 32], &text, 2).unwrap()
}

fn measure(setup: &LeaseSetup, payload: &Payload) -> UpdateMeasurement {
    score(&probe(setup, 4, 5), &setup.job(2), payload).unwrap()
}

#[test]
fn training_pays_and_its_opposite_does_not() {
    let (setup, payload) = trained();
    let honest = measure(&setup, &payload);
    assert!(honest.gain > 50_000 && honest.score() > 10_000, "{honest:?}");
    assert!(honest.own > 50_000 && honest.shards.len() == setup.data.shards(), "{honest:?}");
    let mean = honest.shards.iter().map(|&delta| i64::from(delta)).sum::<i64>()
        / honest.shards.len() as i64;
    assert!((mean - i64::from(honest.own)).abs() <= 1);

    let mut opposite = payload.clone();
    opposite
        .chunks
        .iter_mut()
        .flat_map(|chunk| &mut chunk.entries)
        .for_each(|entry| entry.negative = !entry.negative);
    let opposite = measure(&setup, &opposite);
    assert!(opposite.gain < 0 && opposite.score() == 0, "{opposite:?}");

    let mut nothing = payload.clone();
    nothing.chunks.iter_mut().for_each(|chunk| (chunk.low, chunk.high) = (0, 0));
    let nothing = measure(&setup, &nothing);
    assert_eq!((nothing.gain, nothing.error, nothing.own), (0, 0, 0));

    let mut random = payload.clone();
    let mut bits = 1u32;
    for entry in random.chunks.iter_mut().flat_map(|chunk| &mut chunk.entries) {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        entry.negative = bits >> 31 == 1;
    }
    assert_eq!(measure(&setup, &random).score(), 0);

    let mut giant = payload;
    giant.chunks.iter_mut().for_each(|chunk| (chunk.low, chunk.high) = (0x7f7f, 0x7f7f));
    let giant = measure(&setup, &giant);
    // Clipped to the norm that honest training can reach.
    assert!((-1_000_000..0).contains(&giant.gain) && giant.score() == 0, "{giant:?}");
}

#[test]
fn figures_follow_their_definition() {
    let (setup, payload) = trained();
    // One shard of eight sequences: the probe is all of them.
    let text = text(&setup.recipe, 1, 50);
    let sequences: Vec<&[u32]> = (0..8).map(|index| text.sequence(index).unwrap()).collect();
    let movement = movement(&setup.recipe, &[(payload.clone(), 3)]).unwrap();
    let after: Vec<f32> =
        setup.base.iter().zip(movement).map(|(base, movement)| base - movement).collect();
    let [before, after] = [&setup.base, &after]
        .map(|parameters| losses(&setup.recipe.model, parameters, &sequences, 1).unwrap());
    let differences: Vec<f64> =
        before.iter().zip(after).map(|(before, after)| before - after).collect();
    let mean = differences.iter().sum::<f64>() / 8.0;
    let error = (differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / 56.0).sqrt();
    let measure = score(&probe(&setup, 1, 5), &setup.job(1), &payload).unwrap();
    assert!((f64::from(measure.gain) - mean * 1e6).abs() <= 2.0, "{measure:?}, {mean}");
    assert!((f64::from(measure.error) - error * 1e6).abs() <= 2.0, "{measure:?}, {error}");
    assert_eq!(
        measure.quality,
        quality((0..setup.data.sequences()).map(|index| setup.data.sequence(index).unwrap()))
    );
}

#[test]
fn bits_depend_on_the_draw_and_not_on_workers() {
    let (setup, payload) = trained();
    let honest = measure(&setup, &payload);
    for workers in [0, 1, 3, 16] {
        assert_eq!(score(&probe(&setup, 4, 5), &setup.job(workers), &payload).unwrap(), honest);
    }
    let other_seed = score(&probe(&setup, 4, 6), &setup.job(2), &payload).unwrap();
    assert_ne!((other_seed.gain, other_seed.own), (honest.gain, honest.own));
    let mut other = setup.clone();
    other.account = [8; 32];
    let other_account = measure(&other, &payload);
    assert_eq!((other_account.gain, other_account.error), (honest.gain, honest.error));
    assert_ne!(other_account.shards, honest.shards);
}

#[test]
fn without_text_nothing_is_gained() {
    let (setup, payload) = trained();
    let measure = score(&probe(&setup, 0, 5), &setup.job(2), &payload).unwrap();
    assert_eq!((measure.gain, measure.error, measure.score()), (0, 0, 0));
    assert!(measure.own > 0);
}
