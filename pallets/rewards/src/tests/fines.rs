//! What becomes of the money of cheats.

use super::*;

/// Moves `amount` from account 1 to the pot, as staking does with a bond, and shares it out.
fn fine(amount: Balance, provers: &[AccountId]) {
    assert_ok!(Balances::transfer_allow_death(Origin::signed(1), Rewards::pot(), amount));
    Rewards::fined(amount, provers);
}

#[test]
fn half_of_a_fine_is_burned_and_a_quarter_goes_to_the_provers() {
    run(|| {
        let before = Balances::total_issuance();
        fine(200 * POL, &[2, 3]);
        assert_eq!((gained(2), gained(3), treasury(), pot()), (25 * POL, 25 * POL, 50 * POL, 0));
        assert_eq!(Balances::total_issuance(), before - 100 * POL);
        assert_eq!(events(), [Event::Fined { amount: 200 * POL, to_provers: 50 * POL }]);
        let books =
            Books { seized: 200 * POL, paid: 100 * POL, burned: 100 * POL, ..Default::default() };
        assert_eq!(Rewards::books(), books);
    });
}

#[test]
fn what_cannot_be_divided_falls_to_the_treasury() {
    run(|| {
        fine(13, &[2, 3]);
        assert_eq!((gained(2), gained(3), treasury()), (1, 1, 13 - 6 - 2));
        fine(7, &[]);
        assert_eq!((treasury(), Rewards::books().burned, pot()), (5 + 4, 6 + 3, 0));
        fine(1, &[2]);
        assert_eq!((treasury(), gained(2), pot()), (5 + 4 + 1, 1, 0));
        events();
        Rewards::fined(0, &[2]);
        assert_eq!(events(), []);
    });
}

#[test]
fn a_prover_that_is_gone_leaves_its_part_to_the_treasury() {
    run(|| {
        // 99 has no account: half a POL is too little to open one.
        fine(4 * POL, &[2, 99]);
        assert_eq!((gained(2), Balances::balance(&99), treasury()), (POL / 2, 0, POL + POL / 2));
        assert_eq!(events(), [Event::Fined { amount: 4 * POL, to_provers: POL / 2 }]);
    });
}

#[test]
fn fines_touch_nothing_that_waits() {
    run(|| {
        settled_round(1, &[(5, earned(1, 1, 1))]);
        fine(100 * POL, &[2]);
        assert_eq!((pot(), Rewards::books().waiting), (95 * POL, 95 * POL));
        assert_ok!(claim(5, 1));
        assert_eq!(gained(5), 95 * POL);
    });
}

#[test]
fn what_waits_in_escrow_is_forfeited() {
    run(|| {
        for round in 1..=3 {
            settled_round(round, &[(4, earned(10, 0, 0)), (5, earned(10, 1, 1))]);
        }
        // Round 1 could have been claimed; rounds 2 and 3 still wait.
        Round::set(1 + ESCROW);
        events();
        Rewards::forfeit(&4, &[6]);
        assert_eq!(
            events(),
            [
                Event::Forfeited { who: 4, rounds: 2, amount: 70 * POL },
                Event::Fined { amount: 70 * POL, to_provers: 17 * POL + POL / 2 },
            ]
        );
        assert_eq!((gained(6), treasury()), (17 * POL + POL / 2, 15 * POL + 17 * POL + POL / 2));
        let books = Rewards::books();
        assert_eq!(
            (books.seized, books.burned, books.waiting),
            (0, 35 * POL, 3 * 95 * POL - 70 * POL)
        );
        assert_noop!(claim(4, 2), Refusal::NothingToClaim);
        assert_ok!(claim(4, 1));
        assert_eq!(gained(4), 35 * POL);
        // The others' shares are what they were.
        Round::set(9);
        for round in 1..=3 {
            assert_ok!(claim(5, round));
        }
        assert_eq!((gained(5), pot()), (180 * POL, 0));
        events();
        Rewards::forfeit(&4, &[6]);
        assert_eq!(events(), [], "there is nothing left to lose");
    });
}

#[test]
fn a_share_that_is_not_known_yet_falls_to_the_others() {
    run(|| {
        Rewards::round_concluded(1, 2);
        Rewards::settled(1, &[(4, earned(90, 0, 1)), (5, earned(10, 1, 0))]);
        // Long past its escrow, and still not settled.
        Round::set(50);
        events();
        Rewards::forfeit(&4, &[6]);
        assert_eq!(events(), [Event::Forfeited { who: 4, rounds: 1, amount: 0 }]);
        Rewards::settled(1, &[]);
        assert_eq!(events(), [Event::RoundSettled { round: 1, unearned: 7 * POL }]);
        assert_ok!(claim(5, 1));
        assert_eq!((gained(5), gained(6), pot()), (88 * POL, 0, 0));
    });
}

#[test]
fn a_round_that_only_a_cheat_earned_in_is_forgotten() {
    run(|| {
        settled_round(1, &[(4, earned(1, 1, 1))]);
        Round::set(1);
        Rewards::forfeit(&4, &[]);
        assert_eq!((Rewards::pool(1), pot(), Rewards::rewards(4)), (None, 0, vec![]));
    });
}

#[test]
fn a_finding_takes_the_newest_rounds_of_many() {
    run(|| {
        EscrowRounds::set(1_000);
        let rounds = MAX_FORFEITED as u32 + 5;
        for round in 1..=rounds {
            settled_round(round, &[(4, earned(1, 0, 0))]);
        }
        Rewards::forfeit(&4, &[]);
        let left: Vec<_> = Rewards::rewards(4).iter().map(|reward| reward.round).collect();
        assert_eq!(left, [5, 4, 3, 2, 1]);
    });
}
