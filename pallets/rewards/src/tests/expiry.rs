// SPDX-License-Identifier: Apache-2.0

//! Expiry of rewards.

use super::*;
use crate::{Earners, FirstKept, MAX_EXPIRED};
use polkadot_sdk::frame_support::traits::Hooks;

/// Begins a block in `round`.
fn block(round: RoundNumber) {
    Round::set(round);
    let now = System::block_number() + 1;
    System::set_block_number(now);
    Rewards::on_initialize(now);
    Rewards::do_try_state().unwrap();
}

#[test]
fn an_unclaimed_reward_expires_and_is_burned() {
    run(|| {
        settled_round(1, &[(1, earned(30, 0, 0)), (2, earned(10, 1, 1))]);
        settled_round(2, &[(1, earned(1, 1, 1))]);
        assert_ok!(claim(2, 1));
        take_events();
        block(1 + KEPT_ROUNDS);
        assert_eq!(take_events(), []);
        let burned = Rewards::ledger().burned;
        block(2 + KEPT_ROUNDS);
        let amount = 52 * POL + POL / 2;
        assert_eq!(take_events(), [Event::Expired { round: 1, amount }]);
        assert_eq!(Rewards::ledger().burned, burned + amount);
        assert_eq!((Rewards::pool(1), FirstKept::<Test>::get()), (None, 2));
        assert_noop!(claim(1, 1), PalletError::NothingToClaim);
        // That of the next round can still be claimed.
        assert_ok!(claim(1, 2));
        assert_eq!((pot(), Earners::<Test>::iter().count()), (0, 0));
    });
}

#[test]
fn a_round_that_is_not_settled_is_kept_with_all_after_it() {
    run(|| {
        emit(1, 2);
        settle(1, &[(1, earned(1, 1, 1))]);
        settled_round(2, &[(2, earned(1, 1, 1))]);
        block(9 + KEPT_ROUNDS);
        assert_eq!(FirstKept::<Test>::get(), 1);
        settle(1, &[]);
        block(9 + KEPT_ROUNDS);
        assert_eq!((FirstKept::<Test>::get(), pot()), (9, 0));
    });
}

#[test]
fn a_block_lets_a_bounded_number_of_rewards_expire() {
    run(|| {
        let all: Vec<_> =
            (10..10 + u64::from(MAX_EXPIRED)).map(|who| (who, earned(1, 1, 1))).collect();
        settled_round(1, &all);
        block(2 + KEPT_ROUNDS);
        // Each round that the block looks at counts as well.
        assert_eq!(Earners::<Test>::iter().count(), 2);
        block(2 + KEPT_ROUNDS);
        assert_eq!((Earners::<Test>::iter().count(), FirstKept::<Test>::get()), (0, 2));
        // Rounds without rewards are passed likewise.
        block(2 + KEPT_ROUNDS + 2 * MAX_EXPIRED);
        assert_eq!(FirstKept::<Test>::get(), 2 + MAX_EXPIRED);
    });
}
