//! What follows from audits: in the model, in storage and in money.

use crate::{mock::*, pallet::*};
use codec::MaxEncodedLen;
use pol_primitives::{
    BoundedVec, Hash,
    audit::{AuditConfig, Excision, Finding, Measure, Stage, Undrawn as Waiting, weight},
    head::Head,
    recipe::Tier,
    rewards::Earned,
    round::Phase,
    submission::{Outcome, Settled, Status},
    traits::ShardPool,
    view::Standing,
};
use polkadot_sdk::{
    frame_support::{
        assert_noop, assert_ok,
        dispatch::{GetDispatchInfo, Pays},
        storage::storage_prefix,
        traits::PalletInfoAccess,
    },
    sp_io,
};

const SEAT: Earned = Earned { training: 0, seats: 1, shards: 0 };
/// Score 600 of 8,192 tokens, at a bonus of 900,000 and a quality of 800,000 millionths.
const WORTH: u128 = 600 * 8_192 * 720_000;

fn all_three() {
    let config = AuditConfig { seats: 3, more_seats: 4, ..AUDITS };
    assert_ok!(Learning::set_audits(RuntimeOrigin::root(), config));
}

/// Nothing is left of the audit and its update but what is kept for good.
#[track_caller]
fn assert_gone(id: u32, round: u32, trainer: AccountId) {
    assert_eq!((Audits::<Test>::get(id), Learning::shown(id, &trainer)), (None, None));
    assert_eq!(
        (Commits::<Test>::iter_prefix(id).count(), Findings::<Test>::iter_prefix(id).count()),
        (0, 0)
    );
    assert_eq!(
        (Submissions::<Test>::get(round, trainer), Learning::audited_lease(round, &trainer)),
        (None, None)
    );
    assert!(!Undrawn::<Test>::exists());
}

/// What was earned by the update settled last.
fn earned() -> Vec<(AccountId, Earned)> {
    Earnings::get().pop().unwrap().1
}

fn seats_only(panel: &[AccountId]) -> Vec<(AccountId, Earned)> {
    panel.iter().map(|&account| (account, SEAT)).collect()
}

/// Everybody finds this, about whatever update.
fn all(finding: Finding) -> impl Fn(AccountId, AccountId) -> Option<Finding> {
    move |_, _| Some(finding.clone())
}

#[test]
fn a_valid_update_stays_and_earns() {
    in_round_one(|| {
        train(&[1]);
        let lease = lease_of(1);
        let opened = Learning::submissions(1)[0].1.opened.unwrap();
        adopt([5; 32], &[0]);
        run(1);
        let (audit, panel) = (audit(0), panel(0, 1));
        examine(0, HONEST);
        settle(0, 1);
        assert_event(Event::Settled {
            audit: 0,
            account: 1,
            round: 1,
            outcome: Outcome::Valid,
            score: 600,
        });
        assert_event(Event::AuditEnded { audit: 0 });
        assert_gone(0, 1, 1);

        let settled = Settled {
            outcome: Outcome::Valid,
            tier: Tier::Participant,
            staleness: 0,
            index: 0,
            payload_hash: opened.payload_hash,
            data_hash: lease.data_hash(),
            tokens: 8_192,
            gain: 1_000,
            error: 200,
        };
        assert_eq!(Learning::history(1), [(1, settled)]);
        let consumed: Vec<_> = lease
            .shards
            .iter()
            .enumerate()
            .map(|(at, &shard)| (shard, 1, 0, 100 + at as i32))
            .collect();
        assert_eq!(Consumed::get(), consumed);
        assert_eq!(Shards::free(), SHARDS - 8);
        assert!(
            audit.probe.iter().all(|shard| FreeShards::get().contains(shard)),
            "the probe was only looked at"
        );

        assert_eq!(weight(600, 8_192, BONUS, 800_000), WORTH);
        let mut expected = seats_only(&panel);
        expected.insert(0, (1, Earned { training: WORTH, ..Default::default() }));
        expected.extend(
            Shards::owners(&lease.shards)
                .into_iter()
                .map(|(owner, shards)| (owner, Earned { shards, ..Default::default() })),
        );
        assert_eq!(Earnings::get(), [(1, expected)]);
        assert_eq!(
            (Trainings::get(), Fines::get(), Forfeits::get()),
            (vec![(1, true)], vec![], vec![])
        );
        assert!(panel.iter().all(|validator| Strikes::get(validator) == 0));
        // (7 · 0 + 1,500 + 2 · 200 - 1,000) / 8
        let standing = Standing {
            nonce: 1,
            carry: opened.carry_hash,
            carry_round: 1,
            valid: 1,
            advantage: 112,
        };
        assert_eq!(Learning::standing(&1), standing);
        assert_eq!((Trainers::get(1), Excisions::<Test>::get().len()), (Some(10), 0));
    });
}

