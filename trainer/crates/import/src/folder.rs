// SPDX-License-Identifier: Apache-2.0

//! Folders of imported models.

use crate::{
    ImportError,
    files::{Encoding, safetensors},
    report::ImportReport,
    source_files::{WEIGHTS_FILE, read_file},
};
use half::f16;
use pol_data::TOKENIZER_FILE;
use pol_primitives::{Hash, model::ModelSpec};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// File of the architecture, a [`ModelSpec`] in JSON.
pub const SPEC_FILE: &str = "spec.json";
/// File of the [`ImportReport`] in JSON.
pub const REPORT_FILE: &str = "report.json";
/// File of a quantised checkpoint, if it is kept as it is.
pub const KEPT_FILE: &str = "weights.gguf";
/// Values that are encoded at a time.
const PART_VALUES: usize = 1 << 16;

/// An imported model.
#[derive(Debug)]
pub struct ImportedModel {
    /// Architecture.
    pub spec: ModelSpec,
    /// Parameters in canonical order.
    pub parameters: Vec<f32>,
    /// Root of the model: BLAKE3 of the parameters as little-endian float32.
    pub root: Hash,
    /// Content of `tokenizer.json`, if the model has a tokenizer.
    pub tokenizer: Option<Vec<u8>>,
    /// Report of the import.
    pub report: ImportReport,
}

impl ImportedModel {
    /// Writes the model to the folder `out`, as [`Checkpoint::save`](crate::Checkpoint::save) does.
    /// Returns the report with the current root and size.
    ///
    /// # Errors
    ///
    /// Fails if `out` must not be replaced, if a file cannot be written, or if the parameters do
    /// not fit the specification.
    pub fn save(&self, out: &Path, force: bool) -> Result<ImportReport, ImportError> {
        let mut remaining = self.parameters.as_slice();
        let parameters = self.spec.parameters();
        let tensors = parameters.iter().map(|parameter| {
            let wrong_length = || pol_model::Error::Length {
                expected: self.spec.size() as usize,
                found: self.parameters.len(),
            };
            let (values, after) =
                remaining.split_at_checked(parameter.len()).ok_or_else(wrong_length)?;
            remaining = after;
            Ok(values.to_vec())
        });
        let (tokenizer, report) = (self.tokenizer.as_deref(), self.report.clone());
        write(out, force, &self.spec, tokenizer, report, |folder| {
            write_weights(&folder.join(WEIGHTS_FILE), &self.spec, tensors)
        })
    }
}

/// Reads the tokenizer of an imported model, which must be the one that its report describes.
pub(crate) fn own_tokenizer(
    folder: &Path,
    report: &ImportReport,
) -> Result<Option<Vec<u8>>, ImportError> {
    let Some(expected) = &report.tokenizer else { return Ok(None) };
    let json = read_file(&folder.join(TOKENIZER_FILE))?;
    if blake3::hash(&json) == expected.hash {
        return Ok(Some(json));
    }
    let reason = format!("{TOKENIZER_FILE} hashes to something else than {REPORT_FILE} says");
    Err(ImportError::Damaged { folder: folder.to_owned(), reason })
}

/// Reads the specification and the report of an imported model. The weights are not read.
///
/// # Errors
///
/// Fails if `folder` is not an imported model or a file cannot be parsed.
pub fn describe(folder: &Path) -> Result<(ModelSpec, ImportReport), ImportError> {
    fn parse<T: serde::de::DeserializeOwned>(folder: &Path, file: &str) -> Result<T, ImportError> {
        let path = folder.join(file);
        if !path.is_file() {
            return Err(ImportError::Source(format!(
                "{} is not an imported model: it has no {file}; \
                 make one with `pol-trainer model import`",
                folder.display()
            )));
        }
        serde_json::from_slice(&read_file(&path)?).map_err(|error| ImportError::Damaged {
            folder: folder.to_owned(),
            reason: format!("{file}: {error}"),
        })
    }
    Ok((parse(folder, SPEC_FILE)?, parse(folder, REPORT_FILE)?))
}

/// Checks that the folder `out` may be written: it does not exist, is empty, or is an imported
/// model and `force` is set.
///
/// # Errors
///
/// Fails if `out` must not be written.
pub fn check_writable(out: &Path, force: bool) -> Result<(), ImportError> {
    let is_empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if !out.exists() || is_empty {
        return Ok(());
    }
    // Only a folder written by an import is ever deleted.
    if force && out.join(SPEC_FILE).is_file() && out.join(REPORT_FILE).is_file() {
        Ok(())
    } else {
        Err(ImportError::Exists(out.to_owned()))
    }
}

/// Writes the folder `out`, whole or not at all: the weights of `spec`, the tokenizer and the
/// report. `weights` writes them into a folder and returns their root. Returns `report` with root
/// and size filled in. An imported model at `out` is replaced if `force` is set.
pub(crate) fn write(
    out: &Path,
    force: bool,
    spec: &ModelSpec,
    tokenizer: Option<&[u8]>,
    mut report: ImportReport,
    weights: impl FnOnce(&Path) -> Result<Hash, ImportError>,
) -> Result<ImportReport, ImportError> {
    check_writable(out, force)?;
    write_folder(out, ".import-", |folder| {
        report.root = weights(folder)?;
        report.parameters = spec.size();
        write_json(&folder.join(SPEC_FILE), spec)?;
        write_json(&folder.join(REPORT_FILE), &report)?;
        tokenizer.map_or(Ok(()), |json| write_file(&folder.join(TOKENIZER_FILE), json))?;
        Ok(report)
    })
}

