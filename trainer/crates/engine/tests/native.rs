//! The native profile: honest replays with other numbers of threads stay within a tolerance that
//! cheats do not.

#[path = "../src/test_recipe.rs"]
mod test_recipe;
mod work;

use pol_engine::{
    Error, TrainingState, determinism,
    native::{Deviation, deviate, distance, sketch},
    replay, train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    BoundedVec, Ppm,
    audit::{Finding, Measure, Verdict},
    recipe::{Numerics, Recipe, Tier},
    sketch::{Binding, Seat, Sketch, judge},
};
use work::Work;

/// What `pol-trainer calibrate` proposes lies about here for models of any size:
/// docs/benchmarks.md.
const TOLERANCE: Ppm = 2_000;
const SEED: [u8; 32] = [8; 32];

/// A lease of the native profile, and the state after its first segment.
fn work() -> (Work, TrainingState) {
    let recipe =
        Recipe { numerics: Numerics::Native { tolerance: TOLERANCE }, ..test_recipe::recipe() };
    let mut state = TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed));
    let work = Work::new(&recipe, Tier::Miner, [9; 32], &state, 1);
    train_segment(&work.job(1), &mut state, 0).unwrap();
    (work, state)
}

fn sketched(work: &Work, start: &TrainingState, end: &TrainingState) -> Sketch {
    sketch(&work.recipe.model, &SEED, &work.account, 1, start, end).unwrap()
}

fn finding(end: Sketch) -> Finding {
    Finding::Sketched { ends: BoundedVec::truncate_from(vec![end]), measure: Measure::default() }
}

#[test]
fn only_the_exact_profile_needs_its_environment() {
    let (mut work, state) = work();
    let applied = determinism::applied(determinism::Mode::Exact);
    assert!(train_segment(&work.job(1), &mut state.clone(), 1).is_ok());
    work.recipe.numerics = Numerics::Exact;
    work.lease.recipe = work.recipe.hash();
    let outcome = train_segment(&work.job(1), &mut state.clone(), 1);
    assert!(applied || matches!(outcome, Err(Error::Numerics(_))), "{outcome:?}");
}

#[test]
fn honest_replays_are_valid_and_cheats_are_not() {
    let (work, start) = work();
    let (reference, _) = replay(&work.job(1), start.clone(), 1).unwrap();
    let replayed = finding(sketched(&work, &start, &reference));
    let verdict = |end: &TrainingState| {
        let seat = Seat { stake: 1, finding: Some(&replayed), binding: Some(Binding::Bound) };
        judge(Some(&[sketched(&work, &start, end)]), TOLERANCE, &[seat; 3])
    };
    for (threads, workers) in [(1, 1), (2, 1), (3, 3)] {
        tch::set_num_threads(threads);
        let (end, _) = replay(&work.job(workers), start.clone(), 1).unwrap();
        let exact = distance(&work.recipe.model, &start, &end, &reference).unwrap();
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
        deviate(&work.job(1), &mut end, 1, deviation).unwrap();
        assert_eq!(end.steps, reference.steps, "{deviation:?}");
        let exact = distance(&work.recipe.model, &start, &end, &reference).unwrap();
        assert!(
            exact.iter().any(|distance| *distance * 1e6 > 2.0 * f64::from(TOLERANCE)),
            "{deviation:?}: {exact:?}"
        );
        assert_eq!(verdict(&end), Verdict::Invalid, "{deviation:?}");
    }
    // What lies far below the tolerance is what the profile gives away.
    let mut end = start.clone();
    deviate(&work.job(1), &mut end, 1, Deviation::Drift(TOLERANCE / 4)).unwrap();
    assert_eq!(verdict(&end), Verdict::Valid);
}

#[test]
fn a_deviation_of_nothing_is_honest() {
    let (work, start) = work();
    let (reference, _) = replay(&work.job(1), start.clone(), 1).unwrap();
    for deviation in
        [Deviation::Rate(1_000_000), Deviation::Momentum(1_000_000), Deviation::Drift(0)]
    {
        let mut end = start.clone();
        deviate(&work.job(1), &mut end, 1, deviation).unwrap();
        let exact = distance(&work.recipe.model, &start, &end, &reference).unwrap();
        assert!(exact.iter().all(|distance| *distance < 1e-3), "{deviation:?}: {exact:?}");
    }
}

/// Why the biases of attention's keys are damped: no loss depends on them, and their gradient is
/// rounding error.
#[test]
fn key_biases_learn_nothing() {
    let (work, _) = work();
    let mut state = TrainingState::fresh(work.base.clone());
    train_segment(&work.job(1), &mut state, 0).unwrap();
    let mut next = 0;
    let slices = pol_primitives::sketch::runs(&work.recipe.model).into_iter().map(|run| {
        next += run.len;
        (run.damped, next - run.len..next)
    });
    let slices: Vec<_> = slices.collect();
    let norm = |range: &std::ops::Range<usize>| {
        state.first_moment[range.clone()].iter().map(|m| m * m).sum::<f32>().sqrt()
    };
    let damped: Vec<usize> = (0..slices.len()).filter(|&at| slices[at].0).collect();
    assert_eq!(damped.len(), 2, "one in every block");
    for at in damped {
        // Before them lie the biases of queries, after them those of values.
        let [queries, keys, values] = [at - 1, at, at + 1].map(|at| norm(&slices[at].1));
        assert!(
            keys < 1e-3 * queries.min(values),
            "queries {queries}, keys {keys}, values {values}"
        );
    }
}
