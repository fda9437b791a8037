// SPDX-License-Identifier: Apache-2.0

//! `POST /train`, `GET /train`, `GET /train/events`, and `GET /train/history`: the plan of a
//! trainer, local epochs, and the figures of the training.

use super::local::LocalTrainer;
use crate::control::{
    Action, Activity, Control, LocalEpoch, PlanState, Progress, SegmentFigures, UpdateFigures,
    WorkEvent,
};
use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{Response, sse::Event},
};
use futures::{StreamExt, stream};
use pol_api::{ApiError, JsonBody, Problem, events};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Most rounds of a request.
const MAX_ROUNDS: u32 = 1_000_000;

/// Parts that the endpoints act on.
#[derive(Clone)]
pub(super) struct Training {
    control: Control,
    local: LocalTrainer,
    /// Set if this process is a trainer.
    trains: bool,
    /// Set once the server ends, and streams with it.
    closed: watch::Receiver<bool>,
}

/// Request to a trainer: an action, or a text with a model.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TrainRequest {
    /// Change of the plan, or the end of a local epoch.
    action: Option<TrainAction>,
    /// Rounds to take part in, with the action `join`. [default: no bound]
    rounds: Option<u32>,
    /// Text to learn from, without the network.
    text: Option<String>,
    /// Name of a model in the library, from which that training starts.
    model: Option<String>,
    /// Name of the new model in the library.
    out: Option<String>,
}

/// Action of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TrainAction {
    /// Take part from the next round on.
    Join,
    /// Take no new lease. The work on a present one goes on.
    Pause,
    /// Undo a pause or a stop.
    Resume,
    /// Take no new lease, and end the process once its lease and its audits are over. Rewards that
    /// fall due until then are claimed; later ones wait on the chain for the next start.
    Stop,
    /// End the local epoch without a new model.
    Cancel,
}

/// Request whose fields fit together.
#[derive(Debug, PartialEq, Eq)]
enum Checked {
    Plan(Action, Option<NonZeroU32>),
    Cancel,
    Local { text: String, model: String, out: String },
}

impl TrainRequest {
    /// Returns the request, or the reason why its fields do not fit together.
    fn check(self) -> Result<Checked, ApiError> {
        let Self { action, rounds, text, model, out } = self;
        let has_local = text.is_some() || model.is_some() || out.is_some();
        match (action, text, model, out) {
            (Some(_), ..) if has_local => Err(ApiError::parameter(
                "action",
                "an action stands alone; send text, model, and out in a request of their own",
            )),
            (Some(action), ..) => Self::check_action(action, rounds),
            (None, Some(text), Some(model), Some(out)) if rounds.is_none() => {
                Ok(Checked::Local { text, model, out })
            }
            _ => Err(ApiError::parameter(
                "action",
                "send an action (join, pause, resume, stop, or cancel), or text, model, and out",
            )),
        }
    }

    fn check_action(action: TrainAction, rounds: Option<u32>) -> Result<Checked, ApiError> {
        let plan = match action {
            TrainAction::Join => Action::Join,
            TrainAction::Pause => Action::Pause,
            TrainAction::Resume => Action::Resume,
            TrainAction::Stop => Action::Stop,
            TrainAction::Cancel => return Ok(Checked::Cancel),
        };
        let Some(asked) = rounds else { return Ok(Checked::Plan(plan, None)) };
        let rounds = NonZeroU32::new(asked).filter(|rounds| rounds.get() <= MAX_ROUNDS);
        if plan != Action::Join || rounds.is_none() {
            let detail =
                format!("rounds goes with the action join, and is a number from 1 to {MAX_ROUNDS}");
            return Err(ApiError::parameter("rounds", detail));
        }
        Ok(Checked::Plan(plan, rounds))
    }
}

/// State of the training.
#[derive(Serialize, ToSchema)]
struct TrainStatus {
    /// Set if this process is a trainer of the network.
    trains: bool,
    /// State of its plan.
    state: PlanState,
    /// Leases that it may still take; `null` without a bound.
    rounds_left: Option<u32>,
    /// Description of the plan for people.
    sentence: String,
    /// Activity.
    activity: Activity,
    /// Progress of the lease under way.
    progress: Option<Progress>,
    /// The last local epoch.
    local: Option<LocalEpoch>,
    /// Set if local epochs can be asked for.
    local_training: bool,
}

