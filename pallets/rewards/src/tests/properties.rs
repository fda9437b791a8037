//! The books hold to the last unit, whatever happens in whatever order.

use super::*;
use proptest::{prelude::*, sample::Index};

#[derive(Clone, Debug)]
enum Action {
    Conclude(u32),
    Settle(Index, Vec<(AccountId, Earned)>),
    Claim(AccountId, Index),
    Fine(Balance, Vec<AccountId>),
    Forfeit(AccountId, Vec<AccountId>),
    Pass,
    SetEscrow(RoundNumber),
    SetEmission(Emission),
}

/// Accounts 10 and 11 own nothing.
fn account() -> impl Strategy<Value = AccountId> {
    1u64..12
}

fn weights() -> impl Strategy<Value = Vec<(AccountId, Earned)>> {
    let earned = (0u128..1 << 78, 0u32..3, 0u32..9)
        .prop_map(|(training, seats, shards)| earned(training, seats, shards));
    prop::collection::vec((account(), earned), 0..6)
}

/// Around what the existential deposit makes a difference for.
fn amount() -> impl Strategy<Value = Balance> {
    prop_oneof![0..100u128, 0..20 * POL]
}

fn emission() -> impl Strategy<Value = Emission> {
    let shares = (0..=MILLION / 2, 0..=MILLION / 4, 0..=MILLION / 4);
    (amount(), shares).prop_map(|(initial, (trainers, validators, providers))| Emission {
        initial,
        halving: 3,
        trainers,
        validators,
        providers,
    })
}

fn action() -> impl Strategy<Value = Action> {
    let accounts = || prop::collection::vec(account(), 0..4);
    prop_oneof![
        3 => (0u32..4).prop_map(Action::Conclude),
        6 => (any::<Index>(), weights()).prop_map(|(round, earned)| Action::Settle(round, earned)),
        5 => (account(), any::<Index>()).prop_map(|(who, round)| Action::Claim(who, round)),
        2 => (amount(), accounts()).prop_map(|(amount, provers)| Action::Fine(amount, provers)),
        2 => (account(), accounts()).prop_map(|(who, provers)| Action::Forfeit(who, provers)),
        2 => Just(Action::Pass),
        1 => (0u32..4).prop_map(Action::SetEscrow),
        1 => emission().prop_map(Action::SetEmission),
    ]
}

/// Pays everybody everything.
fn claim_all() {
    for (who, key, _) in Earnings::<Test>::iter().collect::<Vec<_>>() {
        // So that it can take less than the existential deposit.
        assert_ok!(Balances::force_set_balance(
            Origin::root(),
            who,
            Balances::balance(&who).max(DEPOSIT)
        ));
        assert_ok!(claim(who, key.into()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_books_hold(emission in emission(), actions in prop::collection::vec(action(), 1..80)) {
        run_with(emission, 1_000 * POL, || {
            let start = Balances::total_issuance();
            for action in actions {
                // Rounds count from one.
                let some = |round: Index| 1 + round.index(Round::get() as usize + 1) as u32;
                match action {
                    Action::Conclude(updates) => {
                        Round::mutate(|round| *round += 1);
                        Rewards::round_concluded(Round::get(), updates);
                    }
                    Action::Settle(round, earned) => Rewards::settled(some(round), &earned),
                    Action::Claim(who, round) => {
                        let (before, books, round) = (Balances::balance(&who), Rewards::books(), some(round));
                        let promised = Rewards::rewards(who).into_iter().find(|reward| reward.round == round);
                        if claim(who, round).is_ok() {
                            let paid = Balances::balance(&who) - before;
                            assert_eq!(promised.and_then(|reward| reward.amount), Some(paid));
                            assert_eq!(Rewards::books().paid, books.paid + paid);
                        } else {
                            assert_eq!((Balances::balance(&who), Rewards::books()), (before, books));
                        }
                    }
                    Action::Fine(amount, provers) => {
                        assert_ok!(Balances::transfer_allow_death(Origin::signed(1), Rewards::pot(), amount));
                        Rewards::fined(amount, &provers);
                    }
                    Action::Forfeit(who, provers) => Rewards::forfeit(&who, &provers),
                    Action::Pass => Round::mutate(|round| *round += 1),
                    Action::SetEscrow(rounds) => EscrowRounds::set(rounds),
                    Action::SetEmission(emission) => {
                        assert_ok!(Rewards::set_emission(Origin::root(), emission));
                    }
                }
                Rewards::do_try_state().unwrap();
                let books = Rewards::books();
                assert_eq!(pot(), books.waiting);
                assert_eq!(Balances::total_issuance() + books.burned, start + books.emitted);
            }
            // In the end everybody can be paid, and nothing is left.
            for (round, pool) in Pools::<Test>::iter().collect::<Vec<_>>() {
                (0..pool.unsettled).for_each(|_| Rewards::settled(round, &[]));
            }
            Round::set(1_000);
            claim_all();
            assert_eq!((pot(), Rewards::books().waiting, Pools::<Test>::iter().count()), (0, 0, 0));
        });
    }

    #[test]
    fn claims_in_any_order_pay_everything(
        initial in amount(),
        earned in prop::collection::vec((0u128..1 << 78, 0u32..3, 0u32..9), 1..9),
        order in Just((1u64..=9).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        run_with(Emission { initial, ..Default::default() }, 1_000 * POL, || {
            let earned: Vec<_> = (1..).zip(earned.iter().map(|&(a, b, c)| super::earned(a, b, c))).collect();
            settled_round(1, &earned);
            let (before, waiting) = (Rewards::books().paid, Rewards::books().waiting);
            let exact = |who| Rewards::rewards(who).first().and_then(|reward| reward.amount);
            let expected: Vec<_> = (1..=9).map(exact).collect();
            let mut paid = 0;
            for who in order {
                match claim(who, 1) {
                    Ok(()) => {
                        paid += gained(who);
                        // The order matters by rounding only: a unit a pot.
                        let share = expected[who as usize - 1].unwrap();
                        assert!(gained(who).abs_diff(share) <= 3 * 9, "{} instead of {share}", gained(who));
                    }
                    Err(error) => {
                        assert_eq!(error, Refusal::NothingToClaim.into());
                        assert!(expected[who as usize - 1].is_none());
                    }
                }
            }
            assert_eq!((paid, pot(), Rewards::books().paid), (waiting, 0, before + waiting));
        });
    }
}
