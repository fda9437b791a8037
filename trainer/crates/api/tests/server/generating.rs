// SPDX-License-Identifier: Apache-2.0

use super::models::{Server, engine, native, options};
use futures::future::BoxFuture;
use pol_api::{Access, Frame, Limits, Models, NetworkStart, Rate, StartSource};
use serde_json::{Value, json};
use std::{future::pending, num::NonZeroU32, sync::Arc, time::Duration};
use tokio::time::timeout;

#[tokio::test]
async fn a_text_has_its_insights() {
    let server = Server::start().await;
    let mut request = json!({
        "prompt": "Once", "seed": 4, "max_tokens": 30, "temperature": 1.1, "alternatives": 2,
        "sensitivity": 0.5, "ignore_end": true,
    });
    let answer = server.client.post("/generate", &request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(
        (&json["seed"], &json["prompt_tokens"], &json["tokens"]),
        (&4.into(), &4.into(), &30.into())
    );
    assert_eq!(json["finish"], "length");
    assert!(json["affect"]["arousal"].as_f64().unwrap() > 0.0);
    let insights = json["insights"].as_array().unwrap();
    assert_eq!(insights.len(), 30);
    for insight in insights {
        let number = |name: &str| insight[name].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&number("confidence")));
        let surprise = -number("log_probability") - number("expected_loss");
        assert!((number("surprise") - surprise).abs() < 1e-9);
        assert_eq!(insight["alternatives"].as_array().unwrap().len(), 2);
    }
    // The versioned path and the stream have the same.
    let versioned = server.client.post("/v1/generate", &request).await.json();
    assert_eq!(versioned, json);
    request["stream"] = true.into();
    let stream = server.client.post("/generate", &request).await;
    let events = stream.events();
    let text: String = events.iter().filter_map(|event| event["text"].as_str()).collect();
    // The last event has the whole once more.
    let whole = json["text"].as_str().unwrap();
    assert_eq!(text, whole.repeat(2));
    let count: usize =
        events.iter().filter_map(|event| Some(event["insights"].as_array()?.len())).sum();
    assert_eq!(count, 30);
    assert!(stream.body.contains("event: text") && stream.body.contains("event: done"));
}

#[tokio::test]
async fn a_conversation_goes_on() {
    let server = Server::start().await;
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let one = json!({"prompt": "Hi", "chat": true, "system": "s", "seed": 1, "max_tokens": 9});
    let same = json!({"messages": [turn("system", "s"), turn("user", "Hi")], "seed": 1,
        "max_tokens": 9});
    let (one, same) =
        (server.client.post("/generate", &one).await, server.client.post("/generate", &same).await);
    assert_eq!((one.status, one.json()), (200, same.json()));
    let more = json!({"messages": [turn("user", "Hi"), turn("assistant", "Ho"), turn("user", "x")],
        "seed": 1, "max_tokens": 9, "tools": true});
    let more = server.client.post("/generate", &more).await;
    assert_eq!(more.status, 200, "{more:?}");
}

#[tokio::test]
async fn reasoning_is_told_step_by_step_while_others_go_on() {
    let server = Server::start().await;
    let reasoning = json!({
        "prompt": "Why?", "seed": 2, "reason": "tree", "budget": 120, "tools": true,
        "temperature": 1.0, "stream": true,
    });
    let client = server.client.clone();
    let other = json!({"prompt": "Once", "seed": 4, "max_tokens": 60, "ignore_end": true});
    let (reasoned, other) =
        tokio::join!(server.client.post("/generate", &reasoning), client.post("/generate", &other));
    assert_eq!(other.json()["tokens"], 60);
    assert!(reasoned.body.contains("event: step"), "{}", reasoned.body);
    let events = reasoned.events();
    let done = events.last().unwrap();
    assert!((1..=120).contains(&done["reasoned"]["tokens"].as_u64().unwrap()), "{done}");
    let mut whole = reasoning.clone();
    whole["stream"] = false.into();
    let whole = server.client.post("/generate", &whole).await.json();
    assert_eq!(whole["reasoned"], done["reasoned"]);
}

