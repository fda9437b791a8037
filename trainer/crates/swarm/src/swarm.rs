// SPDX-License-Identifier: Apache-2.0

//! The peer and its operations.

use std::{
    collections::HashSet,
    error::Error,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt};
use iroh_blobs::{
    HashAndFormat,
    api::{
        TempTag,
        blobs::{BlobStatus, EncodedItem},
    },
    protocol::ChunkRanges,
    store::fs::FsStore,
};
use pol_primitives::{Hash, member::Endpoint};
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::debug;

use crate::{
    Bytes, PeerFailure, PeerFailures, Result, SwarmError,
    download::DownloadError,
    endpoint::{endpoint_to_register, open_socket},
    error::{is_disk_full, is_io},
    limits::{CONCURRENT_WRITES, Limits, ROTATED_PEERS},
    serve,
    store::open_store,
};

/// Configuration of a peer.
pub struct SwarmConfig {
    /// Folder of the store, for one process at a time; created if missing.
    pub directory: PathBuf,
    /// Ed25519 seed of the peer; the public key is the id in [`Swarm::endpoint`].
    pub secret: [u8; 32],
    /// UDP address to listen on; port 0 takes any.
    pub bind: SocketAddr,
    /// Addresses to register, at most [`MAX_ADDRESSES`](pol_primitives::member::MAX_ADDRESSES);
    /// port 0 stands for the bound port. If empty, the bound address is registered; if that is
    /// unspecified, the address of the interface towards the internet, or loopback without one.
    pub advertise: Vec<SocketAddr>,
}

/// A peer: its store of blobs and its connections to other peers. Clones are handles to the same
/// peer.
///
/// The store stays locked until [`Swarm::shutdown`] or the end of the process.
#[derive(Clone)]
pub struct Swarm(pub(crate) Arc<SwarmInner>);

pub(crate) struct SwarmInner {
    pub(crate) directory: PathBuf,
    endpoint: Endpoint,
    pub(crate) socket: iroh::Endpoint,
    pub(crate) store: FsStore,
    pub(crate) limits: Limits,
    /// Task that serves others, which ends with the peer.
    serving: tokio::sync::Mutex<JoinSet<()>>,
    downloads: Semaphore,
    /// Number of fetches, by which peers take turns in being asked first.
    fetches: AtomicUsize,
    /// Peers whose last connection failed.
    unreachable: Mutex<HashSet<[u8; 32]>>,
}

impl Swarm {
    /// Opens the store and starts serving it.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::PortInUse`], [`SwarmError::Bind`], [`SwarmError::DirectoryInUse`],
    /// [`SwarmError::Directory`], [`SwarmError::Corrupt`], [`SwarmError::DiskFull`] or
    /// [`SwarmError::TooManyAddresses`].
    pub async fn start(config: SwarmConfig) -> Result<Self> {
        Self::start_with(config, Limits::default()).await
    }

