// SPDX-License-Identifier: Apache-2.0

//! A made network of any size, behind the endpoints that the pages ask.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use futures::{StreamExt, stream};
use pol_api::events;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

/// Blocks of a round.
const ROUND_BLOCKS: u64 = 30;
/// Seconds of a block.
const BLOCK_SECONDS: u64 = 6;
/// Address that somebody registered to do harm.
pub(crate) const HOSTILE: &str = "<img src=x onerror=document.title='harm'> https://example.org/a";

/// A made network.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Rounds so far; 0 for a chain without a model.
    pub(crate) rounds: u64,
    /// Blocks by which the index is behind.
    pub(crate) behind: u64,
    /// Reason why the index does not go on.
    pub(crate) trouble: Option<&'static str>,
    /// Set if the node ceases to answer for some seconds.
    pub(crate) is_silent: bool,
    /// Set if the process trains a model of its library, and none for the network.
    pub(crate) is_library: bool,
}

#[derive(Deserialize)]
struct Asked {
    limit: Option<u64>,
    after: Option<u64>,
    account: Option<String>,
    round: Option<u64>,
}

impl Sample {
    /// Returns `true` for a network that has one of each thing.
    pub(super) fn is_young(self) -> bool {
        (1..10).contains(&self.rounds)
    }

    /// Returns a number of things: `usual`, or one of a young network.
    pub(super) fn many(self, usual: u64) -> u64 {
        if self.is_young() { 1 } else { usual }
    }

    /// Returns its endpoints.
    pub(crate) fn routes(self) -> Router {
        let parts = json!({
            "generation": true, "model": true, "chain": true, "documents": true,
            "train": !self.is_library, "local_training": self.is_library,
        });
        Router::new()
            .route("/endpoints", get(move || async move { Json(parts) }))
            .route("/chain-events", get(chain_events))
            .route(
                "/consensus",
                get(|State(sample): State<Self>| async move { Json(sample.consensus()) }),
            )
            .merge(network_routes())
            .merge(money_routes())
            .merge(data_routes())
            .merge(super::process::routes())
            .with_state(self)
    }

    fn now(self) -> u64 {
        self.rounds * ROUND_BLOCKS + 7
    }

    fn as_of(self) -> Value {
        let block = self.now();
        json!({
            "block": block, "time": time(0), "final": block - 2, "behind": self.behind,
            "trouble": self.trouble,
        })
    }

    /// Returns the seconds since round `round` ended.
    fn age(self, round: u64) -> u64 {
        (self.rounds.saturating_sub(round)) * ROUND_BLOCKS * BLOCK_SECONDS
    }

    /// Returns a page of numbered items, the newest first.
    fn page(self, asked: &Asked, count: u64, item: impl Fn(u64) -> Value) -> Json<Value> {
        let end = asked.after.unwrap_or(count + 1).min(count + 1);
        let first = end.saturating_sub(asked.limit.unwrap_or(100)).max(1);
        let items: Vec<Value> = (first..end).rev().map(item).collect();
        let next = (first > 1 && !items.is_empty()).then(|| first.to_string());
        Json(json!({"items": items, "next": next, "as_of": self.as_of()}))
    }

    fn consensus(self) -> Value {
        let (now, has_model) = (self.now(), self.rounds > 0);
        let head = json!({
            "round": self.rounds, "root": hash(self.rounds), "tokens": self.rounds * 131_072,
            "recipe": hash(1), "lineage": hash(2),
        });
        let phases = [("train", 20), ("reveal", 8), ("hold", 8), ("attest", 20)]
            .map(|(phase, blocks)| json!({"phase": phase, "blocks": blocks}));
        json!({
            "chain": {"name": "POL sample", "genesis": hash(0), "spec_version": 1},
            "best": {"number": now, "hash": hash(now), "time": time(0)},
            "final": {"number": now - 2, "hash": hash(now - 2)},
            "block_seconds": BLOCK_SECONDS,
            "clock": {
                "now": now, "round": self.rounds + 1,
                "phase": if has_model { "train" } else { "idle" },
                "phase_since": now - 7, "opened_at": now - 7, "join_until": now + 3,
                "deadline": has_model.then_some(now + 13), "due": 5, "committed": 2, "revealed": 0,
                "attempt": 0, "phases": phases,
            },
            "head": has_model.then_some(head), "recipe": has_model.then(|| hash(1)),
            "free_shards": self.many(9_312),
            "stake": {
                "total": "31250.125000000001", "validators": self.many(8),
                "gini": has_model.then_some(0.43), "nakamoto": has_model.then_some(2),
            },
            "members": {"trainers": 16, "validators": 6, "authorities": self.many(4)},
        })
    }

