// SPDX-License-Identifier: Apache-2.0

//! Endpoints of a made process that trains, and that has a model.

use super::sample::{Sample, account, draw, hash, time};
use axum::{
    Json, Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use futures::{StreamExt, stream};
use pol_api::events;
use serde_json::{Value, json};

/// Returns the endpoints of the process and of its model.
pub(super) fn routes() -> Router<Sample> {
    Router::new()
        .route("/machine", get(machine))
        .route("/train", get(train))
        .route("/train/events", get(train_events))
        .route("/train/history", get(train_history))
        .route("/metrics", get(metrics))
        .route("/pretrained-models", get(models))
        .route("/generate", post(generate))
}

async fn machine(State(sample): State<Sample>) -> Json<Value> {
    Json(json!({
        "role": "trainer", "account": account(10), "version": "0.1.0", "started": time(8_000),
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
    json!({
        "kind": "training", "round": sample.rounds + 1, "since": time(60),
        "sentence": format!("Trains segment 5 of 8 of round {}.", sample.rounds + 1),
    })
}

async fn train(State(sample): State<Sample>) -> Json<Value> {
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

async fn models(State(sample): State<Sample>) -> Json<Value> {
    Json(json!({"families": [], "formats": [], "imported": [], "served": {
        "name": "head", "root": hash(sample.rounds), "decoder": "pol-generate/native/1",
        "since": time(600), "parameters": 12_582_912, "context": 512, "chat": true,
        "receipts": hash(9),
    }}))
}

async fn generate(State(sample): State<Sample>, Json(asked): Json<Value>) -> Response {
    let done = |more: Value| {
        let mut whole =
            json!({"model": "head", "system_fingerprint": "x", "prompt_tokens": 9, "seed": 812});
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        events::json(&whole).event("done")
    };
    if asked["reason"].is_string() {
        let steps = [
            reasoning_step(0, None, "17 * 23 = 17 * 20 + 17 * 3", -0.42),
            reasoning_step(1, None, "about 400", -1.3),
            reasoning_step(2, Some(0), "340 + 51", -0.38),
            reasoning_step(3, Some(2), "Answer: 391", -0.31),
        ];
        let path = [&steps[0], &steps[2], &steps[3]];
        let end = done(json!({
            "reasoned": {"path": path, "answer": "391", "tokens": 120, "considered": 4},
        }));
        let told = steps.iter().map(|step| events::json(step).event("step")).chain([end]);
        return events::respond(stream::iter(told.collect::<Vec<_>>()));
    }
    let text = "The river kept its word, and <b>the clock</b> in the square began to tick again.";
    let words = text.split_inclusive(' ').zip(0_u64..).map(|(word, number)| {
        let loss = draw(number + 3) * 6.0;
        let insight = json!({
            "text": word, "token": number, "log_probability": -loss, "expected_loss": 1.5,
            "surprise": loss - 1.5, "confidence": 0.22,
        });
        let is_call = number == 6 && asked["tools"] == true;
        let calls = if is_call {
            vec![json!({"asked": "calc: 1/3 + 1/6", "result": "1/2"})]
        } else {
            vec![]
        };
        events::json(&json!({"text": word, "insights": [insight], "calls": calls})).event("text")
    });
    let receipt = json!({
        "version": 1, "account": hash(9), "signature": hash(8),
        "receipt": {
            "generator": {"chain": hash(0), "model": hash(sample.rounds)}, "prompt": hash(5),
            "terms": {"seed": 812}, "output": hash(6), "tokens": 15,
        },
    });
    let end = done(json!({
        "text": text, "tokens": 15, "calls": [], "finish": "end",
        "affect": {"valence": -0.12, "arousal": 0.2},
        "receipt": (asked["receipt"] == true).then_some(receipt),
    }));
    events::respond(stream::iter(words.chain([end]).collect::<Vec<_>>()))
}

fn reasoning_step(id: u64, parent: Option<u64>, text: &str, value: f64) -> Value {
    json!({"id": id, "parent": parent, "depth": 1, "text": text, "value": value})
}
