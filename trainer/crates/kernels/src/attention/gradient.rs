// SPDX-License-Identifier: Apache-2.0

//! Gradients of attention. Weights are computed again from the logarithms of the forward pass.

use super::{
    AttentionInputs,
    block::{BLOCK, Block, Ranges, STRIDE, dot_products, weighted_sums},
    packed::{Packed, split},
    shared_head,
};
use crate::{Error, Kernels, Scratch, canonical, error::check, sets::Task, simd::Simd};
use pol_numerics::{Attention, functions::exp};
use rayon::prelude::*;

/// Values that gradients of attention need from the forward pass and from what follows it.
#[derive(Clone, Copy)]
pub struct AttentionUpstream<'a> {
    /// Gradient of the output, `[length, heads, size]`.
    pub gradient: &'a [f32],
    /// Logarithms of the sums of exponentials, `[length, heads]`.
    pub logarithms: &'a [f32],
    /// Sums of products of outputs and their gradients, `[length, heads]`: the
    /// [`Kernels::row_sums`] of both.
    pub products: &'a [f32],
}

/// Gradients of the inputs of attention.
pub struct AttentionGradients<'a> {
    /// Gradient of the queries.
    pub queries: &'a mut [f32],
    /// Gradient of the keys.
    pub keys: &'a mut [f32],
    /// Gradient of the values.
    pub values: &'a mut [f32],
}

impl Kernels {
    /// Computes the gradients of attention: all parts of
    /// [`Op::Attention`](pol_numerics::Op::Attention) that are gradients. The part that the shape
    /// names is ignored.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn attention_gradient(
        self,
        shape: &Attention,
        inputs: AttentionInputs<'_>,
        upstream: AttentionUpstream<'_>,
        out: AttentionGradients<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        inputs.check(shape)?;
        let Attention { length, heads, shared, size, .. } = *shape;
        check("gradient", upstream.gradient, &[length, heads, size])?;
        check("logarithms", upstream.logarithms, &[length, heads])?;
        check("products", upstream.products, &[length, heads])?;
        check("gradient of queries", out.queries, &[length, heads, size])?;
        check("gradient of keys", out.keys, &[length, shared, size])?;
        check("gradient of values", out.values, &[length, shared, size])?;
        let [q, k, v, dy, q_rows, k_rows, dy_rows, _] = &mut scratch.buffers;
        let operands = Operands {
            shape,
            upstream,
            queries: Packed::transposed(inputs.queries, heads, size, q),
            keys: Packed::transposed(inputs.keys, shared, size, k),
            values: Packed::transposed(inputs.values, shared, size, v),
            gradient: Packed::transposed(upstream.gradient, heads, size, dy),
            query_rows: Packed::rows(inputs.queries, heads, size, q_rows),
            key_rows: Packed::rows(inputs.keys, shared, size, k_rows),
            gradient_rows: Packed::rows(upstream.gradient, heads, size, dy_rows),
        };
        let operands = &operands;
        let tasks: Vec<_> =
            split(out.queries, [length, heads, size]).into_iter().enumerate().collect();
        tasks.into_par_iter().for_each_init(Work::default, |work, (task, out)| {
            let (block, head) = (task / heads as usize, task % heads as usize);
            self.run(OfQueries { operands, block, head, out, work });
        });
        let rows = split(out.keys, [length, shared, size]).into_iter();
        let rows = rows.zip(split(out.values, [length, shared, size]));
        let tasks: Vec<_> = rows.enumerate().collect();
        tasks.into_par_iter().for_each_init(Work::default, |work, (task, (keys, values))| {
            let (block, shared) = (task / shared as usize, task % shared as usize);
            self.run(OfKeys { operands, block, shared, keys, values, work });
        });
        Ok(())
    }
}

/// Operands of all tasks.
struct Operands<'a> {
    shape: &'a Attention,
    upstream: AttentionUpstream<'a>,
    queries: Packed<'a>,
    keys: Packed<'a>,
    values: Packed<'a>,
    gradient: Packed<'a>,
    query_rows: Packed<'a>,
    key_rows: Packed<'a>,
    gradient_rows: Packed<'a>,
}

impl Operands<'_> {
    /// Returns logarithms and products of a block of queries, zeros beyond the last.
    #[inline(always)]
    fn rows(&self, block: usize, head: usize) -> ([f32; BLOCK], [f32; BLOCK]) {
        let (mut logarithms, mut products) = ([0f32; BLOCK], [0f32; BLOCK]);
        let heads = self.shape.heads as usize;
        for query in 0..BLOCK.min(self.shape.length as usize - block * BLOCK) {
            let row = (block * BLOCK + query) * heads + head;
            logarithms[query] = self.upstream.logarithms[row];
            products[query] = self.upstream.products[row];
        }
        (logarithms, products)
    }

    fn scale(&self) -> f32 {
        f32::from_bits(self.shape.scale)
    }
}

/// Memory of a task.
#[derive(Default)]
struct Work {
    weights: Block,
    gradients: Block,
    part: Vec<f32>,
    totals: [Totals; 2],
}

