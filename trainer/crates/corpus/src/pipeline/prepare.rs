// SPDX-License-Identifier: Apache-2.0

//! First step: documents are read in order and cleaned on all cores.

use super::{
    Progress, References, Stage,
    prepared::{Item, Prepared, PreparedStore},
    supply::{Position, Supply, file_bytes},
};
use crate::{
    CorpusError, Decision, Document, DocumentRecord, Documents, Input, Origin, ReadOptions,
    Refusal, Verdict,
    filters::{Cleaned, Cleaner},
};
use pol_primitives::{Hash, Ppm};
use rayon::prelude::*;
use std::{
    panic::resume_unwind,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

/// Text that is cleaned at a time, in bytes.
const BATCH_BYTES: usize = 8 << 20;
/// Things that are cleaned at a time, at most.
const BATCH_THINGS: usize = 4_096;
/// Longest description of the place of a document, in bytes of JSON. Records are bounded.
const MAX_ORIGIN_BYTES: usize = 32 << 10;
/// Start of an address that is too long, in bytes, by which it is named.
const MAX_LOCATION_BYTES: usize = 1 << 10;
/// Batches that wait to be cleaned.
const WAITING_BATCHES: usize = 1;
/// Text after which what was done is made durable, in bytes.
const COMMIT_BYTES: usize = 256 << 20;

/// Things that were read, and the place in the inputs that follows them.
struct Batch {
    things: Vec<Result<Document, Refusal>>,
    next: Position,
    /// Bytes of text.
    bytes: usize,
    /// Bytes of the inputs that were read for it and for those before it.
    read: u64,
}

/// First step of a run.
pub(super) struct Preparer<'a> {
    pub(super) references: &'a References,
    pub(super) cleaner: &'a Cleaner,
    pub(super) min_quality: Ppm,
}

impl Preparer<'_> {
    /// Reads and cleans what follows the contents of `store`.
    pub(super) fn run(
        &self,
        supplies: &[Supply],
        options: &ReadOptions,
        store: &mut PreparedStore,
        watch: &(dyn Fn(Progress) + Sync),
    ) -> Result<(), CorpusError> {
        let sizes: Vec<u64> = supplies.iter().map(Supply::bytes).collect::<Result<_, _>>()?;
        let (total, start) = (sum(&sizes), store.position());
        let (sender, receiver) = sync_channel::<Batch>(WAITING_BATCHES);
        let (cleaned_sender, cleaned) = sync_channel(WAITING_BATCHES);
        thread::scope(|scope| {
            let reader = scope.spawn(move || read(supplies, &sizes, start, options, &sender));
            let cleaner = scope.spawn(move || {
                for Batch { things, next, bytes, read } in receiver {
                    let things: Vec<_> =
                        things.into_par_iter().map(|thing| self.prepare(thing)).collect();
                    // The disk has failed.
                    if cleaned_sender.send((things, next, bytes, read)).is_err() {
                        return;
                    }
                }
            });
            let (mut uncommitted, mut position) = (0, start);
            for (things, next, bytes, read) in cleaned {
                things.iter().try_for_each(|thing| store.append(thing))?;
                position = next;
                uncommitted += bytes;
                watch(Progress { stage: Stage::Reading, done: read.min(total), total });
                if uncommitted >= COMMIT_BYTES {
                    store.commit(position, false)?;
                    uncommitted = 0;
                }
            }
            cleaner.join().unwrap_or_else(|panic| resume_unwind(panic));
            reader.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            store.commit(position, true)
        })
    }

    /// Asks all rules about a thing. Returns what is stored of it.
    fn prepare(&self, thing: Result<Document, Refusal>) -> Prepared {
        let refused = |refusal| Prepared { item: Item::Refused(refusal), text: String::new() };
        let document = match thing {
            Ok(document) => document,
            Err(refusal) => return refused(refusal),
        };
        let group = match group(&document.origin) {
            Ok(group) => group,
            Err(refusal) => return refused(*refusal),
        };
        let Document { origin, raw, piece, extractor, invalid, text } = document;
        let opt_out = self.references.opt_out.as_ref();
        let opt_out = opt_out.and_then(|list| list.matches(&origin, &raw));
        let cleaned = match opt_out {
            Some(found) => {
                Cleaned { text: None, decisions: vec![found.decision()], language: None }
            }
            None => self.cleaner.clean(text),
        };
        let Cleaned { text, mut decisions, language } = cleaned;
        let (mut text, mut judged) = (text.unwrap_or_default(), Judgement::default());
        if !decisions.iter().any(|decision| decision.verdict == Verdict::Dropped) {
            judged = self.judge(&text);
            decisions.append(&mut judged.decisions);
        }
        let mut record = DocumentRecord {
            origin,
            raw,
            piece,
            extractor,
            invalid,
            text: *blake3::hash(text.as_bytes()).as_bytes(),
            bytes: text.len() as u64,
            language,
            quality: judged.quality,
            decisions,
            cluster: None,
            survivor: None,
            survivor_manifest: None,
            reference: judged.reference,
            place: None,
        };
        if record.is_dropped() {
            text.clear();
            record.bytes = 0;
        }
        Prepared { item: Item::Document { group, record: Box::new(record) }, text }
    }

    /// Judges a clean text.
    fn judge(&self, text: &str) -> Judgement {
        let decide = |rule: &'static str, is_dropped: bool, measured: u64| Decision {
            rule: rule.into(),
            verdict: if is_dropped { Verdict::Dropped } else { Verdict::Passed },
            measured: Some(measured),
        };
        let mut judged = Judgement::default();
        if text.trim().is_empty() {
            judged.decisions.push(decide("empty", true, 0));
            return judged;
        }
        if let Some(list) = &self.references.opt_out
            && let Some(found) = list.matches_hash(blake3::hash(text.as_bytes()).as_bytes())
        {
            judged.decisions.push(found.decision());
            return judged;
        }
        judged.quality = self.references.quality.as_ref().map(|model| model.score(text));
        if let Some(score) = judged.quality {
            let is_dropped = score < self.min_quality;
            judged.decisions.push(decide("quality", is_dropped, score.into()));
            if is_dropped {
                return judged;
            }
        }
        if let Some(finder) = &self.references.held_out {
            let found = finder.check(text);
            let shared = found.as_ref().map_or(0, |found| found.shared);
            judged.decisions.push(decide("contamination", shared > 0, shared));
            judged.reference = found.map(|found| found.reference);
        }
        judged
    }
}

