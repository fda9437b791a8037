// SPDX-License-Identifier: Apache-2.0

//! `data summary`: sources, quality, drops, and languages of ingested folders, in words and as a
//! picture.

use super::{
    acquire::state::{DATA, SourceState},
    consumption::{Consumption, DataFolder},
    earnings::EarningsBook,
    membership::first_block,
    picture::{MICRO_POL, Panel, Row, Unit, size, svg},
};
use crate::{
    options::NodeOptions,
    reports::{ReportSums, read_report},
};
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_corpus::pipeline::Amount;
use pol_data::{IngestRecord, REPORT_FILE};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const SUMMARY_EXAMPLES: &str = "\
Examples:
  pol-trainer data summary data
      a folder of `data ingest`
  pol-trainer data summary acquired --svg acquired.svg
      all sources of `data acquire`, also as a picture
  pol-trainer data summary acquired --node ws://127.0.0.1:9944
      consumption and rewards too, by the chain";

/// Options of `data summary`.
#[derive(Args)]
#[command(after_help = SUMMARY_EXAMPLES)]
pub(crate) struct SummaryOptions {
    /// Folder of `data ingest`, or the folder of all sources of `data acquire`. Can be repeated.
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    #[command(flatten)]
    node: NodeOptions,
    /// Draw the summary into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

impl SummaryOptions {
    /// Sums up the folders, prints the sums, and draws them. If a node is named, the chain is asked
    /// about them too.
    pub(crate) async fn run(self) -> Result<()> {
        let mut summary = Summary::default();
        for folder in &self.folders {
            for path in data_folders(folder)? {
                summary.sums.add(&read_report(&path.join(REPORT_FILE))?);
            }
        }
        if self.node.is_given() {
            summary.chain = Some(self.ask().await?);
        }
        if let Some(path) = &self.svg {
            let context = || format!("cannot write {}", path.display());
            fs::write(path, svg(&summary.panels())?).with_context(context)?;
        }
        if self.json {
            println!("{}", serde_json::to_string(&summary)?);
        } else {
            print!("{}", summary.text());
        }
        Ok(())
    }

    /// Asks the chain about the manifests of all folders.
    async fn ask(&self) -> Result<Consumption> {
        let chain = self.node.connect().await?;
        let first_block = hex::encode(first_block(&chain).await?);
        let mut all = Consumption::default();
        for folder in &self.folders {
            let paths = data_folders(folder)?;
            let folders: Vec<_> =
                paths.iter().map(|path| described(path)).collect::<Result<_>>()?;
            let mut book = EarningsBook::read(folder, &first_block)?;
            all.extend(Consumption::ask(&chain, &first_block, &folders, &mut book).await?);
        }
        Ok(all)
    }
}

/// Returns the folder itself if it was ingested, or the data of the sources in it.
pub(super) fn data_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(REPORT_FILE).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    let mut found = Vec::new();
    for source in entries(folder)? {
        if source.is_dir() {
            found.extend(
                entries(&source)?.into_iter().filter(|data| {
                    batch_number(data).is_some() && data.join(REPORT_FILE).is_file()
                }),
            );
        }
    }
    ensure!(
        !found.is_empty(),
        "{} has no {REPORT_FILE}; name a folder that `data ingest` or `data acquire` made",
        folder.display()
    );
    found.sort_by_cached_key(|data| (data.parent().map(Path::to_owned), batch_number(data)));
    Ok(found)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot read {}", folder.display());
    let entries = fs::read_dir(folder).with_context(context)?;
    entries.map(|entry| Ok(entry.with_context(context)?.path())).collect()
}

/// Returns the number of a folder among the data of its source, from 0, by its name.
fn batch_number(data: &Path) -> Option<usize> {
    match data.file_name()?.to_str()?.strip_prefix(DATA)? {
        "" => Some(0),
        more => more.strip_prefix('-')?.parse::<usize>().ok()?.checked_sub(1),
    }
}

/// Returns the description of an ingested folder.
fn described(path: &Path) -> Result<DataFolder> {
    let record = IngestRecord::read(path)?;
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let source = path.parent().filter(|source| SourceState::exists(source));
    let batch = match (source, batch_number(path)) {
        (Some(source), Some(number)) => Some((SourceState::read(source)?, number)),
        _ => None,
    };
    let named = source.filter(|_| batch.is_some()).unwrap_or(path);
    Ok(DataFolder { source: name(named).unwrap_or_default(), record, batch })
}

/// Sums of reports, and what the chain knows of their manifests.
#[derive(Debug, Default, Serialize)]
struct Summary {
    #[serde(flatten)]
    sums: ReportSums,
    /// Manifests by the chain, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    chain: Option<Consumption>,
}

