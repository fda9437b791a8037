// SPDX-License-Identifier: Apache-2.0

use super::*;
use pol_primitives::{
    audit::{Finding, TraceState, UpdateMeasurement},
    member::Address,
    metrics::MetricsClaim,
    trace::{Carry, MerkleProof},
};
use proptest::prelude::*;
use scale_info::{TypeInfo, meta_type};
use std::sync::Arc;
use subxt::{
    OfflineClient, OfflineClientAtBlock,
    config::substrate::SpecVersionForRange,
    ext::frame_metadata::v16::{
        CustomMetadata, EnumDeprecationInfo, ExtrinsicMetadata, ItemDeprecationInfo, OuterEnums,
        PalletCallMetadata, PalletMetadata, RuntimeMetadataV16,
    },
};

/// Calls of a runtime with unusual indices.
#[expect(dead_code, non_camel_case_types, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum Learning {
    #[codec(index = 7)]
    commit { round: RoundNumber, commitment: Hash, claims: TrainingClaims },
    #[codec(index = 9)]
    reveal { round: RoundNumber, reveal: Reveal },
    #[codec(index = 11)]
    attest_head { round: RoundNumber, inputs: Hash, root: Hash },
    #[codec(index = 31)]
    report_held { round: RoundNumber, held: RevealSet },
    #[codec(index = 13)]
    set_lengths { lengths: RoundConfig },
    #[codec(index = 17)]
    serve_states { audit: AuditId, states: BoundedVec<StateProof, ConstU32<MAX_SERVED_STATES>> },
    #[codec(index = 19)]
    commit_audit { audit: AuditId, commitment: Hash },
    #[codec(index = 21)]
    open_segments { audit: AuditId, ends: BoundedVec<LeafProof, ConstU32<MAX_AUDITED_SEGMENTS>> },
    #[codec(index = 23)]
    reveal_audit { audit: AuditId, evidence: Evidence, salt: Hash },
    #[codec(index = 25)]
    settle { audit: AuditId, trainer: AccountId },
    #[codec(index = 27)]
    set_audits { config: AuditConfig },
    #[codec(index = 29)]
    measure_head { round: RoundNumber, metrics: ModelMetrics },
    /// Takes another argument than this program's call.
    #[codec(index = 15)]
    join_round { tier: u32 },
}

#[expect(dead_code, non_camel_case_types, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum Staking {
    #[codec(index = 0)]
    bond { role: Role, amount: Balance },
    #[codec(index = 4)]
    set_endpoint { endpoint: Endpoint },
    #[codec(index = 6)]
    unchill,
}

#[expect(dead_code, non_camel_case_types, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum Rewards {
    #[codec(index = 3)]
    claim { round: RoundNumber },
}

#[expect(dead_code, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum MultiAddress {
    Id(AccountId),
    Raw(Vec<u8>),
}

#[expect(dead_code, non_camel_case_types, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum Balances {
    #[codec(index = 3)]
    transfer_keep_alive {
        dest: MultiAddress,
        #[codec(compact)]
        value: Balance,
    },
}

#[expect(dead_code, non_camel_case_types, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum Sudo {
    #[codec(index = 1)]
    sudo { call: RuntimeCall },
}

#[expect(dead_code, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum Permissions {
    Any,
    Learning,
}

#[expect(dead_code, non_camel_case_types, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum Proxies {
    #[codec(index = 2)]
    proxy { real: MultiAddress, force_proxy_type: Option<Permissions>, call: Box<RuntimeCall> },
    #[codec(index = 5)]
    add_proxy { delegate: MultiAddress, proxy_type: Permissions, delay: u32 },
    #[codec(index = 8)]
    remove_proxy { delegate: MultiAddress, proxy_type: Permissions, delay: u32 },
}

#[expect(dead_code, reason = "only their metadata is used")]
#[derive(TypeInfo)]
enum RuntimeCall {
    #[codec(index = 40)]
    ProofOfLearning(Learning),
    #[codec(index = 41)]
    Staking(Staking),
    #[codec(index = 42)]
    Rewards(Rewards),
    #[codec(index = 5)]
    Balances(Balances),
}

