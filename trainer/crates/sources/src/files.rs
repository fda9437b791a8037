// SPDX-License-Identifier: Apache-2.0

//! Files that somebody listed, with their digests, as a source.
//!
//! A list comes from the description of a data set. Files on the web are downloaded one after the
//! other through the guarded client, and deleted after their last text. Nothing of a file is used
//! before its stated length and SHA-256 are verified. Names in a list never become paths on the
//! disk.

use crate::{
    BlockingTexts, Reader, ResumableSource, SourceError, Step,
    http::{DownloadError, Downloaded, FetchError, HttpClient, Request, Stated, unix_seconds},
    texts::Texts,
};
use async_trait::async_trait;
use glob::Pattern;
use indicatif::ProgressBar;
use pol_corpus::{Content, CorpusError, Input, Origin, RawDocument, ReadOptions, Refusal};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};
use url::Url;

/// Place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilePlace {
    /// Address on the web.
    Web(Url),
    /// Path on the disk.
    Disk(PathBuf),
}

/// File of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Name in the records of its texts, such as its address.
    pub location: String,
    /// Place.
    pub place: FilePlace,
    /// Media type that is stated.
    pub media: Option<String>,
    /// Facts that are stated.
    pub stated: Stated,
    /// Members that are read, if it is an archive.
    pub members: Members,
}

/// Members of an archive that are read, by patterns of their names, in which a star stands for
/// slashes too. Without a pattern to include, all are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    includes: Vec<Pattern>,
    excludes: Vec<Pattern>,
}

/// List of files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileList {
    /// Name of the source, as in [`pol_corpus::Origin::source`].
    pub source: String,
    /// Licence, as an SPDX expression where there is one. Rows of a table may state another one.
    pub licence: Option<String>,
    /// Statements about the use and the making of the text.
    pub signals: Vec<String>,
    /// Fields that hold the text, if the files are tables.
    pub text_fields: Vec<String>,
    /// Files.
    pub files: Vec<ListedFile>,
}

