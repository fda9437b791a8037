// SPDX-License-Identifier: Apache-2.0

//! Runtime APIs for the node and its clients.

use crate::{configs::KeyOwners, *};
use alloc::string::String;
use codec::Encode;
use frame_support::genesis_builder_helper::{build_state, get_preset};
use frame_support::{traits::KeyOwnerProofSystem, weights::Weight};
use pallet_transaction_payment::{FeeDetails, RuntimeDispatchInfo};
use pallet_transaction_payment_rpc_runtime_api as payment_api;
use pol_primitives::{
    RoundNumber,
    audit::{Audit, AuditConfig, AuditId, AuditResponse},
    beacon,
    data::{Manifest, ManifestId, ShardId, ShardRecord, Source, SourceId},
    explanation::Explanation,
    head::{Excision, IncludedUpdate, RoundRecord},
    lease::Lease,
    lineage::Retirement,
    metrics::{HeadMeasurement, PendingMeasurement},
    queries::{Attestation, Member, Overview, Page, PendingReward},
    recipe::Recipe,
    rewards::Ledger,
    standing::Standing,
    submission::{RevealSet, Submission, SubmissionRecord},
};
use sp_core::{OpaqueMetadata, crypto::KeyTypeId};
use sp_runtime::{
    ApplyExtrinsicResult, ExtrinsicInclusionMode,
    traits::{Block as BlockT, Get, NumberFor},
    transaction_validity::{TransactionSource, TransactionValidity},
};
use sp_session::OpaqueGeneratedSessionKeys;

