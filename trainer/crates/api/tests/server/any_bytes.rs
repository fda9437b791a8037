// SPDX-License-Identifier: Apache-2.0

//! Requests with damaged bytes, the same in every run. They stand here and not among the fuzz
//! targets, which do without libtorch.

use super::models::Server;
use pol_api::{
    GenerateRequest, TokenFile,
    openai::{ChatRequest, CompletionRequest, EmbeddingRequest},
    parse,
};
use pol_primitives::prf::Prf;
use std::{fs, os::unix::fs::PermissionsExt};
use tokio::io::AsyncWriteExt;

/// Number of damaged inputs of each kind.
const RUNS: usize = 400;

const GENERATE: [&str; 3] = [
    r#"{"prompt": "x", "schema": {"type": "object", "required": ["a"]}, "receipt": false}"#,
    r#"{"prompt": "x", "max_tokens": 9, "temperature": 0.5, "seed": -1, "stop": ["\n"]}"#,
    r#"{"prompt": "x", "chat": true, "reason": "tree", "budget": 99, "branches": 2}"#,
];
const COMPLETIONS: [&str; 3] = [
    r#"{"prompt": "a", "pol_receipt": true, "response_format": {"type": "text"}, "seed": 7}"#,
    r#"{"prompt": ["a", "b"], "n": 2, "top_p": 0.9, "logprobs": 5, "stop": "x"}"#,
    r#"{"model": "m", "prompt": "a", "stream": true, "stream_options": {}}"#,
];
const CHATS: [&str; 4] = [
    r#"{"messages": [{"role": "user", "content": "a"}], "tool_choice": "required",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}"#,
    r#"{"messages": [{"role": "assistant", "tool_calls": [{"id": "c", "type": "function",
            "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "b", "tool_call_id": "c"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}"#,
    r#"{"messages": [{"role": "user", "content": "a"}], "logprobs": true}"#,
    r#"{"messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]}],
        "response_format": {"type": "text"}, "tools": [], "metadata": {"a": [1, {}]}}"#,
];
const EMBEDDINGS: [&str; 1] =
    [r#"{"input": ["a", "b"], "encoding_format": "base64", "dimensions": 4}"#];
const TOKENS: [&str; 1] = [r#"{"tokens": [{"name": "a", "hash":
    "0xabababababababababababababababababababababababababababababababab",
    "scopes": ["read"], "created": 7}]}"#];

/// Returns damaged copies of `seeds`, beginning with the seeds themselves.
fn damaged(name: &str, seeds: &[&str]) -> impl Iterator<Item = (bool, Vec<u8>)> {
    let mut prf = Prf::new("test/damaged-requests", &[0; 32], &[name.as_bytes()]);
    let whole: Vec<_> = seeds.iter().map(|seed| (true, seed.as_bytes().to_vec())).collect();
    let seeds: Vec<_> = whole.clone();
    let one = move |run: usize| {
        let mut bytes = seeds[run % seeds.len()].1.clone();
        let mut below = |bound: usize| prf.below(bound as u32) as usize;
        for _ in 0..=below(4) {
            let at = below(bytes.len());
            bytes[at] = match below(3) {
                0 => below(256) as u8,
                1 => b"{}[],:\"0e-."[below(11)],
                _ => bytes[below(bytes.len())],
            };
        }
        match below(6) {
            0 => bytes.truncate(below(bytes.len() + 1)),
            1 => bytes.extend((0..below(40)).map(|_| below(256) as u8)),
            2 => bytes = bytes.repeat(1 + below(3)),
            _ => {}
        }
        (false, bytes)
    };
    whole.into_iter().chain((0..RUNS).map(one))
}

fn check(name: &str, seeds: &[&str], accepts: fn(&[u8]) -> bool) {
    for (is_seed, bytes) in damaged(name, seeds) {
        let accepted = accepts(&bytes);
        assert!(accepted || !is_seed, "{name}: {}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn damaged_bodies_are_refused_or_checked() {
    check("generate", &GENERATE, |bytes| {
        parse::<GenerateRequest>(bytes).is_ok_and(|request| request.check().is_ok())
    });
    check("completion", &COMPLETIONS, |bytes| {
        parse::<CompletionRequest>(bytes).is_ok_and(|request| request.check().is_ok())
    });
    check("chat", &CHATS, |bytes| {
        parse::<ChatRequest>(bytes).is_ok_and(|request| request.check().is_ok())
    });
    check("embedding", &EMBEDDINGS, |bytes| {
        parse::<EmbeddingRequest>(bytes).is_ok_and(|request| request.check().is_ok())
    });
}

#[test]
fn damaged_files_of_tokens_are_refused_or_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    for (is_seed, bytes) in damaged("tokens", &TOKENS) {
        fs::write(&path, &bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let file = TokenFile::new(&path);
        let Ok(tokens) = file.list() else {
            assert!(!is_seed);
            continue;
        };
        if let Ok(secret) = file.add("added", &[]) {
            assert_eq!(file.list().unwrap().len(), tokens.len() + 1);
            assert_eq!(file.find(&secret).unwrap().unwrap().name, "added");
        }
    }
}

#[tokio::test]
async fn damaged_requests_harm_nobody() {
    let server = Server::start().await;
    let body = r#"{"prompt": "x", "max_tokens": 2}"#;
    let request = server.client.head("POST", "/v1/completions", body.len()) + body;
    for (is_seed, bytes) in damaged("http", &[&request]).take(RUNS / 4) {
        let mut stream = server.client.open(&bytes).await;
        // A damaged request may announce more than comes.
        if !is_seed {
            stream.shutdown().await.unwrap();
        }
        let answer = super::client::finish(&mut stream).await;
        assert!(answer.status == 200 || !is_seed, "{answer:?}");
        assert_ne!(answer.status, 500, "{answer:?}");
    }
    assert_eq!(server.client.get("/health").await.body, "ok");
}
