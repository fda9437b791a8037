//! What audits find in honest and in dishonest leases, under the exact profile.

#[path = "../src/test_recipe.rs"]
mod test_recipe;
mod work;

use pol_engine::{
    Error, LeaseData, Replayed, TrainingState, audit, audited_blobs,
    determinism::{self, Mode},
};
use pol_model::initial_parameters;
use pol_primitives::{
    Hash,
    audit::{Finding, Measure, ServedState, Verdict, judge},
    recipe::{Recipe, Tier},
    trace::{Carry, state_leaf},
};
use std::{io, ops::Range};
use test_recipe::recipe;
use work::{Submitted, Work};

const ACCOUNT: [u8; 32] = [9; 32];

fn fresh(recipe: &Recipe) -> TrainingState {
    determinism::ensure(Mode::Exact).expect("the exact profile");
    TrainingState::fresh(initial_parameters(&recipe.model, &recipe.seed))
}

/// A trainer's second lease, so that moments and feedback matter from the start.
fn second_lease() -> (Work, TrainingState) {
    let recipe = recipe();
    let first = fresh(&recipe);
    let start = Work::new(&recipe, Tier::Miner, ACCOUNT, &first, 1).honest(first, 4, 2).left;
    (Work::new(&recipe, Tier::Miner, ACCOUNT, &start, 2), start)
}

/// Every draw of one to four of `of` segments.
fn draws(of: u16) -> impl Iterator<Item = Vec<u16>> {
    (1u16..1 << of).map(move |set| (0..of).filter(|segment| set & 1 << segment != 0).collect())
}

/// Drawing a bad segment shows the cheat, drawing another does not: the chance of being caught is
/// the share that is bad.
fn assert_caught(cheat: &str, work: &Work, submitted: &Submitted, bad: Range<u16>) {
    for segment in 0..submitted.trace.segments() {
        let expected = if bad.contains(&segment) { Verdict::Invalid } else { Verdict::Valid };
        assert_eq!(submitted.verdict(work, &[segment], 2), expected, "{cheat}, segment {segment}");
    }
}

/// What comes out when all segments are trained by another job than the lease's.
fn trained_otherwise(
    work: &Work,
    start: &TrainingState,
    change: impl FnOnce(&mut Work),
) -> Submitted {
    let mut other = work.clone();
    change(&mut other);
    other.lease.recipe = other.recipe.hash();
    let states = other.train(start.clone(), 4, 2);
    let end = states[4].clone();
    work.submit(states, end)
}

/// Changes what `segments` end in, each before the next one starts.
fn trained_with(
    work: &Work,
    start: &TrainingState,
    segments: Range<u16>,
    change: impl Fn(&TrainingState, &mut TrainingState),
) -> Submitted {
    let mut states = vec![start.clone()];
    for segment in 0..4 {
        let before = states[usize::from(segment)].clone();
        let mut state = before.clone();
        pol_engine::train_segment(&work.job(2), &mut state, segment).unwrap();
        if segments.contains(&segment) {
            change(&before, &mut state);
        }
        states.push(state);
    }
    let end = states[4].clone();
    work.submit(states, end)
}

#[test]
fn an_honest_lease_is_valid_whatever_is_drawn() {
    let recipe = recipe();
    let mut carried = fresh(&recipe);
    for (lease, tier) in (1..).zip([Tier::Mobile, Tier::Whale]) {
        let work = Work::new(&recipe, tier, ACCOUNT, &carried, lease);
        for stop in [4, 2] {
            let submitted = work.honest(carried.clone(), stop, stop.into());
            for (workers, drawn) in (1..).zip(draws(stop)) {
                assert_eq!(
                    submitted.verdict(&work, &drawn, workers % 4),
                    Verdict::Valid,
                    "{drawn:?} of {stop}"
                );
            }
            // Nothing left to draw: packing alone.
            assert_eq!(submitted.verdict(&work, &[], 1), Verdict::Valid);
        }
        carried = work.honest(carried, 4, 1).left;
    }
}

