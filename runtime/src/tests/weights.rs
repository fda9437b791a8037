// SPDX-License-Identifier: Apache-2.0

//! Weights of calls and hooks.

use super::*;
use frame_support::{
    dispatch::{DispatchClass, GetDispatchInfo, Pays},
    traits::{Get, Hooks, fungible::Mutate},
    weights::Weight,
};
use pallet_proof_of_learning::types::SECOND_DRAW_WAIT;
use pol_primitives::{
    MAX_SUBMISSIONS,
    audit::{AuditConfig, MAX_AUDITED_SEGMENTS, MAX_PROBE_SHARDS, MAX_SEATS, PendingAudit},
    member::{Address, Endpoint},
    metrics::ModelMetrics,
    recipe::Tier,
    rewards::EmissionSchedule,
    submission::{RevealSet, TrainingClaims},
};

fn limits() -> frame_system::limits::BlockWeights {
    <Runtime as frame_system::Config>::BlockWeights::get()
}

#[test]
fn every_call_of_the_learning_pallets_fits_a_block_and_costs_something() {
    use pallet_proof_of_learning::Call;
    let calls: Vec<RuntimeCall> = vec![
        bond(Role::Trainer),
        pallet_pol_staking::Call::unbond {}.into(),
        pallet_pol_lineage::Call::register_manifest { info: Box::new(manifest()) }.into(),
        Call::join_round { tier: Tier::Mobile }.into(),
        Call::commit { round: 0, commitment: [0; 32], claims: TrainingClaims::default() }.into(),
        Call::report_held { round: 0, held: RevealSet::default() }.into(),
        Call::attest_head { round: 0, inputs: [0; 32], root: [0; 32] }.into(),
        Call::set_audits { config: AuditConfig::default() }.into(),
        Call::serve_states { audit: 0, states: Default::default() }.into(),
        Call::commit_audit { audit: 0, commitment: [0; 32] }.into(),
        Call::open_segments { audit: 0, ends: Default::default() }.into(),
        Call::reveal_audit { audit: 0, evidence: Default::default(), salt: [0; 32] }.into(),
        Call::open_sketches { audit: 0, ends: Default::default() }.into(),
        Call::reveal_sketches {
            audit: 0,
            evidence: Default::default(),
            bindings: Default::default(),
            salt: [0; 32],
        }
        .into(),
        Call::settle { audit: 0, trainer: AccountId::new([0; 32]) }.into(),
        Call::measure_head { round: 0, metrics: ModelMetrics::default() }.into(),
        pallet_pol_rewards::Call::set_emission { emission: EmissionSchedule::default() }.into(),
        pallet_pol_rewards::Call::claim { round: 1 }.into(),
        pallet_pol_beacon::Call::set_beacon { beacon: None }.into(),
    ];
    let most = limits().get(DispatchClass::Normal).max_extrinsic.unwrap();
    genesis(DEV).execute_with(|| {
        for call in calls {
            let info = call.get_dispatch_info();
            assert!(info.call_weight.ref_time() > 0, "{call:?}");
            assert!(info.call_weight.all_lte(most), "{call:?} does not fit a block");
            assert_eq!(info.pays_fee, Pays::Yes, "{call:?}");
            let length = call.encoded_size() as u32;
            let fee = TransactionPayment::query_call_info(call, length).partial_fee;
            assert!(fee > TransactionPayment::length_to_fee(length), "{fee} covers the bytes only");
        }
    });
}

/// Bonds the maximum number of validators, with endpoints, so that all can be drawn.
fn bond_validators() {
    let endpoint = Endpoint {
        id: [5; 32],
        addresses: vec![Address::V4([127, 0, 0, 1], 4_433)].try_into().unwrap(),
    };
    for number in 0..<Runtime as pallet_pol_staking::Config>::MaxValidators::get() {
        let account = AccountId::new(pol_primitives::digest(b"validator", &number));
        let amount = Role::Validator.minimum_bond() + u128::from(number) * POL;
        Balances::mint_into(&account, 2 * amount).unwrap();
        PolStaking::bond(RuntimeOrigin::signed(account.clone()), Role::Validator, amount).unwrap();
        PolStaking::set_endpoint(RuntimeOrigin::signed(account), endpoint.clone()).unwrap();
    }
}