#[tokio::test]
async fn the_interface_describes_itself() {
    let server = Server::start().await;
    let openapi = server.client.get("/openapi.json").await.json();
    let paths = openapi["paths"].as_object().unwrap();
    for path in [
        "/generate",
        "/v1/generate",
        "/pretrained-models",
        "/v1/pretrained-models",
        "/v1/models",
        "/v1/completions",
        "/v1/chat/completions",
        "/v1/embeddings",
    ] {
        assert!(paths.contains_key(path), "{path}");
    }
    let mut names: Vec<&str> = paths
        .values()
        .flat_map(|item| item.as_object().unwrap().values())
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
    // Every reference leads to a type.
    let text = openapi.to_string();
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().unwrap();
        assert!(openapi["components"]["schemas"].get(name).is_some(), "{name}");
    }
    for path in ["/generate", "/v1/generate", "/v1/completions", "/v1/chat/completions"] {
        let operation = &paths[path]["post"];
        assert_eq!(operation["security"], json!([{"token": ["generate"]}]), "{path}");
        let media = &operation["responses"]["200"]["content"];
        for kind in ["application/json", "text/event-stream"] {
            assert!(media[kind]["schema"].is_object(), "{path}: {kind}");
        }
    }
    assert_eq!(paths["/v1/models"]["get"]["security"], json!([{"token": ["read"]}]));
    let page = server.client.get("/reference").await;
    assert!(page.body.contains("Tokens need the scope <code>generate</code>."));
    assert!(page.body.contains("<th>parameter</th>"), "the model in the path is one");
    assert!(page.head.contains("default-src 'none'"), "{}", page.head);
    assert!(page.body.contains("/v1/chat/completions") && !page.body.contains("<script"));
    assert!(!page.body.contains("https://"), "nothing is fetched from elsewhere");
    assert_eq!(server.client.get("/health").await.body, "ok");
}

/// Network that started from an imported model.
struct Start;

impl StartSource for Start {
    fn start(&self) -> BoxFuture<'_, Option<NetworkStart>> {
        Box::pin(async {
            Some(NetworkStart {
                chain: "Test".into(),
                genesis: "0x01".into(),
                pretrained: Some("0x02".into()),
                seed: "0x03".into(),
            })
        })
    }
}

#[tokio::test]
async fn models_and_what_can_be_imported_are_listed() {
    let server = Server::start().await;
    let models = server.client.get("/pretrained-models").await.json();
    assert_eq!(models["served"]["name"], "tiny");
    assert_eq!(models["served"]["since"], "1970-01-01T00:00:07Z");
    assert_eq!(models["network"], Value::Null);
    let known = serde_json::to_value(pol_import::checkpoint_formats()).unwrap();
    assert_eq!(models["formats"], known);
    let has = |format: usize, family: &str| {
        models["formats"][format]["families"].as_array().unwrap().contains(&family.into())
    };
    assert!(has(0, "gemma3_text") && has(0, "opt") && has(1, "qwen3moe") && !has(1, "opt"));
}

/// Network whose node takes questions and never answers.
struct Hanging;

impl StartSource for Hanging {
    fn start(&self) -> BoxFuture<'_, Option<NetworkStart>> {
        Box::pin(pending())
    }
}

/// Returns a server of a random model in the network that starts so.
async fn in_network(start: impl StartSource + 'static) -> Server {
    let most = NonZeroU32::MAX;
    let access = Access::new(None, Rate { per_second: most, burst: most });
    let models = Models::new(engine(native(1), "r1", options()));
    let frame = Frame::new(access).with_library(models.clone(), None, Some(Arc::new(start)));
    Server::of(frame.build(), models, Limits::default()).await
}

#[tokio::test]
async fn a_node_that_hangs_holds_up_nobody() {
    let server = in_network(Hanging).await;
    let path = "/pretrained-models";
    let models = timeout(Duration::from_secs(3), server.client.get(path)).await.unwrap().json();
    assert_eq!((&models["network"], &models["served"]["root"]), (&Value::Null, &json!("r1")));
}

#[tokio::test]
async fn the_start_of_the_network_is_told() {
    let server = in_network(Start).await;
    let models = server.client.get("/v1/pretrained-models").await.json();
    let expected =
        json!({"chain": "Test", "genesis": "0x01", "pretrained": "0x02", "seed": "0x03"});
    assert_eq!(models["network"], expected);
}