/// Definition of a figure.
#[derive(Clone, Copy, Serialize, ToSchema)]
struct FigureDefinition {
    /// Name of the figure.
    #[schema(example = "mean")]
    name: &'static str,
    /// Definition.
    definition: &'static str,
}

/// Definitions of the norms.
const DEFINITIONS: [FigureDefinition; 5] = [
    FigureDefinition {
        name: "mean",
        definition: "Mean over the optimiser steps of a segment of the L2 norm of the gradient of \
                     the step's mean loss (and of the auxiliary losses of experts), over all \
                     parameters, before it is clipped.",
    },
    FigureDefinition { name: "largest", definition: "Largest of these norms." },
    FigureDefinition {
        name: "limit",
        definition: "Norm of the recipe to which longer gradients are scaled down.",
    },
    FigureDefinition {
        name: "clipped_steps",
        definition: "Number of steps of the segment whose gradient was longer than the limit.",
    },
    FigureDefinition {
        name: "movement",
        definition: "L2 norm of the change of all parameters by a lease, before the update is \
                     compressed.",
    },
];

/// Figures of the training since the process started.
#[derive(Serialize, ToSchema)]
struct TrainHistory {
    /// Definitions of the norms. The chain knows none of them.
    definitions: [FigureDefinition; 5],
    /// Segments, the oldest first; at most the newest 1,000.
    segments: Vec<SegmentFigures>,
    /// Updates, the oldest first; at most the newest 256.
    updates: Vec<UpdateFigures>,
}

/// Event of a stream.
#[derive(Serialize)]
#[serde(untagged)]
enum StreamedEvent {
    State {
        event: &'static str,
        #[serde(flatten)]
        status: Box<TrainStatus>,
    },
    Work(WorkEvent),
    Missed {
        event: &'static str,
        events: u64,
    },
}

impl Training {
    /// Creates the parts of a process, which `trains` if it is a trainer. Streams end once the
    /// server is `closed`.
    pub(super) fn new(
        control: Control,
        local: LocalTrainer,
        trains: bool,
        closed: watch::Receiver<bool>,
    ) -> Self {
        Self { control, local, trains, closed }
    }

    fn status(&self) -> TrainStatus {
        let work = self.control.state();
        let (state, rounds_left, sentence) = work.plan();
        TrainStatus {
            trains: self.trains,
            state,
            rounds_left,
            sentence: if self.trains { sentence } else { "does not train".into() },
            activity: work.activity,
            progress: work.progress,
            local: self.local.current(),
            local_training: self.local.is_there(),
        }
    }

    fn ask(&self, action: Action, rounds: Option<NonZeroU32>) -> Result<(), ApiError> {
        if !self.trains {
            let reason = "this process does not train; ask the one of a trainer, which is started \
                          with --api";
            return Err(ApiError::Conflict(reason.into()));
        }
        self.control.ask(action, rounds);
        Ok(())
    }
}

/// Asks a trainer to take part, to pause, to go on, or to stop, or trains a model on a text.
///
/// The answer is the state after the request. The same action again changes nothing. A local epoch
/// goes on after the answer, and is followed by `GET /train/events`.
#[utoipa::path(
    post,
    path = "/train",
    tag = "This process",
    request_body = TrainRequest,
    responses(
        (status = 200, body = TrainStatus),
        (status = 202, body = TrainStatus),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
async fn train(
    State(training): State<Training>,
    JsonBody(request): JsonBody<TrainRequest>,
) -> Result<(StatusCode, Json<TrainStatus>), ApiError> {
    let status = match request.check()? {
        Checked::Plan(action, rounds) => {
            training.ask(action, rounds)?;
            StatusCode::OK
        }
        Checked::Cancel => {
            training.local.cancel();
            StatusCode::OK
        }
        Checked::Local { text, model, out } => {
            training.local.start(model, out, text)?;
            StatusCode::ACCEPTED
        }
    };
    Ok((status, Json(training.status())))
}

/// Returns the plan of a trainer, its progress, and the last local epoch.
#[utoipa::path(
    get,
    path = "/train",
    tag = "This process",
    responses((status = 200, body = TrainStatus))
)]
async fn state(State(training): State<Training>) -> Json<TrainStatus> {
    Json(training.status())
}

