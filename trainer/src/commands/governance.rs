// SPDX-License-Identifier: Apache-2.0

//! Decisions of governance, and the council of the authorities.

use crate::options::{KeyOptions, NodeOptions};
use anyhow::{Context, Result};
use clap::Subcommand;
use pol_chain::{Call, Chain, Decision, Motion, format_account};
use pol_primitives::Hash;
use serde_json::json;
use std::path::{Path, PathBuf};

const COUNCIL_HELP: &str = "\
On a chain without a sudo key two thirds of the elected authorities decide. A command of governance,
such as `recipe set` or `data admit`, then proposes its call, or votes for it if another authority
has proposed the same, and executes it with the last vote needed. So each authority runs the same
command with its own key.";

const UPGRADE_EXAMPLES: &str = "\
Examples:
  pol-trainer council upgrade runtime.wasm --key-file authority.json
      once two thirds of the authorities have run it, the chain has the new runtime";

/// Subcommands of `council`.
#[derive(Subcommand)]
#[command(after_help = COUNCIL_HELP)]
pub(crate) enum CouncilCommand {
    /// Show the members and the open motions.
    Show {
        #[command(flatten)]
        node: NodeOptions,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Vote against an open motion. More than a third of the authorities end it.
    Reject {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// Hash of the motion, as `council show` prints it.
        #[arg(value_name = "HASH", value_parser = parse_hash)]
        motion: Hash,
    },
    /// Upgrade the chain's runtime, as governance.
    #[command(after_help = UPGRADE_EXAMPLES)]
    Upgrade {
        #[command(flatten)]
        node: NodeOptions,
        #[command(flatten)]
        key: KeyOptions,
        /// Compressed WASM runtime.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs a subcommand of `council`.
pub(crate) async fn run(command: CouncilCommand) -> Result<()> {
    match command {
        CouncilCommand::Show { node, json } => show(&node, json).await,
        CouncilCommand::Reject { node, key, motion } => reject(&node, &key, motion).await,
        CouncilCommand::Upgrade { node, key, file } => upgrade(&node, &key, &file).await,
    }
}

/// Parses a hash in hexadecimal.
fn parse_hash(text: &str) -> Result<Hash, String> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text.trim_start_matches("0x"), &mut hash)
        .map_err(|error| format!("a hash is 64 hexadecimal digits: {error}"))?;
    Ok(hash)
}

/// Votes against a motion.
async fn reject(node: &NodeOptions, key: &KeyOptions, motion: Hash) -> Result<()> {
    let signer = key.signer()?;
    let is_closed = Chain::connect(&node.url).await?.reject_motion(&signer, motion).await?;
    println!("{}", if is_closed { "the motion is closed" } else { "voted against the motion" });
    Ok(())
}

/// Decides on a call as governance, and prints `done` or the votes that it waits for.
pub(crate) async fn decide(
    node: &NodeOptions,
    key: &KeyOptions,
    call: Call,
    done: &str,
) -> Result<()> {
    let signer = key.signer()?;
    let decision = Chain::connect(&node.url).await?.govern(&signer, call).await?;
    println!("{}", describe_decision(decision, done));
    Ok(())
}

/// Returns `done`, or the votes that a decision waits for.
pub(crate) fn describe_decision(decision: Decision, done: &str) -> String {
    match decision {
        Decision::Executed => done.to_owned(),
        Decision::Waiting { ayes, needed } => format!(
            "proposed to the council: {ayes} of {needed} votes; {} more of the authorities must \
             run the same command",
            needed.saturating_sub(ayes)
        ),
    }
}

/// Prints the council.
async fn show(node: &NodeOptions, as_json: bool) -> Result<()> {
    let chain = Chain::connect(&node.url).await?;
    let (members, motions) = (chain.council_members().await?, chain.motions().await?);
    if as_json {
        let motion = |(hash, motion): &([u8; 32], Motion)| {
            json!({
                "hash": format!("0x{}", hex::encode(hash)),
                "needed": motion.needed,
                "ayes": motion.ayes.iter().map(format_account).collect::<Vec<_>>(),
                "nays": motion.nays.iter().map(format_account).collect::<Vec<_>>(),
                "end": motion.end,
            })
        };
        let members: Vec<_> = members.iter().map(format_account).collect();
        let motions: Vec<_> = motions.iter().map(motion).collect();
        println!("{}", json!({ "members": members, "motions": motions }));
        return Ok(());
    }
    for member in &members {
        println!("member {}", format_account(member));
    }
    for (hash, motion) in &motions {
        println!(
            "motion 0x{}: {} of {} votes, {} against, until block {}",
            hex::encode(hash),
            motion.ayes.len(),
            motion.needed,
            motion.nays.len(),
            motion.end
        );
    }
    Ok(())
}

/// Upgrades the runtime.
async fn upgrade(node: &NodeOptions, key: &KeyOptions, file: &Path) -> Result<()> {
    let code = std::fs::read(file).with_context(|| file.display().to_string())?;
    let signer = key.signer()?;
    let decision = Chain::connect(&node.url).await?.upgrade_runtime(&signer, code).await?;
    println!("{}", describe_decision(decision, "the runtime is upgraded"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_hexadecimal() {
        assert_eq!(parse_hash(&format!("0x{}", "07".repeat(32))), Ok([7; 32]));
        assert_eq!(parse_hash(&"07".repeat(32)), Ok([7; 32]));
        assert!(["", "0x07", "x"].into_iter().all(|text| parse_hash(text).is_err()));
    }

    #[test]
    fn missing_votes_are_said() {
        assert_eq!(describe_decision(Decision::Executed, "done"), "done");
        let waiting = describe_decision(Decision::Waiting { ayes: 1, needed: 3 }, "done");
        assert!(waiting.contains("1 of 3 votes; 2 more of the authorities"), "{waiting}");
    }
}
