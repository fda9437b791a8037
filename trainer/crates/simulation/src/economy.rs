//! What strategies earn and cost, in a network that pays and fines as the chain does.

use crate::{
    Settings,
    detection::forge,
    network::{Account, Conduct, Deed, FIRST_VALIDATOR, Ruling, Seated, Validators, audit, seed},
    statistics::Rate,
};
use pol_primitives::{
    Balance, MILLION, POL, RoundNumber,
    audit::{Verdict, draw_segments, weight},
    data::SourceKind,
    peer::Role,
    prf::Prf,
    rewards::{Books, Earned, Emission, RoundPool},
    view::Standing,
};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};

/// Taken from the bond of whoever trained something else than its lease; the runtime's value.
pub const INVALID_PENALTY: Balance = Role::Trainer.minimum_bond();
/// Taken from whoever does not show what an audit asks for; the runtime's value.
pub const WITHHELD_PENALTY: Balance = 200 * POL;
/// Taken for each failed seat from the third in a row on; the runtime's values.
pub const SEAT_PENALTY: Balance = 50 * POL;
const SEAT_STRIKES: u32 = 3;

/// What an honest full lease improves, in millionths of a nat a token.
const GAIN: i32 = 20_000;
/// Tokens of a segment.
const TOKENS: u64 = 1 << 16;
/// Shards of a lease.
const SHARDS: u32 = 10;
/// What measuring costs a seat, as a share of replaying its segments.
const MEASURING: f64 = 0.5;
/// Updates of a round.
const UPDATES: u32 = 64;
/// Who provides all data.
const PROVIDER: Account = Account::MAX;

/// How a cheating trainer goes about it. What it hands in is worth as much as honest work, which
/// favours it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// Percent of its segments that it does not train.
    pub skipped: u16,
    /// Whether its payload is made up, too.
    pub random_payload: bool,
    /// Whether it falls silent when the draw would find it out.
    pub aborts: bool,
    /// Whether it never shows anything.
    pub withholds: bool,
    /// Identities among which one machine's work is divided.
    pub identities: u16,
    /// Percent of the blocks that an accomplice authors.
    pub author: u32,
    /// Percent of the validators that vouch for it.
    pub colluding: u32,
}

const PLAIN: Plan = Plan {
    name: "honest",
    skipped: 0,
    random_payload: false,
    aborts: false,
    withholds: false,
    identities: 1,
    author: 0,
    colluding: 0,
};

/// The strategies of trainers.
pub const PLANS: [Plan; 13] = [
    PLAIN,
    Plan { name: "skip 10 %", skipped: 10, ..PLAIN },
    Plan { name: "skip 50 %", skipped: 50, ..PLAIN },
    Plan { name: "skip 90 %", skipped: 90, ..PLAIN },
    Plan { name: "free ride", skipped: 100, random_payload: true, ..PLAIN },
    Plan { name: "skip 10 %, abort when drawn", skipped: 10, aborts: true, ..PLAIN },
    Plan { name: "skip 50 %, abort when drawn", skipped: 50, aborts: true, ..PLAIN },
    Plan {
        name: "free ride, abort when drawn",
        skipped: 100,
        random_payload: true,
        aborts: true,
        ..PLAIN
    },
    Plan { name: "withhold honest work", withholds: true, ..PLAIN },
    Plan { name: "divide work among 5 identities", identities: 5, ..PLAIN },
    Plan { name: "skip 50 %, 33 % of blocks", skipped: 50, author: 33, ..PLAIN },
    Plan { name: "free ride, 33 % of validators", skipped: 100, colluding: 33, ..PLAIN },
    Plan { name: "free ride, 60 % of validators", skipped: 100, colluding: 60, ..PLAIN },
];

/// What a strategy of trainers brought. Amounts are in POL for a full lease of work.
#[derive(Clone, Debug, Serialize)]
pub struct Trained {
    /// The strategy.
    pub name: &'static str,
    /// Updates found out: invalid or withheld.
    pub caught: Rate,
    /// Paid.
    pub reward: f64,
    /// Seized from bonds.
    pub fines: f64,
    /// Spent on compute.
    pub compute: f64,
    /// What remains.
    pub profit: f64,
    /// What remained to the honest of the same network.
    pub honest: f64,
    /// Compute saved, as the inequality has it.
    pub saved: f64,
    /// What is lost when caught: the reward and the penalty.
    pub at_stake: f64,
    /// `p_d · (reward + bond) / compute saved`; none where nothing is saved.
    pub margin: Option<f64>,
    /// The same where one trainer alone earns all of a round, and compute costs as much as it pays.
    pub margin_alone: Option<f64>,
}

