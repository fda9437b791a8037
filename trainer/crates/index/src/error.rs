// SPDX-License-Identifier: Apache-2.0

//! Errors of the index.

use pol_chain::ChainError;
use pol_primitives::round::BlockNumber;
use sqlx::migrate::MigrateError;
use std::path::PathBuf;

/// Error of the index or of its follower.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The address is none of a database.
    #[error(
        "{url} is no database: give the path of a file for SQLite, or a URL like \
         postgres://user@localhost/pol"
    )]
    NotADatabase {
        /// Address, without a password.
        url: String,
    },
    /// The file of the database is not there, and was to be read alone.
    #[error(
        "there is no index at {}: give another file, or start without --no-follow, which makes \
         and fills it",
        path.display()
    )]
    Missing {
        /// File.
        path: PathBuf,
    },
    /// The database cannot be opened.
    #[error(
        "cannot open the database {url} ({reason}): check that its folder exists and can be \
         written, or that the server runs and knows the user and the database"
    )]
    Unreachable {
        /// Address, without a password.
        url: String,
        /// Failure.
        reason: sqlx::Error,
    },
    /// Another process fills the index.
    #[error(
        "another process fills the index {url}: end that process, give another database, or let a \
         server of the HTTP interface only read this one with --no-follow"
    )]
    Taken {
        /// Address, without a password.
        url: String,
    },
    /// The file that keeps other followers away cannot be locked.
    #[error(
        "cannot lock {} ({reason}): check that its folder exists, can be written, and is on a file \
         system with locks",
        path.display()
    )]
    Lock {
        /// File.
        path: PathBuf,
        /// Failure.
        reason: std::io::Error,
    },
    /// A newer program wrote the database.
    #[error(
        "a newer version of this program made the database (its migration {0} is not known \
         here): update this program, or give another database"
    )]
    Newer(i64),
    /// The tables could not be made, or are others.
    #[error("the tables of the database cannot be made or differ ({0}): give an empty database")]
    Migration(#[source] MigrateError),
    /// A statement failed.
    #[error("the database failed ({0}): see its log, free some space, and start again")]
    Database(#[from] sqlx::Error),
    /// A block does not follow the last one of the index.
    #[error(
        "block {number} does not follow the last block of the index: another follower writes to \
         the same database, so stop one of them"
    )]
    NotNext {
        /// Height of the block.
        number: BlockNumber,
    },
    /// A block that is not the last one, or is final, cannot be taken back.
    #[error(
        "block {number} is not the last block of the index, or is final: another follower writes \
         to the same database, so stop one of them"
    )]
    NotLast {
        /// Height of the block.
        number: BlockNumber,
    },
    /// The database is the index of another chain.
    #[error(
        "the database is the index of another chain (genesis 0x{}, and the node's is 0x{}): give \
         another database, or a node of that chain",
        hex::encode(.indexed),
        hex::encode(.node)
    )]
    OtherChain {
        /// Genesis of the indexed chain.
        indexed: [u8; 32],
        /// Genesis of the node's chain.
        node: [u8; 32],
    },
    /// The chain has another block than one that was final.
    #[error(
        "the node has another block {number} than the index, where it is final: the chain was \
         started anew or the node follows another one, so give another database or another node"
    )]
    OtherHistory {
        /// Height of the block.
        number: BlockNumber,
    },
    /// The node has fewer blocks than the index has final ones.
    #[error(
        "the node is at block {node}, and block {index} is final in the index: wait until the node \
         has caught up, or give another database if the chain was started anew"
    )]
    NodeBehind {
        /// Height of the node's best block.
        node: BlockNumber,
        /// Height of the last block of the index.
        index: BlockNumber,
    },
    /// The node no longer has the state of a block.
    #[error(
        "the node no longer has the state of block {number}: follow one that keeps all states, \
         which is started with --state-pruning archive and synchronised from the beginning"
    )]
    Pruned {
        /// Height of the block.
        number: BlockNumber,
    },
    /// The node could not answer.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

impl From<MigrateError> for IndexError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) => Self::Newer(version),
            error => Self::Migration(error),
        }
    }
}
