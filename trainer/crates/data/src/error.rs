// SPDX-License-Identifier: Apache-2.0

//! Errors, with their remedies.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Error of an ingestion, or of reading what one wrote.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// There is no input text.
    #[error(
        "no text in {0}; run scripts/setup.sh for the demonstration corpus, or name files or \
         folders with --input, or with files in a configuration"
    )]
    NoText(String),
    /// There are inputs, but no document of them remains.
    #[error("no document remains to learn from: {0}")]
    NothingLeft(String),
    /// An option is out of its range.
    #[error("{0}")]
    InvalidOption(String),
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
    /// The inputs cannot be read, or what was made of them cannot be kept.
    #[error(transparent)]
    Corpus(#[from] pol_corpus::CorpusError),
    /// There is too little text for the vocabulary.
    #[error(
        "the text supports a vocabulary of at most {possible} entries, not {requested}; add text \
         or choose a smaller vocabulary"
    )]
    VocabularyTooLarge {
        /// Requested entries.
        requested: u32,
        /// Entries that the text supports.
        possible: u32,
    },
    /// There is too little text for one shard.
    #[error(
        "the {split} text is {tokens} tokens long and one shard needs {needed}; add text, use \
         smaller shards, {advice}"
    )]
    TooLittleText {
        /// Name of the split: `training` or `held-out`.
        split: &'static str,
        /// Tokens in the split.
        tokens: u64,
        /// Tokens of one shard.
        needed: u64,
        /// Another remedy.
        advice: &'static str,
    },
    /// A file was written to while it was read, or a folder got other files. What names the
    /// ingestion would be other bytes than those that are in it.
    #[error(
        "{} changed while it was read; wait until nothing writes to it any more, or name a copy of \
         it, and ingest again",
        .0.display()
    )]
    ChangedInput(PathBuf),
    /// There are more shards than a manifest can hold.
    #[error(
        "the text makes more than {} shards, the most a manifest can hold; use larger shards or \
         ingest the text in several runs",
        pol_primitives::data::MAX_SHARDS
    )]
    TooManyShards,
    /// The output folder holds files that no ingestion wrote.
    #[error("{} holds files that are not an ingestion; choose another folder", .0.display())]
    Foreign(PathBuf),
    /// The output folder holds a damaged ingestion, or one with other inputs or options.
    #[error(
        "{} already holds an ingestion that {reason}; choose another folder, or replace it with \
         --force",
        path.display()
    )]
    Occupied {
        /// Output folder.
        path: PathBuf,
        /// Difference from the requested ingestion.
        reason: String,
    },
    /// A folder has no readable record of an ingestion.
    #[error(
        "{} is not an ingested folder: {reason}; make one with `pol-trainer data ingest`",
        path.display()
    )]
    InvalidRecord {
        /// Folder.
        path: PathBuf,
        /// Reason why the record cannot be read.
        reason: String,
    },
    /// A tokenizer cannot be used for ingestion.
    #[error("the tokenizer {origin} cannot be used: {reason}")]
    InvalidTokenizer {
        /// Path of the tokenizer, or a description of its origin.
        origin: String,
        /// Reason.
        reason: String,
    },
    /// Bytes are not a shard.
    #[error("not a shard: {0}")]
    InvalidShard(String),
    /// Bytes are not the body of a manifest.
    #[error("not a manifest of {shards} shards: {bytes} bytes instead of {needed}")]
    InvalidBody {
        /// Expected number of shards.
        shards: u32,
        /// Length found, in bytes.
        bytes: usize,
        /// Expected length, in bytes.
        needed: u64,
    },
    /// The record of a document is too long.
    #[error(
        "the record of {location} takes {bytes} bytes and may take {most}; leave out its signals, \
         or shorten its address"
    )]
    LongRecord {
        /// Start of the document's address.
        location: String,
        /// Length of the record.
        bytes: usize,
        /// Largest length.
        most: usize,
    },
    /// Bytes are not the encoding of the record of a document.
    #[error("not a record of a document: {0}")]
    InvalidDocument(String),
    /// There are more documents than a tree can hold.
    #[error(
        "there are more than {} documents; ingest the text in several runs",
        pol_primitives::lineage::MAX_DOCUMENTS
    )]
    TooManyDocuments,
    /// There are no documents.
    #[error("there are no documents; name inputs that hold text")]
    NoDocuments,
    /// A document has too many records for a proof.
    #[error(
        "the document has more than {} records, the most a proof holds; remove repeated inputs and \
         ingest the text again",
        pol_primitives::lineage::MAX_COPIES
    )]
    TooManyCopies,
    /// A document is in too many shards for a proof.
    #[error(
        "the document is in {shards} shards and a proof holds at most {most}; use larger shards"
    )]
    TooManyProvenShards {
        /// Number of shards.
        shards: usize,
        /// Largest number.
        most: usize,
    },
    /// A proof about a document does not show what it says.
    #[error("the proof does not hold: {0}")]
    InvalidProof(String),
    /// A description of a data set cannot be used.
    #[error("not a Croissant description that can be used: {0}")]
    InvalidCroissant(String),
    /// A file of an ingested folder is not what the record of the folder says.
    #[error(
        "{} is damaged: {reason}; restore it from a copy, or ingest the text again",
        path.display()
    )]
    DamagedFile {
        /// File.
        path: PathBuf,
        /// Contradiction found.
        reason: String,
    },
    /// The files of a manifest contradict each other.
    #[error(
        "the shards in {} are damaged: {reason}; ingest the text again or fetch them from a peer",
        path.display()
    )]
    Damaged {
        /// Folder of the manifest.
        path: PathBuf,
        /// Contradiction found.
        reason: String,
    },
}

/// Conversion of errors of the operating system into [`DataError::Io`].
pub(crate) trait IoContext<T> {
    /// Adds the attempted action and its path to an error.
    fn io_context(self, action: &'static str, path: &Path) -> Result<T, DataError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn io_context(self, action: &'static str, path: &Path) -> Result<T, DataError> {
        self.map_err(|source| DataError::Io { action, path: path.to_owned(), source })
    }
}
