// SPDX-License-Identifier: Apache-2.0

//! Errors of roles, by the remedy: time or a person, and the form of errors of commands.

use crate::{disk, state::StateError};
use pol_chain::ChainError;
use pol_engine::EngineError;
use pol_primitives::Hash;
use pol_swarm::SwarmError;
use std::{
    io::{self, ErrorKind},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// An error in one step of a role.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The network is at fault or time will help: the error is logged and the step is tried again
    /// with the next block.
    #[error("{0:#}")]
    Transient(anyhow::Error),
    /// Only a person can help: the process stops and keeps its state.
    #[error("{0:#}")]
    Fatal(anyhow::Error),
}

/// The result of one step of a role.
pub type Result<T, E = RoleError> = std::result::Result<T, E>;

impl RoleError {
    /// Creates an error that time may mend.
    pub fn transient(error: impl Into<anyhow::Error>) -> Self {
        Self::Transient(error.into())
    }

    /// Creates an error that only a person can mend.
    pub fn fatal(error: impl Into<anyhow::Error>) -> Self {
        Self::Fatal(error.into())
    }

    /// Creates the error of a call at the start of a member. If its account cannot pay fees, only a
    /// person can help. Later the process goes on without calls, since peers need what it serves.
    pub(crate) fn at_start(error: ChainError) -> Self {
        match error {
            ChainError::Unfunded { .. } => Self::fatal(error),
            error => Self::transient(error),
        }
    }

    /// Logs a transient error, so that the caller can go on. A full disk is said once, and an
    /// account that cannot pay fees now and then.
    ///
    /// # Errors
    ///
    /// Returns the error if it is fatal.
    pub fn log_transient(self) -> Result<()> {
        match self {
            Self::Transient(error) if note_full_disk(&error) || note_unfunded(&error) => Ok(()),
            Self::Transient(error) => {
                tracing::warn!("{}; trying again with the next block", explain(&error));
                Ok(())
            }
            fatal => Err(fatal),
        }
    }

    /// Returns `true` if a blob is larger than it may be. Its hash proves the size.
    pub fn is_too_large(&self) -> bool {
        let (Self::Transient(error) | Self::Fatal(error)) = self;
        matches!(error.downcast_ref(), Some(SwarmError::TooLarge { .. }))
    }

    /// Returns `true` if the disk of this machine, or a quota, left no room for a write.
    pub(crate) fn is_disk_full(&self) -> bool {
        let (Self::Transient(error) | Self::Fatal(error)) = self;
        full_disk(error).is_some()
    }

    /// Returns the inner error, for commands that have no next block to wait for.
    pub fn into_inner(self) -> anyhow::Error {
        let (Self::Transient(error) | Self::Fatal(error)) = self;
        error
    }
}

/// Returns the error and its causes on one line, without causes that the line names already.
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Returns what could not be written if a full disk or an exhausted quota caused `error`.
fn full_disk(error: &anyhow::Error) -> Option<&Path> {
    error.chain().find_map(|cause| {
        if let Some(SwarmError::DiskFull(path)) = cause.downcast_ref() {
            return Some(path.as_path());
        }
        let state = cause.downcast_ref().and_then(|error| match error {
            StateError::Io { path, source } => Some((path, source)),
            _ => None,
        });
        let engine = || match cause.downcast_ref()? {
            EngineError::Io { path, source } => Some((path, source)),
            _ => None,
        };
        let (path, source) = state.or_else(engine)?;
        is_full(source).then_some(path.as_path())
    })
}

/// Returns `true` if a full disk or an exhausted quota caused `error`, in whatever step.
pub(crate) fn is_disk_full(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    full_disk(error).is_some() || causes.any(is_full)
}

/// Returns `true` if a full disk caused `error`, which is logged once until there is room again.
pub(crate) fn note_full_disk(error: &anyhow::Error) -> bool {
    let path = full_disk(error);
    if let Some(path) = path {
        disk::note_failure(path, &explain(error));
    }
    path.is_some()
}

/// Returns `true` for the errors of the operating system that only more space mends.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Form of the error that a program ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorFormat {
    /// Line for people.
    Text,
    /// Object in JSON with the field `error`.
    Json,
}

