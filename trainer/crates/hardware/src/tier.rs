// SPDX-License-Identifier: Apache-2.0

//! Memory that training takes, and the tier that a machine can serve.

use crate::{HardwareError, Machine};
use pol_primitives::{
    model::{ModelSpec, Norm, PositionEncoding, Superposition},
    recipe::{Numerics, Recipe, Tier},
};

/// Share of the memory that training may take, in percent. The system and the requests of peers
/// need the rest.
pub(crate) const MEMORY_PERCENT: u64 = 80;
/// Memory of a process with libtorch that holds no model yet, in bytes.
const PROCESS_BYTES: u64 = 512 << 20;
/// Bytes of a float32.
const FLOAT_BYTES: u64 = 4;
/// Number of vectors of the model's length that a trainer holds at once: the parameters, both
/// moments of Adam, the summed gradient, and beside training the newest head, which is computed or
/// measured. The head that a lease starts from and the error feedback are on the disk until the
/// update is packed, when the gradients are gone.
const MODEL_VECTORS: u64 = 5;
/// Number of vectors of the model's length that each worker of libtorch holds: its view of the
/// parameters and its gradient.
const WORKER_VECTORS: u64 = 2;
/// Number of tensors of attention that kernels pack.
const PACKED_TENSORS: u64 = 8;
/// Vectors of a block of each side of a product, which kernels pack at least. The widest
/// instructions have these.
const BLOCK_VECTORS: [u64; 2] = [96, 256];
/// Largest number of values of a side that kernels pack if a block has no more. So many count to
/// the process.
const PACKED_SIDE: u64 = 1 << 23;

/// Estimates the memory, in bytes, that a process takes which trains as `tier`. On kernels there is
/// one micro-batch at a time, whatever the number of threads. On libtorch there are as many as
/// `workers`.
///
/// With `P` parameters and `S` bytes of a micro-batch ([`pol_step::step_bytes`]), of which blocks
/// of 64 tokens are packed in attention, kernels take at most
///
/// ```text
/// 512 MiB + 4 · (5·P + P) + S + 4 · packed
/// ```
///
/// Products pack both sides into the same memory. It is larger where 96 or 256 vectors, of as many
/// values as a micro-batch has tokens or the vocabulary has entries, have more than 2²³ values.
///
/// On libtorch, with `T` tokens in a micro-batch, `s` tokens in a sequence, `l` layers, width `d`,
/// `h` heads of total width `a`, queries, keys and values of total width `q`, feed-forward width
/// `f` and vocabulary `V`:
///
/// ```text
/// 512 MiB + 4 · (5·P + workers · (2·P + T · (l · L + 2·d + 3·V)))
/// L = n·d + r·q + 3·h·s + 2·a + 2·d + g·f
/// ```
///
/// `L` is the number of values that the backward pass needs of each layer for a token:
///
/// - `n·d`: inputs and outputs of the norms. `n` is 2 for a LayerNorm and 4 for an RMSNorm, which
///   is composed of several operations, times the number of norms. Norms of queries and keys have
///   as many for their widths.
/// - `r·q`: queries, keys and values as computed and as laid out by head (`r` is 2), and their
///   steps of rotation (`r` is 5 with rotary positions).
/// - `3·h·s`: attention scores before the mask, with the mask, and after the softmax. A bound of
///   scores has four more steps.
/// - `2·a + 2·d`: the attention's output in two layouts, and the outputs of both projections.
/// - `g·f`: the feed-forward part before and after its activation. `g` is 2, or 4 if it is gated,
///   for each active expert.
///
/// The output needs the input and output of the final norm, and the logits, their logarithms of
/// probabilities and their gradients.
///
/// A superposition of `R` branches of rank `r` adds `8·d + 16·R + 5·R·r + 16·r + 5·s` to `L`: norms
/// and projections, and five steps of pairs of tokens. A second pass of `m` blocks counts as `m`
/// more layers, with their share of `P` for gradients of the second run, and has `6·d` at its end.
/// Introspection and the choice of tokens have `8` values.
pub fn memory_needed(recipe: &Recipe, tier: Tier, workers: usize) -> u64 {
    let parameters = recipe.model.size();
    let of_workers = match kernel_bytes(recipe, tier) {
        Some(bytes) => bytes.saturating_mul(workers.min(1) as u64),
        None => libtorch_bytes(recipe, tier).saturating_mul(workers as u64),
    };
    parameters
        .saturating_mul(MODEL_VECTORS * FLOAT_BYTES)
        .saturating_add(of_workers)
        .saturating_add(PROCESS_BYTES)
}

