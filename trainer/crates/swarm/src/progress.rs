// SPDX-License-Identifier: Apache-2.0

//! Progress of the transfers of one blob.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The time of the last progress of any transfer; `None` while there is no transfer.
#[derive(Default)]
pub(crate) struct Activity(Mutex<Option<Instant>>);

impl Activity {
    /// Returns the time from which a further transfer may begin, if one is under way: `delay` after
    /// the last progress.
    pub(crate) fn quiet_from(&self, delay: Duration) -> Option<Instant> {
        let progress = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        progress.map(|progress| progress + delay)
    }

    /// Returns `true` if a further transfer may begin.
    pub(crate) fn is_quiet(&self, delay: Duration) -> bool {
        self.quiet_from(delay).is_none_or(|from| Instant::now() >= from)
    }

    /// Lets a further transfer begin at once, since one has failed.
    pub(crate) fn end(&self) {
        self.set(None);
    }

    fn set(&self, progress: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// Progress of one transfer.
pub(crate) struct Progress<'a> {
    received: u64,
    activity: &'a Activity,
}

impl<'a> Progress<'a> {
    /// Creates the progress of a transfer that begins now.
    pub(crate) fn new(activity: &'a Activity) -> Self {
        activity.set(Some(Instant::now()));
        Self { received: 0, activity }
    }

    /// Returns the number of verified bytes that arrived.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Notes that `received` bytes have arrived by now.
    pub(crate) fn note(&mut self, received: u64) {
        if received > self.received {
            self.received = received;
            self.activity.set(Some(Instant::now()));
        }
    }
}
