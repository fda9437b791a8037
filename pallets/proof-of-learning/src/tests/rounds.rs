// SPDX-License-Identifier: Apache-2.0

//! Phases, their deadlines, and void rounds.

use crate::{
    mock::*,
    pallet::*,
    types::{STORAGE_VERSION, SWEEP_BATCH, StakedAttestation},
    weights::WeightInfo,
};
use pol_primitives::{
    recipe::Tier,
    round::{Phase, Round},
    submission::{Outcome, SubmissionStatus},
    traits::Rounds,
};
use polkadot_sdk::{
    frame_support::{
        assert_ok,
        traits::{GetStorageVersion, OnInitialize},
    },
    sp_io::TestExternalities,
};

#[test]
fn round_zero_opens_with_the_first_block_and_makes_the_first_head() {
    on_chain(Some(recipe()), || {
        run(1);
        let opened = round();
        assert_eq!(
            (opened.number, opened.phase, opened.deadline, opened.stake),
            (0, Phase::Attest, Some(11), 100)
        );
        assert_eq!((opened.base_root, opened.opened_at, opened.phase_since), ([0; 32], 1, 1));
        assert_event(Event::RoundOpened { number: 0, seed: opened.seed });
        assert_event(Event::PhaseEntered { number: 0, phase: Phase::Attest, deadline: Some(11) });
        attest_initial();
        assert_event(Event::HeadAdvanced { head: head() });
        assert_eq!((head().round, head().root, head().tokens), (0, [3; 32], 0));
        assert_eq!(head().recipe_hash, recipe().hash());
        assert_eq!(round(), Round { number: 1, ..Default::default() });
        let record = Learning::round_record(0).unwrap();
        assert_eq!((record.head, record.opened_at, record.concluded_at), (Some(head()), 1, 1));
        assert!(record.included.is_empty() && record.revealed.is_empty());
        assert!(Paid::get().is_empty(), "the initial model earns nothing");
    });
}

#[test]
fn round_zero_out_of_time_starts_over() {
    on_chain(Some(recipe()), || {
        run(1);
        assert_ok!(attest(12, [3; 32]));
        run(10);
        // For some blocks stakes can change, and the absent validator can be chilled.
        assert_event(Event::PhaseEntered { number: 0, phase: Phase::Idle, deadline: Some(16) });
        assert_eq!((Learning::attest_phases(), Learning::attestations()), (1, vec![]));
        run(4);
        assert_eq!((round().phase, CurrentCount::<Test>::exists()), (Phase::Idle, false));
        Validators::remove(11);
        run(1);
        let again = round();
        assert_eq!(
            (again.number, again.phase, again.deadline, again.stake),
            (0, Phase::Attest, Some(26), 66)
        );
        for validator in [12, 13] {
            assert_ok!(attest(validator, [3; 32]));
        }
        assert_eq!((head().root, Noted::get(12)), ([3; 32], vec![0, 1]));
    });
}

#[test]
fn round_zero_waits_for_validators() {
    on_chain(Some(recipe()), || {
        VALIDATORS.iter().for_each(|(account, _)| Validators::remove(account));
        run(3);
        assert_eq!(round().phase, Phase::Idle);
        Validators::insert(11, 1);
        run(1);
        assert_eq!((round().phase, round().stake), (Phase::Attest, 1));
        assert_ok!(attest(11, [3; 32]));
        assert_eq!(head().root, [3; 32]);
    });
}

#[test]
fn a_round_opens_on_the_head_with_a_seed_of_its_own() {
    in_round_one(|| {
        let first = round();
        assert_eq!(
            (first.base_root, first.opened_at, first.deadline, first.join_until),
            ([3; 32], 2, None, None)
        );
        assert_event(Event::RoundOpened { number: 1, seed: first.seed });
        assert_event(Event::PhaseEntered { number: 1, phase: Phase::Train, deadline: None });
        run(1_000);
        assert_eq!(round(), first, "it waits for its first lease");
        train(&[1]);
        adopt([5; 32]);
        run(1);
        let second = round();
        assert_eq!((second.number, second.base_root), (2, [5; 32]));
        assert_ne!(second.seed, first.seed);
    });
}

#[test]
fn no_round_opens_without_data() {
    on_chain(Some(recipe()), || {
        let shards = FreeShards::take();
        run(1);
        attest_initial();
        run(3);
        assert_eq!((round().number, round().phase), (1, Phase::Idle));
        FreeShards::put(shards);
        run(1);
        assert_eq!((round().number, round().phase), (1, Phase::Train));
    });
}

