//! What can be asked for on the command line.

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use pol_chain::Signer;
use pol_engine::determinism::Mode;
use pol_primitives::{
    data::{ShardId, SourceKind},
    recipe::Tier,
    rewrite::Rewrite,
};
use std::{io::IsTerminal, net::SocketAddr, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  pol-trainer --tier auto --dev-account trainer-1        join a local dev chain as a trainer
  pol-trainer --role validator --dev-account alice       check and attest the work of trainers
  pol-trainer data ingest --input texts --out data       turn a folder of texts into shards
  pol-trainer model import org/name --out model          start from a pretrained model
  pol-trainer generate --model model 'Once upon'         continue a text with it
  pol-trainer status --watch                             follow rounds and the model
  pol-trainer data trace 0/17                            where a shard comes from and what it did to the model
  pol-trainer verify-head                                replay the model's history and compare its hash";

/// Trains one global language model together with people you need not trust.
///
/// Without a subcommand it joins the network: it leases data from the chain, trains, commits and
/// reveals its update, and computes the next model from everybody's. With `--role validator` it
/// checks payloads and attests the model instead.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunOptions,
    #[command(flatten)]
    pub log: LogOptions,
}

impl Options {
    /// How the process computes, if it computes anything with a model.
    pub fn numerics(&self) -> Option<Mode> {
        match &self.command {
            None | Some(Command::VerifyHead(_) | Command::Observe(_)) => Some(Mode::Exact),
            Some(Command::Bench(bench)) => bench.measure.map(Mode::from),
            Some(_) => None,
        }
    }
}

#[derive(Subcommand)]
pub enum Command {
    /// Prepare text for training and put it on the chain.
    #[command(subcommand)]
    Data(DataCommand),
    /// Make, read or set the recipe that everybody trains by.
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Import a pretrained model; show, adapt or measure one that was imported.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Write text with a model.
    Generate(crate::commands::generate::GenerateOptions),
    /// Show the round, the model and the members.
    Status(StatusOptions),
    /// Make or show the key of an account.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Measure training speed, payload size and what audits cost on this machine.
    Bench(BenchOptions),
    /// Measure how far apart honest replays end with fast kernels, and how near cheats come: the
    /// tolerance between them.
    Calibrate(crate::commands::calibrate::CalibrateOptions),
    /// Replay every included update since genesis and compare the result with the head on chain.
    VerifyHead(VerifyOptions),
    /// Watch rounds, measure each new model on held-out text, and write a summary.
    Observe(ObserveOptions),
}

#[derive(Args, Clone)]
pub struct NodeOptions {
    /// WebSocket address of a node.
    #[arg(
        long = "node",
        value_name = "URL",
        default_value = "ws://127.0.0.1:9944",
        global = true,
        env = "POL_NODE"
    )]
    pub url: String,
}

/// Which account signs. Secrets come from a file or the environment, never from an argument.
#[derive(Args, Clone)]
pub struct KeyOptions {
    /// Key file made by `pol-trainer keys generate`.
    #[arg(long, value_name = "FILE", env = "POL_KEY_FILE")]
    pub key_file: Option<PathBuf>,
    /// Well-known development account: alice, bob, …, trainer-1, validator-1. Everybody knows its
    /// key.
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    pub dev_account: Option<String>,
}

/// Holds the secret URI of the account when neither a file nor a development account is named.
pub const KEY_VARIABLE: &str = "POL_KEY";

impl KeyOptions {
    pub fn signer(&self) -> Result<Signer> {
        if let Some(name) = &self.dev_account {
            return Signer::from_uri(&dev_uri(name)?).context("development account");
        }
        if let Some(path) = &self.key_file {
            return Ok(Signer::from_keystore(path)?);
        }
        if std::env::var_os(KEY_VARIABLE).is_some() {
            return Ok(Signer::from_env(KEY_VARIABLE)?);
        }
        bail!(
            "no key. Make one with `pol-trainer keys generate --out key.json` and pass --key-file key.json, set {KEY_VARIABLE} to a secret \
             phrase, or on a development chain use --dev-account trainer-1"
        )
    }
}

