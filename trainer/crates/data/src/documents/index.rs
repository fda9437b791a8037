// SPDX-License-Identifier: Apache-2.0

//! Records that are found again, and proved.

mod verify;

use super::{
    DocumentProof, DocumentWriter, INDEX_FOLDER, RECORDS_FILE, parse_record,
    proof::{OpenedShard, shards_of},
    table::Table,
    tree::{MemoryTree, TreeFile},
    writer::{
        Locator, PLACE_FILE, PLACE_ROW, RAW_FILE, RAW_ROW, TEXT_FILE, TEXT_ROW, TREE_FILE,
        leaf_of_row, side_number,
    },
};
use crate::{DataError, HELD_OUT, ShardFolder, TRAIN, body_hashes, error::IoContext};
use pol_corpus::{DocumentRecord, Side};
use pol_primitives::{
    Hash,
    lineage::{Documents, LeavesProof, MAX_COPIES, MAX_DOCUMENTS, OpenedLeaf},
};
use std::{
    fs::File,
    io::{BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

/// Largest frame of records: a full one and another record.
const MAX_FRAME_BYTES: u64 = 1 << 20;

/// Way to name documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentQuery {
    /// BLAKE3 of the raw document.
    Raw(Hash),
    /// BLAKE3 of the clean text.
    Text(Hash),
    /// Position in the stream of tokens of a manifest: `shard · shard_tokens + place in the shard`.
    Position {
        /// Side of the split, which is a manifest of its own.
        side: Side,
        /// Number of tokens before it.
        token: u64,
    },
}

/// Records of the documents of an ingested folder.
#[derive(Debug)]
pub struct DocumentIndex {
    folder: PathBuf,
    documents: Documents,
    raw: Table<RAW_ROW>,
    text: Table<TEXT_ROW>,
    place: Table<PLACE_ROW>,
    tree: TreeFile,
}

impl DocumentIndex {
    /// Opens the index in an ingested folder.
    ///
    /// # Errors
    ///
    /// Fails if a file of it cannot be read, or if they do not fit each other.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let index = folder.join(INDEX_FOLDER);
        let raw = Table::open(index.join(RAW_FILE))?;
        let text = Table::open(index.join(TEXT_FILE))?;
        let place = Table::open(index.join(PLACE_FILE))?;
        let count = u32::try_from(raw.len()).ok().filter(|count| *count <= MAX_DOCUMENTS);
        let Some(count) = count.filter(|_| text.len() == raw.len() && place.len() <= raw.len())
        else {
            let reason = "its tables have different lengths".to_owned();
            return Err(DataError::Damaged { path: index, reason });
        };
        let tree = TreeFile::open(index.join(TREE_FILE), count)?;
        let documents = Documents { root: tree.root(), count };
        Ok(Self { folder: folder.to_owned(), documents, raw, text, place, tree })
    }

    /// Computes the index anew from the records in `from`, such as those of a peer, and writes both
    /// into the folder `to`.
    ///
    /// # Errors
    ///
    /// Fails as reading and writing do.
    pub fn rebuild(from: &Path, to: &Path) -> Result<Documents, DataError> {
        let mut writer = DocumentWriter::create(to)?;
        for record in Records::open(from)? {
            writer.add(&record?)?;
        }
        writer.finish()
    }

    /// Returns the tree over the records, as the chain registers it.
    pub fn documents(&self) -> Documents {
        self.documents
    }

    /// Returns all records in order.
    ///
    /// # Errors
    ///
    /// Fails if the file of records cannot be opened.
    pub fn records(&self) -> Result<Records, DataError> {
        Records::open(&self.folder.join(RECORDS_FILE))
    }

    /// Returns up to [`MAX_COPIES`] records of a document, in an order that only they decide.
    ///
    /// # Errors
    ///
    /// Fails if the files cannot be read, or are damaged.
    pub fn find(&self, query: &DocumentQuery) -> Result<Vec<DocumentRecord>, DataError> {
        match query {
            DocumentQuery::Raw(hash) => self.find_hash(&self.raw, hash),
            DocumentQuery::Text(hash) => self.find_hash(&self.text, hash),
            DocumentQuery::Position { side, token } => self.find_position(*side, *token),
        }
    }

    fn find_hash<const N: usize>(
        &self,
        table: &Table<N>,
        hash: &Hash,
    ) -> Result<Vec<DocumentRecord>, DataError> {
        let first = table.partition(|row| row[..] < hash[..])?;
        let mut records = Vec::new();
        for index in (first..table.len()).take(MAX_COPIES as usize) {
            let row = table.row(index)?;
            if !row.starts_with(hash) {
                break;
            }
            records.push(self.record(Locator::of_row(&row))?);
        }
        Ok(records)
    }

    fn find_position(&self, side: Side, token: u64) -> Result<Vec<DocumentRecord>, DataError> {
        let sought = [&[side_number(side)][..], &token.to_be_bytes()].concat();
        let end = self.place.partition(|row| row.get(..sought.len()) <= Some(&sought[..]))?;
        let Some(before) = end.checked_sub(1) else { return Ok(Vec::new()) };
        let record = self.record(Locator::of_row(&self.place.row(before)?))?;
        let holds = record.place.is_some_and(|place| {
            place.side == side
                && (place.start..place.start.saturating_add(place.tokens)).contains(&token)
        });
        Ok(if holds { vec![record] } else { Vec::new() })
    }

    fn record(&self, at: Locator) -> Result<DocumentRecord, DataError> {
        let path = self.folder.join(RECORDS_FILE);
        let mut file = File::open(&path).io_context("open", &path)?;
        file.seek(SeekFrom::Start(at.frame)).io_context("read", &path)?;
        let decoder = zstd::Decoder::new(file).io_context("read", &path)?.single_frame();
        let mut frame = Vec::new();
        decoder.take(MAX_FRAME_BYTES).read_to_end(&mut frame).io_context("read", &path)?;
        let line = frame.split(|byte| *byte == b'\n').nth(at.line as usize).unwrap_or_default();
        parse_record(line)
    }

    /// Proves that the document with this BLAKE3 hash is in the shards beside the index, or is not.
    ///
    /// The proof is about the training shards, unless the document is held out.
    ///
    /// # Errors
    ///
    /// Fails if the document has too many records or is in too many shards, and if the files cannot
    /// be read or are damaged.
    pub fn prove(&self, key: &Hash) -> Result<DocumentProof, DataError> {
        let first = self.raw.partition(|row| row[..] < key[..])?;
        let end = self.raw.partition(|row| row.get(..key.len()) <= Some(&key[..]))?;
        if end - first > u64::from(MAX_COPIES) {
            return Err(DataError::TooManyCopies);
        }
        let (mut records, mut opened) = (Vec::new(), Vec::new());
        for index in first..end {
            records.push(self.record(Locator::of_row(&self.raw.row(index)?))?);
            opened.extend(self.open_leaf(Some(index))?);
        }
        let leaves = LeavesProof {
            before: self.open_leaf(first.checked_sub(1))?,
            leaves: opened.try_into().map_err(|_| DataError::TooManyCopies)?,
            after: self.open_leaf(Some(end))?,
        };
        let is_held_out =
            |record: &DocumentRecord| record.place.is_some_and(|place| place.side == Side::HeldOut);
        let is_trained =
            |record: &DocumentRecord| record.place.is_some_and(|place| place.side == Side::Train);
        let held_out = records.iter().any(is_held_out) && !records.iter().any(is_trained);
        let (manifest, shards) = self.open_shards(&records, held_out)?;
        Ok(DocumentProof::new(manifest, *key, leaves, records, shards))
    }

    /// Returns the leaf of a number with its path, if there is one.
    fn open_leaf(&self, index: Option<u64>) -> Result<Option<OpenedLeaf>, DataError> {
        let Some(at) = index.filter(|at| *at < self.raw.len()) else { return Ok(None) };
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        let leaf = leaf_of_row(&self.raw.row(at)?);
        Ok(Some(OpenedLeaf { index, leaf, path: self.tree.path(index)? }))
    }

    /// Returns the content hash of the manifest of one side, and the shards that `records` are in.
    fn open_shards(
        &self,
        records: &[DocumentRecord],
        held_out: bool,
    ) -> Result<(Hash, Vec<OpenedShard>), DataError> {
        let folder = self.folder.join(if held_out { HELD_OUT } else { TRAIN });
        let shards = ShardFolder::open(&folder)?;
        let indices = shards_of(records, held_out, shards.shard_tokens(), shards.len())?;
        let mut opened = Vec::with_capacity(indices.len());
        if !indices.is_empty() {
            let hashes = body_hashes(shards.body(), shards.len())?;
            let tree = MemoryTree::new(&hashes);
            let open = |index: u32| {
                Some(OpenedShard {
                    index,
                    hash: *hashes.get(index as usize)?,
                    path: tree.path(index),
                })
            };
            opened.extend(indices.into_iter().filter_map(open));
        }
        Ok((shards.summary().content_hash, opened))
    }
}

/// Iterator over the records in a file.
pub struct Records {
    path: PathBuf,
    lines: BufReader<zstd::Decoder<'static, BufReader<File>>>,
    failed: bool,
}

impl Records {
    /// Opens a file of records.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).io_context("open", path)?;
        let decoder = zstd::Decoder::new(file).io_context("read", path)?;
        Ok(Self { path: path.to_owned(), lines: BufReader::new(decoder), failed: false })
    }

    fn read(&mut self) -> Result<Option<DocumentRecord>, DataError> {
        let mut line = Vec::new();
        let limit = super::MAX_RECORD_BYTES as u64 + 1;
        let mut limited = (&mut self.lines).take(limit);
        std::io::BufRead::read_until(&mut limited, b'\n', &mut line)
            .io_context("read", &self.path)?;
        match line.split_last() {
            None => Ok(None),
            Some((b'\n', record)) => parse_record(record).map(Some),
            Some(_) => Err(DataError::InvalidDocument("its line does not end".into())),
        }
    }
}

impl Iterator for Records {
    type Item = Result<DocumentRecord, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let record = self.read().transpose();
        self.failed = matches!(record, Some(Err(_)));
        record
    }
}

#[cfg(test)]
mod tests;
