// SPDX-License-Identifier: Apache-2.0

//! More connections, calls and requests than the network has room for.

use crate::{
    attackers::accounts,
    network::{self, Network, POLL_INTERVAL, TRAINERS, VALIDATORS},
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use anyhow::{Error, Result, anyhow};
use futures::{
    FutureExt, StreamExt,
    future::{join_all, try_join_all},
    stream,
};
use pol_chain::{AccountId, Call, ChainError};
use pol_primitives::{Balance, POL, RoundNumber, member::Endpoint, recipe::Tier, round::Phase};
use pol_trainer::context::NodeContext;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{net::UdpSocket, time::timeout};

pub(super) static FAMILY: Family = Family {
    name: "floods",
    scenarios: &[
        Scenario {
            name: "flooded-network",
            setup: Setup::NodeAttack(|network| flood(network).boxed_local()),
            act: "Floods the network with transfers, connections, blob requests and datagrams \
                  while the others work.",
            expect: "Both honest trainers are in two heads meanwhile.",
        },
        Scenario {
            name: "full-blocks",
            setup: Setup::NodeAttack(|network| congest(network).boxed_local()),
            act: "Fills twenty blocks by calls with tips once a round has begun, with a call that \
                  no full block has room for ahead of the duties of each honest member, and sends \
                  13 joins a block that must fail.",
            expect: "Every join is refused before inclusion, deadlines stand still, the round has \
                     a head of both honest trainers while blocks are full, no honest member loses \
                     anything, and both honest trainers are in two heads.",
        },
    ],
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
        wait_for_honest_heads(network, first, HEADS)
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

/// Waits until both honest trainers are in so many heads, from round `first` on.
pub(super) async fn wait_for_honest_heads(
    network: &Network,
    first: RoundNumber,
    wanted: u32,
) -> Result<()> {
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
        Ok((heads >= wanted).then_some(()))
    };
    network.until("both honest trainers move the model", 90, moved).await
}

// ---- Full blocks ----

/// Accounts that fill blocks.
const FILLERS: [&str; 3] = ["bob", "charlie", "dave"];
/// Calls that fill a block together, and the bytes of each.
const FILLING_CALLS: usize = 4;
const FILLING_BYTES: usize = 900_000;
/// Tip of each call. No member offers one.
const TIP: Balance = POL;
/// Blocks after which deadlines have to stand still.
const FULL_BLOCKS: u32 = 20;
/// Longest wait for these, in blocks.
const FILLING_BLOCKS: u32 = 60;
/// Joins for each of these blocks.
const JOINS: u32 = 13;
/// Bytes of a call that has no room beside those that fill a block.
const STUCK_BYTES: usize = 400_000;
/// Time after which blocks are full, and in which a call reaches the pool.
const FILLING_TIME: Duration = Duration::from_secs(6);

async fn congest(network: &Network) -> Result<Tally> {
    let honest = accounts(VALIDATORS.iter().map(|(name, _)| *name).chain(TRAINERS))?;
    let before = network.holds(&honest).await?;
    let round = wait_for_training(network).await?;
    let attempts = u64::from(JOINS * FULL_BLOCKS);
    let attack = async {
        tokio::try_join!(
            refused_joins(network),
            wait_for_standstill(network),
            precede_duties(network),
            // Commitments, openings, reports and attestations have room beside what fills blocks.
            wait_for_honest_heads(network, round, 1)
        )
    };
    let (refused, stood, (), ()) = tokio::select! {
        done = attack => done?,
        error = fill_blocks(network) => return Err(error),
    };
    let worked = wait_for_honest_heads(network, round, HEADS).await;
    let after = network.holds(&honest).await?;
    let lost: Balance =
        before.iter().zip(&after).map(|(before, after)| before.saturating_sub(*after)).sum();
    let passed = refused == attempts && lost == 0 && worked.is_ok();
    let note = format!(
        "{refused} of {attempts} joins refused; deadlines stood still for {stood} blocks; a head \
         of both honest trainers in full blocks; honest members lost {} POL; {}",
        lost / POL,
        match &worked {
            Ok(()) => format!("both honest trainers in {HEADS} heads"),
            Err(error) => format!("{error:#}"),
        }
    );
    Ok(Tally::counted(attempts, attempts, refused).passed(passed, note))
}

/// Waits until both honest trainers have a lease of a round that is trained, and returns its
/// number.
pub(super) async fn wait_for_training(network: &Network) -> Result<RoundNumber> {
    let honest = accounts(TRAINERS)?;
    let begun = || async {
        let round = network.chain.overview().await?.round;
        for account in &honest {
            let lease = network.chain.lease(account).await?;
            if lease.is_none_or(|lease| lease.due_round != round.number) {
                return Ok(None);
            }
        }
        Ok((round.phase == Phase::Train).then_some(round.number))
    };
    network.until("both honest trainers train", 90, begun).await
}

/// Sends joins of an account without a bond, with tips; returns the number refused.
async fn refused_joins(network: &Network) -> Result<u64> {
    let outsider = network::signer("eve")?;
    let mut refused = 0;
    for _ in 0..FULL_BLOCKS {
        let join = |_| {
            let call = Call::JoinRound { tier: Tier::Whale };
            network.chain.submit_with_tip(&outsider, call, 1)
        };
        let joins = join_all((0..JOINS).map(join)).await;
        let is_refused = |join: &&Result<_, _>| matches!(join, Err(ChainError::Refused { .. }));
        refused += joins.iter().filter(is_refused).count() as u64;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(refused)
}

/// Waits until deadlines have stood still for long enough; returns the number of blocks.
async fn wait_for_standstill(network: &Network) -> Result<u32> {
    let start = network.chain.overview().await?;
    let stood = || async {
        let overview = network.chain.overview().await?;
        let (blocks, time) = (overview.height - start.height, overview.now - start.now);
        Ok(blocks.checked_sub(time).filter(|stood| *stood >= FULL_BLOCKS))
    };
    network.until("deadlines stand still in full blocks", FILLING_BLOCKS, stood).await
}

/// Sends a large call without a tip by the key of each honest member, so that its next duties have
/// later nonces unless they displace it. A block that is not full yet may include some.
async fn precede_duties(network: &Network) -> Result<()> {
    tokio::time::sleep(FILLING_TIME).await;
    let precede = |name| async move {
        let signer = network::signer(name)?;
        let call = Call::Remark(vec![0; STUCK_BYTES]);
        // It stays in the pool.
        match timeout(FILLING_TIME, network.chain.submit(&signer, call)).await {
            // A duty was faster, or has displaced it.
            Err(_) | Ok(Ok(_) | Err(ChainError::Displaced { .. })) => Ok(()),
            Ok(Err(error)) => Err(error.into()),
        }
    };
    let names = VALIDATORS.iter().map(|(name, _)| *name).chain(TRAINERS);
    try_join_all(names.map(precede)).await.map(drop)
}

/// Fills blocks for as long as it is polled. Returns an error only.
async fn fill_blocks(network: &Network) -> Error {
    let fill = |name| async move {
        let signer = network::signer(name)?;
        loop {
            let call = |_| {
                let call = Call::Remark(vec![0; FILLING_BYTES]);
                network.chain.submit_with_tip(&signer, call, TIP)
            };
            // A call that expires is sent anew.
            join_all((0..FILLING_CALLS).map(call)).await;
        }
    };
    let filled: Result<Vec<()>> = try_join_all(FILLERS.map(fill)).await;
    filled.err().unwrap_or_else(|| anyhow!("nobody filled the blocks"))
}
