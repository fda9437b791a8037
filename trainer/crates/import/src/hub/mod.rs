// SPDX-License-Identifier: Apache-2.0

//! Download of checkpoints from a hub, over the client of [`pol_sources::hub`].
//!
//! Names of files are known or plain, so that the hub cannot choose a path.

mod listing;

pub use pol_sources::hub::HubId;

use crate::{
    ImportError,
    source_files::{
        ADDED_TOKENS_FILE, CONFIG_FILE, INDEX_FILE, SPECIAL_TOKENS_FILE, TOKENIZER_CONFIG_FILE,
        TOKENIZER_MODEL_FILE, WEIGHTS_FILE, parse_index, read_file,
    },
};
use indicatif::ProgressBar;
use listing::{ListedFile, Listing};
use pol_data::TOKENIZER_FILE;
use pol_sources::hub::{self, HubClient, HubError, RepoKind};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Files beside the weights, and `true` if a checkpoint must have them.
const COMPANION_FILES: [(&str, bool); 10] = [
    (CONFIG_FILE, true),
    (TOKENIZER_FILE, false),
    ("vocab.json", false),
    ("merges.txt", false),
    (ADDED_TOKENS_FILE, false),
    (SPECIAL_TOKENS_FILE, false),
    (TOKENIZER_CONFIG_FILE, false),
    (TOKENIZER_MODEL_FILE, false),
    ("generation_config.json", false),
    ("chat_template.jinja", false),
];

/// A hub and the cache of its files.
pub struct Hub(hub::Hub);

impl Hub {
    /// Creates a client of the hub at `endpoint` that caches files in the folder `cache`. `token`
    /// gives access to models that are not public.
    pub fn new(endpoint: &str, cache: PathBuf, token: Option<String>) -> Self {
        Self(hub::Hub::new(endpoint, cache, token))
    }

    /// Creates a client of the hub that the environment names, as [`hub::Hub::from_env`] has it.
    pub fn from_env() -> Self {
        Self(hub::Hub::from_env())
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
        let failed = |error| import_error(id, error);
        bar.set_length(0);
        let client = self.0.connect().map_err(failed)?;
        let (commit, listing) = match self.cached_listing(id) {
            Some(listing) => (id.revision().to_owned(), listing),
            None => client.revision(RepoKind::Model, id, "blobs=true").map_err(failed)?,
        };
        let chosen = listing
            .choose_gguf(file)
            .map_err(|reason| ImportError::Hub { id: id.to_string(), reason })?;
        let folder = self.0.folder(id, &commit);
        keep_listing(&folder, &listing)?;
        let download = Download { client, id, commit, listing, folder, bar };
        match chosen.as_deref() {
            Some(files @ [first, ..]) => {
                download.fetch(&files.iter().map(String::as_str).collect::<Vec<_>>())?;
                Ok(download.folder.join(first))
            }
            _ => {
                download.fetch_safetensors()?;
                Ok(download.folder)
            }
        }
    }

    /// Returns the description of the commit that `id` names, if it is in the cache. No hub has to
    /// be asked for it again.
    fn cached_listing(&self, id: &HubId) -> Option<Listing> {
        let folder = id.is_pinned().then(|| self.0.folder(id, id.revision()))?;
        serde_json::from_slice(&read_file(&folder.join(LISTING_FILE)).ok()?).ok()
    }
}

/// File of the hub's description of a commit, beside the commit's files. None of them can have its
/// name.
const LISTING_FILE: &str = ".listing.json";

/// Keeps the description of a commit, which never changes, in `folder`.
fn keep_listing(folder: &Path, listing: &Listing) -> Result<(), ImportError> {
    let path = folder.join(LISTING_FILE);
    let failed = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| ImportError::Io { action, path, source }
    };
    fs::create_dir_all(folder).map_err(failed("create", folder))?;
    if path.is_file() {
        return Ok(());
    }
    // Whole or not at all, also if the process is killed.
    let part = path.with_added_extension("part");
    let json = serde_json::to_vec(listing).map_err(|error| failed("write", &part)(error.into()))?;
    fs::write(&part, json).map_err(failed("write", &part))?;
    fs::rename(&part, &path).map_err(failed("write", &path))
}

/// Describes a failure of the hub in an import of `id`.
fn import_error(id: &HubId, error: HubError) -> ImportError {
    match error {
        HubError::Io { action, path, source } => ImportError::Io { action, path, source },
        error => ImportError::Hub { id: id.to_string(), reason: error.to_string() },
    }
}

/// Download of one model.
struct Download<'a> {
    client: HubClient,
    id: &'a HubId,
    commit: String,
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
            // A tokenizer that is not read is only named, if there is no other.
            .filter(|(name, _)| *name != TOKENIZER_MODEL_FILE || !self.listing.has(TOKENIZER_FILE))
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
        let (file, path) = (file.to_hub_file(), self.folder.join(&file.name));
        self.client
            .fetch_file(RepoKind::Model, self.id, &self.commit, &file, &path, self.bar)
            .map_err(|error| import_error(self.id, error))
    }
}
