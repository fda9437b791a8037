// SPDX-License-Identifier: Apache-2.0

//! Inputs and options of the data that a source's folder holds.

use anyhow::{Context, Result};
use pol_corpus::{Content, inputs, pipeline::ReferenceFiles};
use pol_data::IngestConfig;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// File of the state, in the folder of a source.
const FILE: &str = "state.json";

/// Inputs and options of the data in a folder. The store's cursor is no part of it, as it changes
/// also when a source has nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IngestState {
    /// Documents of the store.
    documents: u64,
    /// Digest of the options, the tokenizer, and the references, in hexadecimal.
    options: String,
}

impl IngestState {
    /// Returns the state after an ingestion.
    pub(super) fn new(
        documents: u64,
        config: &IngestConfig,
        references: &ReferenceFiles,
    ) -> Result<Self> {
        let mut hasher = blake3::Hasher::new_derive_key("pol-trainer 2026 acquisition");
        let IngestConfig { corpus, text_fields, sequence, shard_tokens, .. } = config;
        let options =
            serde_json::to_vec(&(corpus, references, text_fields, sequence, shard_tokens))?;
        hasher.update(&options);
        hasher.update(env!("CARGO_PKG_VERSION").as_bytes());
        hasher.update(format!("{:?} {:?}", config.end_of_text, config.lineage).as_bytes());
        let ReferenceFiles { quality_model, opt_out, decontaminate, against } = references;
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
        Ok(Self { documents, options: hasher.finalize().to_hex().to_string() })
    }

    /// Returns the state in a folder. A torn file is none: the data are then made anew.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let context = || format!("cannot write {}", path.display());
        fs::write(&path, serde_json::to_vec(self)?).with_context(context)
    }
}
