// SPDX-License-Identifier: Apache-2.0

//! Recipes: made for a folder of data, shown, and set by governance.

use super::{
    audit_lengths::{self, AuditLengthsOptions, AuditedModel, too_short},
    exact,
    governance::{Outcome, decide, govern},
};
use crate::{
    files::{MAX_TEXT, read_limited},
    options::{KeyOptions, NodeOptions},
    preset::{FINE_TUNING_DIVISOR, Preset},
};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use pol_chain::{Call, Chain};
use pol_data::IngestRecord;
use pol_engine::ARITHMETIC;
use pol_import::describe;
use pol_primitives::{
    audit::AuditConfig, model::ModelSpec, recipe::Recipe, rewrite::Rewrite, round::RoundConfig,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

const NEW_EXAMPLES: &str = "\
Examples:
  pol-trainer recipe new --data data --out recipe.json
      a small model that learns within minutes
  pol-trainer recipe new --data data --preset fine-tune --model smollm2 --out recipe.json
      start from an imported model
  pol-trainer recipe new --data data --tolerance 2000
      let members train with the fastest kernels; print the recipe";

const SHOW_EXAMPLES: &str = "\
Examples:
  pol-trainer recipe show > recipe.json    change it, and propose it with `recipe set`
  pol-trainer recipe show --own-arithmetic > recipe.json
      the same once all members have a version of this program that computes other bits";

const SET_EXAMPLES: &str = "\
Examples:
  pol-trainer recipe set recipe.json --dev-account alice
      on a dev chain, where alice decides
  pol-trainer recipe set recipe.json --key-file authority.json
      propose it to the council, or vote for it if another authority has proposed the same file

The first recipe defines the model. A later one that changes the architecture needs a rewrite: see
`recipe rewrite`. It is in force from the next round on, and leases of the recipe before end without
a penalty.

A recipe names the held-out text that models are measured on. Have that text admitted first, by
`data register` and `data admit`: a recipe whose text is not admitted is refused. The first recipe
of a chain, and one that changes the tokenizer or the length of shards, come before their data.
Models are then not measured until the text is admitted.";

const LENGTHS_EXAMPLES: &str = "\
Examples:
  pol-trainer recipe lengths --dev-account alice \\
      '{\"join\":2,\"train\":20,\"reveal\":8,\"hold\":8,\"attest\":20,\"pause\":5,
        \"missed\":3}'";

const AUDITS_EXAMPLES: &str = "\
Examples:
  pol-trainer recipe audits --dev-account alice \\
      '{\"seats\":3,\"more_seats\":16,\"segments\":1,\"probe\":4,\"mix\":8,\"serve\":100,
        \"replay\":200,\"open\":20,\"reveal\":20,\"escrow\":2}'";

const REWRITES: &str = r#"A rewrite changes all blocks alike and keeps what the model computes:
  '{"upcycle":{"experts":{"count":5,"active":2,"balance":10000,"z":1000}}}'
      turn feed-forward layers into experts, two of them for each token; balance and z weigh two
      terms of the loss, in millionths
  '{"add_expert":{"like":0}}'      add an expert: a copy of another, with a router of its own
  '{"split_expert":{"expert":0}}'  add an expert: a copy of another, with a copy of its router
  '{"prune_expert":{"expert":4}}'  remove an expert; only tokens that went to it are computed
                                   differently
  '{"insert_block":{"at":1}}'      insert a block after this many others
  '{"widen":{"feed_forward":640}}' widen the feed-forward layers

Once it is set, the next round trains nothing: each member rewrites the model for itself, and
validators attest the result. Leases given before end without a penalty, and trainers go on with a
fresh optimiser. Until then, setting another recipe withdraws the rewrite.

Examples:
  pol-trainer recipe rewrite '{"insert_block":{"at":1}}'
      show what it would change
  pol-trainer recipe rewrite '{"insert_block":{"at":1}}' --set --dev-account alice
      have the network carry it out
  pol-trainer recipe rewrite '{"insert_block":{"at":1}}' --out next.json
  pol-trainer recipe set next.json --key-file key.json
      the same, with a look at the recipe in between"#;

/// Subcommands of `recipe`.
#[derive(Subcommand)]
pub(crate) enum RecipeCommand {
    /// Write a recipe for an ingested folder.
    New(NewOptions),
    /// Print the recipe in force.
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        #[command(flatten)]
        node: NodeOptions,
        /// Name the arithmetic of this program in place of the one in force.
        #[arg(long)]
        own_arithmetic: bool,
    },
    /// Set the recipe as governance: on a dev chain alice, elsewhere two thirds of the authorities.
    #[command(after_help = SET_EXAMPLES)]
    Set {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// File made by `recipe new`.
        file: PathBuf,
    },
    /// Make a recipe that rewrites the network's model, and show what changes.
    Rewrite(RewriteOptions),
    /// Set the lengths of a round's phases, in blocks, as governance.
    #[command(after_help = LENGTHS_EXAMPLES)]
    Lengths {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// JSON object with join, train, reveal, hold, attest, pause and missed, in blocks.
        json: String,
    },
    /// Find lengths of audits' stages that suit the model and its members, or set them.
    AuditLengths(AuditLengthsOptions),
    /// Set the size and the deadlines of audits, as governance.
    #[command(after_help = AUDITS_EXAMPLES)]
    Audits {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// JSON object with seats, more_seats, segments and probe as counts; mix, serve, replay,
        /// open and reveal in blocks; escrow in rounds.
        json: String,
    },
}