/// What a conduct of validators brought. Amounts are in POL for a seat.
#[derive(Clone, Debug, Serialize)]
pub struct Validated {
    /// The conduct.
    pub name: &'static str,
    /// Seats held.
    pub seats: u32,
    /// Paid for seats, without parts of fines.
    pub reward: f64,
    /// Seized from bonds.
    pub fines: f64,
    /// Spent on compute.
    pub compute: f64,
    /// What remains.
    pub profit: f64,
    /// What remained to the honest of the same network.
    pub honest: f64,
}

/// An account's purse, in the smallest unit.
#[derive(Clone, Copy, Debug, Default)]
struct Purse {
    paid: Balance,
    fined: Balance,
    /// Leases of work, or seats worked in.
    worked: f64,
    /// Updates made, or seats held.
    held: u32,
    strikes: u32,
}

/// The money of a network: rounds wait in escrow, fines are shared out, and the books are kept.
struct Economy {
    escrow: usize,
    waiting: VecDeque<(RoundPool, BTreeMap<Account, Earned>)>,
    purses: BTreeMap<Account, Purse>,
    standings: BTreeMap<Account, Standing>,
    books: Books,
}

impl Economy {
    fn purse(&mut self, account: Account) -> &mut Purse {
        self.purses.entry(account).or_default()
    }

    /// Half of a fine is burned, and the rest goes to those who proved it and to the treasury. What
    /// seats get of it is not counted as theirs here, since it depends on how many cheats there
    /// are.
    fn share_out(&mut self, amount: Balance) {
        let burned = amount / 2;
        self.books.burned += burned;
        self.books.paid += amount - burned;
    }

    fn fine(&mut self, account: Account, amount: Balance) {
        self.purse(account).fined += amount;
        self.books.seized += amount;
        self.share_out(amount);
    }

    /// Takes what waits in escrow for `account`.
    fn forfeit(&mut self, account: Account) {
        let mut amount = 0;
        for (pool, earned) in &mut self.waiting {
            if let Some(earned) = earned.remove(&account) {
                amount += pool.take(&earned);
            }
        }
        self.share_out(amount);
    }

    /// Settles a round, and pays the one whose escrow is over.
    fn settle(&mut self, round: RoundNumber, deeds: &[(Account, Deed)], rulings: &[Ruling]) {
        let shares = Emission::default().of(round);
        self.books.emitted += shares.total();
        self.books.paid += shares.treasury;
        let mut pool = RoundPool::new(&shares, rulings.len() as u32);
        let mut earned = BTreeMap::<Account, Earned>::new();
        for (&(trainer, deed), ruling) in deeds.iter().zip(rulings) {
            let seats = ruling.panel.iter().chain(&ruling.wasted);
            for seat in seats {
                let purse = self.purse(seat.account);
                purse.held += 1;
                purse.worked += f64::from(u8::from(seat.worked));
            }
            let mut more = Vec::new();
            match ruling.verdict {
                Verdict::Valid => {
                    let standing = self.standings.entry(trainer).or_default();
                    standing.note_valid(&ruling.measure);
                    let tokens = u64::from(deed.segments) * TOKENS;
                    let training = weight(
                        ruling.measure.score(),
                        tokens,
                        SourceKind::Dataset.bonus(),
                        MILLION,
                    );
                    if !standing.is_flagged() {
                        more.push((trainer, Earned { training, ..Default::default() }));
                    }
                    more.push((PROVIDER, Earned { shards: SHARDS, ..Default::default() }));
                }
                Verdict::Invalid => {
                    self.fine(trainer, INVALID_PENALTY);
                    if let Some(earned) = earned.remove(&trainer) {
                        pool.remove(&earned);
                    }
                    self.forfeit(trainer);
                }
                Verdict::Withheld => self.fine(trainer, WITHHELD_PENALTY),
                Verdict::Unresolved => {}
            }
            if matches!(ruling.verdict, Verdict::Valid | Verdict::Invalid) {
                for &Seated { account, right: is_right, .. } in &ruling.panel {
                    let strikes = if is_right { 0 } else { self.purse(account).strikes + 1 };
                    self.purse(account).strikes = strikes;
                    if is_right {
                        more.push((account, Earned { seats: 1, ..Default::default() }));
                    } else if strikes >= SEAT_STRIKES {
                        self.fine(account, SEAT_PENALTY);
                    }
                }
            }
            for (account, more) in more {
                pool.add(&more);
                let entry = earned.entry(account).or_default();
                *entry = entry.plus(&more);
            }
            pool.unsettled -= 1;
        }
        self.books.burned += pool.take_unearned();
        self.waiting.push_back((pool, earned));
        if self.waiting.len() > self.escrow {
            self.pay_oldest();
        }
    }

