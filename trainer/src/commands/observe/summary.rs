// SPDX-License-Identifier: Apache-2.0

//! Summary of an observation, which `--out` writes as JSON.

use super::heads::ObservedHead;
use crate::commands::balances::{RewardTotals, as_text};
use anyhow::{Context, Result};
use pol_chain::{AccountId, format_account};
use pol_primitives::{
    Balance, RoundNumber,
    metrics::MetricsSummary,
    rewrite::Rewrite,
    submission::{Outcome, SubmissionRecord},
};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// Everything that was observed.
#[derive(Default, Serialize)]
pub(super) struct Summary {
    pub(super) rounds: Vec<RoundSummary>,
    /// Members and their payments, at the end.
    pub(super) accounts: Vec<AccountSummary>,
    /// Totals of the rewards at the end.
    pub(super) rewards: Option<RewardTotals>,
    pub(super) chain: ChainSummary,
}

/// Payments of a member.
#[derive(Serialize)]
pub(super) struct AccountSummary {
    /// Name for people.
    pub(super) name: String,
    pub(super) account: String,
    pub(super) role: &'static str,
    /// Rewards that were claimed while the network was observed, in the token's smallest unit.
    #[serde(serialize_with = "as_text")]
    pub(super) paid: Balance,
    /// Rewards that still wait, in the token's smallest unit.
    #[serde(serialize_with = "as_text")]
    pub(super) waiting: Balance,
    /// Reason for the payments, for people.
    pub(super) reason: String,
}

/// Numbers of blocks.
#[derive(Default, Serialize)]
pub(super) struct ChainSummary {
    pub(super) best: u32,
    pub(super) finalised: u32,
}

/// Round that moved the head.
#[derive(Serialize)]
pub(super) struct RoundSummary {
    pub(super) number: RoundNumber,
    pub(super) root: String,
    /// Accounts whose updates are part of the model.
    pub(super) included: Vec<String>,
    /// Rewrite that the round made instead of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rewrite: Option<Rewrite>,
    pub(super) tokens: u64,
    /// Loss of the model before the round, in nats per token.
    pub(super) heldout_loss_before: Option<f64>,
    /// Loss of the model after the round, in nats per token.
    pub(super) heldout_loss_after: Option<f64>,
    /// Observed duration of each phase, in seconds.
    pub(super) seconds: BTreeMap<&'static str, f64>,
    /// Measurement by validators in millionths, `None` until it is decided.
    pub(super) measured: Option<MetricsSummary>,
    /// Outcomes of the included updates that are settled.
    pub(super) audits: Vec<AuditSummary>,
}

/// Outcome of an update.
#[derive(Serialize)]
pub(super) struct AuditSummary {
    pub(super) trainer: String,
    pub(super) outcome: Outcome,
    /// Improvement of unassigned text that is due to the update, in nats per token.
    gain: f64,
    /// Gain that is paid.
    pub(super) score: f64,
}

impl Summary {
    /// Replaces the file at `path`.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let next = path.with_extension("next");
        std::fs::write(&next, serde_json::to_vec_pretty(self)?)
            .and_then(|()| std::fs::rename(&next, path))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

impl RoundSummary {
    /// Summarises the round between two heads. `seconds` are the durations of its phases.
    pub(super) fn new(
        before: &ObservedHead,
        after: &ObservedHead,
        seconds: BTreeMap<&'static str, f64>,
    ) -> Self {
        Self {
            number: after.head.round,
            root: format!("0x{}", hex::encode(after.head.root)),
            included: after.included.iter().map(format_account).collect(),
            rewrite: after.recipe.rewrite_from(&before.recipe).ok().flatten(),
            tokens: after.head.tokens - before.head.tokens,
            heldout_loss_before: before.loss,
            heldout_loss_after: after.loss,
            seconds,
            measured: None,
            audits: Vec::new(),
        }
    }

    /// Returns the tokens trained on per second of the training phase.
    pub(super) fn tokens_per_second(&self) -> Option<f64> {
        let seconds = self.seconds.get("train").filter(|&&seconds| seconds > 0.0)?;
        Some(self.tokens as f64 / seconds)
    }

    /// Returns `true` if all included updates are settled.
    pub(super) fn is_settled(&self) -> bool {
        self.audits.len() >= self.included.len()
    }
}

impl AuditSummary {
    pub(super) fn new(trainer: &AccountId, record: &SubmissionRecord) -> Self {
        let gain = f64::from(record.gain) / 1e9;
        let score = if record.outcome.stays() { gain.max(0.0) } else { 0.0 };
        Self { trainer: format_account(trainer), outcome: record.outcome, gain, score }
    }
}
