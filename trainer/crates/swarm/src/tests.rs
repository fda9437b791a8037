// SPDX-License-Identifier: Apache-2.0

//! Tests with real peers on the loopback interface.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use iroh::{Endpoint as Socket, PublicKey, SecretKey, endpoint::presets, protocol::Router};
use iroh_blobs::{
    ALPN, BlobsProtocol, HashAndFormat,
    api::blobs::BlobStatus,
    get::{fsm, request::get_verified_size},
    protocol::{ERR_LIMIT, GetRequest},
    provider::events::{AbortReason, EventMask, EventSender, ProviderMessage, ThrottleMode},
    store::mem::MemStore,
};
use pol_primitives::{Hash, member::Endpoint};
use tempfile::TempDir;
use tokio::{net::UdpSocket, task::JoinHandle, time::timeout};

use crate::{
    Bytes, PeerFailure, Swarm, SwarmConfig, SwarmError,
    download::DownloadError,
    endpoint::reachable_address,
    error::{is_disk_full, is_io},
    limits::Limits,
    progress::{Activity, Progress},
};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Larger than every blob of these tests.
const LIMIT: u64 = 16 << 20;

fn config(directory: &Path, secret: u8) -> SwarmConfig {
    SwarmConfig {
        directory: directory.into(),
        secret: [secret; 32],
        bind: LOOPBACK,
        advertise: Vec::new(),
    }
}

async fn peer(secret: u8) -> (Swarm, TempDir) {
    peer_with(secret, Limits::default()).await
}

async fn peer_with(secret: u8, limits: Limits) -> (Swarm, TempDir) {
    let directory = TempDir::new().unwrap();
    let swarm = Swarm::start_with(config(directory.path(), secret), limits).await.unwrap();
    (swarm, directory)
}

/// Returns bytes that do not compress or repeat.
fn noise(seed: u8, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut bytes);
    bytes.into()
}

fn hash(bytes: &[u8]) -> Hash {
    blake3::hash(bytes).into()
}

/// Returns a deadline that no fetch of these tests reaches.
fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// Downloads a blob from one peer and returns the number of bytes received.
async fn download(swarm: &Swarm, name: Hash, peer: &Endpoint) -> Result<u64, DownloadError> {
    let activity = Activity::default();
    let mut progress = Progress::new(peer.id, &swarm.0.limits, &activity);
    let source = swarm.find_source(name, LIMIT, peer).await?;
    swarm.transfer(&source, name, &mut progress).await?;
    source.close();
    Ok(progress.received())
}

/// Panics if `future` hangs.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.expect("the call hangs")
}

fn failures(error: SwarmError) -> Vec<([u8; 32], PeerFailure)> {
    match error {
        SwarmError::Unavailable { failures, .. } => failures.0,
        other => panic!("{other}"),
    }
}

fn registration(socket: &Socket) -> Endpoint {
    let addresses: Vec<_> = socket.bound_sockets().into_iter().map(Into::into).collect();
    Endpoint { id: *socket.id().as_bytes(), addresses: addresses.try_into().unwrap() }
}

async fn socket() -> Socket {
    let builder = Socket::builder(presets::Minimal).alpns(vec![ALPN.to_vec()]);
    builder.clear_ip_transports().bind_addr(LOOPBACK).unwrap().bind().await.unwrap()
}

/// Starts a peer that breaks off after `groups` times 16 KiB, once `arrived` completes.
async fn faltering(
    bytes: Bytes,
    groups: usize,
    arrived: impl Future<Output = ()> + Send + 'static,
) -> (Router, Endpoint) {
    let store = MemStore::new();
    store.add_bytes(bytes).with_named_tag("kept").await.unwrap();
    let mask = EventMask { throttle: ThrottleMode::Intercept, ..EventMask::DEFAULT };
    let (events, mut messages) = EventSender::channel(32, mask);
    tokio::spawn(async move {
        let (mut sent, mut arrived) = (0, Some(arrived));
        while let Some(message) = messages.recv().await {
            let ProviderMessage::Throttle(message) = message else { continue };
            sent += 1;
            let answer = if sent <= groups {
                Ok(())
            } else {
                // A reset discards bytes in flight.
                if let Some(arrived) = arrived.take() {
                    arrived.await;
                }
                Err(AbortReason::RateLimited)
            };
            message.tx.send(answer).await.ok();
        }
    });
    let socket = socket().await;
    let endpoint = registration(&socket);
    (
        Router::builder(socket).accept(ALPN, BlobsProtocol::new(&store, Some(events))).spawn(),
        endpoint,
    )
}

/// Starts a peer that sends 16 KiB in each `pause`.
async fn dripping(bytes: Bytes, pause: Duration) -> (Router, Endpoint) {
    let store = MemStore::new();
    store.add_bytes(bytes).with_named_tag("kept").await.unwrap();
    dripping_store(&store, pause).await
}

/// Starts a peer with the blobs of `store` that sends 16 KiB of them in each `pause`.
async fn dripping_store(store: &MemStore, pause: Duration) -> (Router, Endpoint) {
    let mask = EventMask { throttle: ThrottleMode::Intercept, ..EventMask::DEFAULT };
    let (events, mut messages) = EventSender::channel(32, mask);
    tokio::spawn(async move {
        while let Some(message) = messages.recv().await {
            let ProviderMessage::Throttle(message) = message else { continue };
            tokio::time::sleep(pause).await;
            message.tx.send(Ok(())).await.ok();
        }
    });
    let socket = socket().await;
    let endpoint = registration(&socket);
    let protocol = BlobsProtocol::new(store, Some(events));
    (Router::builder(socket).accept(ALPN, protocol).spawn(), endpoint)
}

/// Starts a peer that answers every request with `answer`, or never.
async fn scripted(answer: Option<Vec<u8>>) -> (JoinHandle<()>, Endpoint) {
    let socket = socket().await;
    let endpoint = registration(&socket);
    let task = tokio::spawn(async move {
        while let Some(incoming) = socket.accept().await {
            let Ok(connection) = incoming.await else { continue };
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                receive.read_to_end(4096).await.unwrap();
                match &answer {
                    Some(answer) => {
                        send.write_all(answer).await.ok();
                        send.finish().ok();
                    }
                    None => std::future::pending().await,
                }
            }
        }
    });
    (task, endpoint)
}

