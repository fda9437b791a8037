// SPDX-License-Identifier: Apache-2.0

//! Recipes, lengths of phases and parameters of audits.

use crate::{mock::*, pallet::*};
use pol_primitives::{
    audit::AuditConfig,
    model::ModelSpec,
    recipe::{MIN_TOLERANCE, Numerics, Recipe as Spec, Tier},
    round::{MAX_LENGTH, Phase, RoundConfig},
    submission::{Outcome, SubmissionStatus, TrainingClaims},
    traits::{DataFormat, Rounds},
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok};
use polkadot_sdk::sp_runtime::DispatchError::BadOrigin;

fn set(recipe: Spec) {
    assert_ok!(Learning::set_recipe(RuntimeOrigin::root(), recipe));
}

/// Returns a recipe that trains the same model differently.
fn other() -> Spec {
    Spec { gradient_clip: 2, ..recipe() }
}

#[test]
fn only_governance_governs() {
    in_round_one(|| {
        assert_noop!(Learning::set_recipe(signed(1), recipe()), BadOrigin);
        assert_noop!(Learning::set_lengths(signed(1), LENGTHS), BadOrigin);
        assert_noop!(Learning::set_audits(signed(1), AUDITS), BadOrigin);
    });
}

#[test]
fn the_first_recipe_opens_round_zero() {
    on_chain(None, || {
        run(5);
        assert_eq!(round().phase, Phase::Idle);
        set(recipe());
        assert_event(Event::RecipeSet { hash: recipe().hash() });
        run(1);
        assert_event(Event::RecipeAdopted { hash: recipe().hash() });
        assert_eq!(
            (round().number, round().phase, Recipe::<Test>::get()),
            (0, Phase::Attest, Some(recipe()))
        );
    });
}

#[test]
fn each_kind_of_invalid_recipe_has_its_error() {
    in_round_one(|| {
        let refused = |change: fn(&mut Spec), error: Error<Test>| {
            let mut recipe = recipe();
            change(&mut recipe);
            assert_noop!(Learning::set_recipe(RuntimeOrigin::root(), recipe), error);
        };
        let model = |r: &mut Spec| {
            r.model = ModelSpec::gpt2(0, 64, 2, 2, 256, 64);
        };
        refused(model, Error::RecipeModelInvalid);
        refused(|r| r.sequence = 0, Error::RecipeSequenceInvalid);
        refused(|r| r.tiers[1].cadence = 0, Error::RecipeTierInvalid);
        refused(|r| r.compression.top_k = 0, Error::RecipeConstantInvalid);
        refused(|r| r.segments = 0, Error::RecipeSegmentsInvalid);
        refused(|r| r.numerics = Numerics::Native { tolerance: 0 }, Error::RecipeToleranceInvalid);
        refused(
            |r| {
                *r = Spec { arithmetic: Some([1; 32]), ..r.clone().into_native(MIN_TOLERANCE) };
            },
            Error::RecipeArithmeticInvalid,
        );
    });
}

#[test]
fn the_model_is_fixed_once_there_is_a_head() {
    in_round_one(|| {
        let refused = |recipe| {
            assert_noop!(
                Learning::set_recipe(RuntimeOrigin::root(), recipe),
                Error::<Test>::ModelIsFixed
            );
        };
        refused(Spec { model: ModelSpec { layers: 3, ..recipe().model }, ..recipe() });
        refused(Spec { tokenizer: [9; 32], ..recipe() });
        refused(Spec { seed: [9; 32], ..recipe() });
        refused(Spec { shard_tokens: 2_048, ..recipe() });
        set(other());
    });
}

#[test]
fn a_recipe_takes_effect_with_the_next_round() {
    in_round_one(|| {
        set(other());
        train(&[1]);
        assert_eq!(lease_of(1).recipe, recipe().hash());
        adopt([5; 32]);
        assert_eq!((head().recipe_hash, Recipe::<Test>::get()), (recipe().hash(), Some(recipe())));
        run(1);
        assert_event(Event::RecipeAdopted { hash: other().hash() });
        assert_eq!((Recipe::<Test>::get(), PendingRecipe::<Test>::get()), (Some(other()), None));
        for kept in [recipe(), other()] {
            assert_eq!(Learning::recipe_by_hash(kept.hash()), Some(kept));
        }
        assert_eq!(Learning::recipe_by_hash([0; 32]), None);
        join(1);
        assert_eq!(lease_of(1).recipe, other().hash());
    });
}

#[test]
fn a_lease_of_an_earlier_recipe_cannot_commit_and_returns_its_shards() {
    in_round_one(|| {
        assert_ok!(Learning::join_round(signed(1), Tier::Mobile));
        set(other());
        train(&[2]);
        adopt([5; 32]);
        run(1);
        let free = FreeShards::get().len();
        let refused = Learning::commit(signed(1), 2, [0; 32], TrainingClaims::default());
        assert_noop!(refused, Error::<Test>::RecipeChanged);
        assert_eq!(round().number, 2);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_event(Event::Concluded { account: 1, round: 2, status: None });
        assert_eq!(
            (FreeShards::get().len(), Trainers::get(1)),
            (free + 4, Some(10)),
            "it is not the trainer's fault"
        );
    });
}

