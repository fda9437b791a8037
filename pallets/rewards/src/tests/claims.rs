// SPDX-License-Identifier: Apache-2.0

//! Claims of rewards.

use super::*;

#[test]
fn a_reward_is_paid_once() {
    run(|| {
        settled_round(1, &[(1, earned(30, 0, 0)), (2, earned(10, 1, 0)), (3, earned(0, 2, 10))]);
        take_events();
        assert_ok!(claim(2, 1));
        assert_eq!(
            take_events(),
            [Event::Claimed { who: 2, round: 1, amount: 23 * POL + POL / 2 }]
        );
        assert_eq!(gained(2), 23 * POL + POL / 2);
        assert_noop!(claim(2, 1), PalletError::NothingToClaim);
        assert_ok!(claim(1, 1));
        assert!(Rewards::pool(1).is_some());
        assert_ok!(claim(3, 1));
        assert_eq!((gained(1), gained(3), pot()), (52 * POL + POL / 2, 19 * POL, 0));
        assert_eq!(
            (Rewards::pool(1), Earnings::<Test>::iter().count()),
            (None, 0),
            "a fully claimed round is removed"
        );
        assert_eq!(
            Rewards::ledger(),
            Ledger { emitted: 100 * POL, paid: 100 * POL, ..Default::default() }
        );
    });
}

#[test]
fn each_invalid_claim_has_its_error() {
    run(|| {
        emit(1, 2);
        settle(1, &[(1, earned(1, 1, 1))]);
        Round::set(INITIAL_ESCROW);
        assert_noop!(claim(1, 1), PalletError::TooEarly);
        assert_noop!(claim(2, 1), PalletError::NothingToClaim);
        assert_noop!(claim(1, 2), PalletError::NothingToClaim);
        assert_noop!(Rewards::claim(Origin::root(), 1), DispatchError::BadOrigin);
        Round::set(1 + INITIAL_ESCROW);
        assert_noop!(claim(1, 1), PalletError::Unsettled);
        settle(1, &[]);
        // Governance may change the length of the escrow.
        EscrowRounds::set(INITIAL_ESCROW + 1);
        assert_noop!(claim(1, 1), PalletError::TooEarly);
        EscrowRounds::set(0);
        assert_ok!(claim(1, 1));
    });
}

#[test]
fn rewards_are_listed_newest_first() {
    run(|| {
        for round in 1..=3 {
            emit(round, 2);
            settle(round, &[(1, earned(10, 0, 0)), (2, earned(30, 0, 1))]);
            if round < 3 {
                settle(round, &[(3, earned(0, 1, 0))]);
            }
        }
        let reward = |round, amount| PendingReward { round, amount, from: round + INITIAL_ESCROW };
        let quarter = 17 * POL + POL / 2;
        assert_eq!(
            Rewards::pending_rewards(1),
            [reward(3, None), reward(2, Some(quarter)), reward(1, Some(quarter))]
        );
        assert_eq!(Rewards::pending_rewards(9), []);
        // The announced amount is the amount paid.
        Round::set(9);
        assert_ok!(claim(1, 1));
        assert_eq!(gained(1), quarter);
        assert_eq!(Rewards::pending_rewards(1).len(), 2);
    });
}

#[test]
fn a_share_of_an_empty_pot_can_be_claimed() {
    run_with(
        EmissionSchedule { trainers: MILLION, validators: 0, providers: 0, ..Default::default() },
        1_000 * POL,
        || {
            settled_round(1, &[(1, earned(0, 1, 1)), (2, earned(1, 0, 0))]);
            assert_ok!(claim(2, 1));
            assert!(Rewards::pool(1).is_some());
            assert_ok!(claim(1, 1));
            assert_eq!((gained(1), Rewards::pool(1)), (0, None));
        },
    );
}

#[test]
fn a_reward_below_the_existential_deposit_is_kept() {
    run_with(EmissionSchedule { per_round: 1_000, ..Default::default() }, 1_000 * POL, || {
        settled_round(1, &[(99, earned(1, 1, 1))]);
        assert_noop!(claim(99, 1), TokenError::BelowMinimum);
        assert_eq!(
            Rewards::pending_rewards(99),
            [PendingReward { round: 1, amount: Some(950), from: 3 }]
        );
        assert_ok!(Balances::transfer_allow_death(Origin::signed(1), 99, POL));
        assert_ok!(claim(99, 1));
        assert_eq!((Balances::balance(&99), pot()), (POL + 950, 0));
    });
}
