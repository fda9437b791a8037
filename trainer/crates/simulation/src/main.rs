// SPDX-License-Identifier: Apache-2.0

//! `pol-simulate`: runs the simulation and prints its results.

use anyhow::Context;
use clap::Parser;
use pol_simulation::{Settings, plot, run};
use std::{fs, path::PathBuf};

/// Simulates audits, collusion, grinding and rewards on the chain's own functions, without a node.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// A small run of a few seconds.
    #[arg(long)]
    quick: bool,
    /// Seed of all randomness; the same seed gives the same figures.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seats on every update.
    #[arg(long)]
    seats: Option<u8>,
    /// Seats of the second draw.
    #[arg(long)]
    more_seats: Option<u8>,
    /// Segments of a lease, at most 64.
    #[arg(long, value_parser = clap::value_parser!(u16).range(10..=64))]
    segments: Option<u16>,
    /// Segments of an update that are replayed.
    #[arg(long)]
    audited: Option<u8>,
    /// Cost of compute, as a share of an honest trainer's reward.
    #[arg(long)]
    compute: Option<f64>,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Write the plots to this SVG file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut settings =
        if options.quick { Settings::quick(options.seed) } else { Settings::full(options.seed) };
    settings.audit.seats = options.seats.unwrap_or(settings.audit.seats);
    settings.audit.more_seats = options.more_seats.unwrap_or(settings.audit.more_seats);
    settings.audit.segments = options.audited.unwrap_or(settings.audit.segments);
    settings.segments = options.segments.unwrap_or(settings.segments);
    settings.compute = options.compute.unwrap_or(settings.compute);
    anyhow::ensure!(
        settings.audit.is_valid(),
        "the chain refuses these numbers; choose 1 ≤ seats < more seats ≤ 16, and 1 to 4 segments"
    );
    anyhow::ensure!(settings.compute > 0.0, "--compute must be greater than 0");
    let report = run(&settings);
    if let Some(path) = options.svg {
        fs::write(&path, plot::svg(&report)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{report}");
    }
    Ok(())
}
