// SPDX-License-Identifier: Apache-2.0

//! Conversion of the runtime's types to readable JSON.

use pol_primitives::{
    Balance, Hash,
    audit::{Audit, AuditConfig, AuditId, AuditResponse, Case, SeatHolder, TraceState},
    data::{Manifest, ShardRecord},
    head::{Excision, Head, IncludedUpdate, RoundRecord},
    lease::Lease,
    member::{Address, Endpoint},
    metrics::{HeadMeasurement, MetricsReport, PendingMeasurement},
    model::{Activation, ModelSpec, Norm, PositionEncoding},
    queries::{Member, Overview, PendingReward},
    recipe::{Recipe, Tier},
    rewards::Ledger,
    round::{Round, RoundConfig},
    standing::Standing,
    submission::{Submission, SubmissionRecord, SubmissionStatus},
};
use pol_runtime::AccountId;
use polkadot_sdk::sp_core::bytes::to_hex;
use serde::Serialize;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Converts a hash to `0x` and hexadecimal digits.
pub(crate) fn hash(hash: &Hash) -> Value {
    to_hex(hash, false).into()
}

/// Converts a balance to a decimal string, because it exceeds the range of a JavaScript number.
pub(crate) fn balance(balance: Balance) -> Value {
    balance.to_string().into()
}

/// Converts a variant without fields to its name in camelCase.
pub(super) fn name(variant: impl Serialize) -> Value {
    let Ok(Value::String(snake)) = serde_json::to_value(variant) else { return Value::Null };
    let mut words = snake.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at_checked(1).unwrap_or_default();
        name += &first.to_uppercase();
        name += rest;
    }
    name.into()
}

/// Converts the overview of the network.
pub(crate) fn overview(overview: &Overview) -> Value {
    json!({
        "height": overview.height,
        "now": overview.now,
        "round": round(&overview.round),
        "config": config(&overview.config),
        "head": overview.head.as_ref().map(head),
        "recipeHash": overview.recipe_hash.as_ref().map(hash),
        "freeShards": overview.free_shards,
        "validatorStake": balance(overview.validator_stake),
    })
}

fn round(round: &Round) -> Value {
    json!({
        "number": round.number,
        "phase": round.phase,
        "seed": hash(&round.seed),
        "baseRoot": hash(&round.base_root),
        "openedAt": round.opened_at,
        "phaseSince": round.phase_since,
        "joinUntil": round.join_until,
        "deadline": round.deadline,
        "due": round.due,
        "committed": round.committed,
        "revealed": round.revealed,
        "stake": balance(round.stake),
        "attempt": round.attempt,
        "included": round.included,
        "inputs": hash(&round.inputs),
    })
}

fn config(config: &RoundConfig) -> Value {
    json!({
        "join": config.join,
        "train": config.train,
        "reveal": config.reveal,
        "hold": config.hold,
        "attest": config.attest,
        "pause": config.pause,
        "missed": config.missed,
    })
}

/// Converts a head, the global model after a round.
pub(crate) fn head(head: &Head) -> Value {
    json!({
        "round": head.round,
        "root": hash(&head.root),
        "recipeHash": hash(&head.recipe_hash),
        "tokens": head.tokens,
        "lineageHash": hash(&head.lineage_hash),
    })
}

