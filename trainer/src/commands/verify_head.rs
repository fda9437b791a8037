// SPDX-License-Identifier: Apache-2.0

//! Replays the model's history and compares its hash with the chain's.

use crate::{
    context::{NodeContext, Undelivered},
    display::short_hash,
    error::RoleError,
    model::{BaseModel, GlobalModel, initial_model, replay_round},
    options::{NodeOptions, SwarmOptions},
    state::StateFolder,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use pol_primitives::{RoundNumber, head::Head};
use serde_json::json;

const EXAMPLES: &str = "\
Fetches the payload of every included update from members, applies the updates in their order, and \
compares each round's head with the chain's. Exits with code 1 at the first difference.

Examples:
  pol-trainer verify-head                              verify a local node's chain
  pol-trainer verify-head --node ws://host:9944 --json print the result as JSON";

/// Options of `verify-head`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    node: NodeOptions,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies the chain's head and prints the result.
pub(crate) async fn run(options: VerifyOptions) -> Result<()> {
    let scratch = tempfile::tempdir().context("cannot make a temporary folder for payloads")?;
    let chain = options.node.connect().await?;
    let state = StateFolder::open(scratch.path())?;
    let context = NodeContext::start(chain, &SwarmOptions::fetch_only(), state).await?;
    let outcome = verify(&context).await;
    context.swarm.clone().shutdown().await?;
    outcome?.print(options.json);
    Ok(())
}

/// Result of a replay that ended in the chain's head.
struct VerifiedHead {
    head: Head,
    updates: usize,
    excised: usize,
}

/// Replays all rounds up to the chain's head.
async fn verify(context: &NodeContext) -> Result<VerifiedHead> {
    let overview = context.chain.overview().await?;
    let head = overview.head.context("the chain has no model yet")?;
    let bar = ProgressBar::new(head.round.into())
        .with_style(ProgressStyle::with_template("{bar:40} round {pos}/{len} {msg}")?);
    let mut replayed: Option<(Head, GlobalModel)> = None;
    let (mut updates, mut excised) = (0, 0);
    for round in 0..=head.round {
        bar.set_position(round.into());
        let Some(record) = context.chain.round_record(round).await? else {
            bail!(
                "the chain has no record of round {round}: it forgets rounds after a time, and \
                 only a model all of whose rounds it knows can be replayed"
            )
        };
        let Some(on_chain) = record.head else { continue };
        let (previous, model, included) = match replayed {
            None => {
                let recipe = context.recipe(&on_chain.recipe_hash).await;
                let recipe = recipe.map_err(RoleError::into_inner)?;
                let model = initial_model(context, &recipe).await.map_err(RoleError::into_inner)?;
                (None, model, Vec::new())
            }
            Some((previous, model)) => {
                let base = BaseModel::Memory(model);
                let replayed = replay_round(context, &previous, &base, &record, &on_chain).await;
                let (model, included) = replayed.map_err(|error| cannot_replay(round, error))?;
                (Some(previous), model, included)
            }
        };
        (updates, excised) = (updates + included.len(), excised + record.excised.len());
        let next = Head::next(
            previous.as_ref(),
            round,
            model.root,
            on_chain.recipe_hash,
            &included,
            &record.excised,
        );
        if next != on_chain {
            bail!(
                "round {round}: the replay gives {} but the chain has {}",
                describe(&next),
                describe(&on_chain)
            );
        }
        replayed = Some((next, model));
    }
    bar.finish_and_clear();
    if replayed.map(|(last, _)| last) != Some(head) {
        bail!("the records of the rounds do not lead to the head");
    }
    Ok(VerifiedHead { head, updates, excised })
}

/// Returns the error of a round whose replay failed with `error`, with the remedy.
fn cannot_replay(round: RoundNumber, error: RoleError) -> anyhow::Error {
    let error = error.into_inner();
    let is_pruned = error.is::<Undelivered>();
    let error = error.context(format!("round {round} cannot be replayed"));
    if !is_pruned {
        return error;
    }
    error.context(
        "a payload is on no member that was reached: members keep those of the last rounds only, \
         and the whole history takes one that runs with --archive",
    )
}

impl VerifiedHead {
    fn print(&self, as_json: bool) {
        let Self { head, updates, excised } = self;
        let root = format!("0x{}", hex::encode(head.root));
        if as_json {
            println!(
                "{}",
                json!({
                    "round": head.round, "root": root, "updates": updates, "excised": excised,
                    "tokens": head.tokens,
                })
            );
        } else {
            println!(
                "replayed {updates} updates of {} rounds, {excised} of them excised: root {root}, \
                 as on chain",
                head.round
            );
        }
    }
}

fn describe(head: &Head) -> String {
    format!(
        "root {}, {} tokens, lineage {}",
        short_hash(&head.root),
        head.tokens,
        short_hash(&head.lineage_hash)
    )
}
