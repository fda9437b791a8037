// SPDX-License-Identifier: Apache-2.0

//! Pace of what strangers are sent.
//!
//! Strangers who fetch what they want at full speed take a line as surely as they take slots. So
//! they share a small part of it as long as a member waits for a blob.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use iroh::endpoint::{SendStream, VarInt};
use iroh_blobs::util::SendStream as Transmit;
use tokio::{sync::Mutex, time::sleep};

/// Pace of what all strangers are sent while members wait.
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// Number of transfers to members under way.
    to_members: AtomicUsize,
    /// Held by the stranger who is sent something next.
    next: Mutex<()>,
}

impl Pace {
    /// Creates a pace of `bytes_per_second` for all strangers together.
    pub(crate) fn new(bytes_per_second: u64) -> Arc<Self> {
        Arc::new(Self { bytes_per_second, to_members: AtomicUsize::new(0), next: Mutex::default() })
    }

    /// Notes that a member waits for a blob, until the result is dropped.
    pub(crate) fn note_member(self: &Arc<Self>) -> MemberTransfer {
        self.to_members.fetch_add(1, Ordering::Relaxed);
        MemberTransfer(self.clone())
    }

    /// Waits until a stranger may be sent `bytes` more.
    async fn wait(&self, bytes: usize) {
        if self.to_members.load(Ordering::Relaxed) == 0 {
            return;
        }
        let _next = self.next.lock().await;
        if self.to_members.load(Ordering::Relaxed) > 0 {
            let micros = (bytes as u64).saturating_mul(1_000_000) / self.bytes_per_second.max(1);
            sleep(Duration::from_micros(micros)).await;
        }
    }
}

/// A transfer to a member that is under way.
pub(crate) struct MemberTransfer(Arc<Pace>);

impl Drop for MemberTransfer {
    fn drop(&mut self) {
        self.0.to_members.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Stream to a peer, which has a pace if the peer is a stranger.
pub(crate) struct PacedStream {
    pub(crate) stream: SendStream,
    pub(crate) pace: Option<Arc<Pace>>,
}

impl PacedStream {
    async fn wait(&self, bytes: usize) {
        if let Some(pace) = &self.pace {
            pace.wait(bytes).await;
        }
    }
}

impl Transmit for PacedStream {
    async fn send_bytes(&mut self, bytes: Bytes) -> io::Result<()> {
        self.wait(bytes.len()).await;
        self.stream.send_bytes(bytes).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wait(bytes.len()).await;
        Transmit::send(&mut self.stream, bytes).await
    }

    async fn sync(&mut self) -> io::Result<()> {
        self.stream.sync().await
    }

    fn reset(&mut self, code: VarInt) -> io::Result<()> {
        Transmit::reset(&mut self.stream, code)
    }

    async fn stopped(&mut self) -> io::Result<Option<VarInt>> {
        Transmit::stopped(&mut self.stream).await
    }

    fn id(&self) -> u64 {
        Transmit::id(&self.stream)
    }
}