#[test]
fn phases_end_as_soon_as_every_member_is_done() {
    in_round_one(|| {
        join(1);
        assert_eq!((round().join_until, round().deadline, round().due), (Some(5), Some(22), 1));
        assert_event(Event::PhaseEntered { number: 1, phase: Phase::Train, deadline: Some(22) });
        let reveal = commit(1);
        run(3);
        assert_eq!(round().phase, Phase::Train, "joining is still open");
        run(1);
        assert_eq!(
            (round().phase, round().deadline, round().phase_since),
            (Phase::Reveal, Some(11), 6)
        );
        assert_event(Event::PhaseEntered { number: 1, phase: Phase::Reveal, deadline: Some(11) });
        assert_ok!(Learning::reveal(signed(1), 1, reveal));
        run(1);
        assert_eq!((round().phase, round().deadline, round().stake), (Phase::Hold, Some(13), 100));
        hold(&[0]);
        assert_eq!((round().phase_since, round().deadline, round().stake), (8, Some(18), 100));
        adopt([5; 32]);
        assert!(!CurrentCount::<Test>::exists());
        assert_eq!(Learning::number(), 2);
    });
}

#[test]
fn phases_end_at_their_deadlines_without_the_missing() {
    in_round_one(|| {
        join(1);
        join(2);
        join(3);
        let reveal = commit(1);
        commit(2);
        run(19);
        assert_eq!(round().phase, Phase::Train);
        run(1);
        assert_eq!((round().phase, round().committed), (Phase::Reveal, 2));
        assert_ok!(Learning::reveal(signed(1), 1, reveal));
        run(4);
        assert_eq!(round().phase, Phase::Reveal);
        run(1);
        assert_eq!((round().phase, round().revealed), (Phase::Hold, 1));
        hold(&[0]);
        adopt([5; 32]);
        for (account, status) in [
            (1, Some(SubmissionStatus::Included)),
            (2, Some(SubmissionStatus::Committed)),
            (3, None),
        ] {
            assert_ok!(Learning::conclude(signed(9), account));
            assert_event(Event::Concluded { account, round: 1, status });
        }
        assert_eq!(kept(1, 2).outcome, Outcome::NoShow);
    });
}

#[track_caller]
fn assert_void(number: u32, phases: u32) {
    assert_event(Event::RoundVoid { number });
    assert_eq!(round(), Round { number: number + 1, ..Default::default() });
    assert_eq!((head().round, Learning::attest_phases()), (0, phases));
    let record = Learning::round_record(number).unwrap();
    assert!(record.head.is_none() && record.included.is_empty());
    assert_eq!(record.concluded_at, System::block_number());
    assert!(Paid::get().is_empty());
}

#[test]
fn a_round_without_commitments_is_void() {
    in_round_one(|| {
        join(1);
        run(20);
        assert_void(1, 1);
    });
}

#[test]
fn a_round_without_reveals_is_void() {
    in_round_one(|| {
        join(1);
        commit(1);
        run_until(Phase::Reveal);
        run(5);
        assert_void(1, 1);
    });
}

#[test]
fn a_round_without_a_quorum_has_a_second_attempt_and_then_is_void() {
    in_round_one(|| {
        train(&[1, 2]);
        assert_ok!(attest(12, [5; 32]));
        run(LENGTHS.attest - 1);
        assert_eq!((round().phase, round().attempt), (Phase::Attest, 0));
        run(1);
        assert_eq!(
            (round().phase, round().attempt, Learning::attest_phases()),
            (Phase::Hold, 1, 2)
        );
        assert_eq!((Learning::attestations(), Learning::held_reports()), (vec![], vec![]));
        hold(&[0]);
        run(LENGTHS.attest);
        assert_void(1, 3);
        assert_eq!(Learning::round_record(1).unwrap().revealed.to_vec(), vec![1, 2]);
        // The base is the same; the seed and the shards are not.
        let shards = lease_of(1).shards;
        run(1);
        assert_eq!((round().base_root, Learning::attestations()), ([3; 32], vec![]));
        train(&[1]);
        assert_ne!(lease_of(1).shards, shards);
        adopt([6; 32]);
    });
}

#[test]
fn a_round_that_nobody_holds_is_void_and_nobody_missed_a_phase() {
    in_round_one(|| {
        train_to_hold(&[1]);
        assert_ok!(report(11, &[0]));
        run(LENGTHS.hold - 1);
        assert_eq!(round().phase, Phase::Hold);
        run(1);
        assert_void(1, 1);
        assert!(!CurrentCount::<Test>::exists());
    });
}

