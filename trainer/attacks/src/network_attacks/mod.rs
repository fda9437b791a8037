// SPDX-License-Identifier: Apache-2.0

//! Attacks on the running network. Many share their rounds, and are judged by the chain's records
//! afterwards.

mod judge;
mod mutation;

pub(crate) use mutation::{run_without_audits, succeed_without_audits};

use crate::{
    ProgressFn,
    attackers::{
        ACCEPTANCE_BLOCKS, FUNDS, Roles, TRAINER_BOND, VALIDATOR_BOND, accounts, register_endpoint,
        start_attacker,
    },
    cheating::Cheat,
    families::{collusion, honest_fleet, pay},
    network::{self, AUDITS, LONG_TEXT, Network, SHORT_TEXT, TRAINERS, VALIDATORS},
    observer::{ChainObserver, Observations},
    offline::TrainingHarness,
    report::Row,
    scenario::{ExpectedOutcome, Gate, NetworkTrial, Script, Setup},
    selection::{Entry, Selection, all_scenarios},
    tally::Tally,
};
use anyhow::{Context, Result, ensure};
use futures::future::{join_all, try_join_all};
use pol_chain::{AccountId, Call};
use pol_primitives::{RoundNumber, member::Role, recipe::Numerics};
use std::{collections::BTreeSet, path::Path, ptr};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

/// Past rounds in which attackers may have updates that are not settled.
const PENDING_ROUNDS: RoundNumber = 6;

/// Tries all selected scenarios that need the network, with `rounds` leases per attacker. Rows are
/// added as they are found.
pub(crate) async fn run(
    selection: &Selection,
    rounds: u32,
    logs: &Path,
    rows: &mut Vec<Row>,
    progress: ProgressFn,
) -> Result<()> {
    progress("starting the node and preparing data");
    let is_long = selection.iter().any(|one| matches!(one.scenario.setup, Setup::LongRun(_)));
    let text = if is_long { LONG_TEXT } else { SHORT_TEXT };
    let network = Network::start_with(logs, Numerics::Exact, AUDITS, text).await?;
    let observer = ChainObserver::default();
    let following = tokio::spawn(observer.clone().follow(network.chain.clone(), network.rpc));
    let campaign = Campaign {
        network: &network,
        observer: &observer,
        selection,
        cast: Cast::new(selection),
        rounds,
        progress,
    };
    let outcome = campaign.run(rows).await;
    following.abort();
    rows.extend(rows_of(Setup::Processes, &honest_fleet::processes(&network)));
    outcome
}

/// Returns the rows of the scenarios with this setup, all with the same tally.
fn rows_of(setup: Setup, tally: &Tally) -> impl Iterator<Item = Row> {
    let kind = std::mem::discriminant(&setup);
    all_scenarios()
        .filter(move |entry| std::mem::discriminant(&entry.scenario.setup) == kind)
        .map(|entry| Row::new(entry, tally.clone()))
}

/// A trainer that cheats in one way.
struct CheatingTrainer {
    entry: Entry,
    account: &'static str,
    cheat: Cheat,
    outcome: ExpectedOutcome,
}

/// A validator that cheats in one way.
struct CheatingValidator {
    entry: Entry,
    account: &'static str,
    cheat: Cheat,
}

/// The attackers of the selected scenarios.
struct Cast {
    trainers: Vec<CheatingTrainer>,
    validators: Vec<CheatingValidator>,
    scripts: Vec<&'static Script>,
}

impl Cast {
    fn new(selection: &Selection) -> Self {
        let (mut trainers, mut validators) = (Vec::new(), Vec::new());
        let mut scripts: Vec<&'static Script> = Vec::new();
        for entry in selection.iter() {
            match entry.scenario.setup {
                Setup::Trainer { account, cheat, outcome } => {
                    trainers.push(CheatingTrainer { entry, account, cheat, outcome });
                }
                Setup::Validator { account, cheat } => {
                    validators.push(CheatingValidator { entry, account, cheat });
                }
                Setup::Scripted(script) if !scripts.iter().any(|one| ptr::eq(*one, script)) => {
                    scripts.push(script);
                }
                _ => {}
            }
        }
        Self { trainers, validators, scripts }
    }

