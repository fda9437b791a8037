//! What validators that collude can decide, by the share of stake that they hold.

use crate::{
    Settings,
    network::{Conduct, Deed, EXAGGERATION, Validators, audit, seed},
    statistics::{Rate, hypergeometric},
};
use pol_primitives::{audit::Verdict, round::is_quorum};
use serde::Serialize;

/// Shares of stake that are tried, in percent.
pub const STAKES: [u32; 9] = [5, 10, 20, 30, 33, 40, 50, 60, 70];

/// What happens where colluding validators hold a share of the stake.
#[derive(Clone, Debug, Serialize)]
pub struct Collusion {
    /// Their share of the stake.
    pub stake: f64,
    /// A cheat's update, all forged, passes in the first draw.
    pub passes_first: Estimate,
    /// It passes in either.
    pub passes: Estimate,
    /// It is found out in either; what remains is not decided, and costs the cheat its reward
    /// alone.
    pub caught: Estimate,
    /// An honest trainer is convicted in the first draw.
    pub convicted_first: Estimate,
    /// It is convicted in either.
    pub convicted: Estimate,
    /// Silence makes a second draw of an honest update necessary.
    pub delayed: Estimate,
    /// Silence leaves it undecided in both draws: not paid, not punished.
    pub stalled: Estimate,
    /// Seats that replay honestly set an update's score to what they like.
    pub score_set: Estimate,
}

/// A rate, and the exact chance.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Estimate {
    /// What was simulated.
    pub rate: Rate,
    /// Its chance by counting combinations.
    pub expected: f64,
}

/// Exact chances of one draw of some seats, where some of the validators collude, all of equal
/// stake.
#[derive(Clone, Copy, Debug)]
pub struct Seats {
    /// Seats drawn.
    pub seats: u32,
    /// Colluders are a quorum: they decide as they like.
    pub captured: f64,
    /// Neither side is.
    pub undecided: f64,
}

impl Seats {
    /// Of a draw of `seats` seats among `all` validators of whom `colluding` collude.
    pub fn new(all: u32, colluding: u32, seats: u32) -> Self {
        let seats = seats.min(all);
        let quorum =
            (1..=seats).find(|&part| is_quorum(part.into(), seats.into())).unwrap_or(seats);
        let at_least = |least| {
            (least..=seats).map(|hits| hypergeometric(all, colluding, seats, hits)).sum::<f64>()
        };
        let captured = at_least(quorum);
        Self {
            seats,
            captured,
            undecided: at_least(seats.saturating_sub(quorum).saturating_add(1)) - captured,
        }
    }

    /// Honest seats are a quorum.
    fn honest(&self) -> f64 {
        1.0 - self.captured - self.undecided
    }
}

/// What other numbers of seats would do, in a large network.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Choice {
    /// Seats of the first draw.
    pub seats: u32,
    /// Seats of the second draw.
    pub more_seats: u32,
    /// Share of the stake that colludes.
    pub stake: f64,
    /// A cheat passes, or an honest trainer is convicted.
    pub passes: f64,
    /// An honest update has to be drawn again.
    pub delayed: f64,
    /// It is not decided at all.
    pub stalled: f64,
}

