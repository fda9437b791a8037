// SPDX-License-Identifier: Apache-2.0

//! Rewrites of the model.

use crate::{mock::*, pallet::*};
use pol_primitives::{
    head::{Excision, Head},
    model::ModelSpec,
    recipe::{Recipe as Spec, Tier},
    rewrite::Rewrite,
    round::Phase,
    submission::{Outcome, SubmissionStatus, TrainingClaims},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};

const INSERT: Rewrite = Rewrite::InsertBlock { at: 1 };

/// Returns the recipe that applies `rewrite` to the model of `before`.
fn with(rewrite: Rewrite, before: &Spec) -> Spec {
    Spec { model: rewrite.apply(&before.model).unwrap(), rewrite: Some(rewrite), ..before.clone() }
}

fn rewritten() -> Spec {
    with(INSERT, &recipe())
}

fn set(recipe: Spec) {
    assert_ok!(Learning::set_recipe(RuntimeOrigin::root(), recipe));
}

#[track_caller]
fn refused(recipe: Spec, error: Error<Test>) {
    assert_noop!(Learning::set_recipe(RuntimeOrigin::root(), recipe), error);
}

/// Runs `test` in the first block of round two, which rewrites the model that trainer 1 trained in
/// round one.
fn rewriting(test: impl FnOnce()) {
    in_round_one(|| {
        set(rewritten());
        train(&[1]);
        adopt([5; 32]);
        run(1);
        test();
    });
}

#[test]
fn a_round_that_rewrites_trains_nothing() {
    rewriting(|| {
        assert_event(Event::RecipeAdopted { hash: rewritten().hash() });
        let (now, before) = (System::block_number(), head());
        assert_eq!(
            (round().number, round().phase, round().attests_only()),
            (2, Phase::Attest, true)
        );
        assert_eq!(
            (round().base_root, round().stake, round().deadline),
            ([5; 32], 100, Some(now + LENGTHS.attest))
        );
        assert_eq!(
            (before.recipe_hash, Recipe::<Test>::get()),
            (recipe().hash(), Some(rewritten()))
        );
        assert_noop!(
            weightless(Learning::join_round(signed(2), Tier::Participant)),
            Error::<Test>::NotJoining
        );
        assert_noop!(report(11, &[]), Error::<Test>::NotHolding);
        assert_noop!(
            weightless(Learning::attest_head(signed(11), 2, [0; 32], [6; 32])),
            Error::<Test>::WrongInputs
        );

        adopt([6; 32]);
        let expected =
            Head::next::<AccountId>(Some(&before), 2, [6; 32], rewritten().hash(), &[], &[]);
        assert_eq!(
            (head(), head().tokens, ModelSince::<Test>::get()),
            (expected, before.tokens, 2)
        );
        assert_event(Event::ModelRewritten { round: 2, rewrite: INSERT });
        assert_event(Event::HeadAdvanced { head: expected });
        let record = Learning::round_record(2).unwrap();
        assert_eq!(
            (record.head, record.included.is_empty(), record.revealed.len()),
            (Some(expected), true, 0)
        );
        let paid: Vec<_> =
            Paid::get().iter().map(|(round, _, updates)| (*round, *updates)).collect();
        assert_eq!(paid, [(1, 1), (2, 0)], "nothing is earned where nothing is trained");
        // A validator that is late for the quorum has taken part in its phase.
        assert_ok!(attest_late(13, 2, [6; 32]));
        assert_eq!(Noted::get(13), [2]);

        // The next round trains the rewritten model.
        run(1);
        assert_eq!((round().number, round().phase), (3, Phase::Train));
        train(&[2]);
        assert_eq!((lease_of(2).recipe, lease_of(2).base_root), (rewritten().hash(), [6; 32]));
        adopt([7; 32]);
        assert_eq!(
            (head().round, head().tokens, ModelSince::<Test>::get()),
            (3, before.tokens + 8_192, 2)
        );
    });
}

