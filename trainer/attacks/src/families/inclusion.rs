// SPDX-License-Identifier: Apache-2.0

//! Validators that report and attest falsely, to spoil rounds or to choose who is paid.

use super::lazy_validators;
use crate::{
    attackers::{ACCEPTANCE_BLOCKS, FUNDS, SEAT_PENALTY, accounts, register_endpoint},
    network::{self, LENGTHS, Network, POLL_INTERVAL, TRAINERS, VALIDATORS},
    observer::{ChainObserver, Observations},
    scenario::{Family, Scenario, Setup},
    scripted::ScriptedTrainer,
    tally::Tally,
};
use anyhow::{Context, Error, Result, anyhow, ensure};
use futures::{FutureExt, future::try_join_all};
use pol_chain::{AccountId, Call, Signer};
use pol_primitives::{
    Balance, Hash, POL, RoundNumber,
    audit::{Audit, AuditId, Evidence, Stage, evidence_commitment},
    head::RoundRecord,
    member::Role,
    round::{Phase, Round},
    submission::{Outcome, Reveal, RevealSet},
};
use std::{collections::BTreeMap, time::Duration};

pub(super) static FAMILY: Family = Family {
    name: "inclusion",
    scenarios: &[
        Scenario {
            name: "idle-newcomer",
            setup: Setup::Quiet(|network| idle(network).boxed_local()),
            act: "Bonds 38 % of the stake, registers an endpoint, and never acts.",
            expect: "Two rounds have heads of all honest updates in time.",
        },
        Scenario {
            name: "coalition-of-a-fifth",
            setup: Setup::Coalition(|network, observer| {
                conspire(network, observer, &FIFTH).boxed_local()
            }),
            act: "Two validators with 20 % of the stake report no update but one that nobody \
                  serves, attest one random root, and lie in every audit.",
            expect: "Every round has a head of the honest updates alone within one limit of a \
                     phase, all of them are valid, and both liars lose 150 POL or more.",
        },
        Scenario {
            name: "coalition-of-a-third",
            setup: Setup::Coalition(|network, observer| {
                conspire(network, observer, &THIRD).boxed_local()
            }),
            act: "Two validators with 32 % of the stake do the same, and then say nothing.",
            expect: "Every round has a head of the honest updates alone within one limit of a \
                     phase, none is condemned, no honest member loses 1 POL, and both liars lose \
                     150 POL or more.",
        },
    ],
};

/// The validator that never acts.
const IDLER: &str = "validator-10";
/// Its bond, beside 95,000 POL of honest validators. If it counted, they would be no quorum.
const IDLE_BOND: Balance = 60_000 * POL;
/// Rounds beside the validator that never acts.
const IDLE_ROUNDS: usize = 2;
/// The runtime's penalty for the second wrong root in a row.
const WRONG_ROOT_PENALTY: Balance = 100 * POL;
/// Wrong roots in a row from which on they cost something.
const WRONG_ROOT_STRIKES: usize = 2;
/// Longest wait for a phase, in blocks: two rounds.
const PHASE_BLOCKS: u32 = 100;
/// Looks at a round in a row, with a pause after each. Liars have to attest as soon as they can,
/// since the honest majority adopts a head in the next block.
const LOOKS: u32 = 100;
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Most rounds in which liars try to attest before the head is adopted.
const MAX_ROUNDS: usize = 6;
/// Longest wait in blocks for the audits of the last round.
const SETTLEMENT_BLOCKS: u32 = 220;

