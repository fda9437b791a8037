// SPDX-License-Identifier: Apache-2.0

//! The folder in which a member keeps its state.
//!
//! ```text
//! BASE/lock                      held while a process uses the folder
//! BASE/chain                     hash of the first block of the chain that the folder belongs to
//! BASE/peer.key                  secret key of this machine in the swarm
//! BASE/swarm/                    blobs: models, payloads, shards
//! BASE/carry-*.state             optimiser state after a lease, by the hash of its carry
//! BASE/states/LEASE.json         journal of a lease until its update is settled, with a checksum
//! BASE/states/LEASE-LEAF.state   training state at a segment boundary of the lease
//! BASE/audits/AUDIT              evidence in an audit and its salt, with a checksum
//! ```
//!
//! `LEASE` and `AUDIT` are a [`LeaseKey`] and an [`AuditKey`]: a number, and the digest of what the
//! chain gave under that number. After a fork that gives something else, the work starts anew.
//!
//! Every file is replaced atomically, and a training state is on disk before the journal names it.
//! So a process may end at any moment and go on from its folder. A damaged journal or evidence is
//! set aside under a name that ends with `.damaged`, a damaged state is removed, and the work goes
//! on from what is sound.

mod error;
mod files;
mod folder;
mod journal;
mod key;
#[cfg(test)]
mod tests;

pub use error::StateError;
pub use folder::{NewestState, StateFolder};
pub use journal::Journal;
pub use key::{AuditKey, InvalidKey, LeaseKey};
