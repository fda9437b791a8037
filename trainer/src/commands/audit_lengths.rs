// SPDX-License-Identifier: Apache-2.0

//! Lengths of the stages of audits, for a model and the machines and lines of its members.

use super::governance::govern;
use crate::options::{KeyOptions, NodeOptions};
use anyhow::{Context, Result, ensure};
use clap::Args;
use pol_chain::Call;
use pol_engine::bench::bytes_of_seat;
use pol_primitives::{
    audit::AuditConfig,
    recipe::{Recipe, Tier},
};
use serde_json::json;
use std::time::Duration;

/// Megabits a second of a line that is taken for slow.
const SLOW_LINE: f64 = 100.0;

const EXAMPLES: &str = "\
`pol-trainer bench` measures the times. The lengths follow from them, from the size of the model in
force, and from the lines of a validator and of a trainer, which sends to all seats on its update.
They suit a first draw. A second draw has `more_seats` seats, so give a part of a trainer's line to
leave time for it too. A stage that is longer already stays so.

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
    /// Line of a trainer, from which all seats on its update fetch.
    #[arg(
        long,
        value_name = "MBIT/S",
        value_parser = parse_positive,
        default_value_t = SLOW_LINE
    )]
    trainer_megabits: f64,
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
    /// Returns `config` with stages that are long enough for `model`.
    fn lengthen(
        &self,
        config: AuditConfig,
        model: &AuditedModel,
        block_time: Duration,
    ) -> AuditConfig {
        let blocks = |seconds: f64| blocks(seconds, block_time);
        // The trainer trains a state again in a quarter of its part of the stage, and a state with
        // its parts and hashes takes 32 bytes a parameter of its disk.
        let state = 32.0 * model.parameters as f64 / (self.disk_megabytes * 1e6);
        let serve = 4.0 * f64::from(config.segments) * (self.segment_seconds + state);
        // A validator fetches from one trainer after the other, and each trainer sends to its seats
        // meanwhile.
        let updates = f64::from(self.updates);
        let received = updates * model.seat_seconds(self.megabits);
        let sent = f64::from(config.seats) * model.seat_seconds(self.trainer_megabits);
        let replay = received.max(sent) + updates * self.seat_seconds;
        AuditConfig {
            serve: config.serve.max(blocks(serve)),
            replay: config.replay.max(blocks(replay)),
            ..config
        }
    }
}

/// Size of the model in force, and of what a seat fetches.
pub(super) struct AuditedModel {
    parameters: u64,
    /// Bytes of states, payload, and shards for a seat on an update of any tier.
    seat_bytes: u64,
}

impl AuditedModel {
    /// Returns the sizes for audits under `config`.
    pub(super) fn new(recipe: &Recipe, config: &AuditConfig) -> Self {
        let of_tier = |tier| bytes_of_seat(recipe, tier, config.segments);
        let seat_bytes = Tier::ALL.into_iter().map(of_tier).max().unwrap_or(0);
        Self { parameters: recipe.model.size(), seat_bytes }
    }

    /// Returns the seconds in which a line brings what a seat fetches.
    fn seat_seconds(&self, megabits: f64) -> f64 {
        self.seat_bytes as f64 / (megabits * 1e6 / 8.0)
    }
}

/// Returns the number of blocks in which `seconds` pass. More than a number holds are its largest.
fn blocks(seconds: f64, block_time: Duration) -> u32 {
    (seconds / block_time.as_secs_f64().max(1e-3)).ceil() as u32
}

/// Returns why stages of `config` are too short for `model`, if validators with a slow line cannot
/// fetch what a seat needs.
pub(super) fn too_short(
    config: &AuditConfig,
    model: &AuditedModel,
    block_time: Duration,
) -> Option<String> {
    let needed = blocks(model.seat_seconds(SLOW_LINE), block_time);
    (config.replay < needed).then(|| {
        format!(
            "a validator with {SLOW_LINE} Mbit/s fetches what a seat needs in {needed} blocks, and \
             `replay` has {}: updates stay unresolved and unpaid where it is too late; \
             `pol-trainer recipe audit-lengths` finds lengths for a model of {} parameters",
            config.replay, model.parameters
        )
    })
}

