// SPDX-License-Identifier: Apache-2.0

//! Computes a lease of training as a pure function of recipe, state and data.
//!
//! ```text
//! TrainingState ──train_segment──► TrainingState ──train_segment──► … ──pack──► Payload
//!       │ leaf                           │ leaf                                    │
//!       └───────────── Trace ────────────┘                       aggregate ◄───────┘
//! ```
//!
//! A trainer calls [`train_segment`], an auditor [`replay`], and both are the same function. Given
//! the same recipe, lease, account, data and start state, every machine of the exact numerics
//! profile computes the same bits, with any number of threads: on the kernels of [`pol_step`], and
//! micro-batches that are too large for them, on libtorch under pinned settings. Everything else is
//! plain IEEE-754 arithmetic in a fixed order. Under the native profile any kernels may compute,
//! and replays are compared by distance. [`ARITHMETIC`] names these bits, and a recipe that names
//! others is refused.
//!
//! A process whose recipe has such micro-batches sets libtorch up with [`determinism::ensure`]
//! before it does anything else. Others need no set-up.
//!
//! # Main types and functions
//!
//! - [`LeaseJob`] holds what fixes a lease's training; [`LeaseData`] its decoded shards.
//! - [`TrainingState`] is everything that training changes, and the [`Feedback`] that packing does;
//!   [`Trace`] its hashes at segment boundaries. A [`StoredState`] is one that stays in its file.
//! - [`train_segment`] and [`replay`] train one segment; [`pack()`] compresses the update.
//! - [`aggregate()`] computes the next head from [`Update`]s, and takes out [`ExcisedRound`]s.
//! - [`audit()`] replays the drawn segments of an update; [`check_binding`] checks the sketches of
//!   the native profile; [`audit_blobs`] lists the blobs that an audit reads.
//! - [`score()`] measures the part of a round's improvement, on the text of a [`ScoreProbe`], that
//!   is due to one update.
//! - [`evaluate()`] computes losses, on kernels too; [`mod@bench`] measures speed and audit costs.
//! - [`sketch_segment`], [`segment_distance`] and [`deviation`] compare replays that differ in
//!   bits.
//!
//! The workspace's terms are explained in `docs/glossary.md`.
//!
//! # Example
//!
//! `examples/lease.rs` is a complete program. Its core trains a lease and applies the update:
//!
//! ```no_run
//! use pol_engine::{RoundUpdate, Trace, TrainingState, aggregate, pack, train_segment};
//! # use pol_engine::{EngineError, LeaseJob};
//!
//! # fn example(job: LeaseJob<'_>, base: Vec<f32>) -> Result<(), EngineError> {
//! let mut state = TrainingState::fresh(base.clone());
//! let mut trace = Trace::new(state.leaf());
//! for segment in 0..job.recipe.segments {
//!     let report = train_segment(&job, &mut state, segment)?;
//!     trace.push(report.leaf);
//! }
//! let payload = pack(job.recipe, &base, &mut state)?;
//! let update = RoundUpdate { payload, staleness: 0, tokens: 1 };
//! let head = aggregate(job.recipe, &base, &[update], &[])?;
//! # Ok(())
//! # }
//! ```

#[cfg(target_endian = "big")]
compile_error!(
    "states and parameters are hashed as little-endian bytes, taken from memory as they are"
);

pub mod bench;
pub mod determinism;
pub mod deviation;
pub mod device;

mod aggregate;
mod arithmetic;
mod audit;
mod blobs;
mod data;
mod error;
mod evaluate;
mod feedback;
mod file_array;
mod files;
mod gradient;
mod optimiser;
mod pack;
mod parameters;
mod reading;
mod score;
mod sketch;
mod state;
mod stored;
mod threads;
mod trace;
mod train;
mod update;

#[cfg(test)]
mod test_recipe;

// The fixture of the tests names this crate as examples and other tests do.
#[cfg(test)]
extern crate self as pol_engine;

pub use aggregate::{ExcisedRound, aggregate, aggregate_onto, movement};
pub use arithmetic::{ARITHMETIC, ARITHMETIC_VERSION, check_arithmetic};
pub use audit::{ReplayOutcome, audit, check_binding};
pub use blobs::{audit_blobs, binding_blobs, state_blobs};
pub use data::LeaseData;
pub use error::EngineError;
pub use evaluate::{evaluate, losses};
pub use feedback::Feedback;
pub use files::replace_file;
pub use pack::{dequantise, pack};
pub use parameters::{ParameterBytes, ParameterPieces, parameters_from_bytes, parameters_to_bytes};
pub use reading::BlobValues;
pub use score::{MAX_PROBE_SEQUENCES, OWN_SHARDS, ScoreProbe, StoredProbe, score};
pub use sketch::{segment_distance, sketch_segment};
pub use state::TrainingState;
pub use stored::{FilePart, StoredState};
pub use threads::{on_one_thread, share_all_batches};
pub use trace::Trace;
pub use train::{GradientNorms, LeaseJob, SegmentReport, replay, train_segment};
pub use update::{RoundUpdate, Update, read_payload};

/// Fails for vectors whose length is not the model's.
fn check_len(expected: usize, found: usize) -> Result<(), EngineError> {
    if expected == found {
        Ok(())
    } else {
        Err(EngineError::WrongModel { expected: expected as u64, found: found as u64 })
    }
}

/// Fails if a value is NaN or infinite.
fn check_finite(values: &[f32]) -> Result<(), EngineError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(EngineError::NotFinite { index }),
    }
}
