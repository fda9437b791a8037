// SPDX-License-Identifier: Apache-2.0

//! Earnings and costs of strategies, in a network that pays and fines as the chain does.

mod settlement;

use crate::{
    Settings,
    audits::{
        Account, FIRST_VALIDATOR, SimulatedUpdate, ValidatorStrategy, Validators, audit, seed,
    },
    detection::forge,
    statistics::Rate,
};
use pol_primitives::{
    Balance, Hash, POL,
    audit::{Verdict, draw_segments},
    member::UPDATE_LOCK,
    prf::Prf,
    rewards::{EmissionSchedule, EmissionShares},
};
use serde::Serialize;
use settlement::{Economy, Totals};
use std::collections::BTreeMap;

/// Fine for training something else than the lease; the runtime's value.
pub const INVALID_PENALTY: Balance = UPDATE_LOCK;
/// Fine for not showing what an audit asks for; the runtime's value.
pub const WITHHELD_PENALTY: Balance = 200 * POL;
/// Fine for a wrong finding, or for an audit with silent seats; the runtime's value.
pub const SEAT_PENALTY: Balance = 50 * POL;
/// Strikes from which on failed audits are fined; the runtime's value.
const SEAT_STRIKES: u32 = 3;

/// Gain of an honest full lease, in billionths of a nat per token.
const GAIN: i32 = 20_000_000;
/// Cost of measuring for a seat, as a share of the cost of replaying its segments.
const MEASURING: f64 = 0.5;
/// Updates of a round.
const UPDATES: u32 = 64;
/// Account that provides all data.
const PROVIDER: Account = Account::MAX;
/// One trainer in this many is a cheat.
const CHEAT_EVERY: u32 = 16;

/// A strategy of trainers. Cheated work is taken to be worth as much as honest work, which favours
/// the cheat.
#[derive(Clone, Copy, Debug)]
pub struct TrainerStrategy {
    /// Name in the report. It is part of the seeds: another name changes the figures.
    pub name: &'static str,
    /// Percentage of its segments that it does not train.
    pub skipped: u16,
    /// `true` if its payload is made up, too.
    pub random_payload: bool,
    /// `true` if it stops answering once the draw would convict it.
    pub aborts: bool,
    /// `true` if it never shows anything.
    pub withholds: bool,
    /// Identities that share one machine's work.
    pub identities: u16,
    /// Percentage of the blocks that an accomplice authors.
    pub author: u32,
    /// Percentage of the validators that vouch for it.
    pub colluding: u32,
}

const HONEST: TrainerStrategy = TrainerStrategy {
    name: "honest",
    skipped: 0,
    random_payload: false,
    aborts: false,
    withholds: false,
    identities: 1,
    author: 0,
    colluding: 0,
};

/// Strategies of trainers to simulate.
pub const TRAINER_STRATEGIES: [TrainerStrategy; 13] = [
    HONEST,
    TrainerStrategy { name: "skip 10 %", skipped: 10, ..HONEST },
    TrainerStrategy { name: "skip 50 %", skipped: 50, ..HONEST },
    TrainerStrategy { name: "skip 90 %", skipped: 90, ..HONEST },
    TrainerStrategy { name: "free ride", skipped: 100, random_payload: true, ..HONEST },
    TrainerStrategy { name: "skip 10 %, abort when drawn", skipped: 10, aborts: true, ..HONEST },
    TrainerStrategy { name: "skip 50 %, abort when drawn", skipped: 50, aborts: true, ..HONEST },
    TrainerStrategy {
        name: "free ride, abort when drawn",
        skipped: 100,
        random_payload: true,
        aborts: true,
        ..HONEST
    },
    TrainerStrategy { name: "withhold honest work", withholds: true, ..HONEST },
    TrainerStrategy { name: "divide work among 5 identities", identities: 5, ..HONEST },
    TrainerStrategy { name: "skip 50 %, 33 % of blocks", skipped: 50, author: 33, ..HONEST },
    TrainerStrategy {
        name: "free ride, 33 % of validators",
        skipped: 100,
        colluding: 33,
        ..HONEST
    },
    TrainerStrategy {
        name: "free ride, 60 % of validators",
        skipped: 100,
        colluding: 60,
        ..HONEST
    },
];

/// Result of a strategy of trainers. Amounts are in POL per full lease of work.
#[derive(Clone, Debug, Serialize)]
pub struct TrainerResult {
    /// Name of the strategy.
    pub name: &'static str,
    /// Updates found invalid or withheld.
    pub caught: Rate,
    /// Rewards paid.
    pub reward: f64,
    /// Fines taken from bonds.
    pub fines: f64,
    /// Cost of compute.
    pub compute: f64,
    /// Reward less fines and compute.
    pub profit: f64,
    /// Profit of honest trainers in the same network.
    pub honest: f64,
    /// Compute saved, as in the inequality of `docs/security.md`.
    pub saved: f64,
    /// Loss when caught: the reward and the penalty.
    pub at_stake: f64,
    /// Margin `p_d · (reward + bond) / compute saved`; `None` where nothing is saved.
    pub margin: Option<f64>,
    /// Margin where one trainer alone earns all of a round, and compute costs as much as it pays.
    pub margin_alone: Option<f64>,
}

