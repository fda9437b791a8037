// SPDX-License-Identifier: Apache-2.0

//! Facts of the chain, read at a block and put into metrics.

use pol_chain::{AccountId, Chain, ChainError};
use pol_metrics::{Block, Measure, MemberRole, RoundPhase, Total};
use pol_primitives::{
    Balance, Hash, MILLION, POL, Ppm, RoundNumber,
    audit::{Audit, Stage},
    beacon::{AwaitedPulse, BeaconConfig},
    head::Head,
    member::Role,
    metrics::ModelMetrics,
    queries::{Member, Overview, PendingReward},
    rewards::Ledger,
    round::{BlockNumber, Phase, Round},
};

/// Reader of the facts. It remembers what changes seldom.
pub(super) struct FactReader {
    account: Option<AccountId>,
    /// Height of the last final block.
    finalised: Option<BlockNumber>,
    /// Root of the head.
    head: Option<Hash>,
    /// Round in which members and books were read last.
    round: Option<RoundNumber>,
}

impl FactReader {
    /// Creates a reader that also reads the facts of `account`.
    pub(super) fn new(account: Option<AccountId>) -> Self {
        Self { account, finalised: None, head: None, round: None }
    }

    /// Reads all facts at the block of `chain`.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub(super) async fn read(&mut self, chain: &Chain) -> Result<(), ChainError> {
        let overview = chain.overview().await?;
        let finalised = chain.finalised_block().await?.number;
        self.note_blocks(overview.height, finalised);
        note_round(&overview.round);
        self.note_head(overview.head.as_ref());
        let network = pol_metrics::network();
        network.free_shards.set(overview.free_shards.into());
        network.stake_pol.set(pol(overview.validator_stake));
        if let Some(head) = overview.head
            && let Some(measured) = chain.head_measurement(head.round).await?
        {
            note_measurement(head.round, &measured.metrics);
        }
        note_beacon(chain.beacon().await?.as_ref(), chain.awaited_pulse().await?.as_ref());
        let audits: Vec<_> = chain.audits().await?.into_iter().map(|(_, audit)| audit).collect();
        network.open_audits.set(audits.len() as f64);
        if let Some(account) = &self.account {
            read_account(chain, account, &audits).await?;
        }
        self.read_seldom(chain, &overview).await
    }

    /// Reads what is long to read, once a round.
    async fn read_seldom(&mut self, chain: &Chain, overview: &Overview) -> Result<(), ChainError> {
        if self.round != Some(overview.round.number) {
            note_members(&chain.members().await?);
            note_books(&chain.ledger().await?);
            self.round = Some(overview.round.number);
        }
        Ok(())
    }

    fn note_blocks(&mut self, best: BlockNumber, finalised: BlockNumber) {
        let chain = pol_metrics::chain();
        chain.block_height.put(Block::Best, best.into());
        chain.block_height.put(Block::Final, finalised.into());
        if self.finalised.replace(finalised) != Some(finalised) {
            chain.last_finality_timestamp_seconds.set_now();
        }
    }

    fn note_head(&mut self, head: Option<&Head>) {
        let Some(head) = head else { return };
        let metrics = pol_metrics::head();
        metrics.round.set(head.round.into());
        metrics.tokens.set(head.tokens as f64);
        if self.head.replace(head.root) != Some(head.root) {
            metrics.last_change_timestamp_seconds.set_now();
        }
    }
}

/// Returns a balance in POL.
pub(crate) fn pol(balance: Balance) -> f64 {
    balance as f64 / POL as f64
}

fn note_round(round: &Round) {
    let metrics = pol_metrics::round();
    metrics.number.set(round.number.into());
    metrics.phase.select(match round.phase {
        Phase::Idle => RoundPhase::Idle,
        Phase::Train => RoundPhase::Train,
        Phase::Reveal => RoundPhase::Reveal,
        Phase::Hold => RoundPhase::Hold,
        Phase::Attest => RoundPhase::Attest,
    });
    metrics.leases.set(round.due.into());
    metrics.commitments.set(round.committed.into());
    metrics.reveals.set(round.revealed.into());
    metrics.included_updates.set(round.included.len().into());
    metrics.failed_attest_phases.set(round.attempt.into());
}

