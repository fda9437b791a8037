// SPDX-License-Identifier: Apache-2.0

//! Places of all parameters, and the parts of each block.

use crate::Error;
use pol_kernels::Activation;
use pol_numerics::MAX_EXTENT;
use pol_primitives::{
    model::{self, ModelSpec, Norm, Parameter, PositionEncoding, Rotation},
    recipe::{Numerics, Recipe},
};
use std::{collections::BTreeMap, ops::Range};

/// Parts of a model that kernels compute, and the place of each parameter in the flat vector.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(crate) spec: ModelSpec,
    slots: Vec<Slot>,
    len: usize,
    pub(crate) embedding: Range<usize>,
    pub(crate) positions: Option<Range<usize>>,
    pub(crate) blocks: Vec<Block>,
    pub(crate) norm: NormPart,
    /// Output projection, `[vocabulary, width]`; the embedding where both are tied.
    pub(crate) head: Range<usize>,
    pub(crate) head_bias: Option<Range<usize>>,
    /// Projection of final hidden states to a predicted loss.
    pub(crate) introspection: Option<Linear>,
    pub(crate) second_pass: Option<SecondPass>,
}

/// Returns `true` if a recipe trains on kernels: it has the exact profile, and they cover its model
/// and the micro-batches of each tier.
pub fn covers(recipe: &Recipe) -> bool {
    let mut tiers = recipe.tiers.iter();
    recipe.numerics == Numerics::Exact
        && tiers.all(|t| fits(&recipe.model, t.micro_batch.into(), recipe.sequence.into()))
        && Plan::new(&recipe.model).is_ok()
}

/// Returns `true` if kernels have the extents of a micro-batch.
pub(crate) fn fits(spec: &ModelSpec, sequences: u32, length: u32) -> bool {
    let tokens = sequences.saturating_mul(length);
    tokens > 0 && rows(spec, tokens) <= MAX_EXTENT && length <= spec.context
}

/// Returns the largest number of rows that operators have for some tokens.
pub(crate) fn rows(spec: &ModelSpec, tokens: u32) -> u32 {
    // Heads have rows of their own in norms and in the gradient of attention, and branches in the
    // gradient of a superposition.
    let active = spec.experts.map_or(1, |experts| experts.active.into());
    let branches = spec.mind.superposition.map_or(1, |sizes| sizes.branches.into());
    tokens.saturating_mul(active.max(spec.heads.into()).max(branches))
}

/// Place of a tensor in the flat vector of parameters.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Name, shape, and whether weight decay applies.
    pub parameter: Parameter,
    /// Indices of its values.
    pub range: Range<usize>,
}

/// Parts of a block.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) norm1: Option<NormPart>,
    pub(crate) query_key_value: Linear,
    /// Norms of queries and of keys.
    pub(crate) query_key_norms: Option<[NormPart; 2]>,
    pub(crate) out: Linear,
    /// Norm of the output of attention.
    pub(crate) behind1: Option<NormPart>,
    pub(crate) norm2: Option<NormPart>,
    pub(crate) router: Option<Router>,
    /// The feed-forward layer. With a router it is that of the first expert.
    pub(crate) feed_forward: FeedForward,
    /// Norm of the output of the feed-forward layer.
    pub(crate) behind2: Option<NormPart>,
    /// Layer at the end of the block.
    pub(crate) superposition: Option<Superposition>,
    pub(crate) window: Option<u32>,
    pub(crate) rotation: Option<Rotation>,
}

/// Projections of a superposition.
#[derive(Clone, Debug)]
pub(crate) struct Superposition {
    pub(crate) amplitudes: Linear,
    pub(crate) branches: Linear,
    pub(crate) query: Linear,
    pub(crate) key: Linear,
    pub(crate) out: Linear,
    /// Factor on each output.
    pub(crate) gate: Range<usize>,
}

/// A second run of the last blocks.
#[derive(Clone, Debug)]
pub(crate) struct SecondPass {
    /// Index of the first block that runs again.
    pub(crate) first: usize,
    /// Values of these blocks' tensors, in the flat vector.
    pub(crate) tensors: Range<usize>,
    /// Factor on the change, a single value.
    pub(crate) gate: Range<usize>,
}

/// Choice among experts.
#[derive(Clone, Debug)]
pub(crate) struct Router {
    pub(crate) experts: model::Experts,
    /// Projection to a score for each expert.
    pub(crate) scores: Linear,
    /// Addend of each expert in the choice.
    pub(crate) bias: Range<usize>,
}

/// Projections of a feed-forward layer.
#[derive(Clone, Debug)]
pub(crate) struct FeedForward {
    pub(crate) gate: Option<Linear>,
    pub(crate) up: Linear,
    pub(crate) down: Linear,
}