    fn pay_oldest(&mut self) {
        if let Some((mut pool, earned)) = self.waiting.pop_front() {
            for (account, earned) in earned {
                let share = pool.take(&earned);
                self.purse(account).paid += share;
                self.books.paid += share;
            }
            self.books.burned += pool.left();
        }
    }

    /// Pays all, and checks that nothing was lost or made.
    fn close(&mut self) {
        self.books.waiting = self.waiting.iter().map(|(pool, _)| pool.left()).sum();
        let Books { emitted, seized, paid, burned, waiting } = self.books;
        assert_eq!(emitted + seized, paid + burned + waiting, "the books do not add up");
        while !self.waiting.is_empty() {
            self.pay_oldest();
        }
    }

    /// The sum of the purses of `accounts`.
    fn sum(&self, accounts: impl Fn(Account) -> bool) -> Purse {
        self.purses.iter().filter(|(account, _)| accounts(**account)).fold(
            Purse::default(),
            |sum, (_, purse)| Purse {
                paid: sum.paid + purse.paid,
                fined: sum.fined + purse.fined,
                worked: sum.worked + purse.worked,
                held: sum.held + purse.held,
                strikes: 0,
            },
        )
    }
}

fn pol(amount: Balance) -> f64 {
    amount as f64 / POL as f64
}

/// What an honest update is paid where a round is full.
pub fn fair_reward() -> f64 {
    pol(Emission::default().of(0).trainers) / f64::from(UPDATES)
}

/// Plays `settings.rounds` rounds: cheats take some places of each, honest trainers the rest.
fn play(settings: &Settings, plan: &Plan, validators: &Validators, caught: &mut Rate) -> Economy {
    let mut economy = Economy {
        escrow: settings.audit.escrow as usize,
        waiting: VecDeque::new(),
        purses: BTreeMap::new(),
        standings: BTreeMap::new(),
        books: Books::default(),
    };
    // An accomplice chooses blocks for one update at a time.
    let cheats: u32 = if plan.author > 0 { 1 } else { 4 };
    let mut random = Prf::new("economy", &seed(settings.seed, plan.name, 0), &[]);
    let segments = settings.segments / plan.identities;
    let skipped = (u32::from(segments) * u32::from(plan.skipped)).div_ceil(100) as u16;
    for round in 0..settings.rounds {
        // Every sixteenth trainer is of the cheats.
        let mut deeds = BTreeMap::new();
        while deeds.len() < UPDATES as usize {
            let is_cheat = deeds.len() < cheats as usize;
            let trainer = random.below(settings.trainers / 16) * 16
                + if is_cheat { 0 } else { 1 + random.below(15) };
            let deed = if is_cheat {
                Deed {
                    forged: forge(random.clone(), segments, skipped),
                    packed: !plan.random_payload,
                    aborts: plan.aborts,
                    withholds: plan.withholds,
                    accomplice: plan.colluding > 0,
                    // Improvement grows with the root of the work.
                    ..Deed::honest(
                        segments,
                        (f64::from(GAIN) / f64::from(plan.identities).sqrt()) as i32,
                    )
                }
            } else {
                Deed::honest(settings.segments, GAIN)
            };
            deeds.entry(trainer).or_insert(deed);
        }
        let deeds: Vec<_> = deeds.into_iter().collect();
        let mut number = u64::from(round) << 32;
        let block = loop {
            let block = seed(settings.seed, plan.name, number);
            let found = |(trainer, deed): &(Account, Deed)| {
                deed.is_found_in(&draw_segments(
                    &block,
                    trainer,
                    deed.segments,
                    settings.audit.segments.into(),
                    &[],
                ))
            };
            if plan.author == 0 || random.below(100) >= plan.author || !deeds.iter().any(found) {
                break block;
            }
            number += 1;
        };
        let rulings = audit(&settings.audit, block, round, validators, &deeds);
        for ((trainer, deed), ruling) in deeds.iter().zip(&rulings) {
            let purse = economy.purse(*trainer);
            purse.held += 1;
            purse.worked += f64::from(u32::from(deed.segments) - deed.forged.count_ones())
                / f64::from(settings.segments);
            if trainer % 16 == 0 {
                caught.count(matches!(ruling.verdict, Verdict::Invalid | Verdict::Withheld));
            }
        }
        economy.settle(round, &deeds, &rulings);
    }
    economy.close();
    economy
}

