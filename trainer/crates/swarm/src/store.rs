// SPDX-License-Identifier: Apache-2.0

//! Opening of a peer's store, also after it failed, and the room that it leaves on the disk.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use iroh_blobs::store::{
    GcConfig, ProtectCb, ProtectOutcome,
    fs::{FsStore, options::Options},
};
use tokio::sync::Mutex;
use tracing::info;

use crate::{
    Result, SwarmError,
    error::is_disk_full,
    limits::{CHANGE_BYTES, Limits, REOPEN_PAUSE, RESERVED_BYTES},
};

/// The store of a peer. Its database ends for good when a write fails, such as on a full disk, so
/// it is opened again then. What was committed is kept.
pub(crate) struct BlobStore {
    directory: PathBuf,
    limits: Limits,
    open: RwLock<FsStore>,
    /// Set once an operation failed, until the store proves that it works.
    is_suspect: AtomicBool,
    /// Set for good by a shutdown.
    is_closed: AtomicBool,
    /// Time of the last try to open the store again.
    reopened: Mutex<Option<Instant>>,
}

impl BlobStore {
    /// Opens the store in `directory`, which is created if missing.
    pub(crate) async fn open(directory: &Path, limits: &Limits) -> Result<Self> {
        Ok(Self {
            directory: directory.to_owned(),
            limits: limits.clone(),
            open: open_store(directory, limits).await?.into(),
            is_suspect: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            reopened: Mutex::default(),
        })
    }

    /// Returns the store, which is opened again first if it failed.
    pub(crate) async fn get(&self) -> Result<FsStore> {
        if self.is_suspect.load(Ordering::Acquire) {
            self.revive().await?;
        }
        Ok(self.current())
    }

    fn current(&self) -> FsStore {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens the store again unless it works, one try at a time.
    async fn revive(&self) -> Result<()> {
        let mut reopened = self.reopened.lock().await;
        if !self.is_suspect.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.is_closed.load(Ordering::Acquire) {
            return Err(SwarmError::Store("it was shut down".into()));
        }
        // This changes nothing and is answered by the task that writes.
        if self.current().sync_db().await.is_err() {
            if reopened.is_some_and(|tried| tried.elapsed() < REOPEN_PAUSE) {
                return Err(match has_room(&self.directory) {
                    true => SwarmError::Store("it is about to be opened again".into()),
                    false => SwarmError::DiskFull(self.directory.clone()),
                });
            }
            *reopened = Some(Instant::now());
            let store = match open_store(&self.directory, &self.limits).await {
                // The failed one is about to let go of it.
                Err(SwarmError::DirectoryInUse(_)) => {
                    return Err(SwarmError::Store("it is still being closed".into()));
                }
                opened => opened?,
            };
            *self.open.write().unwrap_or_else(PoisonError::into_inner) = store;
            info!("opened the store of blobs again after a failed write");
        }
        self.is_suspect.store(false, Ordering::Release);
        Ok(())
    }

    /// Notes that an operation failed: the next one looks whether the store still works.
    pub(crate) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Release);
    }

    /// Closes the store for good.
    pub(crate) async fn shutdown(&self) -> Result<(), impl std::error::Error + 'static> {
        self.is_closed.store(true, Ordering::Release);
        self.suspect();
        self.current().shutdown().await
    }

    /// Checks that a blob of `bytes` leaves enough of the disk free.
    pub(crate) fn require_room(&self, bytes: u64) -> Result<()> {
        self.require_free(bytes.saturating_add(RESERVED_BYTES))
    }

    /// Checks that labels can be changed.
    pub(crate) fn require_change(&self) -> Result<()> {
        self.require_free(CHANGE_BYTES)
    }

    fn require_free(&self, bytes: u64) -> Result<()> {
        match free_bytes(&self.directory) {
            Some(free) if free < bytes => Err(SwarmError::DiskFull(self.directory.clone())),
            _ => Ok(()),
        }
    }
}

/// Returns the free bytes of the disk, or `None` if the operating system does not tell.
fn free_bytes(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Returns a hook that puts a collection off while the disk has no room for its changes.
fn unless_full(directory: &Path) -> ProtectCb {
    let directory = directory.to_owned();
    Arc::new(move |_| {
        let is_full = free_bytes(&directory).is_some_and(|free| free < CHANGE_BYTES);
        let outcome = if is_full { ProtectOutcome::Abort } else { ProtectOutcome::Continue };
        Box::pin(std::future::ready(outcome))
    })
}

/// Opens the store in `directory`, which is created if missing.
async fn open_store(directory: &Path, limits: &Limits) -> Result<FsStore> {
    let full = || SwarmError::DiskFull(directory.into());
    tokio::fs::create_dir_all(directory).await.map_err(|source| match is_disk_full(&source) {
        true => full(),
        false => SwarmError::Directory { directory: directory.into(), source },
    })?;
    let mut options = Options::new(directory);
    let add_protected = Some(unless_full(directory));
    options.gc = Some(GcConfig { interval: limits.gc_interval, add_protected });
    FsStore::load_with_opts(directory.join("blobs.db"), options).await.map_err(|error| {
        let reason = format!("{error:#}");
        // The store's error type for this is not public. Its lock also holds between processes.
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

/// Returns `false` if the disk with `directory` has no room for one more small file.
pub(crate) fn has_room(directory: &Path) -> bool {
    const SIZE: usize = 4096;
    let probe = directory.join("room");
    let written = std::fs::write(&probe, [0; SIZE]);
    // It may not exist.
    let _ = std::fs::remove_file(probe);
    written.err().is_none_or(|error| !is_disk_full(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_for_room_leaves_nothing_and_blames_the_disk_for_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        assert!(has_room(directory.path()));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(has_room(&directory.path().join("missing")));
    }
}
