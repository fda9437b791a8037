// SPDX-License-Identifier: Apache-2.0

//! Gradients of attention. Weights are computed again from the logarithms of the forward pass.

use super::{
    Place, Sequences,
    block::{
        BLOCK, Block, Ranges, STRIDE, apply_slopes, bound, dot_products, slopes, transpose,
        weighted_sums,
    },
    packed::{Packed, split},
    shared_head,
};
use crate::{Error, Kernels, Scratch, canonical, error::check, sets::Task, simd::Simd};
use pol_numerics::{Attention, functions::exp};
use rayon::prelude::*;

/// Values that gradients of attention need from the forward pass and from what follows it.
#[derive(Clone, Copy)]
pub struct AttentionUpstream<'a> {
    /// Gradient of the output, `[sequences, length, heads, size]`.
    pub gradient: &'a [f32],
    /// Logarithms of the sums of exponentials, `[sequences, length, heads]`.
    pub logarithms: &'a [f32],
    /// Sums of products of outputs and their gradients, `[sequences, length, heads]`: the
    /// [`Kernels::row_sums`] of both.
    pub products: &'a [f32],
}

impl Kernels {
    /// Computes the gradients of attention: all parts of
    /// [`Op::Attention`](pol_numerics::Op::Attention) that are gradients. The part that the shape
    /// names is ignored. `inputs` are those of [`Kernels::attention`], and `out` has the gradient
    /// of each in its place.
    ///
    /// # Errors
    ///
    /// Fails if a slice does not have the size that the shape says.
    pub fn attention_gradient(
        self,
        shape: &Attention,
        sequences: u32,
        inputs: &[f32],
        upstream: AttentionUpstream<'_>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let all = Sequences::new(shape, sequences, inputs)?;
        let Attention { length, heads, size, .. } = *shape;
        check("gradient", upstream.gradient, &[sequences, length, heads, size])?;
        check("logarithms", upstream.logarithms, &[sequences, length, heads])?;
        check("products", upstream.products, &[sequences, length, heads])?;
        check("gradient of inputs", out, &[sequences, length, heads + 2 * shape.shared, size])?;
        let [q, k, v, dy, q_rows, k_rows, dy_rows, _] = &mut scratch.buffers;
        let (queries, keys) = (all.queries(inputs), all.keys(inputs));
        let gradient = all.outputs(upstream.gradient);
        let operands = Operands {
            shape,
            upstream,
            queries: Packed::transposed(all, queries, q),
            keys: Packed::transposed(all, keys, k),
            values: Packed::transposed(all, all.values(inputs), v),
            gradient: Packed::transposed(all, gradient, dy),
            query_rows: Packed::rows(all, queries, q_rows),
            key_rows: Packed::rows(all, keys, k_rows),
            gradient_rows: Packed::rows(all, gradient, dy_rows),
        };
        let rows = split(all, out, all.heads + 2 * all.shared, all.size);
        // Whole heads save a third of the products, if there are enough of them.
        if all.count * all.shared >= 2 * rayon::current_num_threads() {
            self.gradient_of_groups(&operands, all, rows);
        } else {
            self.gradient_of_blocks(&operands, all, rows);
        }
        Ok(())
    }

    /// Computes the gradients with a task for each block of each head.
    fn gradient_of_blocks(self, operands: &Operands<'_>, all: Sequences, rows: Vec<Rows<'_>>) {
        let mut rows = rows.into_iter();
        let (mut of_queries, mut of_keys) = (Vec::new(), Vec::new());
        for block in 0..all.count * all.blocks() {
            of_queries.extend((block * all.heads..).zip(rows.by_ref().take(all.heads)));
            let keys: Vec<_> = rows.by_ref().take(all.shared).collect();
            let pairs = keys.into_iter().zip(rows.by_ref().take(all.shared));
            of_keys.extend((block * all.shared..).zip(pairs));
        }
        of_queries.into_par_iter().for_each_init(Work::default, |work, (task, out)| {
            let place = Place::new(all, task, all.heads);
            self.run(OfQueries { operands, place, out, work });
        });
        of_keys.into_par_iter().for_each_init(Work::default, |work, (task, (keys, values))| {
            let place = Place::new(all, task, all.shared);
            self.run(OfKeys { operands, place, keys, values, work });
        });
    }

