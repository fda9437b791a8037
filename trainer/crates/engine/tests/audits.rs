// SPDX-License-Identifier: Apache-2.0

//! Audits of honest and of dishonest leases, under the exact profile.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod fixture;
#[path = "../src/test_recipe.rs"]
mod test_recipe;

use fixture::{LeaseSetup, TestSubmission};
use pol_engine::{
    EngineError, Feedback, LeaseData, ReplayOutcome, TrainingState, audit, audit_blobs,
    parameters_to_bytes,
};
use pol_model::initial_parameters;
use pol_primitives::{
    Hash,
    audit::{Finding, Seat, TraceState, UpdateMeasurement, Verdict, exact::judge},
    recipe::{Recipe, Tier},
    trace::{Carry, state_leaf},
};
use std::{collections::HashMap, io, ops::Range};
use test_recipe::recipe;

const ACCOUNT: [u8; 32] = [9; 32];

fn fresh(recipe: &Recipe) -> TrainingState {
    TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed))
}

/// Returns a trainer's second lease, whose moments and feedback are not zero at the start.
fn second_lease() -> (LeaseSetup, TrainingState) {
    let recipe = recipe();
    let first = fresh(&recipe);
    let start =
        LeaseSetup::new(&recipe, Tier::Miner, ACCOUNT, &first, 1).honest(first, 4, 2).carried;
    (LeaseSetup::new(&recipe, Tier::Miner, ACCOUNT, &start, 2), start)
}

/// Returns every draw of one to `of` of `of` segments.
fn draws(of: u16) -> impl Iterator<Item = Vec<u16>> {
    (1u16..1 << of).map(move |set| (0..of).filter(|segment| set & 1 << segment != 0).collect())
}

/// Asserts that an audit is invalid if it draws a bad segment, and valid otherwise: the chance of
/// being caught is the share of bad segments.
fn assert_caught(cheat: &str, setup: &LeaseSetup, submitted: &TestSubmission, bad: Range<u16>) {
    for segment in 0..submitted.trace.segments() {
        let expected = if bad.contains(&segment) { Verdict::Invalid } else { Verdict::Valid };
        assert_eq!(submitted.verdict(setup, &[segment], 2), expected, "{cheat}, segment {segment}");
    }
}

/// Returns the submission of a trainer that trains all segments by another job than the lease's.
fn trained_otherwise(
    setup: &LeaseSetup,
    start: &TrainingState,
    change: impl FnOnce(&mut LeaseSetup),
) -> TestSubmission {
    let mut other = setup.clone();
    change(&mut other);
    other.lease.recipe = other.recipe.hash();
    let states = other.train(start.clone(), 4, 2);
    let end = states[4].clone();
    setup.submit(states, end)
}

/// Returns the submission of a trainer that changes the ends of `segments`, each before the next
/// one starts.
fn trained_with(
    setup: &LeaseSetup,
    start: &TrainingState,
    segments: Range<u16>,
    change: impl Fn(&TrainingState, &mut TrainingState),
) -> TestSubmission {
    let mut states = vec![start.clone()];
    for segment in 0..4 {
        let before = states[usize::from(segment)].clone();
        let mut state = before.clone();
        pol_engine::train_segment(&setup.job(2), &mut state, segment).unwrap();
        if segments.contains(&segment) {
            change(&before, &mut state);
        }
        states.push(state);
    }
    let end = states[4].clone();
    setup.submit(states, end)
}

#[test]
fn an_honest_lease_is_valid_for_every_draw() {
    let recipe = recipe();
    let mut carried = fresh(&recipe);
    for (lease, tier) in (1..).zip([Tier::Mobile, Tier::Whale]) {
        let setup = LeaseSetup::new(&recipe, tier, ACCOUNT, &carried, lease);
        for stop in [4, 2] {
            let submitted = setup.honest(carried.clone(), stop, stop.into());
            for (workers, drawn) in (1..).zip(draws(stop)) {
                assert_eq!(
                    submitted.verdict(&setup, &drawn, workers % 4),
                    Verdict::Valid,
                    "{drawn:?} of {stop}"
                );
            }
            // Without segments left to draw, only packing is audited.
            assert_eq!(submitted.verdict(&setup, &[], 1), Verdict::Valid);
        }
        carried = setup.honest(carried, 4, 1).carried;
    }
}

