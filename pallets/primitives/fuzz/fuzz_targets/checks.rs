// SPDX-License-Identifier: Apache-2.0

//! Checks that hold of any bytes, for the fuzz targets and for the ordinary tests.

use codec::{Decode, Encode};
use pol_primitives::{
    Hash, MAX_SUBMISSIONS,
    audit::{AuditResponse, Evidence, LeafProof, StateProof},
    inclusion::{InvalidReport, StakeCount},
    lineage::{DocumentLeaf, Documents, LeavesProof},
    submission::{Reveal, RevealSet},
    trace::{MerkleProof, merkle_proof, merkle_root, merkle_verify},
};

/// Account of the only validator of a count.
const VALIDATOR: u8 = 1;

/// Reads bytes as a bitmap of reveals. One that is decoded holds what it says, and counts for that
/// and nothing else. One that is canonical is the only encoding of its set.
///
/// # Panics
///
/// Panics if a check fails.
pub fn check_reveal_set(bytes: &[u8]) {
    let Some(set) = check_encoding::<RevealSet>(bytes) else { return };
    let same = RevealSet::from_indices(set.indices());
    assert_eq!(set.is_canonical(MAX_SUBMISSIONS), set == same);
    assert_eq!(set.len() as usize, set.indices().count());
    assert_eq!(set.is_empty(), set.indices().next().is_none());
    let mut count = StakeCount::new(vec![(VALIDATOR, 1)], &[]);
    assert_eq!(count.report(&VALIDATOR, set.clone()), Ok(()));
    assert_eq!(count.report(&VALIDATOR, set), Err(InvalidReport::NotMore));
    for attempt in 0..2 {
        assert_eq!(count.included(MAX_SUBMISSIONS, attempt), same);
    }
}

/// Reads bytes as all that opens a commitment, and as a tree of hashes. A proof of the tree passes
/// for its leaf, and one that is read from the bytes for no other.
///
/// # Panics
///
/// Panics if a check fails.
pub fn check_openings(bytes: &[u8]) {
    let (leaves, _) = bytes.as_chunks();
    let leaves: Vec<Hash> = leaves.iter().take(64).copied().collect();
    let (root, count) = (merkle_root(&leaves), leaves.len() as u32);
    for (leaf, index) in leaves.iter().zip(0..) {
        let proof = merkle_proof(&leaves, index).unwrap_or_default();
        assert!(merkle_verify(&root, count, index, leaf, &proof));
    }
    let check_proof = |leaf: Hash, proof: &MerkleProof| {
        for index in 0..=count {
            let is_leaf = leaves.get(index as usize) == Some(&leaf);
            assert!(is_leaf || !merkle_verify(&root, count, index, &leaf, proof));
        }
    };
    if let Some(reveal) = check_encoding::<Reveal>(bytes) {
        check_proof(reveal.trace_root, &reveal.first_leaf);
        let commitment = reveal.commitment(&root, &root, count);
        let other = Reveal { steps: !reveal.steps, ..reveal };
        assert_ne!(other.commitment(&root, &root, count), commitment);
    }
    if let Some(end) = check_encoding::<LeafProof>(bytes) {
        check_proof(end.digest, &end.proof);
    }
    if let Some(start) = check_encoding::<StateProof>(bytes) {
        check_proof(start.state.digest(), &start.proof);
    }
    if let Some(shown) = check_encoding::<AuditResponse>(bytes) {
        for (start, end) in shown.states.iter().zip(&shown.sketched) {
            let _ = end.follows(start, start.leaf, u16::MAX);
        }
    }
    check_encoding::<Evidence>(bytes);
}

/// Reads bytes as a tree over documents, as a proof about it, and as the keys of two documents.
/// Proofs of the tree pass, and one that is read from the bytes for no document whose leaves it
/// does not have.
///
/// # Panics
///
/// Panics if a check fails.
pub fn check_documents(bytes: &[u8]) {
    let read = check_encoding::<LeavesProof>(bytes);
    let (pairs, _) = bytes.as_chunks::<2>();
    let leaf = |&[key, record]: &[u8; 2]| DocumentLeaf { key: [key; 32], record: [record; 32] };
    let mut leaves: Vec<_> = pairs.iter().take(8).map(leaf).collect();
    leaves.sort();
    let Some(tree) = Documents::over(&leaves) else { return assert!(leaves.is_empty()) };
    for key in bytes.first().into_iter().chain(bytes.last()).map(|key| [*key; 32]) {
        let found: Vec<_> = leaves.iter().filter(|leaf| leaf.key == key).collect();
        let proof = LeavesProof::over(&leaves, &key).unwrap_or_default();
        assert!(proof.verify(&tree, &key));
        assert!(proof.leaves.iter().map(|opened| &opened.leaf).eq(found.iter().copied()));
        if let Some(read) = read.as_ref().filter(|read| read.verify(&tree, &key)) {
            assert!(read.leaves.iter().map(|opened| &opened.leaf).eq(found));
        }
    }
}

/// Reads bytes as a value, which has no other encoding than what was read.
fn check_encoding<T: Decode + Encode>(bytes: &[u8]) -> Option<T> {
    let mut rest = bytes;
    let value = T::decode(&mut rest).ok()?;
    assert_eq!(value.encode(), bytes[..bytes.len() - rest.len()]);
    Some(value)
}
