// SPDX-License-Identifier: Apache-2.0

//! Servers and name servers that want to harm the client.

use super::server::{Reply, Server, client, html, options, redirect, response};
use flate2::{Compression, write::GzEncoder};
use futures::future::BoxFuture;
use pol_sources::http::{FetchError, HttpClient, HttpOptions, Lookup, Request};
use std::{
    collections::BTreeSet,
    io::{self, Write},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use url::Url;

async fn error(server: &Server, path: &str) -> FetchError {
    client().get(&Request::new(server.url(path))).await.unwrap_err()
}

#[tokio::test]
async fn redirects_to_private_addresses_are_not_followed() {
    let server = Server::start(|got, base| {
        let port = base.port().unwrap();
        redirect(&match got.path.as_str() {
            "/literal" => "http://10.0.0.1/".to_owned(),
            "/metadata" => "http://169.254.169.254/latest/meta-data/".to_owned(),
            "/number" => "http://2130706434/".to_owned(),
            "/v6" => "http://[::1]/".to_owned(),
            "/name" => "http://localhost/".to_owned(),
            "/port" => format!("http://localhost:{port}/"),
            _ => "file:///etc/passwd".to_owned(),
        })
    })
    .await;
    for path in ["/literal", "/metadata", "/number", "/v6", "/name", "/port", "/file"] {
        assert!(matches!(error(&server, path).await, FetchError::Blocked(_)), "{path}");
    }
    assert_eq!(server.paths().len(), 7);
}

/// Name server that answers with the address of this machine, and counts its answers.
#[derive(Default)]
struct Here(AtomicUsize);

impl Lookup for Here {
    fn lookup(&self, _: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(async { Ok(vec!["127.0.0.1".parse().unwrap()]) })
    }
}

#[tokio::test]
async fn a_name_is_checked_where_its_address_is_asked_for() {
    // There is no earlier look at the address that a name server could answer differently.
    let lookup = Arc::new(Here::default());
    let client = HttpClient::with_lookup(options(), lookup.clone()).unwrap();
    let request = Request::new(Url::parse("http://rebinding.test/").unwrap());
    for asked in 1..3 {
        let error = client.get(&request).await.unwrap_err();
        assert!(error.to_string().contains("no address on the public internet"), "{error}");
        assert_eq!(lookup.0.load(Ordering::Relaxed), asked);
    }
}

#[tokio::test]
async fn a_name_that_the_operator_allows_may_be_private() {
    let server = Server::start(|_, _| html("text")).await;
    let lookup = Arc::new(Here::default());
    let allowed_hosts = BTreeSet::from(["site.test".to_owned()]);
    let client =
        HttpClient::with_lookup(HttpOptions { allowed_hosts, ..options() }, lookup).unwrap();
    let mut url = server.url("/");
    url.set_host(Some("site.test")).unwrap();
    assert!(client.get(&Request::new(url)).await.is_ok());
    let error = client.get(&Request::new(server.url("/"))).await.unwrap_err();
    assert!(matches!(error, FetchError::Blocked(_)));
}

#[tokio::test]
async fn redirects_without_an_end_are_left() {
    let server = Server::start(|got, _| match got.path.strip_prefix("/count/") {
        Some(number) => redirect(&format!("/count/{}", number.parse::<u32>().unwrap() + 1)),
        None if got.path == "/a" => redirect("/b"),
        None => redirect("/a"),
    })
    .await;
    assert!(matches!(error(&server, "/a").await, FetchError::Redirects(_)));
    assert_eq!(server.paths().len(), 2);
    assert!(matches!(error(&server, "/count/0").await, FetchError::Redirects(_)));
    assert!(server.paths().len() < 15);
}

#[tokio::test]
async fn slow_headers_and_slow_bodies_are_left() {
    let server = Server::start(|got, _| {
        let head: &[u8] = if got.path == "/headers" {
            b"HTTP/1.1 200 OK\r\nX-Slow: "
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
        };
        Reply::Drip(head.to_vec(), Duration::from_millis(20))
    })
    .await;
    for path in ["/headers", "/body"] {
        let start = Instant::now();
        assert_eq!(error(&server, path).await, FetchError::TooSlow, "{path}");
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_body_that_is_late_is_left_though_it_is_fast() {
    let server = Server::start(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        Reply::Drip([head, vec![b'x'; 5000]].concat(), Duration::from_millis(1))
    })
    .await;
    let body_timeout = Duration::from_millis(300);
    let client = HttpClient::new(HttpOptions { body_timeout, ..options() }).unwrap();
    let error = client.get(&Request::new(server.url("/"))).await.unwrap_err();
    assert_eq!(error, FetchError::TooSlow);
}

#[tokio::test]
async fn endless_and_gigabyte_bodies_are_left() {
    let server = Server::start(|got, _| {
        let length = if got.path == "/stated" { "Content-Length: 1073741824\r\n" } else { "" };
        Reply::Flood(format!("HTTP/1.1 200 OK\r\n{length}\r\n").into_bytes())
    })
    .await;
    for path in ["/stated", "/endless"] {
        let client = client();
        let error = client.get(&Request::new(server.url(path))).await.unwrap_err();
        assert_eq!(error, FetchError::TooLarge, "{path}");
        assert!(client.received_bytes() < 4 << 20);
    }
}

#[tokio::test]
async fn endless_headers_are_left() {
    let server = Server::start(|got, _| match got.path.as_str() {
        "/endless" => Reply::Flood(b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec()),
        _ => {
            let headers = format!("X-Long: {}\r\n", "x".repeat(2000)).repeat(40);
            response("200 OK", &headers, "text")
        }
    })
    .await;
    assert!(matches!(error(&server, "/endless").await, FetchError::Transport(_)));
    assert_eq!(error(&server, "/long").await, FetchError::TooLarge);
}

#[tokio::test]
async fn gzip_bombs_and_other_encodings_are_left() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![0; 3 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let server = Server::start(move |got, _| match got.path.as_str() {
        "/bomb" => response("200 OK", "Content-Encoding: gzip\r\n", &bomb),
        "/damaged" => response("200 OK", "Content-Encoding: gzip\r\n", &bomb[..100]),
        "/lie" => response("200 OK", "Content-Encoding: gzip\r\n", "text"),
        _ => response("200 OK", "Content-Encoding: br\r\n", "text"),
    })
    .await;
    assert_eq!(error(&server, "/bomb").await, FetchError::TooLarge);
    for path in ["/damaged", "/lie", "/br"] {
        assert!(matches!(error(&server, path).await, FetchError::Encoding(_)), "{path}");
    }
}

#[tokio::test]
async fn wrong_lengths_are_survived() {
    let server = Server::start(|got, _| {
        let head = match got.path.as_str() {
            "/short" => "Content-Length: 3",
            "/long" => "Content-Length: 99",
            "/two" => "Content-Length: 3\r\nContent-Length: 4",
            "/word" => "Content-Length: many",
            "/chunks" => "Transfer-Encoding: chunked",
            _ => "X-No-Length: 1",
        };
        let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{head}\r\n\r\ntext");
        Reply::Raw(head.into_bytes())
    })
    .await;
    let body = async |path| {
        client().get(&Request::new(server.url(path))).await.map(|response| response.body)
    };
    assert_eq!(body("/short").await.unwrap(), b"tex");
    assert_eq!(body("/none").await.unwrap(), b"text");
    for path in ["/long", "/two", "/word", "/chunks"] {
        assert!(matches!(body(path).await.unwrap_err(), FetchError::Transport(_)), "{path}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_left() {
    let server = Server::start(|_, _| Reply::Raw(b"220 mail.example.org ESMTP\r\n".to_vec())).await;
    assert!(matches!(error(&server, "/").await, FetchError::Transport(_)));
}