/// Sums of the chunks so far, for each member of a block.
#[derive(Default)]
struct Totals {
    values: Vec<f32>,
    is_begun: Vec<bool>,
}

impl Totals {
    fn clear(&mut self, width: usize) {
        self.values.clear();
        self.values.resize(BLOCK * width, 0.0);
        self.is_begun.clear();
        self.is_begun.resize(BLOCK, false);
    }

    /// Adds the sums of a chunk, for members that have any.
    #[inline(always)]
    fn add(&mut self, part: &[f32], width: usize, ranges: &Ranges) {
        for member in 0..BLOCK {
            if ranges.is_empty(member) {
                continue;
            }
            let total = &mut self.values[member * width..][..width];
            let part = &part[member * width..][..width];
            if self.is_begun[member] {
                for i in 0..width {
                    total[i] += part[i];
                }
            } else {
                // The first sum is not added to zero, which would take the sign of a zero.
                total.copy_from_slice(part);
                self.is_begun[member] = true;
            }
        }
    }

    #[inline(always)]
    fn store(&self, width: usize, scale: f32, out: Vec<&mut [f32]>) {
        for (member, out) in out.into_iter().enumerate() {
            let total = &self.values[member * width..][..out.len()];
            for i in 0..out.len() {
                out[i] = canonical(total[i] * scale);
            }
        }
    }
}

/// Computes the gradient of a block of queries.
struct OfQueries<'a, 'b> {
    operands: &'a Operands<'a>,
    block: usize,
    head: usize,
    out: Vec<&'b mut [f32]>,
    work: &'a mut Work,
}

impl Task for OfQueries<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { operands, block, head, out, work } = self;
        let (shape, scale) = (operands.shape, operands.scale());
        let (size, width) = (shape.size as usize, operands.key_rows.width());
        let shared = shared_head(shape, head);
        let Work { weights, gradients, part, totals: [total, _] } = work;
        total.clear(width);
        let (queries, gradient) =
            (operands.queries.get(block, head), operands.gradient.get(block, head));
        let (logarithms, products) = operands.rows(block, head);
        for chunk in Ranges::first_chunk(shape, block)..=block {
            let ranges = Ranges::of_queries(shape, block, chunk);
            // Rows are keys, and columns queries.
            dot_products(simd, operands.keys.get(chunk, shared), queries, size, weights);
            dot_products(simd, operands.values.get(chunk, shared), gradient, size, gradients);
            for key in 0..BLOCK {
                let weights = &weights.0[key * STRIDE..][..BLOCK];
                let gradients = &mut gradients.0[key * STRIDE..][..BLOCK];
                for query in 0..BLOCK {
                    let weight = exp(weights[query] * scale - logarithms[query]);
                    gradients[query] = weight * (gradients[query] - products[query]);
                }
            }
            let rows = operands.key_rows.get(chunk, shared);
            weighted_sums(simd, gradients, rows, width, &ranges, part);
            total.add(part, width, &ranges);
        }
        total.store(width, scale, out);
    }
}

/// Computes the gradients of a block of keys and values.
struct OfKeys<'a, 'b> {
    operands: &'a Operands<'a>,
    block: usize,
    shared: usize,
    keys: Vec<&'b mut [f32]>,
    values: Vec<&'b mut [f32]>,
    work: &'a mut Work,
}

impl Task for OfKeys<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { operands, block, shared, keys: out_keys, values: out_values, work } = self;
        let (shape, scale) = (operands.shape, operands.scale());
        let (size, width) = (shape.size as usize, operands.query_rows.width());
        let group = (shape.heads / shape.shared) as usize;
        let Work { weights, gradients, part, totals: [of_keys, of_values] } = work;
        of_keys.clear(width);
        of_values.clear(width);
        let (keys, values) = (operands.keys.get(block, shared), operands.values.get(block, shared));
        for head in shared * group..(shared + 1) * group {
            for chunk in block..Ranges::end_chunk(shape, block) {
                let ranges = Ranges::of_keys(shape, block, chunk);
                let (logarithms, products) = operands.rows(chunk, head);
                // Rows are queries, and columns keys.
                dot_products(simd, operands.queries.get(chunk, head), keys, size, weights);
                dot_products(simd, operands.gradient.get(chunk, head), values, size, gradients);
                for query in 0..BLOCK {
                    let weights = &mut weights.0[query * STRIDE..][..BLOCK];
                    let gradients = &mut gradients.0[query * STRIDE..][..BLOCK];
                    let (logarithm, product) = (logarithms[query], products[query]);
                    for key in 0..BLOCK {
                        let weight = exp(weights[key] * scale - logarithm);
                        weights[key] = weight;
                        gradients[key] = weight * (gradients[key] - product);
                    }
                }
                let rows = operands.query_rows.get(chunk, head);
                weighted_sums(simd, gradients, rows, width, &ranges, part);
                of_keys.add(part, width, &ranges);
                let rows = operands.gradient_rows.get(chunk, head);
                weighted_sums(simd, weights, rows, width, &ranges, part);
                of_values.add(part, width, &ranges);
            }
        }
        of_keys.store(width, scale, out_keys);
        of_values.store(width, 1.0, out_values);
    }
}
