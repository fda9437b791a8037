// SPDX-License-Identifier: Apache-2.0

//! Results of scenarios: the table on the terminal and `attacks.json`.

use crate::{
    selection::{Entry, all_scenarios},
    tally::Tally,
};
use serde::Serialize;
use std::fmt::Write;

/// A line of the report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Position of the family in the list, counted from 1.
    class: usize,
    family: &'static str,
    /// Name of the scenario.
    #[serde(rename = "attack")]
    pub(crate) scenario: &'static str,
    setup: &'static str,
    act: &'static str,
    #[serde(rename = "required")]
    expect: &'static str,
    /// The result.
    #[serde(flatten)]
    pub(crate) tally: Tally,
}

impl Row {
    /// Joins a scenario with its result.
    pub(crate) fn new(entry: Entry, tally: Tally) -> Self {
        let Entry { class, family, scenario } = entry;
        Self {
            class,
            family,
            scenario: scenario.name,
            setup: scenario.setup.describe(),
            act: scenario.act,
            expect: scenario.expect,
            tally,
        }
    }

    /// Replaces the setup and the requirement of the scenario.
    pub(crate) fn with(self, setup: &'static str, expect: &'static str) -> Self {
        Self { setup, expect, ..self }
    }
}

/// Sorts rows by the order of scenarios.
pub(crate) fn sort(rows: &mut [Row]) {
    let order: Vec<&str> = all_scenarios().map(|entry| entry.scenario.name).collect();
    rows.sort_by_key(|row| order.iter().position(|name| *name == row.scenario));
}

/// Merges the rows of scenarios that were tried on several networks.
pub(crate) fn merge(rows: &mut Vec<Row>) {
    for row in std::mem::take(rows) {
        match rows.iter_mut().find(|known| known.scenario == row.scenario) {
            Some(known) => known.tally = known.tally.clone().and(row.tally),
            None => rows.push(row),
        }
    }
}

/// Head of a column, and the function that formats a row's cell.
type Column = (&'static str, fn(&Row) -> String);

/// Columns of the table. The first two are left-aligned.
const COLUMNS: [Column; 9] = [
    ("family", |row| row.family.to_owned()),
    ("scenario", |row| row.scenario.to_owned()),
    ("attempts", |row| row.tally.attempts.to_string()),
    ("sampled", |row| row.tally.sampled.to_string()),
    ("detected", |row| row.tally.detected.to_string()),
    ("slashed", |row| row.tally.slashed.to_string()),
    ("false pos", |row| row.tally.false_positives.to_string()),
    ("95 % interval", |row| {
        let [low, high] = row.tally.interval;
        format!("{low:.3} – {high:.3}")
    }),
    ("passed", |row| {
        let Tally { passed, skipped, .. } = row.tally;
        let cell = if passed {
            "yes"
        } else if skipped {
            "not tried"
        } else {
            "NO"
        };
        cell.to_owned()
    }),
];

/// Formats the rows as a table, followed by a paragraph for each scenario.
pub(crate) fn table(rows: &[Row]) -> String {
    let heads = COLUMNS.map(|(head, _)| head.to_owned());
    let cells = rows.iter().map(|row| COLUMNS.map(|(_, cell)| cell(row)));
    let lines: Vec<_> = std::iter::once(heads).chain(cells).collect();
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    // Writing to a string cannot fail.
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column);
            let _ = match column {
                0 => write!(text, "{cell:width$}"),
                1 => write!(text, "  {cell:width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
    for row in rows {
        let _ = write!(
            text,
            "\n{}/{}\n  setup   {}\n  act     {}\n  expect  {}\n",
            row.family, row.scenario, row.setup, row.act, row.expect
        );
        if !row.tally.note.is_empty() {
            let _ = writeln!(text, "  note    {}", row.tally.note);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_its_scenario_and_counts() {
        let entry = all_scenarios().next().unwrap();
        let tally = Tally::tried(3, 3).slashed(3).passed(true, "three of three");
        let row = Row::new(entry, tally);
        let text = table(std::slice::from_ref(&row));
        let shown = [entry.scenario.name, entry.scenario.act, entry.scenario.expect];
        for part in shown.into_iter().chain(["0.439 – 1.000", "yes", "three of three"]) {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
        let failed = Row { tally: row.tally.clone().passed(false, ""), ..row.clone() };
        assert!(table(&[failed]).contains("NO"));
        let skipped = Row { tally: Tally::skipped("no clock"), ..row };
        assert!(!skipped.tally.is_failure());
        assert!(table(&[skipped]).contains("not tried: no clock"));
    }
}
