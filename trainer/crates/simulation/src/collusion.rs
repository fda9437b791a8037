// SPDX-License-Identifier: Apache-2.0

//! Power of colluding validators, by their share of the stake.

use crate::{
    Settings,
    audits::{Decision, EXAGGERATION, SimulatedUpdate, ValidatorStrategy, Validators, audit, seed},
    statistics::{Rate, hypergeometric},
};
use pol_primitives::{
    Balance,
    audit::{AuditConfig, Verdict, is_seat_quorum},
    member::Role,
};
use serde::Serialize;

/// Shares of stake to simulate, in percent.
pub const STAKES: [u32; 10] = [1, 5, 10, 20, 30, 33, 40, 50, 60, 67];

/// Outcomes where colluding validators hold a share of equal stakes.
#[derive(Clone, Debug, Serialize)]
pub struct Collusion {
    /// Their share of the stake.
    pub stake: f64,
    /// Forged updates of a cheat that pass in the first draw.
    pub passes_first: Estimate,
    /// Forged updates that pass in either draw.
    pub passes: Estimate,
    /// Forged updates convicted. The remaining ones are undecided, which costs the cheat its reward
    /// alone.
    pub caught: Estimate,
    /// Honest updates convicted.
    pub convicted: Estimate,
    /// Honest updates that objections force into a second draw.
    pub delayed: Estimate,
    /// Honest updates that silence forces into a second draw.
    pub silenced: Estimate,
    /// Honest updates that objections leave undecided in both draws: not paid, not punished.
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

/// Exact chances of both draws among many validators of equal stake, some of whom collude.
///
/// Seats of both draws are then different accounts, drawn uniformly, and none sits in both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chances {
    all: u32,
    colluding: u32,
    seats: u32,
    more_seats: u32,
}

impl Chances {
    /// Creates the chances of `colluding` of `all` validators.
    pub(crate) fn new(settings: &Settings, all: u32, colluding: u32) -> Self {
        let seats = u32::from(settings.audit.seats).min(all);
        let more_seats = u32::from(settings.audit.more_seats).min(all.saturating_sub(seats));
        Self { all, colluding, seats, more_seats }
    }

    /// Returns the chance that the numbers of colluders in the first draw and, where
    /// `is_drawn_again` holds for the first, in the second draw are as `ends` asks. A first draw
    /// that decides is followed by none.
    fn sum(
        &self,
        is_drawn_again: impl Fn(u32) -> bool,
        ends: impl Fn(u32, Option<u32>) -> bool,
    ) -> f64 {
        let first = |hits| hypergeometric(self.all, self.colluding, self.seats, hits);
        let second = |before: u32, hits| {
            let (all, colluding) = (self.all - self.seats, self.colluding.saturating_sub(before));
            hypergeometric(all, colluding, self.more_seats, hits)
        };
        let after = |before| -> f64 {
            if is_drawn_again(before) {
                (0..=self.more_seats)
                    .filter(|&hits| ends(before, Some(hits)))
                    .map(|hits| second(before, hits))
                    .sum()
            } else {
                f64::from(u8::from(ends(before, None)))
            }
        };
        (0..=self.seats).map(|before| first(before) * after(before)).sum()
    }

    /// Returns `true` if `hits` seats of the second draw decide.
    fn decide(&self, hits: u32) -> bool {
        is_seat_quorum(hits as usize, self.more_seats as usize)
    }

    /// Returns the chance that a cheat passes: no honest seat in the first draw, or two thirds in
    /// the second.
    pub(crate) fn passes(&self) -> f64 {
        self.sum(|hits| hits < self.seats, |_, hits| hits.is_none_or(|hits| self.decide(hits)))
    }

    /// Returns the chance that a cheat is convicted.
    fn caught(&self) -> f64 {
        let honest = |hits| self.decide(self.more_seats - hits);
        self.sum(|hits| hits < self.seats, |_, hits| hits.is_some_and(honest))
    }

    /// Returns the chance that an honest trainer is convicted.
    fn convicted(&self) -> f64 {
        self.sum(|hits| hits > 0, |_, hits| hits.is_some_and(|hits| self.decide(hits)))
    }

    /// Returns the chance that objections cause a second draw.
    fn delayed(&self) -> f64 {
        self.sum(|_| false, |hits, _| hits > 0)
    }