impl Members {
    /// Reads patterns.
    ///
    /// # Errors
    ///
    /// Fails if one is malformed.
    pub fn parse(includes: &[String], excludes: &[String]) -> Result<Self, SourceError> {
        let parse = |pattern: &String| {
            Pattern::new(pattern).map_err(|error| {
                SourceError::InvalidOption(format!("{pattern:?} is no pattern of names: {error}"))
            })
        };
        Ok(Self {
            includes: includes.iter().map(parse).collect::<Result<_, _>>()?,
            excludes: excludes.iter().map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// Returns `true` if what has this name is read. What is no member has no name.
    fn include(&self, name: Option<&String>) -> bool {
        let matches = |patterns: &[Pattern]| {
            name.is_some_and(|name| patterns.iter().any(|pattern| pattern.matches(name)))
        };
        (self.includes.is_empty() || matches(&self.includes)) && !matches(&self.excludes)
    }

    /// Returns the patterns in a form that tells them apart from others.
    fn describe(&self) -> [Vec<&str>; 2] {
        [&self.includes, &self.excludes]
            .map(|patterns| patterns.iter().map(Pattern::as_str).collect())
    }
}

impl FileList {
    /// Returns the digest of all that decides which texts come.
    fn digest(&self) -> String {
        let Self { source, licence, signals, text_fields, files } = self;
        let described: Vec<_> = files
            .iter()
            .map(|file| (&file.location, file.stated.sha256, file.members.describe()))
            .collect();
        let all = serde_json::to_vec(&(source, licence, signals, text_fields, described));
        blake3::hash(&all.unwrap_or_default()).to_hex().to_string()
    }
}

impl ListedFile {
    /// Brings the file onto the disk, and verifies it. One on the web is downloaded to `to`, unless
    /// it is there. Returns its path. `watch` is called with the number of bytes so far.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be had, or is not as stated.
    pub async fn fetch(
        &self,
        client: Option<&HttpClient>,
        to: &Path,
        watch: impl Fn(u64),
    ) -> Result<PathBuf, DownloadError> {
        match &self.place {
            FilePlace::Disk(path) => verify(path, self.stated).await.map(|()| path.clone()),
            FilePlace::Web(_) if to.is_file() && verify(to, self.stated).await.is_ok() => {
                Ok(to.to_owned())
            }
            FilePlace::Web(url) => {
                let missing = || DownloadError::Differs("there is no client to fetch it".into());
                let client = client.ok_or_else(missing)?;
                client.download(&Request::new(url.clone()), to, &self.stated, watch).await?;
                Ok(to.to_owned())
            }
        }
    }
}

/// Compares a file with what is stated about it.
async fn verify(path: &Path, stated: Stated) -> Result<(), DownloadError> {
    let path = path.to_owned();
    let verified = tokio::task::spawn_blocking(move || {
        stated.check(&Downloaded::of_file(&path)?).map_err(DownloadError::Differs)
    });
    verified.await.unwrap_or_else(|error| Err(DownloadError::Differs(error.to_string())))
}

/// Texts of listed files, as a [`Source`](crate::Source).
pub type FileSource = ResumableSource<FileReader>;

/// Reader of listed files.
pub struct FileReader {
    list: FileList,
    client: Option<HttpClient>,
    folder: PathBuf,
    texts: Option<BlockingTexts>,
    bar: ProgressBar,
}

/// Place in listed files, behind the texts that were returned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileCursor {
    /// Digest of the list.
    list: String,
    /// Number of files that are done.
    files: usize,
    /// Number of texts and refusals of the next file that were returned.
    texts: u64,
    /// Time at which that file was fetched, in seconds since 1970.
    fetched: Option<u64>,
}

impl FileSource {
    /// Creates a source of the texts of `list`. Downloads go to `folder`, through `client`, which
    /// is needed if a file is on the web. `bar` counts their bytes.
    pub fn new(
        list: FileList,
        client: Option<HttpClient>,
        folder: PathBuf,
        bar: ProgressBar,
    ) -> Self {
        let cursor = FileCursor { list: list.digest(), files: 0, texts: 0, fetched: None };
        Self::at(cursor, FileReader { list, client, folder, texts: None, bar })
    }
}

impl FileReader {
    /// Returns the path that a file is downloaded to.
    fn path_of(&self, file: &ListedFile) -> PathBuf {
        self.folder.join(blake3::hash(file.location.as_bytes()).to_hex().as_str())
    }

    /// Opens the next file behind the texts that were returned.
    async fn open(
        &mut self,
        cursor: &mut FileCursor,
    ) -> Result<Option<BlockingTexts>, DownloadError> {
        let Some(file) = self.list.files.get(cursor.files) else { return Ok(None) };
        let to = self.path_of(file);
        fs::create_dir_all(&self.folder)?;
        self.bar.set_length(file.stated.bytes.unwrap_or(0));
        self.bar.set_message(file.location.clone());
        let is_local = matches!(file.place, FilePlace::Disk(_));
        let path =
            file.fetch(self.client.as_ref(), &to, |bytes| self.bar.set_position(bytes)).await?;
        if !is_local && cursor.fetched.is_none() {
            cursor.fetched = Some(unix_seconds(SystemTime::now()));
        }
        let origin = Origin {
            source: self.list.source.clone(),
            location: file.location.clone(),
            fetched: cursor.fetched,
            licence: self.list.licence.clone(),
            signals: self.list.signals.clone(),
            ..Origin::default()
        };
        let input = Input { origin, media: file.media.clone(), content: Content::File(path) };
        let options =
            ReadOptions { text_fields: self.list.text_fields.clone(), ..Default::default() };
        let (members, skip) = (file.members.clone(), cursor.texts);
        let open = move || {
            let texts = Texts::open(input, &options)?;
            let is_wanted = move |text: &Result<_, CorpusError>| match text {
                Ok(Ok(RawDocument { origin, .. }) | Err(Refusal { origin, .. })) => {
                    members.include(origin.part.first())
                }
                Err(_) => true,
            };
            Ok(texts.filter(is_wanted).map(|text| Ok(text?)))
        };
        let opened = BlockingTexts::open(open, skip).await;
        opened.map(Some).map_err(|error| DownloadError::Differs(error.to_string()))
    }

    /// Returns an error about the next file.
    fn error(&self, cursor: &FileCursor, reason: &impl ToString) -> SourceError {
        let file = self.list.files.get(cursor.files);
        let service = file.map_or_else(String::new, |file| file.location.clone());
        SourceError::Service { service, reason: reason.to_string() }
    }
}

#[async_trait]
impl Reader for FileReader {
    type Cursor = FileCursor;

    fn name(&self) -> &str {
        &self.list.source
    }

    fn check(&self, cursor: &FileCursor, saved: &FileCursor) -> Result<(), String> {
        let is_same = saved.list == cursor.list;
        is_same.then_some(()).ok_or_else(|| "it read other files, or other fields of them".into())
    }

    async fn next(&mut self, cursor: &mut FileCursor) -> Result<Step, SourceError> {
        let texts = match self.texts.take() {
            Some(texts) => texts,
            None => match self.open(cursor).await {
                Ok(Some(texts)) => texts,
                Ok(None) => return Ok(Step::Done),
                Err(DownloadError::Fetch(FetchError::Budget)) => return Ok(Step::Spent),
                Err(error) => return Err(self.error(cursor, &error)),
            },
        };
        let read = texts.next_batch().await.map_err(|error| self.error(cursor, &error))?;
        self.texts = read.rest;
        if self.texts.is_some() {
            cursor.texts += read.count;
        } else {
            let done = self.list.files.get(cursor.files).map(|file| self.path_of(file));
            // A download that stays takes room, and nothing else.
            let _ = done.map(fs::remove_file);
            cursor.files += 1;
            (cursor.texts, cursor.fetched) = (0, None);
        }
        Ok(Step::Batch(read.batch))
    }
}
