// SPDX-License-Identifier: Apache-2.0

//! Fetching side: one blob from one peer.

use std::time::Duration;

use futures::StreamExt;
use iroh::{
    EndpointAddr, PublicKey, TransportAddr,
    endpoint::{ConnectOptions, Connection, ConnectionError, QuicTransportConfig},
};
use iroh_blobs::{
    ALPN, HashAndFormat,
    api::remote::GetProgressItem,
    get::{GetError, request::get_verified_size},
    protocol::ERR_LIMIT,
    store::mem::MemStore,
};
use pol_primitives::{Hash, member::Endpoint};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    Swarm, SwarmError,
    error::{PeerFailure, is_disk_full},
    progress::Progress,
    store::has_room,
};

/// Errors of a download.
pub(crate) enum DownloadError {
    /// The peer failed; another peer may deliver.
    Peer(PeerFailure),
    /// The fetch failed; no other peer would help.
    Fetch(SwarmError),
}

impl From<PeerFailure> for DownloadError {
    fn from(failure: PeerFailure) -> Self {
        Self::Peer(failure)
    }
}

/// A connected peer that has proved that it has the blob.
pub(crate) struct Source {
    connection: Connection,
}

impl Source {
    /// Returns the reason for `error`, which may be that the peer had no slot for the connection.
    pub(crate) fn explain(&self, error: DownloadError) -> DownloadError {
        match (error, self.connection.close_reason()) {
            (DownloadError::Peer(_), Some(ConnectionError::ApplicationClosed(close)))
                if close.error_code == ERR_LIMIT =>
            {
                PeerFailure::Full.into()
            }
            (error, _) => error,
        }
    }

    pub(crate) fn close(&self) {
        self.connection.close(0u32.into(), b"done");
    }
}

/// Time in which a peer has to send enough, and what it had sent before.
struct Window {
    end: Instant,
    /// Bytes of the transfer.
    received: u64,
    /// Bytes of all transfers from the peer.
    from_peer: u64,
}

/// Returns the round-trip time of a connection over the fastest of its paths.
fn round_trip(connection: &Connection) -> Option<Duration> {
    connection.paths().iter().map(|path| path.rtt()).min()
}

impl Swarm {
    /// Connects to a peer and has it prove that it has the blob and that the blob has at most
    /// `max_bytes`.
    pub(crate) async fn find_source(
        &self,
        hash: Hash,
        max_bytes: u64,
        peer: &Endpoint,
    ) -> Result<Source, DownloadError> {
        let source = Source { connection: self.connect(peer).await? };
        let latency = round_trip(&source.connection);
        self.peers().note_reached(peer.id, latency, Instant::now().into());
        let sized = async { get_verified_size(&source.connection, &hash.into()).await };
        let sized = timeout(self.0.limits.stall_timeout, sized).await;
        let sized = sized.map_err(|_| PeerFailure::Stalled);
        match sized.and_then(|sized| sized.map_err(PeerFailure::from)) {
            Ok((size, _)) if size <= max_bytes => match self.0.store.require_room(size) {
                Ok(()) => Ok(source),
                Err(full) => {
                    source.close();
                    Err(DownloadError::Fetch(full))
                }
            },
            Ok((size, _)) => {
                source.close();
                Err(DownloadError::Fetch(SwarmError::TooLarge { hash, size, limit: max_bytes }))
            }
            Err(failure) => {
                let error = source.explain(failure.into());
                source.close();
                Err(error)
            }
        }
    }

    pub(crate) async fn connect(&self, peer: &Endpoint) -> Result<Connection, PeerFailure> {
        let id = PublicKey::from_bytes(&peer.id)
            .map_err(|_| PeerFailure::Registration("a key that is not an Ed25519 public key"))?;
        if peer.addresses.is_empty() {
            return Err(PeerFailure::Registration("no address"));
        }
        let address = EndpointAddr::from_parts(
            id,
            peer.addresses.iter().map(|address| TransportAddr::Ip((*address).into())),
        );
        // The windows of the serving side are too small for blobs, and the peer must not send
        // requests over this connection.
        let config = QuicTransportConfig::builder()
            .max_concurrent_bidi_streams(0u32.into())
            .max_concurrent_uni_streams(0u32.into())
            .build();
        let options = ConnectOptions::new().with_transport_config(config);
        let connected = timeout(self.0.limits.connect_timeout, async {
            let connecting = self.0.socket.connect_with_opts(address, ALPN, options).await;
            let connecting =
                connecting.map_err(|error| PeerFailure::Connection(format!("{error:#}")))?;
            connecting.await.map_err(PeerFailure::from)
        });
        connected.await.map_err(|_| PeerFailure::Unreachable)?
    }

