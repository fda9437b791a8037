// SPDX-License-Identifier: Apache-2.0

use pol_primitives::model::InvalidSpec;
use tch::TchError;

/// Error of building or running a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification contradicts itself or the protocol's limits.
    #[error("the model's specification is invalid: {0}")]
    Spec(InvalidSpec),
    /// The parameter vector belongs to another model.
    #[error("expected {expected} parameters, got {found}; they belong to another model")]
    Length {
        /// Number of parameters of this model.
        expected: usize,
        /// Number of parameters given.
        found: usize,
    },
    /// The batch is too short or longer than the context.
    #[error(
        "a batch needs 2 to {} tokens per sequence for this model, got {found}", .context + 1
    )]
    Batch {
        /// Longest input in tokens.
        context: i64,
        /// Tokens per sequence of the batch.
        found: i64,
    },
    /// The cache has no room for the tokens or rows.
    #[error(
        "a cache for {capacity} tokens cannot hold {needed} tokens in {rows} rows; \
         create a cache for this model that is large enough"
    )]
    CacheCapacity {
        /// Tokens that the cache would hold.
        needed: i64,
        /// Tokens that the cache has room for.
        capacity: i64,
        /// Number of rows requested.
        rows: i64,
    },
    /// A libtorch operation failed.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

impl From<InvalidSpec> for Error {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Spec(invalid)
    }
}
