// SPDX-License-Identifier: Apache-2.0

//! Texts of documents in the shards, and search for a passage in them.

use super::{RECORDS_FILE, index::Records};
use crate::{DataError, HELD_OUT, ShardFolder, TOKENIZER_FILE, TRAIN, Tokenizer, error::IoContext};
use pol_corpus::{DocumentRecord, MAX_PIECE_BYTES, Place, Side};
use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// Most tokens of a document. Each stands for a byte at least, but a decoder may shorten a text.
const MAX_DOCUMENT_TOKENS: u64 = 4 * MAX_PIECE_BYTES as u64;

/// Texts of the documents in the shards of an ingested folder, in the order of their records.
///
/// The texts are decoded from the tokens: the folder keeps nothing else of them. Tokens that filled
/// no shard are missing at the end of a side.
pub struct Texts {
    tokenizer: Tokenizer,
    /// Path of the tokenizer.
    path: PathBuf,
    train: Option<ShardFolder>,
    held_out: Option<ShardFolder>,
    records: Records,
    /// Ends of the last documents of both sides. Documents share no tokens.
    ends: [u64; 2],
}

impl Texts {
    /// Opens a folder with the records, the tokenizer, and the shards of one side or both.
    ///
    /// # Errors
    ///
    /// Fails if a file cannot be read, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        Self::of_sides(folder, &[Side::Train, Side::HeldOut])
    }

    /// Opens a folder, and reads the texts of some sides only.
    pub(crate) fn of_sides(folder: &Path, sides: &[Side]) -> Result<Self, DataError> {
        let path = folder.join(TOKENIZER_FILE);
        let json = fs::read(&path).io_context("read the tokenizer", &path)?;
        let tokenizer =
            Tokenizer::from_json(&json).map_err(|error| invalid_tokenizer(&path, &error))?;
        let shards = |side, name| {
            let folder = folder.join(name);
            let is_there = sides.contains(&side) && folder.is_dir();
            is_there.then(|| ShardFolder::open(&folder)).transpose()
        };
        let (train, held_out) = (shards(Side::Train, TRAIN)?, shards(Side::HeldOut, HELD_OUT)?);
        let records = Records::open(&folder.join(RECORDS_FILE))?;
        Ok(Self { tokenizer, path, train, held_out, records, ends: [0; 2] })
    }

    /// Returns the text of a document, as far as shards of the folder hold it.
    fn text(&mut self, record: &DocumentRecord) -> Result<Option<String>, DataError> {
        let Some(Place { side, start, tokens }) = record.place else { return Ok(None) };
        let shards = if side == Side::Train { &self.train } else { &self.held_out };
        let Some(shards) = shards else { return Ok(None) };
        let end = start.saturating_add(tokens);
        let last = std::mem::replace(&mut self.ends[usize::from(side == Side::HeldOut)], end);
        if tokens > MAX_DOCUMENT_TOKENS || start < last {
            let reason = format!("a document has the tokens {start} to {end} behind {last}");
            return Err(DataError::Damaged { path: self.path.clone(), reason });
        }
        let tokens = shards.tokens(start..end)?;
        let decoded = self.tokenizer.decode(&tokens);
        decoded.map(Some).map_err(|error| invalid_tokenizer(&self.path, &error))
    }
}

impl Iterator for Texts {
    type Item = Result<(DocumentRecord, Option<String>), DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        Some(record.and_then(|record| {
            let text = self.text(&record)?;
            Ok((record, text))
        }))
    }
}

fn invalid_tokenizer(path: &Path, error: &crate::TokenizerError) -> DataError {
    DataError::InvalidTokenizer { origin: path.display().to_string(), reason: error.to_string() }
}

/// Returns up to `most` records of documents whose text in the shards of an ingested folder
/// contains a passage, where all white space is alike. `watch` is called with the number of records
/// before each, and may end the search.
///
/// # Errors
///
/// Fails if a file cannot be read, or is damaged.
pub fn search(
    folder: &Path,
    passage: &str,
    most: usize,
    mut watch: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Vec<DocumentRecord>, DataError> {
    let (passage, mut found) = (one_space(passage), Vec::new());
    for (item, number) in Texts::open(folder)?.zip(0u64..) {
        let (record, text) = item?;
        if watch(number).is_break() {
            break;
        }
        if text.is_some_and(|text| one_space(&text).contains(&passage)) {
            found.push(record);
            if found.len() >= most {
                break;
            }
        }
    }
    Ok(found)
}

/// Returns a text with one space in place of each run of white space.
fn one_space(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
