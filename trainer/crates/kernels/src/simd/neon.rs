// SPDX-License-Identifier: Apache-2.0

//! Micro-kernel of AArch64.

use super::{FEW, Simd, Strip, check, micro_kernel};
use std::arch::aarch64::*;

/// NEON, which every AArch64 processor of a supported system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neon(());

micro_kernel!(
    Neon, "neon", 6 rows, 4 vectors of 4,
    vdupq_n_f32(0.0), vdupq_n_f32, vld1q_f32, vst1q_f32,
    |a, b, c| vfmaq_f32(c, a, b)
);

impl Neon {
    /// Returns a value if the processor has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}
