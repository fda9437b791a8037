//! What the measures of a model speak for changing.

use super::model::{bar, experts};
use anyhow::{Context, Result, ensure};
use clap::Args;
use indicatif::HumanCount;
use pol_generate::Text;
use pol_import::{Model, load};
use pol_model::{
    Domain, Examined, LEAST_LOSSES, Proposal, Reason, Utilisation, examine, loss_fall, propose,
};
use pol_primitives::{model::ModelSpec, rewrite::Rewrite};
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const EXAMPLES: &str = "\
Measures the loss on each text and which experts its tokens go to, each file being a domain of its own, and applies three rules: an \
expert that in no block gets an eighth of an equal share is pruned; one that gets more than two equal shares on average is split; and \
where neither is so, and the loss falls by less than half a per cent from one quarter of the rounds to the next, the model grows, by an \
expert, by hidden neurons or by a block. Nothing is changed.

Examples:
  pol-trainer model propose experts --text prose.txt --text code.txt
      which experts are used too little or too much
  pol-trainer model propose smollm2 --text prose.txt --losses observed.json
      whether a model without experts should grow; the file is what `pol-trainer observe --out` writes, or numbers

What is printed in braces is a rewrite, the first being the one to take:
  pol-trainer model adapt experts --out next --rewrite '{\"split_expert\":{\"expert\":1}}'
      tries it on a copy, which `model propose` can measure again
  pol-trainer recipe rewrite '{\"split_expert\":{\"expert\":1}}'
      shows what it would make of a network's model";

/// Longest part of a file that is read, in bytes.
const LONGEST_TEXT: usize = 1 << 22;

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ProposeOptions {
    /// Folder made by `model import` or `model adapt`.
    #[arg(value_name = "DIR")]
    model: PathBuf,
    /// Text to measure on, a domain of its own; best text that the model was not trained on. Can be
    /// repeated.
    #[arg(long, value_name = "FILE", required = true)]
    text: Vec<PathBuf>,
    /// Losses on held-out text, one a round since the model was last rewritten: numbers, the oldest
    /// first, or the summary that `observe --out` writes.
    #[arg(long, value_name = "FILE")]
    losses: Option<PathBuf>,
    /// Sequences of each text, evenly spaced.
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    sequences: u32,
    /// Tokens of a sequence. [default: the model's context, but at most 256]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    length: Option<u32>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(options: &ProposeOptions) -> Result<()> {
    let losses = options.losses.as_deref().map(losses).transpose()?.unwrap_or_default();
    let model = load(&options.model)?;
    let length = options.length.unwrap_or(model.spec.context.min(256));
    ensure!(
        length <= model.spec.context,
        "sequences of {length} tokens are longer than the model's context of {}: give a smaller --length",
        model.spec.context
    );
    let domains = domains(options, &model, length as usize)?;
    let bar = bar(options.json, "{bar:40} {pos}/{len} sequences");
    bar.set_length(domains.iter().map(|sequences| sequences.len() as u64).sum());
    let examined = examine(&model.spec, &model.parameters, &domains, || bar.inc(1))?;
    bar.finish_and_clear();
    let proposals = propose(&model.spec, examined.utilisation.as_ref(), &losses);
    let nothing = proposals.is_empty().then(|| nothing(&model.spec, &losses));
    let experts = experts(&model.spec, &model.report);
    let names: Vec<String> = options.text.iter().map(|path| name(path)).collect();
    if options.json {
        let domain = |name: &str, domain: &Domain, index: Option<usize>| {
            let blocks = |seen: &Utilisation| {
                (0..seen.blocks()).map(|block| seen.shares(index, block)).collect::<Vec<_>>()
            };
            let shares = examined.utilisation.as_ref().map(blocks);
            json!({ "name": name, "tokens": domain.tokens, "loss": domain.loss, "shares": shares })
        };
        let domains: Vec<Value> = names
            .iter()
            .zip(&examined.domains)
            .zip(0..)
            .map(|((name, found), index)| domain(name, found, Some(index)))
            .collect();
        let all = domain("all", &examined.overall(), None);
        println!(
            "{}",
            json!({ "experts": experts, "domains": domains, "all": all, "loss_fall": loss_fall(&losses), "proposals": proposals, "nothing": nothing })
        );
        return Ok(());
    }
    table(&names, &experts, &examined);
    for proposal in &proposals {
        println!("{}\n    {}", json!(proposal.rewrite), explain(proposal, &experts));
    }
    if let Some(nothing) = nothing {
        println!("nothing is proposed: {nothing}");
    }
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The sequences of each text: `length` tokens and the one after, fewer where the text is shorter.
fn domains(options: &ProposeOptions, model: &Model, length: usize) -> Result<Vec<Vec<Vec<u32>>>> {
    let tokenizer = model.tokenizer.as_deref();
    let tokenizer = tokenizer.with_context(|| {
        format!(
            "{} has no tokenizer; import the model again with --tokenizer FILE",
            options.model.display()
        )
    })?;
    let text = Text::parse(tokenizer)?;
    let domain = |path: &PathBuf| {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let tokens =
            text.encode(&String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_TEXT)]))?;
        ensure!(
            tokens.len() >= 2,
            "{} has no text that the model can predict; give a longer one",
            path.display()
        );
        Ok(spaced(&tokens, length, options.sequences as usize))
    };
    options.text.iter().map(domain).collect()
}

