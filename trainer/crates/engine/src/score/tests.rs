// SPDX-License-Identifier: Apache-2.0

//! Scores of updates, under the exact profile.

#[path = "../../tests/fixture/mod.rs"]
mod fixture;

use super::*;
use crate::{RoundUpdate, TrainingState, evaluate, movement, test_recipe::recipe};
use fixture::{
    LeaseSetup,
    season::{Season, decode, probe_texts, sequences},
};
use pol_model::initial_parameters;
use pol_primitives::recipe::Tier;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Trains a lease on the recipe's initial model, and returns it with its update.
fn trained() -> (LeaseSetup, Payload) {
    let recipe = recipe();
    let start = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let setup = LeaseSetup::new(&recipe, Tier::Miner, [9; 32], &start, 1);
    let submitted = setup.honest(start, 4, 2);
    let payload = decode(&recipe, &submitted.payload);
    (setup, payload)
}

/// Returns an update of a whole lease.
fn fresh(payload: Payload) -> RoundUpdate {
    RoundUpdate { payload, staleness: 0, tokens: 4 }
}

/// Measures the update at `place` of a round of `updates`.
fn measure_in(
    setup: &LeaseSetup,
    updates: &[RoundUpdate],
    place: usize,
    seed: u8,
    workers: usize,
) -> UpdateMeasurement {
    let texts = probe_texts(&setup.recipe);
    let probe =
        ScoreProbe::new(&setup.recipe, &setup.base, updates, &[seed; 32], &texts, workers).unwrap();
    score(&probe, &setup.job(workers), &updates[place].payload, place).unwrap()
}

/// Measures an update that is alone in its round.
fn measure(setup: &LeaseSetup, payload: &Payload) -> UpdateMeasurement {
    measure_in(setup, &[fresh(payload.clone())], 0, 5, 2)
}

fn flipped(payload: &Payload) -> Payload {
    let mut flipped = payload.clone();
    let entries = flipped.chunks.iter_mut().flat_map(|chunk| &mut chunk.entries);
    entries.for_each(|entry| entry.negative = !entry.negative);
    flipped
}

fn zero(payload: &Payload) -> Payload {
    let mut zero = payload.clone();
    zero.chunks.iter_mut().for_each(|chunk| (chunk.low, chunk.high) = (0, 0));
    zero
}

/// Returns the payload with signs drawn by `bits`.
fn random(payload: &Payload, mut bits: u32) -> Payload {
    let mut random = payload.clone();
    for entry in random.chunks.iter_mut().flat_map(|chunk| &mut chunk.entries) {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        entry.negative = bits >> 31 == 1;
    }
    random
}

#[test]
fn figures_are_rounded_and_saturate() {
    assert_eq!((billionths(1.4e-9), billionths(-1.6e-9)), (1, -2));
    assert_eq!((billionths(-3e38), billionths(3.0)), (i32::MIN, i32::MAX));
    assert_eq!(billionths(f64::NAN), 0);
}

#[test]
fn training_pays_and_its_opposite_does_not() {
    let (setup, payload) = trained();
    let honest = measure(&setup, &payload);
    assert!(honest.score() > 50_000_000 && honest.own > 50_000_000, "{honest:?}");

    let opposite = measure(&setup, &flipped(&payload));
    assert!(opposite.gain < 0 && opposite.score() == 0, "{opposite:?}");
    let nothing = measure(&setup, &zero(&payload));
    assert_eq!((nothing.gain, nothing.own), (0, 0));

    let mut giant = payload;
    giant.chunks.iter_mut().for_each(|chunk| (chunk.low, chunk.high) = (0x7f7f, 0x7f7f));
    // Clipped to the norm that honest training can reach.
    let giant = measure(&setup, &giant);
    assert!((i32::MIN..0).contains(&giant.gain) && giant.score() == 0, "{giant:?}");
}

#[test]
fn beside_honest_updates_cheats_gain_nothing() {
    let (setup, payload) = trained();
    let mut updates = vec![fresh(payload.clone()); 3];
    updates.extend([flipped(&payload), zero(&payload)].map(fresh));
    updates.extend((0..8).map(|seed| fresh(random(&payload, seed))));
    let gains: Vec<i32> =
        (0..updates.len()).map(|place| measure_in(&setup, &updates, place, 5, 2).gain).collect();
    assert!(gains[0] > 0 && gains[0] == gains[1] && gains[3] < 0 && gains[4] == 0, "{gains:?}");
    let mean = gains[5..].iter().map(|&gain| i64::from(gain)).sum::<i64>() / 8;
    assert!(mean < i64::from(gains[0] / 10), "{gains:?}");
}

#[test]
fn figures_follow_their_definition() {
    let (setup, payload) = trained();
    let late = RoundUpdate { staleness: 1, ..fresh(random(&payload, 3)) };
    let updates = [fresh(payload.clone()), late];
    let texts = probe_texts(&setup.recipe);
    let sequences = sequences(&texts);
    let whole = movement(&setup.recipe, &updates).unwrap();
    // The derivative of the loss in the middle, along the whole movement.
    let loss = |share: f32| {
        let parameters: Vec<f32> =
            setup.base.iter().zip(&whole).map(|(base, moved)| base - share * moved).collect();
        evaluate(&setup.recipe.model, &parameters, &sequences, 2).unwrap()
    };
    let slope = (loss(0.45) - loss(0.55)) / 0.1;
    let measured = [0, 1].map(|place| measure_in(&setup, &updates, place, 5, 2));
    let sum = measured.iter().map(|measure| f64::from(measure.gain)).sum::<f64>() / 1e9;
    assert!((sum - slope).abs() < 0.01 * slope.abs(), "{sum} and {slope}");

    let first = &measured[0];
    assert_eq!(first.shards.len(), setup.data.shards());
    assert_eq!(first.shards.iter().filter(|&&part| part != 0).count(), OWN_SHARDS);
    let parts: i32 = first.shards.iter().sum();
    assert!((0..=first.gain).contains(&parts), "{first:?}");
    assert_eq!(
        first.quality,
        quality((0..setup.data.sequences()).map(|index| setup.data.sequence(index).unwrap()))
    );
}