#[test]
fn other_constants_are_caught_in_every_segment() {
    let (work, start) = second_lease();
    type Change = fn(&mut Work);
    let cheats: [(&str, Change); 5] = [
        ("learning rate 1 % off", |work| {
            work.recipe.schedule.peak += work.recipe.schedule.peak / 100
        }),
        ("learning rate near zero", |work| work.recipe.schedule.peak = 1),
        ("half the batch", |work| work.recipe.tiers[2].micro_batch /= 2),
        ("no weight decay", |work| work.recipe.optimiser.weight_decay = 0),
        ("other data", |work| {
            work.data = work::text(&work.recipe, work.data.shards() as u32, 77);
        }),
    ];
    for (cheat, change) in cheats {
        assert_caught(cheat, &work, &trained_otherwise(&work, &start, change), 0..4);
    }
}

#[test]
fn skipped_and_shortened_segments_are_caught_when_drawn() {
    let (work, start) = second_lease();
    let skipped = trained_with(&work, &start, 1..3, |before, state| {
        *state = TrainingState { steps: state.steps, ..before.clone() };
    });
    assert_caught("skipped", &work, &skipped, 1..3);
    let fewer = trained_with(&work, &start, 2..3, |before, state| {
        // Half the step: what one worker less would save.
        for (value, &before) in state.parameters.iter_mut().zip(&before.parameters) {
            *value = (*value + before) / 2.0;
        }
    });
    assert_caught("half a segment", &work, &fewer, 2..3);
}

#[test]
fn interpolated_checkpoints_are_caught_in_every_segment() {
    let (work, start) = second_lease();
    let honest = work.train(start, 4, 2);
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
    assert_caught("interpolated", &work, &work.submit(states, end), 0..4);
}

#[test]
fn cheaper_precision_is_caught_in_every_segment() {
    let (work, start) = second_lease();
    let rounded = trained_with(&work, &start, 0..4, |_, state| {
        state
            .parameters
            .iter_mut()
            .for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
    });
    assert_caught("bfloat16 parameters", &work, &rounded, 0..4);
    let rounded = trained_with(&work, &start, 0..4, |_, state| {
        state
            .first_moment
            .iter_mut()
            .for_each(|value| *value = f32::from_bits(value.to_bits() & 0xffff_0000));
    });
    assert_caught("bfloat16 moments", &work, &rounded, 0..4);
}

#[test]
fn invented_moments_are_caught_where_they_appear() {
    let (work, start) = second_lease();
    let invented = trained_with(&work, &start, 2..3, |_, state| {
        state.second_moment.iter_mut().for_each(|value| *value *= 0.25);
    });
    assert_caught("invented moments", &work, &invented, 2..3);
}

#[test]
fn a_start_that_is_not_the_lease_s_needs_no_replay() {
    let (work, start) = second_lease();
    let required = state_leaf(&work.lease.base_root, &work.lease.carry);
    let other_moments =
        TrainingState { first_moment: vec![0.5; start.parameters.len()], ..start.clone() };
    let other_feedback =
        TrainingState { feedback: vec![0.5; start.parameters.len()], ..start.clone() };
    let stale = TrainingState { parameters: fresh(&work.recipe).parameters, ..start.clone() };
    let fresh = fresh(&work.recipe);
    for invented in [other_moments, other_feedback, stale, fresh] {
        let submitted = work.honest(invented, 4, 2);
        // The chain refuses the reveal.
        assert_ne!(submitted.trace.leaves()[0], required);
        assert_eq!(submitted.replayed(&work, &[0], 2).unwrap(), Replayed::Impossible);
    }
    assert_eq!(work.honest(start, 4, 2).trace.leaves()[0], required);
}

