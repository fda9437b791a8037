// SPDX-License-Identifier: Apache-2.0

//! Products over a pair of blocks, and what a mask leaves of them.

use crate::simd::{Simd, Strip};
use pol_numerics::{
    Attention, CHAIN, KEY_CHUNK,
    functions::{soft_cap, soft_cap_slope},
};

/// Queries or keys of a block.
pub(super) const BLOCK: usize = KEY_CHUNK as usize;
/// Distance between vectors of a block, so that whole tiles of every set fit.
pub(super) const STRIDE: usize = 80;

/// Numbers of a pair of blocks. Those beyond [`BLOCK`] in a row or column are no pair's.
pub(super) struct Block(pub(super) Vec<f32>);

impl Default for Block {
    fn default() -> Self {
        Self(vec![0.0; STRIDE * STRIDE])
    }
}

/// Returns the first key that a query sees.
fn first_key(shape: &Attention, query: usize) -> usize {
    shape.window.map_or(0, |window| (query + 1).saturating_sub(window as usize))
}

/// Returns the end of the queries that see a key.
fn end_query(shape: &Attention, key: usize) -> usize {
    let length = shape.length as usize;
    shape.window.map_or(length, |window| length.min(key.saturating_add(window as usize)))
}

/// For each member of a block, the range of members of a chunk that it sees, or that see it.
pub(super) struct Ranges {
    first: [i32; BLOCK],
    end: [i32; BLOCK],
}

impl Ranges {
    /// Returns the first chunk of keys that a block of queries sees.
    pub(super) fn first_chunk(shape: &Attention, block: usize) -> usize {
        first_key(shape, block * BLOCK) / BLOCK
    }

    /// Returns the end of the chunks of queries that see a block of keys.
    pub(super) fn end_chunk(shape: &Attention, block: usize) -> usize {
        let last = (shape.length as usize).min((block + 1) * BLOCK) - 1;
        end_query(shape, last).div_ceil(BLOCK)
    }

    /// Returns the keys that each query sees.
    pub(super) fn of_queries(shape: &Attention, block: usize, chunk: usize) -> Self {
        Self::new(chunk, |i| {
            let query = block * BLOCK + i;
            if query >= shape.length as usize {
                return (0, 0);
            }
            (first_key(shape, query), query + 1)
        })
    }

    /// Returns the queries that see each key.
    pub(super) fn of_keys(shape: &Attention, block: usize, chunk: usize) -> Self {
        Self::new(chunk, |i| {
            let key = block * BLOCK + i;
            if key >= shape.length as usize {
                return (0, 0);
            }
            (key, end_query(shape, key))
        })
    }

    fn new(chunk: usize, of: impl Fn(usize) -> (usize, usize)) -> Self {
        let (mut first, mut end) = ([0; BLOCK], [0; BLOCK]);
        let within = |place: usize| place.saturating_sub(chunk * BLOCK).min(BLOCK) as i32;
        for i in 0..BLOCK {
            let range = of(i);
            (first[i], end[i]) = (within(range.0), within(range.1));
        }
        Self { first, end }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self, member: usize) -> bool {
        self.first[member] >= self.end[member]
    }

    #[inline(always)]
    pub(super) fn holds(&self, member: usize, other: usize) -> bool {
        let other = other as i32;
        (self.first[member] <= other) & (other < self.end[member])
    }

    /// Returns the range that all of some members have in common, of those that have any.
    #[inline(always)]
    fn common(&self, members: std::ops::Range<usize>) -> (usize, usize) {
        let (mut first, mut end) = (0, BLOCK as i32);
        for member in members {
            if !self.is_empty(member) {
                first = first.max(self.first[member]);
                end = end.min(self.end[member]);
            }
        }
        (first as usize, end.max(first) as usize)
    }
}

/// Computes the product of each vector of `left`, a row, with each of `right`, a column. Both are
/// transposed blocks.
#[inline(always)]
pub(super) fn dot_products<S: Simd>(
    simd: S,
    left: &[f32],
    right: &[f32],
    size: usize,
    out: &mut Block,
) {
    let chain = CHAIN as usize;
    multiply(simd, left, right, size.min(chain), out);
    let mut first = chain;
    while first < size {
        let mut part = Block::default();
        let (left, right) = (&left[first * STRIDE..], &right[first * STRIDE..]);
        multiply(simd, left, right, chain.min(size - first), &mut part);
        for i in 0..STRIDE * BLOCK {
            out.0[i] += part.0[i];
        }
        first += chain;
    }
}

