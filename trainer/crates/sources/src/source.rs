// SPDX-License-Identifier: Apache-2.0

//! Sources, and the loop that fills a raw store from one.
//!
//! A [`Source`] is asked for its next documents until it has no more. [`fill`] writes them to a
//! [`Sink`] together with the source's cursor, so that a killed run goes on behind the last
//! committed document. Budgets, cancellation and progress are the loop's, so that a source is
//! nothing but a way to documents.

use crate::SourceError;
use async_trait::async_trait;
use pol_corpus::{CorpusError, RawDocument, RawStore, Refusal};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeSet, future::Future, time::Duration};
use tokio::time::Instant;

/// Way to documents: a crawl, a feed, a service, a data set of a hub.
#[async_trait]
pub trait Source: Send {
    /// Name of the source, as in [`pol_corpus::Origin::source`].
    fn name(&self) -> &str;

    /// Continues at `cursor`, which [`Self::cursor`] of a source with the same options returned.
    /// It is called before the first [`Self::next`], and only if the store has a cursor.
    ///
    /// # Errors
    ///
    /// Fails if `cursor` is no cursor of this source, with the reason.
    fn resume(&mut self, cursor: Value) -> Result<(), String>;

    /// Returns the cursor: all that is needed to go on behind the last step that was returned. Its
    /// size is bounded.
    fn cursor(&self) -> Value;

    /// Returns the next documents. The future may be dropped before it is ready. Nothing that was
    /// not returned may then be part of the cursor.
    ///
    /// # Errors
    ///
    /// Fails if the source cannot go on. A page or file that cannot be had is a [`Refusal`].
    async fn next(&mut self) -> Result<Step, SourceError>;
}

/// Result of asking a source for its next documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Documents, and things that are none. Both may be empty if only the cursor went on.
    Batch(Batch),
    /// There is nothing new, and there may be after this time.
    Wait(Duration),
    /// A budget of the source itself is used up. A later run goes on.
    Spent,
    /// There is no more.
    Done,
}

/// Documents of a source, of a few megabytes in all at most if they are small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Documents.
    pub documents: Vec<RawDocument>,
    /// Things that are no documents, each with the reason.
    pub refused: Vec<Refusal>,
}

/// Place where documents become durable, in order.
pub trait Sink: Send {
    /// Appends a document. It is durable after the next [`Self::commit`].
    ///
    /// # Errors
    ///
    /// Fails if the document cannot be written.
    fn append(&mut self, document: &RawDocument) -> Result<(), CorpusError>;

    /// Makes the documents so far and `cursor` durable, both or neither.
    ///
    /// # Errors
    ///
    /// Fails if they cannot be written.
    fn commit(&mut self, cursor: &Value) -> Result<(), CorpusError>;

    /// Returns the last committed cursor.
    fn cursor(&self) -> Option<Value>;
}

impl Sink for RawStore {
    fn append(&mut self, document: &RawDocument) -> Result<(), CorpusError> {
        Self::append(self, document)
    }

    fn commit(&mut self, cursor: &Value) -> Result<(), CorpusError> {
        Self::commit(self, cursor)
    }

    fn cursor(&self) -> Option<Value> {
        Some(Self::cursor(self)).filter(|cursor| !cursor.is_null()).cloned()
    }
}

/// Quantities after which [`fill`] stops. `None` is without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of documents in the store, over all runs.
    pub bytes: Option<u64>,
    /// Documents in the store, over all runs.
    pub documents: Option<u64>,
    /// Time of this run.
    pub time: Option<Duration>,
}

/// Options of [`fill`].
#[derive(Clone, Copy, Debug)]
pub struct FillOptions {
    /// Budget.
    pub budget: Budget,
    /// Time between two commits. Zero commits each step.
    pub commit_interval: Duration,
    /// Goes on if the source has nothing new for now, and asks it again later.
    pub watch: bool,
}

