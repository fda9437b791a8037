// SPDX-License-Identifier: Apache-2.0

//! Opening of a peer's store.

use std::{io, path::Path};

use iroh_blobs::store::{
    GcConfig,
    fs::{FsStore, options::Options},
};

use crate::{Result, SwarmError, error::is_disk_full, limits::Limits};

/// Opens the store in `directory`, which is created if missing.
pub(crate) async fn open_store(directory: &Path, limits: &Limits) -> Result<FsStore> {
    let full = || SwarmError::DiskFull(directory.into());
    tokio::fs::create_dir_all(directory).await.map_err(|source| match is_disk_full(&source) {
        true => full(),
        false => SwarmError::Directory { directory: directory.into(), source },
    })?;
    let mut options = Options::new(directory);
    options.gc = Some(GcConfig { interval: limits.gc_interval, add_protected: None });
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
