// SPDX-License-Identifier: Apache-2.0

//! The ledger is exact after any sequence of actions.

use super::*;
use pol_primitives::explanation::RewardState;
use proptest::{prelude::*, sample::Index};

#[derive(Clone, Debug)]
enum Action {
    Conclude(u32, u32),
    Settle(Index, bool, Vec<(AccountId, RoundEarnings)>),
    Claim(AccountId, Index),
    Fine(Balance),
    Forfeit(AccountId),
    Pass,
    Expire,
    SetEscrow(RoundNumber),
    SetEmission(EmissionSchedule),
}

/// Accounts 10 and 11 own nothing.
fn account() -> impl Strategy<Value = AccountId> {
    1u64..12
}

fn weights() -> impl Strategy<Value = Vec<(AccountId, RoundEarnings)>> {
    let earned = (0u128..1 << 78, 0u32..3, 0u64..9)
        .prop_map(|(training, seats, effect)| earned(training, seats, effect));
    prop::collection::vec((account(), earned), 0..6)
}

/// Amounts around the existential deposit.
fn amount() -> impl Strategy<Value = Balance> {
    prop_oneof![0..100u128, 0..20 * POL]
}

fn emission() -> impl Strategy<Value = EmissionSchedule> {
    let shares = (0..=MILLION / 2, 0..=MILLION / 4, 0..=MILLION / 4);
    let rest = (1u128..200, 0..MILLION / 3);
    (amount(), shares, rest).prop_map(
        |(per_round, (trainers, validators, providers), (blocks, per_seat))| EmissionSchedule {
            per_block: per_round / blocks,
            per_round,
            halving: 300,
            trainers,
            validators,
            providers,
            per_seat,
        },
    )
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (0u32..4, 0u32..300).prop_map(|(updates, blocks)| Action::Conclude(updates, blocks)),
        6 => (any::<Index>(), any::<bool>(), weights())
            .prop_map(|(round, improved, earned)| Action::Settle(round, improved, earned)),
        5 => (account(), any::<Index>()).prop_map(|(who, round)| Action::Claim(who, round)),
        2 => amount().prop_map(Action::Fine),
        2 => account().prop_map(Action::Forfeit),
        2 => Just(Action::Pass),
        1 => Just(Action::Expire),
        1 => (0u32..4).prop_map(Action::SetEscrow),
        1 => emission().prop_map(Action::SetEmission),
    ]
}

/// Claims all rewards.
fn claim_all() {
    for (who, key, _) in Earnings::<Test>::iter().collect::<Vec<_>>() {
        // An existing account can take less than the existential deposit.
        assert_ok!(Balances::force_set_balance(
            Origin::root(),
            who,
            Balances::balance(&who).max(DEPOSIT)
        ));
        assert_ok!(claim(who, key.into()));
    }
}

/// Claims a reward, and checks that the announced amount is paid or nothing changes.
fn checked_claim(who: AccountId, round: RoundNumber) {
    let (balance, ledger) = (Balances::balance(&who), Rewards::ledger());
    let announced = Rewards::pending_rewards(who).into_iter().find(|reward| reward.round == round);
    let explained = Rewards::explain(who, round);
    if claim(who, round).is_ok() {
        let paid = Balances::balance(&who) - balance;
        assert_eq!(announced.and_then(|reward| reward.amount), Some(paid));
        assert_eq!((explained.state, explained.amount), (RewardState::Claimable, Some(paid)));
        assert_eq!(Rewards::ledger().paid, ledger.paid + paid);
    } else {
        assert_eq!((Balances::balance(&who), Rewards::ledger()), (balance, ledger));
    }
}

/// Checks that every pending reward has an explanation that adds up to it.
fn check_explanations() {
    for who in 1..12 {
        for reward in Rewards::pending_rewards(who) {
            let explained = Rewards::explain(who, reward.round);
            assert_eq!((explained.amount, explained.from), (reward.amount, reward.from));
            let parts = [explained.training.share, explained.seats.share, explained.data.share];
            let sum: Option<Balance> = parts.iter().map(|share| share.amount).sum();
            assert_eq!(sum, reward.amount);
        }
    }
}