/// Validators that agree on lies.
struct Coalition {
    /// Its validators, and their bonds beside 95,000 POL of honest ones.
    members: [(&'static str, Balance); 2],
    /// The trainer that serves its payload to nobody.
    accomplice: &'static str,
    /// `true` if the coalition says nothing in its last round.
    falls_silent: bool,
    /// Outcomes that honest updates may have.
    allowed: &'static [Outcome],
}

static FIFTH: Coalition = Coalition {
    members: [("validator-9", 11_875 * POL), ("validator-11", 11_875 * POL)],
    accomplice: "attacker-fifth",
    falls_silent: false,
    allowed: &[Outcome::Valid],
};

/// The larger one has a quarter of the stake and so four of 16 seats, the other one or two: six of
/// them leave an update undecided, which takes those out of the model that went on from it. If that
/// befalls both updates of the first round, as in one run of ten or so, none is valid.
static THIRD: Coalition = Coalition {
    members: [("validator-12", 34_926 * POL), ("validator-13", 9_780 * POL)],
    accomplice: "attacker-third",
    falls_silent: true,
    allowed: &[Outcome::Valid, Outcome::Unresolved, Outcome::Tainted],
};

async fn idle(network: &Network) -> Result<Tally> {
    network.bond(IDLER, Role::Validator, IDLE_BOND).await?;
    register_endpoint(network, IDLER).await?;
    let honest = accounts(TRAINERS)?;
    let mut last = network.chain.overview().await?.round.number;
    let mut held = 0;
    for _ in 0..IDLE_ROUNDS {
        let round =
            wait_for(network, |round| round.phase == Phase::Hold && round.number > last).await?;
        last = round.number;
        let record = record_of(network, last).await?;
        held += u64::from(has_all_of(&record, &honest));
    }
    network.submit_until_accepted(IDLER, Call::Unbond, ACCEPTANCE_BLOCKS).await?;
    let tried = IDLE_ROUNDS as u64;
    let note = format!("{held} of {tried} rounds had a head of all honest updates in time");
    Ok(Tally::tried(tried, held).passed(held == tried, note))
}

/// Waits until the current round is as `wanted`, and returns it.
async fn wait_for(network: &Network, wanted: impl Fn(&Round) -> bool) -> Result<Round> {
    let asked = || async {
        for _ in 0..LOOKS {
            let round = network.chain.overview().await?.round;
            if wanted(&round) {
                return Ok(Some(round));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(None)
    };
    network.until("a round reaches its phase", PHASE_BLOCKS, asked).await
}

/// Waits until a round is over, and returns its record.
async fn record_of(network: &Network, number: RoundNumber) -> Result<RoundRecord<AccountId>> {
    wait_for(network, |round| round.number > number).await?;
    let record = network.chain.round_record(number).await?;
    record.with_context(|| format!("round {number} has no record"))
}

/// Returns `true` if the round made a head of every update that `honest` accounts revealed, and
/// took no longer than its phases and one limit more.
fn has_all_of(record: &RoundRecord<AccountId>, honest: &[AccountId]) -> bool {
    let included = (0u8..)
        .zip(&record.revealed)
        .all(|(index, account)| !honest.contains(account) || record.included.contains(index));
    let blocks = record.concluded_at.saturating_sub(record.opened_at);
    let longest = LENGTHS.train + LENGTHS.reveal + LENGTHS.hold + LENGTHS.attest;
    record.head.is_some() && included && blocks <= longest
}

// ---- A coalition ----

async fn conspire(
    network: &Network,
    observer: &ChainObserver,
    coalition: &Coalition,
) -> Result<Tally> {
    let names = coalition.members.map(|(name, _)| name);
    let liars = accounts(names)?;
    observer.observe_bonds(liars.iter().copied());
    network.fund([coalition.accomplice], FUNDS).await?;
    for (name, bond) in coalition.members {
        network.bond(name, Role::Validator, bond).await?;
        register_endpoint(network, name).await?;
    }
    let honest = accounts(TRAINERS.into_iter().chain(VALIDATORS.map(|(name, _)| name)))?;
    let before = losses(&observer.observations(), &honest);
    let attack = async {
        let rounds = spoil_rounds(network, coalition).await?;
        let outcomes = outcomes(network, observer, &rounds).await?;
        Ok::<_, Error>((rounds, outcomes))
    };
    let (rounds, outcomes) = tokio::select! {
        done = attack => done?,
        error = lie_from_seats(network, &names) => return Err(error),
    };
    // The block that settles the last update also shows its penalties.
    tokio::time::sleep(POLL_INTERVAL * 6).await;
    for name in names {
        network.submit_until_accepted(name, Call::Unbond, ACCEPTANCE_BLOCKS).await?;
    }
    let observations = observer.observations();
    let lost = losses(&observations, &honest).into_iter().zip(before);
    let wronged = lost.filter(|(after, before)| after.saturating_sub(*before) >= POL).count();
    coalition.judge(&rounds, &outcomes, &losses(&observations, &liars), wronged)
}

/// Returns the part of its bond that each account has lost so far.
fn losses(observations: &Observations, accounts: &[AccountId]) -> Vec<Balance> {
    accounts.iter().map(|account| observations.lost(account)).collect()
}

impl Coalition {
    /// Judges by the records of the rounds, the outcomes of honest updates in them, the liars'
    /// losses, and the number of honest members that lost something.
    fn judge(
        &self,
        rounds: &[RoundRecord<AccountId>],
        outcomes: &[Outcome],
        losses: &[Balance],
        wronged: usize,
    ) -> Result<Tally> {
        let (honest, accomplice) = (accounts(TRAINERS)?, accounts([self.accomplice])?);
        let resisted = rounds.iter().filter(|record| has_all_of(record, &honest)).count();
        let put_in = rounds.iter().filter(|record| includes_any(record, &accomplice)).count();
        let shown = rounds.iter().flat_map(|record| &record.revealed);
        let shown = shown.filter(|account| accomplice.contains(account)).count();
        let bad = outcomes.iter().filter(|outcome| !self.allowed.contains(outcome)).count();
        let valid = outcomes.iter().filter(|outcome| **outcome == Outcome::Valid).count();
        let is_fined = losses.iter().all(|lost| *lost >= WRONG_ROOT_PENALTY + SEAT_PENALTY);
        let total: Balance = losses.iter().sum();
        let note = format!(
            "{resisted} of {} rounds had a head of all honest updates in time, {put_in} of \
             {shown} unserved updates were put in, {valid} of {} honest updates valid and {bad} \
             wronged, {wronged} honest members lost something; the coalition lost {} POL",
            rounds.len(),
            outcomes.len(),
            total / POL
        );
        let passed = resisted == rounds.len()
            && (shown > 0 && put_in == 0)
            && (!outcomes.is_empty() && bad == 0 && wronged == 0)
            && is_fined;
        let (tried, held) = (rounds.len() as u64, resisted as u64);
        let slashed = losses.iter().filter(|lost| **lost > 0).count() as u64;
        let tally = Tally::tried(tried, held).false_positives((bad + wronged) as u64);
        Ok(tally.slashed(slashed).passed(passed, note))
    }
}

/// Returns `true` if the round included an update of one of the accounts.
fn includes_any(record: &RoundRecord<AccountId>, accounts: &[AccountId]) -> bool {
    let mut revealed = (0u8..).zip(&record.revealed);
    revealed.any(|(at, account)| accounts.contains(account) && record.included.contains(at))
}

/// Spoils rounds until each liar has attested wrong roots often enough to be fined. Returns the
/// rounds' records.
async fn spoil_rounds(
    network: &Network,
    coalition: &Coalition,
) -> Result<Vec<RoundRecord<AccountId>>> {
    let accomplice = ScriptedTrainer::start(network, coalition.accomplice).await?;
    let trained = accomplice.train_next().await?;
    let unserved = pol_primitives::digest(b"pol/attacks/unserved", &trained.due_round());
    let reveal = Reveal { payload_hash: unserved, ..trained.reveal.clone() };
    accomplice.commit_and_reveal(trained.due_round(), reveal).await??;
    let (mut next, mut records) = (trained.due_round(), Vec::new());
    let mut wrong_roots = [0; 2];
    while wrong_roots.iter().any(|count| *count < WRONG_ROOT_STRIKES) {
        ensure!(records.len() < MAX_ROUNDS, "wrong roots came too late in {MAX_ROUNDS} rounds");
        let round =
            wait_for(network, |round| round.phase == Phase::Hold && round.number >= next).await?;
        let submissions = network.chain.submissions(round.number).await?;
        let unserved = submissions
            .into_iter()
            .filter(|(account, _)| *account == accomplice.account())
            .filter_map(|(_, submission)| Some(submission.opened?.index));
        let invented = RevealSet::from_indices(unserved);
        let spoiled =
            coalition.members.map(|(name, _)| spoil_round(network, name, &invented, round.number));
        for (count, is_wrong) in wrong_roots.iter_mut().zip(try_join_all(spoiled).await?) {
            *count += usize::from(is_wrong);
        }
        records.push(record_of(network, round.number).await?);
        next = round.number + 1;
    }
    if coalition.falls_silent {
        let round = wait_for(network, |round| round.number >= next).await?;
        records.push(record_of(network, round.number).await?);
    }
    Ok(records)
}

/// Reports in one name nothing but the `invented` update, and attests a random root as soon as that
/// is possible. Returns `true` if the root came before the head was adopted.
async fn spoil_round(
    network: &Network,
    name: &str,
    invented: &RevealSet,
    number: RoundNumber,
) -> Result<bool> {
    let (chain, signer) = (&network.chain, network::signer(name)?);
    // Refused if the others ended the phase before.
    let report = Call::ReportHeld { round: number, held: invented.clone() };
    let _ = chain.submit(&signer, report).await;
    let attests = |round: &Round| round.phase == Phase::Attest || round.number > number;
    let Round { inputs, number: now, .. } = wait_for(network, attests).await?;
    let root = pol_primitives::digest(b"pol/attacks/root", &number);
    let attestation = Call::AttestHead { round: number, inputs, root };
    Ok(now == number && chain.submit(&signer, attestation).await.is_ok())
}

/// Waits until the honest updates in the rounds' heads are settled, and returns their outcomes.
async fn outcomes(
    network: &Network,
    observer: &ChainObserver,
    rounds: &[RoundRecord<AccountId>],
) -> Result<Vec<Outcome>> {
    let honest = accounts(TRAINERS)?;
    let heads = rounds.iter().filter_map(|record| Some((record.head.as_ref()?.round, record)));
    let updates: Vec<(RoundNumber, AccountId)> = heads
        .flat_map(|(round, record)| {
            let revealed = (0u8..).zip(&record.revealed);
            let included = revealed.filter(|(at, _)| record.included.contains(*at));
            included.map(move |(_, account)| (round, *account))
        })
        .filter(|(_, account)| honest.contains(account))
        .collect();
    let settled = || async {
        let observations = observer.observations();
        let outcome = |update| Some(observations.settled.get(update)?.outcome);
        Ok(updates.iter().map(outcome).collect::<Option<Vec<_>>>())
    };
    network.until("the spoiled rounds are settled", SETTLEMENT_BLOCKS, settled).await
}

/// Lies from every seat of these validators, all with the same findings, for as long as it is
/// polled. Returns an error only.
async fn lie_from_seats(network: &Network, names: &[&str]) -> Error {
    let lie = |name: &str| {
        let signer = network::signer(name);
        async move {
            let (signer, mut lies) = (signer?, BTreeMap::new());
            loop {
                for (id, audit) in network.chain.audits().await? {
                    lie_about(network, &signer, id, &audit, &mut lies).await;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
    };
    let lied: Result<Vec<()>> = try_join_all(names.iter().map(|name| lie(name))).await;
    lied.err().unwrap_or_else(|| anyhow!("nobody lied"))
}

/// Commits to lies about an audit, or reveals those in `lies`, as its stage is. A refused call is
/// made again, as long as the stage lasts.
async fn lie_about(
    network: &Network,
    signer: &Signer,
    id: AuditId,
    audit: &Audit<AccountId>,
    lies: &mut BTreeMap<AuditId, Evidence>,
) {
    let (chain, account, salt): (_, _, Hash) = (&network.chain, signer.account(), [23; 32]);
    let has_seat = audit.seats_of(&account).next().is_some();
    if audit.stage == Stage::Replay && has_seat && !lies.contains_key(&id) {
        let evidence = lazy_validators::invented_evidence(network, audit, &account);
        let genesis = chain.genesis_hash();
        let commitment = evidence_commitment(&account, &genesis, id, &evidence, &salt);
        if chain.submit(signer, Call::CommitAudit { audit: id, commitment }).await.is_ok() {
            lies.insert(id, evidence);
        }
    } else if audit.stage == Stage::Reveal
        && let Some(evidence) = lies.get(&id).cloned()
        && chain.submit(signer, Call::RevealAudit { audit: id, evidence, salt }).await.is_ok()
    {
        lies.remove(&id);
    }
}
