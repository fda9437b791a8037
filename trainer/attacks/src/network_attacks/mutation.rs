// SPDX-License-Identifier: Apache-2.0

//! The mutation check: attacks that audits find, on a network whose audits look at nothing. They
//! have to succeed there, or the suite would pass without audits too.

use super::{Campaign, Cast, CheatingTrainer, judge};
use crate::{
    ProgressFn,
    attackers::{Roles, start_attacker_with},
    cheating::Cheat,
    network::{NO_AUDITS, Network, SHORT_TEXT, VALIDATORS},
    observer::ChainObserver,
    report::Row,
    scenario::{ExpectedOutcome, Setup},
    selection::{Filter, Selection, all_scenarios},
    tally::Tally,
};
use anyhow::{Context, Result, bail};
use pol_primitives::recipe::Numerics;
use std::path::Path;

/// Number of attacks that have to succeed.
const LEAST: usize = 10;
/// Environment of all attacks.
const SETUP: &str = "a network with a cheating trainer, whose audits replay and check nothing";
/// Success of all attacks.
const SUCCESS: &str = "The attack succeeds: every included update is settled as valid, and no \
                       audit takes any of the bond.";

/// Tries the attacks that audits find without audits, with `rounds` leases per attacker. Rows are
/// added as they are found.
///
/// # Errors
///
/// Fails if fewer than ten attacks succeed.
pub(crate) async fn run_without_audits(
    rounds: u32,
    logs: &Path,
    rows: &mut Vec<Row>,
    progress: ProgressFn,
) -> Result<()> {
    progress("starting a node whose audits draw no segments, and preparing data");
    let network = Network::start_with(logs, Numerics::Exact, NO_AUDITS, SHORT_TEXT).await?;
    let observer = ChainObserver::default();
    let following = tokio::spawn(observer.clone().follow(network.chain.clone(), network.rpc));
    let selection = found_by_audits();
    let campaign = Campaign {
        network: &network,
        observer: &observer,
        selection: &selection,
        cast: Cast::new(&selection),
        rounds,
        progress,
    };
    let outcome = campaign.run_without_audits(rows).await;
    following.abort();
    outcome?;
    let succeeded = rows.iter().filter(|row| row.tally.passed).count();
    if succeeded < LEAST {
        bail!(
            "without audits {succeeded} of {} attacks succeed, and at least {LEAST} have to: the \
             suite would not notice that audits are missing",
            rows.len()
        );
    }
    progress(&format!("without audits {succeeded} of {} attacks succeed", rows.len()));
    Ok(())
}

/// Tries the attacks as [`run_without_audits`] does; returns how many of them succeeded.
pub(crate) async fn succeed_without_audits(logs: &Path, rounds: u32) -> Result<Tally> {
    let mut rows = Vec::new();
    run_without_audits(rounds, logs, &mut rows, |_| ()).await?;
    let attempts = rows.iter().map(|row| row.tally.attempts).sum();
    let (succeeded, failed): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.tally.passed);
    let mut note = vec![format!("{} of {} attacks succeeded", succeeded.len(), rows.len())];
    note.extend(failed.iter().map(|row| format!("{} failed: {}", row.scenario, row.tally.note)));
    Ok(Tally::counted(attempts, 0, 0).passed(succeeded.len() >= LEAST, note.join("; ")))
}

/// Returns the scenarios of trainers whose every update an audit finds.
fn found_by_audits() -> Selection {
    let is_found =
        |setup: &Setup| matches!(setup, Setup::Trainer { outcome: ExpectedOutcome::Invalid, .. });
    let found = all_scenarios().filter(|entry| is_found(&entry.scenario.setup));
    let filters: Vec<_> = found.map(|entry| Filter::Scenario(entry.scenario.name)).collect();
    Selection::new(&filters)
}

impl Campaign<'_> {
    async fn run_without_audits(&self, rows: &mut Vec<Row>) -> Result<()> {
        self.bond_attackers().await?;
        self.observe(&self.cast.honest_trainers()?)?;
        let mut roles = Roles::new();
        self.start_blind_validators(&mut roles)?;
        self.network.until_first_model().await?;
        (self.progress)("round zero is attested; the attackers come in");
        self.attack_rounds(&mut roles).await?;
        let observations = self.observer.observations();
        for CheatingTrainer { entry, account, .. } in &self.cast.trainers {
            let tally = judge::without_audits(account, &observations)?;
            rows.push(Row::new(*entry, tally).with(SETUP, SUCCESS));
        }
        Ok(())
    }

    /// Starts validators that measure updates and object to none. The first one serves the data.
    fn start_blind_validators(&self, roles: &mut Roles) -> Result<()> {
        let data = self.network.data();
        let data = data.to_str().context("the temporary folder's name is not valid UTF-8")?;
        for (index, (name, _)) in VALIDATORS.into_iter().enumerate() {
            let serving: &[&str] = if index == 0 { &["--data", data] } else { &[] };
            let arguments = [&["--role", "validator"], serving].concat();
            start_attacker_with(self.network, roles, name, Cheat::UncheckedUpdates, &arguments)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_attacks_need_audits() {
        let found = found_by_audits();
        assert!(found.iter().count() >= LEAST + LEAST / 4);
        assert!(found.needs_network() && !NO_AUDITS.is_valid());
    }
}
