// SPDX-License-Identifier: Apache-2.0

//! Documents after the rules, on disk.

use super::supply::Position;
use crate::{
    CorpusError, Decision, DocumentRecord, Origin, Refusal, Tool,
    error::IoContext,
    store::{Store, Stored},
};
use pol_primitives::{Hash, Ppm, lineage::MAX_DOCUMENTS};
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow, fs, iter, panic::resume_unwind, path::Path, sync::mpsc::sync_channel, thread,
};

/// Things that are handed on at a time, at most: threads that wake each other for every one take
/// longer than reading it.
const BATCH_THINGS: usize = 256;
/// Bytes of text after which no more are added to a batch.
const BATCH_BYTES: usize = 1 << 20;
/// Batches that are read ahead of the step that asks for them.
const BATCHES_AHEAD: usize = 2;

/// Thing that was read, beside its text.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A document.
    Document {
        /// Number that all pieces of the document have in common.
        group: u64,
        /// Record, as far as it is known: without a survivor and a place.
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

/// Record as it is stored. Decisions are most of it, so they are written without names of fields.
#[derive(Serialize, Deserialize)]
struct Row<'a> {
    group: u64,
    origin: Cow<'a, Origin>,
    #[serde(with = "pol_primitives::hex_hash")]
    raw: Hash,
    piece: u32,
    extractor: Cow<'a, Tool>,
    invalid: u64,
    #[serde(with = "pol_primitives::hex_hash")]
    text: Hash,
    bytes: u64,
    language: Option<Cow<'a, str>>,
    quality: Option<Ppm>,
    #[serde(with = "decisions")]
    decisions: Cow<'a, [Decision]>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "pol_primitives::hex_hash::option"
    )]
    reference: Option<Hash>,
}

mod decisions {
    use crate::{Decision, Verdict, filters::rule_name};
    use serde::{Deserialize, Deserializer, Serializer};
    use std::borrow::Cow;

    #[derive(Deserialize)]
    struct Row(#[serde(deserialize_with = "rule_name")] Cow<'static, str>, Verdict, Option<u64>);

    pub(super) fn serialize<S: Serializer>(
        decisions: &[Decision],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            decisions.iter().map(|decision| (&decision.rule, decision.verdict, decision.measured)),
        )
    }

    pub(super) fn deserialize<'de, 'a, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Cow<'a, [Decision]>, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?.into_iter();
        Ok(rows.map(|Row(rule, verdict, measured)| Decision { rule, verdict, measured }).collect())
    }
}

impl<'a> Row<'a> {
    fn of(group: u64, record: &'a DocumentRecord) -> Self {
        Self {
            group,
            origin: Cow::Borrowed(&record.origin),
            raw: record.raw,
            piece: record.piece,
            extractor: Cow::Borrowed(&record.extractor),
            invalid: record.invalid,
            text: record.text,
            bytes: record.bytes,
            language: record.language.as_deref().map(Cow::Borrowed),
            quality: record.quality,
            decisions: Cow::Borrowed(&record.decisions),
            reference: record.reference,
        }
    }

    fn into_item(self) -> Item {
        let record = DocumentRecord {
            origin: self.origin.into_owned(),
            raw: self.raw,
            piece: self.piece,
            extractor: self.extractor.into_owned(),
            invalid: self.invalid,
            text: self.text,
            bytes: self.bytes,
            language: self.language.map(Cow::into_owned),
            quality: self.quality,
            decisions: self.decisions.into_owned(),
            cluster: None,
            survivor: None,
            survivor_manifest: None,
            reference: self.reference,
            place: None,
        };
        Item::Document { group: self.group, record: Box::new(record) }
    }
}

/// Description of an [`Item`], as it is written.
#[derive(Serialize)]
struct Description<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<Row<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<&'a Refusal>,
}

/// Description of an [`Item`], as it is read.
#[derive(Deserialize)]
pub(super) struct PreparedHeader {
    #[serde(default)]
    document: Option<Row<'static>>,
    #[serde(default)]
    refused: Option<Refusal>,
    bytes: u64,
}

impl Stored for Prepared {
    type Header = PreparedHeader;

    fn parts(&self) -> (impl Serialize, &[u8]) {
        let description = match &self.item {
            Item::Document { group, record } => {
                Description { document: Some(Row::of(*group, record)), refused: None }
            }
            Item::Refused(refusal) => Description { document: None, refused: Some(refusal) },
        };
        (description, self.text.as_bytes())
    }

    fn length(header: &PreparedHeader) -> u64 {
        header.bytes
    }

