// SPDX-License-Identifier: Apache-2.0

//! The runtime API `PolApi`: state of the learning network, read over `state_call`.
//!
//! Trainers and validators read one answer for each decision. Arguments and answers are the
//! SCALE-encoded types of [`pol_primitives`], so a client needs no generated code. The terms are
//! defined in `docs/glossary.md`.
//!
//! The runtime implements [`PolApi`], `pol-node` serves it as `pol_…` RPC methods, and `pol-chain`
//! calls it by name:
//!
//! ```
//! use codec::{Decode, Encode};
//! use pol_primitives::{data::ShardId, recipe::Recipe};
//!
//! // `state_call("PolApi_shard_record", arguments)` returns an encoded `Option<ShardRecord>`.
//! let arguments = ShardId { manifest: 3, index: 7 }.encode();
//! assert_eq!(arguments, [3, 0, 0, 0, 7, 0, 0, 0]);
//!
//! // `state_call("PolApi_recipe", [])` returns an encoded `Option<Recipe>`.
//! let answer = [0];
//! assert_eq!(Option::<Recipe>::decode(&mut &answer[..]), Ok(None));
//! ```
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

use alloc::vec::Vec;
use codec::Codec;
use pol_primitives::{
    Hash, RoundNumber,
    audit::{Audit, AuditConfig, AuditId, AuditResponse},
    beacon::{AwaitedPulse, BeaconConfig},
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

polkadot_sdk::sp_api::decl_runtime_apis! {
    /// State of the learning network.
    #[api_version(4)]
    pub trait PolApi<AccountId>
    where
        AccountId: Codec,
    {
        /// Returns the state of the network at the block.
        fn overview() -> Overview;
        /// Returns the recipe in force.
        fn recipe() -> Option<Recipe>;
        /// Returns a recipe that is or was in force.
        fn recipe_by_hash(hash: Hash) -> Option<Recipe>;
        /// Returns the open lease of the account.
        fn lease(account: AccountId) -> Option<Lease>;
        /// Returns the state that the account carries over to its next lease.
        fn standing(account: AccountId) -> Standing;
        /// Returns the unsettled submissions to a round, in account order; at most 64.
        fn submissions(round: RoundNumber) -> Vec<(AccountId, Submission)>;
        /// Returns the settled submissions to a round, in account order; at most 64.
        fn history(round: RoundNumber) -> Vec<(AccountId, SubmissionRecord)>;
        /// Returns the updates that the head of a round was computed from, in account order.
        ///
        /// Later excisions do not change the answer. It is empty for a round without a head.
        fn updates(round: RoundNumber) -> Vec<IncludedUpdate<AccountId>>;
        /// Returns the record of a concluded round.
        fn round_record(round: RoundNumber) -> Option<RoundRecord<AccountId>>;
        /// Returns the metrics that validators measured of the head of a round; `None` until they
        /// are decided.
        fn head_measurement(round: RoundNumber) -> Option<HeadMeasurement>;
        /// Returns the pending measurement of the newest head; `None` before the next block.
        fn pending_measurement() -> Option<PendingMeasurement<AccountId>>;
        /// Returns the reveals of the current round that validators have reported to hold, in
        /// account order. The answer is empty outside the hold and attest phases.
        fn held_reports() -> Vec<(AccountId, RevealSet)>;
        /// Returns the attestations of the current round.
        fn attestations() -> Vec<Attestation<AccountId>>;
        /// Returns the updates of earlier rounds that the head under attestation excises, in
        /// ascending order. The answer is empty outside the attest phase.
        fn excisions() -> Vec<Excision>;
        /// Returns the configuration of audits.
        fn audit_config() -> AuditConfig;
        /// Returns up to [`AUDITS_PAGE`](pol_primitives::queries::AUDITS_PAGE) open audits from the
        /// identifier `start` on in their current stages, oldest first.
        fn audits(start: AuditId) -> Vec<(AuditId, Audit<AccountId>)>;
        /// Returns the response of a trainer in an open audit.
        fn audit_response(audit: AuditId, trainer: AccountId) -> Option<AuditResponse>;
        /// Returns the lease of an account's update to a round until the update is settled, even
        /// if the lease is concluded.
        fn audited_lease(round: RoundNumber, account: AccountId) -> Option<Lease>;
        /// Returns the account's rewards in escrow, newest round first; at most 1,024.
        fn pending_rewards(account: AccountId) -> Vec<PendingReward>;
        /// Explains the account's reward of a round in numbers that add up to what a claim pays.
        fn explain(account: AccountId, round: RoundNumber) -> Explanation<AccountId>;
        /// Returns the totals of all rewards and fines.
        fn ledger() -> Ledger;
        /// Returns the account as a member of the network.
        fn member(account: AccountId) -> Option<Member<AccountId>>;
        /// Returns up to 100 members after `start`, in storage order.
        fn members(start: Option<AccountId>) -> Vec<Member<AccountId>>;
        /// Returns a source.
        fn source(id: SourceId) -> Option<Source<AccountId>>;
        /// Returns a manifest.
        fn manifest(id: ManifestId) -> Option<Manifest<AccountId>>;
        /// Returns the manifest that was admitted with this content hash.
        fn manifest_of_content(content_hash: Hash) -> Option<ManifestId>;
        /// Returns the manifests that were admitted with the documents of this root: that of the
        /// training text, then that of the held-out text.
        fn manifests_of_documents(root: Hash) -> Vec<ManifestId>;
        /// Returns manifests from `start` on that name `manifest` as a parent, in ascending order.
        fn children(manifest: ManifestId, start: ManifestId) -> Page<ManifestId>;
        /// Returns manifests from `start` on that were made from a source, in ascending order.
        fn manifests_of_source(source: SourceId, start: ManifestId) -> Page<ManifestId>;
        /// Returns the decision by which a manifest was retired or refused.
        fn retirement(manifest: ManifestId) -> Option<Retirement>;
        /// Returns the number of manifests. Their identifiers start at 0.
        fn manifest_count() -> u32;
        /// Returns the record of a shard that the model was trained on; `None` for other shards.
        fn shard_record(shard: ShardId) -> Option<ShardRecord>;
        /// Returns the indices and records of the shards of a manifest from `start` on that the
        /// model was trained on, in ascending order: all, or those of `round`.
        fn shard_records(
            manifest: ManifestId,
            round: Option<RoundNumber>,
            start: u32,
        ) -> Page<(u32, ShardRecord)>;
        /// Returns the beacon of public randomness that draws of audits wait for.
        fn beacon() -> Option<BeaconConfig>;
        /// Returns the pulse of the beacon that draws wait for or use; `None` between draws.
        fn awaited_pulse() -> Option<AwaitedPulse>;
    }
}
