// SPDX-License-Identifier: Apache-2.0

//! `pol-attacks`: attacks a real network on this machine and checks the results on the chain.
//!
//! The program is a test plan. [`families`] lists what is attacked and what is required, one file
//! a family, each named after its page in `docs/attacks`. A [`scenario::Scenario`] has a name, a
//! setup, an act and an expectation; the report prints them beside the counts.
//!
//! | module | content |
//! |---|---|
//! | [`scenario`], [`selection`] | declarations of scenarios, and the selection of some |
//! | [`families`] | all scenarios, with the code that only they need |
//! | [`monte_carlo`], [`offline`] | setups in this process: draws, training without a network |
//! | [`network`], [`rpc`], [`observer`] | node and members as processes, and the chain's records |
//! | [`cheating`], [`attackers`] | the released roles with one choice made otherwise |
//! | [`cheat`] | one of them on a network that others run |
//! | [`scripted`] | trainers that act call by call |
//! | [`network_attacks`], [`heterogeneous`] | runs on a network of the exact, the native profile |
//! | [`sites`] | a network of several authorities, whose links and nodes fail |
//! | [`waits`] | lines about long waits |
//! | [`tally`], [`report`] | results: counts, the table, and `attacks.json` |
//!
//! To add a scenario, add it to its family's list and to the family's page. Terms are explained in
//! `docs/glossary.md`.

mod attackers;
mod cheat;
mod cheating;
mod families;
mod heterogeneous;
mod monte_carlo;
mod network;
mod network_attacks;
mod observer;
mod offline;
mod report;
mod rpc;
mod scenario;
mod scripted;
mod selection;
mod sites;
mod tally;
mod waits;

use anyhow::{Context, Result, bail};
use cheat::CheatOptions;
use clap::{Parser, Subcommand};
use futures::{FutureExt, future::join_all};
use pol_trainer::{error::ErrorFormat, options::LogOptions, process, roles};
use report::Row;
use scenario::Setup;
use selection::{Filter, Selection};
use sites::SitesNetwork;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::OnceLock,
    time::Instant,
};
use tally::Tally;

const EXAMPLES: &str = "\
Examples:
  pol-attacks                     every attack: about half an hour on two cores
  pol-attacks --only sybils       a family of attacks, by its name in docs/attacks
  pol-attacks --only 5,late-states
                                  a family by its position in the list, and a single scenario
  pol-attacks --rounds 4 --out o  each attacker in four rounds; logs and attacks.json in folder o
  pol-attacks --without-audits    check that attacks succeed on a network whose audits look at
                                  nothing: at least ten have to
  pol-attacks cheat --way noise-payload --dev-account eve --base-path eve
                                  cheat on a network that runs already, and tell what becomes of it

Each line of the table is a scenario. Attempts are updates, calls or draws; sampled are those of
them where an audit looked at something false; detected are those that were refused or found; the
interval is the rate of detections. Below the table, each scenario says what was done and what was
required. The exit code is 0 only if every requirement was met.";

/// Reports progress to a person.
type ProgressFn = fn(&str);

/// Attacks a network of one node, two honest trainers and three honest validators, all started and
/// stopped here.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Families or single scenarios to try, separated by commas. [default: all]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = Filter::parse)]
    only: Vec<Filter>,
    /// Leases that each attacker takes, and rounds that a network with failing links goes through.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=1000)
    )]
    rounds: u32,
    /// Switch audits off, and require that at least ten of the attacks that audits find succeed.
    #[arg(long, conflicts_with = "only")]
    without_audits: bool,
    /// Folder for attacks.json and the logs of every process.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run sites as plain processes on loopback, even where network namespaces are allowed.
    #[arg(long)]
    loopback: bool,
    /// Print JSON and no table.
    #[arg(long)]
    json: bool,
    /// Filter of the attackers' log on standard error, such as `info`.
    #[arg(long, value_name = "FILTER", default_value = "off")]
    log: String,
}

/// Subcommands.
#[derive(Subcommand)]
enum Command {
    /// Take part in a running network of a development chain as a trainer that cheats.
    Cheat(CheatOptions),
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.loopback
        && options.command.is_none()
        && !options.without_audits
        && Selection::new(&options.only).needs_private_machine()
        && let Err(error) = sites::enter_private_network()
    {
        eprintln!("Error: {error:#}");
        return ExitCode::FAILURE;
    }
    let log = LogOptions { log: options.log.clone(), log_json: false };
    process::run("pol-attacks", None, &log, ErrorFormat::Text, run(options))
}

/// Prints progress to standard error, with the seconds since the first call.
fn print_progress(text: &str) {
    static START: OnceLock<Instant> = OnceLock::new();
    eprintln!("[{:4} s] {text}", START.get_or_init(Instant::now).elapsed().as_secs());
}