#[test]
fn a_rewrite_is_carried_out_once() {
    rewriting(|| {
        adopt([6; 32]);
        // The same recipe again, with other constants, and without naming the rewrite.
        let kept = [
            rewritten(),
            Spec { gradient_clip: 2, ..rewritten() },
            Spec { rewrite: None, ..rewritten() },
        ];
        for (number, recipe) in (3..).zip(kept) {
            set(recipe.clone());
            run(1);
            assert_eq!(
                (round().number, round().phase, Recipe::<Test>::get()),
                (number, Phase::Train, Some(recipe))
            );
            train(&[1]);
            adopt([number as u8 + 10; 32]);
        }
        assert_eq!(ModelSince::<Test>::get(), 2);
        // A second block in the same place is another model.
        let again = with(INSERT, &rewritten());
        set(again.clone());
        run(1);
        assert!(round().attests_only());
        adopt([6; 32]);
        assert_eq!(
            (head().recipe_hash, again.model.layers, ModelSince::<Test>::get()),
            (again.hash(), 4, 6)
        );
    });
}

#[test]
fn a_recipe_leads_from_the_head_to_its_model() {
    in_round_one(|| {
        refused(Spec { rewrite: None, ..rewritten() }, Error::ModelIsFixed);
        refused(Spec { seed: [9; 32], ..rewritten() }, Error::ModelIsFixed);
        refused(Spec { shard_tokens: 2_048, ..rewritten() }, Error::ModelIsFixed);
        refused(
            Spec { rewrite: Some(Rewrite::SplitExpert { expert: 0 }), ..rewritten() },
            Error::RewriteDoesNotFit,
        );
        refused(
            Spec { rewrite: Some(Rewrite::InsertBlock { at: 9 }), ..rewritten() },
            Error::RewriteDoesNotFit,
        );
        refused(
            Spec { rewrite: Some(Rewrite::Widen { feed_forward: 300 }), ..rewritten() },
            Error::RewriteOfAnotherModel,
        );
        refused(
            Spec { model: ModelSpec { layers: 4, ..recipe().model }, ..rewritten() },
            Error::RewriteOfAnotherModel,
        );
        refused(Spec { rewrite: Some(INSERT), ..recipe() }, Error::RewriteUnused);
    });
    rewriting(|| {
        // Until the round has a head, the model is the one before.
        refused(
            with(Rewrite::Widen { feed_forward: 300 }, &rewritten()),
            Error::RewriteOfAnotherModel,
        );
        refused(Spec { rewrite: Some(INSERT), ..recipe() }, Error::RewriteUnused);
        adopt([6; 32]);
        refused(recipe(), Error::ModelIsFixed);
        refused(
            Spec { rewrite: Some(Rewrite::InsertBlock { at: 0 }), ..rewritten() },
            Error::RewriteUnused,
        );
        set(with(Rewrite::Widen { feed_forward: 300 }, &rewritten()));
    });
}

#[test]
fn without_a_model_there_is_nothing_to_rewrite() {
    on_chain(Some(recipe()), || {
        run(1);
        refused(rewritten(), Error::RewriteUnused);
        // The first model may be of any architecture.
        set(Spec { rewrite: None, ..rewritten() });
    });
}

#[test]
#[should_panic(expected = "no model to rewrite")]
fn a_genesis_recipe_has_nothing_to_rewrite() {
    chain(Some(rewritten()));
}

#[test]
fn a_rewrite_that_waits_can_be_taken_back() {
    in_round_one(|| {
        assert_ok!(Learning::join_round(signed(2), Tier::Mobile));
        set(rewritten());
        set(recipe());
        train(&[1]);
        adopt([5; 32]);
        run(1);
        assert_eq!(
            (round().number, round().phase, RecipeSince::<Test>::get()),
            (2, Phase::Train, 0)
        );
        // The recipe is the same as before, so leases stay valid.
        commit(2);
    });
}

#[test]
fn a_rewrite_under_way_can_be_taken_back() {
    rewriting(|| {
        assert_ok!(attest(11, [6; 32]));
        let phases = AttestPhases::<Test>::get();
        set(recipe());
        assert_event(Event::RoundVoid { number: 2 });
        assert_eq!(
            (round().number, round().phase, AttestPhases::<Test>::get()),
            (3, Phase::Idle, phases + 1)
        );
        assert_eq!(Learning::round_record(2).unwrap().head, None);
        assert_noop!(weightless(attest_late(12, 2, [6; 32])), Error::<Test>::WrongRound);
        run(1);
        assert_eq!((round().phase, round().base_root), (Phase::Train, [5; 32]));
        train(&[3]);
        adopt([7; 32]);
        // Earlier carries fit the model, which never changed.
        run(1);
        join(1);
        assert_ne!(lease_of(1).carry, [0; 32]);
        assert_eq!(ModelSince::<Test>::get(), 0);
    });
}

