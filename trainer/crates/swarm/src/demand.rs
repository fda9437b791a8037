// SPDX-License-Identifier: Apache-2.0

//! Memory of the blobs that peers asked for.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use pol_primitives::Hash;

/// Number of blobs above which the older half of the requests is forgotten.
const MAX_BLOBS: usize = 4096;

/// Times of the last requests for blobs of the store.
#[derive(Default)]
pub(crate) struct Demand(Mutex<HashMap<Hash, Instant>>);

impl Demand {
    /// Notes that a peer asked for the blob, or received a part of it, at `now`.
    pub(crate) fn note(&self, hash: Hash, now: Instant) {
        let mut requests = self.requests();
        if requests.len() >= MAX_BLOBS {
            let mut times: Vec<Instant> = requests.values().copied().collect();
            let (_, median, _) = times.select_nth_unstable(MAX_BLOBS / 2);
            let median = *median;
            requests.retain(|_, time| *time > median);
        }
        requests.insert(hash, now);
    }

    /// Returns `true` if a peer asked for the blob at or after `since`.
    pub(crate) fn is_since(&self, hash: &Hash, since: Instant) -> bool {
        self.requests().get(hash).is_some_and(|time| *time >= since)
    }

    fn requests(&self) -> MutexGuard<'_, HashMap<Hash, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_memory_is_bounded_and_keeps_the_newest() {
        let (demand, start) = (Demand::default(), Instant::now());
        let hash = |number: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&number.to_le_bytes());
            hash
        };
        for number in 0..=MAX_BLOBS {
            demand.note(hash(number), start + Duration::from_secs(number as u64));
        }
        assert!(demand.requests().len() <= MAX_BLOBS / 2 + 1);
        assert!(!demand.is_since(&hash(0), start));
        assert!(demand.is_since(&hash(MAX_BLOBS), start));
        assert!(!demand.is_since(&hash(MAX_BLOBS), start + Duration::from_secs(1 << 20)));
    }
}
