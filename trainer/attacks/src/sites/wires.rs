// SPDX-License-Identifier: Apache-2.0

//! State of the links between sites, and its effect on what passes them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Longest queue of datagrams in front of a slow link.
const MAX_QUEUE: Duration = Duration::from_millis(400);
/// Time by which a datagram is late that others overtake.
const LATENESS: Duration = Duration::from_millis(20);
/// Time after which TCP sends lost bytes again.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Quality of a link in each direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quality {
    /// Time that everything takes.
    pub(crate) delay: Duration,
    /// Share of packets that are lost.
    pub(crate) loss: f64,
    /// Share of datagrams that others overtake.
    pub(crate) reorder: f64,
    /// Bytes that pass in a second; no limit if it is `None`.
    pub(crate) bandwidth: Option<u32>,
}

/// Arrival of a datagram at the end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) at: Instant,
    /// `true` if datagrams that are sent later may arrive before.
    pub(super) is_overtaken: bool,
}

/// One direction of a link that is up.
#[derive(Default)]
struct Wire {
    quality: Quality,
    /// End of the transmission of what was sent before.
    free_at: Option<Instant>,
    /// Packets that chance decided about.
    drawn: u64,
}

impl Wire {
    /// Returns the arrival of a datagram that is sent `now`, or `None` if it is lost.
    fn datagram(&mut self, bytes: usize, now: Instant) -> Option<Arrival> {
        let queue = self.free_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        if queue > MAX_QUEUE || self.happens(self.quality.loss) {
            return None;
        }
        let at = self.transmit(bytes, now) + self.quality.delay;
        let is_overtaken = self.happens(self.quality.reorder);
        Some(Arrival { at: if is_overtaken { at + LATENESS } else { at }, is_overtaken })
    }

    /// Returns the arrival of bytes of a connection. Lost ones are sent again.
    fn stream(&mut self, bytes: usize, now: Instant) -> Instant {
        let at = self.transmit(bytes, now) + self.quality.delay;
        if self.happens(self.quality.loss) { at + RETRANSMISSION } else { at }
    }

    /// Returns the end of the transmission.
    fn transmit(&mut self, bytes: usize, now: Instant) -> Instant {
        let begin = self.free_at.map_or(now, |at| at.max(now));
        let time = self.quality.bandwidth.map_or(Duration::ZERO, |bandwidth| {
            Duration::from_secs_f64(bytes as f64 / f64::from(bandwidth.max(1)))
        });
        *self.free_at.insert(begin + time)
    }

    /// Draws whether something of this probability happens. The draws are the same in each run.
    fn happens(&mut self, probability: f64) -> bool {
        self.drawn += 1;
        let mut bytes = [0; 8];
        blake3::Hasher::new().update(&self.drawn.to_le_bytes()).finalize_xof().fill(&mut bytes);
        (u64::from_le_bytes(bytes) as f64) < probability * u64::MAX as f64
    }
}

/// Two sites: where something comes from, and where it goes to.
pub(super) type Direction = (u8, u8);

/// The links between all sites.
pub(super) struct Wires {
    sites: u8,
    /// Directions of the links that are down.
    down: watch::Sender<BTreeSet<Direction>>,
    /// Wires of imperfect links.
    wires: Mutex<BTreeMap<Direction, Wire>>,
}

impl Wires {
    /// Links `sites` sites perfectly.
    pub(super) fn new(sites: u8) -> Self {
        Self { sites, down: watch::Sender::default(), wires: Mutex::default() }
    }

    /// Takes the links down between the sites of `away` and all others, and all other links up.
    pub(super) fn part(&self, away: &[u8]) {
        let is_cut = |&(from, to): &Direction| away.contains(&from) != away.contains(&to);
        self.down.send_replace(self.directions().filter(is_cut).collect());
    }

    /// Sets the quality of all links between different sites.
    pub(super) fn set_quality(&self, quality: Quality) {
        let wires = self.directions().map(|way| (way, Wire { quality, ..Wire::default() }));
        *self.wires.lock().unwrap_or_else(PoisonError::into_inner) = wires.collect();
    }

