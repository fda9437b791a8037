// SPDX-License-Identifier: Apache-2.0

use crate::{ARITHMETIC, ARITHMETIC_VERSION, determinism::NumericsError};
use pol_primitives::{Hash, model::InvalidSpec, payload::InvalidPayload, recipe::InvalidRecipe};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Errors of training, packing, aggregating, auditing and scoring.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The process does not compute under the numerics profile of the recipe.
    #[error(transparent)]
    Numerics(#[from] NumericsError),
    /// The model crate failed.
    #[error(transparent)]
    Model(#[from] pol_model::Error),
    /// The kernels failed.
    #[error(transparent)]
    Step(#[from] pol_step::Error),
    /// Threads could not be started.
    #[error("cannot start threads: {0}; set a smaller number with --workers")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// Threads do not compute as IEEE 754 says.
    #[error(
        "the threads of this process flush subnormal numbers or round otherwise, so its results \
         would differ from the network's; a preloaded library may have set that: run without it"
    )]
    Flushed,
    /// The network computes other bits than this software.
    #[error(
        "the recipe names the arithmetic {}, and this program computes {} ({ARITHMETIC_VERSION}), \
         which differs in bits: install the version of the other members, or have governance name \
         the new arithmetic once all have it (`pol-trainer recipe show --own-arithmetic`)",
        hex(.named), hex(&ARITHMETIC)
    )]
    Arithmetic {
        /// Name of the arithmetic in the recipe.
        named: Hash,
    },
    /// The recipe contradicts itself.
    #[error("the recipe is invalid: {0}")]
    Recipe(InvalidRecipe),
    /// The lease is for another recipe.
    #[error("the lease is for recipe {}, not for the given {}", hex(.lease), hex(.given))]
    RecipeMismatch {
        /// Recipe hash in the lease.
        lease: Hash,
        /// Hash of the given recipe.
        given: Hash,
    },
    /// The given states are not those that the audit is about.
    #[error("an audit needs the states of the case's served leaves, in that order")]
    StatesMismatch,
    /// The content of a blob does not hash to its address.
    #[error(
        "the content of blob {} does not match its hash; delete the blob and fetch it again",
        hex(.hash)
    )]
    BlobMismatch {
        /// Address of the blob.
        hash: Hash,
    },
    /// A blob could not be read.
    #[error("cannot read blob {}: {source}", hex(.hash))]
    BlobRead {
        /// Address of the blob.
        hash: Hash,
        /// Underlying error.
        source: io::Error,
    },
    /// An encoded payload is malformed, or of another model or recipe.
    #[error("payload {}: {reason}", hex(.hash))]
    Payload {
        /// Hash of the encoding.
        hash: Hash,
        /// Reason.
        reason: InvalidPayload,
    },
    /// A parameter vector, state or payload belongs to another model.
    #[error("expected {expected} values, got {found}: this belongs to another model or recipe")]
    WrongModel {
        /// Number of values of this model.
        expected: u64,
        /// Number of values found.
        found: u64,
    },
    /// A state without steps carries moments or feedback, which no training leads to.
    #[error("the state has taken no step but its moments or feedback are not zero")]
    NotFresh,
    /// The number of shards is not the lease's.
    #[error("the lease has {expected} shards, got data for {found}")]
    ShardCount {
        /// Number of shards of the lease.
        expected: usize,
        /// Number of shards given.
        found: usize,
    },
    /// A shard has the wrong length.
    #[error("shard {shard} has {found} tokens, expected {expected} (shard_tokens + 1)")]
    ShardLength {
        /// Index of the shard in the lease.
        shard: usize,
        /// `shard_tokens + 1`.
        expected: usize,
        /// Number of tokens found.
        found: usize,
    },
    /// A token is outside the vocabulary.
    #[error("shard {shard} holds token {token}, beyond the vocabulary of {vocabulary}")]
    TokenOutOfRange {
        /// Index of the shard in the lease.
        shard: usize,
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: u32,
    },
    /// The segment does not exist.
    #[error("segment {segment} does not exist: a lease has {segments}")]
    NoSuchSegment {
        /// The requested segment.
        segment: u16,
        /// Number of segments of a lease.
        segments: u16,
    },
    /// The round has no such update.
    #[error("the round has no update at place {place}")]
    NoSuchUpdate {
        /// The requested place in account order, from 0.
        place: usize,
    },
    /// There is nothing to evaluate, or the sequences differ in length.
    #[error("evaluation needs at least one sequence, all of the same length of at least 2 tokens")]
    InvalidSequences,
    /// Loss or gradient is not finite; the lease cannot be finished.
    #[error("training diverged at step {step} of the lease: loss or gradient is not finite")]
    Diverged {
        /// Step within the lease.
        step: u16,
    },
    /// A value is NaN or infinite.
    #[error("value {index} is not a finite number")]
    NotFinite {
        /// Index of the value.
        index: usize,
    },
    /// A second moment is below zero, which no training leads to.
    #[error("second moment {index} is negative")]
    NegativeMoment {
        /// Index of the value.
        index: usize,
    },
    /// A state file is damaged.
    #[error("{} is not a usable state: {why}", .path.display())]
    CorruptState {
        /// The file.
        path: PathBuf,
        /// Reason.
        why: &'static str,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Underlying error.
        source: io::Error,
    },
    /// The caller asked for an early end.
    #[error("the computation was stopped before its end")]
    Stopped,
    /// A worker thread panicked.
    #[error("a worker thread panicked; this is a bug, please report it with the log")]
    WorkerPanicked,
}

impl EngineError {
    /// Returns a conversion of I/O errors that names `path`.
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_path_buf(), source }
    }
}

impl From<InvalidSpec> for EngineError {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Model(invalid.into())
    }
}

impl From<pol_kernels::Error> for EngineError {
    fn from(error: pol_kernels::Error) -> Self {
        Self::Step(error.into())
    }
}

fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}
