//! Whole leases of a small model, under the exact profile: the first test to run starts this
//! program again with it.

#[path = "../src/test_recipe.rs"]
mod test_recipe;

use pol_engine::{
    Error, Job, LeaseData, Trace, TrainingState, aggregate, bench,
    determinism::{self, Mode},
    evaluate, losses, pack, replay, train_segment,
};
use pol_model::initial_parameters;
use pol_primitives::{
    audit::AuditConfig,
    data::ShardId,
    lease::Lease,
    model::{Activation, Biases, Experts, Local, Mind, ModelSpec, Norm, Positions, Superposition},
    payload::Payload,
    prf::Prf,
    recipe::{Recipe, Tier},
    trace::{merkle_verify, state_leaf},
};
use std::time::Duration;
use test_recipe::recipe;

const ACCOUNT: [u8; 32] = [9; 32];

/// A lease with its data.
#[derive(Clone)]
struct Work {
    recipe: Recipe,
    lease: Lease,
    shards: Vec<Vec<u32>>,
}

impl Work {
    /// Text with a rule to learn: three in four tokens follow from the one before.
    fn new() -> Self {
        determinism::ensure(Mode::Exact).expect("the exact profile");
        let recipe = recipe();
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
            shards: ids.try_into().unwrap(),
        };
        Self { recipe, lease, shards }
    }

    fn data(&self) -> LeaseData {
        LeaseData::new(&self.recipe, self.shards.clone()).unwrap()
    }

    fn initial(&self) -> TrainingState {
        TrainingState::fresh(initial_parameters(&self.recipe.model, &self.recipe.seed))
    }

    fn with<T>(&self, workers: usize, run: impl FnOnce(&Job<'_>) -> T) -> T {
        let data = self.data();
        run(&Job {
            recipe: &self.recipe,
            lease: &self.lease,
            account: &ACCOUNT,
            data: &data,
            workers,
        })
    }

    /// The states at all segment boundaries and the mean loss of each segment.
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
    let work = Work::new();
    let (states, _) = work.train(work.initial(), 1);
    for (segment, pair) in (0..).zip(states.windows(2)) {
        let (end, leaf) = work.with(2, |job| replay(job, pair[0].clone(), segment)).unwrap();
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
fn every_input_is_in_the_leaf() {
    let work = Work::new();
    let start = work.train(work.initial(), 1).0.swap_remove(1);
    let leaf = |work: &Work, start: &TrainingState, segment| {
        work.with(1, |job| replay(job, start.clone(), segment)).unwrap().1
    };
    let honest = leaf(&work, &start, 1);
    assert_eq!(honest, leaf(&work, &start, 1));
    assert_ne!(honest, leaf(&work, &start, 2));

    // Two tokens swapped in a sequence of this segment, and two in one that it does not read.
    let order = work.lease.order(&ACCOUNT, &work.recipe);
    let swapped = |position: usize| {
        let (mut work, sequence) = (work.clone(), order[position] as usize);
        let tokens = &mut work.shards[sequence / 8][sequence % 8 * 16..][..16];
        let other = tokens.iter().position(|token| *token != tokens[0]).unwrap();
        tokens.swap(0, other);
        work
    };
    assert_ne!(honest, leaf(&swapped(12), &start, 1));
    let unread = (24..48)
        .find(|&at| !order[at].is_multiple_of(8) && !order[12..24].contains(&(order[at] - 1)))
        .unwrap();
    assert_eq!(honest, leaf(&swapped(unread), &start, 1));

    let mut other = work.clone();
    other.recipe.schedule.peak += 1;
    other.lease.recipe = other.recipe.hash();
    assert_ne!(honest, leaf(&other, &start, 1));
    let mut other = work.clone();
    other.lease.nonce += 1;
    assert_ne!(honest, leaf(&other, &start, 1));
    // The lowest bit of one moment changes the start, where it is looked for; a step may round it
    // away.
    let tampered = |bit: u32| {
        let mut state = start.clone();
        state.second_moment[77] = f32::from_bits(state.second_moment[77].to_bits() ^ bit);
        state
    };
    assert_ne!(start.leaf(), tampered(1).leaf());
    assert_ne!(honest, leaf(&work, &tampered(1 << 22), 1));
}

#[test]
fn workers_do_not_change_a_bit() {
    let work = Work::new();
    let (states, losses) = work.train(work.initial(), 1);
    for workers in [0, 2, 3, 8] {
        assert_eq!(work.train(work.initial(), workers), (states.clone(), losses.clone()));
    }
}

/// Pins the bits of a lease. A failure means that this machine or this change computes something
/// else than the network: it would be excised by every audit.
#[test]
fn the_bits_are_those_of_the_network() {
    let work = Work::new();
    let (mut states, _) = work.train(work.initial(), 2);
    let mut end = states.pop().unwrap();
    let leaf = blake3::Hash::from_bytes(end.leaf()).to_hex();
    let payload = pack(&work.recipe, &work.initial().parameters, &mut end).unwrap();
    let update = blake3::hash(&payload.encode()).to_hex();
    let carry = blake3::Hash::from_bytes(end.carry().hash()).to_hex();
    let next = aggregate(
        &work.recipe,
        &work.initial().parameters,
        &[(payload.clone(), 0), (payload, 2)],
        &[],
    )
    .unwrap();
    let root = blake3::Hash::from_bytes(TrainingState::fresh(next).root()).to_hex();
    assert_eq!(
        [&leaf[..16], &update[..16], &carry[..16], &root[..16]],
        ["27782e9f3794215e", "2b8139b3eff8cd1e", "54e62418d7497569", "eda6eb318ff4da5a"]
    );
}

/// Small models of every family, one with all parts of the mind and one with experts: between them
/// they use every operation of the decoder.
fn families() -> [ModelSpec; 6] {
    let gpt2 = recipe().model;
    let rotary =
        |dimensions, interleaved| Positions::Rotary { dimensions, base: 10_000, interleaved };
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
            local: Some(Local { window: 5, period: 2, layers: 0b10 }),
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
    ]
}

/// Pins the bits of a lease of each family. A failure means what it does above.
#[test]
fn every_family_has_the_bits_of_the_network() {
    let leaves = families().map(|model| {
        let mut work = Work::new();
        work.recipe.model = model;
        work.lease.recipe = work.recipe.hash();
        let leaf = work.train(work.initial(), 2).0.pop().unwrap().leaf();
        blake3::Hash::from_bytes(leaf).to_hex()[..16].to_owned()
    });
    assert_eq!(
        leaves,
        [
            "8119bd4525abd151",
            "a3e4c7fd7e237ff9",
            "aa08304d039b8a7f",
            "a8efe4c9baf813ac",
            "f11994d80ffff9b6",
            "82333f8182aba3d2"
        ]
    );
}

#[test]
fn a_lease_learns_and_its_update_carries_it_to_the_head() {
    let work = Work::new();
    let base = work.initial().parameters;
    let fresh = work.held_out(&base);
    assert!((fresh - 64f64.ln()).abs() < 0.1, "initial loss {fresh}");
    let (mut states, losses) = work.train(work.initial(), 2);
    assert!(losses[3] < losses[0] - 0.1, "losses {losses:?}");

    let mut end = states.pop().unwrap();
    let before = end.leaf();
    let payload = pack(&work.recipe, &base, &mut end).unwrap();
    assert_ne!(end.leaf(), before, "the feedback is part of what a lease leaves behind");
    let bytes = payload.encode();
    let payload =
        Payload::decode(&bytes, work.recipe.compression.top_k, work.recipe.model.size()).unwrap();
    let head = aggregate(&work.recipe, &base, &[(payload.clone(), 0)], &[]).unwrap();
    let learnt = work.held_out(&head);
    assert!(learnt < fresh - 0.1, "head {learnt}, before {fresh}");
    assert_eq!(head, aggregate(&work.recipe, &base, &[(payload, 0)], &[]).unwrap());

    // The next lease starts from the head with the moments and the feedback of this one, and learns
    // on.
    let next = TrainingState { parameters: head, ..end };
    let (states, _) = work.train(next, 2);
    assert!(work.held_out(&states[4].parameters) < learnt - 0.05);
    assert_eq!(states[4].steps, 16);
}

#[test]
fn losses_do_not_depend_on_workers() {
    let work = Work::new();
    let (data, parameters) = (work.data(), work.initial().parameters);
    let sequences: Vec<&[u32]> = (0..21).filter_map(|i| data.sequence(i)).collect();
    let alone = losses(&work.recipe.model, &parameters, &sequences, 1).unwrap();
    assert_eq!(alone.len(), 21);
    for workers in [0, 2, 3, 64] {
        assert_eq!(losses(&work.recipe.model, &parameters, &sequences, workers).unwrap(), alone);
    }
    let mean = evaluate(&work.recipe.model, &parameters, &sequences, 2).unwrap();
    assert!((mean - alone.iter().sum::<f64>() / 21.0).abs() < 1e-12);
    assert!(matches!(losses(&work.recipe.model, &parameters, &[], 1), Err(Error::Sequences)));
    let ragged = [sequences[0], &sequences[1][1..]];
    assert!(matches!(losses(&work.recipe.model, &parameters, &ragged, 1), Err(Error::Sequences)));
    assert!(matches!(
        losses(&work.recipe.model, &parameters[1..], &sequences, 1),
        Err(Error::WrongModel { .. })
    ));
}

#[test]
fn jobs_that_do_not_fit_are_refused() {
    let work = Work::new();
    let refusal = |work: &Work, state: TrainingState, segment| {
        work.with(1, |job| replay(job, state, segment)).unwrap_err()
    };
    assert!(matches!(
        refusal(&work, work.initial(), 4),
        Error::Segment { segment: 4, segments: 4 }
    ));
    assert!(matches!(
        refusal(&work, TrainingState::fresh(vec![0.0; 9]), 0),
        Error::WrongModel { found: 9, .. }
    ));
    let state = TrainingState { feedback: vec![1.0; 5_760], ..work.initial() };
    assert!(matches!(refusal(&work, state, 0), Error::NotFresh));
    let state = TrainingState::fresh(vec![f32::NAN; 5_760]);
    assert!(matches!(refusal(&work, state, 1), Error::Diverged { step: 2 }));
    let mut other = work.clone();
    other.recipe.gradient_clip += 1;
    assert!(matches!(refusal(&other, work.initial(), 0), Error::OtherRecipe { .. }));
    let mut other = work.clone();
    other.shards.pop();
    assert!(matches!(refusal(&other, work.initial(), 0), Error::Shards { expected: 6, found: 5 }));

    let mut shards = work.shards.clone();
    shards[2][5] = 64;
    assert!(matches!(
        LeaseData::new(&work.recipe, shards),
        Err(Error::Token { shard: 2, token: 64, vocabulary: 64 })
    ));
    let mut shards = work.shards.clone();
    shards[1].pop();
    assert!(matches!(
        LeaseData::new(&work.recipe, shards),
        Err(Error::ShardLength { shard: 1, found: 128, .. })
    ));
}

#[test]
fn a_lease_short_of_data_is_read_again() {
    let mut work = Work::new();
    work.shards.truncate(1);
    work.lease.shards.truncate(1);
    let (states, losses) = work.train(work.initial(), 2);
    assert!(losses[3] < losses[0]);
    assert_eq!(states.len(), 5);
}

#[test]
fn speed_is_measured_over_whole_steps() {
    let work = Work::new();
    let speed = bench::measure(&work.recipe, Tier::Miner, 2, Duration::ZERO).unwrap();
    assert_eq!(
        (speed.mode, speed.workers, speed.steps, speed.tokens),
        (Some(Mode::Exact), 2, 1, 96)
    );
    assert!(speed.tokens_per_second() > 0.0);
}

#[test]
fn an_audit_s_cost_is_measured_part_by_part() {
    let (work, config) =
        (Work::new(), AuditConfig { seats: 3, segments: 2, probe: 2, ..AuditConfig::default() });
    let cost = bench::audit_cost(&work.recipe, Tier::Miner, 2, &config).unwrap();
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
