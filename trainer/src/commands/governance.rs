// SPDX-License-Identifier: Apache-2.0

//! Decisions of governance, and the council of the authorities.

use super::in_force::{check_proposed_recipe, effect_in_force};
use crate::{
    files::read_limited,
    options::{KeyOptions, NodeOptions},
};
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use pol_chain::{Argument, Call, Chain, Decision, Motion, MotionCall, Signer, format_account};
use pol_primitives::Hash;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Largest code of a runtime, in bytes. The chain takes less.
const MAX_RUNTIME: u64 = 1 << 24;

/// Error of a vote on a motion that is not open.
const NO_MOTION: &str = "no such motion is open; `pol-trainer council show` lists those that are";

const COUNCIL_HELP: &str = "\
On a chain without a sudo key two thirds of the elected authorities decide. A command of governance,
such as `recipe set` or `data admit`, then proposes its call, or votes for it if another authority
has proposed the same, and executes it with the last vote needed. So each authority runs the same
command with its own key, or looks at the open motions and votes for one. A command whose effect the
chain has already says so, and sends nothing.

Examples:
  pol-trainer council show
      the members, and the open motions with what they would do
  pol-trainer council approve 0x6f1c… --key-file authority.json
      vote for a motion, and execute it with the last vote needed
  pol-trainer council reject 0x6f1c… --key-file authority.json
      vote against it, and close it once it cannot get its votes any more
  pol-trainer council upgrade runtime.wasm --key-file authority.json
      propose a new runtime, or vote for it";

const SHOW_EXAMPLES: &str = "\
Examples:
  pol-trainer council show           members, motions, and how to vote for or against each
  pol-trainer council show --json    the same for programs";

const UPGRADE_EXAMPLES: &str = "\
Examples:
  pol-trainer council upgrade runtime.wasm --key-file authority.json
      once two thirds of the authorities have run it, the chain has the new runtime";

/// Subcommands of `council`.
#[derive(Subcommand)]
#[command(after_help = COUNCIL_HELP)]
pub(crate) enum CouncilCommand {
    /// Show the members and the open motions, with the calls that they would execute.
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        #[command(flatten)]
        node: NodeOptions,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Vote for an open motion. The last vote needed executes it.
    Approve(VoteOptions),
    /// Vote against an open motion. More than a third of the authorities end it.
    Reject(VoteOptions),
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
        CouncilCommand::Approve(vote) => approve(&vote.node, &vote.key, vote.motion).await,
        CouncilCommand::Reject(vote) => reject(&vote.node, &vote.key, vote.motion).await,
        CouncilCommand::Upgrade { node, key, file } => upgrade(&node, &key, &file).await,
    }
}

/// A vote on a motion.
#[derive(Args)]
pub(crate) struct VoteOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
    /// Hash of the motion, as `council show` prints it.
    #[arg(value_name = "HASH", value_parser = parse_hash)]
    motion: Hash,
}

/// Parses a hash in hexadecimal.
fn parse_hash(text: &str) -> Result<Hash, String> {
    let mut hash = Hash::default();
    hex::decode_to_slice(text.trim_start_matches("0x"), &mut hash)
        .map_err(|error| format!("a hash is 64 hexadecimal digits: {error}"))?;
    Ok(hash)
}

/// Votes for a motion.
async fn approve(node: &NodeOptions, key: &KeyOptions, motion: Hash) -> Result<()> {
    let signer = key.signer()?;
    let chain = node.connect().await?;
    if let Some(recipe) = chain.motion_recipe(&motion).await? {
        check_proposed_recipe(&chain, &recipe).await?;
    }
    let decision = chain.approve_motion(&signer, motion).await?;
    let decision = decision.context(NO_MOTION)?;
    println!("{}", describe_decision(decision, "the motion has its votes and is executed"));
    Ok(())
}

/// Votes against a motion.
async fn reject(node: &NodeOptions, key: &KeyOptions, motion: Hash) -> Result<()> {
    let signer = key.signer()?;
    let is_closed = node.connect().await?.reject_motion(&signer, motion).await?;
    let is_closed = is_closed.context(NO_MOTION)?;
    println!("{}", if is_closed { "the motion is closed" } else { "voted against the motion" });
    Ok(())
}

/// Outcome of a command of governance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was sent: the chain has the effect already, as the sentence says.
    InForce(String),
    /// The signer decided.
    Decided(Decision),
}

impl Outcome {
    /// Returns `true` if the chain has the effect.
    pub(crate) fn is_in_force(&self) -> bool {
        matches!(self, Self::InForce(_) | Self::Decided(Decision::Executed))
    }

    /// Returns `done`, the votes that a decision waits for, or that there is nothing to decide.
    pub(crate) fn describe(&self, done: &str) -> String {
        match self {
            Self::InForce(said) => format!("nothing is sent: {said}"),
            Self::Decided(decision) => describe_decision(*decision, done),
        }
    }
}