/// Returns the norms of the gradients and of the updates of this trainer since it started.
#[utoipa::path(
    get,
    path = "/train/history",
    tag = "This process",
    responses((status = 200, body = TrainHistory))
)]
async fn history(State(training): State<Training>) -> Json<TrainHistory> {
    let history = training.control.history();
    let (segments, updates) = (history.segments(), history.updates());
    Json(TrainHistory { definitions: DEFINITIONS, segments, updates })
}

/// Sends the state, and then each event of the training as it happens.
#[utoipa::path(
    get,
    path = "/train/events",
    tag = "This process",
    responses((status = 200, body = WorkEvent, content_type = "text/event-stream"))
)]
async fn follow(State(training): State<Training>) -> Response {
    // Nothing is lost between the state and the first event.
    let receiver = training.control.events();
    let status = Box::new(training.status());
    let first = StreamedEvent::State { event: "state", status };
    let rest = stream::unfold(receiver, |mut receiver| async move {
        Some((next_event(&mut receiver).await?, receiver))
    });
    let mut closed = training.closed;
    let end = async move { drop(closed.wait_for(|closed| *closed).await) };
    let all = stream::iter([first]).chain(rest).map(|event| named(&event));
    events::respond(all.take_until(Box::pin(end)))
}

/// Returns the next event, or `None` after the last one.
async fn next_event(receiver: &mut Receiver<WorkEvent>) -> Option<StreamedEvent> {
    match receiver.recv().await {
        Ok(event) => Some(StreamedEvent::Work(event)),
        Err(RecvError::Lagged(events)) => Some(StreamedEvent::Missed { event: "missed", events }),
        Err(RecvError::Closed) => None,
    }
}

/// Returns an event with its own name.
fn named(event: &StreamedEvent) -> Event {
    let json = serde_json::to_value(event).unwrap_or_default();
    let name = json["event"].as_str().unwrap_or_default();
    events::json(&json).event(name)
}

/// Returns the endpoints that read.
pub(super) fn read_routes(training: Training) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(state))
        .routes(routes!(follow))
        .routes(routes!(history))
        .with_state(training)
}

/// Returns the endpoint that asks.
pub(super) fn train_routes(training: Training) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(train)).with_state(training)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(request: serde_json::Value) -> Result<Checked, String> {
        let request: TrainRequest = serde_json::from_value(request).map_err(|e| e.to_string())?;
        request.check().map_err(|error| error.to_string())
    }

    #[test]
    fn actions_and_texts_are_told_apart() {
        let rounds = NonZeroU32::new(3);
        for (request, expected) in [
            (json!({"action": "join", "rounds": 3}), Checked::Plan(Action::Join, rounds)),
            (json!({"action": "join"}), Checked::Plan(Action::Join, None)),
            (json!({"action": "pause"}), Checked::Plan(Action::Pause, None)),
            (json!({"action": "resume"}), Checked::Plan(Action::Resume, None)),
            (json!({"action": "stop"}), Checked::Plan(Action::Stop, None)),
            (json!({"action": "cancel"}), Checked::Cancel),
        ] {
            assert_eq!(check(request.clone()), Ok(expected), "{request}");
        }
        let local = Checked::Local { text: "t".into(), model: "m".into(), out: "o".into() };
        assert_eq!(check(json!({"text": "t", "model": "m", "out": "o"})), Ok(local));
    }

    #[test]
    fn fields_that_do_not_fit_together_are_refused() {
        for (request, expected) in [
            (json!({}), "send an action"),
            (json!({"text": "t", "model": "m"}), "text, model, and out"),
            (json!({"action": "join", "text": "t"}), "stands alone"),
            (json!({"action": "pause", "rounds": 2}), "goes with the action join"),
            (json!({"action": "join", "rounds": 0}), "from 1 to"),
            (json!({"action": "join", "rounds": 1_000_001}), "from 1 to"),
            (json!({"action": "join", "rounds": -1}), "invalid"),
            (json!({"action": "run"}), "unknown variant"),
            (json!({"actoin": "join"}), "unknown field"),
        ] {
            let error = check(request.clone()).unwrap_err();
            assert!(error.contains(expected), "{request}: {error}");
        }
    }
}
