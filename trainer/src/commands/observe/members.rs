// SPDX-License-Identifier: Apache-2.0

//! Members of a network: their activity in the current round, and their payments.

use super::{
    panel::{Activity, MemberView},
    payments::Payments,
    summary::{AccountSummary, RoundSummary},
};
use crate::{
    display::{account_name, role_name},
    error::RoleError,
};
use pol_chain::{AccountId, Chain, format_account};
use pol_primitives::{
    RoundNumber,
    member::Role,
    queries::{Member, Overview},
    round::Phase,
    submission::{Outcome, SubmissionStatus},
};
use std::collections::BTreeSet;

/// Number of members whose activity and payments are observed. Each costs up to two requests per
/// block.
const MAX_MEMBERS: usize = 16;
/// Number of manifests that are searched for providers.
const MAX_MANIFESTS: u32 = 256;

/// Members as last observed.
#[derive(Default)]
pub(super) struct Members {
    members: Vec<Member<AccountId>>,
    payments: Payments,
}

impl Members {
    /// Reads the members and the rewards that wait for them.
    pub(super) async fn update(
        &mut self,
        chain: &Chain,
        now: RoundNumber,
    ) -> Result<(), RoleError> {
        self.members = chain.members().await?;
        // Storage order is random, so members are listed by role and name.
        self.members.sort_by_key(|member| (member.role as u8, account_name(&member.account)));
        for member in self.members.iter().take(MAX_MEMBERS) {
            let pending = chain.pending_rewards(&member.account).await?;
            self.payments.note(member.account, &pending, now);
        }
        Ok(())
    }

    /// Returns the number of members that are not observed.
    pub(super) fn unobserved(&self) -> usize {
        self.members.len().saturating_sub(MAX_MEMBERS)
    }

    /// Returns the activity of each observed member. `share` is the estimated share of the training
    /// phase that is over.
    pub(super) async fn activities(
        &self,
        chain: &Chain,
        overview: &Overview,
        share: Option<f64>,
    ) -> Result<Vec<MemberView>, RoleError> {
        let round = &overview.round;
        let submissions = chain.submissions(round.number).await?;
        let done: Vec<AccountId> = match round.phase {
            Phase::Hold => chain.held_reports().await?.into_iter().map(|(who, _)| who).collect(),
            Phase::Attest => {
                chain.attestations().await?.into_iter().map(|vote| vote.account).collect()
            }
            Phase::Idle | Phase::Train | Phase::Reveal => Vec::new(),
        };
        let mut views = Vec::new();
        for Member { account, role, .. } in self.members.iter().take(MAX_MEMBERS) {
            let submission = submissions.iter().find(|(trainer, _)| trainer == account);
            let activity = match submission {
                Some((_, submission)) => {
                    let tokens_per_second = submission.claims.tokens_per_second;
                    match submission.status {
                        SubmissionStatus::Committed => Activity::Committed { tokens_per_second },
                        SubmissionStatus::Revealed | SubmissionStatus::Included => {
                            Activity::Revealed { tokens_per_second }
                        }
                    }
                }
                None if role.attests() => match round.phase {
                    Phase::Hold if done.contains(account) => Activity::Reported,
                    Phase::Attest if done.contains(account) => Activity::Attested,
                    Phase::Hold | Phase::Attest => Activity::Checking,
                    Phase::Idle | Phase::Train | Phase::Reveal => Activity::Idle,
                },
                None if round.phase == Phase::Train && chain.lease(account).await?.is_some() => {
                    Activity::Training { share }
                }
                None => Activity::Idle,
            };
            views.push(MemberView { name: account_name(account), activity });
        }
        Ok(views)
    }

    /// Summarises what each observed member was paid, and why.
    pub(super) async fn accounts(
        &self,
        chain: &Chain,
        rounds: &[RoundSummary],
    ) -> Result<Vec<AccountSummary>, RoleError> {
        let mut providers = BTreeSet::new();
        for id in 0..chain.manifest_count().await?.min(MAX_MANIFESTS) {
            providers.extend(chain.manifest(id).await?.map(|manifest| manifest.owner));
        }
        let members = self.members.iter().take(MAX_MEMBERS);
        Ok(members
            .map(|member| {
                let payments = self.payments.of(&member.account);
                AccountSummary {
                    name: account_name(&member.account),
                    account: format_account(&member.account),
                    role: role_name(member.role),
                    paid: payments.paid,
                    waiting: payments.waiting(),
                    reason: reason(member, providers.contains(&member.account), rounds),
                }
            })
            .collect())
    }
}

/// Returns the reason for a member's payments.
fn reason(member: &Member<AccountId>, provides: bool, rounds: &[RoundSummary]) -> String {
    let account = format_account(&member.account);
    let audits = || rounds.iter().flat_map(|round| &round.audits);
    let mut reasons = Vec::new();
    if member.role == Role::Trainer {
        let own: Vec<_> = audits().filter(|audit| audit.trainer == account).collect();
        let valid = own.iter().filter(|audit| audit.outcome == Outcome::Valid).count();
        let scores = own.iter().map(|audit| audit.score).sum::<f64>();
        let all = audits().map(|audit| audit.score).sum::<f64>();
        let share = if all > 0.0 { 100.0 * scores / all } else { 0.0 };
        let updates = own.len();
        reasons.push(format!(
            "{valid} of {updates} updates valid, {share:.0} % of the measured improvement"
        ));
    } else {
        reasons.push("right findings in audits".to_owned());
    }
    if provides {
        reasons.push("data that the model learned from".to_owned());
    }
    reasons.join("; ")
}

/// Returns the estimated share of the training phase that is over: its age relative to the duration
/// of the phase in the last round that trained.
pub(super) fn training_share(
    rounds: &[RoundSummary],
    current: RoundNumber,
    elapsed_seconds: f64,
) -> Option<f64> {
    let last = rounds.iter().rev().find(|round| round.number < current)?;
    let seconds = last.seconds.get("train").filter(|&&seconds| seconds > 0.0)?;
    Some((elapsed_seconds / seconds).min(0.99))
}
