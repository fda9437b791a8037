// SPDX-License-Identifier: Apache-2.0

//! More connections, calls and requests than the network has room for.

use crate::{
    attackers::accounts,
    network::{self, Network, TRAINERS, VALIDATORS},
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use anyhow::Result;
use futures::{FutureExt, StreamExt, future::join_all, stream};
use pol_chain::{AccountId, Call, ChainError};
use pol_primitives::{POL, member::Endpoint};
use pol_trainer::context::NodeContext;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::net::UdpSocket;

pub(super) static FAMILY: Family = Family {
    name: "floods",
    scenarios: &[Scenario {
        name: "flooded-network",
        setup: Setup::NodeAttack(|network| flood(network).boxed_local()),
        act: "Floods the network with transfers, connections, blob requests and datagrams while \
              the others work.",
        expect: "Both honest trainers are in two heads meanwhile.",
    }],
};

const TRANSFERS: u32 = 150;
const CONNECTIONS: usize = 150;
const BLOB_REQUESTS: u32 = 200;
/// Time for each blob request.
const REQUEST_TIME: Duration = Duration::from_secs(60);
/// Datagrams to each member.
const DATAGRAMS: u32 = 5_000;
/// Blob requests in flight.
const CONCURRENT_REQUESTS: usize = 8;
/// Heads that honest trainers have to move under the flood.
const HEADS: u32 = 2;

async fn flood(network: &Network) -> Result<Tally> {
    let first = network.chain.overview().await?.round.number + 1;
    // Idle connections, more than there is room for.
    let connections: Vec<_> = join_all((0..CONNECTIONS).map(|_| network.rpc.connect()))
        .await
        .into_iter()
        .flatten()
        .collect();
    let context = network.connect_observer("flooder").await?;
    let endpoints = member_endpoints(network).await?;
    let (transfers, requests, datagrams, worked) = tokio::join!(
        send_transfers(network),
        request_missing_blobs(&context, &endpoints),
        send_datagrams(&endpoints),
        wait_for_honest_heads(network, first)
    );
    drop(connections);
    context.swarm.clone().shutdown().await?;
    let transfers = transfers?;
    let included = transfers.iter().filter(|transfer| transfer.is_ok()).count();
    let datagrams = datagrams?;
    let attempts = CONNECTIONS as u64 + u64::from(TRANSFERS) + requests as u64 + datagrams;
    let note = format!(
        "{CONNECTIONS} idle connections, {included} of {TRANSFERS} transfers paid for and \
         included, {requests} requests for blobs, {datagrams} datagrams: {}",
        match &worked {
            Ok(()) => format!("both honest trainers in {HEADS} heads meanwhile"),
            Err(error) => format!("{error:#}"),
        }
    );
    Ok(Tally::counted(attempts, 0, 0).passed(worked.is_ok(), note))
}

/// Returns the endpoints of all honest members.
async fn member_endpoints(network: &Network) -> Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    for account in accounts(VALIDATORS.iter().map(|(name, _)| *name).chain(TRAINERS))? {
        let member = network.chain.member(&account).await?;
        endpoints.extend(member.and_then(|member| member.endpoint));
    }
    Ok(endpoints)
}

async fn send_transfers(network: &Network) -> Result<Vec<Result<(), ChainError>>> {
    let bob = network::signer("bob")?;
    let to = network::signer("charlie")?.account();
    let transfer = |_| network.chain.submit(&bob, Call::Transfer { to, amount: POL / 100 });
    let transfers = join_all((0..TRANSFERS).map(transfer)).await;
    Ok(transfers.into_iter().map(|transfer| transfer.map(drop)).collect())
}

/// Requests blobs that do not exist; returns the number of requests.
async fn request_missing_blobs(context: &NodeContext, endpoints: &[Endpoint]) -> usize {
    let requests = (0..BLOB_REQUESTS).map(|number| {
        let hash = pol_primitives::digest(b"pol/attacks/no such blob", &number);
        let deadline = Instant::now() + REQUEST_TIME;
        context.swarm.fetch(hash, 1 << 20, endpoints, "flood", deadline)
    });
    stream::iter(requests).buffer_unordered(CONCURRENT_REQUESTS).count().await
}

/// Sends datagrams to every member; returns the number sent.
async fn send_datagrams(endpoints: &[Endpoint]) -> Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let mut sent = 0u64;
    for number in 0..DATAGRAMS {
        for address in endpoints.iter().filter_map(|endpoint| endpoint.addresses.first()) {
            let bytes = [number as u8; 1_200];
            sent += u64::from(socket.send_to(&bytes, SocketAddr::from(*address)).await.is_ok());
        }
        // Bursts leave the core to others in between.
        if number % 100 == 99 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(sent)
}

/// Waits until both honest trainers are in enough heads, from round `first` on.
async fn wait_for_honest_heads(network: &Network, first: u32) -> Result<()> {
    let honest = accounts(TRAINERS)?;
    let moved = || async {
        let mut heads = 0;
        let now = network.chain.overview().await?.round.number;
        for round in first..now {
            let updates = network.chain.updates(round).await?;
            let is_in =
                |account: &AccountId| updates.iter().any(|update| update.account == *account);
            heads += u32::from(honest.iter().all(is_in));
        }
        Ok((heads >= HEADS).then_some(()))
    };
    network.until("the honest trainers move the model twice under floods", 90, moved).await
}
