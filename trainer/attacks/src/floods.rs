//! Attacks on machines and not on training: bytes that nobody meant, floods, and what is left of
//! poison in the model.

use crate::{
    cheat,
    network::{self, Network, TRAINERS, VALIDATORS},
    report::Row,
};
use anyhow::{Context, Result};
use futures::{StreamExt, future::join_all, stream};
use pol_chain::Call;
use pol_engine::{aggregate, evaluate};
use pol_primitives::{POL, payload::Payload, prf::Prf, submission::Outcome};
use pol_trainer::{
    cli::SwarmOptions,
    failure::Failure,
    model::{self, initial_model},
    peer::Peer,
    state::StateFolder,
};
use serde_json::json;
use std::{net::SocketAddr, time::Duration};
use tokio::net::UdpSocket;

/// Requests of malformed bytes, and how many are made at a time.
const REQUESTS: u32 = 800;
const AT_ONCE: usize = 8;
/// Most memory that they may cost the node.
const MEMORY: u64 = 256 << 20;
/// What a flood consists of.
const TRANSFERS: u32 = 150;
const CONNECTIONS: usize = 150;
const BLOBS: u32 = 200;
const DATAGRAMS: u32 = 5_000;
/// Rounds that have to be concluded under it.
const ROUNDS: u32 = 2;

async fn observer(network: &Network, name: &str) -> Result<Peer> {
    let swarm = SwarmOptions { listen: ([127, 0, 0, 1], 0).into(), advertise: Vec::new() };
    Peer::start(network.chain.clone(), &swarm, StateFolder::open(&network.path(name))?).await
}

/// 21: bytes at the RPC and in the transaction pool.
pub async fn malformed(network: &Network) -> Result<Row> {
    let row = Row::new(21, "extrinsics and RPC", "no panic, no memory");
    let memory = network.node_memory()?;
    let mut prf = Prf::new("pol/attacks/rpc", &[21; 32], &[]);
    let call = network.chain.encode(&Call::Settle { audit: 0, trainer: [1; 32] }).await?;
    let methods = [
        "pol_overview",
        "pol_roundRecord",
        "pol_lease",
        "pol_submissions",
        "pol_manifest",
        "state_call",
        "pol_history",
        "pol_audits",
    ];
    let bodies: Vec<Vec<u8>> = (0..REQUESTS)
        .map(|number| {
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
                // Not even JSON, and JSON as deep as it is long.
                0 => random,
                1 => vec![b'['; 50_000],
                2 => request(
                    methods[prf.below(methods.len() as u32) as usize],
                    json!([hex::encode(&random), {}, null, -1]),
                ),
                3 => extrinsic(&random),
                // Unsigned ones, of either version of the format, with a call that nobody may make
                // unsigned.
                4 => extrinsic(&prefixed(&[4], &call)),
                5 => extrinsic(&prefixed(&[5], &call)),
                // A signed one whose signature is noise.
                6 => extrinsic(&prefixed(&[&[0x84, 0], &random[..], &call].concat(), &[])),
                // One that says to be four gigabytes long.
                _ => extrinsic(&[&[0x03, 0xff, 0xff, 0xff, 0xff], &random[..]].concat()),
            }
        })
        .collect();
    let answers: Vec<Result<String>> =
        stream::iter(bodies.iter().map(|body| network.rpc.post(body)))
            .buffered(AT_ONCE)
            .collect()
            .await;
    let (mut refused, mut unanswered) = (0, 0);
    for answer in answers {
        match answer {
            Ok(answer) if answer.contains("\"result\"") => tracing::warn!("the node took {answer}"),
            Ok(_) => refused += 1,
            Err(_) => unanswered += 1,
        }
    }
    let alive = network.rpc.ask("pol_overview", json!([])).await;
    let grown = network.node_memory()?.saturating_sub(memory);
    let held = alive.is_ok() && refused + unanswered == u64::from(REQUESTS) && grown < MEMORY;
    let note = format!(
        "{refused} refused, {unanswered} closed without an answer; the node grew by {} MiB",
        grown >> 20
    );
    Ok(row.tried(REQUESTS.into(), refused + unanswered).held(held, note))
}

/// An extrinsic of this content: its length first.
fn prefixed(head: &[u8], rest: &[u8]) -> Vec<u8> {
    codec::Encode::encode(&[head, rest].concat())
}