#[test]
fn a_lease_is_concluded_before_or_with_the_settlement() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_eq!((Learning::lease(&1), AuditedLeases::<Test>::iter().count()), (None, 1));
        examine(id, HONEST);
        System::reset_events();
        settle(id, 1);
        let concluded =
            |account| Event::Concluded { account, round: 1, status: Some(Status::Included) };
        assert!(!System::events().iter().any(|record| record.event == concluded(1).into()));
        let lease = lease_of(2);
        settle(id, 2);
        assert_event(concluded(2));
        assert_eq!((Learning::lease(&2), AuditedLeases::<Test>::iter().count()), (None, 0));
        assert_eq!(Learning::standing(&2).carry_round, 1);
        assert_eq!(Consumed::get().len(), 16);
        assert_eq!(lease.data_hash(), kept(1, 2).data_hash);
    });
}

#[test]
fn who_gains_nothing_on_its_own_text_is_not_paid() {
    in_round_one(|| {
        let id = audited(&[1]);
        assert_ok!(Learning::conclude(signed(1), 1));
        Standings::<Test>::mutate(1, |standing| (standing.valid, standing.advantage) = (7, -1_000));
        let panel = panel(id, 1);
        examine(id, HONEST);
        settle(id, 1);
        assert!(Learning::standing(&1).is_flagged());
        assert_eq!(
            (kept(1, 1).outcome, Consumed::get().len()),
            (Outcome::Valid, 8),
            "it is part of the model all the same"
        );
        assert!(earned().iter().all(|(account, earned)| *account != 1 && earned.training == 0));
        assert!(panel.iter().all(|validator| earned().contains(&(*validator, SEAT))));
    });
}

#[test]
fn an_update_that_helps_nobody_earns_nothing() {
    in_round_one(|| {
        let id = audited(&[1]);
        let useless = |_, trainer| match finding(0, trainer) {
            Finding::Replayed { ends, packed, measure } => {
                Some(Finding::Replayed { ends, packed, measure: Measure { gain: 399, ..measure } })
            }
            _ => None,
        };
        examine(id, &useless);
        settle(id, 1);
        assert_event(Event::Settled {
            audit: id,
            account: 1,
            round: 1,
            outcome: Outcome::Valid,
            score: 0,
        });
        assert_eq!((kept(1, 1).gain, kept(1, 1).error), (399, 200));
        assert!(earned().iter().all(|(account, _)| *account != 1));
    });
}

