//! Bounds on time and load, each with its reason.

use std::time::Duration;

/// Most bytes of a request: a hash and the ranges missing from a broken transfer take a few dozen.
pub const MAX_REQUEST: usize = 4096;
/// Requests one connection can have open. Our own peers use one at a time.
pub const REQUESTS_PER_CONNECTION: u32 = 4;
/// Bytes of requests a connection may send ahead of being read.
pub const REQUEST_WINDOW: u32 = 64 * 1024;
/// Bytes sent and not yet acknowledged, kept in memory for every connection: 10 MB/s at 100 ms of
/// latency.
pub const SEND_WINDOW: u64 = 1024 * 1024;
/// Peers at the head of a list that take turns in being asked first. The list starts with the
/// likeliest holders, so the load is spread over the first few and not over all.
pub const SPREAD: usize = 4;
/// Blobs of [`Swarm::add_all`](crate::Swarm::add_all) written at a time; the store commits what is
/// waiting together.
pub const WRITES_AT_ONCE: usize = 32;

/// Bounds that tests shorten.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For a connection and its handshake, and for a request to arrive: two retransmissions on a
    /// bad line.
    pub connect: Duration,
    /// Without a byte: longer than losses and a busy disk take, short enough to go on to the next
    /// peer.
    pub stall: Duration,
    /// Bytes per second a transfer makes on average, or is cut: half a megabit, which a home line
    /// uploads to several peers at once. What has arrived is kept, so a slow but only holder still
    /// delivers, over several fetches.
    pub slowest: u64,
    /// Between collections of blobs that nothing keeps. Until the next one, a broken transfer can
    /// be resumed.
    pub collect: Duration,
    /// Connections served at a time, each costing up to [`SEND_WINDOW`] of memory.
    pub connections: usize,
    /// Blobs fetched at a time; others wait. Keeps one peer from using up another's connections.
    pub downloads: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            stall: Duration::from_secs(10),
            slowest: 64 * 1024,
            collect: Duration::from_secs(600),
            connections: 128,
            downloads: 16,
        }
    }
}

impl Limits {
    /// How long a transfer of `size` bytes may take.
    pub fn transfer(&self, size: u64) -> Duration {
        self.stall + Duration::from_secs(size / self.slowest.max(1))
    }
}
