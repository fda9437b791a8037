// SPDX-License-Identifier: Apache-2.0

//! The learning protocol as plain types and pure functions.
//!
//! The chain, the trainer and the tests call the functions of this crate, so every rule has one
//! implementation. The crate is `no_std`, does not depend on FRAME, and computes in integers only,
//! because the chain's decisions must come out the same on every machine. Its terms are defined in
//! `docs/glossary.md`.
//!
//! # Main types
//!
//! - [`Recipe`](recipe::Recipe): everything needed to replay a training step.
//! - [`ModelSpec`](model::ModelSpec): the architecture of the model and its list of parameters.
//! - [`Round`](round::Round): the current round and its phase.
//! - [`Lease`](lease::Lease): the data of one trainer, and the order in which it is read.
//! - [`Reveal`](submission::Reveal): an opened commitment to an update.
//! - [`Payload`](payload::Payload): a compressed update.
//! - [`Audit`](audit::Audit): the re-execution of updates by randomly drawn seats.
//! - [`Head`](head::Head): the current model in its hash chain.
//!
//! # Modules
//!
//! | module | contents |
//! |---|---|
//! | [`audit`] | stages of audits, draws of seats and segments, findings and verdicts |
//! | [`beacon`] | beacons of public randomness: the schedule of their pulses |
//! | [`clock`] | the clock of deadlines, which stands still while blocks are full |
//! | [`data`] | sources, manifests and shards |
//! | [`election`] | the choice of authorities among candidates |
//! | [`explanation`] | explanations of rewards in numbers that add up |
//! | [`head`] | the hash chain of the model |
//! | [`hex_hash`] | serde format of hashes in JSON |
//! | [`inclusion`] | the count of stake that holds the updates of a round |
//! | [`lease`] | leased data and its reading order |
//! | [`lineage`] | the making of manifests, their documents, and retirements |
//! | [`member`] | roles, bonds, reputation and network addresses of members |
//! | [`metrics`] | figures measured of a model, and their medians by stake |
//! | [`model`] | architectures and their parameters |
//! | [`payload`] | the encoding of compressed updates |
//! | [`places`] | the places of a round and who has them |
//! | [`prf`] | the pseudo-random function behind every draw |
//! | [`provider_draw`] | draws of shards by provider |
//! | [`queries`] | answers of the runtime API |
//! | [`recipe`] | recipes, tiers and learning-rate schedules |
//! | [`rewards`] | emission, its shares and how they are paid out |
//! | [`rewrite`] | changes of an architecture that keep the function of the model |
//! | [`round`] | phases of a round and their lengths |
//! | [`sketch`] | random projections that estimate the distance between training states |
//! | [`standing`] | a trainer's state between two leases |
//! | [`statistics`] | medians by stake |
//! | [`submission`] | commitments, reveals and their records |
//! | [`trace`] | hashes of training states and the Merkle tree above them |
//! | [`traits`] | interfaces between the pallets |
//!
//! # Example
//!
//! A trainer commits to the Merkle root over its training states. Anyone who knows that root can
//! check that a state belongs to the trace:
//!
//! ```
//! use pol_primitives::trace::{Carry, merkle_proof, merkle_root, merkle_verify, state_leaf};
//!
//! // Three training states, each named by the hash of its parameters and of its carry.
//! let carry = Carry::default().hash();
//! let leaves = [[1; 32], [2; 32], [3; 32]].map(|parameters| state_leaf(&parameters, &carry));
//! let root = merkle_root(&leaves);
//!
//! let proof = merkle_proof(&leaves, 1).expect("the trace has a leaf 1");
//! assert!(merkle_verify(&root, 3, 1, &leaves[1], &proof));
//! assert!(!merkle_verify(&root, 3, 2, &leaves[1], &proof));
//! ```
#![cfg_attr(not(feature = "std"), no_std)]
// Stricter than the workspace: the chain must neither panic nor overflow on hostile input.
#![cfg_attr(
    not(test),
    deny(clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

extern crate alloc;
#[cfg(test)]
extern crate self as pol_primitives;

pub mod audit;
pub mod beacon;
pub mod clock;
pub mod data;
pub mod election;
pub mod explanation;
pub mod head;
pub mod hex_hash;
pub mod inclusion;
pub mod lease;
pub mod lineage;
pub mod member;
pub mod metrics;
pub mod model;
pub mod payload;
pub mod places;
pub mod prf;
pub mod provider_draw;
pub mod queries;
pub mod recipe;
pub mod rewards;
pub mod rewrite;
pub mod round;
pub mod sketch;
pub mod standing;
pub mod statistics;
pub mod submission;
pub mod trace;
pub mod traits;
mod versioned;

pub use bounded_collections::{BoundedVec, ConstU32};

/// A 32-byte digest: BLAKE3 for content and training states, BLAKE2b-256 for everything that only
/// the chain hashes.
pub type Hash = [u8; 32];
/// Number of a round. Round 0 attests the initial model.
pub type RoundNumber = u32;
/// A ratio in parts per million.
pub type Ppm = u32;
/// The ratio 1 as [`Ppm`].
pub const MILLION: Ppm = 1_000_000;
/// An amount in the smallest unit of the token, which has 12 decimals.
pub type Balance = u128;
/// One POL in the smallest unit of the token.
pub const POL: Balance = 1_000_000_000_000;

/// Maximum number of submissions to one round.
pub const MAX_SUBMISSIONS: u32 = 64;
/// Maximum number of active validators.
pub const MAX_VALIDATORS: u32 = 1_000;
/// Maximum number of shards in one lease.
pub const MAX_LEASE_SHARDS: u32 = 64;
/// Maximum number of segments in one trace.
pub const MAX_SEGMENTS: u32 = 64;

/// Returns the BLAKE2b-256 digest of a domain followed by the SCALE encoding of `value`.
///
/// Different domains keep the digests of different objects apart even if their encodings are equal.
pub fn digest<T: codec::Encode + ?Sized>(domain: &[u8], value: &T) -> Hash {
    let mut bytes = alloc::vec::Vec::with_capacity(domain.len().saturating_add(value.size_hint()));
    bytes.extend_from_slice(domain);
    value.encode_to(&mut bytes);
    sp_crypto_hashing::blake2_256(&bytes)
}
