// SPDX-License-Identifier: Apache-2.0

//! Memory of a micro-batch, which is planned once.

use crate::{
    feed_forward::{Inner, InnerGradient},
    introspection::Introspection,
    plan::{Block, Plan, SecondPass},
    superposition::{Superposed, SuperpositionWork},
};
use pol_primitives::model::{Experts, ModelSpec};

/// Most logits at a time, unless a single chain of tokens has more.
const LOGITS: usize = 1 << 24;
/// Tokens of a chain. Parts of a product over tokens end where chains do.
const CHAIN: usize = pol_numerics::CHAIN as usize;

/// Values of the forward pass that the backward pass reads, and memory of both.
pub(crate) struct Memory {
    /// The residual stream before each block, and after the last.
    pub(crate) streams: Vec<Vec<f32>>,
    pub(crate) blocks: Vec<BlockMemory>,
    pub(crate) second_pass: SecondPassMemory,
    pub(crate) norm: Normed,
    pub(crate) introspection: Introspection,
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
    pub(crate) feed_forward: FeedForwardMemory,
    pub(crate) behind2: Normed,
    pub(crate) superposition: Superposed,
}

/// Values of the blocks that run again. Nothing is in it without a second pass.
#[derive(Default)]
pub(crate) struct SecondPassMemory {
    /// Blocks that run again, and the residual stream after each.
    pub(crate) blocks: Vec<BlockMemory>,
    pub(crate) streams: Vec<Vec<f32>>,
    /// Change of the residual stream, and the stream after it.
    pub(crate) change: Vec<f32>,
    pub(crate) out: Vec<f32>,
    pub(crate) choice: Choice,
    /// Part of a block's projection that gives queries, and its gradient.
    pub(crate) query: [Vec<f32>; 2],
    /// Gradients of keys and values that each block reads, zero for queries.
    pub(crate) projected: Vec<Vec<f32>>,
    /// Gradient of the residual stream that does not run through the blocks again.
    pub(crate) direct: Vec<f32>,
    /// Gradients of the blocks' tensors.
    pub(crate) tensors: Vec<f32>,
}

/// Tokens that take a second pass.
#[derive(Default)]
pub(crate) struct Choice {
    /// Number of tokens up to each of a sequence.
    pub(crate) counts: Vec<f32>,
    /// Sums of predicted losses up to each token, or sums for the gate; and means.
    pub(crate) sums: Vec<f32>,
    pub(crate) means: Vec<f32>,
    /// 1 for tokens that take the pass, else 0; and that times the gate.
    pub(crate) chosen: Vec<f32>,
    pub(crate) factors: Vec<f32>,
}

/// Values of a feed-forward layer. With experts there is a row for each choice of a token.
#[derive(Default)]
pub(crate) struct FeedForwardMemory {
    pub(crate) inner: Inner<Vec<f32>>,
    /// Outputs of experts before their gates, by row.
    pub(crate) outputs: Vec<f32>,
    pub(crate) routing: Routing,
}

/// Choices of experts. Nothing is in it without experts.
#[derive(Default)]
pub(crate) struct Routing {
    /// Share of each expert for each token, by all scores, and the logarithm of their sum of
    /// exponentials.
    pub(crate) probabilities: Vec<f32>,
    pub(crate) logarithms: Vec<f32>,
    /// Experts of each token, the best first, and their gates.
    pub(crate) chosen: Vec<u32>,
    pub(crate) gates: Vec<f32>,
    /// Row of each choice.
    pub(crate) rows: Vec<u32>,
    /// Token of each row.
    pub(crate) tokens: Vec<u32>,
    /// Number of rows of each expert, their share of all, and by how much it is above an even one.
    pub(crate) loads: Vec<u32>,
    pub(crate) shares: Vec<f32>,
    pub(crate) excesses: Vec<f32>,
    /// Weighted sum of the auxiliary losses.
    pub(crate) auxiliary_loss: f32,
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
    /// Queries or keys alone.
    pub(crate) heads: [Vec<f32>; 2],
    pub(crate) feed_forward: FeedForwardWork,
    pub(crate) superposition: SuperpositionWork,
}

/// Memory that feed-forward layers share. All but the first is for experts.
#[derive(Default)]
pub(crate) struct FeedForwardWork {
    pub(crate) inner: InnerGradient<Vec<f32>>,
    /// Rows of one expert, of which there are at most as many as tokens.
    pub(crate) rows: [Vec<f32>; 2],
    /// All rows, or outputs by choice.
    pub(crate) choices: Vec<f32>,
    /// A score for each choice, and gates or their gradients.
    pub(crate) picked: Vec<f32>,
    pub(crate) gates: Vec<f32>,
    /// Gradient of each row's gate.
    pub(crate) products: Vec<f32>,
    /// Scores of all experts for each token, or gradients.
    pub(crate) scores: Vec<f32>,
    pub(crate) spread: [Vec<f32>; 2],
    /// A value for each token.
    pub(crate) logarithms: Vec<f32>,
    /// A value for each expert.
    pub(crate) means: Vec<f32>,
}

