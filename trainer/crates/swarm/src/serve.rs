// SPDX-License-Identifier: Apache-2.0

//! Serving side: whole blobs by hash, and nothing else.

use std::{io, sync::Arc, time::Instant};

use bytes::Bytes;
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream, VarInt};
use iroh_blobs::{
    HashAndFormat,
    api::blobs::BlobStatus,
    protocol::{ERR_LIMIT, Request},
    provider::{StreamPair, events::EventSender, handle_get},
    util::RecvStream as Receive,
};
use pol_metrics::ServeResult;
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tracing::debug;

use crate::{
    demand::Demand,
    limits::{Limits, MAX_REQUEST_BYTES},
    store::BlobStore,
};

/// Server of the blobs in a store.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) store: Arc<BlobStore>,
    pub(crate) demand: Arc<Demand>,
    pub(crate) limits: Limits,
}

impl Server {
    /// Serves connections until `socket` closes.
    pub(crate) async fn serve(self, socket: iroh::Endpoint) {
        let limits = &self.limits;
        let slots = Arc::new(Semaphore::new(limits.max_connections));
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                incoming = socket.accept() => {
                    let Some(incoming) = incoming else { break };
                    let Ok(slot) = slots.clone().try_acquire_owned() else {
                        debug!("refused a connection: all slots are taken");
                        pol_metrics::swarm().refused_connections_total.inc();
                        incoming.refuse();
                        continue;
                    };
                    // When half of the slots are taken, a peer first proves that it receives at the
                    // address it sends from.
                    let is_busy = slots.available_permits() < limits.max_connections / 2;
                    if is_busy && !incoming.remote_addr_validated() {
                        if let Err(error) = incoming.retry() {
                            debug!("cannot ask for proof of an address: {error:#}");
                        }
                        continue;
                    }
                    let server = self.clone();
                    connections.spawn(async move {
                        let _slot = slot;
                        server.serve_connection(incoming).await;
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
        connections.shutdown().await;
    }

    /// Answers the requests of one connection until it closes or is idle for too long.
    async fn serve_connection(&self, incoming: Incoming) {
        let limits = &self.limits;
        let connection = match timeout(limits.connect_timeout, incoming).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return debug!("a connection failed: {error:#}"),
            Err(_) => return debug!("a connection was not completed in time"),
        };
        let peer = connection.remote_id().fmt_short();
        debug!(%peer, "connected");
        let _connected = pol_metrics::swarm().connections.enter();
        let mut answers = JoinSet::new();
        loop {
            tokio::select! {
                request = timeout(limits.stall_timeout, connection.accept_bi()) => match request {
                    Ok(Ok((send, receive))) => {
                        let pair = pair(&connection, send, receive);
                        answers.spawn(self.clone().answer(pair));
                    }
                    Ok(Err(error)) => return debug!(%peer, "disconnected: {error}"),
                    // Keep-alives would hold the slot of a peer without requests.
                    Err(_) if answers.is_empty() => return connection.close(ERR_LIMIT, b"idle"),
                    Err(_) => {}
                },
                Some(_) = answers.join_next() => {}
            }
        }
    }

    /// Answers one request. Ending the stream without a byte means that the blob is not served.
    async fn answer(self, mut pair: StreamPair<BoundedStream, SendStream>) {
        let Self { store, demand, limits } = self;
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
        let hash = request.hash.into();
        demand.note(hash, Instant::now());
        let served =
            timeout(limits.transfer_timeout(size), handle_get(pair, open.into(), request)).await;
        let is_complete = matches!(served, Ok(Ok(())));
        let result = if is_complete { ServeResult::Complete } else { ServeResult::Broken };
        pol_metrics::swarm().requests_total.count(result);
        match served {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!("a transfer broke off: {error:#}"),
            Err(_) => debug!("cut a transfer that took too long"),
        }
        // It took a while, and the peer may ask for the rest.
        demand.note(hash, Instant::now());
    }
}

fn pair(
    connection: &Connection,
    send: SendStream,
    receive: RecvStream,
) -> StreamPair<BoundedStream, SendStream> {
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
