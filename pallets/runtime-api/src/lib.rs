//! What the runtime tells trainers and validators, over `state_call`.
//!
//! Types are SCALE-encoded ones of `pol-primitives`, so a client needs no generated code.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

use alloc::vec::Vec;
use codec::Codec;
use pol_primitives::{
    Hash, RoundNumber,
    audit::{Audit, AuditConfig, AuditId, AuditResponse},
    data::{Manifest, ManifestId, ShardId, ShardRecord, Source, SourceId},
    head::{Excision, IncludedUpdate, RoundRecord},
    lease::Lease,
    metrics::{HeadMeasurement, PendingMeasurement},
    queries::{Attestation, Member, Overview, PendingReward},
    recipe::Recipe,
    rewards::Ledger,
    standing::Standing,
    submission::{Submission, SubmissionRecord},
};

polkadot_sdk::sp_api::decl_runtime_apis! {
    /// State of the learning network.
    pub trait PolApi<AccountId>
    where
        AccountId: Codec,
    {
        /// The network at this block.
        fn overview() -> Overview<AccountId>;
        /// The recipe in force.
        fn recipe() -> Option<Recipe>;
        /// A recipe that is or was in force.
        fn recipe_by_hash(hash: Hash) -> Option<Recipe>;
        /// The account's open lease.
        fn lease(account: AccountId) -> Option<Lease>;
        /// What the account brings into its next lease.
        fn standing(account: AccountId) -> Standing;
        /// Submissions to a round that are not settled, by account; at most 64.
        fn submissions(round: RoundNumber) -> Vec<(AccountId, Submission)>;
        /// Settled submissions to a round, by account; at most 64.
        fn history(round: RoundNumber) -> Vec<(AccountId, SubmissionRecord)>;
        /// The updates that a round's head was made of, by account, whatever became of them; none
        /// of a round without one.
        fn updates(round: RoundNumber) -> Vec<IncludedUpdate<AccountId>>;
        /// What is kept of a concluded round.
        fn round_record(round: RoundNumber) -> Option<RoundRecord<AccountId>>;
        /// What validators found of the head of a round beside its loss, once that is decided.
        fn measured(round: RoundNumber) -> Option<HeadMeasurement>;
        /// How the newest head is measured, with the reports on it that wait for a quorum; none
        /// before the block after it.
        fn measuring() -> Option<PendingMeasurement<AccountId>>;
        /// Attestations of the round under way.
        fn attestations() -> Vec<Attestation<AccountId>>;
        /// The updates of earlier rounds that the head being attested takes out, ascending; none
        /// outside of the attest phase.
        fn excisions() -> Vec<Excision>;
        /// How much is audited, and how long it may take.
        fn audit_config() -> AuditConfig;
        /// Open audits in the stage that they are in by now, oldest first; at most 64.
        fn audits() -> Vec<(AuditId, Audit<AccountId>)>;
        /// What a trainer has shown of its update in an open audit.
        fn shown(audit: AuditId, trainer: AccountId) -> Option<AuditResponse>;
        /// The lease of an account's update to a round, whether or not it is concluded, until the
        /// update is settled.
        fn audited_lease(round: RoundNumber, account: AccountId) -> Option<Lease>;
        /// What waits in escrow for the account, from the newest round to the oldest; at most
        /// 1,024.
        fn rewards(account: AccountId) -> Vec<PendingReward>;
        /// Where all money of learning went.
        fn books() -> Ledger;
        /// The account's part in the network.
        fn member(account: AccountId) -> Option<Member<AccountId>>;
        /// Up to 100 members in storage order after `start`.
        fn members(start: Option<AccountId>) -> Vec<Member<AccountId>>;
        /// A source.
        fn source(id: SourceId) -> Option<Source<AccountId>>;
        /// A manifest.
        fn manifest(id: ManifestId) -> Option<Manifest<AccountId>>;
        /// Number of manifests; their identifiers count from zero.
        fn manifest_count() -> u32;
        /// What became of a shard; none unless it is part of the model.
        fn shard(shard: ShardId) -> Option<ShardRecord>;
    }
}
