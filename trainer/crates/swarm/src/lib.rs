//! Content-addressed blobs between peers.
//!
//! A blob is named by the BLAKE3 hash of its bytes, so whoever serves it cannot serve anything
//! else: every 16 KiB are verified as they arrive. Peers are found through the endpoints registered
//! on chain and by nothing else: no relay, no discovery service and no server of a third party is
//! ever contacted. Connections are QUIC, authenticated by the Ed25519 key of the registration.
//!
//! A peer serves every complete blob in its store to anyone who knows the hash. What it keeps is
//! decided by labels: a blob stays while a label holds it, and is collected some minutes after the
//! last one is released.
//!
//! ```no_run
//! # async fn example(peers: Vec<pol_primitives::peer::Endpoint>) -> pol_swarm::Result<()> {
//! use pol_swarm::{Swarm, SwarmConfig};
//!
//! let swarm = Swarm::start(SwarmConfig {
//!     directory: "state/swarm".into(),
//!     secret: [7; 32],
//!     bind: ([0, 0, 0, 0], 4000).into(),
//!     advertise: vec![([203, 0, 113, 7], 0).into()],
//! })
//! .await?;
//! let hash = swarm.add("an update".into(), "round/1").await?;
//! let bytes = swarm.fetch(hash, 1024, &peers, "round/1").await?;
//! swarm.release("round/1").await?;
//! swarm.shutdown().await
//! # }
//! ```
#![deny(missing_docs)]

mod download;
mod error;
mod limits;
mod serve;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures::{StreamExt, TryStreamExt};
use iroh::{
    SecretKey,
    endpoint::{QuicTransportConfig, presets},
};
use iroh_blobs::{
    ALPN, HashAndFormat,
    api::{
        TempTag,
        blobs::{BlobStatus, EncodedItem},
    },
    protocol::ChunkRanges,
    store::{
        GcConfig,
        fs::{FsStore, options::Options},
    },
};
use pol_primitives::{Hash, peer::Endpoint};
use tokio::{sync::Semaphore, task::JoinSet};
use tracing::debug;

pub use bytes::Bytes;
pub use error::{PeerFailure, PeerFailures, Result, SwarmError};

use download::Failed;
use error::{is_disk_full, is_io};
use limits::{
    Limits, REQUEST_WINDOW, REQUESTS_PER_CONNECTION, SEND_WINDOW, SPREAD, WRITES_AT_ONCE,
};

/// Where a peer keeps its blobs and how it is reached.
pub struct SwarmConfig {
    /// Folder of the store; created if missing. One process at a time.
    pub directory: PathBuf,
    /// Ed25519 seed of this peer; its public key is the id in [`Swarm::endpoint`].
    pub secret: [u8; 32],
    /// UDP address to listen on; port 0 takes any.
    pub bind: SocketAddr,
    /// Addresses to register, at most [`MAX_ADDRESSES`](pol_primitives::peer::MAX_ADDRESSES); port
    /// 0 stands for the port bound. Empty: the address bound, or for an unspecified one that of the
    /// interface towards the internet, or loopback where there is none.
    pub advertise: Vec<SocketAddr>,
}

/// A peer's blobs and its connection to others. Clones are handles to the same peer.
///
/// The store stays locked until [`Swarm::shutdown`] or the end of the process.
#[derive(Clone)]
pub struct Swarm(Arc<Peer>);

struct Peer {
    directory: PathBuf,
    endpoint: Endpoint,
    socket: iroh::Endpoint,
    store: FsStore,
    limits: Limits,
    /// The task answering others, which ends with the peer.
    serving: tokio::sync::Mutex<JoinSet<()>>,
    downloads: Semaphore,
    /// Counts fetches, to take turns among peers.
    turn: AtomicUsize,
    /// Peers that could not be connected to the last time.
    unreachable: Mutex<HashSet<[u8; 32]>>,
}

