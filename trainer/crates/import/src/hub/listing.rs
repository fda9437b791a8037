// SPDX-License-Identifier: Apache-2.0

use crate::source_files::{INDEX_FILE, WEIGHTS_FILE, part_name, split_name};
use pol_sources::hub::{Checksum, HubFile, is_plain_name};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The hub's description of a model at a revision.
#[derive(Deserialize, Serialize)]
pub(super) struct Listing {
    #[serde(rename = "siblings")]
    files: Vec<ListedFile>,
}

/// The hub's description of a file.
#[derive(Deserialize, Serialize)]
pub(super) struct ListedFile {
    #[serde(rename = "rfilename")]
    pub(super) name: String,
    /// Size in bytes.
    pub(super) size: Option<u64>,
    /// Name of the Git blob: the file, or what points to it in large file storage.
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<LfsPointer>,
}

/// The hub's description of a file in large file storage.
#[derive(Deserialize, Serialize)]
struct LfsPointer {
    /// SHA-256 in hexadecimal.
    sha256: String,
}

impl Listing {
    pub(super) fn file(&self, name: &str) -> Option<&ListedFile> {
        self.files.iter().find(|file| file.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file(name).is_some()
    }

    /// Chooses the GGUF file to fetch: `file` if it is given, or the only one of a model without
    /// safetensors. A model in several files is one choice, by the name of its first. Returns
    /// the files of the choice, or `None` if safetensors are to be fetched.
    ///
    /// # Errors
    ///
    /// Fails with the reason if there is no such file or no single choice.
    pub(super) fn choose_gguf(&self, file: Option<&str>) -> Result<Option<Vec<String>>, String> {
        let names = self.files.iter().map(|file| file.name.as_str());
        let ggufs: Vec<&str> =
            names.filter(|name| is_plain_name(name) && name.ends_with(".gguf")).collect();
        let is_first =
            |name: &&str| split_name(Path::new(*name)).is_none_or(|(_, part, _)| part == 1);
        let choices: Vec<&str> = ggufs.iter().copied().filter(is_first).collect();
        match (file, choices.as_slice()) {
            (Some(file), _) if ggufs.contains(&file) => Ok(Some(parts(file))),
            (Some(file), choices) => {
                Err(format!("it has no {file}; its GGUF files are: {}", choices.join(", ")))
            }
            (None, _) if self.has(WEIGHTS_FILE) || self.has(INDEX_FILE) => Ok(None),
            (None, &[only]) => Ok(Some(parts(only))),
            (None, []) => {
                Err("it has neither safetensors nor GGUF files; many older models have a \
                               converted revision, try @refs/pr/1 and on, or convert it yourself \
                               and give the folder"
                    .into())
            }
            (None, choices) => {
                Err(format!("choose one of its GGUF files with --file: {}", choices.join(", ")))
            }
        }
    }
}

/// Returns the names of all parts of the model that the GGUF file `name` belongs to.
fn parts(name: &str) -> Vec<String> {
    match split_name(Path::new(name)) {
        Some((stem, _, parts)) => (1..=parts).map(|part| part_name(&stem, part, parts)).collect(),
        None => vec![name.to_owned()],
    }
}

impl ListedFile {
    /// Returns the description as a download needs it.
    pub(super) fn to_hub_file(&self) -> HubFile {
        let large = self.lfs.as_ref().map(|lfs| Checksum::Sha256(lfs.sha256.clone()));
        let checksum = large.or_else(|| self.blob.clone().map(Checksum::GitBlob));
        HubFile { path: self.name.clone(), size: self.size, checksum }
    }
}