    fn scripted_trainers(&self) -> impl Iterator<Item = &'static str> {
        self.scripts.iter().flat_map(|script| script.trainers.iter().copied())
    }

    fn scripted_validators(&self) -> impl Iterator<Item = &'static str> {
        self.scripts.iter().flat_map(|script| script.validators.iter().copied())
    }

    fn all_trainers(&self) -> Vec<&'static str> {
        let cheating = self.trainers.iter().map(|trainer| trainer.account);
        cheating.chain(self.scripted_trainers()).collect()
    }

    fn all_validators(&self) -> Vec<&'static str> {
        let cheating = self.validators.iter().map(|validator| validator.account);
        cheating.chain(self.scripted_validators()).collect()
    }

    /// Returns the accounts of trainers whose updates are honest.
    fn honest_trainers(&self) -> Result<Vec<AccountId>> {
        let scripted = self.scripts.iter().flat_map(|script| script.honest.iter().copied());
        let valid = self
            .trainers
            .iter()
            .filter(|trainer| trainer.outcome == ExpectedOutcome::Valid)
            .map(|trainer| trainer.account);
        accounts(TRAINERS.into_iter().chain(scripted).chain(valid))
    }
}

/// A run of attacks on one network.
struct Campaign<'a> {
    network: &'a Network,
    observer: &'a ChainObserver,
    selection: &'a Selection,
    cast: Cast,
    rounds: u32,
    progress: ProgressFn,
}

