// SPDX-License-Identifier: Apache-2.0

//! Validators that agree on lies.

use crate::{
    attackers::{ACCEPTANCE_BLOCKS, INVALID_PENALTY, Roles, accounts, start_attacker},
    cheating::Cheat,
    monte_carlo::{DRAWS, seed},
    network::{self, AUDITS, Network, TRAINERS, VALIDATORS},
    observer::{ChainObserver, Observations},
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use anyhow::Result;
use pol_chain::{AccountId, Call};
use pol_primitives::{
    Balance, BoundedVec, Hash, POL, RoundNumber,
    audit::{
        Audit, AuditConfig, Finding, MAX_AUDITED_SEGMENTS, PendingAudit, Seat, UpdateMeasurement,
        Verdict,
        exact::{judge, opinions},
        verdict_of_draw,
    },
    member::Role,
    submission::Outcome,
};

pub(super) static FAMILY: Family = Family {
    name: "collusion",
    scenarios: &[
        Scenario {
            name: "drawn-liars",
            setup: Setup::MonteCarlo(draw_liars),
            act: "Lets 10 to 75 of 100 equal validators agree on lies about 10,000 honest updates, \
                  for three numbers of seats.",
            expect: "At 10 % more than 99 % of updates are valid; at 30 % and 16 seats in the \
                     second draw less than 0.5 % are condemned; at 75 % most are condemned.",
        },
        Scenario {
            name: "giant-among-many",
            setup: Setup::MonteCarlo(draw_giant),
            act: "One account of 20,304 POL among 100 validators of 5,000 lies about 10,000 honest \
                  updates: with two others it has 67 % of the stake of three seats.",
            expect: "It sits on more than 10 % of updates, and every update is valid.",
        },
        Scenario {
            name: "divided-stake",
            setup: Setup::MonteCarlo(draw_divided),
            act: "Seven accounts of 5,000 POL lie about 10,000 honest updates beside three honest \
                  validators of 1,000,000 POL.",
            expect: "Seven of ten accounts have 1.2 % of the stake; every update is valid.",
        },
        Scenario {
            name: "half-of-the-stake",
            setup: Setup::Colluders { added_bond: 45_000 * POL, outcome: Outcome::Unresolved },
            act: "Two validators with half of the stake agree on lies about every update.",
            expect: "Every honest update is undecided: unpaid and unslashed.",
        },
        Scenario {
            name: "four-fifths-of-the-stake",
            setup: Setup::Colluders { added_bond: 250_000 * POL, outcome: Outcome::Invalid },
            act: "The same validators agree on lies with four fifths of the stake.",
            expect: "They decide, as the quorum rule implies: honest trainers are slashed.",
        },
    ],
};

/// Shares of liars among 100 equal validators, in percent.
const SHARES: [u32; 5] = [10, 20, 30, 50, 75];
/// Seats of the first and the second draw.
const SEATS: [(u8, u8); 3] = [(3, 7), (3, 16), (7, 16)];
/// The colluding validators of the network.
pub(crate) const COLLUDERS: [&str; 2] = ["validator-6", "validator-7"];

/// Verdicts on honest updates.
#[derive(Clone, Copy, Debug, Default)]
struct Verdicts {
    valid: u32,
    condemned: u32,
    undecided: u32,
    /// Updates with a second draw, since a liar has a seat of the first.
    accused: u32,
}

impl Verdicts {
    /// Returns `true` if this share of liars decides no more than the rule of two thirds implies: a
    /// minority delays and seldom wins, a quorum decides.
    fn are_as_required(&self, liars: u32, more_seats: u8) -> bool {
        let share = |count: u32| f64::from(count) / f64::from(DRAWS);
        let all = self.valid + self.condemned + self.undecided == DRAWS;
        all && match liars {
            30 if more_seats >= 16 => share(self.condemned) < 0.005,
            10 => share(self.valid) > 0.99,
            75 => self.condemned > self.valid,
            _ => true,
        }
    }

    /// Requires that every update is valid.
    fn acquitted(&self) -> Tally {
        let note = format!("{} accused, valid/condemned/undecided {self} %", self.accused);
        Tally::tried(DRAWS.into(), self.valid.into()).passed(self.valid == DRAWS, note)
    }
}

impl std::fmt::Display for Verdicts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |count: u32| f64::from(count) * 100.0 / f64::from(DRAWS);
        let [valid, condemned, undecided] =
            [self.valid, self.condemned, self.undecided].map(percent);
        write!(f, "{valid:.2}/{condemned:.2}/{undecided:.2}")
    }
}

