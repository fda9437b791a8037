// SPDX-License-Identifier: Apache-2.0

use super::models::{Server, engine, options, random};
use pol_api::Limits;
use serde_json::{Value, json};

/// Serves a model that has room for descriptions of functions.
async fn roomy() -> Server {
    Server::with(engine(random(1, 2_048), "r1", options()), Limits::default(), None, None).await
}

fn tools() -> Value {
    let point = json!({
        "$defs": {"Number": {"type": "integer", "minimum": -9, "maximum": 9}},
        "type": "object",
        "properties": {"x": {"$ref": "#/$defs/Number"}, "deep": {"type": "boolean"}},
        "required": ["x", "deep"],
        "additionalProperties": false,
    });
    json!([
        {"type": "function", "function": {"name": "move", "parameters": point, "strict": true}},
        {"type": "function", "function": {"name": "stop", "description": "Stops."}},
    ])
}

fn request(choice: Value) -> Value {
    json!({
        "messages": [{"role": "user", "content": "Go"}], "seed": 4, "max_tokens": 150,
        "temperature": 1.3, "tools": tools(), "tool_choice": choice,
    })
}

fn assert_move(call: &Value) {
    assert_eq!(call["type"], "function");
    assert_eq!(call["id"].as_str().unwrap().len(), 9);
    assert_eq!(call["function"]["name"], "move");
    let text = call["function"]["arguments"].as_str().unwrap();
    let arguments: Value = serde_json::from_str(text).unwrap();
    assert!((-9..=9).contains(&arguments["x"].as_i64().unwrap()), "{arguments}");
    assert!(arguments["deep"].is_boolean());
}

#[tokio::test]
async fn a_function_is_called_where_it_has_to_be() {
    let server = roomy().await;
    let named = json!({"type": "function", "function": {"name": "move"}});
    let answer = server.client.post("/v1/chat/completions", &request(named.clone())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let choice = &answer.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert!(choice["message"]["content"].is_null());
    assert_eq!(choice["message"]["tool_calls"].as_array().unwrap().len(), 1);
    assert_move(&choice["message"]["tool_calls"][0]);
    // The same as a stream.
    let mut streamed = request(named);
    streamed["stream"] = true.into();
    let stream = server.client.post("/v1/chat/completions", &streamed).await;
    let events = stream.events();
    let calls: Vec<&Value> =
        events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")).collect();
    assert_eq!(calls.len(), 1, "{}", stream.body);
    assert_eq!(calls[0]["index"], 0);
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!(&calls[0]["function"], function);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    let any = server.client.post("/v1/chat/completions", &request(json!("required"))).await.json();
    let name = &any["choices"][0]["message"]["tool_calls"][0]["function"]["name"];
    assert!(name == "move" || name == "stop", "{any}");
}

#[tokio::test]
async fn functions_are_described_and_their_results_read() {
    let server = roomy().await;
    let prompt_tokens = async |request: &Value| {
        let answer = server.client.post("/v1/chat/completions", request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let mut short = request(json!("none"));
    short["max_tokens"] = 3.into();
    let without = prompt_tokens(&short).await;
    short["tools"] = json!([{"type": "function", "function": {"name": "stop"}}]);
    short["tool_choice"] = "auto".into();
    let with = prompt_tokens(&short).await;
    assert!(with > without + 80, "{without} {with}");
    let call = json!({"id": "c", "type": "function",
        "function": {"name": "stop", "arguments": "{\"now\": true}"}});
    short["messages"] = json!([
        {"role": "user", "content": "Go"},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "stopped"}]},
    ]);
    assert!(prompt_tokens(&short).await > with + 40);
}

#[tokio::test]
async fn a_form_and_functions_go_together() {
    let server = roomy().await;
    let schema = json!({"type": "object", "properties": {"answer": {"type": "integer"}},
        "required": ["answer"], "additionalProperties": false});
    for seed in 0..4 {
        let mut either = request(json!("auto"));
        either["seed"] = seed.into();
        either["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        let answer = server.client.post("/v1/chat/completions", &either).await.json();
        let choice = &answer["choices"][0];
        match choice["finish_reason"].as_str().unwrap() {
            "tool_calls" => assert!(choice["message"]["tool_calls"].is_array()),
            "stop" => {
                let text = choice["message"]["content"].as_str().unwrap();
                let json: Value = serde_json::from_str(text).unwrap();
                assert!(json["answer"].is_number(), "{text}");
                // Parsers round integers of more than 64 bits, and print them with exponents.
                let value = text.rsplit(':').next().unwrap();
                let digits = value.trim_matches(|c: char| c == '}' || c.is_whitespace());
                assert!(digits.chars().all(|c| c.is_ascii_digit() || c == '-'), "{text}");
            }
            // An integer may have any number of digits.
            finish => assert_eq!(finish, "length"),
        }
    }
}

#[tokio::test]
async fn choices_that_cannot_be_are_refused() {
    let server = roomy().await;
    for (more, text) in [
        (json!({"tools": [], "tool_choice": "required"}), "no function"),
        (json!({"tool_choice": {"type": "function", "function": {"name": "fly"}}}), "fly"),
        (json!({"tools": [{"type": "function", "function": {"name": "a b"}}]}), "name"),
        (json!({"tool_choice": "required", "pol_receipt": true}), "pol_receipt"),
        (json!({"tool_choice": 7}), "tool_choice"),
    ] {
        let mut request = request(json!("auto"));
        for (name, value) in more.as_object().unwrap() {
            request[name] = value.clone();
        }
        let answer = server.client.post("/v1/chat/completions", &request).await;
        assert_eq!(answer.status, 400, "{more}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(text) && !detail.contains("enum"), "{detail}");
    }
}
