// SPDX-License-Identifier: Apache-2.0

//! Records of documents: written beside shards, found again, and proved.
//!
//! ```text
//! documents.zst       the records in order, a line of JSON each, in frames that zstd can join
//! documents/raw       rows sorted by the hash of the raw document: the leaves of the tree
//! documents/text      rows sorted by the hash of the clean text
//! documents/place     rows sorted by the place of the tokens in the shards
//! documents/tree      nodes of the tree, level by level
//! ```
//!
//! The chain registers the root of the tree and the number of its leaves
//! ([`Documents`](pol_primitives::lineage::Documents)). The tables and the tree follow from the
//! records, so anybody who has `documents.zst` can compute the root.
//!
//! - [`DocumentWriter`] writes the records of an ingestion, in bounded memory.
//! - [`DocumentIndex`] finds records and makes proofs.
//! - [`DocumentProof`] is a proof in JSON: it shows to somebody who knows no more than what the
//!   chain says about a manifest that a document is in its shards, or is not.
//! - [`croissant`] describes manifests and sources in the Croissant format.

pub mod croissant;
mod index;
mod lineage;
mod proof;
mod record;
mod search;
mod table;
mod tree;
mod writer;

pub use index::{DocumentIndex, DocumentQuery, Records};
pub use lineage::LineageRecord;
pub use proof::{DocumentProof, MAX_PROOF_BYTES, MAX_PROVEN_SHARDS, Presence};
pub use record::{MAX_RECORD_BYTES, encode_record, parse_record};
pub use search::{Texts, search};
pub use writer::DocumentWriter;

/// File name of the records, in an ingestion's folder.
pub const RECORDS_FILE: &str = "documents.zst";
/// Folder of the tables and the tree, in an ingestion's folder.
pub const INDEX_FOLDER: &str = "documents";