fn note_measurement(round: RoundNumber, measured: &ModelMetrics) {
    let metrics = pol_metrics::head();
    metrics.measured_round.set(round.into());
    metrics.loss_nats.set(f64::from(measured.loss) / f64::from(MILLION));
    for (measure, share) in [
        (Measure::Level, measured.level()),
        (Measure::SelfAwareness, measured.self_awareness()),
        (Measure::CalibrationError, measured.calibration_error),
        (Measure::Introspection, measured.introspection),
        (Measure::Coherence, measured.coherence),
        (Measure::MetaCognition, measured.meta_cognition),
        (Measure::Utilisation, measured.utilisation),
        (Measure::Reasoning, measured.reasoning),
    ] {
        let ratio = |share: Ppm| f64::from(share) / f64::from(MILLION);
        metrics.measure_ratio.put(measure, share.map_or(f64::NAN, ratio));
    }
}

fn note_beacon(config: Option<&BeaconConfig>, awaited: Option<&AwaitedPulse>) {
    let metrics = pol_metrics::beacon();
    metrics.configured.set(if config.is_some() { 1.0 } else { 0.0 });
    if let Some(awaited) = awaited {
        metrics.round.set(awaited.round as f64);
    }
    let now = pol_metrics::unix_seconds();
    metrics.overdue_seconds.set(overdue_seconds(config, awaited, now));
}

/// Returns the seconds since the awaited pulse was due.
fn overdue_seconds(config: Option<&BeaconConfig>, awaited: Option<&AwaitedPulse>, now: f64) -> f64 {
    match (config, awaited.filter(|pulse| pulse.randomness.is_none())) {
        (Some(config), Some(pulse)) => (now - config.due(pulse.round) as f64).max(0.0),
        _ => 0.0,
    }
}

fn note_members(members: &[Member<AccountId>]) {
    for (role, label) in [
        (Role::Trainer, MemberRole::Trainer),
        (Role::Validator, MemberRole::Validator),
        (Role::Authority, MemberRole::Authority),
    ] {
        let count = members.iter().filter(|member| member.role == role && member.bonded).count();
        pol_metrics::network().members.put(label, count as f64);
    }
}

fn note_books(ledger: &Ledger) {
    for (total, balance) in [
        (Total::Emitted, ledger.emitted),
        (Total::Seized, ledger.seized),
        (Total::Paid, ledger.paid),
        (Total::Burned, ledger.burned),
        (Total::Waiting, ledger.waiting),
    ] {
        pol_metrics::network().rewards_pol.put(total, pol(balance));
    }
}

async fn read_account(
    chain: &Chain,
    account: &AccountId,
    audits: &[Audit<AccountId>],
) -> Result<(), ChainError> {
    let metrics = pol_metrics::account();
    note_member(chain.member(account).await?.as_ref());
    metrics.free_balance_pol.set(pol(chain.free_balance(account).await?));
    let has_lease = chain.lease(account).await?.is_some();
    metrics.leases.set(if has_lease { 1.0 } else { 0.0 });
    metrics.waiting_rewards_pol.set(waiting_pol(&chain.pending_rewards(account).await?));
    let (open, unanswered) = count_audits(audits, account);
    metrics.open_audits.set(open as f64);
    metrics.unanswered_audits.set(unanswered as f64);
    Ok(())
}

fn note_member(member: Option<&Member<AccountId>>) {
    let metrics = pol_metrics::account();
    metrics.bond_pol.set(member.map_or(0.0, |member| pol(member.bond)));
    metrics.locked_bond_pol.set(member.map_or(0.0, |member| pol(member.locked)));
    metrics.minimum_bond_pol.set(member.map_or(0.0, |member| pol(member.role.minimum_bond())));
    let is_chilled = member.is_some_and(|member| member.chilled);
    metrics.chilled.set(if is_chilled { 1.0 } else { 0.0 });
}