    fn round(self, round: u64) -> Value {
        let is_void = round.is_multiple_of(37);
        json!({
            "round": round, "opened_at": round * ROUND_BLOCKS, "revealed": 5,
            "included": if is_void { 0 } else { 4 + round % 2 },
            "excised": u64::from(round.is_multiple_of(23)),
            "root": (!is_void).then(|| hash(round)), "recipe": hash(1), "lineage": hash(2),
            "tokens": round * 131_072, "block": round * ROUND_BLOCKS, "time": time(self.age(round)),
        })
    }

    fn measure(self, round: u64) -> Value {
        let noise = draw(round) - 0.5;
        let learned = 1.0 - (-(round as f64) / 4_000.0).exp();
        json!({
            "round": round, "share": 0.83, "loss": 6.3 - 3.4 * learned + noise * 0.03,
            "level": null, "self_awareness": 0.52 + 0.2 * learned, "auroc": 0.71,
            "calibration_error": 0.043,
            "reasoning": 0.08 + 0.1 * learned + noise * 0.02,
            "introspection": 0.44, "coherence": 0.31, "meta_cognition": 0.12, "utilisation": null,
            "block": round * ROUND_BLOCKS, "time": time(self.age(round)),
        })
    }

    fn update(self, round: u64, number: u64) -> Value {
        let is_settled = round + 1 < self.rounds;
        let outcome = if number == 3 { "invalid" } else { "valid" };
        json!({
            "round": round, "account": account(10 + number),
            "tier": pick(&["participant", "miner", "whale"], number),
            "granted": round, "shards": 8, "first_loss": 3.41, "last_loss": 3.2,
            "tokens_per_second": 1_200 + number * 700, "steps": 64, "tokens": 32_768,
            "payload": hash(round * 7 + number), "settled": is_settled,
            "outcome": is_settled.then_some(outcome), "score": 0.0123, "gain": 0.000_213,
            "staleness": 0, "slashed": if number == 3 { "250" } else { "0" }, "audit": round,
            "deltas": [], "block": round * ROUND_BLOCKS, "time": time(self.age(round)),
        })
    }
}

fn network_routes() -> Router<Sample> {
    let members = |State(sample): State<Sample>, Query(asked): Query<Asked>| async move {
        sample.page(&asked, if sample.rounds > 0 { 24 } else { 0 }, member)
    };
    let rounds = |State(sample): State<Sample>, Query(asked): Query<Asked>| async move {
        match asked.round {
            Some(round) => Json(json!({"items": [sample.round(round)], "next": null})),
            None => sample.page(&asked, sample.rounds, |round| sample.round(round)),
        }
    };
    let blocks = |State(sample): State<Sample>, Query(asked): Query<Asked>| async move {
        sample.page(&asked, sample.now(), |number| {
            let age = (sample.now() - number) * BLOCK_SECONDS;
            json!({
                "number": number, "hash": hash(number), "parent": hash(number - 1),
                "author": account(number % 8), "time": time(age), "extrinsics": number % 9,
            })
        })
    };
    Router::new()
        .route("/consensus/members", get(members))
        .route("/consensus/rounds", get(rounds))
        .route("/consensus/blocks", get(blocks))
        .route("/consensus/authors", get(authors))
        .route("/peers", get(peers))
        .route("/consciousness", get(consciousness))
        .route(
            "/consciousness/history",
            get(|State(sample): State<Sample>, Query(asked): Query<Asked>| async move {
                sample.page(&asked, sample.rounds, |round| sample.measure(round))
            }),
        )
        .route("/training-deltas", get(updates))
        .route("/audits", get(audits))
        .route("/audits/{id}", get(audit))
}

