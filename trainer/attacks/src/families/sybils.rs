// SPDX-License-Identifier: Apache-2.0

//! One machine's work under several identities.

mod places;
mod seats;

use crate::{
    monte_carlo::DRAWS,
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use futures::FutureExt;
use pol_primitives::{
    Balance, MILLION, POL, Ppm,
    prf::Prf,
    rewards::{EmissionSchedule, RoundEarnings, RoundPool, training_weight},
};

pub(super) static FAMILY: Family = Family {
    name: "sybils",
    scenarios: &[
        Scenario {
            name: "split-work",
            setup: Setup::MonteCarlo(split_work),
            act: "Splits one trainer's work among 2 to 8 identities, 10,000 times.",
            expect: "No split earns more than the undivided work.",
        },
        Scenario {
            name: "taken-places",
            setup: Setup::NodeAttack(|network| places::take_places(network).boxed_local()),
            act: "Asks for the 64 places of a round by 70 accounts, twice, and works for none.",
            expect: "Both rounds have 64 leases, the accounts without one lose nothing, and the \
                     second round draws others.",
        },
        Scenario {
            name: "bought-seats",
            setup: Setup::LongSites(|network| seats::buy_seats(network).boxed_local()),
            act: "Fills the list of candidates with 124 accounts that have keys, more bond than \
                  one authority, and no node, and waits for five sessions at most.",
            expect: "No authority loses its place or its seat, a higher bond still finds a place, \
                     one bought seat serves at a time, blocks are final, the absent one is fined, \
                     and no honest member loses anything.",
        },
    ],
};

/// Least fees of one identity's lease: five calls of a hundred bytes.
const FEES: Balance = 5 * 100 * 1_000_000;

/// Compares pay less fees of divided and undivided work. Scores are parts of one movement, which
/// add up, and every identity pays fees.
fn split_work() -> Tally {
    let mut prf = Prf::new("pol/attacks/sybils", &[15; 32], &[]);
    let (mut gains, mut best) = (0u64, i128::MIN);
    for _ in 0..DRAWS {
        let score = prf.below(2_000_000_000);
        let (quality, others) = (prf.below(MILLION + 1), prf.next_u64());
        let split = divide(&mut prf, score);
        let whole = [score];
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

/// Divides a score among 2 to 8 identities.
fn divide(prf: &mut Prf, score: u32) -> Vec<u32> {
    let mut rest = score;
    let mut parts: Vec<u32> = (0..=prf.below(7))
        .map(|_| {
            let part = prf.below(rest.saturating_add(1));
            rest -= part;
            part
        })
        .collect();
    parts.push(rest);
    parts
}

/// Returns the identities' pay from a round's pool, less their fees.
fn profit(scores: &[u32], quality: Ppm, others: u64) -> i128 {
    let emission = EmissionSchedule::default();
    let mut pool = RoundPool::new(&emission.divide(emission.per_round), emission.per_seat, 64);
    let earned: Vec<RoundEarnings> = scores
        .iter()
        .map(|score| RoundEarnings {
            training: training_weight(*score, MILLION, quality),
            ..RoundEarnings::default()
        })
        .collect();
    pool.add(&RoundEarnings { training: others.into(), ..RoundEarnings::default() });
    earned.iter().for_each(|earned| pool.add(earned));
    let paid: Balance = earned.iter().map(|earned| pool.take(earned)).sum();
    paid as i128 - FEES.saturating_mul(scores.len() as Balance) as i128
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
