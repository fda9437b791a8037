// SPDX-License-Identifier: Apache-2.0

//! Requests with any JSON at the places of the parameters.

use super::models::{Server, engine, native, options};
use pol_api::{EngineOptions, Limits};
use proptest::{prelude::*, sample::select, test_runner::Config};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime;

/// Parameters of all endpoints.
const NAMES: [&str; 43] = [
    "model",
    "prompt",
    "messages",
    "documents",
    "input",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
    "controls",
    "n",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "pol_receipt",
    "receipt",
    "schema",
    "chat",
    "system",
    "reason",
    "budget",
    "branches",
    "width",
    "alternatives",
    "ignore_end",
    "sensitivity",
    "encoding_format",
    "dimensions",
    "echo",
    "nonsense",
];
const PATHS: [&str; 4] = ["/generate", "/v1/completions", "/v1/chat/completions", "/v1/embeddings"];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..9i64).prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        select(vec![
            "object",
            "string",
            "array",
            "integer",
            "user",
            "assistant",
            "tool",
            "system",
            "text",
            "json_object",
            "json_schema",
            "function",
            "auto",
            "required",
            "tree",
            "chain",
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let names = select(vec![
            "type",
            "role",
            "content",
            "function",
            "name",
            "parameters",
            "arguments",
            "schema",
            "json_schema",
            "properties",
            "items",
            "required",
            "anyOf",
            "oneOf",
            "allOf",
            "$ref",
            "enum",
            "const",
            "pattern",
            "minLength",
            "maxItems",
            "minimum",
            "multipleOf",
            "format",
            "additionalProperties",
            "patternProperties",
            "tool_calls",
            "tool_call_id",
            "id",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((names.prop_map(String::from), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Returns requests of which most are possible but for a few values.
fn any_request() -> impl Strategy<Value = (&'static str, Value)> {
    let base = select(vec![
        (0, json!({"prompt": "x"})),
        (0, json!({"prompt": "x", "schema": {"type": "object", "properties": {}}})),
        (1, json!({"prompt": "x", "n": 2, "response_format": {"type": "json_object"}})),
        (2, json!({"messages": [{"role": "user", "content": "x"}]})),
        (
            2,
            json!({"messages": [{"role": "user", "content": "x"}], "tool_choice": "required",
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
        ),
        (
            2,
            json!({"messages": [{"role": "user", "content": "x"}], "response_format":
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}}),
        ),
        (3, json!({"input": ["x"]})),
    ]);
    let changes = prop::collection::vec((select(NAMES.to_vec()), any_json()), 0..4);
    let schema = prop::option::of(any_json());
    (base, changes, schema).prop_map(|((path, mut request), changes, schema)| {
        if let Some(schema) = schema {
            let places =
                ["/schema", "/tools/0/function/parameters", "/response_format/json_schema/schema"];
            for place in places {
                if let Some(place) = request.pointer_mut(place) {
                    *place = schema.clone();
                }
            }
        }
        let fields: Map<String, Value> =
            changes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, value) in fields {
            request[name] = value;
        }
        (PATHS[path], request)
    })
}

#[test]
fn any_json_is_answered_or_refused() {
    let runtime = Runtime::new().unwrap();
    let served = engine(native(1), "r1", EngineOptions { max_tokens: 6, ..options() });
    let server = runtime.block_on(Server::with(served, Limits::default(), None, None));
    let config = Config { cases: 300, failure_persistence: None, ..Config::default() };
    proptest!(config, |(asked in any_request())| {
        let (path, request) = asked;
        let answer = runtime.block_on(server.client.post(path, &request));
        prop_assert!([200, 400, 404].contains(&answer.status), "{} {}", request, answer.status);
        if answer.status != 200 {
            let problem = answer.json();
            let detail = problem["detail"].as_str().unwrap();
            for word in ["usize", "struct ", "enum ", "panic", "u64", "f32"] {
                prop_assert!(!detail.contains(&format!("expected {word}")), "{}", detail);
            }
        }
    });
    assert_eq!(runtime.block_on(server.client.get("/health")).body, "ok");
}
