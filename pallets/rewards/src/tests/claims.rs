//! When a reward is paid, and to whom.

use super::*;

#[test]
fn a_reward_is_paid_once() {
    run(|| {
        settled_round(1, &[(1, earned(30, 0, 0)), (2, earned(10, 1, 0)), (3, earned(0, 2, 10))]);
        events();
        assert_ok!(claim(2, 1));
        assert_eq!(events(), [Event::Claimed { who: 2, round: 1, amount: 23 * POL + POL / 2 }]);
        assert_eq!(gained(2), 23 * POL + POL / 2);
        assert_noop!(claim(2, 1), Refusal::NothingToClaim);
        assert_ok!(claim(1, 1));
        assert!(Rewards::pool(1).is_some());
        assert_ok!(claim(3, 1));
        assert_eq!((gained(1), gained(3), pot()), (52 * POL + POL / 2, 19 * POL, 0));
        assert_eq!(
            (Rewards::pool(1), Earnings::<Test>::iter().count()),
            (None, 0),
            "a claimed round is forgotten"
        );
        assert_eq!(
            Rewards::books(),
            Books { emitted: 100 * POL, paid: 100 * POL, ..Default::default() }
        );
    });
}

#[test]
fn each_misuse_has_its_error() {
    run(|| {
        Rewards::round_concluded(1, 2);
        Rewards::settled(1, &[(1, earned(1, 1, 1))]);
        Round::set(ESCROW);
        assert_noop!(claim(1, 1), Refusal::TooEarly);
        assert_noop!(claim(2, 1), Refusal::NothingToClaim);
        assert_noop!(claim(1, 2), Refusal::NothingToClaim);
        assert_noop!(Rewards::claim(Origin::root(), 1), DispatchError::BadOrigin);
        Round::set(1 + ESCROW);
        assert_noop!(claim(1, 1), Refusal::Unsettled);
        Rewards::settled(1, &[]);
        // Governance may change how long rewards wait.
        EscrowRounds::set(ESCROW + 1);
        assert_noop!(claim(1, 1), Refusal::TooEarly);
        EscrowRounds::set(0);
        assert_ok!(claim(1, 1));
    });
}

#[test]
fn rewards_are_listed_from_the_newest_on() {
    run(|| {
        for round in 1..=3 {
            Rewards::round_concluded(round, 2);
            Rewards::settled(round, &[(1, earned(10, 0, 0)), (2, earned(30, 0, 1))]);
            if round < 3 {
                Rewards::settled(round, &[(3, earned(0, 1, 0))]);
            }
        }
        let reward = |round, amount| Reward { round, amount, from: round + ESCROW };
        let quarter = 17 * POL + POL / 2;
        assert_eq!(
            Rewards::rewards(1),
            [reward(3, None), reward(2, Some(quarter)), reward(1, Some(quarter))]
        );
        assert_eq!(Rewards::rewards(9), []);
        // What is said is what is paid.
        Round::set(9);
        assert_ok!(claim(1, 1));
        assert_eq!(gained(1), quarter);
        assert_eq!(Rewards::rewards(1).len(), 2);
    });
}

#[test]
fn a_share_of_nothing_can_be_claimed_away() {
    run_with(
        Emission { trainers: MILLION, validators: 0, providers: 0, ..Default::default() },
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
fn too_little_for_an_account_to_live_goes_on_waiting() {
    run_with(Emission { initial: 1_000, ..Default::default() }, 1_000 * POL, || {
        settled_round(1, &[(99, earned(1, 1, 1))]);
        assert_noop!(claim(99, 1), TokenError::BelowMinimum);
        assert_eq!(Rewards::rewards(99), [Reward { round: 1, amount: Some(950), from: 3 }]);
        assert_ok!(Balances::transfer_allow_death(Origin::signed(1), 99, POL));
        assert_ok!(claim(99, 1));
        assert_eq!((Balances::balance(&99), pot()), (POL + 950, 0));
    });
}