/// Converts an architecture. A part that it does not have is `null`.
fn model(model: &ModelSpec) -> Value {
    let norm = match model.norm {
        Norm::Layer { epsilon } => json!({ "layer": { "epsilon": epsilon } }),
        Norm::Rms { epsilon } => json!({ "rms": { "epsilon": epsilon } }),
    };
    let positions = match model.positions {
        PositionEncoding::Learned => json!("learned"),
        PositionEncoding::Rotary { dimensions, base, interleaved } => {
            json!({
                "rotary": { "dimensions": dimensions, "base": base, "interleaved": interleaved },
            })
        }
    };
    let activation = match model.activation {
        Activation::GeluTanh => "geluTanh",
        Activation::Gelu => "gelu",
        Activation::Silu => "silu",
        Activation::Relu => "relu",
    };
    // A pattern has up to 64 bits, more than a JavaScript number holds exactly.
    let pattern = |period: u8, layers: u64| -> Vec<bool> {
        (0..period.min(64)).map(|bit| layers >> bit & 1 == 1).collect()
    };
    let local = model.local.map(
        |local| json!({ "window": local.window, "layers": pattern(local.period, local.layers) }),
    );
    let other_rotation = model
        .other_rotation
        .map(|other| json!({ "layers": pattern(other.period, other.layers), "base": other.base }));
    json!({
        "vocabulary": model.vocabulary,
        "width": model.width,
        "layers": model.layers,
        "heads": model.heads,
        "keyValueHeads": model.key_value_heads,
        "headSize": model.head_size,
        "feedForward": model.feed_forward,
        "context": model.context,
        "activation": activation,
        "gated": model.gated,
        "norm": norm,
        "positions": positions,
        "local": local,
        "scaled": model.scaled,
        "parallel": model.parallel,
        "biases": {
            "queryKeyValue": model.biases.query_key_value,
            "attentionOutput": model.biases.attention_output,
            "feedForward": model.biases.feed_forward,
            "head": model.biases.head,
        },
        "tied": model.tied,
        "experts": model.experts.map(|experts| json!({
            "count": experts.count,
            "active": experts.active,
            "balance": experts.balance,
            "z": experts.z,
        })),
        "mind": {
            "superposition": model.mind.superposition.map(|sizes| json!({
                "branches": sizes.branches,
                "rank": sizes.rank,
            })),
            "introspection": model.mind.introspection,
            "secondPass": model.mind.second_pass,
        },
        "scaling": model.scaling,
        "otherRotation": other_rotation,
        "queryKeyNorm": model.query_key_norm,
        "norms": model.norms,
        "caps": { "attention": model.caps.attention, "logits": model.caps.logits },
    })
}

/// Converts a recipe and adds its hash.
pub(crate) fn recipe(recipe: &Recipe) -> Value {
    let tiers: serde_json::Map<_, _> = Tier::ALL
        .into_iter()
        .map(|tier| {
            let sizes = recipe.tier(tier);
            let name = format!("{tier:?}").to_lowercase();
            let value = json!({
                "microBatch": sizes.micro_batch,
                "accumulation": sizes.accumulation,
                "innerSteps": sizes.inner_steps,
                "cadence": sizes.cadence,
            });
            (name, value)
        })
        .collect();
    json!({
        "hash": hash(&recipe.hash()),
        "model": model(&recipe.model),
        "parameters": recipe.model.size(),
        "tokenizer": hash(&recipe.tokenizer),
        "seed": hash(&recipe.seed),
        "pretrained": recipe.pretrained.as_ref().map(hash),
        "heldOut": recipe.held_out.as_ref().map(hash),
        // In the syntax of the trainer's command line.
        "rewrite": recipe.rewrite,
        "sequence": recipe.sequence,
        "shardTokens": recipe.shard_tokens,
        "tiers": tiers,
        "optimiser": {
            "beta1": recipe.optimiser.beta1,
            "beta2": recipe.optimiser.beta2,
            "epsilon": recipe.optimiser.epsilon,
            "weightDecay": recipe.optimiser.weight_decay,
        },
        "schedule": {
            "peak": recipe.schedule.peak,
            "warmupSteps": recipe.schedule.warmup_steps,
            "decayTokens": recipe.schedule.decay_tokens,
            "floor": recipe.schedule.floor,
        },
        "gradientClip": recipe.gradient_clip,
        "outerRate": recipe.outer_rate,
        "compression": {
            "topK": recipe.compression.top_k,
            "feedback": recipe.compression.feedback,
        },
        "segments": recipe.segments,
        "numerics": recipe.numerics,
    })
}

/// Converts the record of a concluded round.
pub(crate) fn round_record(record: &RoundRecord<AccountId>) -> Value {
    json!({
        "head": record.head.as_ref().map(head),
        "included": record.included.indices().collect::<Vec<_>>(),
        "excised": record.excised.iter().map(excision).collect::<Vec<_>>(),
        "revealed": record.revealed.as_slice(),
        "openedAt": record.opened_at,
        "concludedAt": record.concluded_at,
    })
}

/// Converts a lease.
pub(crate) fn lease(lease: &Lease) -> Value {
    json!({
        "nonce": lease.nonce,
        "tier": lease.tier,
        "round": lease.round,
        "dueRound": lease.due_round,
        "seed": hash(&lease.seed),
        "baseRoot": hash(&lease.base_root),
        "headTokens": lease.head_tokens,
        "recipe": hash(&lease.recipe),
        "carry": hash(&lease.carry),
        "carryRound": lease.carry_round,
        "shards": lease.shards.as_slice(),
    })
}

