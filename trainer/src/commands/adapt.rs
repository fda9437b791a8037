//! Models of other sizes, or with other parts, made of imported ones.

use super::model::{bar, print, print_adaptation};
use crate::cli::rewrite;
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use pol_generate::Text;
use pol_import::{Model, load, may_write};
use pol_model::adapt::{difference, norm};
use pol_primitives::{
    model::{Experts, ModelSpec, Superposition},
    rewrite::Rewrite,
};
use serde_json::json;
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

const EXAMPLES: &str = "\
What is given becomes so, what is not given stays. What grows keeps what the model computes: new blocks, neurons, heads, channels, \
experts and parts of the mind say nothing until they have learned to. The command checks that on a short text before it writes \
anything, and prints by how much scores moved. What shrinks keeps what matters most: blocks evenly spaced from the first to the last, \
the strongest neurons, heads and channels, the first tokens and positions. That changes what the model computes; train it afterwards.

Sizes and parts come first, then experts, then each --rewrite in its order. A rewrite is what `model propose` prints and a network \
adopts: upcycle, add_expert, split_expert, prune_expert, insert_block or widen.

Examples:
  pol-trainer model adapt smollm2 --out deeper --layers 36
      six more blocks at the end
  pol-trainer model adapt gpt2 --out wider --width 1024 --heads 16 --feed-forward 4096
      wider in every way, computing the same
  pol-trainer model adapt smollm2 --out small --layers 12 --feed-forward 768
      a smaller model to train on from the best of a larger one
  pol-trainer model adapt smollm2 --out experts --experts 5
      five experts in the place of each feed-forward part
  pol-trainer model adapt experts --out split --rewrite '{\"split_expert\":{\"expert\":1}}'
      what a network would make of it";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct AdaptOptions {
    /// Folder made by `model import` or `model adapt`.
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Blocks.
    #[arg(long, value_name = "N")]
    layers: Option<u16>,
    /// Width of the residual stream. Multiples of the present one duplicate its channels, other
    /// widths add channels.
    #[arg(long, value_name = "N")]
    width: Option<u32>,
    /// Attention heads, of the size that they have; as many share keys and values as before.
    #[arg(long, value_name = "N")]
    heads: Option<u16>,
    /// Hidden neurons of each feed-forward part.
    #[arg(long, value_name = "N")]
    feed_forward: Option<u32>,
    /// Longest sequence, in tokens. Positions beyond the present ones have to be learned.
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Entries of the vocabulary, at least those of the tokenizer.
    #[arg(long, value_name = "N")]
    vocabulary: Option<u32>,
    /// Give the model an output projection of its own, at first a copy of the embedding.
    #[arg(long)]
    untie: bool,
    /// Make each feed-forward part so many experts, at first equal copies of it.
    #[arg(long, value_name = "N")]
    experts: Option<u8>,
    /// Experts that a token goes to.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "experts")]
    active: u8,
    /// Give each block a superposition of so many branches of this rank, such as 4x16.
    #[arg(long, value_name = "BRANCHESxRANK", value_parser = superposition)]
    superposition: Option<Superposition>,
    /// Give the model a head that predicts its own loss.
    #[arg(long)]
    introspection: bool,
    /// Run so many of the last blocks again for tokens whose predicted loss is high; adds
    /// introspection, which that needs.
    #[arg(long, value_name = "N")]
    second_pass: Option<u16>,
    /// Apply this rewrite after all else. Can be repeated.
    #[arg(long, value_name = "JSON", value_parser = rewrite)]
    rewrite: Vec<Rewrite>,
    /// Fixes the values that start fresh.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Replace a model that is in the folder already.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn superposition(text: &str) -> Result<Superposition, String> {
    let parts = text
        .split_once('x')
        .and_then(|(branches, rank)| Some((branches.parse().ok()?, rank.parse().ok()?)));
    let (branches, rank) = parts.ok_or("a superposition is BRANCHESxRANK, such as 4x16")?;
    Ok(Superposition { branches, rank })
}

