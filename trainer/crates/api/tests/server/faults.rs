// SPDX-License-Identifier: Apache-2.0

use super::{client::Answer, models::Server};
use pol_api::{Limits, MAX_BODY_BYTES};
use serde_json::json;
use std::time::Duration;

fn assert_problem(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert!(answer.head.contains("application/problem+json"), "{}", answer.head);
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    assert!(problem["type"].as_str().unwrap().starts_with("urn:pol:problem:"));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(text), "{detail}");
    assert_eq!(problem["error"]["message"], detail);
}

#[tokio::test]
async fn malformed_bodies_are_explained() {
    let server = Server::start().await;
    let deep = "[".repeat(100_000);
    let nested = format!(r#"{{"messages": {deep}"#);
    for path in ["/v1/completions", "/v1/chat/completions", "/v1/embeddings", "/generate"] {
        for (body, text) in [
            (&b"{"[..], "EOF"),
            (b"", "EOF"),
            (b"\xff\xfe", "expected value"),
            (b"[]", ""),
            (b"{\"nonsense\": 1}", "nonsense"),
            (b"{\"model\": \"\xff\"}", ""),
            (b"{\"model\": 1e999}", ""),
            (deep.as_bytes(), ""),
            (nested.as_bytes(), ""),
        ] {
            assert_problem(&server.client.post_bytes(path, body).await, 400, text);
        }
    }
    // The server is as well as before.
    let fine = json!({"prompt": "x", "max_tokens": 2});
    assert_eq!(server.client.post("/v1/completions", &fine).await.status, 200);
}

#[tokio::test]
async fn sizes_are_bounded() {
    let server = Server::start().await;
    let huge = vec![b' '; MAX_BODY_BYTES + 1];
    assert_problem(&server.client.post_bytes("/generate", &huge).await, 413, "send less");
    // A body that only claims to be large is refused before it comes.
    let head = server.client.head("POST", "/generate", usize::MAX >> 8);
    assert_problem(&server.client.send(head.as_bytes()).await, 413, "send less");
    let header = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    assert_eq!(server.client.send(header.as_bytes()).await.status, 431);
    let many = "X-Many: 1\r\n".repeat(100);
    let headers = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    assert_eq!(server.client.send(headers.as_bytes()).await.status, 431);
    assert_eq!(server.client.send(b"\x16\x03\x01 nonsense\r\n\r\n").await.status, 400);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = Server::start().await;
    assert_problem(&server.client.get("/nowhere").await, 404, "/openapi.json");
    assert_problem(&server.client.get("/v1/../../etc/passwd").await, 404, "no such endpoint");
    assert_problem(&server.client.get("/v1/%2e%2e/models").await, 404, "no such endpoint");
    assert_problem(&server.client.get("/generate").await, 405, "method");
}

#[tokio::test]
async fn prompts_beyond_the_context_are_refused() {
    let server = Server::start().await;
    let long = "x".repeat(600);
    for (path, request) in [
        ("/v1/completions", json!({"prompt": long})),
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": long}]})),
        ("/v1/embeddings", json!({"input": long})),
        ("/generate", json!({"prompt": long})),
    ] {
        let answer = server.client.post(path, &request).await;
        assert_problem(&answer, 400, "context of 512");
        assert_eq!(answer.json()["error"]["code"], "context_length_exceeded", "{path}");
    }
    assert_problem(&server.client.post("/generate", &json!({"prompt": ""})).await, 400, "empty");
    // One that nearly fills it gets what fits.
    let near = json!({"prompt": "x".repeat(508), "max_tokens": 40, "ignore_end": true});
    let answer = server.client.post("/generate", &near).await.json();
    assert_eq!((&answer["tokens"], &answer["finish"]), (&4.into(), &"context".into()));
}

#[tokio::test]
async fn clients_that_never_finish_asking_lose_their_place() {
    let limits =
        Limits { connections: 2, header_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = Server::with(
        super::models::engine(super::models::native(1), "r", super::models::options()),
        limits,
        None,
        None,
    )
    .await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(server.client.open(b"GET /health HTTP/1.1\r\nHost:").await);
    }
    // Those before it are dropped in pairs.
    assert_eq!(server.client.get("/health").await.body, "ok");
}
