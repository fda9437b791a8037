// SPDX-License-Identifier: Apache-2.0

//! Writing of records, with the tables and the tree over them.

use super::{
    INDEX_FOLDER, RECORDS_FILE,
    record::{append_record, leaf},
    table::{Table, TableWriter},
    tree::TreeFile,
};
use crate::{DataError, error::IoContext};
use pol_corpus::{DocumentRecord, Place, Side};
use pol_primitives::{
    Hash,
    lineage::{DocumentLeaf, Documents, MAX_DOCUMENTS},
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

/// File names in the index.
pub(super) const RAW_FILE: &str = "raw";
pub(super) const TEXT_FILE: &str = "text";
pub(super) const PLACE_FILE: &str = "place";
pub(super) const TREE_FILE: &str = "tree";

/// Bytes of records after which a frame ends.
const FRAME_BYTES: usize = 256 << 10;
/// Level of compression.
const LEVEL: i32 = 6;

/// Place of a record in the file of records: the offset of its frame, and its line in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Locator {
    pub(super) frame: u64,
    pub(super) line: u32,
}

const LOCATOR_BYTES: usize = 12;
/// Length of the rows of each table.
pub(super) const RAW_ROW: usize = 64 + LOCATOR_BYTES;
pub(super) const TEXT_ROW: usize = 32 + LOCATOR_BYTES;
pub(super) const PLACE_ROW: usize = 17 + LOCATOR_BYTES;

impl Locator {
    fn bytes(self) -> [u8; LOCATOR_BYTES] {
        let mut bytes = [0; LOCATOR_BYTES];
        bytes[..8].copy_from_slice(&self.frame.to_be_bytes());
        bytes[8..].copy_from_slice(&self.line.to_be_bytes());
        bytes
    }

    /// Returns the place at the end of a row.
    pub(super) fn of_row(row: &[u8]) -> Self {
        let (frame, line) = row.last_chunk::<LOCATOR_BYTES>().map_or_else(Default::default, |at| {
            let [f @ .., a, b, c, d] = at;
            (u64::from_be_bytes(*f), u32::from_be_bytes([*a, *b, *c, *d]))
        });
        Self { frame, line }
    }
}

/// Returns `parts`, one after the other, which fill a row.
fn row<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut row = [0; N];
    for (to, from) in row.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    row
}

/// Returns the number of a side by which places are sorted.
pub(super) fn side_number(side: Side) -> u8 {
    match side {
        Side::Train => 0,
        Side::HeldOut => 1,
    }
}

/// Returns the leaf of a row of the table of leaves.
pub(super) fn leaf_of_row(row: &[u8; RAW_ROW]) -> DocumentLeaf {
    let hash = |from: usize| {
        row.get(from..).and_then(|rest| rest.first_chunk::<32>()).copied().unwrap_or_default()
    };
    DocumentLeaf { key: hash(0), record: hash(32) }
}

/// Writer of the records of an ingestion.
///
/// Its memory is bounded, whatever the number of documents. The same records in the same order give
/// the same files.
pub struct DocumentWriter {
    index: PathBuf,
    records: PathBuf,
    file: File,
    /// Offset of the frame that is being filled.
    offset: u64,
    frame: Vec<u8>,
    lines: u32,
    count: u32,
    raw: TableWriter<RAW_ROW>,
    text: TableWriter<TEXT_ROW>,
    place: TableWriter<PLACE_ROW>,
}

impl DocumentWriter {
    /// Creates the files in `folder`.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be created, or if there is an index already.
    pub fn create(folder: &Path) -> Result<Self, DataError> {
        let (index, records) = (folder.join(INDEX_FOLDER), folder.join(RECORDS_FILE));
        fs::create_dir(&index).io_context("create the folder", &index)?;
        let file = File::create(&records).io_context("write", &records)?;
        Ok(Self {
            raw: TableWriter::new(&index, RAW_FILE),
            text: TableWriter::new(&index, TEXT_FILE),
            place: TableWriter::new(&index, PLACE_FILE),
            index,
            records,
            file,
            offset: 0,
            frame: Vec::new(),
            lines: 0,
            count: 0,
        })
    }

    /// Adds the record of the next document.
    ///
    /// # Errors
    ///
    /// Fails if the record is too long, if there are too many, and if the disk is full.
    pub fn add(&mut self, record: &DocumentRecord) -> Result<(), DataError> {
        if self.count >= MAX_DOCUMENTS {
            return Err(DataError::TooManyDocuments);
        }
        let start = self.frame.len();
        if let Err(error) = append_record(record, &mut self.frame) {
            self.frame.truncate(start);
            return Err(error);
        }
        let at = Locator { frame: self.offset, line: self.lines }.bytes();
        let leaf = leaf(record.raw, &self.frame[start..]);
        self.raw.add(row(&[&leaf.key, &leaf.record, &at]))?;
        self.text.add(row(&[&record.text, &at]))?;
        if let Some(Place { side, start, tokens }) = record.place {
            let (start, tokens) = (start.to_be_bytes(), tokens.to_be_bytes());
            self.place.add(row(&[&[side_number(side)], &start, &tokens, &at]))?;
        }
        self.frame.push(b'\n');
        self.count += 1;
        self.lines += 1;
        if self.frame.len() >= FRAME_BYTES { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> Result<(), DataError> {
        let frame =
            zstd::bulk::compress(&self.frame, LEVEL).io_context("compress", &self.records)?;
        self.file.write_all(&frame).io_context("write", &self.records)?;
        self.offset += frame.len() as u64;
        self.frame.clear();
        self.lines = 0;
        Ok(())
    }

    /// Ends the files and waits until they are on the disk. Returns the tree over the records.
    ///
    /// # Errors
    ///
    /// Fails if there are no records, and if the disk is full.
    pub fn finish(mut self) -> Result<Documents, DataError> {
        if self.count == 0 {
            return Err(DataError::NoDocuments);
        }
        if !self.frame.is_empty() {
            self.end_frame()?;
        }
        self.file.sync_all().io_context("write", &self.records)?;
        self.raw.finish()?;
        self.text.finish()?;
        self.place.finish()?;
        let (table, tree) = (Table::open(self.index.join(RAW_FILE))?, self.index.join(TREE_FILE));
        let hash = |row: Result<_, DataError>| -> Result<Hash, DataError> {
            Ok(leaf_of_row(&row?).hash())
        };
        TreeFile::write(&tree, self.count, table.rows()?.map(hash))?;
        let root = TreeFile::open(tree, self.count)?.root();
        Ok(Documents { root, count: self.count })
    }
}