/// Returns an offline client of a runtime with these calls.
fn runtime() -> OfflineClientAtBlock<SubstrateConfig> {
    let pallet = |name, index, calls| PalletMetadata {
        name,
        index,
        calls: Some(PalletCallMetadata {
            ty: calls,
            deprecation_info: EnumDeprecationInfo::nothing_deprecated(),
        }),
        storage: None,
        event: None,
        constants: Vec::new(),
        error: None,
        associated_types: Vec::new(),
        view_functions: Vec::new(),
        docs: Vec::new(),
        deprecation_info: ItemDeprecationInfo::NotDeprecated,
    };
    let metadata = RuntimeMetadataV16::new(
        vec![
            pallet("ProofOfLearning", 40, meta_type::<Learning>()),
            pallet("PolStaking", 41, meta_type::<Staking>()),
            pallet("Rewards", 42, meta_type::<Rewards>()),
            pallet("Balances", 5, meta_type::<Balances>()),
            pallet("Proxy", 9, meta_type::<Proxies>()),
            pallet("Sudo", 255, meta_type::<Sudo>()),
        ],
        ExtrinsicMetadata {
            versions: vec![4],
            address_ty: meta_type::<MultiAddress>(),
            call_ty: meta_type::<RuntimeCall>(),
            signature_ty: meta_type::<()>(),
            transaction_extensions_by_version: Default::default(),
            transaction_extensions: Vec::new(),
        },
        Vec::new(),
        OuterEnums {
            call_enum_ty: meta_type::<RuntimeCall>(),
            event_enum_ty: meta_type::<()>(),
            error_enum_ty: meta_type::<()>(),
        },
        CustomMetadata { map: Default::default() },
    );
    let config = SubstrateConfig::builder()
        .set_metadata_for_spec_versions([(1, Arc::new(Metadata::from_v16(metadata).unwrap()))])
        .set_spec_version_for_block_ranges([SpecVersionForRange {
            block_range: 0..1,
            spec_version: 1,
            transaction_version: 1,
        }])
        .build();
    OfflineClient::new_with_config(config).at_block(0u64).unwrap()
}

/// Asserts that `call` is encoded as `parts`, one after the other.
#[track_caller]
fn check(call: Call, parts: &[&[u8]]) {
    assert_eq!(hex::encode(call.encode_at(&runtime()).unwrap()), hex::encode(parts.concat()));
}

#[test]
fn a_round_s_calls_are_encoded_as_the_chain_decodes_them() {
    let measured = ModelMetrics { loss: 5, coherence: Some(0x0203), ..ModelMetrics::default() };
    // A loss, then seven optional shares, of which the fourth is present.
    let bytes: &[u8] = &[5, 0, 0, 0, 0, 0, 0, 1, 3, 2, 0, 0, 0, 0, 0];
    check(Call::MeasureHead { round: 8, metrics: measured }, &[&[40, 29], &[8, 0, 0, 0], bytes]);
    let metrics = Some(MetricsClaim { round: 7, metrics: measured });
    let claims =
        TrainingClaims { first_loss: 1, last_loss: 2, tokens_per_second: 0x0102_0304, metrics };
    check(
        Call::Commit { round: 6, commitment: [9; 32], claims },
        &[
            &[40, 7],
            &[6, 0, 0, 0],
            &[9; 32],
            &[1, 0, 0, 0, 2, 0, 0, 0, 4, 3, 2, 1],
            &[1, 7, 0, 0, 0],
            bytes,
        ],
    );
    check(
        Call::ReportHeld { round: 1, held: RevealSet::from_indices([0, 9]) },
        &[&[40, 31], &[1, 0, 0, 0], &[2 << 2, 0b1, 0b10]],
    );
    check(
        Call::AttestHead { round: 1, inputs: [7; 32], root: [8; 32] },
        &[&[40, 11], &[1, 0, 0, 0], &[7; 32], &[8; 32]],
    );
    let reveal = Reveal {
        payload_hash: [1; 32],
        trace_root: [2; 32],
        carry_hash: [3; 32],
        steps: 20,
        first_leaf: MerkleProof::truncate_from(vec![[4; 32]]),
        salt: [5; 32],
    };
    check(
        Call::Reveal { round: 2, reveal },
        &[
            &[40, 9],
            &[2, 0, 0, 0],
            &[1; 32],
            &[2; 32],
            &[3; 32],
            &[20, 0],
            &[1 << 2],
            &[4; 32],
            &[5; 32],
        ],
    );
}

