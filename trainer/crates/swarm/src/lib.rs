// SPDX-License-Identifier: Apache-2.0

//! Content-addressed blobs that peers exchange directly.
//!
//! A blob is named by the BLAKE3 hash of its bytes, so a peer cannot serve anything else under that
//! name: every 16 KiB are verified as they arrive. Peers are found only through the endpoints
//! registered on chain: no relay, discovery service or other server of a third party is contacted.
//! Connections are QUIC, authenticated by the Ed25519 key of the registration.
//!
//! A peer serves every complete blob in its store to anyone who knows the hash. Labels decide which
//! blobs it keeps: a blob stays while a label holds it, and is collected some minutes after the
//! last label is released.
//!
//! # Main types
//!
//! - [`Swarm`] is a peer with its store: [`Swarm::start`], [`Swarm::add`], [`Swarm::fetch`],
//!   [`Swarm::hold`], [`Swarm::release`], [`Swarm::shutdown`].
//! - [`BlobReader`] reads a blob piece by piece, and [`FileBlob`] is a part of a file that becomes
//!   one, so that large blobs need not be in memory.
//! - [`SwarmConfig`] says where it keeps blobs and where it listens.
//! - [`SwarmError`] names the remedy in its messages; [`PeerFailures`] lists the failure of each
//!   peer that was asked for a blob.
//!
//! The workspace's terms are explained in `docs/glossary.md`.
//!
//! # Example
//!
//! Two peers in one process; `examples/two_peers.rs` is the same as a program.
//!
//! ```
//! use pol_swarm::{Swarm, SwarmConfig};
//! use std::time::{Duration, Instant};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let config = |name: &str, secret: u8| SwarmConfig {
//!     directory: folder.path().join(name),
//!     secret: [secret; 32],
//!     bind: ([127, 0, 0, 1], 0).into(),
//!     advertise: Vec::new(),
//! };
//! let alice = Swarm::start(config("alice", 1)).await?;
//! let bob = Swarm::start(config("bob", 2)).await?;
//!
//! let soon = Instant::now() + Duration::from_secs(10);
//! let hash = alice.add("an update".into(), "round/1").await?;
//! let bytes = bob.fetch(hash, 1024, &[alice.endpoint()], "round/1", soon).await?;
//! assert_eq!(bytes, "an update");
//!
//! bob.release("round/1").await?;
//! alice.shutdown().await?;
//! bob.shutdown().await?;
//! # Ok(())
//! # }
//! ```

mod blob_reader;
mod demand;
mod download;
mod endpoint;
mod error;
mod fetch;
mod file_blob;
mod limits;
mod pace;
mod peers;
mod progress;
mod serve;
mod slots;
mod store;
mod swarm;
#[cfg(test)]
mod tests;
mod turns;

pub use blob_reader::BlobReader;
pub use bytes::Bytes;
pub use error::{PeerFailure, PeerFailures, Result, SwarmError};
pub use file_blob::FileBlob;
pub use swarm::{Swarm, SwarmConfig};