impl Default for FillOptions {
    fn default() -> Self {
        Self { budget: Budget::default(), commit_interval: Duration::from_secs(5), watch: false }
    }
}

/// Quantities of a store, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Documents.
    pub documents: u64,
    /// Bytes of their contents.
    pub bytes: u64,
    /// Things that are no documents.
    pub refused: u64,
}

impl Totals {
    /// Returns the totals of a store: zeros if no source filled it.
    pub fn of(sink: &dyn Sink) -> Self {
        let cursor = sink.cursor().and_then(|cursor| StoreCursor::deserialize(cursor).ok());
        cursor.map_or_else(Self::default, |cursor| cursor.totals)
    }
}

/// Reason why [`fill`] stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The source has no more.
    Done,
    /// The source has nothing new for now.
    Idle,
    /// A budget is used up.
    Budget,
    /// The caller wanted it.
    Cancelled,
}

/// Progress of [`fill`].
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// Documents were written, with the totals from now on.
    Written(Totals),
    /// Something is no document.
    Refused(&'a Refusal),
    /// The documents so far are durable.
    Committed(Totals),
    /// The source has nothing new for this time, after which it is asked again if it is watched.
    Waiting(Duration),
}

/// Receiver of progress.
pub trait Observer: Send + Sync {
    /// Takes notice of `progress`.
    fn observe(&self, progress: Progress<'_>);
}

/// Observer that ignores all.
impl Observer for () {
    fn observe(&self, _: Progress<'_>) {}
}

impl<F: Fn(Progress<'_>) + Send + Sync> Observer for F {
    fn observe(&self, progress: Progress<'_>) {
        self(progress);
    }
}

/// Cursor of a store: the source's own, with its name and the totals.
#[derive(Serialize, Deserialize)]
struct StoreCursor {
    source: String,
    totals: Totals,
    cursor: Value,
    /// Documents behind the cursor that are in the store, by the start of their BLAKE3: those of a
    /// step for whose other documents the budget had no room.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    written: BTreeSet<String>,
}

/// Returns the start of the BLAKE3 of a document.
fn short_digest(document: &RawDocument) -> String {
    blake3::hash(&document.bytes).to_hex()[..16].to_owned()
}

/// Writes the documents of `source` to `sink`, from where an earlier run stopped, until the source
/// ends, a budget is used up, or `cancelled` is ready. All that was written is committed then.
///
/// No more documents are written than the budget has. A later run with a larger one asks for the
/// step again that had more, and writes the others. The budget of bytes may be exceeded by a part
/// of one step.
///
/// # Errors
///
/// Fails if the sink fails, if the source cannot go on, or if the sink was filled by another
/// source. The sink keeps all that was written before.
pub async fn fill(
    source: &mut dyn Source,
    sink: &mut dyn Sink,
    options: &FillOptions,
    observer: &dyn Observer,
    cancelled: impl Future<Output = ()> + Send,
) -> Result<(End, Totals), SourceError> {
    let (totals, written) = resume(source, sink)?;
    let deadline = options.budget.time.and_then(|time| Instant::now().checked_add(time));
    let committed = Instant::now();
    let mut filling = Filling { source, sink, observer, totals, written, cut: None, committed };
    let out_of_time = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    let end = tokio::select! {
        biased;
        () = cancelled => Ok(End::Cancelled),
        () = out_of_time => Ok(End::Budget),
        end = filling.run(options, deadline) => end,
    };
    let committed = filling.commit();
    // A store that failed takes no commit. Its first error has the reason, such as a full disk.
    let end = end?;
    committed?;
    Ok((end, filling.totals))
}

/// Brings `source` to where the store's last run stopped. Returns the totals so far, and the
/// documents of its next step that are in the store.
fn resume(
    source: &mut dyn Source,
    sink: &dyn Sink,
) -> Result<(Totals, BTreeSet<String>), SourceError> {
    let Some(saved) = sink.cursor() else { return Ok(Default::default()) };
    let error = |reason| SourceError::Cursor { source_name: source.name().to_owned(), reason };
    let saved: StoreCursor = serde_json::from_value(saved).map_err(|e| error(e.to_string()))?;
    if saved.source != source.name() {
        return Err(error(format!("the store holds documents of {}", saved.source)));
    }
    let name = source.name().to_owned();
    source
        .resume(saved.cursor)
        .map_err(|reason| SourceError::Cursor { source_name: name, reason })?;
    Ok((saved.totals, saved.written))
}

/// State of [`fill`].
struct Filling<'a> {
    source: &'a mut dyn Source,
    sink: &'a mut dyn Sink,
    observer: &'a dyn Observer,
    totals: Totals,
    /// Documents of the next step, or of one that was cut, that are in the store.
    written: BTreeSet<String>,
    /// Cursor before the last step, if the budget had no room for all of it.
    cut: Option<Value>,
    committed: Instant,
}

impl Filling<'_> {
    /// Writes steps of the source until it ends or the budget is used up.
    async fn run(
        &mut self,
        options: &FillOptions,
        deadline: Option<Instant>,
    ) -> Result<End, SourceError> {
        loop {
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_late || self.is_spent(&options.budget) {
                return Ok(End::Budget);
            }
            // A source that never waits must not keep a cancellation from being seen.
            tokio::task::yield_now().await;
            let before = options.budget.documents.map(|_| self.source.cursor());
            match self.source.next().await? {
                Step::Batch(batch) => self.write(&batch, &options.budget, before)?,
                Step::Done => return Ok(End::Done),
                Step::Spent => return Ok(End::Budget),
                Step::Wait(time) => {
                    self.commit()?;
                    self.observer.observe(Progress::Waiting(time));
                    if !options.watch {
                        return Ok(End::Idle);
                    }
                    tokio::time::sleep(time).await;
                }
            }
            if self.committed.elapsed() >= options.commit_interval {
                self.commit()?;
            }
        }
    }

