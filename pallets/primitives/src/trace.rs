// SPDX-License-Identifier: Apache-2.0

//! Hashes of training states and the Merkle tree above them.
//!
//! Leaves are BLAKE3 digests, because states are large and only members hash them. The tree uses
//! BLAKE2b-256, which the chain computes fast. Leaves, nodes and the root are hashed under
//! different domains, and the root binds the number of leaves, so that no proof for one tree is
//! valid for another.

use crate::{BoundedVec, ConstU32, Hash};
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sp_crypto_hashing::blake2_256;

/// Maximum length of a Merkle proof, for trees of up to 2^24 leaves.
pub const MAX_PROOF_DEPTH: u32 = 24;
/// Siblings on the path from a leaf to the root, starting at the leaf.
pub type MerkleProof = BoundedVec<Hash, ConstU32<MAX_PROOF_DEPTH>>;

/// Optimiser state that a trainer carries from one lease to the next.
///
/// The default is the fresh carry of a new trainer, which hashes to zeros.
#[derive(
    Clone,
    Copy,
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
pub struct Carry {
    /// BLAKE3 of Adam's first moments as little-endian float32 in canonical parameter order.
    pub first_moment: Hash,
    /// BLAKE3 of Adam's second moments, in the same form.
    pub second_moment: Hash,
    /// BLAKE3 of the error feedback, in the same form.
    pub feedback: Hash,
    /// Number of optimiser steps taken so far; 0 marks the fresh carry.
    pub steps: u64,
}

impl Carry {
    /// Returns the hash that names this carry.
    pub fn hash(&self) -> Hash {
        if self.steps == 0 {
            return [0; 32];
        }
        *blake3::Hasher::new()
            .update(b"pol/carry/1")
            .update(&self.first_moment)
            .update(&self.second_moment)
            .update(&self.feedback)
            .update(&self.steps.to_le_bytes())
            .finalize()
            .as_bytes()
    }
}

/// Returns the trace leaf of the state with these hashes of parameters and carry.
pub fn state_leaf(parameters: &Hash, carry: &Hash) -> Hash {
    *blake3::Hasher::new()
        .update(b"pol/state/1")
        .update(parameters)
        .update(carry)
        .finalize()
        .as_bytes()
}

/// Returns the node above two neighbours of a level. A node without a neighbour moves up unchanged.
pub fn merkle_node(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1u8; 65];
    for (to, from) in bytes.iter_mut().skip(1).zip(left.iter().chain(right)) {
        *to = *from;
    }
    blake2_256(&bytes)
}

/// Returns the node of the lowest level that stands for a leaf.
pub fn merkle_leaf(leaf: &Hash) -> Hash {
    let mut bytes = [0u8; 33];
    for (to, from) in bytes.iter_mut().skip(1).zip(leaf) {
        *to = *from;
    }
    blake2_256(&bytes)
}

/// Returns the root of a tree whose highest level is the node `top`.
pub fn merkle_top(top: &Hash, leaves: u32) -> Hash {
    let mut bytes = [2u8; 37];
    for (to, from) in bytes.iter_mut().skip(1).zip(leaves.to_le_bytes().iter().chain(top)) {
        *to = *from;
    }
    blake2_256(&bytes)
}

fn parents(level: &[Hash]) -> Vec<Hash> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => merkle_node(left, right),
            // A node without a sibling moves up unchanged.
            [single] => *single,
            _ => Hash::default(),
        })
        .collect()
}

/// Returns the root of the tree over at most 2^24 `leaves`.
pub fn merkle_root(leaves: &[Hash]) -> Hash {
    let mut level: Vec<Hash> = leaves.iter().map(merkle_leaf).collect();
    while level.len() > 1 {
        level = parents(&level);
    }
    merkle_top(&level.first().copied().unwrap_or_default(), leaves.len() as u32)
}

/// Returns the proof for `leaves[index]`, or `None` if there is no such leaf or the tree is too
/// deep.
pub fn merkle_proof(leaves: &[Hash], index: u32) -> Option<MerkleProof> {
    let mut position = index as usize;
    if position >= leaves.len() {
        return None;
    }
    let mut proof = MerkleProof::new();
    let mut level: Vec<Hash> = leaves.iter().map(merkle_leaf).collect();
    while level.len() > 1 {
        if let Some(sibling) = level.get(position ^ 1) {
            proof.try_push(*sibling).ok()?;
        }
        level = parents(&level);
        position >>= 1;
    }
    Some(proof)
}

/// Verifies that `leaf` is at `index` of the tree of `leaves` leaves with this `root`.
pub fn merkle_verify(root: &Hash, leaves: u32, index: u32, leaf: &Hash, proof: &[Hash]) -> bool {
    if index >= leaves {
        return false;
    }
    let mut siblings = proof.iter();
    let (mut hash, mut position, mut width) = (merkle_leaf(leaf), index, leaves);
    while width > 1 {
        if position ^ 1 < width {
            let Some(sibling) = siblings.next() else { return false };
            hash = if position & 1 == 0 {
                merkle_node(&hash, sibling)
            } else {
                merkle_node(sibling, &hash)
            };
        }
        position >>= 1;
        width = width.div_ceil(2);
    }
    siblings.next().is_none() && merkle_top(&hash, leaves) == *root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fresh_carry_is_zero_and_others_are_not() {
        assert_eq!(Carry::default().hash(), [0; 32]);
        let carry = Carry { steps: 1, ..Default::default() };
        assert_ne!(carry.hash(), [0; 32]);
        assert_ne!(carry.hash(), Carry { feedback: [1; 32], ..carry }.hash());
    }

    proptest! {
        #[test]
        fn every_leaf_has_a_proof_and_no_other_passes(
            leaves in prop::collection::vec(any::<Hash>(), 1..40),
            at: prop::sample::Index,
            other: Hash,
        ) {
            let (root, count, index) =
                (merkle_root(&leaves), leaves.len() as u32, at.index(leaves.len()) as u32);
            let proof = merkle_proof(&leaves, index).unwrap();
            prop_assert!(merkle_verify(&root, count, index, &leaves[index as usize], &proof));
            prop_assert!(!merkle_verify(&root, count, index, &other, &proof));
            prop_assert!(!merkle_verify(&root, count + 1, index, &leaves[index as usize], &proof));
            prop_assert!(!merkle_verify(&other, count, index, &leaves[index as usize], &proof));
            let mut longer = proof.to_vec();
            longer.push(other);
            prop_assert!(!merkle_verify(&root, count, index, &leaves[index as usize], &longer));
            if count > 1 {
                let elsewhere = (index + 1) % count;
                prop_assert!(
                    leaves[elsewhere as usize] == leaves[index as usize]
                        || !merkle_verify(&root, count, elsewhere, &leaves[index as usize], &proof)
                );
            }
        }
    }
}