#[test]
fn bits_depend_on_the_draw_and_not_on_workers() {
    let (setup, payload) = trained();
    let late = RoundUpdate { staleness: 1, ..fresh(random(&payload, 3)) };
    let updates = [fresh(payload.clone()), late];
    let honest = measure_in(&setup, &updates, 0, 5, 2);
    for workers in [0, 1, 3, 16] {
        assert_eq!(measure_in(&setup, &updates, 0, 5, workers), honest);
    }
    assert_ne!(measure_in(&setup, &updates, 0, 6, 2).shards, honest.shards);
    let mut other = setup.clone();
    other.account = [8; 32];
    let other_account = measure_in(&other, &updates, 0, 5, 2);
    assert_eq!(other_account.gain, honest.gain);
    assert_ne!(other_account.shards, honest.shards);
}

#[test]
fn without_text_nothing_is_gained_and_without_an_update_nothing_is_measured() {
    let (setup, payload) = trained();
    let updates = [fresh(payload.clone())];
    let probe = ScoreProbe::new(&setup.recipe, &setup.base, &updates, &[5; 32], &[], 2).unwrap();
    let measure = score(&probe, &setup.job(2), &payload, 0).unwrap();
    assert_eq!((measure.gain, measure.score()), (0, 0));
    assert!(measure.own > 0);
    assert!(matches!(
        score(&probe, &setup.job(2), &payload, 1),
        Err(EngineError::NoSuchUpdate { place: 1 })
    ));
}

#[test]
fn a_probe_that_is_stopped_ends_after_the_batch_under_way() {
    let (setup, payload) = trained();
    let (updates, texts) = ([fresh(payload)], probe_texts(&setup.recipe));
    let asked = AtomicUsize::new(0);
    let probe_until = |last: usize| {
        asked.store(0, Ordering::Relaxed);
        let head = reader(&setup.base);
        ScoreProbe::new_unless(&setup.recipe, head, &updates, &[5; 32], &texts, 2, || {
            asked.fetch_add(1, Ordering::Relaxed) + 1 == last
        })
    };
    let whole = probe_until(usize::MAX).unwrap();
    let batches = asked.load(Ordering::Relaxed);
    assert!(batches > 2, "{batches}");
    assert!(matches!(probe_until(2), Err(EngineError::Stopped)));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let plain = ScoreProbe::new(&setup.recipe, &setup.base, &updates, &[5; 32], &texts, 2).unwrap();
    assert_eq!(whole.gradient, plain.gradient);
}

#[test]
fn a_stored_probe_measures_the_same() {
    let (setup, payload) = trained();
    let (updates, texts) = ([fresh(payload.clone())], probe_texts(&setup.recipe));
    let probe = ScoreProbe::new(&setup.recipe, &setup.base, &updates, &[5; 32], &texts, 2).unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(probe.stored_bytes(), 2 * 4 * setup.recipe.model.size());
    let stored = probe.store(folder.path()).unwrap();
    let [there, back] = [&probe, &stored.load().unwrap()]
        .map(|probe| score(probe, &setup.job(2), &payload, 0).unwrap());
    assert_eq!(there, back);
    assert_ne!(there.gain, 0);
}

#[test]
fn gains_add_up_to_the_fall_of_the_loss_and_equal_work_earns_the_same() {
    let season = Season::train(&recipe(), &[4; 4], 12);
    assert!((season.accounted() - 1.0).abs() < 0.05, "{:?}", season.rounds);
    let mean = season.scores.iter().sum::<f64>() / 4.0;
    for score in &season.scores {
        assert!((score / mean - 1.0).abs() < 0.15, "{:?}", season.scores);
    }
}

#[test]
fn half_the_work_earns_half_as_much() {
    let season = Season::train(&recipe(), &[4, 4, 2, 4], 12);
    let others = (season.scores[0] + season.scores[1] + season.scores[3]) / 3.0;
    let share = season.scores[2] / others;
    assert!((share - 0.5).abs() < 0.5 * 0.15, "{share}: {:?}", season.scores);
}

#[test]
fn short_updates_earn_by_their_work_though_they_are_the_most() {
    let alone = Season::train(&recipe(), &[4, 4], 12);
    let season = Season::train(&recipe(), &[4, 4, 1, 1, 1], 12);
    for whole in &season.scores[..2] {
        for short in &season.scores[2..] {
            assert!(*short < 0.25 * 1.15 * whole, "{:?}", season.scores);
        }
    }
    let learnt = |season: &Season| season.rounds.iter().map(|round| round.1).sum::<f64>();
    let (alone, beside) = (learnt(&alone), learnt(&season));
    assert!(beside > 0.9 * alone, "{beside} beside short updates, {alone} without");
}
