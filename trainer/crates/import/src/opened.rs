// SPDX-License-Identifier: Apache-2.0

//! Folders of imported models, opened.

use crate::{
    Checkpoint, ImportError,
    files::{TensorEntry, TensorTable},
    folder::{ImportedModel, KEPT_FILE, REPORT_FILE, SPEC_FILE, describe, own_tokenizer},
    report::ImportReport,
    source_files::{WEIGHTS_FILE, read_safetensors},
};
use pol_data::TOKENIZER_FILE;
use pol_model::Layout;
use pol_primitives::model::ModelSpec;
use std::path::{Path, PathBuf};

/// Maximum number of parameters that are read at a time, so that they are hashed from a near cache.
const PART_VALUES: u64 = 1 << 16;

/// Loads the model in `folder` and checks that the folder has not changed since it was written.
///
/// [`open`] does the same without all parameters in memory at once.
///
/// # Errors
///
/// Fails if `folder` is not an imported model, if a file cannot be read, or if its content has
/// changed.
pub fn load(folder: &Path) -> Result<ImportedModel, ImportError> {
    let mut model = open(folder)?;
    let parameters = model.read_all()?;
    let root = model.report.root;
    let OpenModel { spec, tokenizer, report, .. } = model;
    Ok(ImportedModel { spec, parameters, root, tokenizer, report })
}

/// Opens the model in `folder`, whose parameters are then read part by part.
///
/// # Errors
///
/// Fails if `folder` is not an imported model, if a file cannot be read, or if the tokenizer has
/// changed.
pub fn open(folder: &Path) -> Result<OpenModel, ImportError> {
    let (spec, report) = describe(folder)?;
    let weights = FolderWeights::open(folder, &spec)?;
    let tokenizer = own_tokenizer(folder, &report)?;
    Ok(OpenModel {
        spec,
        tokenizer,
        report,
        folder: folder.to_owned(),
        weights,
        lengths: spec.parameters().iter().map(|parameter| parameter.len() as u64).collect(),
        read: (0, 0),
        decoded: Vec::new(),
        hasher: blake3::Hasher::new(),
    })
}

/// An imported model whose parameters are still on disk.
///
/// They are read by position and hashed on the way. A file that is cut short or changed meanwhile
/// is therefore an error, where a mapped one would end the process or change weights in use.
#[derive(Debug)]
pub struct OpenModel {
    /// Architecture.
    pub spec: ModelSpec,
    /// Content of `tokenizer.json`, if the model has a tokenizer.
    pub tokenizer: Option<Vec<u8>>,
    /// Report of the import. It has the root, which is checked with the last parameter.
    pub report: ImportReport,
    folder: PathBuf,
    weights: FolderWeights,
    /// Numbers of values of the tensors, in canonical order.
    lengths: Vec<u64>,
    /// Tensors that were read, and values of the next one.
    read: (usize, u64),
    /// Values of a tensor of a checkpoint.
    decoded: Vec<f32>,
    hasher: blake3::Hasher,
}

impl OpenModel {
    /// Returns the folder of the model.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the number of parameters that were not read yet.
    pub fn remaining(&self) -> usize {
        let (tensors, values) = self.read;
        let ahead = self.lengths.iter().skip(tensors).sum::<u64>();
        (ahead - values) as usize
    }

    /// Reads all parameters that were not read yet, and compares the root as [`read`](Self::read)
    /// does.
    ///
    /// # Errors
    ///
    /// Fails as [`read`](Self::read) does.
    pub fn read_all(&mut self) -> Result<Vec<f32>, ImportError> {
        // The file is known to have as many values as the specification claims.
        let mut parameters = vec![0.0; self.remaining()];
        self.read(&mut parameters)?;
        Ok(parameters)
    }

    /// Fills `values` with the next parameters in canonical order.
    ///
    /// The call that reads the last parameter compares the root of all of them with the report.
    /// Parameters are not to be used before.
    ///
    /// # Errors
    ///
    /// Fails if fewer parameters remain, if the file cannot be read, or if the model has another
    /// root than the report says. The call is then not to be repeated.
    pub fn read(&mut self, values: &mut [f32]) -> Result<(), ImportError> {
        let (expected, found) = (self.remaining(), values.len());
        if found > expected {
            return Err(pol_model::Error::Length { expected, found }.into());
        }
        let mut rest = values;
        while let Some(&length) = self.lengths.get(self.read.0).filter(|_| !rest.is_empty()) {
            let len = (length - self.read.1).min(PART_VALUES).min(rest.len() as u64);
            let (part, after) = rest.split_at_mut(len as usize);
            self.weights.read(self.read, part, &mut self.decoded)?;
            self.hasher.update(bytemuck::cast_slice(part));
            self.read.1 += len;
            if self.read.1 == length {
                self.read = (self.read.0 + 1, 0);
            }
            rest = after;
        }
        let is_complete = self.read.0 == self.lengths.len() && found > 0;
        if is_complete && *self.hasher.finalize().as_bytes() != self.report.root {
            let reason = format!("the weights hash to another root than {REPORT_FILE} says");
            return Err(ImportError::Damaged { folder: self.folder.clone(), reason });
        }
        Ok(())
    }
}

