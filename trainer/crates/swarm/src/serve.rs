// SPDX-License-Identifier: Apache-2.0

//! Serving side: whole blobs by hash, and nothing else.

use std::{
    collections::HashSet,
    io,
    net::Ipv4Addr,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use bytes::Bytes;
use iroh::endpoint::{Connection, Incoming, IncomingAddr, RecvStream, VarInt};
use iroh_blobs::{
    HashAndFormat,
    api::blobs::BlobStatus,
    protocol::{ERR_LIMIT, Request},
    provider::{StreamPair, events::EventSender, handle_get},
    util::RecvStream as Receive,
};
use pol_metrics::ServeResult;
use tokio::{
    task::JoinSet,
    time::{sleep_until, timeout},
};
use tracing::debug;

use crate::{
    demand::Demand,
    limits::{Limits, MAX_REQUEST_BYTES},
    pace::{Pace, PacedStream},
    slots::{Group, Slot, Slots},
    store::BlobStore,
};

/// Server of the blobs in a store.
#[derive(Clone)]
pub(crate) struct Server {
    store: Arc<BlobStore>,
    demand: Arc<Demand>,
    members: Arc<MemberKeys>,
    limits: Limits,
    /// Slots of connections whose handshake is under way, by their networks.
    handshakes: Arc<Slots>,
    /// Slots of members, by their keys.
    member_slots: Arc<Slots>,
    /// Slots of all others, by their networks.
    stranger_slots: Arc<Slots>,
    pace: Arc<Pace>,
}

impl Server {
    pub(crate) fn new(
        store: Arc<BlobStore>,
        demand: Arc<Demand>,
        members: Arc<MemberKeys>,
        limits: Limits,
    ) -> Self {
        let handshakes = Slots::new(limits.max_handshakes, limits.max_handshakes);
        let member_slots = Slots::new(limits.max_member_slots, limits.max_slots_per_member);
        let stranger_slots = Slots::new(limits.max_stranger_slots, limits.max_stranger_slots);
        let pace = Pace::new(limits.stranger_bytes_per_second);
        Self { store, demand, members, limits, handshakes, member_slots, stranger_slots, pace }
    }

    /// Serves connections until `socket` closes.
    pub(crate) async fn serve(self, socket: iroh::Endpoint) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                incoming = socket.accept() => {
                    let Some(incoming) = incoming else { break };
                    // When half of the slots are taken, a peer first proves that it receives at the
                    // address it sends from.
                    if self.handshakes.is_busy() && !incoming.remote_addr_validated() {
                        if let Err(error) = incoming.retry() {
                            debug!("cannot ask for proof of an address: {error:#}");
                        }
                        continue;
                    }
                    let network = network(&incoming);
                    let handshake = self.handshakes.take(network);
                    connections.spawn(self.clone().serve_connection(incoming, network, handshake));
                }
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
    }

    /// Answers the requests of one connection until it closes, loses its slot, or sends no blob for
    /// too long.
    async fn serve_connection(self, incoming: Incoming, network: Group, handshake: Slot) {
        let limits = &self.limits;
        let connected = tokio::select! {
            connected = timeout(limits.connect_timeout, incoming) => connected,
            () = handshake.lost() => return debug!("gave up a handshake for newer ones"),
        };
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return debug!("a connection failed: {error:#}"),
            Err(_) => return debug!("a connection was not completed in time"),
        };
        drop(handshake);
        let id = connection.remote_id();
        let (peer, is_member) = (id.fmt_short(), self.members.contains(id.as_bytes()));
        let slot = Arc::new(if is_member {
            self.member_slots.take(Group::Member(*id.as_bytes()))
        } else {
            self.stranger_slots.take(network)
        });
        debug!(%peer, is_member, "connected");
        let _connected = pol_metrics::swarm().connections.enter();
        let mut answers = JoinSet::new();
        let mut end = Instant::now() + limits.stall_timeout;
        loop {
            tokio::select! {
                request = connection.accept_bi() => match request {
                    Ok((stream, receive)) => {
                        let pace = (!is_member).then(|| self.pace.clone());
                        let pair = pair(&connection, PacedStream { stream, pace }, receive);
                        answers.spawn(self.clone().answer(pair, slot.clone(), is_member));
                    }
                    Err(error) => return debug!(%peer, "disconnected: {error}"),
                },
                Some(_) = answers.join_next() => {}
                () = slot.lost() => {
                    debug!(%peer, "gave up the connection for newer ones");
                    return connection.close(ERR_LIMIT, b"no slot is free");
                }
                // Keep-alives, and requests that bring nothing, keep no slot.
                () = sleep_until(end.into()) => {
                    if !slot.was_used() {
                        return connection.close(ERR_LIMIT, b"idle");
                    }
                    end = Instant::now() + limits.stall_timeout;
                }
            }
        }
    }

    /// Answers one request. Ending the stream without a byte means that the blob is not served.
    async fn answer(self, mut pair: Pair, slot: Arc<Slot>, is_member: bool) {
        let Self { store, demand, limits, pace, .. } = self;
        let request = match timeout(limits.connect_timeout, pair.read_request()).await {
            // Sequences of blobs, lists, observation and pushing are other uses of the protocol.
            Ok(Ok(Request::Get(request))) if request.ranges.is_blob() => request,
            Ok(Ok(_)) => return debug!("refused a request for anything but one blob"),
            Ok(Err(error)) => return debug!("a request could not be read: {error:#}"),
            Err(_) => return debug!("a request did not arrive in time"),
        };
        let open = match store.get().await {
            Ok(open) => open,
            Err(error) => return debug!("nothing can be served: {error}"),
        };
        // A blob that loses its last label meanwhile is served to its end all the same.
        let pin = open.tags().temp_tag(HashAndFormat::raw(request.hash)).await;
        let status = open.status(request.hash).await;
        let (Ok(_pin), Ok(status)) = (pin, status) else { return store.suspect() };
        let BlobStatus::Complete { size } = status else {
            pol_metrics::swarm().requests_total.count(ServeResult::NotHere);
            return debug!(hash = %request.hash, "asked for a blob that is not here");
        };
        let (transfer, _to_member) = (slot.transfer(), is_member.then(|| pace.note_member()));
        let hash = request.hash.into();
        demand.note(hash, Instant::now());
        let served =
            timeout(limits.transfer_timeout(size), handle_get(pair, open.into(), request)).await;
        let is_complete = matches!(served, Ok(Ok(())));
        let result = if is_complete { ServeResult::Complete } else { ServeResult::Broken };
        pol_metrics::swarm().requests_total.count(result);
        match served {
            Ok(Ok(())) => transfer.complete(),
            Ok(Err(error)) => debug!("a transfer broke off: {error:#}"),
            Err(_) => debug!("cut a transfer that took too long"),
        }
        // It took a while, and the peer may ask for the rest.
        demand.note(hash, Instant::now());
    }
}