/// `trainer-3` is `//Trainer//3`, `alice` is `//Alice`.
fn dev_uri(name: &str) -> Result<String> {
    let mut uri = String::new();
    for part in name.split('-') {
        let mut letters = part.chars();
        let Some(first) =
            letters.next().filter(|_| part.chars().all(|letter| letter.is_ascii_alphanumeric()))
        else {
            bail!(
                "'{name}' is not a development account; use alice, bob, charlie, dave, eve, ferdie, trainer-1 … or validator-1 …"
            )
        };
        uri.push_str("//");
        uri.push(first.to_ascii_uppercase());
        uri.extend(letters);
    }
    Ok(uri)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RoleOption {
    Trainer,
    Validator,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TierOption {
    Whale,
    Miner,
    Participant,
    Mobile,
    /// The largest that this machine has the memory and cores for.
    Auto,
}

impl TierOption {
    /// The tier asked for; none for the one that fits.
    pub fn tier(self) -> Option<Tier> {
        match self {
            Self::Whale => Some(Tier::Whale),
            Self::Miner => Some(Tier::Miner),
            Self::Participant => Some(Tier::Participant),
            Self::Mobile => Some(Tier::Mobile),
            Self::Auto => None,
        }
    }
}

#[derive(Args)]
pub struct RunOptions {
    #[command(flatten)]
    pub node: NodeOptions,
    #[command(flatten)]
    pub key: KeyOptions,
    /// What to do in the network.
    #[arg(long, value_enum, default_value = "trainer")]
    pub role: RoleOption,
    /// Size of a lease; a larger tier trains on more data in a round.
    #[arg(long, value_enum, default_value = "auto")]
    pub tier: TierOption,
    /// Folder of state: blobs, optimiser moments, progress.
    /// [default: ~/.local/share/pol-trainer/CHAIN/ACCOUNT]
    #[arg(long, value_name = "DIR", env = "POL_BASE_PATH")]
    pub base_path: Option<PathBuf>,
    /// Threads that train. [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub workers: Option<u16>,
    /// Disk space for the training states of updates that are not settled yet, in GiB. Where it is
    /// short, some are kept and the others trained again when an audit asks for them.
    #[arg(long, value_name = "GIB", default_value_t = 20.0, value_parser = gibibytes)]
    pub state_budget: f64,
    #[command(flatten)]
    pub swarm: SwarmOptions,
    /// Folder made by `data ingest` whose shards to serve to others.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder made by `model import` whose parameters to serve to others. One member has to, where
    /// the recipe starts from them.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
}

fn gibibytes(text: &str) -> Result<f64, String> {
    let size = text.parse().ok().filter(|size: &f64| size.is_finite() && *size >= 0.0);
    size.ok_or_else(|| "a size is a number of GiB, such as 20 or 0.5".into())
}

#[derive(Args, Clone)]
pub struct SwarmOptions {
    /// UDP address on which blobs are served to peers; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Addresses that peers reach this machine at, where they differ from --listen. Can be
    /// repeated, four at most.
    #[arg(long, value_name = "IP:PORT")]
    pub advertise: Vec<SocketAddr>,
}

impl SwarmOptions {
    /// A peer that only fetches.
    pub fn fetching() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 0)), advertise: Vec::new() }
    }
}

#[derive(Args, Clone)]
pub struct LogOptions {
    /// What to log, such as `info` or `pol_trainer=debug`.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "POL_LOG", global = true)]
    pub log: String,
    /// Log one JSON object a line.
    #[arg(long, global = true)]
    pub log_json: bool,
}

impl LogOptions {
    pub fn start(&self) {
        // Libraries speak up only when something is wrong, unless asked for by name.
        let directives = if self.log.contains('=') || self.log.contains(',') {
            self.log.clone()
        } else {
            // What becomes of a connection is told by the swarm's own errors.
            let ours = ["trainer", "chain", "swarm", "engine", "data"]
                .map(|part| format!("pol_{part}={}", self.log));
            format!("warn,iroh=off,{}", ours.join(","))
        };
        let filter = tracing_subscriber::EnvFilter::try_new(&directives).unwrap_or_else(|error| {
            eprintln!("pol-trainer: --log {}: {error}; logging at info", self.log);
            tracing_subscriber::EnvFilter::new("info")
        });
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false);
        if self.log_json { subscriber.json().init() } else { subscriber.init() }
    }
}

#[derive(Subcommand)]
pub enum DataCommand {
    /// Clean texts, train or reuse a tokenizer, and cut the tokens into shards.
    Ingest(IngestOptions),
    /// Register an ingested folder on the chain: one source, a manifest to train on and a held-out
    /// one.
    Register(RegisterOptions),
    /// Tell where a shard comes from and what it did to the model: source, manifest, round,
    /// trainer, improvement.
    Trace(TraceOptions),
}

