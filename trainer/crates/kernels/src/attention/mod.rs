// SPDX-License-Identifier: Apache-2.0

//! Attention in blocks, forward and backward, without a square of scores.
//!
//! A task takes a block of queries of a head, or of keys, and goes over the chunks of the other
//! side. Scores and weighted sums of a pair of blocks are products, so the micro-kernel computes
//! them. Where a mask cuts through a chunk, a chain holds only what its own query or key sees.

mod block;
mod gradient;
mod packed;

use crate::{
    Error, Kernels, Scratch, canonical, error::check, rows::larger, sets::Task, simd::Simd,
};
pub use gradient::AttentionUpstream;

use block::{BLOCK, Block, Ranges, STRIDE, bound, dot_products, weighted_sums};
use packed::{Heads, Packed, split};
use pol_numerics::{
    Attention, AttentionPart, Op,
    functions::{exp, log},
};
use rayon::prelude::*;

/// Sequences of attention, and the layout of their tokens.
#[derive(Clone, Copy)]
struct Sequences {
    count: usize,
    length: usize,
    /// Heads of queries, and of keys or values.
    heads: usize,
    shared: usize,
    size: usize,
}

impl Sequences {
    /// Checks the inputs of `count` sequences.
    fn new(shape: &Attention, count: u32, inputs: &[f32]) -> Result<Self, Error> {
        let Attention { length, heads, shared, size, .. } = *shape;
        // The definition bounds each extent, so that sums of a few stay far below the end.
        for part in [AttentionPart::Output, AttentionPart::KeyGradient] {
            Op::Attention(Attention { part, ..*shape }).len()?;
        }
        check("inputs", inputs, &[count, length, heads + 2 * shared, size])?;
        let [count, length, heads, shared, size] =
            [count, length, heads, shared, size].map(|extent| extent as usize);
        Ok(Self { count, length, heads, shared, size })
    }

    /// Returns the number of blocks of a sequence.
    fn blocks(self) -> usize {
        self.length.div_ceil(BLOCK)
    }

    /// Returns some heads of all inputs, from head `first` on.
    fn part(self, inputs: &[f32], first: usize, heads: usize) -> Heads<'_> {
        Heads { values: inputs, all: self.heads + 2 * self.shared, first, heads }
    }

    fn queries(self, inputs: &[f32]) -> Heads<'_> {
        self.part(inputs, 0, self.heads)
    }

    fn keys(self, inputs: &[f32]) -> Heads<'_> {
        self.part(inputs, self.heads, self.shared)
    }

    fn values(self, inputs: &[f32]) -> Heads<'_> {
        self.part(inputs, self.heads + self.shared, self.shared)
    }

    /// Returns heads of queries that lie alone, such as those of outputs.
    fn outputs(self, values: &[f32]) -> Heads<'_> {
        Heads { values, all: self.heads, first: 0, heads: self.heads }
    }
}

impl Kernels {
    /// Computes attention of `sequences` sequences: the parts [`AttentionPart::Output`] and
    /// [`AttentionPart::LogSumExp`] of [`Op::Attention`]. The part that the shape names is ignored.
    ///
    /// In `inputs`, the queries, keys, and values of a token lie side by side, as one projection
    /// gives them: `[sequences, length, heads + 2 · shared, size]`.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn attention(
        self,
        shape: &Attention,
        sequences: u32,
        inputs: &[f32],
        out: &mut [f32],
        logarithms: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let all = Sequences::new(shape, sequences, inputs)?;
        let Attention { length, heads, size, .. } = *shape;
        check("out", out, &[sequences, length, heads, size])?;
        check("logarithms", logarithms, &[sequences, length, heads])?;
        let [q, k, v, ..] = &mut scratch.buffers;
        let queries = Packed::transposed(all, all.queries(inputs), q);
        let keys = Packed::transposed(all, all.keys(inputs), k);
        let values = Packed::rows(all, all.values(inputs), v);
        let rows = split(all, out, all.heads, all.size);
        let rows = rows.into_iter().zip(split(all, logarithms, all.heads, 1));
        let tasks: Vec<_> = rows.enumerate().collect();
        tasks.into_par_iter().for_each_init(Work::default, |work, (task, (out, logarithms))| {
            let place = Place::new(all, task, all.heads);
            let (queries, keys, values) = (&queries, &keys, &values);
            self.run(Forward { shape, queries, keys, values, place, out, logarithms, work });
        });
        Ok(())
    }
}

/// A block of a head.
#[derive(Clone, Copy)]
struct Place {
    sequence: usize,
    block: usize,
    head: usize,
}