impl ErrorFormat {
    /// Prints an error of the program `name` to standard error.
    pub(crate) fn print(self, name: &str, error: &str) {
        match self {
            Self::Text => eprintln!("{name}: {error}"),
            Self::Json => eprintln!("{}", serde_json::json!({ "error": error })),
        }
    }
}

/// Time after which the log names an account again that cannot pay fees.
const UNFUNDED_REMINDER: Duration = Duration::from_secs(3_600);

/// Time at which the log last named an account that cannot pay fees.
static UNFUNDED: Mutex<Option<Instant>> = Mutex::new(None);

/// Returns `true` if `error` is that of an account that cannot pay fees. It is logged now and then
/// only, since each call of the account fails by it.
fn note_unfunded(error: &anyhow::Error) -> bool {
    let is_unfunded = |cause: &(dyn std::error::Error + 'static)| {
        matches!(cause.downcast_ref(), Some(ChainError::Unfunded { .. }))
    };
    if !error.chain().any(is_unfunded) {
        return false;
    }
    let mut said = UNFUNDED.lock().unwrap_or_else(PoisonError::into_inner);
    if is_due(&mut said, Instant::now()) {
        tracing::error!(
            "{}. Until then this process serves what it has and submits nothing. Unless the \
             account lacks the balance, the node lags behind the block that gave it",
            explain(error)
        );
    } else {
        tracing::debug!("{}", explain(error));
    }
    true
}

/// Returns `true` if a message that was last `said` then is to be said again `now`, and notes it.
fn is_due(said: &mut Option<Instant>, now: Instant) -> bool {
    let is_due = said.is_none_or(|said| now.duration_since(said) >= UNFUNDED_REMINDER);
    if is_due {
        *said = Some(now);
    }
    is_due
}

impl From<ChainError> for RoleError {
    fn from(error: ChainError) -> Self {
        Self::transient(error)
    }
}

impl From<SwarmError> for RoleError {
    fn from(error: SwarmError) -> Self {
        match error {
            // The store opens itself again, which fails for good if it is damaged.
            SwarmError::Corrupt { .. } => Self::fatal(error),
            _ => Self::transient(error),
        }
    }
}

// Retrying mends neither the computation nor the files of this machine, but somebody may make room.
impl From<EngineError> for RoleError {
    fn from(error: EngineError) -> Self {
        if let EngineError::BlobRead { hash, source } = error {
            return Self::from_blob(hash, source);
        }
        match &error {
            // These come from other members' updates and data.
            EngineError::NotFinite { .. }
            | EngineError::Diverged { .. }
            | EngineError::Payload { .. } => Self::transient(error),
            EngineError::Io { source, .. } if is_full(source) => Self::transient(error),
            // The store proves the bytes of each read again, and the next one is of another copy.
            EngineError::BlobMismatch { .. } | EngineError::Stopped => Self::transient(error),
            // A member that was upgraded before or after the network has other recipes to work by.
            EngineError::Arithmetic { .. } => Self::transient(error),
            _ => Self::fatal(error),
        }
    }
}

impl RoleError {
    /// Converts the error of a blob that the engine could not read. Whoever opened the blob for it
    /// may have said who can help. Other errors are those of one read.
    fn from_blob(hash: Hash, source: io::Error) -> Self {
        let context = format!("cannot read blob {}", hex::encode(hash));
        match source.downcast::<Self>() {
            Ok(Self::Transient(cause)) => Self::Transient(cause.context(context)),
            Ok(Self::Fatal(cause)) => Self::Fatal(cause.context(context)),
            Err(source) => Self::transient(EngineError::BlobRead { hash, source }),
        }
    }
}

impl From<StateError> for RoleError {
    fn from(error: StateError) -> Self {
        match &error {
            StateError::Io { source, .. } if is_full(source) => Self::transient(error),
            _ => Self::fatal(error),
        }
    }
}

