// SPDX-License-Identifier: Apache-2.0

//! One machine's work under several identities.

use crate::{
    monte_carlo::DRAWS,
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use pol_primitives::{
    Balance, MILLION, POL, Ppm,
    prf::Prf,
    rewards::{EmissionSchedule, RoundEarnings, RoundPool, training_weight},
};

pub(super) static FAMILY: Family = Family {
    name: "sybils",
    scenarios: &[Scenario {
        name: "split-work",
        setup: Setup::MonteCarlo(split_work),
        act: "Splits one trainer's work among 2 to 8 identities, 10,000 times.",
        expect: "No split earns more than the undivided work.",
    }],
};

/// Least fees of one identity's lease: five calls of a hundred bytes.
const FEES: Balance = 5 * 100 * 1_000_000;

/// Score and tokens of an identity.
type Work = (u32, u64);

/// Compares pay less fees of divided and undivided work. Weights add up at best, and every
/// identity pays fees.
fn split_work() -> Tally {
    let mut prf = Prf::new("pol/attacks/sybils", &[15; 32], &[]);
    let (mut gains, mut best) = (0u64, i128::MIN);
    for _ in 0..DRAWS {
        let (tokens, score) = (u64::from(prf.below(1 << 24)) + 8, prf.below(2_000_000));
        let (quality, others) = (prf.below(MILLION + 1), prf.next_u64());
        let split = divide(&mut prf, score, tokens);
        let whole = [(score, tokens)];
        let gain = profit(&split, quality, others) - profit(&whole, quality, others);
        best = best.max(gain);
        gains += u64::from(gain > 0);
    }
    let tries = u64::from(DRAWS);
    let note = format!(
        "best gain {best} units of {POL} to the POL, before the interest on one bond an identity; \
         a copied update is refused (see copying)"
    );
    Tally::tried(tries, tries - gains).passed(gains == 0, note)
}

/// Divides the tokens among 2 to 8 identities. Less work never helps more: each has at best the
/// whole score.
fn divide(prf: &mut Prf, score: u32, tokens: u64) -> Vec<Work> {
    let parts = u64::from(prf.below(7)) + 2;
    (0..parts)
        .map(|part| {
            let score = if prf.below(2) == 0 { score } else { prf.below(score.saturating_add(1)) };
            (score, tokens / parts + u64::from(part < tokens % parts))
        })
        .collect()
}

/// Returns the identities' pay from a round's pool, less their fees.
fn profit(work: &[Work], quality: Ppm, others: u64) -> i128 {
    let mut pool = RoundPool::new(&EmissionSchedule::default().shares_of(1), 64);
    let earned: Vec<RoundEarnings> = work
        .iter()
        .map(|(score, tokens)| RoundEarnings {
            training: training_weight(*score, *tokens, MILLION, quality),
            ..RoundEarnings::default()
        })
        .collect();
    pool.add(&RoundEarnings { training: others.into(), ..RoundEarnings::default() });
    earned.iter().for_each(|earned| pool.add(earned));
    let paid: Balance = earned.iter().map(|earned| pool.take(earned)).sum();
    paid as i128 - FEES.saturating_mul(work.len() as Balance) as i128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitting_gains_nothing() {
        let tally = split_work();
        assert!(tally.passed, "{tally:?}");
    }
}