impl Swarm {
    /// Opens the store and starts serving it.
    ///
    /// # Errors
    ///
    /// [`SwarmError::PortInUse`], [`SwarmError::Bind`], [`SwarmError::DirectoryInUse`],
    /// [`SwarmError::Directory`], [`SwarmError::Corrupt`], [`SwarmError::DiskFull`],
    /// [`SwarmError::TooManyAddresses`].
    pub async fn start(config: SwarmConfig) -> Result<Self> {
        Self::start_with(config, Limits::default()).await
    }

    async fn start_with(config: SwarmConfig, limits: Limits) -> Result<Self> {
        let SwarmConfig { directory, secret, bind, advertise } = config;
        let socket = open_socket(&secret, bind).await?;
        let opened = match endpoint(&socket, bind, advertise) {
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
        Ok(Self(Arc::new(Peer {
            directory,
            // Peers that fetch the same blobs in the same order start at different places.
            turn: AtomicUsize::new(endpoint.id[0].into()),
            endpoint,
            socket,
            store,
            serving: serving.into(),
            downloads: Semaphore::new(limits.downloads),
            limits,
            unreachable: Mutex::default(),
        })))
    }

    /// Where others reach this peer: what to register on chain.
    pub fn endpoint(&self) -> Endpoint {
        self.0.endpoint.clone()
    }

    /// Stores a blob and keeps it under the label `keep`. It survives a crash of the process from
    /// here on.
    ///
    /// # Errors
    ///
    /// [`SwarmError::DiskFull`], [`SwarmError::Store`].
    pub async fn add(&self, bytes: Bytes, keep: &str) -> Result<Hash> {
        let hash = self.insert(bytes, keep).await?;
        self.commit().await?;
        Ok(hash)
    }

    /// Stores many blobs under one label, committing once. Hashes are in the order of `blobs`.
    ///
    /// # Errors
    ///
    /// Those of [`Swarm::add`]; blobs before the one that failed may have been stored.
    pub async fn add_all(&self, blobs: Vec<Bytes>, keep: &str) -> Result<Vec<Hash>> {
        let inserts = blobs.into_iter().map(|bytes| self.insert(bytes, keep));
        let hashes = futures::stream::iter(inserts).buffered(WRITES_AT_ONCE).try_collect().await?;
        self.commit().await?;
        Ok(hashes)
    }

    /// Whether the whole blob is in the store.
    ///
    /// # Errors
    ///
    /// [`SwarmError::Store`].
    pub async fn has(&self, hash: Hash) -> Result<bool> {
        Ok(self.size(hash).await?.is_some())
    }

    /// The blob from the store, if it is there, verified anew. Asks nobody.
    ///
    /// # Errors
    ///
    /// [`SwarmError::TooLarge`] for more than `max_bytes`, [`SwarmError::Damaged`],
    /// [`SwarmError::Store`].
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
                // Collected since its size was looked up.
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

    /// The blob from the store or else from `peers`, kept under the label `keep`.
    ///
    /// Peers are asked one after the other, likeliest holders expected first: the first few take
    /// turns, and those that could not be reached the last time come last. A peer that is dead,
    /// slow, or sends wrong bytes is left for the next one, which continues where it stopped. The
    /// size is proved before anything is downloaded. This peer's own entry is skipped.
    ///
    /// # Errors
    ///
    /// [`SwarmError::Unavailable`] with each peer's answer, [`SwarmError::TooLarge`] for more than
    /// `max_bytes`, and those of [`Swarm::get`] and [`Swarm::add`].
    pub async fn fetch(
        &self,
        hash: Hash,
        max_bytes: u64,
        peers: &[Endpoint],
        keep: &str,
    ) -> Result<Bytes> {
        if let Some(bytes) = self.take(hash, max_bytes, keep).await? {
            return Ok(bytes);
        }
        let _turn = self.0.downloads.acquire().await.map_err(|error| self.failed(error))?;
        // Against collection until it is complete and has its label.
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
                Ok(received) => match self.take(hash, max_bytes, keep).await? {
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
                Err(Failed::Peer(failure)) => failure,
                Err(Failed::Fetch(error)) => return Err(error),
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

    /// Gives up the label `keep` and those below it: `round/1` also releases `round/1/update`,
    /// never `round/10`. Blobs that no other label holds are collected within some minutes. Returns
    /// how many were released.
    ///
    /// # Errors
    ///
    /// [`SwarmError::Store`].
    pub async fn release(&self, keep: &str) -> Result<u64> {
        self.0
            .store
            .tags()
            .delete_prefix(format!("{keep}/"))
            .await
            .map_err(|error| self.failed(error))
    }

    /// Stops serving and closes the store. Other handles then only give errors; the port is free
    /// once they are dropped.
    ///
    /// # Errors
    ///
    /// [`SwarmError::Store`].
    pub async fn shutdown(self) -> Result<()> {
        self.0.downloads.close();
        self.0.socket.close().await;
        self.0.serving.lock().await.join_next().await;
        self.0.store.shutdown().await.map_err(|error| self.failed(error))
    }

    async fn insert(&self, bytes: Bytes, keep: &str) -> Result<Hash> {
        let pin: TempTag =
            self.0.store.add_bytes(bytes).temp_tag().await.map_err(|error| self.failed(error))?;
        let hash = pin.hash().into();
        self.label(hash, keep).await?;
        Ok(hash)
    }

    /// A blob of the store, now also under the label `keep`.
    async fn take(&self, hash: Hash, max_bytes: u64, keep: &str) -> Result<Option<Bytes>> {
        let bytes = self.get(hash, max_bytes).await?;
        if bytes.is_some() {
            self.label(hash, keep).await?;
        }
        Ok(bytes)
    }

    /// Lets the label hold the blob. One label holds many blobs, so each gets a tag of its own in
    /// the store.
    async fn label(&self, hash: Hash, keep: &str) -> Result<()> {
        let (tag, content) =
            (format!("{keep}/{}", hex::encode(hash)), HashAndFormat::raw(hash.into()));
        self.0.store.tags().set(tag, content).await.map_err(|error| self.failed(error))
    }

    /// Writes what was added to disk.
    async fn commit(&self) -> Result<()> {
        self.0.store.sync_db().await.map_err(|error| self.failed(error))
    }

    /// The size of a complete blob.
    async fn size(&self, hash: Hash) -> Result<Option<u64>> {
        match self.0.store.status(hash).await.map_err(|error| self.failed(error))? {
            BlobStatus::Complete { size } => Ok(Some(size)),
            BlobStatus::Partial { .. } | BlobStatus::NotFound => Ok(None),
        }
    }

    fn order<'a>(&self, peers: &'a [Endpoint]) -> Vec<&'a Endpoint> {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        order(peers, &self.0.endpoint.id, turn, &self.unreachable())
    }

    /// Notes whether a peer could be reached.
    fn remember(&self, peer: &Endpoint, reached: bool) {
        if reached {
            self.unreachable().remove(&peer.id);
        } else {
            self.unreachable().insert(peer.id);
        }
    }

    fn unreachable(&self) -> MutexGuard<'_, HashSet<[u8; 32]>> {
        self.0.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: impl Error + 'static) -> SwarmError {
        if is_disk_full(&error) {
            return SwarmError::DiskFull(self.0.directory.clone());
        }
        SwarmError::Store(format!("{error:#}"))
    }
}

