//! The answering side: whole blobs by hash, and nothing else.

use std::{io, sync::Arc};

use bytes::Bytes;
use iroh::endpoint::{Connection, Incoming, RecvStream, SendStream, VarInt};
use iroh_blobs::{
    api::{Store, blobs::BlobStatus},
    protocol::{ERR_LIMIT, Request},
    provider::{StreamPair, events::EventSender, handle_get},
    util::RecvStream as Receive,
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tracing::debug;

use crate::limits::{Limits, MAX_REQUEST};

/// Answers connections until `socket` closes.
pub async fn serve(socket: iroh::Endpoint, store: Store, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            incoming = socket.accept() => {
                let Some(incoming) = incoming else { break };
                let Ok(slot) = slots.clone().try_acquire_owned() else {
                    debug!("refused a connection: all slots are taken");
                    incoming.refuse();
                    continue;
                };
                // Half full, a peer first proves that it receives at the address it writes from.
                if slots.available_permits() < limits.connections / 2 && !incoming.remote_addr_validated() {
                    if let Err(error) = incoming.retry() {
                        debug!("cannot ask for proof of an address: {error:#}");
                    }
                    continue;
                }
                let (store, limits) = (store.clone(), limits.clone());
                connections.spawn(async move {
                    let _slot = slot;
                    serve_connection(incoming, store, limits).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
    connections.shutdown().await;
}

/// Answers the requests of one connection until it closes or falls idle.
async fn serve_connection(incoming: Incoming, store: Store, limits: Limits) {
    let connection = match timeout(limits.connect, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return debug!("a connection failed: {error:#}"),
        Err(_) => return debug!("a connection was not completed in time"),
    };
    let peer = connection.remote_id().fmt_short();
    debug!(%peer, "connected");
    let mut answers = JoinSet::new();
    loop {
        tokio::select! {
            request = timeout(limits.stall, connection.accept_bi()) => match request {
                Ok(Ok((send, receive))) => {
                    answers.spawn(answer(pair(&connection, send, receive), store.clone(), limits.clone()));
                }
                Ok(Err(error)) => return debug!(%peer, "disconnected: {error}"),
                // Keep-alives would hold the slot of a peer that wants nothing.
                Err(_) if answers.is_empty() => return connection.close(ERR_LIMIT, b"idle"),
                Err(_) => {}
            },
            Some(_) = answers.join_next() => {}
        }
    }
}

fn pair(
    connection: &Connection,
    send: SendStream,
    receive: RecvStream,
) -> StreamPair<Bounded, SendStream> {
    StreamPair::new(connection.stable_id() as u64, Bounded(receive), send, EventSender::DEFAULT)
}

/// Answers one request. A stream that ends without a byte says that the blob is not served.
async fn answer(mut pair: StreamPair<Bounded, SendStream>, store: Store, limits: Limits) {
    let request = match timeout(limits.connect, pair.read_request()).await {
        // Sequences of blobs, lists, observation and pushing are for other uses of the protocol.
        Ok(Ok(Request::Get(request))) if request.ranges.is_blob() => request,
        Ok(Ok(_)) => return debug!("refused a request for something else than one blob"),
        Ok(Err(error)) => return debug!("a request could not be read: {error:#}"),
        Err(_) => return debug!("a request did not arrive in time"),
    };
    let Ok(BlobStatus::Complete { size }) = store.status(request.hash).await else {
        return debug!(hash = %request.hash, "asked for a blob that is not here");
    };
    match timeout(limits.transfer(size), handle_get(pair, store, request)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("a transfer broke off: {error:#}"),
        Err(_) => debug!("cut a transfer that took too long"),
    }
}

/// A stream whose requests are read with a bound: the protocol's own reserves a megabyte for each.
struct Bounded(RecvStream);

impl Receive for Bounded {
    async fn recv_bytes(&mut self, length: usize) -> io::Result<Bytes> {
        self.0.recv_bytes(length.min(MAX_REQUEST)).await
    }

    async fn recv_bytes_exact(&mut self, length: usize) -> io::Result<Bytes> {
        if length > MAX_REQUEST {
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
