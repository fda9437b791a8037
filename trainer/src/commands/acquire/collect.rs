// SPDX-License-Identifier: Apache-2.0

//! Collection of a source's documents, and the data that are made of them.

use super::{
    super::{
        ingest::Display,
        recorded_options::{RecordedOptions, ReferenceDigests, options_path},
    },
    RAW, Stop,
    config::{Config, Kind, SourceConfig},
    derivation::Parents,
    display::FillDisplay,
    network::{NetworkSignatures, in_order},
    refusals::{self, RefusalCount},
    state::{Batch, IngestState, Inputs, SourceState, batch_folder, batch_folders},
    suppliers::Supplier,
};
use crate::error::{explain, is_disk_full};
use anyhow::{Context, Result, bail, ensure};
use pol_corpus::{RawStore, dedup::DedupConfig, pipeline::Supply};
use pol_data::{DataError, IngestRecord, RECORD_FILE, SIGNATURES_FILE, restore_signatures};
use pol_primitives::{Hash, data::ManifestId};
use pol_sources::{Budget, End, FillOptions, Totals, fill, http::HttpClient};
use serde::Serialize;
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Time for which the signatures of other providers are taken for all that there are, until data
/// are to be registered.
const NETWORK_AGE: Duration = Duration::from_secs(600);

/// Collector of sources.
pub(super) struct Collector<'a> {
    pub(super) config: &'a Config,
    /// Client for sites, if a source needs one.
    pub(super) client: Option<HttpClient>,
    pub(super) stop: Stop,
    pub(super) json: bool,
    /// Bytes of text after which a source's data are full, and the next ones begin.
    pub(super) batch_bytes: Option<u64>,
    /// Signatures of what other providers registered, if new data are compared with them.
    pub(super) network: Option<&'a NetworkSignatures>,
    /// Data of which all files were verified in this run: folders, and requests of their ingestion.
    pub(super) verified: RefCell<BTreeSet<(PathBuf, Hash)>>,
    /// Sources with data that others cannot be compared with, and the first reason of each.
    pub(super) broken: RefCell<BTreeMap<String, String>>,
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
    /// Its data are full; the next ones follow.
    Full,
    /// The network has enough text of its kind.
    Held,
    /// The budget of deposits does not cover more.
    Spent,
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
#[serde(tag = "event", rename = "source")]
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
    /// Most frequent reasons of those of this run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<RefusalCount>,
    /// The data were made anew in this run.
    pub(super) made: bool,
    /// Record of the data.
    pub(super) data: Option<IngestRecord>,
    /// Inputs of the data, if these may still grow.
    #[serde(skip)]
    pub(super) inputs: Option<Inputs>,
    /// The data do not grow any more.
    #[serde(skip)]
    pub(super) is_complete: bool,
    /// Remark.
    pub(super) note: Option<String>,
    /// Error, with its remedy.
    pub(super) error: Option<String>,
    /// The disk is full.
    #[serde(skip)]
    pub(super) is_disk_full: bool,
}

impl Outcome {
    pub(super) fn new(source: &SourceConfig) -> Self {
        Self {
            source: source.name.clone(),
            kind: source.kind,
            ended: None,
            documents: 0,
            new_documents: 0,
            bytes: 0,
            refused: 0,
            refusals: Vec::new(),
            made: false,
            data: None,
            inputs: None,
            is_complete: false,
            note: None,
            error: None,
            is_disk_full: false,
        }
    }

    /// Notes an error, unless there was one before.
    pub(super) fn fail(&mut self, error: &anyhow::Error) {
        self.error.get_or_insert_with(|| explain(error));
        self.is_disk_full |= is_disk_full(error);
    }

