//! Replays the model's history and compares its hash with the chain's.

use crate::{
    cli::{SwarmOptions, VerifyOptions},
    failure::Failure,
    model::{apply, included_updates, initial_model},
    peer::{Peer, short},
    state::StateFolder,
};
use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use pol_chain::Chain;
use pol_primitives::head::Head;
use serde_json::json;

pub async fn run(options: VerifyOptions) -> Result<()> {
    let scratch = tempfile::tempdir().context("a temporary folder for payloads")?;
    let chain = Chain::connect(&options.node.url).await?;
    let peer = Peer::start(chain, &SwarmOptions::fetching(), StateFolder::open(scratch.path())?).await?;
    let outcome = verify(&peer, options.json).await;
    peer.swarm.clone().shutdown().await?;
    outcome
}

async fn verify(peer: &Peer, as_json: bool) -> Result<()> {
    let overview = peer.chain.overview().await?;
    let head = overview.head.context("the chain has no model yet")?;
    let recipe = peer.chain.recipe().await?.context("the chain has no recipe")?;
    let bar = ProgressBar::new(head.round.into()).with_style(ProgressStyle::with_template("{bar:40} round {pos}/{len} {msg}")?);
    let mut model = initial_model(&recipe).await?;
    let mut rebuilt: Option<Head> = None;
    let mut updates = 0;
    for round in 0..=head.round {
        bar.set_position(round.into());
        let Some(record) = peer.chain.round_record(round).await? else { bail!("the chain has no record of round {round}") };
        let Some(made) = record.head else { continue };
        if made.recipe_hash != recipe.hash() {
            bail!(
                "round {round} was trained by recipe {}, which is not the one in force; it cannot be replayed from here",
                short(&made.recipe_hash)
            );
        }
        let mut parts = Vec::new();
        if rebuilt.is_some() {
            let included = included_updates(peer, &recipe, round, &record).await.map_err(Failure::into_inner)?;
            parts = included.iter().map(|included| included.update).collect();
            updates += included.len();
            model = apply(&recipe, &model, included).await.map_err(Failure::into_inner)?;
        }
        let next = Head::next(rebuilt.as_ref(), round, model.root, recipe.hash(), &parts);
        if next != made {
            bail!("round {round}: the replay gives {} and the chain says {}", describe(&next), describe(&made));
        }
        rebuilt = Some(next);
    }
    bar.finish_and_clear();
    if rebuilt != Some(head) {
        bail!("the records of rounds do not lead to the head");
    }
    if as_json {
        println!(
            "{}",
            json!({ "round": head.round, "root": format!("0x{}", hex::encode(head.root)), "updates": updates, "tokens": head.tokens })
        );
    } else {
        println!("replayed {updates} updates over {} rounds: root 0x{}, as on chain", head.round, hex::encode(head.root));
    }
    Ok(())
}

fn describe(head: &Head) -> String {
    format!("root {}, {} tokens, lineage {}", short(&head.root), head.tokens, short(&head.lineage_hash))
}
