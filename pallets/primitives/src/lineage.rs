// SPDX-License-Identifier: Apache-2.0

//! Lineage of text: the making of manifests, their documents, and their retirement.
//!
//! An ingestion keeps a record of each document that it read, also of those that it dropped. A
//! Merkle tree over the records makes each of them provable to somebody who knows only its root and
//! its number of leaves, which the chain registers.
//!
//! The leaves are sorted by the BLAKE3 hash of the raw document and then by that of the record, so
//! that all leaves of a document are neighbours. A [`LeavesProof`] opens these and the two leaves
//! around them: it shows every record of the document, or that there is none.
//!
//! Sorting is the duty of whoever builds the tree. Two neighbours in the wrong order are open to
//! anybody who has the records, and are a proof of fraud.

use crate::{
    BoundedVec, ConstU32, Hash,
    trace::{MAX_PROOF_DEPTH, MerkleProof, merkle_proof, merkle_root, merkle_verify},
};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Maximum number of documents of a manifest.
pub const MAX_DOCUMENTS: u32 = 1 << MAX_PROOF_DEPTH;
/// Maximum length in bytes of the name or the version of a tool.
pub const MAX_NAME_BYTES: u32 = 64;
/// Maximum number of records of one document in a proof.
pub const MAX_COPIES: u32 = 64;

/// Name or version of a tool, in UTF-8.
pub type ToolName = BoundedVec<u8, ConstU32<MAX_NAME_BYTES>>;

/// Activity that made the text of a manifest.
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
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// Collection of text from its source.
    #[codec(index = 0)]
    Collection,
    /// Selection of text from the parents.
    #[codec(index = 1)]
    Selection,
    /// Change of the text of the parents, such as a translation.
    #[codec(index = 2)]
    Transformation,
    /// Generation by a program.
    #[codec(index = 3)]
    Generation,
    /// Drawing from a model.
    #[codec(index = 4)]
    Sampling,
}

impl Activity {
    /// Returns `true` if there is nothing to do without parents.
    pub const fn needs_parents(self) -> bool {
        matches!(self, Self::Selection | Self::Transformation)
    }
}

/// Making of the text of a manifest.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Derivation {
    /// Activity.
    pub activity: Activity,
    /// Name of the program.
    pub tool: ToolName,
    /// Version of the program.
    pub version: ToolName,
    /// BLAKE3 of the configuration or recipe that the program followed.
    pub configuration: Hash,
}

impl Derivation {
    /// Returns `true` if the program has a name and a version, both in UTF-8.
    pub fn is_named(&self) -> bool {
        let is_name = |name: &ToolName| !name.is_empty() && core::str::from_utf8(name).is_ok();
        is_name(&self.tool) && is_name(&self.version)
    }
}

/// Tree over the records of documents.
///
/// A training manifest and a held-out one that were made together have the same tree.
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
pub struct Documents {
    /// Merkle root over the sorted leaves.
    #[serde(with = "crate::hex_hash")]
    pub root: Hash,
    /// Number of leaves, which is that of records.
    pub count: u32,
}

impl Documents {
    /// Returns the tree over sorted `leaves`; `None` if they are not sorted, none, or too many.
    pub fn over(leaves: &[DocumentLeaf]) -> Option<Self> {
        let count = u32::try_from(leaves.len()).ok()?;
        let root = merkle_root(&hashes(leaves));
        Some(Self { root, count }).filter(|tree| tree.is_in_range() && leaves.is_sorted())
    }

    /// Returns `true` if a tree can have so many leaves.
    pub fn is_in_range(&self) -> bool {
        (1..=MAX_DOCUMENTS).contains(&self.count)
    }
}

fn hashes(leaves: &[DocumentLeaf]) -> Vec<Hash> {
    leaves.iter().map(DocumentLeaf::hash).collect()
}

