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
/// File of tokens that were added to a `vocab.json`.
pub(crate) const ADDED_TOKENS_FILE: &str = "added_tokens.json";
/// File that names special tokens by their role.
pub(crate) const SPECIAL_TOKENS_FILE: &str = "special_tokens_map.json";
/// File that describes a tokenizer.
pub(crate) const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
/// File of a tokenizer in a form that is not read.
pub(crate) const TOKENIZER_MODEL_FILE: &str = "tokenizer.model";
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

/// Reads the GGUF file at `path`, with all parts of it if it is one of several. The metadata are
/// those of the first part.
pub(crate) fn read_gguf(path: &Path) -> Result<(gguf::Metadata, TensorTable), ImportError> {
    let (metadata, mut table) = read_gguf_file(path)?;
    let parts = integer(&metadata, SPLIT_COUNT).filter(|&parts| parts > 1);
    let Some(parts) = parts else { return Ok((metadata, table)) };
    let refuse = |reason: String| ImportError::Config { from: path.display().to_string(), reason };
    let Some((name, part, _)) = split_name(path).filter(|(_, _, named)| *named == parts) else {
        return Err(refuse(format!(
            "it is a part of a model in {parts} files, which have names such as \
             NAME-00001-of-{parts:05}.gguf; give it its name back"
        )));
    };
    let mut first = None;
    let mut others = Vec::new();
    for other in 1..=parts {
        let (fields, tensors) = if other == part {
            (metadata.clone(), std::mem::take(&mut table))
        } else {
            let file = path.with_file_name(part_name(&name, other, parts));
            if !file.is_file() {
                return Err(refuse(format!(
                    "it is part {part} of {parts}, and part {other} is not beside it; download {} \
                     too",
                    file.display()
                )));
            }
            read_gguf_file(&file)?
        };
        let number = integer(&fields, SPLIT_NUMBER);
        if integer(&fields, SPLIT_COUNT) != Some(parts) || number != Some(other - 1) {
            return Err(refuse(format!(
                "the file in the place of part {other} of {parts} is another one; download it again"
            )));
        }
        if other == 1 {
            first = Some((fields, tensors));
        } else {
            others.push(tensors);
        }
    }
    let (metadata, mut table) = first.ok_or_else(|| refuse("it has no first part".into()))?;
    for tensors in others {
        table.merge(tensors).map_err(|name| ImportError::Contradiction {
            name,
            reason: format!("is in several parts of {}", path.display()),
        })?;
    }
    let (tensors, stated) = (table.entries().len(), integer(&metadata, SPLIT_TENSORS));
    if stated.is_some_and(|stated| stated != tensors as u64) {
        return Err(refuse(format!(
            "its {parts} parts have {tensors} tensors of {}; download them again",
            stated.unwrap_or_default()
        )));
    }
    Ok((metadata, table))
}

/// Number of files of a model, in the metadata of each.
const SPLIT_COUNT: &str = "split.count";
/// Number of a file among them, from 0 on.
const SPLIT_NUMBER: &str = "split.no";
/// Number of tensors in all of them.
const SPLIT_TENSORS: &str = "split.tensors.count";

fn read_gguf_file(path: &Path) -> Result<(gguf::Metadata, TensorTable), ImportError> {
    gguf::read(Box::new(open(path)?))
        .map_err(|source| ImportError::File { path: path.to_owned(), source })
}

fn integer(metadata: &gguf::Metadata, key: &str) -> Option<u64> {
    match metadata.get(key) {
        Some(&gguf::Value::Integer(value)) => u64::try_from(value).ok(),
        _ => None,
    }
}

/// Returns the name of a part of a model in several GGUF files, as llama.cpp gives it.
pub(crate) fn part_name(name: &str, part: u64, parts: u64) -> String {
    format!("{name}-{part:05}-of-{parts:05}.gguf")
}

/// Returns the name, the number from 1 on, and the number of parts in the name of such a file.
pub(crate) fn split_name(path: &Path) -> Option<(String, u64, u64)> {
    let (rest, parts) = path.file_name()?.to_str()?.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (name, part) = rest.rsplit_once('-')?;
    let number = |digits: &str| {
        let is_number = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (part, parts) = (number(part)?, number(parts)?);
    (1..=parts).contains(&part).then(|| (name.to_owned(), part, parts))
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
        let optional = |name: &str| {
            let file = folder.join(name);
            if file.is_file() { read_file(&file).map(Some) } else { Ok(None) }
        };
        let json = tokenizer::from_vocab_and_merges(
            &tokenizer::PairFiles {
                vocab: &read_file(&vocab)?,
                merges: &read_file(&merges)?,
                added: optional(ADDED_TOKENS_FILE)?.as_deref(),
                special: optional(SPECIAL_TOKENS_FILE)?.as_deref(),
                config: optional(TOKENIZER_CONFIG_FILE)?.as_deref(),
            },
            &folder.display().to_string(),
        )?;
        return Ok(Some((json, vocab)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_of_git_lfs_is_no_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(TOKENIZER_FILE);
        fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:5\nsize 5\n")
            .unwrap();
        let error = read_file(&path).unwrap_err();
        assert!(matches!(error, ImportError::File { .. }), "{error}");
        fs::write(&path, "{}").unwrap();
        assert_eq!(read_file(&path).unwrap(), b"{}");
    }
}