impl From<tokio::task::JoinError> for RoleError {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::fatal(anyhow::Error::new(error).context("a worker thread failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_engine::TrainingState;

    #[test]
    fn causes_are_named_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("file: {0}")]
        struct Named(#[source] std::io::Error);
        let error =
            anyhow::Error::new(Named(std::io::Error::other("lost"))).context("cannot go on");
        assert_eq!(explain(&error), "cannot go on: file: lost");
    }

    #[test]
    fn an_account_without_balance_ends_a_start_and_no_running_process() {
        let unfunded = || ChainError::Unfunded { account: [1; 32] };
        assert!(matches!(RoleError::at_start(unfunded()), RoleError::Fatal(_)));
        let displaced = ChainError::Displaced { account: [1; 32] };
        assert!(matches!(RoleError::at_start(displaced), RoleError::Transient(_)));
        let running = RoleError::from(unfunded());
        let RoleError::Transient(error) = &running else { panic!("{running}") };
        assert!(note_unfunded(error));
        running.log_transient().unwrap();
        assert!(note_unfunded(&anyhow::Error::new(unfunded()).context("settling")));
        let displaced = ChainError::Displaced { account: [1; 32] };
        assert!(!note_unfunded(&displaced.into()));
    }

    #[test]
    fn an_account_without_balance_is_named_now_and_then() {
        let (start, mut said) = (Instant::now(), None);
        let mut due = |seconds| is_due(&mut said, start + Duration::from_secs(seconds));
        assert!(due(0) && !due(3) && !due(3_599));
        assert!(due(3_600) && !due(3_603), "a reminder");
    }

    #[test]
    fn causes_of_any_depth_are_found() {
        let io = |kind| StateError::Io { path: "/a/b".into(), source: io::Error::from(kind) };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = RoleError::from(io(kind));
            assert!(matches!(error, RoleError::Transient(_)), "{error}");
            let error = error.into_inner().context("an update");
            assert_eq!(full_disk(&error), Some(Path::new("/a/b")));
        }
        let denied = RoleError::from(io(io::ErrorKind::PermissionDenied));
        assert!(matches!(denied, RoleError::Fatal(_)));
        assert_eq!(full_disk(&denied.into_inner()), None);
        let data = pol_data::DataError::Io {
            action: "write",
            path: "/d".into(),
            source: io::Error::from(io::ErrorKind::StorageFull),
        };
        assert!(is_disk_full(&anyhow::Error::new(data).context("a source")));
        let blobs = RoleError::from(pol_swarm::SwarmError::DiskFull("/c".into()));
        assert!(matches!(&blobs, RoleError::Transient(error) if full_disk(error).is_some()));
    }

    #[test]
    fn a_blob_that_cannot_be_read_ends_the_process_only_if_its_reader_says_so() {
        let parameters = vec![0.5f32; 4];
        let state = TrainingState::fresh(parameters).trace_state(0);
        let read = |error: fn() -> io::Error| {
            let mut open = |_: &Hash| Err::<io::Empty, _>(error());
            RoleError::from(TrainingState::from_blobs(&state, 4, &mut open).unwrap_err())
        };
        let full = read(|| io::Error::other(RoleError::from(SwarmError::DiskFull("/c".into()))));
        let RoleError::Transient(error) = full else { panic!("{full}") };
        assert_eq!(full_disk(&error), Some(Path::new("/c")));
        assert!(explain(&error).starts_with("cannot read blob "), "{error:#}");
        let interrupted = read(|| io::Error::from(ErrorKind::TimedOut));
        assert!(matches!(interrupted, RoleError::Transient(_)), "{interrupted}");
        let fatal = read(|| {
            let reason = "torn".into();
            let corrupt = SwarmError::Corrupt { directory: "/c".into(), reason };
            io::Error::other(RoleError::from(corrupt))
        });
        assert!(matches!(fatal, RoleError::Fatal(_)), "{fatal}");

        let mut open = |_: &Hash| Ok(io::Cursor::new([0; 16]));
        let mismatch = TrainingState::from_blobs(&state, 4, &mut open).unwrap_err();
        assert!(matches!(RoleError::from(mismatch), RoleError::Transient(_)));
    }

    #[test]
    fn another_arithmetic_ends_no_process() {
        let other = EngineError::Arithmetic { named: [1; 32] };
        assert!(matches!(RoleError::from(other), RoleError::Transient(_)));
    }
}
