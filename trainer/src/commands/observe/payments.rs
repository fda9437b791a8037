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
    /// Number of rounds that paid.
    pub(super) rounds: u32,
    /// Rewards that wait, by round. An amount is zero until every update of the round is settled.
    waiting: BTreeMap<RoundNumber, Balance>,
}

impl AccountPayments {
    /// Returns the sum of the rewards that wait and whose amount is known.
    pub(super) fn waiting(&self) -> Balance {
        self.waiting.values().fold(0, |sum, &amount| sum.saturating_add(amount))
    }
}

impl Payments {
    /// Notes the rewards that wait for `account` at a block. Those that no longer wait were
    /// claimed.
    pub(super) fn note(&mut self, account: AccountId, pending: &[PendingReward]) {
        let state = self.accounts.entry(account).or_default();
        let waiting =
            pending.iter().map(|reward| (reward.round, reward.amount.unwrap_or(0))).collect();
        let before = std::mem::replace(&mut state.waiting, waiting);
        for (round, amount) in before {
            if amount > 0 && !state.waiting.contains_key(&round) {
                state.paid = state.paid.saturating_add(amount);
                state.rounds += 1;
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
        payments.note(account, &[reward(1, None)]);
        payments.note(account, &[reward(1, Some(30)), reward(2, None)]);
        assert_eq!((payments.of(&account).paid, payments.of(&account).waiting()), (0, 30));
        payments.note(account, &[reward(2, Some(12))]);
        payments.note(account, &[reward(2, Some(12))]);
        assert_eq!((payments.of(&account).paid, payments.of(&account).rounds), (30, 1));
        payments.note(account, &[]);
        assert_eq!((payments.of(&account).paid, payments.of(&account).waiting()), (42, 0));
    }

    #[test]
    fn a_reward_that_settles_at_nothing_is_no_payment() {
        let (mut payments, account) = (Payments::default(), [7; 32]);
        payments.note(account, &[reward(1, None)]);
        payments.note(account, &[]);
        assert_eq!(payments.of(&account), AccountPayments::default());
        assert_eq!(payments.of(&[8; 32]), AccountPayments::default());
    }
}
