// SPDX-License-Identifier: Apache-2.0

//! A client with one connection.

use crate::Result;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Connection to the server.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes that were read and not used yet.
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Returns the status and the body of an answer.
    pub(crate) async fn get(&mut self, path: &str) -> Result<(u16, String)> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await?;
        let body = loop {
            if let Some(end) = self.read.windows(4).position(|part| part == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill().await?;
        };
        let head = String::from_utf8_lossy(&self.read[..body]).to_lowercase();
        let status = head.get(9..12).ok_or("the answer has no status")?.parse()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.ok_or("the answer has no length")?.trim().parse()?;
        while self.read.len() < body + length {
            self.fill().await?;
        }
        let text = String::from_utf8(self.read[body..body + length].to_vec())?;
        self.read.drain(..body + length);
        Ok((status, text))
    }

    async fn fill(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err("the server closed the connection".into()),
            _ => Ok(()),
        }
    }
}
