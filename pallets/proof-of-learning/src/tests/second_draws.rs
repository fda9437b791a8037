// SPDX-License-Identifier: Apache-2.0

//! Updates that the first draw does not acquit, and panels of few validators.

use super::{all_three, assert_gone, earned, seats_only};
use crate::{mock::*, pallet::*, types::SECOND_DRAW_WAIT};
use pol_primitives::{
    BoundedVec,
    audit::{AuditConfig, EarlierSeat, Finding, PendingAudit, Stage, Verdict},
    head::Excision,
    submission::{Outcome, SubmissionStatus},
    traits::{Bonds, ShardPool},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

#[test]
fn a_second_draw_decides_on_the_disputed_segments_and_fresh_ones() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        let first = case(id, 1).0;
        let seated = panel(id, 1);
        let accuser = seated[0];
        examine(id, &|validator, trainer| {
            (validator == accuser && trainer == 1).then(|| other(id, trainer))
        });
        let events = |event: Event<Test>| {
            System::events().iter().filter(|record| record.event == event.clone().into()).count()
        };
        settle(id, 1);
        assert_eq!(events(Event::Undecided { audit: id, account: 1, round: 1 }), 1);
        let known: Vec<u16> =
            first.served_leaves().into_iter().chain(first.opened_leaves()).collect();
        let earlier: Vec<_> = first
            .seats
            .iter()
            .map(|&place| audit(id).holders[usize::from(place)].account)
            .map(|account| EarlierSeat {
                account,
                opinion: Some(if account == accuser { Verdict::Invalid } else { Verdict::Valid }),
            })
            .collect();
        let waiting = PendingAudit {
            draw: 1,
            known: BoundedVec::try_from(known.clone()).unwrap(),
            disputed: first.segments.clone(),
            earlier: BoundedVec::try_from(earlier).unwrap(),
            ..PendingAudit::first(1, 1, 0, 4)
        };
        assert_eq!(UndrawnUpdates::<Test>::get().to_vec(), [(waiting, System::block_number())]);
        assert_eq!((Earnings::get().len(), Fines::get().len(), Trainings::get().len()), (0, 0, 0));
        assert!(VALIDATORS.iter().all(|(validator, _)| Strikes::get(validator) == 0));
        assert_eq!(Learning::submissions(1)[0].1.status, SubmissionStatus::Included);
        assert_eq!((Learning::audit_response(id, &1), Excisions::<Test>::get().len()), (None, 0));
        assert_noop!(weightless(Learning::settle(signed(9), id, 1)), Error::<Test>::AlreadySettled);
        settle(id, 2);
        assert_event(Event::AuditEnded { audit: id });

        run(AGAIN);
        let again = id + 1;
        assert_event(Event::AuditDrawn { audit: again, round: 1, draw: 1, cases: 1 });
        let mut judged = panel(again, 1);
        assert_eq!((audit(again).draw, case(again, 1).0.seats.len()), (1, 3));
        let second = case(again, 1).0;
        assert_eq!((second.index, second.segments.len()), (0, 2));
        assert!(second.segments.contains(&first.segments[0]));
        let fresh = second.opened_leaves().into_iter().filter(|leaf| !known.contains(leaf));
        assert_eq!(fresh.count(), 1);
        examine(again, HONEST);
        settle(again, 1);
        assert_gone(again, 1, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Valid);
        // One replay is one seat. The accuser has failed, even if it sits again and is right now.
        judged.extend(seated);
        judged.retain(|account| *account != accuser);
        judged.sort_unstable();
        judged.dedup();
        let paid: Vec<_> = earned().into_iter().filter(|(_, earned)| earned.seats > 0).collect();
        assert_eq!(paid, seats_only(&judged));
        assert_eq!((Earnings::get().len(), Fines::get()), (2, vec![5]));
    });
}