/// Result of a strategy of validators. Amounts are in POL per seat.
#[derive(Clone, Debug, Serialize)]
pub struct ValidatorResult {
    /// Name of the strategy.
    pub name: &'static str,
    /// Seats held.
    pub seats: u32,
    /// Rewards of seats, without parts of fines.
    pub reward: f64,
    /// Fines taken from bonds.
    pub fines: f64,
    /// Cost of compute.
    pub compute: f64,
    /// Reward less fines and compute.
    pub profit: f64,
    /// Profit of honest validators in the same network.
    pub honest: f64,
}

fn pol(amount: Balance) -> f64 {
    amount as f64 / POL as f64
}

/// Returns the largest emission of a round, whose rewards outweigh penalties most.
fn largest_round() -> EmissionShares {
    let emission = EmissionSchedule::default();
    emission.divide(emission.per_round)
}

/// Returns the reward of an honest update in a full round, in POL.
pub fn fair_reward() -> f64 {
    pol(largest_round().trainers) / f64::from(UPDATES)
}

fn is_cheat(trainer: Account) -> bool {
    trainer.is_multiple_of(CHEAT_EVERY)
}

/// Simulates `settings.rounds` rounds. Cheats take some places of each, honest trainers the rest.
/// Counts convicted updates of cheats in `caught`.
fn simulate(
    settings: &Settings,
    strategy: &TrainerStrategy,
    validators: &Validators,
    caught: &mut Rate,
) -> Economy {
    let mut economy = Economy::new(settings.audit.escrow as usize);
    let mut random = Prf::new("economy", &seed(settings.seed, strategy.name, 0), &[]);
    for round in 0..settings.rounds {
        let updates = updates_of_round(settings, strategy, &mut random);
        let block = audit_seed(settings, strategy, round, &updates, &mut random);
        let decisions = audit(&settings.audit, block, round, validators, &updates);
        for ((trainer, update), decision) in updates.iter().zip(&decisions) {
            let totals = economy.account(*trainer);
            totals.held += 1;
            totals.worked += f64::from(u32::from(update.segments) - update.forged.count_ones())
                / f64::from(settings.segments);
            if is_cheat(*trainer) {
                caught.count(matches!(decision.verdict, Verdict::Invalid | Verdict::Withheld));
            }
        }
        economy.settle(&updates, &decisions);
    }
    economy.close();
    economy
}

/// Draws the trainers of a round and returns their updates, ascending by trainer.
fn updates_of_round(
    settings: &Settings,
    strategy: &TrainerStrategy,
    random: &mut Prf,
) -> Vec<(Account, SimulatedUpdate)> {
    // An accomplice chooses blocks for one update at a time.
    let cheats: usize = if strategy.author > 0 { 1 } else { 4 };
    let segments = settings.segments / strategy.identities;
    let skipped = (u32::from(segments) * u32::from(strategy.skipped)).div_ceil(100) as u16;
    // Gains are parts of a movement that the work makes, so they grow with it.
    let gain = GAIN / i32::from(strategy.identities);
    let mut updates = BTreeMap::new();
    while updates.len() < UPDATES as usize {
        let cheats_here = updates.len() < cheats;
        let trainer = random.below(settings.trainers / CHEAT_EVERY) * CHEAT_EVERY
            + if cheats_here { 0 } else { 1 + random.below(CHEAT_EVERY - 1) };
        let update = if cheats_here {
            SimulatedUpdate {
                forged: forge(random.clone(), segments, skipped),
                packed: !strategy.random_payload,
                aborts: strategy.aborts,
                withholds: strategy.withholds,
                accomplice: strategy.colluding > 0,
                ..SimulatedUpdate::honest(segments, gain)
            }
        } else {
            SimulatedUpdate::honest(settings.segments, GAIN)
        };
        updates.entry(trainer).or_insert(update);
    }
    updates.into_iter().collect()
}

/// Returns the seed of a round's audits. An accomplice replaces a seed that would convict the
/// cheat, as often as it authors the block.
fn audit_seed(
    settings: &Settings,
    strategy: &TrainerStrategy,
    round: u32,
    updates: &[(Account, SimulatedUpdate)],
    random: &mut Prf,
) -> Hash {
    let drawn = settings.audit.segments.into();
    let mut number = u64::from(round) << 32;
    loop {
        let block = seed(settings.seed, strategy.name, number);
        let is_found = |(trainer, update): &(Account, SimulatedUpdate)| {
            update.is_found_in(&draw_segments(&block, trainer, update.segments, drawn, &[]))
        };
        if strategy.author == 0
            || random.below(100) >= strategy.author
            || !updates.iter().any(is_found)
        {
            return block;
        }
        number += 1;
    }
}

