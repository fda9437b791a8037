use pol_primitives::{
    Hash,
    trace::{Proof, merkle_proof, merkle_root},
};

/// The states of a lease at its segment boundaries, by their leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    leaves: Vec<Hash>,
}

impl Trace {
    /// The trace that starts from the state with this leaf.
    pub fn new(start: Hash) -> Self {
        Self { leaves: vec![start] }
    }

    /// The trace with these leaves, such as one kept over a restart; none without a start.
    pub fn from_leaves(leaves: Vec<Hash>) -> Option<Self> {
        (!leaves.is_empty()).then_some(Self { leaves })
    }

    /// Adds the state after the next segment.
    pub fn push(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
    }

    /// Leaf 0 is the start, leaf `i` the state after segment `i - 1`.
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// Segments trained.
    pub fn segments(&self) -> u16 {
        (self.leaves.len() - 1) as u16
    }

    /// Merkle root over the leaves.
    pub fn root(&self) -> Hash {
        merkle_root(&self.leaves)
    }

    /// Proof of leaf `index` against the root; none when there is no such leaf.
    pub fn proof(&self, index: u32) -> Option<Proof> {
        merkle_proof(&self.leaves, index)
    }
}
