// SPDX-License-Identifier: Apache-2.0

//! Fast kernels for the operators of a training step.
//!
//! [`pol_numerics`] defines each element of each operator. A kernel computes whole tensors, and
//! gives the same bits for every instruction set and every number of threads.
//! `docs/operators.md` tells what is there.
//!
//! Kernels run on the current thread pool of rayon. Shapes are those of the definition, and tensors
//! are dense slices at any alignment.
//!
//! # Example
//!
//! The product of a step's forward pass, `x · wᵀ + bias`:
//!
//! ```
//! use pol_kernels::{Kernels, Scratch};
//! use pol_numerics::Product;
//!
//! let shape = Product {
//!     rows: 2,
//!     inner: 2,
//!     columns: 1,
//!     left_transposed: false,
//!     right_transposed: true,
//!     bias: true,
//! };
//! let (x, w, bias) = ([1.0, 2.0, 3.0, 4.0], [0.5, 0.25], [1.0]);
//! let mut out = [0.0; 2];
//! Kernels::best().product(&shape, &x, &w, Some(&bias), &mut out, &mut Scratch::default())?;
//! assert_eq!(out, [2.0, 3.5]);
//! # Ok::<(), pol_kernels::Error>(())
//! ```
#![allow(
    clippy::manual_memcpy,
    clippy::needless_range_loop,
    reason = "iterators and copies may stay functions of their own, for the least processor"
)]

mod activation;
mod adamw;
mod attention;
mod element;
mod embedding;
mod error;
mod loss;
mod norm;
mod product;
mod rotation;
mod rows;
mod scratch;
mod sets;
mod simd;
#[cfg(test)]
mod tests;

pub use activation::{Activation, Gated};
pub use adamw::AdamWState;
pub use attention::AttentionUpstream;
pub use error::Error;
pub use product::Extras;
pub use rotation::RotaryTable;
pub use scratch::Scratch;
pub use sets::Kernels;

/// Returns `x`, or the definition's encoding of NaN.
#[inline(always)]
fn canonical(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(pol_numerics::NAN) } else { x }
}