fn member(number: u64) -> Value {
    let stake = format!("{:.6}", 1_000.0 + 9_000.0 * draw(number).powi(3));
    let endpoint = json!({"id": hash(number), "addresses": [format!("10.0.{number}.2:4433")]});
    json!({
        "account": account(number), "role": if number < 9 { "validator" } else { "trainer" },
        "bond": stake, "stake": (number < 9).then_some(&stake), "bonded": number != 13,
        "chilled": number == 5, "absent": number == 7,
        "endpoint": (!number.is_multiple_of(3)).then_some(endpoint), "block": number,
        "time": time(1_800_000),
    })
}

async fn authors(State(sample): State<Sample>) -> Json<Value> {
    let count = if sample.rounds > 0 { 8 } else { 0 };
    let items: Vec<Value> = (0..count)
        .map(|number| json!({"account": account(number), "blocks": 180 - number * 15}))
        .collect();
    let window = json!({"from": 1, "to": 1_000, "blocks": 1_000, "seconds": 6_012});
    Json(json!({"items": items, "window": window, "as_of": sample.as_of()}))
}

async fn peers(State(sample): State<Sample>) -> Json<Value> {
    let node = json!({
        "hosts": ["127.0.0.1:9944"], "chain": "POL sample", "version": "0.1.0",
        "peer_id": "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp", "peers": 14,
        "syncing": false, "latency_ms": 1.4, "listed": null,
    });
    let peer = |number: u64| {
        let mut peer = member(number);
        let is_known = !sample.is_young() && number > 2 && !number.is_multiple_of(3);
        peer["latency_ms"] = json!(is_known.then(|| 4.0 + 120.0 * draw(number)));
        peer
    };
    let members: Vec<Value> = (1..24).map(peer).collect();
    Json(json!({"node": node, "members": members, "next": null, "as_of": sample.as_of()}))
}

async fn consciousness(State(sample): State<Sample>) -> Json<Value> {
    let define = |name: &str, title: &str, range: [u8; 2], weight: Option<f64>| {
        json!({
            "name": name, "title": title, "definition": "Defined in the documentation.", "unit": "",
            "range": range, "weight": weight, "source": "docs/mind.md",
        })
    };
    let definitions = [
        define("level", "Consciousness level", [0, 1], None),
        define("loss", "Loss", [0, 100], None),
        define("self_awareness", "Self-awareness", [0, 1], Some(0.3)),
        define("reasoning", "Reasoning quality", [0, 1], Some(0.3)),
        define("introspection", "Introspection", [0, 1], Some(0.1)),
        define("coherence", "Coherence", [0, 1], Some(0.1)),
        define("meta_cognition", "Meta-cognition", [0, 1], Some(0.1)),
        define("utilisation", "Expert utilisation", [0, 1], Some(0.1)),
    ];
    let latest = (sample.rounds > 0).then(|| sample.measure(sample.rounds));
    Json(json!({"definitions": definitions, "latest": latest, "as_of": sample.as_of()}))
}

async fn updates(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    match asked.round {
        Some(round) => {
            let items: Vec<Value> = (0..5).map(|number| sample.update(round, number)).collect();
            Json(json!({"items": items, "next": null, "as_of": sample.as_of()}))
        }
        None => sample.page(&asked, sample.rounds, |round| sample.update(round, round % 5)),
    }
}

async fn audits(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    sample.page(&asked, sample.rounds, |audit| {
        let is_open = audit + 2 > sample.rounds;
        json!({
            "audit": audit, "round": audit, "draw": u64::from(audit % 19 == 0), "cases": 5,
            "settled": if is_open { 2 } else { 5 }, "state": if is_open { "open" } else { "ended" },
            "block": audit * ROUND_BLOCKS, "time": time(sample.age(audit)),
        })
    })
}

