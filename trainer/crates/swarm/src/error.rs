// SPDX-License-Identifier: Apache-2.0

//! Errors of this crate.

use std::{
    error::Error,
    fmt::{self, Display},
    io,
    net::SocketAddr,
    path::PathBuf,
};

use iroh::endpoint::{ConnectingError, ConnectionError, TransportErrorCode};
use iroh_blobs::get::{
    GetError,
    fsm::{AtBlobHeaderNextError, DecodeError},
};
use pol_primitives::{Hash, member::MAX_ADDRESSES};

/// Result of this crate.
pub type Result<T, E = SwarmError> = std::result::Result<T, E>;

/// Errors of the swarm.
#[derive(Debug, thiserror::Error)]
pub enum SwarmError {
    /// There are more addresses than an endpoint on chain can hold.
    #[error(
        "{0} addresses are advertised, but at most {MAX_ADDRESSES} can be registered; name fewer"
    )]
    TooManyAddresses(usize),
    /// An advertised address belongs to no machine.
    #[error("{0} is the address of no machine; advertise one at which peers reach this machine")]
    NoMachine(SocketAddr),
    /// The UDP port is taken.
    #[error("another process uses UDP port {0}; stop it or choose another port (0 for any)")]
    PortInUse(SocketAddr),
    /// Listening on the address failed.
    #[error("cannot listen on UDP address {address}: {reason}")]
    Bind {
        /// Requested address.
        address: SocketAddr,
        /// Error of the operating system.
        reason: String,
    },
    /// Another process, or a [`Swarm`](crate::Swarm) of this process that was not shut down, has
    /// the store open.
    #[error("another process uses {}; stop it or choose another directory", .0.display())]
    DirectoryInUse(PathBuf),
    /// The directory cannot be created.
    #[error("cannot create {}: {source}", directory.display())]
    Directory {
        /// Directory of the store.
        directory: PathBuf,
        /// Underlying error.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(
        "the store in {} cannot be opened ({reason}); if it is damaged, move it away: blobs that \
         other peers hold are fetched again",
        directory.display()
    )]
    Corrupt {
        /// Directory of the store.
        directory: PathBuf,
        /// Error of the store.
        reason: String,
    },
    /// The disk is full.
    #[error("the disk with {} is full; free some space", .0.display())]
    DiskFull(PathBuf),
    /// The store failed for another reason; after a shutdown it always does.
    #[error("the blob store failed: {0}")]
    Store(String),
    /// The blob is larger than the caller accepts.
    #[error("blob {} has {size} bytes, but at most {limit} are accepted", hex::encode(hash))]
    TooLarge {
        /// Hash of the blob.
        hash: Hash,
        /// Size in bytes, proved by the hash.
        size: u64,
        /// Maximum size that the caller accepts, in bytes.
        limit: u64,
    },
    /// Other downloads took all the time, so no peer was asked.
    #[error("blob {}: other downloads took all the time; no peer was asked", hex::encode(hash))]
    NoTurn {
        /// Hash of the blob.
        hash: Hash,
    },
    /// No peer delivered the blob.
    #[error("blob {} is not in the store, and no peer delivered it: {failures}", hex::encode(hash))]
    Unavailable {
        /// Hash of the blob.
        hash: Hash,
        /// Number of bytes that arrived in this call. They stay in the store.
        received: u64,
        /// Failure of each peer, in the order they failed.
        failures: PeerFailures,
    },
}

/// Failures of peers, by public key.
#[derive(Debug, Default)]
pub struct PeerFailures(pub Vec<([u8; 32], PeerFailure)>);

impl PeerFailures {
    /// Returns `true` if the peer was asked and is at fault: it did not deliver the blob, although
    /// it was given the time to.
    pub fn is_fault_of(&self, peer: &[u8; 32]) -> bool {
        self.0.iter().any(|(failed, failure)| failed == peer && failure.is_fault())
    }

    /// Returns `true` if a peer answered that it does not have the blob.
    pub fn is_refused(&self) -> bool {
        self.0.iter().any(|(_, failure)| *failure == PeerFailure::NotServed)
    }

    /// Notes the last failure of a peer. One that is not its fault takes back no earlier one.
    pub(crate) fn note(&mut self, peer: [u8; 32], failure: PeerFailure) {
        if !failure.is_fault() && self.is_fault_of(&peer) {
            return;
        }
        self.0.retain(|(failed, _)| *failed != peer);
        self.0.push((peer, failure));
    }
}

