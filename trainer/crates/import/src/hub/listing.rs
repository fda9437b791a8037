// SPDX-License-Identifier: Apache-2.0

use crate::source_files::{INDEX_FILE, WEIGHTS_FILE};
use pol_sources::hub::{HubFile, is_plain_name};
use serde::Deserialize;

/// The hub's description of a model at a revision.
#[derive(Deserialize)]
pub(super) struct Listing {
    #[serde(rename = "siblings")]
    files: Vec<ListedFile>,
}

/// The hub's description of a file.
#[derive(Deserialize)]
pub(super) struct ListedFile {
    #[serde(rename = "rfilename")]
    pub(super) name: String,
    /// Size in bytes.
    pub(super) size: Option<u64>,
    lfs: Option<LfsPointer>,
}

/// The hub's description of a file in large file storage.
#[derive(Deserialize)]
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
    /// safetensors. Returns `None` if safetensors are to be fetched.
    ///
    /// # Errors
    ///
    /// Fails with the reason if there is no such file or no single choice.
    pub(super) fn choose_gguf(&self, file: Option<&str>) -> Result<Option<String>, String> {
        let names = self.files.iter().map(|file| file.name.as_str());
        let ggufs: Vec<&str> =
            names.filter(|name| is_plain_name(name) && name.ends_with(".gguf")).collect();
        match (file, ggufs.as_slice()) {
            (Some(file), ggufs) if ggufs.contains(&file) => Ok(Some(file.to_owned())),
            (Some(file), ggufs) => {
                Err(format!("it has no {file}; its GGUF files are: {}", ggufs.join(", ")))
            }
            (None, _) if self.has(WEIGHTS_FILE) || self.has(INDEX_FILE) => Ok(None),
            (None, &[only]) => Ok(Some(only.to_owned())),
            (None, []) => {
                Err("it has neither safetensors nor GGUF files; many older models have a \
                               converted revision, try @refs/pr/1 and on, or convert it yourself \
                               and give the folder"
                    .into())
            }
            (None, ggufs) => {
                Err(format!("choose one of its GGUF files with --file: {}", ggufs.join(", ")))
            }
        }
    }
}

impl ListedFile {
    /// Returns the description as a download needs it.
    pub(super) fn to_hub_file(&self) -> HubFile {
        HubFile {
            path: self.name.clone(),
            size: self.size,
            sha256: self.lfs.as_ref().map(|lfs| lfs.sha256.clone()),
        }
    }
}
