// SPDX-License-Identifier: Apache-2.0

//! Pace of requests to each host.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// Longest time that requests to a host are kept apart.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);
/// Number of hosts above which those that nobody waits for are forgotten.
const MAX_HOSTS: usize = 4096;

/// Keeps requests to a host apart in time and limits their number at one time.
pub(super) struct Pacer {
    concurrency: usize,
    hosts: Mutex<BTreeMap<String, Host>>,
}

struct Host {
    /// Time from which the next request may start.
    next: Instant,
    slots: Arc<Semaphore>,
}

impl Pacer {
    /// Creates a pacer that lets `concurrency` requests to a host run at one time.
    pub(super) fn new(concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), hosts: Mutex::default() }
    }

    /// Waits until a request to `host` may start. The next one may start `delay` later. The slot is
    /// free again when the permit is dropped.
    pub(super) async fn enter(&self, host: &str, delay: Duration) -> Option<OwnedSemaphorePermit> {
        let slots = self.with_host(host, |host| host.slots.clone());
        // The semaphore is never closed.
        let permit = slots.acquire_owned().await.ok();
        loop {
            let wait = self.with_host(host, |host| {
                let now = Instant::now();
                if host.next > now {
                    return Some(host.next);
                }
                host.next = now + delay.min(MAX_DELAY);
                None
            });
            match wait {
                Some(start) => tokio::time::sleep_until(start).await,
                None => return permit,
            }
        }
    }

    /// Lets no request to `host` start for `time`.
    pub(super) fn pause(&self, host: &str, time: Duration) {
        self.with_host(host, |host| {
            host.next = host.next.max(Instant::now() + time.min(MAX_DELAY))
        });
    }

    fn with_host<T>(&self, name: &str, act: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.lock();
        if hosts.len() >= MAX_HOSTS && !hosts.contains_key(name) {
            let now = Instant::now();
            hosts.retain(|_, host| host.next > now || Arc::strong_count(&host.slots) > 1);
        }
        act(hosts.entry(name.to_owned()).or_insert_with(|| Host {
            next: Instant::now(),
            slots: Arc::new(Semaphore::new(self.concurrency)),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        // Each change of a host is complete in one statement.
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn requests_to_a_host_are_apart_and_hosts_are_independent() {
        let pacer = Pacer::new(4);
        let start = Instant::now();
        for expected in 0..3 {
            let _permit = pacer.enter("a", DELAY).await;
            assert_eq!(start.elapsed().as_secs(), expected * 10);
        }
        let before = Instant::now();
        let _permit = pacer.enter("b", DELAY).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_when_its_permit_is_dropped() {
        let pacer = Pacer::new(1);
        let permit = pacer.enter("a", Duration::ZERO).await;
        let second = tokio::time::timeout(DELAY, pacer.enter("a", Duration::ZERO)).await;
        assert!(second.is_err());
        drop(permit);
        assert!(pacer.enter("a", Duration::ZERO).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_waiting_requests_too() {
        let pacer = Pacer::new(2);
        let start = Instant::now();
        let _permit = pacer.enter("a", DELAY).await;
        let (second, ()) = tokio::join!(pacer.enter("a", DELAY), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            pacer.pause("a", Duration::from_secs(60));
        });
        assert!(second.is_some());
        assert_eq!(start.elapsed().as_secs(), 65);
    }

    #[tokio::test(start_paused = true)]
    async fn hosts_are_forgotten_when_there_are_too_many() {
        let pacer = Pacer::new(1);
        for number in 0..=MAX_HOSTS {
            pacer.enter(&number.to_string(), Duration::ZERO).await;
        }
        assert_eq!(pacer.lock().len(), 1);
    }
}
