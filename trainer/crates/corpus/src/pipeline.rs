// SPDX-License-Identifier: Apache-2.0

//! The way of documents from inputs to clean, unique text.
//!
//! ```text
//! inputs  →  prepared/    text after the rules, with the decision of each
//!         →  duplicates/  signatures, clusters, and the survivor of each
//!         →  repeats/     passages that occurred before
//!         →  Selection    what remains, in order, on two sides
//! ```
//!
//! Each arrow is a step whose output is on disk. A run that was killed goes on where it stopped,
//! also within the first step, which takes the longest. Memory is bounded. The same inputs and
//! configuration give the same documents on any machine and any number of threads.

mod config;
mod lengths;
mod overlaps;
mod prepare;
mod prepared;
mod references;
mod report;
mod select;
mod supply;

pub use config::{PipelineConfig, VERSION};
pub use references::{ReferenceFiles, References};
pub use report::{Amount, CorpusReport, DecontaminationReport, FoundReference};
pub use select::{Selected, Selection};
pub use supply::Supply;

use crate::{
    CorpusError, ReadOptions,
    dedup::{Clusters, Deduplicator, Entry, RepeatFinder, SignatureFile},
    error::IoContext,
    filters::Cleaner,
};
use lengths::LengthWriter;
use pol_primitives::Hash;
use prepare::Preparer;
use prepared::{Item, PreparedStore};
use rayon::prelude::*;
use select::Split;
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Bytes of text whose signatures are made at a time.
const SIGNED_BYTES: usize = 8 << 20;

/// Progress of a run, for those who watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Stage.
    pub stage: Stage,
    /// Bytes of the inputs so far if they are hashed or read, and otherwise documents so far.
    pub done: u64,
    /// Bytes or documents in all.
    pub total: u64,
}

/// Stage on the way from inputs to shards. The pipeline has the second to the fourth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Inputs are hashed, since their contents name an ingestion.
    Hashing,
    /// Inputs are read and cleaned.
    Reading,
    /// Documents are compared with each other.
    Comparing,
    /// Repeated passages are looked for.
    Repeats,
    /// Words are counted for the tokenizer.
    Words,
    /// The tokenizer is trained.
    Tokenizer,
    /// Documents become tokens.
    Tokens,
}

/// Way of documents through a folder that keeps what each step made.
pub struct Pipeline {
    folder: PathBuf,
    config: PipelineConfig,
    cleaner: Cleaner,
    references: References,
    options: ReadOptions,
    /// Signatures of other manifests, as they were when the run began.
    against: Vec<SignatureFile>,
    /// Digest of all that the prepared documents depend on, besides the inputs.
    prepared: Hash,
    /// Digest of all that the result depends on, besides the inputs.
    digest: Hash,
}

impl Pipeline {
    /// Prepares a run in `folder`, which is created if it is missing. It is the run's own: other
    /// files in it may be removed.
    ///
    /// # Errors
    ///
    /// Fails if an option is out of its range, a signature file cannot be read or is damaged, or
    /// the folder cannot be created.
    pub fn open(
        folder: &Path,
        config: PipelineConfig,
        references: References,
        options: ReadOptions,
    ) -> Result<Self, CorpusError> {
        config.validate()?;
        let cleaner = Cleaner::new(&config.clean)?;
        let open = |path: &PathBuf| SignatureFile::open(path, &config.dedup);
        let against = references.against.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        fs::create_dir_all(folder).io_context("create the folder", folder)?;
        let prepared = config.digest(&cleaner, &references, &options);
        let digest = digest_with(prepared, &against);
        let folder = folder.to_owned();
        Ok(Self { folder, config, cleaner, references, options, against, prepared, digest })
    }

    /// Returns the digest of everything besides the inputs that determines the result, the contents
    /// of the signature files included.
    pub fn digest(&self) -> Hash {
        self.digest
    }

