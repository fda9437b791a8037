// SPDX-License-Identifier: Apache-2.0

//! Streams of generated text beside the requests.

use crate::{Result, random_model::random};
use pol_api::{Engine, EngineOptions};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Tokens of an answer.
const TOKENS: usize = 256;

/// Starts a random model, which generates as many texts at once.
pub(crate) fn engine(places: u32) -> Result<Engine> {
    random(EngineOptions {
        places: places.max(1) as usize,
        queue: 64,
        tokens: 1 << 20,
        max_tokens: TOKENS,
    })
}

/// Clients that read streams, one after the other, until this value is dropped.
pub(crate) struct Streams {
    /// Number of tokens that arrived.
    pub(crate) tokens: Arc<AtomicU64>,
    _clients: JoinSet<()>,
}

impl Streams {
    pub(crate) fn start(address: SocketAddr, count: u32) -> Self {
        let (tokens, mut clients) = (Arc::<AtomicU64>::default(), JoinSet::new());
        for seed in 0..count {
            let tokens = Arc::clone(&tokens);
            clients.spawn(async move {
                loop {
                    if let Err(error) = read(address, seed, &tokens).await {
                        eprintln!("a stream broke off: {error}");
                        return;
                    }
                }
            });
        }
        Self { tokens, _clients: clients }
    }
}

/// Reads a stream to its end.
async fn read(address: SocketAddr, seed: u32, tokens: &AtomicU64) -> Result<()> {
    let body =
        format!(r#"{{"prompt":"abababab","max_tokens":{TOKENS},"seed":{seed},"stream":true}}"#);
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut part = vec![0; 64 << 10];
    loop {
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Ok(());
        }
        let events = part[..count].windows(6).filter(|bytes| *bytes == b"data: ").count();
        tokens.fetch_add(events as u64, Ordering::Relaxed);
    }
}
