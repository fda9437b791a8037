// SPDX-License-Identifier: Apache-2.0

//! The peer and its operations.

use std::{
    collections::{BTreeSet, HashSet, VecDeque},
    error::Error,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{StreamExt, TryStreamExt};
use iroh_blobs::{
    HashAndFormat,
    api::{TempTag, blobs::BlobStatus},
};
use pol_metrics::FetchResult;
use pol_primitives::{Hash, member::Endpoint};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::{
    Bytes, PeerFailure, PeerFailures, Result, SwarmError,
    demand::Demand,
    endpoint::{endpoint_to_register, open_socket},
    error::is_disk_full,
    limits::{CONCURRENT_WRITES, Limits},
    peers::PeerMemory,
    serve::{MemberKeys, Server},
    store::{BlobStore, has_room},
    turns::Turns,
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
/// A store that could not write, such as on a full disk, is opened again at the next use. It stays
/// locked until [`Swarm::shutdown`] or the end of the process.
///
/// A handle fetches some blobs at a time, and its clones share these turns. Handles
/// [with turns of their own](Swarm::with_own_turns) do not wait for each other.
#[derive(Clone)]
pub struct Swarm(pub(crate) Arc<SwarmInner>, Arc<Turns>);

pub(crate) struct SwarmInner {
    pub(crate) directory: PathBuf,
    endpoint: Endpoint,
    pub(crate) socket: iroh::Endpoint,
    pub(crate) store: Arc<BlobStore>,
    pub(crate) limits: Limits,
    /// Task that serves others, which ends with the peer.
    serving: tokio::sync::Mutex<JoinSet<()>>,
    demand: Arc<Demand>,
    members: Arc<MemberKeys>,
    peers: Mutex<PeerMemory>,
    /// Blobs whose bytes in the store no longer have their hash. They count as missing until they
    /// were stored anew.
    damaged: Mutex<HashSet<Hash>>,
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
        pol_metrics::swarm();
        let SwarmConfig { directory, secret, bind, advertise } = config;
        let socket = open_socket(&secret, bind).await?;
        let opened = match endpoint_to_register(&socket, bind, advertise) {
            Ok(endpoint) => {
                BlobStore::open(&directory, &limits).await.map(|store| (endpoint, Arc::new(store)))
            }
            Err(error) => Err(error),
        };
        let (endpoint, store) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                socket.close().await;
                return Err(error);
            }
        };
        let (demand, members) = (Arc::<Demand>::default(), Arc::<MemberKeys>::default());
        let server = Server::new(store.clone(), demand.clone(), members.clone(), limits.clone());
        let mut serving = JoinSet::new();
        serving.spawn(server.serve(socket.clone()));
        debug!(id = hex::encode(endpoint.id), addresses = ?endpoint.addresses, "serving blobs");
        let turns = turns(&limits);
        let inner = SwarmInner {
            directory,
            endpoint,
            socket,
            store,
            serving: serving.into(),
            limits,
            demand,
            members,
            peers: Mutex::default(),
            damaged: Mutex::default(),
        };
        Ok(Self(Arc::new(inner), turns))
    }

    /// Returns a handle to the same peer whose downloads wait only for each other.
    pub fn with_own_turns(&self) -> Self {
        Self(self.0.clone(), turns(&self.0.limits))
    }

    /// Replaces the keys of the endpoints that members registered on chain. Most connections that
    /// this peer serves are reserved for them; until the first call, all peers are strangers.
    pub fn set_members(&self, keys: impl IntoIterator<Item = [u8; 32]>) {
        self.0.members.replace(keys.into_iter().collect());
    }

    /// Returns the endpoint at which others reach this peer, to be registered on chain.
    pub fn endpoint(&self) -> Endpoint {
        self.0.endpoint.clone()
    }

    /// Stores a blob under `label` and returns its hash. From then on it survives a crash of the
    /// process. A blob that is here already needs no room.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::DiskFull`], also if the blob would leave too little of the disk
    /// free, or [`SwarmError::Store`].
    pub async fn add(&self, bytes: Bytes, label: &str) -> Result<Hash> {
        let is_tight = self.require_room(std::slice::from_ref(&bytes)).await?;
        let hash = self.insert(bytes, label, is_tight).await?;
        self.commit().await?;
        Ok(hash)
    }

    /// Stores many blobs under one label, committing once. Returns their hashes in the order of
    /// `blobs`.
    ///
    /// # Errors
    ///
    /// Fails as [`Swarm::add`] does, and stores nothing if there is too little room for all blobs
    /// that are not here yet. After another error, some may have been stored.
    pub async fn add_all(&self, blobs: Vec<Bytes>, label: &str) -> Result<Vec<Hash>> {
        let is_tight = self.require_room(&blobs).await?;
        let inserts = blobs.into_iter().map(|bytes| self.insert(bytes, label, is_tight));
        let hashes =
            futures::stream::iter(inserts).buffered(CONCURRENT_WRITES).try_collect().await?;
        self.commit().await?;
        Ok(hashes)
    }

    /// Returns `true` if the whole blob is in the store, and was not found damaged.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Store`].
    pub async fn has(&self, hash: Hash) -> Result<bool> {
        Ok(self.size(hash).await?.is_some())
    }

    /// Returns the blob if it is in the store, verified anew. No peer is asked. A blob that is
    /// damaged counts as missing from then on, so that it is fetched again.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::TooLarge`] if the blob has more than `max_bytes`, and with
    /// [`SwarmError::Store`].
    pub async fn get(&self, hash: Hash, max_bytes: u64) -> Result<Option<Bytes>> {
        let Some(mut reader) = self.open(hash, max_bytes).await? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size()).unwrap_or_default());
        loop {
            match reader.piece().await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => return Ok(Some(bytes.into())),
                // The reader said why.
                Err(_) => return Ok(None),
            }
        }
    }

    /// Returns the blob from the store, or else fetches it from `peers` until `deadline`, and keeps
    /// it under `label`.
    ///
    /// # Errors
    ///
    /// Fails as [`Swarm::hold`] and [`Swarm::get`] do.
    pub async fn fetch(
        &self,
        hash: Hash,
        max_bytes: u64,
        peers: &[Endpoint],
        label: &str,
        deadline: Instant,
    ) -> Result<Bytes> {
        // A blob that turns out to be damaged is fetched once more.
        for _ in 0..2 {
            self.hold(hash, max_bytes, peers, label, deadline).await?;
            if let Some(bytes) = self.get(hash, max_bytes).await? {
                return Ok(bytes);
            }
        }
        Err(removed(hash))
    }

    /// Makes sure that the whole blob is in the store under `label`: fetches what is missing from
    /// `peers` until `deadline`. A blob that is complete is not read.
    ///
    /// Peers are asked in the given order, but those that failed lately come last, and this peer's
    /// own entry is skipped. The next one is asked as soon as those before it make no progress, so
    /// peers that are dead, silent, slow or lying cost little. The size is proved before anything
    /// is downloaded. Parts that arrived stay under `label`, and the next call goes on from them.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Unavailable`] if no peer delivers, with [`SwarmError::NoTurn`] if
    /// the handle's other downloads took all the time, with [`SwarmError::TooLarge`] if
    /// the blob has more than `max_bytes`, and with [`SwarmError::DiskFull`] or
    /// [`SwarmError::Store`]. A full disk is no error for a blob that is here under `label`.
    pub async fn hold(
        &self,
        hash: Hash,
        max_bytes: u64,
        peers: &[Endpoint],
        label: &str,
        deadline: Instant,
    ) -> Result<()> {
        // From here on the blob cannot be collected before it has its label.
        let store = self.0.store.get().await?;
        let _pin = store
            .tags()
            .temp_tag(HashAndFormat::raw(hash.into()))
            .await
            .map_err(|error| self.failed(error))?;
        if self.size(hash).await?.is_none() {
            let started = Instant::now();
            let found = self.search(hash, max_bytes, peers, deadline).await;
            note_search(started, &found);
            if let Err(error) = found {
                let status = store.status(hash).await;
                if matches!(status, Ok(BlobStatus::Partial { .. })) {
                    self.attach_label(hash, label).await?;
                }
                return Err(error);
            }
        }
        match self.size(hash).await? {
            Some(size) if size > max_bytes => {
                Err(SwarmError::TooLarge { hash, size, limit: max_bytes })
            }
            Some(_) => self.attach_label(hash, label).await,
            None => Err(removed(hash)),
        }
    }

    /// Returns `true` if a connection to a peer outside `except` was made at or after `since`.
    pub fn has_reached(&self, since: Instant, except: &[[u8; 32]]) -> bool {
        self.peers().reached_since(since, except)
    }

    /// Returns the round-trip time of the last connection that was made to a peer with this key
    /// within an hour.
    pub fn latency(&self, peer: &[u8; 32]) -> Option<Duration> {
        self.peers().latency(peer, Instant::now())
    }

    /// Returns `true` if the peer of this endpoint answers at it, as its key proves. A peer does
    /// not answer itself.
    pub async fn answers(&self, peer: &Endpoint) -> bool {
        match self.connect(peer).await {
            Ok(connection) => {
                connection.close(0u32.into(), b"done");
                true
            }
            Err(failure) => {
                debug!(id = hex::encode(peer.id), %failure, "no answer");
                false
            }
        }
    }

    /// Returns `true` if a peer asked for a blob under `label`, or received a part of it, at or
    /// after `since`.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Store`].
    pub async fn is_wanted(&self, label: &str, since: Instant) -> Result<bool> {
        let tags = self.0.store.get().await?.tags().list_prefix(format!("{label}/")).await;
        let mut tags = std::pin::pin!(tags.map_err(|error| self.failed(error))?);
        while let Some(tag) = tags.next().await {
            let hash = tag.map_err(|error| self.store_failed(format!("{error:#}")))?.hash;
            if self.0.demand.is_since(hash.as_bytes(), since) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the names of the labels directly below `label` that hold blobs: `2` and `10` below
    /// `payload` if there are blobs under `payload/2` and under `payload/10/late`.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Store`].
    pub async fn labels_below(&self, label: &str) -> Result<BTreeSet<String>> {
        let prefix = format!("{label}/");
        let tags = self.0.store.get().await?.tags().list_prefix(&prefix).await;
        let mut tags = std::pin::pin!(tags.map_err(|error| self.failed(error))?);
        let mut labels = BTreeSet::new();
        while let Some(tag) = tags.next().await {
            let name = tag.map_err(|error| self.store_failed(format!("{error:#}")))?.name;
            let name = String::from_utf8_lossy(name.0.as_ref()).into_owned();
            // The last part of a tag is the blob's hash.
            let below = name.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
            labels.extend(below.map(|(label, _)| label.to_owned()));
        }
        Ok(labels)
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
        self.0.store.require_change()?;
        let store = self.0.store.get().await?;
        store.tags().delete_prefix(format!("{label}/")).await.map_err(|error| self.failed(error))
    }

    /// Stops serving and closes the store. Other handles then return only errors; the port is free
    /// once they are dropped.
    ///
    /// # Errors
    ///
    /// Fails with [`SwarmError::Store`].
    pub async fn shutdown(self) -> Result<()> {
        self.0.socket.close().await;
        self.0.serving.lock().await.join_next().await;
        self.0.store.shutdown().await.map_err(|error| self.failed(error))
    }

    /// Checks that those of `blobs` that are not here leave enough of the disk free. Returns `true`
    /// if writing the others anew, as a repair of damage that nobody noticed, would not.
    async fn require_room(&self, blobs: &[Bytes]) -> Result<bool> {
        let all: usize = blobs.iter().map(Bytes::len).sum();
        if self.0.store.require_room(all as u64).is_ok() {
            return Ok(false);
        }
        let hashed = |bytes: &Bytes| (iroh_blobs::Hash::new(bytes).into(), bytes.len() as u64);
        let blobs: Vec<(Hash, u64)> = blobs.iter().map(hashed).collect();
        self.require_space(&blobs).await
    }

    /// Checks as [`Self::require_room`] does, given hashes and sizes of blobs.
    pub(crate) async fn require_space(&self, blobs: &[(Hash, u64)]) -> Result<bool> {
        let all: u64 = blobs.iter().map(|(_, bytes)| bytes).sum();
        if self.0.store.require_room(all).is_ok() {
            return Ok(false);
        }
        let mut missing = 0;
        for (hash, bytes) in blobs {
            if self.size(*hash).await?.is_none() {
                missing += bytes;
            }
        }
        if missing > 0 {
            self.0.store.require_room(missing)?;
        }
        Ok(true)
    }

    /// Attaches a label to a blob that is here. Returns `false` if it is not.
    pub(crate) async fn relabel(&self, hash: Hash, label: &str) -> Result<bool> {
        let store = self.0.store.get().await?;
        // From here on the blob cannot be collected before it has its label.
        let pin = store.tags().temp_tag(HashAndFormat::raw(hash.into())).await;
        let _pin = pin.map_err(|error| self.failed(error))?;
        if self.size(hash).await?.is_none() {
            return Ok(false);
        }
        self.attach_label(hash, label).await?;
        Ok(true)
    }

    /// Stores a blob under a label. If space `is_tight`, one that is here is not written anew.
    async fn insert(&self, bytes: Bytes, label: &str, is_tight: bool) -> Result<Hash> {
        if is_tight {
            let hash: Hash = iroh_blobs::Hash::new(&bytes).into();
            if self.relabel(hash, label).await? {
                return Ok(hash);
            }
        }
        let store = self.0.store.get().await?;
        let pin: TempTag =
            store.add_bytes(bytes).temp_tag().await.map_err(|error| self.failed(error))?;
        let hash = pin.hash().into();
        self.damaged().remove(&hash);
        self.attach_label(hash, label).await?;
        Ok(hash)
    }

    /// Attaches a label to the blob. One label holds many blobs, so each gets a tag of its own in
    /// the store. A label that is there already is not written, so that a full disk keeps nobody
    /// from what is here.
    pub(crate) async fn attach_label(&self, hash: Hash, label: &str) -> Result<()> {
        let (tag, content) =
            (format!("{label}/{}", hex::encode(hash)), HashAndFormat::raw(hash.into()));
        let store = self.0.store.get().await?;
        let attached = store.tags().get(&tag).await.map_err(|error| self.failed(error))?;
        if attached.is_some_and(|attached| attached.hash_and_format() == content) {
            return Ok(());
        }
        self.0.store.require_change()?;
        store.tags().set(tag, content).await.map_err(|error| self.failed(error))
    }

    /// Commits added blobs to disk.
    pub(crate) async fn commit(&self) -> Result<()> {
        self.0.store.get().await?.sync_db().await.map_err(|error| self.failed(error))
    }

    /// Replaces a damaged blob.
    pub(crate) async fn mend(&self, hash: Hash, bytes: Bytes) -> Result<()> {
        let store = self.0.store.get().await?;
        let _pin = store.add_bytes(bytes).temp_tag().await.map_err(|error| self.failed(error))?;
        self.commit().await?;
        self.damaged().remove(&hash);
        Ok(())
    }

    /// Returns `true` if the blob was found damaged and not stored anew since.
    pub(crate) fn is_damaged(&self, hash: &Hash) -> bool {
        self.damaged().contains(hash)
    }

    pub(crate) fn damaged(&self) -> MutexGuard<'_, HashSet<Hash>> {
        self.0.damaged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn note_damage(&self, hash: Hash, reason: &str) {
        if self.damaged().insert(hash) {
            warn!(
                "blob {} is damaged in {} ({reason}); check the disk. The blob is not served, and \
                 is fetched again when it is needed",
                hex::encode(hash),
                self.0.directory.display()
            );
        }
    }

    /// Returns the size of a blob, or `None` unless it is complete and not known to be damaged.
    pub(crate) async fn size(&self, hash: Hash) -> Result<Option<u64>> {
        if self.is_damaged(&hash) {
            return Ok(None);
        }
        let store = self.0.store.get().await?;
        match store.status(hash).await.map_err(|error| self.failed(error))? {
            BlobStatus::Complete { size } => Ok(Some(size)),
            BlobStatus::Partial { .. } | BlobStatus::NotFound => Ok(None),
        }
    }

    /// Returns the peers in the order to ask them.
    pub(crate) fn order(&self, peers: &[Endpoint]) -> VecDeque<Endpoint> {
        let order = self.peers();
        order.order(peers, &self.0.endpoint.id, Instant::now()).into_iter().cloned().collect()
    }

    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.1
    }

    /// Notes that a peer refused this one for lack of a free slot. Returns its failure: it has
    /// reserved slots for members, so that it is at fault if it refuses one all the time.
    pub(crate) fn note_refusal(&self, peer: [u8; 32]) -> PeerFailure {
        let (limit, now) = (self.0.limits.refusal_time, Instant::now());
        let lasting = self.peers().note_refusal(peer, limit, now) >= limit;
        if lasting && self.0.members.contains(&self.0.endpoint.id) {
            PeerFailure::Refuses
        } else {
            PeerFailure::Full
        }
    }

    pub(crate) fn peers(&self) -> MutexGuard<'_, PeerMemory> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn failed(&self, error: impl Error + 'static) -> SwarmError {
        self.0.store.suspect();
        if is_disk_full(&error) {
            return SwarmError::DiskFull(self.0.directory.clone());
        }
        self.store_failed(format!("{error:#}"))
    }

    /// Returns the error of a store that failed for this reason, or since the disk is full: a store
    /// that could not write stops, and does not say why.
    fn store_failed(&self, reason: String) -> SwarmError {
        self.0.store.suspect();
        let directory = &self.0.directory;
        if has_room(directory) {
            SwarmError::Store(reason)
        } else {
            SwarmError::DiskFull(directory.clone())
        }
    }
}

/// Returns the turns of a handle.
fn turns(limits: &Limits) -> Arc<Turns> {
    Turns::new(limits.max_downloads, limits.max_downloads_per_owner)
}

/// Records the search for a blob.
fn note_search(started: Instant, found: &Result<()>) {
    let metrics = pol_metrics::swarm();
    metrics.fetch_duration_seconds.observe_since(started);
    metrics.fetches_total.count(match found {
        Ok(()) => FetchResult::Delivered,
        Err(SwarmError::Unavailable { .. }) => FetchResult::Unavailable,
        Err(SwarmError::NoTurn { .. }) => FetchResult::NoTurn,
        Err(_) => FetchResult::Failed,
    });
}

/// Returns the error for a blob that lost its last label while it was fetched.
fn removed(hash: Hash) -> SwarmError {
    SwarmError::Unavailable { hash, received: 0, failures: PeerFailures::default() }
}
