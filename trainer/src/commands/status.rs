//! The network at a glance.

use crate::{
    cli::StatusOptions,
    commands::money::Money,
    peer::{name, short},
};
use anyhow::Result;
use futures::StreamExt;
use pol_chain::{Chain, format_account};
use pol_primitives::POL;
use serde_json::json;
use std::pin::pin;

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
        println!("  {} {} with {bond} POL{note}", format_account(&member.account), name(member.role));
    }
    Ok(())
}
