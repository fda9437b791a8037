//! Training speed, payload size and the cost of audits on this machine; and how fast a model that
//! is given trains and writes.

use crate::{
    cli::{BenchOptions, Numerics},
    commands::{
        generate::{Either, threads},
        recipe::{Sizes, recipe},
    },
};
use anyhow::{Context, Result, ensure};
use pol_engine::{
    bench::{AuditCost, audit_cost, measure},
    determinism,
};
use pol_generate::bench::{self, Load, Speed};
use pol_import::{describe, load};
use pol_primitives::{
    audit::AuditConfig,
    payload::encoded_size,
    recipe::{MIN_TOLERANCE, Recipe, Tier},
};
use serde_json::json;
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// What is written when a model's speed is measured.
const LOAD: Load = Load { prompt: 64, tokens: 64, batch: 1 };

pub fn run(options: &BenchOptions) -> Result<()> {
    if options.audit {
        let cost = audit_cost(
            &audit_recipe(options),
            Tier::Miner,
            options.threads.into(),
            &AuditConfig::default(),
        )?;
        println!("{}", serde_json::to_string(&cost)?);
        return Ok(());
    }
    if let (Some(model), true) = (&options.model, options.write) {
        println!("{}", serde_json::to_string(&writing(model, options)?)?);
        return Ok(());
    }
    let recipe = bench_recipe(options)?;
    recipe.validate()?;
    if options.measure.is_some() {
        let throughput = measure(
            &recipe,
            Tier::Whale,
            options.threads.into(),
            Duration::from_secs(options.seconds),
        )?;
        println!("{}", throughput.tokens_per_second());
        return Ok(());
    }
    let cores = u16::try_from(std::thread::available_parallelism()?.get())?;
    let mut counts = vec![1];
    counts.extend((cores > 1).then_some(cores));
    if options.model.is_some() {
        return bench_model(&recipe, cores, options);
    }
    let mut rows = Vec::new();
    for &threads in &counts {
        let [exact, stock] = [Numerics::Exact, Numerics::Stock]
            .map(|numerics| tokens_per_second(numerics, threads, options));
        rows.push((threads, exact?, stock?));
    }
    let (top_k, parameters) = (recipe.compression.top_k, recipe.model.size());
    let (payload, dense) = (encoded_size(top_k, parameters), parameters * 4);
    let ratio = dense as f64 / payload as f64;
    let cost: AuditCost =
        serde_json::from_str(&child(Numerics::Exact, cores, &["--audit"], options)?)?;
    if options.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(threads, exact, stock)| json!({ "threads": threads, "exact": exact, "stock": stock, "exact_over_stock": exact / stock }))
            .collect();
        println!(
            "{}",
            json!({
                "parameters": parameters, "tokens_per_second": rows, "payload_bytes": payload, "dense_bytes": dense,
                "dense_over_payload": ratio, "audit": cost, "audit_over_training": cost.ratio(),
            })
        );
        return Ok(());
    }
    println!(
        "{} parameters, sequences of {}, micro-batches of {}",
        parameters, options.sequence, options.micro_batch
    );
    println!("threads  exact tokens/s  stock tokens/s  exact/stock");
    for (threads, exact, stock) in rows {
        println!("{threads:>7}  {exact:>14.0}  {stock:>14.0}  {:>11.2}", exact / stock);
    }
    println!(
        "payload {payload} bytes with {top_k} of 4096 values kept, {ratio:.1} times smaller than the {dense} bytes of dense float32"
    );
    println!(
        "an update of {} segments costs its trainer {:.2} s ({:.2} s training, {:.2} s hashing states, {:.2} s packing)",
        cost.segments,
        cost.trainer(),
        cost.train,
        cost.trace,
        cost.pack
    );
    println!(
        "a seat costs {:.2} s ({:.2} s replaying {} of them, {:.2} s checking states, {:.2} s packing, {:.2} s scoring) and {:.1} MB; \
         {} seats cost {:.2} of the training",
        cost.seat(),
        cost.replay,
        cost.drawn,
        cost.states,
        cost.packing,
        cost.score,
        cost.bytes as f64 / 1e6,
        cost.seats,
        cost.ratio()
    );
    Ok(())
}

/// How fast a model writes, and what that takes.
#[derive(serde::Serialize, serde::Deserialize)]
struct Writing {
    /// Seconds to read the model and arrange its parameters.
    load_seconds: f64,
    /// One sequence.
    single: Speed,
    /// Eight at once.
    eight: Speed,
    /// Most memory that the process had, in bytes.
    peak_memory: u64,
}

