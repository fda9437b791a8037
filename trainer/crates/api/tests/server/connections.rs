// SPDX-License-Identifier: Apache-2.0

//! Connections that are malformed, slow, idle, broken off, or too many.

use super::{
    client::finish,
    faults::assert_problem,
    models::{Server, engine, native, options},
};
use pol_api::{EngineOptions, Limits};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

/// Time for a head, which is short enough for tests.
const HEAD_TIMEOUT: Duration = Duration::from_millis(300);

async fn impatient(connections: usize) -> Server {
    let limits = Limits { connections, header_timeout: HEAD_TIMEOUT, ..Limits::default() };
    Server::with(engine(native(1), "r", options()), limits, None, None).await
}

#[tokio::test]
async fn what_cannot_be_read_is_explained() {
    let server = Server::start().await;
    let long =
        format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(65_536));
    let many = format!("GET /health HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: 1\r\n".repeat(100));
    let endless = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(65_536));
    for (head, status, text) in [
        (long.as_bytes(), 431, "16384 bytes or 64 headers"),
        (many.as_bytes(), 431, "send less"),
        (endless.as_bytes(), 431, "send less"),
        (b"\x16\x03\x01 nonsense\r\n\r\n", 400, "HTTP/1.1"),
        (b"GARBAGE\r\n\r\n", 400, "HTTP/1.1"),
        (b"GET /health HTTP/1.1\r\nno header\r\n\r\n", 400, "HTTP/1.1"),
        (b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n", 400, "HTTP/1.1"),
        (b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "HTTP/1.1"),
        (
            b"POST /generate HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            "HTTP/1.1",
        ),
    ] {
        let answer = server.client.send(head).await;
        assert_problem(&answer, status, text);
        for header in ["x-request-id: ", "connection: close", "nosniff", "cache-control: no-store"]
        {
            assert!(answer.head.contains(header), "{header}: {}", answer.head);
        }
    }
    // Others are as well off as before.
    assert_eq!(server.client.get("/health").await.body, "ok");
}

#[tokio::test]
async fn a_request_has_one_host() {
    let server = Server::start().await;
    for hosts in ["", "Host: localhost\r\nHost: localhost\r\n", "Host: a\r\nHost: b\r\n"] {
        for path in ["/health", "/v1/models", "/nowhere"] {
            let head = format!("GET {path} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
            assert_problem(&server.client.send(head.as_bytes()).await, 400, "headers Host");
        }
    }
    let older = b"GET /health HTTP/1.0\r\n\r\n";
    assert_eq!(server.client.send(older).await.body, "ok");
}

#[tokio::test]
async fn a_later_request_of_a_connection_is_explained_too() {
    let server = Server::start().await;
    let mut stream = server.client.open(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let mut first = [0; 4_096];
    let count = tokio::io::AsyncReadExt::read(&mut stream, &mut first).await.unwrap();
    assert!(first[..count].starts_with(b"HTTP/1.1 200"));
    stream.write_all(b"GARBAGE\r\n\r\n").await.unwrap();
    assert_problem(&finish(&mut stream).await, 400, "HTTP/1.1");
}

#[tokio::test]
async fn a_slow_head_is_told_so_and_an_idle_connection_just_ends() {
    let server = impatient(8).await;
    let mut slow = server.client.open(b"GET /health HTTP/1.1\r\nHost:").await;
    let answer = finish(&mut slow).await;
    assert_problem(&answer, 408, "did not arrive within 0 s");
    assert_eq!(answer.json()["type"], "urn:pol:problem:slow-head");
    // One that sends a byte now and then has no more time than others.
    let mut trickling = server.client.open(b"GET /health HTTP/1.1\r\nX: ").await;
    for _ in 0..50 {
        tokio::time::sleep(HEAD_TIMEOUT / 10).await;
        if trickling.write_all(b"x").await.is_err() {
            break;
        }
    }
    assert_problem(&finish(&mut trickling).await, 408, "send it faster");
    let mut idle = server.client.open(b"").await;
    assert_eq!(finish(&mut idle).await.head, "");
}

#[tokio::test]
async fn clients_that_never_finish_asking_lose_their_place() {
    let server = impatient(2).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        idle.push(server.client.open(b"GET /health HTTP/1.1\r\nHost:").await);
    }
    // Those before it are dropped in pairs.
    assert_eq!(server.client.get("/health").await.body, "ok");
}

#[tokio::test]
async fn thousands_of_idle_connections_hold_up_nobody_for_long() {
    let server = impatient(64).await;
    // No more at a time than this process may have open.
    for _ in 0..10 {
        let mut idle = Vec::new();
        for number in 0..320 {
            let stream = TcpStream::connect(server.client.address).await.unwrap();
            if number % 2 == 0 {
                let _ = stream.try_write(b"GET /hea");
            }
            idle.push(stream);
        }
        assert_eq!(server.client.get("/health").await.body, "ok");
    }
    // Many that behave are served one after the other.
    let asked = (0..200).map(|_| server.client.get("/health"));
    for answer in futures::future::join_all(asked).await {
        assert_eq!(answer.body, "ok");
    }
}

#[tokio::test]
async fn one_client_does_not_take_the_places_of_others() {
    let limits = Limits { connections: 64, client_connections: 8, ..Limits::default() };
    let server = Server::with(engine(native(1), "r", options()), limits, None, None).await;
    let other = || async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut stream = socket.connect(server.client.address).await.unwrap();
        let request = server.client.head("GET", "/health", 0);
        stream.write_all(request.as_bytes()).await.unwrap();
        finish(&mut stream).await
    };
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(server.client.address).await.unwrap());
    }
    let answer = server.client.get("/health").await;
    assert_problem(&answer, 429, "this client has 8 connections");
    assert_eq!(answer.json()["type"], "urn:pol:problem:too-many-connections");
    assert!(answer.head.contains("retry-after: "), "{}", answer.head);
    assert_eq!(other().await.body, "ok");
    // Hundreds of further ones take no place, though nothing is sent on them, or they are left.
    let mut more = Vec::new();
    for _ in 0..300 {
        more.push(TcpStream::connect(server.client.address).await.unwrap());
        drop(TcpStream::connect(server.client.address).await.unwrap());
    }
    assert_eq!(other().await.body, "ok");
    let text = pol_metrics::encode();
    let count =
        text.lines().find_map(|line| line.strip_prefix("pol_http_refused_connections_total "));
    assert!(count.unwrap().parse::<f64>().unwrap() >= 601.0, "{count:?}");
    // A connection that ends makes room for another one.
    drop(silent.pop());
    while server.client.get("/health").await.status == 429 {
        tokio::time::sleep(HEAD_TIMEOUT).await;
    }
    assert_eq!(server.client.get("/health").await.body, "ok");
}

