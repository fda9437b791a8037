// SPDX-License-Identifier: Apache-2.0

//! Forward and backward of one micro-batch on kernels.
//!
//! A [`Step`] computes the loss of a batch of token sequences and the gradient of every parameter
//! of a [`ModelSpec`](pol_primitives::model::ModelSpec). All arithmetic is that of [`pol_kernels`],
//! so every instruction set and every number of threads gives the same bits. `docs/operators.md`
//! tells what is covered.
//!
//! - [`Plan`] has the place of each parameter, and names a part that is not covered. [`covers`]
//!   says if a recipe trains on kernels.
//! - [`Step`] plans all memory once, and runs micro-batches in it. [`step_bytes`] is its size.
//! - [`Evaluation`] is its forward pass alone, in the memory of a block.
//!
//! # Example
//!
//! ```
//! use pol_primitives::model::ModelSpec;
//! use pol_step::Step;
//!
//! // Vocabulary, width, layers, heads, feed-forward width, context.
//! let spec = ModelSpec::gpt2(64, 16, 2, 2, 32, 8);
//! // Two sequences, in each of which three tokens predict the next.
//! let mut step = Step::new(&spec, 2, 3)?;
//! let parameters = vec![0.0; step.plan().len()];
//! let mut gradient = vec![0.0; parameters.len()];
//! let loss = step.gradient(&parameters, &[1, 2, 3, 4, 5, 6, 7, 8], &mut gradient)?;
//! // All 64 tokens are equally likely.
//! assert!((loss - 64f32.ln()).abs() < 1e-6);
//! # Ok::<(), pol_step::Error>(())
//! ```

mod block;
mod error;
mod evaluation;
mod experts;
mod feed_forward;
mod introspection;
mod layers;
mod memory;
mod plan;
mod second_pass;
mod sizes;
mod step;
mod superposition;
#[cfg(test)]
mod test_operators;

pub use error::Error;
pub use evaluation::{Evaluation, NextToken, Observations, most_sequences};
pub use plan::{Plan, Slot, covers};
pub use sizes::step_bytes;
pub use step::Step;
