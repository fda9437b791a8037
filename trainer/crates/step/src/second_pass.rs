// SPDX-License-Identifier: Apache-2.0

//! A second run of the last blocks, for tokens with a high predicted loss.
//!
//! All tokens run again, and the change counts for the chosen ones. Queries read the keys and
//! values of the first run. Superpositions do not run again, and nothing learns from the choice.

use crate::{
    Error,
    layers::{Run, gather, scatter},
    memory::{BlockMemory, Choice, Memory, SecondPassMemory, Work},
    plan::{Block, Linear, SecondPass},
};
use pol_kernels::Extras;
use pol_numerics::{Broadcast, Function, Summand};
use std::ops::Range;

/// Memory that a block runs again in.
pub(crate) struct Again<'a> {
    pub(crate) block: &'a Block,
    /// The residual stream before the block.
    pub(crate) stream: &'a [f32],
    /// Part of the projection that gives queries, and its gradient.
    pub(crate) query: &'a mut [Vec<f32>; 2],
}

impl Run<'_> {
    /// Computes the residual stream after the second pass, from that after the last block and its
    /// norm.
    pub(crate) fn second_pass(
        &mut self,
        pass: &SecondPass,
        head: &Linear,
        memory: &mut Memory,
    ) -> Result<(), Error> {
        let plan = self.plan;
        let Memory { streams, blocks, second_pass, norm, introspection, work, .. } = memory;
        let predicted = &mut introspection.predicted;
        self.linear(head, &norm.values, None, predicted)?;
        self.choose(pass, predicted, &mut second_pass.choice)?;
        let last = &streams[plan.blocks.len()][..];
        let SecondPassMemory { blocks: of_blocks, streams, change, out, choice, query, .. } =
            second_pass;
        for (index, block) in plan.blocks[pass.first..].iter().enumerate() {
            let (before, after) = streams.split_at_mut(index);
            let stream = before.last().map_or(last, |stream| &stream[..]);
            let again = Again { block, stream, query };
            let of_block = &mut of_blocks[index];
            of_block.projected.copy_from_slice(&blocks[pass.first + index].projected);
            self.block_again(again, of_block, work, &mut after[0])?;
        }
        let again = streams.last().map_or(last, |stream| &stream[..]);
        self.add_change([again, last], &choice.factors, change, out)
    }

    /// Computes the residual stream after the second pass, `out`, from those after and before the
    /// blocks ran again, and the change between them.
    pub(crate) fn add_change(
        &self,
        [again, last]: [&[f32]; 2],
        factors: &[f32],
        change: &mut [f32],
        out: &mut [f32],
    ) -> Result<(), Error> {
        let width = self.spec().width;
        let operands = [(Broadcast::Each, again), (Broadcast::Each, last)];
        self.element(Function::Subtract, width, operands, change)?;
        let operands =
            [(Broadcast::Each, &change[..]), (Broadcast::Row, factors), (Broadcast::Each, last)];
        self.element(Function::MultiplyAdd, width, operands, out)
    }

    /// Chooses tokens whose predicted loss is above the mean of those so far in their sequence.
    pub(crate) fn choose(
        &self,
        pass: &SecondPass,
        predicted: &[f32],
        choice: &mut Choice,
    ) -> Result<(), Error> {
        let Choice { counts, sums, means, chosen, factors } = choice;
        let length = self.length;
        self.kernels.cumulative_sum([self.sequences, length], predicted, sums)?;
        let operands = [(Broadcast::Each, &sums[..]), (Broadcast::Column, counts)];
        self.element(Function::Divide, length, operands, means)?;
        let operands = [(Broadcast::Each, predicted), (Broadcast::Each, means)];
        self.element(Function::Above, length, operands, chosen)?;
        let gate = &self.parameters[pass.gate.clone()];
        let operands = [(Broadcast::Each, &chosen[..]), (Broadcast::One, gate)];
        self.element(Function::Multiply, length, operands, factors)
    }

    /// Runs a block again, with the keys and values of its first run, which `memory.projected` has.
    pub(crate) fn block_again(
        &mut self,
        again: Again<'_>,
        memory: &mut BlockMemory,
        work: &mut Work,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let Again { block, stream, query: [weight, _] } = again;
        let BlockMemory { norm1, projected, heads: [head, _], .. } = memory;
        if let Some(norm) = &block.norm1 {
            self.norm(norm, stream, &mut norm1.statistics, &mut norm1.values)?;
        }
        let input = if block.norm1.is_some() { &norm1.values[..] } else { stream };
        let linear = self.gather_query(&block.query_key_value, weight);
        let bias = linear.bias.clone().map(|bias| &self.parameters[bias]);
        let extras = Extras { bias, ..Extras::default() };
        let (shape, queries) = ([linear.inputs, linear.outputs], &mut work.mixed);
        match &block.query_key_norms {
            Some([norm, _]) => {
                self.project(shape, input, weight, extras, &mut head.values)?;
                self.norm(norm, &head.values, &mut head.statistics, queries)?;
            }
            None => self.project(shape, input, weight, extras, queries)?,
        }
        self.rotate_queries(block.rotation, false, queries)?;
        scatter(queries, block.query_key_value.outputs as usize, 0, projected);
        self.sublayers(block, stream, memory, work, out)
    }

    /// Copies the weight of queries, and returns their projection. Its weight has no place.
    fn gather_query(&self, linear: &Linear, weight: &mut [f32]) -> Linear {
        let (all, outputs) =
            (&self.parameters[linear.weight.clone()], self.spec().attention_width());
        gather(all, linear.outputs as usize, 0, weight);
        let first = |bias: &Range<usize>| bias.start..bias.start + outputs as usize;
        let bias = linear.bias.as_ref().map(first);
        Linear { weight: 0..0, bias, inputs: linear.inputs, outputs }
    }

    /// Turns the gradient of the residual stream after the second pass, `work.stream`, into that
    /// before it, and keeps gradients of keys, values, and the blocks' tensors.
    pub(crate) fn second_pass_gradient(
        &mut self,
        pass: &SecondPass,
        last: &[f32],
        memory: &mut SecondPassMemory,
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let (kernels, plan, tokens) = (self.kernels, self.plan, self.tokens());
        let width = self.spec().width;
        let SecondPassMemory { blocks, streams, change, choice, .. } = memory;
        let SecondPassMemory { query, projected, direct, tensors, .. } = memory;
        let Choice { sums, chosen, factors, .. } = choice;
        let of_gate = &mut gradient[pass.gate.clone()];
        let upstream = &work.stream;
        kernels.row_sums([tokens, width], Summand::Products, upstream, Some(change), sums)?;
        kernels.row_sums([1, tokens], Summand::Products, sums, Some(chosen), of_gate)?;
        let operands = [(Broadcast::Each, &upstream[..]), (Broadcast::Row, factors)];
        self.element(Function::Multiply, width, operands, &mut work.other)?;
        let operands = [(Broadcast::Each, &work.stream[..]), (Broadcast::Each, &work.other)];
        self.element(Function::Subtract, width, operands, direct)?;
        std::mem::swap(&mut work.stream, &mut work.other);
        // Superpositions, keys, and values have no gradient from here.
        gradient[pass.tensors.clone()].fill(0.0);
        // Auxiliary losses are those of the first run.
        let has_auxiliary = std::mem::replace(&mut self.has_auxiliary, false);
        for (index, block) in plan.blocks[pass.first..].iter().enumerate().rev() {
            let stream = index.checked_sub(1).map_or(last, |before| &streams[before]);
            let again = Again { block, stream, query };
            let of_projected = &mut projected[index];
            self.block_again_gradient(again, &blocks[index], of_projected, work, gradient)?;
        }
        self.has_auxiliary = has_auxiliary;
        tensors.copy_from_slice(&gradient[pass.tensors.clone()]);
        Ok(kernels.add(direct, &mut work.stream)?)
    }

    /// Turns the gradient of the residual stream after a block's second run, `work.stream`, into
    /// that before it, and computes those of keys and values.
    fn block_again_gradient(
        &mut self,
        again: Again<'_>,
        memory: &BlockMemory,
        of_projected: &mut [f32],
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let Again { block, stream, query: [weight, of_weight] } = again;
        self.sublayers_gradient(block, stream, memory, work, gradient)?;
        let width = block.query_key_value.outputs as usize;
        let Work { projected, mixed: queries, heads: [normed, _], other, third, .. } = work;
        gather(projected, width, 0, queries);
        of_projected.copy_from_slice(projected);
        let outputs = self.spec().attention_width() as usize;
        of_projected.chunks_mut(width).for_each(|row| row[..outputs].fill(0.0));
        self.rotate_queries(block.rotation, true, queries)?;
        if let Some([norm, _]) = &block.query_key_norms {
            let head = &memory.heads[0];
            let pair = [&head.values[..], queries];
            self.norm_gradient(norm, pair, &head.statistics, gradient, normed)?;
            queries.copy_from_slice(normed);
        }
        let linear = self.gather_query(&block.query_key_value, weight);
        let input = if block.norm1.is_some() { &memory.norm1.values[..] } else { stream };
        let shape = [linear.inputs, linear.outputs];
        self.outer_product(shape, [input, queries], false, of_weight)?;
        scatter(of_weight, width, 0, &mut gradient[block.query_key_value.weight.clone()]);
        if let Some(bias) = linear.bias {
            self.column_sums(linear.outputs, queries, &mut gradient[bias])?;
        }
        let shared = self.is_shared(block).then_some(&other[..]);
        self.project_back(shape, queries, weight, shared, third)?;
        self.stream_gradient(block, stream, memory, work, gradient)
    }
}

#[cfg(test)]
mod tests;