    /// Computes the gradients with a task for each head of keys of a sequence.
    fn gradient_of_groups(self, operands: &Operands<'_>, all: Sequences, rows: Vec<Rows<'_>>) {
        let mut groups: Vec<Group<'_>> = Vec::new();
        groups.resize_with(all.count * all.shared, Group::default);
        let per_group = (all.heads / all.shared.max(1)).max(1);
        for (task, rows) in rows.into_iter().enumerate() {
            let place = Place::new(all, task, all.heads + 2 * all.shared);
            let group = |head: usize| place.sequence * all.shared + head;
            // Blocks come in order, and heads within them.
            match place.head.checked_sub(all.heads) {
                None => groups[group(place.head / per_group)].queries.push(rows),
                Some(head) if head < all.shared => groups[group(head)].keys.push(rows),
                Some(head) => groups[group(head - all.shared)].values.push(rows),
            }
        }
        let tasks: Vec<_> = groups.into_iter().enumerate().collect();
        tasks.into_par_iter().for_each_init(Default::default, |work, (task, group)| {
            let (sequence, shared) = (task / all.shared, task % all.shared);
            self.run(OfGroup { operands, sequence, shared, group, work });
        });
    }
}

/// Rows of a block of a head.
type Rows<'a> = Vec<&'a mut [f32]>;

/// Outputs of a head of keys in a sequence: for each block, the rows of each head that it serves,
/// and its own.
#[derive(Default)]
struct Group<'a> {
    queries: Vec<Rows<'a>>,
    keys: Vec<Rows<'a>>,
    values: Vec<Rows<'a>>,
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
    fn rows(&self, place: Place) -> ([f32; BLOCK], [f32; BLOCK]) {
        let (mut logarithms, mut products) = ([0f32; BLOCK], [0f32; BLOCK]);
        let (heads, length) = (self.shape.heads as usize, self.shape.length as usize);
        let first = place.sequence * length + place.block * BLOCK;
        for query in 0..BLOCK.min(length - place.block * BLOCK) {
            let row = (first + query) * heads + place.head;
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
    /// Slopes of bounded scores. Empty if they have no bound.
    slopes: Vec<f32>,
    /// Gradients with rows and columns exchanged.
    turned: Block,
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
    place: Place,
    out: Vec<&'b mut [f32]>,
    work: &'a mut Work,
}

impl Task for OfQueries<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { operands, place, out, work } = self;
        let (shape, scale) = (operands.shape, operands.scale());
        let (size, width) = (shape.size as usize, operands.key_rows.width());
        let shared = shared_head(shape, place.head);
        let Work { weights, gradients, slopes: of_scores, part, totals: [total, _], .. } = work;
        total.clear(width);
        let (queries, gradient) = (operands.queries.get(place), operands.gradient.get(place));
        let (logarithms, products) = operands.rows(place);
        for chunk in Ranges::first_chunk(shape, place.block)..=place.block {
            let ranges = Ranges::of_queries(shape, place.block, chunk);
            let other = place.other(chunk, shared);
            // Rows are keys, and columns queries.
            dot_products(simd, operands.keys.get(other), queries, size, weights);
            dot_products(simd, operands.values.get(other), gradient, size, gradients);
            let factor = bound(shape, weights);
            slopes(shape, weights, of_scores);
            for key in 0..BLOCK {
                let weights = &weights.0[key * STRIDE..][..BLOCK];
                let gradients = &mut gradients.0[key * STRIDE..][..BLOCK];
                for query in 0..BLOCK {
                    let weight = exp(weights[query] * factor - logarithms[query]);
                    gradients[query] = weight * (gradients[query] - products[query]);
                }
            }
            apply_slopes(of_scores, gradients);
            let rows = operands.key_rows.get(other);
            weighted_sums(simd, gradients, rows, width, &ranges, part);
            total.add(part, width, &ranges);
        }
        total.store(width, scale, out);
    }
}