    pub(crate) async fn start_with(config: SwarmConfig, limits: Limits) -> Result<Self> {
        let SwarmConfig { directory, secret, bind, advertise } = config;
        let socket = open_socket(&secret, bind).await?;
        let opened = match endpoint_to_register(&socket, bind, advertise) {
            Ok(endpoint) => open_store(&directory, &limits).await.map(|store| (endpoint, store)),
            Err(error) => Err(error),
        };
        let (endpoint, store) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                socket.close().await;
                return Err(error);
            }
        };
        let mut serving = JoinSet::new();
        serving.spawn(serve::serve(socket.clone(), store.clone().into(), limits.clone()));
        debug!(id = hex::encode(endpoint.id), addresses = ?endpoint.addresses, "serving blobs");
        Ok(Self(Arc::new(SwarmInner {
            directory,
            // Peers that fetch the same blobs in the same order start at different places.
            fetches: AtomicUsize::new(endpoint.id[0].into()),
            endpoint,
            socket,
            store,
            serving: serving.into(),
            downloads: Semaphore::new(limits.max_downloads),
            limits,
            unreachable: Mutex::default(),
        })))
    }

    /// Returns the endpoint at which others reach this peer, to be registered on chain.
    pub fn endpoint(&self) -> Endpoint {
        self.0.endpoint.clone()
    }

    /// Stores a blob under `label` and returns its hash. From then on it survives a crash of the
    /// process.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::DiskFull`] or [`SwarmError::Store`].
    pub async fn add(&self, bytes: Bytes, label: &str) -> Result<Hash> {
        let hash = self.insert(bytes, label).await?;
        self.commit().await?;
        Ok(hash)
    }

    /// Stores many blobs under one label, committing once. Returns their hashes in the order of
    /// `blobs`.
    ///
    /// # Errors
    ///
    /// Fails as [`Swarm::add`] does; blobs before the one that failed may have been stored.
    pub async fn add_all(&self, blobs: Vec<Bytes>, label: &str) -> Result<Vec<Hash>> {
        let inserts = blobs.into_iter().map(|bytes| self.insert(bytes, label));
        let hashes =
            futures::stream::iter(inserts).buffered(CONCURRENT_WRITES).try_collect().await?;
        self.commit().await?;
        Ok(hashes)
    }

    /// Returns `true` if the whole blob is in the store.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Store`].
    pub async fn has(&self, hash: Hash) -> Result<bool> {
        Ok(self.size(hash).await?.is_some())
    }

    /// Returns the blob if it is in the store, verified anew. No peer is asked.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::TooLarge`] if the blob has more than `max_bytes`, and with
    /// [`SwarmError::Damaged`] or [`SwarmError::Store`].
    pub async fn get(&self, hash: Hash, max_bytes: u64) -> Result<Option<Bytes>> {
        let Some(size) = self.size(hash).await? else { return Ok(None) };
        if size > max_bytes {
            return Err(SwarmError::TooLarge { hash, size, limit: max_bytes });
        }
        let damaged =
            |reason| SwarmError::Damaged { hash, directory: self.0.directory.clone(), reason };
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        let mut items = std::pin::pin!(self.0.store.export_bao(hash, ChunkRanges::all()).stream());
        while let Some(item) = items.next().await {
            match item {
                EncodedItem::Leaf(leaf) => bytes.extend_from_slice(&leaf.data),
                // The blob was collected since its size was looked up.
                EncodedItem::Error(error) if is_io(&error, &[io::ErrorKind::NotFound]) => {
                    return Ok(None);
                }
                EncodedItem::Error(error) => return Err(damaged(error.to_string())),
                EncodedItem::Size(_) | EncodedItem::Parent(_) | EncodedItem::Done => {}
            }
        }
        if bytes.len() as u64 != size {
            return Err(damaged(format!("{} of {size} bytes are readable", bytes.len())));
        }
        Ok(Some(bytes.into()))
    }

    /// Returns the blob from the store, or else fetches it from `peers`; it is kept under `label`.
    ///
    /// Peers are asked one after the other and should be in the order of likelihood: the first few
    /// take turns, and peers whose last connection failed come last. If a peer is dead, slow, or
    /// sends wrong bytes, the next one continues where it stopped. The size is proved before
    /// anything is downloaded. This peer's own entry is skipped.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Unavailable`] if no peer delivers, with [`SwarmError::TooLarge`] if
    /// the blob has more than `max_bytes`, and as [`Swarm::get`] and [`Swarm::add`] do.
    pub async fn fetch(
        &self,
        hash: Hash,
        max_bytes: u64,
        peers: &[Endpoint],
        label: &str,
    ) -> Result<Bytes> {
        if let Some(bytes) = self.get_labelled(hash, max_bytes, label).await? {
            return Ok(bytes);
        }
        let _turn = self.0.downloads.acquire().await.map_err(|error| self.failed(error))?;
        // Protects the blob from collection until it is complete and has its label.
        let _pin = self
            .0
            .store
            .tags()
            .temp_tag(HashAndFormat::raw(hash.into()))
            .await
            .map_err(|error| self.failed(error))?;
        let mut failures = PeerFailures::default();
        for peer in self.order(peers) {
            let failure = match self.download(hash, max_bytes, peer).await {
                Ok(received) => match self.get_labelled(hash, max_bytes, label).await? {
                    Some(bytes) => {
                        debug!(
                            hash = hex::encode(hash),
                            peer = hex::encode(peer.id),
                            size = bytes.len(),
                            received,
                            "fetched"
                        );
                        return Ok(bytes);
                    }
                    None => PeerFailure::Broken("parts are missing".into()),
                },
                Err(DownloadError::Peer(failure)) => failure,
                Err(DownloadError::Fetch(error)) => return Err(error),
            };
            debug!(
                hash = hex::encode(hash),
                peer = hex::encode(peer.id),
                "not fetched: the peer {failure}"
            );
            failures.0.push((peer.id, failure));
        }
        Err(SwarmError::Unavailable { hash, failures })
    }

    /// Releases a label and the labels below it: `round/1` also releases `round/1/update`, but not
    /// `round/10`. Returns the number of blobs released.
    ///
    /// Blobs that no other label holds are collected within some minutes.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Store`].
    pub async fn release(&self, label: &str) -> Result<u64> {
        self.0
            .store
            .tags()
            .delete_prefix(format!("{label}/"))
            .await
            .map_err(|error| self.failed(error))
    }

    /// Stops serving and closes the store. Other handles then return only errors; the port is free
    /// once they are dropped.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Store`].
    pub async fn shutdown(self) -> Result<()> {
        self.0.downloads.close();
        self.0.socket.close().await;
        self.0.serving.lock().await.join_next().await;
        self.0.store.shutdown().await.map_err(|error| self.failed(error))
    }

    async fn insert(&self, bytes: Bytes, label: &str) -> Result<Hash> {
        let pin: TempTag =
            self.0.store.add_bytes(bytes).temp_tag().await.map_err(|error| self.failed(error))?;
        let hash = pin.hash().into();
        self.attach_label(hash, label).await?;
        Ok(hash)
    }

    /// Returns a blob of the store, now also under `label`.
    async fn get_labelled(&self, hash: Hash, max_bytes: u64, label: &str) -> Result<Option<Bytes>> {
        let bytes = self.get(hash, max_bytes).await?;
        if bytes.is_some() {
            self.attach_label(hash, label).await?;
        }
        Ok(bytes)
    }

    /// Attaches a label to the blob. One label holds many blobs, so each gets a tag of its own in
    /// the store.
    async fn attach_label(&self, hash: Hash, label: &str) -> Result<()> {
        let (tag, content) =
            (format!("{label}/{}", hex::encode(hash)), HashAndFormat::raw(hash.into()));
        self.0.store.tags().set(tag, content).await.map_err(|error| self.failed(error))
    }

    /// Commits added blobs to disk.
    async fn commit(&self) -> Result<()> {
        self.0.store.sync_db().await.map_err(|error| self.failed(error))
    }

    /// Returns the size of a blob, or `None` unless it is complete.
    async fn size(&self, hash: Hash) -> Result<Option<u64>> {
        match self.0.store.status(hash).await.map_err(|error| self.failed(error))? {
            BlobStatus::Complete { size } => Ok(Some(size)),
            BlobStatus::Partial { .. } | BlobStatus::NotFound => Ok(None),
        }
    }

    fn order<'a>(&self, peers: &'a [Endpoint]) -> Vec<&'a Endpoint> {
        let turn = self.0.fetches.fetch_add(1, Ordering::Relaxed);
        order_peers(peers, &self.0.endpoint.id, turn, &self.unreachable())
    }

    /// Records the outcome of a connection to a peer.
    pub(crate) fn record_reachability(&self, peer: &Endpoint, reached: bool) {
        if reached {
            self.unreachable().remove(&peer.id);
        } else {
            self.unreachable().insert(peer.id);
        }
    }

    pub(crate) fn unreachable(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: impl Error + 'static) -> SwarmError {
        if is_disk_full(&error) {
            return SwarmError::DiskFull(self.0.directory.clone());
        }
        SwarmError::Store(format!("{error:#}"))
    }
}

/// Returns the peers in the order to ask them: without this peer, the first few in turn, and the
/// unreachable last.
pub(crate) fn order_peers<'a>(
    peers: &'a [Endpoint],
    own: &[u8; 32],
    turn: usize,
    unreachable: &HashSet<[u8; 32]>,
) -> Vec<&'a Endpoint> {
    let mut order: Vec<_> = peers.iter().filter(|peer| peer.id != *own).collect();
    let spread = order.len().min(ROTATED_PEERS);
    if let Some(start) = turn.checked_rem(spread) {
        order[..spread].rotate_left(start);
    }
    order.sort_by_key(|peer| unreachable.contains(&peer.id));
    order
}