async fn audit(State(sample): State<Sample>, Path(id): Path<u64>) -> Response {
    if id > sample.rounds {
        let problem = json!({"status": 404, "detail": "the index has no such audit"});
        return (StatusCode::NOT_FOUND, Json(problem)).into_response();
    }
    let start = id * ROUND_BLOCKS;
    let step =
        |kind: &str, who: Option<u64>, after: u64, outcome: Option<&str>, amount: Option<&str>| {
            json!({
                "kind": kind, "account": who.map(account), "outcome": outcome, "amount": amount,
                "block": start + after, "time": time(sample.age(id) + 300 - 6 * after),
            })
        };
    let story = |number: u64, outcome: &str| {
        let mut steps = vec![step("shown", None, 4, None, None)];
        steps.extend([0, 1].map(|seat| step("replayed", Some(seat), 8 + seat, None, None)));
        steps.push(step("opened", None, 14, None, None));
        steps.extend([0, 1].map(|seat| step("revealed", Some(seat), 17 + seat, None, None)));
        steps.push(step("settled", None, 24, Some(outcome), None));
        let penalty = json!({
            "account": account(number), "cause": "audit", "round": id, "audit": id, "amount": "250",
            "seized": true, "block": start + 24, "time": time(sample.age(id)),
        });
        let is_valid = outcome == "valid";
        if !is_valid {
            steps.push(step("fined", Some(number), 24, None, Some("250")));
        }
        let seats = [0, 1].map(|seat| {
            json!({"validator": account(seat), "replayed": true, "revealed": true, "failed": false})
        });
        json!({
            "trainer": account(number), "outcome": outcome, "score": is_valid.then_some(0.0123),
            "gain": is_valid.then_some(0.000_213), "seats": seats, "steps": steps,
            "penalties": if is_valid { vec![] } else { vec![penalty] },
        })
    };
    let draws = [json!({
        "round": id, "draw": 0, "cases": 2, "block": start, "time": time(sample.age(id) + 300),
    })];
    Json(json!({
        "audit": id, "state": "ended", "draws": draws, "truncated": false, "as_of": sample.as_of(),
        "stories": [story(10, "valid"), story(13, "invalid")],
        "steps": [step("drawn", None, 0, None, None), step("ended", None, 26, None, None)],
    }))
    .into_response()
}

fn money_routes() -> Router<Sample> {
    Router::new()
        .route("/rewards", get(rewards))
        .route("/rewards/rounds", get(emissions))
        .route("/rewards/totals", get(totals))
        .route("/rewards/earners", get(earners))
        .route("/rewards/explanation", get(explanation))
        .route("/penalties", get(penalties))
        .route("/wallet", get(wallet))
        .route("/wallet/history", get(movements))
}

async fn rewards(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    sample.page(&asked, sample.rounds, |number| {
        let owner = asked.account.clone().unwrap_or_else(|| account(10 + number % 4));
        json!({
            "round": number, "account": owner,
            "source": pick(&["training", "seats", "data"], number),
            "weight": "1000345", "weights": "4000000", "pool": "21.5", "amount": "5.376854375",
            "state": if number + 50 > sample.rounds { "unclaimed" } else { "claimed" },
            "block": number * ROUND_BLOCKS, "time": time(sample.age(number)),
        })
    })
}

async fn emissions(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    sample.page(&asked, sample.rounds, |round| {
        let minted = 40.0 * (-(round as f64) / 9_000.0).exp();
        let part = |share: f64| format!("{:.6}", minted * share);
        let settled = json!({
            "improved": round % 11 > 0, "unearned": "0",
            "trainers": {"amount": part(0.6), "weight": "4000000"},
            "validators": {"amount": part(0.2), "weight": "10"},
            "providers": {"amount": part(0.1), "weight": "90000"},
        });
        json!({
            "round": round,
            "emitted": {
                "trainers": part(0.6), "validators": part(0.2), "providers": part(0.1),
                "treasury": part(0.1), "total": part(1.0),
            },
            "settled": (round + 3 < sample.rounds).then_some(settled),
            "block": round * ROUND_BLOCKS, "time": time(sample.age(round)),
        })
    })
}

async fn totals(State(sample): State<Sample>) -> Response {
    if sample.rounds == 0 {
        let problem = json!({"status": 404, "detail": "nothing was emitted yet"});
        return (StatusCode::NOT_FOUND, Json(problem)).into_response();
    }
    Json(json!({
        "emitted": "241234.5", "seized": "1250", "paid": "220100.25", "burned": "884.5",
        "waiting": "21499.75", "block": sample.now(), "time": time(0), "as_of": sample.as_of(),
    }))
    .into_response()
}

