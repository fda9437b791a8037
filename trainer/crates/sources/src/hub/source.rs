// SPDX-License-Identifier: Apache-2.0

//! Rows of a data set as documents.

use super::{
    DatasetSpec, Hub, HubClient, HubError, HubFile, RepoKind,
    dataset::{Dataset, Pin},
    files::Format,
    remote::RemoteFile,
    rows::Rows,
};
use crate::{Batch, Reader, ResumableSource, SourceError, Step, texts::Pending};
use async_trait::async_trait;
use indicatif::ProgressBar;
use pol_corpus::{Content, Origin, RawDocument, Refusal};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::mpsc;

/// Number of batches that are read ahead.
const BATCHES_AHEAD: usize = 2;

/// Way in which files are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// Downloads each file whole, and verifies it by its SHA-256 before a row is read. The file is
    /// deleted after its last row.
    #[default]
    Whole,
    /// Fetches only the footer and the chosen columns of Parquet files. Their size is verified, and
    /// their contents cannot be. Other files are downloaded whole.
    Columns,
}

/// Rows of a data set on a hub, as a [`Source`](crate::Source).
pub type HubSource = ResumableSource<HubReader>;

/// Reader of the rows of a data set on a hub.
pub struct HubReader {
    name: String,
    hub: Hub,
    spec: DatasetSpec,
    transfer: Transfer,
    rows: Option<mpsc::Receiver<Message>>,
    bar: ProgressBar,
}

/// Place behind the rows that were returned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubCursor {
    /// Choice of rows, which later runs must have too.
    spec: Option<DatasetSpec>,
    /// Commit, once it is resolved.
    pin: Option<Pin>,
    /// File of the next row; files before it are done.
    file: Option<String>,
    /// Number of rows of the file that were returned. The row group of the next one follows from
    /// the file's footer.
    row: u64,
    /// All rows were returned.
    is_done: bool,
}

/// Message of the thread that reads.
enum Message {
    Batch(Batch, Box<HubCursor>),
    Failed(HubError),
}

impl HubSource {
    /// Creates a source of the rows that `spec` chooses. `bar` counts the bytes of downloads.
    ///
    /// # Errors
    ///
    /// Fails if the choice is [not valid](DatasetSpec::validate).
    pub fn new(
        hub: Hub,
        spec: DatasetSpec,
        transfer: Transfer,
        bar: ProgressBar,
    ) -> Result<Self, SourceError> {
        spec.validate()?;
        let id: super::HubId = spec.id.parse().map_err(SourceError::InvalidOption)?;
        let name = format!("hub/{}", id.name());
        let cursor = HubCursor { spec: Some(spec.clone()), ..HubCursor::default() };
        Ok(Self::at(cursor, HubReader { name, hub, spec, transfer, rows: None, bar }))
    }
}

impl HubReader {
    /// Starts the thread that reads. HTTP and Parquet block, so they have a thread of their own.
    fn start(&self, cursor: &HubCursor) -> mpsc::Receiver<Message> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let thread = ReaderThread {
            hub: self.hub.clone(),
            spec: self.spec.clone(),
            transfer: self.transfer,
            cursor: cursor.clone(),
            source: self.name.clone(),
            bar: self.bar.clone(),
        };
        thread::spawn(move || {
            if let Err(error) = thread.run(&sender) {
                let _ = sender.blocking_send(Message::Failed(error));
            }
        });
        receiver
    }
}

#[async_trait]
impl Reader for HubReader {
    type Cursor = HubCursor;

    fn name(&self) -> &str {
        &self.name
    }

    fn check(&self, cursor: &HubCursor, saved: &HubCursor) -> Result<(), String> {
        let is_same = saved.spec == cursor.spec;
        is_same.then_some(()).ok_or_else(|| "it read another part of the data set".into())
    }

    async fn next(&mut self, cursor: &mut HubCursor) -> Result<Step, SourceError> {
        if cursor.is_done {
            return Ok(Step::Done);
        }
        let rows = match self.rows.take() {
            Some(rows) => rows,
            None => self.start(cursor),
        };
        let reason = match self.rows.insert(rows).recv().await {
            Some(Message::Batch(batch, behind)) => {
                *cursor = *behind;
                return Ok(Step::Batch(batch));
            }
            Some(Message::Failed(error)) => error.to_string(),
            None => "a file cannot be decoded; leave it out by the patterns of files".into(),
        };
        // The next call starts again from the cursor.
        self.rows = None;
        Err(SourceError::Service { service: self.name.clone(), reason })
    }
}

/// State of the thread that reads.
struct ReaderThread {
    hub: Hub,
    spec: DatasetSpec,
    transfer: Transfer,
    cursor: HubCursor,
    source: String,
    bar: ProgressBar,
}

