//! The learning protocol as plain types and pure functions.
//!
//! The chain, the trainers and the tests all call what is here, so nothing is computed by two
//! pieces of code. Nothing depends on FRAME, and nothing here computes in floating point: what the
//! chain decides, it decides in integers.
//!
//! | module | what it defines |
//! |---|---|
//! | [`recipe`] | everything needed to replay a training step, and the schedule of learning rates |
//! | [`model`] | the architecture every peer builds, and its canonical list of parameters |
//! | [`round`] | phases of a round and when they end |
//! | [`lease`] | which data a trainer gets and in which order it is read |
//! | [`trace`] | hashes of training states and the Merkle tree above them |
//! | [`payload`] | the compressed update, bit by bit |
//! | [`submission`] | commitments, reveals and what is kept of them |
//! | [`audit`] | who re-executes what, what they find and what follows |
//! | [`sketch`] | the same for replays that need not agree in every bit |
//! | [`head`] | the model's hash chain |
//! | [`metrics`] | what is measured of a model, and what follows from several measurements |
//! | [`hex_hash`] | hashes in JSON |
//! | [`data`] | sources, manifests and shards |
//! | [`peer`] | roles, and where a peer is reached |
//! | [`rewards`] | emission and its fixed shares |
//! | [`rewrite`] | changes of an architecture that keep what a model computes |
//! | [`traits`] | what the pallets know of each other |
//! | [`view`] | what the runtime tells a trainer |
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(missing_docs)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;

pub mod audit;
pub mod data;
pub mod head;
pub mod hex_hash;
pub mod lease;
pub mod metrics;
pub mod model;
pub mod payload;
pub mod peer;
pub mod prf;
pub mod recipe;
pub mod rewards;
pub mod rewrite;
pub mod round;
pub mod sketch;
pub mod submission;
pub mod trace;
pub mod traits;
pub mod view;

pub use bounded_collections::{BoundedVec, ConstU32};

/// A 32-byte digest: BLAKE3 for content and training states, BLAKE2b-256 for everything only the
/// chain hashes.
pub type Hash = [u8; 32];
/// A round's number; round zero attests the initial model.
pub type RoundNumber = u32;
/// Parts per million, the fixed point of ratios.
pub type Ppm = u32;
/// One, as [`Ppm`].
pub const MILLION: Ppm = 1_000_000;
/// Micro-units of the token: 12 decimals.
pub type Balance = u128;
/// One POL in its smallest unit.
pub const POL: Balance = 1_000_000_000_000;

/// Most submissions one round can include.
pub const MAX_SUBMISSIONS: u32 = 64;
/// Most shards one lease can hold.
pub const MAX_LEASE_SHARDS: u32 = 64;
/// Most segments a trace can have.
pub const MAX_SEGMENTS: u32 = 64;

/// BLAKE2b-256 of a domain and the SCALE encoding of `value`.
///
/// The domain keeps the digests of different objects apart even where their encodings agree.
pub fn digest<T: codec::Encode + ?Sized>(domain: &[u8], value: &T) -> Hash {
    let mut bytes = alloc::vec::Vec::with_capacity(domain.len().saturating_add(value.size_hint()));
    bytes.extend_from_slice(domain);
    value.encode_to(&mut bytes);
    sp_crypto_hashing::blake2_256(&bytes)
}
