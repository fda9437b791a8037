// SPDX-License-Identifier: Apache-2.0

//! Places of a round, and who has them if more accounts ask.

use crate::{mock::*, pallet::*};
use codec::Encode;
use pol_primitives::{
    MAX_SUBMISSIONS, places::Rank, recipe::Tier, round::Phase, standing::Standing,
    traits::ShardPool,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};
use std::collections::BTreeSet;

const PLACES: usize = MAX_SUBMISSIONS as usize;

fn ask(account: AccountId, tier: Tier) -> Result<(), polkadot_sdk::sp_runtime::DispatchError> {
    weightless(Learning::join_round(signed(account), tier))
}

#[track_caller]
fn is_full(account: AccountId, tier: Tier) {
    assert_noop!(ask(account, tier), Error::<Test>::RoundIsFull);
}

/// Bonds `count` trainers from account 100 on. Returns them by their rank in the round under way,
/// the lowest first.
fn bond(count: usize) -> Vec<AccountId> {
    let mut accounts: Vec<_> = (100..).take(count).collect();
    accounts.iter().for_each(|account| Trainers::insert(account, 10));
    accounts.sort_by_key(|account| Rank::draw(&round().seed, &account.encode(), false));
    accounts
}

fn holders() -> BTreeSet<AccountId> {
    TakenPlaces::<Test>::get().taken().iter().map(|place| place.account).collect()
}

/// Lets the round end by its limit. Returns in the first block of the next one.
fn let_lapse() {
    let number = round().number;
    run_until(Phase::Idle);
    assert_eq!(round().number, number + 1);
    assert!(!TakenPlaces::<Test>::exists());
    run(1);
}

#[test]
fn seventy_ask_for_sixty_four_places_and_six_lose_nothing() {
    in_round_one(|| {
        let ranked = bond(70);
        // They ask in the order of their accounts, some before a lower rank and some after.
        let mut refused = Vec::new();
        for account in 100..170 {
            refused.extend(ask(account, Tier::Participant).err().map(|_| account));
        }
        let (first, last) = ranked.split_at(PLACES);
        assert_eq!(holders(), first.iter().copied().collect());
        assert_eq!((round().due, Leases::<Test>::iter().count()), (64, PLACES));
        assert!(!refused.is_empty() && refused.len() < 6, "some lose the place that they had");
        for &account in last {
            let lost = Event::PlaceLost { account, due_round: 1 };
            let was_displaced = System::events().iter().any(|r| r.event == lost.clone().into());
            assert_eq!(was_displaced, !refused.contains(&account));
            assert_eq!((Trainers::get(account), Locked::get(account)), (Some(10), 0));
            let nonce = was_displaced.into();
            assert_eq!(Learning::standing(&account), Standing { nonce, ..Default::default() });
            // Asking again changes nothing.
            is_full(account, Tier::Participant);
        }
        assert_eq!(Shards::free_shards(), SHARDS - 64 * 8);
        first.iter().for_each(|&account| {
            assert_noop!(ask(account, Tier::Participant), Error::<Test>::AlreadyLeased);
        });
        let before = holders();
        let_lapse();
        for account in 100..170 {
            let _ = ask(account, Tier::Participant);
        }
        assert_eq!(holders().len(), PLACES);
        assert_ne!(holders(), before, "the next round draws anew");
    });
}

#[test]
fn a_lost_place_takes_its_commitment_along() {
    in_round_one(|| {
        let ranked = bond(PLACES + 1);
        let (last, others) = (ranked[PLACES], &ranked[..PLACES - 1]);
        join(last);
        commit(last);
        others.iter().for_each(|&account| join(account));
        assert_eq!((round().due, round().committed), (64, 1));
        join(ranked[PLACES - 1]);
        assert_event(Event::PlaceLost { account: last, due_round: 1 });
        assert_eq!((round().due, round().committed), (64, 0));
        assert_eq!((Learning::lease(&last), Learning::submissions(1)), (None, vec![]));
        // The round goes on with the others.
        train_to_end(&ranked[..PLACES]);
    });
}

/// Commits and reveals the updates of `accounts`, which have all leases of the round.
fn train_to_end(accounts: &[AccountId]) {
    let reveals: Vec<_> = accounts.iter().map(|&account| (account, commit(account))).collect();
    run_until(Phase::Reveal);
    for (account, reveal) in reveals {
        assert_ok!(Learning::reveal(signed(account), round().number, reveal));
    }
    run_until(Phase::Hold);
    assert_eq!(round().revealed as usize, accounts.len());
}

#[test]
fn who_was_bonded_since_the_round_opened_displaces_nobody() {
    in_round_one(|| {
        let ranked = bond(PLACES + 2);
        let (late, other) = (ranked[0], ranked[1]);
        Since::insert(late, 1);
        ranked[2..].iter().for_each(|&account| join(account));
        is_full(late, Tier::Participant);
        // It has a place in a round that opened later.
        join(other);
        let_lapse();
        join(late);
        assert_eq!(holders(), BTreeSet::from([late]));
    });
}

#[test]
fn slow_leases_leave_half_of_the_places_to_the_next_round() {
    in_round_one(|| {
        let ranked = bond(PLACES);
        let (half, others) = ranked.split_at(PLACES / 2);
        for &account in half {
            assert_ok!(ask(account, Tier::Mobile));
        }
        others.iter().for_each(|&account| is_full(account, Tier::Mobile));
        assert_eq!((round().due, DueLeases::<Test>::get(2)), (0, 32));
        let_lapse();
        assert_eq!(round().due, 32);
        others.iter().for_each(|&account| join(account));
        // The places of slow leases are theirs: what is full is the other half.
        Trainers::insert(99, 10);
        Since::insert(99, 2);
        is_full(99, Tier::Participant);
        assert_eq!((round().due, holders().len()), (64, 32));
    });
}

#[test]
fn a_slow_lease_loses_its_place_only_while_places_are_drawn() {
    let slow = |wait| {
        in_round_one(|| {
            let ranked = bond(PLACES / 2 + 1);
            for &account in &ranked[1..] {
                assert_ok!(ask(account, Tier::Mobile));
            }
            run(wait);
            assert!(round().is_joinable(System::block_number()));
            if wait <= LENGTHS.join {
                assert_ok!(ask(ranked[0], Tier::Mobile));
                assert_event(Event::PlaceLost { account: ranked[PLACES / 2], due_round: 2 });
                assert_eq!(DueLeases::<Test>::get(2), 32);
            } else {
                is_full(ranked[0], Tier::Mobile);
            }
        });
    };
    slow(LENGTHS.join);
    slow(LENGTHS.join + 1);
}

#[test]
fn a_slow_lease_does_not_end_the_draw_of_this_round() {
    in_round_one(|| {
        let ranked = bond(PLACES + 1);
        assert_ok!(ask(1, Tier::Mobile));
        run(LENGTHS.join + 1);
        ranked[1..].iter().for_each(|&account| join(account));
        assert_ok!(ask(ranked[0], Tier::Participant));
        assert_event(Event::PlaceLost { account: ranked[PLACES], due_round: 1 });
    });
}
