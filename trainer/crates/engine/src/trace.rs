// SPDX-License-Identifier: Apache-2.0

use pol_primitives::{
    Hash,
    trace::{MerkleProof, merkle_proof, merkle_root},
};

/// Leaves of a lease's states at its segment boundaries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    leaves: Vec<Hash>,
}

impl Trace {
    /// Creates the trace that starts from the state with this leaf.
    pub fn new(start: Hash) -> Self {
        Self { leaves: vec![start] }
    }

    /// Creates a trace from leaves kept over a restart. Returns `None` if `leaves` is empty.
    pub fn from_leaves(leaves: Vec<Hash>) -> Option<Self> {
        (!leaves.is_empty()).then_some(Self { leaves })
    }

    /// Appends the leaf of the state after the next segment.
    pub fn push(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
    }

    /// Returns the leaves: leaf 0 is the start, leaf `i` the state after segment `i - 1`.
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// Returns the number of segments trained.
    pub fn segments(&self) -> u16 {
        (self.leaves.len() - 1) as u16
    }

    /// Returns the Merkle root over the leaves.
    pub fn root(&self) -> Hash {
        merkle_root(&self.leaves)
    }

    /// Returns the proof of leaf `index` against the root, or `None` if the leaf does not exist.
    pub fn proof(&self, index: u32) -> Option<MerkleProof> {
        merkle_proof(&self.leaves, index)
    }
}