/// Returns the group of a stranger's connection.
fn network(incoming: &Incoming) -> Group {
    match incoming.remote_addr() {
        IncomingAddr::Ip(address) => Group::of(address.ip()),
        // No other transport is open; if one were, all its strangers would be one group.
        _ => Group::of(Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// Keys of the endpoints that members registered on chain.
#[derive(Default)]
pub(crate) struct MemberKeys(RwLock<HashSet<[u8; 32]>>);

impl MemberKeys {
    pub(crate) fn replace(&self, keys: HashSet<[u8; 32]>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    pub(crate) fn contains(&self, key: &[u8; 32]) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(key)
    }
}

/// Streams of a request and its answer.
type Pair = StreamPair<BoundedStream, PacedStream>;

fn pair(connection: &Connection, send: PacedStream, receive: RecvStream) -> Pair {
    StreamPair::new(
        connection.stable_id() as u64,
        BoundedStream(receive),
        send,
        EventSender::DEFAULT,
    )
}

/// Stream that bounds the size of requests: the protocol's own reader reserves a megabyte for each.
struct BoundedStream(RecvStream);

impl Receive for BoundedStream {
    async fn recv_bytes(&mut self, length: usize) -> io::Result<Bytes> {
        self.0.recv_bytes(length.min(MAX_REQUEST_BYTES)).await
    }

    async fn recv_bytes_exact(&mut self, length: usize) -> io::Result<Bytes> {
        if length > MAX_REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.0.recv_bytes_exact(length).await
    }

    async fn recv_exact(&mut self, target: &mut [u8]) -> io::Result<()> {
        self.0.recv_exact(target).await
    }

    fn stop(&mut self, code: VarInt) -> io::Result<()> {
        Receive::stop(&mut self.0, code)
    }

    fn id(&self) -> u64 {
        Receive::id(&self.0)
    }
}
