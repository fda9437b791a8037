// SPDX-License-Identifier: Apache-2.0

//! Rows of a file of a data set, as documents.

use super::files::Format;
use crate::texts::{TextOrRefusal, Texts};
use pol_corpus::{Content, CorpusError, Input, Origin, ReadOptions, Refusal};
use std::iter::Peekable;

/// Number of rows of a file after which one with text must have come.
const MAX_BLANK_ROWS: u64 = 1000;

/// Rows of a file, in order.
pub(super) struct Rows {
    texts: Peekable<Texts>,
    /// No row had text yet, and the number of rows that had none.
    blank: Option<u64>,
    has_ended: bool,
}

impl Rows {
    /// Opens a file of `format` behind its first `skip` rows. Several `columns` are joined by an
    /// empty line.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read.
    pub(super) fn open(
        content: Content,
        origin: Origin,
        format: Format,
        columns: &[String],
        skip: u64,
    ) -> Result<Self, CorpusError> {
        let skip_rows = if format == Format::Parquet { skip } else { 0 };
        let options =
            ReadOptions { text_fields: columns.to_vec(), skip_rows, ..ReadOptions::default() };
        let input = Input { origin, media: None, content };
        let mut rows = Self {
            texts: Texts::open(input, &options)?.peekable(),
            blank: (skip == 0).then_some(0),
            has_ended: false,
        };
        for _ in skip_rows..skip {
            if rows.next_row()?.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    /// Returns the next row.
    fn next_row(&mut self) -> Result<Option<TextOrRefusal>, CorpusError> {
        Ok(match self.texts.next().transpose()? {
            Some(Ok(row)) if row.origin.part.is_empty() => {
                let reason = "it has no rows; take a file of Parquet or JSON Lines".to_owned();
                Some(Err(Refusal { origin: row.origin, reason }))
            }
            row => row,
        })
    }
}

impl Iterator for Rows {
    /// An outer error ends the file, with the reason.
    type Item = Result<TextOrRefusal, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let row = match self.next_row() {
            Ok(row) => row?,
            Err(error) => {
                self.has_ended = true;
                return Some(Err(error.to_string()));
            }
        };
        match (&row, &mut self.blank) {
            (Ok(_), blank) => *blank = None,
            (Err(refusal), Some(blank)) => {
                *blank += 1;
                // A file whose rows all lack the text is not what was chosen.
                if *blank >= MAX_BLANK_ROWS || self.texts.peek().is_none() {
                    self.has_ended = true;
                    return Some(Err(refusal.reason.clone()));
                }
            }
            (Err(_), None) => {}
        }
        Some(Ok(row))
    }
}
