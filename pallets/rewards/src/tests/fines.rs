// SPDX-License-Identifier: Apache-2.0

//! Fines and forfeited rewards.

use super::*;

/// Moves `amount` from account 1 to the pot, as staking does with a bond, and distributes it.
fn fine(amount: Balance, provers: &[AccountId]) {
    assert_ok!(Balances::transfer_allow_death(Origin::signed(1), Rewards::pot_account(), amount));
    Rewards::distribute_fine(amount, provers);
}

#[test]
fn half_of_a_fine_is_burned_and_a_quarter_goes_to_the_provers() {
    run(|| {
        let before = Balances::total_issuance();
        fine(200 * POL, &[2, 3]);
        assert_eq!((gained(2), gained(3), treasury(), pot()), (25 * POL, 25 * POL, 50 * POL, 0));
        assert_eq!(Balances::total_issuance(), before - 100 * POL);
        assert_eq!(take_events(), [Event::Fined { amount: 200 * POL, to_provers: 50 * POL }]);
        let ledger =
            Ledger { seized: 200 * POL, paid: 100 * POL, burned: 100 * POL, ..Default::default() };
        assert_eq!(Rewards::ledger(), ledger);
    });
}

#[test]
fn remainders_go_to_the_treasury() {
    run(|| {
        fine(13, &[2, 3]);
        assert_eq!((gained(2), gained(3), treasury()), (1, 1, 13 - 6 - 2));
        fine(7, &[]);
        assert_eq!((treasury(), Rewards::ledger().burned, pot()), (5 + 4, 6 + 3, 0));
        fine(1, &[2]);
        assert_eq!((treasury(), gained(2), pot()), (5 + 4 + 1, 1, 0));
        take_events();
        Rewards::distribute_fine(0, &[2]);
        assert_eq!(take_events(), []);
    });
}

#[test]
fn the_part_of_a_removed_prover_goes_to_the_treasury() {
    run(|| {
        // 99 has no account, and half a POL is below the existential deposit.
        fine(4 * POL, &[2, 99]);
        assert_eq!((gained(2), Balances::balance(&99), treasury()), (POL / 2, 0, POL + POL / 2));
        assert_eq!(take_events(), [Event::Fined { amount: 4 * POL, to_provers: POL / 2 }]);
    });
}

#[test]
fn fines_do_not_touch_funds_in_escrow() {
    run(|| {
        settled_round(1, &[(5, earned(1, 1, 1))]);
        fine(100 * POL, &[2]);
        assert_eq!((pot(), Rewards::ledger().waiting), (95 * POL, 95 * POL));
        assert_ok!(claim(5, 1));
        assert_eq!(gained(5), 95 * POL);
    });
}

#[test]
fn rewards_in_escrow_are_forfeited() {
    run(|| {
        for round in 1..=3 {
            settled_round(round, &[(4, earned(10, 0, 0)), (5, earned(10, 1, 1))]);
        }
        // Round 1 can be claimed. Rounds 2 and 3 are in escrow.
        Round::set(1 + INITIAL_ESCROW);
        take_events();
        Rewards::forfeit(&4, &[6]);
        assert_eq!(
            take_events(),
            [
                Event::Forfeited { who: 4, rounds: 2, amount: 70 * POL },
                Event::Fined { amount: 70 * POL, to_provers: 17 * POL + POL / 2 },
            ]
        );
        assert_eq!((gained(6), treasury()), (17 * POL + POL / 2, 15 * POL + 17 * POL + POL / 2));
        let ledger = Rewards::ledger();
        assert_eq!(
            (ledger.seized, ledger.burned, ledger.waiting),
            (0, 35 * POL, 3 * 95 * POL - 70 * POL)
        );
        assert_noop!(claim(4, 2), PalletError::NothingToClaim);
        assert_ok!(claim(4, 1));
        assert_eq!(gained(4), 35 * POL);
        // The shares of the others are unchanged.
        Round::set(9);
        for round in 1..=3 {
            assert_ok!(claim(5, round));
        }
        assert_eq!((gained(5), pot()), (180 * POL, 0));
        take_events();
        Rewards::forfeit(&4, &[6]);
        assert_eq!(take_events(), [], "nothing is left to forfeit");
    });
}

#[test]
fn a_share_of_an_unsettled_round_falls_to_the_others() {
    run(|| {
        Rewards::emit_round(1, 2);
        Rewards::record_settlement(1, &[(4, earned(90, 0, 1)), (5, earned(10, 1, 0))]);
        // The escrow is over, but the round is not settled.
        Round::set(50);
        take_events();
        Rewards::forfeit(&4, &[6]);
        assert_eq!(take_events(), [Event::Forfeited { who: 4, rounds: 1, amount: 0 }]);
        Rewards::record_settlement(1, &[]);
        assert_eq!(take_events(), [Event::RoundSettled { round: 1, unearned: 7 * POL }]);
        assert_ok!(claim(5, 1));
        assert_eq!((gained(5), gained(6), pot()), (88 * POL, 0, 0));
    });
}

#[test]
fn a_round_earned_by_a_cheat_only_is_removed() {
    run(|| {
        settled_round(1, &[(4, earned(1, 1, 1))]);
        Round::set(1);
        Rewards::forfeit(&4, &[]);
        assert_eq!((Rewards::pool(1), pot(), Rewards::pending_rewards(4)), (None, 0, vec![]));
    });
}

#[test]
fn a_finding_forfeits_the_newest_rounds_only() {
    run(|| {
        EscrowRounds::set(1_000);
        let rounds = MAX_FORFEITED_ROUNDS as u32 + 5;
        for round in 1..=rounds {
            settled_round(round, &[(4, earned(1, 0, 0))]);
        }
        Rewards::forfeit(&4, &[]);
        let left: Vec<_> = Rewards::pending_rewards(4).iter().map(|reward| reward.round).collect();
        assert_eq!(left, [5, 4, 3, 2, 1]);
    });
}
