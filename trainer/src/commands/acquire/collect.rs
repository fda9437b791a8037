// SPDX-License-Identifier: Apache-2.0

//! Collection of a source's documents, and the data that are made of them.

use super::{
    super::ingest::Display,
    Stop,
    config::{Config, Kind, SourceConfig},
    display::FillDisplay,
    state::IngestState,
    suppliers::Supplier,
};
use crate::error::explain;
use anyhow::{Context, Result, ensure};
use pol_corpus::{RawStore, pipeline::Supply};
use pol_data::{DataError, IngestRecord};
use pol_sources::{End, FillOptions, fill, http::HttpClient};
use serde::Serialize;
use std::path::Path;

/// Folder of the documents as they came, in the folder of a source.
const RAW: &str = "raw";
/// Folder of the data that are made of them.
const DATA: &str = "data";

/// Collector of sources.
pub(super) struct Collector<'a> {
    pub(super) config: &'a Config,
    /// Client for sites, if a source needs one.
    pub(super) client: Option<HttpClient>,
    pub(super) stop: Stop,
    pub(super) json: bool,
}

/// Reason why a source yields no more for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ended {
    /// It has no more.
    Done,
    /// It has nothing new for now.
    Idle,
    /// A budget is used up.
    Budget,
    /// The operator stopped it.
    Stopped,
}

impl From<End> for Ended {
    fn from(end: End) -> Self {
        match end {
            End::Done => Self::Done,
            End::Idle => Self::Idle,
            End::Budget => Self::Budget,
            End::Cancelled => Self::Stopped,
        }
    }
}

/// Outcome of a source.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    /// Name of the source.
    pub(super) source: String,
    kind: Kind,
    /// Reason why it yields no more for now, unless it failed.
    pub(super) ended: Option<Ended>,
    /// Documents in its store.
    documents: u64,
    /// Documents of this run.
    new_documents: u64,
    /// Bytes in its store.
    bytes: u64,
    /// Things that are no documents.
    refused: u64,
    /// The data were made anew in this run.
    made: bool,
    /// Record of the data.
    data: Option<IngestRecord>,
    /// Remark.
    note: Option<String>,
    /// Error, with its remedy.
    pub(super) error: Option<String>,
}

impl Outcome {
    fn new(source: &SourceConfig) -> Self {
        Self {
            source: source.name.clone(),
            kind: source.kind,
            ended: None,
            documents: 0,
            new_documents: 0,
            bytes: 0,
            refused: 0,
            made: false,
            data: None,
            note: None,
            error: None,
        }
    }

    /// Prints the outcome: a line for people, or one of JSON.
    pub(super) fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let mut line = format!("{} ({})", self.source, self.kind.name());
        if self.documents > 0 {
            line += &format!(": {} documents, {} new", self.documents, self.new_documents);
        }
        if let Some(data) = &self.data {
            line += &format!(
                "; {} shards to train on, {} held out{}",
                data.train.shards,
                data.held_out.shards,
                if self.made { "" } else { ", as before" }
            );
            if data.dropped + data.refused > 0 {
                line += &format!("; {} left out", data.dropped + data.refused);
            }
        }
        line += match self.ended {
            Some(Ended::Done) => "; no more to come",
            Some(Ended::Idle) => "; more may come",
            Some(Ended::Budget) => "; its budget is used up",
            Some(Ended::Stopped) => "; stopped",
            None => "",
        };
        if let Some(note) = &self.note {
            line += &format!("; {note}");
        }
        println!("{line}");
        if let Some(error) = &self.error {
            eprintln!("{}: {error}", self.source);
        }
        Ok(())
    }
}

