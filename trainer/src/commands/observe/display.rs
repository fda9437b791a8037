// SPDX-License-Identifier: Apache-2.0

//! Output of an observation: a live panel, a line per round, and a table at the end; or JSON.

use super::{
    heads::ObservedHead,
    panel::{PanelView, render, sparkline},
    summary::{AuditSummary, RoundSummary, Summary},
};
use crate::{
    commands::{balances::RewardTotals, progress::progress_bar},
    display::{account_name, format_amount, short_hash},
    metrics::format_metrics,
};
use anyhow::Result;
use indicatif::ProgressBar;
use pol_chain::parse_account;
use pol_primitives::{metrics::ModelMetrics, submission::Outcome};
use serde_json::json;

/// Standard output, and the panel on a terminal.
pub(super) struct Display {
    panel: ProgressBar,
    /// Number of rounds to observe.
    rounds: Option<u32>,
    json: bool,
    verbose: bool,
}

impl Display {
    /// Creates a display of `rounds` rounds, or of an endless observation.
    pub(super) fn new(rounds: Option<u32>, json: bool, verbose: bool) -> Self {
        Self { panel: progress_bar(json, "{msg}"), rounds, json, verbose }
    }

    /// Returns `true` if there is no terminal to draw the panel on.
    pub(super) fn is_hidden(&self) -> bool {
        self.panel.is_hidden()
    }

    /// Draws the panel.
    pub(super) fn show(&self, view: &PanelView<'_>) {
        self.panel.set_message(render(view, self.rounds).join("\n"));
    }

    /// Prints the head at which the observation starts.
    pub(super) fn print_first_head(&self, head: &ObservedHead) {
        if let Some(loss) = head.loss.filter(|_| !self.json) {
            let root = short_hash(&head.head.root);
            self.print_line(&format!("initial model {root}: held-out loss {loss:.4}"));
        }
    }

    /// Prints a round that moved the head, and counts it.
    pub(super) fn print_round(&self, round: &RoundSummary) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string(round)?);
        } else {
            self.print_line(&format!("round {:>3}: {}", round.number, describe_round(round)?));
        }
        Ok(())
    }

    /// Prints the validators' measurement of a round's head.
    pub(super) fn print_measurement(&self, round: &RoundSummary, metrics: &ModelMetrics) {
        let number = round.number;
        if self.json {
            println!("{}", json!({ "round": number, "measured": round.measured }));
        } else if self.verbose {
            self.print_line(&format!("round {number:>3}: measured: {}", format_metrics(metrics)));
        }
    }

    /// Prints the outcomes of a round's updates. Without `--verbose` people see only those that
    /// were not valid before the table at the end.
    pub(super) fn print_audits(&self, round: &RoundSummary) {
        let number = round.number;
        if self.json {
            println!("{}", json!({ "round": number, "audits": round.audits }));
        } else if self.verbose || round.audits.iter().any(|audit| audit.outcome != Outcome::Valid) {
            let audits = describe_audits(&round.audits);
            self.print_line(&format!("round {number:>3}: audits: {audits}"));
        }
    }

    /// Prints the table of rounds, the payments of all members, and the totals of the rewards.
    /// `unobserved` is the number of members whose payments are unknown.
    pub(super) fn print_end(&self, summary: &Summary, unobserved: usize, rewards: &RewardTotals) {
        if self.json {
            println!("{}", json!({ "accounts": summary.accounts, "rewards": rewards }));
            return;
        }
        for line in end_table(summary, unobserved) {
            println!("{line}");
        }
        println!("{rewards}");
    }

    /// Removes the panel.
    pub(super) fn clear(&self) {
        self.panel.finish_and_clear();
    }

    /// Prints a line above the panel.
    fn print_line(&self, line: &str) {
        self.panel.suspend(|| println!("{line}"));
    }
}

