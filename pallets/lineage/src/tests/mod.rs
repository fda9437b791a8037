// SPDX-License-Identifier: Apache-2.0

//! Tests of the calls, the pool and the invariants.

mod admission;
mod effects;
mod expiry;
mod lineage;
mod pool;
mod properties;
mod registry;

use crate::{
    Call, ConsumedShards, Error, Event, FreeShards, HoldReason, LeasedShards, MAX_POOL_MANIFESTS,
    Manifests, PauseReason, Pool, PoolEntry, Reports, Slots,
    mock::{RuntimeOrigin as Origin, *},
};
use pol_primitives::{
    BoundedVec, Hash, MILLION, POL,
    data::{
        MAX_SHARDS, ManifestId, ManifestInfo, ManifestStatus, ShardId, ShardRecord, ShortText,
        SourceId, SourceKind,
    },
    lineage::{Activity, Derivation, Documents, Retirement, RetirementReason, ToolName},
    prf::Prf,
    traits::ShardPool,
};
use polkadot_sdk::frame_support::{assert_noop, assert_ok, traits::fungible::InspectHold};

type PalletError = Error<Test>;

fn text(text: &str) -> ShortText {
    text.as_bytes().to_vec().try_into().unwrap()
}

/// Returns a content hash that is unique to `number`.
fn content(number: u32) -> Hash {
    let mut hash = [7; 32];
    hash[..4].copy_from_slice(&number.to_le_bytes());
    hash
}

/// Returns a valid manifest of account 1 from `source`.
fn info(source: SourceId, shards: u32) -> ManifestInfo {
    ManifestInfo {
        source,
        merkle_root: [5; 32],
        content_hash: content(Lineage::manifest_count()),
        tokenizer: FORMAT.1,
        shards,
        shard_tokens: FORMAT.0,
        parents: BoundedVec::new(),
        quality: MILLION / 2,
        held_out: false,
        derivation: derivation(Activity::Collection),
        documents: Some(documents(Lineage::manifest_count())),
    }
}

/// Returns the making of a text by a named program.
fn derivation(activity: Activity) -> Derivation {
    let name = |name: &str| ToolName::truncate_from(name.as_bytes().to_vec());
    Derivation { activity, tool: name("pol-data"), version: name("1"), configuration: [8; 32] }
}

/// Returns documents whose root is unique to `number`.
fn documents(number: u32) -> Documents {
    Documents { root: content(!number), count: 3 }
}

/// Returns a decision without evidence.
fn retirement(for_cause: bool) -> Retirement {
    Retirement { reason: RetirementReason::Other, evidence: None, for_cause }
}

/// Registers a source of an account and returns its id.
fn source_of(owner: AccountId) -> SourceId {
    let id = crate::NextSource::<Test>::get();
    assert_ok!(Lineage::register_source(
        Origin::signed(owner),
        text("https://example.org"),
        text("CC0-1.0")
    ));
    id
}

/// Registers a source of account 1 and returns its id.
fn source() -> SourceId {
    source_of(1)
}

/// Proposes a manifest of account 1 and returns its id.
fn propose(info: ManifestInfo) -> ManifestId {
    let id = Lineage::manifest_count();
    assert_ok!(Lineage::register_manifest(Origin::signed(1), Box::new(info)));
    id
}

fn admit(id: ManifestId, kind: SourceKind) {
    assert_ok!(Lineage::admit_manifest(Origin::root(), id, kind));
}

/// Registers a source of `owner` and a manifest of `shards` shards from it, which is admitted.
/// Returns the id of the manifest.
fn manifest_of(owner: AccountId, kind: SourceKind, shards: u32) -> ManifestId {
    let id = Lineage::manifest_count();
    let info = info(source_of(owner), shards);
    assert_ok!(Lineage::register_manifest(Origin::signed(owner), Box::new(info)));
    admit(id, kind);
    id
}

/// Registers and admits a manifest of account 1.
fn manifest(kind: SourceKind, shards: u32) -> ManifestId {
    manifest_of(1, kind, shards)
}

fn status(id: ManifestId) -> ManifestStatus {
    Lineage::manifest(id).unwrap().status
}

/// Returns the deposit for a manifest.
fn deposit(shards: u32) -> u128 {
    DEPOSIT + u128::from(shards) * SHARD_DEPOSIT
}

/// Returns the entry of a manifest of account 1 in the pool.
fn entry(manifest: ManifestId, free: u32) -> PoolEntry<AccountId> {
    PoolEntry { manifest, provider: 1, free }
}

fn prf(seed: u8) -> Prf {
    Prf::new("test", &[seed; 32], &[])
}

fn held(who: AccountId) -> u128 {
    Balances::balance_on_hold(&HoldReason::Deposit.into(), &who)
}

/// Returns the numbers of free, leased and consumed shards of a manifest.
fn counts(id: ManifestId) -> (u32, u32, u32) {
    let record = Lineage::manifest(id).unwrap();
    (record.free, record.leased, record.consumed)
}

/// Returns the pallet's events since the last call.
fn take_events() -> Vec<Event<Test>> {
    let events = System::read_events_for_pallet::<Event<Test>>();
    System::reset_events();
    events
}
