// SPDX-License-Identifier: Apache-2.0

//! Bytes that decode to nothing.

use crate::{
    cheating::noise_payload,
    network::Network,
    offline::TrainingHarness,
    scenario::{Family, Gate, Scenario, Script, Setup},
    scripted::{ScriptedTrainer, TrainedLease},
    tally::Tally,
};
use anyhow::{Context, Result};
use codec::Encode;
use futures::{FutureExt, StreamExt, stream};
use pol_chain::{AccountId, Call};
use pol_engine::{Trace, TrainingState, parameters_from_bytes};
use pol_primitives::{
    Hash,
    audit::{Case, StateProof, TraceState},
    payload::Payload,
    prf::Prf,
    submission::Outcome,
    trace::Carry,
};
use serde_json::json;

pub(super) static FAMILY: Family = Family {
    name: "malformed-bytes",
    scenarios: &[
        Scenario {
            name: "garbage-payload",
            setup: Setup::Scripted(&GARBAGE_PAYLOAD),
            act: "Reveals a payload whose bytes are no payload.",
            expect: "The update is excluded from the head.",
        },
        Scenario {
            name: "garbage-states",
            setup: Setup::Scripted(&GARBAGE_STATES),
            act: "Commits to states that are noise, and serves them.",
            expect: "The update is found invalid.",
        },
        Scenario {
            name: "payload-and-state-bytes",
            setup: Setup::Offline(decode_damaged_bytes),
            act: "Decodes flipped, cut and random payloads, parameters and states.",
            expect: "Every decoder returns a typed error, or a well-formed payload of these bytes.",
        },
        Scenario {
            name: "extrinsics-and-rpc",
            setup: Setup::NodeAttack(|network| send_malformed(network).boxed_local()),
            act: "Sends 800 malformed requests and extrinsics to the node's RPC.",
            expect: "All are refused or closed, the node answers afterwards, and its memory grows \
                     by less than 256 MiB.",
        },
    ],
};

/// Malformed requests.
const REQUESTS: u32 = 800;
/// Requests in flight.
const CONCURRENT_REQUESTS: usize = 8;
/// Largest growth of the node's memory, in bytes.
const MAX_GROWTH: u64 = 256 << 20;
/// Damaged payloads, and as many random ones.
const DAMAGED_PAYLOADS: u32 = 3_000;
/// Damaged saved states.
const DAMAGED_STATES: u32 = 40;
/// Methods called with wrong parameters.
const METHODS: [&str; 8] = [
    "pol_overview",
    "pol_roundRecord",
    "pol_lease",
    "pol_submissions",
    "pol_manifest",
    "state_call",
    "pol_history",
    "pol_audits",
];

static GARBAGE_PAYLOAD: Script = Script {
    trainers: &["attacker-garbage"],
    honest: &[],
    validators: &[],
    play: |network, gate| reveal_garbage_payload(network, gate).boxed_local(),
};

static GARBAGE_STATES: Script = Script {
    trainers: &["attacker-statesgarbage"],
    honest: &[],
    validators: &[],
    play: |network, gate| serve_garbage_states(network, gate).boxed_local(),
};

async fn reveal_garbage_payload(network: &Network, mut gate: Gate) -> Result<Vec<Tally>> {
    let trainer = ScriptedTrainer::start(network, "attacker-garbage").await?;
    gate.pass().await?;
    let mut trained = trainer.train_next().await?;
    let mut payload = trained.payload.clone();
    payload.iter_mut().skip(15).for_each(|byte| *byte = 0xff);
    trained.reveal.payload_hash = trainer.add_blob(payload).await?;
    let round = trained.due_round();
    trainer.commit_and_reveal(round, trained.reveal.clone()).await??;
    let outcome = trainer.wait_for_outcome(round).await?.outcome;
    let passed = outcome == Outcome::Excluded;
    let note = format!("the update ended as {outcome:?}");
    Ok(vec![Tally::tried(1, passed.into()).passed(passed, note)])
}

