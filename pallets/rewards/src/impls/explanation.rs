// SPDX-License-Identifier: Apache-2.0

//! Explanation of rewards.

use crate::{Config, DescendingRound, Earnings, FirstKept, Pallet, Pools};
use pol_primitives::{
    RoundNumber,
    explanation::{
        DataPart, Explanation, PotShare, RewardState, RoundEnd, RoundWork, SeatsPart, TrainingPart,
    },
    rewards::{RoundEarnings, RoundPool},
    traits::{Rounds, WorkRecords},
};

impl<T: Config> Pallet<T> {
    /// Explains the reward of an account in a round: what was measured, which weight and share it
    /// has in each pot, and what it waits for. The amounts are those that a claim pays.
    pub fn explain(account: T::AccountId, round: RoundNumber) -> Explanation<T::AccountId> {
        let (now, pool) = (T::Rounds::number(), Pools::<T>::get(round));
        let RoundWork { end, update, open_seats, unsettled } = T::Work::work(&account, round);
        let earned = Earnings::<T>::get(&account, DescendingRound::from(round));
        let state = Self::reward_state(round, end, pool.as_ref(), earned.is_some());
        let is_settled =
            !matches!(state, RewardState::Future | RewardState::UnderWay | RewardState::Unsettled);
        let (pool, earned) = (pool.unwrap_or_default(), earned.unwrap_or_default());
        let RoundPool { trainers, validators, providers, improved, per_seat, .. } = pool;
        let RoundEarnings { training, seats, effect } = earned;
        let share = |pot, weight| PotShare::new(pot, weight, is_settled);
        Explanation {
            now,
            state,
            from: Self::claimable_from(round),
            amount: is_settled.then(|| pool.share(&earned)),
            training: TrainingPart { share: share(trainers, training), update },
            seats: SeatsPart {
                share: share(validators, seats.into()),
                open: open_seats,
                improved,
                per_seat,
            },
            data: DataPart { share: share(providers, effect.into()) },
            unsettled,
            account,
            round,
        }
    }

    /// Returns the stage of a reward, for which the account has earnings if it `has_earned`.
    fn reward_state(
        round: RoundNumber,
        end: RoundEnd,
        pool: Option<&RoundPool>,
        has_earned: bool,
    ) -> RewardState {
        let now = T::Rounds::number();
        match (pool, end) {
            (Some(pool), _) if pool.unsettled > 0 => RewardState::Unsettled,
            (Some(_), _) if has_earned && now >= Self::claimable_from(round) => {
                RewardState::Claimable
            }
            (Some(_), _) if has_earned => RewardState::Escrow,
            (Some(_), _) => RewardState::Empty,
            (None, _) if round < FirstKept::<T>::get() => RewardState::Expired,
            (None, RoundEnd::Forgotten) => RewardState::Expired,
            (None, RoundEnd::Void) => RewardState::Void,
            (None, RoundEnd::Head(0)) => RewardState::Unpaid,
            (None, RoundEnd::Head(_)) => RewardState::Empty,
            (None, RoundEnd::Open) if round > now => RewardState::Future,
            (None, RoundEnd::Open) => RewardState::UnderWay,
        }
    }
}