async fn run(options: Options) -> Result<()> {
    if let Some(Command::Cheat(options)) = options.command {
        return cheat::run(options).await;
    }
    let scratch = tempfile::tempdir().context("a temporary folder")?;
    let out = options.out.clone().unwrap_or_else(|| scratch.path().to_owned());
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let selection = Selection::new(&options.only);
    let mut rows = Vec::new();
    let attacks = async {
        let (rounds, rows) = (options.rounds, &mut rows);
        if options.without_audits {
            let logs = out.join("logs-without-audits");
            network_attacks::run_without_audits(rounds, &logs, rows, print_progress).await
        } else {
            attack(&selection, rounds, &out, rows).await
        }
    };
    let attacked = tokio::select! {
        attacked = attacks => attacked,
        () = roles::shutdown_signal() => bail!("interrupted"),
    };
    report::sort(&mut rows);
    let json = serde_json::to_string_pretty(&rows)?;
    fs::write(out.join("attacks.json"), &json)?;
    if options.json {
        println!("{json}");
    } else {
        println!("{}", report::table(&rows));
    }
    attacked?;
    if options.without_audits {
        return Ok(());
    }
    let failed = rows.iter().filter(|row| row.tally.is_failure()).count();
    if failed > 0 {
        bail!("{failed} of {} requirements were not met", rows.len());
    }
    let skipped = rows.iter().filter(|row| row.tally.skipped).count();
    let met = rows.len() - skipped;
    print_progress(&format!("all {met} requirements were met; {skipped} scenarios were not tried"));
    Ok(())
}

/// Tries the selected scenarios and adds their rows.
async fn attack(selection: &Selection, rounds: u32, out: &Path, rows: &mut Vec<Row>) -> Result<()> {
    for entry in selection.iter() {
        if let Setup::MonteCarlo(draw) = entry.scenario.setup {
            print_progress(&format!("{}: {}", entry.scenario.name, entry.scenario.act));
            rows.push(Row::new(entry, draw()));
        }
    }
    let [native_logs, blind_logs] =
        ["logs-native", "logs-without-audits"].map(|name| out.join(name));
    let own_networks = selection.iter().filter_map(|entry| {
        let trial = match entry.scenario.setup {
            Setup::Heterogeneous(run) => run(&native_logs),
            Setup::BlindAudits => {
                network_attacks::succeed_without_audits(&blind_logs, rounds).boxed_local()
            }
            _ => return None,
        };
        Some(async move {
            print_progress(&format!("{}: {}", entry.scenario.name, entry.scenario.act));
            Row::new(entry, trial.await.unwrap_or_else(|error| Tally::failed(&error)))
        })
    });
    rows.extend(join_all(own_networks).await);
    let mut site_rows = Vec::new();
    let sites = async {
        if !selection.needs_sites() {
            return Ok(());
        }
        attack_sites(selection, rounds, &out.join("logs-sites"), &mut site_rows).await
    };
    // Coalitions change who sits on updates, so they have a network of their own.
    let (coalitions, others) = selection.split(|entry| entry.scenario.setup.is_last());
    let mut coalition_rows = Vec::new();
    let [logs, coalition_logs] = ["logs", "logs-coalitions"].map(|name| out.join(name));
    let attacked = attack_network(&others, rounds, &logs, rows);
    let conspired = attack_network(&coalitions, rounds, &coalition_logs, &mut coalition_rows);
    // All mostly wait for blocks, so they share the time.
    let (of_sites, attacked, conspired) = futures::join!(sites, attacked, conspired);
    rows.append(&mut site_rows);
    rows.append(&mut coalition_rows);
    report::merge(rows);
    of_sites.and(attacked).and(conspired)
}

/// Tries the selected scenarios of networks of one node and adds their rows.
async fn attack_network(
    selection: &Selection,
    rounds: u32,
    logs: &Path,
    rows: &mut Vec<Row>,
) -> Result<()> {
    if !selection.needs_network() {
        return Ok(());
    }
    network_attacks::run(selection, rounds, logs, rows, print_progress).await
}

/// Tries the selected scenarios on one network of several sites and adds their rows.
async fn attack_sites(
    selection: &Selection,
    rounds: u32,
    logs: &Path,
    rows: &mut Vec<Row>,
) -> Result<()> {
    print_progress("starting four sites with an authority, trainers and validators each");
    let network = SitesNetwork::start(logs).await?;
    for entry in selection.iter() {
        let trial = match entry.scenario.setup {
            Setup::Sites(trial) => trial(&network, rounds),
            Setup::LongSites(trial) => trial(&network),
            _ => continue,
        };
        print_progress(&format!("{}: {}", entry.scenario.name, entry.scenario.act));
        let tally = trial.await.unwrap_or_else(|error| Tally::failed(&error));
        rows.push(Row::new(entry, tally));
    }
    Ok(())
}