impl Normed {
    pub(crate) fn new(is_present: bool, rows: usize, width: usize) -> Self {
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
        let part = logits_at_once(spec, tokens);
        let blocks: Vec<_> =
            plan.blocks.iter().map(|block| BlockMemory::new(plan, block, tokens)).collect();
        let work = Work::new(plan, blocks.first(), sequences, length);
        let second_pass = plan.second_pass.as_ref();
        let second_pass = second_pass.map(|pass| SecondPassMemory::new(plan, pass, tokens, length));
        let introspects = plan.introspection.is_some();
        Self {
            streams: (0..=plan.blocks.len()).map(|_| stream()).collect(),
            second_pass: second_pass.unwrap_or_default(),
            norm: Normed::new(true, tokens, width),
            introspection: Introspection::new(if introspects { tokens } else { 0 }),
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

    /// Returns the sum of the auxiliary losses, those of blocks in order first.
    pub(crate) fn auxiliary_loss(&self) -> f32 {
        let losses = self.blocks.iter().map(|block| block.feed_forward.routing.auxiliary_loss);
        let losses = losses.chain([self.introspection.loss]);
        let sum = losses.fold(0.0, |sum, loss| sum + loss);
        if sum.is_nan() { f32::from_bits(pol_numerics::NAN) } else { sum }
    }

    /// Returns the number of bytes.
    pub(crate) fn bytes(&self) -> usize {
        let Self { streams, blocks, norm, logits, losses, inputs, work, .. } = self;
        let mut all: Vec<&[f32]> = streams.iter().map(Vec::as_slice).collect();
        let mut integers = inputs.len() * 3;
        for block in blocks.iter().chain(&self.second_pass.blocks) {
            all.extend(block.tensors());
            integers += block.feed_forward.routing.integers();
        }
        all.extend(self.second_pass.tensors());
        all.extend(work.tensors());
        all.extend(self.introspection.tensors());
        all.extend([&norm.statistics, &norm.values, logits, &self.logarithms].map(|v| &v[..]));
        all.extend([losses, &self.upstream, &self.bias].map(|values| &values[..]));
        (all.iter().map(|values| values.len()).sum::<usize>() + integers) * 4
    }
}

/// Returns the number of tokens whose logits are computed together.
pub(crate) fn logits_at_once(spec: &ModelSpec, tokens: usize) -> usize {
    let part = (LOGITS / spec.vocabulary as usize / CHAIN).max(1) * CHAIN;
    part.min(tokens)
}

impl Work {
    /// Plans memory for blocks that have the sizes of `block`.
    pub(crate) fn new(
        plan: &Plan,
        block: Option<&BlockMemory>,
        sequences: usize,
        length: usize,
    ) -> Self {
        let tokens = sequences * length;
        let stream = || vec![0.0; tokens * plan.spec.width as usize];
        let like =
            |of: fn(&BlockMemory) -> &Vec<f32>| vec![0.0; block.map_or(0, |block| of(block).len())];
        Self {
            stream: stream(),
            other: stream(),
            third: stream(),
            projected: like(|block| &block.projected),
            mixed: like(|block| &block.mixed),
            products: like(|block| &block.logarithms),
            heads: [0; 2].map(|_| like(|block| &block.heads[0].values)),
            feed_forward: FeedForwardWork::new(&plan.spec, tokens),
            superposition: SuperpositionWork::new(plan, sequences, length),
        }
    }

    /// Keeps what the forward pass uses.
    pub(crate) fn without_gradients(self) -> Self {
        let Self { mixed, heads: [heads, _], feed_forward, superposition, .. } = self;
        Self {
            mixed,
            heads: [heads, Vec::new()],
            feed_forward: feed_forward.without_gradients(),
            superposition: superposition.without_gradients(),
            ..Self::default()
        }
    }

    pub(crate) fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        let Self { stream, other, third, projected, mixed, products, heads, .. } = self;
        let all = [stream, other, third, projected, mixed, products].into_iter().chain(heads);
        let all = all.map(Vec::as_slice).chain(self.feed_forward.tensors());
        all.chain(self.superposition.tensors())
    }
}

impl SecondPassMemory {
    pub(crate) fn new(plan: &Plan, pass: &SecondPass, tokens: usize, length: usize) -> Self {
        let spec = &plan.spec;
        let width = spec.width as usize;
        let (blocks, stream) = (&plan.blocks[pass.first..], || vec![0.0; tokens * width]);
        let again = |block| BlockMemory {
            superposition: Superposed::default(),
            ..BlockMemory::new(plan, block, tokens)
        };
        let projected = || vec![0.0; tokens * spec.query_key_value_width() as usize];
        Self {
            blocks: blocks.iter().map(again).collect(),
            streams: blocks.iter().map(|_| stream()).collect(),
            change: stream(),
            out: stream(),
            choice: Choice::new(tokens, length),
            query: [0; 2].map(|_| vec![0.0; width * spec.attention_width() as usize]),
            projected: blocks.iter().map(|_| projected()).collect(),
            direct: stream(),
            tensors: vec![0.0; pass.tensors.len()],
        }
    }

    fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        let Self { streams, change, out, choice, query, projected, direct, tensors, .. } = self;
        let all = streams.iter().chain(query).chain(projected);
        let all = all.chain([change, out, direct, tensors]).map(Vec::as_slice);
        all.chain(choice.tensors())
    }
}

impl Choice {
    pub(crate) fn new(tokens: usize, length: usize) -> Self {
        let values = || vec![0.0; tokens];
        Self {
            counts: (1..=length).map(|count| count as f32).collect(),
            sums: values(),
            means: values(),
            chosen: values(),
            factors: values(),
        }
    }

    pub(crate) fn tensors(&self) -> [&[f32]; 5] {
        let Self { counts, sums, means, chosen, factors } = self;
        [counts, sums, means, chosen, factors].map(|values| &values[..])
    }
}

impl FeedForwardMemory {
    pub(crate) fn new(spec: &ModelSpec, tokens: usize) -> Self {
        let active = spec.experts.map_or(1, |experts| experts.active.into());
        let values = |width: u32| vec![0.0; tokens * active * width as usize];
        let (hidden, gate) = (spec.feed_forward, if spec.gated { spec.feed_forward } else { 0 });
        let outputs = if spec.experts.is_some() { spec.width } else { 0 };
        Self {
            inner: Inner { gate: values(gate), up: values(hidden), hidden: values(hidden) },
            outputs: values(outputs),
            routing: spec.experts.map_or_else(Routing::default, |of| Routing::new(of, tokens)),
        }
    }

    fn tensors(&self) -> [&[f32]; 9] {
        let Self { inner: Inner { gate, up, hidden }, outputs, routing } = self;
        let Routing { probabilities, logarithms, gates, shares, excesses, .. } = routing;
        [gate, up, hidden, outputs, probabilities, logarithms, gates, shares, excesses]
            .map(|values| &values[..])
    }
}

impl Routing {
    fn new(experts: Experts, tokens: usize) -> Self {
        let [count, active] = [experts.count, experts.active].map(usize::from);
        let choices = tokens * active;
        Self {
            probabilities: vec![0.0; tokens * count],
            logarithms: vec![0.0; tokens],
            chosen: vec![0; choices],
            gates: vec![0.0; choices],
            rows: vec![0; choices],
            tokens: vec![0; choices],
            loads: vec![0; count],
            shares: vec![0.0; count],
            excesses: vec![0.0; count],
            auxiliary_loss: 0.0,
        }
    }

    /// Returns the number of integers.
    pub(crate) fn integers(&self) -> usize {
        self.chosen.len() + self.rows.len() + self.tokens.len() + self.loads.len()
    }
}

impl FeedForwardWork {
    pub(crate) fn new(spec: &ModelSpec, tokens: usize) -> Self {
        let [width, hidden] = [spec.width, spec.feed_forward].map(|size| size as usize);
        let values = |width: usize| vec![0.0; tokens * width];
        let inner = InnerGradient {
            hidden: values(hidden),
            up: values(if spec.gated { hidden } else { 0 }),
        };
        let Some(experts) = spec.experts else { return Self { inner, ..Self::default() } };
        let [count, active] = [experts.count, experts.active].map(usize::from);
        Self {
            inner,
            rows: [values(width), values(width)],
            choices: values(active * width),
            picked: values(active),
            gates: values(active),
            products: values(active),
            scores: values(count),
            spread: [values(count), values(count)],
            logarithms: values(1),
            means: vec![0.0; count],
        }
    }

    fn without_gradients(self) -> Self {
        let Self { rows: [rows, _], choices, picked, scores, means, .. } = self;
        Self { rows: [rows, Vec::new()], choices, picked, scores, means, ..Self::default() }
    }

    fn tensors(&self) -> [&[f32]; 13] {
        let Self { inner: InnerGradient { hidden, up }, rows: [first, second], .. } = self;
        let Self { choices, picked, gates, products, scores, spread, logarithms, means, .. } = self;
        let [third, fourth] = spread;
        [
            hidden, up, first, second, third, fourth, choices, picked, gates, products, scores,
            logarithms, means,
        ]
        .map(|values| &values[..])
    }
}

impl BlockMemory {
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        let Self { norm1, heads: [queries, keys], behind1, norm2, behind2, .. } = self;
        let norms = [norm1, queries, keys, behind1, norm2, behind2];
        let norms = norms.into_iter().flat_map(|norm| [&norm.statistics[..], &norm.values]);
        let Self { projected, mixed, logarithms, middle, .. } = self;
        let values = [projected, mixed, logarithms, middle].map(|values| &values[..]);
        norms.chain(values).chain(self.feed_forward.tensors()).chain(self.superposition.tensors())
    }

    pub(crate) fn new(plan: &Plan, block: &Block, tokens: usize) -> Self {
        let spec = &plan.spec;
        let [width, attention, keys] = [spec.width, spec.attention_width(), spec.key_value_width()]
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
            feed_forward: FeedForwardMemory::new(spec, tokens),
            behind2: normed(block.behind2.is_some()),
            superposition: Superposed::new(plan, tokens),
        }
    }
}