/// Returns the seats' finding that training ended in `end`.
fn finding(end: Hash) -> Finding {
    Finding::Replayed {
        ends: BoundedVec::truncate_from(vec![end]),
        packed: true,
        measure: UpdateMeasurement::default(),
    }
}

/// Judges an honest update in one draw, of whose validators the first `liars` agree on a lie.
/// Returns the verdict, and the update as it waits for a second draw.
fn judge_once(
    config: &AuditConfig,
    stakes: &[(u32, Balance)],
    liars: u32,
    seed: Hash,
    waiting: &PendingAudit<u32>,
) -> (Verdict, PendingAudit<u32>) {
    let (right, lie) = ([1u8; 32], finding([2; 32]));
    let honest = finding(right);
    let updates = core::slice::from_ref(waiting);
    let audit = Audit::draw(config, seed, 0, updates, stakes, Vec::new(), MAX_AUDITED_SEGMENTS);
    let case = &audit.cases[0];
    let account = |at: &u16| audit.holders[usize::from(*at)].account;
    let seat = |at: &u16| {
        let finding = if account(at) < liars { &lie } else { &honest };
        Seat { finding: Some(finding), binding: None }
    };
    let seats: Vec<Seat<'_>> = case.seats.iter().map(seat).collect();
    let said = opinions(Some(&[right]), &seats);
    let verdict = verdict_of_draw(waiting.draw, judge(Some(&[right]), &seats), &said);
    (verdict, PendingAudit::second(0, case, case.seats.iter().map(account).zip(said)))
}

/// Judges honest updates among validators with these `stakes`, the first `liars` of whom lie.
fn judge_honest_updates(stakes: &[Balance], liars: u32, config: &AuditConfig) -> Verdicts {
    let stakes: Vec<(u32, Balance)> = (0..).zip(stakes.iter().copied()).collect();
    let mut verdicts = Verdicts::default();
    for update in 0..DRAWS {
        let (first, second) =
            (seed(b"pol/attacks/seats/0", update), seed(b"pol/attacks/seats/1", update));
        let new = PendingAudit::first(0, u32::MAX, 0, 1);
        let (mut verdict, waiting) = judge_once(config, &stakes, liars, first, &new);
        if verdict == Verdict::Unresolved {
            verdicts.accused += 1;
            verdict = judge_once(config, &stakes, liars, second, &waiting).0;
        }
        match verdict {
            Verdict::Valid => verdicts.valid += 1,
            Verdict::Invalid => verdicts.condemned += 1,
            Verdict::Withheld | Verdict::Unresolved => verdicts.undecided += 1,
        }
    }
    verdicts
}

/// Measures verdicts by the share of lying stake and the number of seats.
fn draw_liars() -> Tally {
    let equal = [5_000 * POL; 100];
    let mut notes = Vec::new();
    let mut passed = true;
    let mut at_30_of_16 = Verdicts::default();
    for (seats, more_seats) in SEATS {
        let config = AuditConfig { seats, more_seats, ..AuditConfig::default() };
        let mut rates = Vec::new();
        for liars in SHARES {
            let verdicts = judge_honest_updates(&equal, liars, &config);
            passed &= verdicts.are_as_required(liars, more_seats);
            rates.push(format!("{liars} %: {verdicts}"));
            if (liars, seats, more_seats) == (30, 3, 16) {
                at_30_of_16 = verdicts;
            }
        }
        notes.push(format!("{seats} seats then {more_seats}: {}", rates.join(", ")));
    }
    let note = format!(
        "valid/condemned/undecided % of honest updates by share of lying stake. {}",
        notes.join("; ")
    );
    Tally::tried(DRAWS.into(), at_30_of_16.valid.into()).passed(passed, note)
}

/// Lets an account with four times the stake of each other lie.
fn draw_giant() -> Tally {
    let mut stakes = vec![5_000 * POL; 101];
    stakes[0] = 20_304 * POL;
    let verdicts = judge_honest_updates(&stakes, 1, &AuditConfig::default());
    let tally = verdicts.acquitted();
    Tally { passed: tally.passed && verdicts.accused > DRAWS / 10, ..tally }
}

/// Lets most of the accounts lie, which have a small part of the stake.
fn draw_divided() -> Tally {
    let stakes = [vec![5_000 * POL; 7], vec![1_000_000 * POL; 3]].concat();
    judge_honest_updates(&stakes, 7, &AuditConfig::default()).acquitted()
}