/// At most `count` pieces of `tokens`, of `length` and one more, evenly spaced; what is left at the
/// end only where there is nothing else.
fn spaced(tokens: &[u32], length: usize, count: usize) -> Vec<Vec<u32>> {
    let pieces = (tokens.len() - 1) / length;
    if pieces == 0 {
        return vec![tokens.to_vec()];
    }
    let taken = count.min(pieces);
    let starts = (0..taken).map(|index| index * pieces / taken * length);
    starts.map(|start| tokens[start..=start + length].to_vec()).collect()
}

/// The losses in a file.
fn losses(path: &Path) -> Result<Vec<f64>> {
    #[derive(Deserialize)]
    struct Summary {
        rounds: Vec<Round>,
    }
    #[derive(Deserialize)]
    struct Round {
        heldout_loss_after: Option<f64>,
    }
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
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
                "{}: '{part}' is not a loss; give numbers, one a round, or the summary that `observe --out` writes",
                path.display()
            )
        })
    };
    parts.map(loss).collect()
}

/// Why no rewrite is proposed.
fn nothing(spec: &ModelSpec, losses: &[f64]) -> String {
    let used = if spec.experts.is_some() {
        "no expert gets less than an eighth of an equal share in all blocks, or more than two equal shares on average; and "
    } else {
        "a model without experts is only to grow where its loss falls no more; and "
    };
    let loss = match loss_fall(losses) {
        Some(fall) => {
            format!(
                "the loss fell by {:.1} % from one quarter of the {} rounds to the next",
                100.0 * fall,
                losses.len()
            )
        }
        None if losses.is_empty() => {
            format!(
                "without --losses, of {LEAST_LOSSES} rounds or more, it is not known whether the loss still falls"
            )
        }
        None => format!(
            "{} losses are too few to tell whether the loss still falls, give {LEAST_LOSSES} at least",
            losses.len()
        ),
    };
    format!("{used}{loss}")
}

/// What speaks for a rewrite.
fn explain(proposal: &Proposal, experts: &[String]) -> String {
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
        Reason::Unused { share } => {
            format!(
                "{subject} gets {:.2} % of choices in the block that uses it most; an equal share is {equal:.1} %",
                100.0 * share
            )
        }
        Reason::Overused { share } => {
            format!(
                "{subject} gets {:.1} % of choices on average over blocks; an equal share is {equal:.1} %",
                100.0 * share
            )
        }
        Reason::Plateau { fall } => {
            format!(
                "the loss fell by {:.2} % from one quarter of the rounds to the next, less than half a per cent: {subject} has to grow",
                100.0 * fall
            )
        }
    }
}