#[test]
fn another_rewrite_replaces_one_under_way() {
    let wider = with(Rewrite::Widen { feed_forward: 300 }, &recipe());
    rewriting(|| {
        assert_ok!(attest(11, [6; 32]));
        set(wider.clone());
        run(1);
        assert_eq!(
            (round().number, round().attests_only(), Learning::attestations()),
            (3, true, vec![])
        );
        // The stake of the validator that attested the other model no longer counts.
        assert_ok!(attest(12, [6; 32]));
        assert_eq!(head().round, 1);
        assert_ok!(attest(11, [6; 32]));
        assert_eq!((head().round, head().recipe_hash), (3, wider.hash()));
    });
}

#[test]
fn a_rewrite_out_of_time_is_tried_again_after_a_pause() {
    rewriting(|| {
        assert_ok!(attest(11, [6; 32]));
        run(LENGTHS.attest);
        assert_event(Event::RoundVoid { number: 2 });
        let now = System::block_number();
        assert_eq!(
            (round().number, round().phase, round().deadline),
            (3, Phase::Idle, Some(now + LENGTHS.pause))
        );
        assert_eq!((head().round, CurrentCount::<Test>::exists()), (1, false));
        assert_ok!(Learning::do_try_state());
        run(LENGTHS.pause - 1);
        assert_eq!(round().phase, Phase::Idle);
        run(1);
        assert_eq!(
            (round().number, round().attests_only(), Learning::attestations()),
            (3, true, vec![])
        );
        adopt([6; 32]);
        assert_eq!((ModelSince::<Test>::get(), Learning::round_record(2).unwrap().head), (3, None));
    });
}

#[test]
fn leases_of_before_end_without_a_penalty() {
    in_round_one(|| {
        assert_ok!(Learning::join_round(signed(2), Tier::Mobile));
        let leased = lease_of(2).shards.len();
        set(rewritten());
        train(&[1]);
        adopt([5; 32]);
        run(1);
        assert_eq!((round().due, lease_of(2).due_round), (0, 2), "no round waits for it");
        let free = FreeShards::get().len();
        assert_ok!(Learning::conclude(signed(9), 2));
        assert_event(Event::Concluded { account: 2, round: 2, status: None });
        assert_eq!((FreeShards::get().len(), Trainers::get(2)), (free + leased, Some(10)));
    });
}

#[test]
fn a_lease_ends_with_its_recipe_even_if_that_comes_back() {
    let mut slow = recipe();
    slow.tiers[0].cadence = 3;
    on_chain(Some(slow.clone()), || {
        run(1);
        attest_initial();
        run(1);
        assert_ok!(Learning::join_round(signed(2), Tier::Mobile));
        for (round, recipe) in [(2, Spec { gradient_clip: 2, ..slow.clone() }), (3, slow.clone())] {
            set(recipe);
            train(&[1]);
            adopt([round as u8; 32]);
            run(1);
            assert_eq!(RecipeSince::<Test>::get(), round);
        }
        assert_eq!(
            (lease_of(2).due_round, lease_of(2).recipe, Learning::recipe_hash()),
            (3, slow.hash(), Some(slow.hash()))
        );
        let refused = Learning::commit(signed(2), 3, [0; 32], TrainingClaims::default());
        assert_noop!(refused, Error::<Test>::RecipeChanged);
        assert_ok!(Learning::conclude(signed(9), 2));
        assert_eq!((round().number, Trainers::get(2)), (3, Some(10)));
    });
}

#[test]
fn no_round_waits_for_leases_of_an_earlier_recipe() {
    let mut slow = recipe();
    slow.tiers[0].cadence = 4;
    on_chain(Some(slow.clone()), || {
        run(1);
        attest_initial();
        run(1);
        let join_slowly = |account| Learning::join_round(signed(account), Tier::Mobile);
        assert_ok!(join_slowly(2));
        assert_ok!(join_slowly(3));
        train(&[1]);
        adopt([5; 32]);
        set(Spec { gradient_clip: 2, ..slow.clone() });
        run(1);
        assert_eq!((round().number, RecipeSince::<Test>::get()), (2, 2));
        assert_eq!((DueLeases::<Test>::iter().count(), LastDueRound::<Test>::get()), (0, 0));
        assert_ok!(Learning::do_try_state());
        // The owner of an old lease can take a new one, whose round counts that alone.
        assert_ok!(join_slowly(2));
        assert_event(Event::Concluded { account: 2, round: 4, status: None });
        assert_eq!((lease_of(2).due_round, DueLeases::<Test>::get(5)), (5, 1));
        for number in 2..=3 {
            train(&[1]);
            adopt([number; 32]);
            run(1);
        }
        // The lease of trainer 3 is due in this round, which waits for the first one that joins.
        assert_eq!((lease_of(3).due_round, round().number, round().due), (4, 4, 0));
        assert_eq!(round().join_until, None);
        train(&[1]);
        adopt([6; 32]);
        run(1);
        assert_eq!((round().number, round().due), (5, 1));
        assert_ok!(Learning::reset_carry(signed(3)));
        assert!(!Leases::<Test>::contains_key(3) && Trainers::get(3) == Some(10));
    });
}

