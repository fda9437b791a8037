// SPDX-License-Identifier: Apache-2.0

//! Validators that report and attest falsely, to spoil rounds or to choose who is paid.

use crate::{
    attackers::{ACCEPTANCE_BLOCKS, accounts, register_endpoint},
    network::{self, LENGTHS, Network, TRAINERS},
    scenario::{Family, Scenario, Setup},
    tally::Tally,
};
use anyhow::{Context, Result};
use futures::FutureExt;
use pol_chain::{AccountId, Call};
use pol_primitives::{
    Balance, POL, RoundNumber,
    head::RoundRecord,
    member::Role,
    round::{Phase, Round},
    submission::RevealSet,
};

pub(super) static FAMILY: Family = Family {
    name: "inclusion",
    scenarios: &[
        Scenario {
            name: "spoiled-rounds",
            setup: Setup::NodeAttack(|network| spoil(network).boxed_local()),
            act: "With 31 % of the stake, reports only the first update, then attests random \
                  roots as the phase begins, and then says nothing.",
            expect: "Every round has a head of all honest updates within one limit of a phase, \
                     and the second wrong root costs 100 POL.",
        },
        Scenario {
            name: "idle-newcomer",
            setup: Setup::NodeAttack(|network| idle(network).boxed_local()),
            act: "Bonds 38 % of the stake, registers an endpoint, and never acts.",
            expect: "Two rounds have heads of all honest updates in time.",
        },
    ],
};

/// The validator that spoils.
const SPOILER: &str = "validator-9";
/// Its bond, beside 95,000 POL of honest validators.
const BOND: Balance = 44_000 * POL;
/// The validator that never acts.
const IDLER: &str = "validator-10";
/// Its bond. If it counted, the others would be no quorum.
const IDLE_BOND: Balance = 60_000 * POL;
/// Rounds beside the validator that never acts.
const IDLE_ROUNDS: usize = 2;
/// The runtime's penalty for the second wrong root in a row.
const WRONG_ROOT_PENALTY: Balance = 100 * POL;
/// Longest wait for a phase, in blocks: two rounds.
const PHASE_BLOCKS: u32 = 100;

/// One way to spoil a round.
#[derive(Clone, Copy, Debug)]
enum Spoil {
    /// Holds nothing but the first update.
    FirstOnly,
    /// Holds nothing, and attests a random root.
    WrongRoot,
    /// Says nothing.
    Silent,
}

/// The rounds that are spoilt, in their order.
const SPOILS: [Spoil; 4] = [Spoil::FirstOnly, Spoil::WrongRoot, Spoil::WrongRoot, Spoil::Silent];

async fn spoil(network: &Network) -> Result<Tally> {
    network.bond(SPOILER, Role::Validator, BOND).await?;
    register_endpoint(network, SPOILER).await?;
    let honest = accounts(TRAINERS)?;
    let mut resisted = Vec::new();
    let mut last = network.chain.overview().await?.round.number;
    for spoil in SPOILS {
        last = spoil_round(network, spoil, last).await?;
        let record = network.chain.round_record(last).await?;
        let record = record.with_context(|| format!("round {last} has no record"))?;
        resisted.push(has_all_of(&record, &honest));
    }
    // Attestations are judged some blocks after their round.
    let fined = || async {
        let member = network.chain.member(&network::signer(SPOILER)?.account()).await?;
        let bond = member.map_or(0, |member| member.bond);
        Ok((bond < BOND).then_some(BOND - bond))
    };
    let lost = network.until("wrong roots are judged", 20, fined).await.unwrap_or_default();
    network.submit_until_accepted(SPOILER, Call::Unbond, ACCEPTANCE_BLOCKS).await?;
    let (tried, held) = (resisted.len() as u64, resisted.iter().filter(|held| **held).count());
    let slashed = u64::try_from(lost / WRONG_ROOT_PENALTY)?;
    let passed = held as u64 == tried && lost == WRONG_ROOT_PENALTY;
    let note = format!(
        "{held} of {tried} rounds had a head of all honest updates in time; the spoiler lost {} \
         POL",
        lost / POL
    );
    Ok(Tally::tried(tried, held as u64).slashed(slashed).passed(passed, note))
}

async fn idle(network: &Network) -> Result<Tally> {
    network.bond(IDLER, Role::Validator, IDLE_BOND).await?;
    register_endpoint(network, IDLER).await?;
    let honest = accounts(TRAINERS)?;
    let mut last = network.chain.overview().await?.round.number;
    let mut held = 0;
    for _ in 0..IDLE_ROUNDS {
        last = spoil_round(network, Spoil::Silent, last).await?;
        let record = network.chain.round_record(last).await?;
        let record = record.with_context(|| format!("round {last} has no record"))?;
        held += u64::from(has_all_of(&record, &honest));
    }
    network.submit_until_accepted(IDLER, Call::Unbond, ACCEPTANCE_BLOCKS).await?;
    let tried = IDLE_ROUNDS as u64;
    let note = format!("{held} of {tried} rounds had a head of all honest updates in time");
    Ok(Tally::tried(tried, held).passed(held == tried, note))
}

/// Spoils the first round after `last` whose updates are being reported. Returns its number once
/// it is over. Refusals count as attempts, since the others may be faster.
async fn spoil_round(network: &Network, spoil: Spoil, last: RoundNumber) -> Result<RoundNumber> {
    let (chain, signer) = (&network.chain, network::signer(SPOILER)?);
    let round =
        wait_for(network, |round| round.phase == Phase::Hold && round.number > last).await?;
    let number = round.number;
    let held = match spoil {
        Spoil::FirstOnly => Some(RevealSet::from_indices([0])),
        Spoil::WrongRoot => Some(RevealSet::default()),
        Spoil::Silent => None,
    };
    if let Some(held) = held {
        let _ = chain.submit(&signer, Call::ReportHeld { round: number, held }).await;
    }
    if matches!(spoil, Spoil::WrongRoot) {
        let attests = |round: &Round| round.phase == Phase::Attest || round.number > number;
        let Round { inputs, .. } = wait_for(network, attests).await?;
        let root = pol_primitives::digest(b"pol/attacks/root", &number);
        let _ = chain.submit(&signer, Call::AttestHead { round: number, inputs, root }).await;
    }
    wait_for(network, |round| round.number > number).await?;
    Ok(number)
}

/// Waits until the current round is as `wanted`, and returns it.
async fn wait_for(network: &Network, wanted: impl Fn(&Round) -> bool) -> Result<Round> {
    let asked = || async {
        let round = network.chain.overview().await?.round;
        Ok(wanted(&round).then_some(round))
    };
    network.until("a round reaches its phase", PHASE_BLOCKS, asked).await
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
