// SPDX-License-Identifier: Apache-2.0

//! Rounds, updates and audits.

use super::BlockReader;
use crate::facts::{
    AuditDraw, AuditStep, AuditStepKind, Commit, ConsumedShard, Lease, Measurement, PhaseStart,
    Reveal, RoundEnd, Seat, Settlement, Vote, VoteKind,
};
use pol_chain::{AccountId, ChainError, ChainEvent};
use pol_primitives::{
    Hash, RoundNumber,
    audit::AuditId,
    metrics::{HeadMeasurement, MetricsSummary},
    submission::{Submission, SubmissionRecord, SubmissionStatus},
};
use std::collections::BTreeSet;

impl BlockReader {
    /// Notes an event about learning.
    pub(super) async fn note_learning(&mut self, event: &ChainEvent) -> Result<(), ChainError> {
        match *event {
            ChainEvent::PhaseEntered { number: round, phase, deadline } => {
                self.facts.push(&PhaseStart { round, phase, deadline });
                Ok(())
            }
            ChainEvent::HeadAdvanced { head } => self.add_round(head.round).await,
            ChainEvent::RoundVoid { number } => self.add_round(number).await,
            ChainEvent::HeadMeasured { round, measured } => {
                self.facts.push(&measurement(round, &measured));
                Ok(())
            }
            ChainEvent::Leased { account, due_round, .. } => {
                self.add_lease(account, due_round).await
            }
            ChainEvent::Committed { account, round } => self.add_commit(account, round).await,
            ChainEvent::Revealed { account, round, payload_hash, index } => {
                self.add_reveal(account, round, payload_hash, index).await
            }
            ChainEvent::PlaceLost { account, due_round } => {
                self.facts.push(&settlement(due_round, account, None));
                Ok(())
            }
            ChainEvent::Concluded { account, round, status } => {
                self.add_conclusion(account, round, status).await
            }
            ChainEvent::Settled { audit, account, round, outcome, score } => {
                let step = step(audit, AuditStepKind::Settled, Some(account));
                self.facts.push(&AuditStep { outcome: Some(outcome), ..step });
                self.add_settlement(account, round, audit, score).await?;
                if outcome.stays() { self.add_shards(account, round).await } else { Ok(()) }
            }
            ChainEvent::AuditDrawn { audit, round, draw, cases } => {
                self.facts.push(&AuditDraw { audit, round, draw, cases });
                self.facts.push(&step(audit, AuditStepKind::Drawn, None));
                self.add_seats(audit).await
            }
            ref other => {
                self.note_vote(other);
                self.note_step(other);
                Ok(())
            }
        }
    }

    fn note_vote(&mut self, event: &ChainEvent) {
        let (account, round, kind, root) = match *event {
            ChainEvent::HeldReported { account, round, .. } => {
                (account, round, VoteKind::Held, None)
            }
            ChainEvent::Attested { account, round, root } => {
                (account, round, VoteKind::Attested, Some(root))
            }
            ChainEvent::WrongRoot { account, round, .. } => {
                (account, round, VoteKind::WrongRoot, None)
            }
            ChainEvent::HeadReported { account, round } => {
                (account, round, VoteKind::Measured, None)
            }
            _ => return,
        };
        self.facts.push(&Vote { round, account, kind, root });
    }

    fn note_step(&mut self, event: &ChainEvent) {
        let step = match *event {
            ChainEvent::StatesServed { audit, account } => {
                step(audit, AuditStepKind::Shown, Some(account))
            }
            ChainEvent::AuditCommitted { audit, account } => {
                step(audit, AuditStepKind::Replayed, Some(account))
            }
            ChainEvent::SegmentsOpened { audit, account } => {
                step(audit, AuditStepKind::Opened, Some(account))
            }
            ChainEvent::AuditRevealed { audit, account } => {
                step(audit, AuditStepKind::Revealed, Some(account))
            }
            ChainEvent::Undecided { audit, account, .. } => {
                step(audit, AuditStepKind::Undecided, Some(account))
            }
            ChainEvent::SeatFailed { audit, account, trainer } => AuditStep {
                trainer: Some(trainer),
                ..step(audit, AuditStepKind::SeatFailed, Some(account))
            },
            ChainEvent::Fined { audit, account, amount } => AuditStep {
                amount: Some(amount),
                ..step(audit, AuditStepKind::Fined, Some(account))
            },
            ChainEvent::AuditEnded { audit } => step(audit, AuditStepKind::Ended, None),
            _ => return,
        };
        self.facts.push(&step);
    }

    async fn add_round(&mut self, round: RoundNumber) -> Result<(), ChainError> {
        let Some(record) = self.here.round_record(round).await? else { return Ok(()) };
        let head = record.head;
        let count = |items: usize| u32::try_from(items).unwrap_or(u32::MAX);
        self.facts.push(&RoundEnd {
            round,
            opened_at: record.opened_at,
            revealed: count(record.revealed.len()),
            included: record.included.len(),
            excised: count(record.excised.len()),
            root: head.map(|head| head.root),
            recipe: head.map(|head| head.recipe_hash),
            lineage: head.map(|head| head.lineage_hash),
            tokens: head.map(|head| head.tokens),
        });
        Ok(())
    }

    async fn add_lease(
        &mut self,
        account: AccountId,
        round: RoundNumber,
    ) -> Result<(), ChainError> {
        // A place that was lost in the same block leaves no lease.
        let found = self.here.lease(&account).await?.filter(|lease| lease.due_round == round);
        if let Some(lease) = found {
            let (granted, tier) = (lease.round, lease.tier);
            let shards = lease.shards.into_inner();
            self.facts.push(&Lease { round, account, granted, tier, shards });
        }
        Ok(())
    }

