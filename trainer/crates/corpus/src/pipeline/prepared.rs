// SPDX-License-Identifier: Apache-2.0

//! Documents after the rules, on disk.

use super::supply::Position;
use crate::{
    CorpusError, DocumentRecord, Refusal,
    error::IoContext,
    store::{Store, Stored},
};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{fs, iter, panic::resume_unwind, path::Path, sync::mpsc::sync_channel, thread};

/// Things that are read ahead of the step that asks for them. Each has a megabyte of text at most.
const THINGS_AHEAD: usize = 32;

/// Thing that was read, beside its text.
#[derive(Clone, Debug, Serialize)]
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

/// Thing with its text.
pub(super) struct Prepared {
    pub(super) item: Item,
    pub(super) text: String,
}

/// Either part of an [`Item`], as it is read.
#[derive(Deserialize)]
pub(super) struct PreparedHeader {
    #[serde(default)]
    document: Option<DocumentHeader>,
    #[serde(default)]
    refused: Option<Refusal>,
    bytes: u64,
}

#[derive(Deserialize)]
struct DocumentHeader {
    group: u64,
    record: Box<DocumentRecord>,
}

impl Stored for Prepared {
    type Header = PreparedHeader;

    fn parts(&self) -> (impl Serialize, &[u8]) {
        (&self.item, self.text.as_bytes())
    }

    fn length(header: &PreparedHeader) -> u64 {
        header.bytes
    }

    fn from_parts(header: PreparedHeader, bytes: Vec<u8>) -> Result<Self, String> {
        let item = match (header.document, header.refused) {
            (Some(DocumentHeader { group, record }), None) => Item::Document { group, record },
            (None, Some(refusal)) => Item::Refused(refusal),
            _ => return Err("it describes neither a document nor a refusal".into()),
        };
        let text = String::from_utf8(bytes).map_err(|error| error.to_string())?;
        Ok(Self { item, text })
    }
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
    store: Store<Prepared>,
    cursor: Cursor,
}

impl PreparedStore {
    /// Opens the store of a run. What another run left is removed.
    pub(super) fn open(folder: &Path, request: Hash) -> Result<Self, CorpusError> {
        let fresh = Cursor { request, position: Position::default(), is_complete: false };
        if folder.exists() {
            let store = Store::create_or_open(folder)?;
            let cursor: Cursor = serde_json::from_value(store.cursor().clone()).unwrap_or(fresh);
            if cursor.request == request && (!store.is_empty() || cursor.is_complete) {
                return Ok(Self { store, cursor });
            }
            drop(store);
            fs::remove_dir_all(folder).io_context("remove", folder)?;
        }
        Ok(Self { store: Store::create_or_open(folder)?, cursor: fresh })
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

    /// Appends a thing.
    pub(super) fn append(&mut self, thing: &Prepared) -> Result<(), CorpusError> {
        self.store.append(thing)
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

    /// Returns all things with their numbers and texts, in order. Another thread reads and unpacks
    /// ahead of the caller.
    pub(super) fn items(
        &self,
    ) -> impl Iterator<Item = Result<(u64, Item, String), CorpusError>> + use<> {
        let (sender, receiver) = sync_channel(THINGS_AHEAD);
        let mut things = self.store.documents();
        // Sending fails once the caller has dropped the iterator.
        let reader = thread::spawn(move || things.all(|thing| sender.send(thing).is_ok()));
        let mut reader = Some(reader);
        let things = iter::from_fn(move || {
            receiver.recv().ok().or_else(|| {
                // An end by a panic is no end of the store.
                reader.take()?.join().unwrap_or_else(|panic| resume_unwind(panic));
                None
            })
        });
        things.zip(0u64..).map(|(thing, id)| {
            let Prepared { item, text } = thing?;
            Ok((id, item, text))
        })
    }
}