/// Computes chains of some terms of a pair of blocks.
#[inline(always)]
fn multiply<S: Simd>(simd: S, left: &[f32], right: &[f32], terms: usize, out: &mut Block) {
    let (left, right) = (&left[..terms * STRIDE], &right[..terms * STRIDE]);
    for row in (0..BLOCK).step_by(S::ROWS) {
        for column in (0..BLOCK).step_by(S::COLUMNS) {
            let left = Strip { values: left.get(row..).unwrap_or_default(), stride: STRIDE };
            let right = Strip { values: right.get(column..).unwrap_or_default(), stride: STRIDE };
            let sums = &mut out.0[row * STRIDE + column..];
            simd.accumulate(left, right, sums, STRIDE, true, BLOCK - row);
        }
    }
}

/// Turns products into bounded scores, if the shape bounds them. Returns the factor that is left
/// to apply to them.
#[inline(always)]
pub(super) fn bound(shape: &Attention, scores: &mut Block) -> f32 {
    let scale = f32::from_bits(shape.scale);
    let Some(cap) = shape.cap else { return scale };
    let cap = f32::from_bits(cap);
    for row in 0..BLOCK {
        let scores = &mut scores.0[row * STRIDE..][..BLOCK];
        for i in 0..BLOCK {
            scores[i] = soft_cap(scores[i] * scale, cap);
        }
    }
    1.0
}

/// Computes the slopes of bounded scores, or nothing where scores have no bound.
#[inline(always)]
pub(super) fn slopes(shape: &Attention, scores: &Block, out: &mut Vec<f32>) {
    let Some(cap) = shape.cap else { return out.clear() };
    let cap = f32::from_bits(cap);
    out.resize(BLOCK * STRIDE, 0.0);
    for row in 0..BLOCK {
        let scores = &scores.0[row * STRIDE..][..BLOCK];
        let out = &mut out[row * STRIDE..][..BLOCK];
        for i in 0..BLOCK {
            out[i] = soft_cap_slope(scores[i], cap);
        }
    }
}

/// Multiplies gradients of bounded scores by slopes, if there are any.
#[inline(always)]
pub(super) fn apply_slopes(slopes: &[f32], gradients: &mut Block) {
    for i in 0..slopes.len() {
        gradients.0[i] *= slopes[i];
    }
}

/// Exchanges rows and columns of a block.
#[inline(always)]
pub(super) fn transpose(block: &Block, out: &mut Block) {
    const SQUARE: usize = 8;
    for first_row in (0..BLOCK).step_by(SQUARE) {
        for first_column in (0..BLOCK).step_by(SQUARE) {
            let mut square = [[0f32; SQUARE]; SQUARE];
            for row in 0..SQUARE {
                let values = &block.0[(first_row + row) * STRIDE + first_column..][..SQUARE];
                for column in 0..SQUARE {
                    square[column][row] = values[column];
                }
            }
            for column in 0..SQUARE {
                let out = &mut out.0[(first_column + column) * STRIDE + first_row..][..SQUARE];
                for row in 0..SQUARE {
                    out[row] = square[column][row];
                }
            }
        }
    }
}

/// Computes for each member of a block the sum of the chunk's rows in its range, weighted, from +0
/// in order. `weights` has a row for each member of the chunk.
#[inline(always)]
pub(super) fn weighted_sums<S: Simd>(
    simd: S,
    weights: &Block,
    rows: &[f32],
    width: usize,
    ranges: &Ranges,
    out: &mut Vec<f32>,
) {
    out.resize(STRIDE * width, 0.0);
    for first_member in (0..BLOCK).step_by(S::ROWS) {
        let members = first_member..BLOCK.min(first_member + S::ROWS);
        let (first, end) = ranges.common(members.clone());
        // Terms that only some members have come before those of all, or after them.
        let is_new = members.clone().all(|member| ranges.first[member] as usize >= first);
        if !is_new {
            out[first_member * width..members.end * width].fill(0.0);
        }
        for member in members.clone() {
            let own = ranges.first[member] as usize..(ranges.end[member] as usize).min(first);
            add(weights, rows, width, member, own, out);
        }
        let left = &weights.0[first * STRIDE..end * STRIDE];
        let left = Strip { values: left.get(first_member..).unwrap_or_default(), stride: STRIDE };
        for column in (0..width).step_by(S::COLUMNS) {
            let right = &rows[first * width..end * width];
            let right = Strip { values: right.get(column..).unwrap_or_default(), stride: width };
            let out = &mut out[first_member * width + column..];
            simd.accumulate(left, right, out, width, is_new, members.len());
        }
        for member in members {
            let own = (ranges.first[member] as usize).max(end)..ranges.end[member] as usize;
            add(weights, rows, width, member, own, out);
        }
    }
}

/// Extends the chains of one member by the rows of a range.
#[inline(always)]
fn add(
    weights: &Block,
    rows: &[f32],
    width: usize,
    member: usize,
    range: std::ops::Range<usize>,
    out: &mut [f32],
) {
    let out = &mut out[member * width..][..width];
    for term in range {
        let weight = weights.0[term * STRIDE + member];
        let row = &rows[term * width..][..width];
        for i in 0..width {
            out[i] = weight.mul_add(row[i], out[i]);
        }
    }
}
