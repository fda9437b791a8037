// SPDX-License-Identifier: Apache-2.0

//! Whole leases of a small model.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "../src/test_recipe.rs"]
mod test_recipe;

use pol_engine::{
    ARITHMETIC, ARITHMETIC_VERSION, EngineError, LeaseData, LeaseJob, RoundUpdate, Trace,
    TrainingState, aggregate, bench, determinism::NumericsMode, evaluate, losses, pack, replay,
    share_all_batches, train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    BoundedVec, Hash,
    audit::AuditConfig,
    data::ShardId,
    lease::Lease,
    model::{
        Activation, Biases, Experts, LocalAttention, Mind, ModelSpec, Norm, NormPlacement,
        OtherRotation, PositionEncoding, QueryKeyNorm, RotaryScaling, ScalingRamp, SoftCaps,
        Superposition,
    },
    payload::Payload,
    prf::Prf,
    recipe::{Recipe, Tier},
    trace::{merkle_verify, state_leaf},
};
use std::time::Duration;
use test_recipe::recipe;

const ACCOUNT: [u8; 32] = [9; 32];

/// Lease whose bits are pinned, with its data.
#[derive(Clone)]
struct PinnedSetup {
    recipe: Recipe,
    lease: Lease,
    shards: Vec<Vec<u32>>,
}

impl PinnedSetup {
    /// Creates a lease on text with a rule to learn: three in four tokens follow from the one
    /// before.
    fn new() -> Self {
        Self::of(recipe())
    }

    fn of(recipe: Recipe) -> Self {
        let count = recipe.shards_per_lease(Tier::Miner);
        let mut prf = Prf::new("text", &[1; 32], &[]);
        let mut shard = || {
            let mut token = 0;
            let mut next = || {
                token = if prf.below(4) > 0 { (token * 5 + 3) % 64 } else { prf.below(64) };
                token
            };
            (0..=recipe.shard_tokens).map(|_| next()).collect::<Vec<u32>>()
        };
        let shards = (0..count).map(|_| shard()).collect();
        let ids: Vec<ShardId> = (0..count).map(|index| ShardId { manifest: 0, index }).collect();
        let lease = Lease {
            nonce: 1,
            tier: Tier::Miner,
            round: 1,
            due_round: 1,
            seed: [3; 32],
            base_root: [0; 32],
            head_tokens: 1_000,
            recipe: recipe.hash(),
            carry: [0; 32],
            carry_round: 0,
            shards: BoundedVec::truncate_from(ids),
        };
        Self { recipe, lease, shards }
    }

    fn data(&self) -> LeaseData {
        LeaseData::new(&self.recipe, self.shards.clone()).unwrap()
    }

    fn initial(&self) -> TrainingState {
        TrainingState::fresh(initial_parameters(&self.recipe.model, &self.recipe.seed))
    }