/// Judgement of a clean text.
#[derive(Default)]
struct Judgement {
    quality: Option<Ppm>,
    decisions: Vec<Decision>,
    /// Text that nobody may train on and that shares a passage with it.
    reference: Option<Hash>,
}

/// Returns the number that all pieces of a document have in common, or the reason to refuse it if
/// its place takes more than a record may.
fn group(origin: &Origin) -> Result<u64, Box<Refusal>> {
    let named = serde_json::to_vec(origin).unwrap_or_default();
    if named.len() <= MAX_ORIGIN_BYTES {
        let hash = blake3::hash(&named);
        return Ok(u64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 8])));
    }
    let end = origin.location.floor_char_boundary(MAX_LOCATION_BYTES);
    let location = origin.location[..end].to_owned();
    Err(Box::new(Refusal {
        origin: Origin { source: origin.source.clone(), location, ..Origin::default() },
        reason: format!(
            "its address and signals take {} bytes, more than {MAX_ORIGIN_BYTES}",
            named.len()
        ),
    }))
}

/// Returns the sum of sizes.
fn sum(sizes: &[u64]) -> u64 {
    sizes.iter().fold(0, |sum, size| sum.saturating_add(*size))
}

/// Reads the inputs from a position on, and sends what it finds. `sizes` are those of the supplies.
fn read(
    supplies: &[Supply],
    sizes: &[u64],
    start: Position,
    options: &ReadOptions,
    sender: &SyncSender<Batch>,
) -> Result<(), CorpusError> {
    let mut batches = Batches { sender, batch: Vec::new(), bytes: 0, read: 0 };
    for (number, supply) in supplies.iter().enumerate().skip(start.supply) {
        let first = if number == start.supply { start.unit } else { 0 };
        batches.read = sum(&sizes[..number]).saturating_add(supply.bytes_of(first)?);
        let document_bytes = match supply {
            Supply::Store(..) => supply.bytes_of(1)?,
            _ => 0,
        };
        for (input, unit) in supply.units(first)?.zip(first..) {
            let is_begun = number == start.supply && unit == start.unit;
            let things = if is_begun { start.things } else { 0 };
            let at = Position { supply: number, unit, things };
            let is_wanted = match input? {
                Err(refusal) => {
                    things > 0 || batches.push(Err(refusal), Position { things: 1, ..at })
                }
                Ok(input) => {
                    let bytes = file_bytes(&input).max(document_bytes);
                    read_unit(input, bytes, options, at, &mut batches)?
                }
            };
            if !is_wanted {
                return Ok(());
            }
        }
    }
    batches.read = sum(sizes);
    batches.send(Position { supply: supplies.len(), unit: 0, things: 0 });
    Ok(())
}

/// Reads a unit of so many bytes from a position on. Returns `false` if nobody takes batches any
/// more.
fn read_unit(
    input: Input,
    bytes: u64,
    options: &ReadOptions,
    start: Position,
    batches: &mut Batches<'_>,
) -> Result<bool, CorpusError> {
    let before = batches.read;
    let mut documents = Documents::open(input, options)?;
    let mut things = 0;
    while let Some(thing) = documents.next() {
        let thing = thing?;
        things += 1;
        batches.read = before.saturating_add(documents.bytes_read().min(bytes));
        if things > start.things && !batches.push(thing, Position { things, ..start }) {
            return Ok(false);
        }
    }
    batches.read = before.saturating_add(bytes);
    Ok(true)
}

/// Gathering of batches.
struct Batches<'a> {
    sender: &'a SyncSender<Batch>,
    batch: Vec<Result<Document, Refusal>>,
    bytes: usize,
    /// Bytes of the inputs that were read.
    read: u64,
}

impl Batches<'_> {
    /// Adds a thing that is followed by `next`. Returns `false` if nobody takes batches any more.
    fn push(&mut self, thing: Result<Document, Refusal>, next: Position) -> bool {
        self.bytes += thing.as_ref().map_or(0, |document| document.text.len());
        self.batch.push(thing);
        if self.bytes < BATCH_BYTES && self.batch.len() < BATCH_THINGS {
            return true;
        }
        self.send(next)
    }

    fn send(&mut self, next: Position) -> bool {
        let things = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.bytes);
        // It fails if the other side ended with an error, which it reports itself.
        self.sender.send(Batch { things, next, bytes, read: self.read }).is_ok()
    }
}
