// SPDX-License-Identifier: Apache-2.0

//! Simulates the network's defences on the chain's own functions, without a node.
//!
//! Draws, stages, verdicts, scores, pools and emission are those of `pol-primitives`, which the
//! pallets call too. Only training and replay are replaced by the result they would have, so that
//! thousands of members and rounds take seconds. A seed fixes every run.
//!
//! | module | question |
//! |---|---|
//! | [`detection`] | After how many updates is a trainer caught that skips segments? |
//! | [`collusion`] | Which verdicts can colluding validators decide, also in small networks? |
//! | [`grinding`] | Does it pay to know one's own randomness, or to split one's stake? |
//! | [`economy`] | Does any strategy pay better than honesty? |
//!
//! [`audits`] runs the audits that they share, [`statistics`] has estimates and exact chances,
//! [`report`](mod@report) and [`plot`] show a [`Report`]. The results are discussed in
//! `docs/security.md`; terms are in `docs/glossary.md`.
//!
//! ```
//! use pol_simulation::{Settings, detection};
//!
//! let settings = Settings { trials: 64, validators: 20, ..Settings::quick(1) };
//! let found = detection::run(&settings);
//! let free_rider = found.iter().find(|one| one.skipped == settings.segments).expect("tried");
//! assert_eq!(free_rider.caught.share(), 1.0);
//! ```

pub mod audits;
pub mod collusion;
pub mod detection;
pub mod economy;
pub mod grinding;
pub mod plot;
pub mod report;
pub mod statistics;

use pol_primitives::audit::AuditConfig;
use serde::Serialize;

/// Parameters of a simulation.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// Seed of all randomness.
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
    /// Cost of compute, as a share of an honest trainer's reward.
    pub compute: f64,
    /// The chain's configuration of audits.
    pub audit: AuditConfig,
}

impl Settings {
    /// Returns thousands of members and rounds, which take about a minute.
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

    /// Returns enough of everything for a test, which takes a few seconds.
    pub fn quick(seed: u64) -> Self {
        Self { trials: 1_280, trainers: 512, validators: 100, rounds: 60, ..Self::full(seed) }
    }
}

/// The results of all experiments.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Parameters of the simulation.
    pub settings: Settings,
    /// Results of [`detection`].
    pub detection: Vec<detection::Detection>,
    /// Results of [`collusion`].
    pub collusion: Vec<collusion::Collusion>,
    /// Coalitions of one account or many, among equal and unequal stakes.
    pub coalitions: Vec<collusion::Coalition>,
    /// Exact chances for other numbers of seats.
    pub choices: Vec<collusion::SeatChoice>,
    /// Networks of few validators.
    #[serde(rename = "few")]
    pub small_networks: Vec<collusion::SmallNetwork>,
    /// Results of [`grinding`].
    pub grinding: grinding::Grinding,
    /// Validators that divide their stake.
    pub split: Vec<grinding::Split>,
    /// Strategies of trainers.
    pub trainers: Vec<economy::TrainerResult>,
    /// Strategies of validators.
    pub validators: Vec<economy::ValidatorResult>,
}

/// Runs all experiments.
pub fn run(settings: &Settings) -> Report {
    Report {
        settings: settings.clone(),
        detection: detection::run(settings),
        collusion: collusion::run(settings),
        coalitions: collusion::coalitions(settings),
        choices: collusion::choices(settings),
        small_networks: collusion::small_networks(settings),
        grinding: grinding::run(settings),
        split: grinding::split(settings),
        trainers: economy::trainers(settings),
        validators: economy::validators(settings),
    }
}
