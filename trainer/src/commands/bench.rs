// SPDX-License-Identifier: Apache-2.0

//! Training speed, payload size and the costs of audits and of measuring heads on this machine, or
//! the speed of training and generation with an imported model.
//!
//! libtorch selects its kernels when it is loaded, so each measurement runs in a process of its
//! own: this command again, with hidden options.

use super::{
    bench_cell::{self, CellOptions, peak_memory},
    bench_head::HeadCosts,
    decoder::{AnyDecoder, Reading, thread_count},
};
use crate::preset::RecipeSizes;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use pol_engine::{
    bench::{AuditCost, measure_audit_cost, measure_throughput},
    determinism::{self, NumericsMode},
};
use pol_generate::bench::{self, DecodingSpeed, GenerationLoad};
use pol_import::describe;
use pol_primitives::{
    audit::AuditConfig,
    payload::encoded_size,
    recipe::{MIN_TOLERANCE, Recipe, Tier},
};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Load of the measurement of generation speed.
const LOAD: GenerationLoad = GenerationLoad { prompt: 64, tokens: 64, batch: 1 };
/// Sequences that are generated at once in the measurement of batches.
const BATCH: usize = 8;
/// Tokens that are generated before a measurement, to bring the parameters into memory.
const WARMUP_TOKENS: usize = 4;

const EXAMPLES: &str = "\
Trains with the exact numerics of the network and with stock libtorch, on one thread and on all \
cores, and prints the speed of each. Then measures the payload of an update, the cost of its \
audit, and that of measuring a head.

Examples:
  pol-trainer bench                            the demo's model
  pol-trainer bench --width 256 --layers 8     a larger one
  pol-trainer bench --model smollm2            an imported model: training and generation
  pol-trainer bench --model smollm2 --prompt 512 --sequences 8
      only the generation of eight texts after prompts of 512 tokens, in JSON";

/// Options of `bench`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct BenchOptions {
    /// Folder made by `model import`: measure training and generation with this model, in place of
    /// one of the given sizes.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Width of the model.
    #[arg(long, value_name = "N", default_value_t = 128)]
    width: u32,
    /// Blocks of the model.
    #[arg(long, value_name = "N", default_value_t = 4)]
    layers: u16,
    /// Attention heads.
    #[arg(long, value_name = "N", default_value_t = 4)]
    heads: u16,
    /// Entries of the vocabulary.
    #[arg(long, value_name = "N", default_value_t = 8_192)]
    vocabulary: u32,
    /// Tokens of a sequence.
    #[arg(long, value_name = "N", default_value_t = 128)]
    sequence: u16,
    /// Sequences of a micro-batch. Each thread trains one micro-batch at a time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    micro_batch: u16,
    /// Seconds of each measurement.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    seconds: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cell: CellOptions,
    /// Measure training in this process. Used by the command itself.
    #[arg(long, value_enum, hide = true)]
    measure: Option<NumericsOption>,
    /// Threads of that measurement, and of one of a prompt [default: all cores].
    #[arg(long, hide = true)]
    threads: Option<u16>,
    /// Measure generation in this process. Used by the command itself.
    #[arg(long, hide = true, requires = "model")]
    write: bool,
    /// Measure the cost of an audit in this process. Used by the command itself.
    #[arg(long, hide = true)]
    audit: bool,
    /// Measure the cost of measuring a head in this process. Used by the command itself.
    #[arg(long, hide = true)]
    head: bool,
}

/// Numerics of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NumericsOption {
    /// Bit-exact training, as the network requires it.
    Exact,
    /// libtorch's defaults.
    Stock,
}

impl BenchOptions {
    /// Returns the settings of libtorch for this process, or `None` if it needs none.
    pub(crate) fn numerics(&self) -> Option<NumericsMode> {
        match self.measure? {
            NumericsOption::Exact => determinism::mode(&bench_recipe(self).ok()?),
            NumericsOption::Stock => Some(NumericsMode::Stock),
        }
    }
}

/// Measures and prints.
pub(crate) fn run(options: &BenchOptions) -> Result<()> {
    if options.audit {
        return run_audit(options);
    }
    if options.head {
        let costs = HeadCosts::measure(&audit_recipe(options))?;
        println!("{}", serde_json::to_string(&costs)?);
        return Ok(());
    }
    if let (Some(model), true) = (&options.model, options.write) {
        println!("{}", serde_json::to_string(&GenerationSpeed::measure(model, options)?)?);
        return Ok(());
    }
    if let (Some(model), Some(prompt)) = (&options.model, options.cell.prompt) {
        return bench_cell::run(model, prompt, &options.cell, options.seconds, options.threads);
    }
    let recipe = bench_recipe(options)?;
    recipe.validate()?;
    if options.measure.is_some() {
        let threads = options.threads.unwrap_or(1).into();
        let duration = Duration::from_secs(options.seconds);
        let throughput = measure_throughput(&recipe, Tier::Whale, threads, duration)?;
        println!("{}", throughput.tokens_per_second());
        return Ok(());
    }
    let cores = u16::try_from(std::thread::available_parallelism()?.get())?;
    if options.model.is_some() {
        bench_model(&recipe, cores, options)
    } else {
        let report = SizeReport::measure(&recipe, cores, options)?;
        if options.json {
            report.print_json()
        } else {
            report.print(options)
        }
        Ok(())
    }
}

