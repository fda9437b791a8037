// SPDX-License-Identifier: Apache-2.0

//! `verify`: segments of an update, replayed by anybody.

use crate::{
    context::NodeContext,
    error::RoleError,
    options::{NodeOptions, SwarmOptions, parse_looked_at},
    roles::{Replayed, ReplayedSegment, UpdateVerifier, Verification},
    state::StateFolder,
};
use anyhow::{Context, Result, bail};
use clap::Args;
use pol_chain::{AccountId, format_account};
use pol_primitives::{Hash, RoundNumber, audit::Verdict};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  pol-trainer verify --round 12 --trainer 5Grw… --all-segments
      replay all segments that the audit of the update drew, and pack the update again
  pol-trainer verify --round 12 --trainer 5Grw… --segment 3 --json
      replay one segment, and print the verdict as JSON

No account, bond or folder is needed. The states are fetched from the trainer and from validators, \
which have them from the draw of the audit to its settlement. The verdict is MATCH, MISMATCH, or \
UNAVAILABLE with the reason. The exit code is 0 for MATCH only.";

/// Options of `verify`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyUpdateOptions {
    /// Round of the update.
    #[arg(long, value_name = "NUMBER")]
    round: RoundNumber,
    /// Trainer of the update: an address, or the name of a development account.
    #[arg(long, value_name = "ADDRESS|NAME", value_parser = parse_looked_at)]
    trainer: AccountId,
    /// Segment to replay, counted from 0.
    #[arg(long, value_name = "NUMBER", required_unless_present = "all_segments")]
    segment: Option<u16>,
    /// Replay all segments that were drawn.
    #[arg(long, conflicts_with = "segment")]
    all_segments: bool,
    /// Longest wait for what the trainer has not shown yet, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u32,
    /// Threads. [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    #[command(flatten)]
    node: NodeOptions,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

impl VerifyUpdateOptions {
    /// Returns the node that is asked.
    pub(crate) fn node(&self) -> &NodeOptions {
        &self.node
    }
}

/// Verifies an update, and prints the verdict.
pub(crate) async fn run(options: VerifyUpdateOptions) -> Result<()> {
    let begin = Instant::now();
    let scratch = tempfile::tempdir().context("cannot make a temporary folder for states")?;
    let chain = options.node.connect().await?;
    let state = StateFolder::open(scratch.path())?;
    let verifier = UpdateVerifier {
        context: NodeContext::start(chain, &SwarmOptions::fetch_only(), state).await?,
        round: options.round,
        trainer: options.trainer,
        segment: options.segment,
        workers: super::decoder::thread_count(options.workers)?,
    };
    let deadline = begin + Duration::from_secs(options.patience.into());
    let verified = verifier.verify(deadline).await.map_err(RoleError::into_inner);
    verifier.context.swarm.clone().shutdown().await?;
    let report = Report { options: &options, verification: verified?, time: begin.elapsed() };
    report.print();
    match report.verdict() {
        UpdateVerdict::Match => Ok(()),
        UpdateVerdict::Mismatch => bail!("the update is not what its lease gives"),
        UpdateVerdict::Unavailable => bail!("the update could not be compared"),
    }
}

/// Verdict of a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum UpdateVerdict {
    /// The replay is what the trainer committed to.
    Match,
    /// The replay is something else.
    Mismatch,
    /// Nothing could be compared.
    Unavailable,
}

/// Result of the command.
struct Report<'a> {
    options: &'a VerifyUpdateOptions,
    verification: Verification,
    time: Duration,
}

