// SPDX-License-Identifier: Apache-2.0

//! Tensors of attention, packed by block and head.

use super::block::{BLOCK, STRIDE};
use crate::scratch::Buffer;
use rayon::prelude::*;

/// Columns of packed rows are a multiple of every tile's.
const COLUMNS: usize = 32;

/// A tensor in blocks of tokens, those of all heads of a block one after the other. Tokens and
/// values that are not there are zeros.
pub(super) struct Packed<'a> {
    values: &'a [f32],
    heads: usize,
    /// Distance from a block to the next.
    len: usize,
    width: usize,
}

impl<'a> Packed<'a> {
    /// Packs `[length, heads, size]` with the tokens of a block side by side:
    /// `[size, STRIDE]`.
    pub(super) fn transposed(
        values: &[f32],
        heads: u32,
        size: u32,
        buffer: &'a mut Buffer,
    ) -> Self {
        let (heads, size) = (heads as usize, size as usize);
        let pack = |token: usize, row: &[f32], out: &mut [f32]| {
            for (out, &value) in out[token..].iter_mut().step_by(STRIDE).zip(row) {
                *out = value;
            }
        };
        Self::new(values, [heads, size, size * STRIDE, STRIDE], buffer, pack)
    }

    /// Packs `[length, heads, size]` with each token's values side by side: `[BLOCK, width]`.
    pub(super) fn rows(values: &[f32], heads: u32, size: u32, buffer: &'a mut Buffer) -> Self {
        let (heads, size) = (heads as usize, size as usize);
        let width = size.next_multiple_of(COLUMNS);
        let pack = |token: usize, row: &[f32], out: &mut [f32]| {
            out[token * width..][..size].copy_from_slice(row);
        };
        Self::new(values, [heads, size, BLOCK * width, width], buffer, pack)
    }

    fn new(
        values: &[f32],
        [heads, size, len, width]: [usize; 4],
        buffer: &'a mut Buffer,
        pack: impl Fn(usize, &[f32], &mut [f32]) + Sync,
    ) -> Self {
        let tokens = values.len() / (heads * size).max(1);
        let packed = buffer.get(tokens.div_ceil(BLOCK) * heads * len);
        packed.par_chunks_mut(len.max(1)).enumerate().for_each(|(index, packed)| {
            let (block, head) = (index / heads, index % heads);
            packed.fill(0.0);
            for token in 0..BLOCK.min(tokens - block * BLOCK) {
                let at = ((block * BLOCK + token) * heads + head) * size;
                pack(token, &values[at..at + size], packed);
            }
        });
        Self { values: packed, heads, len, width }
    }

    /// Returns a block of a head. It is empty if the heads are.
    pub(super) fn get(&self, block: usize, head: usize) -> &[f32] {
        &self.values[(block * self.heads + head) * self.len..][..self.len]
    }

    /// Returns the distance from a row of a block to the next.
    pub(super) fn width(&self) -> usize {
        self.width
    }
}

/// Splits `[length, heads, size]` into the rows of each block and head.
pub(super) fn split(
    mut values: &mut [f32],
    [length, heads, size]: [u32; 3],
) -> Vec<Vec<&mut [f32]>> {
    let (length, heads) = (length as usize, heads as usize);
    let mut blocks: Vec<Vec<&mut [f32]>> = Vec::new();
    blocks.resize_with(length.div_ceil(BLOCK) * heads, Vec::new);
    for token in 0..length {
        for head in 0..heads {
            let (row, rest) = values.split_at_mut(size as usize);
            blocks[token / BLOCK * heads + head].push(row);
            values = rest;
        }
    }
    blocks
}
