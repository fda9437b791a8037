// SPDX-License-Identifier: Apache-2.0

use super::{client::Answer, models::Server};
use pol_api::MAX_BODY_BYTES;
use serde_json::json;

pub(crate) fn assert_problem(answer: &Answer, status: u16, text: &str) {
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
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let server = Server::start().await;
    assert_problem(&server.client.get("/nowhere").await, 404, "/openapi.json");
    assert_problem(&server.client.get("/generate").await, 405, "method");
    for path in [
        "/v1/../../etc/passwd",
        "/v1/%2e%2e/models",
        "/v1/models/..%2f..%2fetc%2fpasswd",
        "//v1/models",
        "/v1//models",
        "/v1/models/",
        "/V1/models",
        "/v1/models%00",
        "/v1/models;a=b",
        "/openapi.json/../health",
        "/%",
        "/\u{e9}",
    ] {
        let answer = server.client.get(path).await;
        assert!([400, 404].contains(&answer.status), "{path}: {answer:?}");
        assert!(answer.head.contains("application/problem+json"), "{path}: {answer:?}");
    }
    // Another host in the request line counts, whatever the header says.
    let absolute = b"GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\n\
        Connection: close\r\n\r\n";
    assert_problem(&server.client.send(absolute).await, 421, "host");
}

#[tokio::test]
async fn unknown_parameters_are_refused_by_name() {
    let server = Server::start().await;
    for path in ["/v1/models?limit=1", "/v1/models/tiny?x=1&limit=2", "/pretrained-models?x"] {
        assert_problem(&server.client.get(path).await, 400, "is not known here; known: none");
    }
    let request = json!({"prompt": "x", "max_tokens": 2});
    let answer = server.client.post("/generate?seed=7", &request).await;
    assert_problem(&answer, 400, "'seed' is not known");
    let long = format!("/v1/models?{}=1", "x".repeat(10_000));
    let answer = server.client.get(&long).await;
    assert!(answer.json()["detail"].as_str().unwrap().len() < 200, "{answer:?}");
    // Pages and what watches the server may add what they like.
    assert_eq!(server.client.get("/health?now=1").await.status, 200);
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