sp_api::impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            VERSION
        }

        fn execute_block(block: <Block as BlockT>::LazyBlock) {
            Executive::execute_block(block)
        }

        fn initialize_block(header: &<Block as BlockT>::Header) -> ExtrinsicInclusionMode {
            Executive::initialize_block(header)
        }
    }

    impl sp_api::Metadata<Block> for Runtime {
        fn metadata() -> OpaqueMetadata {
            OpaqueMetadata::new(Runtime::metadata().into())
        }

        fn metadata_at_version(version: u32) -> Option<OpaqueMetadata> {
            Runtime::metadata_at_version(version)
        }

        fn metadata_versions() -> Vec<u32> {
            Runtime::metadata_versions()
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(extrinsic: <Block as BlockT>::Extrinsic) -> ApplyExtrinsicResult {
            Executive::apply_extrinsic(extrinsic)
        }

        fn finalize_block() -> <Block as BlockT>::Header {
            Executive::finalize_block()
        }

        fn inherent_extrinsics(
            data: sp_inherents::InherentData,
        ) -> Vec<<Block as BlockT>::Extrinsic> {
            data.create_extrinsics()
        }

        fn check_inherents(
            block: <Block as BlockT>::LazyBlock,
            data: sp_inherents::InherentData,
        ) -> sp_inherents::CheckInherentsResult {
            data.check_extrinsics(&block)
        }
    }

    impl sp_transaction_pool::runtime_api::TaggedTransactionQueue<Block> for Runtime {
        fn validate_transaction(
            source: TransactionSource,
            tx: <Block as BlockT>::Extrinsic,
            block_hash: <Block as BlockT>::Hash,
        ) -> TransactionValidity {
            Executive::validate_transaction(source, tx, block_hash)
        }
    }

    impl sp_offchain::OffchainWorkerApi<Block> for Runtime {
        fn offchain_worker(header: &<Block as BlockT>::Header) {
            Executive::offchain_worker(header)
        }
    }

    impl sp_session::SessionKeys<Block> for Runtime {
        fn generate_session_keys(
            owner: Vec<u8>,
            seed: Option<Vec<u8>>,
        ) -> OpaqueGeneratedSessionKeys {
            SessionKeys::generate(&owner, seed).into()
        }

        fn decode_session_keys(encoded: Vec<u8>) -> Option<Vec<(Vec<u8>, KeyTypeId)>> {
            SessionKeys::decode_into_raw_public_keys(&encoded)
        }
    }

    impl sp_consensus_babe::BabeApi<Block> for Runtime {
        fn configuration() -> sp_consensus_babe::BabeConfiguration {
            let epoch = Babe::epoch_config().unwrap_or_default();
            sp_consensus_babe::BabeConfiguration {
                slot_duration: Babe::slot_duration(),
                epoch_length: <Runtime as pallet_babe::Config>::EpochDuration::get(),
                c: epoch.c,
                authorities: Babe::authorities().to_vec(),
                randomness: Babe::randomness(),
                allowed_slots: epoch.allowed_slots,
            }
        }

        fn current_epoch_start() -> sp_consensus_babe::Slot {
            Babe::current_epoch_start()
        }

        fn current_epoch() -> sp_consensus_babe::Epoch {
            Babe::current_epoch()
        }

        fn next_epoch() -> sp_consensus_babe::Epoch {
            Babe::next_epoch()
        }

        fn generate_key_ownership_proof(
            _: sp_consensus_babe::Slot,
            authority: sp_consensus_babe::AuthorityId,
        ) -> Option<sp_consensus_babe::OpaqueKeyOwnershipProof> {
            KeyOwners::prove((sp_consensus_babe::KEY_TYPE, authority))
                .map(|proof| sp_consensus_babe::OpaqueKeyOwnershipProof::new(proof.encode()))
        }

        fn submit_report_equivocation_unsigned_extrinsic(
            equivocation: sp_consensus_babe::EquivocationProof<<Block as BlockT>::Header>,
            owner: sp_consensus_babe::OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            Babe::submit_unsigned_equivocation_report(equivocation, owner.decode()?)
        }
    }

    impl sp_consensus_grandpa::GrandpaApi<Block> for Runtime {
        fn grandpa_authorities() -> sp_consensus_grandpa::AuthorityList {
            Grandpa::grandpa_authorities()
        }

        fn current_set_id() -> sp_consensus_grandpa::SetId {
            pallet_grandpa::CurrentSetId::<Runtime>::get()
        }

        fn generate_key_ownership_proof(
            _: sp_consensus_grandpa::SetId,
            authority: sp_consensus_grandpa::AuthorityId,
        ) -> Option<sp_consensus_grandpa::OpaqueKeyOwnershipProof> {
            KeyOwners::prove((sp_consensus_grandpa::KEY_TYPE, authority))
                .map(|proof| sp_consensus_grandpa::OpaqueKeyOwnershipProof::new(proof.encode()))
        }

        fn submit_report_equivocation_unsigned_extrinsic(
            equivocation: sp_consensus_grandpa::EquivocationProof<
                <Block as BlockT>::Hash,
                NumberFor<Block>,
            >,
            owner: sp_consensus_grandpa::OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            Grandpa::submit_unsigned_equivocation_report(equivocation, owner.decode()?)
        }
    }

    impl frame_system_rpc_runtime_api::AccountNonceApi<Block, AccountId, Nonce> for Runtime {
        fn account_nonce(account: AccountId) -> Nonce {
            System::account_nonce(account)
        }
    }

    impl payment_api::TransactionPaymentApi<Block, Balance> for Runtime {
        fn query_info(
            uxt: <Block as BlockT>::Extrinsic,
            len: u32,
        ) -> RuntimeDispatchInfo<Balance> {
            TransactionPayment::query_info(uxt, len)
        }

        fn query_fee_details(
            uxt: <Block as BlockT>::Extrinsic,
            len: u32,
        ) -> FeeDetails<Balance> {
            TransactionPayment::query_fee_details(uxt, len)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Balance {
            TransactionPayment::length_to_fee(length)
        }
    }

    impl payment_api::TransactionPaymentCallApi<Block, Balance, RuntimeCall> for Runtime {
        fn query_call_info(call: RuntimeCall, len: u32) -> RuntimeDispatchInfo<Balance> {
            TransactionPayment::query_call_info(call, len)
        }

        fn query_call_fee_details(call: RuntimeCall, len: u32) -> FeeDetails<Balance> {
            TransactionPayment::query_call_fee_details(call, len)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Balance {
            TransactionPayment::length_to_fee(length)
        }
    }

    impl sp_genesis_builder::GenesisBuilder<Block> for Runtime {
        fn build_state(config: Vec<u8>) -> sp_genesis_builder::Result {
            build_state::<RuntimeGenesisConfig>(config)
        }

        fn get_preset(id: &Option<sp_genesis_builder::PresetId>) -> Option<Vec<u8>> {
            get_preset::<RuntimeGenesisConfig>(id, genesis_config_presets::get_preset)
        }

        fn preset_names() -> Vec<sp_genesis_builder::PresetId> {
            genesis_config_presets::preset_names()
        }
    }

    impl pol_runtime_api::PolApi<Block, AccountId> for Runtime {
        fn overview() -> Overview {
            ProofOfLearning::overview()
        }

        fn recipe() -> Option<Recipe> {
            ProofOfLearning::recipe()
        }

        fn recipe_by_hash(hash: pol_primitives::Hash) -> Option<Recipe> {
            ProofOfLearning::recipe_by_hash(hash)
        }

        fn lease(account: AccountId) -> Option<Lease> {
            ProofOfLearning::lease(&account)
        }

        fn standing(account: AccountId) -> Standing {
            ProofOfLearning::standing(&account)
        }

        fn submissions(round: RoundNumber) -> Vec<(AccountId, Submission)> {
            ProofOfLearning::submissions(round)
        }

        fn history(round: RoundNumber) -> Vec<(AccountId, SubmissionRecord)> {
            ProofOfLearning::history(round)
        }

        fn updates(round: RoundNumber) -> Vec<IncludedUpdate<AccountId>> {
            ProofOfLearning::updates(round)
        }

        fn round_record(round: RoundNumber) -> Option<RoundRecord<AccountId>> {
            ProofOfLearning::round_record(round)
        }

        fn head_measurement(round: RoundNumber) -> Option<HeadMeasurement> {
            ProofOfLearning::head_measurement(round)
        }

        fn pending_measurement() -> Option<PendingMeasurement<AccountId>> {
            ProofOfLearning::pending_measurement()
        }

        fn held_reports() -> Vec<(AccountId, RevealSet)> {
            ProofOfLearning::held_reports()
        }

        fn attestations() -> Vec<Attestation<AccountId>> {
            ProofOfLearning::attestations()
        }

        fn excisions() -> Vec<Excision> {
            ProofOfLearning::excisions()
        }

        fn audit_config() -> AuditConfig {
            ProofOfLearning::audit_config()
        }

        fn audits(start: AuditId) -> Vec<(AuditId, Audit<AccountId>)> {
            ProofOfLearning::audits(start)
        }

        fn audit_response(audit: AuditId, trainer: AccountId) -> Option<AuditResponse> {
            ProofOfLearning::audit_response(audit, &trainer)
        }

        fn audited_lease(round: RoundNumber, account: AccountId) -> Option<Lease> {
            ProofOfLearning::audited_lease(round, &account)
        }

        fn pending_rewards(account: AccountId) -> Vec<PendingReward> {
            Rewards::pending_rewards(account)
        }

        fn explain(account: AccountId, round: RoundNumber) -> Explanation<AccountId> {
            Rewards::explain(account, round)
        }

        fn ledger() -> Ledger {
            Rewards::ledger()
        }

        fn member(account: AccountId) -> Option<Member<AccountId>> {
            PolStaking::member(account)
        }

        fn members(start: Option<AccountId>) -> Vec<Member<AccountId>> {
            PolStaking::members(start)
        }

        fn source(id: SourceId) -> Option<Source<AccountId>> {
            Lineage::source(id)
        }

        fn manifest(id: ManifestId) -> Option<Manifest<AccountId>> {
            Lineage::manifest(id)
        }

        fn manifest_of_content(content_hash: pol_primitives::Hash) -> Option<ManifestId> {
            Lineage::manifest_of_content(content_hash)
        }

        fn manifests_of_documents(root: pol_primitives::Hash) -> Vec<ManifestId> {
            Lineage::manifests_of_documents(root)
        }

        fn children(manifest: ManifestId, start: ManifestId) -> Page<ManifestId> {
            Lineage::children(manifest, start)
        }

        fn manifests_of_source(source: SourceId, start: ManifestId) -> Page<ManifestId> {
            Lineage::manifests_of_source(source, start)
        }

        fn retirement(manifest: ManifestId) -> Option<Retirement> {
            Lineage::retirement(manifest)
        }

        fn manifest_count() -> u32 {
            Lineage::manifest_count()
        }

        fn shard_record(shard: ShardId) -> Option<ShardRecord> {
            Lineage::shard_record(shard)
        }

        fn shard_records(
            manifest: ManifestId,
            round: Option<RoundNumber>,
            start: u32,
        ) -> Page<(u32, ShardRecord)> {
            Lineage::shard_records(manifest, round, start)
        }

        fn beacon() -> Option<beacon::BeaconConfig> {
            Beacon::beacon()
        }

        fn awaited_pulse() -> Option<beacon::AwaitedPulse> {
            Beacon::awaited_pulse()
        }
    }
}
