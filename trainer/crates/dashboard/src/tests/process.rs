// SPDX-License-Identifier: Apache-2.0

//! Endpoints of a made process that trains, for a network or a model of its library.

use super::sample::{Sample, account, draw, hash, time};
use axum::{Json, Router, extract::State, response::Response, routing::get};
use futures::{StreamExt, stream};
use pol_api::events;
use serde_json::{Value, json};

/// Returns the endpoints of the process.
pub(super) fn routes() -> Router<Sample> {
    Router::new()
        .route("/machine", get(machine))
        .route("/train", get(train))
        .route("/train/events", get(train_events))
        .route("/train/history", get(train_history))
        .route("/metrics", get(metrics))
}

async fn machine(State(sample): State<Sample>) -> Json<Value> {
    Json(json!({
        "role": if sample.is_library { "api" } else { "trainer" },
        "account": account(10), "version": "0.1.0", "started": time(8_000),
        "uptime_seconds": 8_000, "genesis": hash(0), "tier": "miner",
        "gpus": [],
        "processor": {
            "name": "A processor", "cores": sample.many(16), "avx2": true, "avx512": true,
        },
        "workers": 14,
        "memory": {
            "size_bytes": 67_000_000_000_u64, "available_bytes": 38_000_000_000_u64,
            "resident_bytes": 9_100_000_000_u64,
        },
        "disk": {"size_bytes": 500_000_000_000_u64, "free_bytes": 212_000_000_000_u64},
        "numerics": "exact", "activity": activity(sample), "progress": null,
    }))
}

fn activity(sample: Sample) -> Value {
    if sample.is_library {
        let sentence = "Serves the head and the chain.";
        return json!({
            "kind": "serving", "round": null, "since": time(60), "sentence": sentence,
        });
    }
    json!({
        "kind": "training", "round": sample.rounds + 1, "since": time(60),
        "sentence": format!("Trains segment 5 of 8 of round {}.", sample.rounds + 1),
    })
}

async fn train(State(sample): State<Sample>) -> Json<Value> {
    if sample.is_library {
        return Json(json!({
            "trains": false, "state": "running", "rounds_left": null, "sentence": "does not train",
            "activity": activity(sample), "progress": null, "local": local_epoch(),
            "local_training": true,
        }));
    }
    Json(json!({
        "trains": true, "state": "running",
        "rounds_left": sample.is_young().then_some(1), "activity": activity(sample),
        "sentence": "Takes part in every round.",
        "progress": {
            "round": sample.rounds + 1, "segment": 5, "segments": 8, "steps": 41, "steps_total": 64,
            "share": 0.64, "loss": 3.214, "tokens_per_second": 2_143,
            "shards": sample.many(8),
            "gradient": {"mean": 0.84, "largest": 1.31, "limit": 1.0, "clipped_steps": 1},
        },
        "local": null, "local_training": false,
    }))
}

fn local_epoch() -> Value {
    json!({
        "id": 1, "model": "smollm2", "out": "mine", "state": "running", "step": 12, "steps": 96,
        "share": 0.125, "loss": 2.817, "root": null, "error": null, "started": time(60),
    })
}

/// Returns the figures of the newest rounds of 8 segments each.
async fn train_history(State(sample): State<Sample>) -> Json<Value> {
    let rounds = sample.rounds.saturating_sub(99).max(1)..=sample.rounds;
    let segment = |round: u64, segment: u64| {
        let largest = 0.6 + draw(8 * round + segment);
        json!({
            "round": round, "segment": segment, "segments": 8, "steps": 8, "loss": 3.2,
            "mean": 0.6 * largest, "largest": largest, "limit": 1.0,
            "clipped_steps": u64::from(largest > 1.0), "time": time(sample.rounds - round),
        })
    };
    let segments: Vec<Value> = rounds
        .clone()
        .flat_map(|round| (1..=8).map(move |number| segment(round, number)))
        .collect();
    let update =
        |round: u64| json!({"round": round, "movement": 1.2 + 0.2 * draw(round), "time": time(0)});
    let updates: Vec<Value> = rounds.map(update).collect();
    let definitions = [json!({"name": "mean", "definition": "Mean norm of the gradients."})];
    Json(json!({"definitions": definitions, "segments": segments, "updates": updates}))
}

async fn train_events(State(sample): State<Sample>) -> Response {
    if sample.is_young() {
        return events::respond(stream::pending());
    }
    if sample.is_library {
        let mut event = local_epoch();
        event["event"] = json!("local");
        return events::respond(stream::iter([events::json(&event)]).chain(stream::pending()));
    }
    let happened = [
        json!({"event": "lease", "round": sample.rounds + 1, "shards": 8, "tokens": 32_768}),
        json!({"event": "commit", "round": sample.rounds}),
        json!({"event": "reward", "round": sample.rounds, "amount": "6.88125 POL"}),
    ];
    let happened = stream::iter(happened.map(|event| events::json(&event)));
    events::respond(happened.chain(stream::pending()))
}

async fn metrics() -> Json<Value> {
    let gauge = |name: &str, value: f64| {
        let values = [json!({"labels": {}, "value": value})];
        json!({"name": name, "kind": "gauge", "help": "Help.", "values": values})
    };
    let mut metrics = vec![gauge("pol_trainer_tokens_total", 1_310_720.0)];
    metrics.extend((0..60).map(|number| gauge(&format!("pol_sample_{number}"), f64::from(number))));
    Json(json!({"metrics": metrics}))
}