/// Simulates every strategy of trainers.
pub fn trainers(settings: &Settings) -> Vec<TrainerResult> {
    TRAINER_STRATEGIES.iter().map(|strategy| trainer(settings, strategy)).collect()
}

/// Simulates one strategy of trainers.
pub fn trainer(settings: &Settings, strategy: &TrainerStrategy) -> TrainerResult {
    let colluding = settings.validators * strategy.colluding / 100;
    let validators = Validators::equal(settings.validators, colluding, ValidatorStrategy::Vouching);
    let mut caught = Rate::default();
    let economy = simulate(settings, strategy, &validators, &mut caught);
    let cost = settings.compute * fair_reward();
    let cheats = economy.sum(|account| account < FIRST_VALIDATOR && is_cheat(account));
    let honest = economy.sum(|account| account < FIRST_VALIDATOR && !is_cheat(account));
    let machines = f64::from(cheats.held) / f64::from(strategy.identities);
    let reward = pol(cheats.paid) / machines;
    let fines = pol(cheats.fined) / machines;
    let compute = cost * cheats.worked / machines;
    let honest =
        (pol(honest.paid) - pol(honest.fined) - cost * honest.worked) / f64::from(honest.held);
    let skipped = f64::from(strategy.skipped) / 100.0;
    let penalty = pol(if strategy.aborts { WITHHELD_PENALTY } else { INVALID_PENALTY });
    let margin = |reward: f64, cost: f64| {
        (skipped > 0.0).then(|| caught.share() * (reward + penalty) / (skipped * cost))
    };
    let whole = fair_reward() * f64::from(UPDATES);
    TrainerResult {
        name: strategy.name,
        caught,
        reward,
        fines,
        compute,
        profit: reward - fines - compute,
        honest,
        saved: skipped * cost,
        at_stake: fair_reward() + penalty,
        margin: margin(fair_reward(), cost),
        margin_alone: margin(whole, whole),
    }
}

/// Strategies of validators to simulate, with their names in the report. Names are part of the
/// seeds: other names change the figures.
pub const VALIDATOR_STRATEGIES: [(&str, ValidatorStrategy); 5] = [
    ("honest", ValidatorStrategy::Honest),
    ("silent", ValidatorStrategy::Silent),
    ("says it replayed", ValidatorStrategy::Guessing),
    ("replays one round of three", ValidatorStrategy::OneOfThree),
    ("accuses everybody", ValidatorStrategy::Accusing),
];

/// Simulates every strategy of validators, followed by one validator in fifty.
pub fn validators(settings: &Settings) -> Vec<ValidatorResult> {
    VALIDATOR_STRATEGIES
        .iter()
        .map(|&(name, strategy)| validator(settings, name, strategy))
        .collect()
}

fn validator(
    settings: &Settings,
    name: &'static str,
    strategy: ValidatorStrategy,
) -> ValidatorResult {
    let others = settings.validators.div_ceil(50);
    let validators = Validators::equal(settings.validators, others, strategy);
    let trainers = TrainerStrategy { name, ..HONEST };
    let economy = simulate(settings, &trainers, &validators, &mut Rate::default());
    let drawn = f64::from(settings.audit.segments) / f64::from(settings.segments);
    let cost = settings.compute * fair_reward() * drawn * (1.0 + MEASURING);
    let per_seat = |totals: Totals| {
        let seats = f64::from(totals.held.max(1));
        (pol(totals.paid) / seats, pol(totals.fined) / seats, cost * totals.worked / seats)
    };
    let is_other = |account| (FIRST_VALIDATOR..FIRST_VALIDATOR + others).contains(&account);
    let is_honest = |account| account >= FIRST_VALIDATOR + others && account != PROVIDER;
    let mine = economy.sum(is_other);
    let (reward, fines, compute) = per_seat(mine);
    let honest = per_seat(economy.sum(is_honest));
    ValidatorResult {
        name,
        seats: mine.held,
        reward,
        fines,
        compute,
        profit: reward - fines - compute,
        honest: honest.0 - honest.1 - honest.2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_strategy_pays_and_the_ledger_balances() {
        let settings = Settings { rounds: 60, trainers: 320, validators: 50, ..Settings::quick(3) };
        let deviates =
            |one: &&TrainerStrategy| one.skipped > 0 || one.withholds || one.identities > 1;
        for strategy in TRAINER_STRATEGIES.iter().filter(deviates) {
            let result = trainer(&settings, strategy);
            assert!(result.profit < result.honest, "{result:?}");
        }
    }
}