/// Keeps the checkpoint in the file `source` in `folder`, by a link if that is possible. Returns
/// the root of its `tensors`.
pub(crate) fn keep_checkpoint(
    folder: &Path,
    source: &Path,
    tensors: impl Iterator<Item = Result<Vec<f32>, ImportError>>,
) -> Result<Hash, ImportError> {
    let kept = folder.join(KEPT_FILE);
    // Files of a cache may be links by name, which would end with the cache.
    let source = source.canonicalize().map_err(io_error("find", source))?;
    fs::hard_link(&source, &kept)
        .or_else(|_| fs::copy(&source, &kept).map(drop))
        .and_then(|()| File::open(&kept)?.sync_all())
        .map_err(io_error("write", &kept))?;
    let mut hasher = blake3::Hasher::new();
    for values in tensors {
        hasher.update(bytemuck::cast_slice(&values?));
    }
    Ok(*hasher.finalize().as_bytes())
}

/// Writes the folder `out`, whole or not at all: `fill` writes its files. An existing folder is
/// replaced.
pub(crate) fn write_folder<T>(
    out: &Path,
    prefix: &str,
    fill: impl FnOnce(&Path) -> Result<T, ImportError>,
) -> Result<T, ImportError> {
    let parent = create_parent(out)?;
    let folder = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in(parent)
        .map_err(io_error("create a folder in", parent))?;
    let filled = fill(folder.path())?;
    make_readable(folder.path()).map_err(io_error("open to others", folder.path()))?;
    let written = folder.keep();
    replace(out, &written, parent).map_err(|source| {
        let _ = fs::remove_dir_all(&written);
        io_error("replace", out)(source)
    })?;
    Ok(filled)
}

/// Creates the folder that `out` lies in, and returns it.
pub(crate) fn create_parent(out: &Path) -> Result<&Path, ImportError> {
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(io_error("create", parent))?;
    Ok(parent)
}

/// Writes a description.
pub(crate) fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), ImportError> {
    let json = serde_json::to_vec_pretty(value).map_err(io::Error::from);
    write_file(path, &json.map_err(io_error("describe", path))?)
}

/// Writes a file through to the disk.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> Result<(), ImportError> {
    File::create(path)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .map_err(io_error("write", path))
}

/// Writes `tensors` one at a time and returns the root of the model. Each is written in the
/// smallest encoding that keeps every bit of it.
pub(crate) fn write_weights(
    path: &Path,
    spec: &ModelSpec,
    tensors: impl Iterator<Item = Result<Vec<f32>, ImportError>>,
) -> Result<Hash, ImportError> {
    let shapes: Vec<(String, Vec<u64>)> = spec
        .parameters()
        .into_iter()
        .map(|parameter| (parameter.name, parameter.shape.into_iter().map(u64::from).collect()))
        .collect();
    let mut encodings = vec![Encoding::F32; shapes.len()];
    let header = |encodings: &[Encoding], least: usize| {
        let tensors = shapes.iter().zip(encodings);
        let tensors = tensors.map(|((name, shape), of)| (name.as_str(), shape.as_slice(), *of));
        safetensors::header(tensors, least)
    };
    // Encodings are known when the tensors are, so the header is written last. Names of encodings
    // have a letter more than that of float32 at most, and offsets are no longer.
    let reserved = header(&encodings, 0).len() + shapes.len().next_multiple_of(8);
    let mut file = BufWriter::new(File::create(path).map_err(io_error("create", path))?);
    file.write_all(&vec![0; reserved]).map_err(io_error("write", path))?;
    // The hash of `pol_model::hash_values`, tensor by tensor, because a model may not fit in
    // memory.
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for (index, values) in tensors.enumerate() {
        let values = values?;
        hasher.update(bytemuck::cast_slice(&values));
        let encoding = exact_encoding(&values);
        if let Some(known) = encodings.get_mut(index) {
            *known = encoding;
        }
        for part in values.chunks(PART_VALUES) {
            bytes.clear();
            let encoded = encoding.encode(part, &mut bytes);
            let encoded = encoded.map_err(|_| io::Error::from(io::ErrorKind::InvalidData));
            encoded.and_then(|()| file.write_all(&bytes)).map_err(io_error("write", path))?;
        }
    }
    let mut file =
        file.into_inner().map_err(|error| io_error("write", path)(error.into_error()))?;
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(&header(&encodings, reserved)))
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))?;
    Ok(*hasher.finalize().as_bytes())
}

/// Returns the smallest encoding of scalars that keeps every bit of `values`.
fn exact_encoding(values: &[f32]) -> Encoding {
    let is_half = |value: &f32| f16::from_f32(*value).to_f32().to_bits() == value.to_bits();
    // Tensors behind those of two bytes a value have to begin at multiples of four bytes.
    if !values.len().is_multiple_of(2) || !values.iter().all(|value| value.is_finite()) {
        Encoding::F32
    } else if values.iter().fold(0, |all, value| all | value.to_bits()) & 0xffff == 0 {
        Encoding::Bf16
    } else if values.iter().all(is_half) {
        Encoding::F16
    } else {
        Encoding::F32
    }
}

/// Moves the folder `written` to `out` in the folder `parent`. An existing `out` is deleted.
fn replace(out: &Path, written: &Path, parent: &Path) -> io::Result<()> {
    if out.exists() {
        let old = tempfile::Builder::new().prefix(".replaced-").tempdir_in(parent)?;
        fs::rename(out, old.path().join("old"))?;
    }
    fs::rename(written, out)?;
    File::open(parent)?.sync_all()
}

/// Gives a temporary folder, which only its owner can read, the permissions of an ordinary one.
fn make_readable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

pub(crate) fn io_error(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(io::Error) -> ImportError + use<> {
    let path: PathBuf = path.to_owned();
    move |source| ImportError::Io { action, path, source }
}