#[derive(Args)]
pub struct IngestOptions {
    /// Files or folders of .txt; can be repeated.
    #[arg(long, value_name = "PATH", required = true)]
    pub input: Vec<PathBuf>,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Entries of the vocabulary.
    #[arg(long, default_value_t = 8_192)]
    pub vocabulary: u32,
    /// Tokens of a training sequence.
    #[arg(long, default_value_t = 128)]
    pub sequence: u16,
    /// Tokens of a shard, a multiple of the sequence.
    #[arg(long, default_value_t = 4_096)]
    pub shard_tokens: u32,
    /// Share of the text that is never trained on, in percent.
    #[arg(long, default_value_t = 2.0)]
    pub held_out: f64,
    /// Tokenizer to use instead of training one.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Its token that stands between texts.
    /// [default: what the imported model in the tokenizer's folder ends texts with; else the first that the tokenizer has of those that usually end texts, or else turns of conversations]
    #[arg(long, value_name = "TOKEN", requires = "tokenizer")]
    pub end_of_text: Option<String>,
    /// Replace a folder made with other texts or options.
    #[arg(long)]
    pub force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct RegisterOptions {
    #[command(flatten)]
    pub node: NodeOptions,
    #[command(flatten)]
    pub key: KeyOptions,
    /// Folder made by `data ingest`.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// What kind of text it is.
    #[arg(long, value_enum, default_value = "dataset")]
    pub kind: KindOption,
    /// Where the text comes from.
    #[arg(long, value_name = "TEXT", default_value = "local")]
    pub address: String,
    /// SPDX identifier of its licence.
    #[arg(long, value_name = "SPDX", default_value = "LicenseRef-Public-Domain")]
    pub licence: String,
}

#[derive(Args)]
pub struct TraceOptions {
    #[command(flatten)]
    pub node: NodeOptions,
    /// The shard, by its manifest and its place there.
    #[arg(value_name = "MANIFEST/INDEX", value_parser = shard_id)]
    pub shard: ShardId,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

fn shard_id(text: &str) -> Result<ShardId, String> {
    let parts = text
        .split_once('/')
        .and_then(|(manifest, index)| Some((manifest.parse().ok()?, index.parse().ok()?)));
    parts
        .map(|(manifest, index)| ShardId { manifest, index })
        .ok_or_else(|| "a shard is MANIFEST/INDEX, such as 0/17".into())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KindOption {
    Pretrained,
    Dataset,
    Web,
    Synthetic,
}

impl From<KindOption> for SourceKind {
    fn from(kind: KindOption) -> Self {
        match kind {
            KindOption::Pretrained => Self::Pretrained,
            KindOption::Dataset => Self::Dataset,
            KindOption::Web => Self::Web,
            KindOption::Synthetic => Self::Synthetic,
        }
    }
}

#[derive(Subcommand)]
pub enum ModelCommand {
    /// Turn a pretrained checkpoint into a model that training can start from and text be generated
    /// with.
    Import(ImportOptions),
    /// Show an imported model: its architecture, tokenizer, root, and what became of each tensor.
    Show(ShowOptions),
    /// Make an imported model deeper, wider or smaller, or give it experts or parts of the mind.
    Adapt(crate::commands::adapt::AdaptOptions),
    /// Measure a model on texts, and propose rewrites of it that the measures speak for.
    Propose(crate::commands::propose::ProposeOptions),
}

const IMPORTS: &str = "\
The families that can be imported are GPT-2 (DialoGPT too), GPT-Neo, GPT-J and LLaMA; from GGUF, LLaMA and GPT-2. The \
architecture is read from the checkpoint. What a checkpoint asks for and the model cannot do is named and refused, never \
approximated.

Examples:
  pol-trainer model import ~/models/gpt2 --out gpt2
      a folder with config.json and model.safetensors
  pol-trainer model import SmolLM2-135M-Instruct.Q4_1.gguf --out smollm2
      a GGUF file, its tokenizer inside
  pol-trainer model import openai-community/gpt2 --out gpt2
      a model on the hub
  pol-trainer model import org/name@v1.0 --file model.Q8_0.gguf --out m
      one file of a model on the hub at a revision

The folder holds model.safetensors (canonical names and order), spec.json, tokenizer.json and report.json, which lists what \
became of every tensor. The root that is printed is the BLAKE3 of the parameters, the name that a chain knows the model by.

Environment:
  HF_ENDPOINT   hub to fetch from [default: https://huggingface.co]
  HF_TOKEN      access token for models that are not public
  POL_CACHE     fetched files are kept in its folder hub [default: ~/.cache/pol]";

#[derive(Args)]
#[command(after_help = IMPORTS)]
pub struct ImportOptions {
    /// Hugging Face folder, .gguf file, or the name of a model on the hub.
    #[arg(value_name = "DIR|FILE.gguf|ORG/NAME[@REVISION]")]
    pub source: String,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// On the hub, the GGUF file to take.
    #[arg(long, value_name = "NAME.gguf")]
    pub file: Option<String>,
    /// A tokenizer.json to take in place of the checkpoint's own tokenizer.
    #[arg(long, value_name = "FILE")]
    pub tokenizer: Option<PathBuf>,
    /// Replace a model that was imported into the folder before.
    #[arg(long)]
    pub force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ShowOptions {
    /// Folder made by `model import`.
    #[arg(value_name = "DIR")]
    pub model: PathBuf,
    /// List what became of each tensor.
    #[arg(long)]
    pub tensors: bool,
    /// Read the weights too, and check them and the tokenizer against the report.
    #[arg(long)]
    pub verify: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

const REWRITES: &str = r#"A rewrite is one change, the same in every block, that keeps what the model computes:
  '{"upcycle":{"experts":{"count":5,"active":2,"balance":10000,"z":1000}}}'
      feed-forward parts become experts, of which a token goes to two; balance and z weigh two terms of the loss, in millionths
  '{"add_expert":{"like":0}}'      one more expert, a copy of another with a router of its own
  '{"split_expert":{"expert":0}}'  one more expert, a copy of another with a copy of its router
  '{"prune_expert":{"expert":4}}'  an expert less; what the model computes stays for tokens that did not go to it
  '{"insert_block":{"at":1}}'      one more block, after so many others
  '{"widen":{"feed_forward":640}}' wider feed-forward parts

Once it is set, the next round trains nothing: each member rewrites the model for itself, and validators attest what they arrive at. Leases that were
given before end without a penalty, and trainers go on with a fresh optimiser. Until then, another recipe takes the rewrite back.

Examples:
  pol-trainer recipe rewrite '{"insert_block":{"at":1}}'
      show what it would change
  pol-trainer recipe rewrite '{"insert_block":{"at":1}}' --set --dev-account alice
      have the network carry it out
  pol-trainer recipe rewrite '{"insert_block":{"at":1}}' --out next.json && pol-trainer recipe set next.json --key-file key.json
      the same, with a look at the recipe in between"#;

#[derive(Subcommand)]
pub enum RecipeCommand {
    /// Write a recipe for an ingested folder.
    New {
        /// Folder made by `data ingest`.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Size of the model and of leases.
        #[arg(long, value_enum, default_value = "demo")]
        preset: crate::commands::recipe::Preset,
        /// Folder made by `model import`: start from its parameters instead of from noise. The
        /// preset then decides about leases only.
        #[arg(long, value_name = "DIR")]
        model: Option<PathBuf>,
        /// Replays may differ by this many millionths of what a segment changes, so that everybody
        /// may train with the fastest kernels: the native profile. `pol-trainer calibrate` measures
        /// which. Without it, replays have to be equal to the bit.
        #[arg(long, value_name = "MILLIONTHS")]
        tolerance: Option<u32>,
        /// File to write; standard output when missing.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the recipe in force.
    Show {
        #[command(flatten)]
        node: NodeOptions,
    },
    /// Set the recipe with the key of governance (on a dev chain: alice).
    Set {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// File made by `recipe new`.
        file: PathBuf,
    },
    /// Make the recipe in force one that rewrites the network's model, and show what changes.
    #[command(after_help = REWRITES)]
    Rewrite {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// The rewrite.
        #[arg(value_name = "JSON", value_parser = rewrite)]
        rewrite: Rewrite,
        /// File to write the recipe to.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Set the recipe, with the key of governance.
        #[arg(long)]
        set: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Set the lengths of a round's phases, in blocks, with the key of governance.
    Lengths {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// JSON object with join, train, reveal, attest, lead and missed.
        json: String,
    },
    /// Set how much is audited and how long it may take, with the key of governance.
    Audits {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// JSON object with seats, more_seats, segments, probe, and mix, serve, replay, open,
        /// reveal in blocks, escrow in rounds.
        json: String,
    },
}

pub fn rewrite(text: &str) -> Result<Rewrite, String> {
    serde_json::from_str(text).map_err(|error| {
        format!(r#"a rewrite is JSON such as {{"insert_block":{{"at":1}}}}: {error}"#)
    })
}

#[derive(Args)]
pub struct StatusOptions {
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print again with every block.
    #[arg(long)]
    pub watch: bool,
}

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key and write it to a file that only you can read.
    Generate {
        /// File to make; an existing one is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Print the address of an account, never its secret.
    Show {
        #[command(flatten)]
        key: KeyOptions,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Numerics {
    Exact,
    Stock,
}

impl From<Numerics> for Mode {
    fn from(numerics: Numerics) -> Self {
        match numerics {
            Numerics::Exact => Self::Exact,
            Numerics::Stock => Self::Stock,
        }
    }
}

#[derive(Args)]
pub struct BenchOptions {
    /// Folder made by `model import`: measure how fast this model trains and writes, in place of
    /// one of the sizes given.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Width of the model.
    #[arg(long, default_value_t = 128)]
    pub width: u32,
    /// Blocks of the model.
    #[arg(long, default_value_t = 4)]
    pub layers: u16,
    /// Attention heads.
    #[arg(long, default_value_t = 4)]
    pub heads: u16,
    /// Entries of the vocabulary.
    #[arg(long, default_value_t = 8_192)]
    pub vocabulary: u32,
    /// Tokens of a sequence.
    #[arg(long, default_value_t = 128)]
    pub sequence: u16,
    /// Sequences of a micro-batch; each thread trains one at a time.
    #[arg(long, default_value_t = 8)]
    pub micro_batch: u16,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Measure one setting in this process; used by the command itself.
    #[arg(long, value_enum, hide = true)]
    pub measure: Option<Numerics>,
    /// Threads of that measurement.
    #[arg(long, hide = true, default_value_t = 1)]
    pub threads: u16,
    /// Measure how fast a model writes; used by the command itself.
    #[arg(long, hide = true, requires = "model")]
    pub write: bool,
    /// Measure what an audit costs; used by the command itself.
    #[arg(long, hide = true)]
    pub audit: bool,
}

#[derive(Args)]
pub struct VerifyOptions {
    #[command(flatten)]
    pub node: NodeOptions,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct ObserveOptions {
    #[command(flatten)]
    pub node: NodeOptions,
    /// Stop after this many new heads; without it, watch until interrupted.
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,
    /// Write the summary here after every round.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Give up when no head moved for this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    pub patience: u64,
    /// Print one JSON object a round instead of a progress display.
    #[arg(long)]
    pub json: bool,
    /// Held-out sequences measured for each model.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub sequences: usize,
    /// After the last round, wait at most this long until its updates are settled and what can be
    /// claimed is claimed.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub settle: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn development_accounts_have_uris() {
        assert_eq!(dev_uri("alice").unwrap(), "//Alice");
        assert_eq!(dev_uri("trainer-12").unwrap(), "//Trainer//12");
        assert!(dev_uri("").is_err());
        assert!(dev_uri("trainer-").is_err());
        assert!(dev_uri("a//b").is_err());
    }

    #[test]
    fn rewrites_are_read_as_they_are_printed() {
        let printed =
            REWRITES.lines().filter_map(|line| line.trim().strip_prefix('\'')?.split_once('\''));
        let read: Vec<_> = printed.map(|(json, _)| rewrite(json).unwrap()).collect();
        assert_eq!((read.len(), read[4]), (6, Rewrite::InsertBlock { at: 1 }));
        assert_eq!(
            read[0],
            Rewrite::Upcycle { experts: pol_primitives::model::Experts::new(5, 2) }
        );
        for text in ["", "insert_block", "{\"insert_block\":1}", "{\"shrink\":{}}"] {
            assert!(rewrite(text).unwrap_err().contains("such as"), "{text}");
        }
    }

    #[test]
    fn shards_and_sizes_are_read() {
        assert_eq!(shard_id("3/17"), Ok(ShardId { manifest: 3, index: 17 }));
        for text in ["", "3", "3/", "/3", "3/x", "3/1/2", "-1/2"] {
            assert!(shard_id(text).is_err(), "{text}");
        }
        assert_eq!(gibibytes("0.5"), Ok(0.5));
        for text in ["", "x", "-1", "inf", "NaN"] {
            assert!(gibibytes(text).is_err(), "{text}");
        }
    }
}
