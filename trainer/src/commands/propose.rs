// SPDX-License-Identifier: Apache-2.0

//! Proposals of rewrites, made from measurements of a model.

use super::{model_report::expert_names, progress::progress_bar};
use crate::files::read_text;
use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::HumanCount;
use pol_generate::TextTokenizer;
use pol_import::{ImportedModel, load};
use pol_model::{
    DomainLoss, DomainReport, ExpertUtilisation, MIN_PLATEAU_LOSSES, RewriteProposal,
    RewriteReason, evaluate_domains, propose_rewrites, relative_loss_drop,
};
use pol_primitives::{model::ModelSpec, rewrite::Rewrite};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

const EXAMPLES: &str = "\
Measures the loss on each text and the experts that its tokens go to. Each file is a domain of its \
own. Three rules make proposals:

  prune  an expert that gets less than an eighth of an equal share in every block
  split  an expert that gets more than two equal shares on average
  grow   the model, by an expert, by hidden neurons or by a block, if neither applies and the loss
         falls by less than 0.5 % from one quarter of the rounds to the next

Nothing is changed.

Examples:
  pol-trainer model propose experts --text prose.txt --text code.txt
      find experts that are used too little or too much
  pol-trainer model propose smollm2 --text prose.txt --losses observed.json
      decide about growth; the file is one that `pol-trainer observe --out` wrote, or numbers

Each proposal starts with a rewrite in braces. The first one is the most important:
  pol-trainer model adapt experts --out next --rewrite '{\"split_expert\":{\"expert\":1}}'
      try it on a copy, which `model propose` can measure again
  pol-trainer recipe rewrite '{\"split_expert\":{\"expert\":1}}'
      show how it would change a network's model";

/// Longest part of a file that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 1 << 22;
/// Default length of a sequence, in tokens, if the model's context is not shorter.
const DEFAULT_LENGTH: u32 = 256;

/// Options of `model propose`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ProposeOptions {
    /// Folder made by `model import` or `model adapt`.
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Text to measure on, as a domain of its own. Use text that the model was not trained on. Can
    /// be repeated.
    #[arg(long, value_name = "FILE", required = true)]
    text: Vec<PathBuf>,
    /// Losses on held-out text, one per round since the model was last rewritten: numbers, oldest
    /// first, or the summary that `observe --out` writes.
    #[arg(long, value_name = "FILE")]
    losses: Option<PathBuf>,
    /// Sequences of each text, evenly spaced.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 32,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    sequences: u32,
    /// Tokens of a sequence. [default: the model's context, but at most 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    length: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Measurements of a model, and the rewrites that they support.
struct Findings {
    /// Names of the texts.
    names: Vec<String>,
    /// Names of the experts.
    experts: Vec<String>,
    report: DomainReport,
    /// Relative fall of the loss, if there are enough losses.
    loss_fall: Option<f64>,
    proposals: Vec<RewriteProposal>,
    /// Reason why no rewrite is proposed.
    nothing: Option<String>,
}

