//! What can go wrong, and what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Why text could not be turned into shards, or shards not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// No input text.
    #[error(
        "no .txt files under {0}; run scripts/setup.sh for the demonstration corpus, or name files or folders with --input"
    )]
    NoText(String),
    /// An option out of its range.
    #[error("{0}")]
    Option(String),
    /// The operating system refused to read or write a file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file is not the one that was read a moment ago.
    #[error("{} changed while it was read; run the ingestion again when nothing writes to it", .0.display())]
    Changed(PathBuf),
    /// Too little text for the vocabulary.
    #[error(
        "the text supports a vocabulary of at most {possible} entries, not {asked}; add text or ask for fewer"
    )]
    Vocabulary {
        /// Entries asked for.
        asked: u32,
        /// Entries the text supports.
        possible: u32,
    },
    /// Too little text for a shard.
    #[error(
        "the {part} text is {tokens} tokens long and one shard needs {needed}; add text, use smaller shards, {advice}"
    )]
    TooLittle {
        /// Which part of the text.
        part: &'static str,
        /// Tokens it has.
        tokens: u64,
        /// Tokens of one shard.
        needed: u64,
        /// What else would help.
        advice: &'static str,
    },
    /// More shards than a manifest can hold.
    #[error(
        "the text makes more than {} shards, the most a manifest can hold; use larger shards or ingest it in parts",
        pol_primitives::data::MAX_SHARDS
    )]
    TooManyShards,
    /// The output folder holds something that ingestion did not write.
    #[error("{} holds files that are not an ingestion; choose another folder", .0.display())]
    Foreign(PathBuf),
    /// The output folder holds an ingestion with other inputs or options, or a damaged one.
    #[error("{} already holds an ingestion that {reason}; choose another folder, or replace it with --force", path.display())]
    Occupied {
        /// The output folder.
        path: PathBuf,
        /// Why it does not serve.
        reason: String,
    },
    /// A folder without the record of an ingestion.
    #[error("{} is not an ingested folder: {reason}; make one with `pol-trainer data ingest`", path.display())]
    Record {
        /// The folder.
        path: PathBuf,
        /// Why its record cannot be read.
        reason: String,
    },
    /// A tokenizer that cannot be used.
    #[error("the tokenizer {from} cannot be used: {reason}")]
    Tokenizer {
        /// Where it came from.
        from: String,
        /// Why.
        reason: String,
    },
    /// Bytes that are not a shard.
    #[error("not a shard: {0}")]
    Shard(String),
    /// Bytes that are not a manifest's body.
    #[error("not a manifest of {shards} shards: {bytes} bytes instead of {needed}")]
    Body {
        /// Shards it should have.
        shards: u32,
        /// Bytes it has.
        bytes: usize,
        /// Bytes it should have.
        needed: u64,
    },
    /// A folder of shards that does not agree with itself.
    #[error("the shards in {} are damaged: {reason}; ingest the text again or fetch them from a peer", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// What does not agree.
        reason: String,
    },
}

/// Adds to an error of the operating system what was tried, and on which path.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, DataError>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &Path) -> Result<T, DataError> {
        self.map_err(|source| DataError::Io { action, path: path.to_owned(), source })
    }
}