/// In which order to ask: without ourselves, turns among the first few, the unreachable last.
fn order<'a>(
    peers: &'a [Endpoint],
    own: &[u8; 32],
    turn: usize,
    unreachable: &HashSet<[u8; 32]>,
) -> Vec<&'a Endpoint> {
    let mut order: Vec<_> = peers.iter().filter(|peer| peer.id != *own).collect();
    let spread = order.len().min(SPREAD);
    if let Some(start) = turn.checked_rem(spread) {
        order[..spread].rotate_left(start);
    }
    order.sort_by_key(|peer| unreachable.contains(&peer.id));
    order
}

/// A socket that contacts nobody by itself: without relays, discovery and port mapping.
async fn open_socket(secret: &[u8; 32], bind: SocketAddr) -> Result<iroh::Endpoint> {
    let refused = |reason| SwarmError::Bind { address: bind, reason };
    let config = QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(REQUESTS_PER_CONNECTION.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window(REQUEST_WINDOW.into())
        .receive_window(REQUEST_WINDOW.into())
        .send_window(SEND_WINDOW)
        .build();
    let builder = iroh::Endpoint::builder(presets::Minimal)
        .secret_key(SecretKey::from_bytes(secret))
        .alpns(vec![ALPN.to_vec()])
        .transport_config(config)
        .clear_ip_transports()
        .bind_addr(bind)
        .map_err(|error| refused(error.to_string()))?;
    builder.bind().await.map_err(|error| match is_io(&error, &[io::ErrorKind::AddrInUse]) {
        true => SwarmError::PortInUse(bind),
        false => refused(format!("{error:#}")),
    })
}

/// What to register: `advertise`, or what others can be expected to reach.
fn endpoint(
    socket: &iroh::Endpoint,
    bind: SocketAddr,
    advertise: Vec<SocketAddr>,
) -> Result<Endpoint> {
    let bound = socket.bound_sockets().first().copied().unwrap_or(bind);
    let mut addresses = if advertise.is_empty() {
        vec![SocketAddr::new(reachable(bound.ip()), 0)]
    } else {
        advertise
    };
    for address in addresses.iter_mut().filter(|address| address.port() == 0) {
        address.set_port(bound.port());
    }
    let count = addresses.len();
    let addresses: Vec<_> = addresses.into_iter().map(Into::into).collect();
    let addresses = addresses.try_into().map_err(|_| SwarmError::TooManyAddresses(count))?;
    Ok(Endpoint { id: *socket.id().as_bytes(), addresses })
}

/// The address that others see of a socket bound to `ip`.
fn reachable(ip: IpAddr) -> IpAddr {
    if !ip.is_unspecified() {
        return ip;
    }
    // Connecting a UDP socket sends nothing, it looks up the route. The addresses are reserved for
    // documentation.
    let (loopback, elsewhere): (IpAddr, IpAddr) = match ip {
        IpAddr::V4(_) => (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => {
            (Ipv6Addr::LOCALHOST.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into())
        }
    };
    let routed = UdpSocket::bind((ip, 0)).and_then(|socket| {
        socket.connect((elsewhere, 9))?;
        socket.local_addr()
    });
    routed.map_or(loopback, |address| address.ip())
}

async fn open_store(directory: &Path, limits: &Limits) -> Result<FsStore> {
    let full = || SwarmError::DiskFull(directory.into());
    tokio::fs::create_dir_all(directory).await.map_err(|source| match is_disk_full(&source) {
        true => full(),
        false => SwarmError::Directory { directory: directory.into(), source },
    })?;
    let mut options = Options::new(directory);
    options.gc = Some(GcConfig { interval: limits.collect, add_protected: None });
    FsStore::load_with_opts(directory.join("blobs.db"), options).await.map_err(|error| {
        let reason = format!("{error:#}");
        // The store's error for this is not public; its lock holds between processes too.
        if reason.contains("already open") {
            SwarmError::DirectoryInUse(directory.into())
        } else if error.downcast_ref::<io::Error>().is_some_and(|error| is_disk_full(error))
            || is_disk_full(&error)
        {
            full()
        } else {
            SwarmError::Corrupt { directory: directory.into(), reason }
        }
    })
}