    fn is_spent(&self, budget: &Budget) -> bool {
        budget.bytes.is_some_and(|bytes| self.totals.bytes >= bytes)
            || budget.documents.is_some_and(|documents| self.totals.documents >= documents)
    }

    /// Writes the documents of a step that are not in the store, as many as the budget allows.
    /// `before` is the cursor before the step.
    fn write(
        &mut self,
        batch: &Batch,
        budget: &Budget,
        before: Option<Value>,
    ) -> Result<(), SourceError> {
        let written = &self.written;
        let is_new = |document: &&RawDocument| {
            written.is_empty() || !written.contains(&short_digest(document))
        };
        let new: Vec<_> = batch.documents.iter().filter(is_new).collect();
        let room = budget.documents.map(|most| most.saturating_sub(self.totals.documents));
        let room = room.map_or(usize::MAX, |room| usize::try_from(room).unwrap_or(usize::MAX));
        for document in new.iter().take(room) {
            self.sink.append(document)?;
            self.totals.documents += 1;
            self.totals.bytes += document.bytes.len() as u64;
        }
        if new.len() > room {
            self.written.extend(new[..room].iter().map(|document| short_digest(document)));
            self.cut = before;
        } else {
            if !batch.documents.is_empty() {
                self.written.clear();
            }
            for refusal in &batch.refused {
                self.totals.refused += 1;
                self.observer.observe(Progress::Refused(refusal));
            }
        }
        self.observer.observe(Progress::Written(self.totals));
        Ok(())
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        let cursor = StoreCursor {
            source: self.source.name().to_owned(),
            totals: self.totals,
            cursor: self.cut.clone().unwrap_or_else(|| self.source.cursor()),
            written: self.written.clone(),
        };
        let cursor = serde_json::to_value(cursor).map_err(|error| SourceError::Cursor {
            source_name: self.source.name().to_owned(),
            reason: error.to_string(),
        })?;
        self.sink.commit(&cursor)?;
        self.committed = Instant::now();
        self.observer.observe(Progress::Committed(self.totals));
        Ok(())
    }
}
