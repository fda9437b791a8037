// SPDX-License-Identifier: Apache-2.0

//! Updates that are taken out of the model, and those that continue from them.

use super::{earned, seats_only, withhold};
use crate::{mock::*, pallet::*};
use pol_primitives::{
    BoundedVec,
    audit::Finding,
    head::{Excision, Head},
    standing::Standing,
    submission::Outcome,
    traits::ShardPool,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo};

#[test]
fn an_update_that_continues_from_an_invalid_one_is_tainted() {
    in_round_one(|| {
        // Three updates, each of which starts from the optimiser state of the one before. The first
        // is invalid.
        for id in 0..3 {
            audited(&[1]);
            examine(id, &|_, _| (id == 0).then_some(Finding::Impossible));
        }
        assert_eq!((case(2, 1).2.carry_round, case(0, 1).2.carry), (2, [0; 32]));
        let free = Shards::free_shards();
        for id in 0..3 {
            let seated = if id == 0 {
                convict(0, 1, &|_, _| Some(Finding::Impossible)).1
            } else {
                let seated = panel(id, 1);
                settle(id, 1);
                seated
            };
            assert_eq!(
                earned(),
                seats_only(&seated),
                "the seats were right, whatever the update continued from"
            );
        }
        let outcomes = [1, 2, 3].map(|round| kept(round, 1).outcome);
        assert_eq!(outcomes, [Outcome::Invalid, Outcome::Tainted, Outcome::Tainted]);
        assert_event(Event::Settled {
            audit: 2,
            account: 1,
            round: 3,
            outcome: Outcome::Tainted,
            score: 1_000,
        });
        assert_eq!(kept(3, 1).gain, 1_000);
        assert!(Improved::get().is_empty(), "what is taken out improves nothing");
        assert_eq!(
            (Trainers::get(1), Fines::get().len(), Trainings::get()),
            (Some(2), 1, vec![(1, false)])
        );
        assert_eq!((Shards::free_shards(), Consumed::get().len()), (free + 24, 0));
        let excised: Vec<_> =
            Excisions::<Test>::get().iter().map(|(excision, _)| excision.round).collect();
        assert_eq!(excised, [1, 2, 3]);
        // The next lease starts with a fresh carry and does not depend on them.
        assert_eq!((Learning::standing(&1).carry, Learning::standing(&1).valid), ([0; 32], 0));
        let id = audited(&[1]);
        examine(id, HONEST);
        settle(id, 1);
        assert_eq!((kept(4, 1).outcome, Improved::get()), (Outcome::Valid, vec![4]));
    });
}

#[test]
fn an_update_continues_from_a_valid_one() {
    in_round_one(|| {
        for round in 1..=3u32 {
            let id = audited(&[1]);
            assert_eq!(case(id, 1).2.carry_round, round - 1);
            examine(id, HONEST);
            settle(id, 1);
            assert_eq!(kept(round, 1).outcome, Outcome::Valid);
        }
        assert_eq!(Learning::standing(&1).valid, 3);
    });
}

#[test]
fn an_earlier_update_is_settled_first() {
    in_round_one(|| {
        for _ in 0..2 {
            let id = audited(&[1]);
            examine(id, HONEST);
        }
        let refused = weightless(Learning::settle(signed(9), 1, 1));
        assert_noop!(refused, Error::<Test>::EarlierUnsettled);
        let paid = Learning::settle(signed(9), 1, 1).unwrap_err().post_info.actual_weight.unwrap();
        let most = Call::<Test>::settle { audit: 1, trainer: 1 }.get_dispatch_info().call_weight;
        assert!(paid.ref_time() < most.ref_time() / 2, "it pays for what was read");
        settle(0, 1);
        settle(1, 1);
        assert_eq!(kept(2, 1).outcome, Outcome::Valid);
    });
    // An update that is invalid in itself does not wait.
    in_round_one(|| {
        for id in 0..2 {
            audited(&[1]);
            examine(id, &|_, _| (id == 1).then_some(Finding::Impossible));
        }
        convict(1, 1, &|_, _| Some(Finding::Impossible));
        settle(0, 1);
        assert_eq!([1, 2].map(|round| kept(round, 1).outcome), [Outcome::Valid, Outcome::Invalid]);
        assert_eq!(Learning::standing(&1).carry, [0; 32]);
    });
}

