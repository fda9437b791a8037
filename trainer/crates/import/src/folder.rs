//! Folders of checkpoints on one side, of imported models on the other.

use crate::{
    ImportError, Report,
    files::{Disk, Table, gguf, safetensors},
    tokenizer,
};
use pol_model::Layout;
use pol_primitives::{Hash, model::ModelSpec};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

/// The weights, in canonical order and with canonical names.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// The architecture, a [`ModelSpec`].
pub const SPEC_FILE: &str = "spec.json";
/// The tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";
/// What was imported from where, a [`Report`].
pub const REPORT_FILE: &str = "report.json";

/// The list of files that weights are spread over.
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";
pub(super) const CONFIG_FILE: &str = "config.json";
/// Largest description or tokenizer, in bytes.
pub(super) const MAX_TEXT: u64 = 1 << 28;

/// A model that was imported.
#[derive(Debug)]
pub struct Model {
    /// Its architecture.
    pub spec: ModelSpec,
    /// Its parameters in canonical order.
    pub parameters: Vec<f32>,
    /// BLAKE3 of the parameters as little-endian bytes, the name of the model.
    pub root: Hash,
    /// Its `tokenizer.json`, if it has one.
    pub tokenizer: Option<Vec<u8>>,
    /// What was imported from where.
    pub report: Report,
}

/// Reads the folder that an import wrote, and checks that nothing in it changed since.
pub fn load(folder: &Path) -> Result<Model, ImportError> {
    let (spec, report) = describe(folder)?;
    let damaged = |reason: String| ImportError::Damaged { folder: folder.to_owned(), reason };
    let layout =
        Layout::new(&spec).map_err(|invalid| damaged(format!("{SPEC_FILE}: {invalid}")))?;
    let path = folder.join(WEIGHTS_FILE);
    let table = read_safetensors(&path)?;
    if table.entries().len() != layout.tensors().len() {
        let (found, expected) = (table.entries().len(), layout.tensors().len());
        return Err(damaged(format!(
            "{WEIGHTS_FILE} has {found} tensors where {SPEC_FILE} asks for {expected}"
        )));
    }
    let mut parts = Vec::new();
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
        parts.push(entry);
    }
    // Only now is it certain that the file has as many values as the specification claims.
    let mut parameters = Vec::with_capacity(layout.len());
    let mut hasher = blake3::Hasher::new();
    for entry in parts {
        let values = table
            .values(entry)
            .map_err(|source| ImportError::File { path: path.clone(), source })?;
        hasher.update(bytemuck::cast_slice(&values));
        parameters.extend_from_slice(&values);
    }
    let root = *hasher.finalize().as_bytes();
    if root != report.root {
        return Err(damaged(format!("the weights hash to another root than {REPORT_FILE} says")));
    }
    let tokenizer = match &report.tokenizer {
        None => None,
        Some(expected) => {
            let json = read(&folder.join(TOKENIZER_FILE))?;
            if blake3::hash(&json) != expected.hash {
                return Err(damaged(format!(
                    "{TOKENIZER_FILE} hashes to something else than {REPORT_FILE} says"
                )));
            }
            Some(json)
        }
    };
    Ok(Model { spec, parameters, root, tokenizer, report })
}

/// What the folder that an import wrote says of itself; the weights are not read.
pub fn describe(folder: &Path) -> Result<(ModelSpec, Report), ImportError> {
    fn parse<T: serde::de::DeserializeOwned>(folder: &Path, file: &str) -> Result<T, ImportError> {
        let path = folder.join(file);
        if !path.is_file() {
            return Err(ImportError::Source(format!(
                "{} is not an imported model: it has no {file}; make one with `pol-trainer model import`",
                folder.display()
            )));
        }
        serde_json::from_slice(&read(&path)?).map_err(|error| ImportError::Damaged {
            folder: folder.to_owned(),
            reason: format!("{file}: {error}"),
        })
    }
    Ok((parse(folder, SPEC_FILE)?, parse(folder, REPORT_FILE)?))
}

