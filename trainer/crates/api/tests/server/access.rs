// SPDX-License-Identifier: Apache-2.0

use super::{
    client::{Client, finish},
    models::{Endless, Server, engine, native, options},
};
use pol_api::{Limits, Scope, TokenFile};
use serde_json::json;
use std::path::Path;

#[tokio::test]
async fn tokens_open_what_their_scopes_allow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let file = TokenFile::new(&path);
    let reader = file.add("reader", &[Scope::Read]).unwrap();
    let writer = file.add("writer", &[Scope::Generate]).unwrap();
    let served = engine(native(1), "r1", options());
    let server = Server::with(served, Limits::default(), Some(&path), None).await;
    let with = |token: &str| Client { token: Some(token.into()), ..server.client.clone() };
    let request = json!({"prompt": "x", "max_tokens": 2});
    for (client, read, generate) in [
        (server.client.clone(), 401, 401),
        (with("pol_0000"), 401, 401),
        (with(&reader), 200, 403),
        (with(&writer), 403, 200),
    ] {
        assert_eq!(client.get("/v1/models").await.status, read);
        assert_eq!(client.get("/pretrained-models").await.status, read);
        assert_eq!(client.post("/v1/completions", &request).await.status, generate);
        assert_eq!(client.post("/generate", &request).await.status, generate);
        // Descriptions need no token.
        assert_eq!(client.get("/openapi.json").await.status, 200);
    }
    let refused = server.client.get("/v1/models").await;
    assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    file.revoke("reader").unwrap();
    assert_eq!(with(&reader).get("/v1/models").await.status, 401);
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let server = Server::start().await;
    for path in ["/v1/models", "/openapi.json", "/reference", "/unknown"] {
        let rebound =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        assert_eq!(server.client.send(rebound.as_bytes()).await.status, 421, "{path}");
    }
    let body = r#"{"prompt": "x"}"#;
    let simple = format!(
        "POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(server.client.send(simple.as_bytes()).await.status, 415);
    let preflight = b"OPTIONS /generate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Origin: https://evil.example\r\nAccess-Control-Request-Method: POST\r\n\r\n";
    let answer = server.client.send(preflight).await;
    assert!(answer.status >= 400 && !answer.head.contains("access-control"), "{answer:?}");
    // Those that the operator named may ask.
    let friend = String::from_utf8_lossy(preflight).replace("evil", "friend");
    let answer = server.client.send(friend.as_bytes()).await;
    assert_eq!(answer.status, 204);
    let allowed = "access-control-allow-origin: https://friend.example";
    assert!(answer.head.contains(allowed), "{}", answer.head);
    let get = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Origin: https://friend.example\r\n\r\n";
    let answer = server.client.send(get.as_bytes()).await;
    assert!(answer.status == 200 && answer.head.contains(allowed), "{answer:?}");
}

#[tokio::test]
async fn pages_of_other_sites_neither_ask_nor_count() {
    let served = engine(native(1), "r1", options());
    let server = Server::with(served, Limits::default(), None, Some(1)).await;
    let ask = async |path: &str, more: &str| {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
        server.client.send(request.as_bytes()).await
    };
    let picture =
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n";
    let opened =
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let framed = opened.replace("document", "iframe");
    let foreign = format!("{picture}Origin: https://evil.example\r\n");
    for (path, more) in [
        ("/v1/models", picture),
        ("/reference", picture),
        ("/unknown", picture),
        ("/v1/models", foreign.as_str()),
        ("/v1/models", opened),
        ("/reference", framed.as_str()),
    ] {
        let answer = ask(path, more).await;
        assert_eq!(answer.status, 403, "{path} {more}");
        assert!(answer.body.contains("--allow-origin"), "{answer:?}");
    }
    assert_eq!(ask("/reference", opened).await.status, 200, "a link leads to a page");
    assert_eq!(ask("/health", picture).await.status, 200);
    // None of them took the only request that there is room for.
    let own = "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n";
    assert_eq!(ask("/v1/models", own).await.status, 200);
}

#[tokio::test]
async fn pages_of_allowed_sites_ask() {
    let server = Server::start().await;
    let allowed = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n\
        Origin: https://friend.example\r\n\r\n";
    assert_eq!(server.client.send(allowed).await.status, 200);
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when() {
    let served = engine(native(1), "r1", options());
    let server = Server::with(served, Limits::default(), None, Some(2)).await;
    assert_eq!(server.client.get("/v1/models").await.status, 200);
    // On a slow machine, seconds with room for another may pass between two requests.
    let refused = loop {
        let answer = server.client.get("/v1/models").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429);
    assert!(refused.head.contains("retry-after: 1"), "{}", refused.head);
}

#[tokio::test]
async fn guesses_slow_down_those_who_guess_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let file = TokenFile::new(&path);
    let token = file.add("reader", &[Scope::Read]).unwrap();
    let served = engine(native(1), "r1", options());
    let server = Server::with(served, Limits::default(), Some(&path), Some(20)).await;
    let with = |token: &str| Client { token: Some(token.into()), ..server.client.clone() };
    for guess in ["", " ", "pol_", "Bearer", "\u{fc}", &"x".repeat(4_096), &token[1..]] {
        assert_eq!(with(guess).get("/v1/models").await.status, 401, "{guess}");
    }
    let refused = loop {
        let answer = with("pol_0").get("/v1/models").await;
        if answer.status != 401 {
            break answer;
        }
    };
    assert_eq!(refused.status, 429);
    assert_eq!(with(&token).get("/v1/models").await.status, 200);
}

/// Starts a server of texts without an end. Returns it with its tokens, which are in the file
/// `path`, and a client that has the one of `writer`.
async fn endless(path: &Path) -> (Server, TokenFile, Client) {
    let file = TokenFile::new(path);
    let token = file.add("writer", &[Scope::Generate]).unwrap();
    let served = engine(Endless::slow(), "r0", options());
    let server = Server::with(served, Limits::default(), Some(path), None).await;
    let client = Client { token: Some(token), ..server.client.clone() };
    (server, file, client)
}

#[tokio::test]
async fn a_token_that_is_revoked_ends_with_its_streams() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, file, client) = endless(&folder.path().join("tokens.json")).await;
    let request = json!({"prompt": "x", "max_tokens": 1 << 29, "stream": true});
    let (mut stream, first) = client.start("/v1/completions", &request).await;
    assert!(first.starts_with(b"HTTP/1.1 200"));
    file.revoke("writer").unwrap();
    assert_eq!(client.post("/v1/completions", &request).await.status, 401);
    // Without an end, this would wait for ever.
    let rest = finish(&mut stream).await;
    assert!(!(rest.head + &rest.body).to_lowercase().contains("[done]"));
}

#[tokio::test]
async fn a_stream_goes_on_while_its_token_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, _, client) = endless(&folder.path().join("tokens.json")).await;
    let request = json!({"prompt": "x", "max_tokens": 400, "stream": true});
    let answer = client.post("/v1/completions", &request).await;
    assert!(answer.status == 200 && answer.body.contains("[DONE]"), "{answer:?}");
}

#[tokio::test]
async fn tokens_that_others_can_read_let_nobody_in() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.json");
    let token = TokenFile::new(&path).add("reader", &[Scope::Read]).unwrap();
    let served = engine(native(1), "r1", options());
    let server = Server::with(served, Limits::default(), Some(&path), None).await;
    let client = Client { token: Some(token), ..server.client.clone() };
    assert_eq!(client.get("/v1/models").await.status, 200);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = client.get("/v1/models").await;
    assert_eq!(refused.status, 500);
    assert!(refused.body.contains("chmod 600"), "{}", refused.body);
}
