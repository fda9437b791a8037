// SPDX-License-Identifier: Apache-2.0

//! Native profile: honest replays with other numbers of threads stay within a tolerance, and cheats
//! do not.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::LeaseSetup;
use pol_engine::{
    EngineError, TrainingState, determinism,
    deviation::{Deviation, train_with_deviation},
    replay, segment_distance, sketch_segment, train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    BoundedVec, Ppm,
    audit::{Binding, Finding, Seat, UpdateMeasurement, Verdict, native::judge},
    recipe::{Numerics, Recipe, Tier},
    sketch::Sketch,
};

/// About the tolerance that `pol-trainer calibrate` proposes for models of any size: see
/// docs/benchmarks.md.
const TOLERANCE: Ppm = 2_000;
const SEED: [u8; 32] = [8; 32];

/// Returns a lease of the native profile, and the state after its first segment.
fn setup() -> (LeaseSetup, TrainingState) {
    let recipe =
        Recipe { numerics: Numerics::Native { tolerance: TOLERANCE }, ..test_recipe::recipe() };
    let mut state = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let setup = LeaseSetup::new(&recipe, Tier::Miner, [9; 32], &state, 1);
    train_segment(&setup.job(1), &mut state, 0).unwrap();
    (setup, state)
}

fn sketch(setup: &LeaseSetup, start: &TrainingState, end: &TrainingState) -> Sketch {
    sketch_segment(&setup.recipe.model, &SEED, &setup.account, 1, start, end).unwrap()
}

fn finding(end: Sketch) -> Finding {
    Finding::Sketched {
        ends: BoundedVec::truncate_from(vec![end]),
        measure: UpdateMeasurement::default(),
    }
}

#[test]
fn only_exact_training_on_libtorch_needs_its_environment() {
    let applied = determinism::is_applied(determinism::NumericsMode::Exact);
    let native = Numerics::Native { tolerance: TOLERANCE };
    let [small, large] = [2, u16::MAX];
    // Kernels have no extents for micro-batches of a million tokens, which the largest tier has.
    for (numerics, micro_batch) in
        [(native, large), (native, small), (Numerics::Exact, small), (Numerics::Exact, large)]
    {
        let mut recipe = Recipe { numerics, ..test_recipe::recipe() };
        recipe.shard_tokens = 1 << 18;
        (recipe.tiers[3].micro_batch, recipe.tiers[3].inner_steps) = (micro_batch, 4);
        let mut state = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
        let setup = LeaseSetup::new(&recipe, Tier::Miner, [9; 32], &state, 1);
        let outcome = train_segment(&setup.job(1), &mut state, 0);
        if numerics == Numerics::Exact && micro_batch == large && !applied {
            assert!(matches!(outcome, Err(EngineError::Numerics(_))), "{outcome:?}");
        } else {
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
}

#[test]
fn honest_replays_are_valid_and_cheats_are_not() {
    let (setup, start) = setup();
    let (reference, _) = replay(&setup.job(1), start.clone(), 1).unwrap();
    let replayed = finding(sketch(&setup, &start, &reference));
    let verdict = |end: &TrainingState| {
        let seat = Seat { finding: Some(&replayed), binding: Some(Binding::Bound) };
        judge(Some(&[sketch(&setup, &start, end)]), TOLERANCE, &[seat; 3])
    };
    for (threads, workers) in [(1, 1), (2, 1), (3, 3)] {
        tch::set_num_threads(threads);
        let (end, _) = replay(&setup.job(workers), start.clone(), 1).unwrap();
        let exact = segment_distance(&setup.recipe.model, &start, &end, &reference).unwrap();
        // A third of the tolerance, so that no draw of signs can take it for more.
        assert!(
            exact.iter().all(|distance| *distance * 3e6 < f64::from(TOLERANCE)),
            "{threads} threads: {exact:?}"
        );
        assert_eq!(verdict(&end), Verdict::Valid);
    }
    for deviation in [
        Deviation::Rate(1_010_000),
        Deviation::Rate(990_000),
        Deviation::SkippedStep,
        Deviation::HalfBatch,
        Deviation::Rounded(7),
        Deviation::Momentum(1_010_000),
        Deviation::Drift(10_000),
    ] {
        let mut end = start.clone();
        train_with_deviation(&setup.job(1), &mut end, 1, deviation).unwrap();
        assert_eq!(end.steps, reference.steps, "{deviation:?}");
        let exact = segment_distance(&setup.recipe.model, &start, &end, &reference).unwrap();
        assert!(
            exact.iter().any(|distance| *distance * 1e6 > 2.0 * f64::from(TOLERANCE)),
            "{deviation:?}: {exact:?}"
        );
        assert_eq!(verdict(&end), Verdict::Invalid, "{deviation:?}");
    }
    // Deviations far below the tolerance are the price of the profile.
    let mut end = start.clone();
    train_with_deviation(&setup.job(1), &mut end, 1, Deviation::Drift(TOLERANCE / 4)).unwrap();
    assert_eq!(verdict(&end), Verdict::Valid);
}

#[test]
fn a_deviation_by_nothing_is_honest() {
    let (setup, start) = setup();
    let (reference, _) = replay(&setup.job(1), start.clone(), 1).unwrap();
    for deviation in
        [Deviation::Rate(1_000_000), Deviation::Momentum(1_000_000), Deviation::Drift(0)]
    {
        let mut end = start.clone();
        train_with_deviation(&setup.job(1), &mut end, 1, deviation).unwrap();
        let exact = segment_distance(&setup.recipe.model, &start, &end, &reference).unwrap();
        assert!(exact.iter().all(|distance| *distance < 1e-3), "{deviation:?}: {exact:?}");
    }
}

/// The biases of attention's keys are damped because no loss depends on them: their gradient is
/// rounding error.
#[test]
fn key_biases_learn_nothing() {
    let (setup, _) = setup();
    let mut state = TrainingState::fresh(setup.base.clone());
    train_segment(&setup.job(1), &mut state, 0).unwrap();
    let mut next = 0;
    let slices = pol_primitives::sketch::value_runs(&setup.recipe.model).into_iter().map(|run| {
        next += run.len;
        (run.damped, next - run.len..next)
    });
    let slices: Vec<_> = slices.collect();
    let norm = |range: &std::ops::Range<usize>| {
        state.first_moment[range.clone()].iter().map(|m| m * m).sum::<f32>().sqrt()
    };
    let damped: Vec<usize> = (0..slices.len()).filter(|&at| slices[at].0).collect();
    assert_eq!(damped.len(), 2, "one per block");
    for at in damped {
        // The biases of queries precede them, those of values follow.
        let [queries, keys, values] = [at - 1, at, at + 1].map(|at| norm(&slices[at].1));
        assert!(
            keys < 1e-3 * queries.min(values),
            "queries {queries}, keys {keys}, values {values}"
        );
    }
}
