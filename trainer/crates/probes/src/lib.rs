// SPDX-License-Identifier: Apache-2.0

//! Measurements of a model beside its loss: calibration, coherence, introspection, and answers to
//! fresh questions.
//!
//! - [`measure`](fn@measure) computes all [`Measurements`] on text.
//! - [`probes`] generates questions with one right answer; [`run_probes`] asks a model, and
//!   [`KernelModel`] is one of any specification.
//! - [`metrics`] defines each number, and [`ConsciousnessLevel`](metrics::ConsciousnessLevel), the
//!   weighted mean of all.
//!
//! Definitions and sources are in `docs/mind.md`, terms in `docs/glossary.md`. These are mechanisms
//! and metrics. None of them is, or is evidence of, sentience.
//!
//! # Example
//!
//! ```
//! use pol_model::initial_parameters;
//! use pol_primitives::model::ModelSpec;
//!
//! # fn main() -> Result<(), pol_probes::Error> {
//! let spec = ModelSpec::gpt2(64, 16, 2, 2, 32, 8);
//! let parameters = initial_parameters(&spec, &[0; 32]);
//! let measurements = pol_probes::measure(&spec, &parameters, &[&[1, 2, 3, 4]])?;
//! assert_eq!(measurements.tokens, 3);
//! // The model has no introspection head.
//! assert_eq!(measurements.introspection, None);
//! # Ok(())
//! # }
//! ```

mod error;
mod kernel_model;
mod measure;
pub mod metrics;
mod observations;
mod predictions;
pub mod probes;
mod run;
mod torch_subject;

pub use error::Error;
pub use kernel_model::{KernelCache, KernelModel};
pub use measure::{Measurements, SecondPassEffect, measure};
pub use predictions::TokenPredictions;
pub use run::run_probes;
