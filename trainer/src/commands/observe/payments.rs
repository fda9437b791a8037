// SPDX-License-Identifier: Apache-2.0

//! Payments of a network, as seen from outside: rewards that waited and were claimed.

use pol_chain::AccountId;
use pol_primitives::{Balance, RoundNumber, queries::PendingReward};
use std::collections::BTreeMap;

/// Rewards of all members. The chain forgets a reward once it is claimed, so they are noted while
/// they wait.
#[derive(Default)]
pub(super) struct Payments {
    accounts: BTreeMap<AccountId, AccountPayments>,
}

/// Rewards of one account.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AccountPayments {
    /// Sum of the rewards that were claimed.
    pub(super) paid: Balance,
    /// Rewards that wait, by the round that emitted them. An amount is zero until every update of
    /// the round is settled.
    waiting: BTreeMap<RoundNumber, WaitingReward>,
}

/// Reward that waits for its owner.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WaitingReward {
    amount: Balance,
    /// First round in which it can be claimed.
    from: RoundNumber,
}

impl AccountPayments {
    /// Returns the sum of the rewards that wait and whose amount is known.
    pub(super) fn waiting(&self) -> Balance {
        self.waiting.values().fold(0, |sum, reward| sum.saturating_add(reward.amount))
    }
}

impl Payments {
    /// Notes the rewards that wait for `account` at a block of the round `now`. Those that no
    /// longer wait were claimed, or forfeited if they could not be claimed yet.
    pub(super) fn note(&mut self, account: AccountId, pending: &[PendingReward], now: RoundNumber) {
        let state = self.accounts.entry(account).or_default();
        let waiting = pending.iter().map(|reward| {
            let amount = reward.amount.unwrap_or(0);
            (reward.round, WaitingReward { amount, from: reward.from })
        });
        let waiting = waiting.collect();
        let before = std::mem::replace(&mut state.waiting, waiting);
        for (round, reward) in before {
            let claimed = reward.from <= now && !state.waiting.contains_key(&round);
            if claimed {
                state.paid = state.paid.saturating_add(reward.amount);
            }
        }
    }

    /// Returns the rewards of an account.
    pub(super) fn of(&self, account: &AccountId) -> AccountPayments {
        self.accounts.get(account).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reward(round: RoundNumber, amount: Option<Balance>) -> PendingReward {
        PendingReward { round, amount, from: round + 2 }
    }

    #[test]
    fn a_reward_that_no_longer_waits_was_paid() {
        let (mut payments, account) = (Payments::default(), [7; 32]);
        payments.note(account, &[reward(1, None)], 1);
        payments.note(account, &[reward(1, Some(30)), reward(2, None)], 3);
        assert_eq!((payments.of(&account).paid, payments.of(&account).waiting()), (0, 30));
        payments.note(account, &[reward(2, Some(12))], 3);
        payments.note(account, &[reward(2, Some(12))], 4);
        assert_eq!((payments.of(&account).paid, payments.of(&account).waiting()), (30, 12));
        payments.note(account, &[], 4);
        assert_eq!((payments.of(&account).paid, payments.of(&account).waiting()), (42, 0));
    }

    #[test]
    fn a_reward_that_vanishes_before_it_can_be_claimed_was_forfeited() {
        let (mut payments, account) = (Payments::default(), [7; 32]);
        payments.note(account, &[reward(1, Some(30))], 2);
        payments.note(account, &[], 2);
        assert_eq!(payments.of(&account), AccountPayments::default());
    }

    #[test]
    fn a_reward_that_settles_at_nothing_is_no_payment() {
        let (mut payments, account) = (Payments::default(), [7; 32]);
        payments.note(account, &[reward(1, None)], 4);
        payments.note(account, &[], 4);
        assert_eq!(payments.of(&account), AccountPayments::default());
        assert_eq!(payments.of(&[8; 32]), AccountPayments::default());
    }
}