/// Writes the folder `out`, whole or not at all: the `tensors` of `spec` in canonical order, the
/// tokenizer, and `report`, which is given back with the root and size filled in. An existing
/// folder is replaced only when that is forced.
pub(super) fn write(
    out: &Path,
    force: bool,
    spec: &ModelSpec,
    tokenizer: Option<&[u8]>,
    tensors: impl Iterator<Item = Result<Vec<f32>, ImportError>>,
    mut report: Report,
) -> Result<Report, ImportError> {
    may_write(out, force)?;
    let at = |what, path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Io { what, path, source }
    };
    let parent = match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(at("create", parent))?;
    let folder = tempfile::Builder::new()
        .prefix(".import-")
        .tempdir_in(parent)
        .map_err(at("create a folder in", parent))?;

    let parameters = spec.parameters();
    let path = folder.path().join(WEIGHTS_FILE);
    let mut file = BufWriter::new(File::create(&path).map_err(at("create", &path))?);
    let header = safetensors::header(
        parameters.iter().map(|parameter| (parameter.name.as_str(), parameter.shape.as_slice())),
    );
    file.write_all(&header).map_err(at("write", &path))?;
    let mut hasher = blake3::Hasher::new();
    for values in tensors {
        let values = values?;
        let bytes = bytemuck::cast_slice(&values);
        hasher.update(bytes);
        file.write_all(bytes).map_err(at("write", &path))?;
    }
    let file = file.into_inner().map_err(|error| at("write", &path)(error.into_error()))?;
    file.sync_all().map_err(at("write", &path))?;

    report.root = *hasher.finalize().as_bytes();
    report.parameters = spec.size();
    let json = |what: io::Result<Vec<u8>>| what.map_err(at("describe", out));
    let mut files = vec![
        (SPEC_FILE, json(serde_json::to_vec_pretty(spec).map_err(io::Error::from))?),
        (REPORT_FILE, json(serde_json::to_vec_pretty(&report).map_err(io::Error::from))?),
    ];
    files.extend(tokenizer.map(|json| (TOKENIZER_FILE, json.to_vec())));
    for (name, contents) in files {
        let path = folder.path().join(name);
        let write = || {
            File::create(&path)
                .and_then(|mut file| file.write_all(&contents).and_then(|()| file.sync_all()))
        };
        write().map_err(at("write", &path))?;
    }
    readable(folder.path()).map_err(at("open to others", folder.path()))?;

    let made = folder.keep();
    let replace = || -> io::Result<()> {
        if out.exists() {
            let old = tempfile::Builder::new().prefix(".replaced-").tempdir_in(parent)?;
            fs::rename(out, old.path().join("old"))?;
        }
        fs::rename(&made, out)?;
        File::open(parent)?.sync_all()
    };
    replace().map_err(|source| {
        let _ = fs::remove_dir_all(&made);
        at("replace", out)(source)
    })?;
    Ok(report)
}

/// Whether `out` is free, or may be replaced.
pub(super) fn may_write(out: &Path, force: bool) -> Result<(), ImportError> {
    let is_empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if !out.exists() || is_empty {
        return Ok(());
    }
    // Only what an import wrote is ever deleted.
    if force && out.join(SPEC_FILE).is_file() && out.join(REPORT_FILE).is_file() {
        Ok(())
    } else {
        Err(ImportError::Exists(out.to_owned()))
    }
}