impl Report<'_> {
    fn verdict(&self) -> UpdateVerdict {
        match &self.verification {
            Verification::Replayed(Replayed { opinion: Some(Verdict::Valid), .. }) => {
                UpdateVerdict::Match
            }
            Verification::Replayed(Replayed { opinion: Some(Verdict::Invalid), .. }) => {
                UpdateVerdict::Mismatch
            }
            _ => UpdateVerdict::Unavailable,
        }
    }

    /// Returns the reason of the verdict, unless it is a match.
    fn reason(&self) -> Option<String> {
        let replayed = match &self.verification {
            Verification::Unavailable(reason) => return Some(reason.clone()),
            Verification::Replayed(replayed) => replayed,
        };
        if self.verdict() == UpdateVerdict::Match {
            return None;
        }
        let other = replayed
            .segments
            .iter()
            .find(|segment| segment.replayed.is_some_and(|replayed| replayed != segment.opened));
        Some(match (other, replayed.packed) {
            (Some(other), _) => format!("segment {} ends in another state", other.segment),
            (None, Some(false)) => "the final state gives another payload or carry".to_owned(),
            (None, None) => "nobody can train from the states that the trainer shows".to_owned(),
            (None, Some(true)) => {
                "the end that the trainer opened is too far from that of the replay".to_owned()
            }
        })
    }

    fn print(&self) {
        if self.options.json {
            println!("{}", self.to_json());
            return;
        }
        let verdict = format!("{:?}", self.verdict()).to_uppercase();
        let (round, trainer) = (self.options.round, format_account(&self.options.trainer));
        let reason = self.reason().map_or(String::new(), |reason| format!(": {reason}"));
        println!("{verdict}: update of {trainer} for round {round}{reason}");
        if let Verification::Replayed(replayed) = &self.verification {
            let segments: Vec<_> =
                replayed.segments.iter().map(|segment| segment.segment).collect();
            println!(
                "segments {segments:?} of audit {} in {:.1} s, of which {:.1} s were work",
                replayed.audit,
                self.time.as_secs_f64(),
                replayed.time.as_secs_f64()
            );
        }
    }

    fn to_json(&self) -> Value {
        let hex = |hash: &Hash| format!("0x{}", hex::encode(hash));
        let replayed = match &self.verification {
            Verification::Replayed(replayed) => Some(replayed),
            Verification::Unavailable(_) => None,
        };
        let segments = replayed.map(|replayed| {
            let segment = |segment: &ReplayedSegment| {
                json!({
                    "segment": segment.segment,
                    "opened": hex(&segment.opened),
                    "replayed": segment.replayed.as_ref().map(hex),
                })
            };
            replayed.segments.iter().map(segment).collect::<Vec<_>>()
        });
        json!({
            "verdict": self.verdict(),
            "reason": self.reason(),
            "round": self.options.round,
            "trainer": format_account(&self.options.trainer),
            "audit": replayed.map(|replayed| replayed.audit),
            "segments": segments.unwrap_or_default(),
            "packed": replayed.and_then(|replayed| replayed.packed),
            "seconds": self.time.as_secs_f64(),
            "work_seconds": replayed.map(|replayed| replayed.time.as_secs_f64()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: VerifyUpdateOptions,
    }

    fn options(more: &str) -> VerifyUpdateOptions {
        let line = format!("verify --round 3 --trainer 0x{} {more}", "07".repeat(32));
        Line::parse_from(line.split_whitespace()).options
    }

    fn report(options: &VerifyUpdateOptions, verification: Verification) -> Report<'_> {
        Report { options, verification, time: Duration::from_millis(1_500) }
    }

    fn replayed(end: u8, packed: Option<bool>, opinion: Verdict) -> Verification {
        let replayed = packed.map(|_| [end; 32]);
        let segments = vec![ReplayedSegment { segment: 2, opened: [1; 32], replayed }];
        let time = Duration::from_millis(900);
        let opinion = Some(opinion);
        Verification::Replayed(Replayed { audit: 4, segments, packed, opinion, time })
    }

    #[test]
    fn each_result_has_its_verdict_and_reason() {
        let options = options("--all-segments --json");
        for (verification, verdict, reason) in [
            (replayed(1, Some(true), Verdict::Valid), "match", None),
            (replayed(2, Some(true), Verdict::Invalid), "mismatch", Some("segment 2 ends")),
            (replayed(1, Some(false), Verdict::Invalid), "mismatch", Some("another payload")),
            (replayed(1, None, Verdict::Invalid), "mismatch", Some("nobody can train")),
            (replayed(1, Some(true), Verdict::Invalid), "mismatch", Some("too far")),
            (Verification::Unavailable("too late".into()), "unavailable", Some("too late")),
        ] {
            let report = report(&options, verification).to_json();
            assert_eq!(report["verdict"], verdict, "{report}");
            assert_eq!(report["work_seconds"].is_null(), verdict == "unavailable", "{report}");
            let found = report["reason"].as_str();
            assert_eq!(found.is_some(), reason.is_some(), "{report}");
            assert!(found.unwrap_or_default().contains(reason.unwrap_or_default()), "{report}");
        }
    }

    #[test]
    fn a_segment_or_all_are_asked_for() {
        let refused = |more: &str| {
            let line =
                format!("pol-trainer verify --round 3 --trainer 0x{} {more}", "07".repeat(32));
            Cli::try_parse_from(line.split_whitespace()).is_err()
        };
        assert!(refused("") && refused("--segment 1 --all-segments") && refused("--segment x"));
        assert_eq!(options("--segment 5").segment, Some(5));
        assert_eq!(options("--all-segments").segment, None);
    }
}