/// Leaf of the tree, in the order of the tree.
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
pub struct DocumentLeaf {
    /// BLAKE3 of the raw document.
    #[serde(with = "crate::hex_hash")]
    pub key: Hash,
    /// BLAKE3 of the encoding of the record.
    #[serde(with = "crate::hex_hash")]
    pub record: Hash,
}

impl DocumentLeaf {
    /// Returns the hash that the tree is over.
    pub fn hash(&self) -> Hash {
        *blake3::Hasher::new()
            .update(b"pol/document/1")
            .update(&self.key)
            .update(&self.record)
            .finalize()
            .as_bytes()
    }
}

/// Leaf with the path to the root.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct OpenedLeaf {
    /// Index of the leaf.
    pub index: u32,
    /// Leaf.
    pub leaf: DocumentLeaf,
    /// Siblings on the path to the root.
    pub path: MerkleProof,
}

impl OpenedLeaf {
    /// Verifies that the leaf is in the tree.
    pub fn verify(&self, tree: &Documents) -> bool {
        merkle_verify(&tree.root, tree.count, self.index, &self.leaf.hash(), &self.path)
    }
}

/// Proof of all records of a document, or that there is none.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct LeavesProof {
    /// Leaf before those of the document, unless they are the first ones.
    pub before: Option<OpenedLeaf>,
    /// All leaves of the document.
    pub leaves: BoundedVec<OpenedLeaf, ConstU32<MAX_COPIES>>,
    /// Leaf after those of the document, unless they are the last ones.
    pub after: Option<OpenedLeaf>,
}

impl LeavesProof {
    /// Returns the proof for `key` over sorted leaves; `None` if the leaves are too many, or those
    /// of the document.
    pub fn over(leaves: &[DocumentLeaf], key: &Hash) -> Option<Self> {
        let hashes = hashes(leaves);
        let count = u32::try_from(leaves.len()).ok()?;
        let first = leaves.partition_point(|leaf| leaf.key < *key) as u32;
        let end = leaves.partition_point(|leaf| leaf.key <= *key) as u32;
        let open = |index: u32| {
            let leaf = *leaves.get(index as usize)?;
            Some(OpenedLeaf { index, leaf, path: merkle_proof(&hashes, index)? })
        };
        let opened: Option<Vec<_>> = (first..end).map(open).collect();
        Some(Self {
            before: first.checked_sub(1).and_then(open),
            leaves: opened?.try_into().ok()?,
            after: open(end),
        })
        .filter(|_| count <= MAX_DOCUMENTS)
    }

    /// Verifies that the tree holds exactly the leaves of this proof for `key`.
    ///
    /// This holds for a tree whose leaves are sorted.
    pub fn verify(&self, tree: &Documents, key: &Hash) -> bool {
        let opened = || self.before.iter().chain(&self.leaves).chain(&self.after);
        let (Some(first), Some(last)) = (opened().next(), opened().next_back()) else {
            return false;
        };
        let is_found = |opened: &OpenedLeaf| opened.leaf.key == *key;
        let are_neighbours = |(one, next): (&OpenedLeaf, &OpenedLeaf)| {
            one.index.checked_add(1) == Some(next.index) && one.leaf <= next.leaf
        };
        tree.is_in_range()
            && opened().all(|leaf| leaf.verify(tree))
            && opened().zip(opened().skip(1)).all(are_neighbours)
            && self.leaves.iter().all(is_found)
            && self.before.as_ref().is_none_or(|before| before.leaf.key < *key)
            && self.after.as_ref().is_none_or(|after| after.leaf.key > *key)
            && (self.before.is_some() || first.index == 0)
            && (self.after.is_some() || last.index.checked_add(1) == Some(tree.count))
    }
}

/// Reason why a manifest was retired.
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
#[serde(rename_all = "snake_case")]
pub enum RetirementReason {
    /// Somebody who has rights in the text does not want it to be trained on.
    #[codec(index = 0)]
    OptOut,
    /// The licence does not permit it, or is not that of the text.
    #[codec(index = 1)]
    Licence,
    /// The text is of no use.
    #[codec(index = 2)]
    Quality,
    /// The text holds some that models are measured on.
    #[codec(index = 3)]
    Contamination,
    /// The shards cannot be fetched.
    #[codec(index = 4)]
    Unavailable,
    /// Another reason.
    #[codec(index = 5)]
    Other,
}