/// Converts the measurements of a head by its validators.
pub(crate) fn head_measurement(measured: &HeadMeasurement) -> Value {
    json!({ "metrics": measured.metrics.summary(), "share": measured.share })
}

/// Converts the open measurement of the newest head.
pub(crate) fn pending_measurement(measuring: &PendingMeasurement<AccountId>) -> Value {
    let report = |report: &MetricsReport<AccountId>| {
        let (account, stake, metrics) =
            (&report.account, balance(report.stake), report.metrics.summary());
        json!({ "account": account, "stake": stake, "metrics": metrics })
    };
    json!({
        "round": measuring.round,
        "seed": hash(&measuring.seed),
        "reports": measuring.reports.iter().map(report).collect::<Vec<_>>(),
    })
}

/// Converts a submission and its account. `off` is `true` if the claimed measurements of the head
/// differ from those of the validators, and none if that is undecided.
pub(crate) fn submission(
    (account, submission): &(AccountId, Submission),
    off: Option<bool>,
) -> Value {
    json!({
        "account": account,
        "commitment": hash(&submission.commitment),
        "tier": submission.tier,
        "staleness": submission.staleness,
        "claims": {
            "firstLoss": submission.claims.first_loss,
            "lastLoss": submission.claims.last_loss,
            "tokensPerSecond": submission.claims.tokens_per_second,
            "metrics": submission.claims.metrics.map(|claimed| json!({
                "round": claimed.round,
                "metrics": claimed.metrics.summary(),
                "off": off,
            })),
        },
        "dataHash": hash(&submission.data_hash),
        "status": match submission.status {
            SubmissionStatus::Committed => "committed",
            SubmissionStatus::Revealed => "revealed",
            SubmissionStatus::Included => "included",
        },
        "opened": submission.opened.as_ref().map(|opened| json!({
            "index": opened.index,
            "payloadHash": hash(&opened.payload_hash),
            "traceRoot": hash(&opened.trace_root),
            "carryHash": hash(&opened.carry_hash),
            "steps": opened.steps,
            "tokens": opened.tokens,
        })),
    })
}

/// Converts the outcome of a submission and its account.
pub(crate) fn settled((account, settled): &(AccountId, SubmissionRecord)) -> Value {
    json!({
        "account": account,
        "outcome": name(settled.outcome),
        "tier": settled.tier,
        "staleness": settled.staleness,
        "index": settled.index,
        "payloadHash": hash(&settled.payload_hash),
        "dataHash": hash(&settled.data_hash),
        "tokens": settled.tokens,
        "gain": settled.gain,
    })
}

/// Converts an update that a head was made of.
pub(crate) fn update(update: &IncludedUpdate<AccountId>) -> Value {
    json!({
        "account": update.account,
        "payloadHash": hash(&update.payload_hash),
        "dataHash": hash(&update.data_hash),
        "tokens": update.tokens,
        "staleness": update.staleness,
    })
}

/// Converts an excision, the removal of an update from the model.
pub(crate) fn excision(excision: &Excision) -> Value {
    json!({ "round": excision.round, "index": excision.index })
}

/// Converts the standing of an account.
pub(crate) fn standing(standing: &Standing) -> Value {
    json!({
        "nonce": standing.nonce,
        "carry": hash(&standing.carry),
        "carryRound": standing.carry_round,
        "valid": standing.valid,
        "advantage": standing.advantage,
        "lapses": standing.lapses,
        "flagged": standing.is_flagged(),
    })
}

/// Converts the audit configuration.
pub(crate) fn audit_config(config: &AuditConfig) -> Value {
    json!({
        "seats": config.seats,
        "moreSeats": config.more_seats,
        "segments": config.segments,
        "probe": config.probe,
        "mix": config.mix,
        "serve": config.serve,
        "replay": config.replay,
        "open": config.open,
        "reveal": config.reveal,
        "escrow": config.escrow,
    })
}

/// Converts an audit and adds the latest block in which its stage ends.
pub(crate) fn audit((id, audit): &(AuditId, Audit<AccountId>), config: &AuditConfig) -> Value {
    json!({
        "id": id,
        "round": audit.round,
        "draw": audit.draw,
        "seed": hash(&audit.seed),
        "stage": audit.stage,
        "since": audit.since,
        "deadline": audit.deadline(config),
        "probe": audit.probe.as_slice(),
        "holders": audit.holders.iter().map(holder).collect::<Vec<_>>(),
        "cases": audit.cases.iter().map(case).collect::<Vec<_>>(),
    })
}

