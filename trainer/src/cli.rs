// SPDX-License-Identifier: Apache-2.0

//! The top level of the command line. Each command's options stand beside the command.

use crate::{
    HonestStrategy,
    commands::{
        beacon::{self, BeaconCommand},
        bench::{self, BenchOptions},
        calibrate::{self, CalibrateOptions},
        config::{self, ConfigCommand},
        data::{self, DataCommand},
        explain::{self, ExplainOptions},
        generate::{self, GenerateOptions},
        governance::{self, CouncilCommand},
        index::{self, IndexOptions},
        keys::{self, KeysCommand},
        manual::{CompletionsOptions, ManOptions},
        model::{self, ModelCommand},
        observe::{self, ObserveOptions},
        recipe::{self, RecipeCommand},
        run::{self, RunOptions},
        serve::{self, ServeOptions},
        status::{self, StatusOptions},
        tokens::{self, TokensCommand},
        top::{self, TopOptions},
        verify::{self, VerifyUpdateOptions},
        verify_head::{self, VerifyOptions},
        verify_receipt::{self, VerifyReceiptOptions},
    },
    error::{ErrorFormat, explain},
    options::{LogOptions, NodeOptions},
};
use anyhow::Result;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use pol_engine::determinism::NumericsMode;

const EXAMPLES: &str = "\
Examples:
  pol-trainer --tier auto --dev-account trainer-1      join a local dev chain as a trainer
  pol-trainer --role validator --dev-account alice     check and attest the work of trainers
  pol-trainer --config pol.toml                        take part as a file says
  pol-trainer data ingest --input texts --out data     turn a folder of texts into shards
  pol-trainer model import org/name --out model        import a pretrained model
  pol-trainer generate --model model 'Once upon'       continue a text with it
  pol-trainer top                                      watch the network on the terminal
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
    /// Serve a model over HTTP, to clients of OpenAI too.
    Serve(ServeOptions),
    /// Make, show and revoke the tokens of clients of `serve`.
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Show the round, the model and the members.
    Status(StatusOptions),
    /// Explain the reward of an account in a round, in numbers that add up.
    Explain(ExplainOptions),
    /// Watch the network on a terminal: rounds, members, learning, audits, and money.
    Top(TopOptions),
    /// Check, show or begin a configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Make, import and show keys of accounts, and let one act for another.
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
    /// Replay segments of an update, without a seat or a key, and compare them with what its
    /// trainer committed to.
    Verify(VerifyUpdateOptions),
    /// Generate the text of a receipt again, and compare.
    VerifyReceipt(VerifyReceiptOptions),
    /// Watch rounds, measure each new model on held-out text, and write a summary.
    Observe(ObserveOptions),
    /// Index the past of the chain in SQLite or PostgreSQL, block by block.
    Index(IndexOptions),
    /// Print the completions of a shell for this program.
    Completions(CompletionsOptions),
    /// Write the manual pages of this program.
    Man(ManOptions),
}

/// Exit code for a malformed command line.
const USAGE: i32 = 2;

impl Cli {
    /// Reads the command line of the process and the configuration file that it names, and the form
    /// in which the command's errors are printed. Ends the process if one of them is malformed or
    /// asks for help.
    pub fn read() -> (Self, ErrorFormat) {
        let read = Self::command()
            .try_get_matches()
            .and_then(|matches| Ok((Self::from_arg_matches(&matches)?, matches)));
        let (mut cli, matches) = read.unwrap_or_else(|error| {
            if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
                let text = error.to_string();
                ErrorFormat::Json.print("", text.trim_start_matches("error: ").trim_end());
                std::process::exit(USAGE)
            }
            error.exit()
        });
        let errors = error_format(&matches);
        if let Err(error) = cli.merge_config(&matches) {
            errors.print("pol-trainer", &explain(&error));
            std::process::exit(1)
        }
        if matches!(&cli.command, Some(Command::Top(options)) if options.is_interactive()) {
            // The log would be written over what is drawn.
            cli.log.silence();
        }
        (cli, errors)
    }

    /// Takes what the command line leaves open from the configuration file.
    fn merge_config(&mut self, matches: &ArgMatches) -> Result<()> {
        let member = match &mut self.command {
            None => Some(&mut self.run),
            Some(Command::Config(command)) => command.member(),
            Some(_) => None,
        };
        member.map_or(Ok(()), |options| config::merge(options, &mut self.log, innermost(matches)))
    }

    /// Returns the node whose recipe says how this process computes, if one does.
    pub(crate) fn node_of_numerics(&self) -> Option<&NodeOptions> {
        match &self.command {
            None => Some(&self.run.node),
            Some(Command::Verify(options)) => Some(options.node()),
            Some(_) => None,
        }
    }

    /// Returns the settings of libtorch for a subcommand, or `None` if the processor and the
    /// environment decide.
    pub(crate) fn numerics(&self) -> Option<NumericsMode> {
        match &self.command {
            Some(Command::Bench(options)) => options.numerics(),
            _ => None,
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
            Some(Command::Serve(options)) => serve::run(options).await,
            Some(Command::Tokens(command)) => tokens::run(command),
            Some(Command::Status(options)) => status::run(options).await,
            Some(Command::Explain(options)) => explain::run(options).await,
            Some(Command::Top(options)) => top::run(options).await,
            Some(Command::Config(command)) => config::run(command).await,
            Some(Command::Keys(command)) => keys::run(command).await,
            Some(Command::Beacon(command)) => beacon::run(command).await,
            Some(Command::Bench(options)) => bench::run(&options),
            Some(Command::Calibrate(options)) => calibrate::run(&options),
            Some(Command::VerifyHead(options)) => verify_head::run(options).await,
            Some(Command::Verify(options)) => verify::run(options).await,
            Some(Command::VerifyReceipt(options)) => verify_receipt::run(options).await,
            Some(Command::Observe(options)) => observe::run(options).await,
            Some(Command::Index(options)) => index::run(options).await,
            Some(Command::Completions(options)) => options.run(Self::command()),
            Some(Command::Man(options)) => options.run(Self::command()),
        }
    }
}

