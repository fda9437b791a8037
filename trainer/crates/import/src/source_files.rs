// SPDX-License-Identifier: Apache-2.0

//! Files of a checkpoint: a Hugging Face folder or a GGUF file.

use crate::{
    ImportError,
    files::{DiskFile, TensorTable, gguf, refuse_pointer, safetensors},
    tokenizer,
};
use pol_data::TOKENIZER_FILE;
use pol_sources::hub::is_plain_name;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// File of the weights. An imported model has them in canonical order and with canonical names.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// File that lists the files of weights in several parts.
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";
/// File of the description.
pub(crate) const CONFIG_FILE: &str = "config.json";
/// Maximum size of a description or a tokenizer in bytes.
pub(crate) const MAX_TEXT_BYTES: u64 = 1 << 28;

/// Reads a file that does not hold weights.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ImportError> {
    let failed = |source| ImportError::Io { action: "read", path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_TEXT_BYTES {
        return Err(ImportError::Source(format!(
            "{} has {size} bytes, more than any such file needs",
            path.display()
        )));
    }
    let bytes = fs::read(path).map_err(failed)?;
    refuse_pointer(&bytes).map_err(|source| ImportError::File { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Reads the tensors of a Hugging Face folder, from one file or several.
pub(crate) fn read_weights(folder: &Path) -> Result<TensorTable, ImportError> {
    let single = folder.join(WEIGHTS_FILE);
    if single.is_file() {
        return read_safetensors(&single);
    }
    let index = folder.join(INDEX_FILE);
    if !index.is_file() {
        let advice = if folder.join("pytorch_model.bin").is_file()
            || folder.join("pytorch_model.bin.index.json").is_file()
        {
            "it has a pytorch_model.bin, which can run code when it is read and is therefore not; \
             save it again with model.save_pretrained(DIR, safe_serialization=True)"
        } else {
            "copy the whole checkpoint there"
        };
        return Err(ImportError::Source(format!(
            "{} has no {WEIGHTS_FILE} nor {INDEX_FILE}: {advice}",
            folder.display()
        )));
    }
    read_shards(folder, &index)
}

fn read_shards(folder: &Path, index: &Path) -> Result<TensorTable, ImportError> {
    let places = parse_index(&read_file(index)?, index)?;
    let mut files: Vec<&str> = places.values().map(String::as_str).collect();
    files.sort_unstable();
    files.dedup();
    let mut table = TensorTable::default();
    for file in files {
        let path = folder.join(file);
        if !path.is_file() {
            return Err(ImportError::Source(format!(
                "{} names {file}, which is not there; download it too",
                index.display()
            )));
        }
        table.merge(read_safetensors(&path)?).map_err(|name| ImportError::Contradiction {
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

/// Returns the file of each tensor from the content of an index. Files must be plain names, so that
/// the index cannot lead out of its folder.
pub(crate) fn parse_index(
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
    let mut files = index.weight_map.values();
    if let Some(file) = files.find(|file| !is_plain_name(file) || !file.ends_with(".safetensors")) {
        return Err(refuse(format!(
            "it names {file:?}, which is not a .safetensors file beside it"
        )));
    }
    Ok(index.weight_map)
}

pub(crate) fn read_safetensors(path: &Path) -> Result<TensorTable, ImportError> {
    safetensors::read(Box::new(open(path)?))
        .map_err(|source| ImportError::File { path: path.to_owned(), source })
}

pub(crate) fn read_gguf(path: &Path) -> Result<(gguf::Metadata, TensorTable), ImportError> {
    gguf::read(Box::new(open(path)?))
        .map_err(|source| ImportError::File { path: path.to_owned(), source })
}

fn open(path: &Path) -> Result<DiskFile, ImportError> {
    DiskFile::open(path).map_err(|source| ImportError::Io {
        action: "open",
        path: path.to_owned(),
        source,
    })
}

/// Reads the tokenizer of a Hugging Face folder and the file that it comes from; `None` if there is
/// none.
pub(crate) fn read_tokenizer(folder: &Path) -> Result<Option<(Vec<u8>, PathBuf)>, ImportError> {
    let path = folder.join(TOKENIZER_FILE);
    if path.is_file() {
        return Ok(Some((read_file(&path)?, path)));
    }
    let (vocab, merges) = (folder.join("vocab.json"), folder.join("merges.txt"));
    if vocab.is_file() && merges.is_file() {
        let json = tokenizer::from_vocab_and_merges(
            &read_file(&vocab)?,
            &read_file(&merges)?,
            &folder.display().to_string(),
        )?;
        return Ok(Some((json, vocab)));
    }
    Ok(None)
}
