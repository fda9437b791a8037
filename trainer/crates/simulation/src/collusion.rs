// SPDX-License-Identifier: Apache-2.0

//! Power of colluding validators, by their share of the stake.

use crate::{
    Settings,
    audits::{Decision, EXAGGERATION, SimulatedUpdate, ValidatorStrategy, Validators, audit, seed},
    statistics::{Rate, hypergeometric},
};
use pol_primitives::{audit::Verdict, round::is_quorum};
use serde::Serialize;

/// Shares of stake to simulate, in percent.
pub const STAKES: [u32; 9] = [5, 10, 20, 30, 33, 40, 50, 60, 70];

/// Outcomes where colluding validators hold a share of the stake.
#[derive(Clone, Debug, Serialize)]
pub struct Collusion {
    /// Their share of the stake.
    pub stake: f64,
    /// Forged updates of a cheat that pass in the first draw.
    pub passes_first: Estimate,
    /// Forged updates that pass in either draw.
    pub passes: Estimate,
    /// Forged updates convicted in either draw. The remaining ones are undecided, which costs the
    /// cheat its reward alone.
    pub caught: Estimate,
    /// Honest updates convicted in the first draw.
    pub convicted_first: Estimate,
    /// Honest updates convicted in either draw.
    pub convicted: Estimate,
    /// Honest updates that silence forces into a second draw.
    pub delayed: Estimate,
    /// Honest updates that silence leaves undecided in both draws: not paid, not punished.
    pub stalled: Estimate,
    /// Valid updates whose score is set by colluders, who replay honestly and exaggerate.
    pub score_set: Estimate,
}

/// A simulated rate with its exact chance.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Estimate {
    /// Simulated rate.
    pub rate: Rate,
    /// Exact chance, by counting combinations.
    pub expected: f64,
}

/// Exact chances of one draw of seats among validators of equal stake, some of whom collude.
#[derive(Clone, Copy, Debug)]
pub struct SeatChances {
    /// Seats drawn.
    pub seats: u32,
    /// Chance that colluders are a quorum, and decide alone.
    pub captured: f64,
    /// Chance that neither side is a quorum.
    pub undecided: f64,
}

impl SeatChances {
    /// Computes the chances of `seats` seats among `all` validators, `colluding` of whom collude.
    pub fn new(all: u32, colluding: u32, seats: u32) -> Self {
        let seats = seats.min(all);
        let quorum =
            (1..=seats).find(|&part| is_quorum(part.into(), seats.into())).unwrap_or(seats);
        let at_least = |least| {
            (least..=seats).map(|hits| hypergeometric(all, colluding, seats, hits)).sum::<f64>()
        };
        let captured = at_least(quorum);
        let blocking = seats.saturating_sub(quorum).saturating_add(1);
        Self { seats, captured, undecided: at_least(blocking) - captured }
    }

    /// Returns the chance that honest seats are a quorum.
    fn honest(&self) -> f64 {
        1.0 - self.captured - self.undecided
    }
}

/// Exact chances for other numbers of seats, in a large network.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SeatChoice {
    /// Seats of the first draw.
    pub seats: u32,
    /// Seats of the second draw.
    pub more_seats: u32,
    /// Share of the stake that colludes.
    pub stake: f64,
    /// Chance that a cheat passes, or that an honest trainer is convicted.
    pub passes: f64,
    /// Chance that an honest update is drawn again.
    pub delayed: f64,
    /// Chance that an honest update stays undecided.
    pub stalled: f64,
}

/// Compares numbers of seats.
pub fn choices() -> Vec<SeatChoice> {
    const ALL: u32 = 1_000;
    let numbers = [(3, 7), (3, 16), (4, 7), (4, 16), (5, 16), (7, 16), (10, 16)];
    let choice = |(seats, more_seats), percent: u32| {
        let colluding = ALL / 100 * percent;
        let first = SeatChances::new(ALL, colluding, seats);
        let second = SeatChances::new(ALL, colluding, more_seats);
        SeatChoice {
            seats,
            more_seats,
            stake: f64::from(percent) / 100.0,
            passes: first.captured + first.undecided * second.captured,
            delayed: 1.0 - first.honest(),
            stalled: (1.0 - first.honest()) * (1.0 - second.honest()),
        }
    };
    numbers
        .into_iter()
        .flat_map(|seats| [10, 20, 33].map(|percent| choice(seats, percent)))
        .collect()
}

/// Simulates every share of stake.
pub fn run(settings: &Settings) -> Vec<Collusion> {
    STAKES
        .into_iter()
        .map(|percent| {
            simulate(settings, settings.validators.saturating_mul(percent).div_ceil(100))
        })
        .collect()
}

