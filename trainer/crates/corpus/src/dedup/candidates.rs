// SPDX-License-Identifier: Apache-2.0

//! Candidates of near-duplicate detection, and the sets that the verified ones form.

use super::{
    config::DedupConfig,
    signature::{Layout, Likeness},
    signature_file::SignatureFile,
    sort::ExternalSort,
    table::{Table, TableWriter},
    union_find::UnionFind,
};
use crate::error::CorpusError;
use pol_primitives::{Hash, Ppm};
use std::{collections::VecDeque, path::Path};

/// Bytes before the signature in a record of a document: its number, group, and quality.
pub(super) const PREFIX: usize = 20;
/// Number of earlier documents with the same key that a document is compared with, beside the
/// first. The sum over all documents stays linear however many are alike.
const WINDOW: usize = 4;
/// Number of signature files that are open at a time. A network may have more than a process may
/// open.
const OPEN_FILES: usize = 128;

/// All documents of a search: the own ones, and then those of others.
pub(super) struct Documents {
    own: Table,
    own_len: u32,
    len: u32,
    foreign: Vec<SignatureFile>,
    /// Index behind the last document of each foreign file.
    ends: Vec<u32>,
    /// Foreign files that are open, the one opened first in front.
    open: VecDeque<usize>,
    layout: Layout,
    similarity: Ppm,
}

impl Documents {
    pub(super) fn open(
        own: &Path,
        foreign: Vec<SignatureFile>,
        layout: Layout,
        similarity: Ppm,
    ) -> Result<Self, CorpusError> {
        let own = Table::open(own, [0, 0], PREFIX + layout.width(), 1)?;
        let own_len = u32::try_from(own.len()).map_err(|_| too_many())?;
        let (mut len, mut ends) = (own_len, Vec::with_capacity(foreign.len()));
        for file in &foreign {
            let documents = u32::try_from(file.documents()).map_err(|_| too_many())?;
            len = len.checked_add(documents).ok_or_else(too_many)?;
            ends.push(len);
        }
        let open = VecDeque::new();
        Ok(Self { own, own_len, len, foreign, ends, open, layout, similarity })
    }

    /// Returns the number of own documents. Their indices come first.
    pub(super) fn own_len(&self) -> u32 {
        self.own_len
    }

    /// Returns the number of all documents.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Returns the record of an own document, or `None` for a foreign one.
    pub(super) fn own(&mut self, index: u32) -> Result<Option<&[u8]>, CorpusError> {
        if index < self.own_len { self.own.record(index.into()).map(Some) } else { Ok(None) }
    }

    /// Returns the signature of a document.
    pub(super) fn signature(&mut self, index: u32) -> Result<&[u8], CorpusError> {
        if index < self.own_len {
            return Ok(&self.own.record(index.into())?[PREFIX..]);
        }
        let number = self.file_of(index);
        let start = number.checked_sub(1).and_then(|before| self.ends.get(before).copied());
        let start = start.unwrap_or(self.own_len);
        if !self.foreign.get(number).ok_or_else(too_many)?.is_open() {
            if self.open.len() >= OPEN_FILES
                && let Some(file) =
                    self.open.pop_front().and_then(|first| self.foreign.get_mut(first))
            {
                file.close();
            }
            self.open.push_back(number);
        }
        self.foreign.get_mut(number).ok_or_else(too_many)?.signature((index - start).into())
    }

    /// Returns the manifest that a document is in, if it is a foreign one whose file names it.
    pub(super) fn manifest(&self, index: u32) -> Option<Hash> {
        let is_foreign = index >= self.own_len;
        self.foreign.get(self.file_of(index)).filter(|_| is_foreign)?.manifest()
    }

    /// Returns the number of the file that a foreign document is in.
    fn file_of(&self, index: u32) -> usize {
        self.ends.partition_point(|end| *end <= index)
    }