#[tokio::test]
async fn streams_that_are_broken_off_leave_nothing_behind() {
    let few = EngineOptions { places: 4, queue: 64, ..options() };
    let server = Server::endless(few, Limits::default()).await;
    let endless = json!({"prompt": "x", "max_tokens": 1 << 29, "stream": true}).to_string();
    for path in ["/generate", "/v1/completions"] {
        let head = server.client.head("POST", path, endless.len());
        for _ in 0..40 {
            // Some break off before the answer begins, and some after.
            let stream = server.client.open((head.clone() + &endless).as_bytes()).await;
            tokio::task::yield_now().await;
            drop(stream);
        }
        let request = json!({"prompt": "x", "max_tokens": 5});
        let answer = loop {
            let answer = server.client.post("/v1/completions", &request).await;
            // The queue is full until the model's next step.
            if answer.status != 503 {
                break answer;
            }
        };
        assert_eq!(answer.json()["choices"][0]["text"], "aaaaa", "{path}");
    }
}

#[tokio::test]
async fn requests_are_counted_by_their_route() {
    let server = Server::start().await;
    let request = json!({"prompt": "x", "max_tokens": 2, "stream": true});
    for path in ["/v1/models", "/nowhere/s3cret"] {
        server.client.get(path).await;
    }
    server.client.post("/generate", &request).await;
    server.client.send(b"GARBAGE\r\n\r\n").await;
    let text = pol_metrics::encode();
    for labels in [
        r#"{method="GET",route="/v1/models",status="200"}"#,
        r#"{method="GET",route="",status="404"}"#,
        r#"{method="POST",route="/generate",status="200"}"#,
    ] {
        assert!(
            text.contains(&format!("pol_http_request_duration_seconds_count{labels}")),
            "{text}"
        );
    }
    assert!(!text.contains("s3cret"));
    let count = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    for name in ["unreadable_requests_total", "received_bytes_total", "sent_bytes_total"] {
        assert!(count(&format!("pol_http_{name} ")) > 0.0, "{name}");
    }
}
