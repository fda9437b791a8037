// SPDX-License-Identifier: Apache-2.0

//! Micro-kernel of any processor.

use super::{Simd, Strip, check};
use pol_numerics::fused_without_instruction;

/// No instructions beyond those that the compiler may use anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

const ROWS: usize = 4;
const COLUMNS: usize = 8;

impl Simd for Portable {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;

    fn accumulate(
        self,
        left: Strip<'_>,
        right: Strip<'_>,
        sums: &mut [f32],
        stride: usize,
        is_new: bool,
        _: usize,
    ) {
        check(sums, stride, ROWS, COLUMNS);
        for row in 0..if is_new { ROWS } else { 0 } {
            sums[row * stride..][..COLUMNS].fill(0.0);
        }
        for term in 0..left.vectors(ROWS).min(right.vectors(COLUMNS)) {
            let left = &left.values[term * left.stride..][..ROWS];
            let right = &right.values[term * right.stride..][..COLUMNS];
            for (row, &left) in left.iter().enumerate() {
                let sums = &mut sums[row * stride..][..COLUMNS];
                for (sum, &right) in sums.iter_mut().zip(right) {
                    *sum = fused(left, right, *sum);
                }
            }
        }
    }
}

/// Returns `a · b + c`, rounded once, in the fastest way that the compiler's target has.
fn fused(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        a.mul_add(b, c)
    } else {
        // The C library's function is slow without the instruction.
        fused_without_instruction(a, b, c)
    }
}