#[test]
fn as_many_rounds_emit_as_can_be_unsettled() {
    use pallet_proof_of_learning::types::MAX_OPEN_AUDITS;
    let unsettled = MAX_OPEN_AUDITS + pol_primitives::MAX_SUBMISSIONS;
    assert_eq!(pallet_pol_rewards::MAX_UNSETTLED_ROUNDS, unsettled);
}

#[test]
fn no_penalty_for_an_update_exceeds_what_is_locked_for_it() {
    use frame_support::traits::Get;
    use pallet_proof_of_learning::Config;
    use pol_primitives::standing::Standing;
    let mut standing = Standing { lapses: i8::MAX, ..Default::default() };
    let lapse = standing.note_lapse(<Runtime as Config>::LapsePenalty::get());
    let locked = <Runtime as Config>::InvalidPenalty::get();
    for penalty in [
        lapse,
        <Runtime as Config>::NoShowPenalty::get(),
        <Runtime as Config>::WithheldPenalty::get(),
    ] {
        assert!(penalty <= locked, "{penalty}");
    }
    assert_eq!(locked, Role::Trainer.kept_bond());
}

#[test]
fn the_largest_draw_is_a_small_part_of_a_block() {
    genesis(DEV).execute_with(|| {
        bond_validators();
        assert_eq!(<PolStaking as pol_primitives::traits::Bonds<AccountId>>::stakes().len(), 1_000);
        pallet_proof_of_learning::AuditSettings::<Runtime>::put(AuditConfig {
            seats: MAX_SEATS as u8 - 1,
            more_seats: MAX_SEATS as u8,
            segments: MAX_AUDITED_SEGMENTS as u8,
            probe: MAX_PROBE_SHARDS as u8,
            mix: 0,
            ..presets_of::AUDIT_CONFIG
        });
        let update = |index: u8| PendingAudit {
            draw: 1,
            ..PendingAudit::first(
                1,
                AccountId::new([index; 32]),
                index,
                pol_primitives::MAX_SEGMENTS as u16,
            )
        };
        let undrawn: Vec<_> = (0..MAX_SUBMISSIONS as u8).map(|index| (update(index), 0)).collect();
        pallet_proof_of_learning::UndrawnUpdates::<Runtime>::put(
            pol_primitives::BoundedVec::truncate_from(undrawn),
        );
        pallet_proof_of_learning::SeatStakes::<Runtime>::insert(
            (1, 1),
            pol_primitives::BoundedVec::truncate_from(
                <PolStaking as pol_primitives::traits::Bonds<AccountId>>::stakes(),
            ),
        );

        pallet_pol_beacon::Beacon::<Runtime>::kill();

        let mut weight = Weight::zero();
        for block in 1..=SECOND_DRAW_WAIT + 1 {
            assert!(ProofOfLearning::audits(0).is_empty());
            System::set_block_number(block);
            weight = ProofOfLearning::on_initialize(block);
        }
        let (_, audit) = ProofOfLearning::audits(0).remove(0);
        assert_eq!(audit.cases.len(), MAX_SUBMISSIONS as usize);
        assert!(audit.cases.iter().all(|case| case.seats.len() == MAX_SEATS as usize));
        assert!(!pallet_proof_of_learning::UndrawnUpdates::<Runtime>::exists());
        // Half of a block without signed calls is left for all other hooks.
        let left = limits()
            .max_block
            .saturating_sub(limits().get(DispatchClass::Normal).max_total.unwrap());
        assert!(
            weight.all_gt(Weight::zero()) && weight.ref_time() < left.ref_time() / 2,
            "{weight} of {left}"
        );
    });
}
