// SPDX-License-Identifier: Apache-2.0

//! Atomic and checked files.
//!
//! A checked file ends with the BLAKE3 hash of its contents, in hexadecimal.

use super::error::StateError;
use std::{
    fs,
    io::{self, Write},
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

/// Reads a checked file and parses its contents. Returns `None` if there is no file.
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
    parsed.map(Some).map_err(|reason| StateError::Damaged { path, reason, consequence })
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