#[test]
fn a_bond_that_changes_after_a_dispute_changes_no_seat_of_the_second_draw() {
    in_round_one(|| {
        let id = audited(&[1]);
        let accuser = panel(id, 1)[0];
        examine(id, &|validator, trainer| (validator == accuser).then(|| other(id, trainer)));
        settle(id, 1);
        let held = SeatStakes::<Test>::get((1, 1));
        assert_eq!(held.to_vec(), Stakes::stakes());
        // With nearly all stake it would have nearly all seats.
        let (validator, stake) = held[0];
        Validators::insert(validator, 1_000_000 * stake);
        run(AGAIN);
        let drawn = audit(id + 1);
        assert!(drawn.holders.len() > 1, "{:?}", drawn.holders);
        assert_eq!(SeatStakes::<Test>::iter().count(), 0);
        Validators::insert(validator, stake);
    });
}

#[test]
fn an_update_undecided_twice_is_taken_out_without_blame() {
    in_round_one(|| {
        audited(&[1]);
        for (id, draw) in [(0, 0), (1, 1)] {
            let panel = panel(id, 1);
            examine(
                id,
                &|validator, trainer| match panel.iter().position(|seat| *seat == validator) {
                    Some(0) => None,
                    Some(1) => Some(other(id, trainer)),
                    _ => Some(Finding::Impossible),
                },
            );
            assert_eq!(audit(id).draw, draw);
            settle(id, 1);
            run(AGAIN);
        }
        assert_event(Event::Settled {
            audit: 1,
            account: 1,
            round: 1,
            outcome: Outcome::Unresolved,
            score: 0,
        });
        assert_gone(1, 1, 1);
        assert_eq!((kept(1, 1).outcome, Trainers::get(1)), (Outcome::Unresolved, Some(10)));
        assert_eq!(
            (Earnings::get(), Fines::get(), Forfeits::get(), Trainings::get()),
            (vec![(1, vec![])], vec![], vec![], vec![])
        );
        assert_eq!((Shards::free_shards(), Consumed::get().len()), (SHARDS, 0));
        assert_eq!(Excisions::<Test>::get()[0].0, Excision { round: 1, index: 0 });
        assert_eq!(Learning::standing(&1).carry, [0; 32]);
        assert!(VALIDATORS.iter().all(|(validator, _)| Strikes::get(validator) == 0));
    });
}

#[test]
fn a_second_draw_takes_only_known_segments_where_there_are_no_others() {
    in_round_one(|| {
        assert_ok!(Learning::set_audits(
            RuntimeOrigin::root(),
            AuditConfig { segments: 4, ..AUDITS }
        ));
        let id = audited(&[1]);
        run(1);
        let seat = panel(id, 1)[0];
        examine(id, &|validator, trainer| (validator == seat).then(|| other(id, trainer)));
        settle(id, 1);
        run(AGAIN);
        let second = case(id + 1, 1).0;
        assert_eq!((second.segments.to_vec(), second.served_leaves()), (vec![0, 1, 2, 3], vec![0]));
        examine(id + 1, HONEST);
        settle(id + 1, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Valid);
    });
}

/// Examines an update without a verdict while 64 others wait for `draw`. Runs `then` with the
/// audit's number.
fn undecided_beside(draw: u8, then: impl FnOnce(u32)) {
    let mut chain = chain(Some(recipe()));
    chain.execute_with(|| {
        run(1);
        attest_initial();
        run(1);
        let id = audited(&[1]);
        serve(id, &[1]);
        for validator in panel(id, 1) {
            assert_ok!(Learning::commit_audit(signed(validator), id, [0; 32]));
        }
        open(id, &[1]);
        run(AUDITS.reveal);
        let waiting = |round| PendingAudit { draw, ..PendingAudit::first(round, 1, 0, 4) };
        UndrawnUpdates::<Test>::put(
            BoundedVec::try_from((100..164).map(|round| (waiting(round), 0)).collect::<Vec<_>>())
                .unwrap(),
        );
        then(id);
    });
}

#[test]
fn a_second_draw_waits_for_room() {
    undecided_beside(1, |id| {
        assert_noop!(weightless(Learning::settle(signed(9), id, 1)), Error::<Test>::TooManyUndrawn);
        run(1);
        settle(id, 1);
        assert_eq!(UndrawnUpdates::<Test>::get().len(), 64);
    });
}