impl Action {
    /// Applies the action at `now`, and returns the time after it.
    fn apply(self, now: u32) -> u32 {
        // Rounds count from one.
        let round_at = |index: Index| 1 + index.index(Round::get() as usize + 1) as u32;
        match self {
            Self::Conclude(updates, blocks) => {
                Round::mutate(|round| *round += 1);
                Rewards::emit_round(Round::get(), now..now + blocks, updates);
                return now + blocks;
            }
            Self::Settle(index, improved, earned) => {
                Rewards::record_settlement(round_at(index), improved, &earned);
            }
            Self::Claim(who, index) => checked_claim(who, round_at(index)),
            Self::Fine(amount) => {
                let (from, pot) = (Origin::signed(1), Rewards::pot_account());
                assert_ok!(Balances::transfer_allow_death(from, pot, amount));
                Rewards::burn_fine(amount);
            }
            Self::Forfeit(who) => Rewards::forfeit(&who),
            Self::Pass => Round::mutate(|round| *round += 1),
            Self::Expire => {
                // Everything that can expire so soon does.
                Round::mutate(|round| *round += KEPT_ROUNDS + 1);
                Rewards::expire();
            }
            Self::SetEscrow(rounds) => EscrowRounds::set(rounds),
            Self::SetEmission(emission) => {
                assert_ok!(Rewards::set_emission(Origin::root(), emission));
            }
        }
        now
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_ledger_is_exact(
        emission in emission(),
        cap in 0..200 * POL,
        actions in prop::collection::vec(action(), 1..80),
    ) {
        run_with(emission, 1_000 * POL, || {
            MaxEmission::set(cap);
            let (start, mut now) = (Balances::total_issuance(), 0);
            for action in actions {
                now = action.apply(now);
                Rewards::do_try_state().unwrap();
                check_explanations();
                let ledger = Rewards::ledger();
                assert_eq!(pot(), ledger.waiting);
                assert!(ledger.emitted <= cap);
                assert_eq!(Balances::total_issuance() + ledger.burned, start + ledger.emitted);
            }
            // In the end every reward can be paid, and nothing is left.
            for (round, pool) in Pools::<Test>::iter().collect::<Vec<_>>() {
                (0..pool.unsettled).for_each(|_| settle(round, &[]));
            }
            // Time goes on: whatever waits is out of escrow by then.
            Round::mutate(|round| *round += 1_000);
            claim_all();
            assert_eq!((pot(), Rewards::ledger().waiting), (0, 0));
            assert_eq!(Pools::<Test>::iter().count(), 0);
        });
    }

    #[test]
    fn claims_in_any_order_pay_everything(
        per_round in amount(),
        earned in prop::collection::vec((0u128..1 << 78, 0u32..3, 0u64..9), 1..9),
        order in Just((1u64..=9).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        run_with(EmissionSchedule { per_round, ..Default::default() }, 1_000 * POL, || {
            let earned = earned.iter().map(|&(a, b, c)| super::earned(a, b, c));
            let earned: Vec<_> = (1..).zip(earned).collect();
            settled_round(1, &earned);
            let (before, waiting) = (Rewards::ledger().paid, Rewards::ledger().waiting);
            let exact = |who| Rewards::pending_rewards(who).first()?.amount;
            let expected: Vec<_> = (1..=9).map(exact).collect();
            let mut paid = 0;
            for who in order {
                match claim(who, 1) {
                    Ok(()) => {
                        let amount = gained(who);
                        paid += amount;
                        // The order changes a reward by rounding only: one unit for each pot.
                        let share = expected[who as usize - 1].unwrap();
                        assert!(amount.abs_diff(share) <= 3 * 9, "{amount} instead of {share}");
                    }
                    Err(error) => {
                        assert_eq!(error, PalletError::NothingToClaim.into());
                        assert!(expected[who as usize - 1].is_none());
                    }
                }
            }
            assert_eq!((paid, pot(), Rewards::ledger().paid), (waiting, 0, before + waiting));
        });
    }
}
