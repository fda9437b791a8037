// SPDX-License-Identifier: Apache-2.0

//! Sources whose cursor is a value of one type.

use crate::{Source, SourceError, Step};
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Way from a place to the documents behind it.
#[async_trait]
pub trait Reader: Send {
    /// Place behind the documents that were returned, with all that tells it from a place in other
    /// documents.
    type Cursor: Serialize + DeserializeOwned + Send + Sync;

    /// Name of the source, as in [`pol_corpus::Origin::source`].
    fn name(&self) -> &str;

    /// Checks that the place `saved` is one in the same documents as `cursor`.
    ///
    /// # Errors
    ///
    /// Fails with the difference if it is in others.
    fn check(&self, cursor: &Self::Cursor, saved: &Self::Cursor) -> Result<(), String>;

    /// Returns the next documents, as [`Source::next`] does, and moves `cursor` behind them.
    ///
    /// # Errors
    ///
    /// Fails if the source cannot go on.
    async fn next(&mut self, cursor: &mut Self::Cursor) -> Result<Step, SourceError>;
}

/// Source that is a [`Reader`] at a place.
pub struct ResumableSource<R: Reader> {
    reader: R,
    cursor: R::Cursor,
}

impl<R: Reader> ResumableSource<R> {
    /// Creates a source that reads from `cursor` on.
    pub fn at(cursor: R::Cursor, reader: R) -> Self {
        Self { reader, cursor }
    }
}

#[async_trait]
impl<R: Reader> Source for ResumableSource<R> {
    fn name(&self) -> &str {
        self.reader.name()
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        let saved = serde_json::from_value(cursor).map_err(|error| error.to_string())?;
        self.reader.check(&self.cursor, &saved)?;
        self.cursor = saved;
        Ok(())
    }

    fn cursor(&self) -> Value {
        serde_json::to_value(&self.cursor).unwrap_or_default()
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        self.reader.next(&mut self.cursor).await
    }
}
