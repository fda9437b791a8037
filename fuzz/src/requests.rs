// SPDX-License-Identifier: Apache-2.0

//! Requests to the HTTP server, and its file of tokens.

use crate::Target;
use pol_api::{
    GenerateRequest, TokenFile,
    openai::{ChatRequest, CompletionRequest, EmbeddingRequest},
    parse,
};
use std::fs;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "api_generate", run: generate, seeds: generate_seeds },
    Target { name: "api_completion", run: completion, seeds: completion_seeds },
    Target { name: "api_chat", run: chat, seeds: chat_seeds },
    Target { name: "api_embedding", run: embedding, seeds: embedding_seeds },
    Target { name: "api_tokens", run: tokens, seeds: tokens_seeds },
];

fn generate(bytes: &[u8]) -> bool {
    parse::<GenerateRequest>(bytes).is_ok_and(|request| request.check().is_ok())
}

fn generate_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"prompt": "x", "max_tokens": 9, "temperature": 0.5, "seed": -1, "stop": ["\n"]}"#
            .into(),
        br#"{"prompt": "x", "chat": true, "reason": "tree", "budget": 99, "branches": 2}"#.into(),
    ]
}

fn completion(bytes: &[u8]) -> bool {
    parse::<CompletionRequest>(bytes).is_ok_and(|request| request.check().is_ok())
}

fn completion_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"prompt": ["a", "b"], "n": 2, "top_p": 0.9, "logprobs": 5, "stop": "x"}"#.into(),
        br#"{"model": "m", "prompt": "a", "stream": true, "stream_options": {}}"#.into(),
    ]
}

fn chat(bytes: &[u8]) -> bool {
    parse::<ChatRequest>(bytes).is_ok_and(|request| request.check().is_ok())
}

fn chat_seeds() -> Vec<Vec<u8>> {
    vec![
        br#"{"messages": [{"role": "user", "content": "a"}], "logprobs": true}"#.into(),
        br#"{"messages": [{"role": "system", "content": [{"type": "text", "text": "a"}]}],
            "response_format": {"type": "text"}, "tools": [], "metadata": {"a": [1, {}]}}"#
            .into(),
    ]
}

fn embedding(bytes: &[u8]) -> bool {
    parse::<EmbeddingRequest>(bytes).is_ok_and(|request| request.check().is_ok())
}

fn embedding_seeds() -> Vec<Vec<u8>> {
    vec![br#"{"input": ["a", "b"], "encoding_format": "base64", "dimensions": 4}"#.into()]
}

/// Reads bytes as a file of tokens. A token that is added to a valid one is found.
fn tokens(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.json");
    fs::write(&path, bytes).expect("the folder is writable");
    let file = TokenFile::new(&path);
    let Ok(tokens) = file.list() else { return false };
    if let Ok(secret) = file.add("added", &[]) {
        assert_eq!(file.list().map(|now| now.len()).ok(), Some(tokens.len() + 1));
        let found = file.find(&secret).expect("the file was written");
        assert_eq!(found.map(|token| token.name).as_deref(), Some("added"));
    }
    true
}

fn tokens_seeds() -> Vec<Vec<u8>> {
    let hash = "0x".to_owned() + &"ab".repeat(32);
    let token = format!(r#"{{"name": "a", "hash": "{hash}", "scopes": ["read"], "created": 7}}"#);
    vec![format!(r#"{{"tokens": [{token}]}}"#).into(), br#"{"tokens": []}"#.into()]
}