    /// Downloads the missing parts of a blob into the store, or all of a damaged one.
    ///
    /// Within each [`stall_timeout`](crate::limits::Limits) the peer has to send what a slow line
    /// does, over all transfers under way from it: several share its line. A peer that sends a byte
    /// now and then is therefore cut as a silent one is, and the slower of two that send the blob
    /// at the same time as well.
    pub(crate) async fn transfer(
        &self,
        source: &Source,
        hash: Hash,
        progress: &mut Progress<'_>,
    ) -> Result<(), DownloadError> {
        let limits = &self.0.limits;
        let blob = HashAndFormat::raw(hash.into());
        let store = self.0.store.get().await.map_err(DownloadError::Fetch)?;
        // The store takes a blob for complete, whatever became of its bytes since.
        let anew = self.is_damaged(&hash).then(MemStore::new);
        let target = anew.as_ref().map_or(&*store, |anew| &**anew);
        let items = target.remote().fetch(source.connection.clone(), blob).stream();
        tokio::pin!(items);
        let mut window = self.window(progress);
        loop {
            match timeout_at(window.end, items.next()).await {
                Ok(Some(GetProgressItem::Progress(received))) => {
                    self.note_progress(progress, received);
                    if progress.is_outpaced() {
                        return Err(PeerFailure::Outpaced.into());
                    }
                    let next = self.window(progress);
                    if next.from_peer.saturating_sub(window.from_peer) >= limits.bytes_per_window()
                    {
                        window = next;
                    }
                }
                Ok(Some(GetProgressItem::Done(stats))) => {
                    self.note_progress(progress, stats.payload_bytes_read);
                    let Some(anew) = &anew else { return Ok(()) };
                    let bytes = anew.get_bytes(hash).await;
                    let bytes = bytes.map_err(|error| PeerFailure::Broken(error.to_string()))?;
                    return self.mend(hash, bytes).await.map_err(DownloadError::Fetch);
                }
                Ok(Some(GetProgressItem::Error(error))) => return Err(self.attribute(error)),
                Ok(None) => return Err(PeerFailure::Broken("no result".into()).into()),
                Err(_) if progress.received() == window.received => {
                    return Err(PeerFailure::Stalled.into());
                }
                Err(_) => {
                    let next = self.window(progress);
                    if next.from_peer.saturating_sub(window.from_peer) < limits.bytes_per_window() {
                        return Err(PeerFailure::TooSlow.into());
                    }
                    window = next;
                }
            }
        }
    }

    /// Returns a window that begins now.
    fn window(&self, progress: &Progress<'_>) -> Window {
        Window {
            end: Instant::now() + self.0.limits.stall_timeout,
            received: progress.received(),
            from_peer: self.peers().received(&progress.peer()),
        }
    }

    /// Notes that `received` bytes have arrived in a transfer by now.
    fn note_progress(&self, progress: &mut Progress<'_>, received: u64) {
        let before = progress.received();
        progress.note(received);
        let more = progress.received().saturating_sub(before);
        self.peers().note_received(progress.peer(), more, Instant::now().into());
    }

    /// Attributes an error to the own disk or to the peer.
    fn attribute(&self, error: GetError) -> DownloadError {
        // A failed store breaks transfers off, and does not say why.
        if is_disk_full(&error) || !has_room(&self.0.directory) {
            self.0.store.suspect();
            return DownloadError::Fetch(SwarmError::DiskFull(self.0.directory.clone()));
        }
        PeerFailure::from(error).into()
    }
}
