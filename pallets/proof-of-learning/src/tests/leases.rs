// SPDX-License-Identifier: Apache-2.0

//! Joining, the data of leases, and their conclusion.

use crate::{mock::*, pallet::*};
use codec::Encode;
use pol_primitives::{
    BoundedVec,
    audit::Finding,
    lease::Lease,
    recipe::Tier,
    round::Phase,
    standing::Standing,
    submission::{Outcome, SubmissionRecord, SubmissionStatus},
    traits::ShardPool,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok, dispatch::GetDispatchInfo};

fn joins(account: AccountId, tier: Tier, error: Error<Test>) {
    assert_noop!(weightless(Learning::join_round(signed(account), tier)), error);
}

#[test]
fn a_lease_holds_what_the_seed_draws_for_the_account() {
    in_round_one(|| {
        let mut prf = Lease::draw(&round().seed, &1u64.encode(), 0);
        let before = FreeShards::get();
        let drawn = Shards::lease(8, &mut prf);
        FreeShards::put(before);
        join(1);
        assert_event(Event::Leased { account: 1, due_round: 1, shards: 8 });
        let expected = Lease {
            nonce: 0,
            tier: Tier::Participant,
            round: 1,
            due_round: 1,
            seed: round().seed,
            base_root: [3; 32],
            head_tokens: 0,
            recipe: recipe().hash(),
            carry: [0; 32],
            carry_round: 0,
            shards: BoundedVec::try_from(drawn).unwrap(),
        };
        assert_eq!(lease_of(1), expected);
        assert_eq!(Learning::standing(&1), Standing { nonce: 1, ..Default::default() });
        assert_eq!(Shards::free_shards(), SHARDS - 8);
        join(2);
        assert!(lease_of(2).shards.iter().all(|shard| !expected.shards.contains(shard)));
        assert_eq!(
            (round().due, round().deadline),
            (2, Some(22)),
            "the clock started with the first"
        );
    });
}

#[test]
fn only_bonded_trainers_join() {
    in_round_one(|| {
        joins(10, Tier::Whale, Error::NotATrainer);
        joins(11, Tier::Whale, Error::NotATrainer);
    });
}

#[test]
fn each_lease_and_each_unsettled_update_locks_a_part_of_the_bond() {
    in_round_one(|| {
        // Enough for one update, with a rest that is too small for another.
        Lockable::insert(1, 15);
        Lockable::insert(2, 16);
        let id = audited(&[1, 2]);
        assert_eq!((Locked::get(1), Locked::get(2)), (8, 8));
        run_until(Phase::Train);
        joins(1, Tier::Miner, Error::BondIsLocked);
        assert_ok!(Learning::conclude(signed(1), 1));
        joins(1, Tier::Miner, Error::BondIsLocked);
        join(2);
        assert_eq!((Locked::get(1), Locked::get(2)), (8, 16), "the lease and the update before");
        examine(id, HONEST);
        settle(id, 1);
        settle(id, 2);
        assert_eq!((Locked::get(1), Locked::get(2)), (0, 8));
        join(1);
        assert_eq!(Locked::get(1), 8);
    });
}

#[test]
fn two_cheats_in_unsettled_rounds_are_fined_twice() {
    in_round_one(|| {
        Trainers::insert(1, 16);
        Lockable::insert(1, 16);
        let impossible = |_, _| Some(Finding::Impossible);
        let examined = [(); 2].map(|()| {
            let id = audited(&[1]);
            examine(id, &impossible);
            id
        });
        assert_eq!(Locked::get(1), 16);
        for id in examined {
            convict(id, 1, &impossible);
        }
        assert_eq!((Fines::get(), Trainers::get(1), Locked::get(1)), (vec![8, 8], Some(0), 0));
    });
}

#[test]
fn a_lost_lease_locks_nothing() {
    in_round_one(|| {
        // One lapses, one does not reveal, and one is left out.
        (1..=3).for_each(join);
        commit(2);
        let reveal = commit(3);
        run_until(Phase::Reveal);
        assert_ok!(Learning::reveal(signed(3), 1, reveal));
        run_until(Phase::Hold);
        for (validator, _) in VALIDATORS {
            assert_ok!(report(validator, &[]));
        }
        run_until(Phase::Train);
        for account in 1..=3 {
            assert_eq!(Locked::get(account), 8);
            assert_ok!(Learning::conclude(signed(9), account));
            assert_eq!(Locked::get(account), 0);
        }
    });
}

#[test]
fn joining_closes() {
    on_chain(Some(recipe()), || {
        run(1);
        joins(1, Tier::Miner, Error::NotJoining);
        attest_initial();
        joins(1, Tier::Miner, Error::NotJoining);
        run(1);
        join(1);
        run(3);
        join(2);
        run(1);
        joins(3, Tier::Miner, Error::NotJoining);
        assert_eq!(round().phase, Phase::Train);
    });
}

