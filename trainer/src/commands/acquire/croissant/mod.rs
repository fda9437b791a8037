// SPDX-License-Identifier: Apache-2.0

//! Data sets that a Croissant file describes, as a source.
//!
//! The description says which files there are, and which fields of them hold text. Manifests that
//! `data describe` described are read as well: their texts are decoded from the tokens.

mod manifest;

use super::{address::Address, bounds::check_file};
use crate::error::explain;
use anyhow::{Context, Result, anyhow, ensure};
use async_trait::async_trait;
use indicatif::ProgressBar;
use manifest::{Manifest, ManifestReader};
use pol_data::documents::croissant::{
    ChosenFile, MAX_DESCRIPTION_BYTES, SourceDescription, derivation_signal,
};
use pol_sources::{
    Source, SourceError, Step,
    files::{FileList, FilePlace, FileSource, ListedFile, Members},
    http::{HttpClient, Request, Stated},
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};
use url::Url;

/// Folder of downloads, in the folder of a source.
const CACHE: &str = "cache";
/// Largest file whose length is not stated, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 40;
/// Most bytes of licence, parents, and conditions, which stand in the record of each document.
const MAX_TERMS_BYTES: usize = 16 << 10;

/// Description of a data set: a file, or the address of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CroissantConfig {
    /// File.
    pub(super) file: Option<PathBuf>,
    /// Address.
    address: Option<Address>,
    /// Set of records that is read.
    record_set: Option<String>,
}

/// Description with the place that its files are below.
struct Described {
    description: SourceDescription,
    base: Base,
}

/// Place of a description.
enum Base {
    /// Address of it.
    Web(Url),
    /// Folder that holds it.
    Disk(PathBuf),
}

impl CroissantConfig {
    /// Checks what can be known without asking anybody.
    pub(super) fn validate(&self, text_fields: &[String]) -> Result<()> {
        ensure!(
            self.file.is_some() != self.address.is_some(),
            "croissant: give either file or address"
        );
        if let Some(described) = self.read()? {
            described.list("croissant", self.record_set.as_deref(), text_fields)?;
        }
        Ok(())
    }

    /// Returns `true` if the description or a file is on the web.
    pub(super) fn is_on_the_web(&self) -> bool {
        let is_web = |described: Described| {
            let files = described.description.files.into_iter();
            files.filter_map(|file| file.location).any(|place| web_address(&place).is_some())
        };
        self.address.is_some() || self.read().ok().flatten().is_some_and(is_web)
    }

    /// Returns the licence, if the description is a file that states one.
    pub(super) fn licence(&self) -> Option<String> {
        self.read().ok().flatten()?.description.licence
    }

    /// Returns the origin of the texts, wherever the description is on the disk.
    pub(super) fn origin(&self) -> Result<String> {
        Ok(match self.read()? {
            Some(Described { description, .. }) => format!("data set {}", description.name),
            None => self.describe(),
        })
    }

    /// Returns the name of the description, for people.
    pub(super) fn describe(&self) -> String {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        let address = self.address.as_ref().map(|address| address.url().to_string());
        format!("data set described in {}", file.or(address).unwrap_or_default())
    }

    /// Reads the description if it is a file.
    fn read(&self) -> Result<Option<Described>> {
        let Some(path) = &self.file else { return Ok(None) };
        check_file("croissant.file", path)?;
        let context = || format!("croissant.file: cannot read {}", path.display());
        let mut json = Vec::new();
        let most = MAX_DESCRIPTION_BYTES as u64 + 1;
        let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut json));
        read.with_context(context)?;
        let described = SourceDescription::parse(&json);
        let description = described.with_context(|| path.display().to_string())?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let base = Base::Disk(folder.unwrap_or(Path::new(".")).to_owned());
        Ok(Some(Described { description, base }))
    }

    /// Reads the description.
    async fn fetch(&self, client: Option<&HttpClient>) -> Result<Described> {
        if let Some(described) = self.read()? {
            return Ok(described);
        }
        let address = self.address.as_ref().context("croissant: give either file or address")?;
        let client = client.context("contact: it is missing")?;
        let url = address.url().clone();
        let request = Request::new(url).max_bytes(MAX_DESCRIPTION_BYTES as u64);
        let response = client.get(&request).await.and_then(|response| response.success());
        let response = response.with_context(|| address.url().to_string())?;
        let description = SourceDescription::parse(&response.body)?;
        Ok(Described { description, base: Base::Web(response.url) })
    }
}

