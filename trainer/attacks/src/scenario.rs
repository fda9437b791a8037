// SPDX-License-Identifier: Apache-2.0

//! Declarations of attacks: families, scenarios and their setups.

use crate::{
    cheating::Cheat, network::Network, observer::ChainObserver, offline::TrainingHarness,
    sites::SitesNetwork, tally::Tally,
};
use anyhow::{Context, Result};
use futures::future::LocalBoxFuture;
use pol_primitives::{Balance, submission::Outcome};
use std::path::Path;
use tokio::sync::watch;

/// A family of attacks.
pub(crate) struct Family {
    /// Name of the family and of its page in `docs/attacks`.
    pub(crate) name: &'static str,
    /// Scenarios in the order of the report.
    pub(crate) scenarios: &'static [Scenario],
}

/// One attack with its requirement.
pub(crate) struct Scenario {
    /// Name in the report, unique among all scenarios.
    pub(crate) name: &'static str,
    /// Environment and attacker.
    pub(crate) setup: Setup,
    /// A sentence about the attacker's act.
    pub(crate) act: &'static str,
    /// A sentence about the requirement.
    pub(crate) expect: &'static str,
}

/// The environment and the attacker of a scenario.
pub(crate) enum Setup {
    /// Draws by the chain's functions, with fixed seeds.
    MonteCarlo(fn() -> Tally),
    /// Training with the real engine, without a network.
    Offline(fn(&TrainingHarness) -> Result<Tally>),
    /// A network of the native profile whose members compute with different kernels. The argument
    /// is the folder for logs.
    Heterogeneous(for<'a> fn(&'a Path) -> LocalBoxFuture<'a, Result<Tally>>),
    /// Attacks that audits find, on a network whose audits look at nothing.
    BlindAudits,
    /// A network of several sites, whose links and nodes fail. The second argument is the number of
    /// rounds to go through.
    Sites(for<'a> fn(&'a SitesNetwork, u32) -> LocalBoxFuture<'a, Result<Tally>>),
    /// A trainer of the network that cheats in one way.
    Trainer {
        /// Development account of the trainer.
        account: &'static str,
        /// The way it cheats.
        cheat: Cheat,
        /// Requirement for its updates.
        outcome: ExpectedOutcome,
    },
    /// A validator of the network that reports false findings from every seat.
    Validator {
        /// Development account of the validator.
        account: &'static str,
        /// The way it cheats.
        cheat: Cheat,
    },
    /// Accounts of the network that act call by call.
    Scripted(&'static Script),
    /// An attack on the network's node while honest members go on.
    NodeAttack(NetworkTrial),
    /// An attack on the network that leaves others undisturbed, so that several share their rounds.
    Quiet(NetworkTrial),
    /// A validator of the network whose disk is small. It needs mounts of this process only.
    SmallDisk(NetworkTrial),
    /// A check of the network's model after all attacks on training.
    FinalModel(NetworkTrial),
    /// Validators of the network that deny, invent and lie, when everybody sits on every update. A
    /// large minority may leave honest updates undecided, so they come after all other attacks.
    Coalition(ObservedTrial),
    /// A run over many rounds of honest members only. It is tried only if it is named.
    LongRun(LongTrial),
    /// A run over several sessions on the network of several sites. It is tried only if it is
    /// named.
    LongSites(for<'a> fn(&'a SitesNetwork) -> LocalBoxFuture<'a, Result<Tally>>),
    /// Two colluding validators of the network, after all other attacks.
    Colluders {
        /// Stake that each of the two adds for this scenario.
        added_bond: Balance,
        /// Outcome of honest updates that the quorum rule implies.
        outcome: Outcome,
    },
    /// A check of honest trainers' pay, part of every run with a network.
    HonestPay,
    /// A check of every honest member, part of every run with a network.
    HonestMembers,
    /// A check of every process, part of every run with a network.
    Processes,
}

impl Setup {
    /// Returns `true` if the scenario needs the shared network, or data that is prepared for it.
    pub(crate) fn needs_network(&self) -> bool {
        let has_own = matches!(self, Self::Heterogeneous(_) | Self::BlindAudits);
        !matches!(self, Self::MonteCarlo(_)) && !has_own && !self.needs_sites()
    }

