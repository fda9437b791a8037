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
/// Panels that are packed together, so that a line of memory is read once.
const PANELS: usize = 8;
/// Terms that are transposed at a time.
const TRANSPOSED: usize = 16;
/// Vectors that are transposed together.
const SQUARE: usize = 4;

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

/// Additions to a product while its outputs are in the cache.
#[derive(Clone, Copy, Default)]
pub struct Extras<'a> {
    /// The bias of [`Op::Product`], which the shape has then.
    pub bias: Option<&'a [f32]>,
    /// Values that are added to the product as [`Function::Add`](pol_numerics::Function::Add) does.
    pub addend: Option<&'a [f32]>,
    /// Set if `out` has the product of earlier terms, a multiple of 256. Theirs and these terms are
    /// one product then.
    pub continues: bool,
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
        let extras = Extras { bias, ..Extras::default() };
        self.product_with(shape, left, right, extras, out, scratch)
    }

    /// Computes a product as [`Kernels::product`] does, with more than a bias.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn product_with(
        self,
        shape: &Product,
        left: &[f32],
        right: &[f32],
        extras: Extras<'_>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        Op::Product(*shape).len()?;
        let Product { rows, inner, columns, .. } = *shape;
        check("left", left, &[rows, inner])?;
        check("right", right, &[inner, columns])?;
        check_optional("bias", extras.bias, shape.bias, &[columns])?;
        check_optional("addend", extras.addend, extras.addend.is_some(), &[rows, columns])?;
        check("out", out, &[rows, columns])?;
        let [rows, inner, columns] = [rows, inner, columns].map(|extent| extent as usize);
        let is_contiguous = !shape.left_transposed;
        let left = Side { values: left, count: rows, inner, is_contiguous };
        let is_contiguous = shape.right_transposed;
        let right = Side { values: right, count: columns, inner, is_contiguous };
        let is_kept = inner == 0 && extras.continues && extras.bias.or(extras.addend).is_none();
        if out.is_empty() || is_kept {
            return Ok(());
        }
        let [left_buffer, right_buffer, ..] = &mut scratch.buffers;
        let (tile_rows, tile_columns) = self.tile();
        let (most_rows, most_columns) = (part(tile_rows, inner), part(tile_columns, inner));
        for first_column in (0..columns).step_by(most_columns) {
            let count = most_columns.min(columns - first_column);
            let right = self.pack(right, (first_column, count), tile_columns, right_buffer);
            let extras = Extras {
                bias: extras.bias.map(|bias| &bias[first_column..first_column + count]),
                ..extras
            };
            for (part, out) in out.chunks_mut(most_rows * columns).enumerate() {
                let range = (part * most_rows, out.len() / columns);
                let left = self.pack(left, range, tile_rows, left_buffer);
                let origin = (part * most_rows, first_column);
                let factors = Factors { left, right, extras, inner, columns, origin };
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
        let share = count.div_ceil(width).div_ceil(rayon::current_num_threads());
        let panels = share.clamp(1, PANELS);
        let group = (width * side.inner).max(1) * panels;
        packed.par_chunks_mut(group).enumerate().for_each(|(group, packed)| {
            let first = first + group * panels * width;
            self.run(Pack { side, first, width, packed });
        });
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
        // Constants, so that loops over a vector are unrolled.
        if self.width == S::COLUMNS { self.pack(S::COLUMNS) } else { self.pack(S::ROWS) }
    }
}

impl Pack<'_, '_> {
    #[inline(always)]
    fn pack(self, width: usize) {
        let Self { side, first, packed, .. } = self;
        let panel = width * side.inner;
        let mut start = 0;
        while start < side.inner {
            let terms = TRANSPOSED.min(side.inner - start);
            for i in 0..packed.len() / panel {
                let count = width.min(side.count - (first + i * width));
                let packed = &mut packed[i * panel + start * width..][..terms * width];
                if count < width {
                    packed.fill(0.0);
                }
                let place = Place { first: first + i * width, count, start, terms };
                if side.is_contiguous {
                    transpose_terms(side, place, width, packed);
                } else {
                    copy_terms(side, place, width, packed);
                }
            }
            start += terms;
        }
    }
}

/// Vectors and terms of a part of a panel.
#[derive(Clone, Copy)]
struct Place {
    first: usize,
    count: usize,
    start: usize,
    terms: usize,
}

/// Copies a part of a panel, the vectors of which lie apart.
#[inline(always)]
fn copy_terms(side: Side<'_>, place: Place, width: usize, packed: &mut [f32]) {
    let Place { first, count, start, terms } = place;
    for term in 0..terms {
        let values = &side.values[(start + term) * side.count + first..][..count];
        let packed = &mut packed[term * width..][..width];
        if count == width {
            for i in 0..width {
                packed[i] = values[i];
            }
        } else {
            packed[..count].copy_from_slice(values);
        }
    }
}

/// Copies a part of a panel, the terms of which lie apart.
#[inline(always)]
fn transpose_terms(side: Side<'_>, place: Place, width: usize, packed: &mut [f32]) {
    let Place { first, count, start, terms } = place;
    let values = &side.values[first * side.inner..][..count * side.inner];
    let mut vector = 0;
    while vector < count {
        let at = vector * side.inner + start;
        let packed = &mut packed[vector..];
        if terms == TRANSPOSED && vector + SQUARE <= count {
            transpose(&values[at..], side.inner, packed, width);
            vector += SQUARE;
        } else {
            for term in 0..terms {
                packed[term * width] = values[at + term];
            }
            vector += 1;
        }
    }
}

