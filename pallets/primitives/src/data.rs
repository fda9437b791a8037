//! Sources, manifests and shards: where text comes from and how it is counted.
//!
//! A shard is `shard_tokens + 1` tokens as little-endian `u32` (the last one is only a target). A
//! manifest's body is the BLAKE3 hashes of its shards, one after the other; its own BLAKE3 hash is
//! the manifest's `content_hash`, and the Merkle root over the same hashes its `merkle_root`.

use crate::{BoundedVec, ConstU32, Hash, MILLION, Ppm, RoundNumber};
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
pub const MAX_TEXT_BYTES: u32 = 256;
/// Most parents of a manifest.
pub const MAX_PARENTS: u32 = 8;

/// A short text.
pub type ShortText = BoundedVec<u8, ConstU32<MAX_TEXT_BYTES>>;

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

    /// How much training on it is worth: text that people chose counts in full.
    pub const fn bonus(self) -> Ppm {
        match self {
            Self::Pretrained | Self::Dataset => MILLION,
            Self::Web => 900_000,
            Self::Synthetic => 600_000,
        }
    }
}

/// Where text comes from.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Source<AccountId> {
    /// Who registered it.
    pub owner: AccountId,
    /// What kind of text it gives.
    pub kind: SourceKind,
    /// Where it was found.
    pub address: ShortText,
    /// SPDX identifier of its licence.
    pub licence: ShortText,
}

/// What a provider says of a manifest when registering it.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
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

/// A registered manifest and the state of its shards: `free + leased + consumed = shards` unless it
/// is held out.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
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

/// What became of a shard that is part of the model.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct ShardRecord {
    /// The round that made it part of the model.
    pub round: RoundNumber,
    /// The update that did, by its index among the round's reveals.
    pub index: u8,
    /// How much the update improved the model on this shard, in millionths of a nat a token.
    pub delta: i32,
}

/// How little text repeats itself: the share of different ones among its runs of eight tokens.
/// Repeated n-grams mark text of low quality (Rae et al. 2021, "Scaling Language Models", arXiv
/// 2112.11446, appendix A1.1).
pub fn quality<'a>(sequences: impl Iterator<Item = &'a [u32]>) -> Ppm {
    let (mut all, mut different) = (0u64, alloc::collections::BTreeSet::new());
    for run in sequences.flat_map(|sequence| sequence.windows(8)) {
        all = all.saturating_add(1);
        different.insert(run);
    }
    let share =
        (different.len() as u64).saturating_mul(MILLION.into()).checked_div(all).unwrap_or(0);
    u32::try_from(share).unwrap_or(MILLION)
}

/// One shard.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct ShardId {
    /// Its manifest.
    pub manifest: ManifestId,
    /// Its place in the manifest.
    pub index: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quality_of(sequences: &[Vec<u32>]) -> Ppm {
        quality(sequences.iter().map(Vec::as_slice))
    }

    #[test]
    fn text_that_repeats_itself_is_worth_less() {
        let fresh: Vec<u32> = (0..107).collect();
        assert_eq!(quality_of(std::slice::from_ref(&fresh)), MILLION);
        assert_eq!(quality_of(&[fresh.clone(), fresh.clone()]), MILLION / 2);
        assert_eq!(quality_of(&[fresh.clone(), fresh.clone(), fresh.clone(), fresh]), MILLION / 4);
        assert_eq!(quality_of(&[vec![5; 107]]), MILLION / 100);
        assert_eq!(quality_of(&[(0..64).map(|at| at % 16).collect()]), 16 * MILLION / 57);
    }

    #[test]
    fn runs_do_not_reach_from_one_sequence_into_the_next() {
        assert_eq!(quality_of(&[(0..8).collect(), (8..16).collect()]), MILLION);
        assert_eq!(quality_of(&[(0..7).collect()]), 0, "there is no run of eight");
        assert_eq!(quality_of(&[]), 0);
    }

    #[test]
    fn kinds_are_worth_no_more_than_those_before() {
        assert!(
            SourceKind::ALL
                .windows(2)
                .all(|two| two[0] < two[1] && two[0].bonus() >= two[1].bonus())
        );
        assert!(SourceKind::ALL.iter().all(|kind| (1..=MILLION).contains(&kind.bonus())));
    }

    #[test]
    fn records_of_shards_are_small() {
        assert!(ShardRecord::max_encoded_len() <= 9 && ShardId::max_encoded_len() <= 8);
    }

    proptest! {
        #[test]
        fn repeating_a_sequence_never_helps(sequences in prop::collection::vec(prop::collection::vec(0u32..6, 0..40), 0..8)) {
            let once = quality_of(&sequences);
            prop_assert!(once <= MILLION);
            let twice: Vec<_> = sequences.iter().chain(&sequences).cloned().collect();
            prop_assert_eq!(quality_of(&twice), once / 2);
        }
    }
}
