// SPDX-License-Identifier: Apache-2.0

//! Data sets of a hub that speaks the Hugging Face hub's HTTP API, and the client for it.
//!
//! A revision is resolved to its commit once, and all is fetched by that commit, which never
//! changes. The hub is not trusted: answers are limited in size, commits are hexadecimal, and no
//! name that a hub gives becomes a path on the disk. The access token goes to the hub only.
//! Redirects lead to the public internet, or stay in the operator's network if the hub is there.
//!
//! - [`Hub`] and [`HubClient`] fetch files of models and data sets, resumed and verified.
//! - [`HubSource`] yields the rows of a data set as documents.
//! - [`catalogue`] describes data sets that are known to the program.

mod catalogue;
mod client;
mod dataset;
mod error;
mod files;
mod id;
mod redirects;
mod remote;
mod rows;
mod source;

pub use catalogue::{CatalogueEntry, Kind, catalogue};
#[doc(hidden)]
pub use client::HubAnswers;
pub use client::{Checksum, HubClient, HubFile};
pub use dataset::DatasetSpec;
pub use error::HubError;
pub use id::{HubId, RepoKind, is_plain_name};
pub use source::{HubSource, Transfer};

use std::{
    env,
    path::{Path, PathBuf},
};

/// Hub that is used unless `HF_ENDPOINT` names another.
const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Address of a hub, the cache of its files, and the access to it.
#[derive(Clone)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    token: Option<String>,
    /// Function that answers in the place of the hub.
    answers: Option<HubAnswers>,
}

impl Hub {
    /// Describes the hub at `endpoint` with the folder `cache` for its files. `token` gives access
    /// to what is not public.
    pub fn new(endpoint: &str, cache: PathBuf, token: Option<String>) -> Self {
        Self { endpoint: endpoint.trim_end_matches('/').to_owned(), cache, token, answers: None }
    }

    /// Describes the same hub, in whose place `answers` answers, for fuzz targets.
    #[doc(hidden)]
    #[must_use]
    pub fn answered_by(self, answers: HubAnswers) -> Self {
        Self { answers: Some(answers), ..self }
    }

    /// Describes the hub at `HF_ENDPOINT` with the token in `HF_TOKEN`. The cache is
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

    /// Creates a client of the hub.
    ///
    /// # Errors
    ///
    /// Fails if the system has no root certificates.
    pub fn connect(&self) -> Result<HubClient, HubError> {
        match &self.answers {
            Some(answers) => Ok(HubClient::answered_by(self.endpoint.clone(), answers.clone())),
            None => HubClient::new(self.endpoint.clone(), self.token.clone()),
        }
    }

    /// Returns the folder for files of the repository `id` at `commit`.
    pub fn folder(&self, id: &HubId, commit: &str) -> PathBuf {
        self.cache.join(id.name().replace('/', "--")).join(commit)
    }

    /// Returns `true` if requests carry a token.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }
}
