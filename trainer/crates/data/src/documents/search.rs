// SPDX-License-Identifier: Apache-2.0

//! Search for a passage in the shards, and for the documents that it is in.

use super::DocumentIndex;
use crate::{DataError, HELD_OUT, ShardFolder, TOKENIZER_FILE, TRAIN, Tokenizer, error::IoContext};
use pol_corpus::{DocumentRecord, Side};
use std::{fs, path::Path};

/// Returns up to `most` records of documents whose text in the shards of an ingested folder
/// contains a passage, where all white space is alike. `watch` is called with the number of records
/// before each.
///
/// The shards are read from the start: nothing but tokens and records is kept of a text.
///
/// # Errors
///
/// Fails if a file cannot be read, or is damaged.
pub fn search(
    folder: &Path,
    passage: &str,
    most: usize,
    mut watch: impl FnMut(u64),
) -> Result<Vec<DocumentRecord>, DataError> {
    let path = folder.join(TOKENIZER_FILE);
    let json = fs::read(&path).io_context("read the tokenizer", &path)?;
    let invalid = |error: crate::TokenizerError| DataError::InvalidTokenizer {
        origin: path.display().to_string(),
        reason: error.to_string(),
    };
    let tokenizer = Tokenizer::from_json(&json).map_err(invalid)?;
    let sides =
        [ShardFolder::open(&folder.join(TRAIN))?, ShardFolder::open(&folder.join(HELD_OUT))?];
    let (passage, mut found) = (one_space(passage), Vec::new());
    for (record, number) in DocumentIndex::open(folder)?.records()?.zip(0u64..) {
        let record = record?;
        watch(number);
        let Some(place) = record.place else { continue };
        let [train, held_out] = &sides;
        let shards = if place.side == Side::Train { train } else { held_out };
        let tokens = shards.tokens(place.start..place.start.saturating_add(place.tokens))?;
        let text = tokenizer.decode(&tokens).map_err(invalid)?;
        if one_space(&text).contains(&passage) {
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
