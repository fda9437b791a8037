// SPDX-License-Identifier: Apache-2.0

//! Speed of one load of generation: a cell of a table.

use super::decoder::{AnyDecoder, Reading, thread_count};
use anyhow::Result;
use clap::Args;
use pol_generate::bench::{self, DecodingSpeed, GenerationLoad, memory_bandwidth};
use serde::Serialize;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Options of a cell.
#[derive(Args)]
pub(crate) struct CellOptions {
    /// Measure only how fast the model reads a prompt of this many tokens and writes after it.
    #[arg(long, value_name = "N", requires = "model")]
    pub(crate) prompt: Option<usize>,
    /// Tokens to write after the prompt.
    #[arg(long, value_name = "N", default_value_t = 64, requires = "prompt")]
    tokens: usize,
    /// Sequences that are read and written at once.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "prompt")]
    sequences: usize,
}

/// A cell, in JSON.
#[derive(Serialize)]
struct Cell {
    /// Duration of loading the model, and the same with the first token of a text.
    load_seconds: f64,
    first_token_seconds: f64,
    #[serde(flatten)]
    speed: DecodingSpeed,
    /// Bytes of parameters that a token reads; `None` for libtorch's decoder.
    bytes_per_token: Option<usize>,
    /// Bytes that all threads read from memory in a second.
    memory_bandwidth: f64,
    /// Peak memory of the process up to the speed, in bytes.
    peak_memory: u64,
}

/// Measures a cell with the model in `folder` for some seconds, and prints it.
pub(crate) fn run(
    folder: &Path,
    prompt: usize,
    options: &CellOptions,
    seconds: u64,
    threads: Option<u16>,
) -> Result<()> {
    let start = Instant::now();
    let threads = thread_count(threads)?;
    let decoder = AnyDecoder::read(pol_import::open(folder)?, None, threads, Reading::Packed)?;
    let load_seconds = start.elapsed().as_secs_f64();
    let measure = |load| match &decoder {
        AnyDecoder::Native(model) => bench::measure(&**model, load),
        AnyDecoder::Torch(model) => bench::measure(&**model, load),
    };
    measure(GenerationLoad { prompt: 1, tokens: 0, batch: 1 })?;
    let first_token_seconds = start.elapsed().as_secs_f64();
    let load = GenerationLoad { prompt, tokens: options.tokens, batch: options.sequences };
    let mut speed = measure(load)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        let again = measure(load)?;
        let best = |a: f64, b: f64| if b > a { b } else { a };
        speed = DecodingSpeed {
            prompt_tokens_per_second: best(
                speed.prompt_tokens_per_second,
                again.prompt_tokens_per_second,
            ),
            tokens_per_second: best(speed.tokens_per_second, again.tokens_per_second),
            seconds: speed.seconds.min(again.seconds),
        };
    }
    let bytes_per_token = match &decoder {
        AnyDecoder::Native(model) => Some(model.bytes_per_token()),
        AnyDecoder::Torch(_) => None,
    };
    let peak_memory = peak_memory();
    drop(decoder);
    let cell = Cell {
        load_seconds,
        first_token_seconds,
        speed,
        bytes_per_token,
        memory_bandwidth: memory_bandwidth(threads)?,
        peak_memory,
    };
    println!("{}", serde_json::to_string(&cell)?);
    Ok(())
}

/// Returns the peak memory of this process in bytes, or 0 if the system does not tell.
pub(super) fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1_024)
}
