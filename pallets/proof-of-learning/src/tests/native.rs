// SPDX-License-Identifier: Apache-2.0

//! Audits under the native numerics profile: sketches instead of digests, and bindings.

use super::all_three;
use crate::{mock::*, pallet::*};
use pol_primitives::{
    BoundedVec, ConstU32,
    audit::{
        AuditConfig, AuditId, Binding, Evidence, Finding, MAX_SKETCHED_SEGMENTS, SketchedEnd, Stage,
    },
    rewards::RoundEarnings,
    sketch::{BUCKETS, PARTS, PartSketch, Sketch},
    submission::Outcome,
    trace::MerkleProof,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

type Ends = BoundedVec<(SketchedEnd, MerkleProof), ConstU32<MAX_SKETCHED_SEGMENTS>>;

/// Value of every sum of every part in the sketches that trainers open.
const OPENED: i64 = 20_000;
/// Values that are 0.5 % and 5 % from it.
const NEAR: i64 = 20_100;
const FAR: i64 = 21_000;

fn flat(size: i64) -> Sketch {
    Sketch { parts: [PartSketch::new(&[size; BUCKETS], 0); PARTS] }
}

fn sketched(id: AuditId, trainer: AccountId, size: i64) -> Finding {
    let measure = measure(case(id, trainer).2.shards.len());
    Finding::Sketched { ends: BoundedVec::truncate_from(vec![flat(size)]), measure }
}

/// Returns the ends that `trainer` opens.
fn opened(id: AuditId, trainer: AccountId) -> Ends {
    let (case, _, lease) = case(id, trainer);
    let states = states(trainer, &lease, case.trace_segments);
    let end = |leaf: u16| SketchedEnd { state: states[usize::from(leaf)], sketch: flat(OPENED) };
    let ends = case
        .opened_leaves()
        .into_iter()
        .map(end)
        .zip(ends(id, trainer).into_iter().map(|end| end.proof));
    ends.collect::<Vec<_>>().try_into().unwrap()
}

/// Size of a validator's sketch of a trainer's update, none for a finding of the other profile, and
/// its judgement of the opened end.
type Finds<'a> = &'a dyn Fn(AccountId, AccountId) -> (Option<i64>, Binding);

const HONESTLY: Finds<'static> = &|_, _| (Some(NEAR), Binding::Bound);

fn found(
    id: AuditId,
    validator: AccountId,
    finds: Finds,
) -> (Evidence, BoundedVec<Binding, ConstU32<64>>) {
    let audit = audit(id);
    let found = audit.seats_of(&validator).map(|(at, case)| {
        let (size, binding) = finds(validator, case.trainer);
        let finding =
            size.map_or_else(|| finding(id, case.trainer), |size| sketched(id, case.trainer, size));
        ((at, finding), binding)
    });
    let (evidence, bindings): (Vec<_>, Vec<_>) = found.unzip();
    (BoundedVec::truncate_from(evidence), BoundedVec::truncate_from(bindings))
}

fn commit_all(id: AuditId, finds: Finds) {
    for holder in audit(id).holders {
        let hidden = hide(id, holder.account, &found(id, holder.account, finds).0);
        assert_ok!(Learning::commit_audit(signed(holder.account), id, hidden));
    }
}

fn reveal_all(id: AuditId, finds: Finds) {
    for holder in audit(id).holders {
        let (evidence, bindings) = found(id, holder.account, finds);
        assert_ok!(Learning::reveal_sketches(signed(holder.account), id, evidence, bindings, SALT));
    }
    assert_eq!(audit(id).stage, Stage::Settle);
}

/// Takes an audit from its draw to settling.
fn look_into(id: AuditId, finds: Finds) {
    let trainers: Vec<_> = audit(id).cases.iter().map(|case| case.trainer).collect();
    serve(id, &trainers);
    commit_all(id, finds);
    for trainer in trainers {
        assert_ok!(Learning::open_sketches(signed(trainer), id, opened(id, trainer)));
        assert_event(Event::SegmentsOpened { audit: id, account: trainer });
    }
    reveal_all(id, finds);
}

fn paid_seats() -> Vec<AccountId> {
    let earned: Vec<(AccountId, RoundEarnings)> = Earnings::get().pop().unwrap().1;
    earned.into_iter().filter(|(_, earned)| earned.seats > 0).map(|(account, _)| account).collect()
}

#[test]
fn what_is_within_the_tolerance_is_valid_and_earns() {
    natively(|| {
        let id = audited(&[1]);
        let panel = panel(id, 1);
        look_into(id, HONESTLY);
        assert_eq!(
            Learning::audit_response(id, &1).unwrap().sketched[0],
            opened(id, 1)[0].0,
            "peers read what they fetch"
        );
        settle(id, 1);
        assert_event(Event::Settled {
            audit: id,
            account: 1,
            round: 1,
            outcome: Outcome::Valid,
            score: 1_000,
        });
        assert_eq!((kept(1, 1).gain, paid_seats(), Trainers::get(1)), (1_000, panel, Some(10)));
        assert!(
            Earnings::get()[0]
                .1
                .iter()
                .any(|(account, earned)| *account == 1 && earned.training > 0)
        );
        assert_eq!(
            (
                Findings::<Test>::iter().count(),
                AuditResponses::<Test>::iter().count(),
                Audits::<Test>::count()
            ),
            (0, 0, 0)
        );
    });
}

#[test]
fn what_is_beyond_the_tolerance_costs_the_bond() {
    natively(|| {
        let id = audited(&[1, 2]);
        let finds: Finds =
            &|_, trainer| (Some(if trainer == 1 { FAR } else { NEAR }), Binding::Bound);
        look_into(id, finds);
        settle(id, 2);
        let (again, seated) = draw_twice(id, finds);
        assert_event(Event::Settled {
            audit: again,
            account: 1,
            round: 1,
            outcome: Outcome::Invalid,
            score: 0,
        });
        assert_eq!((Trainers::get(1), paid_seats(), Fines::get()), (Some(2), seated, vec![8]));
        assert_eq!((kept(1, 2).outcome, Trainers::get(2)), (Outcome::Valid, Some(10)));
    });
}

#[test]
fn a_sketch_of_something_else_than_the_leaf_is_invalid() {
    natively(|| {
        let id = audited(&[1]);
        let finds: Finds = &|_, _| (Some(NEAR), Binding::Mismatch);
        look_into(id, finds);
        let (_, seated) = draw_twice(id, finds);
        assert_eq!(
            (kept(1, 1).outcome, Trainers::get(1), paid_seats()),
            (Outcome::Invalid, Some(2), seated)
        );
    });
}

/// Settles the first trainer's update, which a seat objects to, by a second draw. Returns the
/// number of the second audit and the validators with seats in either.
fn draw_twice(id: AuditId, finds: Finds) -> (AuditId, Vec<AccountId>) {
    let mut seated = panel(id, 1);
    settle(id, 1);
    run(AGAIN);
    let again = NextAudit::<Test>::get() - 1;
    look_into(again, finds);
    seated.extend(panel(again, 1));
    seated.sort_unstable();
    seated.dedup();
    settle(again, 1);
    (again, seated)
}

#[test]
fn a_state_that_no_seat_can_fetch_is_withheld() {
    natively(|| {
        let id = audited(&[1]);
        let finds: Finds = &|_, _| (Some(NEAR), Binding::Unavailable);
        look_into(id, finds);
        draw_twice(id, finds);
        assert_eq!(
            (kept(1, 1).outcome, Trainers::get(1), paid_seats()),
            (Outcome::Withheld, Some(6), vec![])
        );
    });
}

#[test]
fn a_state_with_other_steps_or_feedback_cannot_be_opened() {
    for forged in [(1, 0), (0, 1)] {
        natively(|| {
            (1..=5).for_each(|trainer| Forged::insert(trainer, forged));
            let id = audited(&[1, 2, 3, 4, 5]);
            // The hash of a fresh start's feedback is not known, so seats compare the feedback.
            let cheat = (1..=5).find(|&trainer| case(id, trainer).0.segments[0] > 0).unwrap();
            serve(id, &[1, 2, 3, 4, 5]);
            commit_all(id, HONESTLY);
            assert_noop!(
                Learning::open_sketches(signed(cheat), id, opened(id, cheat)),
                Error::<Test>::DoesNotFollow
            );
            run(AUDITS.open);
            reveal_all(id, HONESTLY);
            settle(id, cheat);
            assert_eq!(
                (kept(1, cheat).outcome, Trainers::get(cheat)),
                (Outcome::Withheld, Some(6))
            );
        });
    }
}

#[test]
fn an_opened_state_is_that_of_the_leaf() {
    natively(|| {
        let id = audited(&[1]);
        serve(id, &[1]);
        commit_all(id, HONESTLY);
        let mut ends = opened(id, 1).into_inner();
        ends[0].0.state.root = [9; 32];
        let refused = |ends: Vec<_>, error: Error<Test>| {
            assert_noop!(Learning::open_sketches(signed(1), id, ends.try_into().unwrap()), error);
        };
        refused(ends, Error::WrongProof);
        refused(vec![], Error::WrongEnds);
        assert_noop!(
            Learning::open_sketches(signed(2), id, opened(id, 1)),
            Error::<Test>::NotUnderAudit
        );
    });
}

#[test]
fn a_seat_that_copies_is_not_paid() {
    natively(|| {
        all_three();
        let id = audited(&[1]);
        // Before it commits, a copier knows only sketches of other segments, which are far from
        // this one. The bindings of others are public, and do not help it.
        let finds: Finds =
            &|validator, _| (Some(if validator == 13 { -OPENED } else { NEAR }), Binding::Bound);
        look_into(id, finds);
        let (again, _) = draw_twice(id, finds);
        assert_event(Event::SeatFailed { audit: again, account: 13, trainer: 1 });
        assert_eq!(
            (kept(1, 1).outcome, paid_seats(), Strikes::get(13)),
            (Outcome::Valid, vec![11, 12], 0)
        );
    });
}

#[test]
fn a_seat_that_could_not_check_is_silent_and_not_wrong() {
    natively(|| {
        all_three();
        let id = audited(&[1]);
        let is_cut_off = |validator| validator == 13;
        look_into(id, &|validator, _| {
            let binding = if is_cut_off(validator) { Binding::Unchecked } else { Binding::Bound };
            (Some(NEAR), binding)
        });
        settle(id, 1);
        assert_eq!(
            (kept(1, 1).outcome, paid_seats(), Strikes::get(13)),
            (Outcome::Valid, vec![11, 12], 1)
        );
    });
}

#[test]
fn a_commitment_hides_no_later_sketch() {
    natively(|| {
        all_three();
        let id = audited(&[1]);
        serve(id, &[1]);
        commit_all(id, HONESTLY);
        assert_ok!(Learning::open_sketches(signed(1), id, opened(id, 1)));
        let exactly = found(id, 13, &|_, _| (Some(OPENED), Binding::Bound));
        let call = Learning::reveal_sketches(signed(13), id, exactly.0, exactly.1, SALT);
        assert_noop!(call, Error::<Test>::WrongEvidence);
    });
}

#[test]
fn replays_of_different_things_lead_to_a_second_draw_of_the_same_segment() {
    natively(|| {
        let config = AuditConfig { segments: 4, ..AUDITS };
        assert_ok!(Learning::set_audits(RuntimeOrigin::root(), config));
        let id = audited(&[1]);
        assert_eq!(case(id, 1).0.segments.len(), 1, "segments of one draw do not touch");
        let first = case(id, 1).0.segments[0];
        let other = panel(id, 1)[0];
        look_into(id, &|validator, _| {
            (Some(if validator == other { FAR } else { NEAR }), Binding::Bound)
        });
        settle(id, 1);
        assert_event(Event::Undecided { audit: id, account: 1, round: 1 });
        run(AGAIN);
        let again = case(id + 1, 1).0;
        assert_eq!(again.segments.to_vec(), [first]);
        look_into(id + 1, HONESTLY);
        settle(id + 1, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Valid);
    });
}

#[test]
fn each_profile_has_its_own_calls() {
    natively(|| {
        let id = audited(&[1]);
        serve(id, &[1]);
        let validator = panel(id, 1)[0];
        let exact = found(id, validator, &|_, _| (None, Binding::Bound));
        for holder in audit(id).holders {
            let (native, _) = found(id, holder.account, HONESTLY);
            let evidence = if holder.account == validator { &exact.0 } else { &native };
            assert_ok!(Learning::commit_audit(
                signed(holder.account),
                id,
                hide(id, holder.account, evidence)
            ));
        }
        let ends = BoundedVec::try_from(ends(id, 1)).unwrap();
        assert_noop!(Learning::open_segments(signed(1), id, ends), Error::<Test>::OtherProfile);
        assert_ok!(Learning::open_sketches(signed(1), id, opened(id, 1)));
        let bits = Learning::reveal_sketches(signed(validator), id, exact.0, exact.1, SALT);
        assert_noop!(bits, Error::<Test>::BadEvidence);
        let second = panel(id, 1)[1];
        let (evidence, bindings) = found(id, second, HONESTLY);
        let unbound = Learning::reveal_audit(signed(second), id, evidence.clone(), SALT);
        assert_noop!(unbound, Error::<Test>::OtherProfile);
        let mut more = bindings.to_vec();
        more.push(Binding::Bound);
        let call = Learning::reveal_sketches(
            signed(second),
            id,
            evidence,
            BoundedVec::truncate_from(more),
            SALT,
        );
        assert_noop!(call, Error::<Test>::OtherProfile);
    });
    in_round_one(|| {
        let id = audited(&[1]);
        serve(id, &[1]);
        for holder in audit(id).holders {
            let hidden = hide(id, holder.account, &evidence(id, holder.account, HONEST));
            assert_ok!(Learning::commit_audit(signed(holder.account), id, hidden));
        }
        assert_noop!(
            Learning::open_sketches(signed(1), id, opened(id, 1)),
            Error::<Test>::OtherProfile
        );
        open(id, &[1]);
        let validator = panel(id, 1)[0];
        let bindings = found(id, validator, HONESTLY).1;
        let call = Learning::reveal_sketches(
            signed(validator),
            id,
            evidence(id, validator, HONEST),
            bindings,
            SALT,
        );
        assert_noop!(call, Error::<Test>::OtherProfile);
    });
}
