// SPDX-License-Identifier: Apache-2.0

//! Inputs of a run: files, and stores that sources filled.

use crate::{Content, CorpusError, Input, Origin, RawStore, Refusal, error::IoContext, inputs};
use pol_primitives::Hash;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    path::PathBuf,
    time::UNIX_EPOCH,
};

/// Inputs of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supply {
    /// File, folder, or `-` for standard input.
    Path(PathBuf),
    /// Folder of a [`RawStore`], and the number of its first documents that are passed over.
    Store(PathBuf, u64),
    /// File with what was read from a pipe, which can be read once.
    Spool {
        /// Name of the pipe.
        location: String,
        /// File.
        path: PathBuf,
        /// BLAKE3 of its contents.
        contents: Hash,
    },
}

/// Place in the inputs: so many things of this unit of this supply were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub(super) supply: usize,
    pub(super) unit: u64,
    pub(super) things: u64,
}

/// Units of a supply: things that a parser reads from their start.
type Units<'a> = Box<dyn Iterator<Item = Result<Result<Input, Refusal>, CorpusError>> + 'a>;

impl Supply {
    /// Returns the units from number `first` on.
    pub(super) fn units(&self, first: u64) -> Result<Units<'_>, CorpusError> {
        Ok(match self {
            Self::Path(path) => {
                let first = usize::try_from(first).unwrap_or(usize::MAX);
                Box::new(inputs(std::slice::from_ref(path)).skip(first))
            }
            Self::Spool { location, path, .. } => {
                let origin = Origin {
                    source: "files".into(),
                    location: location.clone(),
                    ..Origin::default()
                };
                let content = Content::File(path.clone());
                let input = Input { origin, media: None, content };
                Box::new(std::iter::once(Ok(Ok(input))).skip(usize::from(first > 0)))
            }
            Self::Store(folder, passed) => {
                let first = passed.saturating_add(first);
                let documents = RawStore::create_or_open(folder)?.documents_from(first);
                Box::new(documents.map(|document| {
                    let document = document?;
                    Ok(Ok(Input {
                        origin: document.origin,
                        media: document.media,
                        content: Content::Bytes(document.bytes),
                    }))
                }))
            }
        })
    }

    /// Returns the number of bytes of the inputs: those of files, and of stores as they are packed.
    ///
    /// # Errors
    ///
    /// Fails if a file or folder cannot be read.
    pub fn bytes(&self) -> Result<u64, CorpusError> {
        self.bytes_of(u64::MAX)
    }

    /// Returns the number of bytes of the first `units`. Those of stores are taken as equal.
    pub(super) fn bytes_of(&self, units: u64) -> Result<u64, CorpusError> {
        match self {
            Self::Path(path) => {
                let units = usize::try_from(units).unwrap_or(usize::MAX);
                inputs(std::slice::from_ref(path)).take(units).try_fold(0u64, |sum, input| {
                    Ok(sum.saturating_add(input?.map_or(0, |input| file_bytes(&input))))
                })
            }
            Self::Spool { path, .. } if units > 0 => {
                Ok(fs::metadata(path).io_context("read", path)?.len())
            }
            Self::Spool { .. } => Ok(0),
            Self::Store(folder, passed) => {
                let store = RawStore::create_or_open(folder)?;
                let units = units.min(store.len().saturating_sub(*passed));
                let (stored, len) = (u128::from(store.stored_bytes()?), store.len().max(1));
                Ok(u64::try_from(stored * u128::from(units) / u128::from(len)).unwrap_or(u64::MAX))
            }
        }
    }

    /// Adds all that identifies the inputs. Files are named by size and time of change, as a killed
    /// run must find them again; stores by what they hold.
    fn identify(&self, hasher: &mut blake3::Hasher) -> Result<(), CorpusError> {
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        match self {
            Self::Path(path) => {
                add(b"path");
                for input in inputs(std::slice::from_ref(path)) {
                    let Ok(input) = input? else { continue };
                    add(input.origin.location.as_bytes());
                    if let Content::File(path) = &input.content {
                        let file = File::open(path).io_context("read", path)?;
                        let facts = file.metadata().io_context("read", path)?;
                        add(&facts.len().to_le_bytes());
                        let changed = facts.modified().ok();
                        let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                        add(&since.unwrap_or_default().as_nanos().to_le_bytes());
                    }
                }
            }
            Self::Spool { location, contents, .. } => {
                add(b"spool");
                add(location.as_bytes());
                add(contents);
            }
            Self::Store(folder, passed) => {
                add(b"store");
                add(&passed.to_le_bytes());
                let store = RawStore::create_or_open(folder)?;
                add(&store.len().to_le_bytes());
                add(&store.contents()?);
                add(store.cursor().to_string().as_bytes());
            }
        }
        Ok(())
    }
}

/// Returns the length of an input that is a file, and otherwise zero.
pub(super) fn file_bytes(input: &Input) -> u64 {
    match &input.content {
        // One that is gone is told by who reads it.
        Content::File(path) => fs::metadata(path).map_or(0, |facts| facts.len()),
        _ => 0,
    }
}

/// Returns the digest that a run's folder belongs to.
pub(super) fn digest(pipeline: &Hash, supplies: &[Supply]) -> Result<Hash, CorpusError> {
    let mut hasher = blake3::Hasher::new_derive_key("pol-corpus 2026 request 2");
    hasher.update(pipeline);
    supplies.iter().try_for_each(|supply| supply.identify(&mut hasher))?;
    Ok(*hasher.finalize().as_bytes())
}