async fn serve_garbage_states(network: &Network, mut gate: Gate) -> Result<Vec<Tally>> {
    let trainer = ScriptedTrainer::start(network, "attacker-statesgarbage").await?;
    gate.pass().await?;
    let mut trained = trainer.train_next().await?;
    let states = replace_states(&trainer, &mut trained).await?;
    trainer.commit_and_reveal(trained.due_round(), trained.reveal.clone()).await??;
    let start = TrainingState::fresh(trained.base.clone());
    trainer.share_state(&start).await?;
    let prove = |leaf: u16| -> Result<StateProof> {
        let state = match usize::from(leaf).checked_sub(1) {
            None => TraceState { leaf, root: start.root(), carry: Carry::default() },
            Some(at) => *states.get(at).context("no such state")?,
        };
        Ok(StateProof { state, proof: trained.trace.proof(leaf.into()).context("no such leaf")? })
    };
    let named = |case: &Case<AccountId>| {
        case.served_leaves().into_iter().map(prove).collect::<Result<Vec<_>>>().map(Some)
    };
    let outcome = trainer.answer_audits(&trained, named).await?.outcome;
    let passed = outcome == Outcome::Invalid;
    let note = format!("the update ended as {outcome:?}");
    Ok(vec![Tally::tried(1, passed.into()).slashed(passed.into()).passed(passed, note)])
}

/// Replaces every state after the start by four blobs of noise, with a trace that fits them.
async fn replace_states(
    trainer: &ScriptedTrainer<'_>,
    trained: &mut TrainedLease,
) -> Result<Vec<TraceState>> {
    let noise = |leaf: u16, array: u8| -> Vec<u8> {
        (0..5_000u32).map(|at| (at as u8) ^ (leaf as u8) ^ array).collect()
    };
    let mut leaves = vec![*trained.trace.leaves().first().context("a trace without leaves")?];
    let mut states = Vec::new();
    for (leaf, state) in (0..).zip(&trained.states).skip(1) {
        let mut arrays: [Hash; 4] = [[0; 32]; 4];
        for (number, array) in (0..).zip(&mut arrays) {
            *array = trainer.add_blob(noise(leaf, number)).await?;
        }
        let [root, first_moment, second_moment, feedback] = arrays;
        let carry = Carry { first_moment, second_moment, feedback, steps: state.steps };
        let state = TraceState { leaf, root, carry };
        leaves.push(state.digest());
        states.push(state);
    }
    trained.trace = Trace::from_leaves(leaves).context("a trace without leaves")?;
    trained.reveal.trace_root = trained.trace.root();
    trained.reveal.first_leaf = trained.trace.proof(0).context("a trace without leaves")?;
    Ok(states)
}

/// Decodes damaged payloads, parameters and states.
fn decode_damaged_bytes(harness: &TrainingHarness) -> Result<Tally> {
    let (top_k, values) = (harness.recipe.compression.top_k, harness.recipe.model.size());
    let state = harness.fresh_state();
    let payload = noise_payload(&harness.recipe, &state, 1, 2);
    let mut prf = Prf::new("pol/attacks/bytes", &[21; 32], &[]);
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state");
    state.save(&path)?;
    let saved = std::fs::read(&path)?;
    let (mut refused, mut unchanged) = (0u64, 0u64);
    for attempt in 0..DAMAGED_PAYLOADS {
        let mut bytes = payload.clone();
        for _ in 0..=prf.below(4) {
            flip_bit(&mut prf, &mut bytes);
        }
        if attempt % 4 == 0 {
            bytes.truncate(prf.below(bytes.len() as u32) as usize);
        }
        match Payload::decode(&bytes, top_k, values) {
            Err(_) => refused += 1,
            // Another payload in its only encoding is a payload.
            Ok(decoded) => unchanged += u64::from(decoded.encode() == bytes),
        }
        let random: Vec<u8> = (0..prf.below(256)).map(|_| prf.below(256) as u8).collect();
        refused += u64::from(Payload::decode(&random, top_k, values).is_err());
        refused += u64::from(parameters_from_bytes(&random, values as usize).is_err());
    }
    for _ in 0..DAMAGED_STATES {
        let mut bytes = saved.clone();
        flip_bit(&mut prf, &mut bytes);
        std::fs::write(&path, &bytes)?;
        refused += u64::from(TrainingState::load(&path, values as usize).is_err());
    }
    let tries = u64::from(DAMAGED_PAYLOADS) * 3 + u64::from(DAMAGED_STATES);
    let met = refused + unchanged;
    let note = format!(
        "{refused} refused, {unchanged} flipped into another well-formed payload, which replay \
         refuses"
    );
    Ok(Tally::tried(tries, met).passed(met == tries, note))
}

