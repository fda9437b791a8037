// SPDX-License-Identifier: Apache-2.0

use super::{
    client::Answer,
    models::{Server, engine, native, options},
};
use serde_json::{Value, json};

fn person() -> Value {
    json!({
        "$defs": {"Age": {"type": "integer", "minimum": 0, "maximum": 120}},
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 10},
            "age": {"$ref": "#/$defs/Age"},
            "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        },
        "required": ["name", "age", "tags"],
        "additionalProperties": false,
    })
}

fn format(schema: Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "person", "schema": schema}})
}

fn chat(seed: u64, format: Value) -> Value {
    json!({
        "messages": [{"role": "user", "content": "Who?"}], "seed": seed, "temperature": 1.4,
        "max_tokens": 200, "response_format": format,
    })
}

/// Returns the JSON that a text is.
fn read(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap()).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn assert_person(person: &Value) {
    assert!((0..=120).contains(&person["age"].as_i64().unwrap()), "{person}");
    assert!(person["name"].as_str().unwrap().chars().count() <= 10);
    assert_eq!(person.as_object().unwrap().len(), 3);
}

fn joined(answer: &Answer, path: &str) -> String {
    let events = answer.events();
    events.iter().filter_map(|event| event.pointer(path)?.as_str()).collect()
}

#[tokio::test]
async fn answers_have_the_form_that_is_asked_for() {
    let server = Server::start().await;
    let mut request = chat(3, format(person()));
    request["n"] = 3.into();
    let answer = server.client.post("/v1/chat/completions", &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    for choice in json["choices"].as_array().unwrap() {
        assert_person(&read(&choice["message"]["content"]));
        assert_eq!(choice["finish_reason"], "stop");
    }
    let texts: Vec<_> = (0..3).map(|n| &json["choices"][n]["message"]["content"]).collect();
    assert!(texts[0] != texts[1] || texts[1] != texts[2]);
    // The same as a stream, and once more alone.
    let mut alone = chat(3, format(person()));
    alone["stream"] = true.into();
    let stream = server.client.post("/v1/chat/completions", &alone).await;
    let text = joined(&stream, "/choices/0/delta/content");
    assert_eq!(*texts[0], text);
    let object = chat(5, json!({"type": "json_object"}));
    let any = server.client.post("/v1/chat/completions", &object).await.json();
    if any["choices"][0]["finish_reason"] == "stop" {
        assert!(read(&any["choices"][0]["message"]["content"]).is_object());
    }
    let mut completion = json!({"prompt": "x", "seed": 7, "max_tokens": 200, "logprobs": 1});
    completion["response_format"] = format(person());
    let completed = server.client.post("/v1/completions", &completion).await.json();
    assert_person(&read(&completed["choices"][0]["text"]));
    let own = json!({"prompt": "x", "seed": 7, "max_tokens": 200, "schema": person()});
    let own = server.client.post("/generate", &own).await.json();
    assert_person(&read(&own["text"]));
    assert_eq!(own["finish"], "end");
}

#[tokio::test]
async fn a_text_of_a_form_is_the_same_in_any_company() {
    let server = Server::start().await;
    let ask = async |seed: u64, format: Value| {
        let answer = server.client.post("/v1/chat/completions", &chat(seed, format)).await;
        answer.json()["choices"][0]["message"]["content"].clone()
    };
    let alone = ask(1, format(person())).await;
    let (again, free, _, object) = tokio::join!(
        ask(1, format(person())),
        ask(2, json!({"type": "text"})),
        ask(3, format(person())),
        ask(4, json!({"type": "json_object"})),
    );
    assert_eq!(again, alone);
    assert_eq!(ask(2, json!({"type": "text"})).await, free);
    assert_eq!(ask(4, json!({"type": "json_object"})).await, object);
}

#[tokio::test]
async fn a_text_of_a_form_ends_early_where_it_has_to() {
    let server = Server::start().await;
    let long = json!({"type": "string", "minLength": 60});
    let mut request = chat(1, format(long));
    request["max_tokens"] = 10.into();
    let answer = server.client.post("/v1/chat/completions", &request).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 10);
    request["max_tokens"] = 300.into();
    request["stop"] = "\"".into();
    let answer = server.client.post("/v1/chat/completions", &request).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "");
    // A model that is replaced meanwhile finishes the text.
    let text = json!({"enum": ["x".repeat(150)]});
    let mut request = chat(1, format(text));
    request["stream"] = true.into();
    let (mut stream, first) = server.client.start("/v1/chat/completions", &request).await;
    server.models.replace(engine(native(2), "r2", options()));
    let rest = super::client::finish(&mut stream).await;
    let text = String::from_utf8(first).unwrap() + &rest.head + &rest.body;
    assert!(text.to_lowercase().contains("[done]") && !text.contains("r2/test/1"), "{text}");
}

#[tokio::test]
async fn schemas_that_cannot_be_kept_are_explained() {
    let server = Server::start().await;
    let mut deep = json!({"type": "string"});
    for _ in 0..60 {
        deep = json!({"type": "array", "items": deep});
    }
    for (schema, text) in [
        (json!({"type": "array", "uniqueItems": true}), "uniqueItems"),
        (json!({"type": "strange"}), "strange"),
        (json!({"minLength": 1_000_000}), "minLength"),
        (json!({"const": "x".repeat(70_000)}), "larger than"),
        (json!(7), "object"),
        (deep, "nested"),
        (json!({"$ref": "https://example.org/schema.json"}), "$ref"),
    ] {
        let request = chat(1, format(schema.clone()));
        let answer = server.client.post("/v1/chat/completions", &request).await;
        assert_eq!(answer.status, 400, "{schema}: {answer:?}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(answer.json()["error"]["param"], "response_format", "{schema}");
        assert!(detail.contains("JSON Schema") && detail.contains(text), "{detail}");
        assert!(!detail.contains("panic") && !detail.contains("coerce"), "{detail}");
    }
    assert_eq!(server.client.get("/health").await.body, "ok");
}
