// SPDX-License-Identifier: Apache-2.0

//! Limits on time and load.

use std::time::Duration;

/// Maximum size of a request in bytes. A hash and the ranges missing from a broken transfer take a
/// few dozen.
pub(crate) const MAX_REQUEST_BYTES: usize = 4096;
/// Maximum number of open requests per connection. This crate's own fetches use one at a time.
pub(crate) const REQUESTS_PER_CONNECTION: u32 = 4;
/// Maximum number of request bytes that a connection may send ahead of being read.
pub(crate) const REQUEST_WINDOW: u32 = 64 * 1024;
/// Maximum number of bytes sent and not yet acknowledged, kept in memory for every connection. It
/// allows 10 MB/s at a latency of 100 ms.
pub(crate) const SEND_WINDOW: u64 = 1024 * 1024;
/// Number of blobs that [`Swarm::add_all`](crate::Swarm::add_all) writes at a time. The store
/// commits waiting blobs together.
pub(crate) const CONCURRENT_WRITES: usize = 32;

/// Bytes of the disk that blobs leave free. A store that cannot write its database fails, and
/// serves nothing until it is opened again.
pub(crate) const RESERVED_BYTES: u64 = 8 << 20;
/// Bytes of the disk that have to be free for a change of labels and for a collection, which free
/// space in turn.
pub(crate) const CHANGE_BYTES: u64 = 1 << 20;
/// Time between two tries to open a store that failed.
pub(crate) const REOPEN_PAUSE: Duration = Duration::from_secs(3);

/// Limits that tests shorten.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Maximum duration of a connection with its handshake, and of a request's arrival: two
    /// retransmissions on a bad line.
    pub(crate) connect_timeout: Duration,
    /// Maximum time without a byte: longer than losses and a busy disk take, and short enough to
    /// try the next peer.
    pub(crate) stall_timeout: Duration,
    /// Minimum speed of a transfer over each [`Self::stall_timeout`], below which it is cut: half a
    /// megabit per second, which a home line uploads to several peers at once. Bytes that arrived
    /// are kept, and a slow sole holder is asked again for the rest.
    pub(crate) min_bytes_per_second: u64,
    /// Time without a transfer after which the next peer is asked beside those that were.
    pub(crate) hedge_delay: Duration,
    /// Time without progress of a transfer after which the next peer may send the same blob.
    pub(crate) quiet_delay: Duration,
    /// Time below [`Self::fair_bytes_per_second`] after which the next peer may send the same blob.
    pub(crate) slow_delay: Duration,
    /// Speed of a transfer beside which no other begins: two megabits per second. Whoever sends
    /// just enough not to be cut thus keeps a blob from nobody.
    pub(crate) fair_bytes_per_second: u64,
    /// Maximum number of peers that are asked for one blob at a time.
    pub(crate) max_asked: usize,
    /// Interval between collections of blobs without a label. Until the next one, a broken transfer
    /// can be resumed.
    pub(crate) gc_interval: Duration,
    /// Maximum number of connections whose handshake is under way.
    pub(crate) max_handshakes: usize,
    /// Maximum number of connections of members served at a time, each costing up to
    /// [`SEND_WINDOW`] of memory.
    pub(crate) max_member_slots: usize,
    /// Maximum number of them that one member has: more than the downloads through all handles of
    /// one process, so that a member which uses this crate displaces none of its own.
    pub(crate) max_slots_per_member: usize,
    /// Maximum number of connections of all others served at a time.
    pub(crate) max_stranger_slots: usize,
    /// Speed at which strangers are served, all together, while a member waits for a blob.
    pub(crate) stranger_bytes_per_second: u64,
    /// Time over which a peer keeps refusing this one, for lack of a free slot, until that is its
    /// fault. A member that was just started, or an endpoint that was just registered, is known to
    /// the other side within some blocks.
    pub(crate) refusal_time: Duration,
    /// Maximum number of blobs fetched at a time through one handle. If there are more, they take
    /// turns of one [`Self::stall_timeout`]. It keeps one peer from using up another's connections.
    pub(crate) max_downloads: usize,
    /// Maximum number of them that have the same owner.
    pub(crate) max_downloads_per_owner: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(10),
            min_bytes_per_second: 64 * 1024,
            hedge_delay: Duration::from_millis(250),
            quiet_delay: Duration::from_secs(1),
            slow_delay: Duration::from_secs(3),
            fair_bytes_per_second: 256 * 1024,
            max_asked: 24,
            gc_interval: Duration::from_secs(600),
            max_handshakes: 256,
            max_member_slots: 512,
            max_slots_per_member: 96,
            max_stranger_slots: 128,
            stranger_bytes_per_second: 256 * 1024,
            refusal_time: Duration::from_secs(30),
            max_downloads: 16,
            max_downloads_per_owner: 8,
        }
    }
}

impl Limits {
    /// Returns the number of bytes that have to arrive within each [`Self::stall_timeout`].
    pub(crate) fn bytes_per_window(&self) -> u64 {
        self.min_bytes_per_second.saturating_mul(self.stall_timeout.as_secs())
    }

    /// Returns the number of bytes that have to arrive within each [`Self::slow_delay`] to keep
    /// other peers waiting.
    pub(crate) fn bytes_per_fair_window(&self) -> u64 {
        self.fair_bytes_per_second.saturating_mul(self.slow_delay.as_secs())
    }

    /// Returns the maximum duration for which a blob of `size` bytes is served.
    pub(crate) fn transfer_timeout(&self, size: u64) -> Duration {
        self.stall_timeout + Duration::from_secs(size / self.min_bytes_per_second.max(1))
    }
}
