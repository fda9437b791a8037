//! Pretrained models: imported from other formats and families, and shown.

use super::{adapt, propose};
use crate::cli::{ImportOptions, ModelCommand, ShowOptions};
use anyhow::{Context, Result, anyhow};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use pol_import::{Adaptation, Checkpoint, Fate, Hub, HubId, Report, describe, load, may_write};
use pol_model::expert_names;
use pol_primitives::model::{Experts, Mind, ModelSpec, Norm, Positions, Superposition};
use serde_json::json;
use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    time::Instant,
};

pub async fn run(command: ModelCommand) -> Result<()> {
    let work = move || match command {
        ModelCommand::Import(options) => import(&options),
        ModelCommand::Show(options) => show(&options),
        ModelCommand::Adapt(options) => adapt::run(&options),
        ModelCommand::Propose(options) => propose::run(&options),
    };
    tokio::task::spawn_blocking(work).await?
}

fn import(options: &ImportOptions) -> Result<()> {
    may_write(&options.out, options.force)?;
    let source = Path::new(&options.source);
    let (path, name) = if source.exists() {
        (source.to_owned(), options.source.clone())
    } else {
        let id: HubId = options.source.parse().map_err(|error: String| anyhow!(error))?;
        (fetch(&id, options)?, id.to_string())
    };
    let start = Instant::now();
    let checkpoint = Checkpoint::open(&path, options.tokenizer.as_deref())?.named(name);
    let bar = bar(options.json, "{bar:40} {pos}/{len} tensors");
    let report = checkpoint.save(&options.out, options.force, &bar)?;
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    if options.json {
        println!(
            "{}",
            json!({ "out": options.out, "seconds": seconds, "spec": checkpoint.spec(), "report": report })
        );
        return Ok(());
    }
    print(checkpoint.spec(), &report);
    println!("imported into {} in {seconds:.1} s", options.out.display());
    Ok(())
}

fn fetch(id: &HubId, options: &ImportOptions) -> Result<PathBuf> {
    let bar = bar(options.json, "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {msg}");
    let path = Hub::from_env().fetch(id, options.file.as_deref(), &bar);
    let path = path.with_context(|| {
        format!("there is no '{}' here, and the hub did not give it", options.source)
    })?;
    bar.finish_and_clear();
    Ok(path)
}

/// Progress for people who watch.
pub(super) fn bar(json: bool, template: &str) -> ProgressBar {
    if json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(options: &ShowOptions) -> Result<()> {
    let (spec, report) = if options.verify {
        let model = load(&options.model)?;
        (model.spec, model.report)
    } else {
        describe(&options.model)?
    };
    if options.json {
        println!("{}", json!({ "spec": spec, "report": report }));
        return Ok(());
    }
    print(&spec, &report);
    if options.tensors {
        let width = report.tensors.iter().map(|tensor| tensor.name.len()).max();
        let width = width
            .context("what became of a checkpoint's tensors is told by the model that was imported, not by one adapted since")?;
        for tensor in &report.tensors {
            let fate = match tensor.fate {
                Fate::Mapped => "mapped to",
                Fate::Transposed => "transposed to",
                Fate::Fused => "fused into",
                Fate::FusedTransposed => "transposed, fused into",
                Fate::Left => "left",
            };
            let to = tensor.to.as_deref().unwrap_or_default();
            let note = tensor.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
            println!(
                "{:width$} {:?} {} {fate} {to}{note}",
                tensor.name, tensor.shape, tensor.encoding
            );
        }
    }
    report.adapted.iter().for_each(print_adaptation);
    if options.verify {
        println!("the weights and the tokenizer are as they were written");
    }
    Ok(())
}

/// Names of a model's experts: those that it was given with them, or else numbers.
pub(super) fn experts(spec: &ModelSpec, report: &Report) -> Vec<String> {
    let rewrites: Vec<_> =
        report.adapted.iter().flat_map(|adaptation| adaptation.rewrites.iter().copied()).collect();
    let count = usize::from(spec.experts.map_or(0, |experts| experts.count));
    Some(expert_names(&rewrites))
        .filter(|names| names.len() == count)
        .unwrap_or_else(|| (0..count).map(|index| index.to_string()).collect())
}

/// What was done to a model.
pub(super) fn print_adaptation(adaptation: &Adaptation) {
    let sizes = &adaptation.sizes;
    println!("adapted from the model 0x{}", hex::encode(adaptation.from));
    for change in &sizes.changes {
        println!("  {} from {} to {}: {}", change.of, change.from, change.to, change.rule);
    }
    if sizes.changes.iter().any(|change| change.of == "layers") {
        let blocks = sizes
            .blocks
            .iter()
            .map(|(index, silent)| format!("{index}{}", if *silent { " (silent)" } else { "" }));
        println!("  blocks are made of {}", blocks.collect::<Vec<_>>().join(", "));
    }
    if !sizes.added.is_empty() {
        println!("  added {} tensors: {}", sizes.added.len(), shortened(&sizes.added));
    }
    println!(
        "  {} values are kept, {} start fresh, {} are zero",
        HumanCount(sizes.kept),
        HumanCount(sizes.fresh),
        HumanCount(sizes.zero)
    );
    for rewrite in &adaptation.rewrites {
        println!("  rewritten: {}", json!(rewrite));
    }
}

/// The first few of `names`.
fn shortened(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown}, …") } else { shown }
}

