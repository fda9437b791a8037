// SPDX-License-Identifier: Apache-2.0

//! Fines and forfeited rewards.

use super::*;
use pol_primitives::audit::MAX_ESCROW_ROUNDS;

/// Moves `amount` from account 1 to the pot, as staking does with a bond, and burns it.
fn fine(amount: Balance) {
    assert_ok!(Balances::transfer_allow_death(Origin::signed(1), Rewards::pot_account(), amount));
    Rewards::burn_fine(amount);
}

#[test]
fn a_fine_is_burned_to_the_last_unit() {
    run(|| {
        let before = Balances::total_issuance();
        fine(200 * POL + 1);
        assert_eq!((treasury(), pot()), (0, 0));
        assert_eq!(Balances::total_issuance(), before - 200 * POL - 1);
        assert_eq!(take_events(), [Event::Fined { amount: 200 * POL + 1 }]);
        let ledger = Ledger { seized: 200 * POL + 1, burned: 200 * POL + 1, ..Default::default() };
        assert_eq!(Rewards::ledger(), ledger);
        Rewards::burn_fine(0);
        assert_eq!(take_events(), []);
    });
}

#[test]
fn fines_do_not_touch_funds_in_escrow() {
    run(|| {
        settled_round(1, &[(5, earned(1, 1, 1))]);
        fine(100 * POL);
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
        Rewards::forfeit(&4);
        assert_eq!(take_events(), [Event::Forfeited { who: 4, rounds: 2, amount: 70 * POL }]);
        assert_eq!(treasury(), 15 * POL, "the treasury has its shares of the emission only");
        let ledger = Rewards::ledger();
        assert_eq!(
            (ledger.seized, ledger.burned, ledger.waiting),
            (0, 70 * POL, 3 * 95 * POL - 70 * POL)
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
        Rewards::forfeit(&4);
        assert_eq!(take_events(), [], "nothing is left to forfeit");
    });
}

#[test]
fn a_share_of_an_unsettled_round_falls_to_the_others() {
    run(|| {
        emit(1, 2);
        settle(1, &[(4, earned(90, 0, 1)), (5, earned(10, 1, 0))]);
        // The escrow is over, but the round is not settled.
        Round::set(50);
        take_events();
        Rewards::forfeit(&4);
        assert_eq!(take_events(), [Event::Forfeited { who: 4, rounds: 1, amount: 0 }]);
        settle(1, &[]);
        assert_eq!(take_events(), [Event::RoundSettled { round: 1, unearned: 7 * POL }]);
        assert_ok!(claim(5, 1));
        assert_eq!((gained(5), pot()), (88 * POL, 0));
    });
}

#[test]
fn a_round_earned_by_a_cheat_only_is_removed() {
    run(|| {
        settled_round(1, &[(4, earned(1, 1, 1))]);
        Round::set(1);
        Rewards::forfeit(&4);
        assert_eq!((Rewards::pool(1), pot(), Rewards::pending_rewards(4)), (None, 0, vec![]));
    });
}

#[test]
fn a_finding_forfeits_all_that_waits() {
    run(|| {
        // An old round is still unsettled, and newer rewards were never claimed.
        emit(1, 2);
        settle(1, &[(4, earned(1, 0, 0)), (5, earned(1, 1, 1))]);
        for round in 2..=200 {
            settled_round(round, &[(4, earned(1, 0, 0)), (5, earned(1, 1, 1))]);
        }
        Round::set(201);
        let claimable = |who| Rewards::pending_rewards(who).len();
        assert_eq!(claimable(4), 200);
        take_events();
        Rewards::forfeit(&4);
        // Round 1, and of the settled ones that in escrow.
        assert_eq!(take_events(), [Event::Forfeited { who: 4, rounds: 2, amount: 35 * POL }]);
        assert_eq!(claimable(4), 198);
        assert!(Rewards::pending_rewards(4).iter().all(|reward| (2..200).contains(&reward.round)));
        assert_eq!(claimable(5), 200);
    });
}

#[test]
fn the_longest_escrow_and_all_unsettled_rounds_are_forfeited() {
    run(|| {
        EscrowRounds::set(MAX_ESCROW_ROUNDS);
        for round in 1..MAX_UNSETTLED_ROUNDS {
            emit(round, 2);
            settle(round, &[(4, earned(1, 1, 1))]);
        }
        for round in 101..=100 + MAX_ESCROW_ROUNDS {
            settled_round(round, &[(4, earned(1, 1, 1))]);
        }
        Round::set(100 + MAX_ESCROW_ROUNDS);
        let waiting = MAX_UNSETTLED_ROUNDS - 1 + MAX_ESCROW_ROUNDS;
        assert_eq!(Rewards::pending_rewards(4).len(), waiting as usize);
        Rewards::forfeit(&4);
        assert_eq!(Rewards::pending_rewards(4), []);
    });
}
