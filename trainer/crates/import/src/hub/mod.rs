// SPDX-License-Identifier: Apache-2.0

//! Download of checkpoints from a hub that speaks the Hugging Face hub's HTTP API.
//!
//! A revision is resolved to its commit once. Files are fetched by that commit, resumed after a
//! broken transfer, checked against the size and SHA-256 that the hub states, and cached: a commit
//! never changes. The hub cannot choose a path: names of files are known or plain, and the commit
//! is hexadecimal.

mod client;
mod id;
mod listing;

pub use id::HubId;

use crate::{
    ImportError,
    source_files::{CONFIG_FILE, INDEX_FILE, MAX_TEXT_BYTES, WEIGHTS_FILE, parse_index, read_file},
};
use client::{HubClient, RequestError};
use indicatif::ProgressBar;
use listing::{ListedFile, Listing};
use pol_data::TOKENIZER_FILE;
use std::{
    env, fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// Hub that is used unless `HF_ENDPOINT` names another.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Files beside the weights, and `true` if a checkpoint must have them.
const COMPANION_FILES: [(&str, bool); 7] = [
    (CONFIG_FILE, true),
    (TOKENIZER_FILE, false),
    ("vocab.json", false),
    ("merges.txt", false),
    ("tokenizer_config.json", false),
    ("generation_config.json", false),
    ("chat_template.jinja", false),
];
/// Maximum number of times that a broken download is resumed.
const MAX_RETRIES: u32 = 4;
/// Delay before the first retry; it doubles with each.
const RETRY_DELAY: Duration = Duration::from_millis(400);

/// A hub and the cache of its files.
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
}

impl Hub {
    /// Creates a client of the hub at `endpoint` that caches files in the folder `cache`. `token`
    /// gives access to models that are not public.
    pub fn new(endpoint: &str, cache: PathBuf, token: Option<String>) -> Self {
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), cache, token }
    }

    /// Creates a client of the hub at `HF_ENDPOINT` with the token in `HF_TOKEN`. The cache is
    /// `$POL_CACHE/hub` or in the user's cache folder.
    pub fn from_env() -> Self {
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        let home = || {
            set("XDG_CACHE_HOME")
                .or_else(|| set("HOME").map(|home| home + "/.cache"))
                .unwrap_or_else(|| ".".into())
        };
        let cache = set("POL_CACHE")
            .map_or_else(|| Path::new(&home()).join("pol"), PathBuf::from)
            .join("hub");
        let endpoint = set("HF_ENDPOINT").unwrap_or_else(|| DEFAULT_ENDPOINT.into());
        Self::new(&endpoint, cache, set("HF_TOKEN"))
    }

    /// Downloads the files that an import of `id` needs. Returns the folder or GGUF file to open.
    ///
    /// `file` is the GGUF file to take if there are several, or instead of safetensors. `bar`
    /// counts bytes. The call blocks and must not be made from asynchronous code.
    ///
    /// # Errors
    ///
    /// Fails if the hub cannot be reached or refuses access, if it has no such model or file, if a
    /// file differs from its stated size or hash, or if the cache cannot be written.
    pub fn fetch(
        &self,
        id: &HubId,
        file: Option<&str>,
        bar: &ProgressBar,
    ) -> Result<PathBuf, ImportError> {
        let refuse = |reason: String| ImportError::Hub { id: id.to_string(), reason };
        bar.set_length(0);
        let client =
            HubClient::new(self.token.clone()).map_err(|error| refuse(self.explain(&error)))?;
        let listing = self.listing(&client, id).map_err(refuse)?;
        let chosen = listing.choose_gguf(file).map_err(refuse)?;
        let folder = self.cache.join(id.name().replace('/', "--")).join(&listing.sha);
        fs::create_dir_all(&folder).map_err(|source| ImportError::Io {
            action: "create",
            path: folder.clone(),
            source,
        })?;
        let download = Download { hub: self, client, id, listing, folder, bar };
        match chosen {
            Some(file) => {
                download.fetch(&[&file])?;
                Ok(download.folder.join(file))
            }
            None => {
                download.fetch_safetensors()?;
                Ok(download.folder)
            }
        }
    }

    /// Fetches the list of the model's files.
    fn listing(&self, client: &HubClient, id: &HubId) -> Result<Listing, String> {
        let url = format!(
            "{}/api/models/{}/revision/{}?blobs=true",
            self.endpoint,
            id.name(),
            id.revision().replace('/', "%2F")
        );
        let body = client.get_bytes(&url, MAX_TEXT_BYTES).map_err(|error| self.explain(&error))?;
        let listing: Listing = serde_json::from_slice(&body).map_err(|error| {
            format!("{} answers with something else than a model: {error}", self.endpoint)
        })?;
        if listing.sha.is_empty() || !listing.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("{} says that its commit is {:?}", self.endpoint, listing.sha));
        }
        Ok(listing)
    }

    /// Describes `error` and its remedy.
    fn explain(&self, error: &RequestError) -> String {
        match error {
            RequestError::Status(401 | 403) => {
                format!(
                    "{} refuses it; if it is not public, accept its terms there and set HF_TOKEN \
                     to your access token",
                    self.endpoint
                )
            }
            RequestError::Status(404) => {
                format!("{} has no such model, revision or file", self.endpoint)
            }
            error => format!(
                "{} cannot be reached: {error}; check the network, or set HF_ENDPOINT to a mirror, \
                 or give a folder or file",
                self.endpoint
            ),
        }
    }
}

