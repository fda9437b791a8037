// SPDX-License-Identifier: Apache-2.0

//! Updates that the first draw leaves undecided, and panels of few validators.

use super::{assert_gone, earned};
use crate::{mock::*, pallet::*};
use pol_primitives::{
    BoundedVec,
    audit::{AuditConfig, Finding, PendingAudit, Stage},
    head::Excision,
    submission::{Outcome, SubmissionStatus},
    traits::ShardPool,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

#[test]
fn a_second_draw_decides_on_fresh_segments() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        let first = case(id, 1).0;
        let accuser = panel(id, 1)[0];
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
        let waiting = PendingAudit {
            round: 1,
            draw: 1,
            trainer: 1,
            index: 0,
            segments: 4,
            known: BoundedVec::try_from(known.clone()).unwrap(),
        };
        assert_eq!(UndrawnUpdates::<Test>::get().to_vec(), [(waiting, System::block_number())]);
        assert_eq!((Earnings::get().len(), Fines::get().len(), Trainings::get().len()), (0, 0, 0));
        assert!(VALIDATORS.iter().all(|(validator, _)| Strikes::get(validator) == 0));
        assert_eq!(Learning::submissions(1)[0].1.status, SubmissionStatus::Included);
        assert_eq!((Learning::audit_response(id, &1), Excisions::<Test>::get().len()), (None, 0));
        assert_noop!(Learning::settle(signed(9), id, 1), Error::<Test>::AlreadySettled);
        settle(id, 2);
        assert_event(Event::AuditEnded { audit: id });

        run(1);
        let again = id + 1;
        assert_event(Event::AuditDrawn { audit: again, round: 1, draw: 1, cases: 1 });
        assert_eq!((audit(again).draw, panel(again, 1)), (1, vec![11, 12, 13]));
        let second = case(again, 1).0;
        assert_eq!((second.index, second.segments.len()), (0, 1));
        assert!(second.opened_leaves().iter().all(|leaf| !known.contains(leaf)));
        examine(again, HONEST);
        settle(again, 1);
        assert_gone(again, 1, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Valid);
        let seats = earned().iter().filter(|(_, earned)| earned.seats == 1).count();
        assert_eq!((seats, Earnings::get().len(), Fines::get().len()), (3, 2, 0));
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
            run(1);
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
fn a_second_draw_takes_known_segments_where_there_are_no_others() {
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
        run(1);
        let second = case(id + 1, 1).0;
        assert_eq!((second.segments.to_vec(), second.served_leaves()), (vec![0, 1, 2, 3], vec![0]));
        examine(id + 1, HONEST);
        settle(id + 1, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Valid);
    });
}

#[test]
fn a_second_draw_waits_for_room() {
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
        let waiting = |round| PendingAudit {
            round,
            draw: 1,
            trainer: 1,
            index: 0,
            segments: 4,
            known: BoundedVec::new(),
        };
        UndrawnUpdates::<Test>::put(
            BoundedVec::try_from((100..164).map(|round| (waiting(round), 0)).collect::<Vec<_>>())
                .unwrap(),
        );
        assert_noop!(Learning::settle(signed(9), id, 1), Error::<Test>::TooManyUndrawn);
        run(1);
        settle(id, 1);
        assert_eq!(UndrawnUpdates::<Test>::get().len(), 64);
    });
}

#[test]
fn a_single_validator_is_a_quorum() {
    in_round_one(|| {
        VALIDATORS[1..].iter().for_each(|(account, _)| Validators::remove(account));
        train(&[1, 2]);
        assert_ok!(Learning::attest_head(signed(11), 1, [5; 32], included(&[0, 1])));
        run(1);
        assert_eq!((panel(0, 1), audit(0).holders.len()), (vec![11], 1));
        examine(0, &|_, trainer| (trainer == 2).then_some(Finding::Impossible));
        settle(0, 1);
        settle(0, 2);
        assert_eq!((kept(1, 1).outcome, kept(1, 2).outcome), (Outcome::Valid, Outcome::Invalid));
        assert_eq!(Fines::get(), [(8, vec![11])]);
    });
}

#[test]
fn no_validator_audits_itself() {
    in_round_one(|| {
        // The only validator trains as well, so there is no other to audit it.
        VALIDATORS[1..].iter().for_each(|(account, _)| Validators::remove(account));
        Trainers::insert(11, 10);
        train(&[11]);
        assert_ok!(Learning::attest_head(signed(11), 1, [5; 32], included(&[0])));
        run(1);
        for id in [0, 1] {
            assert!(audit(id).holders.is_empty());
            serve(id, &[11]);
            assert_eq!(audit(id).stage, Stage::Open, "there is no seat to wait for");
            open(id, &[11]);
            settle(id, 11);
            run(1);
        }
        assert_eq!(
            (kept(1, 11).outcome, Earnings::get()),
            (Outcome::Unresolved, vec![(1, vec![])])
        );
    });
}