#[test]
fn feedback_cannot_be_invented_between_start_and_end() {
    let (work, start) = second_lease();
    let invented = trained_with(&work, &start, 3..4, |_, state| state.feedback[7] += 0.5);
    for segment in 0..4 {
        // The last segment's own replay ends elsewhere; any other start shows another feedback than
        // the end.
        assert_eq!(invented.verdict(&work, &[segment], 2), Verdict::Invalid, "segment {segment}");
    }
    // A trainer without a carry has none.
    let recipe = recipe();
    let first = fresh(&recipe);
    let work = Work::new(&recipe, Tier::Miner, ACCOUNT, &first, 1);
    let invented = trained_with(&work, &first, 0..1, |_, state| state.feedback[7] += 0.5);
    for segment in 0..4 {
        assert_eq!(invented.verdict(&work, &[segment], 2), Verdict::Invalid, "segment {segment}");
    }
}

#[test]
fn wrong_packing_is_caught_whatever_is_drawn() {
    let (work, start) = second_lease();
    let states = work.train(start, 4, 2);
    let end = states[4].clone();
    let honest = work.submit(states.clone(), end.clone());
    let doubled = end
        .parameters
        .iter()
        .zip(&work.base)
        .map(|(&value, &base)| base + (value - base) * 2.0)
        .collect();
    let flipped = end
        .parameters
        .iter()
        .zip(&work.base)
        .map(|(&value, &base)| base - (value - base))
        .collect();
    let scaled = work.submit(states.clone(), TrainingState { parameters: doubled, ..end.clone() });
    let reversed =
        work.submit(states.clone(), TrainingState { parameters: flipped, ..end.clone() });
    let forgotten = work
        .submit(states.clone(), TrainingState { feedback: vec![0.0; end.feedback.len()], ..end });
    let mut other_carry = honest.clone();
    other_carry.opened.carry_hash = other_carry.states[4].carry().hash();
    let mut other_payload = honest.clone();
    other_payload.opened.payload_hash[0] ^= 1;
    for wrong in [scaled, reversed, forgotten, other_carry, other_payload] {
        for drawn in [&[0][..], &[3], &[1, 2]] {
            assert!(matches!(
                wrong.replayed(&work, drawn, 2).unwrap(),
                Replayed::Ends { packed: false, .. }
            ));
            assert_eq!(wrong.verdict(&work, drawn, 2), Verdict::Invalid);
        }
    }
    assert_eq!(honest.verdict(&work, &[1, 2], 2), Verdict::Valid);
}

#[test]
fn states_that_cannot_be_are_told_so() {
    let (work, start) = second_lease();
    let states = work.train(start, 4, 2);
    let impossible = |leaf: usize, change: fn(&mut TrainingState)| {
        let mut states = states.clone();
        change(&mut states[leaf]);
        let submitted =
            work.submit(states.clone(), work.train(states[0].clone(), 4, 2).swap_remove(4));
        submitted.replayed(&work, &[2], 2).unwrap()
    };
    let changes: [fn(&mut TrainingState); 8] = [
        |state| state.parameters.push(0.0),
        |state| state.parameters.truncate(9),
        |state| state.parameters[3] = f32::NAN,
        |state| state.feedback[3] = f32::INFINITY,
        |state| state.feedback[3] += 1.0,
        |state| state.steps += 1,
        |state| state.steps = 0,
        |state| state.steps = u64::MAX,
    ];
    for (place, change) in changes.into_iter().enumerate() {
        assert_eq!(impossible(2, change), Replayed::Impossible, "start, change {place}");
        assert_eq!(impossible(4, change), Replayed::Impossible, "end, change {place}");
    }
    assert_eq!(impossible(2, |state| state.second_moment[3] = -1.0), Replayed::Impossible);
    assert_eq!(impossible(2, |state| state.first_moment.push(1.0)), Replayed::Impossible);
    assert_eq!(impossible(2, |state| state.parameters.fill(1e38)), Replayed::Impossible);
    let finding = Replayed::Impossible.finding(|| Err(Error::Sequences)).unwrap();
    assert_eq!(judge(Some(&[[0; 32]]), &[(1, Some(&finding))]), Verdict::Invalid);
}