#[test]
fn a_round_of_slow_leases_only_gives_way_to_the_round_they_are_due_in() {
    in_round_one(|| {
        FreeShards::mutate(|free| free.truncate(4));
        assert_ok!(Learning::join_round(signed(1), Tier::Mobile));
        assert_eq!((round().due, round().deadline, round().join_until), (0, Some(22), None));
        assert_eq!((FreeShards::get().len(), DueLeases::<Test>::get(2)), (0, 1));
        run(20);
        assert_void(1, 1);
        // There is no free shard, but there is a lease to wait for.
        run(1);
        assert_eq!((round().number, round().phase, round().due), (2, Phase::Train, 1));
        assert_eq!((round().join_until, round().deadline), (Some(26), Some(43)));
        assert!(!DueLeases::<Test>::contains_key(2));
        let reveal = commit(1);
        run_until(Phase::Reveal);
        assert_ok!(Learning::reveal(signed(1), 2, reveal));
        run_until(Phase::Hold);
        hold(&[0]);
        adopt([5; 32]);
        // Round one was void, so the update was for the very head it was trained from.
        assert_eq!(Learning::submissions(2)[0].1.staleness, 0);
    });
}

#[test]
fn a_long_cadence_is_reached_over_rounds_without_data() {
    let mut slow = recipe();
    slow.tiers[0].cadence = 4;
    on_chain(Some(slow), || {
        run(1);
        attest_initial();
        FreeShards::mutate(|free| free.truncate(4));
        run(1);
        assert_ok!(Learning::join_round(signed(1), Tier::Mobile));
        for number in 2..=4 {
            run(LENGTHS.train + 1);
            assert_eq!((round().number, round().phase), (number, Phase::Train));
        }
        assert_eq!(round().due, 1);
    });
}

/// Leaves `attestations` of different roots in each of the first `phases`, none of which made a
/// head.
fn leave_attestations(phases: u32, attestations: u64) {
    AttestPhases::<Test>::put(phases);
    for phase in 0..phases {
        for account in 100..100 + attestations {
            let root = pol_primitives::digest(b"root", &account);
            Tallies::<Test>::insert(phase, root, 1);
            Attestations::<Test>::insert(phase, account, StakedAttestation { root, stake: 1 });
        }
    }
}

/// Returns the number of attestations that are left after each of the next `blocks` blocks.
fn left_after_blocks(chain: &mut TestExternalities, blocks: u32) -> Vec<usize> {
    let block = |_| {
        chain.commit_all().unwrap();
        chain.execute_with(|| {
            run(1);
            Attestations::<Test>::iter().count()
        })
    };
    (0..blocks).map(block).collect()
}

#[test]
fn entries_of_past_phases_are_cleared_a_bounded_number_at_a_time() {
    let mut chain = chain(None);
    chain.execute_with(|| leave_attestations(1, 70));
    assert_eq!(left_after_blocks(&mut chain, 4), [38, 6, 0, 0]);
    chain.execute_with(|| {
        assert_eq!((Tallies::<Test>::iter().count(), SweptPhases::<Test>::get()), (0, 1));
        assert_ok!(Learning::do_try_state());
    });
}

#[test]
fn clearing_keeps_up_with_a_thousand_validators() {
    let mut chain = chain(None);
    chain.execute_with(|| leave_attestations(6, 50));
    let left = left_after_blocks(&mut chain, 5);
    assert_eq!(left[0], 300 - 126, "two of the places went to phases");
    assert!(left.is_sorted_by(|before, after| before >= after) && left[4] == 0, "{left:?}");
    chain.execute_with(|| {
        assert_eq!((Tallies::<Test>::iter().count(), SweptPhases::<Test>::get()), (0, 6));
        assert_ok!(Learning::do_try_state());
    });
}

#[test]
fn every_block_weighs_something() {
    type Weights = <Test as Config>::WeightInfo;
    on_chain(None, || {
        let block = |now| {
            System::set_block_number(now);
            Learning::on_initialize(now) - Weights::tick() - Weights::keep()
        };
        assert_eq!(block(1), Weights::draw(0) + Weights::open() + Weights::sweep(0));
        assert_ok!(Learning::set_recipe(RuntimeOrigin::root(), recipe()));
        assert_eq!(block(2), Weights::draw(0) + Weights::open() + Weights::sweep(0));
        assert_eq!(block(3), Weights::draw(0) + Weights::stay() + Weights::sweep(0));
        attest_initial();
        assert_eq!(block(4), Weights::draw(0) + Weights::open() + Weights::sweep(SWEEP_BATCH));
        train_to_hold(&[1, 2]);
        hold(&[0, 1]);
        adopt([5; 32]);
        let next = System::block_number() + 1;
        assert_eq!(block(next), Weights::draw(2) + Weights::open() + Weights::sweep(SWEEP_BATCH));
        join(1);
        run(19);
        assert_eq!(block(next + 20), Weights::draw(0) + Weights::step() + Weights::sweep(0));
        assert!(Weights::stay().all_gt(0.into()));
    });
}

#[test]
fn the_storage_has_its_version() {
    on_chain(None, || {
        assert_eq!(Learning::on_chain_storage_version(), STORAGE_VERSION);
        assert_eq!(Learning::in_code_storage_version(), STORAGE_VERSION);
    });
}