/// Scores may move by this share of the largest one, and by this much where all are below 1: what
/// rounding does in a deep model.
const ROUNDING: f64 = 1e-4;
/// What a model reads before and after.
const SAMPLE: &str = "The quick brown fox jumps over the lazy dog. What is 17 * 23? It is 391, she said, and wrote it down.";

pub fn run(options: &AdaptOptions) -> Result<()> {
    may_write(&options.out, options.force)?;
    let start = Instant::now();
    let bar = bar(options.json, "{spinner} {msg}");
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.set_message("reading the model");
    let model = load(&options.model)?;
    let target = target(options, &model)?;
    let upcycle = options
        .experts
        .map(|count| Rewrite::Upcycle { experts: Experts::new(count, options.active) });
    let rewrites: Vec<Rewrite> =
        upcycle.into_iter().chain(options.rewrite.iter().copied()).collect();
    ensure!(
        target != model.spec || !rewrites.is_empty(),
        "the model is so already; say what is to change, such as --layers {} or --experts 5",
        model.spec.layers.saturating_add(2)
    );
    bar.set_message("adapting");
    let seed = pol_primitives::digest(b"pol/adapt/1", &(model.root, options.seed));
    let adapted = model.adapted(&target, &rewrites, &seed)?;
    let preserved = adapted.report.adapted.last().is_some_and(|adaptation| adaptation.preserved());
    bar.set_message("comparing both on a short text");
    let models = [
        (&model.spec, model.parameters.as_slice()),
        (&adapted.spec, adapted.parameters.as_slice()),
    ];
    let moved = difference(models, &sample(&model))?;
    // Not a number is not close either.
    let close = moved.largest <= ROUNDING * moved.scale.max(1.0);
    ensure!(
        close || !preserved,
        "scores moved by {:.1e} where they should have stayed (the largest is {:.1}), so nothing was written; the model's values may be \
         beyond what float32 can add up, or this is an error of the program",
        moved.largest,
        moved.scale
    );
    bar.set_message("writing");
    let report = adapted.save(&options.out, options.force)?;
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    if options.json {
        println!(
            "{}",
            json!({
                "out": options.out, "seconds": seconds, "spec": adapted.spec, "report": report, "preserved": preserved, "difference": moved,
            })
        );
        return Ok(());
    }
    print(&adapted.spec, &report);
    let adaptation = report.adapted.last().context("the report lacks what was done")?;
    print_adaptation(adaptation);
    let verdict =
        if preserved { "it computes what it did before" } else { "train it before it is used" };
    println!(
        "on a short text scores moved by {:.1e} at most, the largest being {:.1}: {verdict}",
        moved.largest, moved.scale
    );
    println!("adapted into {} in {seconds:.1} s", options.out.display());
    Ok(())
}

/// What the model is to be before rewrites.
fn target(options: &AdaptOptions, model: &Model) -> Result<ModelSpec> {
    let spec = model.spec;
    let mut target = spec;
    if let Some(heads) = options.heads {
        let group = spec.heads / spec.key_value_heads;
        ensure!(
            heads > 0 && heads.is_multiple_of(group),
            "{group} heads share keys and values in this model: --heads has to be a multiple of {group}, such as {} or {}",
            spec.heads.saturating_sub(group).max(group),
            spec.heads.saturating_add(group)
        );
        (target.heads, target.key_value_heads) = (heads, heads / group);
    }
    if let Some(vocabulary) = options.vocabulary {
        let entries = model.report.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.entries);
        ensure!(
            vocabulary >= entries,
            "the tokenizer has {entries} entries: --vocabulary has to be that at least"
        );
        target.vocabulary = vocabulary;
    }
    target.layers = options.layers.unwrap_or(spec.layers);
    target.width = options.width.unwrap_or(spec.width);
    target.norm = norm(&spec, target.width);
    target.feed_forward = options.feed_forward.unwrap_or(spec.feed_forward);
    target.context = options.context.unwrap_or(spec.context);
    target.tied &= !options.untie;
    target.mind.superposition = options.superposition.or(spec.mind.superposition);
    target.mind.second_pass = options.second_pass.unwrap_or(spec.mind.second_pass);
    target.mind.introspection |= options.introspection || target.mind.second_pass > 0;
    target.validate().map_err(|invalid| anyhow!("there is no such model: {invalid}"))?;
    Ok(target)
}

