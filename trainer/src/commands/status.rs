//! The network at a glance.

use crate::{
    cli::StatusOptions,
    commands::money::Money,
    peer::{name, short},
    roles::measurer::describe,
};
use anyhow::Result;
use futures::StreamExt;
use pol_chain::{AccountId, Chain, format_account};
use pol_primitives::{
    MILLION, POL, RoundNumber,
    metrics::{ClaimedMetrics, MeasuredHead},
    view::Overview,
};
use serde_json::json;
use std::{collections::BTreeSet, pin::pin};

/// Rounds that are looked through for the newest measured head.
const LOOK_BACK: RoundNumber = 8;

pub async fn run(options: StatusOptions) -> Result<()> {
    let chain = Chain::connect(&options.node.url).await?;
    print(&chain, options.json).await?;
    if options.watch {
        let mut blocks = pin!(chain.blocks().await?);
        while blocks.next().await.is_some() {
            print(&chain, options.json).await?;
        }
    }
    Ok(())
}

async fn print(chain: &Chain, as_json: bool) -> Result<()> {
    let (overview, members) = (chain.overview().await?, chain.members().await?);
    let finalised = chain.finalised().await?;
    let (round, head) = (&overview.round, &overview.head);
    let (audits, money) = (chain.audits().await?, Money::of(chain).await?);
    let (measured, claims) =
        (last_measured(chain, &overview).await?, claims(chain, &overview).await?);
    if as_json {
        let members: Vec<_> = members
            .iter()
            .map(|member| {
                json!({
                    "account": format_account(&member.account),
                    "role": member.role,
                    "bond": member.bond.to_string(),
                    "chilled": member.chilled,
                    "reachable": member.endpoint.is_some(),
                })
            })
            .collect();
        println!(
            "{}",
            json!({
                "best": overview.now, "finalised": finalised.number, "round": round.number, "phase": round.phase, "due": round.due,
                "committed": round.committed, "revealed": round.revealed, "deadline": round.deadline, "head": head,
                "freeShards": overview.free_shards, "members": members, "rewards": money,
                "measured": measured.map(|(round, found)| {
                    json!({ "round": round, "share": found.share, "metrics": found.metrics.shown() })
                }),
                "claims": claims
                    .iter()
                    .map(|(account, claimed, off)| {
                        json!({
                            "account": format_account(account), "round": claimed.round, "metrics": claimed.metrics.shown(), "off": off,
                        })
                    })
                    .collect::<Vec<_>>(),
                "audits": audits
                    .iter()
                    .map(|(id, audit)| {
                        let settled = audit.cases.iter().filter(|case| case.settled).count();
                        json!({
                            "id": id, "round": audit.round, "draw": audit.draw, "stage": audit.stage, "updates": audit.cases.len(),
                            "settled": settled,
                        })
                    })
                    .collect::<Vec<_>>(),
            })
        );
        return Ok(());
    }
    let model = head.as_ref().map_or("no model yet".into(), |head| {
        format!("model {} of round {}, {} tokens", short(&head.root), head.round, head.tokens)
    });
    println!(
        "block {} (finalised {}) | round {} {:?}: {} due, {} committed, {} revealed | {model} | {} free shards",
        overview.now,
        finalised.number,
        round.number,
        round.phase,
        round.due,
        round.committed,
        round.revealed,
        overview.free_shards
    );
    for (id, audit) in &audits {
        let settled = audit.cases.iter().filter(|case| case.settled).count();
        let draw = if audit.draw > 0 { ", second draw" } else { "" };
        println!(
            "audit {id} of round {}{draw}: {:?}, {settled} of {} updates settled",
            audit.round,
            audit.stage,
            audit.cases.len()
        );
    }
    if let Some((round, MeasuredHead { metrics, share })) = &measured {
        let share = f64::from(*share) * 100.0 / f64::from(MILLION);
        println!("model of round {round} by {share:.0} % of the stake: {}", describe(metrics));
    }
    for (account, claimed, _) in claims.iter().filter(|(_, _, off)| *off == Some(true)) {
        println!(
            "  {} claims otherwise of round {}: {}",
            format_account(account),
            claimed.round,
            describe(&claimed.metrics)
        );
    }
    println!("{money}");
    for member in &members {
        let bond = member.bond / POL;
        let note = if member.chilled {
            ", set aside"
        } else if member.endpoint.is_none() {
            ", not reachable"
        } else {
            ""
        };
        println!(
            "  {} {} with {bond} POL{note}",
            format_account(&member.account),
            name(member.role)
        );
    }
    Ok(())
}

/// The newest of the last heads that validators have measured, and what they found.
async fn last_measured(
    chain: &Chain,
    overview: &Overview<AccountId>,
) -> Result<Option<(RoundNumber, MeasuredHead)>> {
    let Some(head) = &overview.head else { return Ok(None) };
    for round in (head.round.saturating_sub(LOOK_BACK)..=head.round).rev() {
        if let Some(measured) = chain.measured(round).await? {
            return Ok(Some((round, measured)));
        }
    }
    Ok(None)
}

/// What trainers of this round and of the newest head claim of the heads that they started from,
/// and whether that is off from what validators found; none where they have not yet.
async fn claims(
    chain: &Chain,
    overview: &Overview<AccountId>,
) -> Result<Vec<(AccountId, ClaimedMetrics, Option<bool>)>> {
    let rounds: BTreeSet<_> =
        overview.head.map(|head| head.round).into_iter().chain([overview.round.number]).collect();
    let mut claims = Vec::new();
    for round in rounds {
        for (account, submission) in chain.submissions(round).await? {
            let Some(claimed) = submission.claims.metrics else { continue };
            claims.push((account, claimed, is_off(chain, &claimed).await?));
        }
    }
    Ok(claims)
}

async fn is_off(chain: &Chain, claimed: &ClaimedMetrics) -> Result<Option<bool>> {
    let (measured, record) =
        (chain.measured(claimed.round).await?, chain.round_record(claimed.round).await?);
    let (Some(measured), Some(head)) = (measured, record.and_then(|record| record.head)) else {
        return Ok(None);
    };
    let recipe = chain.recipe_by_hash(&head.recipe_hash).await?;
    Ok(recipe.map(|recipe| claimed.metrics.is_off(&measured.metrics, recipe.numerics)))
}
