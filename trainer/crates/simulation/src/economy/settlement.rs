// SPDX-License-Identifier: Apache-2.0

//! Payments and fines of a simulated network.

use super::{
    INVALID_PENALTY, PROVIDER, SEAT_PENALTY, SEAT_STRIKES, WITHHELD_PENALTY, largest_round,
};
use crate::audits::{Account, Decision, SimulatedUpdate};
use pol_primitives::{
    Balance, MILLION,
    audit::{SeatResult, SeatTally, Verdict},
    data::SourceKind,
    rewards::{EmissionSchedule, Ledger, RoundEarnings, RoundPool, training_weight},
    standing::Standing,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Results of seats that are judged together, by the audit that decides last and by account.
type Tallies = BTreeMap<(u8, Account), SeatTally>;

/// Totals of an account; amounts in the smallest unit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) paid: Balance,
    pub(super) fined: Balance,
    /// Leases of work, or seats worked in.
    pub(super) worked: f64,
    /// Updates made, or seats held.
    pub(super) held: u32,
    strikes: u32,
}

/// The money of a network, with rounds in escrow and a ledger that has to balance.
pub(super) struct Economy {
    escrow_rounds: usize,
    waiting: VecDeque<(RoundPool, BTreeMap<Account, RoundEarnings>)>,
    accounts: BTreeMap<Account, Totals>,
    standings: BTreeMap<Account, Standing>,
    ledger: Ledger,
}

impl Economy {
    /// Creates an economy that pays `escrow_rounds` rounds after a round is settled.
    pub(super) fn new(escrow_rounds: usize) -> Self {
        Self {
            escrow_rounds,
            waiting: VecDeque::new(),
            accounts: BTreeMap::new(),
            standings: BTreeMap::new(),
            ledger: Ledger::default(),
        }
    }

    pub(super) fn account(&mut self, account: Account) -> &mut Totals {
        self.accounts.entry(account).or_default()
    }

    fn fine(&mut self, account: Account, amount: Balance) {
        self.account(account).fined += amount;
        self.ledger.seized += amount;
        self.ledger.burned += amount;
    }

    /// Takes everything that waits in escrow for `account`.
    fn forfeit(&mut self, account: Account) {
        let mut amount = 0;
        for (pool, earned) in &mut self.waiting {
            if let Some(earned) = earned.remove(&account) {
                amount += pool.take(&earned);
            }
        }
        self.ledger.burned += amount;
    }

    /// Settles a round, and pays the round whose escrow ends.
    pub(super) fn settle(
        &mut self,
        updates: &[(Account, SimulatedUpdate)],
        decisions: &[Decision],
    ) {
        let shares = largest_round();
        self.ledger.emitted += shares.total();
        self.ledger.paid += shares.treasury;
        let per_seat = EmissionSchedule::default().per_seat;
        let mut pool = RoundPool::new(&shares, per_seat, decisions.len() as u32);
        let mut earned = BTreeMap::<Account, RoundEarnings>::new();
        // Seats of undecided updates are judged with those of the second draw.
        let earlier = decisions.iter().flat_map(|decision| &decision.earlier);
        let waiting: BTreeSet<Account> = earlier.map(|seat| seat.account).collect();
        let mut tallies = BTreeMap::new();
        for (&(trainer, _), decision) in updates.iter().zip(decisions) {
            self.count_seats(decision);
            if decision.verdict == Verdict::Invalid {
                self.fine(trainer, INVALID_PENALTY);
                if let Some(earned) = earned.remove(&trainer) {
                    pool.remove(&earned);
                }
                self.forfeit(trainer);
            }
            let mut more = self.settle_trainer(trainer, decision);
            more.extend(settle_panel(decision, &waiting, &mut tallies));
            for (account, more) in more {
                pool.add(&more);
                let entry = earned.entry(account).or_default();
                *entry = entry.plus(&more);
            }
            pool.unsettled -= 1;
            pool.improved |= decision.measure.score() > 0;
        }
        self.judge_seats(&tallies);
        self.ledger.burned += pool.take_unearned();
        self.waiting.push_back((pool, earned));
        if self.waiting.len() > self.escrow_rounds {
            self.pay_oldest();
        }
    }

