// SPDX-License-Identifier: Apache-2.0

//! Adaptation of imported models: other sizes, and other parts.

use super::{
    model_report::{print_adaptation, print_model},
    progress::progress_bar,
    recipe::parse_rewrite,
};
use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use pol_generate::TextTokenizer;
use pol_import::{ImportReport, ImportedModel, check_writable, load};
use pol_model::adapt::{LogitDifference, adapted_norm, logit_difference};
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
Sizes that are not given stay as they are. Growth keeps what the model computes: new blocks, \
neurons, heads, channels, experts and parts of the mind have no effect until they are trained. The \
command checks that on a short text before it writes anything, and prints how far logits moved. \
Shrinking keeps blocks evenly spaced from the first to the last, the strongest neurons, heads and \
channels, and the first tokens and positions. It changes what the model computes; train the model \
afterwards.

Sizes and parts are adapted first, then experts, then each --rewrite in its order. `model propose` \
prints rewrites, and networks adopt them: upcycle, add_expert, split_expert, prune_expert, \
insert_block and widen.

Examples:
  pol-trainer model adapt smollm2 --out deeper --layers 36
      six more blocks at the end
  pol-trainer model adapt gpt2 --out wider --width 1024 --heads 16 --feed-forward 4096
      wider in every way, computing the same
  pol-trainer model adapt smollm2 --out small --layers 12 --feed-forward 768
      a smaller model to train, made of the best parts of a larger one
  pol-trainer model adapt smollm2 --out experts --experts 5
      five experts in place of each feed-forward layer
  pol-trainer model adapt experts --out split --rewrite '{\"split_expert\":{\"expert\":1}}'
      a rewrite as a network would apply it";

/// Options of `model adapt`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AdaptOptions {
    /// Folder made by `model import` or `model adapt`.
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Folder to make.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Blocks.
    #[arg(long, value_name = "N")]
    layers: Option<u16>,
    /// Width of the residual stream. Multiples of the present width duplicate its channels, other
    /// widths add channels.
    #[arg(long, value_name = "N")]
    width: Option<u32>,
    /// Attention heads, of the present size. As many heads as before share keys and values.
    #[arg(long, value_name = "N")]
    heads: Option<u16>,
    /// Hidden neurons of each feed-forward layer.
    #[arg(long, value_name = "N")]
    feed_forward: Option<u32>,
    /// Longest sequence, in tokens. Positions beyond the present ones have to be learned.
    #[arg(long, value_name = "N")]
    context: Option<u32>,
    /// Entries of the vocabulary, at least as many as the tokenizer has.
    #[arg(long, value_name = "N")]
    vocabulary: Option<u32>,
    /// Give the model an output projection of its own, at first a copy of the embedding.
    #[arg(long)]
    untie: bool,
    /// Turn each feed-forward layer into this many experts, at first equal copies of it.
    #[arg(long, value_name = "N")]
    experts: Option<u8>,
    /// Experts that each token goes to.
    #[arg(long, value_name = "N", default_value_t = 2, requires = "experts")]
    active: u8,
    /// Give each block a superposition: a number of branches and their rank, such as 4x16.
    #[arg(long, value_name = "BRANCHESxRANK", value_parser = parse_superposition)]
    superposition: Option<Superposition>,
    /// Give the model a head that predicts its own loss.
    #[arg(long)]
    introspection: bool,
    /// Run this many of the last blocks again for tokens whose predicted loss is high. Implies
    /// --introspection.
    #[arg(long, value_name = "N")]
    second_pass: Option<u16>,
    /// Rewrite to apply after all else. Can be repeated.
    #[arg(long, value_name = "JSON", value_parser = parse_rewrite)]
    rewrite: Vec<Rewrite>,
    /// Seed of the new random values.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Replace a model that is in the folder already.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn parse_superposition(text: &str) -> Result<Superposition, String> {
    let parts = text
        .split_once('x')
        .and_then(|(branches, rank)| Some((branches.parse().ok()?, rank.parse().ok()?)));
    let (branches, rank) = parts.ok_or("a superposition is BRANCHESxRANK, such as 4x16")?;
    Ok(Superposition { branches, rank })
}