#[tokio::test]
async fn blobs_travel_from_peer_to_peer() {
    let ((a, _a), (b, _b), (c, _c)) = (peer(1).await, peer(2).await, peer(3).await);
    let bytes = noise(0, 5_000_000);
    let name = a.add(bytes.clone(), "kept").await.unwrap();
    assert_eq!(name, hash(&bytes));
    assert!(!b.has(name).await.unwrap());
    assert_eq!(b.get(name, LIMIT).await.unwrap(), None);

    // In its own task, as roles do.
    let fetched = tokio::spawn({
        let (b, peers) = (b.clone(), [a.endpoint()]);
        async move { b.fetch(name, LIMIT, &peers, "kept", later()).await }
    });
    assert_eq!(soon(fetched).await.unwrap().unwrap(), bytes);
    assert!(b.has(name).await.unwrap());
    // Who connects measures, and the other side does not know the address that was registered.
    let latency = b.latency(&a.endpoint().id).unwrap();
    assert!(latency > Duration::ZERO && latency < Duration::from_secs(5), "{latency:?}");
    assert_eq!((a.latency(&b.endpoint().id), b.latency(&c.endpoint().id)), (None, None));

    a.shutdown().await.unwrap();
    assert_eq!(soon(c.fetch(name, LIMIT, &[b.endpoint()], "kept", later())).await.unwrap(), bytes);
    // Now from the store, without a peer to ask.
    b.shutdown().await.unwrap();
    assert_eq!(c.fetch(name, LIMIT, &[], "kept", later()).await.unwrap(), bytes);
    c.shutdown().await.unwrap();
}

#[tokio::test]
async fn many_small_blobs_and_the_empty_one() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let shards: Vec<_> =
        (0..100).map(|seed| noise(seed, 16 * 1024)).chain([Bytes::new()]).collect();
    let names = a.add_all(shards.clone(), "manifest").await.unwrap();
    assert_eq!(names, shards.iter().map(|shard| hash(shard)).collect::<Vec<_>>());
    let peers = [a.endpoint()];
    let fetches = names.iter().map(|name| b.fetch(*name, 16 * 1024, &peers, "lease", later()));
    assert_eq!(soon(futures::future::try_join_all(fetches)).await.unwrap(), shards);
}

#[tokio::test]
async fn too_large_is_refused_before_it_is_downloaded() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let name = a.add(noise(0, 1_000_000), "kept").await.unwrap();
    let too_large =
        |error| matches!(error, SwarmError::TooLarge { size: 1_000_000, limit: 999_999, .. });
    assert!(too_large(
        soon(b.fetch(name, 999_999, &[a.endpoint()], "kept", later())).await.unwrap_err()
    ));
    assert!(matches!(
        b.0.store.get().await.unwrap().status(name).await.unwrap(),
        BlobStatus::NotFound
    ));
    assert!(too_large(a.get(name, 999_999).await.unwrap_err()));
    assert_eq!(
        soon(b.fetch(name, 1_000_000, &[a.endpoint()], "kept", later())).await.unwrap().len(),
        1_000_000
    );
}

#[tokio::test]
async fn an_unknown_blob_s_error_names_the_peers_that_were_asked() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let nowhere = Endpoint {
        id: *SecretKey::from_bytes(&[9; 32]).public().as_bytes(),
        addresses: Default::default(),
    };
    let off_curve =
        (0..).map(|byte| [byte; 32]).find(|id| PublicKey::from_bytes(id).is_err()).unwrap();
    let no_key = Endpoint { id: off_curve, ..a.endpoint() };
    let peers = [b.endpoint(), a.endpoint(), nowhere, no_key];
    let error =
        soon(b.fetch(hash(b"nobody has this"), LIMIT, &peers, "kept", later())).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&hex::encode(a.endpoint().id)), "{text}");
    assert!(text.contains("does not have it"), "{text}");
    assert!(!text.contains(&hex::encode(b.endpoint().id)), "{text}");
    let failures = failures(error);
    assert_eq!(failures.len(), 3);
    assert!(failures.contains(&(a.endpoint().id, PeerFailure::NotServed)));
    assert!(
        failures
            .iter()
            .filter(|(_, failure)| matches!(failure, PeerFailure::Registration(_)))
            .count()
            == 2
    );

    let error = b.fetch([1; 32], LIMIT, &[], "kept", later()).await.unwrap_err();
    assert!(error.to_string().contains("no peer is registered"), "{error}");
}

/// Returns the endpoints of `count` peers whose sockets never answer.
async fn dead_peers(count: u8) -> (Vec<UdpSocket>, Vec<Endpoint>) {
    let (mut sockets, mut endpoints) = (Vec::new(), Vec::new());
    for number in 0..count {
        let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
        let id = *SecretKey::from_bytes(&[100 + number; 32]).public().as_bytes();
        let address = socket.local_addr().unwrap().into();
        endpoints.push(Endpoint { id, addresses: vec![address].try_into().unwrap() });
        sockets.push(socket);
    }
    (sockets, endpoints)
}

#[tokio::test]
async fn many_dead_peers_cost_no_more_than_a_few() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let names = a.add_all(vec![noise(0, 100_000), noise(1, 100_000)], "kept").await.unwrap();
    let (_sockets, mut peers) = dead_peers(36).await;
    peers.push(a.endpoint());
    let started = Instant::now();
    assert_eq!(
        soon(b.fetch(names[0], LIMIT, &peers, "kept", later())).await.unwrap().len(),
        100_000
    );
    // One after the other they would take three minutes.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    // From then on they are asked last.
    let started = Instant::now();
    let order = b.order(&peers);
    assert!(order.iter().position(|peer| peer.id == a.endpoint().id).unwrap() < 24);
    soon(b.fetch(names[1], LIMIT, &peers, "kept", later())).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_deadline_ends_a_fetch() {
    let (b, _b) = peer(2).await;
    let (_sockets, peers) = dead_peers(3).await;
    let started = Instant::now();
    let deadline = started + Duration::from_millis(600);
    let error = soon(b.fetch([1; 32], LIMIT, &peers, "kept", deadline)).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let failures = failures(error);
    assert!(!failures.is_empty(), "the peers that were asked are named");
    assert!(failures.iter().all(|(_, failure)| *failure == PeerFailure::OutOfTime), "{failures:?}");
    assert!(!b.has_reached(started, &[]));
}

