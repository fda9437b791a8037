// SPDX-License-Identifier: Apache-2.0

//! Reports of held updates, attestations, quorums and the hash chain of heads.

use crate::{
    mock::{Newcomers, *},
    pallet::*,
};
use pol_primitives::{
    Hash,
    head::{Head, IncludedUpdate, head_inputs},
    recipe::Tier,
    round::Phase,
    submission::RevealSet,
    traits::Rounds,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo};

fn attests(validator: AccountId, root: Hash) {
    assert_ok!(attest(validator, root));
}

fn refused(validator: AccountId, number: u32, error: Error<Test>) {
    let inputs = round().inputs;
    assert_noop!(
        weightless(Learning::attest_head(signed(validator), number, inputs, [5; 32])),
        error
    );
}

fn report_refused(validator: AccountId, number: u32, held: RevealSet, error: Error<Test>) {
    assert_noop!(Learning::report_held(signed(validator), number, held), error);
}

/// Returns the tallies, largest first.
fn tallies() -> Vec<u128> {
    let mut tallies: Vec<_> =
        Tallies::<Test>::iter_prefix_values(AttestPhases::<Test>::get()).collect();
    tallies.sort_unstable_by(|a, b| b.cmp(a));
    tallies
}

// ---- Holding ----

#[test]
fn more_than_half_of_the_stake_includes_an_update() {
    in_round_one(|| {
        train_to_hold(&[1, 2, 3]);
        assert_ok!(report(11, &[0, 1]));
        assert_event(Event::HeldReported { account: 11, round: 1, held: included(&[0, 1]) });
        assert_ok!(report(12, &[1, 2]));
        run(1);
        assert_eq!((round().phase, round().included.is_empty()), (Phase::Hold, true));
        assert_ok!(report(13, &[]));
        run(1);
        assert_eq!((round().phase, round().included.clone()), (Phase::Attest, included(&[1])));
        let update = Learning::updates_of(1, &[1, 2, 3], &included(&[1]));
        let inputs = head_inputs(1, &[3; 32], &recipe().hash(), &update, &[]);
        assert_eq!(round().inputs, inputs);
        assert_event(Event::InclusionDecided { round: 1, included: included(&[1]), inputs });
        adopt([5; 32]);
        assert_eq!(Learning::round_record(1).unwrap().included, included(&[1]));
    });
}

#[test]
fn a_quorum_that_holds_everything_ends_the_phase() {
    in_round_one(|| {
        train_to_hold(&[1, 2]);
        assert_ok!(report(11, &[0, 1]));
        assert_ok!(report(12, &[0]));
        run(1);
        assert_eq!(round().phase, Phase::Hold);
        assert_ok!(report(12, &[0, 1]));
        run(1);
        assert_eq!((round().phase, round().included.clone()), (Phase::Attest, included(&[0, 1])));
    });
}

#[test]
fn silent_validators_delay_by_one_limit_and_leave_out_nothing() {
    in_round_one(|| {
        train_to_hold(&[1, 2]);
        let since = System::block_number();
        // The trainer of the second update sends it to nobody, and validator 13 is silent.
        for validator in [11, 12] {
            assert_ok!(report(validator, &[0]));
        }
        run_until(Phase::Attest);
        assert_eq!(System::block_number() - since, LENGTHS.hold);
        assert_eq!(round().included, included(&[0]));
        adopt([5; 32]);
    });
}

#[test]
fn a_second_attempt_includes_what_a_quorum_holds() {
    in_round_one(|| {
        train_to_hold(&[1, 2]);
        for (validator, held) in [(11, &[0, 1][..]), (12, &[0]), (13, &[0, 1])] {
            assert_ok!(report(validator, held));
        }
        run_until(Phase::Attest);
        assert_eq!(round().included, included(&[0, 1]));
        // Validator 12 cannot fetch the second update, and 11 is too slow.
        attests(13, [5; 32]);
        run(LENGTHS.attest);
        assert_eq!((round().phase, round().attempt), (Phase::Hold, 1));
        for (validator, held) in [(11, &[0][..]), (12, &[0]), (13, &[0, 1])] {
            assert_ok!(report(validator, held));
        }
        run(1);
        assert_eq!((round().phase, round().included.clone()), (Phase::Attest, included(&[0])));
        adopt([6; 32]);
        assert_eq!(Learning::round_record(1).unwrap().included, included(&[0]));
    });
}

