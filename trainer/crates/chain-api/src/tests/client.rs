// SPDX-License-Identifier: Apache-2.0

//! A server of the endpoints on a socket of its own, and its client.

use crate::{ChainOptions, ChainState, NodeSource, routes};
use pol_api::{Access, Frame, Limits, Models, Rate, Scope, serve};
use pol_index::Index;
use serde_json::Value;
use std::{net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};

/// Time in which everything that a test waits for has happened, on a machine that stalls too.
pub(crate) const SOON: Duration = Duration::from_secs(300);

/// Server of an index, without a node.
pub(crate) struct Server {
    pub(crate) index: Index,
    pub(crate) state: ChainState,
    address: SocketAddr,
    _folder: TempDir,
    _stop: oneshot::Sender<()>,
}

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

    /// Returns the description of a problem.
    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_default().to_owned()
    }
}

impl Server {
    /// Starts a server of an empty index.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.db");
        let index = Index::open(path.to_str().unwrap()).await.unwrap();
        let (listener, nowhere) = (bind().await, bind().await);
        let node = format!("ws://{}", nowhere.local_addr().unwrap());
        drop(nowhere);
        let options = ChainOptions { follow: false, patience: SOON };
        let state = ChainState::start(NodeSource::Addresses(vec![node]), index.clone(), options);
        let many = NonZeroU32::new(1_000_000).unwrap();
        let access = Access::new(None, Rate { per_second: many, burst: many });
        let start = Some(Arc::new(state.clone()) as _);
        let router = Frame::new(access)
            .with_library(Models::default(), None, start)
            .with(Scope::Read, routes(state.clone()))
            .build();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let limits = Limits {
            client_connections: 512,
            header_timeout: SOON,
            write_timeout: SOON,
            ..Limits::default()
        };
        tokio::spawn(serve(listener, router, limits, stopped));
        Self { index, state, address, _folder: folder, _stop: stop }
    }

    /// Starts a server of an index with made blocks.
    pub(crate) async fn filled() -> Self {
        let server = Self::start().await;
        server.index.apply(&super::made::blocks()).await.unwrap();
        server.index.finalise(6).await.unwrap();
        server
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let mut stream = self.open(path).await;
        let mut bytes = Vec::new();
        timeout(SOON, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    /// Returns the JSON of an answer without an error.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Sends a request, and returns the connection.
    async fn open(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream
    }

    pub(crate) async fn events(&self) -> Events {
        Events { stream: self.open("/chain-events").await, text: String::new() }
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Stream of events.
pub(crate) struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    /// Returns name and data of the next event, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                if let Some((name, data)) = field("event: ").zip(field("data: ")) {
                    return Some((name, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            let mut bytes = [0; 4_096];
            match timeout(SOON, self.stream.read(&mut bytes)).await.unwrap() {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.text += &String::from_utf8_lossy(&bytes[..length]),
            }
        }
    }

    /// Returns the data of the next event with a name, and leaves out others.
    pub(crate) async fn find(&mut self, name: &str) -> Value {
        loop {
            let (found, data) = self.next().await.expect(name);
            if found == name {
                return data;
            }
        }
    }
}