/// 22: everything at once, while two rounds pass.
pub async fn flood(network: &Network) -> Result<Row> {
    let row = Row::new(22, "floods", "honest work goes on");
    let first = network.chain.overview().await?.round.number + 1;
    // Idle connections, as many as there is room for and more.
    let connections: Vec<_> = join_all((0..CONNECTIONS).map(|_| network.rpc.connect()))
        .await
        .into_iter()
        .flatten()
        .collect();
    let bob = network::signer("bob")?;
    let to = network::signer("charlie")?.account();
    let transfers = join_all(
        (0..TRANSFERS)
            .map(|_| network.chain.submit(&bob, Call::Transfer { to, amount: POL / 100 })),
    );
    let peer = observer(network, "flooder").await?;
    let mut endpoints = Vec::new();
    for name in VALIDATORS.iter().map(|(name, _)| *name).chain(TRAINERS) {
        let member = network.chain.member(&network::signer(name)?.account()).await?;
        endpoints.extend(member.and_then(|member| member.endpoint));
    }
    let requests = async {
        let requests = (0..BLOBS).map(|number| {
            let hash = pol_primitives::digest(b"pol/attacks/no such blob", &number);
            peer.swarm.fetch(hash, 1 << 20, &endpoints, "flood")
        });
        stream::iter(requests).buffer_unordered(AT_ONCE).count().await
    };
    let noise = async {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let mut sent = 0u64;
        for number in 0..DATAGRAMS {
            for address in endpoints.iter().filter_map(|endpoint| endpoint.addresses.first()) {
                let bytes = [number as u8; 1_200];
                sent += u64::from(socket.send_to(&bytes, SocketAddr::from(*address)).await.is_ok());
            }
            // In bursts, so that sending does not take a core for itself.
            if number % 100 == 99 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok::<_, anyhow::Error>(sent)
    };
    let worked = async {
        let both = || async {
            let mut moved = 0;
            let now = network.chain.overview().await?.round.number;
            for round in first..now {
                let updates = network.chain.updates(round).await?;
                let there = |name: &str| {
                    network::signer(name).is_ok_and(|signer| {
                        updates.iter().any(|update| update.account == signer.account())
                    })
                };
                moved += u32::from(TRAINERS.into_iter().all(there));
            }
            Ok((moved >= ROUNDS).then_some(()))
        };
        network.until("the honest trainers move the model twice under floods", 90, both).await
    };
    let (transfers, asked, noise, worked) = tokio::join!(transfers, requests, noise, worked);
    drop(connections);
    peer.swarm.clone().shutdown().await?;
    let included = transfers.iter().filter(|transfer| transfer.is_ok()).count();
    let attempts = CONNECTIONS as u64 + u64::from(TRANSFERS) + asked as u64 + noise?;
    let note = format!(
        "{CONNECTIONS} idle connections, {included} of {TRANSFERS} transfers paid for and included, {asked} requests for blobs, {} datagrams: {}",
        attempts - CONNECTIONS as u64 - u64::from(TRANSFERS) - asked as u64,
        match &worked {
            Ok(()) => format!("both honest trainers in {ROUNDS} heads meanwhile"),
            Err(error) => format!("{error:#}"),
        }
    );
    Ok(row.counted(attempts, 0, 0).held(worked.is_ok(), note))
}

/// 10: how far the model is from what it would be if nothing false had ever been in it.
pub async fn harm(network: &Network) -> Result<Row> {
    let row = Row::new(10, "model after excision", "loss within 2 %");
    let gone = || async { Ok(network.chain.excisions().await?.is_empty().then_some(())) };
    network.until("the model is rid of what was found", 60, gone).await?;
    let peer = observer(network, "observer").await?;
    let outcome = async {
        let head = network.chain.overview().await?.head.context("the chain has no model")?;
        let recipe = &network.recipe;
        let mut clean = initial_model(&peer, recipe).await.map_err(Failure::into_inner)?.parameters.to_vec();
        let (mut kept, mut taken_out) = (0u64, 0u64);
        for round in 1..=head.round {
            let history = network.chain.history(round).await?;
            let mut updates: Vec<(Payload, u8)> = Vec::new();
            for update in network.chain.updates(round).await? {
                let ended = history.iter().find(|(account, _)| *account == update.account).map(|(_, settled)| settled.outcome);
                // What is not settled yet is part of both models.
                if ended.is_some_and(|outcome| outcome != Outcome::Valid) {
                    taken_out += 1;
                    continue;
                }
                kept += 1;
                let payload = peer.payload(recipe, &update.account, &update.payload_hash).await.map_err(Failure::into_inner)?;
                updates.push((payload, update.staleness));
            }
            clean = aggregate(recipe, &clean, &updates, &[])?;
        }
        let model = model::fetch(&peer, &head.root, recipe, &[], "observed").await.map_err(Failure::into_inner)?;
        let held_out = network.held_out()?;
        let sequences: Vec<&[u32]> = (0..held_out.sequences()).filter_map(|at| held_out.sequence(at)).collect();
        let loss = |parameters: &[f32]| evaluate(&recipe.model, parameters, &sequences, 2);
        let (start, without, with) = (
            loss(&initial_model(&peer, recipe).await.map_err(Failure::into_inner)?.parameters)?,
            loss(&clean)?,
            loss(&model.parameters)?,
        );
        let furthest = clean.iter().zip(model.parameters.iter()).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
        let change = (with - without) / without;
        let note = format!(
            "{taken_out} updates taken out, {kept} kept: held-out loss {with:.4}, {without:.4} had the others never been in it \
             ({:+.3} %, largest difference of a parameter {furthest:.1e}); {start:.4} at the start",
            change * 100.0
        );
        Ok::<_, anyhow::Error>(row.tried(taken_out, taken_out).held(taken_out > 0 && change.abs() < cheat::HARM, note))
    }
    .await;
    peer.swarm.clone().shutdown().await?;
    outcome
}