/// Decision to retire a manifest.
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
pub struct Retirement {
    /// Reason.
    pub reason: RetirementReason,
    /// BLAKE3 of the evidence, such as a letter or a list of documents.
    #[serde(with = "crate::hex_hash::option")]
    pub evidence: Option<Hash>,
    /// Set if the provider is to blame, and loses the deposit.
    pub for_cause: bool,
}

impl Retirement {
    /// Returns `true` if no text may be derived from the manifest any more: the reason holds for
    /// all that is made from the text, or its provider is not believed.
    pub const fn bars_children(&self) -> bool {
        use RetirementReason::{Contamination, Licence, OptOut};
        self.for_cause || matches!(self.reason, OptOut | Licence | Contamination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns a leaf whose key is one of few, so that documents have several records.
    fn leaf() -> impl Strategy<Value = DocumentLeaf> {
        (0u8..40, any::<Hash>()).prop_map(|(key, record)| DocumentLeaf { key: [key; 32], record })
    }

    fn leaves() -> impl Strategy<Value = Vec<DocumentLeaf>> {
        prop::collection::vec(leaf(), 1..50).prop_map(|mut leaves| {
            leaves.sort();
            leaves
        })
    }

    /// Returns proofs that differ from `proof` in one thing.
    fn mutations(proof: &LeavesProof, at: prop::sample::Index) -> Vec<LeavesProof> {
        let mut all = Vec::new();
        for side in 0..3 {
            for part in 0..4 {
                let mut other = proof.clone();
                let opened = match side {
                    0 => other.before.as_mut(),
                    1 if other.leaves.is_empty() => None,
                    1 => {
                        let which = at.index(other.leaves.len());
                        other.leaves.get_mut(which)
                    }
                    _ => other.after.as_mut(),
                };
                let Some(opened) = opened else { continue };
                match part {
                    0 => opened.index ^= 1,
                    1 => opened.leaf.record[at.index(32)] ^= 1,
                    2 => opened.leaf.key[at.index(32)] ^= 1,
                    _ if opened.path.is_empty() => continue,
                    _ => {
                        let which = at.index(opened.path.len());
                        opened.path[which][at.index(32)] ^= 1;
                    }
                }
                all.push(other);
            }
        }
        if !proof.leaves.is_empty() {
            let mut fewer = proof.clone();
            fewer.leaves.remove(at.index(proof.leaves.len()));
            all.push(fewer);
        }
        if proof.before.is_some() {
            all.push(LeavesProof { before: None, ..proof.clone() });
        }
        if proof.after.is_some() {
            all.push(LeavesProof { after: None, ..proof.clone() });
        }
        all
    }

    proptest! {
        #[test]
        fn every_document_is_proved_in_or_out_and_no_other_proof_passes(
            leaves in leaves(),
            key in 0u8..41,
            other in 0u8..41,
            at: prop::sample::Index,
        ) {
            let (tree, key, other) = (Documents::over(&leaves).unwrap(), [key; 32], [other; 32]);
            let proof = LeavesProof::over(&leaves, &key).unwrap();
            prop_assert!(proof.verify(&tree, &key));
            let found: Vec<_> = proof.leaves.iter().map(|opened| opened.leaf).collect();
            let expected: Vec<_> = leaves.iter().filter(|leaf| leaf.key == key).copied().collect();
            prop_assert_eq!(&found, &expected);
            // A proof for one key says about another no more than that it is not there either.
            let shows_both = key == other || (found.is_empty() && proof.verify(&tree, &other));
            prop_assert_eq!(proof.verify(&tree, &other), shows_both);
            let is_there = leaves.iter().any(|leaf| leaf.key == other);
            prop_assert!(!shows_both || !is_there || key == other);
            for mutation in mutations(&proof, at) {
                prop_assert!(!mutation.verify(&tree, &key));
            }
            for count in [0, tree.count - 1, tree.count + 1, u32::MAX] {
                let other = Documents { count, ..tree };
                prop_assert!(!proof.verify(&other, &key));
            }
            let other = Documents { root: key, ..tree };
            prop_assert!(!proof.verify(&other, &key));
            prop_assert!(!LeavesProof::default().verify(&tree, &key));
        }

        #[test]
        fn proofs_are_decoded_as_encoded_and_no_bytes_panic(
            leaves in leaves(),
            key in 0u8..41,
            bytes: Vec<u8>,
        ) {
            let proof = LeavesProof::over(&leaves, &[key; 32]).unwrap();
            prop_assert_eq!(LeavesProof::decode(&mut &proof.encode()[..]), Ok(proof));
            let tree = Documents::over(&leaves).unwrap();
            if let Ok(proof) = LeavesProof::decode(&mut &bytes[..]) {
                prop_assert!(!proof.verify(&tree, &[key; 32]));
            }
        }
    }

    #[test]
    fn unsorted_and_empty_trees_are_not_made() {
        let leaf = |key| DocumentLeaf { key: [key; 32], record: [0; 32] };
        assert!(Documents::over(&[leaf(1), leaf(2), leaf(2)]).is_some());
        assert_eq!(Documents::over(&[leaf(2), leaf(1)]), None);
        assert_eq!(Documents::over(&[]), None);
        assert!(!Documents { root: [0; 32], count: MAX_DOCUMENTS + 1 }.is_in_range());
    }

    #[test]
    fn a_document_has_at_most_so_many_records_in_a_proof() {
        let leaves = vec![DocumentLeaf { key: [1; 32], record: [0; 32] }; MAX_COPIES as usize + 1];
        assert_eq!(LeavesProof::over(&leaves, &[1; 32]), None);
        assert!(LeavesProof::over(&leaves[1..], &[1; 32]).is_some());
    }

    #[test]
    fn swapped_neighbours_are_no_proof_of_absence() {
        // A tree whose builder hid a document between two others in the wrong order.
        let leaf = |key| DocumentLeaf { key: [key; 32], record: [0; 32] };
        let leaves = [leaf(1), leaf(9), leaf(5)];
        let tree = Documents { root: merkle_root(&hashes(&leaves)), count: 3 };
        let open = |index: u32| OpenedLeaf {
            index,
            leaf: leaves[index as usize],
            path: merkle_proof(&hashes(&leaves), index).unwrap(),
        };
        let proof =
            LeavesProof { before: Some(open(1)), leaves: Default::default(), after: Some(open(2)) };
        assert!(!proof.verify(&tree, &[7; 32]));
    }

    #[test]
    fn a_tool_has_a_name_and_a_version() {
        let name = |text: &[u8]| ToolName::truncate_from(text.to_vec());
        let derivation = |tool, version| Derivation {
            activity: Activity::Collection,
            tool: name(tool),
            version: name(version),
            configuration: [0; 32],
        };
        assert!(derivation(b"pol-data", b"0.1.0").is_named());
        assert!(!derivation(b"", b"0.1.0").is_named());
        assert!(!derivation(b"pol-data", b"").is_named());
        assert!(!derivation(b"pol-data", b"\xff").is_named());
    }

    #[test]
    fn some_reasons_hold_for_all_that_is_made_from_the_text() {
        let bars =
            |reason, for_cause| Retirement { reason, evidence: None, for_cause }.bars_children();
        use RetirementReason::*;
        assert!([OptOut, Licence, Contamination].into_iter().all(|reason| bars(reason, false)));
        assert!(![Quality, Unavailable, Other].into_iter().any(|reason| bars(reason, false)));
        assert!(bars(Quality, true));
        assert!(Activity::Selection.needs_parents() && !Activity::Sampling.needs_parents());
    }
}