#[test]
fn other_constants_are_caught_in_every_segment() {
    let (setup, start) = second_lease();
    type Change = fn(&mut LeaseSetup);
    let cheats: [(&str, Change); 5] = [
        ("learning rate 1 % off", |setup| {
            setup.recipe.schedule.peak += setup.recipe.schedule.peak / 100
        }),
        ("learning rate near zero", |setup| setup.recipe.schedule.peak = 1),
        ("half the batch", |setup| setup.recipe.tiers[2].micro_batch /= 2),
        ("no weight decay", |setup| setup.recipe.optimiser.weight_decay = 0),
        ("other data", |setup| {
            setup.data = fixture::text(&setup.recipe, setup.data.shards() as u32, 77);
        }),
    ];
    for (cheat, change) in cheats {
        assert_caught(cheat, &setup, &trained_otherwise(&setup, &start, change), 0..4);
    }
}

#[test]
fn skipped_and_shortened_segments_are_caught_when_drawn() {
    let (setup, start) = second_lease();
    let skipped = trained_with(&setup, &start, 1..3, |before, state| {
        *state = TrainingState { steps: state.steps, ..before.clone() };
    });
    assert_caught("skipped", &setup, &skipped, 1..3);
    let fewer = trained_with(&setup, &start, 2..3, |before, state| {
        // Half the step, as if one of two workers had not trained.
        for (value, &before) in state.parameters.iter_mut().zip(&before.parameters) {
            *value = (*value + before) / 2.0;
        }
    });
    assert_caught("half a segment", &setup, &fewer, 2..3);
}

#[test]
fn interpolated_checkpoints_are_caught_in_every_segment() {
    let (setup, start) = second_lease();
    let honest = setup.train(start, 4, 2);
    let (first, last) = (&honest[0], &honest[4]);
    let between = |at: u16| {
        let mix = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(a, b)| a + (b - a) * (f32::from(at) / 4.0)).collect()
        };
        TrainingState {
            parameters: mix(&first.parameters, &last.parameters),
            first_moment: mix(&first.first_moment, &last.first_moment),
            second_moment: mix(&first.second_moment, &last.second_moment),
            feedback: first.feedback.clone(),
            steps: honest[usize::from(at)].steps,
        }
    };
    let states: Vec<TrainingState> = (0..=4).map(between).collect();
    let end = states[4].clone();
    assert_caught("interpolated", &setup, &setup.submit(states, end), 0..4);
}

#[test]
fn cheaper_precision_is_caught_in_every_segment() {
    let (setup, start) = second_lease();
    let rounded = trained_with(&setup, &start, 0..4, |_, state| {
        state
            .parameters
            .iter_mut()
            .for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
    });
    assert_caught("bfloat16 parameters", &setup, &rounded, 0..4);
    let rounded = trained_with(&setup, &start, 0..4, |_, state| {
        state
            .first_moment
            .iter_mut()
            .for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
    });
    assert_caught("bfloat16 moments", &setup, &rounded, 0..4);
}

#[test]
fn invented_moments_are_caught_where_they_appear() {
    let (setup, start) = second_lease();
    let invented = trained_with(&setup, &start, 2..3, |_, state| {
        state.second_moment.iter_mut().for_each(|value| *value *= 0.25);
    });
    assert_caught("invented moments", &setup, &invented, 2..3);
}

#[test]
fn a_start_that_is_not_the_lease_s_needs_no_replay() {
    let (setup, start) = second_lease();
    let required = state_leaf(&setup.lease.base_root, &setup.lease.carry);
    let other_moments =
        TrainingState { first_moment: vec![0.5; start.parameters.len()], ..start.clone() };
    let other_feedback =
        TrainingState { feedback: vec![0.5; start.parameters.len()].into(), ..start.clone() };
    let stale = TrainingState { parameters: fresh(&setup.recipe).parameters, ..start.clone() };
    let fresh = fresh(&setup.recipe);
    for invented in [other_moments, other_feedback, stale, fresh] {
        let submitted = setup.honest(invented, 4, 2);
        // The chain refuses the reveal.
        assert_ne!(submitted.trace.leaves()[0], required);
        assert_eq!(submitted.replayed(&setup, &[0], 2).unwrap(), ReplayOutcome::Impossible);
    }
    assert_eq!(setup.honest(start, 4, 2).trace.leaves()[0], required);
}

