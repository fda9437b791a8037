// SPDX-License-Identifier: Apache-2.0

use super::{
    client::{Client, finish},
    models::{Endless, Server, engine, native, options},
};
use futures::future::select_all;
use pol_api::{EngineOptions, Limits, Scope, TokenFile};
use serde_json::{Value, json};
use std::time::Duration;

/// Request that would never end.
fn endless() -> Value {
    json!({"prompt": "x", "max_tokens": 1 << 29, "stream": true})
}

fn few() -> Value {
    json!({"prompt": "x", "max_tokens": 5})
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let one = EngineOptions { places: 1, ..options() };
    let server = Server::endless(one, Limits::default()).await;
    for path in ["/v1/completions", "/generate"] {
        let (stream, first) = server.client.start(path, &endless()).await;
        assert!(first.starts_with(b"HTTP/1.1 200"));
        drop(stream);
        let answer = server.client.post("/v1/completions", &few()).await;
        assert_eq!(answer.json()["choices"][0]["text"], "aaaaa", "{path}");
    }
    // Also one that waits for a whole answer.
    let mut whole = endless();
    whole["stream"] = false.into();
    let body = whole.to_string();
    let head = server.client.head("POST", "/v1/completions", body.len());
    let stream = server.client.open((head + &body).as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(stream);
    assert_eq!(server.client.post("/v1/completions", &few()).await.status, 200);
}

#[tokio::test]
async fn a_slow_reader_holds_up_nobody() {
    let limits = Limits { write_timeout: Duration::from_millis(500), ..Limits::default() };
    let two = EngineOptions { places: 2, ..options() };
    let server = Server::endless(two, limits).await;
    // Two that ask for all and read nothing: reports fill the buffers of the connection soon.
    let mut greedy = endless();
    greedy["logprobs"] = 20.into();
    let mut readers = Vec::new();
    for _ in 0..2 {
        readers.push(server.client.start("/v1/completions", &greedy).await.0);
    }
    // Their places are free once they took nothing for a while.
    let answer = server.client.post("/v1/completions", &few()).await;
    assert_eq!(answer.json()["choices"][0]["text"], "aaaaa");
}

#[tokio::test]
async fn requests_beyond_the_queue_are_told_to_come_again() {
    let small = EngineOptions { places: 1, queue: 1, ..options() };
    let server = Server::endless(small, Limits::default()).await;
    let (_first, _) = server.client.start("/v1/completions", &endless()).await;
    // One of three waits, and the others are refused.
    let client = &server.client;
    let mut asking: Vec<_> =
        (0..3).map(|_| Box::pin(async { client.post("/v1/completions", &few()).await })).collect();
    for _ in 0..2 {
        let (answer, _, others) = select_all(asking).await;
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.head.contains("retry-after: 2"), "{}", answer.head);
        asking = others;
    }
}

#[tokio::test]
async fn more_texts_than_can_ever_wait_are_refused_for_good() {
    let small = EngineOptions { places: 8, queue: 2, ..options() };
    let server = Server::with(engine(native(1), "r1", small), Limits::default(), None, None).await;
    let mut texts = few();
    texts["n"] = 3.into();
    let many = json!({"input": ["a", "b", "c"]});
    for (path, request, parameter) in
        [("/v1/completions", &texts, "n"), ("/v1/embeddings", &many, "input")]
    {
        let answer = server.client.post(path, request).await;
        assert_eq!((answer.status, &answer.json()["error"]["param"]), (400, &json!(parameter)));
        assert!(answer.body.contains("--queue"), "{answer:?}");
    }
    texts["n"] = 2.into();
    assert_eq!(server.client.post("/v1/completions", &texts).await.status, 200);
}

#[tokio::test]
async fn answers_that_grow_too_large_are_refused_or_streamed() {
    let server = Server::endless(options(), Limits::default()).await;
    let chat = json!({"messages": [{"role": "user", "content": "x"}], "logprobs": true,
        "top_logprobs": 20, "max_tokens": 1 << 20});
    let completion = json!({"prompt": "x", "logprobs": 20, "max_tokens": 1 << 20});
    let text = json!({"prompt": "x", "alternatives": 20, "max_tokens": 1 << 20});
    for (path, mut request) in
        [("/v1/chat/completions", chat), ("/v1/completions", completion), ("/generate", text)]
    {
        let answer = server.client.post(path, &request).await;
        assert!(answer.status == 400 && answer.body.contains("ask for a stream"), "{answer:?}");
        request["stream"] = true.into();
        let (_, first) = server.client.start(path, &request).await;
        assert!(first.starts_with(b"HTTP/1.1 200"), "{path}");
    }
}