/// Describes a round in one line.
fn describe_round(round: &RoundSummary) -> Result<String> {
    let change = describe_losses(round).unwrap_or_else(|| "no held-out text".into());
    if let Some(rewrite) = round.rewrite {
        return Ok(format!("loss {change}, rewritten by {}", serde_json::to_string(&rewrite)?));
    }
    Ok(format!(
        "loss {change}, {} updates, {} tokens at {:.0} tokens/s, {:.0} s",
        round.included.len(),
        round.tokens,
        round.tokens_per_second().unwrap_or_default(),
        round.seconds.values().sum::<f64>(),
    ))
}

/// Describes the held-out losses before and after a round, in nats per token.
fn describe_losses(round: &RoundSummary) -> Option<String> {
    Some(format!("{:.4} → {:.4}", round.heldout_loss_before?, round.heldout_loss_after?))
}

/// Describes the outcomes of a round's updates. Trainers are named where their updates did not
/// stay.
fn describe_audits(audits: &[AuditSummary]) -> String {
    let mut outcomes: Vec<(Outcome, Vec<String>)> = Vec::new();
    for audit in audits {
        let name = parse_account(&audit.trainer)
            .map_or_else(|_| audit.trainer.clone(), |account| account_name(&account));
        match outcomes.iter_mut().find(|(outcome, _)| *outcome == audit.outcome) {
            Some((_, names)) => names.push(name),
            None => outcomes.push((audit.outcome, vec![name])),
        }
    }
    let texts: Vec<_> = outcomes
        .into_iter()
        .map(|(outcome, names)| {
            let text = format!("{} {}", names.len(), format!("{outcome:?}").to_lowercase());
            if outcome.stays() { text } else { format!("{text} ({})", names.join(", ")) }
        })
        .collect();
    if texts.is_empty() { "none yet".into() } else { texts.join(", ") }
}

/// Renders the table of all rounds and of what each member was paid.
fn end_table(summary: &Summary, unobserved: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.push(format!(
        "{:>5}  {:<19}  {:>7}  {:>10}  {:>7}  {}",
        "round", "held-out loss", "updates", "tokens", "seconds", "audits"
    ));
    let mut losses = Vec::new();
    for round in &summary.rounds {
        losses.extend(round.heldout_loss_before.filter(|_| losses.is_empty()));
        losses.extend(round.heldout_loss_after);
        lines.push(format!(
            "{:>5}  {:<19}  {:>7}  {:>10}  {:>7.0}  {}",
            round.number,
            describe_losses(round).unwrap_or_default(),
            round.included.len(),
            round.tokens,
            round.seconds.values().sum::<f64>(),
            describe_audits(&round.audits)
        ));
    }
    if let (Some(first), Some(last)) = (losses.first(), losses.last()) {
        lines.push(format!("loss {first:.3} {} {last:.3}", sparkline(&losses)));
    }
    lines.push(String::new());
    lines.push(format!(
        "{:<13}  {:<9}  {:>16}  {:>16}  {}",
        "account", "role", "paid", "waiting", "reason"
    ));
    for account in &summary.accounts {
        lines.push(format!(
            "{:<13}  {:<9}  {:>16}  {:>16}  {}",
            account.name,
            account.role,
            format_amount(account.paid),
            format_amount(account.waiting),
            account.reason
        ));
    }
    if unobserved > 0 {
        lines.push(format!("… and {unobserved} more members"));
    }
    lines.push(String::new());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::submission::SubmissionRecord;

    #[test]
    fn trainers_are_named_where_their_updates_did_not_stay() {
        let audit = |account, outcome| {
            let record = SubmissionRecord {
                outcome,
                tier: pol_primitives::recipe::Tier::Miner,
                staleness: 0,
                index: 0,
                payload_hash: [0; 32],
                data_hash: [0; 32],
                tokens: 0,
                gain: 0,
            };
            AuditSummary::new(&account, &record)
        };
        let name = account_name(&[9; 32]);
        assert_eq!(
            describe_audits(&[
                audit([7; 32], Outcome::Valid),
                audit([9; 32], Outcome::Invalid),
                audit([8; 32], Outcome::Valid),
            ]),
            format!("2 valid, 1 invalid ({name})")
        );
        assert_eq!(describe_audits(&[]), "none yet");
    }
}
