// SPDX-License-Identifier: Apache-2.0

//! Lengths of the stages of audits, for a model and the machines and lines of its members.

use super::governance::govern;
use crate::options::{KeyOptions, NodeOptions};
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_chain::Call;
use pol_primitives::audit::AuditConfig;
use serde_json::json;
use std::time::Duration;

/// Megabits a second of a line that is taken for slow.
const SLOW_LINE: f64 = 100.0;

const EXAMPLES: &str = "\
`pol-trainer bench` measures the times. The lengths follow from them, from the size of the model in
force, and from the line of a validator; a stage that is longer already stays so.

Examples:
  pol-trainer recipe audit-lengths --segment-seconds 60 --seat-seconds 70
      show what members with these machines and 100 Mbit/s need
  pol-trainer recipe audit-lengths --segment-seconds 60 --seat-seconds 70 --megabits 20 \\
      --set --dev-account alice
      set it, as governance";

/// Options of `recipe audit-lengths`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AuditLengthsOptions {
    #[command(flatten)]
    node: NodeOptions,
    #[command(flatten)]
    key: KeyOptions,
    /// Time in which a trainer trains a segment.
    #[arg(long, value_name = "SECONDS", value_parser = parse_positive)]
    segment_seconds: f64,
    /// Time in which a validator does the work of a seat.
    #[arg(long, value_name = "SECONDS", value_parser = parse_positive)]
    seat_seconds: f64,
    /// Line of a validator.
    #[arg(
        long,
        value_name = "MBIT/S",
        value_parser = parse_positive,
        default_value_t = SLOW_LINE
    )]
    megabits: f64,
    /// Speed at which a trainer writes and reads its disk.
    #[arg(long, value_name = "MB/S", value_parser = parse_positive, default_value_t = 200.0)]
    disk_megabytes: f64,
    /// Updates of a round that a validator has a seat on.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    updates: u32,
    /// Set these lengths, as governance.
    #[arg(long)]
    set: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_positive(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 1e9);
    number.ok_or_else(|| "give a number above 0, such as 20 or 0.5".into())
}

impl AuditLengthsOptions {
    /// Returns `config` with stages that are long enough for a model of `parameters`.
    fn lengthen(&self, config: AuditConfig, parameters: u64, block_time: Duration) -> AuditConfig {
        let blocks = |seconds: f64| blocks(seconds, block_time);
        // The trainer trains a state again in a quarter of its part of the stage, and a state with
        // its parts and hashes takes 32 bytes a parameter of its disk.
        let state = 32.0 * parameters as f64 / (self.disk_megabytes * 1e6);
        let serve = 4.0 * f64::from(config.segments) * (self.segment_seconds + state);
        let fetch = seat_bytes(parameters, &config) / bytes_a_second(self.megabits);
        let replay = f64::from(self.updates) * (fetch + self.seat_seconds);
        AuditConfig {
            serve: config.serve.max(blocks(serve)),
            replay: config.replay.max(blocks(replay)),
            ..config
        }
    }
}

/// Returns the bytes that a seat fetches: starts and ends of segments, and the update.
fn seat_bytes(parameters: u64, config: &AuditConfig) -> f64 {
    4.0 * parameters as f64 * (3.0 * f64::from(config.segments) + 2.0)
}

fn bytes_a_second(megabits: f64) -> f64 {
    megabits * 1e6 / 8.0
}

/// Returns the number of blocks in which `seconds` pass. More than a number holds are its largest.
fn blocks(seconds: f64, block_time: Duration) -> u32 {
    (seconds / block_time.as_secs_f64().max(1e-3)).ceil() as u32
}

/// Returns why stages of `config` are too short for a model of `parameters`, if validators with a
/// slow line cannot fetch what a seat needs.
pub(super) fn too_short(
    config: &AuditConfig,
    parameters: u64,
    block_time: Duration,
) -> Option<String> {
    let needed = blocks(seat_bytes(parameters, config) / bytes_a_second(SLOW_LINE), block_time);
    (config.replay < needed).then(|| {
        format!(
            "a validator with {SLOW_LINE} Mbit/s fetches what a seat needs in {needed} blocks, and \
             `replay` has {}: updates stay unresolved and unpaid where it is too late; \
             `pol-trainer recipe audit-lengths` finds lengths for a model of {parameters} \
             parameters",
            config.replay
        )
    })
}

