// SPDX-License-Identifier: Apache-2.0

//! Attestations, quorums and the hash chain of heads.

use crate::{mock::*, pallet::*};
use pol_primitives::{
    Hash,
    head::{Head, IncludedUpdate},
    recipe::Tier,
    submission::RevealSet,
    traits::Rounds,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo};

fn attests(validator: AccountId, root: Hash, set: &[u8]) {
    assert_ok!(Learning::attest_head(signed(validator), round().number, root, included(set)));
}

fn refused(validator: AccountId, number: u32, set: RevealSet, error: Error<Test>) {
    assert_noop!(Learning::attest_head(signed(validator), number, [5; 32], set), error);
}

/// Returns the tallies, largest first.
fn tallies() -> Vec<u128> {
    let mut tallies: Vec<_> =
        Tallies::<Test>::iter_prefix_values(AttestPhases::<Test>::get()).collect();
    tallies.sort_unstable_by(|a, b| b.cmp(a));
    tallies
}

#[test]
fn sixty_seven_percent_make_a_head() {
    in_round_one(|| {
        train(&[2, 1]);
        let (first, second) = (lease_of(2).data_hash(), lease_of(1).data_hash());
        let payloads = (work(2, 4).payload_hash, work(1, 4).payload_hash);
        let before = head();
        attests(12, [5; 32], &[0, 1]);
        attests(13, [5; 32], &[0, 1]);
        assert_eq!((tallies(), head()), (vec![66], before), "66 of 100 are no quorum");
        let opened_at = round().opened_at;

        // Exactly 67 for another head.
        attests(11, [6; 32], &[0, 1]);
        attests(12, [6; 32], &[0, 1]);
        let update = |account, payload_hash, data_hash| IncludedUpdate {
            account,
            payload_hash,
            data_hash,
            tokens: 8_192,
            staleness: 0,
        };
        let updates = [update(1u64, payloads.1, second), update(2, payloads.0, first)];
        let expected = Head::next(Some(&before), 1, [6; 32], recipe().hash(), &updates, &[]);
        assert_eq!((head(), head().tokens), (expected, 16_384));
        assert_event(Event::Attested { account: 12, round: 1, root: [6; 32] });
        assert_event(Event::HeadAdvanced { head: expected });
        let record = Learning::round_record(1).unwrap();
        assert_eq!((record.head, record.included), (Some(expected), included(&[0, 1])));
        assert_eq!((record.revealed.to_vec(), record.opened_at), (vec![2, 1], opened_at));
        assert_eq!(
            (Paid::get(), Learning::attest_phases(), Learning::number()),
            (vec![(1, 2)], 2, 2)
        );
        assert_eq!((Revealed::<Test>::get().len(), Learning::attestations()), (0, vec![]));
    });
}

#[test]
fn a_late_validator_counts_as_taking_part() {
    in_round_one(|| {
        train(&[1, 2]);
        attests(11, [5; 32], &[0, 1]);
        attests(12, [5; 32], &[0, 1]);
        let newest = head();
        refused(13, 1, included(&[0]), Error::WrongRound);
        assert_noop!(
            Learning::attest_head(signed(13), 1, [6; 32], included(&[0, 1])),
            Error::<Test>::WrongRound
        );
        assert_noop!(
            Learning::attest_head(signed(1), 1, [5; 32], included(&[0, 1])),
            Error::<Test>::NotAValidator
        );
        assert_ok!(Learning::attest_head(signed(13), 1, [5; 32], included(&[0, 1])));
        assert_event(Event::Attested { account: 13, round: 1, root: [5; 32] });
        assert_eq!((head(), Noted::get(13), tallies()), (newest, vec![1], vec![]));
        // Only the newest head can be attested late.
        run(1);
        train(&[1]);
        adopt([7; 32], &[0]);
        assert_noop!(
            Learning::attest_head(signed(13), 1, [5; 32], included(&[0, 1])),
            Error::<Test>::WrongRound
        );
    });
}

#[test]
fn a_late_attestation_counts_for_its_own_phase_only() {
    in_round_one(|| {
        train(&[1]);
        adopt([5; 32], &[0]);
        run(1);
        train(&[1]);
        assert_eq!(AttestPhases::<Test>::get(), 2);
        for _ in 0..2 {
            assert_ok!(Learning::attest_head(signed(13), 1, [5; 32], included(&[0])));
        }
        assert_eq!(Noted::get(13), [1, 1]);
        // In a round without a quorum, the head before it keeps no absent validator alive.
        run(LENGTHS.attest);
        assert_eq!((round().number, head().round), (3, 1));
        refused(13, 1, included(&[0]), Error::WrongRound);
    });
}

