// SPDX-License-Identifier: Apache-2.0

//! The top level of the command line. Each command's options stand beside the command.

use crate::{
    HonestStrategy,
    commands::{
        beacon::{self, BeaconCommand},
        bench::{self, BenchOptions},
        calibrate::{self, CalibrateOptions},
        data::{self, DataCommand},
        generate::{self, GenerateOptions},
        governance::{self, CouncilCommand},
        keys::{self, KeysCommand},
        model::{self, ModelCommand},
        observe::{self, ObserveOptions},
        recipe::{self, RecipeCommand},
        run::{self, RunOptions},
        status::{self, StatusOptions},
        verify_head::{self, VerifyOptions},
    },
    error::ErrorFormat,
    options::LogOptions,
};
use anyhow::Result;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use pol_engine::determinism::NumericsMode;

const EXAMPLES: &str = "\
Examples:
  pol-trainer --tier auto --dev-account trainer-1      join a local dev chain as a trainer
  pol-trainer --role validator --dev-account alice     check and attest the work of trainers
  pol-trainer data ingest --input texts --out data     turn a folder of texts into shards
  pol-trainer model import org/name --out model        import a pretrained model
  pol-trainer generate --model model 'Once upon'       continue a text with it
  pol-trainer status --watch                           follow rounds and the model
  pol-trainer data trace 0/17                          show the source and the effect of a shard
  pol-trainer verify-head                              replay the model's history, compare hashes";

/// Trains one global language model together with members who need not trust each other.
///
/// Without a subcommand it joins the network: it leases data from the chain, trains, commits and
/// reveals its update, and computes the next model from all updates. With `--role validator` it
/// checks updates and attests the model instead.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// Options of a member of the network, if there is no subcommand.
    #[command(flatten)]
    pub run: RunOptions,
    /// Options of the log.
    #[command(flatten)]
    pub log: LogOptions,
}

/// Subcommands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Prepare text for training and register it on the chain.
    #[command(subcommand)]
    Data(DataCommand),
    /// Make, show or set the recipe that all members train by.
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Show the council that decides on a chain without a sudo key; upgrade the runtime.
    #[command(subcommand)]
    Council(CouncilCommand),
    /// Import a pretrained model; show, adapt or measure an imported one.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Generate text with a model.
    Generate(GenerateOptions),
    /// Show the round, the model and the members.
    Status(StatusOptions),
    /// Make or show the key of an account.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Sign or relay the pulses of public randomness that draws of audits wait for.
    #[command(subcommand)]
    Beacon(BeaconCommand),
    /// Measure training speed, payload size and the cost of audits on this machine.
    Bench(BenchOptions),
    /// Measure the tolerance of the native numerics profile, between honest replays and cheats.
    Calibrate(CalibrateOptions),
    /// Replay all included updates since genesis and compare the result with the chain's head.
    VerifyHead(VerifyOptions),
    /// Watch rounds, measure each new model on held-out text, and write a summary.
    Observe(ObserveOptions),
}

/// Exit code for a malformed command line.
const USAGE: i32 = 2;

impl Cli {
    /// Reads the command line of the process, and the form in which the command's errors are
    /// printed. Ends the process if the line is malformed or asks for help.
    pub fn read() -> (Self, ErrorFormat) {
        let read = Self::command().try_get_matches().and_then(|matches| {
            let errors = error_format(&matches);
            Ok((Self::from_arg_matches(&matches)?, errors))
        });
        read.unwrap_or_else(|error| {
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                let text = error.to_string();
                ErrorFormat::Json.print("", text.trim_start_matches("error: ").trim_end());
                std::process::exit(USAGE)
            }
            error.exit()
        })
    }

    /// Returns the numerics of a subcommand that computes with models, or `None` if the processor
    /// and the environment decide.
    pub(crate) fn numerics(&self) -> Option<NumericsMode> {
        match &self.command {
            None | Some(Command::VerifyHead(_) | Command::Observe(_)) => Some(NumericsMode::Exact),
            Some(Command::Bench(options)) => options.numerics(),
            Some(_) => None,
        }
    }

    /// Runs the subcommand, or takes part in the network.
    ///
    /// # Errors
    ///
    /// Fails if the command fails, with a message for the user.
    pub async fn execute(self) -> Result<()> {
        match self.command {
            None => run::run(self.run, HonestStrategy).await,
            Some(Command::Data(command)) => data::run(command).await,
            Some(Command::Recipe(command)) => recipe::run(command).await,
            Some(Command::Council(command)) => governance::run(command).await,
            Some(Command::Model(command)) => model::run(command).await,
            Some(Command::Generate(options)) => generate::run(options).await,
            Some(Command::Status(options)) => status::run(options).await,
            Some(Command::Keys(command)) => keys::run(command),
            Some(Command::Beacon(command)) => beacon::run(command).await,
            Some(Command::Bench(options)) => bench::run(&options),
            Some(Command::Calibrate(options)) => calibrate::run(&options),
            Some(Command::VerifyHead(options)) => verify_head::run(options).await,
            Some(Command::Observe(options)) => observe::run(options).await,
        }
    }
}

/// Returns the form of the errors of a command: that of its result.
fn error_format(matches: &ArgMatches) -> ErrorFormat {
    let mut command = matches;
    while let Some((_, inner)) = command.subcommand() {
        command = inner;
    }
    match command.try_get_one::<bool>("json") {
        Ok(Some(true)) => ErrorFormat::Json,
        _ => ErrorFormat::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn commands_that_print_json_print_their_errors_so() {
        let format = |line: &str| {
            let words = line.split(' ');
            error_format(&Cli::command().try_get_matches_from(words).unwrap())
        };
        for line in [
            "pol-trainer data list --json",
            "pol-trainer data ingest --input a --out b --json",
            "pol-trainer data acquire --config a --json",
            "pol-trainer data train-quality --good a --poor b --out c --json",
            "pol-trainer data trace 0/1 --json",
        ] {
            assert_eq!(format(line), ErrorFormat::Json, "{line}");
            assert_eq!(format(line.trim_end_matches(" --json")), ErrorFormat::Text, "{line}");
        }
        assert_eq!(format("pol-trainer"), ErrorFormat::Text);
        assert_eq!(format("pol-trainer data describe 0"), ErrorFormat::Text);
    }
}
