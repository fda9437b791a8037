//! Training speed and payload size on this machine.

use crate::cli::{BenchOptions, Numerics};
use anyhow::{Context, Result, ensure};
use pol_engine::{bench::{Throughput, measure}, determinism};
use pol_primitives::{
    model::{Gpt2Spec, ModelSpec},
    payload::encoded_size,
};
use serde_json::json;
use std::process::Command;

/// Values kept of each chunk in the demo recipe.
const TOP_K: u16 = 512;

pub fn run(options: &BenchOptions) -> Result<()> {
    let spec = ModelSpec::Gpt2(Gpt2Spec {
        vocabulary: options.vocabulary,
        width: options.width,
        layers: options.layers,
        heads: options.heads,
        feed_forward: options.width.saturating_mul(4),
        context: options.sequence.into(),
    });
    spec.validate()?;
    if options.measure.is_some() {
        let Throughput { tokens, seconds } = measure(&spec, options.sequence, options.micro_batch, options.threads, options.seconds)?;
        println!("{}", json!({ "tokens": tokens, "seconds": seconds }));
        return Ok(());
    }
    let cores = std::thread::available_parallelism()?.get();
    let mut counts = vec![1];
    counts.extend((cores > 1).then_some(cores));
    let mut rows = Vec::new();
    for &threads in &counts {
        let [exact, stock] = [Numerics::Exact, Numerics::Stock].map(|numerics| tokens_per_second(numerics, threads, options));
        rows.push((threads, exact?, stock?));
    }
    let (payload, dense) = (encoded_size(TOP_K, spec.size()), spec.size() * 4);
    let ratio = dense as f64 / payload as f64;
    if options.json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(threads, exact, stock)| json!({ "threads": threads, "exact": exact, "stock": stock, "exact_over_stock": exact / stock }))
            .collect();
        println!(
            "{}",
            json!({ "parameters": spec.size(), "tokens_per_second": rows, "payload_bytes": payload, "dense_bytes": dense, "dense_over_payload": ratio })
        );
        return Ok(());
    }
    println!("{} parameters, sequences of {}, micro-batches of {}", spec.size(), options.sequence, options.micro_batch);
    println!("threads  exact tokens/s  stock tokens/s  exact/stock");
    for (threads, exact, stock) in rows {
        println!("{threads:>7}  {exact:>14.0}  {stock:>14.0}  {:>11.2}", exact / stock);
    }
    println!("payload {payload} bytes with {TOP_K} of 4096 values kept, {ratio:.1} times smaller than the {dense} bytes of dense float32");
    Ok(())
}

/// Each setting has a process of its own, since libtorch chooses its kernels when it is loaded.
fn tokens_per_second(numerics: Numerics, threads: usize, options: &BenchOptions) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bench").args(["--measure", match numerics {
        Numerics::Exact => "exact",
        Numerics::Stock => "stock",
    }]);
    for (flag, value) in [
        ("--threads", threads as u64),
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
    if numerics == Numerics::Stock {
        command.envs(determinism::stock_environment());
    }
    let output = command.output()?;
    ensure!(output.status.success(), "a measurement failed: {}", String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).context("a measurement printed no result")?;
    let field = |name: &str| result.get(name).and_then(serde_json::Value::as_f64).with_context(|| format!("a measurement without {name}"));
    Ok(field("tokens")? / field("seconds")?)
}