/// Simulates `colluding` colluders among the validators.
pub fn simulate(settings: &Settings, colluding: u32) -> Collusion {
    let mut found = exact(settings, colluding);
    let honest = SimulatedUpdate::honest(settings.segments, 1);
    let cheat = SimulatedUpdate { forged: u64::MAX, packed: false, accomplice: true, ..honest };
    // Labels are part of the seeds: another label changes the published figures.
    let decisions = |label, strategy, update| {
        decisions(settings, &format!("collude/{label}/{colluding}"), colluding, strategy, update)
    };
    for decision in decisions("Vouches", ValidatorStrategy::Vouching, cheat) {
        found.passes_first.rate.count(decision.first == Verdict::Valid);
        found.passes.rate.count(decision.verdict == Verdict::Valid);
        found.caught.rate.count(decision.verdict == Verdict::Invalid);
    }
    for decision in decisions("Accuses", ValidatorStrategy::Accusing, honest) {
        found.convicted_first.rate.count(decision.first == Verdict::Invalid);
        found.convicted.rate.count(decision.verdict == Verdict::Invalid);
    }
    for decision in decisions("Silent", ValidatorStrategy::Silent, honest) {
        found.delayed.rate.count(decision.first == Verdict::Unresolved);
        found.stalled.rate.count(decision.verdict == Verdict::Unresolved);
    }
    for decision in decisions("Exaggerates", ValidatorStrategy::Exaggerating, honest) {
        found.score_set.rate.count(decision.measure.gain > EXAGGERATION);
    }
    found
}

/// Returns the exact chances of `colluding` colluders, with empty rates.
fn exact(settings: &Settings, colluding: u32) -> Collusion {
    let all = settings.validators;
    let first = SeatChances::new(all, colluding, settings.audit.seats.into());
    let second = SeatChances::new(all, colluding, settings.audit.more_seats.into());
    let either = |one: fn(&SeatChances) -> f64| one(&first) + first.undecided * one(&second);
    let majority = (first.seats / 2 + 1..=first.seats)
        .map(|hits| hypergeometric(all, colluding, first.seats, hits))
        .sum();
    let estimate = |expected| Estimate { rate: Rate::default(), expected };
    Collusion {
        stake: f64::from(colluding) / f64::from(all.max(1)),
        passes_first: estimate(first.captured),
        passes: estimate(either(|seats| seats.captured)),
        caught: estimate(either(SeatChances::honest)),
        convicted_first: estimate(first.captured),
        convicted: estimate(either(|seats| seats.captured)),
        delayed: estimate(1.0 - first.honest()),
        // Honest seats are no quorum either where colluders are one and stay silent.
        stalled: estimate((1.0 - first.honest()) * (1.0 - second.honest())),
        score_set: estimate(majority),
    }
}

/// Audits `update` as often as the settings ask, 64 times a round.
fn decisions(
    settings: &Settings,
    label: &str,
    colluding: u32,
    strategy: ValidatorStrategy,
    update: SimulatedUpdate,
) -> Vec<Decision> {
    let validators = Validators::equal(settings.validators, colluding, strategy);
    let updates: Vec<_> = (0..64).map(|trainer| (trainer, update)).collect();
    (0..settings.trials.div_ceil(64))
        .flat_map(|batch| {
            let seed = seed(settings.seed, label, batch.into());
            audit(&settings.audit, seed, batch, &validators, &updates)
        })
        .collect()
}

/// A network with about as few validators as seats, one of whom is dishonest.
#[derive(Clone, Debug, Serialize)]
pub struct SmallNetwork {
    /// Validators, of equal stake.
    pub validators: u32,
    /// Updates of a cheat that the dishonest one passes.
    pub passes: Rate,
    /// Honest updates that it convicts alone.
    pub convicted: Rate,
    /// Honest updates that it keeps undecided alone.
    pub stalled: Rate,
}

/// Numbers of validators to simulate.
pub const SMALL_NETWORKS: [u32; 6] = [1, 2, 3, 4, 5, 10];

/// Simulates small networks.
pub fn small_networks(settings: &Settings) -> Vec<SmallNetwork> {
    let trials = settings.trials.min(2_000);
    SMALL_NETWORKS
        .into_iter()
        .map(|validators| {
            let one = simulate(&Settings { validators, trials, ..settings.clone() }, 1);
            SmallNetwork {
                validators,
                passes: one.passes.rate,
                convicted: one.convicted.rate,
                stalled: one.stalled.rate,
            }
        })
        .collect()
}
