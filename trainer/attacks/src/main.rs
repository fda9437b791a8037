//! `pol-attacks`: attacks a real network of this machine in every way that the protocol has to
//! withstand, and checks on the chain what came of it.
//!
//! | module | what it holds |
//! |---|---|
//! | [`network`], [`rpc`], [`watch`] | the node and honest members as processes, and what happens on the chain |
//! | [`cheat`] | roles of the released program with some of their choices made otherwise |
//! | [`hand`], [`byhand`] | a trainer led call by call, and attacks made of such calls |
//! | [`live`], [`floods`] | attacks on the network, many in the same rounds |
//! | [`mixed`] | attacks on a network of the native profile |
//! | [`draws`], [`lab`] | attacks on draws, arithmetic and training, in this process, with fixed seeds |
//! | [`report`] | the table and `attacks.json` |

mod byhand;
mod cheat;
mod draws;
mod floods;
mod hand;
mod lab;
mod live;
mod mixed;
mod network;
mod report;
mod rpc;
mod watch;

use anyhow::{Context, Result, bail};
use clap::Parser;
use live::Selection;
use pol_engine::determinism::Mode;
use pol_trainer::{cli::LogOptions, process, roles};
use report::Row;
use std::{fs, path::PathBuf, sync::OnceLock, time::Instant};

const EXAMPLES: &str = "\
Examples:
  pol-attacks                     every attack: about ten minutes on two cores
  pol-attacks --only 5,6,15       some of them, by their numbers in docs/attacks.md
  pol-attacks --rounds 4 --out o  each attacker in four rounds; logs and attacks.json in the folder o

Each line of the table is an attack. Attempts are updates, calls or draws; sampled are those of them where an audit
looked at something false; detected are those that were refused or found; the interval is the rate of detections.
The exit code is 0 only if every requirement held.";

/// Attacks a network of one node, two honest trainers and three honest validators, all started and
/// stopped here.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Options {
    /// Attacks to try, by their numbers in docs/attacks.md, separated by commas. [default: all]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=22))]
    only: Vec<u8>,
    /// Leases that each attacker takes.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Folder for attacks.json and the logs of every process.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON and no table.
    #[arg(long)]
    json: bool,
    /// What the attackers log on standard error, such as `info`.
    #[arg(long, value_name = "FILTER", default_value = "off")]
    log: String,
}

fn main() {
    let options = Options::parse();
    let log = LogOptions { log: options.log.clone(), log_json: false };
    process::run("pol-attacks", Some(Mode::Exact), &log, run(options))
}

/// Tells on standard error what is going on, and since when.
fn say(text: &str) {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    eprintln!("[{:4} s] {text}", BEGUN.get_or_init(Instant::now).elapsed().as_secs());
}

async fn run(options: Options) -> Result<()> {
    let scratch = tempfile::tempdir().context("a temporary folder")?;
    let out = options.out.clone().unwrap_or_else(|| scratch.path().to_owned());
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let all = options.only.is_empty();
    let selection =
        Selection((1..=22).filter(|class| all || options.only.contains(class)).collect());
    let mut rows = Vec::new();
    let attacked = tokio::select! {
        attacked = attack(&selection, options.rounds, &out, &mut rows) => attacked,
        () = roles::interruption() => bail!("interrupted"),
    };
    rows.sort_by_key(|row| row.class);
    let json = serde_json::to_string_pretty(&rows)?;
    fs::write(out.join("attacks.json"), &json)?;
    if options.json {
        println!("{json}");
    } else {
        println!("{}", report::table(&rows));
    }
    attacked?;
    let broken = rows.iter().filter(|row| !row.held).count();
    if broken > 0 {
        bail!("{broken} of {} requirements did not hold", rows.len());
    }
    say(&format!("all {} requirements held", rows.len()));
    Ok(())
}

async fn attack(
    selection: &Selection,
    rounds: u32,
    out: &std::path::Path,
    rows: &mut Vec<Row>,
) -> Result<()> {
    say("attacks on draws and arithmetic");
    if selection.has(5) {
        rows.push(draws::small_segments());
    }
    if selection.has(13) {
        rows.push(draws::collusion());
    }
    if selection.has(15) {
        rows.push(draws::sybils());
    }
    if selection.has(11) {
        say("a network of the native profile, on machines that differ");
        let row = Row::new(11, "cheats among mixed machines", "100 %, no honest one");
        rows.push(
            mixed::machines(&out.join("logs-native"))
                .await
                .unwrap_or_else(|error| row.failed(&error)),
        );
    }
    if selection.is_live() {
        live::run(selection, rounds, &out.join("logs"), rows, say).await
    } else {
        Ok(())
    }
}