fn holder(holder: &SeatHolder<AccountId>) -> Value {
    json!({
        "account": holder.account,
        "committed": holder.committed,
        "revealed": holder.revealed,
    })
}

fn case(case: &Case<AccountId>) -> Value {
    json!({
        "trainer": case.trainer,
        "index": case.index,
        "segments": case.segments.as_slice(),
        "of": case.trace_segments,
        "seats": case.seats.as_slice(),
        "served": case.served,
        "opened": case.opened,
        "settled": case.settled,
    })
}

/// Converts the response of a trainer in an audit.
pub(crate) fn audit_response(shown: &AuditResponse) -> Value {
    let state = |state: &TraceState| {
        json!({
            "leaf": state.leaf,
            "root": hash(&state.root),
            "carry": {
                "firstMoment": hash(&state.carry.first_moment),
                "secondMoment": hash(&state.carry.second_moment),
                "feedback": hash(&state.carry.feedback),
                "steps": state.carry.steps,
            },
        })
    };
    json!({
        "states": shown.states.iter().map(state).collect::<Vec<_>>(),
        "ends": shown.ends.iter().map(hash).collect::<Vec<_>>(),
    })
}

/// Converts a reward in escrow.
pub(crate) fn reward(reward: &PendingReward) -> Value {
    json!({ "round": reward.round, "amount": reward.amount.map(balance), "from": reward.from })
}

/// Converts the totals of all rewards.
pub(crate) fn ledger(ledger: &Ledger) -> Value {
    json!({
        "emitted": balance(ledger.emitted),
        "seized": balance(ledger.seized),
        "paid": balance(ledger.paid),
        "burned": balance(ledger.burned),
        "waiting": balance(ledger.waiting),
    })
}

/// Converts the record of a consumed shard.
pub(crate) fn shard(record: &ShardRecord) -> Value {
    json!({ "round": record.round, "index": record.index, "delta": record.delta })
}

