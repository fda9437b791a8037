// SPDX-License-Identifier: Apache-2.0

//! Texts of files on their way into batches.

use crate::{Batch, SourceError};
use pol_corpus::{CorpusError, Document, Documents, Input, RawDocument, ReadOptions, Refusal};
use std::iter::Peekable;

/// Length after which the pieces of a long text are no longer joined, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 20;
/// Maximum size of the texts of a batch, but for one text that is larger.
const BATCH_BYTES: usize = 1 << 21;
/// Maximum number of texts of a batch.
const BATCH_TEXTS: usize = 1 << 10;

/// A text, or the reason why there is none.
pub type TextOrRefusal = Result<RawDocument, Refusal>;

/// Texts of a file, in order, with the pieces of long ones joined.
pub(crate) struct Texts(Peekable<Documents>);

impl Texts {
    pub(crate) fn open(input: Input, options: &ReadOptions) -> Result<Self, CorpusError> {
        Ok(Self(Documents::open(input, options)?.peekable()))
    }
}

impl Iterator for Texts {
    type Item = Result<TextOrRefusal, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut text = match self.0.next()? {
            Ok(Ok(text)) => text,
            Ok(Err(refusal)) => return Some(Ok(Err(refusal))),
            Err(error) => return Some(Err(error)),
        };
        while text.text.len() < MAX_TEXT_BYTES
            && let Some(Ok(Ok(piece))) = self.0.next_if(is_further_piece)
        {
            text.text.push_str(&piece.text);
        }
        let Document { origin, text, .. } = text;
        Some(Ok(Ok(RawDocument::of_text(origin, text))))
    }
}

/// Returns `true` if an item belongs to the text before it.
fn is_further_piece(item: &Result<Result<Document, Refusal>, CorpusError>) -> bool {
    matches!(item, Ok(Ok(document)) if document.piece > 0)
}

/// Texts that were not handed on yet.
#[derive(Default)]
pub(crate) struct Pending {
    batch: Batch,
    bytes: usize,
}

impl Pending {
    pub(crate) fn add(&mut self, text: TextOrRefusal) {
        match text {
            Ok(document) => {
                self.bytes += document.bytes.len();
                self.batch.documents.push(document);
            }
            Err(refusal) => self.batch.refused.push(refusal),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES
            || self.batch.documents.len() + self.batch.refused.len() >= BATCH_TEXTS
    }

    pub(crate) fn take(&mut self) -> Batch {
        std::mem::take(self).batch
    }
}

/// Iterator over texts that blocks, and is read where that disturbs nobody.
pub struct BlockingTexts(Box<dyn Iterator<Item = Result<TextOrRefusal, SourceError>> + Send>);

/// Result of reading on.
pub struct TextBatch {
    /// Texts.
    pub batch: Batch,
    /// Number of texts and refusals in it.
    pub count: u64,
    /// Texts that follow, unless these were the last.
    pub rest: Option<BlockingTexts>,
}

impl BlockingTexts {
    /// Creates the iterator by `open`, and passes over its first `skip` items.
    ///
    /// # Errors
    ///
    /// Fails as `open` and the items do.
    pub async fn open<I>(
        open: impl FnOnce() -> Result<I, SourceError> + Send + 'static,
        skip: u64,
    ) -> Result<Self, SourceError>
    where
        I: Iterator<Item = Result<TextOrRefusal, SourceError>> + Send + 'static,
    {
        blocking(move || {
            let mut texts = open()?;
            for _ in 0..skip {
                let Some(text) = texts.next() else { break };
                // What failed before fails again.
                let _ = text?;
            }
            Ok(Self(Box::new(texts)))
        })
        .await
    }

    /// Returns the next texts. If the future is dropped, so are they.
    ///
    /// # Errors
    ///
    /// Fails as an item does.
    pub async fn next_batch(mut self) -> Result<TextBatch, SourceError> {
        blocking(move || {
            let (mut pending, mut count) = (Pending::default(), 0);
            while !pending.is_full() {
                let Some(text) = self.0.next() else {
                    return Ok(TextBatch { batch: pending.take(), count, rest: None });
                };
                pending.add(text?);
                count += 1;
            }
            Ok(TextBatch { batch: pending.take(), count, rest: Some(self) })
        })
        .await
    }
}

/// Runs work that blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        let service = "the reader of files".to_owned();
        Err(SourceError::Service { service, reason: format!("{error}; leave the file out") })
    })
}
