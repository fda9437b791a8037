// SPDX-License-Identifier: Apache-2.0

//! Duplicates within a corpus and across corpora, and the split that keeps them on one side.
//!
//! A [`Deduplicator`] finds documents that are equal or nearly so, by MinHash and
//! locality-sensitive hashing (Broder, 1997; Indyk and Motwani, 1998) as the corpora FineWeb
//! (arXiv 2406.17557) and Dolma do. [`RepeatFinder`] finds passages that documents share (Lee et
//! al., arXiv 2107.06499), and [`Decontaminator`] documents that share a passage with text that
//! nobody may train on. [`HeldOut`] splits by cluster.
//!
//! All of it works on integers, with seeds, and sorts on disk: the same documents give the same
//! bytes for any budget of memory and any number of threads.

mod candidates;
mod clusters;
mod config;
mod decontamination;
mod deduplicator;
mod repeats;
mod shared_runs;
mod signature;
mod signature_file;
mod sort;
mod split;
mod survivors;
mod table;
mod union_find;
mod units;
mod words;

pub use clusters::{Clusters, Duplicate, Membership};
pub use config::DedupConfig;
pub use decontamination::{
    Contamination, DecontaminationConfig, Decontaminator, DecontaminatorBuilder, Reference,
};
pub use deduplicator::{Deduplicator, Entry};
pub use repeats::{RepeatConfig, RepeatFinder, Repeats, cut};
pub use shared_runs::SharedRuns;
pub use signature::{Signature, Signer};
pub use signature_file::{ManifestSignatureWriter, SignatureFile};
pub use sort::{ExternalSort, Sorted};
pub use split::{HeldOut, draw};
