// SPDX-License-Identifier: Apache-2.0

//! Trainers that train nothing.

use crate::harness::Network;
use pol_chain::{Call, Chain, Signer};
use pol_engine::Trace;
use pol_primitives::{
    Hash, RoundNumber,
    member::{Endpoint, Role},
    recipe::Tier,
    round::Phase,
    submission::{Reveal, TrainingClaims},
    trace::state_leaf,
};
use pol_swarm::{Swarm, SwarmConfig};
use std::{net::UdpSocket, time::Duration};

/// Pause between two looks at the chain.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Starts a swarm of its own on this machine.
pub(crate) async fn start_swarm(network: &Network, secret: u8) -> Swarm {
    let config = SwarmConfig {
        directory: network.path(&format!("deceiver-{secret}")),
        secret: [secret; 32],
        bind: ([127, 0, 0, 1], 0).into(),
        advertise: Vec::new(),
    };
    Swarm::start(config).await.unwrap()
}

/// Takes part as a trainer that trains nothing, up to the reveal of a payload with this hash.
/// Returns the round.
pub(crate) async fn deceive(
    chain: &Chain,
    uri: &str,
    endpoint: Endpoint,
    payload_hash: Hash,
) -> RoundNumber {
    let signer = Signer::from_uri(uri).unwrap();
    let (account, role) = (signer.account(), Role::Trainer);
    chain.submit(&signer, Call::Bond { role, amount: role.minimum_bond() }).await.unwrap();
    chain.submit(&signer, Call::SetEndpoint { endpoint }).await.unwrap();
    // Refused while joining is closed.
    while chain.submit(&signer, Call::JoinRound { tier: Tier::Whale }).await.is_err() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let lease = chain.lease(&account).await.unwrap().unwrap();
    let recipe = chain.recipe().await.unwrap().unwrap();
    let mut leaves = vec![state_leaf(&lease.base_root, &lease.carry)];
    leaves.extend((0..recipe.segments).map(|segment| [segment as u8; 32]));
    let trace = Trace::from_leaves(leaves).unwrap();
    let reveal = Reveal {
        payload_hash,
        trace_root: trace.root(),
        carry_hash: [9; 32],
        steps: recipe.tier(Tier::Whale).inner_steps,
        first_leaf: trace.proof(0).unwrap(),
        salt: [1; 32],
    };
    let (round, claims) = (lease.due_round, TrainingClaims::default());
    let commitment = reveal.commitment(&account, &chain.genesis_hash(), round);
    chain.submit(&signer, Call::Commit { round, commitment, claims }).await.unwrap();
    while chain.overview().await.unwrap().round.phase != Phase::Reveal {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    chain.submit(&signer, Call::Reveal { round, reveal }).await.unwrap();
    round
}

/// Deceives as two trainers: the address of one answers noise and no peer has its payload; the
/// other serves bytes that are no payload. Only the update of the honest trainer is included.
pub(crate) async fn run_deceivers(network: &Network) {
    let chain = network.chain().await;
    let (gone, liar) = (start_swarm(network, 1).await, start_swarm(network, 2).await);
    let noise = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut endpoint = gone.endpoint();
    endpoint.addresses = vec![noise.local_addr().unwrap().into()].try_into().unwrap();
    gone.shutdown().await.unwrap();
    std::thread::spawn(move || answer_noise(&noise));
    let garbage = liar.add(vec![7; 5_000].into(), "garbage").await.unwrap();
    let (first, second) = tokio::join!(
        deceive(&chain, "//Trainer//8", endpoint, [8; 32]),
        deceive(&chain, "//Trainer//9", liar.endpoint(), garbage),
    );
    let honest = Signer::from_uri("//Trainer//1").unwrap().account();
    for round in [first, second] {
        let record = loop {
            match chain.round_record(round).await.unwrap() {
                Some(record) => break record,
                None => tokio::time::sleep(POLL_INTERVAL).await,
            }
        };
        let included: Vec<_> =
            record.included.indices().map(|index| record.revealed[usize::from(index)]).collect();
        assert!(
            record.head.is_some() && record.revealed.len() > 1,
            "round {round} moves the model: {record:?}"
        );
        assert_eq!(included, [honest], "only a served payload is included");
    }
}

/// Answers every datagram with bytes that mean nothing.
fn answer_noise(socket: &UdpSocket) {
    let mut datagram = [0; 2048];
    while let Ok((_, sender)) = socket.recv_from(&mut datagram) {
        let _ = socket.send_to(&[0xa5; 1200], sender);
    }
}
