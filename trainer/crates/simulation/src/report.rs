//! The report as text.

use crate::{Report, collusion::Estimate, statistics::Z95};
use std::fmt::{Display, Formatter, Result};

/// A share as a percentage, with as many decimals as it takes to see it.
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

/// A multiple, without decimals where it is large.
fn times(multiple: Option<f64>) -> String {
    multiple.map_or("–".into(), |multiple| {
        if multiple < 100.0 { format!("{multiple:.1}") } else { format!("{multiple:.0}") }
    })
}

/// A table with columns as wide as they need to be, the first one left-aligned.
fn table(f: &mut Formatter<'_>, title: &str, heads: &[&str], rows: &[Vec<String>]) -> Result {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heads.get(column).map(|head| head.chars().count())).max().unwrap_or(0)
    };
    writeln!(f, "\n{title}\n")?;
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    for row in std::iter::once(&heads).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            if column == 0 {
                write!(f, "  {cell:<width$}")?
            } else {
                write!(f, "  {cell:>width$}")?
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let settings = &self.settings;
        let audit = &settings.audit;
        writeln!(
            f,
            "{} trials, {} trainers, {} validators, {} rounds, seed {}; {} seats, then {}; {} of {} segments; compute costs {} % of a reward",
            settings.trials,
            settings.trainers,
            settings.validators,
            settings.rounds,
            settings.seed,
            audit.seats,
            audit.more_seats,
            audit.segments,
            settings.segments,
            percent(settings.compute),
        )?;
        let rows: Vec<_> = self
            .detection
            .iter()
            .map(|found| {
                let (low, high) = found.caught.interval(Z95);
                let interval = format!("{}–{}", percent(low), percent(high));
                let (caught, expected) = (percent(found.caught.share()), percent(found.expected));
                vec![
                    format!("{} of {}", found.skipped, settings.segments),
                    found.updates.to_string(),
                    caught,
                    interval,
                    expected,
                ]
            })
            .collect();
        table(
            f,
            "Trainers caught, %",
            &["segments skipped", "updates", "caught", "95 %", "1 − (1 − p)^n"],
            &rows,
        )?;

        let rows: Vec<_> = self
            .collusion
            .iter()
            .map(|found| {
                let all = [
                    &found.passes_first,
                    &found.passes,
                    &found.caught,
                    &found.convicted,
                    &found.delayed,
                    &found.stalled,
                    &found.score_set,
                ];
                std::iter::once(percent(found.stake)).chain(all.into_iter().map(estimate)).collect()
            })
            .collect();
        let heads = [
            "stake",
            "cheat passes at once",
            "in either draw",
            "cheat convicted",
            "honest convicted",
            "drawn again",
            "undecided",
            "score set",
        ];
        table(f, "What colluding validators decide, %: simulated (exact)", &heads, &rows)?;

        let rows: Vec<_> = self
            .choices
            .iter()
            .map(|found| {
                let chances =
                    [found.stake, found.passes, found.delayed, found.stalled].map(percent);
                std::iter::once(format!("{}, then {}", found.seats, found.more_seats))
                    .chain(chances)
                    .collect()
            })
            .collect();
        let heads =
            ["seats", "stake", "cheat passes, or honest convicted", "drawn again", "undecided"];
        table(f, "Other numbers of seats, % (exact)", &heads, &rows)?;

        let rows: Vec<_> = self
            .few
            .iter()
            .map(|found| {
                let rates = [found.passes, found.convicted, found.stalled]
                    .map(|rate| percent(rate.share()));
                std::iter::once(found.validators.to_string()).chain(rates).collect()
            })
            .collect();
        table(
            f,
            "Few validators, one dishonest, %",
            &["validators", "cheat passes", "honest convicted", "undecided"],
            &rows,
        )?;

        let rows: Vec<_> = self
            .grinding
            .author
            .iter()
            .map(|found| {
                let skipped = format!("{} of {}", found.skipped, settings.segments);
                vec![
                    percent(found.share),
                    skipped,
                    percent(found.alone),
                    estimate(&found.caught),
                    percent(found.best),
                ]
            })
            .collect();
        table(
            f,
            "Cheats caught with an accomplice that authors blocks, %",
            &["blocks", "skipped", "alone", "last block withheld", "best play"],
            &rows,
        )?;
        let rows: Vec<_> = self
            .grinding
            .blocking
            .iter()
            .map(|found| {
                let skipped = format!("{} of {}", found.skipped, settings.segments);
                vec![percent(found.share), skipped, percent(found.best), percent(found.unmixed)]
            })
            .collect();
        let title = "Cheats caught where no quorum is without their accomplices, %";
        table(
            f,
            title,
            &["stake and blocks", "skipped", "best play", "if one block made the seed"],
            &rows,
        )?;
        let rows: Vec<_> = self
            .split
            .iter()
            .map(|found| {
                let gain = format!("{:.2}", found.many / found.one);
                let numbers =
                    [found.one, found.many, found.replays].map(|mean| format!("{mean:.3}"));
                std::iter::once(percent(found.share)).chain(numbers).chain([gain]).collect()
            })
            .collect();
        let heads = ["stake, %", "one account", "many", "replays", "gain"];
        table(f, "Seats on an update of a validator with one account or many", &heads, &rows)?;

        let rows: Vec<_> = self
            .trainers
            .iter()
            .map(|found| {
                let amounts = [
                    found.reward,
                    found.fines,
                    found.compute,
                    found.profit,
                    found.profit - found.honest,
                ];
                let mut row = vec![found.name.to_owned(), percent(found.caught.share())];
                row.extend(amounts.map(|amount| format!("{amount:.3}")));
                row.extend([
                    format!("{:.3}", found.saved),
                    times(found.margin),
                    times(found.margin_alone),
                ]);
                row
            })
            .collect();
        let heads = [
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
        ];
        table(
            f,
            "Strategies of trainers: POL for a lease of work; margin is p·(reward + bond) / saved",
            &heads,
            &rows,
        )?;

        let rows: Vec<_> = self
            .validators
            .iter()
            .map(|found| {
                let amounts = [
                    found.reward,
                    found.fines,
                    found.compute,
                    found.profit,
                    found.profit - found.honest,
                ];
                let mut row = vec![found.name.to_owned(), found.seats.to_string()];
                row.extend(amounts.map(|amount| format!("{amount:.4}")));
                row
            })
            .collect();
        let heads = ["validator", "seats", "reward", "fines", "compute", "profit", "over honest"];
        table(f, "Conducts of validators: POL for a seat", &heads, &rows)
    }
}