    /// Returns `true` if the scenario needs the network of several sites.
    pub(crate) fn needs_sites(&self) -> bool {
        matches!(self, Self::Sites(_) | Self::LongSites(_))
    }

    /// Returns `true` if the scenario is so long that it is tried only if it is named.
    pub(crate) fn is_long(&self) -> bool {
        matches!(self, Self::LongRun(_) | Self::LongSites(_))
    }

    /// Returns `true` if the scenario needs links or mounts of this process only.
    pub(crate) fn needs_private_machine(&self) -> bool {
        matches!(self, Self::SmallDisk(_)) || self.needs_sites()
    }

    /// Returns `true` if the scenario comes after all others on a network.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self, Self::Coalition(_) | Self::LongRun(_) | Self::Colluders { .. })
    }

    /// Returns a short description for the report.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::MonteCarlo(_) => "Monte Carlo draws in this process",
            Self::Offline(_) => "real training in this process, without a network",
            Self::Heterogeneous(_) => "a network of the native profile on different kernels",
            Self::BlindAudits => "a network whose audits replay and check nothing",
            Self::Sites(_) | Self::LongSites(_) => "a network of four sites with an authority each",
            Self::Trainer { .. } => "a network with a cheating trainer",
            Self::Validator { .. } => "a network with a cheating validator",
            Self::Scripted(_) => "a network with accounts that act call by call",
            Self::NodeAttack(_) => "a network whose node is attacked",
            Self::Quiet(_) => "a network beside other quiet attacks",
            Self::SmallDisk(_) => "a network with a validator on a small disk",
            Self::FinalModel(_) => "the network's model after the attacks",
            Self::Coalition(_) => "a network with a coalition of validators",
            Self::LongRun(_) => "a network of honest members over many rounds",
            Self::Colluders { .. } => "a network with two colluding validators",
            Self::HonestPay | Self::HonestMembers | Self::Processes => "every run with a network",
        }
    }
}

/// The outcome that a cheating trainer's updates have to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExpectedOutcome {
    /// All are invalid.
    Invalid,
    /// All are withheld.
    Withheld,
    /// Updates are invalid where a false segment is drawn, valid otherwise.
    InvalidIfDrawn,
    /// All are valid.
    Valid,
}

/// A scenario on the running network.
pub(crate) type NetworkTrial = for<'a> fn(&'a Network) -> LocalBoxFuture<'a, Result<Tally>>;

/// A scenario on the running network that is judged by what the observer sees.
pub(crate) type ObservedTrial =
    for<'a> fn(&'a Network, &'a ChainObserver) -> LocalBoxFuture<'a, Result<Tally>>;

/// A scenario of many rounds on the running network. The last argument is their number.
pub(crate) type LongTrial =
    for<'a> fn(&'a Network, &'a ChainObserver, u32) -> LocalBoxFuture<'a, Result<Tally>>;

/// A sequence of calls by some accounts. It may be the setup of several scenarios of a family.
pub(crate) struct Script {
    /// Accounts that the script makes trainers.
    pub(crate) trainers: &'static [&'static str],
    /// Those of `trainers` whose updates are honest.
    pub(crate) honest: &'static [&'static str],
    /// Accounts that are validators and act by the script only.
    pub(crate) validators: &'static [&'static str],
    /// Plays the script; returns one tally for each of its scenarios, in their order.
    pub(crate) play: for<'a> fn(&'a Network, Gate) -> LocalBoxFuture<'a, Result<Vec<Tally>>>,
}

/// Opens when all attackers are ready, so that they share their rounds.
#[derive(Clone)]
pub(crate) struct Gate(pub(crate) watch::Receiver<bool>);

impl Gate {
    /// Waits until the gate opens.
    ///
    /// # Errors
    ///
    /// Fails if the run ends first.
    pub(crate) async fn pass(&mut self) -> Result<()> {
        let opened = self.0.wait_for(|open| *open).await;
        opened.map(drop).context("the run ended before the attacks began")
    }
}
