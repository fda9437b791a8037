//! Training speed and payload size on this machine.

use crate::{
    cli::{BenchOptions, Numerics},
    commands::recipe::{Sizes, recipe},
};
use anyhow::{Context, Result, ensure};
use pol_engine::{bench::measure, determinism};
use pol_primitives::{
    payload::encoded_size,
    recipe::{Recipe, Tier},
};
use serde_json::json;
use std::{process::Command, time::Duration};

pub fn run(options: &BenchOptions) -> Result<()> {
    let recipe = bench_recipe(options);
    recipe.validate()?;
    if options.measure.is_some() {
        let throughput = measure(&recipe, Tier::Whale, options.threads.into(), Duration::from_secs(options.seconds))?;
        println!("{}", throughput.tokens_per_second());
        return Ok(());
    }
    let cores = u16::try_from(std::thread::available_parallelism()?.get())?;
    let mut counts = vec![1];
    counts.extend((cores > 1).then_some(cores));
    let mut rows = Vec::new();
    for &threads in &counts {
        let [exact, stock] = [Numerics::Exact, Numerics::Stock].map(|numerics| tokens_per_second(numerics, threads, options));
        rows.push((threads, exact?, stock?));
    }
    let (top_k, parameters) = (recipe.compression.top_k, recipe.model.size());
    let (payload, dense) = (encoded_size(top_k, parameters), parameters * 4);
    let ratio = dense as f64 / payload as f64;
    if options.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(threads, exact, stock)| json!({ "threads": threads, "exact": exact, "stock": stock, "exact_over_stock": exact / stock }))
            .collect();
        println!(
            "{}",
            json!({ "parameters": parameters, "tokens_per_second": rows, "payload_bytes": payload, "dense_bytes": dense, "dense_over_payload": ratio })
        );
        return Ok(());
    }
    println!("{} parameters, sequences of {}, micro-batches of {}", parameters, options.sequence, options.micro_batch);
    println!("threads  exact tokens/s  stock tokens/s  exact/stock");
    for (threads, exact, stock) in rows {
        println!("{threads:>7}  {exact:>14.0}  {stock:>14.0}  {:>11.2}", exact / stock);
    }
    println!(
        "payload {payload} bytes with {top_k} of 4096 values kept, {ratio:.1} times smaller than the {dense} bytes of dense float32"
    );
    Ok(())
}

/// Each setting has a process of its own, since libtorch chooses its kernels when it is loaded.
fn tokens_per_second(numerics: Numerics, threads: u16, options: &BenchOptions) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bench").args([
        "--measure",
        match numerics {
            Numerics::Exact => "exact",
            Numerics::Stock => "stock",
        },
    ]);
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
    determinism::configure(&mut command, numerics.into());
    let output = command.output()?;
    ensure!(output.status.success(), "a measurement failed: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().parse().context("a measurement printed no figure")
}

/// The demo's recipe for the model asked for, with a micro-batch for every thread.
fn bench_recipe(options: &BenchOptions) -> Recipe {
    let sizes = Sizes {
        vocabulary: options.vocabulary,
        width: options.width,
        layers: options.layers,
        heads: options.heads,
        sequence: options.sequence,
        shard_tokens: u32::from(options.sequence).saturating_mul(32),
        tiers: [(options.micro_batch, options.threads, 1, 1); 4],
        segments: 1,
    };
    recipe(sizes, [0; 32])
}