#[test]
fn staking_calls_are_encoded_as_the_chain_decodes_them() {
    let endpoint = Endpoint {
        id: [7; 32],
        addresses: vec![Address::V4([127, 0, 0, 1], 0x1234)].try_into().unwrap(),
    };
    check(
        Call::SetEndpoint { endpoint },
        &[&[41, 4], &[7; 32], &[1 << 2, 0, 127, 0, 0, 1, 0x34, 0x12]],
    );
    check(
        Call::Bond { role: Role::Validator, amount: 5 },
        &[&[41, 0], &[1], &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    );
    check(Call::Unchill, &[&[41, 6]]);
}

#[test]
fn a_trainer_s_answers_to_an_audit_are_encoded_as_the_chain_decodes_them() {
    let proof = MerkleProof::truncate_from(vec![[4; 32]]);
    let carry =
        Carry { first_moment: [1; 32], second_moment: [2; 32], feedback: [3; 32], steps: 7 };
    let state = TraceState { leaf: 5, root: [9; 32], carry };
    let states = BoundedVec::truncate_from(vec![StateProof { state, proof: proof.clone() }]);
    check(
        Call::ServeStates { audit: 6, states },
        &[
            &[40, 17, 6, 0, 0, 0, 1 << 2, 5, 0],
            &[9; 32],
            &[1; 32],
            &[2; 32],
            &[3; 32],
            &[7, 0, 0, 0, 0, 0, 0, 0],
            &[1 << 2],
            &[4; 32],
        ],
    );
    let ends = BoundedVec::truncate_from(vec![LeafProof { digest: [2; 32], proof }]);
    check(
        Call::OpenSegments { audit: 6, ends },
        &[&[40, 21, 6, 0, 0, 0, 1 << 2], &[2; 32], &[1 << 2], &[4; 32]],
    );
}

#[test]
fn a_validator_s_audit_calls_are_encoded_as_the_chain_decodes_them() {
    check(Call::CommitAudit { audit: 6, commitment: [8; 32] }, &[&[40, 19, 6, 0, 0, 0], &[8; 32]]);
    let measure = UpdateMeasurement {
        gain: -1,
        own: 3,
        quality: 4,
        shards: BoundedVec::truncate_from(vec![5]),
    };
    let replayed =
        Finding::Replayed { ends: BoundedVec::truncate_from(vec![[7; 32]]), packed: true, measure };
    let evidence = Evidence::truncate_from(vec![(0, replayed), (3, Finding::Unavailable)]);
    check(
        Call::RevealAudit { audit: 6, evidence, salt: [8; 32] },
        &[
            &[40, 23, 6, 0, 0, 0, 2 << 2],
            &[0, 0, 1 << 2],
            &[7; 32],
            &[1],
            &(-1i32).to_le_bytes(),
            &[3, 0, 0, 0, 4, 0, 0, 0],
            &[1 << 2, 5, 0, 0, 0],
            &[3, 2],
            &[8; 32],
        ],
    );
    check(Call::Settle { audit: 6, trainer: [5; 32] }, &[&[40, 25, 6, 0, 0, 0], &[5; 32]]);
}

#[test]
fn claims_and_audit_settings_are_encoded_as_the_chain_decodes_them() {
    check(Call::Claim { round: 9 }, &[&[42, 3, 9, 0, 0, 0]]);
    let config = AuditConfig { mix: 5, escrow: 0x0102, ..AuditConfig::default() };
    check(
        Call::SetAudits(config),
        &[
            &[40, 27],
            &[3, 16, 1, 4],
            &[5, 0, 0, 0],
            &[20, 0, 0, 0, 100, 0, 0, 0, 20, 0, 0, 0, 20, 0, 0, 0, 2, 1, 0, 0],
        ],
    );
}

#[test]
fn a_transfer_is_compact_and_sudo_wraps_a_whole_call() {
    let transfer = Call::Transfer { to: [6; 32], amount: 1_000 };
    // 1,000 in SCALE's two-byte mode: 1,000 · 4 + 1.
    let bytes: [&[u8]; 4] = [&[5, 3], &[0], &[6; 32], &[0xa1, 0x0f]];
    check(transfer.clone(), &bytes);
    check(transfer.sudo(), &[&[255, 1], &bytes.concat()]);
}

#[test]
fn calls_of_and_about_proxies_are_encoded_as_the_chain_decodes_them() {
    let call = Box::new(Call::Claim { round: 9 });
    let proxied = Call::AsProxy { principal: [6; 32], call };
    check(proxied, &[&[9, 2], &[0], &[6; 32], &[0], &[42, 3, 9, 0, 0, 0]]);
    let (delegate, permission) = ([7; 32], Permission::Learning);
    let target: &[&[u8]] = &[&[0], &[7; 32], &[1], &[0, 0, 0, 0]];
    check(Call::AddProxy { delegate, permission }, &[&[&[9, 5][..]], target].concat());
    check(Call::RemoveProxy { delegate, permission }, &[&[&[9, 8][..]], target].concat());
}

#[test]
fn a_proxy_fulfils_the_duties_of_its_principal() {
    let by = |principal, call| Call::AsProxy { principal, call: Box::new(call) };
    let commit = |first_loss| {
        let claims = TrainingClaims { first_loss, ..TrainingClaims::default() };
        by([1; 32], Call::Commit { round: 3, commitment: [2; 32], claims }).duty()
    };
    assert!(commit(1).is_some() && commit(1) == commit(2));
    assert_ne!(by([1; 32], Call::Claim { round: 3 }).duty(), Call::Claim { round: 3 }.duty());
    assert_eq!(by([1; 32], Call::Transfer { to: [2; 32], amount: 5 }).duty(), None);
}

#[test]
fn calls_the_runtime_lacks_are_named() {
    let runtime = runtime();
    let missing = |call: Call| match call.encode_at(&runtime) {
        Err(ChainError::MissingCall { pallet, call }) => (pallet, call),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(Call::Unbond), ("PolStaking", "unbond"));
    assert_eq!(
        missing(Call::RegisterSource { address: ShortText::new(), licence: ShortText::new() }).0,
        "Lineage"
    );
    assert_eq!(missing(Call::ResetCarry.sudo()), ("ProofOfLearning", "reset_carry"));
}

#[test]
fn other_arguments_are_noticed_before_anything_is_signed() {
    let error = Call::JoinRound { tier: Tier::Whale }.encode_at(&runtime()).unwrap_err();
    assert!(
        matches!(
            error,
            ChainError::ArgumentMismatch { pallet: "ProofOfLearning", call: "join_round", .. }
        ),
        "{error}"
    );
}

proptest! {
    #[test]
    fn every_amount_fits_the_runtime(to: AccountId, amount: Balance) {
        let call = Call::Transfer { to, amount };
        let bytes = call.encode_at(&runtime()).unwrap();
        prop_assert_eq!(&bytes[2..], &(ADDRESS_ID, to, Compact(amount)).encode()[..]);
    }

    #[test]
    fn every_set_fits_the_runtime(round: RoundNumber, indices: Vec<u8>) {
        let call = Call::ReportHeld { round, held: RevealSet::from_indices(indices) };
        prop_assert!(call.encode_at(&runtime()).is_ok());
    }
}
