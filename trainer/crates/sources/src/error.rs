// SPDX-License-Identifier: Apache-2.0

//! Errors, with their remedies.

use pol_corpus::CorpusError;

/// Error that ends the work of a source. A page or file that cannot be had is no such error: the
/// source refuses it and goes on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The raw store failed.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The store's cursor does not fit the source.
    #[error("cannot go on from where {source_name} stopped: {reason}; use another folder")]
    Cursor {
        /// Name of the source that runs now.
        source_name: String,
        /// Contradiction found.
        reason: String,
    },
    /// An option of the source is out of its range.
    #[error("{0}")]
    InvalidOption(String),
    /// A service that the source depends on refuses it, or answers with something else.
    #[error("{service}: {reason}")]
    Service {
        /// Name or address of the service.
        service: String,
        /// Reason, and the remedy.
        reason: String,
    },
}
