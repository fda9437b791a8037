// SPDX-License-Identifier: Apache-2.0

//! Last step: what remains of the documents, and on which side.

use super::{
    CorpusReport,
    lengths::read_lengths,
    prepared::{Item, PreparedStore},
    report::DecontaminationReport,
};
use crate::{
    CorpusError, Decision, DocumentRecord, Side, Verdict,
    dedup::{Clusters, Decontaminator, ExternalSort, HeldOut, Repeats, Sorted, cut, draw},
};
use pol_primitives::{MILLION, Ppm};
use std::{collections::BTreeMap, path::Path};

/// Memory in which clusters are sorted, in bytes.
const SORT_MEMORY: usize = 64 << 20;

/// Document that remains or was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Record, without a place.
    pub record: DocumentRecord,
    /// Text and its side, unless the document was dropped.
    pub kept: Option<(String, Side)>,
    /// Number that all pieces of a long document have in common.
    pub group: u64,
}

/// Choice of held-out text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// Nothing is held out.
    Nothing,
    /// Clusters are held out.
    Clusters(HeldOut),
    /// There is one cluster, whose text is held out from this byte on.
    Tail(u64),
}

impl Split {
    /// Chooses clusters in an order that their texts alone decide, so that they are nearly `share`
    /// of all text. At least one is held out and at least one is not, if there are two.
    pub(super) fn find(
        store: &PreparedStore,
        clusters: &mut Clusters,
        folder: &Path,
        share: Ppm,
    ) -> Result<Self, CorpusError> {
        if share == 0 {
            return Ok(Self::Nothing);
        }
        let (mut sort, mut total) = (ExternalSort::<16>::new(folder, SORT_MEMORY), 0u64);
        let mut add = |id, bytes: u64| {
            let membership = clusters.get(id)?;
            if let Some(membership) = membership.filter(|found| found.duplicate.is_none()) {
                let mut record = [0; 16];
                record[..8].copy_from_slice(&draw(&membership.cluster).to_be_bytes());
                record[8..].copy_from_slice(&bytes.to_be_bytes());
                sort.push(record)?;
                total = total.saturating_add(bytes);
            }
            Ok::<_, CorpusError>(())
        };
        match read_lengths(folder, store.len())? {
            Some(mut lengths) => (0..store.len()).try_for_each(|id| add(id, lengths.next()?))?,
            None => store.items().try_for_each(|item| {
                let (id, _, text) = item?;
                add(id, text.len() as u64)
            })?,
        }
        let clusters = Places { records: sort.finish()?, next: None };
        let held_out = HeldOut::choose(clusters, total, share)?;
        Ok(held_out.map_or_else(|| Self::Tail(tail_start(total, share)), Self::Clusters))
    }
}

/// Iterator over the places of clusters with the bytes of all their texts.
struct Places {
    records: Sorted<16>,
    /// Cluster of which more texts may come.
    next: Option<(u64, u64)>,
}

impl Iterator for Places {
    type Item = Result<(u64, u64), CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.records.next() {
                Some(Ok(record)) => record,
                Some(Err(error)) => return Some(Err(error)),
                None => return self.next.take().map(Ok),
            };
            let number = |at: usize| {
                record[at..].first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
            };
            let (place, bytes) = (number(0), number(8));
            match &mut self.next {
                Some((last, sum)) if *last == place => *sum = sum.saturating_add(bytes),
                next => {
                    if let Some(whole) = next.replace((place, bytes)) {
                        return Some(Ok(whole));
                    }
                }
            }
        }
    }
}

/// Returns the byte from which on the last `share` of `total` bytes begins.
fn tail_start(total: u64, share: Ppm) -> u64 {
    let tail = u128::from(total) * u128::from(share) / u128::from(MILLION);
    total.saturating_sub(u64::try_from(tail).unwrap_or(total))
}

/// Documents of a run that remain, in the order of the inputs.
pub struct Selection {
    store: PreparedStore,
    clusters: Clusters,
    repeats: Option<Repeats>,
    split: Split,
    /// Finder of passages of what nobody may train on, if there was one.
    kept_out: Option<Decontaminator>,
    /// Held-out documents that share runs of words with the others, and how many, if these were
    /// looked for.
    overlaps: Option<BTreeMap<u64, u64>>,
}

impl Selection {
    pub(super) fn new(
        store: PreparedStore,
        clusters: Clusters,
        repeats: Option<Repeats>,
        split: Split,
        kept_out: Option<Decontaminator>,
    ) -> Self {
        Self { store, clusters, repeats, split, kept_out, overlaps: None }
    }

    /// Returns the selection without held-out documents that share passages with the others.
    pub(super) fn without(self, overlaps: Option<BTreeMap<u64, u64>>) -> Self {
        Self { overlaps, ..self }
    }

    /// Returns the number of things that were read.
    pub fn things(&self) -> u64 {
        self.store.len()
    }

