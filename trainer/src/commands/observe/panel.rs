// SPDX-License-Identifier: Apache-2.0

//! Live panel of a network: round, phase, members, and the loss of the model.

use crate::display::short_hash;
use pol_primitives::{Hash, RoundNumber, round::Phase};

/// Number of losses that the sparkline shows.
const MAX_LOSSES: usize = 24;
/// Columns of a progress bar.
const BAR_WIDTH: usize = 20;
/// Columns of an account's name.
const NAME_WIDTH: usize = 13;

/// State of the network at a block, as far as the panel shows it.
pub(super) struct PanelView<'a> {
    /// Current round.
    pub(super) round: RoundNumber,
    /// Current phase.
    pub(super) phase: Phase,
    /// Blocks since the phase began.
    pub(super) elapsed_blocks: u32,
    /// Limit of the phase in blocks; `None` while it waits for its first lease.
    pub(super) limit_blocks: Option<u32>,
    /// Root of the head; `None` before round 0 is attested.
    pub(super) head: Option<Hash>,
    /// Height of the last finalised block.
    pub(super) finalised: u32,
    /// Members, in the order in which they are listed.
    pub(super) members: &'a [MemberView],
    /// Number of members that are not listed.
    pub(super) unlisted: usize,
    /// Held-out losses of the models so far, in nats per token.
    pub(super) losses: &'a [f64],
    /// Tokens per second of the last round, over all trainers.
    pub(super) tokens_per_second: Option<f64>,
}

/// State of one member in the current round.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MemberView {
    /// Name for people.
    pub(super) name: String,
    /// Activity in the current phase.
    pub(super) activity: Activity,
}

/// Activity of a member in the current phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Activity {
    /// The member has no part in the round.
    Idle,
    /// The trainer trains. The share of the work is an estimate from the last round's duration.
    Training {
        /// Estimated share that is done, 0 to 1; `None` in the first round.
        share: Option<f64>,
    },
    /// The trainer has committed to its update.
    Committed {
        /// Speed that the trainer claims.
        tokens_per_second: u32,
    },
    /// The trainer has opened its commitment.
    Revealed {
        /// Speed that the trainer claims.
        tokens_per_second: u32,
    },
    /// The validator checks updates and computes the next model.
    Checking,
    /// The validator has reported the updates that it holds.
    Reported,
    /// The validator has attested the next model.
    Attested,
}

/// Renders the panel as lines of text. `rounds` is the number of rounds to observe.
pub(super) fn render(view: &PanelView<'_>, rounds: Option<u32>) -> Vec<String> {
    let phase = format!("{:?}", view.phase).to_lowercase();
    let progress = view.limit_blocks.filter(|&limit| limit > 0).map_or_else(
        || "waits for a trainer".to_owned(),
        |limit| {
            let share = f64::from(view.elapsed_blocks) / f64::from(limit);
            format!("{} {} of at most {limit} blocks", bar(share), view.elapsed_blocks)
        },
    );
    let head =
        view.head.map_or("no model yet".to_owned(), |root| format!("model {}", short_hash(&root)));
    let of = rounds.map_or(String::new(), |rounds| format!(" of {rounds}"));
    let mut lines = vec![format!(
        "round {}{of} · {phase:<6} {progress} · {head} · finalised {}",
        view.round, view.finalised
    )];
    lines.extend(view.members.iter().map(member_line));
    if view.unlisted > 0 {
        lines.push(format!("  … {} more", view.unlisted));
    }
    if let (Some(first), Some(last)) = (view.losses.first(), view.losses.last()) {
        let speed =
            view.tokens_per_second.map_or(String::new(), |speed| format!(" · {speed:.0} tokens/s"));
        lines.push(format!("loss {first:.3} {} {last:.3}{speed}", sparkline(view.losses)));
    }
    lines
}

fn member_line(member: &MemberView) -> String {
    let activity = match member.activity {
        Activity::Idle => "waits".to_owned(),
        Activity::Training { share: None } => "trains".to_owned(),
        Activity::Training { share: Some(share) } => {
            format!("trains {} about {:.0} %", bar(share), share.clamp(0.0, 1.0) * 100.0)
        }
        Activity::Committed { tokens_per_second } => {
            format!("has committed, {tokens_per_second} tokens/s")
        }
        Activity::Revealed { tokens_per_second } => {
            format!("has revealed, {tokens_per_second} tokens/s")
        }
        Activity::Checking => "checks and aggregates".to_owned(),
        Activity::Reported => "has reported its updates".to_owned(),
        Activity::Attested => "has attested the next model".to_owned(),
    };
    format!("  {:<NAME_WIDTH$} {activity}", member.name)
}

/// Returns a bar of [`BAR_WIDTH`] columns with the given share filled.
fn bar(share: f64) -> String {
    let filled = (share.clamp(0.0, 1.0) * BAR_WIDTH as f64).round() as usize;
    format!("{}{}", "█".repeat(filled), "░".repeat(BAR_WIDTH - filled))
}

/// Returns one block character per value, the newest [`MAX_LOSSES`], scaled to their range.
pub(super) fn sparkline(values: &[f64]) -> String {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let values = &values[values.len().saturating_sub(MAX_LOSSES)..];
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let level = |value: f64| {
        let share = (value - lowest) / (highest - lowest);
        // A flat or undefined range gives NaN, which the cast turns into zero.
        LEVELS[((share * 7.0).round() as usize).min(7)]
    };
    values.iter().copied().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'a>(members: &'a [MemberView], losses: &'a [f64]) -> PanelView<'a> {
        PanelView {
            round: 4,
            phase: Phase::Train,
            elapsed_blocks: 25,
            limit_blocks: Some(100),
            head: Some([0xab; 32]),
            finalised: 120,
            members,
            unlisted: 0,
            losses,
            tokens_per_second: Some(1_234.5),
        }
    }

    #[test]
    fn a_panel_names_round_members_and_loss() {
        let members = [
            MemberView {
                name: "trainer-1".into(),
                activity: Activity::Training { share: Some(0.5) },
            },
            MemberView {
                name: "trainer-2".into(),
                activity: Activity::Committed { tokens_per_second: 640 },
            },
        ];
        assert_eq!(
            render(&view(&members, &[9.0, 8.0, 5.5]), Some(10)),
            [
                "round 4 of 10 · train  █████░░░░░░░░░░░░░░░ 25 of at most 100 blocks · \
                 model 0xabababab… · finalised 120",
                "  trainer-1     trains ██████████░░░░░░░░░░ about 50 %",
                "  trainer-2     has committed, 640 tokens/s",
                "loss 9.000 █▆▁ 5.500 · 1234 tokens/s",
            ]
        );
    }

    #[test]
    fn a_panel_without_facts_says_so() {
        let waiting = PanelView { limit_blocks: None, head: None, ..view(&[], &[]) };
        assert_eq!(
            render(&waiting, None),
            ["round 4 · train  waits for a trainer · no model yet · finalised 120"]
        );
        let crowded = PanelView { unlisted: 3, ..view(&[], &[]) };
        assert!(render(&crowded, None).iter().any(|line| line == "  … 3 more"));
    }

    #[test]
    fn shares_and_losses_out_of_range_are_drawn() {
        assert_eq!(bar(7.0), "█".repeat(BAR_WIDTH));
        assert_eq!(bar(f64::NAN), "░".repeat(BAR_WIDTH));
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[2.0, 2.0]), "▁▁");
        assert_eq!(sparkline(&[1.0, f64::NAN, 2.0]), "▁▁█");
        assert_eq!(sparkline(&vec![1.0; 99]).chars().count(), MAX_LOSSES);
    }
}