async fn earners(State(sample): State<Sample>) -> Json<Value> {
    let count = if sample.rounds > 0 { 24 } else { 0 };
    let items: Vec<Value> = (0..count)
        .map(|number| {
            let earned = (400 - number * 9).to_string();
            let [training, seats] =
                if number % 3 > 0 { [earned.as_str(), "0"] } else { ["0", earned.as_str()] };
            json!({
                "account": account(number), "training": training, "seats": seats, "data": "0",
                "undivided": "0", "total": earned,
            })
        })
        .collect();
    let rounds = (sample.rounds > 0)
        .then(|| json!({"from": sample.rounds.saturating_sub(99), "to": sample.rounds}));
    Json(json!({"items": items, "rounds": rounds, "as_of": sample.as_of()}))
}

async fn explanation(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    let round = asked.round.unwrap_or(1);
    let from_round = round + 4;
    let training = json!({
        "source": "training", "weight": "1234000", "weights": "4321000", "pool": "24.1",
        "amount": "6.88125",
        "measured": {
            "score": 0.01234, "gain": 0.000_213, "tokens": 32_768, "staleness": 0,
            "outcome": "valid",
            "shards": 8, "audits": [round],
        },
        "sentence": "The update improved the model by 0.000213 nats per token on unassigned text.",
    });
    let seats = json!({
        "source": "seats", "weight": "1", "weights": "10", "pool": "9.375", "amount": "0.9375",
        "measured": {"audits": [round]}, "sentence": "One seat in an audit was kept.",
    });
    let data = json!({
        "source": "data", "weight": "0", "weights": "0", "pool": "0", "amount": "0",
        "measured": {}, "sentence": "The account has no share of the pot for data.",
    });
    Json(json!({
        "account": asked.account, "round": round,
        "state": if from_round > sample.rounds + 1 { "escrow" } else { "claimable" },
        "source": "node", "from_round": from_round, "total": "7.81875", "paid": null,
        "parts": [training, seats, data],
        "held_back": ["The reward waits in escrow, so that a later audit can still take it."],
        "text": ["This account earned 7.81875 POL, 17.2 % of what the round paid."],
    }))
}

async fn penalties(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    sample.page(&asked, sample.rounds / 20, |number| {
        json!({
            "account": account(10 + number % 6), "cause": pick(&["audit", "lease"], number),
            "round": number * 20, "audit": (number % 2 == 0).then_some(number * 20),
            "amount": "250",
            "seized": number % 2 == 0, "block": number * 600, "time": time(sample.age(number * 20)),
        })
    })
}

async fn wallet(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    Json(json!({
        "account": asked.account, "live": true, "free": "8123.000000000001", "held": "2500",
        "frozen": "0", "transferable": "8122.5", "nonce": 812,
        "holds": [{"reason": "bond", "amount": "2500"}],
        "member": {
            "role": "trainer", "bond": "2500", "locked": "2500", "stake": null, "bonded": true,
            "chilled": false, "absent": false, "endpoint": null,
        },
        "escrow": [{"round": sample.rounds, "amount": null, "from_round": sample.rounds + 4}],
        "earned": [
            {"source": "training", "rewards": 412, "amount": "3010.25"},
            {"source": "seats", "rewards": sample.many(12), "amount": "30.5"},
        ],
        "slashed": "250", "as_of": sample.as_of(),
    }))
}

async fn movements(State(sample): State<Sample>, Query(asked): Query<Asked>) -> Json<Value> {
    sample.page(&asked, sample.rounds, |number| {
        let extrinsic = json!({
            "hash": hash(number), "pallet": "Balances", "call": "transfer_keep_alive",
            "signer": account(1), "fee": "0.000125", "tip": "0",
            "failure": (number % 41 == 0).then_some("FundsUnavailable"),
        });
        json!({
            "kind": pick(&["received", "sent", "held", "minted"], number), "amount": "3.7",
            "other": (number % 4 < 2).then(|| account(3)),
            "extrinsic": (number % 4 < 3).then_some(extrinsic),
            "block": number * ROUND_BLOCKS, "time": time(sample.age(number)),
        })
    })
}

