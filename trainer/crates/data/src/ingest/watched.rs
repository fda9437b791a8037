// SPDX-License-Identifier: Apache-2.0

//! Files of an ingestion, which nothing may change between their hashing and the end of reading.

use crate::error::{DataError, IoContext};
use pol_corpus::{Content, CorpusError, Input, inputs, pipeline::Supply};
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// Inputs, and the states in which their files were before anything was read.
///
/// Stores are not watched: they are appended to only, and read up to the number of documents that
/// they had. The copies of what pipes held are the ingestion's own.
pub(super) struct WatchedInputs<'a> {
    supplies: &'a [Supply],
    /// Files of each path, in the order in which they are read.
    before: Vec<(&'a PathBuf, Vec<FileState>)>,
}

/// Name of a file, and its length, time of change, and inode: each as a hash, since a folder may
/// have millions of files.
#[derive(Clone, Copy, PartialEq, Eq)]
struct FileState {
    name: u64,
    facts: u64,
}

impl FileState {
    fn read(path: &Path) -> Result<Self, DataError> {
        let facts = fs::metadata(path).io_context("read", path)?;
        let facts = (facts.len(), facts.modified().ok(), inode(&facts));
        Ok(Self { name: hash_of(path), facts: hash_of(&facts) })
    }
}

impl<'a> WatchedInputs<'a> {
    /// Notes the states of all files of `supplies`.
    pub(super) fn new(supplies: &'a [Supply]) -> Result<Self, DataError> {
        let mut before = Vec::new();
        for supply in supplies {
            if let Supply::Path(path) = supply {
                let files = files(std::slice::from_ref(path));
                let states = files.map(|file| FileState::read(&file?));
                before.push((path, states.collect::<Result<_, _>>()?));
            }
        }
        Ok(Self { supplies, before })
    }

    /// Returns the inputs.
    pub(super) fn supplies(&self) -> &'a [Supply] {
        self.supplies
    }

    /// Fails with the name of a file that changed since, or with that of a folder whose files are
    /// others now.
    pub(super) fn check_unchanged(&self) -> Result<(), DataError> {
        for (path, before) in &self.before {
            let changed = |path: &Path| DataError::ChangedInput(path.to_owned());
            let mut before = before.iter();
            for file in files(std::slice::from_ref(*path)) {
                let file = file.map_err(|_| changed(path))?;
                let now = FileState::read(&file).map_err(|_| changed(&file))?;
                match before.next() {
                    Some(state) if *state == now => {}
                    Some(state) if state.name == now.name => return Err(changed(&file)),
                    _ => return Err(changed(path)),
                }
            }
            if before.next().is_some() {
                return Err(changed(path));
            }
        }
        Ok(())
    }
}

/// Returns the files that are read for paths, in order.
fn files(paths: &[PathBuf]) -> impl Iterator<Item = Result<PathBuf, CorpusError>> {
    inputs(paths).filter_map(|input| match input {
        Ok(Ok(Input { content: Content::File(file), .. })) => Some(Ok(file)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// Returns a hash by which this process alone compares.
fn hash_of<T: Hash + ?Sized>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Returns the number that another file in the place of this one does not have.
#[cfg(unix)]
fn inode(facts: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(facts)
}

/// Returns the number that another file in the place of this one does not have, of which this
/// system tells none.
#[cfg(not(unix))]
fn inode(_: &fs::Metadata) -> u64 {
    0
}
