// SPDX-License-Identifier: Apache-2.0

//! Judgement of attackers by the chain's records.

use super::CheatingTrainer;
use crate::{
    attackers::{INVALID_PENALTY, SEAT_PENALTY, WITHHELD_PENALTY},
    cheating::SKIPPED,
    families::false_claims,
    network::{self, Network},
    observer::Observations,
    scenario::ExpectedOutcome,
    tally::Tally,
};
use anyhow::Result;
use pol_chain::AccountId;
use pol_primitives::{Balance, POL, RoundNumber, submission::Outcome};

/// A validator that lies in every seat must lose this many times what it earns.
const LEAST_LOSS_FACTOR: Balance = 20;

/// Counts honest updates that did not stay in the model.
pub(super) fn false_positives(observations: &Observations, honest: &[AccountId]) -> u64 {
    let wrong = [Outcome::Invalid, Outcome::Withheld, Outcome::Unresolved, Outcome::Tainted];
    let count = |account| wrong.into_iter().map(move |one| observations.count(account, one));
    honest.iter().flat_map(count).sum()
}

/// Counts of an attacker's settled updates, with a line for each wrong outcome.
#[derive(Default)]
struct Outcomes {
    attempts: u64,
    sampled: u64,
    detected: u64,
    wrong: Vec<String>,
}

impl Outcomes {
    fn add(
        &mut self,
        round: RoundNumber,
        outcome: Outcome,
        expected: ExpectedOutcome,
        is_drawn: bool,
    ) {
        if matches!(outcome, Outcome::NoShow | Outcome::Excluded) {
            self.wrong.push(format!("round {round} ended as {outcome:?}"));
            return;
        }
        self.attempts += 1;
        let wanted = match expected {
            ExpectedOutcome::Invalid => Outcome::Invalid,
            ExpectedOutcome::Withheld => Outcome::Withheld,
            ExpectedOutcome::InvalidIfDrawn if is_drawn => Outcome::Invalid,
            ExpectedOutcome::InvalidIfDrawn | ExpectedOutcome::Valid => Outcome::Valid,
        };
        if wanted != Outcome::Valid {
            self.sampled += 1;
            self.detected += u64::from(outcome == wanted);
        }
        // An update that continues an excised one is excised with it.
        let follows = wanted == Outcome::Valid
            && expected == ExpectedOutcome::InvalidIfDrawn
            && outcome == Outcome::Tainted;
        if outcome != wanted && !follows {
            self.wrong.push(format!("round {round} ended as {outcome:?} and not as {wanted:?}"));
        }
    }
}

/// Judges a cheating trainer by the outcomes of its updates.
pub(super) fn trainer(
    trainer: &CheatingTrainer,
    observations: &Observations,
    honest: &[AccountId],
    network: &Network,
) -> Result<Tally> {
    let account = network::signer(trainer.account)?.account();
    let mut outcomes = Outcomes::default();
    for (round, record) in observations.settled_of(&account) {
        let is_drawn = observations
            .last_draw(round, &account)
            .is_some_and(|case| case.segments.iter().any(|segment| SKIPPED.contains(segment)));
        outcomes.add(round, record.outcome, trainer.outcome, is_drawn);
    }
    let Outcomes { attempts, sampled, detected, mut wrong } = outcomes;
    let penalty = match trainer.outcome {
        ExpectedOutcome::Withheld => WITHHELD_PENALTY,
        _ => INVALID_PENALTY,
    };
    let lost = observations.lost(&account);
    let slashed = u64::try_from(lost / penalty).unwrap_or(u64::MAX);
    let tally = Tally::counted(attempts, sampled, detected).slashed(slashed);
    let paid = pay_of_refuted(observations, &account);
    if paid > 0 {
        wrong.push(format!("paid {paid} units for updates that were not valid"));
    }
    let passed = attempts > 0 && wrong.is_empty() && slashed == detected;
    if trainer.outcome == ExpectedOutcome::Valid {
        return Ok(
            match false_claims::check_proportional_pay(observations, &account, honest, network) {
                Ok(rounds) => tally.passed(
                    passed,
                    format!(
                        "{rounds} rounds paid in proportion to the seats' measurements; {}",
                        wrong.join("; ")
                    ),
                ),
                Err(error) => Tally { note: format!("{error:#}"), passed: false, ..tally },
            },
        );
    }
    if slashed != detected {
        wrong.push(format!("lost {} POL for {detected} detections", lost / POL));
    }
    Ok(tally.passed(passed, wrong.join("; ")))
}

/// Judges a cheating trainer of a network without audits. It passes if it succeeds.
pub(super) fn without_audits(account: &str, observations: &Observations) -> Result<Tally> {
    let account = network::signer(account)?.account();
    let valid = observations.count(&account, Outcome::Valid);
    let others = [Outcome::Invalid, Outcome::Withheld, Outcome::Unresolved, Outcome::Tainted];
    let found: u64 = others.into_iter().map(|one| observations.count(&account, one)).sum();
    let lost = observations.lost(&account);
    let slashed = u64::try_from(lost / WITHHELD_PENALTY).unwrap_or(u64::MAX);
    let settled = valid + found;
    let note = format!("{valid} of {settled} updates valid, {} POL lost", lost / POL);
    let succeeded = valid > 0 && found == 0 && slashed == 0;
    Ok(Tally::counted(settled, settled, found).slashed(slashed).passed(succeeded, note))
}

/// Returns the account's pay for rounds in which its update was not valid.
fn pay_of_refuted(observations: &Observations, account: &AccountId) -> Balance {
    let settled = observations.settled_of(account);
    let refuted = settled.filter(|(_, record)| record.outcome != Outcome::Valid);
    refuted.filter_map(|(round, _)| observations.pay.get(&(round, *account))).sum()
}

/// Judges a validator that has lied in every seat.
///
/// A lie about a cheat is an objection, and the first draw pays for objections to updates that the
/// second one condemns. It must cost far more than that.
pub(super) fn validator(account: &str, observations: &Observations) -> Result<Tally> {
    let account = network::signer(account)?.account();
    let seats = observations.seats.get(&account).copied().unwrap_or(0);
    let lost = observations.lost(&account);
    let slashed = u64::try_from(lost / SEAT_PENALTY).unwrap_or(u64::MAX);
    let own_pay = observations.pay.iter().filter(|((_, who), _)| *who == account);
    let paid: Balance = own_pay.map(|(_, paid)| *paid).sum();
    let note =
        format!("{seats} seats, lost {} POL of its bond, paid {} POL", lost / POL, paid / POL);
    let passed = slashed > 0 && paid <= lost / LEAST_LOSS_FACTOR;
    Ok(Tally::tried(seats, seats).slashed(slashed).passed(passed, note))
}
