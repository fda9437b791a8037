// SPDX-License-Identifier: Apache-2.0

//! Fetching side: one blob from one peer.

use futures::StreamExt;
use iroh::{
    EndpointAddr, PublicKey, TransportAddr,
    endpoint::{ConnectOptions, Connection, QuicTransportConfig},
};
use iroh_blobs::{
    ALPN, HashAndFormat,
    api::remote::GetProgressItem,
    get::{GetError, request::get_verified_size},
};
use pol_primitives::{Hash, member::Endpoint};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    Swarm, SwarmError,
    error::{PeerFailure, is_disk_full},
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

impl Swarm {
    /// Downloads the missing parts of a blob into the store. Returns the number of bytes received.
    pub(crate) async fn download(
        &self,
        hash: Hash,
        max_bytes: u64,
        peer: &Endpoint,
    ) -> Result<u64, DownloadError> {
        let connection = self.connect(peer).await;
        self.record_reachability(peer, connection.is_ok());
        let connection = connection?;
        let received = self.transfer(&connection, hash, max_bytes).await;
        connection.close(0u32.into(), b"done");
        received
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
            let connecting = self
                .0
                .socket
                .connect_with_opts(address, ALPN, options)
                .await
                .map_err(|error| format!("{error:#}"))?;
            connecting.await.map_err(|error| format!("{error:#}"))
        });
        connected.await.map_err(|_| PeerFailure::Unreachable)?.map_err(PeerFailure::Connection)
    }

    async fn transfer(
        &self,
        connection: &Connection,
        hash: Hash,
        max_bytes: u64,
    ) -> Result<u64, DownloadError> {
        let limits = &self.0.limits;
        let verified =
            timeout(limits.stall_timeout, get_verified_size(connection, &hash.into())).await;
        let (size, _) = verified.map_err(|_| PeerFailure::Stalled)?.map_err(PeerFailure::from)?;
        if size > max_bytes {
            return Err(DownloadError::Fetch(SwarmError::TooLarge {
                hash,
                size,
                limit: max_bytes,
            }));
        }
        let deadline = Instant::now() + limits.transfer_timeout(size);
        let progress = self
            .0
            .store
            .remote()
            .fetch(connection.clone(), HashAndFormat::raw(hash.into()))
            .stream();
        tokio::pin!(progress);
        loop {
            let stalled = Instant::now() + limits.stall_timeout;
            match timeout_at(stalled.min(deadline), progress.next()).await {
                Ok(Some(GetProgressItem::Progress(_))) => {}
                Ok(Some(GetProgressItem::Done(stats))) => return Ok(stats.payload_bytes_read),
                Ok(Some(GetProgressItem::Error(error))) => return Err(self.attribute(error)),
                Ok(None) => return Err(PeerFailure::Broken("no result".into()).into()),
                Err(_) if stalled < deadline => return Err(PeerFailure::Stalled.into()),
                Err(_) => return Err(PeerFailure::TooSlow.into()),
            }
        }
    }

    /// Attributes an error to the own disk or to the peer.
    fn attribute(&self, error: GetError) -> DownloadError {
        if is_disk_full(&error) {
            return DownloadError::Fetch(SwarmError::DiskFull(self.0.directory.clone()));
        }
        PeerFailure::from(error).into()
    }
}