pub(super) fn print(spec: &ModelSpec, report: &Report) {
    let norm = match spec.norm {
        Norm::Layer { .. } => "LayerNorm",
        Norm::Rms { .. } => "RMSNorm",
    };
    let positions = match spec.positions {
        Positions::Learned => "learned positions".to_owned(),
        Positions::Rotary { dimensions, base, .. } => {
            format!("rotary positions ({dimensions} dimensions, base {base})")
        }
    };
    println!("{} from {} ({})", report.family, report.source, report.format);
    println!(
        "  {} parameters ({} in float32): {} blocks {} wide, {} heads of {} over {} of keys and values, feed-forward {}{}",
        HumanCount(report.parameters),
        HumanBytes(report.parameters.saturating_mul(4)),
        spec.layers,
        spec.width,
        spec.heads,
        spec.head_size,
        spec.key_value_heads,
        spec.feed_forward,
        if spec.gated { ", gated" } else { "" }
    );
    println!(
        "  {norm}, {positions}, context {}, vocabulary {}, head {}",
        spec.context,
        spec.vocabulary,
        if spec.tied { "tied to the embedding" } else { "of its own" }
    );
    if let Some(Experts { count, active, .. }) = spec.experts {
        println!(
            "  {count} experts in each block, {active} of them active: {}",
            experts(spec, report).join(", ")
        );
    }
    let Mind { superposition, introspection, second_pass } = spec.mind;
    if let Some(Superposition { branches, rank }) = superposition {
        println!("  superposition of {branches} branches of rank {rank}");
    }
    if introspection {
        println!(
            "  introspection, {}",
            if second_pass > 0 {
                format!("second pass of the last {second_pass} blocks")
            } else {
                "no second pass".into()
            }
        );
    }
    let count = |fates: &[Fate]| {
        report.tensors.iter().filter(|tensor| fates.contains(&tensor.fate)).count()
    };
    if !report.tensors.is_empty() {
        println!(
            "  {} tensors: {} mapped, {} transposed, {} fused, {} left; {} were quantised",
            report.tensors.len(),
            count(&[Fate::Mapped]),
            count(&[Fate::Transposed]),
            count(&[Fate::Fused, Fate::FusedTransposed]),
            count(&[Fate::Left]),
            report.tensors.iter().filter(|tensor| tensor.dequantised).count()
        );
    }
    match &report.tokenizer {
        Some(tokenizer) => println!(
            "  tokenizer of {} entries, 0x{}",
            tokenizer.entries,
            hex::encode(tokenizer.hash)
        ),
        None => println!("  no tokenizer"),
    }
    for note in &report.notes {
        println!("  note: {note}");
    }
    println!("  root 0x{}", hex::encode(report.root));
}
