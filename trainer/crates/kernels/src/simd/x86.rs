// SPDX-License-Identifier: Apache-2.0

//! Micro-kernels of x86-64.

use super::{FEW, Simd, Strip, check, micro_kernel};

/// AVX2 with fused multiply-adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx2(());

/// AVX-512F.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Avx512(());

mod avx2 {
    use super::*;
    use std::arch::x86_64::*;

    micro_kernel!(
        Avx2, "avx2,fma", 6 rows, 2 vectors of 8,
        _mm256_setzero_ps(), _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps,
        |a, b, c| _mm256_fmadd_ps(a, b, c)
    );
}

mod avx512 {
    use super::*;
    use std::arch::x86_64::*;

    micro_kernel!(
        Avx512, "avx512f", 12 rows, 2 vectors of 16,
        _mm512_setzero_ps(), _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps,
        |a, b, c| _mm512_fmadd_ps(a, b, c)
    );
}

impl Avx2 {
    /// Returns a value if the processor has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        let has_all = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        has_all.then_some(Self(()))
    }
}

impl Avx512 {
    /// Returns a value if the processor has the instructions.
    pub(crate) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx512f").then_some(Self(()))
    }
}
