// SPDX-License-Identifier: Apache-2.0

//! Pretrained models: imported from other formats and families, shown, and exported.

use super::{
    adapt::{self, AdaptOptions},
    decoder::thread_count,
    drawing::usual_recipe,
    export::{self, ExportOptions},
    model_report::{print_adaptation, print_model, print_tensors},
    pack::{self, PackOptions},
    progress::progress_bar,
    propose::{self, ProposeOptions},
};
use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use pol_generate::{NativeModel, PACKED_FILE};
use pol_import::{Checkpoint, Hub, HubId, ImportReport, check_writable, describe, open};
use pol_primitives::model::ModelSpec;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Instant,
};

const IMPORT_EXAMPLES: &str = "\
Imports models of the families GPT-2 (DialoGPT too), GPT-Neo, GPT-J and LLaMA; from GGUF files, \
LLaMA and GPT-2. The architecture is read from the checkpoint. A checkpoint that asks for what the \
model cannot do is refused by name, never approximated.

Examples:
  pol-trainer model import ~/models/gpt2 --out gpt2
      a folder with config.json and model.safetensors
  pol-trainer model import SmolLM2-135M-Instruct.Q4_1.gguf --out smollm2
      a GGUF file with its tokenizer inside
  pol-trainer model import openai-community/gpt2 --out gpt2
      a model on the hub
  pol-trainer model import org/name@v1.0 --file model.Q8_0.gguf --out m
      one file of a model on the hub at a revision

The folder holds model.safetensors (canonical names and order), or weights.gguf if the checkpoint \
is a quantised file, and spec.json, tokenizer.json and \
report.json, which lists the disposition of every tensor, and packed.bin, from which generation \
starts at once. The printed root is the BLAKE3 hash of the parameters, by which a chain identifies \
the model.

