// SPDX-License-Identifier: Apache-2.0

use crate::source_files::{INDEX_FILE, WEIGHTS_FILE, is_plain_name};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// Number of bytes hashed at a time.
const CHUNK_BYTES: usize = 1 << 18;

/// The hub's description of a model at a revision.
#[derive(Deserialize)]
pub(super) struct Listing {
    /// Commit in hexadecimal.
    pub(super) sha: String,
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
    /// Compares the download at `path` with the stated size and SHA-256. Returns the mismatch if
    /// there is one.
    pub(super) fn check(&self, path: &Path) -> io::Result<Option<String>> {
        let mut file = File::open(path)?;
        let found = file.metadata()?.len();
        if let Some(size) = self.size.filter(|&size| size != found) {
            return Ok(Some(format!("{found} bytes came of {size}; try again")));
        }
        let Some(lfs) = &self.lfs else { return Ok(None) };
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((!digest.eq_ignore_ascii_case(&lfs.sha256))
            .then(|| "the received file has another SHA-256 than the hub states; try again".into()))
    }
}