/// Decides on a call as governance, unless the chain has its effect already.
///
/// # Errors
///
/// Fails if the chain would refuse the call, if the signer does not decide, and if the node cannot
/// answer.
pub(crate) async fn govern(chain: &Chain, signer: &Signer, call: Call) -> Result<Outcome> {
    if let Some(said) = effect_in_force(chain, &call).await? {
        return Ok(Outcome::InForce(said));
    }
    Ok(Outcome::Decided(chain.govern(signer, call).await?))
}

/// Decides on a call as governance, and prints `done`, the votes that it waits for, or that the
/// chain has its effect already.
pub(crate) async fn decide(
    node: &NodeOptions,
    key: &KeyOptions,
    call: Call,
    done: &str,
) -> Result<()> {
    let signer = key.signer()?;
    let outcome = govern(&node.connect().await?, &signer, call).await?;
    println!("{}", outcome.describe(done));
    Ok(())
}

/// Returns `done`, or the votes that a decision waits for.
fn describe_decision(decision: Decision, done: &str) -> String {
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
    let chain = node.connect().await?;
    let members = chain.council_members().await?;
    let mut motions = Vec::new();
    for (hash, motion) in chain.motions().await? {
        motions.push((hash, motion, chain.motion_call(&hash).await?));
    }
    if as_json {
        let members: Vec<_> = members.iter().map(format_account).collect();
        let motions: Vec<_> =
            motions.iter().map(|(hash, motion, call)| json_of(hash, motion, call)).collect();
        println!("{}", json!({ "members": members, "motions": motions }));
        return Ok(());
    }
    for member in &members {
        println!("member {}", format_account(member));
    }
    for (hash, motion, call) in &motions {
        println!("{}", describe_motion(hash, motion, call.as_ref()));
    }
    if motions.is_empty() {
        println!("no motion is open");
    }
    Ok(())
}

fn json_of(hash: &Hash, motion: &Motion, call: &Option<MotionCall>) -> Value {
    let call = call
        .as_ref()
        .map(|call| json!({ "name": call.name, "arguments": fields_json(&call.arguments) }));
    json!({
        "hash": format!("0x{}", hex::encode(hash)),
        "call": call,
        "needed": motion.needed,
        "ayes": motion.ayes.iter().map(format_account).collect::<Vec<_>>(),
        "nays": motion.nays.iter().map(format_account).collect::<Vec<_>>(),
        "end": motion.end,
    })
}

/// Returns fields as an object.
fn fields_json(fields: &[(String, Argument)]) -> Value {
    fields.iter().map(|(name, value)| (name.clone(), argument_json(value))).collect()
}

/// Returns an argument in JSON. What it holds in the end are strings, since numbers of the chain
/// may be larger than those of programs.
fn argument_json(argument: &Argument) -> Value {
    match argument {
        Argument::Text(text) => json!(text),
        Argument::List(values) => values.iter().map(argument_json).collect(),
        Argument::Fields(fields) => fields_json(fields),
        Argument::Variant(name, held) => json!({ name.as_str(): argument_json(held) }),
    }
}

/// Appends the lines of an argument: its name and value on one, or its parts on lines of their own.
fn describe_argument(name: &str, argument: &Argument, indent: usize, lines: &mut Vec<String>) {
    let (mut head, mut held) = (format!("{:indent$}{name}:", ""), argument);
    while let Argument::Variant(variant, inner) = held {
        head = format!("{head} {variant}");
        held = inner;
    }
    let indent = indent + 2;
    match held {
        Argument::Text(text) => lines.push(format!("{head} {text}")),
        Argument::List(values) if values.is_empty() => lines.push(format!("{head} none")),
        Argument::List(values) => {
            lines.push(head);
            for (at, value) in values.iter().enumerate() {
                describe_argument(&at.to_string(), value, indent, lines);
            }
        }
        Argument::Fields(fields) => {
            lines.push(head);
            for (name, value) in fields {
                describe_argument(name, value, indent, lines);
            }
        }
        // The loop took the variants away.
        Argument::Variant(..) => {}
    }
}

/// Describes a motion: its call, its votes, and the commands that vote.
fn describe_motion(hash: &Hash, motion: &Motion, call: Option<&MotionCall>) -> String {
    let hash = format!("0x{}", hex::encode(hash));
    let name = call.map_or("a call that was closed meanwhile", |call| &call.name);
    let mut lines = vec![format!("motion {hash}: {name}")];
    let arguments = call.map_or(&[][..], |call| &call.arguments);
    for (name, value) in arguments {
        describe_argument(name, value, 2, &mut lines);
    }
    lines.push(format!(
        "  {} of {} votes needed, {} against, until block {}",
        motion.ayes.len(),
        motion.needed,
        motion.nays.len(),
        motion.end
    ));
    let votes = [("for", &motion.ayes), ("against", &motion.nays)];
    let votes = votes.iter().flat_map(|(side, accounts)| {
        accounts.iter().map(move |account| format!("  {side}: {}", format_account(account)))
    });
    lines.extend(votes);
    lines.push(format!("  for it:     pol-trainer council approve {hash} --key-file FILE"));
    lines.push(format!("  against it: pol-trainer council reject {hash} --key-file FILE"));
    lines.join("\n")
}

