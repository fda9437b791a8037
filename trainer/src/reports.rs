// SPDX-License-Identifier: Apache-2.0

//! Sums of the reports in folders of ingested data.

use crate::files::read_limited;
use anyhow::{Context, Result};
use pol_corpus::pipeline::{Amount, CorpusReport};
use pol_primitives::Ppm;
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// Largest report, in bytes.
const MAX_REPORT_BYTES: u64 = 64 << 20;
/// Rule that drops documents with the text of another one.
pub(crate) const EXACT_DUPLICATE: &str = "duplicate.exact";
/// Rule that drops documents whose text is nearly that of another one.
pub(crate) const NEAR_DUPLICATE: &str = "duplicate.near";

/// Reads the report at `path`.
///
/// # Errors
///
/// Fails if there is none, or if it is no report.
pub(crate) fn read_report(path: &Path) -> Result<CorpusReport> {
    let context = || format!("cannot read {}", path.display());
    let json = read_limited(path, MAX_REPORT_BYTES).with_context(context)?;
    serde_json::from_slice(&json).with_context(context)
}

/// Sums of reports.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ReportSums {
    /// Folders with a report.
    pub(crate) folders: u64,
    /// Text to train on.
    pub(crate) train: Amount,
    /// Text that is held out.
    pub(crate) held_out: Amount,
    /// Mean quality, weighted by length.
    pub(crate) mean_quality: Option<Ppm>,
    /// Text that remains, by its source.
    pub(crate) sources: BTreeMap<String, Amount>,
    /// Text that remains, by its language.
    pub(crate) languages: BTreeMap<String, Amount>,
    /// Documents that remain, by tenths of quality.
    pub(crate) quality: Vec<u64>,
    /// Documents that were dropped, by the rule.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Documents among them that are like others.
    pub(crate) duplicates: u64,
    /// Things that are no text.
    pub(crate) refused: u64,
    /// Sum of bytes times quality, and of bytes.
    #[serde(skip)]
    weighted: (u128, u128),
}

fn add(sum: &mut Amount, amount: &Amount) {
    sum.documents = sum.documents.saturating_add(amount.documents);
    sum.bytes = sum.bytes.saturating_add(amount.bytes);
}

impl ReportSums {
    /// Adds a report.
    pub(crate) fn add(&mut self, report: &CorpusReport) {
        self.folders += 1;
        add(&mut self.train, &report.train);
        add(&mut self.held_out, &report.held_out);
        for (name, amount) in &report.sources {
            add(self.sources.entry(name.clone()).or_default(), amount);
        }
        for (name, amount) in &report.languages {
            add(self.languages.entry(name.clone()).or_default(), amount);
        }
        self.quality.resize(report.quality.len(), 0);
        for (sum, count) in self.quality.iter_mut().zip(report.quality) {
            *sum = sum.saturating_add(count);
        }
        for (rule, count) in &report.dropped {
            let sum = self.dropped.entry(rule.clone()).or_default();
            *sum = sum.saturating_add(*count);
            if [EXACT_DUPLICATE, NEAR_DUPLICATE].contains(&rule.as_str()) {
                self.duplicates = self.duplicates.saturating_add(*count);
            }
        }
        self.refused = self.refused.saturating_add(report.refused);
        if let Some(mean) = report.mean_quality() {
            let bytes = u128::from(report.train.bytes) + u128::from(report.held_out.bytes);
            self.weighted.0 += bytes * u128::from(mean);
            self.weighted.1 += bytes;
            let mean = self.weighted.0.checked_div(self.weighted.1);
            self.mean_quality = mean.and_then(|mean| Ppm::try_from(mean).ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_summed() {
        let mut report = CorpusReport::default();
        report.train = Amount { documents: 3, bytes: 4_500 };
        report.quality[4] = 3;
        report.dropped.insert(EXACT_DUPLICATE.into(), 2);
        report.dropped.insert("gopher.words".into(), 1);
        let mut sums = ReportSums::default();
        sums.add(&report);
        sums.add(&report);
        assert_eq!((sums.folders, sums.train.documents, sums.duplicates), (2, 6, 4));
        assert_eq!((sums.quality[4], sums.dropped["gopher.words"]), (6, 2));
        // Counts of files that somebody changed do not overflow.
        report.train.documents = u64::MAX;
        sums.add(&report);
        assert_eq!(sums.train.documents, u64::MAX);
    }

    #[test]
    fn what_is_no_report_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        for content in [None, Some("{"), Some(r#"{"train": 3}"#)] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = read_report(&path).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
    }
}