#[test]
fn what_replays_to_something_else_costs_the_bond_and_all_in_escrow() {
    for kind in 0..3 {
        in_round_one(|| {
            let id = audited(&[1, 2]);
            let panel = panel(id, 1);
            let find = |_, trainer| match (kind, finding(id, trainer)) {
                _ if trainer == 2 => None,
                (0, _) => Some(other(id, trainer)),
                (1, Finding::Replayed { ends, measure, .. }) => {
                    Some(Finding::Replayed { ends, packed: false, measure })
                }
                _ => Some(Finding::Impossible),
            };
            examine(id, &find);
            settle(id, 1);
            assert_event(Event::Settled {
                audit: id,
                account: 1,
                round: 1,
                outcome: Outcome::Invalid,
                score: 0,
            });
            assert_event(Event::Fined { audit: id, account: 1, amount: 8 });
            assert_eq!(Trainers::get(1), Some(2));
            assert_eq!(
                (Fines::get(), Forfeits::get()),
                (vec![(8, panel.clone())], vec![(1, panel.clone())])
            );
            assert_eq!(
                (Trainings::get(), Earnings::get()),
                (vec![(1, false)], vec![(1, seats_only(&panel))])
            );
            assert!(
                panel.iter().all(|validator| Strikes::get(validator) == 0),
                "to be right about a cheat is to be right"
            );
            let settled = kept(1, 1);
            assert_eq!(
                (settled.outcome, settled.gain, settled.error, settled.tokens),
                (Outcome::Invalid, 0, 0, 8_192)
            );
            assert_eq!(
                (Consumed::get().len(), Shards::free()),
                (0, SHARDS - 8),
                "one lease is returned, one under audit"
            );
            let excision = Excision { round: 1, index: 0 };
            assert_eq!(Excisions::<Test>::get().to_vec(), [(excision, System::block_number())]);
            assert_eq!(
                Learning::standing(&1),
                Standing { nonce: 1, carry_round: 1, ..Default::default() }
            );
            // The other update is nobody's loss.
            settle(id, 2);
            assert_gone(id, 1, 1);
            assert_eq!(
                (kept(1, 2).outcome, Trainers::get(2), Fines::get().len()),
                (Outcome::Valid, Some(10), 1)
            );
        });
    }
}

#[test]
fn no_more_than_the_bond_is_taken() {
    in_round_one(|| {
        let id = audited(&[1, 2]);
        let panel = panel(id, 1);
        Trainers::insert(1, 3);
        Trainers::insert(2, 0);
        examine(id, &all(Finding::Impossible));
        settle(id, 1);
        assert_event(Event::Fined { audit: id, account: 1, amount: 3 });
        assert_eq!((Trainers::get(1), Fines::get().len()), (Some(0), 1));
        settle(id, 2);
        assert_event(Event::Fined { audit: id, account: 2, amount: 0 });
        assert_eq!(Fines::get(), [(3, panel)], "nothing is no fine");
        assert_eq!(Forfeits::get().len(), 2);
    });
}

/// Settles the first audit, of one update, as withheld after `examine`.
fn withheld(examine: impl FnOnce()) {
    in_round_one(|| {
        let id = audited(&[1]);
        let carry = work(1, 4).carry_hash;
        assert_ok!(Learning::conclude(signed(1), 1));
        assert_eq!(Learning::standing(&1).carry, carry);
        examine();
        settle(id, 1);
        assert_event(Event::Settled {
            audit: id,
            account: 1,
            round: 1,
            outcome: Outcome::Withheld,
            score: 0,
        });
        assert_event(Event::Fined { audit: id, account: 1, amount: 4 });
        assert_gone(id, 1, 1);
        assert_eq!(
            (Trainers::get(1), Fines::get(), Forfeits::get()),
            (Some(6), vec![(4, vec![])], vec![])
        );
        assert_eq!((Earnings::get(), Trainings::get()), (vec![(1, vec![])], vec![(1, false)]));
        assert!(
            VALIDATORS.iter().all(|(validator, _)| Strikes::get(validator) == 0),
            "seats neither gain nor lose"
        );
        assert_eq!(
            (kept(1, 1).outcome, Consumed::get().len(), Shards::free()),
            (Outcome::Withheld, 0, SHARDS)
        );
        assert_eq!((Learning::standing(&1).carry, Excisions::<Test>::get().len()), ([0; 32], 1));
    });
}

#[test]
fn states_that_are_not_shown_are_withheld() {
    withheld(|| run(AUDITS.serve));
}

#[test]
fn ends_that_are_not_opened_are_withheld_whatever_was_found() {
    withheld(|| {
        serve(0, &[1]);
        for validator in panel(0, 1) {
            let hidden = hide(0, validator, &evidence(0, validator, HONEST));
            assert_ok!(Learning::commit_audit(signed(validator), 0, hidden));
        }
        run(AUDITS.open);
        for validator in panel(0, 1) {
            assert_ok!(Learning::reveal_audit(
                signed(validator),
                0,
                evidence(0, validator, HONEST),
                SALT
            ));
        }
    });
    // Nor does it help to replay nothing.
    withheld(|| {
        serve(0, &[1]);
        run(AUDITS.replay + AUDITS.open);
        assert_eq!(audit(0).stage, Stage::Settle);
    });
}

