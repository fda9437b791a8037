// SPDX-License-Identifier: Apache-2.0

//! Export of models as other programs read them.

use super::{loaded_model::ModelSource, progress::progress_bar};
use crate::options::NodeOptions;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use indicatif::{HumanBytes, HumanCount};
use pol_import::{ExportFormat, ExportReport, ExportSource, ExportType, export};
use serde_json::json;
use std::{path::PathBuf, time::Instant};

const EXAMPLES: &str = "\
The family is recognised from the parts of the model, not from where it came from. A model with \
parts that no family has, such as experts, is refused by name. What is lost by rounding is counted \
and printed.

Examples:
  pol-trainer model export smollm2 --out smollm2-hf --format hf
      a folder for transformers: config.json, model.safetensors, tokenizer.json
  pol-trainer model export smollm2 --out smollm2.gguf --format gguf --dtype q8_0
      a file for llama.cpp; for Ollama, `ollama create smollm2 -f Modelfile` with the line
      FROM ./smollm2.gguf in Modelfile
  pol-trainer model export --out head.gguf --format gguf
      the model at the head of the chain, as the network trained it";

/// Options of `model export`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportOptions {
    /// Folder made by `model import` or `model adapt`. Without it, the model at the head of the
    /// chain is fetched from members.
    #[arg(value_name = "DIR")]
    model: Option<PathBuf>,
    /// Folder (hf) or file (gguf) to make.
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Format to write.
    #[arg(long, value_enum)]
    format: FormatOption,
    /// Type of the weights. All but f32 round them. q8_0 needs gguf.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: TypeOption,
    #[command(flatten)]
    node: NodeOptions,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum FormatOption {
    /// Folder of transformers.
    Hf,
    /// File of llama.cpp.
    Gguf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TypeOption {
    F32,
    F16,
    Bf16,
    #[value(name = "q8_0")]
    Q8,
}

/// Exports a model and prints the result.
pub(crate) async fn run(options: ExportOptions) -> Result<()> {
    // Fetching a model takes long, so invalid options are reported before it.
    ensure!(
        ExportFormat::from(options.format) == ExportFormat::Gguf || options.dtype != TypeOption::Q8,
        "--dtype q8_0 is an encoding of GGUF; pass --format gguf, or f32, f16, or bf16"
    );
    let open: Box<dyn FnOnce() -> Result<ExportSource> + Send> = match options.model.clone() {
        Some(folder) => Box::new(move || Ok(ExportSource::open(&folder)?)),
        None => {
            let head = ModelSource::fetch(&options.node, None).await?;
            Box::new(move || head.into_export())
        }
    };
    tokio::task::spawn_blocking(move || write(&options, open)).await?
}

fn write(options: &ExportOptions, open: impl FnOnce() -> Result<ExportSource>) -> Result<()> {
    let (format, kind) = (options.format.into(), options.dtype.into());
    let start = Instant::now();
    let source = open()?;
    let bar = progress_bar(options.json, "{bar:40} {pos}/{len} tensors");
    let report = export(&source, &options.out, format, kind, &bar)?;
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    if options.json {
        println!(
            "{}",
            json!({
                "out": options.out,
                "seconds": seconds,
                "spec": source.spec(),
                "report": report,
            })
        );
        return Ok(());
    }
    print_report(&report);
    println!("exported to {} in {seconds:.1} s", options.out.display());
    Ok(())
}

fn print_report(report: &ExportReport) {
    println!(
        "{}: {} tensors, {}",
        report.family,
        HumanCount(report.tensors as u64),
        HumanBytes(report.bytes)
    );
    for note in &report.notes {
        println!("  note: {note}");
    }
    if report.rounded == 0 {
        println!("  all values are exactly those of the model");
    } else {
        let place = report.largest_in.as_ref().map(|name| {
            format!("; the largest change is {:.1e}, in {name}", report.largest_change)
        });
        println!(
            "  {} values are rounded, {} of them to 0{}",
            HumanCount(report.rounded),
            HumanCount(report.zeroed),
            place.unwrap_or_default()
        );
    }
    println!("  root of the model 0x{}", hex::encode(report.root));
}

impl From<FormatOption> for ExportFormat {
    fn from(option: FormatOption) -> Self {
        match option {
            FormatOption::Hf => Self::HuggingFace,
            FormatOption::Gguf => Self::Gguf,
        }
    }
}

impl From<TypeOption> for ExportType {
    fn from(option: TypeOption) -> Self {
        match option {
            TypeOption::F32 => Self::F32,
            TypeOption::F16 => Self::F16,
            TypeOption::Bf16 => Self::Bf16,
            TypeOption::Q8 => Self::Q8_0,
        }
    }
}