#[test]
fn a_carry_that_continues_from_an_excised_update_is_cleared() {
    in_round_one(|| {
        let withheld = audited(&[1]);
        audited(&[1]);
        assert_ok!(Learning::conclude(signed(1), 1));
        let later = Learning::standing(&1);
        assert!(later.carry_round == 2 && later.carry != [0; 32]);
        run(AUDITS.serve);
        settle(withheld, 1);
        assert_eq!(
            Learning::standing(&1),
            Standing { carry: [0; 32], ..later },
            "although the update in between is not settled"
        );
        // So the next one does not depend on it.
        let id = audited(&[1]);
        assert_eq!(case(id, 1).2.carry, [0; 32]);
        examine(id, HONEST);
        settle(id, 1);
        assert_eq!(kept(3, 1).outcome, Outcome::Valid);
        assert_ne!(Learning::standing(&1).carry, [0; 32]);
    });
}

#[test]
fn the_next_head_takes_out_updates_settled_before_its_attest_phase() {
    in_round_one(|| {
        let before = audited(&[1, 2]);
        withhold(before);
        assert!(Learning::excisions().is_empty(), "there is no head to take it out yet");
        train(&[3]);
        let excised = [Excision { round: 1, index: 0 }];
        assert_eq!(Learning::excisions(), excised);
        // In the first block of the phase, validators have begun to compute the head.
        assert_eq!(System::block_number(), round().phase_since);
        settle(before, 2);
        assert_eq!((Excisions::<Test>::get().len(), Learning::excisions()), (2, excised.to_vec()));
        let previous = head();
        adopt([6; 32]);
        let expected = Head::next(
            Some(&previous),
            2,
            [6; 32],
            recipe().hash(),
            &Learning::updates(2),
            &excised,
        );
        assert_eq!(
            (head(), Learning::round_record(2).unwrap().excised.to_vec()),
            (expected, excised.to_vec())
        );
        assert_eq!(head().tokens, 3 * 8_192, "tokens count whatever the outcome");
        let left: Vec<_> = Excisions::<Test>::get().iter().map(|(excision, _)| *excision).collect();
        assert_eq!(left, [Excision { round: 1, index: 1 }]);

        // A void round takes nothing out.
        run(1);
        train(&[3]);
        assert_eq!(Learning::excisions(), left);
        run(LENGTHS.attest + LENGTHS.hold);
        assert!(Learning::round_record(3).unwrap().excised.is_empty());
        run(1);
        train(&[3]);
        assert_eq!(Learning::excisions(), left);
        adopt([7; 32]);
        assert_eq!(Learning::round_record(4).unwrap().excised.to_vec(), left);
        assert!(!Excisions::<Test>::exists());
        // They are still updates of their round.
        assert_eq!(
            Learning::updates(1).iter().map(|update| update.account).collect::<Vec<_>>(),
            [1, 2]
        );
    });
}

#[test]
fn a_head_takes_out_the_oldest_in_ascending_order() {
    let mut chain = chain(Some(recipe()));
    chain.execute_with(|| {
        run(1);
        attest_initial();
        run(1);
        train(&[1]);
        // Many settlements at once leave this behind, latest rounds first.
        let waiting = |at: u32| {
            (Excision { round: 1_000 - at, index: (at % 3) as u8 }, round().phase_since - 1)
        };
        Excisions::<Test>::put(
            BoundedVec::try_from((0..70).map(waiting).collect::<Vec<_>>()).unwrap(),
        );
        let excised = Learning::excisions();
        assert_eq!((excised.len(), excised[0].round, excised[63].round), (64, 937, 1_000));
        assert!(excised.is_sorted());
        adopt([5; 32]);
        let left: Vec<_> =
            Excisions::<Test>::get().iter().map(|(excision, _)| excision.round).collect();
        assert_eq!(left, [936, 935, 934, 933, 932, 931]);
        assert_eq!(Learning::round_record(1).unwrap().excised.to_vec(), excised);
    });
}

#[test]
fn updates_are_those_of_the_head_whatever_their_outcome() {
    in_round_one(|| {
        train_to_hold(&[2, 1, 3]);
        hold(&[0, 1]);
        let hashes: Vec<_> = [1, 2].map(|account| work(account, 4).payload_hash).to_vec();
        adopt([5; 32]);
        let updates = Learning::updates(1);
        assert_eq!(updates.iter().map(|update| update.account).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(updates.iter().map(|update| update.payload_hash).collect::<Vec<_>>(), hashes);
        run(1);
        withhold(0);
        assert_eq!(Learning::updates(1), updates);
        assert_ok!(Learning::conclude(signed(9), 3));
        assert_eq!(Learning::updates(1), updates);
        assert_eq!(
            Learning::history(1).iter().map(|(account, _)| *account).collect::<Vec<_>>(),
            [1, 3]
        );
        assert!(Learning::updates(0).is_empty() && Learning::updates(2).is_empty());
    });
}
