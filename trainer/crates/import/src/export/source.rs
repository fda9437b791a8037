// SPDX-License-Identifier: Apache-2.0

//! Models of ours, read one tensor at a time.

use crate::{ImportError, SpecialTokens, folder, opened::FolderWeights, tokenizer};
use pol_model::Layout;
use pol_primitives::{Hash, model::ModelSpec};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A model that can be exported: a folder, or parameters in memory.
pub struct ExportSource {
    pub(super) spec: ModelSpec,
    pub(super) special: SpecialTokens,
    /// Content of `tokenizer.json`.
    pub(super) tokenizer: Option<Vec<u8>>,
    /// Name for people.
    pub(super) name: String,
    pub(super) root: Hash,
    values: Values,
}

/// Place of the parameters.
enum Values {
    Folder { path: PathBuf, weights: FolderWeights },
    Memory { parameters: Arc<Vec<f32>>, layout: Layout },
}

impl ExportSource {
    /// Opens a folder that an import or an adaptation wrote. Weights are read by the export, which
    /// checks them against the report.
    ///
    /// # Errors
    ///
    /// Fails if `folder` is not an imported model, or if a file cannot be read or does not fit the
    /// others.
    pub fn open(path: &Path) -> Result<Self, ImportError> {
        let (spec, report) = folder::describe(path)?;
        let weights = FolderWeights::open(path, &spec)?;
        let tokenizer = folder::own_tokenizer(path, &report)?;
        let name = path.canonicalize().ok();
        let name = name.as_deref().and_then(Path::file_name).unwrap_or(path.as_os_str());
        Ok(Self {
            spec,
            special: report.special,
            tokenizer,
            name: name.to_string_lossy().into_owned(),
            root: report.root,
            values: Values::Folder { path: path.to_owned(), weights },
        })
    }

    /// Takes a model in memory, such as one that a network trained: its `parameters` with their
    /// `root`, the content of its `tokenizer.json`, and a `name` for people.
    ///
    /// # Errors
    ///
    /// Fails if the parameters or the tokenizer do not fit the specification.
    pub fn new(
        spec: &ModelSpec,
        parameters: Arc<Vec<f32>>,
        root: Hash,
        tokenizer: Vec<u8>,
        special: SpecialTokens,
        name: &str,
    ) -> Result<Self, ImportError> {
        let layout = Layout::new(spec)
            .map_err(|invalid| ImportError::Spec { from: name.to_owned(), invalid })?;
        if layout.len() != parameters.len() {
            let (expected, found) = (layout.len(), parameters.len());
            return Err(pol_model::Error::Length { expected, found }.into());
        }
        let tokenizer = tokenizer::check(tokenizer, name, spec.vocabulary, special.begin)?;
        Ok(Self {
            spec: *spec,
            special: SpecialTokens { begin: tokenizer.begin, ..special },
            tokenizer: Some(tokenizer.json),
            name: name.to_owned(),
            root,
            values: Values::Memory { parameters, layout },
        })
    }

    /// Returns the architecture.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Reads canonical tensor `index`.
    pub(super) fn tensor(&self, index: usize) -> Result<Vec<f32>, ImportError> {
        match &self.values {
            Values::Folder { weights, .. } => weights.tensor(index),
            Values::Memory { parameters, layout } => {
                let slot = &layout.tensors()[index];
                Ok(parameters[slot.range()].to_vec())
            }
        }
    }

    /// Returns the error of weights that are not those of the root.
    pub(super) fn damaged(&self) -> ImportError {
        let folder = match &self.values {
            Values::Folder { path, .. } => path.clone(),
            Values::Memory { .. } => PathBuf::from(&self.name),
        };
        let reason = "the weights hash to another root than its report says".to_owned();
        ImportError::Damaged { folder, reason }
    }
}