#[test]
fn reports_are_of_validators_in_their_phase() {
    in_round_one(|| {
        report_refused(11, 1, included(&[]), Error::NotHolding);
        train_to_hold(&[1, 2]);
        report_refused(11, 0, included(&[0]), Error::WrongRound);
        report_refused(11, 2, included(&[0]), Error::WrongRound);
        report_refused(1, 1, included(&[0]), Error::NotAValidator);
        Validators::insert(14, 1_000);
        report_refused(14, 1, included(&[0]), Error::NotAValidator);
        report_refused(11, 1, included(&[2]), Error::BadHeld);
        report_refused(11, 1, included(&[0, 63]), Error::BadHeld);
        let longer = codec::Decode::decode(&mut &[8u8, 1, 0][..]).unwrap();
        report_refused(11, 1, longer, Error::BadHeld);
        assert_ok!(report(11, &[0]));
        report_refused(11, 1, included(&[0]), Error::NothingMoreHeld);
        report_refused(11, 1, included(&[1]), Error::NothingMoreHeld);
        assert_ok!(report(11, &[0, 1]));
        hold_rest();
        report_refused(13, 1, included(&[0, 1]), Error::NotHolding);
    });
}

/// Lets the other validators report both reveals.
fn hold_rest() {
    for validator in [12, 13] {
        assert_ok!(report(validator, &[0, 1]));
    }
    run_until(Phase::Attest);
}

#[test]
fn an_idle_newcomer_holds_up_neither_round_zero_nor_any_other() {
    on_chain(Some(recipe()), || {
        Validators::insert(14, 100);
        Newcomers::put(vec![14]);
        run(1);
        assert_eq!(round().stake, 100);
        attest_initial();
        run(1);
        train_to_hold(&[1]);
        assert_ok!(report(11, &[0]));
        assert_ok!(report(12, &[0]));
        run(1);
        assert_eq!((round().phase, round().stake), (Phase::Attest, 100));
        adopt([5; 32]);
    });
}

/// Lets validator 14 bond first, so that the count of round zero begins, and then the others.
/// Returns the others.
fn bond_one_first() -> Vec<AccountId> {
    let others: Vec<_> = VALIDATORS.iter().map(|(account, _)| *account).collect();
    let stakes: Vec<_> = others.iter().map(Validators::take).collect();
    Validators::insert(14, 10);
    Newcomers::put(vec![14]);
    run(1);
    assert_eq!((round().phase, round().stake), (Phase::Attest, 10));
    for (account, stake) in others.iter().zip(stakes) {
        Validators::set(account, stake);
    }
    Newcomers::put([&others[..], &[14]].concat());
    others
}

/// Lets the accounts attest the same root, one after the other, until it is the head.
fn attest_in_turn(accounts: &[AccountId], root: Hash) {
    for account in accounts {
        if CurrentHead::<Test>::get().is_none() {
            assert_ok!(attest(*account, root));
            assert_ok!(Learning::do_try_state());
        }
    }
    assert_eq!((head().round, head().root), (0, root));
    Validators::remove(14);
}

#[test]
fn whoever_bonds_first_and_never_acts_does_not_hold_up_round_zero() {
    on_chain(Some(recipe()), || {
        let others = bond_one_first();
        assert_ok!(attest(others[0], [3; 32]));
        assert_eq!(round().stake, 110, "nobody has acted, so that all count");
        attest_in_turn(&others[1..], [3; 32]);
    });
}