    /// Returns the account's submission to a round, as it is after the block.
    async fn submission(
        &mut self,
        account: AccountId,
        round: RoundNumber,
    ) -> Result<Option<Submission>, ChainError> {
        if !self.submissions.contains_key(&round) {
            self.submissions.insert(round, self.here.submissions(round).await?);
        }
        let all = self.submissions.get(&round).into_iter().flatten();
        Ok(all.filter(|(other, _)| *other == account).map(|(_, one)| one.clone()).next())
    }

    /// Returns the record of the account's submission to a round that is settled.
    async fn record(
        &mut self,
        account: AccountId,
        round: RoundNumber,
    ) -> Result<Option<SubmissionRecord>, ChainError> {
        if !self.history.contains_key(&round) {
            self.history.insert(round, self.here.history(round).await?);
        }
        let all = self.history.get(&round).into_iter().flatten();
        Ok(all.filter(|(other, _)| *other == account).map(|(_, one)| *one).next())
    }

    async fn add_commit(
        &mut self,
        account: AccountId,
        round: RoundNumber,
    ) -> Result<(), ChainError> {
        let submission = self.submission(account, round).await?;
        let claims = submission.map(|submission| submission.claims).unwrap_or_default();
        self.facts.push(&Commit {
            round,
            account,
            first_loss: claims.first_loss,
            last_loss: claims.last_loss,
            tokens_per_second: claims.tokens_per_second,
        });
        Ok(())
    }

    async fn add_reveal(
        &mut self,
        account: AccountId,
        round: RoundNumber,
        payload: Hash,
        number: u8,
    ) -> Result<(), ChainError> {
        let opened = self.submission(account, round).await?.and_then(|one| one.opened);
        let (steps, tokens) = opened.map_or((0, 0), |opened| (opened.steps.into(), opened.tokens));
        self.facts.push(&Reveal { round, account, number, payload, steps, tokens });
        Ok(())
    }

    /// Adds the end of a lease whose update is not audited.
    async fn add_conclusion(
        &mut self,
        account: AccountId,
        round: RoundNumber,
        status: Option<SubmissionStatus>,
    ) -> Result<(), ChainError> {
        let record = match status {
            Some(SubmissionStatus::Included) => return Ok(()),
            Some(_) => self.record(account, round).await?,
            None => None,
        };
        self.facts.push(&settlement(round, account, record));
        Ok(())
    }

    async fn add_settlement(
        &mut self,
        account: AccountId,
        round: RoundNumber,
        audit: AuditId,
        score: u32,
    ) -> Result<(), ChainError> {
        let record = self.record(account, round).await?;
        let settled = settlement(round, account, record);
        self.facts.push(&Settlement { audit: Some(audit), score, ..settled });
        Ok(())
    }

    /// Adds the shards of a valid update. Its lease is gone with the settlement.
    async fn add_shards(
        &mut self,
        account: AccountId,
        round: RoundNumber,
    ) -> Result<(), ChainError> {
        let lease = match self.before.audited_lease(round, &account).await? {
            Some(lease) => Some(lease),
            // It is concluded in the same block.
            None => self.before.lease(&account).await?.filter(|lease| lease.due_round == round),
        };
        for id in lease.into_iter().flat_map(|lease| lease.shards.into_inner()) {
            let Some(record) = self.here.shard_record(id).await? else { continue };
            self.facts.push(&ConsumedShard {
                manifest: id.manifest,
                shard: id.index,
                round,
                account,
                delta: record.delta,
            });
        }
        Ok(())
    }

    async fn add_seats(&mut self, audit: AuditId) -> Result<(), ChainError> {
        let Some(drawn) = self.here.audit(audit).await? else { return Ok(()) };
        for case in &drawn.cases {
            let holders =
                case.seats.iter().filter_map(|&seat| drawn.holders.get(usize::from(seat)));
            // A validator may have several seats on one update.
            let validators: BTreeSet<_> = holders.map(|holder| holder.account).collect();
            for validator in validators {
                self.facts.push(&Seat { audit, trainer: case.trainer, validator });
            }
        }
        Ok(())
    }
}

fn step(audit: AuditId, kind: AuditStepKind, account: Option<AccountId>) -> AuditStep {
    AuditStep { audit, kind, account, trainer: None, outcome: None, amount: None }
}

fn settlement(
    round: RoundNumber,
    account: AccountId,
    record: Option<SubmissionRecord>,
) -> Settlement {
    Settlement {
        round,
        account,
        outcome: record.map(|record| record.outcome),
        audit: None,
        score: 0,
        gain: record.map_or(0, |record| record.gain),
        tokens: record.map_or(0, |record| record.tokens),
        staleness: record.map_or(0, |record| record.staleness),
    }
}

fn measurement(round: RoundNumber, measured: &HeadMeasurement) -> Measurement {
    let MetricsSummary {
        loss,
        level,
        self_awareness,
        auroc,
        calibration_error,
        reasoning,
        introspection,
        coherence,
        meta_cognition,
        utilisation,
    } = measured.metrics.summary();
    Measurement {
        round,
        share: measured.share,
        loss,
        level,
        self_awareness,
        auroc,
        calibration_error,
        reasoning,
        introspection,
        coherence,
        meta_cognition,
        utilisation,
    }
}