#[test]
fn the_same_root_of_another_set_is_another_head() {
    in_round_one(|| {
        train(&[1, 2]);
        attests(11, [5; 32], &[0]);
        attests(12, [5; 32], &[1]);
        assert_eq!((tallies(), head().round), (vec![34, 33], 0));
    });
}

#[test]
fn an_attestation_replaces_the_earlier_one() {
    in_round_one(|| {
        train(&[1, 2]);
        attests(11, [5; 32], &[0]);
        refused(11, 1, included(&[0]), Error::AlreadyAttested);
        attests(11, [6; 32], &[0, 1]);
        assert_eq!(
            (tallies(), Learning::attestations().len(), Noted::get(11)),
            (vec![34], 1, vec![0, 1, 1])
        );
        // The first head has lost the stake, so another validator alone does not make it.
        attests(12, [5; 32], &[0]);
        assert_eq!((tallies(), head().round), (vec![34, 33], 0));
        // Stake moves as it was counted, whatever the validator's stake is by now.
        Validators::insert(12, 1);
        attests(12, [7; 32], &[1]);
        assert_eq!(tallies(), vec![34, 1]);
        attests(13, [6; 32], &[0, 1]);
        assert_eq!(head().root, [6; 32]);
    });
}

#[test]
fn the_quorum_is_of_the_stake_when_the_phase_began() {
    in_round_one(|| {
        train(&[1]);
        Validators::insert(14, 1_000);
        attests(11, [5; 32], &[0]);
        attests(13, [5; 32], &[0]);
        assert_eq!(head().root, [5; 32]);
    });
}

#[test]
fn only_validators_attest_in_their_phase() {
    in_round_one(|| {
        refused(11, 1, included(&[0]), Error::NotAttesting);
        train(&[1]);
        refused(1, 1, included(&[0]), Error::NotAValidator);
        refused(11, 0, included(&[0]), Error::WrongRound);
        refused(11, 2, included(&[0]), Error::WrongRound);
        adopt([5; 32], &[0]);
        refused(13, 1, included(&[0, 1]), Error::WrongRound);
        refused(13, 2, included(&[0]), Error::NotAttesting);
        assert!(Noted::get(13).is_empty());
    });
}

#[test]
fn the_set_names_reveals_of_the_round() {
    on_chain(Some(recipe()), || {
        run(1);
        refused(11, 0, included(&[0]), Error::BadIncluded);
        attest_initial();
        run(1);
        train(&[1, 2]);
        refused(11, 1, RevealSet::default(), Error::BadIncluded);
        refused(11, 1, included(&[2]), Error::BadIncluded);
        refused(11, 1, included(&[0, 63]), Error::BadIncluded);
        let longer = codec::Decode::decode(&mut &[8u8, 1, 0][..]).unwrap();
        refused(11, 1, longer, Error::BadIncluded);
        attests(11, [5; 32], &[1]);
    });
}

#[test]
fn attesting_holds_stakes_only_where_some_count() {
    in_round_one(|| {
        VALIDATORS.iter().for_each(|(account, _)| Validators::remove(account));
        train(&[1]);
        assert_eq!((round().stake, Learning::is_attesting()), (0, false));
        Validators::insert(11, 50);
        attests(11, [5; 32], &[0]);
        assert_eq!(head().round, 0, "nothing is a quorum of no stake");
        run(LENGTHS.attest);
        assert_eq!(round().number, 2);
    });
}

#[test]
fn the_lineage_continues_over_void_rounds() {
    in_round_one(|| {
        for number in 1..=6u8 {
            train(&[1, 2, 3]);
            if number % 3 == 0 {
                run(LENGTHS.attest);
            } else {
                adopt([number; 32], &[number % 3]);
            }
            assert_ok!(Learning::do_try_state());
            run(1);
        }
        assert_eq!((head().round, head().tokens, round().number), (5, 4 * 8_192, 7));
        assert_eq!(Paid::get(), [1, 2, 4, 5].map(|round| (round, 1)));
        // One trainer in each head, whose lease is kept for the audit.
        (1..=3).for_each(join);
        assert_eq!(AuditedLeases::<Test>::iter().count(), 4);
        assert_eq!(Learning::updates(5).len(), 1);
    });
}

#[test]
fn only_the_quorum_pays_for_the_head() {
    in_round_one(|| {
        assert_ok!(Learning::join_round(signed(4), Tier::Mobile));
        train(&[1]);
        let call = |validator| {
            Learning::attest_head(signed(validator), 1, [5; 32], included(&[0]))
                .unwrap()
                .actual_weight
                .unwrap()
        };
        let (vote, quorum) = (call(11), call(12));
        let most = Call::<Test>::attest_head { round: 1, root: [5; 32], included: included(&[0]) }
            .get_dispatch_info()
            .call_weight;
        assert!(vote.all_lt(quorum) && quorum.all_lt(most));
    });
}
