// SPDX-License-Identifier: Apache-2.0

//! Tensors of attention, packed by block and head.

use super::{
    Place, Sequences,
    block::{BLOCK, STRIDE},
};
use crate::scratch::Buffer;
use rayon::prelude::*;

/// Columns of packed rows are a multiple of every tile's.
const COLUMNS: usize = 32;
/// Rows that are transposed together.
const SQUARE: usize = 8;

/// Some heads of each token: those from `first` on, of `all`.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    pub(super) values: &'a [f32],
    pub(super) all: usize,
    pub(super) first: usize,
    pub(super) heads: usize,
}

/// Rows of a block, which lie apart.
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    size: usize,
    count: usize,
}

impl Rows<'_> {
    fn get(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.size]
    }
}

/// A tensor in blocks of tokens, those of all heads of a block one after the other. Tokens and
/// values that are not there are zeros.
pub(super) struct Packed<'a> {
    values: &'a [f32],
    /// Number of heads, and of blocks of a sequence.
    heads: usize,
    blocks: usize,
    /// Distance from a block to the next.
    len: usize,
    width: usize,
}

impl<'a> Packed<'a> {
    /// Packs heads with the tokens of a block side by side: `[size, STRIDE]`.
    pub(super) fn transposed(all: Sequences, heads: Heads<'_>, buffer: &'a mut Buffer) -> Self {
        let pack = |rows: Rows<'_>, out: &mut [f32]| {
            for first in (0..rows.count).step_by(SQUARE) {
                let count = SQUARE.min(rows.count - first);
                let rows: [&[f32]; SQUARE] =
                    std::array::from_fn(|i| rows.get(first + i.min(count - 1)));
                for value in 0..all.size {
                    let out = &mut out[value * STRIDE + first..][..count];
                    for (out, row) in out.iter_mut().zip(rows) {
                        *out = row[value];
                    }
                }
            }
        };
        Self::new(all, heads, [all.size * STRIDE, STRIDE], buffer, pack)
    }

    /// Packs heads with each token's values side by side: `[BLOCK, width]`.
    pub(super) fn rows(all: Sequences, heads: Heads<'_>, buffer: &'a mut Buffer) -> Self {
        let width = all.size.next_multiple_of(COLUMNS);
        let pack = |rows: Rows<'_>, out: &mut [f32]| {
            for (token, out) in out.chunks_mut(width.max(1)).take(rows.count).enumerate() {
                out[..all.size].copy_from_slice(rows.get(token));
            }
        };
        Self::new(all, heads, [BLOCK * width, width], buffer, pack)
    }

    fn new(
        all: Sequences,
        part: Heads<'_>,
        [len, width]: [usize; 2],
        buffer: &'a mut Buffer,
        pack: impl Fn(Rows<'_>, &mut [f32]) + Sync,
    ) -> Self {
        let (heads, blocks) = (part.heads, all.blocks());
        let packed = buffer.get(all.count * blocks * heads * len);
        packed.par_chunks_mut(len.max(1)).enumerate().for_each(|(task, packed)| {
            let Place { sequence, block, head } = Place::new(all, task, heads);
            packed.fill(0.0);
            let count = BLOCK.min(all.length - block * BLOCK);
            let row = sequence * all.length + block * BLOCK;
            let at = (row * part.all + part.first + head) * all.size;
            let (values, stride) = (&part.values[at..], part.all * all.size);
            pack(Rows { values, stride, size: all.size, count }, packed);
        });
        Self { values: packed, heads, blocks, len, width }
    }

    /// Returns a block of a head. It is empty if the heads are.
    pub(super) fn get(&self, Place { sequence, block, head }: Place) -> &[f32] {
        let block = sequence * self.blocks + block;
        &self.values[(block * self.heads + head) * self.len..][..self.len]
    }

    /// Returns the distance from a row of a block to the next.
    pub(super) fn width(&self) -> usize {
        self.width
    }
}

/// Splits `[sequences, length, heads, size]` into the rows of each block and head.
pub(super) fn split(
    all: Sequences,
    mut values: &mut [f32],
    heads: usize,
    size: usize,
) -> Vec<Vec<&mut [f32]>> {
    let mut blocks: Vec<Vec<&mut [f32]>> = Vec::new();
    blocks.resize_with(all.count * all.blocks() * heads, Vec::new);
    for row in 0..all.count * all.length {
        let (sequence, token) = (row / all.length, row % all.length);
        for head in 0..heads {
            let (row, rest) = values.split_at_mut(size);
            blocks[(sequence * all.blocks() + token / BLOCK) * heads + head].push(row);
            values = rest;
        }
    }
    blocks
}
