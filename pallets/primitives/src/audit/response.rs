//! States and proofs that a trainer answers an audit with.

use super::{MAX_AUDITED_SEGMENTS, MAX_SERVED_STATES, MAX_SKETCHED_SEGMENTS};
use crate::{
    BoundedVec, ConstU32, Hash,
    sketch::Sketch,
    trace::{Carry, MerkleProof, state_leaf},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A state on a trace, by the hashes of its parts, which are also their addresses among peers.
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
)]
pub struct TraceState {
    /// Its leaf in the trace.
    pub leaf: u16,
    /// BLAKE3 of the parameters.
    pub root: Hash,
    /// Moments, error feedback and steps; all zero and no steps for a fresh trainer.
    pub carry: Carry,
}

impl TraceState {
    /// The leaf's digest.
    pub fn digest(&self) -> Hash {
        state_leaf(&self.root, &self.carry.hash())
    }
}

/// A state, and the proof that it is on the trace.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct StateProof {
    /// The state.
    pub state: TraceState,
    /// Its proof against the trace's root.
    pub proof: MerkleProof,
}

/// The end of a drawn segment, and the proof that it is on the trace.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct LeafProof {
    /// Digest of the leaf.
    pub digest: Hash,
    /// Its proof against the trace's root.
    pub proof: MerkleProof,
}

/// A state at the end of a drawn segment, as its trainer opens it.
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
)]
pub struct SketchedEnd {
    /// The state, whose digest is the leaf.
    pub state: TraceState,
    /// The sketch of what the segment changed.
    pub sketch: Sketch,
}

impl SketchedEnd {
    /// Whether the state can be the one after `segment` of `steps` steps that began in `start`:
    /// steps are counted on, and the error feedback stays the same. That of a fresh start has no
    /// name yet: its zeros are compared by whoever has the state.
    pub fn follows(&self, start: &TraceState, segment: u16, steps: u16) -> bool {
        let carry = &self.state.carry;
        start.leaf == segment
            && Some(self.state.leaf) == segment.checked_add(1)
            && Some(carry.steps) == start.carry.steps.checked_add(steps.into())
            && (start.carry.steps == 0 || carry.feedback == start.carry.feedback)
    }
}

/// What a trainer has shown of an update under audit.
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
pub struct AuditResponse {
    /// The states of [`Case::served_leaves`], in that order; empty until shown.
    pub states: BoundedVec<TraceState, ConstU32<MAX_SERVED_STATES>>,
    /// The digests of [`Case::opened_leaves`], in that order; empty until opened.
    pub ends: BoundedVec<Hash, ConstU32<MAX_AUDITED_SEGMENTS>>,
    /// Under the native profile, the states of these ends, with what the segments before them
    /// changed.
    pub sketched: BoundedVec<SketchedEnd, ConstU32<MAX_SKETCHED_SEGMENTS>>,
}