/// Returns the bytes of a micro-batch on kernels with its gradient, or `None` if the recipe trains
/// on libtorch.
fn kernel_bytes(recipe: &Recipe, tier: Tier) -> Option<u64> {
    if !pol_step::covers(recipe) {
        return None;
    }
    let spec = &recipe.model;
    let [sequences, length] = [recipe.tier(tier).micro_batch, recipe.sequence].map(u32::from);
    let step = pol_step::step_bytes(spec, sequences, length).ok()?;
    // Attention packs blocks of 64 tokens, and heads of 32 values.
    let blocks = u64::from(sequences) * u64::from(length).div_ceil(64) * 64;
    let head = u64::from(spec.head_size).div_ceil(32) * 32;
    let tensor = blocks.saturating_mul(u64::from(spec.heads) * head);
    // Products pack vectors of up to `inner` values into the memory of two of these tensors.
    let extents = [spec.vocabulary, spec.width, spec.attention_width(), spec.feed_forward];
    let tokens = u64::from(sequences) * u64::from(length);
    let inner = extents.into_iter().map(u64::from).fold(tokens, u64::max);
    let sides = BLOCK_VECTORS.map(|vectors| match inner * vectors {
        ..=PACKED_SIDE => tensor,
        side => tensor.max(side),
    });
    let others = tensor.saturating_mul(PACKED_TENSORS - 2);
    let packed = sides.into_iter().fold(others, u64::saturating_add);
    let values = packed.saturating_add(spec.size());
    Some(step.saturating_add(values.saturating_mul(FLOAT_BYTES)))
}

/// Returns the bytes that a worker of libtorch takes.
fn libtorch_bytes(recipe: &Recipe, tier: Tier) -> u64 {
    let spec = &recipe.model;
    let [v, d, l, h, f] =
        [spec.vocabulary, spec.width, spec.layers.into(), spec.heads.into(), spec.feed_forward]
            .map(u64::from);
    let [attention, projected] =
        [spec.attention_width(), spec.query_key_value_width()].map(u64::from);
    let steps = if matches!(spec.norm, Norm::Layer { .. }) { 2 } else { 4 };
    let norms = spec.norms_of_a_block() * steps;
    let query_key_norms = match spec.query_key_norm {
        Some(_) => steps * (attention + u64::from(spec.key_value_width())),
        None => 0,
    };
    let scores = if spec.caps.attention.is_some() { 7 } else { 3 };
    let copies = if spec.positions == PositionEncoding::Learned { 2 } else { 5 };
    let active = spec.experts.map_or(1, |experts| experts.active.into());
    let inner = if spec.gated { 4 } else { 2 } * active;
    let sequence = u64::from(recipe.sequence);
    let tokens = u64::from(recipe.tier(tier).micro_batch) * sequence;
    let layer = (norms + 2) * d
        + copies * projected
        + query_key_norms
        + scores * h * sequence
        + 2 * attention
        + inner * f
        + superposition_values(spec, sequence);
    let again = u64::from(spec.mind.second_pass);
    let end = if again > 0 { 8 * d } else { 2 * d } + 8 * u64::from(spec.mind.introspection);
    let activations = tokens.saturating_mul((l + again) * layer + end + 3 * v);
    let parameters = recipe.model.size();
    let worker = parameters.saturating_mul(WORKER_VECTORS).saturating_add(activations);
    worker.saturating_add((parameters / l.max(1)).saturating_mul(again)).saturating_mul(FLOAT_BYTES)
}

/// Returns the number of values that a superposition holds for a token, in sequences of `sequence`
/// tokens.
fn superposition_values(spec: &ModelSpec, sequence: u64) -> u64 {
    spec.mind.superposition.map_or(0, |Superposition { branches, rank }| {
        let [branches, rank] = [u64::from(branches), rank.into()];
        let states = branches * rank;
        8 * u64::from(spec.width) + 16 * (branches + rank) + 5 * (states + sequence)
    })
}