Environment:
  HF_ENDPOINT   hub to fetch from [default: https://huggingface.co]
  HF_TOKEN      access token for models that are not public
  POL_CACHE     cache; fetched files are kept in its folder hub [default: ~/.cache/pol]";

const SHOW_EXAMPLES: &str = "\
Examples:
  pol-trainer model show smollm2              architecture, tokenizer and root
  pol-trainer model show smollm2 --tensors    the disposition of every tensor too
  pol-trainer model show smollm2 --verify     check weights and tokenizer against the report
  pol-trainer model show smollm2 --recipe     a recipe of text that the model writes";

/// Subcommands of `model`.
#[derive(Subcommand)]
pub(crate) enum ModelCommand {
    /// Import a pretrained checkpoint as a model for training and generation.
    Import(ImportOptions),
    /// Show an imported model: its architecture, tokenizer, root and tensors.
    Show(ShowOptions),
    /// Write a model as transformers, llama.cpp, and Ollama read it.
    Export(ExportOptions),
    /// Make an imported model deeper, wider or smaller, or give it experts or parts of the mind.
    Adapt(AdaptOptions),
    /// Write packed parameters beside a model, from which generation starts at once.
    Pack(PackOptions),
    /// Measure a model on texts, and propose rewrites that the measurements support.
    Propose(ProposeOptions),
}

/// Options of `model import`.
#[derive(Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(crate) struct ImportOptions {
    /// Hugging Face folder, .gguf file, or name of a model on the hub.
    #[arg(value_name = "DIR|FILE.gguf|ORG/NAME[@REVISION]")]
    source: String,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// GGUF file to take of a model on the hub.
    #[arg(long, value_name = "NAME.gguf")]
    file: Option<String>,
    /// tokenizer.json to use in place of the checkpoint's own tokenizer.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Replace a model that was imported into the folder before.
    #[arg(long)]
    force: bool,
    /// Write weights of a quantised GGUF file as float32, in place of keeping the file.
    #[arg(long)]
    decode: bool,
    /// Leave out packed.bin, which holds all parameters again. `model pack` writes it later.
    #[arg(long)]
    no_pack: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `model show`.
#[derive(Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(crate) struct ShowOptions {
    /// Folder made by `model import` or `model adapt`.
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// List the disposition of each tensor.
    #[arg(long)]
    tensors: bool,
    /// Read the weights too, check them and the tokenizer against the report, and packed.bin, if
    /// there is one, against the weights.
    #[arg(long)]
    verify: bool,
    /// Print a recipe of text that the model writes, to start from, for `data acquire`.
    #[arg(long, conflicts_with_all = ["tensors", "verify"])]
    recipe: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Runs a subcommand of `model`.
pub(crate) async fn run(command: ModelCommand) -> Result<()> {
    let work: Box<dyn FnOnce() -> Result<()> + Send> = match command {
        // Fetches a model first, if it is that of a chain.
        ModelCommand::Export(options) => return export::run(options).await,
        ModelCommand::Import(options) => Box::new(move || import(&options)),
        ModelCommand::Show(options) => Box::new(move || show(&options)),
        ModelCommand::Adapt(options) => Box::new(move || adapt::run(&options)),
        ModelCommand::Pack(options) => Box::new(move || pack::run(&options)),
        ModelCommand::Propose(options) => Box::new(move || propose::run(&options)),
    };
    tokio::task::spawn_blocking(work).await?
}

/// Imports a checkpoint and prints the result.
fn import(options: &ImportOptions) -> Result<()> {
    check_writable(&options.out, options.force)?;
    let source = Path::new(&options.source);
    let (path, name) = if source.exists() {
        (source.to_owned(), options.source.clone())
    } else {
        let id: HubId = options.source.parse().map_err(|error: String| anyhow!(error))?;
        (fetch(&id, options)?, id.to_string())
    };
    let start = Instant::now();
    let checkpoint = Checkpoint::open(&path, options.tokenizer.as_deref())?.with_source(name);
    let checkpoint = if options.decode { checkpoint.decoded() } else { checkpoint };
    let bar = progress_bar(options.json, "{bar:40} {pos}/{len} tensors");
    let report = checkpoint.save(&options.out, options.force, &bar)?;
    bar.finish_and_clear();
    if !options.no_pack
        && let Err(error) = pack::pack(&options.out)
    {
        tracing::warn!(
            "the model is imported, and packed.bin is not written: {error:#}. Without it the model \
             does the same and loads slower; `pol-trainer model pack {}` writes it later",
            options.out.display()
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    if options.json {
        println!(
            "{}",
            json!({
                "out": options.out,
                "seconds": seconds,
                "spec": checkpoint.spec(),
                "report": report,
            })
        );
        return Ok(());
    }
    print_model(checkpoint.spec(), &report);
    println!("imported into {} in {seconds:.1} s", options.out.display());
    Ok(())
}

/// Fetches a model from the hub, and returns its path in the cache.
fn fetch(id: &HubId, options: &ImportOptions) -> Result<PathBuf> {
    let template = "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}";
    let bar = progress_bar(options.json, template);
    let path = Hub::from_env().fetch(id, options.file.as_deref(), &bar);
    let path = path.with_context(|| {
        format!(
            "'{}' is neither a file nor a folder, and cannot be fetched from the hub",
            options.source
        )
    })?;
    bar.finish_and_clear();
    Ok(path)
}

/// Shows an imported model.
fn show(options: &ShowOptions) -> Result<()> {
    if options.recipe {
        println!("{}", serde_json::to_string_pretty(&usual_recipe(&options.model)?)?);
        return Ok(());
    }
    let (spec, report) =
        if options.verify { verify(&options.model)? } else { describe(&options.model)? };
    if options.json {
        println!("{}", json!({ "spec": spec, "report": report }));
        return Ok(());
    }
    print_model(&spec, &report);
    if options.tensors {
        print_tensors(&report)?;
    }
    report.adapted.iter().for_each(print_adaptation);
    if options.verify {
        println!("the weights and the tokenizer are as they were written");
    }
    Ok(())
}

/// Reads the parameters and the tokenizer of a model, compares them with the report, and packed
/// parameters with them.
fn verify(folder: &Path) -> Result<(ModelSpec, ImportReport)> {
    let mut model = open(folder)?;
    let (spec, root, packed) = (model.spec, model.report.root, folder.join(PACKED_FILE));
    if packed.exists() && NativeModel::supports(&spec) {
        let read = |values: &mut [f32]| -> Result<()> { Ok(model.read(values)?) };
        NativeModel::compare_packed(&spec, &root, thread_count(None)?, read, &packed)?;
    } else {
        model.read_all()?;
        if packed.exists() {
            tracing::warn!(
                "{} was not compared: the native decoder does not support this model on this \
                 processor, and does not read the file",
                packed.display()
            );
        }
    }
    Ok((spec, model.report))
}
