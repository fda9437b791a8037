// SPDX-License-Identifier: Apache-2.0

//! A full disk: said once, however many writes fail, until there is room again.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Bytes that have to become free after a write failed before the disk counts as one with room:
/// more than the store of blobs keeps free, so that the log does not change its mind at each block.
const ROOM: u64 = 16 << 20;

/// The disk of this process: every role writes to the same one.
static DISK: Mutex<Disk> = Mutex::new(Disk::Usable);

/// State of a disk, as writes found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disk {
    /// No write failed for want of space.
    Usable,
    /// A write failed while so many bytes were free: a large blob may need more than is left.
    Full { free: u64 },
}

impl Disk {
    /// Notes a write that failed while `free` bytes were free. Returns `true` if it is the first.
    fn note_failure(&mut self, free: u64) -> bool {
        let is_first = *self == Self::Usable;
        if is_first {
            *self = Self::Full { free };
        }
        is_first
    }

    /// Notes the free space. Returns `true` if there is room again.
    fn note_free(&mut self, now: u64) -> bool {
        let has_room = matches!(self, Self::Full { free } if now >= free.saturating_add(ROOM));
        if has_room {
            *self = Self::Usable;
        }
        has_room
    }
}

fn disk() -> MutexGuard<'static, Disk> {
    DISK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn free_bytes(path: &Path) -> u64 {
    pol_hardware::disk_space(path).map_or(0, |space| space.free_bytes)
}

/// Notes that the disk was too full to write `path`: logged once, until there is room again.
pub(crate) fn note_failure(path: &Path, cause: &str) {
    if disk().note_failure(free_bytes(path)) {
        tracing::warn!(
            "the disk is full ({cause}). Free some space; nothing that is stored is lost. Until \
             then this process takes no new work that it would have to store, serves what it has, \
             and answers audits. It goes on by itself"
        );
    } else {
        tracing::debug!("the disk is still full: {cause}");
    }
}

/// Returns `true` if a write failed for want of space and the disk of `folder` has no room yet.
pub(crate) fn is_full(folder: &Path) -> bool {
    if *disk() == Disk::Usable {
        return false;
    }
    let has_room = disk().note_free(free_bytes(folder));
    if has_room {
        tracing::info!("{} has room again; going on", folder.display());
    }
    !has_room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_said_once_until_there_is_room() {
        let mut disk = Disk::Usable;
        assert!(!disk.note_free(u64::MAX), "nothing failed");
        assert!(disk.note_failure(5) && !disk.note_failure(7));
        assert!(!disk.note_free(5) && !disk.note_free(ROOM), "some bytes are not room");
        assert!(disk.note_free(ROOM + 5));
        assert!(disk.note_failure(ROOM * 9), "the next time is another one");
        assert!(!disk.note_free(ROOM * 9), "a large blob may need more than is free");
        assert!(disk.note_free(ROOM * 10));
    }
}
