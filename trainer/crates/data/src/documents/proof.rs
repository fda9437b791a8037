// SPDX-License-Identifier: Apache-2.0

//! Proofs about documents, for somebody who knows what the chain says about a manifest.

use super::{encode_record, record::leaf};
use crate::DataError;
use pol_corpus::{DocumentRecord, Place, Side};
use pol_primitives::{
    Hash,
    data::ManifestInfo,
    lineage::{DocumentLeaf, LeavesProof, OpenedLeaf},
    trace::{MerkleProof, merkle_verify},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Largest proof in JSON, in bytes.
pub const MAX_PROOF_BYTES: usize = 16 << 20;
/// Maximum number of shards in a proof.
pub const MAX_PROVEN_SHARDS: usize = 4_096;

/// Format of proofs.
const FORMAT: &str = "pol/document-proof/1";

/// Result of a proof about a document and a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Tokens of the document are in these shards.
    InShards(Vec<u32>),
    /// The document was read, and no shard has a token of it: it was dropped, is on the other side
    /// of the split, or was left over at the end.
    LeftOut,
    /// No such document was read.
    Unknown,
}

/// Leaf of the tree with its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Neighbour {
    index: u32,
    leaf: DocumentLeaf,
    #[serde(with = "path")]
    path: MerkleProof,
}

/// Record with the path of its leaf.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvenRecord {
    index: u32,
    #[serde(with = "path")]
    path: MerkleProof,
    record: DocumentRecord,
}

/// Hash of a shard with the path to the root of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpenedShard {
    pub(super) index: u32,
    #[serde(with = "pol_primitives::hex_hash")]
    pub(super) hash: Hash,
    #[serde(with = "path")]
    pub(super) path: MerkleProof,
}

/// Proof that a document is in the shards of a manifest, or is not.
///
/// It holds all records of the document, with paths to the root of the documents, and the shards of
/// their tokens, with paths to the root of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentProof {
    format: String,
    #[serde(with = "pol_primitives::hex_hash")]
    manifest: Hash,
    #[serde(with = "pol_primitives::hex_hash")]
    document: Hash,
    records: Vec<ProvenRecord>,
    before: Option<Neighbour>,
    after: Option<Neighbour>,
    shards: Vec<OpenedShard>,
}

impl DocumentProof {
    /// Creates a proof. `records` are those of the `leaves`.
    pub(super) fn new(
        manifest: Hash,
        document: Hash,
        leaves: LeavesProof,
        records: Vec<DocumentRecord>,
        shards: Vec<OpenedShard>,
    ) -> Self {
        let neighbour = |OpenedLeaf { index, leaf, path }| Neighbour { index, leaf, path };
        let proven =
            |(OpenedLeaf { index, path, .. }, record)| ProvenRecord { index, path, record };
        Self {
            format: FORMAT.into(),
            manifest,
            document,
            records: leaves.leaves.into_iter().zip(records).map(proven).collect(),
            before: leaves.before.map(neighbour),
            after: leaves.after.map(neighbour),
            shards,
        }
    }

    /// Reads a proof in JSON.
    ///
    /// # Errors
    ///
    /// Fails if the bytes are longer than [`MAX_PROOF_BYTES`], or no proof of this format.
    pub fn parse(json: &[u8]) -> Result<Self, DataError> {
        let invalid = |reason: String| DataError::InvalidProof(reason);
        if json.len() > MAX_PROOF_BYTES {
            return Err(invalid(format!("{} bytes are too many", json.len())));
        }
        let proof: Self =
            serde_json::from_slice(json).map_err(|error| invalid(error.to_string()))?;
        if proof.format == FORMAT {
            Ok(proof)
        } else {
            Err(invalid(format!("its format is {}, not {FORMAT}", proof.format)))
        }
    }

    /// Returns the content hash of the manifest that the proof is about, by which the chain finds
    /// it.
    pub fn manifest(&self) -> Hash {
        self.manifest
    }

    /// Returns the BLAKE3 hash of the raw document.
    pub fn document(&self) -> Hash {
        self.document
    }

    /// Returns the records of the document. They are true only if the proof holds.
    pub fn records(&self) -> impl Iterator<Item = &DocumentRecord> {
        self.records.iter().map(|proven| &proven.record)
    }