    /// Returns the arrival of a datagram that is sent now, or `None` if it is lost.
    pub(super) fn datagram(&self, way: Direction, bytes: usize) -> Option<Arrival> {
        let now = Instant::now();
        if self.down.borrow().contains(&way) {
            return None;
        }
        let at_once = Some(Arrival { at: now, is_overtaken: false });
        self.on_wire(way, at_once, |wire| wire.datagram(bytes, now))
    }

    /// Returns the arrival of bytes of a connection that are sent now.
    pub(super) fn stream(&self, way: Direction, bytes: usize) -> Instant {
        let now = Instant::now();
        self.on_wire(way, now, |wire| wire.stream(bytes, now))
    }

    /// Waits until the link is up.
    pub(super) async fn until_up(&self, way: Direction) {
        // The sender lives as long as this method runs.
        let _ = self.down.subscribe().wait_for(|down| !down.contains(&way)).await;
    }

    fn on_wire<T>(&self, way: Direction, perfect: T, pass: impl FnOnce(&mut Wire) -> T) -> T {
        let mut wires = self.wires.lock().unwrap_or_else(PoisonError::into_inner);
        wires.get_mut(&way).map_or(perfect, pass)
    }

    fn directions(&self) -> impl Iterator<Item = Direction> {
        let sites = self.sites;
        (0..sites)
            .flat_map(move |from| (0..sites).map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(quality: Quality) -> Wire {
        Wire { quality, ..Wire::default() }
    }

    #[test]
    fn perfect_wires_deliver_at_once() {
        let (mut wire, now) = (wire(Quality::default()), Instant::now());
        for _ in 0..100 {
            let arrival = wire.datagram(1_000, now);
            assert_eq!(arrival, Some(Arrival { at: now, is_overtaken: false }));
            assert_eq!(wire.stream(1_000, now), now);
        }
    }

    #[test]
    fn bandwidth_spaces_packets_and_a_full_queue_loses_them() {
        let quality = Quality { bandwidth: Some(10_000), ..Quality::default() };
        let (mut wire, now) = (wire(quality), Instant::now());
        for sent in 1..=5 {
            let at = now + Duration::from_millis(100) * sent;
            assert_eq!(wire.datagram(1_000, now), Some(Arrival { at, is_overtaken: false }));
        }
        assert_eq!(wire.datagram(1_000, now), None);
        // Bytes of a connection wait instead.
        assert_eq!(wire.stream(1_000, now), now + Duration::from_millis(600));
        let later = now + Duration::from_millis(500);
        assert!(wire.datagram(1_000, later).is_some());
    }

    #[test]
    fn loss_delay_and_reordering_have_their_shares() {
        let delay = Duration::from_millis(80);
        let quality = Quality { delay, loss: 0.1, reorder: 0.2, bandwidth: None };
        let (mut wire, now) = (wire(quality), Instant::now());
        let arrivals: Vec<_> = (0..1_000).filter_map(|_| wire.datagram(1_000, now)).collect();
        assert!((860..940).contains(&arrivals.len()), "{}", arrivals.len());
        let late = arrivals.iter().filter(|arrival| arrival.is_overtaken).count();
        assert!((130..230).contains(&late), "{late}");
        for arrival in arrivals {
            let lateness = if arrival.is_overtaken { LATENESS } else { Duration::ZERO };
            assert_eq!(arrival.at, now + delay + lateness);
        }
        let again = (0..1_000).filter(|_| wire.stream(1, now) == now + delay + RETRANSMISSION);
        assert!((60..140).contains(&again.count()));
    }

    #[tokio::test]
    async fn a_partition_cuts_the_links_across_it_only() {
        let wires = Wires::new(4);
        wires.part(&[2, 3]);
        for (way, is_up) in [((0, 1), true), ((0, 2), false), ((3, 1), false), ((3, 2), true)] {
            assert_eq!(wires.datagram(way, 1).is_some(), is_up, "{way:?}");
        }
        wires.until_up((0, 1)).await;
        let (waited, ()) = tokio::join!(
            tokio::time::timeout(Duration::from_secs(10), wires.until_up((0, 2))),
            async { wires.part(&[]) }
        );
        assert!(waited.is_ok() && wires.datagram((0, 2), 1).is_some());
    }
}
