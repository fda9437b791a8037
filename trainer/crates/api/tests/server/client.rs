// SPDX-License-Identifier: Apache-2.0

//! A client that can also misbehave.

use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Time in which everything that a test waits for has happened, on a machine that stalls too.
pub(crate) const SOON: Duration = Duration::from_secs(300);

/// Answer of the server.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Returns the data of all events, as JSON.
    pub(crate) fn events(&self) -> Vec<Value> {
        assert!(self.head.contains("text/event-stream"), "{}", self.head);
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let head = head.to_lowercase();
        let body =
            if head.contains("transfer-encoding: chunked") { joined(body) } else { body.into() };
        Self { status, head, body }
    }
}

/// Joins the chunks of a body, as far as they arrived.
fn joined(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let Ok(length) = usize::from_str_radix(length, 16) else { break };
        let Some(chunk) = rest.get(..length) else { break };
        whole += chunk;
        body = rest.get(length + 2..).unwrap_or_default();
    }
    whole
}

/// Client of a server.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

impl Client {
    pub(crate) fn head(&self, method: &str, path: &str, length: usize) -> String {
        let token = self.token.as_ref();
        let token =
            token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
    }

    /// Sends bytes as they are, and keeps the connection.
    pub(crate) async fn open(&self, bytes: &[u8]) -> TcpStream {
        // Little room, so that the server notices soon who does not read.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        // A server that refuses early may close before all is sent.
        let _ = stream.write_all(bytes).await;
        stream
    }

    /// Sends bytes as they are, and returns the answer.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.open(bytes).await;
        finish(&mut stream).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.head("GET", path, 0).as_bytes()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, body.to_string().as_bytes()).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        let head = self.head("POST", path, body.len());
        self.send(&[head.as_bytes(), body].concat()).await
    }

    /// Starts a request, and waits for the first bytes of its answer.
    pub(crate) async fn start(&self, path: &str, body: &Value) -> (TcpStream, Vec<u8>) {
        let body = body.to_string();
        let head = self.head("POST", path, body.len());
        let mut stream = self.open((head + &body).as_bytes()).await;
        let mut first = vec![0; 4_096];
        let count = timeout(SOON, stream.read(&mut first)).await.unwrap().unwrap();
        first.truncate(count);
        (stream, first)
    }
}

/// Reads the rest of an answer, to the end of the connection.
pub(crate) async fn finish(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        match timeout(SOON, stream.read(&mut part)).await.expect("the server answers") {
            Ok(0) | Err(_) => return Answer::parse(&bytes),
            Ok(count) => bytes.extend_from_slice(&part[..count]),
        }
    }
}
