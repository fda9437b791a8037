// SPDX-License-Identifier: Apache-2.0

//! Memory of a micro-batch, which is planned once.

use crate::plan::{Block, Plan};

/// Most logits at a time, unless a single chain of tokens has more.
const LOGITS: usize = 1 << 24;
/// Tokens of a chain. Parts of a product over tokens end where chains do.
const CHAIN: usize = pol_numerics::CHAIN as usize;

/// Values of the forward pass that the backward pass reads, and memory of both.
pub(crate) struct Memory {
    /// The residual stream before each block, and after the last.
    pub(crate) streams: Vec<Vec<f32>>,
    pub(crate) blocks: Vec<BlockMemory>,
    pub(crate) norm: Normed,
    /// Tokens whose logits are computed together.
    pub(crate) part: usize,
    pub(crate) logits: Vec<f32>,
    pub(crate) logarithms: Vec<f32>,
    pub(crate) losses: Vec<f32>,
    /// Gradient of each loss.
    pub(crate) upstream: Vec<f32>,
    pub(crate) inputs: Vec<u32>,
    pub(crate) targets: Vec<u32>,
    /// Position of each token.
    pub(crate) positions: Vec<u32>,
    pub(crate) bias: Vec<f32>,
    pub(crate) work: Work,
}

/// Values of a block.
#[derive(Default)]
pub(crate) struct BlockMemory {
    pub(crate) norm1: Normed,
    /// Queries, keys, and values, as attention reads them.
    pub(crate) projected: Vec<f32>,
    /// Queries, and keys, before their norms.
    pub(crate) heads: [Normed; 2],
    pub(crate) mixed: Vec<f32>,
    pub(crate) logarithms: Vec<f32>,
    pub(crate) behind1: Normed,
    /// The residual stream after attention.
    pub(crate) middle: Vec<f32>,
    pub(crate) norm2: Normed,
    /// Inputs of the activation in a gated layer.
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) hidden: Vec<f32>,
    pub(crate) behind2: Normed,
}

/// A norm's statistics, and either its inputs or its outputs, whichever is not elsewhere.
#[derive(Default)]
pub(crate) struct Normed {
    pub(crate) statistics: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// Memory that blocks share.
#[derive(Default)]
pub(crate) struct Work {
    /// Gradient of the residual stream, and values of its shape.
    pub(crate) stream: Vec<f32>,
    pub(crate) other: Vec<f32>,
    pub(crate) third: Vec<f32>,
    pub(crate) projected: Vec<f32>,
    pub(crate) mixed: Vec<f32>,
    pub(crate) products: Vec<f32>,
    pub(crate) hidden: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    /// Queries or keys alone.
    pub(crate) heads: [Vec<f32>; 2],
}

impl Normed {
    fn new(is_present: bool, rows: usize, width: usize) -> Self {
        let len = |len| if is_present { vec![0.0; len] } else { Vec::new() };
        Self { statistics: len(rows * 2), values: len(rows * width) }
    }
}

impl Memory {
    /// Plans the memory of `sequences` sequences of `length` tokens.
    pub(crate) fn new(plan: &Plan, sequences: usize, length: usize) -> Self {
        let (spec, tokens) = (&plan.spec, sequences * length);
        let [width, vocabulary] = [spec.width, spec.vocabulary].map(|size| size as usize);
        let stream = || vec![0.0; tokens * width];
        let part = (LOGITS / vocabulary / CHAIN).max(1) * CHAIN;
        let part = part.min(tokens);
        let blocks: Vec<_> =
            plan.blocks.iter().map(|block| BlockMemory::new(plan, block, tokens)).collect();
        let like = |of: fn(&BlockMemory) -> &Vec<f32>| {
            vec![0.0; blocks.first().map_or(0, |block| of(block).len())]
        };
        let work = Work {
            stream: stream(),
            other: stream(),
            third: stream(),
            projected: like(|block| &block.projected),
            mixed: like(|block| &block.mixed),
            products: like(|block| &block.logarithms),
            hidden: like(|block| &block.hidden),
            gate: like(|block| &block.gate),
            heads: [0; 2].map(|_| like(|block| &block.heads[0].values)),
        };
        Self {
            streams: (0..=plan.blocks.len()).map(|_| stream()).collect(),
            norm: Normed::new(true, tokens, width),
            part,
            logits: vec![0.0; part * vocabulary],
            logarithms: vec![0.0; part],
            losses: vec![0.0; tokens],
            upstream: vec![1.0 / tokens as f32; tokens],
            inputs: vec![0; tokens],
            targets: vec![0; tokens],
            positions: (0..tokens).map(|token| (token % length) as u32).collect(),
            bias: vec![0.0; if spec.biases.head { vocabulary } else { 0 }],
            blocks,
            work,
        }
    }

    /// Returns the number of bytes.
    pub(crate) fn bytes(&self) -> usize {
        let Self { streams, blocks, norm, logits, losses, inputs, work, .. } = self;
        let mut all: Vec<&[f32]> = streams.iter().map(Vec::as_slice).collect();
        for block in blocks {
            let BlockMemory { norm1, heads: [queries, keys], behind1, norm2, behind2, .. } = block;
            for norm in [norm1, queries, keys, behind1, norm2, behind2] {
                all.extend([&norm.statistics[..], &norm.values]);
            }
            let BlockMemory { projected, mixed, logarithms, middle, gate, up, hidden, .. } = block;
            all.extend([projected, mixed, logarithms, middle, gate, up, hidden].map(|v| &v[..]));
        }
        let Work { stream, other, third, projected, mixed, products, hidden, gate, heads } = work;
        all.extend([stream, other, third, projected, mixed, products].map(|values| &values[..]));
        all.extend([hidden, gate, &heads[0], &heads[1]].map(|values| &values[..]));
        all.extend([&norm.statistics, &norm.values, logits, &self.logarithms].map(|v| &v[..]));
        all.extend([losses, &self.upstream, &self.bias].map(|values| &values[..]));
        (all.iter().map(|values| values.len()).sum::<usize>() + inputs.len() * 3) * 4
    }
}

impl BlockMemory {
    fn new(plan: &Plan, block: &Block, tokens: usize) -> Self {
        let spec = &plan.spec;
        let [width, attention, keys, hidden] =
            [spec.width, spec.attention_width(), spec.key_value_width(), spec.feed_forward]
                .map(|size| tokens * size as usize);
        let normed = |is_present: bool| Normed::new(is_present, tokens, spec.width as usize);
        let heads = |part: usize, len: usize| {
            let width = block.query_key_norms.as_ref().map(|norms| norms[part].width as usize);
            let rows = width.map_or(0, |width| len / width.max(1));
            Normed::new(width.is_some(), rows, width.unwrap_or(0))
        };
        Self {
            norm1: normed(block.norm1.is_some()),
            projected: vec![0.0; attention + keys * 2],
            heads: [heads(0, attention), heads(1, keys)],
            mixed: vec![0.0; attention],
            logarithms: vec![0.0; tokens * usize::from(spec.heads)],
            behind1: normed(block.behind1.is_some()),
            middle: vec![0.0; width],
            norm2: normed(block.norm2.is_some()),
            gate: vec![0.0; if block.gate.is_some() { hidden } else { 0 }],
            up: vec![0.0; hidden],
            hidden: vec![0.0; hidden],
            behind2: normed(block.behind2.is_some()),
        }
    }
}
