// SPDX-License-Identifier: Apache-2.0

//! Pay that does not follow the work.

use crate::{
    attackers::accounts,
    network::{Network, TRAINERS},
    observer::{ChainObserver, Observations},
    scenario::{Family, Scenario, Setup},
    scripted::ScriptedTrainer,
    tally::Tally,
};
use anyhow::{Result, ensure};
use futures::FutureExt;
use pol_chain::AccountId;
use pol_primitives::{Balance, POL, RoundNumber, recipe::Tier, submission::Outcome};

pub(super) static FAMILY: Family = Family {
    name: "pay",
    scenarios: &[
        Scenario {
            name: "equal-pay",
            setup: Setup::HonestPay,
            act: "Trains beside all attackers of a run, as two equal honest trainers.",
            expect: "Over the rounds of both, each is paid an equal share, but for 15 % of it over \
                     twenty rounds and as much more over fewer as chance makes it.",
        },
        Scenario {
            name: "fair-pay",
            setup: Setup::LongRun(|network, observer, rounds| {
                pay_fairly(network, observer, rounds).boxed_local()
            }),
            act: "Three equal trainers, and one that trains half of each lease and says so, go \
                  through --rounds rounds.",
            expect: "Each of the three is paid an equal share and the fourth half of one, but for \
                     15 % of it over twenty rounds.",
        },
    ],
};

/// Trainer that joins the two others as their equal.
const THIRD: &str = "trainer-3";
/// Trainer of half the work.
const HALF: &str = "trainer-4";
/// Largest deviation from a fair share over [`FAIR_ROUNDS`], as a part of it.
const TOLERANCE: f64 = 0.15;
/// Rounds of that tolerance.
const FAIR_ROUNDS: f64 = 20.0;
/// Fewest rounds that say anything.
const LEAST_ROUNDS: u32 = 3;
/// Rounds after which all pay of a round is known.
const SETTLED_ROUNDS: RoundNumber = 6;
/// Longest wait in blocks for a round in which all trainers take part.
const ROUND_BLOCKS: u32 = 60;

/// Pay of several accounts over the rounds in which each of them had a valid update.
struct CommonPay {
    rounds: u32,
    /// Sum of each account.
    paid: Vec<Balance>,
}

impl CommonPay {
    /// Adds up the rounds from `first` on whose pay is known.
    fn find(observations: &Observations, first: RoundNumber, accounts: &[AccountId]) -> Self {
        let end = observations.round().saturating_sub(SETTLED_ROUNDS);
        let is_valid = |round, account: &AccountId| {
            let record = observations.settled.get(&(round, *account));
            record.is_some_and(|record| record.outcome == Outcome::Valid && record.staleness == 0)
        };
        let common: Vec<RoundNumber> = (first..=end)
            .filter(|round| accounts.iter().all(|account| is_valid(*round, account)))
            .collect();
        let paid_in = |round: &RoundNumber, account: &AccountId| {
            observations.pay.get(&(*round, *account)).copied().unwrap_or(0)
        };
        let sum = |account| common.iter().map(|round| paid_in(round, account)).sum();
        Self { rounds: common.len() as u32, paid: accounts.iter().map(sum).collect() }
    }

    /// Judges by the work of each account, in parts of a whole lease.
    fn judge(&self, work: &[f64]) -> Tally {
        let whole: f64 = self.paid.iter().map(|paid| *paid as f64).sum();
        let all_work: f64 = work.iter().sum();
        let tolerance = TOLERANCE * (FAIR_ROUNDS / f64::from(self.rounds).max(1.0)).sqrt().max(1.0);
        // Share of a fair one of each account.
        let shares: Vec<f64> = self
            .paid
            .iter()
            .zip(work)
            .map(|(paid, work)| *paid as f64 * all_work / (whole * work))
            .collect();
        let is_fair = |share: &&f64| (**share - 1.0).abs() <= tolerance;
        let fair = shares.iter().filter(is_fair).count();
        let note = format!(
            "{} rounds in common, {} POL; shares {shares:.3?} of a fair one, within {tolerance:.2}",
            self.rounds,
            self.paid.iter().sum::<Balance>() / POL
        );
        let count = shares.len() as u64;
        let passed = self.rounds > 0 && fair == shares.len();
        Tally::tried(count, fair as u64).passed(passed, note)
    }
}

/// Judges the pay of the two honest trainers of every run with a network.
pub(crate) fn equal_pay(observations: &Observations) -> Result<Tally> {
    let pay = CommonPay::find(observations, 1, &accounts(TRAINERS)?);
    if pay.rounds < LEAST_ROUNDS {
        let reason = format!("both trainers had valid updates in {} rounds only", pay.rounds);
        return Ok(Tally::skipped(&reason));
    }
    Ok(pay.judge(&[1.0; TRAINERS.len()]))
}

async fn pay_fairly(network: &Network, observer: &ChainObserver, rounds: u32) -> Result<Tally> {
    network.start_trainer(THIRD)?;
    let half = ScriptedTrainer::start(network, HALF).await?;
    let trainers = accounts(TRAINERS.into_iter().chain([THIRD, HALF]))?;
    observer.observe_pay(trainers.iter().copied());
    let (recipe, segments) = (&network.recipe, network.recipe.segments);
    ensure!(segments.is_multiple_of(2), "a lease of {segments} segments has no half");
    // Rates rise over a trainer's first steps, which the trainer of half the work makes last.
    let steps = u32::from(segments / 2 * recipe.steps_per_segment(Tier::Whale));
    let warm_up = recipe.schedule.warmup_steps.div_ceil(steps.max(1));
    let first = network.chain.overview().await?.round.number + 1 + warm_up;
    let enough = || async {
        let pay = CommonPay::find(&observer.observations(), first, &trainers);
        Ok((pay.rounds >= rounds).then_some(pay))
    };
    let blocks = ROUND_BLOCKS.saturating_mul(warm_up + rounds + SETTLED_ROUNDS);
    let pay = tokio::select! {
        pay = network.until("all trainers have gone through the rounds", blocks, enough) => pay?,
        error = half.train_rounds(segments / 2) => return Err(error),
    };
    Ok(pay.judge(&[1.0, 1.0, 1.0, 0.5]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_judged_by_the_work() {
        let judge = |rounds, paid: [u32; 4]| {
            let paid = paid.map(Balance::from).to_vec();
            CommonPay { rounds, paid }.judge(&[1.0, 1.0, 1.0, 0.5]).passed
        };
        assert!(judge(20, [100, 100, 100, 50]) && judge(20, [110, 95, 105, 47]));
        assert!(!judge(20, [130, 90, 90, 45]) && !judge(20, [100, 100, 100, 100]));
        assert!(!judge(20, [150, 150, 0, 75]) && !judge(0, [100, 100, 100, 50]));
        // Chance has a larger part in fewer rounds.
        assert!(judge(5, [125, 90, 90, 47]) && !judge(200, [125, 90, 90, 47]));
    }
}
