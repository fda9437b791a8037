// SPDX-License-Identifier: Apache-2.0

//! Batches of a source: data that were offered to the network, and data that may still grow.
//!
//! Data that were offered are sealed: they are never made anew, so that what the chain registers
//! stays what the folder holds. Later documents go into the next folder.

use anyhow::{Context, Result};
use pol_corpus::{
    Content, RawStore, inputs,
    pipeline::{ReferenceFiles, Supply},
};
use pol_data::IngestConfig;
use pol_primitives::data::{ManifestId, SourceId};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// File of the state, in the folder of a source.
const FILE: &str = "state.json";
/// Folder of the first data of a source, in the folder of the source.
pub(in crate::commands) const DATA: &str = "data";

/// State of a source's folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) struct SourceState {
    /// Data that are never made anew, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::commands) sealed: Vec<Batch>,
    /// Inputs and options of the data that may grow, once they were made.
    #[serde(flatten)]
    pub(super) open: Option<IngestState>,
}

/// Data that are never made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) struct Batch {
    /// Inputs of the source up to the end of the batch.
    pub(super) inputs: Inputs,
    /// Place on a chain, once it is there for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::commands) on_chain: Option<ChainRecord>,
}

/// Place of data on a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) struct ChainRecord {
    /// First block of the chain, in hexadecimal.
    pub(in crate::commands) chain: String,
    /// Source, unless the network has the text from elsewhere.
    pub(in crate::commands) source: Option<SourceId>,
    /// Manifests: that of the training text, and that of the held-out text if it is registered.
    pub(in crate::commands) manifests: Vec<ManifestId>,
    /// Those whose blobs nobody needs any more.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) released: BTreeSet<ManifestId>,
}

/// Inputs of a source up to a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inputs {
    /// Documents of the store.
    pub(super) documents: u64,
    /// Bytes of the store.
    pub(super) bytes: u64,
    /// Digest of the names, sizes, and times of files, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) files: Option<String>,
}

/// Inputs and options of data. The store's cursor is no part of them, as it changes also when a
/// source has nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IngestState {
    /// Documents of the store.
    documents: u64,
    /// Digest of the store's contents, the options, the tokenizer, and the references, in
    /// hexadecimal.
    options: String,
}

/// Returns the folder of batch `number` of the source in `folder`, counted from 0.
pub(in crate::commands) fn batch_folder(folder: &Path, number: usize) -> PathBuf {
    match number {
        0 => folder.join(DATA),
        _ => folder.join(format!("{DATA}-{}", number + 1)),
    }
}

/// Returns the folders of all data of the source in `folder`, sealed or not, that are there.
pub(super) fn batch_folders(folder: &Path) -> Vec<PathBuf> {
    (0..).map(|number| batch_folder(folder, number)).take_while(|data| data.is_dir()).collect()
}

impl Inputs {
    /// Returns the inputs that these files are.
    pub(super) fn of_files(files: &[PathBuf]) -> Result<Self> {
        let mut hasher = blake3::Hasher::new_derive_key("pol-trainer 2026 files");
        for input in inputs(files) {
            let Ok(input) = input? else { continue };
            let location = input.origin.location.as_bytes();
            hasher.update(&(location.len() as u64).to_le_bytes()).update(location);
            if let Content::File(path) = &input.content {
                let context = || format!("cannot read {}", path.display());
                let facts = fs::metadata(path).with_context(context)?;
                let changed = facts.modified().ok();
                let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                hasher.update(&facts.len().to_le_bytes());
                hasher.update(&since.unwrap_or_default().as_nanos().to_le_bytes());
            }
        }
        let files = Some(hasher.finalize().to_hex().to_string());
        Ok(Self { files, ..Self::default() })
    }
}

impl IngestState {
    /// Returns the state after an ingestion of `inputs`.
    pub(super) fn new(
        inputs_read: &Inputs,
        config: &IngestConfig,
        references: &ReferenceFiles,
    ) -> Result<Self> {
        let mut hasher = blake3::Hasher::new_derive_key("pol-trainer 2026 acquisition");
        let IngestConfig { corpus, text_fields, sequence, shard_tokens, .. } = config;
        let options = serde_json::to_vec(&(
            corpus,
            references,
            text_fields,
            sequence,
            shard_tokens,
            &inputs_read.files,
        ))?;
        hasher.update(&options);
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.update(&pol_corpus::pipeline::VERSION.to_le_bytes());
        hasher.update(format!("{:?} {:?}", config.end_of_text, config.lineage).as_bytes());
        for supply in &config.inputs {
            if let Supply::Store(folder, _) = supply {
                hasher.update(&RawStore::create_or_open(folder)?.contents()?);
            }
        }
        let ReferenceFiles { quality_model, opt_out, decontaminate, against, .. } = references;
        let files: Vec<PathBuf> = (config.tokenizer.iter().chain(quality_model).chain(opt_out))
            .chain(decontaminate)
            .chain(against)
            .cloned()
            .collect();
        for input in inputs(&files) {
            if let Ok(input) = input?
                && let Content::File(path) = &input.content
            {
                let context = || format!("cannot read {}", path.display());
                let mut contents = blake3::Hasher::new();
                contents.update_reader(File::open(path).with_context(context)?)?;
                hasher.update(contents.finalize().as_bytes());
            }
        }
        let options = hasher.finalize().to_hex().to_string();
        Ok(Self { documents: inputs_read.documents, options })
    }
}

