// SPDX-License-Identifier: Apache-2.0

//! Explanations of rewards.

use super::*;
use crate::FirstKept;
use pol_primitives::explanation::{
    PotShare, RewardState, RoundEnd, SeatsPart, Unpaid, UpdateStatus, UpdateSummary,
};
use pol_primitives::{recipe::Tier, submission::Outcome};

fn state(who: AccountId, round: RoundNumber) -> RewardState {
    Rewards::explain(who, round).state
}

#[test]
fn an_explanation_adds_up_to_the_claim() {
    run(|| {
        settled_round(1, &[(1, earned(30, 0, 0)), (2, earned(10, 1, 0)), (3, earned(0, 2, 10))]);
        let explained = Rewards::explain(2, 1);
        assert_eq!((explained.account, explained.round), (2, 1));
        assert_eq!((explained.now, explained.from), (3, 3));
        assert_eq!(explained.state, RewardState::Claimable);
        let share =
            |weight, weights, pot, amount| PotShare { weight, weights, pot, amount: Some(amount) };
        let training = 17 * POL + POL / 2;
        assert_eq!(explained.training.share, share(10, 40, 70 * POL, training));
        let seats = share(1, 3, 18 * POL, 6 * POL);
        let per_seat = 9 * POL / 100;
        assert_eq!(explained.seats, SeatsPart { share: seats, open: 0, improved: true, per_seat });
        assert_eq!(explained.data.share, share(0, 10, 7 * POL, 0));
        assert_eq!(explained.amount, Some(training + 6 * POL));
        assert_ok!(claim(2, 1));
        assert_eq!(gained(2), training + 6 * POL);

        let gone = Rewards::explain(2, 1);
        assert_eq!((gone.state, gone.amount), (RewardState::Empty, Some(0)));
        assert_eq!(gone.training.share, share(0, 30, 52 * POL + POL / 2, 0));
        assert_eq!(
            Rewards::explain(1, 1).training.share,
            share(30, 30, gone.training.share.pot, gone.training.share.pot)
        );
    });
}

#[test]
fn a_reward_goes_through_its_stages() {
    run(|| {
        assert_eq!((state(1, 0), state(1, 5)), (RewardState::UnderWay, RewardState::Future));
        assert_eq!(Rewards::explain(1, 5).amount, None);
        emit(1, 2);
        settle(1, &[(1, earned(1, 1, 1))]);
        let waiting = Rewards::explain(1, 1);
        assert_eq!((waiting.state, waiting.amount), (RewardState::Unsettled, None));
        assert_eq!((waiting.seats.share.amount, waiting.seats.share.weight), (None, 1));
        settle(1, &[]);
        assert_eq!(state(1, 1), RewardState::Escrow);
        assert_eq!(state(2, 1), RewardState::Empty);
        Round::set(3);
        assert_eq!(state(1, 1), RewardState::Claimable);
        assert_ok!(claim(1, 1));
        assert_eq!(state(1, 1), RewardState::Empty, "the pool is gone");
        for (end, expected) in [
            (RoundEnd::Void, RewardState::Void),
            (RoundEnd::Head(0), RewardState::Unpaid),
            (RoundEnd::Forgotten, RewardState::Expired),
        ] {
            End::set(Some(end));
            assert_eq!((state(1, 2), Rewards::explain(1, 2).amount), (expected, Some(0)));
        }
        FirstKept::<Test>::put(2);
        assert_eq!(state(1, 1), RewardState::Expired);
    });
}

#[test]
fn seats_of_a_round_without_gain_have_a_fixed_amount() {
    run(|| {
        emit(1, 1);
        Rewards::record_settlement(1, false, &[(1, earned(0, 2, 0)), (2, earned(0, 1, 0))]);
        let explained = Rewards::explain(1, 1);
        let SeatsPart { share, improved, per_seat, .. } = explained.seats;
        assert_eq!((share.pot, share.amount, improved), (3 * per_seat, Some(2 * per_seat), false));
        assert_eq!(explained.amount, share.amount);
    });
}

#[test]
fn an_explanation_names_what_was_measured() {
    run(|| {
        let update = UpdateSummary {
            status: UpdateStatus::Settled(Outcome::Valid),
            tier: Tier::Miner,
            staleness: 1,
            tokens: 8_192,
            gain: 10,
            flagged: true,
            penalty: 0,
        };
        Update::set(Some(update));
        settled_round(1, &[(1, earned(10 * 900_000, 0, 0)), (2, earned(0, 1, 0))]);
        let paid = Rewards::explain(1, 1).training;
        assert_eq!((paid.update, paid.worth(), paid.unpaid()), (Some(update), Some(900_000), None));
        let flagged = Rewards::explain(2, 1).training;
        assert_eq!((flagged.worth(), flagged.unpaid()), (None, Some(Unpaid::Flagged)));
    });
}