#[test]
fn whoever_bonds_or_attests_first_does_not_decide_round_zero_alone() {
    on_chain(Some(recipe()), || {
        let others = bond_one_first();
        assert_ok!(attest(14, [9; 32]));
        assert_eq!((round().stake, CurrentHead::<Test>::get()), (110, None));
        attest_in_turn(&others, [3; 32]);
    });
}

#[test]
fn nobody_decides_alone_while_most_stake_is_new() {
    on_chain(Some(recipe()), || {
        Validators::insert(14, 201);
        Newcomers::put(vec![14]);
        run(1);
        for validator in [11, 12, 13] {
            assert_ok!(attest(validator, [3; 32]));
        }
        assert_eq!((round().stake, CurrentHead::<Test>::get()), (100, None));
        // With a newcomer it is a quorum of all.
        assert_ok!(attest(14, [3; 32]));
        assert_eq!((head().root, Newcomers::get()), ([3; 32], vec![]));
        run(1);
        Newcomers::put(vec![14]);
        train_to_hold(&[1]);
        for validator in [11, 12, 13] {
            assert_ok!(report(validator, &[0]));
        }
        assert!(!round().decided);
        // All that act have up to two thirds against them.
        Validators::insert(14, 200);
        run_until(Phase::Attest);
        for validator in [11, 12, 13] {
            assert_ok!(attest(validator, [5; 32]));
        }
        assert_eq!(head().round, 0, "the stakes are those of the count's beginning");
        run(LENGTHS.attest);
        assert_eq!((round().phase, round().attempt), (Phase::Hold, 1));
        for validator in [11, 12, 13] {
            assert_ok!(report(validator, &[0]));
        }
        assert!(round().decided);
        run(1);
        for validator in [11, 12] {
            assert_ok!(attest(validator, [5; 32]));
        }
        assert_eq!(head().round, 0, "67 of 300 are no third");
        attests(13, [5; 32]);
        assert_eq!(head().round, 1);
    });
}

#[test]
fn a_newcomer_counts_on_both_sides_once_it_acts() {
    in_round_one(|| {
        Validators::insert(14, 100);
        Newcomers::put(vec![14]);
        train_to_hold(&[1]);
        assert_ok!(report(11, &[0]));
        assert_ok!(report(12, &[0]));
        assert!(round().decided);
        assert_ok!(report(14, &[]));
        assert_eq!((round().stake, round().decided), (200, false));
        assert!(Newcomers::get().is_empty());
        assert_ok!(report(13, &[]));
        run(1);
        assert_eq!((round().number, head().round), (2, 0), "67 of 200 include nothing");
        run(1);
        // Another one first acts by attesting.
        Validators::insert(15, 10);
        Newcomers::put(vec![15]);
        train_to_hold(&[2]);
        for validator in 11..=14 {
            assert_ok!(report(validator, &[0]));
        }
        run(1);
        attests(15, [6; 32]);
        assert_eq!((round().stake, tallies()), (210, vec![10]));
    });
}

// ---- Attesting ----

#[test]
fn sixty_seven_percent_make_a_head() {
    in_round_one(|| {
        train(&[2, 1]);
        let (first, second) = (lease_of(2).data_hash(), lease_of(1).data_hash());
        let payloads = (work(2, 4).payload_hash, work(1, 4).payload_hash);
        let before = head();
        attests(12, [5; 32]);
        attests(13, [5; 32]);
        assert_eq!((tallies(), head()), (vec![66], before), "66 of 100 are no quorum");
        let opened_at = round().opened_at;

        // Exactly 67 for another head.
        attests(11, [6; 32]);
        attests(12, [6; 32]);
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
        let blocks = record.concluded_at - Learning::round_record(0).unwrap().concluded_at;
        assert_eq!(
            (Paid::get(), Learning::attest_phases(), Learning::number()),
            (vec![(1, blocks, 2)], 2, 2)
        );
        assert_eq!((Revealed::<Test>::get().len(), Learning::attestations()), (0, vec![]));
    });
}

