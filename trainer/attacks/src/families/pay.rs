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
            expect: "Over the rounds of both, each is paid an equal share, but for 15 % of it and \
                     twice the standard error of these rounds, which would be at most 15 % over \
                     twenty.",
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
const LEAST_ROUNDS: usize = 3;
/// Rounds after which all pay of a round is known.
const SETTLED_ROUNDS: RoundNumber = 6;
/// Longest wait in blocks for a round in which all trainers take part.
const ROUND_BLOCKS: u32 = 60;

/// Pay of several accounts over the rounds in which each of them had a valid update.
struct CommonPay {
    /// Pay of each account, by rounds.
    rounds: Vec<Vec<Balance>>,
}

/// Judgement of pay.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// Each share deviates by no more than [`TOLERANCE`].
    Strict,
    /// It may deviate by two standard errors more, which are those of the rounds. These errors are
    /// bounded too, so that a lottery is not fair.
    BesideChance,
}

/// Share of a fair pay.
struct Share {
    share: f64,
    /// Standard error that the differences between rounds give it.
    error: f64,
}

impl Share {
    /// Returns the share of `paid` in what would have been `fair`, both by rounds.
    fn new(paid: &[f64], fair: &[f64]) -> Self {
        let whole: f64 = fair.iter().sum();
        let share = paid.iter().sum::<f64>() / whole;
        let squares = paid.iter().zip(fair).map(|(paid, fair)| (paid - share * fair).powi(2));
        Self { share, error: squares.sum::<f64>().sqrt() / whole }
    }
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
        let of_round =
            |round| accounts.iter().map(|account| paid_in(round, account)).collect::<Vec<_>>();
        Self { rounds: common.iter().map(of_round).collect() }
    }

    /// Judges by the work of each account, in parts of a whole lease.
    fn judge(&self, work: &[f64], judgement: Judgement) -> Tally {
        let rounds = self.rounds.len();
        let all_work: f64 = work.iter().sum();
        let wholes: Vec<f64> =
            self.rounds.iter().map(|paid| paid.iter().sum::<Balance>() as f64).collect();
        let shares = work.iter().enumerate().map(|(at, work)| {
            let of_account = |paid: &Vec<Balance>| paid.get(at).map_or(0.0, |paid| *paid as f64);
            let paid: Vec<f64> = self.rounds.iter().map(of_account).collect();
            let fair: Vec<f64> = wholes.iter().map(|whole| whole * work / all_work).collect();
            Share::new(&paid, &fair)
        });
        let shares: Vec<Share> = shares.collect();
        let largest_error = TOLERANCE * (FAIR_ROUNDS / (rounds as f64).max(1.0)).sqrt();
        let is_fair = |one: &&Share| {
            let deviation = (one.share - 1.0).abs();
            match judgement {
                Judgement::Strict => deviation <= TOLERANCE,
                Judgement::BesideChance => {
                    one.error <= largest_error && deviation <= TOLERANCE + 2.0 * one.error
                }
            }
        };
        let fair = shares.iter().filter(is_fair).count();
        let words: Vec<_> =
            shares.iter().map(|one| format!("{:.3} ± {:.3}", one.share, one.error)).collect();
        let note = format!(
            "{rounds} rounds in common, {:.0} POL; shares of a fair one, with standard errors: {}",
            wholes.iter().sum::<f64>() / POL as f64,
            words.join(", ")
        );
        let count = shares.len() as u64;
        let passed = rounds > 0 && fair == shares.len();
        Tally::tried(count, fair as u64).passed(passed, note)
    }
}

/// Judges the pay of the two honest trainers of every run with a network.
pub(crate) fn equal_pay(observations: &Observations) -> Result<Tally> {
    let pay = CommonPay::find(observations, 1, &accounts(TRAINERS)?);
    let rounds = pay.rounds.len();
    if rounds < LEAST_ROUNDS {
        let reason = format!("both trainers had valid updates in {rounds} rounds only");
        return Ok(Tally::skipped(&reason));
    }
    Ok(pay.judge(&[1.0; TRAINERS.len()], Judgement::BesideChance))
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
        Ok((pay.rounds.len() >= rounds as usize).then_some(pay))
    };
    let blocks = ROUND_BLOCKS.saturating_mul(warm_up + rounds + SETTLED_ROUNDS);
    let pay = tokio::select! {
        pay = network.until("all trainers have gone through the rounds", blocks, enough) => pay?,
        error = half.train_rounds(segments / 2) => return Err(error),
    };
    // Fewer rounds than the tolerance is for show more of chance.
    let is_whole = f64::from(rounds) >= FAIR_ROUNDS;
    let judgement = if is_whole { Judgement::Strict } else { Judgement::BesideChance };
    Ok(pay.judge(&[1.0, 1.0, 1.0, 0.5], judgement))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_judged_by_the_work() {
        let judge = |rounds: &[[u32; 4]], judgement| {
            let rounds = rounds.iter().map(|paid| paid.map(Balance::from).to_vec()).collect();
            CommonPay { rounds }.judge(&[1.0, 1.0, 1.0, 0.5], judgement).passed
        };
        for judgement in [Judgement::Strict, Judgement::BesideChance] {
            assert!(judge(&[[100, 100, 100, 50]; 20], judgement));
            assert!(judge(&[[110, 95, 105, 47]; 20], judgement));
            assert!(!judge(&[[130, 90, 90, 45]; 20], judgement));
            assert!(!judge(&[[100, 100, 100, 100]; 20], judgement));
            assert!(!judge(&[[150, 150, 0, 75]; 20], judgement) && !judge(&[], judgement));
        }
        // Two rounds of five went better for one by chance.
        let uneven = [[100, 100, 100, 50], [200, 75, 50, 25], [100, 95, 105, 50]];
        assert!(judge(&uneven, Judgement::BesideChance) && !judge(&uneven, Judgement::Strict));
        // A lottery is fair on average only.
        let lottery = [[350, 0, 0, 0], [0, 350, 0, 0], [0, 0, 350, 0], [0, 0, 0, 350]];
        let lottery: Vec<_> = lottery.iter().cycle().take(20).copied().collect();
        assert!(!judge(&lottery, Judgement::BesideChance));
    }
}