fn writing(model: &Path, options: &BenchOptions) -> Result<Writing> {
    let start = Instant::now();
    let imported = load(model)?;
    let model =
        Either::new(&imported.spec, &imported.parameters, None, threads(Some(options.threads))?)?;
    drop(imported);
    let load_seconds = start.elapsed().as_secs_f64();
    let measure = |load| match &model {
        Either::Native(model) => bench::measure(&**model, load),
        Either::Torch(model) => bench::measure(&**model, load),
    };
    // The first tokens bring the parameters into memory.
    measure(Load { tokens: 4, ..LOAD })?;
    let mut single = measure(LOAD)?;
    let until = Instant::now() + Duration::from_secs(options.seconds);
    while Instant::now() < until {
        let again = measure(LOAD)?;
        if again.tokens_per_second > single.tokens_per_second {
            single = again;
        }
    }
    Ok(Writing {
        load_seconds,
        single,
        eight: measure(Load { batch: 8, ..LOAD })?,
        peak_memory: peak_memory(),
    })
}

/// Most memory that this process had, in bytes; zero where the system does not tell.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1_024)
}

fn bench_model(recipe: &Recipe, cores: u16, options: &BenchOptions) -> Result<()> {
    let writing: Writing =
        serde_json::from_str(&child(Numerics::Stock, cores, &["--write"], options)?)?;
    let [exact, stock] = [Numerics::Exact, Numerics::Stock]
        .map(|numerics| tokens_per_second(numerics, cores, options));
    let (exact, stock, parameters) = (exact?, stock?, recipe.model.size());
    if options.json {
        println!(
            "{}",
            json!({
                "parameters": parameters, "threads": cores, "writing": writing,
                "training_tokens_per_second": { "exact": exact, "stock": stock },
            })
        );
        return Ok(());
    }
    println!("{parameters} parameters, {cores} threads");
    println!(
        "loaded in {:.2} s; {:.0} MB at most",
        writing.load_seconds,
        writing.peak_memory as f64 / 1e6
    );
    for (rows, speed) in [(1, writing.single), (8, writing.eight)] {
        println!(
            "{rows} at once: reads {:.1} and writes {:.1} tokens/s",
            speed.prompt_tokens_per_second, speed.tokens_per_second
        );
    }
    println!(
        "trains {stock:.1} tokens/s with stock numerics, {exact:.1} exact, in sequences of {} and micro-batches of {}",
        options.sequence, options.micro_batch
    );
    Ok(())
}

fn tokens_per_second(numerics: Numerics, threads: u16, options: &BenchOptions) -> Result<f64> {
    child(numerics, threads, &[], options)?
        .trim()
        .parse()
        .context("a measurement printed no figure")
}

/// What this program prints when it measures one setting. Each has a process of its own, since
/// libtorch chooses its kernels when it is loaded.
fn child(
    numerics: Numerics,
    threads: u16,
    flags: &[&str],
    options: &BenchOptions,
) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bench").args([
        "--measure",
        match numerics {
            Numerics::Exact => "exact",
            Numerics::Stock => "stock",
        },
    ]);
    command.args(flags);
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
    determinism::configure(&mut command, numerics.into());
    let output = command.output()?;
    ensure!(
        output.status.success(),
        "a measurement failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The demo's recipe for the model asked for, with a micro-batch for every thread.
fn bench_recipe(options: &BenchOptions) -> Result<Recipe> {
    let mut recipe =
        recipe(sizes(options, (options.micro_batch, options.threads, 1, 1), 1), [0; 32]);
    if options.measure == Some(Numerics::Stock) {
        // The profile that may be computed by any kernels.
        recipe.numerics = pol_primitives::recipe::Numerics::Native { tolerance: MIN_TOLERANCE };
    }
    Ok(match &options.model {
        Some(folder) => Recipe { model: describe(folder)?.0, ..recipe },
        None => recipe,
    })
}

/// The same with the demo's leases: 20 steps of two micro-batches in 20 segments.
fn audit_recipe(options: &BenchOptions) -> Recipe {
    recipe(sizes(options, (options.micro_batch, 2, 20, 1), 20), [0; 32])
}

fn sizes(options: &BenchOptions, tier: (u16, u16, u16, u8), segments: u16) -> Sizes {
    Sizes {
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