#[test]
fn first_draws_take_no_room_of_second_ones() {
    undecided_beside(0, |id| {
        settle(id, 1);
        assert_eq!((Learning::waiting(0), Learning::waiting(1)), (64, 1));
        assert!(!Learning::is_behind(), "those of one head wait");
    });
}

#[test]
fn one_second_draw_has_all_updates_of_its_round() {
    in_round_one(|| {
        all_three();
        let id = audited(&[1, 2]);
        examine(id, &|validator, trainer| (validator == 13).then(|| other(id, trainer)));
        settle(id, 1);
        run(AGAIN);
        assert_event(Event::AuditDrawn { audit: id + 1, round: 1, draw: 1, cases: 1 });
        settle(id, 2);
        run(AGAIN);
        assert_event(Event::AuditDrawn { audit: id + 2, round: 1, draw: 1, cases: 1 });
    });
    in_round_one(|| {
        all_three();
        let id = audited(&[1, 2]);
        examine(id, &|validator, trainer| (validator == 13).then(|| other(id, trainer)));
        settle(id, 1);
        run(SECOND_DRAW_WAIT);
        settle(id, 2);
        run(1);
        assert_event(Event::AuditDrawn { audit: id + 1, round: 1, draw: 1, cases: 2 });
        assert!(!UndrawnUpdates::<Test>::exists());
    });
}

#[test]
fn first_draws_do_not_wait_behind_second_ones() {
    in_round_one(|| {
        all_three();
        let id = audited(&[1]);
        examine(id, &|validator, trainer| (validator == 13).then(|| other(id, trainer)));
        settle(id, 1);
        let next = audited(&[2]);
        assert_eq!((audit(next).draw, audit(next).round), (0, 2));
        assert_eq!(UndrawnUpdates::<Test>::get().len(), 1);
        run(AGAIN);
        assert_eq!((audit(next + 1).draw, audit(next + 1).round), (1, 1));
    });
}

#[test]
fn a_single_validator_is_a_quorum() {
    in_round_one(|| {
        VALIDATORS[1..].iter().for_each(|(account, _)| Validators::remove(account));
        train(&[1, 2]);
        assert_ok!(attest(11, [5; 32]));
        run(1);
        assert_eq!((panel(0, 1), audit(0).holders.len()), (vec![11], 1));
        examine(0, &|_, trainer| (trainer == 2).then_some(Finding::Impossible));
        settle(0, 1);
        let (again, seated) = convict(0, 2, &|_, _| Some(Finding::Impossible));
        assert_eq!((again, seated), (1, vec![11]));
        assert_eq!((kept(1, 1).outcome, kept(1, 2).outcome), (Outcome::Valid, Outcome::Invalid));
        assert_eq!((Fines::get(), earned()), (vec![8], seats_only(&[11])));
    });
}

#[test]
fn no_validator_audits_itself() {
    in_round_one(|| {
        // The only validator trains as well, so there is no other to audit it.
        VALIDATORS[1..].iter().for_each(|(account, _)| Validators::remove(account));
        Trainers::insert(11, 10);
        train(&[11]);
        assert_ok!(attest(11, [5; 32]));
        run(1);
        for id in [0, 1] {
            assert!(audit(id).holders.is_empty());
            serve(id, &[11]);
            assert_eq!(audit(id).stage, Stage::Open, "there is no seat to wait for");
            open(id, &[11]);
            settle(id, 11);
            run(AGAIN);
        }
        assert_eq!(
            (kept(1, 11).outcome, Earnings::get()),
            (Outcome::Unresolved, vec![(1, vec![])])
        );
    });
}

#[test]
fn a_first_draw_convicts_nobody_though_all_its_seats_agree() {
    in_round_one(|| {
        let id = audited(&[1]);
        examine(id, &|_, _| Some(Finding::Impossible));
        settle(id, 1);
        assert_event(Event::Undecided { audit: id, account: 1, round: 1 });
        assert_eq!((Trainers::get(1), Fines::get(), Forfeits::get()), (Some(10), vec![], vec![]));
        let again = examine_again(1, HONEST);
        settle(again, 1);
        assert_eq!((kept(1, 1).outcome, Trainers::get(1)), (Outcome::Valid, Some(10)));
    });
}

