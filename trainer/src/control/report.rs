// SPDX-License-Identifier: Apache-2.0

//! Reports of a process about its work: the present state, and events.

use super::plan::{Plan, PlanState};
use pol_engine::GradientNorms;
use pol_primitives::{
    Hash, MILLION, RoundNumber,
    recipe::{Numerics, Recipe, Tier},
    submission::Outcome,
};
use serde::Serialize;
use std::path::PathBuf;
use utoipa::ToSchema;

/// Kind of a process's activity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActivityKind {
    /// Connects to a node, and joins the network.
    #[default]
    Starting,
    /// Waits for the chain.
    Waiting,
    /// Trains a lease.
    Training,
    /// Has committed to its update, and waits for the time to reveal it.
    Committed,
    /// Has revealed its update, and waits for the head.
    Revealed,
    /// Takes no lease until it is asked to.
    Paused,
    /// Takes no lease, and ends soon.
    Stopping,
    /// Has ended.
    Stopped,
    /// Follows the rounds as a validator.
    Following,
    /// Serves data or a model.
    Serving,
}

/// Activity of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct Activity {
    /// Kind.
    pub(crate) kind: ActivityKind,
    /// Round that it is for.
    pub(crate) round: Option<RoundNumber>,
    /// Time since when, in UTC.
    pub(crate) since: String,
    /// Description for people.
    pub(crate) sentence: String,
}

/// L2 norms of the gradients of a segment's optimiser steps, over all parameters and before they
/// are clipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct GradientFigures {
    /// Mean of the norms.
    #[schema(example = 0.84)]
    pub(crate) mean: f64,
    /// Largest norm.
    #[schema(example = 1.31)]
    pub(crate) largest: f64,
    /// Norm to which longer gradients are scaled down.
    #[schema(example = 1.0)]
    pub(crate) limit: f64,
    /// Number of steps whose gradient was longer.
    #[schema(example = 1)]
    pub(crate) clipped_steps: u16,
}

impl GradientFigures {
    /// Creates the figures of a segment that was trained by `recipe`.
    pub(crate) fn new(norms: &GradientNorms, recipe: &Recipe) -> Self {
        let GradientNorms { mean, largest, clipped } = *norms;
        let limit = f64::from(recipe.gradient_clip) / f64::from(MILLION);
        Self { mean, largest, limit, clipped_steps: clipped }
    }
}

/// Progress of the training of a lease.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct Progress {
    /// Round that the update is for.
    pub(crate) round: RoundNumber,
    /// Segments trained.
    pub(crate) segment: u16,
    /// Segments of the lease.
    pub(crate) segments: u16,
    /// Optimiser steps taken.
    pub(crate) steps: u32,
    /// Optimiser steps of the lease.
    pub(crate) steps_total: u32,
    /// Share that is trained, from 0 to 1.
    pub(crate) share: f64,
    /// Training loss of the last segment, in nats per token.
    pub(crate) loss: Option<f64>,
    /// Norms of the gradients of the last segment.
    pub(crate) gradient: Option<GradientFigures>,
    /// Speed of the training.
    pub(crate) tokens_per_second: Option<f64>,
    /// Shards of the lease.
    pub(crate) shards: usize,
}

impl Progress {
    /// Returns the progress of a lease of `shards` as `tier` after so many segments.
    pub(crate) fn new(
        round: RoundNumber,
        recipe: &Recipe,
        tier: Tier,
        shards: usize,
        segment: u16,
    ) -> Self {
        let (segments, per_segment) = (recipe.segments, recipe.steps_per_segment(tier));
        let steps = |segments: u16| u32::from(segments) * u32::from(per_segment);
        Self {
            round,
            segment,
            segments,
            steps: steps(segment),
            steps_total: steps(segments),
            share: f64::from(segment) / f64::from(segments.max(1)),
            loss: None,
            gradient: None,
            tokens_per_second: None,
            shards,
        }
    }
}

/// Outcome of the audits of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SettledOutcome {
    NoShow,
    Excluded,
    Valid,
    Invalid,
    Withheld,
    Unresolved,
    Tainted,
}

impl From<Outcome> for SettledOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::NoShow => Self::NoShow,
            Outcome::Excluded => Self::Excluded,
            Outcome::Valid => Self::Valid,
            Outcome::Invalid => Self::Invalid,
            Outcome::Withheld => Self::Withheld,
            Outcome::Unresolved => Self::Unresolved,
            Outcome::Tainted => Self::Tainted,
        }
    }
}

/// State of a local epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LocalState {
    /// Trains.
    #[default]
    Running,
    /// Has written its model.
    Done,
    /// Has failed, and written nothing.
    Failed,
    /// Was cancelled, and has written nothing.
    Cancelled,
}

/// Local epoch on a given text, without the network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct LocalEpoch {
    /// Number of the epoch in this process.
    pub(crate) id: u64,
    /// Name of the model that it starts from.
    pub(crate) model: String,
    /// Name of the model that it makes.
    pub(crate) out: String,
    /// State.
    pub(crate) state: LocalState,
    /// Optimiser steps taken.
    pub(crate) step: u32,
    /// Optimiser steps of the epoch; 0 until the text is read.
    pub(crate) steps: u32,
    /// Share that is trained, from 0 to 1.
    pub(crate) share: f64,
    /// Training loss of the last steps, in nats per token.
    pub(crate) loss: Option<f64>,
    /// Reason of a failure.
    pub(crate) error: Option<String>,
    /// Root of the new model.
    pub(crate) root: Option<String>,
    /// Time of its start, in UTC.
    pub(crate) started: String,
}

/// Event of a process's work.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum WorkEvent {
    /// A lease was taken.
    Lease { round: RoundNumber, shards: usize, tokens: u64 },
    /// A segment was trained.
    Segment(Progress),
    /// The update was committed to.
    Commit { round: RoundNumber },
    /// The update was revealed.
    Reveal { round: RoundNumber },
    /// The round of the lease has ended.
    Outcome { round: RoundNumber, included: bool, sentence: String },
    /// The audits of an update are over.
    Settled { round: RoundNumber, outcome: SettledOutcome },
    /// A reward was claimed, of this amount in POL.
    Reward { round: RoundNumber, amount: String },
    /// A local epoch went on, or ended.
    Local(LocalEpoch),
    /// The state of the plan changed.
    Plan { state: PlanState, rounds_left: Option<u32>, sentence: String },
}

impl WorkEvent {
    /// Returns the event of a plan that changed.
    pub(super) fn plan(plan: &Plan) -> Self {
        Self::Plan {
            state: plan.state(),
            rounds_left: plan.rounds_left(),
            sentence: plan.sentence(),
        }
    }
}

/// Facts about a process that are known once it has started.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Facts {
    /// Role, as the command line names it.
    pub(crate) role: &'static str,
    /// Address of the account.
    pub(crate) account: Option<String>,
    /// Tier of a trainer.
    pub(crate) tier: Option<Tier>,
    /// Threads that compute.
    pub(crate) workers: Option<usize>,
    /// Profile of the recipe in force.
    pub(crate) numerics: Option<Numerics>,
    /// Genesis of the chain.
    pub(crate) genesis: Option<Hash>,
    /// Folder of the state, or of the data.
    pub(crate) folder: Option<PathBuf>,
}