#[test]
fn one_lease_at_a_time() {
    in_round_one(|| {
        join(1);
        joins(1, Tier::Mobile, Error::AlreadyLeased);
        assert_ok!(Learning::join_round(signed(2), Tier::Mobile));
        train(&[3]);
        adopt([5; 32]);
        run(1);
        // The slow lease is still open; the other one's round is over.
        joins(2, Tier::Mobile, Error::AlreadyLeased);
        join(1);
        assert_event(Event::Concluded { account: 1, round: 1, status: None });
        assert_eq!((lease_of(1).round, lease_of(1).nonce), (2, 1));
    });
}

#[test]
fn a_pool_that_runs_out_gives_less_and_then_nothing() {
    in_round_one(|| {
        FreeShards::mutate(|free| free.truncate(11));
        join(1);
        join(2);
        assert_eq!(lease_of(2).shards.len(), 3);
        joins(3, Tier::Participant, Error::NoData);
        assert_eq!(Learning::standing(&3).nonce, 0);
    });
}

#[test]
fn a_slow_lease_is_due_a_round_later_and_discounted() {
    in_round_one(|| {
        assert_ok!(Learning::join_round(signed(1), Tier::Mobile));
        assert_event(Event::Leased { account: 1, due_round: 2, shards: 4 });
        let refused = Learning::commit(signed(1), 1, [0; 32], Default::default());
        assert_noop!(refused, Error::<Test>::NotDue);
        run(2);
        train(&[2]);
        adopt([5; 32]);
        run(1);
        assert_eq!((round().due, round().join_until), (1, Some(System::block_number() + 3)));
        join(3);
        let reveals = [(1, commit(1)), (3, commit(3))];
        run_until(Phase::Reveal);
        for (account, reveal) in reveals {
            assert_ok!(Learning::reveal(signed(account), 2, reveal));
        }
        run_until(Phase::Hold);
        hold(&[0, 1]);
        adopt([6; 32]);
        let staleness: Vec<_> = Learning::submissions(2)
            .into_iter()
            .map(|(account, s)| (account, s.staleness))
            .collect();
        assert_eq!(staleness, [(1, 1), (3, 0)]);
    });
}

#[test]
fn an_included_update_becomes_the_carry_and_keeps_its_shards_until_it_is_settled() {
    in_round_one(|| {
        train_to_hold(&[1, 2]);
        hold(&[0]);
        let (lease, carry) = (lease_of(1), work(1, 4).carry_hash);
        assert_noop!(
            weightless(Learning::conclude(signed(9), 1)),
            Error::<Test>::NothingToConclude
        );
        adopt([5; 32]);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_event(Event::Concluded {
            account: 1,
            round: 1,
            status: Some(SubmissionStatus::Included),
        });
        let standing =
            Standing { nonce: 1, carry, carry_round: 1, lapses: -1, ..Default::default() };
        assert_eq!((Learning::standing(&1), Learning::lease(&1)), (standing, None));
        assert_eq!(
            (Learning::audited_lease(1, &1), Learning::audited_lease(2, &1)),
            (Some(lease), None)
        );
        assert!(Consumed::get().is_empty());
        assert_eq!(Learning::submissions(1)[0].1.status, SubmissionStatus::Included);
        assert_noop!(
            weightless(Learning::conclude(signed(9), 1)),
            Error::<Test>::NothingToConclude
        );

        let (free, shards) = (Shards::free_shards(), lease_of(2).shards.len() as u32);
        assert_ok!(Learning::conclude(signed(2), 2));
        assert_event(Event::Concluded {
            account: 2,
            round: 1,
            status: Some(SubmissionStatus::Revealed),
        });
        assert_eq!((Shards::free_shards(), Learning::standing(&2).carry), (free + shards, [0; 32]));
        let settled = kept(1, 2);
        assert_eq!((settled.outcome, settled.index, settled.tokens), (Outcome::Excluded, 1, 8_192));
        assert_eq!((settled.tier, settled.gain), (Tier::Participant, 0));
        assert_eq!(Learning::history(1), [(2, settled)]);
        assert_eq!(
            Learning::submissions(1).iter().map(|(account, _)| *account).collect::<Vec<_>>(),
            [1]
        );
        assert_eq!((Trainers::get(2), Learning::standing(&2).lapses), (Some(8), 1));
    });
}

#[test]
fn a_lease_of_data_that_was_stopped_lapses_for_nothing() {
    in_round_one(|| {
        let lapse = || {
            join(1);
            run(LENGTHS.train);
            assert_ok!(Learning::conclude(signed(9), 1));
            run(1);
            (Trainers::get(1), Learning::standing(&1).lapses)
        };
        Stopped::put(true);
        assert_eq!(lapse(), (Some(10), 0));
        Stopped::put(false);
        assert_eq!(lapse(), (Some(8), 1));
    });
}

