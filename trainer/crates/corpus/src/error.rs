// SPDX-License-Identifier: Apache-2.0

//! Errors, with their remedies.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Error of reading or writing a corpus.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// The operating system failed to read or write a file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// Verb phrase for the attempt, such as `read`.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file is not what was written there.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// File or folder.
        path: PathBuf,
        /// Contradiction found, and the remedy.
        reason: String,
    },
    /// An option is out of its range.
    #[error("{0}")]
    InvalidOption(String),
    /// There are more documents than a tree over their records can hold.
    #[error(
        "the inputs have more than {} documents, the most that one folder of data holds; ingest \
         them in several runs, with a part of the inputs each",
        pol_primitives::lineage::MAX_DOCUMENTS
    )]
    TooManyDocuments,
}

/// Conversion of errors of the operating system into [`CorpusError::Io`].
pub(crate) trait IoContext<T> {
    /// Adds the attempted action and its path to an error.
    fn io_context(self, action: &'static str, path: &Path) -> Result<T, CorpusError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn io_context(self, action: &'static str, path: &Path) -> Result<T, CorpusError> {
        self.map_err(|source| CorpusError::Io { action, path: path.to_owned(), source })
    }
}
