// SPDX-License-Identifier: Apache-2.0

//! Record of an ingestion.

use crate::{
    ManifestSummary, RECORD_FILE, documents::LineageRecord, end_of_text::END_OF_TEXT,
    error::DataError,
};
use pol_primitives::{Hash, Ppm};
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// Record of an ingestion, stored as `ingest.json` with hashes in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngestRecord {
    /// Digest of the inputs and options.
    #[serde(with = "pol_primitives::hex_hash")]
    pub request: Hash,
    /// BLAKE3 of `tokenizer.json`.
    #[serde(with = "pol_primitives::hex_hash")]
    pub tokenizer: Hash,
    /// Entries of the vocabulary.
    pub vocabulary: u32,
    /// Token between texts.
    #[serde(default = "default_end_of_text")]
    pub end_of_text: String,
    /// Tokens of a training sequence.
    pub sequence: u16,
    /// Tokens that each shard trains on.
    pub shard_tokens: u32,
    /// Training manifest.
    pub train: ManifestSummary,
    /// Held-out manifest, without shards if nothing was held out.
    pub held_out: ManifestSummary,
    /// Number of documents that remain, where the pieces of a long one count as one.
    pub documents: u64,
    /// Number of documents that rules dropped, or that are like others.
    #[serde(default)]
    pub dropped: u64,
    /// Number of things in the inputs that are no text.
    #[serde(default)]
    pub refused: u64,
    /// Bytes of clean text.
    pub bytes: u64,
    /// Number of byte sequences that could not be decoded.
    pub invalid: u64,
    /// Tokens of the text, including those that filled no shard.
    pub tokens: u64,
    /// Mean quality of the documents that remain, weighted by their length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Ppm>,
    /// Making of the text, and its documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<LineageRecord>,
}

/// Returns the separator of records that name none.
fn default_end_of_text() -> String {
    END_OF_TEXT.into()
}

impl IngestRecord {
    /// Returns the making of the text. A folder whose record has none was collected by this
    /// program, and has no records of documents.
    pub fn lineage(&self) -> LineageRecord {
        self.lineage.clone().unwrap_or_else(|| LineageRecord::of_request(self.request))
    }

    /// Reads the record in an ingestion's folder.
    ///
    /// # Errors
    ///
    /// Fails if the folder has no readable record.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(RECORD_FILE);
        let unreadable =
            |reason: String| DataError::InvalidRecord { path: folder.to_owned(), reason };
        let json = fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
        serde_json::from_slice(&json).map_err(|error| unreadable(error.to_string()))
    }
}
