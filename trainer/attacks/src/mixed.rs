//! Attacks on a network of the native profile, whose honest members compute with different kernels
//! and numbers of threads.

use crate::{
    cheat::Kind,
    live::{BOND, FUNDS, Roles, enlist},
    network::{self, Network, TRAINERS},
    report::Row,
};
use anyhow::Result;
use pol_chain::AccountId;
use pol_primitives::{
    peer::Role,
    recipe::{MIN_TOLERANCE, Numerics},
    submission::Outcome,
};
use std::path::Path;

/// Cheats that end nearer to an honest end than others do, all of them beyond the smallest
/// tolerance.
const CHEATS: [(Kind, &str); 2] =
    [(Kind::Faster, "attacker-faster"), (Kind::HalfBatch, "attacker-halfbatch")];

/// 11: cheats beyond the tolerance, among honest machines that differ within it.
pub async fn machines(logs: &Path) -> Result<Row> {
    let row = Row::new(11, "cheats among mixed machines", "100 %, no honest one");
    let network = Network::start(logs, Numerics::Native { tolerance: MIN_TOLERANCE }).await?;
    let cheats = CHEATS.map(|(_, name)| name);
    network.fund(cheats, FUNDS).await?;
    for name in cheats {
        network.bond(name, Role::Trainer, BOND).await?;
    }
    network.start_validators().await?;
    let mut roles = Roles::new();
    for (kind, name) in CHEATS {
        enlist(&network, &mut roles, name, "trainer", kind)?;
    }
    network.start_trainers()?;
    let accounts = |names: [&str; 2]| {
        names.into_iter().map(|name| Ok(network::signer(name)?.account())).collect::<Result<_>>()
    };
    let (cheats, honest): (Vec<AccountId>, Vec<AccountId>) =
        (accounts(cheats)?, accounts(TRAINERS)?);
    let settled = || async {
        let mut settled = Vec::new();
        for round in 1..network.chain.overview().await?.round.number {
            settled.extend(
                network
                    .chain
                    .history(round)
                    .await?
                    .into_iter()
                    .map(|(account, settled)| (account, settled.outcome)),
            );
        }
        let all = cheats
            .iter()
            .chain(&honest)
            .all(|account| settled.iter().any(|(settled, _)| settled == account));
        Ok(all.then_some(settled))
    };
    let settled: Vec<(AccountId, Outcome)> =
        network.until("an update of everybody is settled", 120, settled).await?;
    let of = |accounts: &[AccountId], outcome: Outcome| {
        settled
            .iter()
            .filter(|(account, ended)| accounts.contains(account) && *ended == outcome)
            .count() as u64
    };
    let tried = settled.iter().filter(|(account, _)| cheats.contains(account)).count() as u64;
    let (caught, valid) = (of(&cheats, Outcome::Invalid), of(&honest, Outcome::Valid));
    let wronged =
        settled.iter().filter(|(account, _)| honest.contains(account)).count() as u64 - valid;
    let mut slashed = 0;
    for account in &cheats {
        slashed +=
            u64::from(network.chain.member(account).await?.is_none_or(|member| member.bond < BOND));
    }
    let casualties = network.casualties();
    let held = caught > 0
        && caught == tried
        && slashed == cheats.len() as u64
        && wronged == 0
        && casualties.is_empty();
    let note = format!(
        "{valid} updates of honest machines valid at a tolerance of {MIN_TOLERANCE} millionths {}",
        casualties.join("; ")
    );
    Ok(Row { false_positives: wronged, ..row.tried(tried, caught).slashed(slashed) }
        .held(held, note))
}