    /// Verifies the proof against what the chain says about the manifest. It is about
    /// [`Self::document`], which is to be the document that was asked for.
    ///
    /// # Errors
    ///
    /// Fails with the first thing that does not hold.
    pub fn verify(&self, info: &ManifestInfo) -> Result<Presence, DataError> {
        let fail = |reason: &str| Err(DataError::InvalidProof(reason.into()));
        if info.content_hash != self.manifest {
            return fail("it is about another manifest");
        }
        let Some(documents) = &info.documents else {
            return fail("the chain knows no documents of the manifest");
        };
        let Some(leaves) = self.leaves()? else {
            return fail("it has too many records");
        };
        if !leaves.verify(documents, &self.document) {
            return fail("its records are not those of the document in the tree");
        }
        let records: Vec<_> = self.records().cloned().collect();
        let expected = shards_of(&records, info.held_out, info.shard_tokens, info.shards)?;
        if !self.shards.iter().map(|shard| shard.index).eq(expected.iter().copied()) {
            return fail("its shards are not those of the records");
        }
        let is_shard = |OpenedShard { index, hash, path }: &OpenedShard| {
            merkle_verify(&info.merkle_root, info.shards, *index, hash, path)
        };
        if !self.shards.iter().all(is_shard) {
            return fail("a shard is not in the manifest");
        }
        Ok(match (records.is_empty(), expected.is_empty()) {
            (true, _) => Presence::Unknown,
            (false, true) => Presence::LeftOut,
            (false, false) => Presence::InShards(expected),
        })
    }

    /// Returns the opened leaves, unless they are too many.
    fn leaves(&self) -> Result<Option<LeavesProof>, DataError> {
        let neighbour = |Neighbour { index, leaf, path }: &Neighbour| OpenedLeaf {
            index: *index,
            leaf: *leaf,
            path: path.clone(),
        };
        let mut opened = Vec::with_capacity(self.records.len());
        for ProvenRecord { index, path, record } in &self.records {
            let leaf = leaf(record.raw, &encode_record(record)?);
            opened.push(OpenedLeaf { index: *index, leaf, path: path.clone() });
        }
        let (before, after) =
            (self.before.as_ref().map(neighbour), self.after.as_ref().map(neighbour));
        Ok(opened.try_into().ok().map(|leaves| LeavesProof { before, leaves, after }))
    }
}

/// Returns the shards of one side that train on tokens of the records, in ascending order.
pub(super) fn shards_of(
    records: &[DocumentRecord],
    held_out: bool,
    shard_tokens: u32,
    shards: u32,
) -> Result<Vec<u32>, DataError> {
    let side = if held_out { Side::HeldOut } else { Side::Train };
    let mut indices = BTreeSet::new();
    for Place { start, tokens, .. } in
        records.iter().filter_map(|record| record.place).filter(|place| place.side == side)
    {
        let shard_of = |token: u64| token.checked_div(shard_tokens.into());
        let last = start.saturating_add(tokens).checked_sub(1).filter(|_| tokens > 0);
        let (Some(first), Some(last)) = (shard_of(start), last.and_then(shard_of)) else {
            continue;
        };
        let range = first..last.saturating_add(1).min(shards.into());
        let count = range.end.saturating_sub(range.start);
        let all = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(indices.len());
        if all > MAX_PROVEN_SHARDS {
            return Err(DataError::TooManyProvenShards { shards: all, most: MAX_PROVEN_SHARDS });
        }
        indices.extend(range.filter_map(|index| u32::try_from(index).ok()));
    }
    Ok(indices.into_iter().collect())
}

/// Serde format of paths: hashes in hexadecimal.
mod path {
    use super::{Deserialize, Hash, MerkleProof, Serialize};
    use serde::{Deserializer, Serializer, de::Error};

    #[derive(Serialize, Deserialize)]
    struct Hex(#[serde(with = "pol_primitives::hex_hash")] Hash);

    pub(super) fn serialize<S: Serializer>(
        path: &MerkleProof,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(path.iter().copied().map(Hex))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<MerkleProof, D::Error> {
        let hashes = Vec::<Hex>::deserialize(deserializer)?;
        MerkleProof::try_from(hashes.into_iter().map(|hex| hex.0).collect::<Vec<_>>())
            .map_err(|_| D::Error::custom("a path has at most 24 hashes"))
    }
}