/// Loss and use of experts by domain.
fn table(names: &[String], experts: &[String], examined: &Examined) {
    let width =
        names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max("domain".len());
    let header: String = experts.iter().map(|name| format!("  {name:>11}")).collect();
    println!("{:width$}  {:>9}  {:>7}{header}", "domain", "tokens", "loss");
    let overall = examined.overall();
    let rows = names
        .iter()
        .zip(&examined.domains)
        .zip(0..)
        .map(|((name, domain), index)| (name.as_str(), domain, Some(index)));
    for (name, domain, index) in rows.chain([("all", &overall, None)]) {
        let shares =
            examined.utilisation.as_ref().map(|seen| means(seen, index)).unwrap_or_default();
        let shares: String =
            shares.iter().map(|share| format!("  {:>9.1} %", 100.0 * share)).collect();
        println!(
            "{name:width$}  {:>9}  {:>7.4}{shares}",
            HumanCount(domain.tokens as u64).to_string(),
            domain.loss
        );
    }
    if !experts.is_empty() {
        println!("(shares of choices, mean over blocks)");
    }
}

/// Share of each expert in a domain, mean over blocks.
fn means(seen: &Utilisation, domain: Option<usize>) -> Vec<f64> {
    let mut sums = vec![0.0; seen.experts()];
    for block in 0..seen.blocks() {
        sums.iter_mut().zip(seen.shares(domain, block)).for_each(|(sum, share)| *sum += share);
    }
    sums.into_iter().map(|sum| sum / seen.blocks().max(1) as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_evenly() {
        let tokens: Vec<u32> = (0..21).collect();
        assert_eq!(spaced(&tokens, 5, 2), [(0..=5).collect::<Vec<_>>(), (10..=15).collect()]);
        assert_eq!(spaced(&tokens, 5, 9).len(), 4);
        for length in [20, 21] {
            assert_eq!(spaced(&tokens, length, 9).concat(), tokens);
        }
        assert_eq!(spaced(&tokens[..2], 1, 1), [vec![0, 1]]);
    }

    #[test]
    fn losses_are_read_from_numbers_and_summaries() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("losses");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            losses(&path)
        };
        assert_eq!(read("3.5\n3.25, 3\n").unwrap(), [3.5, 3.25, 3.0]);
        assert_eq!(read("[3.5, 3.25]").unwrap(), [3.5, 3.25]);
        let summary = r#"{"rounds":[{"number":1,"heldout_loss_after":2.5},{"number":2,"heldout_loss_after":null}],"chain":{}}"#;
        assert_eq!(read(summary).unwrap(), [2.5]);
        for text in ["3.5 x", "-1", "NaN", "{}"] {
            assert!(format!("{:#}", read(text).unwrap_err()).contains("is not a loss"), "{text}");
        }
    }

    #[test]
    fn why_nothing_is_proposed_is_said() {
        let dense = ModelSpec::gpt2(61, 16, 2, 4, 64, 32);
        let experts =
            ModelSpec { experts: Some(pol_primitives::model::Experts::new(4, 2)), ..dense };
        let falling: Vec<f64> = (0..16).map(|round| 4.0 - 0.1 * f64::from(round)).collect();
        for (spec, losses, says) in [
            (&dense, &falling[..], "a model without experts is only to grow"),
            (&dense, &falling[..], "the loss fell by 13."),
            (&dense, &[], "without --losses, of 16 rounds or more"),
            (&experts, &falling[..15], "no expert gets less"),
            (&experts, &falling[..15], "15 losses are too few"),
        ] {
            let said = nothing(spec, losses);
            assert!(said.contains(says), "{said}");
        }
    }
}