impl SourceState {
    /// Returns `true` if a folder is that of a source.
    pub(in crate::commands) fn exists(folder: &Path) -> bool {
        folder.join(FILE).is_file()
    }

    /// Reads the state in the folder of a source: an empty one if there is none.
    pub(in crate::commands) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let context = || format!("cannot read {}", path.display());
        match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(context),
            Ok(json) => serde_json::from_slice(&json).with_context(|| {
                format!(
                    "{} is damaged; restore it from a copy, or remove it if nothing of the source \
                     was registered",
                    path.display()
                )
            }),
        }
    }

    /// Replaces the state in the folder of a source.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let json = serde_json::to_vec(self)?;
        pol_engine::replace_file(&path, |file| file.write_all(&json))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns the inputs that are in sealed data.
    pub(super) fn offered(&self) -> Inputs {
        self.sealed.last().map_or_else(Inputs::default, |batch| batch.inputs.clone())
    }

    /// Returns the folders of sealed data.
    pub(super) fn sealed_folders(&self, folder: &Path) -> Vec<PathBuf> {
        (0..self.sealed.len()).map(|number| batch_folder(folder, number)).collect()
    }

    /// Seals the data that were made last, of all `inputs` until now.
    pub(super) fn seal(&mut self, inputs: Inputs) {
        self.open = None;
        self.sealed.push(Batch { inputs, on_chain: None });
    }

    /// Opens the data that were sealed last again, so that they are made anew. Returns `false` if
    /// `number` is that of other data, or if a chain has them.
    pub(super) fn unseal(&mut self, number: usize) -> bool {
        let is_last = self.sealed.len() == number + 1;
        let opened = self.sealed.pop_if(|batch| is_last && batch.on_chain.is_none());
        if opened.is_some() {
            self.open = None;
        }
        opened.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(SourceState::read(folder.path()).unwrap(), SourceState::default());
        let open = Some(IngestState { documents: 3, options: "aa".into() });
        let mut state = SourceState { sealed: Vec::new(), open };
        state.write(folder.path()).unwrap();
        assert_eq!(SourceState::read(folder.path()).unwrap(), state);
        state.seal(Inputs { documents: 3, bytes: 40, files: None });
        let manifests = vec![4, 5];
        state.sealed[0].on_chain = Some(ChainRecord {
            chain: "bb".into(),
            source: Some(1),
            manifests,
            released: [4].into(),
        });
        state.write(folder.path()).unwrap();
        let read = SourceState::read(folder.path()).unwrap();
        assert_eq!((&read, read.offered().documents), (&state, 3));
        assert_eq!(read.sealed_folders(folder.path()), [folder.path().join("data")]);
        fs::write(folder.path().join(FILE), "{").unwrap();
        let error = SourceState::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("is damaged; restore it"), "{error}");
    }

    #[test]
    fn only_the_last_data_are_opened_again_and_only_off_the_chain() {
        let mut state = SourceState::default();
        assert!(!state.unseal(0));
        (0..2).for_each(|_| state.seal(Inputs::default()));
        assert!(!state.unseal(0) && state.unseal(1));
        assert_eq!(state.sealed.len(), 1);
        let chain = ChainRecord { chain: "aa".into(), ..ChainRecord::default() };
        state.sealed[0].on_chain = Some(chain);
        assert!(!state.unseal(0), "it is on a chain");
    }

    #[test]
    fn later_data_have_folders_of_their_own() {
        let name = |number| batch_folder(Path::new("a"), number);
        assert_eq!(name(0), Path::new("a/data"));
        assert_eq!((name(1), name(9)), ("a/data-2".into(), "a/data-10".into()));
    }

    #[test]
    fn changed_files_are_other_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let files = [folder.path().to_owned()];
        fs::write(folder.path().join("a.txt"), "A text.").unwrap();
        let first = Inputs::of_files(&files).unwrap();
        assert_eq!(Inputs::of_files(&files).unwrap(), first);
        fs::write(folder.path().join("b.txt"), "Another text.").unwrap();
        assert_ne!(Inputs::of_files(&files).unwrap(), first);
    }
}