/// Temporary folders are for their owner alone; what is left is a folder like others.
fn readable(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

/// Reads a file that is not weights.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ImportError> {
    let failed = |source| ImportError::Io { what: "read", path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_TEXT {
        return Err(ImportError::Source(format!(
            "{} has {size} bytes, more than any such file needs",
            path.display()
        )));
    }
    fs::read(path).map_err(failed)
}

/// The weights of a Hugging Face folder, from one file or several.
pub(super) fn weights(folder: &Path) -> Result<Table, ImportError> {
    let single = folder.join(WEIGHTS_FILE);
    if single.is_file() {
        return read_safetensors(&single);
    }
    let index = folder.join(INDEX_FILE);
    if !index.is_file() {
        let advice = if folder.join("pytorch_model.bin").is_file()
            || folder.join("pytorch_model.bin.index.json").is_file()
        {
            "it has a pytorch_model.bin, which can run code when it is read and is therefore not; save it again with \
             model.save_pretrained(DIR, safe_serialization=True)"
        } else {
            "copy the whole checkpoint there"
        };
        return Err(ImportError::Source(format!(
            "{} has no {WEIGHTS_FILE} nor {INDEX_FILE}: {advice}",
            folder.display()
        )));
    }
    let places = parse_index(&read(&index)?, &index)?;
    let mut files: Vec<&str> = places.values().map(String::as_str).collect();
    files.sort_unstable();
    files.dedup();
    let mut table = Table::default();
    for file in files {
        let path = folder.join(file);
        if !path.is_file() {
            return Err(ImportError::Source(format!(
                "{} names {file}, which is not there; download it too",
                index.display()
            )));
        }
        table.join(read_safetensors(&path)?).map_err(|name| ImportError::Contradiction {
            name,
            reason: format!("is in {file} and in another file of {}", index.display()),
        })?;
    }
    match places.iter().find(|(name, _)| !table.entries().contains_key(*name)) {
        None => Ok(table),
        Some((name, file)) => Err(ImportError::Contradiction {
            name: name.clone(),
            reason: format!(
                "is not in {file}, where {} has it; download both again",
                index.display()
            ),
        }),
    }
}

/// Which file each tensor is in. Files are plain names: an index must not lead out of its folder.
pub(super) fn parse_index(
    json: &[u8],
    path: &Path,
) -> Result<BTreeMap<String, String>, ImportError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let refuse = |reason: String| ImportError::Config { from: path.display().to_string(), reason };
    let index: Index = serde_json::from_slice(json)
        .map_err(|error| refuse(format!("it is not an index: {error}")))?;
    if let Some(file) =
        index.weight_map.values().find(|file| !is_plain(file) || !file.ends_with(".safetensors"))
    {
        return Err(refuse(format!(
            "it names {file:?}, which is not a .safetensors file beside it"
        )));
    }
    Ok(index.weight_map)
}

/// Whether a name is that of a file in a folder, and not of one elsewhere.
pub(super) fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn read_safetensors(path: &Path) -> Result<Table, ImportError> {
    let disk = open(path)?;
    safetensors::read(Box::new(disk))
        .map_err(|source| ImportError::File { path: path.to_owned(), source })
}

/// Metadata and tensors of a GGUF file.
pub(super) fn read_gguf(path: &Path) -> Result<(gguf::Metadata, Table), ImportError> {
    let disk = open(path)?;
    gguf::read(Box::new(disk)).map_err(|source| ImportError::File { path: path.to_owned(), source })
}

fn open(path: &Path) -> Result<Disk, ImportError> {
    Disk::open(path).map_err(|source| ImportError::Io {
        what: "open",
        path: path.to_owned(),
        source,
    })
}

/// The tokenizer in a Hugging Face folder; none when there is none.
pub(super) fn tokenizer(folder: &Path) -> Result<Option<(Vec<u8>, PathBuf)>, ImportError> {
    let path = folder.join(TOKENIZER_FILE);
    if path.is_file() {
        return Ok(Some((read(&path)?, path)));
    }
    let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    if vocab.is_file() && merges.is_file() {
        let json =
            tokenizer::from_pair(&read(&vocab)?, &read(&merges)?, &folder.display().to_string())?;
        return Ok(Some((json, vocab)));
    }
    Ok(None)
}
