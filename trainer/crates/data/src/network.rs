// SPDX-License-Identifier: Apache-2.0

//! Signatures of the documents of all manifests of a network.
//!
//! A provider compares its documents with those of others by their signatures. Nobody is trusted
//! for these: the chain names a manifest by the hash of its body, the body names the shards, and
//! the signatures are made of the texts in the shards. So everybody who makes them gets the same
//! bytes.
//!
//! ```text
//! 0000000003-HASH.signatures   signatures of manifest 3, whose body has this BLAKE3
//! 0000000003-HASH.partial      the first of them, while shards are missing
//! 0000000003-HASH.json         the place to go on at, or the reason why there are none
//! lock                         the chain, locked while a process writes
//! ```
//!
//! [`SignatureFolder`] is such a folder. The order of its names is that of the registrations, in
//! which the documents of the manifests survive.

mod folder;
mod texts;
mod update;

pub use folder::{ManifestKey, SignatureFolder, signature_files};
pub use texts::texts_of_tokens;
pub use update::{Fetched, ListedManifest, SkippedManifest, UpdateOptions, UpdateReport};

#[cfg(test)]
mod tests;