/// Returns `true` for code in WebAssembly, compressed or not.
fn is_runtime(code: &[u8]) -> bool {
    // The mark of compressed code is that of the crate sp-maybe-compressed-blob.
    let marks: [&[u8]; 2] = [b"\0asm", &[82, 188, 83, 118, 70, 219, 142, 5]];
    marks.iter().any(|mark| code.starts_with(mark))
}

/// Upgrades the runtime.
async fn upgrade(node: &NodeOptions, key: &KeyOptions, file: &Path) -> Result<()> {
    let name = || file.display().to_string();
    let code = read_limited(file, MAX_RUNTIME).with_context(name)?;
    ensure!(
        is_runtime(&code),
        "{} is no runtime: `pol-node` is built with one, \
        pol_runtime.compact.compressed.wasm",
        name()
    );
    let signer = key.signer()?;
    let chain = node.connect().await?;
    let outcome = if chain.runtime_code().await? == code {
        Outcome::InForce(format!("{} is the chain's runtime already", name()))
    } else {
        Outcome::Decided(chain.upgrade_runtime(&signer, code).await?)
    };
    println!("{}", outcome.describe("the runtime is upgraded"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_told_from_other_files() {
        assert!(is_runtime(b"\0asm\x01") && is_runtime(&[82, 188, 83, 118, 70, 219, 142, 5, 0]));
        assert!(!is_runtime(b"") && !is_runtime(b"#!/bin/sh"));
    }

    #[test]
    fn hashes_are_hexadecimal() {
        assert_eq!(parse_hash(&format!("0x{}", "07".repeat(32))), Ok([7; 32]));
        assert_eq!(parse_hash(&"07".repeat(32)), Ok([7; 32]));
        assert!(["", "0x07", "x"].into_iter().all(|text| parse_hash(text).is_err()));
    }

    #[test]
    fn a_motion_is_shown_with_its_call_its_votes_and_the_commands() {
        let motion = Motion { index: 4, needed: 3, ayes: vec![[1; 32]], nays: vec![], end: 90 };
        let call = MotionCall {
            name: "Lineage.admit_manifest".into(),
            arguments: vec![("manifest".into(), Argument::Text("3".into()))],
        };
        let text = describe_motion(&[7; 32], &motion, Some(&call));
        let hash = format!("0x{}", "07".repeat(32));
        let parts = [
            format!("motion {hash}: Lineage.admit_manifest\n  manifest: 3\n"),
            "1 of 3 votes needed, 0 against, until block 90".into(),
            format!("for: {}", format_account(&[1; 32])),
            format!("council approve {hash} --key-file"),
            format!("council reject {hash} --key-file"),
        ];
        assert!(parts.iter().all(|part| text.contains(part.as_str())), "{text}");
        let json = json_of(&[7; 32], &motion, &Some(call));
        assert_eq!(json["call"]["arguments"]["manifest"], "3");
    }

    #[test]
    fn a_recipe_is_shown_in_a_line_for_each_setting() {
        let text = |text: &str| Argument::Text(text.into());
        let model = Argument::Fields(vec![("layers".into(), text("4"))]);
        let recipe = Argument::Fields(vec![
            ("model".into(), Argument::Variant("V1".into(), Box::new(model))),
            ("tokenizer".into(), text("0xab01")),
            ("tiers".into(), Argument::List(vec![text("8"), text("9")])),
            ("parents".into(), Argument::List(vec![])),
        ]);
        let recipe = Argument::Variant("V2".into(), Box::new(recipe));
        let mut lines = Vec::new();
        describe_argument("recipe", &recipe, 2, &mut lines);
        let expected = [
            "  recipe: V2",
            "    model: V1",
            "      layers: 4",
            "    tokenizer: 0xab01",
            "    tiers:",
            "      0: 8",
            "      1: 9",
            "    parents: none",
        ];
        assert_eq!(lines, expected);
        assert_eq!(
            argument_json(&recipe),
            json!({ "V2": {
                "model": { "V1": { "layers": "4" } },
                "tokenizer": "0xab01",
                "tiers": ["8", "9"],
                "parents": [],
            } })
        );
    }

    #[test]
    fn what_is_in_force_is_no_proposal() {
        let in_force = Outcome::InForce("these lengths are in force already".into());
        assert_eq!(in_force.describe("set"), "nothing is sent: these lengths are in force already");
        let waiting = Outcome::Decided(Decision::Waiting { ayes: 1, needed: 2 });
        assert!(in_force.is_in_force() && !waiting.is_in_force());
        let executed = Outcome::Decided(Decision::Executed);
        assert!(executed.is_in_force() && executed.describe("set") == "set");
    }

    #[test]
    fn missing_votes_are_said() {
        assert_eq!(describe_decision(Decision::Executed, "done"), "done");
        let waiting = describe_decision(Decision::Waiting { ayes: 1, needed: 3 }, "done");
        assert!(waiting.contains("1 of 3 votes; 2 more of the authorities"), "{waiting}");
    }
}