#[test]
fn states_that_a_quorum_cannot_fetch_are_withheld() {
    withheld(|| examine(0, &all(Finding::Unavailable)));
}

#[test]
fn silent_and_wrong_seats_earn_nothing_and_lose_from_the_third_time_on() {
    in_round_one(|| {
        all_three();
        // 11 and 12 are a quorum; 13 is wrong, silent, wrong, wrong, then right.
        for round in 1..=6u32 {
            let id = audited(&[1]);
            if round == 2 {
                serve(id, &[1]);
                for validator in [11, 12] {
                    let hidden = hide(id, validator, &evidence(id, validator, HONEST));
                    assert_ok!(Learning::commit_audit(signed(validator), id, hidden));
                }
                // It commits, and does not reveal.
                assert_ok!(Learning::commit_audit(signed(13), id, [0; 32]));
                open(id, &[1]);
                for validator in [11, 12] {
                    assert_ok!(Learning::reveal_audit(
                        signed(validator),
                        id,
                        evidence(id, validator, HONEST),
                        SALT
                    ));
                }
                run(AUDITS.reveal);
                assert_eq!(Commits::<Test>::iter_prefix(id).count(), 1);
            } else {
                examine(id, &|validator, trainer| {
                    (validator == 13 && round < 5).then(|| other(id, trainer))
                });
            }
            System::reset_events();
            settle(id, 1);
            assert_gone(id, round, 1);
            assert_eq!(kept(round, 1).outcome, Outcome::Valid);
            let failed = Event::SeatFailed { audit: id, account: 13, trainer: 1 }.into();
            let fined = Event::Fined { audit: id, account: 13, amount: 5 }.into();
            let has =
                |event: &RuntimeEvent| System::events().iter().any(|record| record.event == *event);
            assert_eq!((has(&failed), has(&fined)), (round < 5, round == 3 || round == 4));
            let seats: Vec<_> = earned()
                .into_iter()
                .filter(|(_, earned)| earned.seats > 0)
                .map(|(account, _)| account)
                .collect();
            assert_eq!(seats, if round < 5 { vec![11, 12] } else { vec![11, 12, 13] });
        }
        assert_eq!((Validators::get(13), Strikes::get(13)), (Some(33 - 10), 0));
        assert_eq!(Fines::get(), [(5, vec![11, 12]), (5, vec![11, 12])]);
        assert_eq!(Trainers::get(1), Some(10), "a false accuser costs the accused nothing");
    });
}

#[test]
fn who_covers_for_a_cheat_fails_its_seat() {
    in_round_one(|| {
        all_three();
        let id = audited(&[1]);
        Strikes::insert(13, 2);
        examine(id, &|validator, _| (validator != 13).then_some(Finding::Impossible));
        settle(id, 1);
        assert_event(Event::SeatFailed { audit: id, account: 13, trainer: 1 });
        assert_eq!((kept(1, 1).outcome, earned()), (Outcome::Invalid, seats_only(&[11, 12])));
        let mut fines = Fines::get();
        fines.sort_unstable();
        assert_eq!(
            (fines, Validators::get(13)),
            (vec![(5, vec![11, 12]), (8, vec![11, 12])], Some(28))
        );
        assert_eq!(Forfeits::get(), [(1, vec![11, 12])]);
    });
}

