// SPDX-License-Identifier: Apache-2.0

//! `data catalogue`: data sets of a hub that `data acquire` knows by a name.

use anyhow::{Context, Result};
use clap::Args;
use pol_sources::hub::{CatalogueEntry, Kind, catalogue};
use serde_json::{Value, json};
use std::iter;

const CATALOGUE_EXAMPLES: &str = "\
Examples:
  pol-trainer data catalogue
      all data sets, a line each
  pol-trainer data catalogue wikipedia
      one of them, with the lines of acquire.toml that fetch it
  pol-trainer data catalogue --json
      one JSON object per line

Sizes and licences are statements of the publishers, as of the time at which the program was \
written. Any other data set of a hub is named by `hub = { id = \"organisation/name\" }`.";

/// Number of columns of the table.
const COLUMNS: usize = 7;
/// Heads of the columns.
const HEADS: [&str; COLUMNS] =
    ["name", "data set", "configuration", "columns", "size", "licence", "access"];
/// Units of counts, each a thousand times the one before.
const COUNTS: [&str; 5] = ["", " thousand", " million", " billion", " trillion"];
/// Units of bytes, likewise.
const BYTES: [&str; 5] = [" B", " kB", " MB", " GB", " TB"];

/// Options of `data catalogue`.
#[derive(Args)]
#[command(after_help = CATALOGUE_EXAMPLES)]
pub(crate) struct CatalogueOptions {
    /// Name of a data set in the catalogue. [default: all]
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Print JSON, an object per data set.
    #[arg(long)]
    json: bool,
}

impl CatalogueOptions {
    /// Prints what is known of one data set, or of all.
    ///
    /// # Errors
    ///
    /// Fails if the catalogue has no data set of the name.
    pub(crate) fn run(&self) -> Result<()> {
        match &self.name {
            Some(name) if self.json => println!("{}", object(find(name)?)),
            Some(name) => print!("{}", describe(find(name)?)),
            None if self.json => {
                catalogue().iter().for_each(|entry| println!("{}", object(entry)));
            }
            None => print!("{}", table(catalogue())),
        }
        Ok(())
    }
}

/// Returns the data set of this name.
fn find(name: &str) -> Result<&'static CatalogueEntry> {
    catalogue().iter().find(|entry| entry.name == name).with_context(|| {
        format!(
            "the catalogue has no data set {name}; `pol-trainer data catalogue` lists those that \
             it has"
        )
    })
}

/// Returns a table of data sets, a line each.
fn table(entries: &[CatalogueEntry]) -> String {
    let heads = HEADS.map(str::to_owned);
    let rows: Vec<_> = iter::once(heads).chain(entries.iter().map(cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| width(column).unwrap_or(0));
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(widths);
            let line: String = cells.map(|(cell, width)| format!("{cell:width$}  ")).collect();
            format!("{}\n", line.trim_end())
        })
        .collect()
}

/// Returns the line of a data set, by column.
fn cells(entry: &CatalogueEntry) -> [String; COLUMNS] {
    let licence = match &entry.spec.licence {
        Some(licence) => licence.clone(),
        None if entry.licence_column.is_some() => "of each row".into(),
        None if entry.own_licences => "of each document, unstated".into(),
        None => "none".into(),
    };
    [
        entry.name.clone(),
        entry.spec.id.clone(),
        entry.spec.config.clone().unwrap_or_else(|| "-".into()),
        entry.spec.columns.join(", "),
        size(entry),
        licence,
        if entry.gated { "HF_TOKEN" } else { "open" }.into(),
    ]
}

/// Returns the description of a data set, and the lines of a configuration that name it.
fn describe(entry: &CatalogueEntry) -> String {
    let CatalogueEntry { name, spec, .. } = entry;
    let or = |values: &[String], none: &str| {
        if values.is_empty() { none.to_owned() } else { values.join(", ") }
    };
    let licence = match (&spec.licence, &entry.licence_column) {
        (Some(licence), _) => licence.clone(),
        (None, Some(column)) => format!("that of each row, in its column {column}"),
        (None, None) if entry.own_licences => {
            "each document has its own, which no row states in a form that is read".into()
        }
        (None, None) => "none".into(),
    };
    let access = if entry.gated {
        "with HF_TOKEN, the token of an account that accepted the terms"
    } else {
        "open"
    };
    let facts = [
        ("name", name.clone()),
        ("data set", spec.id.clone()),
        ("configuration", spec.config.clone().unwrap_or_else(|| "the only or default one".into())),
        ("split", spec.split.clone()),
        ("columns", spec.columns.join(", ")),
        ("files", or(&spec.files, "those of the card")),
        ("size", size(entry)),
        ("licence", licence),
        ("access", access.into()),
        ("kind", kind_name(entry.kind).into()),
        ("rules", format!("{:?}", entry.rules).to_lowercase()),
        ("source", entry.source.clone()),
    ];
    let facts: String =
        facts.into_iter().map(|(fact, value)| format!("{fact:<14} {value}\n")).collect();
    format!("{facts}\nIn acquire.toml:\n\n{}", example(entry))
}

