//! Sources, manifests and shards: where text comes from and how it is counted.
//!
//! A shard is `shard_tokens + 1` tokens as little-endian `u32` (the last one is only a target). A manifest's body is the
//! BLAKE3 hashes of its shards, one after the other; its own BLAKE3 hash is the manifest's `content_hash`, and the Merkle
//! root over the same hashes its `merkle_root`.

use crate::{BoundedVec, ConstU32, Hash, Ppm, RoundNumber};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Number of a source.
pub type SourceId = u32;
/// Number of a manifest.
pub type ManifestId = u32;
/// Most shards in a manifest.
pub const MAX_SHARDS: u32 = 1 << 20;
/// Most tokens in a shard.
pub const MAX_SHARD_TOKENS: u32 = 1 << 20;
/// Longest address or licence text, in bytes.
pub const MAX_TEXT: u32 = 256;
/// Most parents of a manifest.
pub const MAX_PARENTS: u32 = 8;

/// A short text.
pub type Text = BoundedVec<u8, ConstU32<MAX_TEXT>>;

/// What kind of text a source gives, in the order in which the pool leases it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Corpora that pretrained models were made of.
    #[codec(index = 0)]
    Pretrained,
    /// Curated data sets.
    #[codec(index = 1)]
    Dataset,
    /// Pages of the web.
    #[codec(index = 2)]
    Web,
    /// Text made by models.
    #[codec(index = 3)]
    Synthetic,
}

impl SourceKind {
    /// All kinds, in pool order.
    pub const ALL: [Self; 4] = [Self::Pretrained, Self::Dataset, Self::Web, Self::Synthetic];
}

/// Where text comes from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Source<AccountId> {
    /// Who registered it.
    pub owner: AccountId,
    /// What kind of text it gives.
    pub kind: SourceKind,
    /// Where it was found.
    pub address: Text,
    /// SPDX identifier of its licence.
    pub licence: Text,
}

/// What a provider says of a manifest when registering it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct ManifestInfo {
    /// The source it was made from.
    pub source: SourceId,
    /// Merkle root over the shard hashes.
    pub merkle_root: Hash,
    /// BLAKE3 of the manifest's body, its address among peers.
    pub content_hash: Hash,
    /// BLAKE3 of the tokenizer it was made with.
    pub tokenizer: Hash,
    /// Number of shards.
    pub shards: u32,
    /// Tokens each shard trains on.
    pub shard_tokens: u32,
    /// Manifests it was derived from.
    pub parents: BoundedVec<ManifestId, ConstU32<MAX_PARENTS>>,
    /// The provider's own estimate of quality.
    pub quality: Ppm,
    /// Never leased: the network measures itself on it.
    pub held_out: bool,
}

/// A registered manifest and the state of its shards: `free + leased + consumed = shards` unless it is held out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Manifest<AccountId> {
    /// Who registered it.
    pub owner: AccountId,
    /// What was registered.
    pub info: ManifestInfo,
    /// Shards nobody has.
    pub free: u32,
    /// Shards under a lease.
    pub leased: u32,
    /// Shards that are part of the model.
    pub consumed: u32,
    /// The round of registration.
    pub registered: RoundNumber,
}

/// One shard.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo, Serialize, Deserialize,
)]
pub struct ShardId {
    /// Its manifest.
    pub manifest: ManifestId,
    /// Its place in the manifest.
    pub index: u32,
}