#[tokio::test]
async fn silent_and_stalling_peers_cost_one_wait() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let bytes = noise(0, 2_000_000);
    let name = a.add(bytes.clone(), "kept").await.unwrap();
    // One accepts connections and says nothing, and the others stop in the middle.
    let (task, silent) = scripted(None).await;
    let mut peers = vec![silent];
    let mut routers = Vec::new();
    for _ in 0..4 {
        let never = std::future::pending();
        let (router, endpoint) = faltering(bytes.clone(), 20, never).await;
        routers.push(router);
        peers.push(endpoint);
    }
    peers.push(a.endpoint());
    let started = Instant::now();
    assert_eq!(soon(b.fetch(name, LIMIT, &peers, "kept", later())).await.unwrap(), bytes);
    // Four stalls of ten seconds each, one after the other, would take longer.
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    assert!(b.has_reached(started, &[peers[0].id]));
    task.abort();
}

#[tokio::test]
async fn a_slow_peer_keeps_a_blob_from_nobody() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let bytes = noise(0, 8_000_000);
    let name = a.add(bytes.clone(), "kept").await.unwrap();
    // 109 KB/s: enough not to be cut, so that the blob would take more than a minute.
    let (_first, slow) = dripping(bytes.clone(), Duration::from_millis(150)).await;
    let (_second, slower) = dripping(bytes.clone(), Duration::from_millis(200)).await;
    let (started, peers) = (Instant::now(), [slow.clone(), slower.clone(), a.endpoint()]);
    assert_eq!(soon(b.fetch(name, LIMIT, &peers, "kept", later())).await.unwrap(), bytes);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    // They cost one wait: from then on they are asked last.
    let order: Vec<_> = b.order(&peers).iter().map(|peer| peer.id).collect();
    assert_eq!(order, [a.endpoint().id, slow.id, slower.id]);
}

#[tokio::test]
async fn of_slow_peers_the_fastest_delivers() {
    let limits = Limits { slow_delay: Duration::from_secs(1), ..Limits::default() };
    let (b, _b) = peer_with(2, limits).await;
    let bytes = noise(0, 1_200_000);
    let pauses = [220, 80, 240, 260].map(Duration::from_millis);
    let (mut routers, mut peers) = (Vec::new(), Vec::new());
    for pause in pauses {
        let (router, endpoint) = dripping(bytes.clone(), pause).await;
        routers.push(router);
        peers.push(endpoint);
    }
    let started = Instant::now();
    assert_eq!(soon(b.fetch(hash(&bytes), LIMIT, &peers, "kept", later())).await.unwrap(), bytes);
    // 5.9 s at the speed of the fastest, and 16 s at that of the first.
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
}

#[tokio::test]
async fn only_peers_that_do_not_send_are_at_fault_when_the_time_ends() {
    let (b, _b) = peer(2).await;
    let bytes = noise(0, 2_000_000);
    let (_router, slow) = dripping(bytes.clone(), Duration::from_millis(150)).await;
    let (task, silent) = scripted(None).await;
    let peers = [silent.clone(), slow.clone()];
    let fetch = async |seconds| {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        let error = b.fetch(hash(&bytes), LIMIT, &peers, "kept", deadline).await.unwrap_err();
        let SwarmError::Unavailable { received, failures, .. } = error else { panic!("{error}") };
        (received, failures)
    };
    let (received, failures) = soon(fetch(6)).await;
    assert!(received > 0);
    assert!(failures.0.contains(&(slow.id, PeerFailure::OutOfTime)), "{failures}");
    assert!(failures.0.contains(&(silent.id, PeerFailure::Silent)), "{failures}");
    assert!(!failures.is_fault_of(&slow.id) && failures.is_fault_of(&silent.id));
    // Both are asked last for a while.
    let (other, _other) = peer(3).await;
    let order = b.order(&[slow, silent.clone(), other.endpoint()]);
    assert_eq!(order.front().map(|peer| peer.id), Some(other.endpoint().id));
    let (_, failures) = soon(fetch(2)).await;
    assert!(!failures.is_fault_of(&silent.id), "it may still be connecting: {failures}");
    task.abort();
}

#[tokio::test]
async fn a_cancelled_fetch_remembers_the_peer_that_it_waited_for() {
    let limits = Limits { slow_delay: Duration::from_millis(500), ..Limits::default() };
    let ((b, _b), (c, _c)) = (peer_with(2, limits).await, peer(3).await);
    let (task, silent) = scripted(None).await;
    let peers = [silent.clone()];
    let fetch = b.fetch([1; 32], LIMIT, &peers, "kept", later());
    assert!(timeout(Duration::from_secs(2), fetch).await.is_err());
    let order = b.order(&[silent, c.endpoint()]);
    assert_eq!(order.front().map(|peer| peer.id), Some(c.endpoint().id));
    task.abort();
}