/// Tokens of the sample, or some of the vocabulary where there is no tokenizer, or it makes nothing
/// of it.
fn sample(model: &Model) -> Vec<u32> {
    let text = model.tokenizer.as_deref().and_then(|json| Text::parse(json).ok());
    let tokens = text.and_then(|text| text.encode(SAMPLE).ok()).unwrap_or_default();
    if tokens.len() < 2 {
        (1u32..64).map(|index| index.wrapping_mul(2_654_435_761) % model.spec.vocabulary).collect()
    } else {
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, ModelCommand, Options};
    use clap::Parser;
    use pol_import::{Report, TokenizerReport};
    use pol_primitives::model::{Norm, Positions};

    fn parse(given: &[&str]) -> Result<AdaptOptions, String> {
        let all = ["pol-trainer", "model", "adapt", "before", "--out", "after"].iter().chain(given);
        match Options::try_parse_from(all).map_err(|error| error.to_string())?.command {
            Some(Command::Model(ModelCommand::Adapt(options))) => Ok(options),
            _ => Err("another command".into()),
        }
    }

    /// Three heads share keys and values.
    fn model() -> Model {
        let gpt2 = ModelSpec::gpt2(61, 24, 2, 6, 96, 32);
        let positions = Positions::Rotary { dimensions: 4, base: 100, interleaved: false };
        let tokenizer = TokenizerReport { from: "here".into(), entries: 50, hash: [0; 32] };
        let report = Report { tokenizer: Some(tokenizer), ..Report::default() };
        let spec = ModelSpec { key_value_heads: 2, positions, ..gpt2 };
        Model { spec, parameters: Vec::new(), root: [0; 32], tokenizer: None, report }
    }

    fn made(given: &[&str]) -> Result<ModelSpec, String> {
        target(&parse(given)?, &model()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_stays() {
        let spec = model().spec;
        assert_eq!(made(&[]), Ok(spec));
        assert_eq!(made(&["--heads", "9"]), Ok(ModelSpec { heads: 9, key_value_heads: 3, ..spec }));
        let norm = Norm::Layer { epsilon: 7_500 };
        assert_eq!(
            made(&["--width", "32", "--untie"]),
            Ok(ModelSpec { width: 32, norm, tied: false, ..spec })
        );
        let mind = made(&["--second-pass", "1", "--superposition", "4x16"]).unwrap().mind;
        assert_eq!((mind.introspection, mind.second_pass), (true, 1));
        assert_eq!(mind.superposition, Some(Superposition { branches: 4, rank: 16 }));
    }

    #[test]
    fn what_cannot_be_is_explained() {
        for (given, says) in [
            (&["--heads", "5"][..], "a multiple of 3, such as 3 or 9"),
            (&["--heads", "0"], "a multiple of 3"),
            (&["--vocabulary", "49"], "the tokenizer has 50 entries"),
            (&["--layers", "0"], "every size of a model must be at least 1"),
            (&["--width", "70000"], "beyond the protocol's limits"),
            (&["--superposition", "1x2"], "2 to 16 branches"),
            (&["--superposition", "4"], "such as 4x16"),
            (&["--superposition", "300x2"], "such as 4x16"),
            (&["--rewrite", "split"], "a rewrite is JSON such as"),
            (&["--active", "1"], "--experts"),
            (&["--layers", "many"], "invalid value 'many'"),
        ] {
            let said = made(given).unwrap_err();
            assert!(said.contains(says), "{given:?}: {said}");
        }
    }
}