#[test]
fn another_recipe_starts_round_zero_over() {
    on_chain(Some(recipe()), || {
        run(1);
        assert_ok!(attest(11, [3; 32]));
        let other_model = Spec { seed: [9; 32], ..recipe() };
        set(other_model.clone());
        assert_eq!((round().phase, AttestPhases::<Test>::get()), (Phase::Idle, 1));
        run(1);
        assert_eq!(
            (round().number, round().phase, Learning::attestations()),
            (0, Phase::Attest, vec![])
        );
        // The stake of the validator that attested the other model no longer counts.
        assert_ok!(attest(12, [3; 32]));
        assert_eq!(CurrentHead::<Test>::get(), None);
        assert_ok!(attest(11, [3; 32]));
        assert_eq!(head().recipe_hash, other_model.hash());
    });
}

#[test]
fn the_format_is_fixed_while_the_pool_has_data() {
    on_chain(Some(recipe()), || {
        run(1);
        for changed in
            [Spec { shard_tokens: 2_048, ..recipe() }, Spec { tokenizer: [9; 32], ..recipe() }]
        {
            assert_noop!(
                Learning::set_recipe(RuntimeOrigin::root(), changed),
                Error::<Test>::DataOfAnotherFormat
            );
        }
        FreeShards::kill();
        set(Spec { shard_tokens: 2_048, ..recipe() });
        // Data registered before the recipe is in force must already fit it.
        assert_eq!(Learning::shard_tokens_and_tokenizer(), Some((2_048, [1; 32])));
        assert_eq!(Recipe::<Test>::get(), Some(recipe()));
    });
}

#[test]
fn lengths_apply_to_later_phases() {
    in_round_one(|| {
        let endless = RoundConfig { reveal: MAX_LENGTH + 1, ..LENGTHS };
        for invalid in [RoundConfig { join: 30, ..LENGTHS }, endless] {
            assert_noop!(
                Learning::set_lengths(RuntimeOrigin::root(), invalid),
                Error::<Test>::InvalidLengths
            );
        }
        join(1);
        let deadline = round().deadline;
        let lengths = RoundConfig { reveal: 2, ..LENGTHS };
        assert_ok!(Learning::set_lengths(RuntimeOrigin::root(), lengths));
        assert_event(Event::LengthsSet { lengths });
        assert_eq!(round().deadline, deadline);
        commit(1);
        run_until(Phase::Reveal);
        assert_eq!(round().deadline, Some(System::block_number() + 2));
        run(2);
        assert_eq!(round().number, 2);
        assert_ok!(Learning::conclude(signed(9), 1));
        assert_event(Event::Concluded {
            account: 1,
            round: 1,
            status: Some(SubmissionStatus::Committed),
        });
        assert_eq!(kept(1, 1).outcome, Outcome::NoShow);
    });
}

#[test]
fn audits_are_set_within_limits() {
    in_round_one(|| {
        assert_eq!((Learning::audit_config(), Learning::escrow_rounds()), (AUDITS, 2));
        for invalid in [
            AuditConfig { seats: 3, ..AUDITS },
            AuditConfig { segments: 5, ..AUDITS },
            AuditConfig { open: 0, ..AUDITS },
            AuditConfig { mix: MAX_LENGTH + 1, ..AUDITS },
        ] {
            assert_noop!(
                Learning::set_audits(RuntimeOrigin::root(), invalid),
                Error::<Test>::InvalidAudits
            );
        }
        let config = AuditConfig { escrow: 9, ..AUDITS };
        assert_ok!(Learning::set_audits(RuntimeOrigin::root(), config));
        assert_event(Event::AuditsSet { config });
        assert_eq!((Learning::audit_config(), Learning::escrow_rounds()), (config, 9));
    });
}

#[test]
fn stages_get_no_shorter_while_an_audit_is_under_way() {
    in_round_one(|| {
        let set = |config| Learning::set_audits(RuntimeOrigin::root(), config);
        assert_ok!(set(AuditConfig { replay: AUDITS.replay + 9, ..AUDITS }));
        assert_ok!(set(AUDITS));
        audited(&[1]);
        let longer = AuditConfig { serve: AUDITS.serve + 1, ..AUDITS };
        for config in [
            AuditConfig { serve: AUDITS.serve - 1, ..AUDITS },
            AuditConfig { reveal: AUDITS.reveal - 1, ..longer },
        ] {
            assert_noop!(set(config), Error::<Test>::AuditsUnderWay);
        }
        assert_ok!(set(longer));
    });
}

#[test]
#[should_panic(expected = "the recipe of the genesis state is invalid")]
fn an_invalid_genesis_recipe_is_refused() {
    chain(Some(Spec { segments: 0, ..recipe() }));
}
