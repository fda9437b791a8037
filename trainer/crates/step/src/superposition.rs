// SPDX-License-Identifier: Apache-2.0

//! A superposition of branches at the end of a block, forward and backward.
//!
//! Pairs of tokens are products of matrices over whole sequences. What a token does not see counts
//! as zero in them.

use crate::{
    Error,
    layers::{Run, gather, scatter},
    plan::{self, Plan},
};
use pol_kernels::Extras;
use pol_numerics::{Broadcast, Chain, Function, Norm, NormKind, Summand};
use std::ops::Range;

/// Constant that is added to sums of squares before the root.
const EPSILON: f32 = 1e-6;
/// Most pairs of tokens at a time, unless a single chain of queries has more.
const PAIRS: usize = 1 << 20;
/// Tokens of a chain. Parts of a sum over queries end where chains do.
const CHAIN: usize = pol_numerics::CHAIN as usize;

/// Values of the forward pass that the backward pass reads, a row for each token.
#[derive(Default)]
pub(crate) struct Superposed {
    /// The residual stream before the layer.
    pub(crate) stream: Unit,
    amplitudes: Unit,
    query: Unit,
    key: Unit,
    /// States of all branches.
    states: Vec<f32>,
    /// Real and imaginary parts of amplitudes, and their squared sizes.
    parts: [Vec<f32>; 3],
    /// States of branches, summed with each of `parts`.
    sums: [Vec<f32>; 3],
    /// Inputs and outputs of the last projection.
    mixed: Vec<f32>,
    outputs: Vec<f32>,
}

/// Rows, and what they are with a mean square or sum of squares of 1.
#[derive(Default)]
pub(crate) struct Unit {
    pub(crate) values: Vec<f32>,
    statistics: Vec<f32>,
    scaled: Vec<f32>,
}

/// Memory that superpositions of all blocks share.
#[derive(Default)]
pub(crate) struct SuperpositionWork {
    /// Queries of pairs at a time.
    part: usize,
    /// A value for each pair.
    pairs: [Vec<f32>; 4],
    /// A value for each rank of a branch.
    states: [Vec<f32>; 4],
    /// A value for each rank.
    ranks: [Vec<f32>; 6],
    /// A value for each branch.
    branches: [Vec<f32>; 5],
    /// Two values for each branch.
    amplitudes: [Vec<f32>; 2],
    /// Reciprocal of the number of earlier tokens, 1 for the first.
    shares: Vec<f32>,
}

impl Unit {
    fn new(tokens: usize, width: u32) -> Self {
        let values = || vec![0.0; tokens * width as usize];
        Self { values: values(), statistics: vec![0.0; tokens * 2], scaled: values() }
    }

    fn tensors(&self) -> [&[f32]; 3] {
        [&self.values, &self.statistics, &self.scaled]
    }
}

impl Superposed {
    pub(crate) fn new(plan: &Plan, tokens: usize) -> Self {
        let Some(sizes) = plan.spec.mind.superposition else { return Self::default() };
        let (width, branches, rank) = (plan.spec.width, sizes.branches.into(), sizes.rank.into());
        let (unit, values) =
            (|width| Unit::new(tokens, width), |width: u32| vec![0.0; tokens * width as usize]);
        Self {
            stream: unit(width),
            amplitudes: unit(2 * branches),
            query: unit(rank),
            key: unit(rank),
            states: values(branches * rank),
            parts: [0; 3].map(|_| values(branches)),
            sums: [0; 3].map(|_| values(rank)),
            mixed: values(rank),
            outputs: values(width),
        }
    }

    /// Returns real parts of all amplitudes of a token and then imaginary ones, token by token.
    pub(crate) fn amplitudes(&self) -> &[f32] {
        &self.amplitudes.scaled
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        let Self { stream, amplitudes, query, key, states, parts, sums, mixed, outputs } = self;
        let units = [stream, amplitudes, query, key].into_iter().flat_map(Unit::tensors);
        let values = parts.iter().chain(sums).chain([states, mixed, outputs]);
        units.chain(values.map(Vec::as_slice))
    }
}