#[test]
fn what_the_first_draw_leaves_open_a_second_one_decides_on_fresh_segments() {
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
        let waiting = Waiting {
            round: 1,
            draw: 1,
            trainer: 1,
            index: 0,
            segments: 4,
            known: BoundedVec::try_from(known.clone()).unwrap(),
        };
        assert_eq!(Undrawn::<Test>::get().to_vec(), [(waiting, System::block_number())]);
        assert_eq!((Earnings::get().len(), Fines::get().len(), Trainings::get().len()), (0, 0, 0));
        assert!(VALIDATORS.iter().all(|(validator, _)| Strikes::get(validator) == 0));
        assert_eq!(Learning::submissions(1)[0].1.status, Status::Included);
        assert_eq!((Learning::shown(id, &1), Excisions::<Test>::get().len()), (None, 0));
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
fn what_two_draws_leave_open_is_taken_out_without_blame() {
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
        assert_eq!((Shards::free(), Consumed::get().len()), (SHARDS, 0));
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
        let waiting = |round| Waiting {
            round,
            draw: 1,
            trainer: 1,
            index: 0,
            segments: 4,
            known: BoundedVec::new(),
        };
        Undrawn::<Test>::put(
            BoundedVec::try_from((100..164).map(|round| (waiting(round), 0)).collect::<Vec<_>>())
                .unwrap(),
        );
        assert_noop!(Learning::settle(signed(9), id, 1), Error::<Test>::TooManyUndrawn);
        run(1);
        settle(id, 1);
        assert_eq!(Undrawn::<Test>::get().len(), 64);
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
fn nobody_audits_itself() {
    in_round_one(|| {
        // The only validator trains as well: there is nobody to audit it.
        VALIDATORS[1..].iter().for_each(|(account, _)| Validators::remove(account));
        Trainers::insert(11, 10);
        train(&[11]);
        assert_ok!(Learning::attest_head(signed(11), 1, [5; 32], included(&[0])));
        run(1);
        for id in [0, 1] {
            assert!(audit(id).holders.is_empty());
            serve(id, &[11]);
            assert_eq!(audit(id).stage, Stage::Open, "there is nobody to wait for");
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

#[test]
fn what_goes_on_from_a_bad_update_is_tainted() {
    in_round_one(|| {
        // Each of three updates starts from the optimiser state of the one before; the first is
        // bad.
        for id in 0..3 {
            audited(&[1]);
            examine(id, &|_, _| (id == 0).then_some(Finding::Impossible));
        }
        assert_eq!((case(2, 1).2.carry_round, case(0, 1).2.carry), (2, [0; 32]));
        let free = Shards::free();
        for id in 0..3 {
            let panel = panel(id, 1);
            settle(id, 1);
            assert_eq!(earned(), seats_only(&panel), "the seats were right, whatever it came from");
        }
        let outcomes = [1, 2, 3].map(|round| kept(round, 1).outcome);
        assert_eq!(outcomes, [Outcome::Invalid, Outcome::Tainted, Outcome::Tainted]);
        assert_event(Event::Settled {
            audit: 2,
            account: 1,
            round: 3,
            outcome: Outcome::Tainted,
            score: 600,
        });
        assert_eq!((kept(3, 1).gain, kept(3, 1).error), (1_000, 200));
        assert_eq!(
            (Trainers::get(1), Fines::get().len(), Trainings::get()),
            (Some(2), 1, vec![(1, false)])
        );
        assert_eq!((Shards::free(), Consumed::get().len()), (free + 24, 0));
        let excised: Vec<_> =
            Excisions::<Test>::get().iter().map(|(excision, _)| excision.round).collect();
        assert_eq!(excised, [1, 2, 3]);
        // The next lease starts afresh, and stands on its own.
        assert_eq!((Learning::standing(&1).carry, Learning::standing(&1).valid), ([0; 32], 0));
        let id = audited(&[1]);
        examine(id, HONEST);
        settle(id, 1);
        assert_eq!(kept(4, 1).outcome, Outcome::Valid);
    });
}

#[test]
fn an_update_goes_on_from_a_valid_one() {
    in_round_one(|| {
        for round in 1..=3u32 {
            let id = audited(&[1]);
            assert_eq!(case(id, 1).2.carry_round, round - 1);
            examine(id, HONEST);
            settle(id, 1);
            assert_eq!(kept(round, 1).outcome, Outcome::Valid);
        }
        assert_eq!(Learning::standing(&1).valid, 3);
    });
}

#[test]
fn an_earlier_update_is_settled_first() {
    in_round_one(|| {
        for _ in 0..2 {
            let id = audited(&[1]);
            examine(id, HONEST);
        }
        let refused = Learning::settle(signed(9), 1, 1);
        assert_noop!(refused, Error::<Test>::EarlierUnsettled);
        settle(0, 1);
        settle(1, 1);
        assert_eq!(kept(2, 1).outcome, Outcome::Valid);
    });
    // What is bad in itself need not wait.
    in_round_one(|| {
        for id in 0..2 {
            audited(&[1]);
            examine(id, &|_, _| (id == 1).then_some(Finding::Impossible));
        }
        settle(1, 1);
        settle(0, 1);
        assert_eq!([1, 2].map(|round| kept(round, 1).outcome), [Outcome::Valid, Outcome::Invalid]);
        assert_eq!(Learning::standing(&1).carry, [0; 32]);
    });
}

#[test]
fn a_carry_that_goes_on_from_what_was_taken_out_is_forgotten() {
    in_round_one(|| {
        let withheld = audited(&[1]);
        audited(&[1]);
        assert_ok!(Learning::conclude(signed(1), 1));
        let later = Learning::standing(&1);
        assert!(later.carry_round == 2 && later.carry != [0; 32]);
        run(AUDITS.serve);
        settle(withheld, 1);
        assert_eq!(
            Learning::standing(&1),
            Standing { carry: [0; 32], ..later },
            "though the update between is not settled"
        );
        // So the next one stands on its own.
        let id = audited(&[1]);
        assert_eq!(case(id, 1).2.carry, [0; 32]);
        examine(id, HONEST);
        settle(id, 1);
        assert_eq!(kept(3, 1).outcome, Outcome::Valid);
        assert_ne!(Learning::standing(&1).carry, [0; 32]);
    });
}

/// Settles trainer 1's update of the audit as withheld.
fn withhold(id: u32) {
    run(AUDITS.serve);
    settle(id, 1);
}

#[test]
fn the_next_head_takes_out_what_was_settled_before_its_attest_phase() {
    in_round_one(|| {
        let before = audited(&[1, 2]);
        withhold(before);
        assert!(Learning::excisions().is_empty(), "there is no head to take it out yet");
        train(&[3]);
        let excised = [Excision { round: 1, index: 0 }];
        assert_eq!(Learning::excisions(), excised);
        // In the first block of the phase others have begun to compute the head.
        assert_eq!(System::block_number(), round().phase_since);
        settle(before, 2);
        assert_eq!((Excisions::<Test>::get().len(), Learning::excisions()), (2, excised.to_vec()));
        let previous = head();
        adopt([6; 32], &[0]);
        let expected = Head::next(
            Some(&previous),
            2,
            [6; 32],
            recipe().hash(),
            &Learning::updates(2),
            &excised,
        );
        assert_eq!(
            (head(), Learning::round_record(2).unwrap().excised.to_vec()),
            (expected, excised.to_vec())
        );
        assert_eq!(head().tokens, 3 * 8_192, "tokens were trained on, whatever became of them");
        let left: Vec<_> = Excisions::<Test>::get().iter().map(|(excision, _)| *excision).collect();
        assert_eq!(left, [Excision { round: 1, index: 1 }]);

        // A void round takes nothing out.
        run(1);
        train(&[3]);
        assert_eq!(Learning::excisions(), left);
        run(LENGTHS.attest);
        assert!(Learning::round_record(3).unwrap().excised.is_empty());
        run(1);
        train(&[3]);
        assert_eq!(Learning::excisions(), left);
        adopt([7; 32], &[0]);
        assert_eq!(Learning::round_record(4).unwrap().excised.to_vec(), left);
        assert!(!Excisions::<Test>::exists());
        // They are still updates of their round.
        assert_eq!(
            Learning::updates(1).iter().map(|update| update.account).collect::<Vec<_>>(),
            [1, 2]
        );
    });
}

#[test]
fn a_head_takes_out_the_oldest_in_ascending_order() {
    let mut chain = chain(Some(recipe()));
    chain.execute_with(|| {
        run(1);
        attest_initial();
        run(1);
        train(&[1]);
        // As many settlements at once would leave behind, latest rounds first.
        let waiting = |at: u32| {
            (Excision { round: 1_000 - at, index: (at % 3) as u8 }, round().phase_since - 1)
        };
        Excisions::<Test>::put(
            BoundedVec::try_from((0..70).map(waiting).collect::<Vec<_>>()).unwrap(),
        );
        let excised = Learning::excisions();
        assert_eq!((excised.len(), excised[0].round, excised[63].round), (64, 937, 1_000));
        assert!(excised.is_sorted());
        adopt([5; 32], &[0]);
        let left: Vec<_> =
            Excisions::<Test>::get().iter().map(|(excision, _)| excision.round).collect();
        assert_eq!(left, [936, 935, 934, 933, 932, 931]);
        assert_eq!(Learning::round_record(1).unwrap().excised.to_vec(), excised);
    });
}

#[test]
fn updates_are_those_of_the_head_whatever_became_of_them() {
    in_round_one(|| {
        train(&[2, 1, 3]);
        let hashes: Vec<_> = [1, 2].map(|account| work(account, 4).payload_hash).to_vec();
        adopt([5; 32], &[0, 1]);
        let updates = Learning::updates(1);
        assert_eq!(updates.iter().map(|update| update.account).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(updates.iter().map(|update| update.payload_hash).collect::<Vec<_>>(), hashes);
        run(1);
        withhold(0);
        assert_eq!(Learning::updates(1), updates);
        assert_ok!(Learning::conclude(signed(9), 3));
        assert_eq!(Learning::updates(1), updates);
        assert_eq!(
            Learning::history(1).iter().map(|(account, _)| *account).collect::<Vec<_>>(),
            [1, 3]
        );
        assert!(Learning::updates(0).is_empty() && Learning::updates(2).is_empty());
    });
}

#[test]
fn a_trainer_that_was_found_out_stays_out() {
    in_round_one(|| {
        let id = audited(&[1]);
        Trainers::insert(1, 8);
        examine(id, &all(Finding::Impossible));
        settle(id, 1);
        assert_eq!(round().phase, Phase::Train);
        assert_noop!(
            Learning::join_round(signed(1), Tier::Participant),
            Error::<Test>::NotATrainer
        );
    });
}

#[test]
fn settling_pays_for_what_it_did() {
    in_round_one(|| {
        let id = audited(&[1]);
        examine(id, HONEST);
        let most = Call::<Test>::settle { audit: id, trainer: 1 }.get_dispatch_info().call_weight;
        let paid = Learning::settle(signed(9), id, 1).unwrap();
        let actual = paid.actual_weight.unwrap();
        assert!(actual.all_gt(0.into()) && actual.all_lt(most));
        assert_eq!(paid.pays_fee, Pays::Yes);
    });
}

/// Bytes of all keys and values that the pallet has stored.
fn stored() -> usize {
    let prefix = storage_prefix(Learning::name().as_bytes(), b"")[..16].to_vec();
    let (mut key, mut bytes) = (prefix.clone(), 0);
    while let Some(next) = sp_io::storage::next_key(&key).filter(|next| next.starts_with(&prefix)) {
        bytes += next.len() + sp_io::storage::get(&next).map_or(0, |value| value.len());
        key = next;
    }
    bytes
}

#[test]
fn a_submission_leaves_less_than_a_kilobyte() {
    // A round of one submission, which its record is kept for alone, and one of several.
    for (trainers, most) in [(vec![1], 1_024), (vec![1, 2, 3, 4], 512)] {
        in_round_one(|| {
            let mut rounds = Vec::new();
            for number in 1..=3 {
                let id = audited(&trainers);
                examine(id, &|_, trainer| {
                    (trainer == 1 && number == 2).then_some(Finding::Impossible)
                });
                trainers.iter().for_each(|&trainer| settle(id, trainer));
                TRAINERS.for_each(|account| Trainers::insert(account, 10));
                rounds.push(stored());
            }
            // Accounts are 8 bytes here and 32 on a real chain: in the keys and value of the
            // record, the history and the payload.
            let each = (rounds[2] - rounds[0]) / (2 * trainers.len()) + 3 * 24;
            assert!(each < most, "{each} bytes for each submission");
            assert_eq!(
                Audits::<Test>::iter_keys().count() + Findings::<Test>::iter_keys().count(),
                0
            );
        });
    }
    assert!(Settled::max_encoded_len() < 128);
}

#[test]
fn stored_seeds_differ_between_draws() {
    in_round_one(|| {
        let first = audited(&[1]);
        let seed = audit(first).seed;
        let second = audited(&[2]);
        assert_ne!(seed, audit(second).seed);
        assert_ne!(seed, Hash::default());
    });
}
