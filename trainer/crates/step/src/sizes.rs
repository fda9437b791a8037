// SPDX-License-Identifier: Apache-2.0

//! Size of the memory of a micro-batch, without that memory.

use crate::{
    Error,
    memory::logits_at_once,
    plan::{Block, Plan},
    superposition::pairs_at_once,
};
use pol_primitives::model::{ModelSpec, Superposition};

/// Returns the number of bytes that [`Step::bytes`](crate::Step::bytes) gives for `sequences`
/// sequences of `length` tokens, whatever their number. Saturates.
///
/// # Errors
///
/// Fails for models that kernels do not cover.
pub fn step_bytes(spec: &ModelSpec, sequences: u32, length: u32) -> Result<u64, Error> {
    let plan = Plan::new(spec)?;
    let sizes = Sizes::new(&plan.spec, sequences, length);
    let bytes = sizes.all(&plan).saturating_mul(size_of::<f32>() as u128);
    Ok(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// Extents of a model and a micro-batch.
struct Sizes<'a> {
    spec: &'a ModelSpec,
    sequences: u128,
    length: u128,
    tokens: u128,
    width: u128,
    attention: u128,
    keys: u128,
    heads: u128,
    hidden: u128,
}

impl<'a> Sizes<'a> {
    fn new(spec: &'a ModelSpec, sequences: u32, length: u32) -> Self {
        let [sequences, length] = [sequences, length].map(u128::from);
        let sizes = [spec.width, spec.attention_width(), spec.key_value_width(), spec.feed_forward];
        let [width, attention, keys, hidden] = sizes.map(u128::from);
        let tokens = sequences * length;
        let heads = spec.heads.into();
        Self { spec, sequences, length, tokens, width, attention, keys, heads, hidden }
    }

    /// Returns all values of `Memory`.
    fn all(&self, plan: &Plan) -> u128 {
        let Self { tokens, width, spec, .. } = *self;
        let blocks: u128 = plan.blocks.iter().map(|block| self.block(block)).sum();
        let streams = (plan.blocks.len() as u128 + 1) * tokens * width;
        let vocabulary = u128::from(spec.vocabulary);
        let most = usize::try_from(tokens).unwrap_or(usize::MAX);
        let part = logits_at_once(spec, most) as u128;
        let logits = part * (vocabulary + 1) + if spec.biases.head { vocabulary } else { 0 };
        let introspection = if plan.introspection.is_some() { 3 * tokens } else { 0 };
        // Inputs, targets, positions, losses, and their gradients.
        let of_tokens = 5 * tokens;
        let norm = self.normed(true);
        streams
            + blocks
            + logits
            + introspection
            + of_tokens
            + norm
            + self.second_pass(plan)
            + self.work(plan.blocks.first())
    }

    /// Returns the values of a norm, if it is present.
    fn normed(&self, is_present: bool) -> u128 {
        if is_present { self.tokens * (2 + self.width) } else { 0 }
    }

    /// Returns the values of `BlockMemory`.
    fn block(&self, block: &Block) -> u128 {
        let Self { tokens, width, attention, keys, heads, .. } = *self;
        let norms = [&block.norm1, &block.behind1, &block.norm2, &block.behind2];
        let norms: u128 = norms.map(|norm| self.normed(norm.is_some())).into_iter().sum();
        let query_key_norms = block.query_key_norms.as_ref().map_or(0, |[queries, keys_norm]| {
            let of = |len: u128, width: u32| len + 2 * (len / u128::from(width.max(1)));
            of(tokens * attention, queries.width) + of(tokens * keys, keys_norm.width)
        });
        // Projections, outputs of attention, logarithms, and the stream after attention.
        norms
            + query_key_norms
            + tokens * (2 * attention + 2 * keys + heads + width)
            + self.feed_forward()
            + self.superposed()
    }

    /// Returns the values of `FeedForwardMemory`.
    fn feed_forward(&self) -> u128 {
        let Self { tokens, width, hidden, spec, .. } = *self;
        let inner = hidden * if spec.gated { 3 } else { 2 };
        let Some(experts) = spec.experts else { return tokens * inner };
        let [count, active] = [experts.count, experts.active].map(u128::from);
        // Chosen experts, gates, rows, and tokens of rows.
        let routing = tokens * (count + 1 + 4 * active) + 3 * count;
        tokens * active * (inner + width) + routing
    }

    /// Returns the values of `Superposed`.
    fn superposed(&self) -> u128 {
        let Some((branches, rank)) = self.superposition() else { return 0 };
        let unit = |width: u128| 2 * width + 2;
        let units = unit(self.width) + unit(2 * branches) + 2 * unit(rank);
        self.tokens * (units + branches * rank + 3 * branches + 4 * rank + self.width)
    }

    fn superposition(&self) -> Option<(u128, u128)> {
        let Superposition { branches, rank } = self.spec.mind.superposition?;
        Some((branches.into(), rank.into()))
    }

    /// Returns the values of `SecondPassMemory`.
    fn second_pass(&self, plan: &Plan) -> u128 {
        let Some(pass) = &plan.second_pass else { return 0 };
        let Self { tokens, width, attention, keys, length, .. } = *self;
        let blocks = &plan.blocks[pass.first..];
        let count = blocks.len() as u128;
        let memory: u128 = blocks.iter().map(|block| self.block(block) - self.superposed()).sum();
        memory
            + count * tokens * (width + attention + 2 * keys)
            + 3 * tokens * width
            + 2 * width * attention
            + pass.tensors.len() as u128
            + length
            + 4 * tokens
    }

    /// Returns the values of `Work`.
    fn work(&self, first: Option<&Block>) -> u128 {
        let Self { tokens, width, attention, keys, heads, hidden, spec, .. } = *self;
        let has_norms = first.is_some_and(|block| block.query_key_norms.is_some());
        let normed_heads = if has_norms { 2 * attention } else { 0 };
        let block = first.map_or(0, |_| 2 * attention + 2 * keys + heads + normed_heads);
        let inner = hidden * if spec.gated { 2 } else { 1 };
        let experts = spec.experts.map_or(0, |experts| {
            let [count, active] = [experts.count, experts.active].map(u128::from);
            tokens * (2 * width + active * (width + 3) + 3 * count + 1) + count
        });
        tokens * (3 * width + block + inner) + experts + self.superposition_work()
    }

    /// Returns the values of `SuperpositionWork`.
    fn superposition_work(&self) -> u128 {
        let Some((branches, rank)) = self.superposition() else { return 0 };
        let Self { sequences, length, .. } = *self;
        let part = pairs_at_once(usize::try_from(length).unwrap_or(usize::MAX)) as u128;
        let of_token = 4 * branches * rank + 6 * rank + 9 * branches + 1;
        4 * part * length + sequences * length * of_token
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Step;
    use pol_primitives::model::{
        Activation, Biases, Experts, Mind, Norm, NormPlacement, PositionEncoding, QueryKeyNorm,
    };

    fn models() -> Vec<ModelSpec> {
        let gpt2 = ModelSpec::gpt2(300, 32, 3, 4, 96, 700);
        let llama = ModelSpec {
            key_value_heads: 2,
            activation: Activation::Silu,
            gated: true,
            norm: Norm::Rms { epsilon: 10_000 },
            positions: PositionEncoding::Rotary { dimensions: 8, base: 10_000, interleaved: false },
            biases: Biases::default(),
            tied: false,
            ..gpt2
        };
        let superposition = Some(Superposition { branches: 3, rank: 5 });
        let mind = |second_pass| Mind { superposition, introspection: true, second_pass };
        vec![
            gpt2,
            llama,
            ModelSpec { query_key_norm: Some(QueryKeyNorm::Head), ..llama },
            ModelSpec { query_key_norm: Some(QueryKeyNorm::Whole), ..llama },
            ModelSpec { norms: NormPlacement::Around, ..llama },
            ModelSpec { norms: NormPlacement::After, ..llama },
            ModelSpec { parallel: true, ..gpt2 },
            ModelSpec { biases: Biases { head: true, ..gpt2.biases }, tied: false, ..gpt2 },
            ModelSpec { experts: Some(Experts::new(4, 2)), ..llama },
            ModelSpec { experts: Some(Experts::new(5, 1)), ..gpt2 },
            ModelSpec { mind: mind(0), ..gpt2 },
            ModelSpec { mind: mind(2), ..llama },
            ModelSpec { mind: mind(1), experts: Some(Experts::new(4, 2)), ..gpt2 },
        ]
    }

    #[test]
    fn sizes_are_those_of_the_memory() {
        for (place, spec) in models().iter().enumerate() {
            for (sequences, length) in [(1, 1), (3, 17), (2, 513), (1, 700)] {
                let step = Step::new(spec, sequences, length).unwrap();
                let found = step_bytes(spec, sequences, length).unwrap();
                assert_eq!(found, step.bytes() as u64, "{place}: {sequences} × {length}");
            }
        }
    }

    #[test]
    fn the_largest_sizes_saturate() {
        let spec = ModelSpec::gpt2(1 << 20, 1 << 16, 512, 1 << 15, 1 << 18, 1 << 20);
        if let Ok(bytes) = step_bytes(&spec, u32::MAX, 1 << 20) {
            assert_eq!(bytes, u64::MAX);
        }
    }
}
