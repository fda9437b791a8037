// SPDX-License-Identifier: Apache-2.0

//! Memory of how peers answered.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use pol_primitives::member::Endpoint;

/// Time for which a peer that failed once is asked last. It doubles with each failure in a row.
const FIRST_BACKOFF: Duration = Duration::from_secs(4);
/// Maximum time for which a failed peer is asked last, and the time without a failure after which
/// its earlier ones are forgotten.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// Time for which the round-trip time of a connection is told.
const LATENCY_AGE: Duration = Duration::from_secs(3_600);
/// Number of peers that are asked at most before the first one that the caller names, which is the
/// owner of the blob if it has one: it has to deliver, and to be asked before it is blamed.
const MOST_BEFORE_FIRST: usize = 3;
/// Number of peers above which those without a recent failure or connection are forgotten.
const MAX_PEERS: usize = 4096;

/// Memory of one peer.
#[derive(Clone, Copy, Default)]
struct PeerRecord {
    /// Failures in a row.
    failures: u32,
    /// End of the time in which the peer is asked last.
    backoff_until: Option<Instant>,
    /// Time of the last connection.
    reached: Option<Instant>,
    /// Times of the first and the last of the refusals for lack of a free slot, one soon after the
    /// other.
    refusals: Option<(Instant, Instant)>,
    /// Number of bytes that arrived in all transfers.
    received: u64,
    /// Round-trip time of the last connection of which one is known.
    latency: Option<Duration>,
}

/// Memory of how peers answered, by their keys.
#[derive(Default)]
pub(crate) struct PeerMemory(HashMap<[u8; 32], PeerRecord>);

impl PeerMemory {
    /// Notes that a connection to the peer was made at `now`, with its round-trip time if that is
    /// known.
    pub(crate) fn note_reached(&mut self, peer: [u8; 32], latency: Option<Duration>, now: Instant) {
        let record = self.record(peer, now);
        record.reached = Some(now);
        record.latency = latency.or(record.latency);
    }

    /// Returns the round-trip time to a peer that was connected to within the time before `now` in
    /// which that is news.
    pub(crate) fn latency(&self, peer: &[u8; 32], now: Instant) -> Option<Duration> {
        let record = self.0.get(peer)?;
        record.latency.filter(|_| record.reached.is_some_and(|at| now < at + LATENCY_AGE))
    }

    /// Notes that the peer delivered, which makes up for its failures.
    pub(crate) fn note_delivered(&mut self, peer: [u8; 32], now: Instant) {
        let record = self.record(peer, now);
        (record.failures, record.backoff_until) = (0, None);
    }

    /// Notes that the peer failed at `now`.
    pub(crate) fn note_failure(&mut self, peer: [u8; 32], now: Instant) {
        let record = self.record(peer, now);
        if record.backoff_until.is_some_and(|until| now >= until + MAX_BACKOFF) {
            record.failures = 0;
        }
        let backoff = FIRST_BACKOFF.saturating_mul(1 << record.failures.min(16));
        record.failures = record.failures.saturating_add(1);
        record.backoff_until = Some(now + backoff.min(MAX_BACKOFF));
    }

    /// Notes that the peer had no free slot at `now`, and returns the time over which it never had
    /// one. Refusals with more than `pause` between them say nothing about the time between.
    pub(crate) fn note_refusal(
        &mut self,
        peer: [u8; 32],
        pause: Duration,
        now: Instant,
    ) -> Duration {
        let record = self.record(peer, now);
        let first = match record.refusals {
            Some((first, last)) if now <= last + pause => first,
            _ => now,
        };
        record.refusals = Some((first, now));
        now.duration_since(first)
    }

    /// Notes that bytes arrived from the peer.
    pub(crate) fn note_received(&mut self, peer: [u8; 32], bytes: u64, now: Instant) {
        let record = self.record(peer, now);
        record.received = record.received.saturating_add(bytes);
    }

    /// Returns the number of bytes that arrived from the peer in all transfers.
    pub(crate) fn received(&self, peer: &[u8; 32]) -> u64 {
        self.0.get(peer).map_or(0, |record| record.received)
    }

    /// Returns `true` if a peer outside `except` was connected to at or after `since`.
    pub(crate) fn reached_since(&self, since: Instant, except: &[[u8; 32]]) -> bool {
        self.0.iter().any(|(peer, record)| {
            !except.contains(peer) && record.reached.is_some_and(|reached| reached >= since)
        })
    }