/// Measures the cost of an audit in this process.
fn run_audit(options: &BenchOptions) -> Result<()> {
    let (recipe, threads) = (audit_recipe(options), options.threads.unwrap_or(1).into());
    let cost = measure_audit_cost(&recipe, Tier::Miner, threads, &AuditConfig::default())?;
    println!("{}", serde_json::to_string(&cost)?);
    Ok(())
}

/// Measurements of a model of the given sizes.
struct SizeReport {
    parameters: u64,
    /// Values of each block of 4,096 that a payload keeps.
    top_k: u16,
    payload_bytes: u64,
    dense_bytes: u64,
    /// Threads, and tokens per second with exact and with stock numerics.
    speeds: Vec<(u16, f64, f64)>,
    audit: AuditCost,
    head: HeadCosts,
}

impl SizeReport {
    fn measure(recipe: &Recipe, cores: u16, options: &BenchOptions) -> Result<Self> {
        let mut speeds = Vec::new();
        for threads in [1].into_iter().chain((cores > 1).then_some(cores)) {
            let [exact, stock] = [NumericsOption::Exact, NumericsOption::Stock]
                .map(|numerics| training_speed(numerics, threads, options));
            speeds.push((threads, exact?, stock?));
        }
        let (top_k, parameters) = (recipe.compression.top_k, recipe.model.size());
        let audit = run_child(NumericsOption::Exact, cores, &["--audit"], options)?;
        let head = run_child(NumericsOption::Exact, 1, &["--head"], options)?;
        Ok(Self {
            parameters,
            top_k,
            payload_bytes: encoded_size(top_k, parameters),
            dense_bytes: parameters * 4,
            speeds,
            audit: serde_json::from_str(&audit)?,
            head: serde_json::from_str(&head)?,
        })
    }

    /// Returns how many times larger dense float32 values are than the payload.
    fn compression(&self) -> f64 {
        self.dense_bytes as f64 / self.payload_bytes as f64
    }

    fn print_json(&self) {
        let speeds: Vec<_> = self
            .speeds
            .iter()
            .map(|(threads, exact, stock)| {
                json!({
                    "threads": threads,
                    "exact": exact,
                    "stock": stock,
                    "exact_over_stock": exact / stock,
                })
            })
            .collect();
        println!(
            "{}",
            json!({
                "parameters": self.parameters,
                "tokens_per_second": speeds,
                "payload_bytes": self.payload_bytes,
                "dense_bytes": self.dense_bytes,
                "dense_over_payload": self.compression(),
                "audit": self.audit,
                "audit_over_training": self.audit.ratio(),
                "head": self.head.to_json(),
            })
        );
    }

    fn print(&self, options: &BenchOptions) {
        println!(
            "{} parameters, sequences of {}, micro-batches of {}",
            self.parameters, options.sequence, options.micro_batch
        );
        println!("threads  exact tokens/s  stock tokens/s  exact/stock");
        for (threads, exact, stock) in &self.speeds {
            println!("{threads:>7}  {exact:>14.0}  {stock:>14.0}  {:>11.2}", exact / stock);
        }
        println!(
            "payload of {} bytes with {} of 4096 values kept, {:.1} times smaller than the {} \
             bytes of dense float32",
            self.payload_bytes,
            self.top_k,
            self.compression(),
            self.dense_bytes
        );
        self.print_audit();
        self.head.print();
    }

    fn print_audit(&self) {
        let cost = &self.audit;
        println!(
            "an update of {} segments costs its trainer {:.2} s ({:.2} s training, {:.2} s hashing \
             states, {:.2} s packing)",
            cost.segments,
            cost.trainer_seconds(),
            cost.train,
            cost.trace,
            cost.pack
        );
        println!(
            "an audit seat costs {:.2} s ({:.2} s replaying {} segments, {:.2} s checking states, \
             {:.2} s packing, {:.3} s scoring, {:.3} of the training) and {:.1} MB; {} seats cost \
             {:.2} of the training",
            cost.seat_seconds(),
            cost.replay,
            cost.drawn,
            cost.states,
            cost.packing,
            cost.scoring_seconds(),
            cost.scoring_seconds() / cost.trainer_seconds(),
            cost.bytes as f64 / 1e6,
            cost.seats,
            cost.ratio()
        );
    }
}

/// Speed and memory of generation with a model.
#[derive(serde::Serialize, serde::Deserialize)]
struct GenerationSpeed {
    /// Seconds to read the model and to arrange its parameters.
    load_seconds: f64,
    /// Speed with one sequence.
    single: DecodingSpeed,
    /// Speed with eight sequences at once.
    eight: DecodingSpeed,
    /// Peak memory of the process, in bytes.
    peak_memory: u64,
}