    /// Calls `each` with every document in order, also those that were dropped, and with the number
    /// of things before it. It can be called again.
    ///
    /// # Errors
    ///
    /// Fails if the disk does, or `each`.
    pub fn for_each<E: From<CorpusError>>(
        &mut self,
        mut each: impl FnMut(Selected, u64) -> Result<(), E>,
    ) -> Result<CorpusReport, E> {
        let mut report = CorpusReport::default();
        let (mut before, mut contaminated) = (0, BTreeMap::new());
        // The document whose piece was the last one that remains.
        let mut latest = None;
        for item in self.store.items() {
            let (id, item, text) = item?;
            let (group, record) = match item {
                Item::Document { group, record } => (group, *record),
                Item::Refused(refusal) => {
                    report.refuse(&refusal);
                    continue;
                }
            };
            if let Some(reference) = record.reference {
                *contaminated.entry(reference).or_default() += 1;
            }
            for selected in self.select(id, group, record, text, &mut before)? {
                let record = &selected.record;
                let is_new = record.piece == 0 || latest.as_ref() != Some(&record.origin);
                let side = selected.kept.as_ref().map(|(_, side)| *side);
                report.count(record, side, is_new);
                if side.is_some() {
                    latest = Some(record.origin.clone());
                }
                each(selected, id)?;
            }
        }
        let finder = self.kept_out.as_ref();
        report.decontamination =
            finder.map(|finder| DecontaminationReport::new(finder, &contaminated));
        Ok(report)
    }

    /// Saves the signatures of all documents that remain, for those who compare theirs with them.
    ///
    /// # Errors
    ///
    /// Fails if the disk does.
    pub fn save_signatures(&mut self, path: &Path) -> Result<(), CorpusError> {
        self.clusters.save_signatures(path)
    }

    /// Returns a document as it remains, in two parts if its tail is held out. `before` is the
    /// number of bytes that remain of the documents before it.
    fn select(
        &mut self,
        id: u64,
        group: u64,
        mut record: DocumentRecord,
        text: String,
        before: &mut u64,
    ) -> Result<Vec<Selected>, CorpusError> {
        let dropped = |record| Ok(vec![Selected { record, kept: None, group }]);
        let Some(membership) = self.clusters.get(id)? else { return dropped(record) };
        record.cluster = Some(membership.cluster).filter(|cluster| *cluster != record.text);
        if let Some(duplicate) = membership.duplicate {
            record.survivor = Some(duplicate.text);
            record.survivor_manifest = duplicate.manifest;
            let rule = if duplicate.exact { "duplicate.exact" } else { "duplicate.near" };
            record.decisions.push(Decision {
                rule: rule.into(),
                verdict: Verdict::Dropped,
                measured: Some(duplicate.similarity.into()),
            });
            return dropped(record);
        }
        let start = *before;
        *before = before.saturating_add(text.len() as u64);
        let Some(text) = self.cut_repeats(id, &mut record, text)? else { return dropped(record) };
        let selected = |record, text, side| Selected { record, kept: Some((text, side)), group };
        let side = match &self.split {
            Split::Nothing => Side::Train,
            Split::Clusters(held_out) if held_out.contains(&membership.cluster) => Side::HeldOut,
            Split::Clusters(_) => Side::Train,
            Split::Tail(tail) => {
                let tail = *tail;
                return Ok(halves(&text, tail.saturating_sub(start))
                    .into_iter()
                    .filter(|(text, _)| !text.trim().is_empty())
                    .map(|(text, side)| {
                        let mut record = record.clone();
                        if side == Side::HeldOut && start < tail {
                            record.origin.part.push("held out".into());
                            record.text = *blake3::hash(text.as_bytes()).as_bytes();
                            record.cluster = Some(membership.cluster);
                        }
                        record.bytes = text.len() as u64;
                        selected(record, text.to_owned(), side)
                    })
                    .collect());
            }
        };
        if let Some(overlaps) = self.overlaps.as_ref().filter(|_| side == Side::HeldOut) {
            let shared = overlaps.get(&id).copied().unwrap_or(0);
            record.decisions.push(Decision {
                rule: "held_out.passages".into(),
                verdict: if shared > 0 { Verdict::Dropped } else { Verdict::Passed },
                measured: Some(shared),
            });
            if shared > 0 {
                return dropped(record);
            }
        }
        record.bytes = text.len() as u64;
        Ok(vec![selected(record, text, side)])
    }

    /// Returns a text without the passages that occurred before, or `None` if nothing is left.
    fn cut_repeats(
        &mut self,
        id: u64,
        record: &mut DocumentRecord,
        text: String,
    ) -> Result<Option<String>, CorpusError> {
        let Some(repeats) = &mut self.repeats else { return Ok(Some(text)) };
        let (spans, length) = (repeats.spans(id)?, text.len());
        let text = if spans.is_empty() { text } else { cut(&text, &spans) };
        let repeated = length.saturating_sub(text.len()) as u64;
        let verdict = match repeated {
            0 => Verdict::Passed,
            _ if text.trim().is_empty() => Verdict::Dropped,
            _ => Verdict::Changed,
        };
        record.decisions.push(Decision {
            rule: "repeats".into(),
            verdict,
            measured: Some(repeated),
        });
        Ok((verdict != Verdict::Dropped).then_some(text))
    }
}

/// Cuts a text at the end of the last line before `at`, and returns both parts with their sides.
fn halves(text: &str, at: u64) -> [(&str, Side); 2] {
    let at = usize::try_from(at).unwrap_or(usize::MAX).min(text.len());
    let whole = at == text.len() || at == 0;
    let window = &text[..text.floor_char_boundary(at)];
    let cut = if whole { at } else { window.rfind('\n').map_or(window.len(), |line| line + 1) };
    let (train, held_out) = text.split_at(cut);
    [(train, Side::Train), (held_out, Side::HeldOut)]
}
