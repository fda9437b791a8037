//! Replays the model's history and compares its hash with the chain's.

use crate::{
    cli::{SwarmOptions, VerifyOptions},
    failure::Failure,
    model::{Model, initial_model, replay_round},
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
    let peer =
        Peer::start(chain, &SwarmOptions::fetching(), StateFolder::open(scratch.path())?).await?;
    let outcome = verify(&peer, options.json).await;
    peer.swarm.clone().shutdown().await?;
    outcome
}

async fn verify(peer: &Peer, as_json: bool) -> Result<()> {
    let overview = peer.chain.overview().await?;
    let head = overview.head.context("the chain has no model yet")?;
    let bar = ProgressBar::new(head.round.into())
        .with_style(ProgressStyle::with_template("{bar:40} round {pos}/{len} {msg}")?);
    let mut rebuilt: Option<(Head, Model)> = None;
    let (mut updates, mut excised) = (0, 0);
    for round in 0..=head.round {
        bar.set_position(round.into());
        let Some(record) = peer.chain.round_record(round).await? else {
            bail!("the chain has no record of round {round}")
        };
        let Some(made) = record.head else { continue };
        let (previous, model, parts) = match rebuilt {
            None => {
                let recipe = peer.recipe(&made.recipe_hash).await.map_err(Failure::into_inner)?;
                (None, initial_model(peer, &recipe).await.map_err(Failure::into_inner)?, Vec::new())
            }
            Some((previous, model)) => {
                let (model, parts) = replay_round(peer, &previous, &model, &record, &made)
                    .await
                    .map_err(Failure::into_inner)?;
                (Some(previous), model, parts)
            }
        };
        (updates, excised) = (updates + parts.len(), excised + record.excised.len());
        let next = Head::next(
            previous.as_ref(),
            round,
            model.root,
            made.recipe_hash,
            &parts,
            &record.excised,
        );
        if next != made {
            bail!(
                "round {round}: the replay gives {} and the chain says {}",
                describe(&next),
                describe(&made)
            );
        }
        rebuilt = Some((next, model));
    }
    bar.finish_and_clear();
    if rebuilt.map(|(rebuilt, _)| rebuilt) != Some(head) {
        bail!("the records of rounds do not lead to the head");
    }
    if as_json {
        println!(
            "{}",
            json!({
                "round": head.round, "root": format!("0x{}", hex::encode(head.root)), "updates": updates, "excised": excised,
                "tokens": head.tokens,
            })
        );
    } else {
        println!(
            "replayed {updates} updates over {} rounds, {excised} taken out again: root 0x{}, as on chain",
            head.round,
            hex::encode(head.root)
        );
    }
    Ok(())
}

fn describe(head: &Head) -> String {
    format!(
        "root {}, {} tokens, lineage {}",
        short(&head.root),
        head.tokens,
        short(&head.lineage_hash)
    )
}