#[test]
fn feedback_cannot_be_invented_between_start_and_end() {
    let (setup, start) = second_lease();
    let invent = |_: &TrainingState, state: &mut TrainingState| {
        state.feedback.edit(|values| values[7] += 0.5).unwrap();
    };
    let invented = trained_with(&setup, &start, 3..4, invent);
    for segment in 0..4 {
        // The replay of the last segment ends elsewhere; any other start has another feedback than
        // the end.
        assert_eq!(invented.verdict(&setup, &[segment], 2), Verdict::Invalid, "segment {segment}");
    }
    // A trainer without a carry has none.
    let recipe = recipe();
    let first = fresh(&recipe);
    let setup = LeaseSetup::new(&recipe, Tier::Miner, ACCOUNT, &first, 1);
    let invented = trained_with(&setup, &first, 0..1, invent);
    for segment in 0..4 {
        assert_eq!(invented.verdict(&setup, &[segment], 2), Verdict::Invalid, "segment {segment}");
    }
}

#[test]
fn wrong_packing_is_caught_by_every_draw() {
    let (setup, start) = second_lease();
    let states = setup.train(start, 4, 2);
    let end = states[4].clone();
    let honest = setup.submit(states.clone(), end.clone());
    let doubled = end
        .parameters
        .iter()
        .zip(&setup.base)
        .map(|(&value, &base)| base + (value - base) * 2.0)
        .collect();
    let flipped = end
        .parameters
        .iter()
        .zip(&setup.base)
        .map(|(&value, &base)| base - (value - base))
        .collect();
    let scaled = setup.submit(states.clone(), TrainingState { parameters: doubled, ..end.clone() });
    let reversed =
        setup.submit(states.clone(), TrainingState { parameters: flipped, ..end.clone() });
    let zeros = Feedback::zeros(end.parameters.len());
    let forgotten = setup.submit(states.clone(), TrainingState { feedback: zeros, ..end });
    let mut other_carry = honest.clone();
    other_carry.reveal.carry_hash = other_carry.states[4].carry().hash();
    let mut other_payload = honest.clone();
    other_payload.reveal.payload_hash[0] ^= 1;
    for wrong in [scaled, reversed, forgotten, other_carry, other_payload] {
        for drawn in [&[0][..], &[3], &[1, 2]] {
            assert!(matches!(
                wrong.replayed(&setup, drawn, 2).unwrap(),
                ReplayOutcome::Ends { packed: false, .. }
            ));
            assert_eq!(wrong.verdict(&setup, drawn, 2), Verdict::Invalid);
        }
    }
    assert_eq!(honest.verdict(&setup, &[1, 2], 2), Verdict::Valid);
}

#[test]
fn impossible_states_are_recognised() {
    let (setup, start) = second_lease();
    let states = setup.train(start, 4, 2);
    let impossible = |leaf: usize, change: fn(&mut TrainingState)| {
        let mut states = states.clone();
        change(&mut states[leaf]);
        let submitted =
            setup.submit(states.clone(), setup.train(states[0].clone(), 4, 2).swap_remove(4));
        submitted.replayed(&setup, &[2], 2).unwrap()
    };
    let changes: [fn(&mut TrainingState); 8] = [
        |state| state.parameters.push(0.0),
        |state| state.parameters.truncate(9),
        |state| state.parameters[3] = f32::NAN,
        |state| state.feedback.edit(|values| values[3] = f32::INFINITY).unwrap(),
        |state| state.feedback.edit(|values| values[3] += 1.0).unwrap(),
        |state| state.steps += 1,
        |state| state.steps = 0,
        |state| state.steps = u64::MAX,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        assert_eq!(impossible(2, change), ReplayOutcome::Impossible, "start, change {place}");
        assert_eq!(impossible(4, change), ReplayOutcome::Impossible, "end, change {place}");
    }
    assert_eq!(impossible(2, |state| state.second_moment[3] = -1.0), ReplayOutcome::Impossible);
    assert_eq!(impossible(2, |state| state.first_moment.push(1.0)), ReplayOutcome::Impossible);
    assert_eq!(impossible(2, |state| state.parameters.fill(1e38)), ReplayOutcome::Impossible);
    let finding = ReplayOutcome::Impossible.finding(|| Err(EngineError::InvalidSequences)).unwrap();
    assert_eq!(
        judge(Some(&[[0; 32]]), &[Seat { finding: Some(&finding), binding: None }]),
        Verdict::Invalid
    );
}

#[test]
fn a_finding_carries_what_was_replayed_and_measured() {
    let (setup, start) = second_lease();
    let submitted = setup.honest(start, 4, 2);
    let measure = UpdateMeasurement { gain: 7, ..UpdateMeasurement::default() };
    let finding =
        submitted.replayed(&setup, &[1, 3], 2).unwrap().finding(|| Ok(measure.clone())).unwrap();
    let Finding::Replayed { ends, packed, measure: measured } = finding else {
        panic!("it was replayed")
    };
    assert_eq!(ends.as_slice(), [submitted.trace.leaves()[2], submitted.trace.leaves()[4]]);
    assert!(packed && measured == measure);
    let replayed = submitted.replayed(&setup, &[1], 2).unwrap();
    assert!(matches!(
        replayed.finding(|| Err(EngineError::InvalidSequences)),
        Err(EngineError::InvalidSequences)
    ));
}

