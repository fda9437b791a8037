// SPDX-License-Identifier: Apache-2.0

//! Micro-kernel of any processor.

use super::{Simd, Strip, Tile};
use pol_numerics::fused_without_instruction;

/// No instructions beyond those that the compiler may use anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Portable;

const ROWS: usize = 4;
const COLUMNS: usize = 8;

impl Simd for Portable {
    const ROWS: usize = ROWS;
    const COLUMNS: usize = COLUMNS;

    fn accumulate(self, left: Strip<'_>, right: Strip<'_>, sums: &mut Tile) {
        for term in 0..left.vectors(ROWS).min(right.vectors(COLUMNS)) {
            let left = &left.values[term * left.stride..][..ROWS];
            let right = &right.values[term * right.stride..][..COLUMNS];
            for (sums, &left) in sums.0.as_chunks_mut::<COLUMNS>().0.iter_mut().zip(left) {
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