/// Returns the memory that training may take, in bytes.
fn memory_budget(machine: &Machine) -> u64 {
    machine.memory_bytes / 100 * MEMORY_PERCENT
}

/// Returns the largest tier whose lease the machine can be expected to finish in time:
///
/// | tier | cores |
/// |---|---|
/// | whale | 64, or 16 and a GPU under the native profile |
/// | miner | 16 |
/// | participant | 4 |
/// | mobile | fewer |
///
/// A GPU counts only under the native profile: recipes of the exact one train on the processor.
fn largest_tier_for_cores(machine: &Machine, numerics: Numerics) -> Tier {
    let has_gpu = numerics != Numerics::Exact && !machine.gpus.is_empty();
    match machine.cores {
        0..4 => Tier::Mobile,
        4..16 => Tier::Participant,
        16..64 if !has_gpu => Tier::Miner,
        _ => Tier::Whale,
    }
}

/// Returns the largest tier that suits the machine's cores (64, or 16 and a GPU under the native
/// profile: whale; 16: miner; 4: participant; fewer: mobile) and whose training with one worker
/// fits in 80 % of its memory.
///
/// # Errors
///
/// Fails if the memory is too small for every tier that suits the cores.
pub fn largest_fitting_tier(machine: &Machine, recipe: &Recipe) -> Result<Tier, HardwareError> {
    let largest = largest_tier_for_cores(machine, recipe.numerics);
    let suitable = || Tier::ALL.into_iter().filter(move |tier| *tier <= largest);
    let fits = |tier: &Tier| memory_needed(recipe, *tier, 1) <= memory_budget(machine);
    suitable().rfind(fits).ok_or_else(|| HardwareError::TooLittleMemory {
        needed: suitable().map(|tier| memory_needed(recipe, tier, 1)).min().unwrap_or(u64::MAX),
        memory: machine.memory_bytes,
    })
}