impl Campaign<'_> {
    async fn run(&self, rows: &mut Vec<Row>) -> Result<()> {
        self.bond_attackers().await?;
        let honest = self.cast.honest_trainers()?;
        self.observe(&honest)?;
        let offline = self.start_offline()?;
        self.network.start_validators().await?;
        (self.progress)("round zero is attested; the attackers come in");
        let mut roles = Roles::new();
        self.start_validators(&mut roles).await?;
        let mut found = self.attack_rounds(&mut roles).await?;
        self.withdraw_validators().await?;
        found.extend(self.judge_attackers(&honest)?);
        found.extend(self.attack_node().await);
        found.extend(offline.await?);
        let wronged = judge::false_positives(&self.observer.observations(), &honest);
        for row in &mut found {
            row.tally.false_positives += wronged;
        }
        rows.extend(found);
        // Honest members have to come through every attack.
        let tally = honest_fleet::members(&self.observer.observations(), &honest, wronged)?;
        rows.extend(rows_of(Setup::HonestMembers, &tally));
        let tally = pay::equal_pay(&self.observer.observations())?;
        rows.extend(rows_of(Setup::HonestPay, &tally));
        self.run_long(rows).await;
        // Colluders wrong honest members by design, so that they come last.
        self.collude(&mut roles, rows).await?;
        while let Some(ended) = roles.try_join_next() {
            if let Ok((name, Err(error))) = ended {
                tracing::warn!("{name} ended: {error:#}");
            }
        }
        Ok(())
    }

    /// Funds the attackers and bonds those that do not bond by themselves.
    async fn bond_attackers(&self) -> Result<()> {
        let (trainers, validators) = (self.cast.all_trainers(), self.cast.all_validators());
        (self.progress)(&format!(
            "{} attacking trainers and {} lying validators get their bonds",
            trainers.len(),
            validators.len()
        ));
        self.network.fund(trainers, FUNDS).await?;
        let cheating = self.cast.trainers.iter();
        let bonds =
            cheating.map(|trainer| self.network.bond(trainer.account, Role::Trainer, TRAINER_BOND));
        try_join_all(bonds).await?;
        let bonds =
            validators.iter().map(|name| self.network.bond(name, Role::Validator, VALIDATOR_BOND));
        try_join_all(bonds).await?;
        Ok(())
    }

    /// Observes the bonds of everybody, and the pay of those whose pay is a requirement.
    fn observe(&self, honest: &[AccountId]) -> Result<()> {
        let (trainers, validators) = (self.cast.all_trainers(), self.cast.all_validators());
        let everybody = trainers
            .into_iter()
            .chain(validators.iter().copied())
            .chain(TRAINERS)
            .chain(VALIDATORS.map(|(name, _)| name))
            .chain(collusion::COLLUDERS);
        self.observer.observe_bonds(accounts(everybody)?);
        self.observer.observe_pay(honest.iter().copied());
        self.observer.observe_pay(accounts(validators)?);
        self.observer.observe_pay(accounts(self.cast.trainers.iter().map(|one| one.account))?);
        Ok(())
    }

    /// Starts the scenarios that need no network, on a thread of their own.
    fn start_offline(&self) -> Result<JoinHandle<Vec<Row>>> {
        let harness = TrainingHarness {
            recipe: self.network.recipe.clone(),
            shards: self.network.shards(pol_data::TRAIN, 0, u32::MAX)?,
            held_out: self.network.shards(pol_data::HELD_OUT, 0, 4)?,
        };
        let entries: Vec<Entry> = self.selection.iter().collect();
        Ok(tokio::task::spawn_blocking(move || {
            let row = |entry: Entry| match entry.scenario.setup {
                Setup::Offline(act) => {
                    let tally = act(&harness).unwrap_or_else(|error| Tally::failed(&error));
                    Some(Row::new(entry, tally))
                }
                _ => None,
            };
            entries.into_iter().filter_map(row).collect()
        }))
    }

    async fn start_validators(&self, roles: &mut Roles) -> Result<()> {
        for validator in &self.cast.validators {
            let CheatingValidator { account, cheat, .. } = *validator;
            start_attacker(self.network, roles, account, "validator", cheat)?;
        }
        for account in self.cast.scripted_validators() {
            register_endpoint(self.network, account).await?;
        }
        Ok(())
    }

    /// Lets all trainers and scripts attack in the same rounds, until everything is settled.
    async fn attack_rounds(&self, roles: &mut Roles) -> Result<Vec<Row>> {
        let (open, gate) = watch::channel(false);
        let gate = Gate(gate);
        let scripts = join_all(self.cast.scripts.iter().map(|&one| self.play(one, gate.clone())));
        tokio::pin!(scripts);
        let mut played = None;
        tokio::select! {
            registered = self.wait_for_scripted_trainers() => registered?,
            rows = &mut scripts => played = Some(rows),
        }
        for trainer in &self.cast.trainers {
            start_attacker(self.network, roles, trainer.account, "trainer", trainer.cheat)?;
        }
        // The first attackers of a round start its clock, so everybody starts at once.
        self.network.start_trainers()?;
        open.send(true).context("no script waits for the attacks to begin")?;
        let withdrawn = self.withdraw_trainers();
        let (rows, withdrawn) = match played {
            Some(rows) => (rows, withdrawn.await),
            None => futures::join!(scripts, withdrawn),
        };
        withdrawn?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Plays a script; returns the rows of its selected scenarios.
    async fn play(&self, script: &'static Script, gate: Gate) -> Vec<Row> {
        let is_own = |entry: &Entry| match entry.scenario.setup {
            Setup::Scripted(one) => ptr::eq(one, script),
            _ => false,
        };
        let entries: Vec<Entry> = all_scenarios().filter(is_own).collect();
        let played = (script.play)(self.network, gate).await.and_then(|tallies| {
            let (results, scenarios) = (tallies.len(), entries.len());
            ensure!(results == scenarios, "{results} results for {scenarios} scenarios");
            Ok(tallies)
        });
        let tallies = played.unwrap_or_else(|error| vec![Tally::failed(&error); entries.len()]);
        let rows = entries.into_iter().zip(tallies);
        rows.filter(|(entry, _)| self.selection.contains(entry))
            .map(|(entry, tally)| Row::new(entry, tally))
            .collect()
    }

    /// Waits until the scripted trainers have bonded and registered.
    async fn wait_for_scripted_trainers(&self) -> Result<()> {
        let wanted = accounts(self.cast.scripted_trainers())?;
        let ready = || async {
            let members = self.network.chain.members().await?;
            let is_registered = |account: &AccountId| {
                members.iter().any(|one| one.account == *account && one.endpoint.is_some())
            };
            Ok(wanted.iter().all(is_registered).then_some(()))
        };
        self.network.until("the scripted trainers are members", 30, ready).await
    }

    /// Lets every cheating trainer take its leases, unbonds it then, and waits until all of its
    /// updates are settled.
    async fn withdraw_trainers(&self) -> Result<()> {
        let mut attackers = Vec::new();
        for trainer in &self.cast.trainers {
            let account = network::signer(trainer.account)?.account();
            attackers.push(Attacker { name: trainer.account, account, has_left: false });
        }
        // Without cheating trainers, the honest ones still finish rounds, unless others follow.
        let goes_on = self.selection.iter().any(|entry| entry.scenario.setup.is_last());
        let wanted = if goes_on { 1 } else { self.rounds };
        let state = Mutex::new((attackers, String::new()));
        let settled = || async {
            let mut guard = state.lock().await;
            let (attackers, reported) = &mut *guard;
            let overview = self.network.chain.overview().await?;
            let now = overview.round.number;
            let open = self.withdraw(attackers, now).await?;
            let pending = self.pending_updates(attackers, now).await?;
            let status = format!(
                "round {now}, {:?}: {open} leases of attackers open, \
                 {pending} of their updates not settled",
                overview.round.phase
            );
            if *reported != status {
                (self.progress)(&format!("block {}, {status}", overview.now));
                *reported = status;
            }
            let settled_rounds = settled_rounds(&self.observer.observations());
            Ok((open == 0 && pending == 0 && settled_rounds >= wanted).then_some(()))
        };
        let blocks = 120 + 60 * self.rounds;
        self.network.until("all attacks are settled", blocks, settled).await
    }

    /// Unbonds attackers that have taken their leases; returns the number of open leases.
    async fn withdraw(&self, attackers: &mut [Attacker], now: RoundNumber) -> Result<usize> {
        let chain = &self.network.chain;
        let mut open = 0;
        for Attacker { name, account, has_left } in attackers {
            if !*has_left && chain.standing(account).await?.nonce >= self.rounds {
                // Refused while votes are counted; tried again later.
                *has_left = chain.submit(&network::signer(name)?, Call::Unbond).await.is_ok();
            }
            let lease = chain.lease(account).await?;
            open += usize::from(!*has_left || lease.is_some_and(|lease| lease.due_round >= now));
        }
        Ok(open)
    }

    /// Returns the number of attackers' updates that are not settled.
    async fn pending_updates(&self, attackers: &[Attacker], now: RoundNumber) -> Result<usize> {
        let mut pending = 0;
        for round in now.saturating_sub(PENDING_ROUNDS)..now {
            let updates = self.network.chain.updates(round).await?;
            let observations = self.observer.observations();
            pending += updates
                .iter()
                .filter(|update| attackers.iter().any(|one| one.account == update.account))
                .filter(|update| !observations.settled.contains_key(&(round, update.account)))
                .count();
        }
        Ok(pending)
    }

    /// Unbonds the cheating validators. Scripts unbond theirs.
    async fn withdraw_validators(&self) -> Result<()> {
        for validator in &self.cast.validators {
            let account = validator.account;
            self.network.submit_until_accepted(account, Call::Unbond, ACCEPTANCE_BLOCKS).await?;
        }
        Ok(())
    }

    fn judge_attackers(&self, honest: &[AccountId]) -> Result<Vec<Row>> {
        let observations = self.observer.observations();
        let mut rows = Vec::new();
        for trainer in &self.cast.trainers {
            let tally = judge::trainer(trainer, &observations, honest, self.network)?;
            rows.push(Row::new(trainer.entry, tally));
        }
        for validator in &self.cast.validators {
            let tally = judge::validator(validator.account, &observations)?;
            rows.push(Row::new(validator.entry, tally));
        }
        Ok(rows)
    }

    /// Tries quiet attacks in the same rounds, and then those on the node itself, beside a member
    /// on a small disk. Then checks the model that has survived all attacks.
    async fn attack_node(&self) -> Vec<Row> {
        let quiet = self.trials(|setup| match setup {
            Setup::Quiet(trial) => Some(*trial),
            _ => None,
        });
        let attacks = self.trials(|setup| match setup {
            Setup::NodeAttack(trial) => Some(*trial),
            _ => None,
        });
        let disks = self.trials(|setup| match setup {
            Setup::SmallDisk(trial) => Some(*trial),
            _ => None,
        });
        let checks = self.trials(|setup| match setup {
            Setup::FinalModel(trial) => Some(*trial),
            _ => None,
        });
        let attacks = async {
            let mut rows = join_all(quiet).await;
            for attack in attacks {
                rows.push(attack.await);
            }
            rows
        };
        let (mut rows, disks) = futures::join!(attacks, join_all(disks));
        rows.extend(disks);
        for check in checks {
            rows.push(check.await);
        }
        rows
    }

    /// Returns the selected scenarios with such a trial, to be tried.
    fn trials(
        &self,
        trial_of: fn(&Setup) -> Option<NetworkTrial>,
    ) -> Vec<impl Future<Output = Row>> {
        let trial = |entry: Entry| {
            let trial = trial_of(&entry.scenario.setup)?;
            Some(async move { self.try_one(entry, trial(self.network)).await })
        };
        self.selection.iter().filter_map(trial).collect()
    }

    /// Tries a scenario; returns its row.
    async fn try_one(&self, entry: Entry, trial: impl Future<Output = Result<Tally>>) -> Row {
        (self.progress)(&format!("{}: {}", entry.scenario.name, entry.scenario.act));
        let tally = trial.await.unwrap_or_else(|error| Tally::failed(&error));
        Row::new(entry, tally)
    }

    /// Tries the scenarios of many rounds.
    async fn run_long(&self, rows: &mut Vec<Row>) {
        for entry in self.selection.iter() {
            if let Setup::LongRun(trial) = entry.scenario.setup {
                let trial = trial(self.network, self.observer, self.rounds);
                rows.push(self.try_one(entry, trial).await);
            }
        }
    }

    /// Lets validators conspire while everybody sits on every update.
    async fn collude(&self, roles: &mut Roles, rows: &mut Vec<Row>) -> Result<()> {
        let is_collusion = |entry: &Entry| matches!(entry.scenario.setup, Setup::Colluders { .. });
        let is_coalition = |entry: &Entry| matches!(entry.scenario.setup, Setup::Coalition(_));
        if self.selection.iter().any(|entry| is_collusion(&entry) || is_coalition(&entry)) {
            collusion::start(self.network).await?;
        }
        for entry in self.selection.iter() {
            if let Setup::Coalition(trial) = entry.scenario.setup {
                rows.push(self.try_one(entry, trial(self.network, self.observer)).await);
            }
        }
        if !self.selection.iter().any(|entry| is_collusion(&entry)) {
            return Ok(());
        }
        // Stake adds up, so that every step before a selected one is taken too.
        let mut bond = 0;
        for entry in all_scenarios().filter(is_collusion) {
            let Setup::Colluders { added_bond, outcome } = entry.scenario.setup else { continue };
            (self.progress)(&format!("{}: {}", entry.scenario.name, entry.scenario.act));
            collusion::add_stake(self.network, roles, bond, added_bond).await?;
            bond += added_bond;
            let tally = collusion::trial(self.network, self.observer, bond, outcome).await;
            let tally = tally.unwrap_or_else(|error| Tally::failed(&error));
            if self.selection.contains(&entry) {
                rows.push(Row::new(entry, tally));
            }
        }
        Ok(())
    }
}

/// A cheating trainer that takes its leases and leaves.
struct Attacker {
    name: &'static str,
    account: AccountId,
    has_left: bool,
}

/// Returns the number of rounds with a settled update.
fn settled_rounds(observations: &Observations) -> u32 {
    let rounds: BTreeSet<RoundNumber> =
        observations.settled.keys().map(|(round, _)| *round).collect();
    rounds.len() as u32
}
