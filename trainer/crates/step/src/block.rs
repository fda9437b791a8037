// SPDX-License-Identifier: Apache-2.0

//! A block of a decoder, forward and backward.

use crate::{
    Error,
    layers::{Run, gather, scatter},
    memory::{BlockMemory, Normed, Work},
    plan::Block,
};
use pol_kernels::AttentionUpstream;
use pol_numerics::Summand;

impl Run<'_> {
    /// Computes the residual stream after a block, `out`, from that before it.
    pub(crate) fn block(
        &mut self,
        block: &Block,
        stream: &[f32],
        memory: &mut BlockMemory,
        work: &mut Work,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let BlockMemory { norm1, projected, heads, .. } = memory;
        if let Some(norm) = &block.norm1 {
            self.norm(norm, stream, &mut norm1.statistics, &mut norm1.values)?;
        }
        let first = if block.norm1.is_some() { &norm1.values[..] } else { stream };
        self.linear(&block.query_key_value, first, None, projected)?;
        self.norm_heads(block, projected, heads, work)?;
        self.rotate(block.rotation, false, projected)?;
        let Some(layer) = &block.superposition else {
            return self.sublayers(block, stream, memory, work, out);
        };
        // The superposition keeps what it reads.
        let mut before = std::mem::take(&mut memory.superposition.stream.values);
        self.sublayers(block, stream, memory, work, &mut before)?;
        memory.superposition.stream.values = before;
        self.superposition(layer, &mut memory.superposition, &mut work.superposition, out)
    }

    /// Computes the residual stream after attention and feed-forward layer from that before the
    /// block, and from the block's queries, keys, and values.
    pub(crate) fn sublayers(
        &mut self,
        block: &Block,
        stream: &[f32],
        memory: &mut BlockMemory,
        work: &mut Work,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let BlockMemory { norm1, projected, mixed, logarithms, middle, .. } = memory;
        let first = if block.norm1.is_some() { &norm1.values[..] } else { stream };
        let shape = self.attention(block.window);
        let (kernels, sequences) = (self.kernels, self.sequences);
        kernels.attention(&shape, sequences, projected, mixed, logarithms, self.scratch)?;
        match &block.behind1 {
            Some(norm) => {
                let Normed { statistics, values } = &mut memory.behind1;
                self.linear(&block.out, mixed, None, values)?;
                self.norm(norm, values, statistics, middle)?;
                kernels.add(stream, middle)?;
            }
            None => self.linear(&block.out, mixed, Some(stream), middle)?,
        }
        // Parallel sublayers read the same stream.
        let is_parallel = self.spec().parallel;
        let second = if is_parallel { stream } else { &middle[..] };
        let norm2 = &mut memory.norm2;
        if let Some(norm) = &block.norm2 {
            self.norm(norm, second, &mut norm2.statistics, &mut norm2.values)?;
        }
        let shared = if is_parallel { first } else { second };
        let input = if block.norm2.is_some() { &norm2.values[..] } else { shared };
        let (addend, outputs) = match &block.behind2 {
            Some(_) => (None, &mut memory.behind2.values[..]),
            None => (Some(&middle[..]), &mut out[..]),
        };
        let (layer, of_layer) = (&block.feed_forward, &mut memory.feed_forward);
        match &block.router {
            Some(router) => {
                let work = &mut work.feed_forward;
                self.experts((layer, router), input, of_layer, work, addend, outputs)?;
            }
            None => self.feed_forward(layer, input, of_layer.inner.all_mut(), addend, outputs)?,
        }
        if let Some(norm) = &block.behind2 {
            let Normed { statistics, values } = &mut memory.behind2;
            self.norm(norm, values, statistics, out)?;
            kernels.add(middle, out)?;
        }
        Ok(())
    }

    /// Norms queries and keys, if the block does, and keeps what they were.
    fn norm_heads(
        &self,
        block: &Block,
        projected: &mut [f32],
        heads: &mut [Normed; 2],
        work: &mut Work,
    ) -> Result<(), Error> {
        let width = block.query_key_value.outputs as usize;
        let firsts = [0, self.spec().attention_width() as usize];
        let norms = block.query_key_norms.iter().flatten();
        for ((norm, memory), first) in norms.zip(heads).zip(firsts) {
            let Normed { statistics, values } = memory;
            let out = &mut work.heads[0][..values.len()];
            gather(projected, width, first, values);
            self.norm(norm, values, statistics, out)?;
            scatter(out, width, first, projected);
        }
        Ok(())
    }

    /// Turns the gradient of the residual stream after a block, `work.stream`, into that before it.
    /// `again` is the gradient of queries, keys, and values from their use in a second pass.
    pub(crate) fn block_gradient(
        &mut self,
        block: &Block,
        stream: &[f32],
        memory: &BlockMemory,
        again: Option<&[f32]>,
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        if let Some(layer) = &block.superposition {
            let Work { stream, other, third, superposition, .. } = work;
            let streams = [stream, other, third];
            let memory = &memory.superposition;
            self.superposition_gradient(layer, memory, streams, gradient, superposition)?;
        }
        self.sublayers_gradient(block, stream, memory, work, gradient)?;
        if let Some(again) = again {
            self.kernels.add(again, &mut work.projected)?;
        }
        self.heads_gradient(block, memory, work, gradient)?;
        let first = if block.norm1.is_some() { &memory.norm1.values[..] } else { stream };
        let (linear, pair) = (&block.query_key_value, [first, &work.projected[..]]);
        let shared = self.is_shared(block).then_some(&work.other[..]);
        self.linear_gradient(linear, pair, gradient, shared, &mut work.third)?;
        self.stream_gradient(block, stream, memory, work, gradient)
    }

    /// Returns `true` if both sublayers of a block read the same values.
    pub(crate) fn is_shared(&self, block: &Block) -> bool {
        self.spec().parallel && block.norm2.is_none()
    }

    /// Computes the gradient of queries, keys, and values, `work.projected`, from that of the
    /// residual stream after both sublayers, `work.stream`. Leaves that of the feed-forward layer's
    /// input, which was added if sublayers are not parallel, in `work.other`.
    pub(crate) fn sublayers_gradient(
        &mut self,
        block: &Block,
        stream: &[f32],
        memory: &BlockMemory,
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        self.feed_forward_gradient(block, stream, memory, work, gradient)?;
        let is_parallel = self.spec().parallel;
        if let Some(norm) = &block.norm2 {
            let second = if is_parallel { stream } else { &memory.middle };
            let statistics = &memory.norm2.statistics;
            let (dy, out) = (&work.other[..], &mut work.third[..]);
            self.norm_gradient(norm, [second, dy], statistics, gradient, out)?;
            std::mem::swap(&mut work.other, &mut work.third);
        }
        if !is_parallel {
            self.kernels.add(&work.other, &mut work.stream)?;
        }
        self.attention_gradient(block, memory, work, gradient)
    }

    /// Adds the gradient of a block's input, `work.third` before its norm, to that of the residual
    /// stream, and that of a parallel sublayer, `work.other`.
    pub(crate) fn stream_gradient(
        &self,
        block: &Block,
        stream: &[f32],
        memory: &BlockMemory,
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        if self.spec().parallel && !self.is_shared(block) {
            self.kernels.add(&work.other, &mut work.stream)?;
        }
        if let Some(norm) = &block.norm1 {
            let statistics = &memory.norm1.statistics;
            let (dy, out) = (&work.third[..], &mut work.other[..]);
            self.norm_gradient(norm, [stream, dy], statistics, gradient, out)?;
            std::mem::swap(&mut work.other, &mut work.third);
        }
        Ok(self.kernels.add(&work.third, &mut work.stream)?)
    }

    /// Computes the gradient of the feed-forward layer's input, `work.other`.
    fn feed_forward_gradient(
        &mut self,
        block: &Block,
        stream: &[f32],
        memory: &BlockMemory,
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let Work { stream: upstream, other, third, feed_forward: of_layer, .. } = work;
        let upstream = match &block.behind2 {
            Some(norm) => {
                let Normed { statistics, values } = &memory.behind2;
                self.norm_gradient(norm, [values, upstream], statistics, gradient, third)?;
                &third[..]
            }
            None => &upstream[..],
        };
        let is_parallel = self.spec().parallel;
        let shared = match (is_parallel, block.norm1.is_some()) {
            (true, true) => &memory.norm1.values[..],
            (true, false) => stream,
            (false, _) => &memory.middle,
        };
        let input = if block.norm2.is_some() { &memory.norm2.values[..] } else { shared };
        let (layer, memory) = (&block.feed_forward, &memory.feed_forward);
        if let Some(router) = &block.router {
            let pair = [input, upstream];
            return self.experts_gradient((layer, router), pair, memory, gradient, of_layer, other);
        }
        let (inner, of_inner) = (memory.inner.all(), of_layer.inner.all_mut());
        self.inner_gradient(layer, inner, upstream, gradient, of_inner)?;
        self.input_gradient(layer, input, of_layer.inner.all(), gradient, third, other)
    }

    /// Computes the gradient of queries, keys, and values, `work.projected`. Keeps `work.other`.
    fn attention_gradient(
        &mut self,
        block: &Block,
        memory: &BlockMemory,
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let Work { stream: upstream, third, projected, mixed, products, .. } = work;
        let upstream = match &block.behind1 {
            Some(norm) => {
                let Normed { statistics, values } = &memory.behind1;
                self.norm_gradient(norm, [values, upstream], statistics, gradient, third)?;
                &third[..]
            }
            None => &upstream[..],
        };
        self.linear_gradient(&block.out, [&memory.mixed, upstream], gradient, None, mixed)?;
        let kernels = self.kernels;
        let rows = [products.len() as u32, self.spec().head_size.into()];
        kernels.row_sums(rows, Summand::Products, &memory.mixed, Some(&mixed[..]), products)?;
        let shape = self.attention(block.window);
        let upstream =
            AttentionUpstream { gradient: mixed, logarithms: &memory.logarithms, products };
        let (inputs, scratch) = (&memory.projected, &mut *self.scratch);
        let sequences = self.sequences;
        Ok(kernels.attention_gradient(&shape, sequences, inputs, upstream, projected, scratch)?)
    }

    /// Turns the gradient of queries, keys, and values, `work.projected`, into that before their
    /// rotation and norms.
    fn heads_gradient(
        &self,
        block: &Block,
        memory: &BlockMemory,
        work: &mut Work,
        gradient: &mut [f32],
    ) -> Result<(), Error> {
        let Work { projected, heads, .. } = work;
        self.rotate(block.rotation, true, projected)?;
        let width = block.query_key_value.outputs as usize;
        let firsts = [0, self.spec().attention_width() as usize];
        let norms = block.query_key_norms.iter().flatten();
        for ((norm, memory), first) in norms.zip(&memory.heads).zip(firsts) {
            let Normed { statistics, values } = memory;
            let [dy, out] = heads.each_mut().map(|heads| &mut heads[..values.len()]);
            gather(projected, width, first, dy);
            self.norm_gradient(norm, [values, dy], statistics, gradient, out)?;
            scatter(out, width, first, projected);
        }
        Ok(())
    }
}