/// Returns the number of threads that train, at least one. On kernels it is the number of cores.
/// Elsewhere each thread takes a micro-batch, so it is also at most as many as a step has, and as
/// fit in 80 % of the memory.
pub fn max_workers(machine: &Machine, recipe: &Recipe, tier: Tier) -> usize {
    if pol_step::covers(recipe) {
        return machine.cores.max(1);
    }
    let most = machine.cores.min(usize::from(recipe.tier(tier).accumulation)).max(1);
    (1..=most)
        .rev()
        .find(|&workers| memory_needed(recipe, tier, workers) <= memory_budget(machine))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::{
        MILLION,
        model::Mind,
        recipe::{AdamW, Compression, LearningRateSchedule, TierParameters},
    };
    use pol_step::{Step, step_bytes};

    const GIB: u64 = 1 << 30;

    fn machine(cores: usize, memory_bytes: u64, gpus: usize) -> Machine {
        let gpus = vec!["NVIDIA H200".to_owned(); gpus];
        Machine {
            cores,
            memory_bytes,
            disk_free_bytes: 0,
            cpu: String::new(),
            avx2: true,
            avx512: false,
            gpus,
        }
    }

    /// Returns a recipe of GPT-2 with 124 million parameters, and micro-batches of 1, 4, 8 and 16
    /// sequences.
    fn recipe() -> Recipe {
        let tier = |micro_batch, accumulation| TierParameters {
            micro_batch,
            accumulation,
            inner_steps: 10,
            cadence: 1,
        };
        Recipe {
            model: ModelSpec::gpt2(50_257, 768, 12, 12, 3_072, 1_024),
            tokenizer: [1; 32],
            seed: [2; 32],
            pretrained: None,
            held_out: None,
            rewrite: None,
            sequence: 1_024,
            shard_tokens: 1 << 20,
            tiers: [tier(1, 2), tier(4, 8), tier(8, 16), tier(16, 32)],
            optimiser: AdamW { beta1: 900_000, beta2: 950_000, epsilon: 10, weight_decay: 100_000 },
            schedule: LearningRateSchedule {
                peak: 1_000_000,
                warmup_steps: 20,
                decay_tokens: 0,
                floor: 100_000,
            },
            gradient_clip: MILLION,
            outer_rate: MILLION,
            compression: Compression { top_k: 256, feedback: 950_000 },
            segments: 10,
            numerics: Numerics::Native { tolerance: 50_000 },
            arithmetic: None,
        }
    }

    #[test]
    fn memory_follows_its_formula() {
        let recipe = recipe();
        assert!(recipe.validate().is_ok());
        let activations =
            1_024 * (12 * (14 * 768 + 2 * 3_072 + 3 * 12 * 1_024) + 2 * 768 + 3 * 50_257);
        assert_eq!(memory_needed(&recipe, Tier::Mobile, 0), (512 << 20) + 4 * 5 * 124_439_808);
        let worker = 4 * (2 * 124_439_808 + activations);
        assert_eq!(
            memory_needed(&recipe, Tier::Mobile, 3),
            (512 << 20) + 4 * 5 * 124_439_808 + 3 * worker
        );
        assert!(memory_needed(&recipe, Tier::Whale, 1) > memory_needed(&recipe, Tier::Miner, 1));
        assert_eq!(memory_needed(&recipe, Tier::Whale, usize::MAX), u64::MAX);
        let exact = Recipe { numerics: Numerics::Exact, ..recipe.clone() };
        let of_threads = |threads| memory_needed(&exact, Tier::Whale, threads);
        assert_eq!(of_threads(9), of_threads(1));
        // Six vectors, the memory of a step, and seven tensors in blocks of 64 tokens of 12 heads
        // of 64 values. The eighth makes room for 256 columns of as many values as the vocabulary
        // has.
        let step = step_bytes(&exact.model, 16, 1_024).unwrap();
        let packed = 4 * (7 * 16 * 1_024 * 12 * 64 + 256 * 50_257);
        assert_eq!(of_threads(1), (512 << 20) + 4 * 6 * 124_439_808 + step + packed);
        // Nothing grows with the square of the context.
        assert!(of_threads(1) < memory_needed(&recipe, Tier::Whale, 1) * 2 / 3);
    }

    #[test]
    fn packed_sides_of_products_take_memory() {
        // Attention packs one head of one block.
        let attention = 8 * 64 * 32;
        let packed = |vocabulary, context: u16, sequences| {
            let model = ModelSpec::gpt2(vocabulary, 8, 1, 1, 8, context.into());
            let mut exact =
                Recipe { model, sequence: context, numerics: Numerics::Exact, ..recipe() };
            exact.tiers[0].micro_batch = sequences;
            let bytes = kernel_bytes(&exact, Tier::Mobile).unwrap();
            let step = step_bytes(&model, sequences.into(), context.into()).unwrap();
            (bytes - step) / 4 - model.size()
        };
        // Small sides count to the process.
        assert_eq!(packed(32_768, 64, 1), attention);
        // About 350 MiB.
        assert_eq!(packed(1 << 18, 64, 1), attention * 6 / 8 + (96 + 256) * (1 << 18));
        // Sums over half a million tokens, each of which attention packs too.
        let tensor = 32 << 19;
        assert_eq!(packed(64, 64, 1 << 13), 6 * tensor + (96 + 256) * (1 << 19));
    }

    #[test]
    fn parts_of_the_mind_take_memory() {
        let exact = Recipe { numerics: Numerics::Exact, sequence: 128, ..recipe() };
        let superposition = |branches, rank| Some(Superposition { branches, rank });
        let whole =
            Mind { superposition: superposition(4, 16), introspection: true, second_pass: 1 };
        let shapes = [(128, 12, 2), (2_048, 1, 1), (300, 2, 3)];
        for (sequence, layers, micro_batch) in shapes {
            for mind in [
                Mind { introspection: true, ..Mind::default() },
                Mind { superposition: superposition(16, 32), ..Mind::default() },
                Mind { superposition: None, ..whole },
                whole,
                Mind { second_pass: layers, ..whole },
            ] {
                let spec = ModelSpec::gpt2(500, 64, layers, 4, 256, 2_048);
                let mut recipe = Recipe { model: ModelSpec { mind, ..spec }, sequence, ..exact };
                recipe.tiers[0].micro_batch = micro_batch;
                assert!(pol_step::covers(&recipe));
                let [sequences, length] = [recipe.tiers[0].micro_batch, sequence].map(u32::from);
                let step = Step::new(&recipe.model, sequences, length).unwrap();
                let taken = step.bytes() as u64 + 4 * recipe.model.size();
                let needed = memory_needed(&recipe, Tier::Mobile, 1)
                    - memory_needed(&recipe, Tier::Mobile, 0);
                assert!(taken <= needed, "{mind:?}: {taken} of {needed} bytes");
                assert!(needed < 2 * taken, "{mind:?}: {taken} of {needed} bytes");
            }
        }
    }

    #[test]
    fn the_largest_models_do_not_overflow() {
        let mut recipe = recipe();
        let largest = ModelSpec::gpt2(1 << 20, 1 << 16, 512, 1 << 15, 1 << 18, 1 << 20);
        (recipe.model, recipe.sequence, recipe.tiers[3].micro_batch) =
            (largest, u16::MAX, u16::MAX);
        assert!(memory_needed(&recipe, Tier::Whale, 64) > 1 << 60);
    }

    #[test]
    fn the_tier_follows_cores_gpus_and_memory() {
        let recipe = recipe();
        let tier = |cores, memory, gpus| {
            largest_fitting_tier(&machine(cores, memory, gpus), &recipe).unwrap()
        };
        let much = 1_000 * GIB;
        assert_eq!(tier(2, much, 1), Tier::Mobile);
        assert_eq!(tier(4, much, 0), Tier::Participant);
        assert_eq!(tier(15, much, 1), Tier::Participant);
        assert_eq!(tier(16, much, 0), Tier::Miner);
        assert_eq!(tier(16, much, 1), Tier::Whale);
        assert_eq!(tier(64, much, 0), Tier::Whale);
        // No GPU computes under the exact profile.
        let exact = Recipe { numerics: Numerics::Exact, ..recipe.clone() };
        let tier_of_exact = |cores| largest_fitting_tier(&machine(cores, much, 1), &exact).unwrap();
        assert_eq!([16, 63, 64].map(tier_of_exact), [Tier::Miner, Tier::Miner, Tier::Whale]);

        // Memory decides if it is too small for the tier of the cores.
        for (needs, below) in [
            (Tier::Whale, Tier::Miner),
            (Tier::Miner, Tier::Participant),
            (Tier::Participant, Tier::Mobile),
        ] {
            let needed = memory_needed(&recipe, needs, 1);
            assert_eq!(tier(64, needed * 126 / 100, 0), needs);
            assert_eq!(tier(64, needed * 124 / 100, 0), below);
        }
        let error = largest_fitting_tier(&machine(64, 4 * GIB, 0), &recipe).unwrap_err();
        let least = memory_needed(&recipe, Tier::Mobile, 1);
        assert!(matches!(
            error,
            HardwareError::TooLittleMemory { needed, memory }
                if (needed, memory) == (least, 4 * GIB)
        ));
        assert!(error.to_string().contains("of this machine's 4.0 GiB"), "{error}");
    }

    #[test]
    fn workers_are_bounded_by_cores_work_and_memory() {
        let recipe = recipe();
        let count =
            |cores, memory| max_workers(&machine(cores, memory, 0), &recipe, Tier::Participant);
        assert_eq!(count(2, 1_000 * GIB), 2);
        assert_eq!(count(64, 1_000 * GIB), 8);
        assert_eq!(count(64, memory_needed(&recipe, Tier::Participant, 3) * 126 / 100), 3);
        assert_eq!(count(64, memory_needed(&recipe, Tier::Participant, 3) * 124 / 100), 2);
        assert_eq!(count(64, 0), 1);
        assert_eq!(count(0, 1_000 * GIB), 1);
        let exact = Recipe { numerics: Numerics::Exact, ..recipe.clone() };
        let count = |cores| max_workers(&machine(cores, GIB, 0), &exact, Tier::Participant);
        assert_eq!([0, 1, 64].map(count), [1, 1, 64], "threads of kernels share a batch");
    }
}