/// Computes the gradients of a block of keys and values.
struct OfKeys<'a, 'b> {
    operands: &'a Operands<'a>,
    place: Place,
    keys: Vec<&'b mut [f32]>,
    values: Vec<&'b mut [f32]>,
    work: &'a mut Work,
}

impl Task for OfKeys<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { operands, place, keys, values, work } = self;
        sum_over_queries(simd, operands, place, work, None);
        let width = operands.query_rows.width();
        work.totals[0].store(width, operands.scale(), keys);
        work.totals[1].store(width, 1.0, values);
    }
}

/// Sums the gradients of a block of keys and values into the totals of `work`, and with
/// `of_queries` those of each block of queries, for each head of the group.
#[inline(always)]
fn sum_over_queries<S: Simd>(
    simd: S,
    operands: &Operands<'_>,
    place: Place,
    work: &mut Work,
    mut of_queries: Option<&mut [Totals]>,
) {
    let shape = operands.shape;
    let (size, width) = (shape.size as usize, operands.query_rows.width());
    let group = (shape.heads / shape.shared) as usize;
    let Work { weights, gradients, slopes: of_scores, turned, part, totals } = work;
    let [of_keys, of_values] = totals;
    of_keys.clear(width);
    of_values.clear(width);
    let (keys, values) = (operands.keys.get(place), operands.values.get(place));
    for in_group in 0..group {
        for chunk in place.block..Ranges::end_chunk(shape, place.block) {
            let ranges = Ranges::of_keys(shape, place.block, chunk);
            let other = place.other(chunk, place.head * group + in_group);
            let (logarithms, products) = operands.rows(other);
            // Rows are queries, and columns keys.
            dot_products(simd, operands.queries.get(other), keys, size, weights);
            dot_products(simd, operands.gradient.get(other), values, size, gradients);
            let factor = bound(shape, weights);
            slopes(shape, weights, of_scores);
            for query in 0..BLOCK {
                let weights = &mut weights.0[query * STRIDE..][..BLOCK];
                let gradients = &mut gradients.0[query * STRIDE..][..BLOCK];
                let (logarithm, product) = (logarithms[query], products[query]);
                for key in 0..BLOCK {
                    let weight = exp(weights[key] * factor - logarithm);
                    weights[key] = weight;
                    gradients[key] = weight * (gradients[key] - product);
                }
            }
            apply_slopes(of_scores, gradients);
            let rows = operands.query_rows.get(other);
            weighted_sums(simd, gradients, rows, width, &ranges, part);
            of_keys.add(part, width, &ranges);
            let rows = operands.gradient_rows.get(other);
            weighted_sums(simd, weights, rows, width, &ranges, part);
            of_values.add(part, width, &ranges);
            if let Some(totals) = of_queries.as_deref_mut() {
                // Rows are keys, and columns queries.
                transpose(gradients, turned);
                let ranges = Ranges::of_queries(shape, chunk, place.block);
                let rows = operands.key_rows.get(place);
                weighted_sums(simd, turned, rows, width, &ranges, part);
                totals[chunk * group + in_group].add(part, width, &ranges);
            }
        }
    }
}

/// Computes the gradients of a head of keys and values, and of the heads of queries that it serves.
struct OfGroup<'a, 'b> {
    operands: &'a Operands<'a>,
    sequence: usize,
    shared: usize,
    group: Group<'b>,
    work: &'a mut (Work, Vec<Totals>),
}

impl Task for OfGroup<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Self { operands, sequence, shared, group, work: (work, of_queries) } = self;
        let (width, scale) = (operands.query_rows.width(), operands.scale());
        of_queries.resize_with(group.queries.len(), Totals::default);
        for totals in of_queries.iter_mut() {
            totals.clear(width);
        }
        for (block, (keys, values)) in group.keys.into_iter().zip(group.values).enumerate() {
            let place = Place { sequence, block, head: shared };
            // Blocks of keys in their order, which is that of the sums of each query.
            sum_over_queries(simd, operands, place, work, Some(of_queries));
            work.totals[0].store(width, scale, keys);
            work.totals[1].store(width, 1.0, values);
        }
        for (totals, out) in of_queries.iter().zip(group.queries) {
            totals.store(width, scale, out);
        }
    }
}
