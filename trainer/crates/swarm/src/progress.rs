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
        let fair_since = Instant::now();
        let progress = Self { peer, limits, activity, received: 0, fair_since, fair_received: 0 };
        progress.publish(fair_since);
        progress
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
        self.received = received;
        let now = Instant::now();
        if received.saturating_sub(self.fair_received) >= self.limits.bytes_per_fair_window() {
            (self.fair_since, self.fair_received) = (now, received);
        }
        self.publish(now);
    }

    /// Lets a further transfer begin at once, since this one has failed.
    pub(crate) fn end(&self) {
        self.set(Instant::now());
    }

    fn publish(&self, now: Instant) {
        let (quiet, slow) = (self.limits.quiet_delay, self.limits.slow_delay);
        self.set((now + quiet).min(self.fair_since + slow));
    }

    fn set(&self, suffices_until: Instant) {
        let state = TransferState { received: self.received, suffices_until };
        self.activity.transfers().insert(self.peer, state);
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
}