impl Summary {
    /// Returns the summary for people.
    fn text(&self) -> String {
        let ReportSums { train, held_out, duplicates, refused, .. } = &self.sums;
        let mut text = format!(
            "to train on: {} documents, {}; held out: {} documents, {}\n",
            train.documents,
            size(train.bytes),
            held_out.documents,
            size(held_out.bytes)
        );
        if let Some(mean) = self.sums.mean_quality {
            text += &format!("mean quality: {}.{} %\n", mean / 10_000, mean / 1_000 % 10);
        }
        text += &format!("duplicates: {duplicates}; no text: {refused}\n");
        for panel in self.panels() {
            if panel.rows.iter().all(|row| row.value() == 0) {
                continue;
            }
            text += &format!("{}\n", panel.title);
            for row in &panel.rows {
                text += &format!("  {:<40} {:>12}\n", row.name, panel.unit.show(row));
            }
        }
        if let Some(chain) = &self.chain {
            text += &format!("On the chain\n{}", chain.text());
        }
        text
    }

    /// Returns the parts of the picture.
    fn panels(&self) -> Vec<Panel> {
        let bytes = |amounts: &BTreeMap<String, Amount>| {
            largest(amounts.iter().map(|(name, amount)| (name.clone(), amount.bytes)))
        };
        let ReportSums { sources, languages, quality, dropped, .. } = &self.sums;
        let tenths = quality.iter().enumerate();
        let tenths =
            tenths.map(|(tenth, count)| (format!("{}–{} %", tenth * 10, tenth * 10 + 10), *count));
        let dropped = dropped.iter().map(|(rule, count)| (rule.clone(), *count));
        let panel = |title, unit, rows: Vec<(String, u64)>| Panel {
            title,
            unit,
            rows: rows.into_iter().map(Row::new).collect(),
        };
        let mut panels = vec![
            panel("Sources", Unit::Bytes, bytes(sources)),
            panel("Quality", Unit::Count, tenths.collect()),
            panel("Dropped, by rule", Unit::Count, largest(dropped)),
            panel("Languages", Unit::Bytes, bytes(languages)),
        ];
        if let Some(chain) = &self.chain {
            let sources = chain.by_source();
            let shards = sources
                .iter()
                .take(ROWS)
                .map(|(name, totals)| Row { name: name.clone(), parts: totals.shards.to_vec() });
            let title = "Shards: consumed, leased, left";
            panels.push(Panel { title, unit: Unit::Count, rows: shards.collect() });
            let earned = sources.into_iter().map(|(name, totals)| {
                (name, u64::try_from(totals.earned / MICRO_POL).unwrap_or(u64::MAX))
            });
            panels.push(panel("Rewards", Unit::MicroPol, largest(earned)));
        }
        panels
    }
}

/// Rows of a panel.
const ROWS: usize = 12;

/// Returns the largest values, and the sum of the others.
fn largest(values: impl Iterator<Item = (String, u64)>) -> Vec<(String, u64)> {
    let mut rows: Vec<_> = values.collect();
    rows.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
    if rows.len() > ROWS {
        let others = rows.split_off(ROWS - 1);
        let sum = others.iter().fold(0u64, |sum, (_, value)| sum.saturating_add(*value));
        rows.push((format!("{} others", others.len()), sum));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_corpus::pipeline::CorpusReport;

    fn report() -> CorpusReport {
        let mut report = CorpusReport::default();
        let amount = Amount { documents: 3, bytes: 4_500 };
        report.train = amount;
        report.sources.insert("web/pages & <more>".into(), amount);
        report.languages.insert("eng".into(), amount);
        report.quality[4] = 3;
        report.dropped.insert("duplicate.exact".into(), 2);
        report.dropped.insert("gopher.words".into(), 1);
        report.refused = 1;
        report
    }

    #[test]
    fn sums_are_told() {
        let mut summary = Summary::default();
        summary.sums.add(&report());
        summary.sums.add(&report());
        let text = summary.text();
        assert!(text.contains("to train on: 6 documents, 9.0 kB"), "{text}");
        assert!(text.contains("40–50 %") && text.contains("gopher.words"), "{text}");
        assert!(text.contains("duplicates: 4; no text: 2"), "{text}");
    }

    #[test]
    fn a_summary_is_drawn() {
        let mut summary = Summary::default();
        assert!(svg(&summary.panels()).unwrap().contains("none"));
        summary.sums.add(&report());
        let picture = svg(&summary.panels()).unwrap();
        assert!(picture.starts_with("<svg") && picture.contains("duplicate.exact"), "{picture}");
        assert!(!picture.contains("<more>"), "names are escaped");
    }

    #[test]
    fn small_values_are_put_together() {
        let rows = largest((0..20).map(|n| (format!("rule {n:02}"), n)));
        assert_eq!((rows.len(), &rows[0].0), (ROWS, &"rule 19".to_owned()));
        assert_eq!(rows[ROWS - 1], ("9 others".into(), (0..9).sum()));
    }

    #[test]
    fn folders_without_reports_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = data_folders(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has no report.json"), "{error}");
        for name in ["books/data-10", "books/data", "books/data-2", "books/dat", "books/data-x"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("report.json"), "{").unwrap();
        }
        let found = data_folders(folder.path()).unwrap();
        let expected = ["data", "data-2", "data-10"];
        assert_eq!(found, expected.map(|name| folder.path().join("books").join(name)));
    }
}
