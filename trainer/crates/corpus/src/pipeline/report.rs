// SPDX-License-Identifier: Apache-2.0

//! Counts of a run.

use crate::{
    DocumentRecord, Refusal, Side, Verdict,
    dedup::{Decontaminator, Reference},
};
use pol_primitives::{Hash, MILLION, Ppm};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap};

/// Bars of the histogram of quality.
const QUALITY_BARS: usize = 10;
/// Refusals that are listed; the others are counted.
const LISTED_REFUSALS: usize = 100;

/// References with contaminated documents that are listed.
const LISTED_REFERENCES: usize = 100;

/// Counts of one side, source, or language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Documents, where the pieces of a long one count as one.
    pub documents: u64,
    /// Bytes of clean text.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, record: &DocumentRecord, is_new: bool) {
        self.documents += u64::from(is_new);
        self.bytes += record.bytes;
    }
}

/// Counts of a run, by everything that a provider asks about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusReport {
    /// Text to train on.
    pub train: Amount,
    /// Text that is held out.
    pub held_out: Amount,
    /// Documents that were dropped, by the rule that dropped them.
    pub dropped: BTreeMap<String, u64>,
    /// Documents that rules changed, by the rule.
    pub changed: BTreeMap<String, u64>,
    /// Text that remains, by its source.
    pub sources: BTreeMap<String, Amount>,
    /// Text that remains, by its language, where it was asked for.
    pub languages: BTreeMap<String, Amount>,
    /// Documents that remain, by tenths of quality, where it was asked for.
    pub quality: [u64; QUALITY_BARS],
    /// Sum of bytes times quality of the documents that remain.
    quality_sum: u128,
    /// Bytes of documents that have a quality.
    quality_bytes: u64,
    /// Number of byte sequences that could not be decoded.
    pub invalid: u64,
    /// Comparison with texts that nobody may train on, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decontamination: Option<DecontaminationReport>,
    /// Number of things that are no text.
    pub refused: u64,
    /// The first of them.
    pub refusals: Vec<Refusal>,
}

/// Comparison with texts that nobody may train on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecontaminationReport {
    /// Digest of the rule and of the texts. Whoever has the texts can compute it.
    #[serde(with = "pol_primitives::hex_hash")]
    pub digest: Hash,
    /// Number of texts, where equal ones count as one.
    pub references: u64,
    /// Number of texts that are too short to be looked for.
    pub ignored: u64,
    /// Number of runs of words that no document may have.
    pub runs: u64,
    /// Texts that documents were dropped for, those of the most documents first. The first are
    /// listed.
    pub found: Vec<FoundReference>,
}

/// Text that documents were dropped for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundReference {
    /// Name of its place.
    pub name: String,
    /// BLAKE3 of the text, as in the records of these documents.
    #[serde(with = "pol_primitives::hex_hash")]
    pub text: Hash,
    /// Number of documents, and of pieces of long ones.
    pub documents: u64,
}

impl DecontaminationReport {
    /// Creates the report of a comparison that dropped so many documents for each text.
    pub(super) fn new(finder: &Decontaminator, documents: &BTreeMap<Hash, u64>) -> Self {
        let mut found: Vec<_> = (finder.references().iter())
            .filter_map(|Reference { text, name }| {
                let (name, documents) = (name.clone(), *documents.get(text)?);
                Some(FoundReference { name, text: *text, documents })
            })
            .collect();
        // Equal numbers stay in the order of the hashes.
        found.sort_by_key(|reference| Reverse(reference.documents));
        found.truncate(LISTED_REFERENCES);
        Self {
            digest: finder.digest(),
            references: finder.references().len() as u64,
            ignored: finder.ignored(),
            runs: finder.runs(),
            found,
        }
    }
}

impl CorpusReport {
    /// Returns the mean quality of the documents that remain, weighted by their length.
    pub fn mean_quality(&self) -> Option<Ppm> {
        let mean = self.quality_sum.checked_div(self.quality_bytes.into())?;
        Ppm::try_from(mean).ok()
    }

    pub(super) fn refuse(&mut self, refusal: &Refusal) {
        self.refused += 1;
        if self.refusals.len() < LISTED_REFUSALS {
            self.refusals.push(refusal.clone());
        }
    }

    /// Counts a document that is on `side`, or dropped. It is no new one if a piece before it
    /// remains too.
    pub(super) fn count(&mut self, record: &DocumentRecord, side: Option<Side>, is_new: bool) {
        self.invalid += record.invalid;
        for decision in &record.decisions {
            let counts = match decision.verdict {
                Verdict::Passed => continue,
                Verdict::Changed => &mut self.changed,
                Verdict::Dropped => &mut self.dropped,
            };
            change(counts, &decision.rule, |count| *count += 1);
        }
        let amount = match side {
            None => return,
            Some(Side::Train) => &mut self.train,
            Some(Side::HeldOut) => &mut self.held_out,
        };
        amount.add(record, is_new);
        change(&mut self.sources, &record.origin.source, |amount| amount.add(record, is_new));
        if let Some(language) = &record.language {
            change(&mut self.languages, language, |amount| amount.add(record, is_new));
        }
        if let Some(quality) = record.quality {
            self.quality_sum += u128::from(quality) * u128::from(record.bytes);
            self.quality_bytes += record.bytes;
            let bar = u64::from(quality) * QUALITY_BARS as u64 / (u64::from(MILLION) + 1);
            if let Some(count) = usize::try_from(bar).ok().and_then(|bar| self.quality.get_mut(bar))
            {
                *count += 1;
            }
        }
    }
}

/// Changes a count of many, which is nearly always there already.
fn change<T: Default>(counts: &mut BTreeMap<String, T>, name: &str, change: impl FnOnce(&mut T)) {
    match counts.get_mut(name) {
        Some(count) => change(count),
        None => change(counts.entry(name.to_owned()).or_default()),
    }
}