/// A projection: weight `[inputs, outputs]`, and bias.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
    pub(crate) inputs: u32,
    pub(crate) outputs: u32,
}

impl FeedForward {
    /// Returns the layer of an expert, given that of the first.
    pub(crate) fn expert(&self, index: usize) -> Self {
        let Self { gate, up, down } = self;
        Self {
            gate: gate.as_ref().map(|linear| linear.expert(index)),
            up: up.expert(index),
            down: down.expert(index),
        }
    }
}

impl Linear {
    fn expert(&self, index: usize) -> Self {
        let shifted = |range: &Range<usize>| {
            let by = range.len() * index;
            range.start + by..range.end + by
        };
        let (weight, bias) = (shifted(&self.weight), self.bias.as_ref().map(shifted));
        Self { weight, bias, ..*self }
    }
}

/// Parameters of a norm.
#[derive(Clone, Debug)]
pub(crate) struct NormPart {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
    pub(crate) width: u32,
}

impl Plan {
    /// Makes the plan of `spec`.
    ///
    /// # Errors
    ///
    /// Fails if `spec` is invalid, and names a part of it that is not covered.
    pub fn new(spec: &ModelSpec) -> Result<Self, Error> {
        spec.validate()?;
        let (mut slots, mut len) = (Vec::new(), 0);
        for parameter in spec.parameters() {
            let range = len..len + parameter.len();
            len = range.end;
            slots.push(Slot { parameter, range });
        }
        let mut reader = Reader {
            remaining: slots.iter().map(|slot| (slot.parameter.name.as_str(), slot)).collect(),
            spec,
        };
        let embedding = reader.take("wte.weight")?;
        let learned = spec.positions == PositionEncoding::Learned;
        let positions = learned.then(|| reader.take("wpe.weight")).transpose()?;
        let blocks = (0..spec.layers).map(|index| reader.block(index)).collect::<Result<_, _>>()?;
        let norm = reader.norm("ln_f")?;
        let head = if spec.tied { embedding.clone() } else { reader.take("lm_head.weight")? };
        let head_bias = spec.biases.head.then(|| reader.take("lm_head.bias")).transpose()?;
        let introspects = spec.mind.introspection;
        let introspection = introspects
            .then(|| reader.linear("mind.introspection", spec.width, true))
            .transpose()?;
        let gate = (spec.mind.second_pass > 0).then(|| reader.take("mind.second_pass.gate"));
        let gate = gate.transpose()?;
        if !reader.remaining.is_empty() {
            return Err(Error::NotCovered { part: "a tensor of this model" });
        }
        let second_pass = gate.map(|gate| second_pass(spec, &slots, gate));
        Ok(Self {
            spec: *spec,
            len,
            embedding,
            positions,
            blocks,
            norm,
            head,
            head_bias,
            introspection,
            second_pass,
            slots,
        })
    }

    /// Returns the specification.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Returns the tensors in canonical order, one after the other in the flat vector.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Returns the number of parameters.
    #[allow(clippy::len_without_is_empty, reason = "no valid model is empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn activation(&self) -> Activation {
        match self.spec.activation {
            model::Activation::GeluTanh => Activation::GeluTanh,
            model::Activation::Gelu => Activation::Gelu,
            model::Activation::Silu => Activation::Silu,
            model::Activation::Relu => Activation::Relu,
        }
    }
}

/// Finds the blocks that run again, and their tensors.
fn second_pass(spec: &ModelSpec, slots: &[Slot], gate: Range<usize>) -> SecondPass {
    let first = spec.layers - spec.mind.second_pass;
    let of_block = |index| format!("h.{index}.");
    let again: Vec<_> = (first..spec.layers).map(of_block).collect();
    let of_pass = |slot: &&Slot| again.iter().any(|block| slot.parameter.name.starts_with(block));
    let ranges = || slots.iter().filter(of_pass).map(|slot| slot.range.clone());
    let start = ranges().map(|range| range.start).min().unwrap_or(0);
    let end = ranges().map(|range| range.end).max().unwrap_or(start);
    SecondPass { first: first.into(), tensors: start..end, gate }
}

/// Takes tensors by their names, each once.
struct Reader<'a> {
    remaining: BTreeMap<&'a str, &'a Slot>,
    spec: &'a ModelSpec,
}