/// Options of `recipe new`.
#[derive(Args)]
#[command(after_help = NEW_EXAMPLES)]
pub(crate) struct NewOptions {
    /// Folder made by `data ingest`.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Size of the model and of leases.
    #[arg(long, value_enum, default_value = "demo")]
    preset: Preset,
    /// Folder made by `model import`: start from its parameters instead of from random ones. The
    /// preset then decides about leases only.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Largest difference between replays, in millionths of the change that a segment makes. It
    /// selects the native numerics profile, under which members may train with the fastest kernels.
    /// `pol-trainer calibrate` measures it. [default: replays have to be equal to the bit]
    #[arg(long, value_name = "MILLIONTHS")]
    tolerance: Option<u32>,
    /// File to write. [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Options of `recipe rewrite`.
#[derive(Args)]
#[command(after_help = REWRITES)]
pub(crate) struct RewriteOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
    /// The rewrite.
    #[arg(value_name = "JSON", value_parser = parse_rewrite)]
    rewrite: Rewrite,
    /// File to write the recipe to.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Set the recipe, as governance.
    #[arg(long)]
    set: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Parses a rewrite in JSON.
pub(crate) fn parse_rewrite(text: &str) -> Result<Rewrite, String> {
    serde_json::from_str(text).map_err(|error| {
        format!(r#"a rewrite is JSON such as {{"insert_block":{{"at":1}}}}: {error}"#)
    })
}

/// Runs a subcommand of `recipe`.
pub(crate) async fn run(command: RecipeCommand) -> Result<()> {
    match command {
        RecipeCommand::New(options) => new(&options),
        RecipeCommand::Show { node, own_arithmetic } => show(&node, own_arithmetic).await,
        RecipeCommand::Set { node, key, file } => set(&node, &key, &file).await,
        RecipeCommand::Rewrite(options) => rewrite(options).await,
        RecipeCommand::Lengths { node, key, json } => set_lengths(&node, &key, &json).await,
        RecipeCommand::AuditLengths(options) => audit_lengths::run(&options).await,
        RecipeCommand::Audits { node, key, json } => set_audits(&node, &key, &json).await,
    }
}

/// Makes a recipe for a folder of data.
fn new(options: &NewOptions) -> Result<()> {
    let data = IngestRecord::read(&options.data)?;
    let mut recipe = options.preset.sizes(&data).recipe(data.tokenizer);
    recipe.held_out = (data.held_out.shards > 0).then_some(data.held_out.content_hash);
    if let Some(folder) = &options.model {
        start_from(&mut recipe, &data, folder)?;
    }
    if let Some(tolerance) = options.tolerance {
        recipe = recipe.into_native(tolerance);
    }
    recipe.validate()?;
    let json = serde_json::to_string_pretty(&recipe)?;
    match &options.out {
        Some(path) => {
            std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?
        }
        None => println!("{json}"),
    }
    Ok(())
}

/// Makes `recipe` start from the imported model in `folder` instead of from random parameters.
fn start_from(recipe: &mut Recipe, data: &IngestRecord, folder: &Path) -> Result<()> {
    let (spec, report) = describe(folder)?;
    let tokenizer = report.tokenizer.as_ref().with_context(|| {
        format!("{} has no tokenizer, so no text can be made for it", folder.display())
    })?;
    ensure!(
        tokenizer.hash == data.tokenizer,
        "the data was made with another tokenizer than the model's; ingest it again with \
         --tokenizer {}",
        folder.join(pol_data::TOKENIZER_FILE).display()
    );
    ensure!(
        u32::from(data.sequence) <= spec.context,
        "sequences of {} tokens are longer than the model's context of {}; ingest the data again \
         with a smaller --sequence",
        data.sequence,
        spec.context
    );
    (recipe.model, recipe.pretrained) = (spec, Some(report.root));
    recipe.schedule.peak /= FINE_TUNING_DIVISOR;
    Ok(())
}

/// Prints the recipe in force, with the arithmetic of this program if `own_arithmetic` is set.
async fn show(node: &NodeOptions, own_arithmetic: bool) -> Result<()> {
    let chain = node.connect().await?;
    let mut recipe = chain.recipe().await?.context("the chain has no recipe yet")?;
    if own_arithmetic {
        recipe.arithmetic = Some(ARITHMETIC);
        recipe.validate()?;
    }
    println!("{}", serde_json::to_string_pretty(&recipe)?);
    Ok(())
}

/// Sets the recipe in a file.
async fn set(node: &NodeOptions, key: &KeyOptions, file: &Path) -> Result<()> {
    let json = read_limited(file, MAX_TEXT).with_context(|| file.display().to_string())?;
    let recipe: Recipe =
        exact::parse(&json).with_context(|| format!("{} is not a recipe", file.display()))?;
    recipe.validate().with_context(|| file.display().to_string())?;
    let (signer, chain) = (key.signer()?, node.connect().await?);
    warn_of_short_audits(&chain, &recipe, &chain.audit_config().await?).await?;
    let done = format!("recipe 0x{} is set", hex::encode(recipe.hash()));
    println!("{}", govern(&chain, &signer, Call::SetRecipe(recipe.into())).await?.describe(&done));
    Ok(())
}

/// Sets the lengths of a round's phases.
async fn set_lengths(node: &NodeOptions, key: &KeyOptions, json: &str) -> Result<()> {
    let lengths: RoundConfig = exact::parse(json.as_bytes()).context(
        "lengths are a JSON object with join, train, reveal, hold, attest, pause and missed, in \
         blocks",
    )?;
    decide(node, key, Call::SetLengths(lengths), "lengths are set").await
}

/// Sets the size and the deadlines of audits.
async fn set_audits(node: &NodeOptions, key: &KeyOptions, json: &str) -> Result<()> {
    let config: AuditConfig = exact::parse(json.as_bytes()).context(
        "audits are a JSON object with seats, more_seats, segments, probe, and mix, serve, replay, \
         open, reveal in blocks, escrow in rounds",
    )?;
    let (signer, chain) = (key.signer()?, node.connect().await?);
    if let Some(recipe) = chain.recipe().await? {
        warn_of_short_audits(&chain, &recipe, &config).await?;
    }
    let outcome = govern(&chain, &signer, Call::SetAudits(config)).await?;
    println!("{}", outcome.describe("audits are set"));
    Ok(())
}

/// Says it if audits are too short for the model of `recipe`.
async fn warn_of_short_audits(chain: &Chain, recipe: &Recipe, audits: &AuditConfig) -> Result<()> {
    let model = AuditedModel::new(recipe, audits);
    if let Some(reason) = too_short(audits, &model, chain.block_time().await?) {
        eprintln!("warning: {reason}");
    }
    Ok(())
}

/// Makes a recipe that rewrites the network's model. Writes it, sets it, and shows the changes.
async fn rewrite(options: RewriteOptions) -> Result<()> {
    let chain = options.node.connect().await?;
    let (before, recipe) = rewritten_recipe(&chain, options.rewrite).await?;
    if let Some(path) = &options.out {
        let json = serde_json::to_string_pretty(&recipe)?;
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    let outcome = match options.set {
        true => {
            let signer = options.key.signer()?;
            Some(govern(&chain, &signer, Call::SetRecipe(recipe.clone().into())).await?)
        }
        false => None,
    };
    print_changes(&before, &recipe, outcome, options.json)
}

/// Returns the recipe that made the network's model, and the recipe in force with `rewrite` of that
/// model.
async fn rewritten_recipe(chain: &Chain, rewrite: Rewrite) -> Result<(Recipe, Recipe)> {
    let head = chain
        .overview()
        .await?
        .head
        .context("the chain has no model yet; set a recipe of the architecture you want")?;
    let before = chain
        .recipe_by_hash(&head.recipe_hash)
        .await?
        .context("the node does not know the recipe of the model")?;
    let in_force = chain.recipe().await?.context("the chain has no recipe yet")?;
    let recipe =
        Recipe { model: rewrite.apply(&before.model)?, rewrite: Some(rewrite), ..in_force };
    recipe.validate()?;
    Ok((before, recipe))
}

/// Prints what `recipe` changes in the model that `before` made.
fn print_changes(
    before: &Recipe,
    recipe: &Recipe,
    outcome: Option<Outcome>,
    as_json: bool,
) -> Result<()> {
    let changes = changed_fields(&before.model, &recipe.model)?;
    let hash = format!("0x{}", hex::encode(recipe.hash()));
    let parameters = [before.model.size(), recipe.model.size()];
    if as_json {
        println!(
            "{}",
            json!({
                "hash": hash,
                "set": outcome.as_ref().is_some_and(Outcome::is_in_force),
                "changes": changes,
                "parameters": parameters,
                "recipe": recipe,
            })
        );
        return Ok(());
    }
    for (name, [from, to]) in &changes {
        println!("{name}: {from} to {to}");
    }
    let [from, to] = parameters;
    println!("parameters: {from} to {to}");
    match outcome {
        Some(outcome) => {
            let done = format!("recipe {hash} is set: the next round rewrites the model");
            println!("{}", outcome.describe(&done));
        }
        None => println!("recipe {hash} is not set; --set does that"),
    }
    Ok(())
}

/// Returns the fields in which two architectures differ, with both values.
fn changed_fields(before: &ModelSpec, after: &ModelSpec) -> Result<BTreeMap<String, [Value; 2]>> {
    let [before, after] = [before, after].map(serde_json::to_value);
    let (before, after) = (before?, after?);
    let fields = after.as_object().into_iter().flatten();
    let both = fields.map(|(name, to)| (name.clone(), [before[name].clone(), to.clone()]));
    Ok(both.filter(|(_, [from, to])| from != to).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::model::Experts;

    #[test]
    fn changes_of_a_rewrite_are_shown() {
        let before = ModelSpec::gpt2(99, 12, 3, 3, 24, 8);
        let changed =
            |rewrite: Rewrite| changed_fields(&before, &rewrite.apply(&before).unwrap()).unwrap();
        assert_eq!(
            changed(Rewrite::InsertBlock { at: 1 }),
            BTreeMap::from([("layers".into(), [json!(3), json!(4)])])
        );
        let upcycled = changed(Rewrite::Upcycle { experts: Experts::new(5, 2) });
        assert_eq!((upcycled.len(), &upcycled["experts"][1]["count"]), (1, &json!(5)));
    }

    #[test]
    fn rewrites_are_parsed_as_the_help_prints_them() {
        let printed =
            REWRITES.lines().filter_map(|line| line.trim().strip_prefix('\'')?.split_once('\''));
        let read: Vec<_> = printed.map(|(json, _)| parse_rewrite(json).unwrap()).collect();
        assert_eq!((read.len(), read[4]), (6, Rewrite::InsertBlock { at: 1 }));
        assert_eq!(read[0], Rewrite::Upcycle { experts: Experts::new(5, 2) });
        for text in ["", "insert_block", "{\"insert_block\":1}", "{\"shrink\":{}}"] {
            assert!(parse_rewrite(text).unwrap_err().contains("such as"), "{text}");
        }
    }
}