/// Measures a model and prints the proposals.
pub(crate) fn run(options: &ProposeOptions) -> Result<()> {
    let losses = options.losses.as_deref().map(read_losses).transpose()?.unwrap_or_default();
    let model = load(&options.model)?;
    let length = options.length.unwrap_or(model.spec.context.min(DEFAULT_LENGTH));
    ensure!(
        length <= model.spec.context,
        "sequences of {length} tokens are longer than the model's context of {}; give a smaller \
         --length",
        model.spec.context
    );
    let domains = read_domains(options, &model, length as usize)?;
    let bar = progress_bar(options.json, "{bar:40} {pos}/{len} sequences");
    bar.set_length(domains.iter().map(|sequences| sequences.len() as u64).sum());
    let report = evaluate_domains(&model.spec, &model.parameters, &domains, || bar.inc(1))?;
    bar.finish_and_clear();
    let proposals = propose_rewrites(&model.spec, report.utilisation.as_ref(), &losses);
    let findings = Findings {
        names: options.text.iter().map(|path| file_name(path)).collect(),
        experts: expert_names(&model.spec, &model.report),
        report,
        loss_fall: relative_loss_drop(&losses),
        nothing: proposals.is_empty().then(|| explain_nothing(&model.spec, &losses)),
        proposals,
    };
    if options.json {
        println!("{}", findings.to_json());
    } else {
        findings.print();
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Returns the sequences of each text: `length` tokens and the next one, or fewer if the text is
/// shorter.
fn read_domains(
    options: &ProposeOptions,
    model: &ImportedModel,
    length: usize,
) -> Result<Vec<Vec<Vec<u32>>>> {
    let tokenizer = model.tokenizer.as_deref();
    let tokenizer = tokenizer.with_context(|| {
        format!(
            "{} has no tokenizer; import the model again with --tokenizer FILE",
            options.model.display()
        )
    })?;
    let text = TextTokenizer::parse(tokenizer)?;
    let domain = |path: &PathBuf| {
        let mut start = Vec::new();
        let file = File::open(path).with_context(|| path.display().to_string())?;
        file.take(MAX_TEXT_BYTES)
            .read_to_end(&mut start)
            .with_context(|| path.display().to_string())?;
        let tokens = text.encode(&String::from_utf8_lossy(&start))?;
        ensure!(
            tokens.len() >= 2,
            "{} has no text that the model can predict; give a longer one",
            path.display()
        );
        Ok(evenly_spaced(&tokens, length, options.sequences as usize))
    };
    options.text.iter().map(domain).collect()
}

/// Returns at most `count` evenly spaced pieces of `length + 1` tokens. If the tokens are too few
/// for one, returns all of them.
fn evenly_spaced(tokens: &[u32], length: usize, count: usize) -> Vec<Vec<u32>> {
    let pieces = (tokens.len() - 1) / length;
    if pieces == 0 {
        return vec![tokens.to_vec()];
    }
    let taken = count.min(pieces);
    let starts = (0..taken).map(|index| index * pieces / taken * length);
    starts.map(|start| tokens[start..=start + length].to_vec()).collect()
}

/// Reads losses from a file of numbers or a summary of `observe`.
fn read_losses(path: &Path) -> Result<Vec<f64>> {
    #[derive(Deserialize)]
    struct Summary {
        rounds: Vec<Round>,
    }
    #[derive(Deserialize)]
    struct Round {
        heldout_loss_after: Option<f64>,
    }
    let text = read_text(path).with_context(|| path.display().to_string())?;
    if let Ok(summary) = serde_json::from_str::<Summary>(&text) {
        return Ok(summary
            .rounds
            .into_iter()
            .filter_map(|round| round.heldout_loss_after)
            .collect());
    }
    let parts = text
        .split(|letter: char| letter.is_whitespace() || ",;[]".contains(letter))
        .filter(|part| !part.is_empty());
    let loss = |part: &str| {
        let loss = part.parse().ok().filter(|loss: &f64| loss.is_finite() && *loss >= 0.0);
        loss.with_context(|| {
            format!(
                "{}: '{part}' is not a loss; give numbers, one per round, or the summary that \
                 `observe --out` writes",
                path.display()
            )
        })
    };
    parts.map(loss).collect()
}

/// Explains why no rewrite is proposed.
fn explain_nothing(spec: &ModelSpec, losses: &[f64]) -> String {
    let used = if spec.experts.is_some() {
        "no expert gets less than an eighth of an equal share in all blocks, or more than two \
         equal shares on average"
    } else {
        "a model without experts can only grow, once its loss no longer falls"
    };
    let loss = match relative_loss_drop(losses) {
        Some(fall) => format!(
            "the loss fell by {:.1} % from one quarter of the {} rounds to the next",
            100.0 * fall,
            losses.len()
        ),
        None if losses.is_empty() => format!(
            "without --losses of at least {MIN_PLATEAU_LOSSES} rounds it is not known if the loss \
             still falls"
        ),
        None => format!(
            "{} losses are too few to tell if the loss still falls; give at least \
             {MIN_PLATEAU_LOSSES}",
            losses.len()
        ),
    };
    format!("{used}; and {loss}")
}

/// Explains a proposal.
fn explain(proposal: &RewriteProposal, experts: &[String]) -> String {
    let name = |expert: u8| {
        experts.get(usize::from(expert)).cloned().unwrap_or_else(|| expert.to_string())
    };
    let subject = match proposal.rewrite {
        Rewrite::PruneExpert { expert } | Rewrite::SplitExpert { expert } => {
            format!("expert {}", name(expert))
        }
        _ => "the model".into(),
    };
    let equal = 100.0 / experts.len().max(1) as f64;
    match proposal.reason {
        RewriteReason::Unused { share } => format!(
            "{subject} gets {:.2} % of choices in the block that uses it most; an equal share is \
             {equal:.1} %",
            100.0 * share
        ),
        RewriteReason::Overused { share } => format!(
            "{subject} gets {:.1} % of choices on average over blocks; an equal share is \
             {equal:.1} %",
            100.0 * share
        ),
        RewriteReason::Plateau { fall } => format!(
            "the loss fell by {:.2} % from one quarter of the rounds to the next, less than \
             0.5 %: {subject} has to grow",
            100.0 * fall
        ),
    }
}

impl Findings {
    fn to_json(&self) -> Value {
        let domains: Vec<Value> = self
            .names
            .iter()
            .zip(&self.report.domains)
            .zip(0..)
            .map(|((name, loss), index)| self.domain_json(name, loss, Some(index)))
            .collect();
        json!({
            "experts": self.experts,
            "domains": domains,
            "all": self.domain_json("all", &self.report.overall(), None),
            "loss_fall": self.loss_fall,
            "proposals": self.proposals,
            "nothing": self.nothing,
        })
    }

    /// Describes a domain, or all domains together if `index` is `None`.
    fn domain_json(&self, name: &str, domain: &DomainLoss, index: Option<usize>) -> Value {
        let blocks = |utilisation: &ExpertUtilisation| {
            (0..utilisation.blocks())
                .map(|block| utilisation.shares(index, block))
                .collect::<Vec<_>>()
        };
        let shares = self.report.utilisation.as_ref().map(blocks);
        json!({ "name": name, "tokens": domain.tokens, "loss": domain.loss, "shares": shares })
    }

    fn print(&self) {
        self.print_table();
        for proposal in &self.proposals {
            println!("{}\n    {}", json!(proposal.rewrite), explain(proposal, &self.experts));
        }
        if let Some(nothing) = &self.nothing {
            println!("nothing is proposed: {nothing}");
        }
    }

    /// Prints the loss and the use of experts by domain.
    fn print_table(&self) {
        let width = self.names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        let width = width.max("domain".len());
        let header: String = self.experts.iter().map(|name| format!("  {name:>11}")).collect();
        println!("{:width$}  {:>9}  {:>7}{header}", "domain", "tokens", "loss");
        let overall = self.report.overall();
        let rows = self
            .names
            .iter()
            .zip(&self.report.domains)
            .zip(0..)
            .map(|((name, domain), index)| (name.as_str(), domain, Some(index)));
        for (name, domain, index) in rows.chain([("all", &overall, None)]) {
            let utilisation = self.report.utilisation.as_ref();
            let shares = utilisation.map(|seen| mean_shares(seen, index)).unwrap_or_default();
            let shares: String =
                shares.iter().map(|share| format!("  {:>9.1} %", 100.0 * share)).collect();
            println!(
                "{name:width$}  {:>9}  {:>7.4}{shares}",
                HumanCount(domain.tokens as u64).to_string(),
                domain.loss
            );
        }
        if !self.experts.is_empty() {
            println!("(shares of choices, mean over blocks)");
        }
    }
}

/// Returns the share of each expert in a domain, as the mean over blocks.
fn mean_shares(utilisation: &ExpertUtilisation, domain: Option<usize>) -> Vec<f64> {
    let mut sums = vec![0.0; utilisation.experts()];
    for block in 0..utilisation.blocks() {
        let shares = utilisation.shares(domain, block);
        sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += share);
    }
    sums.into_iter().map(|sum| sum / utilisation.blocks().max(1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_evenly_spaced() {
        let tokens: Vec<u32> = (0..21).collect();
        assert_eq!(
            evenly_spaced(&tokens, 5, 2),
            [(0..=5).collect::<Vec<_>>(), (10..=15).collect()]
        );
        assert_eq!(evenly_spaced(&tokens, 5, 9).len(), 4);
        for length in [20, 21] {
            assert_eq!(evenly_spaced(&tokens, length, 9).concat(), tokens);
        }
        assert_eq!(evenly_spaced(&tokens[..2], 1, 1), [vec![0, 1]]);
    }

    #[test]
    fn losses_are_read_from_numbers_and_summaries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_losses(&path)
        };
        assert_eq!(read("3.5\n3.25, 3\n").unwrap(), [3.5, 3.25, 3.0]);
        assert_eq!(read("[3.5, 3.25]").unwrap(), [3.5, 3.25]);
        let summary = r#"{"rounds":[{"number":1,"heldout_loss_after":2.5},
            {"number":2,"heldout_loss_after":null}],"chain":{}}"#;
        assert_eq!(read(summary).unwrap(), [2.5]);
        for text in ["3.5 x", "-1", "NaN", "{}"] {
            assert!(format!("{:#}", read(text).unwrap_err()).contains("is not a loss"), "{text}");
        }
    }

    #[test]
    fn the_lack_of_proposals_is_explained() {
        let dense = ModelSpec::gpt2(61, 16, 2, 4, 64, 32);
        let experts =
            ModelSpec { experts: Some(pol_primitives::model::Experts::new(4, 2)), ..dense };
        let falling: Vec<f64> = (0..16).map(|round| 4.0 - 0.1 * f64::from(round)).collect();
        for (spec, losses, expected) in [
            (&dense, &falling[..], "a model without experts can only grow"),
            (&dense, &falling[..], "the loss fell by 13."),
            (&dense, &[], "without --losses of at least 16 rounds"),
            (&experts, &falling[..15], "no expert gets less"),
            (&experts, &falling[..15], "15 losses are too few"),
        ] {
            let explained = explain_nothing(spec, losses);
            assert!(explained.contains(expected), "{explained}");
        }
    }
}
