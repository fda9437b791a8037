// SPDX-License-Identifier: Apache-2.0

//! Progress of the transfers of one blob.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use crate::limits::Limits;

/// Transfers of one blob by the keys of the peers that send it.
#[derive(Default)]
pub(crate) struct Activity(Mutex<HashMap<[u8; 32], TransferState>>);

/// State of one transfer.
struct TransferState {
    /// Number of verified bytes that arrived.
    received: u64,
    /// Time until which no other transfer needs to begin beside it.
    suffices_until: Instant,
    /// Time and bytes at the last comparison with other transfers.
    compared: (Instant, u64),
    /// Set until the transfer ended or is to be cut.
    is_kept: bool,
}

impl TransferState {
    /// Returns the bytes per second since the last comparison, and begins the next one.
    fn compare(&mut self, now: Instant) -> u64 {
        let (since, before) = std::mem::replace(&mut self.compared, (now, self.received));
        let millis = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(u64::MAX);
        self.received.saturating_sub(before).saturating_mul(1000) / millis.max(1)
    }
}

impl Activity {
    /// Returns the time from which a further transfer may begin, if one is or was under way.
    pub(crate) fn suffices_until(&self) -> Option<Instant> {
        self.transfers().values().map(|transfer| transfer.suffices_until).max()
    }

    /// Returns `true` if no transfer makes fair progress, so that a further one may begin.
    pub(crate) fn is_quiet(&self) -> bool {
        self.suffices_until().is_none_or(|until| Instant::now() >= until)
    }

    /// Returns `true` if several transfers are under way.
    pub(crate) fn is_shared(&self) -> bool {
        self.transfers().values().filter(|transfer| transfer.is_kept).count() > 1
    }

    /// Cuts the slowest transfer since the last call, unless it is the only one.
    pub(crate) fn cut_slowest(&self) {
        let (now, mut transfers) = (Instant::now(), self.transfers());
        let kept = transfers.values_mut().filter(|transfer| transfer.is_kept);
        let mut speeds: Vec<_> = kept.map(|transfer| (transfer.compare(now), transfer)).collect();
        if speeds.len() > 1
            && let Some((_, slowest)) = speeds.iter_mut().min_by_key(|(speed, _)| *speed)
        {
            slowest.is_kept = false;
        }
    }

    /// Returns the number of bytes that arrived from the peer in its last transfer.
    pub(crate) fn received(&self, peer: &[u8; 32]) -> u64 {
        self.transfers().get(peer).map_or(0, |transfer| transfer.received)
    }

    /// Returns `true` if the peer's transfer makes fair progress.
    pub(crate) fn is_fair(&self, peer: &[u8; 32]) -> bool {
        let now = Instant::now();
        self.transfers().get(peer).is_some_and(|transfer| now < transfer.suffices_until)
    }

    fn transfers(&self) -> MutexGuard<'_, HashMap<[u8; 32], TransferState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Progress of one transfer.
pub(crate) struct Progress<'a> {
    peer: [u8; 32],
    limits: &'a Limits,
    activity: &'a Activity,
    received: u64,
    /// Begin of the time in which the next bytes have to arrive for a fair speed.
    fair_since: Instant,
    /// Bytes that arrived before it.
    fair_received: u64,
}

impl<'a> Progress<'a> {
    /// Creates the progress of a transfer from `peer` that begins now.
    pub(crate) fn new(peer: [u8; 32], limits: &'a Limits, activity: &'a Activity) -> Self {
        let now = Instant::now();
        let state = TransferState {
            received: 0,
            suffices_until: now + limits.quiet_delay.min(limits.slow_delay),
            compared: (now, 0),
            is_kept: true,
        };
        activity.transfers().insert(peer, state);
        Self { peer, limits, activity, received: 0, fair_since: now, fair_received: 0 }
    }

    /// Returns the key of the peer that sends.
    pub(crate) fn peer(&self) -> [u8; 32] {
        self.peer
    }

    /// Returns the number of verified bytes that arrived.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Notes that `received` bytes have arrived by now.
    pub(crate) fn note(&mut self, received: u64) {
        if received <= self.received {
            return;
        }
        pol_metrics::swarm().received_bytes_total.add(received - self.received);
        self.received = received;
        let now = Instant::now();
        if received.saturating_sub(self.fair_received) >= self.limits.bytes_per_fair_window() {
            (self.fair_since, self.fair_received) = (now, received);
        }
        let (quiet, slow) = (self.limits.quiet_delay, self.limits.slow_delay);
        let suffices_until = (now + quiet).min(self.fair_since + slow);
        self.update(|state| (state.received, state.suffices_until) = (received, suffices_until));
    }

    /// Returns `true` if the transfer is to be cut, since others are faster.
    pub(crate) fn is_outpaced(&self) -> bool {
        self.activity.transfers().get(&self.peer).is_some_and(|state| !state.is_kept)
    }

    /// Lets a further transfer begin at once, since this one has failed.
    pub(crate) fn end(&self) {
        let now = Instant::now();
        self.update(|state| (state.suffices_until, state.is_kept) = (now, false));
    }

    fn update(&self, change: impl FnOnce(&mut TransferState)) {
        self.activity.transfers().get_mut(&self.peer).map(change);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn slow_progress_keeps_nobody_waiting_for_long() {
        let limits = Limits {
            quiet_delay: Duration::from_secs(1),
            slow_delay: Duration::from_secs(1),
            ..Limits::default()
        };
        let activity = Activity::default();
        assert!(activity.is_quiet());
        let mut slow = Progress::new([1; 32], &limits, &activity);
        slow.fair_since -= Duration::from_secs(1);
        slow.note(1);
        assert!(activity.is_quiet() && !activity.is_fair(&[1; 32]));
        assert_eq!(activity.received(&[1; 32]), 1);
        // A fast transfer beside it suffices, whatever the slow one does, until it ends.
        let mut fast = Progress::new([2; 32], &limits, &activity);
        fast.fair_since -= Duration::from_secs(1);
        fast.note(limits.bytes_per_fair_window());
        slow.note(2);
        assert!(!activity.is_quiet() && activity.is_fair(&[2; 32]));
        fast.end();
        assert!(activity.is_quiet());
    }

    #[test]
    fn of_several_transfers_the_slowest_is_cut() {
        let (limits, activity) = (Limits::default(), Activity::default());
        let mut first = Progress::new([1; 32], &limits, &activity);
        assert!(!activity.is_shared());
        activity.cut_slowest();
        assert!(!first.is_outpaced(), "it is the only one");
        first.note(1_000_000);
        let second = Progress::new([2; 32], &limits, &activity);
        assert!(activity.is_shared());
        std::thread::sleep(Duration::from_millis(20));
        activity.cut_slowest();
        assert!(second.is_outpaced() && !first.is_outpaced());
        // Only what arrived since the last comparison counts.
        second.end();
        let mut third = Progress::new([3; 32], &limits, &activity);
        third.note(1000);
        std::thread::sleep(Duration::from_millis(20));
        activity.cut_slowest();
        assert!(first.is_outpaced() && !third.is_outpaced());
    }
}