/// Lets everybody sit on every update, so that shares of the stake are shares of the seats.
pub(crate) async fn start(network: &Network) -> Result<()> {
    let everybody = AuditConfig { seats: 15, more_seats: 16, ..AUDITS };
    network.govern([Call::SetAudits(everybody)]).await
}

/// Adds stake to the colluders' `bond` each; starts them if they have none yet.
pub(crate) async fn add_stake(
    network: &Network,
    roles: &mut Roles,
    bond: Balance,
    added: Balance,
) -> Result<()> {
    for name in COLLUDERS {
        if bond == 0 {
            network.bond(name, Role::Validator, added).await?;
            start_attacker(network, roles, name, "validator", Cheat::AgreedEnds)?;
        } else {
            let call = Call::BondExtra { amount: added };
            network.submit_until_accepted(name, call, ACCEPTANCE_BLOCKS).await?;
        }
    }
    Ok(())
}

/// Judges the honest trainers' updates of the next round, on which colluders with `bond` each have
/// seats. All have to end as `expected`.
pub(crate) async fn trial(
    network: &Network,
    observer: &ChainObserver,
    bond: Balance,
    expected: Outcome,
) -> Result<Tally> {
    let honest = accounts(TRAINERS)?;
    let registered = || async {
        let member = network.chain.member(&network::signer(COLLUDERS[1])?.account()).await?;
        // Fines of rounds before take little of it.
        let has_stake = |bonded: Balance| bonded >= bond / 10 * 9;
        Ok(member.filter(|m| m.endpoint.is_some() && has_stake(m.bond)).map(drop))
    };
    network.until("the colluders have their stake", 40, registered).await?;
    // Seats are drawn from the stakes at the end of a round, and not from those of newcomers. The
    // current round may have begun its count without the colluders.
    let first = network.chain.overview().await?.round.number.saturating_add(1);
    let before = lost(&observer.observations(), &honest);
    let settled = || async {
        let observations = observer.observations();
        let mut rounds = first..=observations.round();
        Ok(rounds.find_map(|round| outcomes_of(&observations, &honest, round)))
    };
    let outcomes = network.until("updates are settled by liars", 220, settled).await?;
    // The block that settles the last update also shows its penalty.
    tokio::time::sleep(network::POLL_INTERVAL * 6).await;
    let lost = lost(&observer.observations(), &honest).saturating_sub(before);
    let attempts = outcomes.len() as u64;
    let as_expected = outcomes.iter().filter(|outcome| **outcome == expected).count() as u64;
    let slashed = u64::try_from(lost / INVALID_PENALTY)?;
    let passed =
        attempts > 0 && as_expected == attempts && (expected == Outcome::Invalid) == (slashed > 0);
    let note = format!(
        "{:.0} % of the stake: {as_expected} of {attempts} honest updates ended as {expected:?}, \
         the honest lost {} POL",
        colluding_share(bond) * 100.0,
        lost / POL
    );
    // Lies are what would have to be detected, and none was.
    let detected = attempts - as_expected;
    Ok(Tally::counted(attempts, attempts, detected).slashed(slashed).passed(passed, note))
}

/// Returns the colluders' share of the stake.
fn colluding_share(bond: Balance) -> f64 {
    let honest: Balance = VALIDATORS.iter().map(|(_, bond)| bond).sum();
    (2 * bond) as f64 / (honest + 2 * bond) as f64
}

fn lost(observations: &Observations, accounts: &[AccountId]) -> Balance {
    accounts.iter().map(|account| observations.lost(account)).sum()
}

/// Returns the outcomes of a round's updates, or `None` if there are none yet.
fn outcomes_of(
    observations: &Observations,
    accounts: &[AccountId],
    round: RoundNumber,
) -> Option<Vec<Outcome>> {
    let outcomes: Vec<Outcome> = accounts
        .iter()
        .filter_map(|account| Some(observations.settled.get(&(round, *account))?.outcome))
        .filter(|outcome| !matches!(outcome, Outcome::Excluded | Outcome::NoShow))
        .collect();
    (!outcomes.is_empty()).then_some(outcomes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_third_of_the_stake_delays_and_two_thirds_decide() {
        for tally in [draw_liars(), draw_giant(), draw_divided()] {
            assert!(tally.passed, "{tally:?}");
        }
    }
}