#[test]
fn carries_end_with_the_model() {
    rewriting(|| {
        assert_ok!(Learning::conclude(signed(9), 1));
        let before = Learning::standing(&1);
        assert_eq!((before.carry, before.carry_round), (work_of(1, 1), 1));
        adopt([6; 32]);
        assert_eq!((Learning::standing(&1).carry, Learning::standing(&1).nonce), ([0; 32], 1));
        run(1);
        train(&[1, 2]);
        assert_eq!((lease_of(1).carry, Standings::<Test>::get(1).carry), ([0; 32], [0; 32]));
        let carry = work_of(1, 3);
        adopt([7; 32]);
        // Carries of the new model count.
        run(1);
        join(1);
        assert_eq!((lease_of(1).carry, lease_of(1).carry_round), (carry, 3));
    });
    // The same where the update is concluded after the rewrite.
    rewriting(|| {
        adopt([6; 32]);
        run(1);
        join(1);
        assert_event(Event::Concluded {
            account: 1,
            round: 1,
            status: Some(SubmissionStatus::Included),
        });
        assert_eq!(lease_of(1).carry, [0; 32]);
    });
}

/// Returns the carry after `account`'s update to `round`, which is not settled.
fn work_of(account: AccountId, round: u32) -> pol_primitives::Hash {
    Submissions::<Test>::get(round, account).unwrap().opened.unwrap().carry_hash
}

#[test]
fn updates_of_before_are_audited_and_taken_out_after() {
    in_round_one(|| {
        assert_eq!(audited(&[1, 2]), 0);
        examine(0, &|_, _| Some(other(0, 1)));
        [1, 2].into_iter().for_each(|trainer| settle(0, trainer));
        let find: Find = &|_, trainer| (trainer == 1).then(|| other(1, 1));
        let again = examine_again(1, find);
        settle(again, 1);
        assert_eq!(kept(1, 1).outcome, Outcome::Invalid);
        // The round is void, so that the excision waits when the next one rewrites the model.
        set(rewritten());
        join(3);
        run(LENGTHS.train + 1);
        assert_eq!((round().number, round().attests_only()), (3, true));
        assert_eq!((Excisions::<Test>::get().len(), Learning::excisions()), (1, vec![]));
        adopt([6; 32]);
        assert_eq!(
            (Learning::round_record(3).unwrap().excised.len(), Excisions::<Test>::get().len()),
            (0, 1)
        );
        // Seats replayed by the recipe of the lease.
        settle(again, 2);
        assert_eq!(kept(1, 2).outcome, Outcome::Valid);
        run(1);
        train(&[4]);
        let excision = Excision { round: 1, index: 0 };
        assert_eq!(Learning::excisions(), [excision]);
        adopt([7; 32]);
        assert_eq!(Learning::round_record(4).unwrap().excised.to_vec(), [excision]);
        assert!(!Excisions::<Test>::exists());
    });
}

#[test]
fn a_rewrite_waits_for_validators_and_not_for_data() {
    in_round_one(|| {
        train(&[1]);
        adopt([5; 32]);
        let free = FreeShards::take();
        run(3);
        assert_eq!(
            (round().number, round().phase),
            (2, Phase::Idle),
            "there is nothing to train on"
        );
        set(rewritten());
        let stakes: Vec<_> = Validators::drain().collect();
        run(3);
        assert_eq!(round().phase, Phase::Idle);
        stakes.into_iter().for_each(|(account, stake)| Validators::insert(account, stake));
        run(1);
        assert!(round().attests_only());
        adopt([6; 32]);
        run(3);
        assert_eq!((round().number, round().phase), (3, Phase::Idle));
        FreeShards::put(free);
        run(1);
        assert_eq!((round().number, round().phase), (3, Phase::Train));
    });
}