#[tokio::test]
async fn one_client_leaves_places_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let tokens = ["greedy", "modest"]
        .map(|name| TokenFile::new(&path).add(name, &[Scope::Generate]).unwrap());
    // Two of the four are one client's.
    let small = EngineOptions { places: 3, queue: 1, ..options() };
    let served = engine(Endless::slow(), "r0", small);
    let server = Server::with(served, Limits::default(), Some(&path), None).await;
    let [greedy, modest] =
        tokens.map(|token| Client { token: Some(token), ..server.client.clone() });
    let first = greedy.start("/v1/completions", &endless()).await.0;
    let second = greedy.start("/generate", &endless()).await.0;
    for (path, body) in [
        ("/v1/completions", few()),
        ("/generate", few()),
        ("/v1/embeddings", json!({"input": "x"})),
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "x"}]})),
    ] {
        let refused = greedy.post(path, &body).await;
        assert_eq!(refused.status, 429, "{path}: {refused:?}");
        assert_eq!(refused.json()["error"]["code"], "too-many-texts", "{path}");
        assert!(refused.head.contains("retry-after: 2"), "{}", refused.head);
    }
    for _ in 0..3 {
        // A text that has ended counts no more.
        let answer = modest.post("/v1/completions", &few()).await;
        assert_eq!(answer.json()["choices"][0]["text"], "aaaaa");
    }
    // What will never be possible is no reason to come again.
    for (path, body, name) in [
        ("/v1/completions", json!({"prompt": "x", "n": 3, "max_tokens": 5}), "n"),
        ("/v1/embeddings", json!({"input": ["x", "y", "z"]}), "input"),
    ] {
        let refused = modest.post(path, &body).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &name.into()));
    }
    drop((first, second));
    // The server notices soon that nobody reads them.
    while greedy.post("/v1/completions", &few()).await.status != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn answers_finish_with_the_model_that_they_began_with() {
    let server = Server::endless(options(), Limits::default()).await;
    let mut long = endless();
    long["max_tokens"] = 400.into();
    let (mut stream, first) = server.client.start("/v1/completions", &long).await;
    server.models.replace(engine(native(2), "r2", options()));
    let next = server.client.post("/v1/completions", &few()).await.json();
    assert_eq!(next["system_fingerprint"], "r2/test/1/exact");
    let rest = finish(&mut stream).await;
    let text = String::from_utf8(first).unwrap() + &rest.head + &rest.body;
    assert!(text.to_lowercase().contains("[done]") && !text.contains("r2/test/1/exact"), "{text}");
}

#[tokio::test]
async fn a_model_that_fails_is_known_and_can_be_replaced() {
    let broken = Endless(|| panic!("a fault of the test's model"));
    let server = Server::with(engine(broken, "r0", options()), Limits::default(), None, None).await;
    assert!(!server.models.is_stopped());
    for _ in 0..2 {
        let answer = server.client.post("/v1/completions", &few()).await;
        assert_eq!(answer.status, 500, "{answer:?}");
    }
    assert!(server.models.is_stopped());
    server.models.replace(engine(native(2), "r2", options()));
    assert!(!server.models.is_stopped());
    assert_eq!(server.client.post("/v1/completions", &few()).await.status, 200);
}

#[tokio::test]
async fn a_server_that_stops_finishes_its_answers() {
    let mut server = Server::endless(options(), Limits::default()).await;
    let mut long = endless();
    long["max_tokens"] = 300.into();
    let (mut stream, _) = server.client.start("/v1/completions", &long).await;
    server.stop.take().unwrap().send(()).unwrap();
    let rest = finish(&mut stream).await;
    assert!((rest.head + &rest.body).to_lowercase().contains("[done]"));
    server.ended.await.unwrap();
    assert!(tokio::net::TcpStream::connect(server.client.address).await.is_err());
}

#[tokio::test]
async fn a_server_that_stops_cuts_off_what_takes_too_long() {
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let mut server = Server::endless(options(), limits).await;
    let (mut stream, _) = server.client.start("/v1/completions", &endless()).await;
    server.stop.take().unwrap().send(()).unwrap();
    server.ended.await.unwrap();
    let rest = finish(&mut stream).await;
    assert!(!rest.body.contains("[DONE]"));
}