/// Largest move of a logit that rounding in a deep model explains, relative to the largest logit,
/// or absolute if all logits are below 1.
const MAX_ROUNDING_ERROR: f64 = 1e-4;
/// Text on which both models are compared.
const SAMPLE: &str = "The quick brown fox jumps over the lazy dog. What is 17 * 23? It is 391, she \
                      said, and wrote it down.";
/// Number of tokens to compare on if the model has no tokenizer.
const SAMPLE_TOKENS: u32 = 63;

/// An adapted model, and its comparison with the original.
struct AdaptedModel {
    model: ImportedModel,
    /// `true` if the model has to compute what the original does.
    preserved: bool,
    difference: LogitDifference,
}

/// Adapts a model and prints the result.
pub(crate) fn run(options: &AdaptOptions) -> Result<()> {
    check_writable(&options.out, options.force)?;
    let start = Instant::now();
    let bar = progress_bar(options.json, "{spinner} {msg}");
    bar.enable_steady_tick(Duration::from_millis(100));
    bar.set_message("reading the model");
    let model = load(&options.model)?;
    let adapted = adapt(options, &model, |step| bar.set_message(step))?;
    bar.set_message("writing");
    let report = adapted.model.save(&options.out, options.force)?;
    bar.finish_and_clear();
    print_result(options, &adapted, &report, start.elapsed().as_secs_f64())
}