/// Returns the address, if a location is one of the web.
fn web_address(location: &str) -> Option<Url> {
    let url = Url::parse(location).ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

impl Described {
    /// Returns the list of files that hold the text.
    fn list(
        &self,
        source: &str,
        record_set: Option<&str>,
        text_fields: &[String],
    ) -> Result<FileList> {
        let SourceDescription { licence, parents, usage, .. } = &self.description;
        let parents = parents.iter().map(derivation_signal);
        let usage = usage.iter().map(|condition| format!("usageInfo: {condition}"));
        let signals: Vec<String> = parents.chain(usage).collect();
        let bytes: usize = signals.iter().chain(licence).map(String::len).sum();
        ensure!(
            bytes <= MAX_TERMS_BYTES,
            "its licence, parents, and conditions take {bytes} bytes, more than {MAX_TERMS_BYTES}; \
             they stand in the record of each document, so name fewer"
        );
        let chosen = self.description.choose(record_set, text_fields)?;
        let files: Result<_> = chosen.files.iter().map(|file| self.listed(file)).collect();
        Ok(FileList {
            source: source.to_owned(),
            licence: licence.clone(),
            signals,
            text_fields: chosen.fields,
            files: files?,
        })
    }

    /// Returns a file with its place.
    fn listed(&self, chosen: &ChosenFile) -> Result<ListedFile> {
        let ChosenFile { file, includes, excludes } = chosen;
        let location = file.location.as_deref();
        let location = location.with_context(|| format!("{} has no contentUrl", file.id))?;
        let place = self.place(location).with_context(|| file.id.clone())?;
        let location = match &place {
            FilePlace::Web(url) => url.to_string(),
            FilePlace::Disk(_) => location.to_owned(),
        };
        let stated = Stated { bytes: file.bytes, sha256: file.sha256, max_bytes: MAX_FILE_BYTES };
        let members = Members::parse(includes, excludes)?;
        Ok(ListedFile { location, place, media: file.media.clone(), stated, members })
    }

    /// Returns the place of a location: an address, or a path below the description.
    fn place(&self, location: &str) -> Result<FilePlace> {
        if let Some(url) = web_address(location) {
            return Ok(FilePlace::Web(url));
        }
        let leaves = || anyhow!("{location} leads out of the folder of the description");
        match &self.base {
            Base::Web(base) => {
                let folder = base.join(".")?;
                let url = base.join(location)?;
                let is_below = url.as_str().starts_with(folder.as_str());
                is_below.then_some(FilePlace::Web(url)).ok_or_else(leaves)
            }
            Base::Disk(folder) => {
                let find = |path: &Path| {
                    fs::canonicalize(path)
                        .with_context(|| format!("cannot read {}", path.display()))
                };
                // Links are followed before the comparison.
                let (path, folder) = (find(&folder.join(location))?, find(folder)?);
                check_file("contentUrl", &path)?;
                path.starts_with(folder).then_some(FilePlace::Disk(path)).ok_or_else(leaves)
            }
        }
    }
}

/// Texts of a described data set.
pub(super) struct CroissantSource {
    name: String,
    opener: Opener,
    /// Place where an earlier run stopped.
    saved: Value,
    /// Source of the texts, once the description is read.
    inner: Option<Box<dyn Source>>,
}

/// All that the source of the texts is made of.
pub(super) struct Opener {
    pub(super) config: CroissantConfig,
    pub(super) text_fields: Vec<String>,
    pub(super) client: Option<HttpClient>,
    /// Folder of the source.
    pub(super) folder: PathBuf,
    pub(super) bar: ProgressBar,
}

impl Opener {
    /// Reads the description, and opens the source of the texts.
    async fn open(&self, name: &str) -> Result<Box<dyn Source>> {
        let Self { config, text_fields, client, folder, bar } = self;
        let described = config.fetch(client.as_ref()).await?;
        let (client, folder, bar) = (client.clone(), folder.join(CACHE), bar.clone());
        Ok(match Manifest::of(&described)? {
            Some(manifest) => Box::new(ManifestReader::source(name, manifest, client, folder, bar)),
            None => {
                let list = described.list(name, config.record_set.as_deref(), text_fields)?;
                Box::new(FileSource::new(list, client, folder, bar))
            }
        })
    }
}

impl CroissantSource {
    /// Creates the source `name`.
    pub(super) fn new(name: &str, opener: Opener) -> Self {
        Self { name: format!("croissant/{name}"), opener, saved: Value::Null, inner: None }
    }
}

#[async_trait]
impl Source for CroissantSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn resume(&mut self, cursor: Value) -> Result<(), String> {
        self.saved = cursor;
        Ok(())
    }

    fn cursor(&self) -> Value {
        self.inner.as_ref().map_or_else(|| self.saved.clone(), |source| source.cursor())
    }

    async fn next(&mut self) -> Result<Step, SourceError> {
        if self.inner.is_none() {
            let mut source = self.opener.open(&self.name).await.map_err(|error| {
                SourceError::Service { service: self.name.clone(), reason: explain(&error) }
            })?;
            if !self.saved.is_null() {
                source.resume(self.saved.clone()).map_err(|reason| SourceError::Cursor {
                    source_name: self.name.clone(),
                    reason,
                })?;
            }
            self.inner = Some(source);
        }
        match &mut self.inner {
            Some(source) => source.next().await,
            None => Ok(Step::Done),
        }
    }
}

#[cfg(test)]
mod tests;