    /// Returns the chance that silence causes a second draw.
    fn silenced(&self) -> f64 {
        let decided = |hits| is_seat_quorum((self.seats - hits) as usize, self.seats as usize);
        self.sum(|_| false, |hits, _| !decided(hits))
    }

    /// Returns the chance that an honest update is undecided, though objected to.
    fn stalled(&self) -> f64 {
        let open = |hits| !self.decide(hits) && !self.decide(self.more_seats - hits);
        self.sum(|hits| hits > 0, |_, hits| hits.is_some_and(open))
    }

    /// Returns the chance that most seats of the first draw collude.
    fn majority(&self) -> f64 {
        self.sum(|_| false, |hits, _| hits > self.seats / 2)
    }
}

/// Exact chances for other numbers of seats, in a large network.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SeatChoice {
    /// Seats of the first draw.
    pub seats: u8,
    /// Seats of the second draw.
    pub more_seats: u8,
    /// Share of the stake that colludes.
    pub stake: f64,
    /// Chance that a cheat passes.
    pub passes: f64,
    /// Chance that an honest trainer is convicted.
    pub convicted: f64,
    /// Chance that an honest update is drawn again.
    pub delayed: f64,
    /// Chance that an honest update stays undecided.
    pub stalled: f64,
    /// Replays of an honest update that colluders object to wherever they can.
    pub replays: f64,
}

/// Compares numbers of seats.
pub fn choices(settings: &Settings) -> Vec<SeatChoice> {
    const ALL: u32 = 1_000;
    let numbers = [(2, 16), (3, 7), (3, 11), (3, 16), (4, 16), (5, 16)];
    let choice = |(seats, more_seats), percent: u32| {
        let audit = AuditConfig { seats, more_seats, ..settings.audit };
        let settings = Settings { audit, ..settings.clone() };
        let chances = Chances::new(&settings, ALL, ALL / 100 * percent);
        SeatChoice {
            seats,
            more_seats,
            stake: f64::from(percent) / 100.0,
            passes: chances.passes(),
            convicted: chances.convicted(),
            delayed: chances.delayed(),
            stalled: chances.stalled(),
            replays: f64::from(seats) + chances.delayed() * f64::from(more_seats),
        }
    };
    numbers
        .into_iter()
        .flat_map(|seats| [10, 20, 33].map(|percent| choice(seats, percent)))
        .collect()
}

/// Simulates every share of equal stakes.
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
    let all = settings.validators;
    let validators = |strategy| Validators::equal(all, colluding, strategy);
    let rates = Rates::count(settings, &format!("equal/{colluding}"), validators);
    let chances = Chances::new(settings, all, colluding);
    let estimate = |rate, expected| Estimate { rate, expected };
    let alone = chances.sum(|_| false, |hits, _| hits == chances.seats);
    Collusion {
        stake: f64::from(colluding) / f64::from(all.max(1)),
        passes_first: estimate(rates.passes_first, alone),
        passes: estimate(rates.passes, chances.passes()),
        caught: estimate(rates.caught, chances.caught()),
        convicted: estimate(rates.convicted, chances.convicted()),
        delayed: estimate(rates.delayed, chances.delayed()),
        silenced: estimate(rates.silenced, chances.silenced()),
        stalled: estimate(rates.stalled, chances.stalled()),
        score_set: estimate(rates.score_set, chances.majority()),
    }
}

/// Simulated rates of a coalition; fields are those of [`Collusion`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Rates {
    /// Forged updates that pass in the first draw.
    pub passes_first: Rate,
    /// Forged updates that pass in either draw.
    pub passes: Rate,
    /// Forged updates convicted.
    pub caught: Rate,
    /// Honest updates convicted.
    pub convicted: Rate,
    /// Honest updates that objections force into a second draw.
    pub delayed: Rate,
    /// Honest updates that silence forces into a second draw.
    pub silenced: Rate,
    /// Honest updates that objections leave undecided.
    pub stalled: Rate,
    /// Valid updates whose score is set by colluders.
    pub score_set: Rate,
}

