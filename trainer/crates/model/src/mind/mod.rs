// SPDX-License-Identifier: Apache-2.0

//! Layers by which a model observes and corrects itself.
//!
//! [`superposition`](superposition()) and [`second_pass`](second_pass()) are layers of the decoder.
//! [`Mind`](pol_primitives::model::Mind) switches them on, and they have no effect when they are
//! added. [`introspect`] predicts the model's own loss. `docs/mind.md` has definitions, sources,
//! costs and measured effects. `pol-probes` computes the metrics. None of these mechanisms is, or
//! is evidence of, sentience.

mod introspection;
mod row_cache;
mod second_pass;
mod superposition;

pub use introspection::{introspect, introspection_objective};
pub use row_cache::RowCache;
pub use second_pass::{SecondPassTensors, needs_second_pass, second_pass};
pub use superposition::{SuperpositionTensors, amplitudes, coherence, superposition};