/// Returns the matches of the innermost subcommand.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| innermost(inner))
}

/// Returns the form of the errors of a command: that of its result or of its log.
fn error_format(matches: &ArgMatches) -> ErrorFormat {
    let matches = innermost(matches);
    let is_set = |flag| matches!(matches.try_get_one::<bool>(flag), Ok(Some(true)));
    if is_set("json") || is_set("log_json") { ErrorFormat::Json } else { ErrorFormat::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_file_gives_what_the_command_line_leaves_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        let read = |file: &str, line: &[&str]| {
            std::fs::write(&path, file)?;
            let words = ["pol-trainer", "--config", path.to_str().unwrap()];
            let matches = Cli::command().try_get_matches_from([&words[..], line].concat())?;
            let mut cli = Cli::from_arg_matches(&matches)?;
            cli.merge_config(&matches)?;
            let settings = serde_json::to_value(cli.run.settings())?;
            Ok::<_, anyhow::Error>((cli, settings))
        };
        let file = "[node]\ntier = \"miner\"\nworkers = 3\nport = 4001\nlog = \"debug\"\n\
                    data = \"shards\"\n[ai_training]\nn_layer = 2\n";
        let (cli, settings) = read(file, &["--tier", "whale", "--archive"]).unwrap();
        assert_eq!(cli.log.log, "debug");
        for (key, value, source) in [
            ("node.tier", "\"whale\"", "flag"),
            ("node.archive", "true", "flag"),
            ("node.workers", "3", "file"),
            ("node.listen", "\"0.0.0.0:4001\"", "file"),
            ("ai_training.num_layers", "2", "file"),
            ("node.state_budget", "20.0", "default"),
            ("role", "\"trainer\"", "default"),
        ] {
            assert_eq!(settings[key]["value"].to_string(), value, "{key}");
            assert_eq!(settings[key]["source"], source, "{key}");
        }
        let data = folder.path().join("shards");
        assert_eq!(settings["node.data"]["value"], data.to_str().unwrap());

        let validator = "[node]\nis_authority = true\n";
        assert_eq!(read(validator, &[]).unwrap().1["role"]["value"], "validator");
        let nothing = "[node]\nenable_training = false\n";
        assert_eq!(read(nothing, &["--role", "trainer"]).unwrap().1["role"]["source"], "flag");
        for (file, reason) in [
            (nothing, "there is nothing to do"),
            ("[node]\nprot = 1\n", "did you mean node.port?"),
            ("[node]\nlog = \"loud\"\n", "node.log: "),
            ("[data_acquisition]\nsoruce = []\n", "did you mean data_acquisition.source?"),
        ] {
            let error = explain(&read(file, &[]).map(drop).unwrap_err());
            assert!(error.starts_with(path.to_str().unwrap()), "{error}");
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn commands_that_print_json_print_their_errors_so() {
        let format = |line: &str| {
            let words = line.split(' ');
            error_format(&Cli::command().try_get_matches_from(words).unwrap())
        };
        for line in [
            "pol-trainer data list --json",
            "pol-trainer data list --parent 3 --json",
            "pol-trainer data ingest --input a --out b --json",
            "pol-trainer data acquire --config a --json",
            "pol-trainer data train-quality --good a --poor b --out c --json",
            "pol-trainer data fetch-signatures --out a --json",
            "pol-trainer data trace 0/1 --json",
            "pol-trainer data catalogue wikipedia --json",
        ] {
            assert_eq!(format(line), ErrorFormat::Json, "{line}");
            assert_eq!(format(line.trim_end_matches(" --json")), ErrorFormat::Text, "{line}");
        }
        assert_eq!(format("pol-trainer"), ErrorFormat::Text);
        assert_eq!(format("pol-trainer data describe 0"), ErrorFormat::Text);
    }
}
