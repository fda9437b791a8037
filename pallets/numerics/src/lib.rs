// SPDX-License-Identifier: Apache-2.0

//! Definitions of the operators of a training step, bit by bit.
//!
//! An audit recomputes training and compares bits, so every operator needs one result. This crate
//! fixes it: the order of each sum, each fused multiply-add, and each elementary function. The
//! definition in words is `docs/operators.md`. Exact training computes on the kernels of
//! `pol-kernels`, which give these bits.
//!
//! [`recompute`] computes one element of an [`Op`], and is the definition. It is generic over the
//! arithmetic, a [`Single`]:
//!
//! - `f32` is the processor's.
//! - [`Soft32`] computes with integers alone, for a runtime.
//!
//! Both give the same bits. [`VERSION`] names the definition, and [`FINGERPRINT`] is the hash of
//! what it gives.
//!
//! # Example
//!
//! One element of a product of two matrices, recomputed with integers:
//!
//! ```
//! use pol_numerics::{Op, Product, Soft32, recompute};
//!
//! let product = Op::Product(Product {
//!     rows: 1,
//!     inner: 2,
//!     columns: 1,
//!     left_transposed: false,
//!     right_transposed: false,
//!     bias: false,
//! });
//! let [left, right] = [[1.5, 2.0], [4.0, 0.5]].map(|row: [f32; 2]| row.map(f32::to_bits));
//! let inputs = [&left[..], &right[..]];
//! assert_eq!(recompute::<Soft32>(&product, &inputs[..], 0), Ok(7f32.to_bits()));
//! ```
// Tests have the standard library, also of what is computed without it.
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![forbid(unsafe_code)]
// A referee on chain must neither panic nor overflow on hostile input.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing)
)]

pub mod functions;

mod constants;
mod hard;
mod op;
mod real;
mod recompute;
mod soft;
#[cfg(test)]
mod tests;

pub use constants::{AdamWFactors, AdamWSettings, Angles, Ramp, Scaling, clip_factor, rotary};
pub use hard::fused_without_instruction;
pub use op::{
    AdamW, AdamWPart, Attention, AttentionPart, Broadcast, Chain, Element, Error, Function,
    MAX_EXTENT, MAX_READS, Norm, NormKind, Op, Product, Rotation, Summand,
};
pub use real::{Double, Real, Single};
pub use recompute::{CHAIN, Inputs, KEY_CHUNK, LANES, ROW_CHUNK, recompute};
pub use soft::{Soft, Soft32, Soft64};

/// Name of the definition. It changes with every change of a bit.
pub const VERSION: &str = "pol-numerics/2";
/// BLAKE3 hash of [`VERSION`] and of results of every operator for fixed inputs.
pub const FINGERPRINT: [u8; 32] = [
    0xee, 0x3e, 0xbf, 0xdc, 0xeb, 0x51, 0x0f, 0x4c, 0x45, 0xe6, 0xe8, 0x89, 0x2f, 0x24, 0xf4, 0xe0,
    0x6c, 0x74, 0x5a, 0xab, 0xa0, 0x01, 0x9b, 0xef, 0x75, 0xc5, 0x0d, 0xcb, 0x92, 0x26, 0xeb, 0xaa,
];
/// The one encoding of NaN in outputs.
pub const NAN: u32 = 0x7fc0_0000;