    /// Returns the function that tells the likeness of two signatures if their documents are
    /// duplicates.
    pub(super) fn likeness(&self) -> impl Fn(&[u8], &[u8]) -> Option<Likeness> + use<> {
        let (layout, similarity) = (self.layout, self.similarity);
        move |a, b| layout.likeness(a, b, similarity)
    }
}

/// Writes all pairs of documents that share a key, without two foreign ones, in order.
pub(super) fn write_pairs(
    documents: &mut Documents,
    folder: &Path,
    config: &DedupConfig,
    pairs: &mut TableWriter,
) -> Result<(), CorpusError> {
    let memory = config.memory() / 2;
    let mut keys = ExternalSort::<9>::new(folder, memory);
    let layout = documents.layout;
    for index in 0..documents.len() {
        for key in layout.keys(documents.signature(index)?) {
            let mut record = [0; 9];
            record[..5].copy_from_slice(&key);
            record[5..].copy_from_slice(&index.to_be_bytes());
            keys.push(record)?;
        }
    }
    let mut found = ExternalSort::<8>::new(folder, memory);
    let (mut current, mut bucket) = ([0; 5], Vec::new());
    for record in keys.finish()? {
        let record = record?;
        let ([key @ .., _, _, _, _], index) = (record, number(&record[5..]));
        if key != current {
            current = key;
            bucket.clear();
        }
        for other in bucket.iter().filter(|other| **other < documents.own_len()) {
            found.push(join([*other, index]))?;
        }
        if bucket.len() > WINDOW {
            bucket.remove(1);
        }
        bucket.push(index);
    }
    let mut last = None;
    for pair in found.finish()? {
        let pair = pair?;
        if last.replace(pair) != Some(pair) {
            pairs.write(&pair)?;
        }
    }
    Ok(())
}

/// Writes for each document the smallest one of its set. Sets are connected by pairs of duplicates.
pub(super) fn write_sets(
    documents: &mut Documents,
    pairs: &Path,
    writer: &mut TableWriter,
) -> Result<(), CorpusError> {
    let mut pairs = Table::open(pairs, [0, 0], 8, 1 << 13)?;
    let mut sets = UnionFind::new(documents.len());
    let (mut held, mut signature) = (None, Vec::new());
    let likeness = documents.likeness();
    for pair in 0..pairs.len() {
        let pair = pairs.record(pair)?;
        let (a, b) = (number(pair), number(&pair[4..]));
        if sets.find(a) == sets.find(b) {
            continue;
        }
        // Pairs are sorted, so the first of them changes seldom.
        if held != Some(a) {
            signature.clear();
            signature.extend(documents.signature(a)?);
            held = Some(a);
        }
        if likeness(&signature, documents.signature(b)?).is_some() {
            sets.union(a, b);
        }
    }
    (0..documents.len()).try_for_each(|index| writer.write(&sets.find(index).to_be_bytes()))
}

/// Reads what [`write_sets`] wrote.
pub(super) fn read_sets(path: &Path, documents: &Documents) -> Result<UnionFind, CorpusError> {
    let mut table = Table::open(path, [0, 0], 4, 1 << 14)?;
    let mut parents = Vec::with_capacity(documents.len() as usize);
    for index in 0..documents.len() {
        let parent = if table.len() == u64::from(documents.len()) {
            number(table.record(index.into())?)
        } else {
            u32::MAX
        };
        if parent > index {
            return Err(CorpusError::Damaged {
                path: path.to_owned(),
                reason: "its sets are not those of the documents; delete it".into(),
            });
        }
        parents.push(parent);
    }
    Ok(UnionFind::from_parents(parents))
}

/// Returns the number in the first four bytes of a record.
pub(super) fn number(record: &[u8]) -> u32 {
    record.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// Returns the record of two numbers.
pub(super) fn join([a, b]: [u32; 2]) -> [u8; 8] {
    (u64::from(a) << 32 | u64::from(b)).to_be_bytes()
}

/// Returns the error for more documents than indices.
pub(super) fn too_many() -> CorpusError {
    CorpusError::InvalidOption(
        "more than 4 billion documents are deduplicated at once; split the input".into(),
    )
}
