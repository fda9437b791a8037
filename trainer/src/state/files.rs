// SPDX-License-Identifier: Apache-2.0

//! Atomic and checked files.
//!
//! A checked file ends with the BLAKE3 hash of its contents, in hexadecimal.

use super::error::StateError;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Length of a checksum in hexadecimal digits.
const CHECKSUM_LEN: usize = 64;

/// Replaces a file atomically. Only its owner can read it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StateError> {
    pol_engine::replace_file(path, |file| file.write_all(bytes))
        .map_err(|source| StateError::Io { path: path.into(), source })
}

/// Replaces a checked file.
pub(super) fn replace_checked(path: &Path, mut bytes: Vec<u8>) -> Result<(), StateError> {
    bytes.extend(checksum(&bytes));
    replace(path, &bytes)
}

/// Suffix of the names of damaged files that were set aside.
pub(super) const DAMAGED: &str = "damaged";

/// Reads a checked file and parses its contents. Returns `None` if there is no file, or if it is
/// damaged.
///
/// A damaged file is set aside under another name, with a warning that names the `consequence`. So
/// it is said once, nothing reads the file again, and a person can look at what happened to it.
pub(super) fn read_checked<T>(
    path: PathBuf,
    consequence: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<T>, StateError> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::Io { path, source }),
    };
    let checked = bytes.split_last_chunk().filter(|(contents, sum)| checksum(contents) == **sum);
    let checked = checked.ok_or_else(|| "its checksum does not match its contents".to_owned());
    let parsed = checked.and_then(|(contents, _)| parse(contents));
    let reason = match parsed {
        Ok(parsed) => return Ok(Some(parsed)),
        Err(reason) => reason,
    };
    let aside = path.with_added_extension(DAMAGED);
    fs::rename(&path, &aside).map_err(|source| StateError::Io { path: path.clone(), source })?;
    tracing::warn!(
        "{} is damaged ({reason}) and is now {}: {consequence}. Check the disk; the file can be \
         deleted",
        path.display(),
        aside.display()
    );
    Ok(None)
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let mut digits = [0; CHECKSUM_LEN];
    digits.copy_from_slice(blake3::hash(bytes).to_hex().as_bytes());
    digits
}

/// Returns the names of the files in a folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, StateError> {
    let io = |source| StateError::Io { path: folder.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        names.extend(entry.map_err(io)?.file_name().into_string());
    }
    Ok(names)
}

/// Removes the files of a folder whose names are `unwanted`.
pub(super) fn remove_where(
    folder: &Path,
    unwanted: impl Fn(&str) -> bool,
) -> Result<(), StateError> {
    names(folder)?
        .iter()
        .filter(|name| unwanted(name))
        .try_for_each(|name| remove(&folder.join(name)))
}

/// Removes a file. Succeeds if another thread just removed it.
pub(super) fn remove(path: &Path) -> Result<(), StateError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.map_err(|source| StateError::Io { path: path.into(), source }),
    }
}

/// Takes the rights of others to a file away, with a warning.
pub(super) fn keep_private(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    let mode = permissions.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    permissions.set_mode(mode & 0o700);
    fs::set_permissions(path, permissions)?;
    tracing::warn!(
        "{} could be used by other users of this machine, and no longer can. Remove it if one of \
         them may have copied it: this peer then gets a new identity",
        path.display()
    );
    Ok(())
}
