// SPDX-License-Identifier: Apache-2.0

//! A network of the native profile, whose members compute with different kernels and numbers of
//! threads.

use crate::{
    attackers::{FUNDS, Roles, TRAINER_BOND, accounts, start_attacker},
    cheating::Cheat,
    network::{Network, TRAINERS},
    tally::Tally,
};
use anyhow::Result;
use pol_chain::AccountId;
use pol_primitives::{
    member::Role,
    recipe::{MIN_TOLERANCE, Numerics},
    submission::Outcome,
};
use std::path::Path;

/// Cheats whose ends are nearest to an honest end, though beyond the smallest tolerance.
const CHEATS: [(Cheat, &str); 2] =
    [(Cheat::RaisedLearningRate, "attacker-faster"), (Cheat::HalfBatch, "attacker-halfbatch")];

/// Tries cheats beyond the tolerance among honest machines that differ within it.
pub(crate) async fn run(logs: &Path) -> Result<Tally> {
    let network = Network::start(logs, Numerics::Native { tolerance: MIN_TOLERANCE }).await?;
    let names = CHEATS.map(|(_, name)| name);
    network.fund(names, FUNDS).await?;
    for name in names {
        network.bond(name, Role::Trainer, TRAINER_BOND).await?;
    }
    network.start_validators().await?;
    let mut roles = Roles::new();
    for (cheat, name) in CHEATS {
        start_attacker(&network, &mut roles, name, "trainer", cheat)?;
    }
    network.start_trainers()?;
    let (cheats, honest) = (accounts(names)?, accounts(TRAINERS)?);
    let everybody: Vec<AccountId> = [&cheats[..], &honest[..]].concat();
    let settled = || async {
        let settled = settled_updates(&network).await?;
        let is_settled = |account: &AccountId| settled.iter().any(|(who, _)| who == account);
        Ok(everybody.iter().all(is_settled).then_some(settled))
    };
    let settled = network.until("an update of everybody is settled", 240, settled).await?;
    judge(&network, &settled, &cheats, &honest).await
}

/// Returns the updates of all past rounds that are settled.
async fn settled_updates(network: &Network) -> Result<Vec<(AccountId, Outcome)>> {
    let mut settled = Vec::new();
    for round in 1..network.chain.overview().await?.round.number {
        let history = network.chain.history(round).await?;
        settled.extend(history.into_iter().map(|(account, record)| (account, record.outcome)));
    }
    Ok(settled)
}

async fn judge(
    network: &Network,
    settled: &[(AccountId, Outcome)],
    cheats: &[AccountId],
    honest: &[AccountId],
) -> Result<Tally> {
    let outcomes = |accounts: &[AccountId]| -> Vec<Outcome> {
        let own = settled.iter().filter(|(account, _)| accounts.contains(account));
        own.map(|(_, outcome)| *outcome).collect()
    };
    let count = |outcomes: &[Outcome], wanted: Outcome| {
        outcomes.iter().filter(|outcome| **outcome == wanted).count() as u64
    };
    let (cheated, trained) = (outcomes(cheats), outcomes(honest));
    let (tried, caught) = (cheated.len() as u64, count(&cheated, Outcome::Invalid));
    let valid = count(&trained, Outcome::Valid);
    let wronged = trained.len() as u64 - valid;
    let mut slashed = 0;
    for account in cheats {
        let member = network.chain.member(account).await?;
        slashed += u64::from(member.is_none_or(|member| member.bond < TRAINER_BOND));
    }
    let failures = network.failed_processes();
    let passed = caught > 0
        && caught == tried
        && slashed == cheats.len() as u64
        && wronged == 0
        && failures.is_empty();
    let note = format!(
        "{valid} updates of honest machines valid at a tolerance of {MIN_TOLERANCE} millionths {}",
        failures.join("; ")
    );
    Ok(Tally::tried(tried, caught).slashed(slashed).false_positives(wronged).passed(passed, note))
}