/// Returns the source of `acquire.toml` that fetches a data set.
pub(super) fn example(entry: &CatalogueEntry) -> String {
    let (name, kind) = (&entry.name, kind_name(entry.kind));
    format!(
        "[[source]]\nname = \"{name}\"\nkind = \"{kind}\"\nhub = {{ catalogue = \"{name}\" }}\n"
    )
}

/// Returns the name of a kind in a configuration.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Dataset => "dataset",
        Kind::Synthetic => "synthetic",
    }
}

/// Returns the size of a data set as far as it is stated.
fn size(entry: &CatalogueEntry) -> String {
    let sizes = [
        entry.rows.map(|rows| format!("{} rows", rounded(rows, COUNTS))),
        entry.bytes.map(|bytes| rounded(bytes, BYTES)),
        entry.tokens.map(|tokens| format!("{} tokens", rounded(tokens, COUNTS))),
    ];
    sizes.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Returns a number with three significant digits at most.
fn rounded(number: u64, units: [&str; 5]) -> String {
    let (mut value, mut unit) = (number as f64, 0);
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let decimals = match value {
        value if unit == 0 || value >= 99.95 => 0,
        value if value >= 9.995 => 1,
        _ => 2,
    };
    let digits = format!("{value:.decimals$}");
    let digits = match decimals {
        0 => digits.as_str(),
        _ => digits.trim_end_matches('0').trim_end_matches('.'),
    };
    format!("{digits}{}", units[unit])
}

/// Returns a data set as JSON.
fn object(entry: &CatalogueEntry) -> Value {
    let CatalogueEntry { name, spec, .. } = entry;
    json!({
        "name": name,
        "dataset": spec.id,
        "config": spec.config,
        "split": spec.split,
        "columns": spec.columns,
        "files": spec.files,
        "licence": spec.licence,
        "ownLicences": entry.own_licences,
        "licenceColumn": entry.licence_column,
        "rows": entry.rows,
        "bytes": entry.bytes,
        "tokens": entry.tokens,
        "gated": entry.gated,
        "kind": entry.kind,
        "rules": entry.rules,
        "source": entry.source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_data_set() {
        let table = table(catalogue());
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), catalogue().len() + 1);
        let column = lines[0].find("data set").unwrap();
        for (line, entry) in lines[1..].iter().zip(catalogue()) {
            assert!(line.starts_with(&entry.name), "{line}");
            assert!(line[column..].starts_with(&entry.spec.id), "{line}");
            assert!(!size(entry).is_empty(), "{line}");
        }
        let of = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap();
        assert!(of("stack-dedup").ends_with("of each document, unstated  HF_TOKEN"));
        assert!(of("stackexchange").contains("  of each row "));
        assert!(of("gsm8k").contains("  question, answer "));
        assert!(of("gsm8k").contains("  7.47 thousand rows, 3.96 MB "));
        assert!(of("gutenberg").contains("  none "));
    }

    #[test]
    fn a_data_set_is_described() {
        let text = describe(find("tinystories").unwrap());
        assert!(text.contains("licence        CDLA-Sharing-1.0\naccess         open\n"), "{text}");
        let end = "In acquire.toml:\n\n[[source]]\nname = \"tinystories\"\nkind = \"synthetic\"\n\
                   hub = { catalogue = \"tinystories\" }\n";
        assert!(text.ends_with(end), "{text}");
        assert!(describe(find("stackexchange").unwrap()).contains("its column metadata.license\n"));
        let object = object(find("stack-dedup").unwrap());
        assert_eq!(object["gated"], true);
        assert_eq!(object["licenceColumn"], Value::Null);
        assert_eq!(object["columns"], json!(["content"]));
        let error = find("x").unwrap_err().to_string();
        assert!(error.contains("no data set x; `pol-trainer data catalogue`"), "{error}");
    }

    #[test]
    fn sizes_are_rounded() {
        for (number, expected) in [
            (7, "7"),
            (999, "999"),
            (7_473, "7.47 thousand"),
            (15_011, "15 thousand"),
            (999_999, "1 million"),
            (364_868_892, "365 million"),
            (4_000_000_000_000, "4 trillion"),
            (9_995_000_000_000_000, "9995 trillion"),
        ] {
            assert_eq!(rounded(number, COUNTS), expected);
        }
        assert_eq!(rounded(828_589_180_707, BYTES), "829 GB");
    }
}