impl GenerationSpeed {
    /// Measures in this process.
    fn measure(folder: &Path, options: &BenchOptions) -> Result<Self> {
        let start = Instant::now();
        let threads = thread_count(Some(options.threads.unwrap_or(1)))?;
        let decoder = AnyDecoder::read(pol_import::open(folder)?, None, threads, Reading::Packed)?;
        let load_seconds = start.elapsed().as_secs_f64();
        let measure = |load| match &decoder {
            AnyDecoder::Native(model) => bench::measure(&**model, load),
            AnyDecoder::Torch(model) => bench::measure(&**model, load),
        };
        measure(GenerationLoad { tokens: WARMUP_TOKENS, ..LOAD })?;
        let mut single = measure(LOAD)?;
        let end = Instant::now() + Duration::from_secs(options.seconds);
        while Instant::now() < end {
            let again = measure(LOAD)?;
            if again.tokens_per_second > single.tokens_per_second {
                single = again;
            }
        }
        Ok(Self {
            load_seconds,
            single,
            eight: measure(GenerationLoad { batch: BATCH, ..LOAD })?,
            peak_memory: peak_memory(),
        })
    }
}

/// Measures training and generation with an imported model, and prints the speeds.
fn bench_model(recipe: &Recipe, cores: u16, options: &BenchOptions) -> Result<()> {
    let generation = run_child(NumericsOption::Stock, cores, &["--write"], options)?;
    let generation: GenerationSpeed = serde_json::from_str(&generation)?;
    let [exact, stock] = [NumericsOption::Exact, NumericsOption::Stock]
        .map(|numerics| training_speed(numerics, cores, options));
    let (exact, stock, parameters) = (exact?, stock?, recipe.model.size());
    if options.json {
        println!(
            "{}",
            json!({
                "parameters": parameters,
                "threads": cores,
                "writing": generation,
                "training_tokens_per_second": { "exact": exact, "stock": stock },
            })
        );
        return Ok(());
    }
    println!("{parameters} parameters, {cores} threads");
    println!(
        "loaded in {:.2} s, with a peak memory of {:.0} MB",
        generation.load_seconds,
        generation.peak_memory as f64 / 1e6
    );
    for (sequences, speed) in [(1, generation.single), (BATCH, generation.eight)] {
        println!(
            "{sequences} at once: reads {:.1} and generates {:.1} tokens/s",
            speed.prompt_tokens_per_second, speed.tokens_per_second
        );
    }
    println!(
        "trains {stock:.1} tokens/s with stock numerics and {exact:.1} with exact ones, in \
         sequences of {} and micro-batches of {}",
        options.sequence, options.micro_batch
    );
    Ok(())
}

/// Measures training in a process of its own, in tokens per second.
fn training_speed(numerics: NumericsOption, threads: u16, options: &BenchOptions) -> Result<f64> {
    run_child(numerics, threads, &[], options)?
        .trim()
        .parse()
        .context("a measurement printed no figure")
}

/// Runs one measurement in a process of its own, and returns its output.
fn run_child(
    numerics: NumericsOption,
    threads: u16,
    flags: &[&str],
    options: &BenchOptions,
) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    let mode = numerics.to_possible_value().context("every mode has a name")?;
    command.args(["bench", "--measure", mode.get_name()]).args(flags);
    for (flag, value) in [
        ("--threads", u64::from(threads)),
        ("--width", options.width.into()),
        ("--layers", options.layers.into()),
        ("--heads", options.heads.into()),
        ("--vocabulary", options.vocabulary.into()),
        ("--sequence", options.sequence.into()),
        ("--micro-batch", options.micro_batch.into()),
        ("--seconds", options.seconds),
    ] {
        command.args([flag, &value.to_string()]);
    }
    if let Some(model) = &options.model {
        command.arg("--model").arg(model);
    }
    if numerics == NumericsOption::Stock {
        determinism::configure(&mut command, NumericsMode::Stock);
    }
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "a measurement failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Returns the recipe of the model to measure, with one micro-batch for each thread.
fn bench_recipe(options: &BenchOptions) -> Result<Recipe> {
    let tier = (options.micro_batch, options.threads.unwrap_or(1), 1, 1);
    let mut recipe = recipe_sizes(options, tier, 1).recipe([0; 32]);
    if options.measure == Some(NumericsOption::Stock) {
        // The native profile allows all kernels.
        recipe = recipe.into_native(MIN_TOLERANCE);
    }
    Ok(match &options.model {
        Some(folder) => Recipe { model: describe(folder)?.0, ..recipe },
        None => recipe,
    })
}

/// Returns a recipe with the demo's leases: 20 steps of two micro-batches in 20 segments.
fn audit_recipe(options: &BenchOptions) -> Recipe {
    recipe_sizes(options, (options.micro_batch, 2, 20, 1), 20).recipe([0; 32])
}

fn recipe_sizes(options: &BenchOptions, tier: (u16, u16, u16, u8), segments: u16) -> RecipeSizes {
    RecipeSizes {
        vocabulary: options.vocabulary,
        width: options.width,
        layers: options.layers,
        heads: options.heads,
        sequence: options.sequence,
        shard_tokens: u32::from(options.sequence).saturating_mul(32),
        tiers: [tier; 4],
        segments,
    }
}