    /// Runs all steps that have not been run, and returns what remains of the documents.
    ///
    /// # Errors
    ///
    /// Fails if an input or the folder cannot be read or written, or if an input changed since a
    /// run that was killed.
    pub fn run(
        mut self,
        supplies: &[Supply],
        watch: &(dyn Fn(Progress) + Sync),
    ) -> Result<Selection, CorpusError> {
        let store = self.prepare(supplies, watch)?;
        let mut clusters = self.compare(&store, watch)?;
        let split = Split::find(&store, &mut clusters, &self.folder, self.config.held_out)?;
        let overlaps = match self.config.clean_held_out {
            true => Some(overlaps::find(&store, &mut clusters, &split, watch)?),
            false => None,
        };
        let repeats = match &self.config.repeats {
            Some(config) => {
                let folder = self.folder.join("repeats");
                // Passages are looked for in the survivors, which the signature files decide too.
                let identity = store.identity(&self.digest);
                let mut finder = RepeatFinder::open(&folder, config.clone(), &identity)?;
                if !finder.is_finished() {
                    let total = store.len();
                    for item in store.items() {
                        let (id, item, text) = item?;
                        let membership = clusters.get(id)?;
                        let survives = membership.is_some_and(|found| found.duplicate.is_none());
                        if survives && matches!(item, Item::Document { .. }) {
                            finder.add(id, &text)?;
                        }
                        watch(Progress { stage: Stage::Repeats, done: id + 1, total });
                    }
                }
                Some(finder.finish()?)
            }
            None => None,
        };
        let held_out = self.references.held_out;
        Ok(Selection::new(store, clusters, repeats, split, held_out).without(overlaps))
    }

    /// Reads and cleans the inputs, from where a run that was killed stopped.
    fn prepare(
        &self,
        supplies: &[Supply],
        watch: &(dyn Fn(Progress) + Sync),
    ) -> Result<PreparedStore, CorpusError> {
        let request = supply::digest(&self.prepared, supplies)?;
        let folder = self.folder.join("prepared");
        let mut store = PreparedStore::open(&folder, request)?;
        if !store.is_complete() {
            let preparer = Preparer {
                references: &self.references,
                cleaner: &self.cleaner,
                min_quality: self.config.min_quality,
            };
            preparer.run(supplies, &self.options, &mut store, watch)?;
        }
        Ok(store)
    }

    /// Finds the duplicates among the prepared documents.
    fn compare(
        &mut self,
        store: &PreparedStore,
        watch: &(dyn Fn(Progress) + Sync),
    ) -> Result<Clusters, CorpusError> {
        let folder = self.folder.join("duplicates");
        // The search names what depends on the signature files by their checksums, and keeps the
        // signatures of these documents when the files change.
        let identity = store.identity(&self.prepared);
        let mut search = Deduplicator::open(&folder, self.config.dedup.clone(), &identity)?;
        std::mem::take(&mut self.against).into_iter().for_each(|file| search.against(file));
        if !search.is_filled() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            let mut lengths = LengthWriter::create(&self.folder)?;
            for item in store.items() {
                let (id, item, text) = item?;
                lengths.add(text.len() as u64)?;
                if let Item::Document { group, record } = item
                    && !record.is_dropped()
                {
                    let quality = record.quality.unwrap_or_default();
                    bytes += text.len();
                    batch.push((Entry { id, group, quality }, text));
                }
                if bytes >= SIGNED_BYTES {
                    add_signed(&mut search, &mut batch)?;
                    bytes = 0;
                }
                watch(Progress { stage: Stage::Comparing, done: id + 1, total: store.len() });
            }
            add_signed(&mut search, &mut batch)?;
            lengths.finish()?;
        }
        search.finish()
    }
}

/// Returns a digest with the contents of signature files. Without any it stays as it is.
fn digest_with(digest: Hash, against: &[SignatureFile]) -> Hash {
    if against.is_empty() {
        return digest;
    }
    let mut hasher = blake3::Hasher::new_derive_key("pol-corpus 2026 against");
    hasher.update(&digest);
    against.iter().for_each(|file| {
        hasher.update(&file.checksum());
    });
    *hasher.finalize().as_bytes()
}

/// Adds documents in order, whose signatures are made on all cores.
fn add_signed(
    search: &mut Deduplicator,
    batch: &mut Vec<(Entry, String)>,
) -> Result<(), CorpusError> {
    let signer = search.signer();
    let signatures: Vec<_> = batch.par_iter().map(|(_, text)| signer.sign(text)).collect();
    for ((entry, _), signature) in batch.drain(..).zip(&signatures) {
        search.add_signed(entry, signature)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
