// SPDX-License-Identifier: Apache-2.0

//! Documents after the rules, on disk.

use super::supply::Position;
use crate::{CorpusError, DocumentRecord, RawDocument, RawStore, Refusal, error::IoContext};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// Thing that was read, beside its text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Item {
    /// A document.
    Document {
        /// Number that all pieces of the document have in common.
        group: u64,
        /// Record, as far as it is known.
        record: Box<DocumentRecord>,
    },
    /// Something that is no text.
    Refused(Refusal),
}

/// State of the first step.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cursor {
    #[serde(with = "pol_primitives::hex_hash")]
    request: Hash,
    position: Position,
    is_complete: bool,
}

/// Store of what was read, in order, with the place in the inputs that follows it.
pub(super) struct PreparedStore {
    store: RawStore,
    cursor: Cursor,
}

impl PreparedStore {
    /// Opens the store of a run. What another run left is removed.
    pub(super) fn open(folder: &Path, request: Hash) -> Result<Self, CorpusError> {
        let fresh = Cursor { request, position: Position::default(), is_complete: false };
        if folder.exists() {
            let store = RawStore::create_or_open(folder)?;
            let cursor: Cursor = serde_json::from_value(store.cursor().clone()).unwrap_or(fresh);
            if cursor.request == request && (!store.is_empty() || cursor.is_complete) {
                return Ok(Self { store, cursor });
            }
            drop(store);
            fs::remove_dir_all(folder).io_context("remove", folder)?;
        }
        Ok(Self { store: RawStore::create_or_open(folder)?, cursor: fresh })
    }

    pub(super) fn is_complete(&self) -> bool {
        self.cursor.is_complete
    }

    /// Returns the place in the inputs that follows what is stored.
    pub(super) fn position(&self) -> Position {
        self.cursor.position
    }

    /// Returns the number of things.
    pub(super) fn len(&self) -> u64 {
        self.store.len()
    }

    /// Returns the digest of what is stored, under the configuration `pipeline`.
    pub(super) fn identity(&self, pipeline: &Hash) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("pol-corpus 2026 prepared");
        hasher.update(pipeline).update(&self.cursor.request).update(&self.len().to_le_bytes());
        *hasher.finalize().as_bytes()
    }

    /// Appends a thing and its text.
    pub(super) fn append(&mut self, item: &Item, text: String) -> Result<(), CorpusError> {
        let described = serde_json::to_string(item).map_err(|error| {
            CorpusError::InvalidOption(format!("the record of a document is no JSON: {error}"))
        })?;
        let origin = crate::Origin::default();
        let bytes = text.into_bytes();
        self.store.append(&RawDocument { origin, media: Some(described), bytes })
    }

    /// Makes all that was appended durable. `position` follows it in the inputs.
    pub(super) fn commit(
        &mut self,
        position: Position,
        is_complete: bool,
    ) -> Result<(), CorpusError> {
        self.cursor = Cursor { position, is_complete, ..self.cursor };
        let cursor = serde_json::to_value(self.cursor).map_err(|error| {
            CorpusError::InvalidOption(format!("the place in the inputs is no JSON: {error}"))
        })?;
        self.store.commit(&cursor)
    }

    /// Returns all things with their numbers and texts, in order.
    pub(super) fn items(
        &self,
    ) -> impl Iterator<Item = Result<(u64, Item, String), CorpusError>> + use<> {
        self.store.documents().zip(0u64..).map(|(document, id)| {
            let RawDocument { media, bytes, .. } = document?;
            let damaged = |reason: String| {
                CorpusError::InvalidOption(format!(
                    "document {id} of the run's folder is damaged ({reason}); remove the folder"
                ))
            };
            let item = serde_json::from_str(&media.unwrap_or_default())
                .map_err(|error| damaged(error.to_string()))?;
            let text = String::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
            Ok((id, item, text))
        })
    }
}