    /// Returns `peers` without `own`, those that failed lately last, otherwise in their order. At
    /// most [`MOST_BEFORE_FIRST`] come before the first one, whatever it did.
    pub(crate) fn order<'a>(
        &self,
        peers: &'a [Endpoint],
        own: &[u8; 32],
        now: Instant,
    ) -> Vec<&'a Endpoint> {
        let mut order: Vec<_> = peers.iter().filter(|peer| peer.id != *own).collect();
        let first = order.first().map(|peer| peer.id);
        order.sort_by_key(|peer| self.backs_off(&peer.id, now));
        let place = order.iter().position(|peer| Some(peer.id) == first).unwrap_or_default();
        if place > MOST_BEFORE_FIRST {
            let first = order.remove(place);
            order.insert(MOST_BEFORE_FIRST, first);
        }
        order
    }

    fn backs_off(&self, peer: &[u8; 32], now: Instant) -> bool {
        let until = self.0.get(peer).and_then(|record| record.backoff_until);
        until.is_some_and(|until| now < until)
    }

    fn record(&mut self, peer: [u8; 32], now: Instant) -> &mut PeerRecord {
        if self.0.len() >= MAX_PEERS {
            self.0.retain(|_, record| {
                let newest = record.reached.max(record.backoff_until);
                newest.is_some_and(|newest| now < newest + MAX_BACKOFF)
            });
        }
        self.0.entry(peer).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(count: u8) -> Vec<Endpoint> {
        (0..count).map(|id| Endpoint { id: [id; 32], addresses: Default::default() }).collect()
    }

    fn order(memory: &PeerMemory, peers: &[Endpoint], now: Instant) -> Vec<u8> {
        memory.order(peers, &[2; 32], now).iter().map(|peer| peer.id[0]).collect()
    }

    #[test]
    fn failed_peers_come_last_until_their_backoff_ends() {
        let (mut memory, peers, start) = (PeerMemory::default(), peers(5), Instant::now());
        assert_eq!(order(&memory, &peers, start), [0, 1, 3, 4]);
        memory.note_failure([0; 32], start);
        assert_eq!(order(&memory, &peers, start), [1, 3, 4, 0]);
        assert_eq!(order(&memory, &peers, start + FIRST_BACKOFF), [0, 1, 3, 4]);

        // The second failure in a row counts twice, and a delivery makes up for both.
        let again = start + FIRST_BACKOFF;
        memory.note_failure([0; 32], again);
        assert_eq!(order(&memory, &peers, again + FIRST_BACKOFF), [1, 3, 4, 0]);
        memory.note_delivered([0; 32], again);
        assert_eq!(order(&memory, &peers, again), [0, 1, 3, 4]);
    }

    #[test]
    fn the_first_peer_is_asked_early_whatever_it_did() {
        let (mut memory, peers, now) = (PeerMemory::default(), peers(8), Instant::now());
        memory.note_failure([0; 32], now);
        assert_eq!(order(&memory, &peers, now), [1, 3, 4, 0, 5, 6, 7]);
        memory.note_failure([5; 32], now);
        assert_eq!(order(&memory, &peers, now), [1, 3, 4, 0, 6, 7, 5]);
        // Behind one, two and three others, it keeps its place.
        for count in 1..=4 {
            assert_eq!(order(&memory, &peers[..=count], now).last(), Some(&0));
        }
        assert!(order(&memory, &[], now).is_empty());
    }

    #[test]
    fn backoffs_are_bounded_and_failures_are_forgotten() {
        let (mut memory, peers, mut now) = (PeerMemory::default(), peers(2), Instant::now());
        for _ in 0..40 {
            memory.note_failure([0; 32], now);
        }
        assert_eq!(order(&memory, &peers, now), [1, 0]);
        now += MAX_BACKOFF;
        assert_eq!(order(&memory, &peers, now), [0, 1]);
        now += MAX_BACKOFF;
        memory.note_failure([0; 32], now);
        assert_eq!(order(&memory, &peers, now + FIRST_BACKOFF), [0, 1]);
    }

    #[test]
    fn refusals_last_from_the_first_to_the_last_without_a_long_pause() {
        let (mut memory, start, second) =
            (PeerMemory::default(), Instant::now(), Duration::from_secs(1));
        let mut refuse =
            |seconds: Duration| memory.note_refusal([1; 32], 5 * second, start + seconds);
        assert_eq!(refuse(Duration::ZERO), Duration::ZERO);
        assert_eq!(refuse(5 * second), 5 * second);
        assert_eq!(refuse(9 * second), 9 * second);
        assert_eq!(refuse(15 * second), Duration::ZERO, "it may have had a free slot meanwhile");
        assert_eq!(memory.note_refusal([2; 32], 5 * second, start), Duration::ZERO);
    }

    #[test]
    fn latencies_are_those_of_the_last_connections() {
        let (mut memory, start) = (PeerMemory::default(), Instant::now());
        let millis = |millis| Some(Duration::from_millis(millis));
        memory.note_reached([1; 32], millis(30), start);
        memory.note_failure([2; 32], start);
        assert_eq!(memory.latency(&[1; 32], start), millis(30));
        assert_eq!(
            (memory.latency(&[2; 32], start), memory.latency(&[3; 32], start)),
            (None, None)
        );
        let later = start + LATENCY_AGE / 2;
        memory.note_reached([1; 32], millis(50), later);
        memory.note_reached([1; 32], None, later);
        assert_eq!(memory.latency(&[1; 32], start + LATENCY_AGE), millis(50));
        assert_eq!(memory.latency(&[1; 32], later + LATENCY_AGE), None);
    }

    #[test]
    fn only_other_peers_prove_that_this_one_is_connected() {
        let (mut memory, start) = (PeerMemory::default(), Instant::now());
        memory.note_reached([1; 32], None, start);
        assert!(memory.reached_since(start, &[]));
        assert!(!memory.reached_since(start, &[[1; 32]]));
        assert!(!memory.reached_since(start + Duration::from_secs(1), &[]));
        memory.note_reached([2; 32], None, start + Duration::from_secs(1));
        assert!(memory.reached_since(start + Duration::from_secs(1), &[[1; 32]]));
    }

    #[test]
    fn the_memory_is_bounded() {
        let (mut memory, start) = (PeerMemory::default(), Instant::now());
        for number in 0..=MAX_PEERS as u64 {
            let mut peer = [0; 32];
            peer[..8].copy_from_slice(&number.to_le_bytes());
            memory.note_failure(peer, start + 3 * MAX_BACKOFF * u32::from(number > 4000));
        }
        assert!(memory.0.len() < 200, "{}", memory.0.len());
    }
}