fn data_routes() -> Router<Sample> {
    let manifests = |State(sample): State<Sample>, Query(asked): Query<Asked>| async move {
        sample.page(&asked, sample.rounds, manifest)
    };
    let sources = |State(sample): State<Sample>, Query(asked): Query<Asked>| async move {
        sample.page(&asked, sample.rounds.min(40), source)
    };
    Router::new()
        .route("/data", get(data))
        .route("/data/manifests", get(manifests))
        .route("/data/sources", get(sources))
        .route("/data-lineage", get(lineage))
        .route("/documents", get(documents))
        .route("/documents/summary", get(document_summary))
}

fn manifest(number: u64) -> Value {
    json!({
        "manifest": number, "source": number % 40 + 1, "owner": account(2),
        "stage": pick(&["admitted", "consumed", "proposed"], number),
        "kind": pick(&["pretrained", "dataset", "web", "synthetic"], number),
        "shards": 256, "shard_tokens": 4_096, "held_out": number.is_multiple_of(25),
        "quality": 0.35 + 0.6 * draw(number), "activity": "collection", "content": hash(number),
        "tokenizer": hash(2), "documents": hash(number + 3), "registered": number, "block": number,
        "time": time(1_800_000), "parents": [1, 2], "children": [7], "consumed": 112,
        "effect": 0.002,
    })
}

fn source(number: u64) -> Value {
    let address =
        if number == 3 { HOSTILE.into() } else { format!("https://example.org/{number}") };
    json!({
        "source": number, "owner": account(2), "address": address, "licence": "CC-BY-4.0",
        "withdrawn": number.is_multiple_of(17), "block": number, "time": time(1_800_000),
    })
}

async fn data(State(sample): State<Sample>) -> Json<Value> {
    let kinds = [
        ("pretrained", 20, 2_000),
        ("dataset", 140, 20_111),
        ("web", 60, 4_100),
        ("synthetic", 40, 3_999),
    ];
    let mix = kinds.map(|(kind, manifests, consumed)| {
        let (manifests, consumed) = (sample.many(manifests), sample.many(consumed));
        let shards = manifests * 256;
        json!({
            "kind": kind, "manifests": manifests, "shards": shards, "tokens": shards * 4_096,
            "consumed": consumed, "leased": 12, "effect": 0.0021,
        })
    });
    let counts = if sample.is_young() {
        [0, 0, 0, 0, 1, 0, 2, 2, 0, 0]
    } else {
        [0, 0, 1, 4, 12, 38, 77, 91, 52, 14]
    };
    let quality: Vec<Value> = (0..10)
        .map(|bin| {
            let (from, to) = (f64::from(bin) / 10.0, f64::from(bin + 1) / 10.0);
            json!({"from": from, "to": to, "manifests": counts[bin as usize]})
        })
        .collect();
    let mix = if sample.rounds > 0 { mix.to_vec() } else { Vec::new() };
    Json(json!({
        "manifests": {
            "proposed": 4, "admitted": 212, "paused": 3, "retired": 5, "consumed": 90,
            "withdrawn": 2,
            "forgotten": 0,
        },
        "sources": {"present": 38, "withdrawn": 2}, "mix": mix, "held_out": sample.many(9),
        "quality": quality, "free_shards": sample.many(9_312), "as_of": sample.as_of(),
    }))
}

async fn lineage(State(sample): State<Sample>) -> Json<Value> {
    if sample.rounds == 0 {
        return Json(json!({
            "found": null, "sources": [], "manifests": [], "shards": [], "heads": [], "next": null,
            "as_of": sample.as_of(),
        }));
    }
    let uses: Vec<Value> = (0..12)
        .map(|shard| {
            json!({
                "manifest": 3, "shard": shard, "round": shard + 5, "account": account(10),
                "delta": 0.000_21, "outcome": "valid", "payload": hash(shard), "audit": shard + 5,
                "head": hash(shard + 5), "block": shard * ROUND_BLOCKS,
                "time": time(sample.age(shard + 5)),
            })
        })
        .collect();
    let heads: Vec<Value> = (5..17).map(|round| sample.round(round)).collect();
    Json(json!({
        "found": "manifest", "sources": [source(3)], "manifests": [manifest(3)], "shards": uses,
        "heads": heads, "next": "12", "as_of": sample.as_of(),
    }))
}