/// Converts a bonded account.
pub(crate) fn member(member: &Member<AccountId>) -> Value {
    json!({
        "account": member.account,
        "role": member.role,
        "bond": balance(member.bond),
        "locked": balance(member.locked),
        "bonded": member.bonded,
        "chilled": member.chilled,
        "absent": member.absent,
        "endpoint": member.endpoint.as_ref().map(endpoint),
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let addresses: Vec<_> = endpoint.addresses.iter().copied().map(address).collect();
    json!({ "id": hash(&endpoint.id), "addresses": addresses })
}

fn address(address: Address) -> String {
    SocketAddr::from(address).to_string()
}

/// Converts a manifest and the counts of its shards.
pub(crate) fn manifest(manifest: &Manifest<AccountId>) -> Value {
    let info = &manifest.info;
    json!({
        "owner": manifest.owner,
        "source": info.source,
        "status": manifest.status,
        "kind": manifest.kind,
        "merkleRoot": hash(&info.merkle_root),
        "contentHash": hash(&info.content_hash),
        "tokenizer": hash(&info.tokenizer),
        "shards": info.shards,
        "shardTokens": info.shard_tokens,
        "parents": info.parents.as_slice(),
        "quality": info.quality,
        "heldOut": info.held_out,
        "derivation": {
            "activity": info.derivation.activity,
            "tool": String::from_utf8_lossy(&info.derivation.tool),
            "version": String::from_utf8_lossy(&info.derivation.version),
            "configuration": hash(&info.derivation.configuration),
        },
        "documents": info.documents,
        "free": manifest.free,
        "leased": manifest.leased,
        "consumed": manifest.consumed,
        "registered": manifest.registered,
        "ended": manifest.ended,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pol_primitives::POL;

    #[test]
    fn keys_are_camel_case_and_balances_exact() {
        let answer = overview(&Overview {
            height: 10,
            now: 9,
            round: Round { number: 3, stake: 33_000 * POL, ..Default::default() },
            config: RoundConfig::default(),
            head: Some(Head {
                round: 2,
                root: [0xab; 32],
                recipe_hash: [1; 32],
                tokens: 5,
                lineage_hash: [2; 32],
            }),
            recipe_hash: None,
            free_shards: 4,
            validator_stake: 33_000 * POL,
        });
        assert_eq!(answer["validatorStake"], "33000000000000000");
        assert_eq!(answer["round"]["phase"], "idle");
        assert_eq!(answer["round"]["joinUntil"], Value::Null);
        assert_eq!(answer["head"]["root"], format!("0x{}", "ab".repeat(32)));
        assert_eq!(answer["recipeHash"], Value::Null);
        let snake = |value: &Value| value.as_object().unwrap().keys().any(|key| key.contains('_'));
        assert!(!snake(&answer) && !snake(&answer["round"]) && !snake(&answer["head"]));
    }

    #[test]
    fn a_standing_has_all_that_the_next_lease_starts_from() {
        let answer = standing(&Standing { nonce: 4, lapses: -2, ..Default::default() });
        assert_eq!((&answer["nonce"], &answer["lapses"]), (&json!(4), &json!(-2)));
        assert_eq!(answer["flagged"], json!(false));
    }

    #[test]
    fn an_audit_lists_its_holders_and_cases() {
        let (trainer, validator) = (AccountId::new([1; 32]), AccountId::new([2; 32]));
        let waiting = pol_primitives::audit::PendingAudit::first(5, trainer.clone(), 3, 10);
        let config = AuditConfig::default();
        let drawn = Audit::draw(
            &config,
            [9; 32],
            100,
            &[waiting],
            &[(validator.clone(), 5_000 * POL)],
            Vec::new(),
            pol_primitives::audit::MAX_AUDITED_SEGMENTS,
        );
        let answer = audit(&(7, drawn), &config);
        assert_eq!((&answer["id"], &answer["stage"]), (&json!(7), &json!("serve")));
        assert_eq!(answer["deadline"], 100 + config.serve);
        assert_eq!(
            answer["holders"][0],
            json!({
                "account": validator,
                "committed": false,
                "revealed": false,
            })
        );
        assert_eq!(answer["cases"][0]["trainer"], trainer.to_string());
        assert_eq!(
            answer["cases"][0]["segments"].as_array().map(Vec::len),
            Some(usize::from(config.segments))
        );
        assert_eq!(answer["cases"][0]["seats"], json!([0]));
    }

    #[test]
    fn a_claim_is_marked_if_it_differs_from_the_measurements() {
        use pol_primitives::{
            metrics::{MetricsClaim, ModelMetrics},
            submission::TrainingClaims,
        };
        let metrics = ModelMetrics {
            loss: 7,
            auroc: Some(750_000),
            calibration_error: Some(100_000),
            ..Default::default()
        };
        let shown = head_measurement(&HeadMeasurement { metrics, share: 670_000 });
        assert_eq!((&shown["share"], &shown["metrics"]["loss"]), (&json!(670_000), &json!(7)));
        assert_eq!(
            (&shown["metrics"]["level"], &shown["metrics"]["selfAwareness"]),
            (&Value::Null, &json!(700_000))
        );
        assert_eq!(shown["metrics"]["reasoning"], Value::Null);
        let mut work = Submission {
            commitment: [1; 32],
            tier: Tier::Miner,
            staleness: 0,
            claims: TrainingClaims {
                metrics: Some(MetricsClaim { round: 4, metrics }),
                ..Default::default()
            },
            data_hash: [2; 32],
            status: SubmissionStatus::Committed,
            opened: None,
        };
        let account = AccountId::new([3; 32]);
        let claims =
            submission(&(account.clone(), work.clone()), Some(true))["claims"]["metrics"].clone();
        assert_eq!(claims, json!({ "round": 4, "metrics": metrics.summary(), "off": true }));
        work.claims.metrics = None;
        assert_eq!(submission(&(account, work), None)["claims"]["metrics"], Value::Null);
    }

    #[test]
    fn an_unsettled_reward_has_no_amount() {
        assert_eq!(
            reward(&PendingReward { round: 3, amount: None, from: 5 }),
            json!({ "round": 3, "amount": null, "from": 5 })
        );
        assert_eq!(
            reward(&PendingReward { round: 3, amount: Some(u128::MAX), from: 5 })["amount"],
            u128::MAX.to_string()
        );
    }

    #[test]
    fn an_endpoint_lists_its_socket_addresses() {
        let socket: SocketAddr = "[::1]:4433".parse().unwrap();
        let answer =
            endpoint(&Endpoint { id: [9; 32], addresses: vec![socket.into()].try_into().unwrap() });
        assert_eq!(answer["addresses"][0], "[::1]:4433");
    }
}
