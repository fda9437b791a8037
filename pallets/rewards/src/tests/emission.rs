//! What rounds emit, and what becomes of it when they are settled.

use super::*;
use pol_primitives::rewards::{Pot, RoundPool};

#[test]
fn a_round_is_minted_and_the_treasury_has_its_share() {
    run(|| {
        let before = Balances::total_issuance();
        assert_eq!((pot(), treasury()), (0, 0));
        Rewards::round_concluded(1, 3);
        let shares = Shares {
            trainers: 70 * POL,
            validators: 18 * POL,
            providers: 7 * POL,
            treasury: 5 * POL,
        };
        assert_eq!(Rewards::pool(1), Some(RoundPool::new(&shares, 3)));
        assert_eq!(
            (pot(), treasury(), Balances::total_issuance()),
            (95 * POL, 5 * POL, before + 100 * POL)
        );
        let books =
            Books { emitted: 100 * POL, paid: 5 * POL, waiting: 95 * POL, ..Default::default() };
        assert_eq!(Rewards::books(), books);
        assert_eq!(events(), [Event::Escrowed { round: 1, shares }]);
        Rewards::round_concluded(100_000, 1);
        assert_eq!((pot(), Rewards::books().emitted), (142 * POL + POL / 2, 150 * POL));
    });
}

#[test]
fn nothing_is_emitted_twice() {
    run(|| {
        settled_round(5, &[(1, earned(1, 1, 1))]);
        assert_ok!(claim(1, 5));
        let before = Rewards::books();
        events();
        // Also when the round is claimed and forgotten, and never backwards.
        Rewards::round_concluded(5, 1);
        Rewards::round_concluded(4, 1);
        assert_eq!(
            (Rewards::books(), Rewards::pool(5), Rewards::pool(4), events()),
            (before, None, None, vec![])
        );
        assert_eq!(LastEmitted::<Test>::get(), Some(5));
    });
}

#[test]
fn a_round_without_updates_or_emission_leaves_no_trace() {
    run(|| {
        Rewards::round_concluded(1, 0);
        Rewards::round_concluded(u32::MAX, 2);
        Rewards::settled(u32::MAX, &[(1, earned(1, 1, 1))]);
        assert_eq!(
            (Rewards::books(), LastEmitted::<Test>::get(), events()),
            (Books::default(), None, vec![])
        );
        assert_eq!((Pools::<Test>::iter().count(), Earnings::<Test>::iter().count()), (0, 0));
    });
}

#[test]
fn what_cannot_be_minted_is_not_recorded() {
    let wealth = Balance::MAX / 9 - POL;
    run_with(Emission::default(), wealth, || {
        Rewards::round_concluded(1, 1);
        Rewards::settled(1, &[(1, earned(1, 1, 1))]);
        assert_eq!((Rewards::books(), pot(), Rewards::pool(1)), (Books::default(), 0, None));
        assert_eq!(Rewards::rewards(1), []);
    });
}

#[test]
fn less_than_the_existential_deposit_is_shared_to_the_last_unit() {
    run_with(Emission { initial: 101, ..Default::default() }, 1_000 * POL, || {
        settled_round(1, &[(1, earned(1, 2, 0)), (2, earned(2, 1, 5))]);
        let paid = 101 - 70 - 18 - 7;
        assert_eq!((pot(), treasury()), (95, paid));
        assert_ok!(claim(1, 1));
        assert_ok!(claim(2, 1));
        assert_eq!((gained(1), gained(2), pot()), (23 + 12, 47 + 6 + 7, 0));
        assert_eq!(Rewards::books(), Books { emitted: 101, paid: 101, ..Default::default() });
    });
}

#[test]
fn a_treasury_that_cannot_take_its_share_loses_it() {
    run_with(Emission { initial: 100, ..Default::default() }, 1_000 * POL, || {
        assert_ok!(Balances::force_transfer(Origin::root(), Rewards::treasury(), 1, DEPOSIT));
        Rewards::round_concluded(1, 1);
        assert_eq!((pot(), Balances::balance(&Rewards::treasury())), (95, 0));
        assert_eq!(
            Rewards::books(),
            Books { emitted: 100, burned: 5, waiting: 95, ..Default::default() }
        );
    });
}