fn flip_bit(prf: &mut Prf, bytes: &mut [u8]) {
    let at = prf.below(bytes.len() as u32) as usize;
    bytes[at] ^= 1 << prf.below(8);
}

/// Sends malformed bytes to the RPC and the transaction pool.
async fn send_malformed(network: &Network) -> Result<Tally> {
    let memory = network.node_memory()?;
    let call = network.chain.encode(&Call::Settle { audit: 0, trainer: [1; 32] }).await?;
    let mut prf = Prf::new("pol/attacks/rpc", &[21; 32], &[]);
    let bodies: Vec<Vec<u8>> =
        (0..REQUESTS).map(|number| malformed_request(&mut prf, number, &call)).collect();
    let answers: Vec<Result<String>> =
        stream::iter(bodies.iter().map(|body| network.rpc.post(body)))
            .buffered(CONCURRENT_REQUESTS)
            .collect()
            .await;
    let (mut refused, mut unanswered) = (0, 0);
    for answer in answers {
        match answer {
            Ok(answer) if answer.contains("\"result\"") => {
                tracing::warn!("the node accepted {answer}");
            }
            Ok(_) => refused += 1,
            Err(_) => unanswered += 1,
        }
    }
    let is_alive = network.rpc.call("pol_overview", json!([])).await.is_ok();
    let growth = network.node_memory()?.saturating_sub(memory);
    let met = refused + unanswered;
    let passed = is_alive && met == u64::from(REQUESTS) && growth < MAX_GROWTH;
    let note = format!(
        "{refused} refused, {unanswered} closed without an answer; the node grew by {} MiB",
        growth >> 20
    );
    Ok(Tally::tried(REQUESTS.into(), met).passed(passed, note))
}

/// Returns one of eight kinds of malformed requests. `call` is an encoded call that nobody may
/// submit unsigned.
fn malformed_request(prf: &mut Prf, number: u32, call: &[u8]) -> Vec<u8> {
    let mut random = vec![0u8; 16 + prf.below(400) as usize];
    prf.fill(&mut random);
    let request = |method: &str, parameters: serde_json::Value| {
        json!({ "jsonrpc": "2.0", "id": number, "method": method, "params": parameters })
            .to_string()
            .into_bytes()
    };
    let extrinsic = |bytes: &[u8]| {
        request("author_submitExtrinsic", json!([format!("0x{}", hex::encode(bytes))]))
    };
    match number % 8 {
        // Not even JSON.
        0 => random,
        // JSON as deep as it is long.
        1 => vec![b'['; 50_000],
        2 => request(
            METHODS[prf.below(METHODS.len() as u32) as usize],
            json!([hex::encode(&random), {}, null, -1]),
        ),
        3 => extrinsic(&random),
        // Unsigned extrinsics of either version of the format.
        4 => extrinsic(&with_length(&[&[4], call])),
        5 => extrinsic(&with_length(&[&[5], call])),
        // A signed extrinsic whose signature is noise.
        6 => extrinsic(&with_length(&[&[0x84, 0], &random, call])),
        // An extrinsic that claims a length of four gigabytes.
        _ => extrinsic(&[&[0x03, 0xff, 0xff, 0xff, 0xff], &random[..]].concat()),
    }
}

/// Returns an extrinsic with this content, its length first.
fn with_length(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat().encode()
}
