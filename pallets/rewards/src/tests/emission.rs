// SPDX-License-Identifier: Apache-2.0

//! Emission of rounds and their settlement.

use super::*;
use pol_primitives::rewards::{Pot, RoundPool};

#[test]
fn emission_is_minted_and_the_treasury_is_paid() {
    run(|| {
        let before = Balances::total_issuance();
        assert_eq!((pot(), treasury()), (0, 0));
        emit(1, 3);
        let shares = EmissionShares {
            trainers: 70 * POL,
            validators: 18 * POL,
            providers: 7 * POL,
            treasury: 5 * POL,
        };
        assert_eq!(Rewards::pool(1), Some(RoundPool::new(&shares, 5_000, 3)));
        assert_eq!(
            (pot(), treasury(), Balances::total_issuance()),
            (95 * POL, 5 * POL, before + 100 * POL)
        );
        let ledger =
            Ledger { emitted: 100 * POL, paid: 5 * POL, waiting: 95 * POL, ..Default::default() };
        assert_eq!(Rewards::ledger(), ledger);
        assert_eq!(take_events(), [Event::Escrowed { round: 1, shares }]);
        // After a year, blocks emit half as much.
        emit(105_121, 1);
        assert_eq!((pot(), Rewards::ledger().emitted), (142 * POL + POL / 2, 150 * POL));
    });
}

#[test]
fn no_round_emits_twice() {
    run(|| {
        settled_round(5, &[(1, earned(1, 1, 1))]);
        assert_ok!(claim(1, 5));
        let before = Rewards::ledger();
        take_events();
        // Neither a removed round nor an earlier one emits again.
        emit(5, 1);
        emit(4, 1);
        assert_eq!(
            (Rewards::ledger(), Rewards::pool(5), Rewards::pool(4), take_events()),
            (before, None, None, vec![])
        );
        assert_eq!(LastEmitted::<Test>::get(), Some((5, 500)));
    });
}

#[test]
fn time_emits_and_rounds_share_it() {
    run(|| {
        let emitted = |round, time| {
            let before = Rewards::ledger().emitted;
            Rewards::emit_round(round, time, 1);
            (Rewards::ledger().emitted - before) / POL
        };
        assert_eq!(emitted(1, 0..8), 8);
        // Time that another round has drawn is not drawn again.
        assert_eq!(emitted(2, 4..16), 8);
        // That of a void round is lost, and so is what exceeds the limit of a round.
        assert_eq!(emitted(4, 200..230), 30);
        assert_eq!(emitted(5, 230..1_000), 100);
        assert_eq!(emitted(6, 1_000..1_004), 4);
        assert_eq!(emitted(7, 1_003..1_003), 0);
        assert_eq!(emitted(8, 900..1_001), 0);
        assert_eq!(LastEmitted::<Test>::get(), Some((6, 1_004)));
    });
}

#[test]
fn emission_ends_at_the_cap() {
    run(|| {
        MaxEmission::set(150 * POL);
        emit(1, 1);
        emit(2, 1);
        assert_eq!(Rewards::ledger().emitted, 150 * POL);
        assert_eq!(Rewards::pool(2).unwrap().left(), 47 * POL + POL / 2);
        emit(3, 1);
        assert_eq!((Rewards::ledger().emitted, Rewards::pool(3)), (150 * POL, None));
        // Whatever governance sets and whatever is burned.
        let emission = EmissionSchedule { per_block: 9 * POL, ..Default::default() };
        assert_ok!(Rewards::set_emission(Origin::root(), emission));
        settle(1, &[]);
        settle(2, &[]);
        emit(4, 1);
        assert_eq!((Rewards::ledger().emitted, Rewards::pool(4)), (150 * POL, None));
    });
}

#[test]
fn too_many_unsettled_rounds_emit_nothing() {
    run(|| {
        (1..=MAX_UNSETTLED_ROUNDS).for_each(|round| emit(round, 1));
        let before = Rewards::ledger();
        emit(MAX_UNSETTLED_ROUNDS + 1, 1);
        assert_eq!(Rewards::ledger(), before);
        settle(7, &[]);
        assert!(!UnsettledRounds::<Test>::get().contains(&7));
        emit(MAX_UNSETTLED_ROUNDS + 2, 1);
        assert!(Rewards::ledger().emitted > before.emitted);
    });
}

#[test]
fn a_round_without_gain_pays_a_fixed_amount_for_each_seat() {
    run(|| {
        emit(1, 2);
        Rewards::record_settlement(1, false, &[(7, earned(0, 1, 0)), (8, earned(0, 1, 0))]);
        Rewards::record_settlement(1, false, &[(7, earned(0, 1, 0))]);
        let seat = 9 * POL / 100;
        assert!(
            take_events()
                .contains(&Event::RoundSettled { round: 1, unearned: 95 * POL - 3 * seat })
        );
        Round::set(9);
        assert_ok!(claim(7, 1));
        assert_ok!(claim(8, 1));
        assert_eq!((gained(7), gained(8), pot()), (2 * seat, seat, 0));
        // One update that improved something is enough for the validators' whole part.
        emit(2, 2);
        Rewards::record_settlement(2, true, &[(7, earned(0, 1, 0))]);
        Rewards::record_settlement(2, false, &[(8, earned(0, 1, 0))]);
        assert_eq!(Rewards::pool(2).unwrap().left(), 18 * POL);
    });
}

#[test]
fn a_round_without_updates_or_emission_stores_nothing() {
    run(|| {
        emit(1, 0);
        emit(u32::MAX, 2);
        settle(u32::MAX, &[(1, earned(1, 1, 1))]);
        assert_eq!(
            (Rewards::ledger(), LastEmitted::<Test>::get(), take_events()),
            (Ledger::default(), None, vec![])
        );
        assert_eq!((Pools::<Test>::iter().count(), Earnings::<Test>::iter().count()), (0, 0));
    });
}