/// Writes [`SQUARE`] vectors of [`TRANSPOSED`] terms term by term.
#[inline(always)]
fn transpose(values: &[f32], inner: usize, packed: &mut [f32], width: usize) {
    for start in 0..TRANSPOSED / SQUARE {
        let mut square = [[0f32; SQUARE]; SQUARE];
        for vector in 0..SQUARE {
            let values = &values[vector * inner + start * SQUARE..][..SQUARE];
            for term in 0..SQUARE {
                square[term][vector] = values[term];
            }
        }
        for term in 0..SQUARE {
            let packed = &mut packed[(start * SQUARE + term) * width..][..SQUARE];
            for vector in 0..SQUARE {
                packed[vector] = square[term][vector];
            }
        }
    }
}

/// Packed matrices, and what is added to their product.
#[derive(Clone, Copy)]
struct Factors<'a> {
    left: &'a [f32],
    right: &'a [f32],
    extras: Extras<'a>,
    inner: usize,
    /// Columns of the whole output, and the place of these outputs in it.
    columns: usize,
    origin: (usize, usize),
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
        let (factors, mut block) = (self.factors, self.block);
        let Factors { left, right, extras, inner, .. } = factors;
        let width = block.out.first().map_or(0, |row| row.len());
        let mut tile = Tile([0.0; 384]);
        let tile = &mut tile.0[..S::ROWS * S::COLUMNS];
        for chunk in 0..inner.div_ceil(CHAIN).max(1) {
            let terms = CHAIN.min(inner - chunk * CHAIN);
            let is_last = (chunk + 1) * CHAIN >= inner;
            let is_first = chunk == 0 && !extras.continues;
            for column in (0..width).step_by(S::COLUMNS) {
                let at = (block.column + column) * inner + chunk * CHAIN * S::COLUMNS;
                let values = &right[at..at + terms * S::COLUMNS];
                let right = Strip { values, stride: S::COLUMNS };
                let columns = column..width.min(column + S::COLUMNS);
                let bias = extras.bias.filter(|_| is_last);
                let bias = bias.map(|bias| &bias[block.column + column..][..columns.len()]);
                let mut row = 0;
                while row < block.out.len() {
                    let at = (block.row + row) * inner + chunk * CHAIN * S::ROWS;
                    let left = Strip { values: &left[at..at + terms * S::ROWS], stride: S::ROWS };
                    let rows = S::ROWS.min(block.out.len() - row);
                    simd.accumulate(left, right, tile, S::COLUMNS, true, rows);
                    for i in 0..rows {
                        let out = &mut block.out[row + i][columns.clone()];
                        let sums = &tile[i * S::COLUMNS..][..S::COLUMNS];
                        let addend = extras.addend.filter(|_| is_last).map(|addend| {
                            let (first_row, first_column) = factors.origin;
                            let at = (first_row + block.row + row + i) * factors.columns
                                + first_column
                                + block.column
                                + column;
                            &addend[at..at + out.len()]
                        });
                        let added = [bias, addend];
                        // A constant, so that the loops are unrolled.
                        if out.len() == S::COLUMNS {
                            add(&mut out[..S::COLUMNS], sums, added, is_first, is_last);
                        } else {
                            add(out, sums, added, is_first, is_last);
                        }
                    }
                    row += S::ROWS;
                }
            }
        }
    }
}

/// Adds the sums of a chunk to those of the chunks before it, and then bias and addend. Encodes NaN
/// at last.
#[inline(always)]
fn add(out: &mut [f32], sums: &[f32], added: [Option<&[f32]>; 2], is_first: bool, is_last: bool) {
    match (is_first, is_last) {
        (true, true) => add_by::<true, true>(out, sums, added),
        (true, false) => add_by::<true, false>(out, sums, added),
        (false, true) => add_by::<false, true>(out, sums, added),
        (false, false) => add_by::<false, false>(out, sums, added),
    }
}

/// Adds as [`add`] does, in one loop.
#[inline(always)]
fn add_by<const FIRST: bool, const LAST: bool>(
    out: &mut [f32],
    sums: &[f32],
    added: [Option<&[f32]>; 2],
) {
    let len = out.len();
    let sums = &sums[..len];
    // The first sum is not added to zero, which would take the sign of a zero.
    let sum = |old: f32, sum: f32| if FIRST { sum } else { old + sum };
    let last = |x: f32| if LAST { canonical(x) } else { x };
    match added.map(|values| values.map(|values| &values[..len])) {
        [None, None] => {
            for i in 0..len {
                out[i] = last(sum(out[i], sums[i]));
            }
        }
        [Some(values), None] | [None, Some(values)] => {
            for i in 0..len {
                out[i] = last(sum(out[i], sums[i]) + values[i]);
            }
        }
        [Some(bias), Some(addend)] => {
            for i in 0..len {
                out[i] = last(sum(out[i], sums[i]) + bias[i] + addend[i]);
            }
        }
    }
}
