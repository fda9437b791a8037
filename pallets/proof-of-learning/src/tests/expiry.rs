// SPDX-License-Identifier: Apache-2.0

//! Removal of records of old rounds, and of the state of accounts that left.

use crate::{mock::*, pallet::*, types::MAX_EXPIRED};
use pol_primitives::{
    RoundNumber,
    round::Phase,
    standing::Standing,
    submission::{Outcome, TrainingClaims},
    traits::Departures,
};
use polkadot_sdk::frame_support::assert_ok;

/// Number of rounds that these tests keep.
const KEPT: RoundNumber = 6;

/// Runs `test` in round 1 of a chain that keeps few rounds.
fn keeping_few(test: impl FnOnce()) {
    in_round_one(|| {
        KeptRounds::set(KEPT);
        test();
    });
}

/// Lets `trainer` train a valid update in each of `rounds` rounds.
fn learn(trainer: AccountId, rounds: u32) {
    for _ in 0..rounds {
        let id = audited(&[trainer]);
        examine(id, HONEST);
        settle(id, trainer);
    }
}

/// Returns the rounds with records of submissions, in ascending order.
fn rounds_with_history() -> Vec<RoundNumber> {
    let mut rounds: Vec<_> = History::<Test>::iter_keys().map(|(round, _)| round).collect();
    rounds.sort_unstable();
    rounds
}

#[test]
fn records_of_old_rounds_are_removed() {
    keeping_few(|| {
        learn(1, 8);
        run(4);
        let (first, number) = (FirstKept::<Test>::get(), round().number);
        assert_eq!(first, number - KEPT);
        assert_eq!(
            (Learning::round_record(first - 1), Learning::updates(first - 1)),
            (None, vec![])
        );
        assert_eq!(Records::<Test>::iter().count(), KEPT as usize);
        assert_eq!(rounds_with_history(), (first..number).collect::<Vec<_>>());
        let mut kept: Vec<_> =
            History::<Test>::iter_values().map(|settled| settled.payload_hash).collect();
        let mut seen: Vec<_> = SeenPayloads::<Test>::iter_keys().collect();
        kept.sort_unstable();
        seen.sort_unstable();
        assert_eq!(kept, seen);
    });
}

#[test]
fn nothing_is_removed_that_an_audit_or_a_head_needs() {
    keeping_few(|| {
        let withheld = audited(&[1]);
        learn(2, 8);
        run(4);
        assert_eq!(FirstKept::<Test>::get(), 1, "an update waits for its settlement");
        settle(withheld, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Withheld);
        run(4);
        assert_eq!(FirstKept::<Test>::get(), 1, "an update waits to be taken out");
        learn(2, 1);
        run(8);
        assert_eq!(FirstKept::<Test>::get(), round().number - KEPT);
    });
}

#[test]
fn the_newest_head_is_kept_however_many_rounds_are_void() {
    keeping_few(|| {
        learn(1, 1);
        let made = head().round;
        // Each lapse costs twice the one before.
        Trainers::insert(2, 1 << 40);
        for _ in 0..KEPT + 4 {
            join(2);
            let number = round().number;
            while round().number == number {
                run(1);
            }
            run_until(Phase::Train);
        }
        assert_eq!((head().round, FirstKept::<Test>::get()), (made, made));
        learn(1, 1);
        run(8);
        assert_eq!(FirstKept::<Test>::get(), round().number - KEPT);
    });
}

#[test]
fn old_leases_are_concluded() {
    keeping_few(|| {
        let number = round().number;
        join(2);
        let hidden = commitment(2, &work(2, 4));
        assert_ok!(Learning::commit(signed(2), number, hidden, TrainingClaims::default()));
        learn(1, KEPT);
        assert!(Leases::<Test>::contains_key(2), "nobody has concluded it");
        learn(1, 3);
        run(4);
        assert!(!Leases::<Test>::contains_key(2));
        assert_event(Event::Concluded {
            account: 2,
            round: number,
            status: Some(pol_primitives::submission::SubmissionStatus::Committed),
        });
        assert!(FirstKept::<Test>::get() > number && History::<Test>::get(number, 2).is_none());
    });
}

#[test]
fn a_block_removes_a_bounded_number_of_records() {
    keeping_few(|| {
        learn(1, 6);
        let record = kept(1, 1);
        for account in 100..100 + u64::from(MAX_EXPIRED) {
            History::<Test>::insert(1, account, record);
        }
        KeptRounds::set(2);
        FirstKept::<Test>::put(1);
        Records::<Test>::remove(0);
        Learning::expire();
        let left = History::<Test>::iter_prefix(1).count();
        assert_eq!((left, FirstKept::<Test>::get()), (1, 1));
        Learning::expire();
        assert_eq!((History::<Test>::iter_prefix(1).count(), FirstKept::<Test>::get()), (0, 2));
    });
}

#[test]
fn an_old_carry_counts_as_none() {
    keeping_few(|| {
        learn(1, 1);
        assert_ne!(Learning::standing(&1).carry, [0; 32]);
        learn(2, KEPT / 2);
        run(4);
        assert_eq!(Learning::standing(&1).carry, [0; 32], "its outcome may be forgotten soon");
        let id = audited(&[1]);
        assert_eq!(case(id, 1).2.carry, [0; 32]);
    });
}

#[test]
fn the_standing_of_an_account_goes_with_its_bond() {
    in_round_one(|| {
        join(1);
        let bond = Trainers::take(1);
        Learning::note_departure(&1);
        assert_ne!(Standings::<Test>::get(1), Standing::default(), "its lease is not concluded");
        Trainers::set(1, bond);
        Learning::note_departure(&1);
        assert_ne!(Standings::<Test>::get(1), Standing::default(), "it has a bond");
        Trainers::remove(1);
        let number = round().number;
        while round().number == number {
            run(1);
        }
        assert_ok!(Learning::conclude(signed(9), 1));
        assert!(!Standings::<Test>::contains_key(1));
    });
}
