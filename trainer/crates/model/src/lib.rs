// SPDX-License-Identifier: Apache-2.0

//! The decoder that every member builds from a [`ModelSpec`](pol_primitives::model::ModelSpec), on
//! libtorch.
//!
//! Parameters are one flat vector of float32 in canonical order. In this form they are hashed, sent
//! and optimised. Terms are defined in `docs/glossary.md`.
//!
//! - [`Layout`] gives the place of each tensor in the vector.
//! - [`Weights`] holds the vector as tensors and collects gradients.
//! - [`Decoder`] computes losses, logits and hidden states; [`KvCache`] makes decoding incremental.
//! - [`initial_parameters`] creates the vector that training starts from.
//! - [`hash_values`] computes the root that names a model.
//! - [`RewritePlan`] applies a rewrite to a model in training; [`propose_rewrites`] derives
//!   rewrites from measurements; [`evaluate_domains`] measures.
//! - [`adapt`] creates models of other sizes from trained ones.
//! - [`mind`] contains superposition, introspection and the second pass.
//!
//! The decoder uses only operations whose bits are the same on every CPU of the exact profile.
//! Attention is two matrix products around a softmax, rotary angles are computed without the
//! platform's mathematics, torch's square root and random generator are not called, and everything
//! runs on one intra-op thread. `pol-engine` sets that profile up.
//!
//! # Example
//!
//! ```
//! use pol_model::{Decoder, Layout, Weights, initial_parameters};
//! use pol_primitives::model::ModelSpec;
//! use tch::Tensor;
//!
//! # fn main() -> Result<(), pol_model::Error> {
//! // Vocabulary, width, layers, heads, feed-forward width, context.
//! let spec = ModelSpec::gpt2(64, 16, 2, 2, 32, 8);
//! let parameters = initial_parameters(&spec, &[0; 32]);
//! let weights = Weights::new(&Layout::new(&spec)?, &parameters)?;
//! let tokens = Tensor::f_from_slice(&[1i64, 2, 3, 4])?.f_view([1, 4])?;
//! let losses = Decoder::new(&spec)?.loss(&weights, &tokens)?;
//! // An untrained model gives all 64 tokens about the same probability.
//! assert!((losses.f_double_value(&[0])? - 64f64.ln()).abs() < 0.1);
//! # Ok(())
//! # }
//! ```

pub mod adapt;
mod attention;
mod decoder;
mod error;
mod evaluate;
mod experts;
mod feed_forward;
mod hash;
mod init;
mod kv_cache;
mod layers;
mod layout;
mod linear;
pub mod mind;
mod rewrite;
mod rotary;
mod soft_cap;
mod utilisation;
mod weights;

#[cfg(test)]
mod families;

pub use decoder::{Decoder, LossOutput};
pub use error::Error;
pub use evaluate::{
    DomainLoss, DomainReport, MAX_EVALUATION_BATCH, evaluate_domains, evaluation_batch,
};
pub use experts::Routing;
pub use hash::{hash_values, update_hash};
pub use init::initial_parameters;
pub use kv_cache::KvCache;
pub use layout::{Layout, TensorSlot};
pub use rewrite::{
    MIN_PLATEAU_LOSSES, RewritePlan, RewriteProposal, RewriteReason, expert_names,
    propose_rewrites, relative_loss_drop,
};
pub use rotary::RotaryRates;
pub use utilisation::ExpertUtilisation;
pub use weights::Weights;