/// Weights of a folder.
pub(crate) enum FolderWeights {
    /// Tensors in canonical order.
    Tensors { path: PathBuf, table: TensorTable, entries: Vec<TensorEntry> },
    /// A quantised checkpoint, which is decoded as it was when it was imported.
    Checkpoint(Box<Checkpoint>),
}

impl std::fmt::Debug for FolderWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tensors { .. } => "Tensors",
            Self::Checkpoint(_) => "Checkpoint",
        })
    }
}

impl FolderWeights {
    /// Opens the weights of `folder`, which must be those of a model of `spec`.
    pub(crate) fn open(folder: &Path, spec: &ModelSpec) -> Result<Self, ImportError> {
        let kept = folder.join(KEPT_FILE);
        if !kept.is_file() {
            let (table, entries) = open_weights(folder, spec)?;
            return Ok(Self::Tensors { path: folder.join(WEIGHTS_FILE), table, entries });
        }
        // The folder's own tokenizer is compared with the report, and need not be that of the file.
        let tokenizer = folder.join(TOKENIZER_FILE);
        let tokenizer = tokenizer.is_file().then_some(tokenizer.as_path());
        let checkpoint = Checkpoint::open(&kept, tokenizer)?;
        if checkpoint.spec() != spec {
            let reason = format!("{KEPT_FILE} is of another model than {SPEC_FILE}");
            return Err(ImportError::Damaged { folder: folder.to_owned(), reason });
        }
        Ok(Self::Checkpoint(checkpoint.into()))
    }

    /// Reads canonical tensor `index`.
    pub(crate) fn tensor(&self, index: usize) -> Result<Vec<f32>, ImportError> {
        match self {
            Self::Tensors { path, table, entries } => table
                .decode(&entries[index])
                .map_err(|source| ImportError::File { path: path.clone(), source }),
            Self::Checkpoint(checkpoint) => checkpoint.tensor(index),
        }
    }

    /// Fills `values` from value `first` of a tensor on. `decoded` keeps a tensor that can only be
    /// decoded whole, from its first value on.
    fn read(
        &self,
        (index, first): (usize, u64),
        values: &mut [f32],
        decoded: &mut Vec<f32>,
    ) -> Result<(), ImportError> {
        match self {
            Self::Tensors { path, table, entries } => table
                .decode_part(&entries[index], first, values)
                .map_err(|source| ImportError::File { path: path.clone(), source }),
            Self::Checkpoint(checkpoint) => {
                if first == 0 {
                    // Two large tensors are never in memory at once.
                    *decoded = Vec::new();
                    *decoded = checkpoint.tensor(index)?;
                }
                let end = first as usize + values.len();
                values.copy_from_slice(&decoded[first as usize..end]);
                if end >= decoded.len() {
                    *decoded = Vec::new();
                }
                Ok(())
            }
        }
    }
}

/// Opens the weights of `folder`, which must have the tensors of `spec` and no others. Returns the
/// tensors in canonical order.
fn open_weights(
    folder: &Path,
    spec: &ModelSpec,
) -> Result<(TensorTable, Vec<TensorEntry>), ImportError> {
    let damaged = |reason: String| ImportError::Damaged { folder: folder.to_owned(), reason };
    let layout = Layout::new(spec).map_err(|invalid| damaged(format!("{SPEC_FILE}: {invalid}")))?;
    let table = read_safetensors(&folder.join(WEIGHTS_FILE))?;
    if table.entries().len() != layout.tensors().len() {
        let (found, expected) = (table.entries().len(), layout.tensors().len());
        return Err(damaged(format!(
            "{WEIGHTS_FILE} has {found} tensors where {SPEC_FILE} asks for {expected}"
        )));
    }
    let mut entries = Vec::new();
    for slot in layout.tensors() {
        let name = &slot.parameter.name;
        let entry = table
            .entries()
            .get(name)
            .ok_or_else(|| damaged(format!("{WEIGHTS_FILE} has no tensor {name}")))?;
        if !entry.shape.iter().copied().eq(slot.parameter.shape.iter().copied().map(u64::from)) {
            return Err(damaged(format!(
                "tensor {name} is {:?} where {SPEC_FILE} asks for {:?}",
                entry.shape, slot.parameter.shape
            )));
        }
        entries.push(entry.clone());
    }
    Ok((table, entries))
}