impl ReaderThread {
    /// Sends all batches behind the cursor. Ends early if nobody receives them.
    fn run(mut self, sender: &mpsc::Sender<Message>) -> Result<(), HubError> {
        let client = Arc::new(self.hub.connect()?);
        let pin = self.cursor.pin.as_ref();
        let dataset = Dataset::resolve(&client, &self.spec, pin, self.hub.has_token())?;
        self.cursor.pin = Some(dataset.pin.clone());
        let done = self.cursor.file.clone();
        for file in dataset.files.iter().filter(|file| Some(&file.path) >= done.as_ref()) {
            if self.cursor.file.as_ref() != Some(&file.path) {
                (self.cursor.file, self.cursor.row) = (Some(file.path.clone()), 0);
            }
            if !self.read(&client, &dataset, file, sender)? {
                return Ok(());
            }
        }
        self.cursor.is_done = true;
        self.send(sender, Batch::default());
        Ok(())
    }

    /// Sends the rows of `file`. Returns `false` if nobody receives them.
    fn read(
        &mut self,
        client: &Arc<HubClient>,
        dataset: &Dataset,
        file: &HubFile,
        sender: &mpsc::Sender<Message>,
    ) -> Result<bool, HubError> {
        if sender.is_closed() {
            return Ok(false);
        }
        let refuse = |reason| HubError::File { path: file.path.clone(), reason };
        let (rows, copy) = self.open(client, dataset, file)?;
        let location = format!("{}/{}@{}", dataset.id.name(), file.path, dataset.id.revision());
        let mut batch = Pending::default();
        for row in rows {
            self.cursor.row += 1;
            let mut row = row.map_err(refuse)?;
            let (Ok(RawDocument { origin, .. }) | Err(Refusal { origin, .. })) = &mut row;
            origin.location.clone_from(&location);
            batch.add(row);
            if batch.is_full() && !self.send(sender, batch.take()) {
                return Ok(false);
            }
        }
        if !self.send(sender, batch.take()) {
            return Ok(false);
        }
        match copy {
            None => Ok(true),
            Some(path) => fs::remove_file(&path).map(|()| true).map_err(|source| HubError::Io {
                action: "delete",
                path,
                source,
            }),
        }
    }

    /// Opens `file` at the row of the cursor. Returns the rows, and the copy on the disk if there
    /// is one.
    fn open(
        &self,
        client: &Arc<HubClient>,
        dataset: &Dataset,
        file: &HubFile,
    ) -> Result<(Rows, Option<PathBuf>), HubError> {
        let refuse = |reason: String| HubError::File { path: file.path.clone(), reason };
        let format = Format::of(&file.path).ok_or_else(|| refuse("it has no rows".into()))?;
        let (content, copy) = match (self.transfer, format, file.size) {
            (Transfer::Columns, Format::Parquet, Some(size)) => {
                let id = &dataset.id;
                let url = client.file_url(RepoKind::Dataset, id, id.revision(), &file.path);
                (Content::Random(Arc::new(RemoteFile::new(client.clone(), url, size))), None)
            }
            _ => {
                let path = self.download(client, dataset, file)?;
                (Content::File(path.clone()), Some(path))
            }
        };
        let origin = Origin {
            source: self.source.clone(),
            // The ending tells the format. The commit is added to it later.
            location: file.path.clone(),
            fetched: seconds(),
            licence: self.spec.licence.clone(),
            ..Origin::default()
        };
        let rows = Rows::open(content, origin, format, &self.spec.columns, self.cursor.row)
            .map_err(|error| refuse(error.to_string()))?;
        Ok((rows, copy))
    }

    /// Downloads `file`, and returns its path.
    fn download(
        &self,
        client: &HubClient,
        dataset: &Dataset,
        file: &HubFile,
    ) -> Result<PathBuf, HubError> {
        let id = &dataset.id;
        let folder = self.hub.folder(id, id.revision());
        fs::create_dir_all(&folder).map_err(|source| HubError::Io {
            action: "create",
            path: folder.clone(),
            source,
        })?;
        // The hub's name of the file is not used on the disk.
        let path = folder.join(blake3::hash(file.path.as_bytes()).to_hex().as_str());
        self.bar.set_length(file.size.unwrap_or(0));
        self.bar.set_position(0);
        self.bar.set_message(file.path.clone());
        client.fetch_file(RepoKind::Dataset, id, id.revision(), file, &path, &self.bar)?;
        Ok(path)
    }

    /// Sends `batch` with the cursor behind it. Returns `false` if nobody receives it.
    fn send(&self, sender: &mpsc::Sender<Message>, batch: Batch) -> bool {
        sender.blocking_send(Message::Batch(batch, Box::new(self.cursor.clone()))).is_ok()
    }
}

/// Returns the seconds since 1970.
fn seconds() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs())
}
