// SPDX-License-Identifier: Apache-2.0

//! Texts of a manifest that `data describe` described.

use super::Described;
use anyhow::{Result, ensure};
use async_trait::async_trait;
use indicatif::ProgressBar;
use pol_corpus::RawDocument;
use pol_data::{
    DataError, SPLITS, ShardFolder, TOKENIZER_FILE,
    documents::{
        RECORDS_FILE, Texts,
        croissant::{ChosenFile, ManifestName, derivation_signal},
    },
};
use pol_primitives::Hash;
use pol_sources::{
    BlockingTexts, Reader, ResumableSource, SourceError, Step, TextOrRefusal,
    files::ListedFile,
    http::{DownloadError, FetchError, HttpClient},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    iter::Peekable,
    path::{Path, PathBuf},
};

/// Files of a manifest's folder. Names in a description become no other paths.
const SHARED: [&str; 2] = [TOKENIZER_FILE, RECORDS_FILE];
/// Files in the folder of a side, of whose shards there is one.
const OF_SIDE: [&str; 3] = ["body.bin", "shards.u16", "shards.u32"];
/// Length after which the pieces of a long text are no longer joined, in bytes.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Manifest that is read.
#[derive(Clone)]
pub(super) struct Manifest {
    content_hash: Hash,
    /// Files by their names.
    files: Vec<(String, ListedFile)>,
    licence: Option<String>,
}

impl Manifest {
    /// Returns the manifest, if the description is that of one.
    pub(super) fn of(described: &Described) -> Result<Option<Self>> {
        let description = &described.description;
        let Some(content_hash) = description.content_hash else { return Ok(None) };
        let of_side = |side: &&str| OF_SIDE.map(|name| format!("{side}/{name}"));
        let names = SPLITS.iter().flat_map(of_side).chain(SHARED.map(str::to_owned));
        let mut files = Vec::new();
        for name in names {
            let Some(file) = description.files.iter().find(|file| file.id == name) else {
                continue;
            };
            let [includes, excludes] = [Vec::new(), Vec::new()];
            let listed =
                described.listed(&ChosenFile { file: file.clone(), includes, excludes })?;
            files.push((name, listed));
        }
        ensure!(
            files.len() == SHARED.len() + 2,
            "it describes a manifest without its files, which are its shards, body.bin, {}; let \
             its provider describe it by `pol-trainer data describe --data`",
            SHARED.join(", ")
        );
        Ok(Some(Self { content_hash, files, licence: description.licence.clone() }))
    }

    /// Brings the files into `folder`.
    async fn fetch(
        &self,
        client: Option<&HttpClient>,
        folder: &Path,
        bar: &ProgressBar,
    ) -> Result<(), DownloadError> {
        for (name, file) in &self.files {
            let to = folder.join(name);
            fs::create_dir_all(to.parent().unwrap_or(folder))?;
            bar.set_length(file.stated.bytes.unwrap_or(0));
            bar.set_message(name.clone());
            let fetched = file.fetch(client, &to, |bytes| bar.set_position(bytes)).await;
            let path = fetched.map_err(|error| match error {
                DownloadError::Differs(reason) => {
                    DownloadError::Differs(format!("{name}: {reason}"))
                }
                error => error,
            })?;
            if path != to {
                fs::copy(path, to)?;
            }
        }
        Ok(())
    }

    /// Verifies the files in `folder`, and reads the texts.
    fn texts(&self, folder: &Path) -> Result<Joined, DataError> {
        for side in SPLITS.map(|side| folder.join(side)).iter().filter(|side| side.is_dir()) {
            let shards = ShardFolder::open(side)?;
            if shards.summary().content_hash != self.content_hash {
                let reason = "it is not the manifest that is described".to_owned();
                return Err(DataError::Damaged { path: side.clone(), reason });
            }
            (0..shards.len()).try_for_each(|index| shards.read(index).map(drop))?;
        }
        Ok(Joined { manifest: self.clone(), texts: Texts::open(folder)?.peekable() })
    }
}

/// Texts of a manifest, with the pieces of long ones joined.
struct Joined {
    manifest: Manifest,
    texts: Peekable<Texts>,
}