#[test]
fn a_failed_mint_records_nothing() {
    let wealth = Balance::MAX / 9 - POL;
    run_with(EmissionSchedule::default(), wealth, || {
        emit(1, 1);
        settle(1, &[(1, earned(1, 1, 1))]);
        assert_eq!((Rewards::ledger(), pot(), Rewards::pool(1)), (Ledger::default(), 0, None));
        assert_eq!(Rewards::pending_rewards(1), []);
    });
}

#[test]
fn amounts_below_the_existential_deposit_are_shared_exactly() {
    run_with(EmissionSchedule { per_round: 101, ..Default::default() }, 1_000 * POL, || {
        settled_round(1, &[(1, earned(1, 2, 0)), (2, earned(2, 1, 5))]);
        let paid = 101 - 70 - 18 - 7;
        assert_eq!((pot(), treasury()), (95, paid));
        assert_ok!(claim(1, 1));
        assert_ok!(claim(2, 1));
        assert_eq!((gained(1), gained(2), pot()), (23 + 12, 47 + 6 + 7, 0));
        assert_eq!(Rewards::ledger(), Ledger { emitted: 101, paid: 101, ..Default::default() });
    });
}

#[test]
fn a_treasury_share_that_cannot_be_paid_is_burned() {
    run_with(EmissionSchedule { per_round: 100, ..Default::default() }, 1_000 * POL, || {
        assert_ok!(Balances::force_transfer(
            Origin::root(),
            Rewards::treasury_account(),
            1,
            DEPOSIT
        ));
        emit(1, 1);
        assert_eq!((pot(), Balances::balance(&Rewards::treasury_account())), (95, 0));
        assert_eq!(
            Rewards::ledger(),
            Ledger { emitted: 100, burned: 5, waiting: 95, ..Default::default() }
        );
    });
}

#[test]
fn governance_changes_future_rounds() {
    run(|| {
        emit(1, 1);
        let emission = EmissionSchedule {
            per_block: 2 * POL,
            per_round: 10 * POL,
            halving: 0,
            trainers: MILLION,
            validators: 0,
            providers: 0,
            per_seat: 0,
        };
        assert_noop!(Rewards::set_emission(Origin::signed(1), emission), DispatchError::BadOrigin);
        let greedy = EmissionSchedule { validators: 1, ..emission };
        assert_noop!(Rewards::set_emission(Origin::root(), greedy), PalletError::InvalidEmission);
        assert_ok!(Rewards::set_emission(Origin::root(), emission));
        assert!(take_events().contains(&Event::EmissionSet { emission }));
        emit(2, 1);
        let trainers = Pot { left: 10 * POL, weight: 0 };
        assert_eq!(
            Rewards::pool(2),
            Some(RoundPool { unsettled: 1, trainers, ..Default::default() })
        );
        assert_eq!((Rewards::pool(1).unwrap().left(), pot()), (95 * POL, 105 * POL));
    });
}

#[test]
fn unearned_pots_are_burned_with_the_last_settlement() {
    run(|| {
        let before = Balances::total_issuance();
        emit(1, 3);
        take_events();
        // Only seats earn in the first two settlements, and nobody earns in the third.
        settle(1, &[(7, earned(0, 1, 0))]);
        settle(1, &[(7, earned(0, 1, 0)), (8, earned(0, 1, 0)), (9, RoundEarnings::default())]);
        assert_eq!((take_events(), pot()), (vec![], 95 * POL));
        settle(1, &[]);
        assert_eq!(take_events(), [Event::RoundSettled { round: 1, unearned: 77 * POL }]);
        let ledger = Ledger {
            emitted: 100 * POL,
            paid: 5 * POL,
            burned: 77 * POL,
            waiting: 18 * POL,
            ..Default::default()
        };
        assert_eq!(
            (Rewards::ledger(), pot(), Balances::total_issuance()),
            (ledger, 18 * POL, before + 23 * POL)
        );
        assert_eq!(Earnings::<Test>::get(7, DescendingRound::from(1)), Some(earned(0, 2, 0)));
        assert_eq!(Earnings::<Test>::get(9, DescendingRound::from(1)), None);

        // A round without earnings is removed at once.
        emit(2, 1);
        settle(2, &[]);
        assert_eq!(
            (Rewards::pool(2), pot(), Rewards::ledger().burned),
            (None, 18 * POL, 172 * POL)
        );
    });
}

#[test]
fn nothing_is_earned_after_the_last_settlement() {
    run(|| {
        settled_round(1, &[(1, earned(1, 1, 1))]);
        let before = Rewards::pool(1);
        settle(1, &[(2, earned(100, 1, 1))]);
        assert_eq!((Rewards::pool(1), Rewards::pending_rewards(2)), (before, vec![]));
        // A round that emitted nothing ignores settlements as well.
        settle(9, &[(2, earned(100, 1, 1))]);
        assert_eq!(Earnings::<Test>::iter().count(), 1);
    });
}

#[test]
fn transfers_to_the_pot_are_not_part_of_the_ledger() {
    run(|| {
        emit(1, 1);
        assert_ok!(Balances::transfer_allow_death(Origin::signed(1), Rewards::pot_account(), POL));
        assert_eq!((pot(), Rewards::ledger().waiting), (96 * POL, 95 * POL));
    });
}

#[test]
#[should_panic(expected = "the genesis emission is invalid")]
fn genesis_rejects_an_invalid_emission() {
    run_with(EmissionSchedule { trainers: MILLION + 1, ..Default::default() }, POL, || ());
}