/// Finds many documents by an address, and one by anything else.
async fn documents(
    State(sample): State<Sample>,
    Query(asked): Query<HashMap<String, String>>,
) -> Json<Value> {
    let found = match (sample.rounds > 0, asked.contains_key("address")) {
        (false, _) => 0..0,
        (true, true) => 1..41,
        (true, false) => 1..2,
    };
    let items: Vec<Value> = found.map(document).collect();
    let documents = if sample.rounds > 0 { 40_213 } else { 0 };
    Json(json!({"items": items, "documents": documents, "complete": items.len() < 40}))
}

async fn document_summary(State(sample): State<Sample>) -> Json<Value> {
    let amount = |documents: u64| json!({"documents": documents, "bytes": documents * 20_480});
    let rules =
        [("duplicate.near", 903), ("duplicate.exact", 301), ("gopher.symbols", 77), ("length", 12)];
    let rule =
        |(rule, documents): (&str, u64)| json!({"rule": rule, "documents": sample.many(documents)});
    let language = |(language, documents): (&str, u64)| {
        let mut item = amount(documents);
        item["language"] = json!(language);
        item
    };
    let languages = [("eng", 30_100), ("deu", 6_200), ("fra", 3_913)].map(language);
    let is_there = sample.rounds > 0;
    Json(json!({
        "folders": u64::from(is_there), "train": amount(sample.many(36_192)),
        "held_out": amount(4_021),
        "duplicates": {"exact": sample.many(301), "near": sample.many(903)},
        "dropped": if is_there { rules.map(rule).to_vec() } else { vec![] },
        "languages": languages,
        "mean_quality": 0.83, "refused": 2,
    }))
}

fn document(number: u64) -> Value {
    let dropped = number.is_multiple_of(5);
    let address = if number == 3 {
        HOSTILE.into()
    } else {
        format!("https://example.org/plays/{number}?edition=of-the-complete-works")
    };
    json!({
        "source": "web/example.org", "address": address,
        "part": number.is_multiple_of(3).then_some("The Tragedy of Hamlet"), "raw": hash(number),
        "text": hash(number + 1), "piece": 0, "bytes": 20_480, "licence": "CC-BY-4.0",
        "language": "eng", "quality": 0.83, "dropped_by": dropped.then_some("gopher.symbols"),
        "survivor": dropped.then(|| hash(number + 2)), "tokens": (!dropped).then_some(8_000),
        "held_out": number.is_multiple_of(7), "content": (!dropped).then(|| hash(3)),
        "manifest": (!dropped).then_some(3), "shards": if dropped { vec![] } else { vec![0, 1] },
    })
}

async fn chain_events(State(sample): State<Sample>) -> Response {
    let hello = events::json(&json!({"as_of": sample.as_of()})).event("hello");
    if sample.is_silent {
        let changes = stream::iter([false, true]).then(|answers| async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            events::json(&json!({"answers": answers})).event("node")
        });
        return events::respond(stream::iter([hello]).chain(changes).chain(stream::pending()));
    }
    let blocks = stream::unfold(sample.now(), |number| async move {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let block = json!({
            "number": number, "hash": hash(number), "author": null, "time": time(0), "final": null,
        });
        Some((events::json(&block).event("block"), number + 1))
    });
    events::respond(stream::iter([hello]).chain(blocks))
}

/// Returns one of some words, in turns.
fn pick<'a>(words: &[&'a str], turn: u64) -> &'a str {
    words[turn as usize % words.len()]
}

/// Returns a number of 0 to 1 that looks like chance.
pub(super) fn draw(seed: u64) -> f64 {
    let hash = blake3::hash(&seed.to_le_bytes());
    f64::from(u32::from_le_bytes(hash.as_bytes()[..4].try_into().unwrap())) / f64::from(u32::MAX)
}

pub(super) fn hash(seed: u64) -> String {
    format!("0x{}", blake3::hash(&seed.to_be_bytes()).to_hex())
}

/// Returns a text that looks like an account.
pub(super) fn account(seed: u64) -> String {
    const DIGITS: &[u8] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0; 47];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    let letters = bytes.map(|byte| char::from(DIGITS[usize::from(byte) % DIGITS.len()]));
    format!("5{}", letters.iter().collect::<String>())
}

/// Returns the time some seconds ago, in a form that browsers parse too.
pub(super) fn time(seconds_ago: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(seconds_ago))
}