#[tokio::test]
async fn downloads_take_turns_and_other_handles_do_not_wait() {
    let limits =
        Limits { max_downloads: 1, stall_timeout: Duration::from_secs(1), ..Limits::default() };
    let ((a, _a), (b, _b)) = (peer(1).await, peer_with(2, limits).await);
    let name = a.add(noise(0, 1000), "kept").await.unwrap();
    let bytes = noise(1, 16 << 20);
    let (_router, slow) = dripping(bytes.clone(), Duration::from_millis(20)).await;
    let tarpit = tokio::spawn({
        let b = b.clone();
        async move { b.fetch(hash(&bytes), LIMIT << 1, &[slow], "slow", later()).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (started, peers) = (Instant::now(), [a.endpoint()]);
    let soon_over = || Instant::now() + Duration::from_millis(100);
    let starved = b.fetch(name, LIMIT, &peers, "kept", soon_over()).await;
    assert!(matches!(starved, Err(SwarmError::NoTurn { .. })), "nobody was asked");
    let own = b.with_own_turns();
    soon(own.fetch(name, LIMIT, &peers, "kept", later())).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    // The slow one gives way after its turn, and goes on afterwards.
    let other = a.add(noise(2, 1000), "kept").await.unwrap();
    soon(b.fetch(other, LIMIT, &peers, "kept", later())).await.unwrap();
    assert!(!tarpit.is_finished());
    tarpit.abort();
}

#[tokio::test]
async fn blobs_that_peers_fetch_are_wanted() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let name = a.add(noise(0, 1000), "model/1").await.unwrap();
    a.add(noise(1, 1000), "model/2").await.unwrap();
    let started = Instant::now();
    assert!(!a.is_wanted("model/1", started).await.unwrap());
    soon(b.fetch(name, LIMIT, &[a.endpoint()], "kept", later())).await.unwrap();
    assert!(a.is_wanted("model/1", started).await.unwrap());
    assert!(!a.is_wanted("model/2", started).await.unwrap());
    assert!(!a.is_wanted("model/1", Instant::now()).await.unwrap());
}

#[tokio::test]
async fn a_trickle_is_cut() {
    let limits = Limits { stall_timeout: Duration::from_secs(2), ..Limits::default() };
    let ((b, _b), bytes) = (peer_with(2, limits).await, noise(0, 1_000_000));
    // Two groups of 16 KiB arrive, and a window has to bring 128 KiB.
    let (_router, trickling) = faltering(bytes.clone(), 2, std::future::pending()).await;
    let failed = soon(download(&b, hash(&bytes), &trickling)).await;
    assert!(matches!(failed, Err(DownloadError::Peer(PeerFailure::TooSlow))));
}

#[tokio::test]
async fn a_blob_is_held_without_being_read() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let name = a.add(noise(0, 100_000), "kept").await.unwrap();
    let missing = b.hold(name, LIMIT, &[], "round/1", later()).await;
    assert!(matches!(missing, Err(SwarmError::Unavailable { .. })));
    soon(b.hold(name, LIMIT, &[a.endpoint()], "round/1", later())).await.unwrap();
    // Now without a peer, and under a second label.
    b.hold(name, LIMIT, &[], "round/20/late", later()).await.unwrap();
    let too_large = b.hold(name, 99_999, &[], "round/3", later()).await;
    assert!(matches!(too_large, Err(SwarmError::TooLarge { size: 100_000, .. })));
    assert_eq!(b.labels_below("round").await.unwrap(), ["1", "20"].map(String::from).into());
    assert_eq!(b.release("round/1").await.unwrap(), 1);
    assert_eq!(b.labels_below("round").await.unwrap(), ["20"].map(String::from).into());
}

#[tokio::test]
async fn a_broken_transfer_is_resumed() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let bytes = noise(0, 5_000_000);
    let name = a.add(bytes.clone(), "kept").await.unwrap();
    let store = b.0.store.get().await.unwrap();
    let arrived = async move {
        while store.remote().local(HashAndFormat::raw(name.into())).await.unwrap().local_bytes()
            < 2_000_000
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (router, faltering) = faltering(bytes.clone(), 200, arrived).await;
    let error = soon(b.fetch(name, LIMIT, std::slice::from_ref(&faltering), "kept", later()))
        .await
        .unwrap_err();
    assert!(
        matches!(failures(error).as_slice(), [(id, PeerFailure::Broken(_))] if *id == faltering.id)
    );
    router.shutdown().await.unwrap();
    assert!(!b.has(name).await.unwrap());

    let Ok(received) = soon(download(&b, name, &a.endpoint())).await else { panic!("not resumed") };
    assert!(received > 0 && received <= 3_000_000, "{received}");
    assert_eq!(b.get(name, LIMIT).await.unwrap().unwrap(), bytes);
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_the_next_peer_asked() {
    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let bytes = noise(0, 10_000);
    let name = a.add(bytes.clone(), "kept").await.unwrap();
    // Other bytes of the right size; no header; an absurd size.
    let forged = [10_000u64.to_le_bytes().as_slice(), &noise(1, 10_000)].concat();
    for answer in
        [forged, vec![1, 2, 3], [u64::MAX.to_le_bytes().as_slice(), &noise(2, 100_000)].concat()]
    {
        let (task, liar) = scripted(Some(answer)).await;
        let error = soon(b.fetch(name, LIMIT, std::slice::from_ref(&liar), "kept", later()))
            .await
            .unwrap_err();
        assert_eq!(failures(error).len(), 1);
        assert!(!b.has(name).await.unwrap());
        task.abort();
    }
    let (task, liar) =
        scripted(Some([10_000u64.to_le_bytes().as_slice(), &noise(1, 10_000)].concat())).await;
    let Err(DownloadError::Peer(failure)) = soon(download(&b, name, &liar)).await else {
        panic!("took wrong bytes")
    };
    assert_eq!(failure, PeerFailure::WrongBytes);
    assert_eq!(
        soon(b.fetch(name, LIMIT, &[liar, a.endpoint()], "kept", later())).await.unwrap(),
        bytes
    );
    task.abort();
}

#[tokio::test]
async fn silent_and_noisy_peers_do_not_block_a_fetch() {
    let (b, _b) =
        peer_with(2, Limits { stall_timeout: Duration::from_secs(1), ..Limits::default() }).await;
    let (task, silent) = scripted(None).await;
    let failed = soon(download(&b, [1; 32], &silent)).await;
    assert!(matches!(failed, Err(DownloadError::Peer(PeerFailure::Stalled))));
    task.abort();

    let garbage = UdpSocket::bind(LOOPBACK).await.unwrap();
    let noisy = Endpoint {
        id: silent.id,
        addresses: vec![garbage.local_addr().unwrap().into()].try_into().unwrap(),
    };
    let task = tokio::spawn(async move {
        let (mut buffer, mut seed) = ([0; 2048], 0u8);
        while let Ok((_, from)) = garbage.recv_from(&mut buffer).await {
            seed = seed.wrapping_add(1);
            garbage.send_to(&noise(seed, 1200), from).await.ok();
        }
    });
    // A peer without an older address of this key.
    let (c, _c) =
        peer_with(3, Limits { connect_timeout: Duration::from_secs(1), ..Limits::default() }).await;
    let error = soon(c.fetch([1; 32], LIMIT, &[noisy], "kept", later())).await.unwrap_err();
    assert!(matches!(
        failures(error).as_slice(),
        [(_, PeerFailure::Unreachable | PeerFailure::Connection(_))]
    ));
    task.abort();
}

#[tokio::test]
async fn strangers_displace_each_other_and_idle_ones_are_closed() {
    let limits = Limits {
        max_stranger_slots: 2,
        stall_timeout: Duration::from_secs(3),
        ..Limits::default()
    };
    let ((a, _a), (b, _b)) = (peer_with(1, limits).await, peer(2).await);
    let name = a.add(noise(0, 1000), "kept").await.unwrap();
    let endpoint = a.endpoint();
    let (Ok(first), Ok(second)) =
        (soon(b.connect(&endpoint)).await, soon(b.connect(&endpoint)).await)
    else {
        panic!("not connected")
    };
    let started = Instant::now();
    assert!(soon(download(&b, name, &endpoint)).await.is_ok(), "the newest one comes in");
    soon(first.closed()).await;
    assert!(second.close_reason().is_none() && started.elapsed() < Duration::from_secs(2));
    soon(second.closed()).await;
}

/// Opens connections to `peer` and asks for blobs that it does not have until they are closed.
/// Returns the times that takes.
fn flood(swarm: &Swarm, peer: &Endpoint, connections: usize) -> Vec<JoinHandle<Duration>> {
    async fn ask(swarm: Swarm, peer: Endpoint) -> Duration {
        let Ok(connection) = swarm.connect(&peer).await else { panic!("not connected") };
        let opened = Instant::now();
        while connection.close_reason().is_none() {
            get_verified_size(&connection, &[9; 32].into()).await.ok();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        opened.elapsed()
    }
    (0..connections).map(|_| tokio::spawn(ask(swarm.clone(), peer.clone()))).collect()
}

#[tokio::test]
async fn a_member_is_served_whatever_strangers_do() {
    let limits = Limits {
        max_stranger_slots: 8,
        stall_timeout: Duration::from_secs(6),
        ..Limits::default()
    };
    let ((a, _a), (member, _member)) = (peer_with(1, limits).await, peer(2).await);
    let ((one, _one), (other, _other)) = (peer(3).await, peer(4).await);
    let names = a.add_all((0..8).map(|seed| noise(seed, 1000)).collect(), "kept").await.unwrap();
    a.set_members([member.endpoint().id]);
    let peers = [a.endpoint()];
    let mut floods = flood(&one, &peers[0], 8);
    floods.extend(flood(&other, &peers[0], 8));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let started = Instant::now();
    let open = floods.iter().filter(|flood| !flood.is_finished()).count();
    assert_eq!(open, 8, "strangers have all of their slots, and no others");
    for name in &names {
        soon(member.fetch(*name, LIMIT, &peers, "kept", later())).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    let open = floods.iter().filter(|flood| !flood.is_finished()).count();
    assert_eq!(open, 8, "the member displaced none of them");
    // A new stranger is served too, and useless requests keep no slot.
    let (new, _new) = peer(5).await;
    soon(new.fetch(names[0], LIMIT, &peers, "kept", later())).await.unwrap();
    for flood in floods {
        let lasted = soon(flood).await.unwrap();
        assert!(lasted < Duration::from_secs(9), "{lasted:?}");
    }
}

#[tokio::test]
async fn strangers_share_a_small_part_of_the_line_while_a_member_waits() {
    let limits = Limits { stranger_bytes_per_second: 400_000, ..Limits::default() };
    let (a, _a) = peer_with(1, limits).await;
    let ((member, _member), (stranger, _stranger)) = (peer(2).await, peer(3).await);
    let names = a.add_all((0..3).map(|seed| noise(seed, 1_000_000)).collect(), "kept").await;
    let (names, peers) = (names.unwrap(), [a.endpoint()]);
    let large = a.add(noise(9, 15_000_000), "kept").await.unwrap();
    a.set_members([member.endpoint().id]);
    let fetch = async |name| {
        let started = Instant::now();
        soon(stranger.fetch(name, LIMIT, &peers, "kept", later())).await.unwrap();
        started.elapsed()
    };
    assert!(fetch(names[0]).await < Duration::from_secs(2), "it is fast without members");
    // The member asks, and takes its time to read.
    let Ok(connection) = member.connect(&peers[0]).await else { panic!("not connected") };
    let asking = fsm::start(connection.clone(), GetRequest::blob(large), Default::default());
    let asked = asking.next().await.unwrap().next().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let shared = fetch(names[1]).await;
    assert!(shared > Duration::from_secs(2), "{shared:?}");
    drop((asked, connection));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(fetch(names[2]).await < Duration::from_secs(2), "it is fast again");
}

#[tokio::test]
async fn only_a_member_that_is_refused_all_the_time_finds_the_peer_at_fault() {
    let limits = Limits { refusal_time: Duration::from_secs(2), ..Limits::default() };
    let (b, _b) = peer_with(2, limits).await;
    let socket = socket().await;
    let refusing = registration(&socket);
    let task = tokio::spawn(async move {
        // One connection is refused before its handshake, and the next one after it.
        while let Some(incoming) = socket.accept().await {
            incoming.refuse();
            let Some(incoming) = socket.accept().await else { break };
            let Ok(connection) = incoming.await else { continue };
            connection.close(ERR_LIMIT, b"no slot is free");
        }
    });
    let peers = [refusing];
    let fetch = async || {
        let error = soon(b.fetch([1; 32], LIMIT, &peers, "kept", later())).await.unwrap_err();
        let SwarmError::Unavailable { failures, .. } = error else { panic!("{error}") };
        failures
    };
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let failures = fetch().await;
        assert_eq!(failures.0, [(peers[0].id, PeerFailure::Full)], "it is a stranger");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    b.set_members([b.endpoint().id]);
    assert!(fetch().await.is_fault_of(&peers[0].id), "{}", fetch().await);
    // After a pause it may have had a slot meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!fetch().await.is_fault_of(&peers[0].id));
    task.abort();
}

#[tokio::test]
async fn downloads_from_one_slow_peer_share_its_line() {
    let limits = Limits { stall_timeout: Duration::from_secs(2), ..Limits::default() };
    let (b, _b) = peer_with(2, limits).await;
    // Together 109 KB/s, and each less than the 64 KB/s below which a transfer is cut.
    let store = MemStore::new();
    let blobs: Vec<_> = (0..4).map(|seed| noise(seed, 200_000)).collect();
    for (seed, bytes) in blobs.iter().enumerate() {
        store.add_bytes(bytes.clone()).with_named_tag(format!("{seed}")).await.unwrap();
    }
    let (_router, slow) = dripping_store(&store, Duration::from_millis(150)).await;
    let peers = [slow];
    let fetches = blobs.iter().map(|bytes| b.fetch(hash(bytes), LIMIT, &peers, "kept", later()));
    assert_eq!(soon(futures::future::try_join_all(fetches)).await.unwrap(), blobs);
}

#[tokio::test]
async fn slow_owners_cost_an_honest_one_a_turn_and_not_one_for_each_blob() {
    let limits = Limits { stall_timeout: Duration::from_secs(1), ..Limits::default() };
    let ((a, _a), (b, _b)) = (peer(1).await, peer_with(2, limits).await);
    let blobs: Vec<_> = (0..70).map(|seed| noise(seed, 1000)).collect();
    let names = a.add_all(blobs, "case").await.unwrap();
    // As many slow trainers as there are turns, with four blobs each, just fast enough not to be
    // cut.
    let (mut routers, mut slow) = (Vec::new(), Vec::new());
    for trainer in 0..16 {
        let store = MemStore::new();
        let mut hashes = Vec::new();
        for blob in 0..4 {
            let bytes = noise(100 + 4 * trainer + blob, 4_000_000);
            hashes.push(hash(&bytes));
            store.add_bytes(bytes).with_named_tag(format!("{blob}")).await.unwrap();
        }
        let (router, endpoint) = dripping_store(&store, Duration::from_millis(100)).await;
        routers.push(router);
        for name in hashes {
            let (b, peers) = (b.clone(), [endpoint.clone()]);
            slow.push(tokio::spawn(
                async move { b.hold(name, LIMIT, &peers, "slow", later()).await },
            ));
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (started, peers) = (Instant::now(), [a.endpoint()]);
    let holds = names.iter().map(|name| b.hold(*name, LIMIT, &peers, "case", later()));
    let held = futures::stream::iter(holds).buffer_unordered(8).try_collect::<Vec<()>>();
    soon(held).await.unwrap();
    // At a turn for each blob it would be more than twenty.
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    let slow_ones = slow.iter().filter(|slow| !slow.is_finished()).count();
    assert!(slow_ones > 48, "{slow_ones} of 64 are under way");
    slow.iter().for_each(JoinHandle::abort);
}

#[tokio::test]
async fn only_single_blobs_are_served() {
    use iroh_blobs::protocol::{ChunkRanges, GetManyRequest, ObserveRequest, PushRequest};

    let ((a, _a), (b, _b)) = (peer(1).await, peer(2).await);
    let name = a.add(noise(0, 1000), "kept").await.unwrap();
    let pushed = b.add(noise(1, 1000), "kept").await.unwrap();
    let Ok(connection) = soon(b.connect(&a.endpoint())).await else { panic!("not connected") };
    let store = b.0.store.get().await.unwrap();
    let remote = store.remote();

    let push = PushRequest::new(pushed.into(), GetRequest::blob(pushed).ranges);
    soon(remote.execute_push(connection.clone(), push).complete()).await.ok();
    let many = GetManyRequest::builder().hash(name, ChunkRanges::all()).build();
    assert!(soon(remote.execute_get_many(connection.clone(), many).complete()).await.is_err());
    assert!(
        soon(remote.execute_get(connection.clone(), GetRequest::all(name)).complete())
            .await
            .is_err()
    );
    let mut observed =
        std::pin::pin!(remote.observe(connection.clone(), ObserveRequest::new(name.into())));
    assert!(soon(futures::StreamExt::next(&mut observed)).await.unwrap().is_err());
    // A request that is too large.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[0; 10_000]).await.ok();
    send.finish().ok();
    assert!(soon(receive.read_to_end(1)).await.unwrap_or_default().is_empty());

    assert!(!b.has(name).await.unwrap() && !a.has(pushed).await.unwrap());
    // The connection still serves single blobs.
    soon(remote.execute_get(connection, GetRequest::blob(name)).complete()).await.unwrap();
    assert!(b.has(name).await.unwrap());
}

#[tokio::test]
async fn a_restart_keeps_blobs() {
    let (directory, bytes) = (TempDir::new().unwrap(), noise(0, 100_000));
    let swarm = Swarm::start(config(directory.path(), 1)).await.unwrap();
    let name = swarm.add(bytes.clone(), "kept").await.unwrap();
    let id = swarm.endpoint().id;
    assert!(matches!(
        Swarm::start(config(directory.path(), 1)).await,
        Err(SwarmError::DirectoryInUse(_))
    ));
    swarm.shutdown().await.unwrap();

    let swarm = Swarm::start(config(directory.path(), 1)).await.unwrap();
    assert_eq!(swarm.endpoint().id, id);
    let (other, _other) = peer(2).await;
    assert_eq!(
        soon(other.fetch(name, LIMIT, &[swarm.endpoint()], "kept", later())).await.unwrap(),
        bytes
    );
    let left = swarm.clone();
    swarm.shutdown().await.unwrap();
    assert!(matches!(left.add(Bytes::new(), "late").await, Err(SwarmError::Store(_))));
    assert!(matches!(
        left.fetch([5; 32], LIMIT, &[], "late", later()).await,
        Err(SwarmError::Store(_))
    ));
}

#[tokio::test]
async fn released_blobs_are_collected_and_others_are_not() {
    let (a, _a) =
        peer_with(1, Limits { gc_interval: Duration::from_millis(50), ..Limits::default() }).await;
    let [first, second, third, shared] = [1, 2, 3, 4].map(|seed| noise(seed, 40_000));
    let first = a.add(first, "round/1").await.unwrap();
    let second = a.add(second, "round/1/update").await.unwrap();
    let third = a.add(third, "round/10").await.unwrap();
    a.add(shared.clone(), "round/1").await.unwrap();
    let shared = a.add(shared, "model").await.unwrap();
    assert_eq!(a.release("round/1").await.unwrap(), 3);
    assert_eq!(a.release("round/1").await.unwrap(), 0);
    let gone = async {
        while a.has(first).await.unwrap() || a.has(second).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon(gone).await;
    assert_eq!(a.get(first, LIMIT).await.unwrap(), None);
    assert!(a.has(third).await.unwrap() && a.has(shared).await.unwrap());
    a.shutdown().await.unwrap();
}

#[tokio::test]
async fn start_errors_say_why() {
    let (a, _a) = peer(1).await;
    let directory = TempDir::new().unwrap();
    let taken: SocketAddr = a.endpoint().addresses[0].into();
    let result = Swarm::start(SwarmConfig { bind: taken, ..config(directory.path(), 2) }).await;
    assert!(matches!(result, Err(SwarmError::PortInUse(address)) if address == taken));

    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let result = Swarm::start(SwarmConfig { bind: elsewhere, ..config(directory.path(), 2) }).await;
    assert!(matches!(result, Err(SwarmError::Bind { address, .. }) if address == elsewhere));

    let result =
        Swarm::start(SwarmConfig { advertise: vec![LOOPBACK; 5], ..config(directory.path(), 2) })
            .await;
    assert!(matches!(result, Err(SwarmError::TooManyAddresses(5))));
    for ip in [[0, 0, 0, 0], [224, 0, 0, 1], [255, 255, 255, 255]] {
        let advertise = vec![SocketAddr::from((ip, 1))];
        let result = Swarm::start(SwarmConfig { advertise, ..config(directory.path(), 2) }).await;
        let is_named = |address: SocketAddr| address.ip() == IpAddr::from(ip);
        assert!(matches!(result, Err(SwarmError::NoMachine(address)) if is_named(address)));
    }

    let file = directory.path().join("file");
    std::fs::write(&file, b"in the way").unwrap();
    assert!(matches!(Swarm::start(config(&file, 2)).await, Err(SwarmError::Directory { .. })));

    let damaged = TempDir::new().unwrap();
    std::fs::write(damaged.path().join("blobs.db"), noise(0, 10_000)).unwrap();
    let error = Swarm::start(config(damaged.path(), 2)).await.err().unwrap();
    assert!(matches!(error, SwarmError::Corrupt { .. }), "{error}");
}

/// Stores a blob, stops, and changes the file that holds it.
async fn damaged(change: impl FnOnce(&Path)) -> (Swarm, TempDir, Hash) {
    let (swarm, directory) = peer(1).await;
    let name = swarm.add(noise(0, 100_000), "kept").await.unwrap();
    swarm.shutdown().await.unwrap();
    change(&directory.path().join("data").join(format!("{}.data", hex::encode(name))));
    (Swarm::start(config(directory.path(), 1)).await.unwrap(), directory, name)
}

fn flip_a_bit(file: &Path) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[50_000] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test]
async fn a_damaged_blob_is_not_handed_out() {
    let (a, _a, name) = damaged(flip_a_bit).await;
    assert_eq!(a.get(name, LIMIT).await.unwrap(), None);
    assert!(!a.has(name).await.unwrap(), "it counts as missing");
    // It is not served to others either.
    let (b, _b) = peer(2).await;
    assert_eq!(
        failures(soon(b.fetch(name, LIMIT, &[a.endpoint()], "kept", later())).await.unwrap_err())
            .len(),
        1
    );
    // Adding it again repairs it.
    a.add(noise(0, 100_000), "kept").await.unwrap();
    assert!(a.has(name).await.unwrap());
    assert_eq!(
        soon(b.fetch(name, LIMIT, &[a.endpoint()], "kept", later())).await.unwrap(),
        noise(0, 100_000)
    );
}

#[tokio::test]
async fn a_damaged_blob_is_fetched_again() {
    let cut = |file: &Path| std::fs::write(file, noise(0, 100_000).slice(..70_000)).unwrap();
    let remove = |file: &Path| std::fs::remove_file(file).unwrap();
    let (b, _b) = peer(2).await;
    b.add(noise(0, 100_000), "kept").await.unwrap();
    let changes: [fn(&Path); 3] = [flip_a_bit, cut, remove];
    for change in changes {
        let (a, directory, name) = damaged(change).await;
        let fetched = soon(a.fetch(name, LIMIT, &[b.endpoint()], "kept", later())).await;
        assert_eq!(fetched.unwrap(), noise(0, 100_000));
        a.shutdown().await.unwrap();
        let a = Swarm::start(config(directory.path(), 1)).await.unwrap();
        assert_eq!(a.get(name, LIMIT).await.unwrap(), Some(noise(0, 100_000)));
        a.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn addresses_are_completed() {
    let directory = TempDir::new().unwrap();
    let advertise = vec!["203.0.113.7:0".parse().unwrap(), "[2001:db8::7]:4000".parse().unwrap()];
    let swarm =
        Swarm::start(SwarmConfig { advertise, ..config(directory.path(), 1) }).await.unwrap();
    let bound = swarm.0.socket.bound_sockets()[0].port();
    let addresses: Vec<SocketAddr> =
        swarm.endpoint().addresses.into_iter().map(Into::into).collect();
    assert_eq!(
        addresses,
        [SocketAddr::from(([203, 0, 113, 7], bound)), "[2001:db8::7]:4000".parse().unwrap()]
    );

    assert_eq!(reachable_address(Ipv4Addr::LOCALHOST.into()), Ipv4Addr::LOCALHOST);
    let derived = reachable_address(Ipv4Addr::UNSPECIFIED.into());
    assert!(derived.is_ipv4() && !derived.is_unspecified());
}

#[test]
fn causes_are_found_in_depth() {
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    assert!(is_disk_full(&full()));
    assert!(is_disk_full(&io::Error::other(io::Error::other(full()))));
    let wrapped = SwarmError::Directory { directory: "a".into(), source: full() };
    assert!(is_disk_full(&wrapped));
    assert!(!is_disk_full(&io::Error::from(io::ErrorKind::NotFound)));
    assert!(is_io(&io::Error::from(io::ErrorKind::NotFound), &[io::ErrorKind::NotFound]));
}

#[tokio::test]
async fn a_peer_answers_at_its_own_endpoint_under_its_own_key() {
    let limits = Limits { connect_timeout: Duration::from_millis(500), ..Limits::default() };
    let (alice, _alice_folder) = peer_with(1, limits).await;
    let (bob, _bob_folder) = peer(2).await;
    let endpoint = bob.endpoint();
    assert!(soon(alice.answers(&endpoint)).await);
    assert!(!soon(alice.answers(&alice.endpoint())).await, "nobody answers itself");
    let id = *SecretKey::from_bytes(&[3; 32]).public().as_bytes();
    assert!(!soon(alice.answers(&Endpoint { id, ..endpoint.clone() })).await);
    bob.shutdown().await.unwrap();
    assert!(!soon(alice.answers(&endpoint)).await);
}

/// Environment variable of a test that runs in a mount namespace of its own.
const PRIVATE: &str = "POL_SWARM_TEST_DISK";

/// Writes a file that takes all the room there is.
fn fill(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 10, 1] {
        let piece = vec![0; size];
        while std::io::Write::write_all(&mut file, &piece).is_ok() {}
    }
}

/// The disk is a file system in memory, which only a process of its own sees.
#[tokio::test]
async fn a_full_disk_ends_neither_the_service_nor_the_store() {
    let Some(disk) = std::env::var_os(PRIVATE) else {
        let disk = TempDir::new().unwrap();
        let mut command = std::process::Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-ec"]).env(PRIVATE, disk.path());
        let script =
            "mount -t tmpfs -o size=24m tmpfs \"$POL_SWARM_TEST_DISK\"\nexec \"$0\" \"$@\"";
        command.arg(script).arg(std::env::current_exe().unwrap()).args([
            "--exact",
            "tests::a_full_disk_ends_neither_the_service_nor_the_store",
            "--nocapture",
        ]);
        let status = command.status().unwrap();
        assert!(status.success(), "this test needs unshare(1), and mounts in namespaces: {status}");
        return;
    };
    let disk = std::path::PathBuf::from(disk);
    let swarm = Swarm::start(config(&disk, 1)).await.unwrap();
    let (other, _other) = peer(2).await;
    let kept = noise(1, 100_000);
    let name = swarm.add(kept.clone(), "kept").await.unwrap();
    let fetched =
        async |name| soon(other.fetch(name, LIMIT, &[swarm.endpoint()], "copy", later())).await;
    let is_full = |result: &crate::Result<Hash>| matches!(result, Err(SwarmError::DiskFull(_)));

    // A blob that would fill the disk is refused before it is written.
    assert!(is_full(&swarm.add(noise(2, 20 << 20), "large").await));
    let big = other.add(noise(2, 20 << 20), "large").await.unwrap();
    let held = soon(swarm.hold(big, 1 << 30, &[other.endpoint()], "large", later())).await;
    assert!(matches!(held, Err(SwarmError::DiskFull(_))), "{held:?}");

    // Others fill it to the last byte. What is here is served, and read.
    let filler = disk.join("filler");
    fill(&filler);
    assert!(is_full(&swarm.add(noise(3, 100), "small").await));
    assert_eq!(swarm.add(kept.clone(), "kept").await.unwrap(), name, "it is here already");
    let both = swarm.add_all(vec![kept.clone(), noise(3, 100)], "kept").await;
    assert!(matches!(both, Err(SwarmError::DiskFull(_))), "{both:?}");
    assert!(matches!(swarm.release("kept").await, Err(SwarmError::DiskFull(_))));
    assert_eq!(fetched(name).await.unwrap(), kept);
    soon(swarm.hold(name, LIMIT, &[], "kept", later())).await.unwrap();
    let relabelled = soon(swarm.hold(name, LIMIT, &[], "new", later())).await;
    assert!(matches!(relabelled, Err(SwarmError::DiskFull(_))), "{relabelled:?}");

    // Even a write that reaches the store and ends its database ends nothing else.
    let store = swarm.0.store.get().await.unwrap();
    for seed in 0..64 {
        let _ = store.add_bytes(noise(seed, 10_000)).temp_tag().await;
    }
    assert!(store.sync_db().await.is_err(), "the database goes on, so that this tests nothing");
    swarm.0.store.suspect();
    std::fs::remove_file(&filler).unwrap();
    let again = async {
        while let Err(error) = swarm.add(noise(4, 100_000), "late").await {
            assert!(matches!(error, SwarmError::DiskFull(_) | SwarmError::Store(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    soon(again).await;
    assert_eq!(fetched(hash(&noise(4, 100_000))).await.unwrap(), noise(4, 100_000));
    assert_eq!(swarm.get(name, LIMIT).await.unwrap(), Some(kept));
    swarm.shutdown().await.unwrap();
}
