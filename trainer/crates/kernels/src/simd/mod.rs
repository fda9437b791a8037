// SPDX-License-Identifier: Apache-2.0

//! The micro-kernel of products, for each instruction set.
//!
//! All unsafe code of the crate is here and in [`sets`](crate::sets).

#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(target_arch = "aarch64")]
pub(crate) use neon::Neon;
pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// An instruction set. A value of such a type exists only where the processor has it.
pub(crate) trait Simd: Copy + Send + Sync {
    /// Rows of a tile.
    const ROWS: usize;
    /// Columns of a tile.
    const COLUMNS: usize;

    /// Extends every chain of a tile: for `k` in order,
    /// `sums[row][column] = fma(left[k][row], right[k][column], sums[row][column])`, where rows of
    /// sums are `stride` values apart. The shorter strip says how often. Chains begin at +0 if
    /// they are new, whatever `sums` holds. Of the rows, at least the first `rows` are computed.
    fn accumulate(
        self,
        left: Strip<'_>,
        right: Strip<'_>,
        sums: &mut [f32],
        stride: usize,
        is_new: bool,
        rows: usize,
    );
}

/// Operand of a tile: a vector of rows or columns for each term.
#[derive(Clone, Copy)]
pub(crate) struct Strip<'a> {
    /// Vectors one after the other. The last one need not be followed by its distance.
    pub(crate) values: &'a [f32],
    /// Distance from a vector to the next.
    pub(crate) stride: usize,
}

impl Strip<'_> {
    /// Returns the number of vectors of `width` values.
    #[inline(always)]
    fn vectors(self, width: usize) -> usize {
        if self.values.len() < width { 0 } else { (self.values.len() - width) / self.stride + 1 }
    }
}

/// Rows of a small tile, for what is left of 64 or 1,024 rows.
const FEW: usize = 4;

/// Panics if `sums` are too few for a tile, which no input of a kernel causes.
#[inline(always)]
fn check(sums: &[f32], stride: usize, rows: usize, columns: usize) {
    assert!(sums.len() >= (rows - 1) * stride + columns, "a tile is larger than its memory");
}

/// Implements [`Simd`] for a set of instructions, with tiles that registers hold. A value of the
/// set must exist only where the processor has the instructions.
macro_rules! micro_kernel {
    (
        $set:ty, $feature:literal, $rows:literal rows, $vectors:literal vectors of $lanes:literal,
        $zero:expr, $splat:ident, $load:ident, $store:ident,
        |$a:ident, $b:ident, $c:ident| $fma:expr
    ) => {
        const ROWS: usize = $rows;
        const COLUMNS: usize = $vectors * $lanes;

        impl Simd for $set {
            const ROWS: usize = ROWS;
            const COLUMNS: usize = COLUMNS;

            #[inline(always)]
            fn accumulate(
                self,
                left: Strip<'_>,
                right: Strip<'_>,
                sums: &mut [f32],
                stride: usize,
                is_new: bool,
                rows: usize,
            ) {
                // SAFETY: `self` exists only where the processor has the instructions.
                unsafe {
                    if rows <= FEW {
                        accumulate::<FEW>(left, right, sums, stride, is_new);
                    } else {
                        accumulate::<ROWS>(left, right, sums, stride, is_new);
                    }
                }
            }
        }

        #[inline]
        #[target_feature(enable = $feature)]
        fn accumulate<const ROWS: usize>(
            left: Strip<'_>,
            right: Strip<'_>,
            tile: &mut [f32],
            stride: usize,
            is_new: bool,
        ) {
            check(tile, stride, ROWS, COLUMNS);
            // Loops of constant bounds: iterators would keep the sums in memory.
            let mut sums = [[$zero; $vectors]; ROWS];
            if !is_new {
                for row in 0..ROWS {
                    for column in 0..$vectors {
                        let at = row * stride + column * $lanes;
                        // SAFETY: the vector lies within the tile, as has been checked.
                        sums[row][column] = unsafe { $load(tile.as_ptr().add(at)) };
                    }
                }
            }
            let (mut a, mut b) = (left.values.as_ptr(), right.values.as_ptr());
            for _ in 0..left.vectors(ROWS).min(right.vectors(COLUMNS)) {
                let mut vectors = [$zero; $vectors];
                for column in 0..$vectors {
                    // SAFETY: `b` is at a vector of the strip, which has `COLUMNS` values.
                    vectors[column] = unsafe { $load(b.add(column * $lanes)) };
                }
                for row in 0..ROWS {
                    // SAFETY: `a` is at a vector of the strip, which has `ROWS` values.
                    let $a = $splat(unsafe { *a.add(row) });
                    for column in 0..$vectors {
                        let ($b, $c) = (vectors[column], sums[row][column]);
                        sums[row][column] = $fma;
                    }
                }
                // After the last vector these may point beyond the strip, where nothing is read.
                (a, b) = (a.wrapping_add(left.stride), b.wrapping_add(right.stride));
            }
            for row in 0..ROWS {
                for column in 0..$vectors {
                    let at = row * stride + column * $lanes;
                    // SAFETY: the vector lies within the tile, as has been checked.
                    unsafe { $store(tile.as_mut_ptr().add(at), sums[row][column]) }
                }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use micro_kernel;
