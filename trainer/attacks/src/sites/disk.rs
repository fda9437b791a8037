// SPDX-License-Identifier: Apache-2.0

//! Small disks: file systems in memory that only this process and those that it starts see.

use super::links::{is_private, run};
use anyhow::Result;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file system of its own, which vanishes with this value.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts an empty file system of so many mebibytes at `path`. Returns `None` where the machine
    /// allows no mounts of this process only.
    ///
    /// # Errors
    ///
    /// Fails if the file system cannot be mounted.
    pub(crate) fn mount(path: &Path, mebibytes: u32) -> Result<Option<Self>> {
        if !is_private() {
            return Ok(None);
        }
        fs::create_dir_all(path)?;
        let size = format!("-osize={mebibytes}m");
        run("mount", ["-ttmpfs".as_ref(), size.as_ref(), "tmpfs".as_ref(), path.as_os_str()])?;
        Ok(Some(Self(path.to_owned())))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whatever uses it keeps it until it ends.
        let _ = run("umount", ["-l".as_ref(), self.0.as_os_str()]);
    }
}
