//! One lease of training as a pure function of recipe, state and data.
//!
//! ```text
//! TrainingState ──train_segment──► TrainingState ──train_segment──► … ──pack──► Payload
//!       │ leaf                           │ leaf                                    │
//!       └───────────── Trace ────────────┘                       aggregate ◄───────┘
//! ```
//!
//! A trainer calls [`train_segment`], an auditor [`replay`], and both are the same function: given
//! the same recipe, lease, account, data and start state, every machine of the exact profile
//! arrives at the same bits, with any number of workers. What is computed outside libtorch is plain
//! IEEE-754 arithmetic in a fixed order.
//!
//! [`audit()`] is what a seat makes of the states that a trainer shows, [`score()`] what the update
//! is worth. An update that an audit finds to be something else is taken out of the model by
//! [`aggregate()`].
//!
//! A process sets the profile up with [`determinism::ensure`] before it does anything else. Recipes
//! of the [native](native) profile are trained with whatever kernels the process was started with,
//! and replays are compared by distance.
#![deny(missing_docs)]

#[cfg(target_endian = "big")]
compile_error!(
    "states and parameters are hashed as little-endian bytes, taken from memory as they are"
);

pub mod bench;
pub mod determinism;
pub mod native;

mod aggregate;
mod audit;
mod blobs;
mod data;
mod evaluate;
mod optimiser;
mod pack;
mod score;
mod state;
mod trace;
mod train;

#[cfg(test)]
mod test_recipe;

pub use aggregate::{Excised, aggregate, movement};
pub use audit::{Replayed, audit, bind};
pub use blobs::{audited_blobs, bound_blobs, state_blobs};
pub use data::LeaseData;
pub use evaluate::{evaluate, losses};
pub use pack::{dequantise, pack};
pub use score::{OWN_SEQUENCES, PROBE_SEQUENCES, Probe, score};
pub use state::{TrainingState, parameters_from_bytes, parameters_to_bytes};
pub use trace::Trace;
pub use train::{Job, SegmentReport, replay, train_segment};

use pol_primitives::{Hash, model::InvalidSpec, recipe::InvalidRecipe};
use std::path::{Path, PathBuf};

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process does not compute under the profile that the recipe asks for.
    #[error(transparent)]
    Numerics(#[from] determinism::Error),
    /// The model.
    #[error(transparent)]
    Model(#[from] pol_model::Error),
    /// The recipe contradicts itself.
    #[error("the recipe is invalid: {0}")]
    Recipe(InvalidRecipe),
    /// The lease is for another recipe.
    #[error("the lease is for recipe {}, not for the given {}", hex(.lease), hex(.given))]
    OtherRecipe {
        /// Hash in the lease.
        lease: Hash,
        /// Hash of the recipe given.
        given: Hash,
    },
    /// The parameters are not those the lease starts from.
    #[error("the lease starts from the model {}, not from the given {}", hex(.lease), hex(.given))]
    OtherBase {
        /// Root in the lease.
        lease: Hash,
        /// Root of the parameters given.
        given: Hash,
    },
    /// The states given are not those that the audit is about.
    #[error("an audit needs the states of the case's served leaves, in that order")]
    States,
    /// A blob's content does not hash to its address.
    #[error("blob {} has other content than its address says; delete it and fetch it again", hex(.hash))]
    Blob {
        /// Its address.
        hash: Hash,
    },
    /// A blob could not be read.
    #[error("cannot read blob {}: {source}", hex(.hash))]
    Fetch {
        /// Its address.
        hash: Hash,
        /// The cause.
        source: std::io::Error,
    },
    /// A parameter vector, state or payload of another model.
    #[error("expected {expected} values, got {found}: this belongs to another model or recipe")]
    WrongModel {
        /// Values of this model.
        expected: u64,
        /// Values found.
        found: u64,
    },
    /// A state that has taken no step yet carries moments or feedback; no trainer starts like that.
    #[error("the state has taken no step but its moments or feedback are not zero")]
    NotFresh,
    /// There are more or fewer shards than the lease names.
    #[error("the lease has {expected} shards, got data for {found}")]
    Shards {
        /// Shards of the lease.
        expected: usize,
        /// Shards given.
        found: usize,
    },
    /// A shard has the wrong length.
    #[error("shard {shard} has {found} tokens, expected {expected}: shard_tokens and one more")]
    ShardLength {
        /// Place in the lease.
        shard: usize,
        /// `shard_tokens + 1`.
        expected: usize,
        /// Tokens found.
        found: usize,
    },
    /// A token outside the vocabulary.
    #[error("shard {shard} holds token {token}, beyond the vocabulary of {vocabulary}")]
    Token {
        /// Place in the lease.
        shard: usize,
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocabulary: u32,
    },
    /// There is no such segment.
    #[error("segment {segment} does not exist: a lease has {segments}")]
    Segment {
        /// The segment asked for.
        segment: u16,
        /// Segments of a lease.
        segments: u16,
    },
    /// There is nothing to evaluate, or sequences of different lengths.
    #[error("evaluation needs at least one sequence, all of the same length of at least 2 tokens")]
    Sequences,
    /// Loss or gradient left the finite numbers; the lease cannot be finished.
    #[error("training diverged at step {step} of the lease: loss or gradient is not finite")]
    Diverged {
        /// Step within the lease.
        step: u16,
    },
    /// A value that is not a finite number, where only finite ones make sense.
    #[error("value {index} is not a finite number")]
    NotFinite {
        /// Its index.
        index: usize,
    },
    /// A second moment below zero, which no training leads to.
    #[error("second moment {index} is negative")]
    Negative {
        /// Its index.
        index: usize,
    },
    /// A file that is not an undamaged state.
    #[error("{} is not a usable state: {why}. Delete it to start from a fresh one", .path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A worker thread ended early.
    #[error("a worker thread panicked; this is a bug, please report it with the log")]
    Worker,
}

impl Error {
    fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_path_buf(), source }
    }
}

impl From<InvalidSpec> for Error {
    fn from(invalid: InvalidSpec) -> Self {
        Self::Model(invalid.into())
    }
}

fn hex(hash: &Hash) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

/// Refuses vectors whose length is not the model's.
fn check_len(expected: usize, found: usize) -> Result<(), Error> {
    if expected == found {
        Ok(())
    } else {
        Err(Error::WrongModel { expected: expected as u64, found: found as u64 })
    }
}

/// Sum of squares in float64: eight interleaved partial sums, added in order. The order is part of
/// the definition of every norm, and lets the loop run at the speed of memory.
fn sum_of_squares(values: &[f32]) -> f64 {
    let mut lanes = [0.0f64; 8];
    let (whole, rest) = values.as_chunks::<8>();
    for eight in whole {
        for (lane, &value) in lanes.iter_mut().zip(eight) {
            *lane += f64::from(value) * f64::from(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += f64::from(value) * f64::from(value);
    }
    lanes.iter().sum()
}