    /// Fails if nothing was ever gathered from the source, with the reason. `wait` is the time
    /// after which it may have news.
    fn check(&self, wait: Option<Duration>) -> Result<()> {
        if self.documents > 0 {
            return Ok(());
        }
        let why = match self.ended {
            Some(Ended::Done) => "the source has no documents for the program".to_owned(),
            Some(Ended::Idle) => {
                let seconds = wait.unwrap_or_default().as_secs().max(1);
                format!(
                    "it has nothing for now, or is busy: try again in {seconds} seconds, or go on \
                     asking with --watch"
                )
            }
            Some(Ended::Budget) => {
                "a budget is used up before the first document: raise max_minutes, http.max_bytes, \
                 or the number of pages"
                    .to_owned()
            }
            _ => return Ok(()),
        };
        let refused = refusals::describe(&self.refusals);
        let refused = if refused.is_empty() { refused } else { format!("; {refused}") };
        bail!("nothing was gathered: {why}{refused}")
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
            Some(Ended::Full) => "; more follow",
            Some(Ended::Held) => "; nothing is drawn for now",
            Some(Ended::Spent) => "; the budget of deposits is used up",
            Some(Ended::Stopped) => "; stopped",
            None => "",
        };
        if let Some(note) = &self.note {
            line += &format!("; {note}");
        }
        if !self.refusals.is_empty() && self.error.is_none() {
            line += &format!("; {}", refusals::describe(&self.refusals));
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
            outcome.fail(&error);
        }
        outcome
    }

    /// Collects from a source again, after `before`, if other providers registered something since
    /// its data were compared with theirs.
    pub(super) async fn collect_news(&self, source: &SourceConfig, mut before: Outcome) -> Outcome {
        match self.has_news(source).await {
            Ok(true) => {
                let mut outcome = self.collect(source).await;
                outcome.new_documents += before.new_documents;
                outcome.made |= before.made;
                outcome
            }
            Ok(false) => {
                if self.stop.is_set() {
                    before.ended = Some(Ended::Stopped);
                }
                before
            }
            Err(error) => {
                before.fail(&error);
                // They wait until they can be compared.
                before.inputs = None;
                before
            }
        }
    }

    async fn has_news(&self, source: &SourceConfig) -> Result<bool> {
        let network = self.network.filter(|_| !is_recipe(source));
        let Some(network) = network else { return Ok(false) };
        let report = network.update(Duration::ZERO).await?;
        Ok(report.is_some_and(|report| report.has_changed))
    }

    async fn try_collect(&self, source: &SourceConfig, outcome: &mut Outcome) -> Result<()> {
        let folder = self.config.out.join(&source.name);
        let state = SourceState::read(&folder)?;
        let supplier = source.supplier()?;
        if let Supplier::Files(paths) = supplier {
            let supplies: Vec<_> = paths.iter().cloned().map(Supply::Path).collect();
            check_size(&supplies, source.max_bytes(self.config))?;
            (outcome.ended, outcome.is_complete) = (Some(Ended::Done), true);
            let inputs = Inputs::of_files(paths)?;
            return self.ingest(source, supplies, &folder, state, inputs, outcome).await;
        }
        let filled = self.fill(source, supplier, &folder, &state, outcome).await;
        if filled.is_ok() && outcome.documents == 0 && outcome.ended == Some(Ended::Done) {
            // Nothing is lost, and the next run asks again.
            let raw = folder.join(RAW);
            let removed = fs::remove_dir_all(&raw);
            removed.with_context(|| format!("cannot remove {}", raw.display()))?;
        }
        let filled = filled.and_then(|wait| outcome.check(wait));
        // Also what came before a failure is made use of.
        if outcome.documents > 0 && !self.stop.is_set() {
            let supplies = vec![Supply::Store(folder.join(RAW), state.offered().documents)];
            let inputs = Inputs { documents: outcome.documents, bytes: outcome.bytes, files: None };
            let made = self.ingest(source, supplies, &folder, state, inputs, outcome).await;
            return filled.and(made);
        }
        filled
    }

    /// Fills the store of a source. Returns the time after which it may have news, if it has none
    /// now.
    async fn fill(
        &self,
        source: &SourceConfig,
        supplier: Supplier<'_>,
        folder: &Path,
        state: &SourceState,
        outcome: &mut Outcome,
    ) -> Result<Option<Duration>> {
        let display = FillDisplay::new(&source.name, source.max_bytes(self.config), self.json);
        let bar = display.download_bar();
        let visitor = self.client.clone().map(|client| self.config.visitor(client)).transpose()?;
        let mut documents = supplier.open(&source.name, folder, visitor, bar)?;
        let mut store = RawStore::create_or_open(folder.join(RAW))?;
        display.begin(Totals::of(&store));
        let before = store.len();
        let budget = source.budget(self.config);
        let full = self.batch_bytes.filter(|_| supplier.is_divisible());
        let full = full.map(|bytes| state.offered().bytes.saturating_add(bytes));
        let bytes = budget.bytes.into_iter().chain(full).min();
        let options = FillOptions { budget: Budget { bytes, ..budget }, ..FillOptions::default() };
        let stop = self.stop.clone().wait();
        let filled = fill(documents.as_mut(), &mut store, &options, &display, stop).await;
        let (refusals, wait) = display.end();
        outcome.refusals = refusals.listed();
        let totals = Totals::of(&store);
        (outcome.bytes, outcome.refused) = (totals.bytes, totals.refused);
        outcome.documents = store.len();
        outcome.new_documents = store.len() - before;
        let (end, _) = filled?;
        let is_spent = is_reached(budget.bytes, totals.bytes)
            || is_reached(budget.documents, totals.documents);
        let is_full = !is_spent && end == End::Budget && is_reached(full, totals.bytes);
        outcome.is_complete = is_spent || is_full || end == End::Done;
        outcome.ended = Some(if is_full { Ended::Full } else { end.into() });
        Ok(wait)
    }

    /// Returns the record of the data in a folder that were made before. If they are to be `kept`,
    /// it is `None` where a file is damaged, so that they are made anew. That is looked for once in
    /// a run, as all files are read.
    async fn intact(&self, data: &Path, kept: bool) -> Result<Option<IngestRecord>> {
        let record = IngestRecord::read(data).ok();
        let Some(found) = record.as_ref().filter(|_| kept) else { return Ok(record) };
        let mark = (data.to_owned(), found.request);
        if self.verified.borrow().contains(&mark) {
            return Ok(record);
        }
        let path = data.to_owned();
        let task = tokio::task::spawn_blocking(move || pol_data::verify(&path));
        let verified = tokio::select! {
            verified = task => verified?,
            () = self.stop.clone().wait() => return Ok(record),
        };
        if let Err(error) = verified {
            tracing::warn!("making the data of {} anew: {error}", data.display());
            return Ok(None);
        }
        self.verified.borrow_mut().insert(mark);
        Ok(record)
    }

    /// Returns the signature files of the sealed data of all sources, and of what other providers
    /// registered, with which new data of `source` are compared. Those of a chain come with the
    /// numbers of their manifests. What a recipe makes is not compared with that of others, since
    /// the recipe alone has to give the same data to anybody. Nothing is compared with what it is
    /// made from.
    ///
    /// Files that are lost are made anew. Those of another source that cannot be used are left out,
    /// and the source is noted, so that it stops no other.
    pub(super) async fn offered_signatures(
        &self,
        source: &SourceConfig,
        dedup: &DedupConfig,
    ) -> Result<Vec<(Option<ManifestId>, PathBuf)>> {
        let is_made = is_recipe(source);
        let parents = self.parents(source).await?;
        let sources = self.config.sources.iter();
        let mut files = Vec::new();
        if let Some(network) = self.network.filter(|_| !is_made) {
            network.update(NETWORK_AGE).await?;
            files.extend(network.files(&parents)?);
        }
        for other in sources.filter(|other| !is_made || other.name == source.name) {
            let folder = self.config.out.join(&other.name);
            let sealed = match SourceState::read(&folder) {
                Ok(state) => self.sealed(&folder, &state),
                Err(error) => {
                    self.note_broken(other, &error);
                    // Nobody knows which are sealed. What is like the others stays in them.
                    batch_folders(&folder).into_iter().map(|data| (Vec::new(), data)).collect()
                }
            };
            for (numbers, data) in sealed {
                if self.is_parent(&parents, &numbers, &data) {
                    continue;
                }
                let number = numbers.into_iter().min();
                match self.usable_signatures(&data, dedup).await {
                    Ok(file) => files.extend(file.map(|file| (number, file))),
                    Err(error) if other.name == source.name => return Err(error),
                    Err(error) => self.note_broken(other, &error),
                }
            }
        }
        Ok(files)
    }

    /// Returns the folders of sealed data of the source in `folder`, with the numbers of the
    /// manifests that they are on the provider's chain.
    fn sealed(&self, folder: &Path, state: &SourceState) -> Vec<(Vec<ManifestId>, PathBuf)> {
        let chain = self.network.map(NetworkSignatures::chain_name);
        let numbers_of = |batch: &Batch| {
            let record = batch.on_chain.as_ref().filter(|it| chain.as_ref() == Some(&it.chain));
            record.map_or_else(Vec::new, |record| record.manifests.clone())
        };
        state.sealed.iter().map(numbers_of).zip(state.sealed_folders(folder)).collect()
    }

    /// Returns the manifests that the text of a source is made from. Documents name some where a
    /// description does.
    async fn parents(&self, source: &SourceConfig) -> Result<Parents> {
        let mut parents = Parents::stated(&source.parents);
        let raw = self.config.out.join(&source.name).join(RAW);
        if !matches!(source.supplier()?, Supplier::Croissant(..)) || !raw.is_dir() {
            return Ok(parents);
        }
        let task = tokio::task::spawn_blocking(move || parents.add_named(&raw).map(|()| parents));
        tokio::select! {
            parents = task => parents?,
            () = self.stop.clone().wait() => Ok(Parents::stated(&source.parents)),
        }
    }

    /// Returns `true` if a side of sealed data is a parent. `numbers` are those of the manifests on
    /// the provider's chain.
    fn is_parent(&self, parents: &Parents, numbers: &[ManifestId], data: &Path) -> bool {
        let contents = IngestRecord::read(data).map_or_else(
            |_| Vec::new(),
            |it| vec![it.train.content_hash, it.held_out.content_hash],
        );
        // Without a network there are no numbers.
        let genesis = self.network.map(NetworkSignatures::genesis).unwrap_or_default();
        parents.contain(&contents, numbers, genesis)
    }

    /// Returns the signature file of a folder of data, made anew if it was lost, or `None` if the
    /// operator stops that.
    async fn usable_signatures(&self, data: &Path, dedup: &DedupConfig) -> Result<Option<PathBuf>> {
        let (folder, dedup) = (data.to_owned(), dedup.clone());
        let task = tokio::task::spawn_blocking(move || restore_signatures(&folder, &dedup));
        let file = data.join(SIGNATURES_FILE);
        let restored = tokio::select! {
            restored = task => restored?,
            () = self.stop.clone().wait() => return Ok(None),
        };
        let is_new = restored.with_context(|| {
            format!(
                "{} cannot be used, nor made anew; restore {} from a copy",
                file.display(),
                data.display()
            )
        })?;
        if is_new {
            tracing::warn!("{} was lost or damaged, and is made anew", file.display());
        }
        Ok(Some(file))
    }

    /// Notes that data of a source cannot be compared with, and tells the reason once.
    fn note_broken(&self, source: &SourceConfig, error: &anyhow::Error) {
        if let Entry::Vacant(entry) = self.broken.borrow_mut().entry(source.name.clone()) {
            let reason = entry.insert(explain(error));
            tracing::error!("{}: other data are not compared with its own: {reason}", source.name);
        }
    }

    /// Makes data of the `inputs` of a source that are not in sealed data, unless they are there.
    async fn ingest(
        &self,
        source: &SourceConfig,
        supplies: Vec<Supply>,
        folder: &Path,
        mut state: SourceState,
        inputs: Inputs,
        outcome: &mut Outcome,
    ) -> Result<()> {
        if state.offered() == inputs {
            return Ok(());
        }
        let data = batch_folder(folder, state.sealed.len());
        let config = source.ingestion(self.config, supplies, data.clone())?;
        let mut references = self.config.references();
        let offered = self.offered_signatures(source, &config.corpus.dedup).await?;
        // Nothing may be left where all was offered before, by this source or another.
        let may_grow = !offered.is_empty() || outcome.ended == Some(Ended::Idle);
        references.against = in_order(references.against, offered);
        let open = Some(IngestState::new(&inputs, &config, &references)?);
        // The recipe alone does not tell how its data were made.
        let recipe = config.lineage.as_ref().map(|lineage| lineage.configuration);
        let options_file = options_path(folder, state.sealed.len());
        let before = self.intact(&data, state.open == open).await?;
        if self.stop.is_set() {
            outcome.ended = Some(Ended::Stopped);
            return Ok(());
        }
        let is_told = recipe.is_none() || options_file.is_file();
        if state.open == open && before.is_some() && is_told {
            (outcome.data, outcome.inputs) = (before, Some(inputs));
            return Ok(());
        }
        let (json, documents) = (self.json, inputs.documents);
        let task = tokio::task::spawn_blocking(move || {
            let display = Display::new(json);
            let started = Instant::now();
            let references = pol_data::load_references(&references)?;
            let digests = recipe.map(|_| ReferenceDigests::of(&references)).transpose()?;
            let record = pol_data::ingest(&config, references, &|progress| display.show(progress));
            pol_metrics::data().ingestion_duration_seconds.observe_since(started);
            display.end();
            let record = record?;
            let options = recipe.zip(digests).map(|(recipe, digests)| {
                RecordedOptions::new(&config, recipe, documents, digests, &record)
            });
            Ok::<_, DataError>((record, options))
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
            Ok((record, options)) => {
                options.map_or(Ok(()), |options| options.write(&options_file))?;
                state.open = open;
                state.write(folder)?;
                outcome.made = before.as_ref() != Some(&record);
                (outcome.data, outcome.inputs) = (Some(record), Some(inputs));
                Ok(())
            }
            Err(error @ (DataError::TooLittleText { .. } | DataError::NothingLeft(_)))
                if may_grow =>
            {
                outcome.note = Some(format!("no data yet: {error}"));
                Ok(())
            }
            Err(DataError::Foreign(path)) => bail!(
                "{} has no readable {RECORD_FILE}; move it away, and it is made anew",
                path.display()
            ),
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns `true` if a recipe makes the text of a source.
fn is_recipe(source: &SourceConfig) -> bool {
    matches!(source.supplier(), Ok(Supplier::Synthesis(_)))
}

/// Returns `true` if a quantity has come to its limit.
fn is_reached(limit: Option<u64>, quantity: u64) -> bool {
    limit.is_some_and(|limit| quantity >= limit)
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