#[test]
fn a_late_validator_counts_as_taking_part() {
    in_round_one(|| {
        train(&[1, 2]);
        adopt([5; 32]);
        let newest = head();
        assert_noop!(weightless(attest_late(13, 1, [6; 32])), Error::<Test>::WrongRound);
        assert_noop!(weightless(attest_late(1, 1, [5; 32])), Error::<Test>::NotAValidator);
        assert_noop!(weightless(attest_late(12, 1, [5; 32])), Error::<Test>::AlreadyAttested);
        assert_ok!(attest_late(13, 1, [5; 32]));
        assert_event(Event::Attested { account: 13, round: 1, root: [5; 32] });
        assert_eq!((head(), Noted::get(13), tallies()), (newest, vec![1], vec![]));
        // Only the newest head can be attested late.
        run(1);
        train(&[1]);
        adopt([7; 32]);
        assert_noop!(weightless(attest_late(13, 1, [5; 32])), Error::<Test>::WrongRound);
    });
}

#[test]
fn a_late_attestation_counts_for_its_own_phase_only() {
    in_round_one(|| {
        train(&[1]);
        adopt([5; 32]);
        run(1);
        train(&[1]);
        assert_eq!(AttestPhases::<Test>::get(), 2);
        assert_ok!(attest_late(13, 1, [5; 32]));
        assert_noop!(weightless(attest_late(13, 1, [5; 32])), Error::<Test>::AlreadyAttested);
        assert_eq!(Noted::get(13), [1]);
        // In a round without a quorum, the head before it keeps no absent validator alive.
        run(LENGTHS.attest);
        assert_eq!((round().phase, round().attempt), (Phase::Hold, 1));
        assert_noop!(weightless(attest_late(13, 1, [5; 32])), Error::<Test>::WrongRound);
        run(LENGTHS.hold);
        assert_eq!((round().number, head().round), (3, 1));
        assert_noop!(weightless(attest_late(13, 1, [5; 32])), Error::<Test>::WrongRound);
    });
}

#[test]
fn an_attestation_replaces_the_earlier_one() {
    in_round_one(|| {
        train(&[1, 2]);
        attests(11, [5; 32]);
        refused(11, 1, Error::AlreadyAttested);
        attests(11, [6; 32]);
        assert_eq!(
            (tallies(), Learning::attestations().len(), Noted::get(11)),
            (vec![34], 1, vec![0, 1, 1])
        );
        // The first head has lost the stake, so another validator alone does not make it.
        attests(12, [5; 32]);
        assert_eq!((tallies(), head().round), (vec![34, 33], 0));
        attests(13, [6; 32]);
        assert_eq!(head().root, [6; 32]);
    });
}

#[test]
fn stakes_count_as_they_were_when_the_count_began() {
    in_round_one(|| {
        train_to_hold(&[1]);
        // Whatever happens to bonds now, and whoever comes.
        Validators::insert(11, 1);
        Validators::insert(14, 1_000);
        Validators::remove(13);
        for validator in [11, 12, 13] {
            assert_ok!(report(validator, &[0]));
        }
        run(1);
        attests(13, [5; 32]);
        refused(14, 1, Error::NotAValidator);
        assert_eq!((tallies(), round().stake), (vec![33], 100));
        attests(11, [5; 32]);
        assert_eq!(head().root, [5; 32]);
    });
}

#[test]
fn only_validators_attest_in_their_phase() {
    in_round_one(|| {
        refused(11, 1, Error::NotAttesting);
        train_to_hold(&[1]);
        refused(11, 1, Error::NotAttesting);
        hold(&[0]);
        refused(1, 1, Error::NotAValidator);
        refused(11, 0, Error::WrongRound);
        refused(11, 2, Error::WrongRound);
        adopt([5; 32]);
        assert_noop!(weightless(attest_late(13, 1, [9; 32])), Error::<Test>::WrongRound);
        refused(13, 2, Error::NotAttesting);
        assert!(Noted::get(13).is_empty());
    });
}