/// Shows the lengths that the model in force needs, and sets them if that is asked for.
pub(super) async fn run(options: &AuditLengthsOptions) -> Result<()> {
    let chain = options.node.connect().await?;
    let recipe = chain.recipe().await?.context("the chain has no recipe yet")?;
    let (config, block_time) = (chain.audit_config().await?, chain.block_time().await?);
    let model = AuditedModel::new(&recipe, &config);
    let parameters = model.parameters;
    let long = options.lengthen(config, &model, block_time);
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
    use crate::preset::Preset;
    use clap::Parser;
    use pol_data::IngestRecord;
    use pol_primitives::payload::encoded_size;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: AuditLengthsOptions,
    }

    fn parse(words: &[&str]) -> AuditLengthsOptions {
        Line::parse_from(["x"].iter().chain(words)).options
    }

    /// Returns options of machines that train a segment in 60 seconds and do a seat in 14.
    fn options(more: &[&str]) -> AuditLengthsOptions {
        parse(&[&["--segment-seconds", "60", "--seat-seconds", "14"][..], more].concat())
    }

    /// Returns sizes of a model of 985 million parameters, whose seats fetch this many arrays.
    fn large_model(arrays: u64) -> AuditedModel {
        AuditedModel { parameters: 985_000_000, seat_bytes: arrays * 4 * 985_000_000 }
    }

    const BLOCK: Duration = Duration::from_secs(3);

    #[test]
    fn lengths_grow_with_the_model_the_lines_and_the_machines() {
        let now = AuditConfig::default();
        let fast = ["--trainer-megabits", "1000"];
        let lengths = |more: &[&str]| {
            let long = options(more).lengthen(now, &large_model(5), BLOCK);
            (long.replay, long.serve)
        };
        let replay = |more: &[&str]| lengths(&[&fast[..], more].concat()).0;
        // 19.7 GB at 12.5 MB/s, and 14 seconds; four times 60 seconds and 158 seconds.
        assert_eq!(lengths(&fast), (530, 291));
        assert_eq!(replay(&["--updates", "2"]), 1_060);
        assert_eq!(
            lengths(&["--trainer-megabits", "1000", "--disk-megabytes", "2000"]),
            (530, 102)
        );
        // Three seats fetch 59.1 GB from one trainer, at 125 MB/s and at 12.5 MB/s.
        assert_eq!(now.seats, 3);
        assert_eq!(replay(&["--megabits", "1000"]), 163);
        assert_eq!(lengths(&[]), (1_581, 291));
        assert_eq!(lengths(&["--megabits", "1000"]), (1_581, 291));
        assert_eq!(lengths(&["--updates", "2"]), (1_586, 291));
        // What is long enough stays, and so does all else.
        let short = parse(&["--segment-seconds", "1", "--seat-seconds", "1"]);
        let small = AuditedModel { parameters: 1_000_000, seat_bytes: 20_000_000 };
        assert_eq!(short.lengthen(now, &small, BLOCK), now);
        let two = AuditConfig { segments: 2, ..now };
        assert_eq!(options(&fast).lengthen(two, &large_model(8), BLOCK).replay, 846);
        assert!(!options(&["--megabits", "0.01"]).lengthen(now, &large_model(5), BLOCK).is_valid());
    }

    #[test]
    fn a_seat_fetches_states_payload_and_shards() {
        let data = IngestRecord {
            vocabulary: 8_192,
            sequence: 128,
            shard_tokens: 8_192,
            ..Default::default()
        };
        let recipe = Preset::Demo.sizes(&data).recipe([7; 32]);
        let (config, size) =
            (AuditConfig { segments: 2, ..Default::default() }, recipe.model.size());
        let model = AuditedModel::new(&recipe, &config);
        assert_eq!(model.parameters, size);
        let shards = Tier::ALL.map(|tier| recipe.shards_per_lease(tier)).into_iter().max().unwrap();
        let shard = 4 * (u64::from(recipe.shard_tokens) + 1);
        let payload = encoded_size(recipe.compression.top_k, size);
        assert_eq!(model.seat_bytes, 8 * 4 * size + payload + u64::from(shards) * shard);
    }

    #[test]
    fn short_stages_are_told() {
        let now = AuditConfig::default();
        let small = AuditedModel { parameters: 10_000_000, seat_bytes: 200_000_000 };
        assert_eq!(too_short(&now, &small, BLOCK), None);
        let told = too_short(&now, &large_model(5), BLOCK).unwrap();
        assert!(told.contains("526 blocks") && told.contains("has 100"), "{told}");
        let long = options(&[]).lengthen(now, &large_model(5), BLOCK);
        assert_eq!(too_short(&long, &large_model(5), BLOCK), None);
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for text in ["", "0", "-1", "NaN", "inf", "1e10", "fast"] {
            assert!(parse_positive(text).is_err(), "{text}");
        }
    }
}
