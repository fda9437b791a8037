// SPDX-License-Identifier: Apache-2.0

//! Responses of trainers to an audit.

use super::{MAX_AUDITED_SEGMENTS, MAX_SERVED_STATES, MAX_SKETCHED_SEGMENTS};
use crate::{
    BoundedVec, ConstU32, Hash,
    sketch::Sketch,
    trace::{Carry, MerkleProof, state_leaf},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A training state on a trace, given by the hashes of its parts. The hashes are also the addresses
/// of the parts in the swarm.
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
    /// Index of its leaf in the trace.
    pub leaf: u16,
    /// BLAKE3 of the parameters.
    pub root: Hash,
    /// Moments, error feedback and steps. A new trainer starts with the fresh carry.
    pub carry: Carry,
}

impl TraceState {
    /// Returns the digest of the leaf.
    pub fn digest(&self) -> Hash {
        state_leaf(&self.root, &self.carry.hash())
    }
}

/// A training state and the proof that it is on the trace.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct StateProof {
    /// Training state.
    pub state: TraceState,
    /// Proof of the leaf against the root of the trace.
    pub proof: MerkleProof,
}

/// The digest of the leaf at the end of a drawn segment, and the proof that it is on the trace.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct LeafProof {
    /// Digest of the leaf.
    pub digest: Hash,
    /// Proof of the leaf against the root of the trace.
    pub proof: MerkleProof,
}

/// The end of a drawn segment as opened under the native profile.
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
    /// Training state, whose digest is the leaf.
    pub state: TraceState,
    /// Sketch of the change by the segment.
    pub sketch: Sketch,
}

impl SketchedEnd {
    /// Returns `true` if the state can be the end of `segment`, which takes `steps` steps from
    /// `start`: the step count must increase by `steps`, and the error feedback must be the same.
    ///
    /// The error feedback of a fresh start has no hash yet. Seats check that it is zero when they
    /// have the state.
    pub fn follows(&self, start: &TraceState, segment: u16, steps: u16) -> bool {
        let carry = &self.state.carry;
        start.leaf == segment
            && Some(self.state.leaf) == segment.checked_add(1)
            && Some(carry.steps) == start.carry.steps.checked_add(steps.into())
            && (start.carry.steps == 0 || carry.feedback == start.carry.feedback)
    }
}

/// A trainer's response to the audit of its update.
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
    /// States of [`Case::served_leaves`](super::Case::served_leaves), in that order; empty until
    /// they are served.
    pub states: BoundedVec<TraceState, ConstU32<MAX_SERVED_STATES>>,
    /// Digests of [`Case::opened_leaves`](super::Case::opened_leaves), in that order; empty until
    /// they are opened.
    pub ends: BoundedVec<Hash, ConstU32<MAX_AUDITED_SEGMENTS>>,
    /// Under the native profile, the states of these ends with their sketches.
    pub sketched: BoundedVec<SketchedEnd, ConstU32<MAX_SKETCHED_SEGMENTS>>,
}
