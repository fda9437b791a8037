//! What the runtime tells trainers and validators, over `state_call`.
//!
//! Types are SCALE-encoded ones of `pol-primitives`, so a client needs no generated code.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

use alloc::vec::Vec;
use codec::Codec;
use pol_primitives::{
    RoundNumber,
    data::{Manifest, ManifestId, Source, SourceId},
    head::RoundRecord,
    lease::Lease,
    recipe::Recipe,
    submission::Submission,
    view::{Attestation, Member, Overview, Standing},
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
        /// The account's open lease.
        fn lease(account: AccountId) -> Option<Lease>;
        /// What the account brings into its next lease.
        fn standing(account: AccountId) -> Standing;
        /// Submissions to a round, by account; at most 64.
        fn submissions(round: RoundNumber) -> Vec<(AccountId, Submission)>;
        /// What is kept of a concluded round.
        fn round_record(round: RoundNumber) -> Option<RoundRecord<AccountId>>;
        /// Attestations of the round under way.
        fn attestations() -> Vec<Attestation<AccountId>>;
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
    }
}