    fn with<T>(&self, workers: usize, run: impl FnOnce(&LeaseJob<'_>) -> T) -> T {
        let data = self.data();
        run(&LeaseJob {
            recipe: &self.recipe,
            lease: &self.lease,
            account: &ACCOUNT,
            data: &data,
            workers,
        })
    }

    /// Returns the states at all segment boundaries and the mean loss of each segment.
    fn train(&self, start: TrainingState, workers: usize) -> (Vec<TrainingState>, Vec<f64>) {
        self.with(workers, |job| {
            let (mut states, mut losses) = (vec![start], Vec::new());
            for segment in 0..self.recipe.segments {
                let mut state = states.last().unwrap().clone();
                let report = train_segment(job, &mut state, segment).unwrap();
                assert_eq!((report.leaf, report.tokens), (state.leaf(), 2 * 3 * 2 * 16));
                losses.push(report.loss);
                states.push(state);
            }
            (states, losses)
        })
    }

    fn held_out(&self, parameters: &[f32]) -> f64 {
        let data = self.data();
        let sequences: Vec<&[u32]> =
            (0..data.sequences()).filter_map(|i| data.sequence(i)).collect();
        evaluate(&self.recipe.model, parameters, &sequences, 2).unwrap()
    }
}

#[test]
fn every_segment_replays_to_its_leaf() {
    let setup = PinnedSetup::new();
    let (states, _) = setup.train(setup.initial(), 1);
    for (segment, pair) in (0..).zip(states.windows(2)) {
        let (end, leaf) = setup.with(2, |job| replay(job, pair[0].clone(), segment)).unwrap();
        assert_eq!(leaf, pair[1].leaf());
        assert_eq!(end, pair[1]);
    }
    let mut trace = Trace::new(states[0].leaf());
    states[1..].iter().for_each(|state| trace.push(state.leaf()));
    let first_leaf = state_leaf(&states[0].root(), &[0; 32]);
    assert!(merkle_verify(&trace.root(), 5, 0, &first_leaf, &trace.proof(0).unwrap()));
    assert_eq!((trace.segments(), trace.proof(5)), (4, None));
}

#[test]
fn the_leaf_depends_on_every_input() {
    let setup = PinnedSetup::new();
    let start = setup.train(setup.initial(), 1).0.swap_remove(1);
    let leaf = |setup: &PinnedSetup, start: &TrainingState, segment| {
        setup.with(1, |job| replay(job, start.clone(), segment)).unwrap().1
    };
    let honest = leaf(&setup, &start, 1);
    assert_eq!(honest, leaf(&setup, &start, 1));
    assert_ne!(honest, leaf(&setup, &start, 2));

    // Two tokens swapped in a sequence of this segment, and two in one that it does not read.
    let order = setup.lease.order(&ACCOUNT, &setup.recipe);
    let swapped = |position: usize| {
        let (mut setup, sequence) = (setup.clone(), order[position] as usize);
        let tokens = &mut setup.shards[sequence / 8][sequence % 8 * 16..][..16];
        let other = tokens.iter().position(|token| *token != tokens[0]).unwrap();
        tokens.swap(0, other);
        setup
    };
    assert_ne!(honest, leaf(&swapped(12), &start, 1));
    let unread = (24..48)
        .find(|&at| !order[at].is_multiple_of(8) && !order[12..24].contains(&(order[at] - 1)))
        .unwrap();
    assert_eq!(honest, leaf(&swapped(unread), &start, 1));

    let mut other = setup.clone();
    other.recipe.schedule.peak += 1;
    other.lease.recipe = other.recipe.hash();
    assert_ne!(honest, leaf(&other, &start, 1));
    let mut other = setup.clone();
    other.lease.nonce += 1;
    assert_ne!(honest, leaf(&other, &start, 1));
    // The lowest bit of one moment changes the leaf of the start; a step may round it away.
    let tampered = |bit: u32| {
        let mut state = start.clone();
        state.second_moment[77] = f32::from_bits(state.second_moment[77].to_bits() ^ bit);
        state
    };
    assert_ne!(start.leaf(), tampered(1).leaf());
    assert_ne!(honest, leaf(&setup, &tampered(1 << 22), 1));
}

#[test]
fn norms_are_those_before_clipping() {
    let setup = PinnedSetup::new();
    let norms = |clip: u32| {
        let mut setup = setup.clone();
        setup.recipe.gradient_clip = clip;
        setup.lease.recipe = setup.recipe.hash();
        setup.with(1, |job| train_segment(job, &mut setup.initial(), 0).unwrap().gradient)
    };
    let free = norms(1_000_000_000);
    assert!(free.mean > 0.0 && free.largest >= free.mean, "{free:?}");
    assert_eq!(free.clipped, 0);
    let clipped = norms(1_000);
    assert!(clipped.mean > 0.001 && clipped.largest > 0.001, "{clipped:?}");
    assert_eq!(u32::from(clipped.clipped), u32::from(setup.recipe.steps_per_segment(Tier::Miner)));
}

#[test]
fn threads_that_share_a_batch_do_not_change_a_bit() {
    // Large enough that a batch is worth four threads.
    let mut recipe = recipe();
    recipe.model = ModelSpec::gpt2(512, 160, 2, 4, 640, 16);
    recipe.tiers.iter_mut().for_each(|tier| tier.micro_batch = 20);
    let mut setup = PinnedSetup::of(recipe);
    setup.shards.truncate(8);
    setup.lease.shards.truncate(8);
    let train = |workers| {
        let mut state = setup.initial();
        setup.with(workers, |job| train_segment(job, &mut state, 0).unwrap());
        state
    };
    let alone = train(1);
    for workers in [2, 3, 7] {
        assert_eq!(train(workers), alone);
    }
}

#[test]
fn workers_do_not_change_a_bit() {
    share_all_batches();
    let setup = PinnedSetup::new();
    let (states, losses) = setup.train(setup.initial(), 1);
    for workers in [0, 2, 3, 8] {
        assert_eq!(setup.train(setup.initial(), workers), (states.clone(), losses.clone()));
    }
}

/// Returns an update of a whole lease.
fn round_update(payload: Payload, staleness: u8) -> RoundUpdate {
    RoundUpdate { payload, staleness, tokens: 1 }
}

/// Returns hashes of the bits of a lease: of its last state, its update, its carry, and the model
/// that it leads to.
fn bits_of_a_lease() -> [Hash; 4] {
    let setup = PinnedSetup::new();
    let (mut states, _) = setup.train(setup.initial(), 2);
    let mut end = states.pop().unwrap();
    let leaf = end.leaf();
    let payload = pack(&setup.recipe, &setup.initial().parameters, &mut end).unwrap();
    let update = *blake3::hash(&payload.encode()).as_bytes();
    let next = aggregate(
        &setup.recipe,
        &setup.initial().parameters,
        &[round_update(payload.clone(), 0), round_update(payload, 2)],
        &[],
    )
    .unwrap();
    [leaf, update, end.carry().hash(), TrainingState::fresh(next).root()]
}

/// Returns the start of a hash in hexadecimal digits.
fn short(hash: Hash) -> String {
    blake3::Hash::from_bytes(hash).to_hex()[..16].to_owned()
}

/// Pins the bits of a lease. A failure means that this machine or this change computes other bits
/// than the network, so every audit would excise its updates.
#[test]
fn the_bits_are_those_of_the_network() {
    assert_eq!(
        bits_of_a_lease().map(short),
        ["e7fb5f8e76c36c71", "2b8139b3eff8cd1e", "968f8e1c799ef242", "eda6eb318ff4da5a"]
    );
}

/// Returns small models of every family, one with all parts of the mind and one with experts.
/// Together they use every operation of the decoder.
fn families() -> [ModelSpec; 9] {
    let gpt2 = recipe().model;
    let rotary = |dimensions, interleaved| PositionEncoding::Rotary {
        dimensions,
        base: 10_000,
        interleaved,
    };
    let llama = ModelSpec {
        heads: 4,
        key_value_heads: 2,
        head_size: 6,
        activation: Activation::Silu,
        gated: true,
        norm: Norm::Rms { epsilon: 10_000 },
        positions: rotary(6, false),
        biases: Biases::default(),
        tied: false,
        ..gpt2
    };
    let biases =
        Biases { query_key_value: false, attention_output: false, feed_forward: true, head: true };
    let superposition = Some(Superposition { branches: 3, rank: 4 });
    [
        ModelSpec {
            local: Some(LocalAttention { window: 5, period: 2, layers: 0b10 }),
            scaled: false,
            biases: Biases { attention_output: true, head: false, ..biases },
            ..gpt2
        },
        ModelSpec { positions: rotary(4, true), parallel: true, tied: false, biases, ..gpt2 },
        llama,
        ModelSpec {
            activation: Activation::Gelu,
            biases: Biases { query_key_value: true, ..biases },
            tied: true,
            ..llama
        },
        ModelSpec { mind: Mind { superposition, introspection: true, second_pass: 1 }, ..llama },
        ModelSpec { experts: Some(Experts::new(4, 2)), ..llama },
        ModelSpec {
            scaling: Some(RotaryScaling {
                factor: 4_000_000,
                ramp: ScalingRamp::Wavelengths { short: 9_000, long: 90_000 },
                amplitude: 1_100_000_000,
            }),
            query_key_norm: Some(QueryKeyNorm::Head),
            norms: NormPlacement::Around,
            caps: SoftCaps { attention: Some(2_000), logits: Some(9_000) },
            ..llama
        },
        ModelSpec {
            other_rotation: Some(OtherRotation { period: 2, layers: 0b10, base: None }),
            query_key_norm: Some(QueryKeyNorm::Whole),
            norms: NormPlacement::After,
            ..llama
        },
        ModelSpec {
            activation: Activation::Relu,
            positions: rotary(2, false),
            parallel: true,
            norms: NormPlacement::Apart,
            ..gpt2
        },
    ]
}

/// Returns the last leaf of a lease of each family.
fn leaves_of_families() -> [Hash; 9] {
    families().map(|model| {
        let mut setup = PinnedSetup::new();
        setup.recipe.model = model;
        setup.lease.recipe = setup.recipe.hash();
        setup.train(setup.initial(), 2).0.pop().unwrap().leaf()
    })
}

/// Pins the bits of a lease of each family, as the test above does for one.
#[test]
fn every_family_has_the_bits_of_the_network() {
    assert_eq!(
        leaves_of_families().map(short),
        [
            "ead737c714e98290",
            "bdb83471a5762ae2",
            "af9dfd5df736efc0",
            "538dbb56e933ecd6",
            "6a10bb26b4170101",
            "c63ec2e472400c6b",
            "5a0c5368bcabbe1d",
            "0c699215e054821e",
            "6e88f6cebdc4fc22"
        ]
    );
}

#[test]
fn the_name_of_the_arithmetic_is_that_of_its_bits() {
    let mut hasher = blake3::Hasher::new();
    hasher.update(ARITHMETIC_VERSION.as_bytes()).update(&pol_numerics::FINGERPRINT);
    bits_of_a_lease().iter().chain(&leaves_of_families()).for_each(|hash| {
        hasher.update(hash);
    });
    let found = *hasher.finalize().as_bytes();
    assert!(found == ARITHMETIC, "a bit changed: change ARITHMETIC_VERSION too; now {found:#04x?}");
}

#[test]
fn a_lease_learns_and_its_update_carries_it_to_the_head() {
    let setup = PinnedSetup::new();
    let base = setup.initial().parameters;
    let fresh = setup.held_out(&base);
    assert!((fresh - 64f64.ln()).abs() < 0.1, "initial loss {fresh}");
    let (mut states, losses) = setup.train(setup.initial(), 2);
    assert!(losses[3] < losses[0] - 0.1, "losses {losses:?}");

    let mut end = states.pop().unwrap();
    let before = end.leaf();
    let payload = pack(&setup.recipe, &base, &mut end).unwrap();
    assert_ne!(end.leaf(), before, "the leaf depends on the feedback");
    let bytes = payload.encode();
    let payload =
        Payload::decode(&bytes, setup.recipe.compression.top_k, setup.recipe.model.size()).unwrap();
    let head = aggregate(&setup.recipe, &base, &[round_update(payload.clone(), 0)], &[]).unwrap();
    let learnt = setup.held_out(&head);
    assert!(learnt < fresh - 0.1, "head {learnt}, before {fresh}");
    assert_eq!(head, aggregate(&setup.recipe, &base, &[round_update(payload, 0)], &[]).unwrap());

    // The next lease starts from the head with moments and feedback of this one, and goes on
    // learning.
    let next = TrainingState { parameters: head, ..end };
    let (states, _) = setup.train(next, 2);
    assert!(setup.held_out(&states[4].parameters) < learnt - 0.05);
    assert_eq!(states[4].steps, 16);
}

#[test]
fn losses_do_not_depend_on_workers() {
    share_all_batches();
    let setup = PinnedSetup::new();
    let (data, parameters) = (setup.data(), setup.initial().parameters);
    let sequences: Vec<&[u32]> = (0..21).filter_map(|i| data.sequence(i)).collect();
    let alone = losses(&setup.recipe.model, &parameters, &sequences, 1).unwrap();
    assert_eq!(alone.len(), 21);
    for workers in [0, 2, 3, 64] {
        assert_eq!(losses(&setup.recipe.model, &parameters, &sequences, workers).unwrap(), alone);
    }
    let mean = evaluate(&setup.recipe.model, &parameters, &sequences, 2).unwrap();
    assert!((mean - alone.iter().sum::<f64>() / 21.0).abs() < 1e-12);
    assert!(matches!(
        losses(&setup.recipe.model, &parameters, &[], 1),
        Err(EngineError::InvalidSequences)
    ));
    let ragged = [sequences[0], &sequences[1][1..]];
    assert!(matches!(
        losses(&setup.recipe.model, &parameters, &ragged, 1),
        Err(EngineError::InvalidSequences)
    ));
    assert!(matches!(
        losses(&setup.recipe.model, &parameters[1..], &sequences, 1),
        Err(EngineError::WrongModel { .. })
    ));
}

#[test]
fn jobs_that_do_not_fit_are_refused() {
    let setup = PinnedSetup::new();
    let refusal = |setup: &PinnedSetup, state: TrainingState, segment| {
        setup.with(1, |job| replay(job, state, segment)).unwrap_err()
    };
    assert!(matches!(
        refusal(&setup, setup.initial(), 4),
        EngineError::NoSuchSegment { segment: 4, segments: 4 }
    ));
    assert!(matches!(
        refusal(&setup, TrainingState::fresh(vec![0.0; 9]), 0),
        EngineError::WrongModel { found: 9, .. }
    ));
    let state = TrainingState { feedback: vec![1.0; 5_760].into(), ..setup.initial() };
    assert!(matches!(refusal(&setup, state, 0), EngineError::NotFresh));
    let state = TrainingState::fresh(vec![f32::NAN; 5_760]);
    assert!(matches!(refusal(&setup, state, 1), EngineError::Diverged { step: 2 }));
    let mut other = setup.clone();
    other.recipe.gradient_clip += 1;
    assert!(matches!(refusal(&other, setup.initial(), 0), EngineError::RecipeMismatch { .. }));
    let mut other = setup.clone();
    other.shards.pop();
    assert!(matches!(
        refusal(&other, setup.initial(), 0),
        EngineError::ShardCount { expected: 6, found: 5 }
    ));

    let mut shards = setup.shards.clone();
    shards[2][5] = 64;
    assert!(matches!(
        LeaseData::new(&setup.recipe, shards),
        Err(EngineError::TokenOutOfRange { shard: 2, token: 64, vocabulary: 64 })
    ));
    let mut shards = setup.shards.clone();
    shards[1].pop();
    assert!(matches!(
        LeaseData::new(&setup.recipe, shards),
        Err(EngineError::ShardLength { shard: 1, found: 128, .. })
    ));
}

#[test]
fn a_lease_with_too_little_data_repeats_it() {
    let mut setup = PinnedSetup::new();
    setup.shards.truncate(1);
    setup.lease.shards.truncate(1);
    let (states, losses) = setup.train(setup.initial(), 2);
    assert!(losses[3] < losses[0]);
    assert_eq!(states.len(), 5);
}

#[test]
fn speed_is_measured_over_whole_steps() {
    share_all_batches();
    let setup = PinnedSetup::new();
    let speed = bench::measure_throughput(&setup.recipe, Tier::Miner, 2, Duration::ZERO).unwrap();
    assert_eq!(
        (speed.mode, speed.workers, speed.steps, speed.tokens),
        (Some(NumericsMode::Exact), 2, 1, 96),
        "both threads share the batch, though it is small"
    );
    assert!(speed.tokens_per_second() > 0.0);
}

#[test]
fn an_audit_s_cost_is_measured_part_by_part() {
    let (setup, config) = (
        PinnedSetup::new(),
        AuditConfig { seats: 3, segments: 2, probe: 2, ..AuditConfig::default() },
    );
    let cost = bench::measure_audit_cost(&setup.recipe, Tier::Miner, 2, &config).unwrap();
    assert_eq!((cost.tier, cost.segments, cost.drawn, cost.seats), (Tier::Miner, 4, 2, 3));
    let parts = [
        cost.train,
        cost.trace,
        cost.pack,
        cost.replay,
        cost.states,
        cost.packing,
        cost.score,
        cost.probe,
    ];
    assert!(parts.into_iter().all(|seconds| seconds.is_finite()) && cost.ratio() > 0.0, "{cost:?}");
    // Eight arrays of 5,760 values, two chunks of 512 values of 14 bits, six shards of 129 tokens.
    assert_eq!(cost.bytes, 8 * 4 * 5_760 + 15 + 2 * (4 + 896) + 6 * 4 * 129);
}
