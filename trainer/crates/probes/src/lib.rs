//! Measures of a model beside its loss: calibration, coherence, introspection, and answers to fresh
//! questions.
//!
//! [`measure`](fn@measure) computes all of them on text, [`ask`] puts generated questions
//! ([`probes`]) to a model, and [`metrics`] defines each number. Definitions and sources are in
//! `docs/mind.md`. These are mechanisms and metrics. None of them is, or is evidence of, sentience.

mod measure;
pub mod metrics;
mod observed;
pub mod probes;

pub use measure::{Again, Measured, ask, measure};
pub use observed::Observed;

pub use pol_generate::Error;
