// SPDX-License-Identifier: Apache-2.0

//! Products of matrices.
//!
//! Both sides are packed into panels as wide as a tile, so that the micro-kernel reads memory
//! sequentially. A task computes a block of a few tiles in each direction, chunk by chunk of the
//! inner extent, so that its panels stay in the near caches. Each output is one task's alone.

use crate::{
    Error, Kernels, canonical,
    error::{check, check_optional},
    scratch::{Buffer, Scratch},
    sets::Task,
    simd::{Simd, Strip},
};
use pol_numerics::{Op, Product};
use rayon::prelude::*;

/// Terms of a chain.
const CHAIN: usize = pol_numerics::CHAIN as usize;
/// Tiles of a block, downwards and to the right.
const BLOCK: (usize, usize) = (8, 4);
/// Largest number of packed values of a side, unless a single panel has more.
const PACKED: usize = 1 << 23;
/// Terms that are transposed at a time.
const TRANSPOSED: usize = 16;

/// Sums of a tile. No set has more.
#[repr(align(64))]
struct Tile([f32; 384]);

/// One side of a product: vectors of terms, which lie in either order.
#[derive(Clone, Copy)]
struct Side<'a> {
    values: &'a [f32],
    /// Number of vectors.
    count: usize,
    /// Number of terms.
    inner: usize,
    /// Set if the terms of a vector lie side by side.
    is_contiguous: bool,
}

impl Kernels {
    /// Computes the product of two matrices, [`Op::Product`].
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn product(
        self,
        shape: &Product,
        left: &[f32],
        right: &[f32],
        bias: Option<&[f32]>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        Op::Product(*shape).len()?;
        let Product { rows, inner, columns, .. } = *shape;
        check("left", left, &[rows, inner])?;
        check("right", right, &[inner, columns])?;
        check_optional("bias", bias, shape.bias, &[columns])?;
        check("out", out, &[rows, columns])?;
        let [rows, inner, columns] = [rows, inner, columns].map(|extent| extent as usize);
        let is_contiguous = !shape.left_transposed;
        let left = Side { values: left, count: rows, inner, is_contiguous };
        let is_contiguous = shape.right_transposed;
        let right = Side { values: right, count: columns, inner, is_contiguous };
        if out.is_empty() {
            return Ok(());
        }
        let [left_buffer, right_buffer, ..] = &mut scratch.buffers;
        let (tile_rows, tile_columns) = self.tile();
        let (most_rows, most_columns) = (part(tile_rows, inner), part(tile_columns, inner));
        for first_column in (0..columns).step_by(most_columns) {
            let count = most_columns.min(columns - first_column);
            let right = self.pack(right, (first_column, count), tile_columns, right_buffer);
            let bias = bias.map(|bias| &bias[first_column..first_column + count]);
            for (part, out) in out.chunks_mut(most_rows * columns).enumerate() {
                let range = (part * most_rows, out.len() / columns);
                let left = self.pack(left, range, tile_rows, left_buffer);
                let factors = Factors { left, right, bias, inner };
                let out = out.chunks_mut(columns).map(|row| &mut row[first_column..][..count]);
                self.multiply(factors, out);
            }
        }
        Ok(())
    }

    /// Packs `count` vectors of a side from `first` on, in panels of `width`.
    fn pack<'a>(
        self,
        side: Side<'_>,
        (first, count): (usize, usize),
        width: usize,
        buffer: &'a mut Buffer,
    ) -> &'a [f32] {
        let packed = buffer.get(count.next_multiple_of(width) * side.inner);
        packed.par_chunks_mut((width * side.inner).max(1)).enumerate().for_each(
            |(panel, packed)| {
                let first = first + panel * width;
                self.run(Pack { side, first, width, packed });
            },
        );
        packed
    }

    /// Multiplies packed matrices into rows of outputs.
    fn multiply<'a>(self, factors: Factors<'_>, out: impl Iterator<Item = &'a mut [f32]>) {
        let (tile_rows, tile_columns) = self.tile();
        let (height, width) = (BLOCK.0 * tile_rows, BLOCK.1 * tile_columns);
        let mut blocks: Vec<Block<'_>> = Vec::new();
        for (row, out) in out.enumerate() {
            let across = out.len().div_ceil(width);
            if row % height == 0 {
                let block = |i: usize| Block { row, column: i * width, out: Vec::new() };
                blocks.extend((0..across).map(block));
            }
            let first = blocks.len() - across;
            for (block, out) in blocks[first..].iter_mut().zip(out.chunks_mut(width)) {
                block.out.push(out);
            }
        }
        blocks.into_par_iter().for_each(|block| self.run(Multiply { factors, block }));
    }
}