#[test]
fn the_auditor_s_own_fault_is_an_error() {
    let (setup, start) = second_lease();
    let submitted = setup.honest(start, 4, 2);
    let case = submitted.case(&[1]);
    let served = submitted.served(&case);
    let base_root = setup.lease.base_root;
    let mut blobs: HashMap<Hash, Vec<u8>> =
        [1, 4].iter().flat_map(|&leaf: &usize| fixture::blobs(&submitted.states[leaf])).collect();
    blobs.insert(base_root, parameters_to_bytes(&setup.base));
    let run = |setup: &LeaseSetup, served: &[TraceState], blobs: &HashMap<Hash, Vec<u8>>| {
        let open = |hash: &Hash| {
            let blob = blobs.get(hash).map(Vec::as_slice);
            blob.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        audit(&setup.job(1), &case, &submitted.reveal, served, &[0; 32], open)
    };
    assert!(matches!(run(&setup, &served, &blobs), Ok(ReplayOutcome::Ends { packed: true, .. })));
    assert!(matches!(run(&setup, &served[..1], &blobs), Err(EngineError::StatesMismatch)));
    let mut other = setup.clone();
    other.data = LeaseData::new(&setup.recipe, Vec::new()).unwrap();
    assert!(matches!(run(&other, &served, &blobs), Err(EngineError::ShardCount { .. })));

    let damages: [fn(&mut Vec<u8>); 2] = [|blob| blob[9] ^= 1, |blob| blob.truncate(4)];
    let feedback = served[0].carry.feedback;
    for needed in [base_root, served[0].root, served[1].root, feedback] {
        let mut missing = blobs.clone();
        missing.remove(&needed);
        let error = run(&setup, &served, &missing).unwrap_err();
        assert!(matches!(error, EngineError::BlobRead { hash, .. } if hash == needed));
        for damage in damages {
            let mut damaged = blobs.clone();
            damage(damaged.get_mut(&needed).unwrap());
            let error = run(&setup, &served, &damaged).unwrap_err();
            assert!(matches!(error, EngineError::BlobMismatch { hash } if hash == needed));
        }
    }
}

#[test]
fn no_blob_is_read_twice() {
    let (setup, start) = second_lease();
    let submitted = setup.honest(start, 4, 2);
    for drawn in [&[1][..], &[1, 2], &[1, 3], &[3]] {
        let case = submitted.case(drawn);
        let served = submitted.served(&case);
        let states = case.served_leaves().into_iter();
        let mut blobs: HashMap<Hash, Vec<u8>> =
            states.flat_map(|leaf| fixture::blobs(&submitted.states[usize::from(leaf)])).collect();
        blobs.insert(setup.lease.base_root, parameters_to_bytes(&setup.base));
        let mut opened = Vec::new();
        let open = |hash: &Hash| {
            opened.push(*hash);
            let blob = blobs.get(hash).map(Vec::as_slice);
            blob.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        audit(&setup.job(1), &case, &submitted.reveal, &served, &[0; 32], open).unwrap();
        let mut expected = audit_blobs(&case, &served);
        expected.push(setup.lease.base_root);
        opened.sort_unstable();
        expected.sort_unstable();
        assert_eq!(opened, expected, "{drawn:?}");
    }
}

#[test]
fn a_seat_fetches_each_blob_it_reads_once() {
    let (setup, start) = second_lease();
    let submitted = setup.honest(start, 4, 2);
    let count = |drawn: &[u16]| {
        let case = submitted.case(drawn);
        audit_blobs(&case, &submitted.served(&case)).len()
    };
    // A start has four blobs, all share the feedback, and only the parameters of the end are new.
    assert_eq!(
        (count(&[1]), count(&[1, 2]), count(&[0, 2]), count(&[3]), count(&[])),
        (5, 5, 8, 4, 2)
    );
    let recipe = recipe();
    let first = fresh(&recipe);
    let submitted = LeaseSetup::new(&recipe, Tier::Miner, ACCOUNT, &first, 1).honest(first, 4, 2);
    let case = submitted.case(&[0]);
    let served = submitted.served(&case);
    assert_eq!((served[0].carry, audit_blobs(&case, &served).len()), (Carry::default(), 3));
}
