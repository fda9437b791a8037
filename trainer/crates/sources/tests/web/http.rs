// SPDX-License-Identifier: Apache-2.0

//! Manners of the client.

use super::server::{Reply, Server, client, html, missing, options, redirect, response};
use pol_sources::http::{FetchError, HttpClient, HttpOptions, Request};
use reqwest::header::{AUTHORIZATION, HeaderValue};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

#[tokio::test]
async fn a_page_is_read_and_the_client_says_who_it_is() {
    let server = Server::start(|got, _| {
        let agent =
            concat!("pol-trainer/", env!("CARGO_PKG_VERSION"), " (+https://example.org/bot)");
        assert!(got.has("user-agent", agent) && got.has("accept-encoding", "gzip"));
        html("<p>text</p>")
    })
    .await;
    let response = client().get(&Request::new(server.url("/a"))).await.unwrap();
    assert_eq!((response.status, response.body.as_slice()), (200, &b"<p>text</p>"[..]));
    assert_eq!(response.media(), Some("text/html"));
    assert!(response.fetched > 1_700_000_000);
}

#[tokio::test]
async fn redirects_are_followed_without_secrets() {
    let other = Server::start(|got, _| {
        assert!(!got.lines.contains("secret"));
        html("there")
    })
    .await;
    let target = other.url("/b");
    let server = Server::start(move |got, _| {
        assert!(got.has("authorization", "secret"));
        redirect(target.as_str())
    })
    .await;
    let secret = HeaderValue::from_static("secret");
    let request = Request::new(server.url("/a")).header(AUTHORIZATION, secret);
    let response = client().get(&request).await.unwrap();
    assert_eq!(response.url, other.url("/b"));
    let response = client().get(&request.without_redirects()).await.unwrap();
    assert_eq!(response.redirect(), Some(other.url("/b")));
}

#[tokio::test]
async fn unchanged_pages_are_not_sent_again() {
    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    let server = Server::start(|got, _| {
        if got.has("if-none-match", "\"v1\"") && got.has("if-modified-since", DATE) {
            return response("304 Not Modified", "", "");
        }
        response("200 OK", &format!("ETag: \"v1\"\r\nLast-Modified: {DATE}\r\n"), "text")
    })
    .await;
    let client = client();
    let first = client.get(&Request::new(server.url("/"))).await.unwrap();
    let request = Request::new(server.url("/")).validators(first.validators());
    assert_eq!(client.get(&request).await.unwrap().status, 304);
}

#[tokio::test]
async fn a_busy_server_is_left_alone_as_long_as_it_asks() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
        0 => response("429 Too Many Requests", "Retry-After: 1\r\n", ""),
        1 => response("503 Service Unavailable", "", ""),
        _ => html("text"),
    })
    .await;
    let client = HttpClient::new(HttpOptions { max_retries: 2, ..options() }).unwrap();
    let start = Instant::now();
    assert!(client.get(&Request::new(server.url("/"))).await.unwrap().is_success());
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.paths().len(), 3);
}

#[tokio::test]
async fn a_server_that_asks_for_too_long_is_not_waited_for() {
    let server =
        Server::start(|_, _| response("429 Too Many Requests", "Retry-After: 86400\r\n", "")).await;
    let client = HttpClient::new(HttpOptions { max_retries: 9, ..options() }).unwrap();
    let response = client.get(&Request::new(server.url("/"))).await.unwrap();
    assert_eq!(response.retry_after(), Some(Duration::from_secs(86_400)));
    assert_eq!(response.success().unwrap_err(), FetchError::Status(429));
    assert_eq!(server.paths().len(), 1);
}

#[tokio::test]
async fn requests_to_a_host_are_paced() {
    let server = Server::start(|_, _| html("text")).await;
    let host_delay = Duration::from_millis(150);
    let client = HttpClient::new(HttpOptions { host_delay, ..options() }).unwrap();
    let start = Instant::now();
    let request = Request::new(server.url("/"));
    let (one, two, three) =
        tokio::join!(client.get(&request), client.get(&request), client.get(&request));
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    assert!(start.elapsed() >= 2 * host_delay);
}

#[tokio::test]
async fn a_client_stops_at_its_budget() {
    let server = Server::start(|_, _| html([b'x'; 600])).await;
    let client = HttpClient::new(HttpOptions { budget_bytes: Some(1000), ..options() }).unwrap();
    let request = Request::new(server.url("/"));
    assert!(client.get(&request).await.is_ok());
    assert_eq!(client.get(&request).await.unwrap_err(), FetchError::Budget);
    assert_eq!(client.received_bytes(), 1200);
}

#[tokio::test]
async fn large_files_are_read_in_chunks() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/large" => response("200 OK", "", vec![7; 3 << 20]),
        _ => missing(),
    })
    .await;
    let client = client();
    let mut body = client.open(&Request::new(server.url("/large"))).await.unwrap();
    let mut length = 0;
    while let Some(chunk) = body.chunk().await.unwrap() {
        length += chunk.len();
    }
    assert_eq!(length, 3 << 20);
    let error = client.open(&Request::new(server.url("/other"))).await.err();
    assert_eq!(error, Some(FetchError::Status(404)));
    let mut body = client.open(&Request::new(server.url("/large")).max_bytes(9)).await.unwrap();
    assert_eq!(body.chunk().await.unwrap_err(), FetchError::TooLarge);
}

#[tokio::test]
async fn a_connection_that_ends_is_tried_again() {
    let count = AtomicU32::new(0);
    let server = Server::start(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Nothing,
        _ => html("text"),
    })
    .await;
    let request = Request::new(server.url("/"));
    let client = HttpClient::new(HttpOptions { max_retries: 1, ..options() }).unwrap();
    assert!(client.get(&request).await.unwrap().is_success());
}