#[test]
fn a_silent_seat_is_no_objection() {
    in_round_one(|| {
        all_three();
        let id = audited(&[1]);
        serve(id, &[1]);
        for validator in [11, 12] {
            let hidden = hide(id, validator, &evidence(id, validator, HONEST));
            assert_ok!(Learning::commit_audit(signed(validator), id, hidden));
        }
        run(AUDITS.replay);
        open(id, &[1]);
        for validator in [11, 12] {
            let found = evidence(id, validator, HONEST);
            assert_ok!(Learning::reveal_audit(signed(validator), id, found, SALT));
        }
        settle(id, 1);
        assert_eq!((kept(1, 1).outcome, Strikes::get(13)), (Outcome::Valid, 1));
    });
}

#[test]
fn a_cheat_does_not_escape_by_falling_silent_after_the_first_draw() {
    // The first number is of the seats that accuse it, the last the bond that is left.
    for (accusers, outcome, left) in [(3, Outcome::Invalid, 2), (1, Outcome::Withheld, 6)] {
        in_round_one(|| {
            all_three();
            let id = audited(&[1]);
            examine(id, &|validator, _| (validator < 11 + accusers).then_some(Finding::Impossible));
            settle(id, 1);
            run(AGAIN + AUDITS.serve);
            settle(id + 1, 1);
            assert_eq!((kept(1, 1).outcome, Trainers::get(1)), (outcome, Some(left)));
            assert_eq!(Earnings::get(), [(1, vec![])]);
            assert!(VALIDATORS.iter().all(|(validator, _)| Strikes::get(validator) == 0));
        });
    }
}

/// Validator with four times the stake of the others in a crowd: 20,304 of 520,304.
const GIANT: AccountId = 1_000;

/// Adds the giant and 100 validators of 5,000, or takes them out.
fn crowd(is_present: bool) {
    let stakes = (1..=100).map(|at| (GIANT + at, 5_000));
    for (account, stake) in stakes.chain([(GIANT, 20_304)]) {
        Validators::set(account, is_present.then_some(stake));
    }
}

#[test]
fn a_giant_among_many_decides_no_case_and_earns_by_none() {
    in_round_one(|| {
        let config = AuditConfig { seats: 3, more_seats: 16, ..AUDITS };
        assert_ok!(Learning::set_audits(RuntimeOrigin::root(), config));
        let trainers: Vec<_> = TRAINERS.collect();
        let lies: Find = &|validator, trainer| {
            (validator == GIANT).then(|| other(NextAudit::<Test>::get() - 1, trainer))
        };
        let mut seated = 0;
        for number in 1..=6 {
            train(&trainers);
            // The head's count has begun. Seats are drawn from the stakes at its end.
            crowd(true);
            adopt([number as u8 + 10; 32]);
            run(1);
            let id = NextAudit::<Test>::get() - 1;
            examine(id, lies);
            let accused: Vec<_> = trainers
                .iter()
                .copied()
                .filter(|&trainer| panel(id, trainer).contains(&GIANT))
                .collect();
            seated += accused.len();
            trainers.iter().for_each(|&trainer| settle(id, trainer));
            if !accused.is_empty() {
                run(AGAIN);
                let again = NextAudit::<Test>::get() - 1;
                examine(again, lies);
                accused.iter().for_each(|&trainer| settle(again, trainer));
            }
            crowd(false);
            for &trainer in &trainers {
                assert_eq!(kept(number, trainer).outcome, Outcome::Valid);
            }
        }
        // It would be alone on each of these by votes that weigh stake: 67.003 % of three seats.
        assert!(seated >= 3, "{seated}");
        assert!(trainers.iter().all(|trainer| Trainers::get(trainer) == Some(10)));
        assert_eq!(
            (Forfeits::get(), Fines::get().iter().all(|fine| fine % 5 == 0)),
            (vec![], true)
        );
        let paid = Earnings::get().into_iter().flat_map(|(_, earned)| earned);
        assert!(paid.into_iter().all(|(account, _)| account != GIANT));
    });
}