    fn from_parts(header: PreparedHeader, bytes: Vec<u8>) -> Result<Self, String> {
        let item = match (header.document, header.refused) {
            (Some(row), None) => row.into_item(),
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
    /// Number of documents. Stores of earlier versions do not name it.
    #[serde(default)]
    documents: u64,
}

/// Store of what was read, in order, with the place in the inputs that follows it.
pub(super) struct PreparedStore {
    store: Store<Prepared>,
    cursor: Cursor,
    max_documents: u64,
}

impl PreparedStore {
    /// Opens the store of a run. What another run left is removed.
    pub(super) fn open(folder: &Path, request: Hash) -> Result<Self, CorpusError> {
        let max_documents = MAX_DOCUMENTS.into();
        let position = Position::default();
        let fresh = Cursor { request, position, is_complete: false, documents: 0 };
        if folder.exists() {
            let store = Store::create_or_open(folder)?;
            let cursor = serde_json::from_value::<Cursor>(store.cursor().clone());
            if let Ok(cursor) = cursor
                && cursor.request == request
                && (!store.is_empty() || cursor.is_complete)
            {
                return Ok(Self { store, cursor, max_documents });
            }
            drop(store);
            fs::remove_dir_all(folder).io_context("remove", folder)?;
        }
        Ok(Self { store: Store::create_or_open(folder)?, cursor: fresh, max_documents })
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
        if matches!(thing.item, Item::Document { .. }) {
            self.cursor.documents += 1;
        }
        // Said here, since all that follows would be in vain.
        if self.cursor.documents > self.max_documents {
            return Err(CorpusError::TooManyDocuments);
        }
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
        let (sender, receiver) = sync_channel(BATCHES_AHEAD);
        let mut things = self.store.documents();
        let reader = thread::spawn(move || {
            loop {
                let batch = next_batch(&mut things);
                // Sending fails once the caller has dropped the iterator.
                if batch.is_empty() || sender.send(batch).is_err() {
                    return;
                }
            }
        });
        let mut reader = Some(reader);
        let batches = iter::from_fn(move || {
            receiver.recv().ok().or_else(|| {
                // An end by a panic is no end of the store.
                reader.take()?.join().unwrap_or_else(|panic| resume_unwind(panic));
                None
            })
        });
        batches.flatten().zip(0u64..).map(|(thing, id)| {
            let Prepared { item, text } = thing?;
            Ok((id, item, text))
        })
    }
}

type Batch = Vec<Result<Prepared, CorpusError>>;

/// Takes some things, or none at the end.
fn next_batch(things: &mut impl Iterator<Item = Result<Prepared, CorpusError>>) -> Batch {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while bytes < BATCH_BYTES && batch.len() < BATCH_THINGS {
        let Some(thing) = things.next() else { break };
        bytes += thing.as_ref().map_or(0, |thing| thing.text.len());
        batch.push(thing);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use proptest::prelude::*;

    fn record(
        rules: Vec<(String, Option<u64>)>,
        language: Option<String>,
        quality: Option<Ppm>,
    ) -> DocumentRecord {
        let verdicts = [Verdict::Passed, Verdict::Changed, Verdict::Dropped].into_iter().cycle();
        let decide = |((rule, measured), verdict): ((String, _), _)| Decision {
            rule: rule.into(),
            verdict,
            measured,
        };
        DocumentRecord {
            origin: Origin { source: "files".into(), part: vec!["1".into()], ..Origin::default() },
            raw: [1; 32],
            piece: 3,
            extractor: Tool { name: "text".into(), version: "1".into() },
            invalid: 4,
            text: [2; 32],
            bytes: 5,
            language,
            quality,
            decisions: rules.into_iter().zip(verdicts).map(decide).collect(),
            cluster: None,
            survivor: None,
            survivor_manifest: None,
            reference: quality.map(|_| [7; 32]),
            place: None,
        }
    }

    #[test]
    fn more_documents_than_a_tree_holds_are_refused_while_they_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let mut store = PreparedStore::open(&folder.path().join("store"), [0; 32]).unwrap();
            assert_eq!(store.max_documents, 1 << 24);
            store.max_documents = 4;
            store
        };
        let document = || Item::Document { group: 0, record: Box::new(record(vec![], None, None)) };
        let refused = || Item::Refused(Refusal { origin: Origin::default(), reason: "x".into() });
        let append =
            |store: &mut PreparedStore, item| store.append(&Prepared { item, text: String::new() });
        let mut store = open();
        for item in [document(), refused(), document(), refused(), document()] {
            append(&mut store, item).unwrap();
        }
        store.commit(Position::default(), false).unwrap();
        // A run that is killed loses what it appended since, and counts on from there.
        append(&mut store, document()).unwrap();
        drop(store);
        let mut store = open();
        append(&mut store, document()).unwrap();
        append(&mut store, refused()).unwrap();
        let error = append(&mut store, document()).unwrap_err();
        assert!(matches!(error, CorpusError::TooManyDocuments));
        assert!(error.to_string().contains("more than 16777216 documents"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn things_come_back_in_order(
            rules in prop::collection::vec((".*", any::<Option<u64>>()), 0..4),
            language: Option<String>,
            quality: Option<u32>,
            things in 0..600u64,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut store = PreparedStore::open(&folder.path().join("store"), [0; 32]).unwrap();
            let record = record(rules, language, quality);
            for group in 0..things {
                let item = if group % 5 == 4 {
                    Item::Refused(Refusal { origin: Origin::default(), reason: group.to_string() })
                } else {
                    Item::Document { group, record: Box::new(record.clone()) }
                };
                store.append(&Prepared { item, text: format!("text {group}") }).unwrap();
            }
            store.commit(Position::default(), true).unwrap();
            let mut number = 0;
            for found in store.items() {
                let (id, item, text) = found.unwrap();
                prop_assert_eq!((id, text), (number, format!("text {number}")));
                match item {
                    Item::Document { group, record: found } => {
                        prop_assert_eq!((group, &*found), (number, &record));
                    }
                    Item::Refused(refusal) => {
                        prop_assert_eq!(refusal.reason, number.to_string());
                    }
                }
                number += 1;
            }
            prop_assert_eq!(number, things);
        }
    }
}
