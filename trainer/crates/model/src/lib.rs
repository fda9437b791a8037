//! The decoder that every peer builds from a [`ModelSpec`](pol_primitives::model::ModelSpec), on
//! libtorch.
//!
//! Parameters live as one flat vector in canonical order, the form in which they are hashed, sent
//! and optimised; [`Layout`] says where each tensor lies in it, [`Weights`] cuts the tensors out,
//! [`Decoder`] computes with them and [`initial_parameters`] makes the vector that training starts
//! from.
//!
//! Only operations whose bits are the same on every CPU of the exact profile are used: attention is
//! written out as two matrix products around a softmax, angles of rotary positions are computed
//! without the platform's mathematics, nothing calls torch's square root or random generator, and
//! everything runs on one intra-op thread. Setting the profile up is the engine's business.
#![deny(missing_docs)]

pub mod adapt;
mod attention;
mod cache;
mod decoder;
mod examine;
mod experts;
mod feed_forward;
mod initial;
mod layout;
pub mod mind;
mod parts;
mod rewrite;
mod weights;

#[cfg(test)]
mod families;

pub use cache::Cache;
pub use decoder::{Decoder, Outcome};
pub use examine::{Domain, Examined, examine};
pub use experts::{Routing, Utilisation};
pub use initial::initial_parameters;
pub use layout::{Layout, Slot};
pub use rewrite::{LEAST_LOSSES, Proposal, Reason, Rewriting, expert_names, loss_fall, propose};
pub use weights::Weights;

use pol_primitives::model::InvalidSpec;
use tch::TchError;

/// Why a model could not be built or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification contradicts itself or the protocol's limits.
    #[error("the model's specification is invalid: {0}")]
    Spec(InvalidSpec),
    /// A parameter vector of another model.
    #[error("expected {expected} parameters, got {found}; they belong to another model")]
    Length {
        /// Parameters of this model.
        expected: usize,
        /// Parameters given.
        found: usize,
    },
    /// A batch that the model cannot read.
    #[error("a batch needs 2 to {} tokens a sequence for this model, got {found}", .context + 1)]
    Batch {
        /// Longest input, in tokens.
        context: i64,
        /// Tokens a sequence in the batch.
        found: i64,
    },
    /// Tokens or rows that a cache has no place for.
    #[error(
        "a cache for {capacity} tokens cannot serve {needed} tokens in {rows} rows; make one that is large enough, of this model"
    )]
    Cache {
        /// Tokens that it would hold.
        needed: i64,
        /// Tokens that it has place for.
        capacity: i64,
        /// Rows asked for.
        rows: i64,
    },
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Torch(#[from] TchError),
}

impl From<InvalidSpec> for Error {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Spec(invalid)
    }
}