/// Tries every strategy of trainers.
pub fn trainers(settings: &Settings) -> Vec<Trained> {
    PLANS.iter().map(|plan| trained(settings, plan)).collect()
}

/// Tries one strategy of trainers.
pub fn trained(settings: &Settings, plan: &Plan) -> Trained {
    let colluding = settings.validators * plan.colluding / 100;
    let validators = Validators::equal(settings.validators, colluding, Conduct::Vouches);
    let mut caught = Rate::default();
    let economy = play(settings, plan, &validators, &mut caught);
    let cost = settings.compute * fair_reward();
    let (cheats, honest) = (
        economy.sum(|account| account < FIRST_VALIDATOR && account % 16 == 0),
        economy.sum(|account| account < FIRST_VALIDATOR && account % 16 != 0),
    );
    let machines = f64::from(cheats.held) / f64::from(plan.identities);
    let (reward, fines, compute) = (
        pol(cheats.paid) / machines,
        pol(cheats.fined) / machines,
        cost * cheats.worked / machines,
    );
    let honest =
        (pol(honest.paid) - pol(honest.fined) - cost * honest.worked) / f64::from(honest.held);
    let skipped = f64::from(plan.skipped) / 100.0;
    let penalty = pol(if plan.aborts { WITHHELD_PENALTY } else { INVALID_PENALTY });
    let margin = |reward: f64, cost: f64| {
        (skipped > 0.0).then(|| caught.share() * (reward + penalty) / (skipped * cost))
    };
    let whole = fair_reward() * f64::from(UPDATES);
    Trained {
        name: plan.name,
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

/// The conducts of validators.
pub const CONDUCTS: [(&str, Conduct); 5] = [
    ("honest", Conduct::Honest),
    ("silent", Conduct::Silent),
    ("says it replayed", Conduct::Guesses),
    ("replays one round of three", Conduct::OneOfThree),
    ("accuses everybody", Conduct::Accuses),
];

/// Tries every conduct of validators, with one in fifty who keeps to it.
pub fn validators(settings: &Settings) -> Vec<Validated> {
    let others = settings.validators.div_ceil(50);
    CONDUCTS
        .iter()
        .map(|&(name, conduct)| {
            let validators = Validators::equal(settings.validators, others, conduct);
            let economy =
                play(settings, &Plan { name, ..PLAIN }, &validators, &mut Rate::default());
            let drawn = f64::from(settings.audit.segments) / f64::from(settings.segments);
            let cost = settings.compute * fair_reward() * drawn * (1.0 + MEASURING);
            let each = |purse: Purse| {
                let seats = f64::from(purse.held.max(1));
                (pol(purse.paid) / seats, pol(purse.fined) / seats, cost * purse.worked / seats)
            };
            let is_other = |account| (FIRST_VALIDATOR..FIRST_VALIDATOR + others).contains(&account);
            let is_honest = |account| account >= FIRST_VALIDATOR + others && account != PROVIDER;
            let (mine, honest) = (economy.sum(is_other), each(economy.sum(is_honest)));
            let (reward, fines, compute) = each(mine);
            let profit = reward - fines - compute;
            Validated {
                name,
                seats: mine.held,
                reward,
                fines,
                compute,
                profit,
                honest: honest.0 - honest.1 - honest.2,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_strategy_pays_and_the_books_add_up() {
        let settings = Settings { rounds: 60, trainers: 320, validators: 50, ..Settings::quick(3) };
        for plan in
            PLANS.iter().filter(|plan| plan.skipped > 0 || plan.withholds || plan.identities > 1)
        {
            let trained = trained(&settings, plan);
            assert!(trained.profit < trained.honest, "{trained:?}");
        }
    }
}