/// Shows the lengths that the model in force needs, and sets them if that is asked for.
pub(super) async fn run(options: &AuditLengthsOptions) -> Result<()> {
    let chain = options.node.connect().await?;
    let recipe = chain.recipe().await?.context("the chain has no recipe yet")?;
    let (config, block_time) = (chain.audit_config().await?, chain.block_time().await?);
    let parameters = recipe.model.size();
    let long = options.lengthen(config, parameters, block_time);
    ensure!(
        long.is_valid(),
        "audits of {} blocks to serve and {} to replay are longer than the chain allows; take \
         fewer --updates, or members with faster lines and machines",
        long.serve,
        long.replay
    );
    let outcome = match options.set {
        true => Some(govern(&chain, &options.key.signer()?, Call::SetAudits(long)).await?),
        false => None,
    };
    if options.json {
        let set = outcome.is_some_and(|outcome| outcome.is_in_force());
        let lengths = json!({
            "parameters": parameters, "before": config, "audits": long, "set": set,
        });
        println!("{lengths}");
        return Ok(());
    }
    println!("model: {parameters} parameters");
    for (name, before, after) in
        [("serve", config.serve, long.serve), ("replay", config.replay, long.replay)]
    {
        let seconds = block_time.as_secs_f64() * f64::from(after);
        println!("{name}: {before} to {after} blocks, {seconds:.0} s");
    }
    println!(
        "{}",
        match outcome {
            Some(outcome) => outcome.describe("audits are set"),
            None => "audits are as before; --set sets these".into(),
        }
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: AuditLengthsOptions,
    }

    fn options(more: &[&str]) -> AuditLengthsOptions {
        let all = ["x", "--segment-seconds", "60", "--seat-seconds", "14"];
        Line::parse_from(all.iter().chain(more)).options
    }

    const BLOCK: Duration = Duration::from_secs(3);

    #[test]
    fn lengths_grow_with_the_model_the_line_and_the_machines() {
        let now = AuditConfig::default();
        let large = |more: &[&str]| options(more).lengthen(now, 985_000_000, BLOCK);
        // 19.7 GB at 12.5 MB/s, and 14 seconds; four times 60 seconds and 158 seconds.
        assert_eq!((large(&[]).replay, large(&[]).serve), (530, 291));
        assert_eq!(large(&["--megabits", "1000"]).replay, 100);
        assert_eq!(large(&["--updates", "2"]).replay, 1_060);
        let faster = large(&["--disk-megabytes", "2000"]);
        assert_eq!((faster.serve, faster.replay), (102, 530));
        // What is long enough stays, and so does all else.
        let short = ["--segment-seconds", "1", "--seat-seconds", "1"];
        assert_eq!(options(&short).lengthen(now, 1_000_000, BLOCK), now);
        let two = AuditConfig { segments: 2, ..now };
        assert_eq!(options(&[]).lengthen(two, 985_000_000, BLOCK).replay, 846);
        assert!(!options(&["--megabits", "0.01"]).lengthen(now, 985_000_000, BLOCK).is_valid());
    }

    #[test]
    fn short_stages_are_told() {
        let now = AuditConfig::default();
        assert_eq!(too_short(&now, 10_000_000, BLOCK), None);
        let told = too_short(&now, 985_000_000, BLOCK).unwrap();
        assert!(told.contains("526 blocks") && told.contains("has 100"), "{told}");
        let long = options(&[]).lengthen(now, 985_000_000, BLOCK);
        assert_eq!(too_short(&long, 985_000_000, BLOCK), None);
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for text in ["", "0", "-1", "NaN", "inf", "1e10", "fast"] {
            assert!(parse_positive(text).is_err(), "{text}");
        }
    }
}