/// Returns the number of packed vectors that memory is kept for, in whole blocks.
fn part(width: usize, inner: usize) -> usize {
    let block = width * BLOCK.0;
    (PACKED / inner.max(1) / block).max(1) * block
}

/// Packs vectors from `first` on, term by term. Vectors that are not there are zeros.
struct Pack<'a, 'b> {
    side: Side<'a>,
    first: usize,
    width: usize,
    packed: &'b mut [f32],
}

impl Task for Pack<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { side, first, width, packed } = self;
        let count = width.min(side.count - first);
        if count < width {
            packed.fill(0.0);
        }
        if !side.is_contiguous {
            for (packed, values) in
                packed.chunks_exact_mut(width).zip(side.values.chunks_exact(side.count))
            {
                packed[..count].copy_from_slice(&values[first..first + count]);
            }
            return;
        }
        for start in (0..side.inner).step_by(TRANSPOSED) {
            let terms = TRANSPOSED.min(side.inner - start);
            let packed = &mut packed[start * width..][..terms * width];
            for vector in 0..count {
                let values = &side.values[(first + vector) * side.inner + start..][..terms];
                for (packed, &value) in packed.chunks_exact_mut(width).zip(values) {
                    packed[vector] = value;
                }
            }
        }
    }
}

/// Packed matrices, and what is added to their product.
#[derive(Clone, Copy)]
struct Factors<'a> {
    left: &'a [f32],
    right: &'a [f32],
    bias: Option<&'a [f32]>,
    inner: usize,
}

/// A block of outputs.
struct Block<'a> {
    row: usize,
    column: usize,
    /// Parts of rows.
    out: Vec<&'a mut [f32]>,
}

/// Computes a block.
struct Multiply<'a, 'b> {
    factors: Factors<'a>,
    block: Block<'b>,
}

impl Task for Multiply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (Factors { left, right, bias, inner }, mut block) = (self.factors, self.block);
        let width = block.out.first().map_or(0, |row| row.len());
        let mut tile = Tile([0.0; 384]);
        let tile = &mut tile.0[..S::ROWS * S::COLUMNS];
        for chunk in 0..inner.div_ceil(CHAIN).max(1) {
            let terms = CHAIN.min(inner - chunk * CHAIN);
            let is_last = (chunk + 1) * CHAIN >= inner;
            for column in (0..width).step_by(S::COLUMNS) {
                let at = (block.column + column) * inner + chunk * CHAIN * S::COLUMNS;
                let values = &right[at..at + terms * S::COLUMNS];
                let right = Strip { values, stride: S::COLUMNS };
                let columns = column..width.min(column + S::COLUMNS);
                for (tile_row, out) in block.out.chunks_mut(S::ROWS).enumerate() {
                    let at = (block.row + tile_row * S::ROWS) * inner + chunk * CHAIN * S::ROWS;
                    let left = Strip { values: &left[at..at + terms * S::ROWS], stride: S::ROWS };
                    simd.accumulate(left, right, tile, S::COLUMNS, true);
                    for (out, sums) in out.iter_mut().zip(tile.chunks_exact(S::COLUMNS)) {
                        let out = &mut out[columns.clone()];
                        add(out, sums, chunk == 0);
                        if is_last {
                            let first = block.column + column;
                            finish(out, bias.map(|bias| &bias[first..]));
                        }
                    }
                }
            }
        }
    }
}

/// Adds the sums of a chunk to those of the chunks before it.
#[inline(always)]
fn add(out: &mut [f32], sums: &[f32], is_first: bool) {
    for (out, &sum) in out.iter_mut().zip(sums) {
        // The first sum is not added to zero, which would take the sign of a zero.
        *out = if is_first { sum } else { *out + sum };
    }
}

/// Adds the bias, and encodes NaN.
#[inline(always)]
fn finish(out: &mut [f32], bias: Option<&[f32]>) {
    if let Some(bias) = bias {
        out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
    }
    out.iter_mut().for_each(|out| *out = canonical(*out));
}