/// Download of one model.
struct Download<'a> {
    hub: &'a Hub,
    client: HubClient,
    id: &'a HubId,
    listing: Listing,
    folder: PathBuf,
    bar: &'a ProgressBar,
}

impl Download<'_> {
    /// Fetches config, tokenizer and weights in safetensors.
    fn fetch_safetensors(&self) -> Result<(), ImportError> {
        let companions = COMPANION_FILES
            .iter()
            .filter(|(name, needed)| *needed || self.listing.has(name))
            .map(|&(name, _)| name);
        self.fetch(&companions.collect::<Vec<_>>())?;
        if self.listing.has(WEIGHTS_FILE) {
            return self.fetch(&[WEIGHTS_FILE]);
        }
        self.fetch(&[INDEX_FILE])?;
        let index = self.folder.join(INDEX_FILE);
        let mut files: Vec<String> =
            parse_index(&read_file(&index)?, &index)?.into_values().collect();
        files.sort_unstable();
        files.dedup();
        self.fetch(&files.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Fetches the files `names` of the listing.
    fn fetch(&self, names: &[&str]) -> Result<(), ImportError> {
        let files = names
            .iter()
            .map(|name| {
                self.listing.file(name).ok_or_else(|| ImportError::Hub {
                    id: self.id.to_string(),
                    reason: format!("it has no {name}"),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.bar.inc_length(files.iter().filter_map(|file| file.size).sum());
        files.into_iter().try_for_each(|file| {
            self.bar.set_message(file.name.clone());
            self.fetch_file(file)
        })
    }

    /// Ensures that the folder has `file`, whole and as the hub describes it.
    fn fetch_file(&self, file: &ListedFile) -> Result<(), ImportError> {
        let name = &file.name;
        let path = self.folder.join(name);
        if path.is_file() {
            self.bar.inc(file.size.unwrap_or(0));
            return Ok(());
        }
        let part = self.folder.join(format!("{name}.part"));
        let failed = |reason: String| ImportError::Hub {
            id: self.id.to_string(),
            reason: format!("{name}: {reason}"),
        };
        let Self { hub, listing, .. } = self;
        let url = format!("{}/{}/resolve/{}/{name}", hub.endpoint, self.id.name(), listing.sha);
        let mut attempt = 0;
        while let Err(error) = self.client.download(&url, &part, file.size, self.bar) {
            if !error.is_transient() || attempt == MAX_RETRIES {
                return Err(failed(hub.explain(&error)));
            }
            thread::sleep(RETRY_DELAY * (1 << attempt));
            attempt += 1;
        }
        let mismatch = file.check(&part).and_then(|mismatch| {
            match mismatch {
                None => fs::rename(&part, &path)?,
                // A damaged part would fail again after resuming.
                Some(_) => fs::remove_file(&part)?,
            }
            Ok(mismatch)
        });
        match mismatch {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(failed(reason)),
            Err(source) => Err(ImportError::Io { action: "keep", path, source }),
        }
    }
}