impl SuperpositionWork {
    pub(crate) fn new(plan: &Plan, sequences: usize, length: usize) -> Self {
        let Some(sizes) = plan.spec.mind.superposition else { return Self::default() };
        let (branches, rank) = (usize::from(sizes.branches), usize::from(sizes.rank));
        let values = |width: usize| vec![0.0; sequences * length * width];
        let part = pairs_at_once(length);
        let share = |token: usize| 1.0 / (token % length).max(1) as f32;
        Self {
            part,
            pairs: [0; 4].map(|_| vec![0.0; part * length]),
            states: [0; 4].map(|_| values(branches * rank)),
            ranks: [0; 6].map(|_| values(rank)),
            branches: [0; 5].map(|_| values(branches)),
            amplitudes: [0; 2].map(|_| values(2 * branches)),
            shares: (0..sequences * length).map(share).collect(),
        }
    }

    /// Keeps what the forward pass uses.
    pub(crate) fn without_gradients(self) -> Self {
        let Self { part, pairs, states, ranks, branches, shares, .. } = self;
        let ([fits, overlaps, coupling, _], [squares, ..]) = (pairs, states);
        let ([first, second, third, ..], [square, ..]) = (ranks, branches);
        let none = Vec::new;
        Self {
            part,
            pairs: [fits, overlaps, coupling, none()],
            states: [squares, none(), none(), none()],
            ranks: [first, second, third, none(), none(), none()],
            branches: [square, none(), none(), none(), none()],
            shares,
            ..Self::default()
        }
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        let Self { pairs, states, ranks, branches, amplitudes, shares, .. } = self;
        let all = pairs.iter().chain(states).chain(ranks).chain(branches).chain(amplitudes);
        all.chain([shares]).map(Vec::as_slice)
    }
}

/// Returns the number of queries of a sequence whose pairs are computed together.
pub(crate) fn pairs_at_once(length: usize) -> usize {
    ((PAIRS / length.max(1) / CHAIN).max(1) * CHAIN).min(length)
}

/// One value for each element, row, or column.
fn each(values: &[f32]) -> (Broadcast, &[f32]) {
    (Broadcast::Each, values)
}

fn row(values: &[f32]) -> (Broadcast, &[f32]) {
    (Broadcast::Row, values)
}

fn column(values: &[f32]) -> (Broadcast, &[f32]) {
    (Broadcast::Column, values)
}

fn unit(kind: NormKind, [rows, width]: [u32; 2]) -> Norm {
    Norm { rows, width, kind, epsilon: EPSILON.to_bits(), weight: false, bias: false }
}

/// Copies each row of `width` values `count` times.
fn repeat(values: &[f32], width: usize, count: usize, out: &mut [f32]) {
    for (row, out) in values.chunks(width).zip(out.chunks_mut(width * count)) {
        out.chunks_mut(width).for_each(|out| out.copy_from_slice(row));
    }
}

/// Hides the token of each row and those after it. The first row is that of token `first`.
fn hide(pairs: &mut [f32], length: usize, first: usize) {
    for (token, row) in (first..).zip(pairs.chunks_mut(length)) {
        row[token..].fill(0.0);
    }
}

