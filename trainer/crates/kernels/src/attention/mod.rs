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
pub use gradient::{AttentionGradients, AttentionUpstream};

use block::{BLOCK, Block, Ranges, STRIDE, dot_products, weighted_sums};
use packed::{Packed, split};
use pol_numerics::{
    Attention, AttentionPart, Op,
    functions::{exp, log},
};
use rayon::prelude::*;

/// Queries, keys, and values of a sequence: `[length, heads, size]`, and `[length, shared, size]`
/// for both others.
#[derive(Clone, Copy)]
pub struct AttentionInputs<'a> {
    /// Queries.
    pub queries: &'a [f32],
    /// Keys.
    pub keys: &'a [f32],
    /// Values.
    pub values: &'a [f32],
}

impl AttentionInputs<'_> {
    fn check(&self, shape: &Attention) -> Result<(), Error> {
        let Attention { length, heads, shared, size, .. } = *shape;
        Op::Attention(Attention { part: AttentionPart::Output, ..*shape }).len()?;
        check("queries", self.queries, &[length, heads, size])?;
        check("keys", self.keys, &[length, shared, size])?;
        check("values", self.values, &[length, shared, size])
    }
}

impl Kernels {
    /// Computes attention: the parts [`AttentionPart::Output`] and [`AttentionPart::LogSumExp`] of
    /// [`Op::Attention`]. The part that the shape names is ignored.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn attention(
        self,
        shape: &Attention,
        inputs: AttentionInputs<'_>,
        out: &mut [f32],
        logarithms: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        inputs.check(shape)?;
        let Attention { length, heads, shared, size, .. } = *shape;
        check("out", out, &[length, heads, size])?;
        check("logarithms", logarithms, &[length, heads])?;
        let [q, k, v, ..] = &mut scratch.buffers;
        let queries = Packed::transposed(inputs.queries, heads, size, q);
        let keys = Packed::transposed(inputs.keys, shared, size, k);
        let values = Packed::rows(inputs.values, shared, size, v);
        let rows = split(out, [length, heads, size]);
        let rows = rows.into_iter().zip(split(logarithms, [length, heads, 1]));
        let tasks: Vec<_> = rows.enumerate().collect();
        tasks.into_par_iter().for_each_init(Work::default, |work, (task, (out, logarithms))| {
            let (block, head) = (task / heads as usize, task % heads as usize);
            let (queries, keys, values) = (&queries, &keys, &values);
            self.run(Forward { shape, queries, keys, values, block, head, out, logarithms, work });
        });
        Ok(())
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
    block: usize,
    head: usize,
    out: Vec<&'b mut [f32]>,
    logarithms: Vec<&'b mut [f32]>,
    work: &'a mut Work,
}

impl Task for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { shape, queries, keys, values, block, head, out, logarithms, work } = self;
        let (size, width) = (shape.size as usize, values.width());
        let shared = shared_head(shape, head);
        let Work { scores, part, total } = work;
        total.clear();
        total.resize(BLOCK * width, 0.0);
        let mut state = Running { highest: [f32::NEG_INFINITY; BLOCK], sum: [0.0; BLOCK] };
        for chunk in Ranges::first_chunk(shape, block)..=block {
            let ranges = Ranges::of_queries(shape, block, chunk);
            // Rows are keys, and columns queries.
            let (left, right) = (keys.get(chunk, shared), queries.get(block, head));
            dot_products(simd, left, right, size, scores);
            let shrink = state.take(scores, &ranges, f32::from_bits(shape.scale));
            weighted_sums(simd, scores, values.get(chunk, shared), width, &ranges, part);
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
