//! What can go wrong, and what to do about it.

use std::{
    error::Error,
    fmt::{self, Display},
    io,
    net::SocketAddr,
    path::PathBuf,
};

use iroh_blobs::get::{
    GetError,
    fsm::{AtBlobHeaderNextError, DecodeError},
};
use pol_primitives::{Hash, peer::MAX_ADDRESSES};

/// A result of this crate.
pub type Result<T, E = SwarmError> = std::result::Result<T, E>;

/// Why the swarm could not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// More addresses than an endpoint on chain can hold.
    #[error("{0} addresses are advertised and {MAX_ADDRESSES} can be registered; name fewer")]
    TooManyAddresses(usize),
    /// The UDP port is taken.
    #[error("another process uses UDP port {0}; stop it or choose another port (0 for any)")]
    PortInUse(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on UDP address {address}: {reason}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// Another process, or a [`Swarm`](crate::Swarm) of this one that was not shut down, has the
    /// store open.
    #[error("another process uses {}; stop it or choose another directory", .0.display())]
    DirectoryInUse(PathBuf),
    /// The directory cannot be made.
    #[error("cannot create {}: {source}", directory.display())]
    Directory {
        /// The directory of the store.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The store cannot be read.
    #[error(
        "the store in {} cannot be opened ({reason}); if it is damaged, move it away: what other peers hold is fetched again",
        directory.display()
    )]
    Corrupt {
        /// The directory of the store.
        directory: PathBuf,
        /// What the store said.
        reason: String,
    },
    /// No room for another blob.
    #[error("the disk with {} is full; make room", .0.display())]
    DiskFull(PathBuf),
    /// A blob in the store no longer has its hash.
    #[error(
        "blob {} is damaged in {} ({reason}); check the disk, stop, and move the store away: it is fetched again",
        hex::encode(hash),
        directory.display()
    )]
    Damaged {
        /// The blob.
        hash: Hash,
        /// The directory of the store.
        directory: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The store failed otherwise; after a shutdown, always.
    #[error("the store of blobs failed: {0}")]
    Store(String),
    /// The blob exists and is larger than the caller takes.
    #[error("blob {} has {size} bytes and at most {limit} are taken", hex::encode(hash))]
    TooLarge {
        /// The blob.
        hash: Hash,
        /// Its size in bytes, proved by its hash.
        size: u64,
        /// The most bytes the caller takes.
        limit: u64,
    },
    /// No peer delivered the blob.
    #[error("blob {} is not here, and no peer delivered it: {failures}", hex::encode(hash))]
    Unavailable {
        /// The blob.
        hash: Hash,
        /// What each peer answered, in the order they were asked.
        failures: PeerFailures,
    },
}

/// What each peer answered, by its public key.
#[derive(Debug, Default)]
pub struct PeerFailures(pub Vec<([u8; 32], PeerFailure)>);

impl Display for PeerFailures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("none is registered");
        }
        for (index, (id, failure)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}peer {} {failure}", hex::encode(id))?;
        }
        Ok(())
    }
}

/// Why one peer did not deliver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFailure {
    /// What it registered cannot be connected to.
    #[error("registered {0}")]
    Registration(&'static str),
    /// Nobody with its key answered in time.
    #[error("does not answer at its addresses")]
    Unreachable,
    /// It, or something on the way, refused the connection.
    #[error("cannot be connected to: {0}")]
    Connection(String),
    /// It answered that it has no such blob.
    #[error("does not have it")]
    NotServed,
    /// It connected and then sent nothing.
    #[error("stopped answering")]
    Stalled,
    /// It sent, but not fast enough.
    #[error("is too slow")]
    TooSlow,
    /// What it sent does not have the hash asked for.
    #[error("sent other bytes than its hash says")]
    WrongBytes,
    /// The transfer ended early.
    #[error("broke off: {0}")]
    Broken(String),
}

impl From<GetError> for PeerFailure {
    fn from(error: GetError) -> Self {
        match error {
            GetError::AtBlobHeaderNext {
                source: AtBlobHeaderNextError::NotFound { .. }, ..
            } => Self::NotServed,
            GetError::Decode {
                source:
                    DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. },
                ..
            } => Self::WrongBytes,
            other => Self::Broken(format!("{other:#}")),
        }
    }
}

/// Whether `error` or anything it was caused by is an input or output error of one of `kinds`.
pub(crate) fn is_io(error: &(dyn Error + 'static), kinds: &[io::ErrorKind]) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        next = match error.downcast_ref::<io::Error>() {
            Some(io) if kinds.contains(&io.kind()) => return true,
            // Its `source` skips the error it wraps.
            Some(io) => io.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}

/// Whether `error` comes from a disk, or a quota, with no room left.
pub(crate) fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    is_io(error, &[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded])
}