impl Iterator for Joined {
    type Item = Result<RawDocument, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (record, mut text) = match self.texts.next()? {
                Ok((record, Some(text))) if !text.trim().is_empty() => (record, text),
                Ok(_) => continue,
                Err(error) => return Some(Err(error)),
            };
            let mut last = record.piece;
            while text.len() < MAX_TEXT_BYTES
                && let Some(Ok((piece, Some(more)))) = self.texts.next_if(|item| {
                    matches!(item, Ok((piece, Some(_))) if piece.origin == record.origin
                        && last.checked_add(1) == Some(piece.piece))
                })
            {
                text.push_str(&more);
                last = piece.piece;
            }
            let mut origin = record.origin;
            origin.licence = origin.licence.or_else(|| self.manifest.licence.clone());
            let name = ManifestName::Content(self.manifest.content_hash);
            origin.signals.push(derivation_signal(name));
            return Some(Ok(RawDocument::of_text(origin, text)));
        }
    }
}

/// Reader of the texts of a manifest. Each keeps the origin that its record names.
pub(super) struct ManifestReader {
    name: String,
    manifest: Manifest,
    client: Option<HttpClient>,
    folder: PathBuf,
    texts: Option<BlockingTexts>,
    bar: ProgressBar,
}

/// Place behind the texts that were returned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ManifestCursor {
    #[serde(with = "pol_primitives::hex_hash")]
    manifest: Hash,
    /// Number of texts.
    texts: u64,
    is_done: bool,
}

impl ManifestReader {
    /// Creates the source `name`, which brings the files into `folder`.
    pub(super) fn source(
        name: &str,
        manifest: Manifest,
        client: Option<HttpClient>,
        folder: PathBuf,
        bar: ProgressBar,
    ) -> ResumableSource<Self> {
        let cursor = ManifestCursor { manifest: manifest.content_hash, texts: 0, is_done: false };
        let name = name.to_owned();
        ResumableSource::at(cursor, Self { name, manifest, client, folder, texts: None, bar })
    }

    fn error(&self, reason: &impl ToString) -> SourceError {
        SourceError::Service { service: self.name.clone(), reason: reason.to_string() }
    }

    /// Opens the texts behind the first `passed`.
    async fn open(&mut self, passed: u64) -> Result<BlockingTexts, SourceError> {
        let (manifest, folder, name) =
            (self.manifest.clone(), self.folder.clone(), self.name.clone());
        let failed = move |error: DataError| SourceError::Service {
            service: name.clone(),
            reason: error.to_string(),
        };
        let open = move || {
            let texts = manifest.texts(&folder).map_err(&failed)?;
            Ok(texts.map(move |text| Ok(TextOrRefusal::Ok(text.map_err(&failed)?))))
        };
        BlockingTexts::open(open, passed).await
    }
}

#[async_trait]
impl Reader for ManifestReader {
    type Cursor = ManifestCursor;

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, cursor: &ManifestCursor, saved: &ManifestCursor) -> Result<(), String> {
        let is_same = saved.manifest == cursor.manifest;
        is_same.then_some(()).ok_or_else(|| "it read another manifest".into())
    }

    async fn next(&mut self, cursor: &mut ManifestCursor) -> Result<Step, SourceError> {
        if cursor.is_done {
            return Ok(Step::Done);
        }
        let texts = match self.texts.take() {
            Some(texts) => texts,
            None => {
                let fetched = self.manifest.fetch(self.client.as_ref(), &self.folder, &self.bar);
                match fetched.await {
                    Err(DownloadError::Fetch(FetchError::Budget)) => return Ok(Step::Spent),
                    fetched => fetched.map_err(|error| self.error(&error))?,
                }
                self.open(cursor.texts).await?
            }
        };
        let read = texts.next_batch().await?;
        self.texts = read.rest;
        cursor.texts += read.count;
        if self.texts.is_none() {
            cursor.is_done = true;
            // What stays takes room, and nothing else.
            let _ = fs::remove_dir_all(&self.folder);
        }
        Ok(Step::Batch(read.batch))
    }
}