impl Collector<'_> {
    /// Collects what a source has, and makes data of it if that is more than before.
    pub(super) async fn collect(&self, source: &SourceConfig) -> Outcome {
        let mut outcome = Outcome::new(source);
        if let Err(error) = self.try_collect(source, &mut outcome).await {
            outcome.error = Some(explain(&error));
        }
        outcome
    }

    async fn try_collect(&self, source: &SourceConfig, outcome: &mut Outcome) -> Result<()> {
        let folder = self.config.out.join(&source.name);
        let supplier = source.supplier()?;
        if let Supplier::Files(paths) = supplier {
            let supplies: Vec<_> = paths.iter().cloned().map(Supply::Path).collect();
            check_size(&supplies, source.max_bytes(self.config))?;
            outcome.ended = Some(Ended::Done);
            return self.ingest(source, supplies, &folder, None, outcome).await;
        }
        let filled = self.fill(source, supplier, &folder, outcome).await;
        // Also what came before a failure is made use of.
        if outcome.documents > 0 && !self.stop.is_set() {
            let (raw, documents) = (folder.join(RAW), outcome.documents);
            let supplies = vec![Supply::Store(raw)];
            let made = self.ingest(source, supplies, &folder, Some(documents), outcome).await;
            return filled.and(made);
        }
        filled
    }

    /// Fills the store of a source.
    async fn fill(
        &self,
        source: &SourceConfig,
        supplier: Supplier<'_>,
        folder: &Path,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let display = FillDisplay::new(&source.name, source.max_bytes(self.config), self.json);
        let bar = display.download_bar();
        let mut documents = supplier.open(&source.name, folder, self.client.as_ref(), bar)?;
        let mut store = RawStore::create_or_open(folder.join(RAW))?;
        let before = store.len();
        let options = FillOptions { budget: source.budget(self.config), ..FillOptions::default() };
        let stop = self.stop.clone().wait();
        let filled = fill(documents.as_mut(), &mut store, &options, &display, stop).await;
        display.end();
        outcome.documents = store.len();
        outcome.new_documents = store.len() - before;
        let (end, totals) = filled?;
        (outcome.bytes, outcome.refused) = (totals.bytes, totals.refused);
        outcome.ended = Some(end.into());
        Ok(())
    }

    /// Makes data of what a source has, unless they are there. `documents` is their number in a
    /// store.
    async fn ingest(
        &self,
        source: &SourceConfig,
        supplies: Vec<Supply>,
        folder: &Path,
        documents: Option<u64>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let data = folder.join(DATA);
        let config = source.ingestion(self.config, supplies, data.clone())?;
        let references = self.config.references();
        let before = IngestRecord::read(&data).ok();
        let state = match documents {
            Some(documents) => Some(IngestState::new(documents, &config, &references)?),
            None => None,
        };
        if state.is_some() && state == IngestState::read(folder) && before.is_some() {
            outcome.data = before;
            return Ok(());
        }
        let json = self.json;
        let task = tokio::task::spawn_blocking(move || {
            let display = Display::new(json);
            let record =
                pol_data::ingest(&config, references.load()?, &|event| display.show(event));
            display.end();
            record
        });
        // An ingestion that the end of the program interrupts goes on in the next run.
        let made = tokio::select! {
            made = task => made.context("the ingestion ended unexpectedly; run it again")?,
            () = self.stop.clone().wait() => {
                outcome.ended = Some(Ended::Stopped);
                return Ok(());
            }
        };
        match made {
            Ok(record) => {
                if let Some(state) = state {
                    state.write(folder)?;
                }
                outcome.made = before.as_ref() != Some(&record);
                outcome.data = Some(record);
                Ok(())
            }
            Err(error @ (DataError::TooLittleText { .. } | DataError::NothingLeft(_)))
                if outcome.ended == Some(Ended::Idle) =>
            {
                outcome.note = Some(format!("no data yet: {error}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Fails if the files are larger than the budget.
fn check_size(files: &[Supply], max_bytes: Option<u64>) -> Result<()> {
    let Some(max_bytes) = max_bytes else { return Ok(()) };
    let mut bytes = 0u64;
    for file in files {
        bytes = bytes.saturating_add(file.bytes()?);
    }
    ensure!(
        bytes <= max_bytes,
        "the files have {bytes} bytes, and the budget of tokens allows {max_bytes}; name fewer \
         files, or raise max_tokens"
    );
    Ok(())
}