impl Reader<'_> {
    fn take(&mut self, name: &str) -> Result<Range<usize>, Error> {
        // Specification and names are of one version, unless a newer one renamed a tensor.
        let slot = self.remaining.remove(name);
        slot.map(|slot| slot.range.clone()).ok_or(Error::NotCovered { part: "a renamed tensor" })
    }

    fn norm(&mut self, name: &str) -> Result<NormPart, Error> {
        let has_bias = matches!(self.spec.norm, Norm::Layer { .. });
        let weight = self.take(&format!("{name}.weight"))?;
        let bias = has_bias.then(|| self.take(&format!("{name}.bias"))).transpose()?;
        let width = weight.len() as u32;
        Ok(NormPart { weight, bias, width })
    }

    fn linear(&mut self, name: &str, inputs: u32, has_bias: bool) -> Result<Linear, Error> {
        let weight = self.take(&format!("{name}.weight"))?;
        let bias = has_bias.then(|| self.take(&format!("{name}.bias"))).transpose()?;
        let outputs = (weight.len() / inputs.max(1) as usize) as u32;
        Ok(Linear { weight, bias, inputs, outputs })
    }

    /// Takes a projection of the feed-forward layer. If there are experts, it is that of the first.
    fn expert(&mut self, name: &str, inputs: u32) -> Result<Linear, Error> {
        let count = self.spec.experts.map_or(1, |experts| usize::from(experts.count));
        let first = |all: Range<usize>| all.start..all.start + all.len() / count.max(1);
        let all = self.linear(name, inputs, self.spec.biases.feed_forward)?;
        let (weight, bias) = (first(all.weight), all.bias.map(first));
        let outputs = (weight.len() / inputs.max(1) as usize) as u32;
        Ok(Linear { weight, bias, inputs, outputs })
    }

    fn feed_forward(&mut self, index: u16) -> Result<(Option<Router>, FeedForward), Error> {
        let ModelSpec { width, feed_forward, gated, experts, .. } = *self.spec;
        let name = |part: &str| format!("h.{index}.mlp.{part}");
        let router = experts.map(|experts| {
            let scores = self.linear(&name("router"), width, false)?;
            let bias = self.take(&name("router.bias"))?;
            Ok::<_, Error>(Router { experts, scores, bias })
        });
        let router = router.transpose()?;
        let gate = gated.then(|| self.expert(&name("c_gate"), width)).transpose()?;
        let up = self.expert(&name("c_fc"), width)?;
        let down = self.expert(&name("c_proj"), feed_forward)?;
        Ok((router, FeedForward { gate, up, down }))
    }

    /// Takes a superposition, if the model has one.
    fn superposition(&mut self, index: u16) -> Result<Option<Superposition>, Error> {
        let (width, Some(sizes)) = (self.spec.width, self.spec.mind.superposition) else {
            return Ok(None);
        };
        let name = |part: &str| format!("h.{index}.mind.{part}");
        let mut linear = |part: &str, inputs: u32| self.linear(&name(part), inputs, false);
        Ok(Some(Superposition {
            amplitudes: linear("amplitudes", width)?,
            branches: linear("branches", width)?,
            query: linear("query", width)?,
            key: linear("key", width)?,
            out: linear("out", sizes.rank.into())?,
            gate: self.take(&name("gate"))?,
        }))
    }

    fn block(&mut self, index: u16) -> Result<Block, Error> {
        let spec = *self.spec;
        let ModelSpec { width, biases, norms, .. } = spec;
        let name = |part: &str| format!("h.{index}.{part}");
        let mut norm =
            |is_present: bool, part: &str| is_present.then(|| self.norm(&name(part))).transpose();
        let (norm1, norm2) =
            (norm(norms.is_before(), "ln_1")?, norm(spec.has_second_norm(), "ln_2")?);
        let behind1 = norm(norms.is_behind(), "ln_1_behind")?;
        let behind2 = norm(norms.is_behind(), "ln_2_behind")?;
        let has_head_norms = spec.query_key_norm.is_some();
        let queries = norm(has_head_norms, "attn.q_norm")?;
        let keys = norm(has_head_norms, "attn.k_norm")?;
        let attention = spec.attention_width();
        let mut linear =
            |part: &str, inputs: u32, has_bias: bool| self.linear(&name(part), inputs, has_bias);
        let query_key_value = linear("attn.c_attn", width, biases.query_key_value)?;
        let out = linear("attn.c_proj", attention, biases.attention_output)?;
        let (router, feed_forward) = self.feed_forward(index)?;
        Ok(Block {
            norm1,
            query_key_value,
            query_key_norms: queries.zip(keys).map(|(queries, keys)| [queries, keys]),
            out,
            behind1,
            norm2,
            router,
            feed_forward,
            behind2,
            superposition: self.superposition(index)?,
            window: spec.window(index),
            rotation: spec.rotation(index),
        })
    }
}