/// Adapts `model` and compares both models. Calls `progress` with the name of each step.
fn adapt(
    options: &AdaptOptions,
    model: &ImportedModel,
    progress: impl Fn(&'static str),
) -> Result<AdaptedModel> {
    let target = target_spec(options, model)?;
    let upcycle = options
        .experts
        .map(|count| Rewrite::Upcycle { experts: Experts::new(count, options.active) });
    let rewrites: Vec<Rewrite> =
        upcycle.into_iter().chain(options.rewrite.iter().copied()).collect();
    ensure!(
        target != model.spec || !rewrites.is_empty(),
        "these options change nothing; name a change, such as --layers {} or --experts 5",
        model.spec.layers.saturating_add(2)
    );
    progress("adapting");
    let seed = pol_primitives::digest(b"pol/adapt/1", &(model.root, options.seed));
    let adapted = model.adapt(&target, &rewrites, &seed)?;
    let preserved = adapted.report.adapted.last().is_some_and(|adaptation| adaptation.preserved());
    progress("comparing both models on a short text");
    let models = [
        (&model.spec, model.parameters.as_slice()),
        (&adapted.spec, adapted.parameters.as_slice()),
    ];
    let difference = logit_difference(models, &sample_tokens(model))?;
    // The comparison is false for NaN too.
    let close = difference.largest <= MAX_ROUNDING_ERROR * difference.scale.max(1.0);
    ensure!(
        close || !preserved,
        "logits moved by {:.1e} although they should not have (the largest is {:.1}), so nothing \
         was written; either the model's values are beyond the precision of float32, or this is a \
         bug",
        difference.largest,
        difference.scale
    );
    Ok(AdaptedModel { model: adapted, preserved, difference })
}

/// Returns the specification that the model is adapted to before rewrites.
fn target_spec(options: &AdaptOptions, model: &ImportedModel) -> Result<ModelSpec> {
    let spec = model.spec;
    let mut target = spec;
    if let Some(heads) = options.heads {
        let group = spec.heads / spec.key_value_heads;
        ensure!(
            heads > 0 && heads.is_multiple_of(group),
            "{group} heads share keys and values in this model, so --heads has to be a multiple of \
             {group}, such as {} or {}",
            spec.heads.saturating_sub(group).max(group),
            spec.heads.saturating_add(group)
        );
        (target.heads, target.key_value_heads) = (heads, heads / group);
    }
    if let Some(vocabulary) = options.vocabulary {
        let entries = model.report.tokenizer.as_ref().map_or(0, |tokenizer| tokenizer.entries);
        ensure!(
            vocabulary >= entries,
            "the tokenizer has {entries} entries, and --vocabulary has to be at least that"
        );
        target.vocabulary = vocabulary;
    }
    target.layers = options.layers.unwrap_or(spec.layers);
    target.width = options.width.unwrap_or(spec.width);
    target.norm = adapted_norm(&spec, target.width);
    target.feed_forward = options.feed_forward.unwrap_or(spec.feed_forward);
    target.context = options.context.unwrap_or(spec.context);
    target.tied &= !options.untie;
    target.mind.superposition = options.superposition.or(spec.mind.superposition);
    target.mind.second_pass = options.second_pass.unwrap_or(spec.mind.second_pass);
    target.mind.introspection |= options.introspection || target.mind.second_pass > 0;
    target.validate().map_err(|invalid| anyhow!("there can be no such model: {invalid}"))?;
    Ok(target)
}

/// Returns the tokens of the sample text, or arbitrary ones if the model has no tokenizer for it.
fn sample_tokens(model: &ImportedModel) -> Vec<u32> {
    let text = model.tokenizer.as_deref().and_then(|json| TextTokenizer::parse(json).ok());
    let tokens = text.and_then(|text| text.encode(SAMPLE).ok()).unwrap_or_default();
    if tokens.len() < 2 {
        (1..=SAMPLE_TOKENS)
            .map(|index| index.wrapping_mul(2_654_435_761) % model.spec.vocabulary)
            .collect()
    } else {
        tokens
    }
}

fn print_result(
    options: &AdaptOptions,
    adapted: &AdaptedModel,
    report: &ImportReport,
    seconds: f64,
) -> Result<()> {
    let AdaptedModel { model, preserved, difference } = adapted;
    if options.json {
        println!(
            "{}",
            json!({
                "out": options.out,
                "seconds": seconds,
                "spec": model.spec,
                "report": report,
                "preserved": preserved,
                "difference": difference,
            })
        );
        return Ok(());
    }
    print_model(&model.spec, report);
    print_adaptation(report.adapted.last().context("the report has no adaptation")?);
    let verdict = if *preserved {
        "the model computes what it did before"
    } else {
        "train it before you use it"
    };
    println!(
        "on a short text logits moved by {:.1e} at most, the largest being {:.1}: {verdict}",
        difference.largest, difference.scale
    );
    println!("adapted into {} in {seconds:.1} s", options.out.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use pol_import::TokenizerReport;
    use pol_primitives::model::{Norm, PositionEncoding};

    #[derive(Parser)]
    struct AdaptCommand {
        #[command(flatten)]
        options: AdaptOptions,
    }

    fn parse(given: &[&str]) -> Result<AdaptOptions, String> {
        let all = ["adapt", "before", "--out", "after"].iter().chain(given);
        let command = AdaptCommand::try_parse_from(all).map_err(|error| error.to_string())?;
        Ok(command.options)
    }

    /// Returns a model in which three heads share keys and values.
    fn model() -> ImportedModel {
        let gpt2 = ModelSpec::gpt2(61, 24, 2, 6, 96, 32);
        let positions = PositionEncoding::Rotary { dimensions: 4, base: 100, interleaved: false };
        let tokenizer = TokenizerReport { from: "here".into(), entries: 50, hash: [0; 32] };
        let report = ImportReport { tokenizer: Some(tokenizer), ..ImportReport::default() };
        let spec = ModelSpec { key_value_heads: 2, positions, ..gpt2 };
        ImportedModel { spec, parameters: Vec::new(), root: [0; 32], tokenizer: None, report }
    }

    fn target(given: &[&str]) -> Result<ModelSpec, String> {
        target_spec(&parse(given)?, &model()).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_that_are_not_given_stay() {
        let spec = model().spec;
        assert_eq!(target(&[]), Ok(spec));
        assert_eq!(
            target(&["--heads", "9"]),
            Ok(ModelSpec { heads: 9, key_value_heads: 3, ..spec })
        );
        let norm = Norm::Layer { epsilon: 7_500 };
        assert_eq!(
            target(&["--width", "32", "--untie"]),
            Ok(ModelSpec { width: 32, norm, tied: false, ..spec })
        );
        let mind = target(&["--second-pass", "1", "--superposition", "4x16"]).unwrap().mind;
        assert_eq!((mind.introspection, mind.second_pass), (true, 1));
        assert_eq!(mind.superposition, Some(Superposition { branches: 4, rank: 16 }));
    }

    #[test]
    fn invalid_options_are_explained() {
        for (given, expected) in [
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
            let error = target(given).unwrap_err();
            assert!(error.contains(expected), "{given:?}: {error}");
        }
    }
}