impl Display for PeerFailures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return formatter.write_str("no peer is registered");
        }
        for (index, (id, failure)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}peer {} {failure}", hex::encode(id))?;
        }
        Ok(())
    }
}

/// Reasons why a peer did not deliver a blob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFailure {
    /// The registered endpoint is unusable.
    #[error("registered {0}")]
    Registration(&'static str),
    /// No peer with this key answered in time.
    #[error("does not answer at its addresses")]
    Unreachable,
    /// The peer, or the network, refused the connection.
    #[error("cannot be connected to: {0}")]
    Connection(String),
    /// The peer has no free slot for this one at the moment.
    #[error("has no free slot for this peer now")]
    Full,
    /// The peer keeps refusing this one, a member for whom it has reserved slots.
    #[error("keeps refusing this member, though members have reserved slots")]
    Refuses,
    /// The peer does not have the blob.
    #[error("does not have it")]
    NotServed,
    /// The peer stopped sending.
    #[error("stopped answering")]
    Stalled,
    /// The time for the fetch ended while the peer was sending, or just after it was asked.
    #[error("had not delivered it when the time ended")]
    OutOfTime,
    /// The peer had sent nothing when the time for the fetch ended.
    #[error("had sent nothing when the time ended")]
    Silent,
    /// The transfer was too slow.
    #[error("is too slow")]
    TooSlow,
    /// Another peer was faster, and then failed too.
    #[error("was slower than others")]
    Outpaced,
    /// The bytes do not match the requested hash.
    #[error("sent bytes that do not match the hash")]
    WrongBytes,
    /// The transfer ended early.
    #[error("broke off: {0}")]
    Broken(String),
}

impl PeerFailure {
    /// Returns `true` unless the peer was sending when it was stopped, or had no slot free, which
    /// others may have caused.
    fn is_fault(&self) -> bool {
        !matches!(self, Self::OutOfTime | Self::Outpaced | Self::Full)
    }
}

impl From<ConnectingError> for PeerFailure {
    fn from(error: ConnectingError) -> Self {
        match &error {
            ConnectingError::ConnectionError {
                source: ConnectionError::ConnectionClosed(close),
                ..
            } if is_refusal(close.error_code) => Self::Full,
            _ => Self::Connection(format!("{error:#}")),
        }
    }
}

/// Returns `true` for the codes by which a peer refuses a connection, or gives up its handshake.
fn is_refusal(code: TransportErrorCode) -> bool {
    code == TransportErrorCode::CONNECTION_REFUSED || code == TransportErrorCode::APPLICATION_ERROR
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

/// Returns `true` if `error` or one of its causes is an I/O error of one of `kinds`.
pub(crate) fn is_io(error: &(dyn Error + 'static), kinds: &[io::ErrorKind]) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        next = match error.downcast_ref::<io::Error>() {
            Some(io) if kinds.contains(&io.kind()) => return true,
            // `source` of an I/O error skips the error that it wraps.
            Some(io) => io.get_ref().map(|wrapped| wrapped as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    false
}

/// Returns `true` if `error` was caused by a full disk or an exhausted quota.
pub(crate) fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    is_io(error, &[io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded])
}

#[cfg(test)]
mod tests {
    use super::{PeerFailure, PeerFailures};

    #[test]
    fn peers_that_were_still_sending_are_not_at_fault() {
        let mut failures = PeerFailures::default();
        failures.note([1; 32], PeerFailure::OutOfTime);
        failures.note([2; 32], PeerFailure::Silent);
        failures.note([3; 32], PeerFailure::TooSlow);
        failures.note([3; 32], PeerFailure::OutOfTime);
        failures.note([3; 32], PeerFailure::Outpaced);
        assert!(!failures.is_fault_of(&[1; 32]) && !failures.is_fault_of(&[4; 32]));
        assert!(failures.is_fault_of(&[2; 32]));
        assert!(failures.is_fault_of(&[3; 32]), "it was too slow before");
        failures.note([4; 32], PeerFailure::Full);
        assert!(!failures.is_fault_of(&[4; 32]), "strangers may have taken its slots");
        failures.note([4; 32], PeerFailure::Refuses);
        assert!(failures.is_fault_of(&[4; 32]));
        assert!(!failures.is_refused());
        failures.note([3; 32], PeerFailure::NotServed);
        assert!(failures.is_refused());
        assert_eq!(failures.0.len(), 4);
    }
}
