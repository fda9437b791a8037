//! Parts by which a model observes and corrects itself, and what is measured of them.
//!
//! [`superposition`](superposed) and the second pass are layers of the decoder, switched on by
//! [`Mind`](pol_primitives::model::Mind) and without effect at the moment they are added;
//! [`introspect`] predicts the model's own loss; [`Affect`] turns surprise into a decoding
//! temperature; [`probes`] asks fresh questions; [`metrics`] puts numbers on all of it.
//! Definitions, sources and what the parts cost and gain are in `docs/mind.md`. These are
//! mechanisms and metrics. None of them is, or is evidence of, sentience.

mod introspection;
mod memory;
mod second_pass;
mod superposed;

pub use introspection::{introspect, introspection_objective};
pub use memory::Memory;
pub use second_pass::{SecondPass, second_pass, worth_another};
pub use superposed::{Superposed, amplitudes, coherence, superposition};