/// Returns the rewards whose amount is known.
fn waiting_pol(rewards: &[PendingReward]) -> f64 {
    pol(rewards.iter().filter_map(|reward| reward.amount).fold(0, Balance::saturating_add))
}

/// Returns the number of updates of `account` under audit, and of those whose audit waits for its
/// answer.
fn count_audits(audits: &[Audit<AccountId>], account: &AccountId) -> (usize, usize) {
    let cases = audits.iter().filter_map(|audit| Some((audit.stage, audit.case(account)?)));
    let open = cases.filter(|(_, case)| !case.settled);
    let waits = |stage: Stage, served: bool, opened: bool| match stage {
        Stage::Serve => !served,
        Stage::Open => served && !opened,
        Stage::Replay | Stage::Reveal | Stage::Settle => false,
    };
    open.fold((0, 0), |(open, unanswered), (stage, case)| {
        (open + 1, unanswered + usize::from(waits(stage, case.served, case.opened)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::audit::Case;

    #[test]
    fn a_pulse_is_overdue_from_its_time_until_it_arrives() {
        let config =
            BeaconConfig { key: [0; 96], genesis: 100, period: 3, margin: 10, patience: 12 };
        let mut pulse = AwaitedPulse { round: 2, until: 9, randomness: None };
        let at = |pulse: &AwaitedPulse, now| overdue_seconds(Some(&config), Some(pulse), now);
        assert_eq!((at(&pulse, 100.0), at(&pulse, 110.0)), (0.0, 7.0));
        pulse.randomness = Some([1; 32]);
        assert_eq!(at(&pulse, 110.0), 0.0);
        assert_eq!(overdue_seconds(None, None, 110.0), 0.0);
    }

    #[test]
    fn audits_wait_for_an_answer_in_two_stages() {
        let count = |stage, served, opened, settled| {
            let case = |trainer| Case {
                trainer,
                index: 0,
                segments: Default::default(),
                trace_segments: 4,
                seats: Default::default(),
                earlier: Default::default(),
                served,
                opened,
                settled,
            };
            let mut audit = Audit::<AccountId> {
                round: 3,
                draw: 0,
                seed: [0; 32],
                stage,
                since: 0,
                probe: Default::default(),
                holders: Default::default(),
                cases: Default::default(),
            };
            for trainer in [[1; 32], [2; 32]] {
                audit.cases.try_push(case(trainer)).unwrap();
            }
            count_audits(&[audit], &[2; 32])
        };
        assert_eq!(count(Stage::Serve, false, false, false), (1, 1));
        assert_eq!(count(Stage::Serve, true, false, false), (1, 0));
        assert_eq!(count(Stage::Replay, true, false, false), (1, 0));
        assert_eq!(count(Stage::Open, true, false, false), (1, 1));
        assert_eq!(count(Stage::Open, true, true, false), (1, 0));
        assert_eq!(count(Stage::Settle, true, true, true), (0, 0));
        assert_eq!(count_audits(&[], &[2; 32]), (0, 0));
    }

    #[test]
    fn facts_are_put_into_metrics() {
        note_member(None);
        let metrics = ModelMetrics { loss: 2_500_000, ..ModelMetrics::default() };
        note_measurement(7, &metrics);
        note_books(&Ledger { emitted: 3 * POL / 2, ..Ledger::default() });
        let text = pol_metrics::encode();
        for line in [
            "pol_account_bond_pol 0\n",
            "pol_head_loss_nats 2.5\n",
            "pol_head_measured_round 7\n",
            "pol_head_measure_ratio{measure=\"reasoning\"} NaN\n",
            "pol_head_measure_ratio{measure=\"level\"} NaN\n",
            "pol_network_rewards_pol{total=\"emitted\"} 1.5\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let reward = |amount| PendingReward { round: 1, amount, from: 2 };
        assert_eq!(waiting_pol(&[reward(Some(POL)), reward(None), reward(Some(POL))]), 2.0);
    }
}