#[test]
fn an_update_that_is_not_served_costs_as_much_as_a_lapse() {
    in_round_one(|| {
        let conclude = || {
            assert_ok!(Learning::conclude(signed(9), 1));
            run(1);
            (Trainers::get(1), Learning::standing(&1).lapses)
        };
        for left in [(Some(8), 1), (Some(4), 2)] {
            train_to_hold(&[1]);
            for validator in [11, 12, 13] {
                assert_ok!(report(validator, &[]));
            }
            run(1);
            assert!(Learning::round_record(round().number - 1).unwrap().judged);
            assert_eq!(conclude(), left);
        }
        // Validators that do not report cost the trainer nothing.
        train_to_hold(&[1]);
        assert_ok!(report(11, &[]));
        run(LENGTHS.hold);
        assert!(!Learning::round_record(round().number - 1).unwrap().judged);
        assert_eq!(conclude(), (Some(4), 2));
    });
}

#[test]
fn a_void_round_returns_the_shards_of_all() {
    in_round_one(|| {
        train(&[1, 2]);
        run(LENGTHS.attest + LENGTHS.hold);
        for account in [1, 2] {
            assert_ok!(Learning::conclude(signed(9), account));
            assert_event(Event::Concluded {
                account,
                round: 1,
                status: Some(SubmissionStatus::Revealed),
            });
            assert_eq!(kept(1, account).outcome, Outcome::Excluded);
            assert_eq!(Trainers::get(account), Some(10), "no quorum is not the trainer's fault");
        }
        assert_eq!((Shards::free_shards(), Consumed::get()), (SHARDS, vec![]));
    });
}

#[test]
fn an_unopened_commitment_costs_the_penalty() {
    in_round_one(|| {
        join(1);
        join(2);
        commit(1);
        let data_hash = lease_of(1).data_hash();
        let reveal = commit(2);
        run_until(Phase::Reveal);
        assert_ok!(Learning::reveal(signed(2), 1, reveal));
        run_until(Phase::Hold);
        hold(&[0]);
        adopt([5; 32]);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_event(Event::Concluded {
            account: 1,
            round: 1,
            status: Some(SubmissionStatus::Committed),
        });
        let expected = SubmissionRecord {
            outcome: Outcome::NoShow,
            tier: Tier::Participant,
            staleness: 0,
            index: 0,
            payload_hash: [0; 32],
            data_hash,
            tokens: 0,
            gain: 0,
        };
        assert_eq!(
            (Trainers::get(1), kept(1, 1), Submissions::<Test>::get(1, 1)),
            (Some(3), expected, None)
        );
        assert_eq!(Shards::free_shards(), SHARDS - 8);
    });
}

#[test]
fn a_lease_without_a_commitment_costs_a_little() {
    in_round_one(|| {
        join(1);
        join(2);
        Trainers::insert(2, 2);
        train(&[3]);
        adopt([5; 32]);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_event(Event::Concluded { account: 1, round: 1, status: None });
        assert_eq!((Trainers::get(1), Trainers::get(3)), (Some(8), Some(10)));
        // The penalty for the past lease is applied before the next lease is given.
        run(1);
        joins(2, Tier::Participant, Error::NotATrainer);
        assert_ok!(Learning::conclude(signed(9), 2));
        assert_eq!(Trainers::get(2), Some(0));
        assert_eq!(Shards::free_shards(), SHARDS - 8);
    });
}

#[test]
fn the_carry_follows_included_work_only() {
    in_round_one(|| {
        train(&[1]);
        let first = work(1, 4).carry_hash;
        adopt([5; 32]);
        run(1);
        train_to_hold(&[1, 2]);
        hold(&[1]);
        assert_eq!((lease_of(1).carry, lease_of(1).head_tokens), (first, head().tokens));
        adopt([6; 32]);
        run(1);
        // It was left out of round two, so the next lease starts from the carry of round one.
        join(1);
        assert_eq!((lease_of(1).carry, lease_of(1).base_root), (first, [6; 32]));
    });
}

#[test]
fn a_trainer_can_forget_its_carry() {
    in_round_one(|| {
        train(&[1]);
        assert_noop!(weightless(Learning::reset_carry(signed(1))), Error::<Test>::AlreadyLeased);
        adopt([5; 32]);
        // The lease that would set the carry is concluded first.
        assert_ok!(Learning::reset_carry(signed(1)));
        assert_event(Event::Concluded {
            account: 1,
            round: 1,
            status: Some(SubmissionStatus::Included),
        });
        assert_event(Event::CarryReset { account: 1 });
        assert_eq!(
            Learning::standing(&1),
            Standing { nonce: 1, carry_round: 1, lapses: -1, ..Default::default() }
        );
        run(1);
        join(1);
        assert_eq!(lease_of(1).carry, [0; 32]);
        assert_ok!(Learning::reset_carry(signed(10)));
        assert!(
            !Standings::<Test>::contains_key(10),
            "who has nothing to forget leaves nothing behind"
        );
    });
}

#[test]
fn calls_pay_for_what_they_did() {
    in_round_one(|| {
        let most =
            Call::<Test>::join_round { tier: Tier::Participant }.get_dispatch_info().call_weight;
        let actual =
            Learning::join_round(signed(1), Tier::Participant).unwrap().actual_weight.unwrap();
        assert!(actual.all_gt(0.into()) && actual.all_lt(most));
    });
}
