// SPDX-License-Identifier: Apache-2.0

//! Work in a round, as explanations of its rewards have it.

use super::{all_three, withhold};
use crate::mock::*;
use pol_primitives::{
    explanation::{OpenUpdate, RoundEnd, RoundWork, UpdateStatus, UpdateSummary},
    recipe::Tier,
    round::Phase,
    submission::Outcome,
    traits::WorkRecords,
};
use polkadot_sdk::frame_support::assert_ok;

/// Returns the work of an account in round one.
fn work_of(account: AccountId) -> RoundWork<AccountId> {
    Learning::work(&account, 1)
}

fn status(account: AccountId) -> Option<UpdateStatus> {
    work_of(account).update.map(|update| update.status)
}

fn open(trainer: AccountId, draw: u8, audit: Option<u32>) -> OpenUpdate<AccountId> {
    OpenUpdate { trainer, draw, audit }
}

#[test]
fn an_update_is_followed_from_its_lease_to_its_settlement() {
    in_round_one(|| {
        assert_eq!((status(1), work_of(1).end), (None, RoundEnd::Open));
        assert_eq!(Learning::work(&1, 0).end, RoundEnd::Head(0));
        join(1);
        assert_eq!(status(1), Some(UpdateStatus::Leased));
        let reveal = commit(1);
        assert_eq!(status(1), Some(UpdateStatus::Committed));
        run_until(Phase::Reveal);
        assert_ok!(Learning::reveal(signed(1), 1, reveal));
        assert_eq!(status(1), Some(UpdateStatus::Revealed));
        run_until(Phase::Hold);
        hold(&[0]);
        adopt([5; 32]);
        assert_eq!(status(1), Some(UpdateStatus::Included));
        let waiting = work_of(1);
        assert_eq!((waiting.end, waiting.unsettled), (RoundEnd::Head(1), vec![open(1, 0, None)]));
        run(1);
        let panel = panel(0, 1);
        for (validator, _) in VALIDATORS {
            let work = work_of(validator);
            assert_eq!(work.open_seats, u32::from(panel.contains(&validator)));
            assert_eq!((work.update, work.unsettled), (None, vec![open(1, 0, Some(0))]));
        }
        examine(0, HONEST);
        settle(0, 1);
        let update = UpdateSummary {
            status: UpdateStatus::Settled(Outcome::Valid),
            tier: Tier::Participant,
            staleness: 0,
            tokens: 8_192,
            gain: 1_000,
            flagged: false,
            penalty: 0,
        };
        assert_eq!((work_of(1).update, work_of(1).unsettled), (Some(update), vec![]));
        assert_eq!(work_of(panel[0]).open_seats, 0);
    });
}

#[test]
fn updates_of_a_second_draw_are_open() {
    in_round_one(|| {
        all_three();
        let id = audited(&[1, 2]);
        assert_eq!(work_of(11).open_seats, 2);
        examine(id, &|validator, trainer| {
            (validator == 11 && trainer == 1).then(|| other(id, trainer))
        });
        settle(id, 1);
        assert_eq!(work_of(11).open_seats, 1, "the other case is open");
        assert_eq!(work_of(1).unsettled, [open(1, 1, None), open(2, 0, Some(id))]);
        settle(id, 2);
        run(AGAIN);
        assert_eq!(work_of(1).unsettled, [open(1, 1, Some(id + 1))]);
        examine(id + 1, HONEST);
        settle(id + 1, 1);
        assert_eq!(work_of(1).unsettled, []);
    });
}

#[test]
fn outcomes_have_their_penalties() {
    in_round_one(|| {
        let id = audited(&[1]);
        withhold(id);
        let update = work_of(1).update.unwrap();
        let withheld = UpdateStatus::Settled(Outcome::Withheld);
        assert_eq!((update.status, update.penalty), (withheld, WithheldPenalty::get()));
    });
    in_round_one(|| {
        join(1);
        commit(1);
        while round().number == 1 {
            run(1);
        }
        assert_eq!((status(1), work_of(1).end), (Some(UpdateStatus::Committed), RoundEnd::Void));
        assert_ok!(Learning::conclude(signed(9), 1));
        let update = work_of(1).update.unwrap();
        let no_show = UpdateStatus::Settled(Outcome::NoShow);
        assert_eq!((update.status, update.penalty), (no_show, NoShowPenalty::get()));
    });
}