#[test]
fn a_root_of_other_inputs_is_refused() {
    in_round_one(|| {
        train(&[1, 2]);
        let updates = Learning::updates_of(1, &[1, 2], &included(&[0]));
        let inputs = head_inputs(1, &[3; 32], &recipe().hash(), &updates, &[]);
        assert_noop!(
            weightless(Learning::attest_head(signed(11), 1, inputs, [5; 32])),
            Error::<Test>::WrongInputs
        );
        assert_eq!(Noted::get(11), [0]);
    });
}

#[test]
fn wrong_roots_cost_a_strike_and_then_stake() {
    in_round_one(|| {
        let mut bonds = Vec::new();
        for number in 1..=4u8 {
            train(&[1]);
            // Right in the third round.
            let root = if number == 3 { [3; 32] } else { [0xee; 32] };
            attests(13, root);
            adopt([number; 32]);
            run(1);
            bonds.push((Validators::get(13).unwrap(), WrongRoots::get(13)));
        }
        assert_eq!(bonds, [(33, 1), (27, 2), (27, 0), (27, 1)]);
        assert_event(Event::WrongRoot { account: 13, round: 1, amount: 0 });
        assert_event(Event::WrongRoot { account: 13, round: 2, amount: 6 });
        assert_eq!((Validators::get(11), WrongRoots::get(11)), (Some(34), 0));
        assert_eq!(
            (AdoptedRoots::<Test>::iter().count(), Attestations::<Test>::iter().count()),
            (0, 0)
        );
    });
}

#[test]
fn no_root_is_wrong_where_no_head_is_made() {
    in_round_one(|| {
        train(&[1]);
        attests(13, [0xee; 32]);
        attests(12, [5; 32]);
        run(LENGTHS.attest + LENGTHS.hold + 1);
        assert_eq!((round().number, head().round), (2, 0));
        assert_eq!((WrongRoots::get(12), WrongRoots::get(13)), (0, 0));
        assert_eq!(Attestations::<Test>::iter().count(), 0);
    });
}

#[test]
fn nothing_is_a_quorum_of_no_stake() {
    in_round_one(|| {
        VALIDATORS.iter().for_each(|(account, _)| Validators::remove(account));
        train_to_hold(&[1]);
        assert_eq!(round().stake, 0);
        Validators::insert(11, 50);
        report_refused(11, 1, included(&[0]), Error::NotAValidator);
        run(LENGTHS.hold);
        assert_eq!((round().number, head().round), (2, 0));
    });
}

#[test]
fn the_lineage_continues_over_void_rounds() {
    in_round_one(|| {
        (1..=3).for_each(|account| Trainers::insert(account, 1_000));
        for number in 1..=6u8 {
            train_to_hold(&[1, 2, 3]);
            if number % 3 == 0 {
                run(LENGTHS.hold);
            } else {
                hold(&[number % 3]);
                adopt([number; 32]);
            }
            assert_ok!(Learning::do_try_state());
            run(1);
        }
        assert_eq!((head().round, head().tokens, round().number), (5, 4 * 8_192, 7));
        // The time of a void round is paid to nobody.
        let end = |round| Learning::round_record(round).unwrap().concluded_at;
        let paid = [1, 2, 4, 5].map(|round| (round, end(round) - end(round - 1), 1));
        assert_eq!(Paid::get(), paid);
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
        let call = |validator| attest(validator, [5; 32]).unwrap().actual_weight.unwrap();
        let (vote, quorum) = (call(11), call(12));
        let most = Call::<Test>::attest_head { round: 1, inputs: [0; 32], root: [5; 32] }
            .get_dispatch_info()
            .call_weight;
        assert!(vote.all_lt(quorum) && quorum.all_lt(most));
    });
}
