// SPDX-License-Identifier: Apache-2.0

//! `data summary`: sources, quality, drops, and languages of ingested folders, in words and as a
//! picture.

use anyhow::{Context, Result, ensure};
use clap::Args;
use plotters::{
    coord::Shift,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use pol_corpus::pipeline::{Amount, CorpusReport};
use pol_data::REPORT_FILE;
use pol_primitives::Ppm;
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
      all sources of `data acquire`, also as a picture";

/// Largest report, in bytes.
const MAX_REPORT_BYTES: u64 = 64 << 20;

/// Options of `data summary`.
#[derive(Args)]
#[command(after_help = SUMMARY_EXAMPLES)]
pub(crate) struct SummaryOptions {
    /// Folder of `data ingest`, or the folder of all sources of `data acquire`. Can be repeated.
    #[arg(value_name = "DIR", required = true)]
    folders: Vec<PathBuf>,
    /// Draw the summary into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
}

impl SummaryOptions {
    /// Sums up the folders, prints the sums, and draws them.
    pub(crate) fn run(self) -> Result<()> {
        let mut summary = Summary::default();
        for folder in &self.folders {
            for path in reports(folder)? {
                summary.add(&read(&path)?);
            }
        }
        if let Some(path) = &self.svg {
            let context = || format!("cannot write {}", path.display());
            fs::write(path, svg(&summary)?).with_context(context)?;
        }
        if self.json {
            println!("{}", serde_json::to_string(&summary)?);
        } else {
            print!("{}", summary.text());
        }
        Ok(())
    }
}

/// Returns the report of a folder, or those of the sources in it.
fn reports(folder: &Path) -> Result<Vec<PathBuf>> {
    let own = folder.join(REPORT_FILE);
    if own.is_file() {
        return Ok(vec![own]);
    }
    let context = || format!("cannot read {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path().join("data").join(REPORT_FILE);
        if path.is_file() {
            found.push(path);
        }
    }
    ensure!(
        !found.is_empty(),
        "{} has no {REPORT_FILE}; name a folder that `data ingest` or `data acquire` made",
        folder.display()
    );
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<CorpusReport> {
    let context = || format!("cannot read {}", path.display());
    let bytes = fs::metadata(path).with_context(context)?.len();
    ensure!(bytes <= MAX_REPORT_BYTES, "{} has {bytes} bytes: it is no report", path.display());
    serde_json::from_slice(&fs::read(path).with_context(context)?).with_context(context)
}

/// Sums of reports.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// Folders with a report.
    folders: u64,
    train: Amount,
    held_out: Amount,
    /// Mean quality, weighted by length.
    mean_quality: Option<Ppm>,
    /// Text that remains, by its source.
    sources: BTreeMap<String, Amount>,
    /// Text that remains, by its language.
    languages: BTreeMap<String, Amount>,
    /// Documents that remain, by tenths of quality.
    quality: Vec<u64>,
    /// Documents that were dropped, by the rule.
    dropped: BTreeMap<String, u64>,
    /// Documents among them that are like others.
    duplicates: u64,
    /// Things that are no text.
    refused: u64,
    /// Sum of bytes times quality, and of bytes.
    #[serde(skip)]
    weighted: (u128, u128),
}

fn add(sum: &mut Amount, amount: &Amount) {
    sum.documents = sum.documents.saturating_add(amount.documents);
    sum.bytes = sum.bytes.saturating_add(amount.bytes);
}

impl Summary {
    fn add(&mut self, report: &CorpusReport) {
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
            if rule.starts_with("duplicate.") {
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

    /// Returns the summary for people.
    fn text(&self) -> String {
        let mut text = format!(
            "to train on: {} documents, {}; held out: {} documents, {}\n",
            self.train.documents,
            size(self.train.bytes),
            self.held_out.documents,
            size(self.held_out.bytes)
        );
        if let Some(mean) = self.mean_quality {
            text += &format!("mean quality: {}.{} %\n", mean / 10_000, mean / 1_000 % 10);
        }
        text += &format!("duplicates: {}; no text: {}\n", self.duplicates, self.refused);
        for panel in self.panels() {
            if panel.rows.iter().all(|(_, value)| *value == 0) {
                continue;
            }
            text += &format!("{}\n", panel.title);
            for (name, value) in panel.rows {
                text += &format!("  {name:<40} {:>12}\n", panel.unit.show(value));
            }
        }
        text
    }

    /// Returns the parts of the picture.
    fn panels(&self) -> [Panel; 4] {
        let bytes = |amounts: &BTreeMap<String, Amount>| {
            largest(amounts.iter().map(|(name, amount)| (name.clone(), amount.bytes)))
        };
        let tenths = self.quality.iter().enumerate();
        let tenths =
            tenths.map(|(tenth, count)| (format!("{}–{} %", tenth * 10, tenth * 10 + 10), *count));
        let dropped = self.dropped.iter().map(|(rule, count)| (rule.clone(), *count));
        [
            Panel { title: "Sources", unit: Unit::Bytes, rows: bytes(&self.sources) },
            Panel { title: "Quality", unit: Unit::Documents, rows: tenths.collect() },
            Panel { title: "Dropped, by rule", unit: Unit::Documents, rows: largest(dropped) },
            Panel { title: "Languages", unit: Unit::Bytes, rows: bytes(&self.languages) },
        ]
    }
}

/// Part of the picture: bars with names.
struct Panel {
    title: &'static str,
    unit: Unit,
    rows: Vec<(String, u64)>,
}

/// Unit of the values of a panel.
#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Documents,
}

impl Unit {
    fn show(self, value: u64) -> String {
        match self {
            Self::Bytes => size(value),
            Self::Documents => value.to_string(),
        }
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

/// Returns a number of bytes for people.
fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Size of the picture in pixels.
const SIZE: (u32, u32) = (1_400, 920);
/// Left ends of the bars, and their greatest length, in pixels.
const BARS: (i32, i32) = (250, 330);
/// Distance between two bars, and height of the title, in pixels.
const ROW: (i32, i32) = (32, 50);
const FONT_SIZE: u32 = 17;
/// Most characters of a name.
const NAME_CHARACTERS: usize = 28;
/// Colours that read on light and on dark pages.
const GREY: RGBColor = RGBColor(0x80, 0x80, 0x80);
const COLOURS: [RGBColor; 4] = [
    RGBColor(0x3d, 0x85, 0xc6),
    RGBColor(0x3f, 0xa0, 0x66),
    RGBColor(0xd9, 0x82, 0x2b),
    RGBColor(0xb5, 0x65, 0xb0),
];

/// Draws the summary as an SVG document.
fn svg(summary: &Summary) -> Result<String> {
    let mut document = String::new();
    {
        let root = SVGBackend::with_string(&mut document, SIZE).into_drawing_area();
        let areas = root.split_evenly((2, 2));
        for ((panel, area), colour) in summary.panels().iter().zip(&areas).zip(COLOURS) {
            draw(panel, area, colour)?;
        }
        root.present()?;
    }
    Ok(document)
}

fn draw(panel: &Panel, area: &Area<'_>, colour: RGBColor) -> Result<()> {
    let font = ("sans-serif", FONT_SIZE).into_font();
    let text = font.color(&GREY);
    let title = font.style(FontStyle::Bold).color(&GREY);
    area.draw(&Text::new(panel.title, (BARS.0, 20), title))?;
    let right = text.pos(Pos::new(HPos::Right, VPos::Center));
    let left = text.pos(Pos::new(HPos::Left, VPos::Center));
    let most = panel.rows.iter().map(|(_, value)| *value).max().unwrap_or(0).max(1);
    if panel.rows.is_empty() {
        area.draw(&Text::new("none", (BARS.0, ROW.1 + ROW.0 / 2), left))?;
        return Ok(());
    }
    for ((name, value), row) in panel.rows.iter().zip(0i32..) {
        let middle = ROW.1 + row * ROW.0 + ROW.0 / 2;
        let length = u128::from(*value) * u128::from(BARS.1.unsigned_abs()) / u128::from(most);
        let end = BARS.0 + i32::try_from(length).unwrap_or(BARS.1);
        let bar = [(BARS.0, middle - ROW.0 / 3), (end, middle + ROW.0 / 3)];
        area.draw(&Rectangle::new(bar, colour.filled()))?;
        area.draw(&Text::new(shortened(name), (BARS.0 - 10, middle), right.clone()))?;
        area.draw(&Text::new(panel.unit.show(*value), (end + 8, middle), left.clone()))?;
    }
    Ok(())
}

/// Returns a name that fits beside a bar.
fn shortened(name: &str) -> String {
    if name.chars().count() <= NAME_CHARACTERS {
        return name.to_owned();
    }
    name.chars().take(NAME_CHARACTERS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn reports_are_summed() {
        let mut summary = Summary::default();
        summary.add(&report());
        summary.add(&report());
        assert_eq!((summary.folders, summary.train.documents, summary.duplicates), (2, 6, 4));
        assert_eq!(summary.quality[4], 6);
        let text = summary.text();
        assert!(text.contains("to train on: 6 documents, 9.0 kB"), "{text}");
        assert!(text.contains("40–50 %") && text.contains("gopher.words"), "{text}");
    }

    #[test]
    fn a_summary_is_drawn() {
        let mut summary = Summary::default();
        assert!(svg(&summary).unwrap().contains("none"));
        summary.add(&report());
        let picture = svg(&summary).unwrap();
        assert!(picture.starts_with("<svg") && picture.contains("duplicate.exact"), "{picture}");
        assert!(!picture.contains("<more>"), "names are escaped");
    }

    #[test]
    fn small_values_are_put_together() {
        let rows = largest((0..20).map(|n| (format!("rule {n:02}"), n)));
        assert_eq!((rows.len(), &rows[0].0), (ROWS, &"rule 19".to_owned()));
        assert_eq!(rows[ROWS - 1], ("9 others".into(), (0..9).sum()));
        assert_eq!(size(999), "999 B");
        assert_eq!(size(12_345_678), "12.3 MB");
    }

    #[test]
    fn folders_without_reports_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = reports(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has no report.json"), "{error}");
        fs::create_dir_all(folder.path().join("books/data")).unwrap();
        let path = folder.path().join("books/data/report.json");
        fs::write(&path, "{").unwrap();
        assert_eq!(reports(folder.path()).unwrap(), std::slice::from_ref(&path));
        assert!(read(&path).is_err());
    }
}
