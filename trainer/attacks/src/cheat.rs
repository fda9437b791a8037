// SPDX-License-Identifier: Apache-2.0

//! A trainer that cheats on a network which others run, and tells what becomes of it.

use crate::cheating::{Cheat, CheatingStrategy};
use anyhow::{Context, Result};
use clap::{Args, Parser};
use futures::StreamExt;
use pol_chain::{AccountId, BlockInfo, Chain, ChainEvent, Signer};
use pol_primitives::submission::Outcome;
use pol_trainer::{cli, commands, display::format_amount, options::dev_uri, roles};
use std::{future::pending, path::PathBuf, pin::pin, sync::Arc};

/// Options of `cheat`.
#[derive(Args)]
pub(crate) struct CheatOptions {
    /// Way of cheating.
    #[arg(long, value_enum, default_value = "noise-payload")]
    way: Cheat,
    /// WebSocket address of a node of a development chain.
    #[arg(long, value_name = "URL", env = "POL_NODE", default_value = "ws://127.0.0.1:9944")]
    node: String,
    /// Development account of the cheat, such as eve.
    #[arg(long, value_name = "NAME")]
    dev_account: String,
    /// Size of a lease.
    #[arg(long, value_name = "TIER", default_value = "miner")]
    tier: String,
    /// Folder of the state.
    #[arg(long, value_name = "DIR")]
    base_path: PathBuf,
}

/// Takes part as the released program would, with a cheating strategy. Prints what the chain makes
/// of it, until interrupted.
pub(crate) async fn run(options: CheatOptions) -> Result<()> {
    let account = Signer::from_uri(&dev_uri(&options.dev_account)?)?.account();
    let path = options.base_path.to_str().context("--base-path is not valid UTF-8")?;
    #[rustfmt::skip]
    let arguments = [
        "pol-trainer", "--node", &options.node, "--dev-account", &options.dev_account,
        "--tier", &options.tier, "--workers", "1", "--base-path", path,
    ];
    let member = cli::Cli::try_parse_from(arguments)?.run;
    // Text and shards are for other ways of cheating.
    let strategy = CheatingStrategy { cheat: options.way, held_out: Arc::default(), shards: 0 };
    let cheat = async {
        if let Err(error) = commands::run::run(member, strategy).await {
            println!("the cheat has left: {error:#}");
        }
        // There may be more to tell of its updates.
        pending().await
    };
    tokio::select! {
        () = cheat => Ok(()),
        told = tell(&options.node, account) => told,
        () = roles::shutdown_signal() => Ok(()),
    }
}

/// Prints what each block from now on has about `account`.
async fn tell(node: &str, account: AccountId) -> Result<()> {
    let chain = Chain::connect(node).await?;
    let mut blocks = pin!(chain.blocks().await?);
    let mut next = None;
    while let Some(best) = blocks.next().await {
        for number in next.unwrap_or(best.number)..=best.number {
            let Some(hash) = chain.block_hash(number).await? else { continue };
            let content = chain.block_content(BlockInfo { number, hash }).await?;
            for event in content.events {
                if let Some(line) = line_of(&event.event, &account) {
                    println!("block {number}: {line}");
                }
            }
        }
        next = Some(best.number.saturating_add(1));
    }
    Ok(())
}

/// Returns the line of an event about `account`.
fn line_of(event: &ChainEvent, account: &AccountId) -> Option<String> {
    match event {
        ChainEvent::Revealed { account: who, round, .. } if who == account => {
            Some(format!("its update of round {round} is revealed"))
        }
        ChainEvent::Settled { audit, account: who, round, outcome, .. } if who == account => {
            Some(format!("audit {audit}: its update of round {round} {}", finding(*outcome)))
        }
        ChainEvent::Slashed { who, amount } | ChainEvent::Seized { who, amount, .. }
            if who == account =>
        {
            Some(format!("{} of its bond are slashed", format_amount(*amount)))
        }
        ChainEvent::Forfeited { who, amount, .. } if who == account => {
            Some(format!("{} of its rewards in escrow are forfeited", format_amount(*amount)))
        }
        _ => None,
    }
}

/// Returns what an audit found, and why.
fn finding(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Valid => "is valid: no segment that was drawn is false",
        Outcome::Invalid => {
            "is invalid, since validators who replayed it got another result; it is taken out of \
             the model"
        }
        Outcome::Withheld => "is taken out of the model, since its states were not shown",
        Outcome::Unresolved => "is taken out of the model, since no quorum agreed",
        Outcome::Tainted => "is taken out of the model, with one that it continued",
        Outcome::NoShow => "was never revealed",
        Outcome::Excluded => "was left out of the model",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::POL;

    #[test]
    fn only_its_own_fate_is_told() {
        let (account, other) = ([7; 32], [8; 32]);
        let slashed = |who| ChainEvent::Slashed { who, amount: 900 * POL };
        assert_eq!(
            line_of(&slashed(account), &account),
            Some("900 POL of its bond are slashed".to_owned())
        );
        assert_eq!(line_of(&slashed(other), &account), None);
        let outcome = Outcome::Invalid;
        let settled = ChainEvent::Settled { audit: 1, account, round: 2, outcome, score: 0 };
        let line = line_of(&settled, &account).unwrap();
        assert!(line.starts_with("audit 1: its update of round 2 is invalid"), "{line}");
    }
}
