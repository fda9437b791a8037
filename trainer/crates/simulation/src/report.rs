// SPDX-License-Identifier: Apache-2.0

//! The report as text.

use crate::{Report, collusion::Estimate, statistics::Z95};
use std::fmt::{Display, Formatter, Result};

/// Formats a share as a percentage, with two decimals where it is small.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 9.95 {
        format!("{percent:.1}")
    } else {
        format!("{percent:.2}")
    }
}

fn estimate(estimate: &Estimate) -> String {
    format!("{} ({})", percent(estimate.rate.share()), percent(estimate.expected))
}

/// Formats a multiple, without decimals where it is large.
fn multiple(multiple: Option<f64>) -> String {
    multiple.map_or("–".into(), |multiple| {
        if multiple < 100.0 { format!("{multiple:.1}") } else { format!("{multiple:.0}") }
    })
}

/// A table whose first column is left-aligned.
struct Table {
    title: &'static str,
    heads: &'static [&'static str],
    rows: Vec<Vec<String>>,
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "\n{}\n", self.title)?;
        let heads: Vec<String> = self.heads.iter().map(|head| (*head).to_owned()).collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for row in lines() {
            for (column, cell) in row.iter().enumerate() {
                let width = width(column);
                if column == 0 {
                    write!(f, "  {cell:<width$}")?;
                } else {
                    write!(f, "  {cell:>width$}")?;
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// All tables in the order of the report.
const TABLES: [fn(&Report) -> Table; 10] = [
    detection,
    collusion,
    coalitions,
    seat_choices,
    small_networks,
    block_authors,
    blocking_groups,
    split_stake,
    trainers,
    validators,
];

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let settings = &self.settings;
        let audit = &settings.audit;
        write!(
            f,
            "{} trials, {} trainers, {} validators, {} rounds, seed {}; ",
            settings.trials, settings.trainers, settings.validators, settings.rounds, settings.seed,
        )?;
        writeln!(
            f,
            "{} seats, then {}; {} of {} segments; compute costs {} % of a reward",
            audit.seats,
            audit.more_seats,
            audit.segments,
            settings.segments,
            percent(settings.compute),
        )?;
        TABLES.into_iter().try_for_each(|table| write!(f, "{}", table(self)))
    }
}

fn detection(report: &Report) -> Table {
    let row = |found: &crate::detection::Detection| {
        let (low, high) = found.caught.interval(Z95);
        vec![
            format!("{} of {}", found.skipped, report.settings.segments),
            found.updates.to_string(),
            percent(found.caught.share()),
            format!("{}–{}", percent(low), percent(high)),
            percent(found.expected),
        ]
    };
    Table {
        title: "Trainers caught, %",
        heads: &["segments skipped", "updates", "caught", "95 %", "1 − (1 − p)^n"],
        rows: report.detection.iter().map(row).collect(),
    }
}

fn collusion(report: &Report) -> Table {
    let row = |found: &crate::collusion::Collusion| {
        vec![
            percent(found.stake),
            estimate(&found.passes_first),
            estimate(&found.passes),
            estimate(&found.caught),
            estimate(&found.convicted),
            estimate(&found.delayed),
            estimate(&found.silenced),
            estimate(&found.stalled),
            estimate(&found.score_set),
        ]
    };
    Table {
        title: "Decisions of colluding validators, %: simulated (exact)",
        heads: &[
            "stake",
            "cheat passes at once",
            "in either draw",
            "cheat convicted",
            "honest convicted",
            "drawn again",
            "if silent",
            "undecided",
            "score set",
        ],
        rows: report.collusion.iter().map(row).collect(),
    }
}

fn coalitions(report: &Report) -> Table {
    let row = |found: &crate::collusion::Coalition| {
        let rates = &found.rates;
        let shares = [
            rates.passes,
            rates.caught,
            rates.convicted,
            rates.delayed,
            rates.silenced,
            rates.stalled,
            rates.score_set,
        ];
        [format!("{:?}, {:?}", found.distribution, found.accounts), percent(found.stake)]
            .into_iter()
            .chain(shares.map(|rate| percent(rate.share())))
            .collect()
    };
    Table {
        title: "Coalitions in one account or many of the smallest bond, beside 100 honest, %",
        heads: &[
            "stakes, accounts",
            "stake",
            "cheat passes",
            "cheat convicted",
            "honest convicted",
            "drawn again",
            "if silent",
            "undecided",
            "score set",
        ],
        rows: report.coalitions.iter().map(row).collect(),
    }
}

fn seat_choices(report: &Report) -> Table {
    let row = |found: &crate::collusion::SeatChoice| {
        vec![
            format!("{}, then {}", found.seats, found.more_seats),
            percent(found.stake),
            percent(found.passes),
            percent(found.convicted),
            percent(found.delayed),
            percent(found.stalled),
            format!("{:.1}", found.replays),
        ]
    };
    Table {
        title: "Other numbers of seats, % (exact)",
        heads: &[
            "seats",
            "stake",
            "cheat passes",
            "honest convicted",
            "drawn again",
            "undecided",
            "replays",
        ],
        rows: report.choices.iter().map(row).collect(),
    }
}

fn small_networks(report: &Report) -> Table {
    let row = |found: &crate::collusion::SmallNetwork| {
        vec![
            found.validators.to_string(),
            percent(found.passes.share()),
            percent(found.convicted.share()),
            percent(found.stalled.share()),
        ]
    };
    Table {
        title: "Small networks, one validator dishonest, %",
        heads: &["validators", "cheat passes", "honest convicted", "undecided"],
        rows: report.small_networks.iter().map(row).collect(),
    }
}

fn block_authors(report: &Report) -> Table {
    let row = |found: &crate::grinding::Author| {
        vec![
            percent(found.share),
            format!("{} of {}", found.skipped, report.settings.segments),
            percent(found.alone),
            estimate(&found.caught),
            percent(found.best),
            estimate(&found.beacon),
        ]
    };
    Table {
        title: "Cheats caught with an accomplice that authors blocks, %",
        heads: &["blocks", "skipped", "alone", "last block withheld", "best play", "with a beacon"],
        rows: report.grinding.author.iter().map(row).collect(),
    }
}

fn blocking_groups(report: &Report) -> Table {
    let row = |found: &crate::grinding::Blocking| {
        vec![
            percent(found.share),
            format!("{} of {}", found.skipped, report.settings.segments),
            percent(found.best),
            percent(found.unmixed),
            percent(found.beacon),
        ]
    };
    Table {
        title: "Cheats caught where their accomplices can block a quorum, %",
        heads: &[
            "stake and blocks",
            "skipped",
            "best play",
            "if one block made the seed",
            "with a beacon",
        ],
        rows: report.grinding.blocking.iter().map(row).collect(),
    }
}

fn split_stake(report: &Report) -> Table {
    let row = |found: &crate::grinding::Split| {
        vec![
            percent(found.share),
            format!("{:.3}", found.one),
            format!("{:.3}", found.many),
            format!("{:.3}", found.replays),
            format!("{:.2}", found.many / found.one),
        ]
    };
    Table {
        title: "Seats per update of a validator with one account or many",
        heads: &["stake, %", "one account", "many", "replays", "gain"],
        rows: report.split.iter().map(row).collect(),
    }
}

fn trainers(report: &Report) -> Table {
    let row = |found: &crate::economy::TrainerResult| {
        vec![
            found.name.to_owned(),
            percent(found.caught.share()),
            format!("{:.3}", found.reward),
            format!("{:.3}", found.fines),
            format!("{:.3}", found.compute),
            format!("{:.3}", found.profit),
            format!("{:.3}", found.profit - found.honest),
            format!("{:.3}", found.saved),
            multiple(found.margin),
            multiple(found.margin_alone),
        ]
    };
    Table {
        title: "Strategies of trainers: POL per lease of work; \
                margin is p·(reward + bond) / saved",
        heads: &[
            "trainer",
            "caught, %",
            "reward",
            "fines",
            "compute",
            "profit",
            "over honest",
            "saved",
            "margin",
            "alone",
        ],
        rows: report.trainers.iter().map(row).collect(),
    }
}

fn validators(report: &Report) -> Table {
    let row = |found: &crate::economy::ValidatorResult| {
        vec![
            found.name.to_owned(),
            found.seats.to_string(),
            format!("{:.4}", found.reward),
            format!("{:.4}", found.fines),
            format!("{:.4}", found.compute),
            format!("{:.4}", found.profit),
            format!("{:.4}", found.profit - found.honest),
        ]
    };
    Table {
        title: "Strategies of validators: POL per seat",
        heads: &["validator", "seats", "reward", "fines", "compute", "profit", "over honest"],
        rows: report.validators.iter().map(row).collect(),
    }
}