impl Rates {
    /// Lets a coalition among the `validators`, which `name` names in seeds, vouch, accuse, be
    /// silent and exaggerate.
    pub fn count(
        settings: &Settings,
        name: &str,
        validators: impl Fn(ValidatorStrategy) -> Validators,
    ) -> Self {
        let mut rates = Self::default();
        let honest = SimulatedUpdate::honest(settings.segments, 1);
        let cheat = SimulatedUpdate { forged: u64::MAX, packed: false, accomplice: true, ..honest };
        // Labels are part of the seeds: another label changes the published figures.
        let decisions = |label, strategy, update| {
            decisions(settings, &format!("{label}/{name}"), &validators(strategy), update)
        };
        for decision in decisions("vouches", ValidatorStrategy::Vouching, cheat) {
            rates.passes_first.count(decision.first == Verdict::Valid);
            rates.passes.count(decision.verdict == Verdict::Valid);
            rates.caught.count(decision.verdict == Verdict::Invalid);
        }
        for decision in decisions("accuses", ValidatorStrategy::Accusing, honest) {
            rates.delayed.count(decision.first == Verdict::Unresolved);
            rates.convicted.count(decision.verdict == Verdict::Invalid);
            rates.stalled.count(decision.verdict == Verdict::Unresolved);
        }
        for decision in decisions("silent", ValidatorStrategy::Silent, honest) {
            rates.silenced.count(decision.first == Verdict::Unresolved);
        }
        for decision in decisions("exaggerates", ValidatorStrategy::Exaggerating, honest) {
            rates.score_set.count(decision.measure.gain > EXAGGERATION);
        }
        rates
    }
}

/// Audits `update` as often as the settings ask, 64 times a round.
fn decisions(
    settings: &Settings,
    label: &str,
    validators: &Validators,
    update: SimulatedUpdate,
) -> Vec<Decision> {
    let updates: Vec<_> = (0..64).map(|trainer| (trainer, update)).collect();
    (0..settings.trials.div_ceil(64))
        .flat_map(|batch| {
            let seed = seed(settings.seed, label, batch.into());
            audit(&settings.audit, seed, batch, validators, &updates)
        })
        .collect()
}

/// Stakes of honest validators beside a coalition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// The smallest bond for all.
    Equal,
    /// Zipf's law: the k-th largest has a k-th of the largest one's, the last the smallest bond.
    Zipf,
}

/// Accounts among which a coalition divides its stake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Accounts {
    /// All of it in one.
    One,
    /// As many as possible, of the smallest bond.
    Many,
}

/// Outcomes where a coalition faces 100 honest validators.
#[derive(Clone, Debug, Serialize)]
pub struct Coalition {
    /// Stakes of the honest.
    pub distribution: Distribution,
    /// Accounts of the coalition.
    pub accounts: Accounts,
    /// Its share of the stake.
    pub stake: f64,
    /// Rates of what it does.
    pub rates: Rates,
}

/// Number of honest validators that coalitions of unequal stake face.
const HONEST: u32 = 100;

impl Distribution {
    /// Returns the stakes of the honest validators.
    pub fn stakes(self) -> Vec<Balance> {
        let bond = Role::Validator.minimum_bond();
        let stake = |rank: u32| match self {
            Self::Equal => bond,
            Self::Zipf => bond * Balance::from(HONEST) / Balance::from(rank),
        };
        (1..=HONEST).map(stake).collect()
    }
}

impl Accounts {
    /// Divides a stake.
    fn divide(self, stake: Balance) -> Vec<Balance> {
        let count = match self {
            Self::One => 1,
            Self::Many => (stake / Role::Validator.minimum_bond()).max(1),
        };
        (0..count).map(|_| stake / count).collect()
    }
}

/// Simulates every share of stake, in one account and in many, among equal and among Zipf's stakes.
pub fn coalitions(settings: &Settings) -> Vec<Coalition> {
    let mut found = Vec::new();
    for distribution in [Distribution::Equal, Distribution::Zipf] {
        for accounts in [Accounts::One, Accounts::Many] {
            for percent in STAKES {
                found.push(coalition(settings, distribution, accounts, percent));
            }
        }
    }
    found
}

fn coalition(
    settings: &Settings,
    distribution: Distribution,
    accounts: Accounts,
    percent: u32,
) -> Coalition {
    let honest = distribution.stakes();
    let whole: Balance = honest.iter().sum();
    let own = accounts.divide(whole * Balance::from(percent) / Balance::from(100 - percent));
    let stake: Balance = own.iter().sum();
    let validators = |strategy| Validators::with_stakes(&own, &honest, strategy);
    Coalition {
        distribution,
        accounts,
        stake: stake as f64 / (stake + whole) as f64,
        rates: Rates::count(
            settings,
            &format!("{distribution:?}/{accounts:?}/{percent}"),
            validators,
        ),
    }
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
