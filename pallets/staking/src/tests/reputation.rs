// SPDX-License-Identifier: Apache-2.0

//! Effects of settled audits on the ledgers.

use super::*;

fn reputation(who: AccountId) -> u32 {
    Ledgers::<Test>::get(who).unwrap().reputation
}

#[test]
fn verified_updates_raise_reputation_and_others_lower_it() {
    run(|| {
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 1_000 * POL));
        assert_eq!(reputation(1), 0);
        Staking::note_training(&1, false);
        assert_eq!(reputation(1), 0);
        Staking::note_training(&1, true);
        assert_eq!(reputation(1), MILLION / 16);
        for _ in 0..400 {
            Staking::note_training(&1, true);
        }
        assert_eq!(reputation(1), MILLION);
        Staking::note_training(&1, false);
        assert_eq!(reputation(1), MILLION - MILLION / 16);
    });
}

#[test]
fn silent_rounds_are_strikes_and_others_take_them_away() {
    run(|| {
        activate(1, 5_000);
        let strikes = [false, false, true, false, false, true]
            .map(|right| Staking::note_seats(&1, &tally(right)));
        assert_eq!(strikes, [1, 2, 1, 2, 3, 2]);
        assert!(reputation(1) > 0);
    });
}

#[test]
fn reputation_ends_with_the_role() {
    run(|| {
        Staking::note_training(&1, true);
        assert_eq!(Staking::note_seats(&1, &tally(false)), 0);
        assert_eq!(Ledgers::<Test>::get(1), None);
        // A returning account starts at zero.
        activate(1, 5_000);
        Staking::note_seats(&1, &tally(true));
        assert_ok!(Staking::unbond(Origin::signed(1)));
        System::set_block_number(1 + UNBONDING_PERIOD);
        assert_ok!(Staking::withdraw(Origin::signed(1)));
        assert_ok!(Staking::bond(Origin::signed(1), Role::Trainer, 1_000 * POL));
        assert_eq!(reputation(1), 0);
    });
}