/// Compares numbers of seats.
pub fn choices() -> Vec<Choice> {
    const ALL: u32 = 1_000;
    let numbers = [(3, 7), (3, 16), (4, 7), (4, 16), (5, 16), (7, 16), (10, 16)];
    let choice = |(seats, more_seats), percent: u32| {
        let colluding = ALL / 100 * percent;
        let (first, second) =
            (Seats::new(ALL, colluding, seats), Seats::new(ALL, colluding, more_seats));
        Choice {
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

/// Tries every share of stake.
pub fn run(settings: &Settings) -> Vec<Collusion> {
    STAKES
        .into_iter()
        .map(|percent| at(settings, settings.validators.saturating_mul(percent).div_ceil(100)))
        .collect()
}

/// What follows when `colluding` of the validators collude.
pub fn at(settings: &Settings, colluding: u32) -> Collusion {
    let all = settings.validators;
    let cheat = Deed {
        forged: u64::MAX,
        packed: false,
        accomplice: true,
        ..Deed::honest(settings.segments, 1)
    };
    let rulings = |conduct, deed| {
        let validators = Validators::equal(all, colluding, conduct);
        let name = format!("collude/{conduct:?}/{colluding}");
        (0..settings.trials.div_ceil(64)).flat_map(move |batch| {
            let deeds: Vec<_> = (0..64).map(|trainer| (trainer, deed)).collect();
            audit(
                &settings.audit,
                seed(settings.seed, &name, batch.into()),
                batch,
                &validators,
                &deeds,
            )
        })
    };
    let first = Seats::new(all, colluding, settings.audit.seats.into());
    let second = Seats::new(all, colluding, settings.audit.more_seats.into());
    let twice = |one: fn(&Seats) -> f64| one(&first) + first.undecided * one(&second);
    let estimate = |expected| Estimate { rate: Rate::default(), expected };
    let mut found = Collusion {
        stake: f64::from(colluding) / f64::from(all.max(1)),
        passes_first: estimate(first.captured),
        passes: estimate(twice(|seats| seats.captured)),
        caught: estimate(twice(Seats::honest)),
        convicted_first: estimate(first.captured),
        convicted: estimate(twice(|seats| seats.captured)),
        delayed: estimate(1.0 - first.honest()),
        // Where they are a quorum and silent, honest seats are none either.
        stalled: estimate((1.0 - first.honest()) * (1.0 - second.honest())),
        score_set: estimate(
            (first.seats / 2 + 1..=first.seats)
                .map(|hits| hypergeometric(all, colluding, first.seats, hits))
                .sum(),
        ),
    };
    for ruling in rulings(Conduct::Vouches, cheat) {
        found.passes_first.rate.count(ruling.first == Verdict::Valid);
        found.passes.rate.count(ruling.verdict == Verdict::Valid);
        found.caught.rate.count(ruling.verdict == Verdict::Invalid);
    }
    for ruling in rulings(Conduct::Accuses, Deed::honest(settings.segments, 1)) {
        found.convicted_first.rate.count(ruling.first == Verdict::Invalid);
        found.convicted.rate.count(ruling.verdict == Verdict::Invalid);
    }
    for ruling in rulings(Conduct::Silent, Deed::honest(settings.segments, 1)) {
        found.delayed.rate.count(ruling.first == Verdict::Unresolved);
        found.stalled.rate.count(ruling.verdict == Verdict::Unresolved);
    }
    for ruling in rulings(Conduct::Exaggerates, Deed::honest(settings.segments, 1)) {
        found.score_set.rate.count(ruling.measure.gain > EXAGGERATION);
    }
    found
}

/// Networks with fewer validators than seats, one of whom is dishonest.
#[derive(Clone, Debug, Serialize)]
pub struct Few {
    /// Validators, of equal stake.
    pub validators: u32,
    /// A cheat whom one of them helps passes.
    pub passes: Rate,
    /// One of them alone convicts an honest trainer.
    pub convicted: Rate,
    /// One of them alone keeps an honest update from being decided.
    pub stalled: Rate,
}

/// Numbers of validators that are tried.
pub const FEW: [u32; 6] = [1, 2, 3, 4, 5, 10];

/// Tries small networks.
pub fn few(settings: &Settings) -> Vec<Few> {
    FEW.into_iter()
        .map(|validators| {
            let small =
                Settings { validators, trials: settings.trials.min(2_000), ..settings.clone() };
            let one = at(&small, 1);
            Few {
                validators,
                passes: one.passes.rate,
                convicted: one.convicted.rate,
                stalled: one.stalled.rate,
            }
        })
        .collect()
}
