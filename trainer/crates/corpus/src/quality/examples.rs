// SPDX-License-Identifier: Apache-2.0

//! Labelled texts to train and measure a model with.

use crate::{CorpusError, ReadOptions, Refusal, documents, error::IoContext};
use pol_primitives::{MILLION, Ppm};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

/// Largest line of a file of examples, in bytes.
const MAX_LINE_BYTES: u64 = 16 << 20;

/// Text with a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Example {
    /// Text.
    pub text: String,
    /// True for text to learn from, false for text to leave out.
    pub good: bool,
    /// Kind of text, such as `fiction` or `spam`.
    #[serde(default)]
    pub kind: String,
    /// Name of the source. Sources that are tested on are not trained on.
    #[serde(default)]
    pub source: String,
}

impl Example {
    /// Returns `true` if the example is of the `share` that is not trained on, which its text and
    /// the seed decide.
    pub fn is_held_out(&self, seed: u64, share: Ppm) -> bool {
        let mut hasher = blake3::Hasher::new_derive_key("pol-corpus 2026 held-out examples");
        hasher.update(&seed.to_le_bytes()).update(self.text.as_bytes());
        let hash = hasher.finalize();
        let draw = u64::from_be_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 8]));
        (u128::from(draw) * u128::from(MILLION)) >> 64 < u128::from(share)
    }
}

/// Reads the documents that paths name as examples with one label. Their kind is the name of the
/// file or folder that was named.
///
/// # Errors
///
/// An item is an error if an input cannot be read.
pub fn labelled<'a>(
    paths: &'a [PathBuf],
    good: bool,
    options: &'a ReadOptions,
) -> impl Iterator<Item = Result<Result<Example, Refusal>, CorpusError>> + 'a {
    documents(paths, options).map(move |document| {
        Ok(document?.map(|document| {
            let location = &document.origin.location;
            let kind = location.split('/').next().unwrap_or_default().to_owned();
            Example { text: document.text, good, kind, source: String::new() }
        }))
    })
}

/// Iterator over the examples of a file: one JSON object a line.
pub struct ExampleFile {
    reader: BufReader<File>,
    path: PathBuf,
    line: u64,
}

impl ExampleFile {
    /// Opens a file of examples.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, CorpusError> {
        let file = File::open(path).io_context("open", path)?;
        Ok(Self { reader: BufReader::new(file), path: path.to_owned(), line: 0 })
    }

    fn damaged(&self, reason: &str) -> CorpusError {
        CorpusError::Damaged {
            path: self.path.clone(),
            reason: format!(
                "line {} {reason}; each line is an object with `text` and `good`",
                self.line
            ),
        }
    }
}

impl Iterator for ExampleFile {
    type Item = Result<Example, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        let mut limited = self.reader.by_ref().take(MAX_LINE_BYTES);
        self.line += 1;
        match limited.read_until(b'\n', &mut line).io_context("read", &self.path) {
            Err(error) => Some(Err(error)),
            Ok(0) => None,
            Ok(_) if limited.limit() == 0 => Some(Err(self.damaged("is longer than 16 MiB"))),
            Ok(_) => Some(
                serde_json::from_slice(&line)
                    .map_err(|error| self.damaged(&format!("is no example: {error}"))),
            ),
        }
    }
}
