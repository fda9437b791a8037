// SPDX-License-Identifier: Apache-2.0

//! Descriptions of imported models for people.

use anyhow::{Context, Result};
use indicatif::{HumanBytes, HumanCount};
use pol_import::{Adaptation, ImportReport, TensorDisposition};
use pol_primitives::model::{
    Experts, Mind, ModelSpec, Norm, NormPlacement, PositionEncoding, RotaryScaling, SoftCaps,
    Superposition,
};
use serde_json::json;

/// Names of added tensors that are printed before the rest is cut off.
const MAX_LISTED: usize = 6;

/// Returns the names of a model's experts, or their numbers if they have no names.
pub(crate) fn expert_names(spec: &ModelSpec, report: &ImportReport) -> Vec<String> {
    let rewrites: Vec<_> =
        report.adapted.iter().flat_map(|adaptation| adaptation.rewrites.iter().copied()).collect();
    let count = usize::from(spec.experts.map_or(0, |experts| experts.count));
    Some(pol_model::expert_names(&rewrites))
        .filter(|names| names.len() == count)
        .unwrap_or_else(|| (0..count).map(|index| index.to_string()).collect())
}

/// Prints a model's architecture, tensors, tokenizer, notes and root.
pub(crate) fn print_model(spec: &ModelSpec, report: &ImportReport) {
    println!("{} from {} ({})", report.family, report.source, report.format);
    print_architecture(spec, report);
    print_extensions(spec, report);
    print_tensor_counts(report);
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

fn print_architecture(spec: &ModelSpec, report: &ImportReport) {
    let norm = match spec.norm {
        Norm::Layer { .. } => "LayerNorm",
        Norm::Rms { .. } => "RMSNorm",
    };
    let norm = match spec.norms {
        NormPlacement::Before => norm.to_owned(),
        NormPlacement::After => format!("{norm} behind each sublayer"),
        NormPlacement::Around => format!("{norm} around each sublayer"),
        NormPlacement::Apart => format!("{norm} for each of two parallel sublayers"),
    };
    let positions = match spec.positions {
        PositionEncoding::Learned => "learned positions".to_owned(),
        PositionEncoding::Rotary { dimensions, base, .. } => {
            let scaled = spec.scaling.map_or(String::new(), |scaling| {
                let unit = f64::from(RotaryScaling::FACTOR_UNIT);
                format!(", scaled by {}", f64::from(scaling.factor) / unit)
            });
            format!("rotary positions ({dimensions} dimensions, base {base}{scaled})")
        }
    };
    println!(
        "  {} parameters ({} in float32): {} blocks of width {}, {} heads of {} over {} of keys \
         and values, feed-forward {}{}",
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
        "  {norm}, {positions}, context {}, vocabulary {}, output projection {}",
        spec.context,
        spec.vocabulary,
        if spec.tied { "tied to the embedding" } else { "of its own" }
    );
}

/// Prints other rotations, norms of queries and keys, bounds, experts, and parts of the mind.
fn print_extensions(spec: &ModelSpec, report: &ImportReport) {
    let others = (0..spec.layers).filter(|&block| spec.has_other_rotation(block)).count();
    match spec.other_rotation.map(|other| other.base) {
        Some(None) => println!("  {others} blocks are not rotated"),
        Some(Some(base)) => println!("  {others} blocks are rotated by base {}", base.base),
        None => {}
    }
    if spec.query_key_norm.is_some() {
        println!("  queries and keys are normed");
    }
    for (cap, what) in [(spec.caps.attention, "scores"), (spec.caps.logits, "logits")] {
        if let Some(cap) = cap {
            println!("  {what} are below {}", f64::from(cap) / f64::from(SoftCaps::UNIT));
        }
    }
    if let Some(Experts { count, active, .. }) = spec.experts {
        println!(
            "  {count} experts in each block, {active} of them active: {}",
            expert_names(spec, report).join(", ")
        );
    }
    let Mind { superposition, introspection, second_pass } = spec.mind;
    if let Some(Superposition { branches, rank }) = superposition {
        println!("  superposition of {branches} branches of rank {rank}");
    }
    if introspection && second_pass > 0 {
        println!("  introspection, second pass of the last {second_pass} blocks");
    } else if introspection {
        println!("  introspection, no second pass");
    }
}

fn print_tensor_counts(report: &ImportReport) {
    use TensorDisposition::{Fused, FusedTransposed, Mapped, Skipped, Transposed};
    if report.tensors.is_empty() {
        return;
    }
    let count = |dispositions: &[TensorDisposition]| {
        report.tensors.iter().filter(|tensor| dispositions.contains(&tensor.disposition)).count()
    };
    println!(
        "  {} tensors: {} mapped, {} transposed, {} fused, {} left out; {} were quantised",
        report.tensors.len(),
        count(&[Mapped]),
        count(&[Transposed]),
        count(&[Fused, FusedTransposed]),
        count(&[Skipped]),
        report.tensors.iter().filter(|tensor| tensor.dequantised).count()
    );
}

/// Prints the disposition of each tensor of an imported model.
pub(crate) fn print_tensors(report: &ImportReport) -> Result<()> {
    let width = report.tensors.iter().map(|tensor| tensor.name.len()).max();
    let width = width.context(
        "the model was adapted, so it has no list of tensors; show the imported model that it was \
         made from",
    )?;
    for tensor in &report.tensors {
        let disposition = match tensor.disposition {
            TensorDisposition::Mapped => "mapped to",
            TensorDisposition::Transposed => "transposed to",
            TensorDisposition::Fused => "fused into",
            TensorDisposition::FusedTransposed => "transposed, fused into",
            TensorDisposition::Skipped => "left out",
        };
        let to = tensor.to.as_deref().unwrap_or_default();
        let note = tensor.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        println!(
            "{:width$} {:?} {} {disposition} {to}{note}",
            tensor.name, tensor.shape, tensor.encoding
        );
    }
    Ok(())
}

/// Prints the changes of an adaptation.
pub(crate) fn print_adaptation(adaptation: &Adaptation) {
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

/// Returns the first few of `names`.
fn shortened(names: &[String]) -> String {
    let shown = names.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_LISTED { format!("{shown}, …") } else { shown }
}