impl Run<'_> {
    /// Scales rows.
    fn scale(&self, kind: NormKind, width: u32, memory: &mut Unit) -> Result<(), Error> {
        let (kernels, shape) = (self.kernels, unit(kind, [self.tokens(), width]));
        let Unit { values, statistics, scaled } = memory;
        kernels.norm_statistics(&shape, values, statistics)?;
        Ok(kernels.norm(&shape, values, statistics, None, None, scaled)?)
    }

    /// Computes the gradient of rows before they were scaled.
    fn scale_gradient(
        &self,
        kind: NormKind,
        width: u32,
        memory: &Unit,
        dy: &[f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let (shape, Unit { values, statistics, .. }) = (unit(kind, [self.tokens(), width]), memory);
        Ok(self.kernels.norm_gradient(&shape, dy, values, statistics, None, out)?)
    }

    /// Computes the residual stream after a superposition from that before it, `memory.stream`.
    pub(crate) fn superposition(
        &mut self,
        layer: &plan::Superposition,
        memory: &mut Superposed,
        work: &mut SuperpositionWork,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let width = self.spec().width;
        self.scale(NormKind::MeanSquare, width, &mut memory.stream)?;
        let Superposed { stream, amplitudes, query, key, states, .. } = memory;
        let normed = &stream.scaled;
        let projections =
            [(&layer.amplitudes, amplitudes), (&layer.query, query), (&layer.key, key)];
        for (linear, unit) in projections {
            self.linear(linear, normed, None, &mut unit.values)?;
            self.scale(NormKind::SumOfSquares, linear.outputs, unit)?;
        }
        self.linear(&layer.branches, normed, None, states)?;
        self.mix(layer, memory, work)?;
        for sequence in 0..self.sequences as usize {
            for part in self.parts(work.part) {
                self.entangle(layer, (sequence, part), memory, work)?;
            }
        }
        let [entangled, share, ..] = &mut work.ranks;
        let operands = [each(entangled), row(&work.shares)];
        self.element(Function::Multiply, layer.key.outputs, operands, share)?;
        self.kernels.add(share, &mut memory.mixed)?;
        let Superposed { stream, mixed, outputs, .. } = memory;
        self.linear(&layer.out, mixed, None, outputs)?;
        let gate = &self.parameters[layer.gate.clone()];
        let operands = [each(outputs), column(gate), each(&stream.values)];
        self.element(Function::MultiplyAdd, width, operands, out)
    }

    /// Mixes the branches of each token, `memory.mixed`.
    fn mix(
        &self,
        layer: &plan::Superposition,
        memory: &mut Superposed,
        work: &mut SuperpositionWork,
    ) -> Result<(), Error> {
        let Superposed { amplitudes, states, parts, sums, mixed, .. } = memory;
        let (rank, branches) = (layer.key.outputs, layer.amplitudes.outputs / 2);
        let [real, imaginary, sizes] = parts;
        let width = layer.amplitudes.outputs as usize;
        gather(&amplitudes.scaled, width, 0, real);
        gather(&amplitudes.scaled, width, branches as usize, imaginary);
        let square = &mut work.branches[0];
        let operands = [each(imaginary), each(imaginary)];
        self.element(Function::Multiply, branches, operands, square)?;
        let operands = [each(real), each(real), each(square)];
        self.element(Function::MultiplyAdd, branches, operands, sizes)?;
        let shape = Chain { outer: self.tokens(), length: branches, inner: rank, weighted: true };
        for (part, sum) in parts.iter().zip(&mut *sums) {
            self.kernels.chain(&shape, states, Some(part), sum)?;
        }
        // The intensity less that of each branch alone.
        let [alone, first, second, ..] = &mut work.ranks;
        let squares = &mut work.states[0];
        let operands = [each(states), each(states)];
        self.element(Function::Multiply, rank * branches, operands, squares)?;
        self.kernels.chain(&shape, squares, Some(&parts[2]), alone)?;
        let [real, imaginary, plain] = sums;
        self.element(Function::Multiply, rank, [each(imaginary), each(imaginary)], first)?;
        let operands = [each(real), each(real), each(first)];
        self.element(Function::MultiplyAdd, rank, operands, second)?;
        self.element(Function::Subtract, rank, [each(second), each(alone)], first)?;
        self.element(Function::Add, rank, [each(plain), each(first)], mixed)
    }

    /// Returns the queries of a sequence in parts.
    fn parts(&self, part: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let length = self.length as usize;
        (0..length).step_by(part).map(move |first| first..length.min(first + part))
    }

    /// Returns places of a part of a sequence's rows, and of all of them.
    fn places(&self, sequence: usize, part: &Range<usize>, width: u32) -> [Range<usize>; 2] {
        let (length, width) = (self.length as usize, width as usize);
        let place = |rows: Range<usize>| {
            (sequence * length + rows.start) * width..(sequence * length + rows.end) * width
        };
        [place(part.clone()), place(0..length)]
    }

    /// Computes how well queries fit keys, `pairs[0]`, and how well their amplitudes overlap,
    /// `pairs[1]`, for some tokens of a sequence and all of them.
    fn compare(
        &mut self,
        layer: &plan::Superposition,
        (sequence, part): (usize, &Range<usize>),
        memory: &Superposed,
        [fits, overlaps]: [&mut [f32]; 2],
    ) -> Result<(), Error> {
        let (amplitudes, query, key) = (&memory.amplitudes, &memory.query, &memory.key);
        let sides = [
            (query, key, layer.key.outputs, fits),
            (amplitudes, amplitudes, layer.amplitudes.outputs, overlaps),
        ];
        for (left, right, width, out) in sides {
            let [own, all] = self.places(sequence, part, width);
            let shape = [self.length, width];
            self.project_back(shape, &left.scaled[own], &right.scaled[all], None, out)?;
        }
        Ok(())
    }

    /// Sums earlier tokens for some tokens of a sequence, `work.ranks[0]`.
    fn entangle(
        &mut self,
        layer: &plan::Superposition,
        (sequence, part): (usize, Range<usize>),
        memory: &Superposed,
        work: &mut SuperpositionWork,
    ) -> Result<(), Error> {
        let (length, rank) = (self.length, layer.key.outputs);
        let pairs = part.len() * length as usize;
        let [fits, overlaps, coupling, _] = &mut work.pairs;
        let [fits, overlaps, coupling] = [fits, overlaps, coupling].map(|all| &mut all[..pairs]);
        self.compare(layer, (sequence, &part), memory, [fits, overlaps])?;
        let operands = [each(fits), each(overlaps)];
        self.element(Function::Multiply, length, operands, coupling)?;
        hide(coupling, length as usize, part.start);
        let [own, all] = self.places(sequence, &part, rank);
        let (extras, out) = (Extras::default(), &mut work.ranks[0][own]);
        self.project([length, rank], coupling, &memory.sums[2][all], extras, out)
    }

    /// Turns the gradient of the residual stream after a superposition, `stream`, into that before
    /// it. The others are of its shape.
    pub(crate) fn superposition_gradient(
        &mut self,
        layer: &plan::Superposition,
        memory: &Superposed,
        [stream, other, third]: [&mut Vec<f32>; 3],
        gradient: &mut [f32],
        work: &mut SuperpositionWork,
    ) -> Result<(), Error> {
        let (kernels, width, rank) = (self.kernels, self.spec().width, layer.key.outputs);
        let operands = [each(stream), each(&memory.outputs)];
        self.element(Function::Multiply, width, operands, third)?;
        self.column_sums(width, third, &mut gradient[layer.gate.clone()])?;
        let gate = &self.parameters[layer.gate.clone()];
        self.element(Function::Multiply, width, [each(stream), column(gate)], other)?;
        let of_mixed = &mut work.ranks[0];
        self.linear_gradient(&layer.out, [&memory.mixed, other], gradient, None, of_mixed)?;
        let [of_mixed, shared, ..] = &mut work.ranks;
        let operands = [each(of_mixed), row(&work.shares)];
        self.element(Function::Multiply, rank, operands, shared)?;
        for sequence in 0..self.sequences as usize {
            for part in self.parts(work.part) {
                self.entangle_gradient(layer, (sequence, part), memory, work)?;
            }
        }
        let [of_mixed, _, of_plain, ..] = &mut work.ranks;
        kernels.add(of_mixed, of_plain)?;
        let [own, others] = &mut work.amplitudes;
        kernels.add(others, own)?;
        self.mix_gradient(layer, memory, work)?;

        let SuperpositionWork { states, ranks, amplitudes: [of_scaled, of_amplitudes], .. } = work;
        let kind = NormKind::SumOfSquares;
        let outputs = layer.amplitudes.outputs;
        self.scale_gradient(kind, outputs, &memory.amplitudes, of_scaled, of_amplitudes)?;
        let [of_query, of_key, _, scaled_query, scaled_key, _] = ranks;
        self.scale_gradient(kind, rank, &memory.query, scaled_query, of_query)?;
        self.scale_gradient(kind, rank, &memory.key, scaled_key, of_key)?;
        let projections = [
            (&layer.amplitudes, &*of_amplitudes),
            (&layer.branches, &states[1]),
            (&layer.query, &*of_query),
            (&layer.key, &*of_key),
        ];
        let mut addend = None;
        for (linear, dy) in projections {
            let pair = [&memory.stream.scaled[..], dy];
            self.linear_gradient(linear, pair, gradient, addend, other)?;
            std::mem::swap(other, third);
            addend = Some(&third[..]);
        }
        self.scale_gradient(NormKind::MeanSquare, width, &memory.stream, third, other)?;
        Ok(kernels.add(other, stream)?)
    }

    /// Continues the gradients of branches, `ranks[2]`, queries, `ranks[3]`, and keys, `ranks[4]`,
    /// and of amplitudes on both sides, from that of the sums of some tokens, `ranks[1]`.
    fn entangle_gradient(
        &mut self,
        layer: &plan::Superposition,
        (sequence, part): (usize, Range<usize>),
        memory: &Superposed,
        work: &mut SuperpositionWork,
    ) -> Result<(), Error> {
        let (length, rank, width) = (self.length, layer.key.outputs, layer.amplitudes.outputs);
        let (pairs, continues) = (part.len() * length as usize, part.start > 0);
        let SuperpositionWork { pairs: all_pairs, ranks, amplitudes: [own_side, all_side], .. } =
            work;
        let [fits, overlaps, coupling, third] = all_pairs.each_mut().map(|all| &mut all[..pairs]);
        self.compare(layer, (sequence, &part), memory, [fits, overlaps])?;
        let [own, all] = self.places(sequence, &part, rank);
        let [_, of_sums, of_plain, of_query, of_key, _] = ranks;
        let of_sums = &of_sums[own.clone()];
        self.element(Function::Multiply, length, [each(fits), each(overlaps)], coupling)?;
        hide(coupling, length as usize, part.start);
        let out = &mut of_plain[all.clone()];
        self.outer_product([length, rank], [coupling, of_sums], continues, out)?;
        self.project_back([length, rank], of_sums, &memory.sums[2][all.clone()], None, coupling)?;
        hide(coupling, length as usize, part.start);

        let extras = Extras::default();
        self.element(Function::Multiply, length, [each(coupling), each(overlaps)], third)?;
        let (queries, keys) = (&memory.query.scaled, &memory.key.scaled);
        let out = &mut of_query[own.clone()];
        self.project([length, rank], third, &keys[all.clone()], extras, out)?;
        let out = &mut of_key[all];
        self.outer_product([length, rank], [third, &queries[own]], continues, out)?;

        self.element(Function::Multiply, length, [each(coupling), each(fits)], third)?;
        let [own, all] = self.places(sequence, &part, width);
        let amplitudes = &memory.amplitudes.scaled;
        let out = &mut own_side[own.clone()];
        self.project([length, width], third, &amplitudes[all.clone()], extras, out)?;
        let out = &mut all_side[all];
        self.outer_product([length, width], [third, &amplitudes[own]], continues, out)
    }

    /// Computes the gradient of states, `work.states[1]`, and adds that of amplitudes,
    /// `work.amplitudes[0]`, from those of what branches mix to, `work.ranks[0]`, and of their
    /// plain sums, `work.ranks[2]`.
    fn mix_gradient(
        &self,
        layer: &plan::Superposition,
        memory: &Superposed,
        work: &mut SuperpositionWork,
    ) -> Result<(), Error> {
        let (kernels, rank) = (self.kernels, layer.key.outputs);
        let branches = layer.amplitudes.outputs / 2;
        let rows = [self.tokens() * branches, rank];
        let [width, count] = [rank, branches].map(|extent| extent as usize);
        let SuperpositionWork { states, ranks, branches: of_parts, amplitudes, .. } = work;
        let [first, second, third, fourth] = states;
        let [of_mixed, doubled, of_plain, _, _, of_sum] = ranks;
        let [of_real, of_imaginary, of_sizes, twice, total] = of_parts;
        let Superposed { states, parts: [real, imaginary, sizes], sums, .. } = memory;
        let all = rank * branches;
        let products = |others: &[f32], out: &mut [f32]| {
            kernels.row_sums(rows, Summand::Products, states, Some(others), out)
        };
        let two: (Broadcast, &[f32]) = (Broadcast::One, &[2.0]);
        self.element(Function::Multiply, rank, [each(of_mixed), two], doubled)?;

        self.element(Function::Multiply, rank, [each(doubled), each(&sums[0])], of_sum)?;
        repeat(of_sum, width, count, first);
        products(first, of_real)?;
        self.element(Function::Multiply, rank, [each(first), row(real)], second)?;
        self.element(Function::Multiply, rank, [each(doubled), each(&sums[1])], of_sum)?;
        repeat(of_sum, width, count, first);
        products(first, of_imaginary)?;
        let operands = [each(first), row(imaginary), each(second)];
        self.element(Function::MultiplyAdd, rank, operands, third)?;

        // Squares of states are subtracted from the sums.
        repeat(of_mixed, width, count, first);
        self.element(Function::Multiply, all, [each(first), each(states)], second)?;
        repeat(of_plain, width, count, first);
        self.element(Function::Subtract, all, [each(first), each(second)], fourth)?;
        products(fourth, of_sizes)?;
        self.element(Function::Subtract, all, [each(fourth), each(second)], first)?;
        let operands = [each(first), row(sizes), each(third)];
        self.element(Function::MultiplyAdd, rank, operands, second)?;

        self.element(Function::Multiply, branches, [each(of_sizes), two], twice)?;
        let [of_amplitudes, both] = amplitudes;
        for (part, of_part, at) in [(real, of_real, 0), (imaginary, of_imaginary, count)] {
            let operands = [each(part), each(twice), each(of_part)];
            self.element(Function::MultiplyAdd, branches, operands, total)?;
            scatter(total, 2 * count, at, both);
        }
        Ok(kernels.add(both, of_amplitudes)?)
    }
}

#[cfg(test)]
mod tests;