    fn count_seats(&mut self, decision: &Decision) {
        for seat in decision.panel.iter().chain(&decision.earlier) {
            let totals = self.account(seat.account);
            totals.held += 1;
            totals.worked += f64::from(u8::from(seat.worked));
        }
    }

    /// Returns the earnings of a valid update; fines a withheld one.
    fn settle_trainer(
        &mut self,
        trainer: Account,
        decision: &Decision,
    ) -> Vec<(Account, RoundEarnings)> {
        let mut earned = Vec::new();
        match decision.verdict {
            Verdict::Valid => {
                let standing = self.standings.entry(trainer).or_default();
                standing.note_valid(&decision.measure);
                let (score, bonus) = (decision.measure.score(), SourceKind::Dataset.bonus());
                let training = training_weight(score, bonus, MILLION);
                if !standing.is_flagged() {
                    earned.push((trainer, RoundEarnings { training, ..Default::default() }));
                }
                earned.push((PROVIDER, RoundEarnings { effect: 1, ..Default::default() }));
            }
            Verdict::Withheld => self.fine(trainer, WITHHELD_PENALTY),
            Verdict::Invalid | Verdict::Unresolved => {}
        }
        earned
    }

    /// Judges the seats of a round, and fines those that failed too often.
    fn judge_seats(&mut self, tallies: &Tallies) {
        for (&(_, account), tally) in tallies {
            let strikes = tally.strikes_after(self.account(account).strikes);
            self.account(account).strikes = strikes;
            let fines = tally.fines(strikes, SEAT_STRIKES);
            self.fine(account, SEAT_PENALTY * Balance::from(fines));
        }
    }

    fn pay_oldest(&mut self) {
        if let Some((mut pool, earned)) = self.waiting.pop_front() {
            for (account, earned) in earned {
                let share = pool.take(&earned);
                self.account(account).paid += share;
                self.ledger.paid += share;
            }
            self.ledger.burned += pool.left();
        }
    }

    /// Pays all rounds.
    ///
    /// # Panics
    ///
    /// Panics if money was lost or created.
    pub(super) fn close(&mut self) {
        self.ledger.waiting = self.waiting.iter().map(|(pool, _)| pool.left()).sum();
        let Ledger { emitted, seized, paid, burned, waiting } = self.ledger;
        assert_eq!(emitted + seized, paid + burned + waiting, "the ledger does not balance");
        while !self.waiting.is_empty() {
            self.pay_oldest();
        }
    }

    /// Adds up the totals of `accounts`.
    pub(super) fn sum(&self, accounts: impl Fn(Account) -> bool) -> Totals {
        self.accounts.iter().filter(|(account, _)| accounts(**account)).fold(
            Totals::default(),
            |sum, (_, totals)| Totals {
                paid: sum.paid + totals.paid,
                fined: sum.fined + totals.fined,
                worked: sum.worked + totals.worked,
                held: sum.held + totals.held,
                strikes: 0,
            },
        )
    }
}

/// Returns the earnings of right seats, and notes the results of all. Accounts that have seats of
/// undecided updates are `waiting`.
fn settle_panel(
    decision: &Decision,
    waiting: &BTreeSet<Account>,
    tallies: &mut Tallies,
) -> Vec<(Account, RoundEarnings)> {
    let seats = decision.earlier.iter().chain(&decision.panel);
    let results = seats.filter_map(|seat| Some((seat.account, seat.result?)));
    let results = SeatResult::by_account(results);
    for (&account, &result) in &results {
        let draw = u8::from(!decision.earlier.is_empty() || waiting.contains(&account));
        tallies.entry((draw, account)).or_default().note(result);
    }
    let right = results.iter().filter(|(_, result)| **result == SeatResult::Right);
    right.map(|(&account, _)| (account, RoundEarnings { seats: 1, ..Default::default() })).collect()
}
