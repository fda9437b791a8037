// SPDX-License-Identifier: Apache-2.0

//! Queries of the runtime API.

use crate::{Config, Earnings, MAX_REWARDS_PER_QUERY, Pallet, Pools, RewardLedger};
use alloc::vec::Vec;
use pol_primitives::{
    RoundNumber,
    queries::PendingReward,
    rewards::{Ledger, RoundEarnings, RoundPool},
};

impl<T: Config> Pallet<T> {
    /// Returns the totals of all funds.
    pub fn ledger() -> Ledger {
        RewardLedger::<T>::get()
    }

    /// Returns the unclaimed emission of a round; none before the round emits and after its last
    /// claim.
    pub fn pool(round: RoundNumber) -> Option<RoundPool> {
        Pools::<T>::get(round)
    }

    /// Returns up to [`MAX_REWARDS_PER_QUERY`] unclaimed rewards of an account, from the newest
    /// round to the oldest.
    pub fn pending_rewards(account: T::AccountId) -> Vec<PendingReward> {
        let earnings = Earnings::<T>::iter_prefix(account).take(MAX_REWARDS_PER_QUERY);
        let to_reward = |(key, earned): (_, RoundEarnings)| {
            let round = RoundNumber::from(key);
            let pool = Pools::<T>::get(round)?;
            let amount = (pool.unsettled == 0).then(|| pool.share(&earned));
            Some(PendingReward { round, amount, from: Self::claimable_from(round) })
        };
        earnings.filter_map(to_reward).collect()
    }
}
