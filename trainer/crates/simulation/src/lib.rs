//! Simulations of the network's defences, on the chain's own functions and without a node.
//!
//! Draws, stages, verdicts, scores, pools and emission are those of `pol-primitives`, which the
//! pallets call too. Only training and replay are replaced by what they would have found, so that
//! thousands of members and rounds take seconds. Every run is fixed by its seed.
//!
//! | module | question |
//! |---|---|
//! | [`detection`] | how soon is a trainer caught that skips segments? |
//! | [`collusion`] | what can validators decide that collude, and what in networks of few? |
//! | [`grinding`] | what can block authors make of knowing their own randomness, and validators of many accounts? |
//! | [`economy`] | does any strategy pay better than honesty? |

pub mod collusion;
pub mod detection;
pub mod economy;
pub mod grinding;
pub mod network;
pub mod plot;
pub mod report;
pub mod statistics;

use pol_primitives::audit::AuditConfig;
use serde::Serialize;

/// What is simulated.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Fixes everything.
    pub seed: u64,
    /// Repetitions of each experiment.
    pub trials: u32,
    /// Trainers of the economy, of whom 64 train in a round; at least 128.
    pub trainers: u32,
    /// Validators, of equal stake.
    pub validators: u32,
    /// Rounds of the economy.
    pub rounds: u32,
    /// Segments of a lease.
    pub segments: u16,
    /// What compute costs, as a share of an honest trainer's reward.
    pub compute: f64,
    /// The chain's configuration of audits.
    pub audit: AuditConfig,
}

impl Settings {
    /// Thousands of members and rounds: about a minute.
    pub fn full(seed: u64) -> Self {
        Self {
            seed,
            trials: 20_000,
            trainers: 4_096,
            validators: 1_000,
            rounds: 2_000,
            segments: 10,
            compute: 0.5,
            audit: AuditConfig::default(),
        }
    }

    /// As many as a test needs: a few seconds.
    pub fn quick(seed: u64) -> Self {
        Self { trials: 1_280, trainers: 512, validators: 100, rounds: 60, ..Self::full(seed) }
    }
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was simulated.
    pub settings: Settings,
    /// See [`detection`].
    pub detection: Vec<detection::Detection>,
    /// See [`collusion`].
    pub collusion: Vec<collusion::Collusion>,
    /// What other numbers of seats would do.
    pub choices: Vec<collusion::Choice>,
    /// Networks of few validators.
    pub few: Vec<collusion::Few>,
    /// See [`grinding`].
    pub grinding: grinding::Grinding,
    /// Validators that divide their stake.
    pub split: Vec<grinding::Split>,
    /// Strategies of trainers.
    pub trainers: Vec<economy::Trained>,
    /// Conducts of validators.
    pub validators: Vec<economy::Validated>,
}

/// Runs everything.
pub fn run(settings: &Settings) -> Report {
    Report {
        settings: settings.clone(),
        detection: detection::run(settings),
        collusion: collusion::run(settings),
        choices: collusion::choices(),
        few: collusion::few(settings),
        grinding: grinding::run(settings),
        split: grinding::split(settings),
        trainers: economy::trainers(settings),
        validators: economy::validators(settings),
    }
}