#[test]
fn governance_changes_the_rounds_to_come() {
    run(|| {
        Rewards::round_concluded(1, 1);
        let emission = Emission {
            initial: 10 * POL,
            halving: 0,
            trainers: MILLION,
            validators: 0,
            providers: 0,
        };
        assert_noop!(Rewards::set_emission(Origin::signed(1), emission), DispatchError::BadOrigin);
        let greedy = Emission { validators: 1, ..emission };
        assert_noop!(Rewards::set_emission(Origin::root(), greedy), Refusal::InvalidEmission);
        assert_ok!(Rewards::set_emission(Origin::root(), emission));
        assert!(events().contains(&Event::EmissionSet { emission }));
        Rewards::round_concluded(2, 1);
        let trainers = Pot { left: 10 * POL, weight: 0 };
        assert_eq!(
            Rewards::pool(2),
            Some(RoundPool { unsettled: 1, trainers, ..Default::default() })
        );
        assert_eq!((Rewards::pool(1).unwrap().left(), pot()), (95 * POL, 105 * POL));
    });
}

#[test]
fn what_nobody_earned_is_burned_when_the_last_update_is_settled() {
    run(|| {
        let before = Balances::total_issuance();
        Rewards::round_concluded(1, 3);
        events();
        // Seats found one update invalid and two valid, of trainers that are not paid.
        Rewards::settled(1, &[(7, earned(0, 1, 0))]);
        Rewards::settled(1, &[(7, earned(0, 1, 0)), (8, earned(0, 1, 0)), (9, Earned::default())]);
        assert_eq!((events(), pot()), (vec![], 95 * POL));
        Rewards::settled(1, &[]);
        assert_eq!(events(), [Event::RoundSettled { round: 1, unearned: 77 * POL }]);
        let books = Books {
            emitted: 100 * POL,
            paid: 5 * POL,
            burned: 77 * POL,
            waiting: 18 * POL,
            ..Default::default()
        };
        assert_eq!(
            (Rewards::books(), pot(), Balances::total_issuance()),
            (books, 18 * POL, before + 23 * POL)
        );
        assert_eq!(Earnings::<Test>::get(7, NewestFirst::from(1)), Some(earned(0, 2, 0)));
        assert_eq!(Earnings::<Test>::get(9, NewestFirst::from(1)), None);

        // A round in which nobody earned anything is forgotten at once.
        Rewards::round_concluded(2, 1);
        Rewards::settled(2, &[]);
        assert_eq!((Rewards::pool(2), pot(), Rewards::books().burned), (None, 18 * POL, 172 * POL));
    });
}

#[test]
fn nothing_is_earned_after_the_last_update() {
    run(|| {
        settled_round(1, &[(1, earned(1, 1, 1))]);
        let before = Rewards::pool(1);
        Rewards::settled(1, &[(2, earned(100, 1, 1))]);
        assert_eq!((Rewards::pool(1), Rewards::rewards(2)), (before, vec![]));
        // Nor in a round that emitted nothing.
        Rewards::settled(9, &[(2, earned(100, 1, 1))]);
        assert_eq!(Earnings::<Test>::iter().count(), 1);
    });
}

#[test]
fn gifts_to_the_pot_are_no_error() {
    run(|| {
        Rewards::round_concluded(1, 1);
        assert_ok!(Balances::transfer_allow_death(Origin::signed(1), Rewards::pot(), POL));
        assert_eq!((pot(), Rewards::books().waiting), (96 * POL, 95 * POL));
    });
}

#[test]
#[should_panic(expected = "the shares of the genesis emission are more than the whole")]
fn genesis_refuses_an_invalid_emission() {
    run_with(Emission { trainers: MILLION + 1, ..Default::default() }, POL, || ());
}