#[test]
fn a_finding_carries_what_was_replayed_and_measured() {
    let (work, start) = second_lease();
    let submitted = work.honest(start, 4, 2);
    let measure = Measure { gain: 7, error: 1, ..Measure::default() };
    let finding =
        submitted.replayed(&work, &[1, 3], 2).unwrap().finding(|| Ok(measure.clone())).unwrap();
    let Finding::Replayed { ends, packed, measure: measured } = finding else {
        panic!("it was replayed")
    };
    assert_eq!(ends.as_slice(), [submitted.trace.leaves()[2], submitted.trace.leaves()[4]]);
    assert!(packed && measured == measure);
    let replayed = submitted.replayed(&work, &[1], 2).unwrap();
    assert!(matches!(replayed.finding(|| Err(Error::Sequences)), Err(Error::Sequences)));
}

#[test]
fn what_is_the_auditor_s_own_fault_is_an_error() {
    let (work, start) = second_lease();
    let submitted = work.honest(start, 4, 2);
    let case = submitted.case(&[1]);
    let shown = submitted.shown(&case);
    let blobs: Vec<&[u8]> =
        [1, 4].iter().flat_map(|&leaf: &usize| submitted.states[leaf].blobs()).collect();
    let find = |hash: &Hash| {
        let blob = blobs.iter().find(|blob| blake3::hash(blob) == *hash);
        blob.copied().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    };
    let run = |work: &Work, base: &[f32], shown: &[ServedState]| {
        audit(&work.job(1), base, &case, &submitted.opened, shown, &[0; 32], find)
    };
    assert!(matches!(run(&work, &work.base, &shown), Ok(Replayed::Ends { packed: true, .. })));
    assert!(matches!(run(&work, &work.base, &shown[..1]), Err(Error::States)));
    assert!(matches!(run(&work, &work.base[1..], &shown), Err(Error::WrongModel { .. })));
    let mut base = work.base.clone();
    base[0] += 1.0;
    assert!(matches!(run(&work, &base, &shown), Err(Error::OtherBase { .. })));
    let mut other = work.clone();
    other.data = LeaseData::new(&work.recipe, Vec::new()).unwrap();
    assert!(matches!(run(&other, &work.base, &shown), Err(Error::Shards { .. })));

    let nothing = |hash: &Hash| {
        if *hash == shown[1].root {
            Err(io::Error::from(io::ErrorKind::NotFound))
        } else {
            find(hash)
        }
    };
    let missing =
        audit(&work.job(1), &work.base, &case, &submitted.opened, &shown, &[0; 32], nothing);
    assert!(matches!(missing, Err(Error::Fetch { hash, .. }) if hash == shown[1].root));
    let damaged = |_: &Hash| Ok::<&[u8], io::Error>(&[1, 2, 3, 4]);
    let damaged =
        audit(&work.job(1), &work.base, &case, &submitted.opened, &shown, &[0; 32], damaged);
    assert!(matches!(damaged, Err(Error::Blob { hash }) if hash == shown[0].root));
}

#[test]
fn a_seat_fetches_each_blob_it_reads_once() {
    let (work, start) = second_lease();
    let submitted = work.honest(start, 4, 2);
    let count = |drawn: &[u16]| {
        let case = submitted.case(drawn);
        audited_blobs(&case, &submitted.shown(&case)).len()
    };
    // A start is four blobs, all share the feedback, and of the end only the parameters are new.
    assert_eq!(
        (count(&[1]), count(&[1, 2]), count(&[0, 2]), count(&[3]), count(&[])),
        (5, 5, 8, 4, 2)
    );
    let recipe = recipe();
    let first = fresh(&recipe);
    let submitted = Work::new(&recipe, Tier::Miner, ACCOUNT, &first, 1).honest(first, 4, 2);
    let case = submitted.case(&[0]);
    let shown = submitted.shown(&case);
    assert_eq!((shown[0].carry, audited_blobs(&case, &shown).len()), (Carry::default(), 3));
}