impl Place {
    /// Returns the place of a task, of which each block has one for each of `heads`.
    fn new(all: Sequences, task: usize, heads: usize) -> Self {
        let (block, head) = (task / heads, task % heads);
        Self { sequence: block / all.blocks(), block: block % all.blocks(), head }
    }

    /// Returns another block of the sequence.
    #[inline(always)]
    fn other(self, block: usize, head: usize) -> Self {
        Self { block, head, ..self }
    }
}

/// Returns the head of keys and values that serves a head of queries.
fn shared_head(shape: &Attention, head: usize) -> usize {
    head / (shape.heads / shape.shared) as usize
}

/// Memory of a task.
#[derive(Default)]
struct Work {
    scores: Block,
    /// Weighted values of a chunk.
    part: Vec<f32>,
    /// Weighted values of all chunks.
    total: Vec<f32>,
}

/// Computes the outputs of a block of queries.
struct Forward<'a, 'b> {
    shape: &'a Attention,
    queries: &'a Packed<'a>,
    keys: &'a Packed<'a>,
    values: &'a Packed<'a>,
    place: Place,
    out: Vec<&'b mut [f32]>,
    logarithms: Vec<&'b mut [f32]>,
    work: &'a mut Work,
}

impl Task for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape, queries, keys, values, place, out, logarithms, work } = self;
        let (size, width, block) = (shape.size as usize, values.width(), place.block);
        let shared = shared_head(shape, place.head);
        let Work { scores, part, total } = work;
        total.clear();
        total.resize(BLOCK * width, 0.0);
        let mut state = Running { highest: [f32::NEG_INFINITY; BLOCK], sum: [0.0; BLOCK] };
        for chunk in Ranges::first_chunk(shape, block)..=block {
            let ranges = Ranges::of_queries(shape, block, chunk);
            // Rows are keys, and columns queries.
            let other = place.other(chunk, shared);
            let (left, right) = (keys.get(other), queries.get(place));
            dot_products(simd, left, right, size, scores);
            let scale = bound(shape, scores);
            let shrink = state.take(scores, &ranges, scale);
            weighted_sums(simd, scores, values.get(other), width, &ranges, part);
            for query in 0..BLOCK {
                if ranges.is_empty(query) {
                    continue;
                }
                let part = &part[query * width..][..size];
                let total = &mut total[query * width..][..size];
                for i in 0..size {
                    total[i] = total[i].mul_add(shrink[query], part[i]);
                }
            }
        }
        for (query, (out, logarithm)) in out.into_iter().zip(logarithms).enumerate() {
            let (total, sum) = (&total[query * width..][..out.len()], state.sum[query]);
            for i in 0..out.len() {
                out[i] = canonical(total[i] / sum);
            }
            logarithm[0] = canonical(state.highest[query] + log(sum));
        }
    }
}

/// Sums of exponentials of each query, below a maximum that may still rise.
struct Running {
    highest: [f32; BLOCK],
    sum: [f32; BLOCK],
}

impl Running {
    /// Turns the products of a chunk into weights, zero for what is hidden, and adds them. Returns
    /// the factors on sums so far.
    #[inline(always)]
    fn take(&mut self, scores: &mut Block, ranges: &Ranges, scale: f32) -> [f32; BLOCK] {
        let mut best = [f32::NEG_INFINITY; BLOCK];
        for key in 0..BLOCK {
            let scores = &mut scores.0[key * STRIDE..][..BLOCK];
            for query in 0..BLOCK {
                let score = scores[query] * scale;
                scores[query] = score;
                let raised = larger(best[query], score);
                best[query] = if ranges.holds(query, key) { raised } else { best[query] };
            }
        }
        let mut shrink = [1f32; BLOCK];
        for query in 0..BLOCK {
            let raised = larger(self.highest[query], best[query]);
            let factor = exp(self.highest[query] - raised);
            if !ranges.is_empty(query) {
                shrink[query] = factor;
                self.sum[query] *= factor;
                self.highest[query] = raised;
            }
        }
        let mut sum = [0f32; BLOCK];
        for key in 0..BLOCK {
            let scores = &mut scores.0[key * STRIDE..][..BLOCK];
            for query in 0..BLOCK {
                let weight = exp(scores[query] - self.highest[query]);
                let weight = if ranges.holds(query, key) { weight } else { 0.0 };
                scores[query] = weight;
                // Sums of exponentials are never −0, so that a zero more changes none.
                sum[query] += weight;
            }
        }
        for query in 0..BLOCK {
            self.sum[query] += sum[query];
        }
        shrink
    }
}
