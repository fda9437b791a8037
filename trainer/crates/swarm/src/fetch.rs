// SPDX-License-Identifier: Apache-2.0

//! Fetching side: one blob from many peers.
//!
//! Peers are asked in their order, the next one as soon as one failed or none makes progress. As
//! long as one transfer makes progress no other begins, so that a blob is rarely sent twice. A dead
//! or silent peer therefore costs a fraction of a second, however many there are.

use std::{collections::VecDeque, time::Instant};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use pol_primitives::{Hash, member::Endpoint};
use tokio::time::{sleep_until, timeout_at};
use tracing::debug;

use crate::{
    PeerFailure, PeerFailures, Result, Swarm, SwarmError,
    download::DownloadError,
    progress::{Activity, Progress},
};

/// Result of asking one peer.
enum Attempt {
    /// The blob is complete. The number is that of the bytes received.
    Complete(u64),
    /// The peer has the blob, and another transfer makes progress.
    Spare,
    /// The peer failed after it had sent this number of bytes.
    Failed(PeerFailure, u64),
    /// No peer would help.
    Hopeless(SwarmError),
}

/// A search for a blob among peers.
struct Search<'a> {
    swarm: &'a Swarm,
    hash: Hash,
    max_bytes: u64,
    /// Peers to ask, in order.
    waiting: VecDeque<Endpoint>,
    /// Keys of the peers that are being asked.
    asked: Vec<[u8; 32]>,
    failures: PeerFailures,
}

impl Swarm {
    /// Downloads a blob into the store from the first of `peers` that delivers it.
    pub(crate) async fn search(
        &self,
        hash: Hash,
        max_bytes: u64,
        peers: &[Endpoint],
        deadline: Instant,
    ) -> Result<()> {
        let mut search = Search {
            swarm: self,
            hash,
            max_bytes,
            waiting: self.order(peers),
            asked: Vec::new(),
            failures: PeerFailures::default(),
        };
        if let Ok(done) = timeout_at(deadline.into(), search.run()).await
            && let Some(done) = done.transpose()
        {
            return done;
        }
        let Search { asked, mut failures, .. } = search;
        // A peer that drips until the end is not the first to be asked the next time.
        for peer in &asked {
            self.peers().note_failure(*peer, Instant::now());
        }
        failures.0.extend(asked.into_iter().map(|peer| (peer, PeerFailure::OutOfTime)));
        Err(SwarmError::Unavailable { hash, failures })
    }
}

impl Search<'_> {
    /// Returns `Some` once the blob is complete, and `None` if no peer delivers it.
    async fn run(&mut self) -> Result<Option<()>> {
        let (swarm, limits) = (self.swarm, &self.swarm.0.limits);
        let (hash, max_bytes) = (self.hash, self.max_bytes);
        let activity = Activity::default();
        let mut attempts: FuturesUnordered<BoxFuture<'_, (Endpoint, Attempt)>> =
            FuturesUnordered::new();
        let (mut is_due, mut last_start) = (true, Instant::now());
        loop {
            if (is_due || attempts.is_empty())
                && attempts.len() < limits.max_asked
                && let Some(peer) = self.waiting.pop_front()
            {
                self.asked.push(peer.id);
                last_start = Instant::now();
                let activity = &activity;
                attempts.push(
                    async move {
                        let attempt = swarm.attempt(hash, max_bytes, &peer, activity).await;
                        (peer, attempt)
                    }
                    .boxed(),
                );
            }
            is_due = false;
            if attempts.is_empty() {
                return Ok(None);
            }
            let may_start = !self.waiting.is_empty() && attempts.len() < limits.max_asked;
            let start = last_start + limits.hedge_delay;
            let start =
                activity.quiet_from(limits.quiet_delay).map_or(start, |quiet| quiet.max(start));
            tokio::select! {
                Some((peer, attempt)) = attempts.next() => {
                    self.asked.retain(|asked| *asked != peer.id);
                    match attempt {
                        Attempt::Complete(received) => {
                            swarm.peers().note_delivered(peer.id, Instant::now());
                            debug!(
                                hash = hex::encode(hash),
                                peer = hex::encode(peer.id),
                                received,
                                "fetched"
                            );
                            return Ok(Some(()));
                        }
                        Attempt::Spare => self.waiting.push_front(peer),
                        Attempt::Failed(failure, received) => {
                            self.fail(peer, failure, received);
                            is_due = activity.is_quiet(limits.quiet_delay);
                        }
                        Attempt::Hopeless(error) => return Err(error),
                    }
                }
                () = sleep_until(start.into()), if may_start => {
                    is_due = activity.is_quiet(limits.quiet_delay);
                }
            }
        }
    }

    fn fail(&mut self, peer: Endpoint, failure: PeerFailure, received: u64) {
        debug!(
            hash = hex::encode(self.hash),
            peer = hex::encode(peer.id),
            received,
            "not fetched: the peer {failure}"
        );
        if failure != PeerFailure::NotServed {
            self.swarm.peers().note_failure(peer.id, Instant::now());
        }
        self.failures.0.retain(|(failed, _)| *failed != peer.id);
        self.failures.0.push((peer.id, failure));
        // Parts that arrived stay, so a slow or faltering peer may deliver the rest.
        if received > 0 {
            self.waiting.push_back(peer);
        }
    }
}

impl Swarm {
    /// Asks one peer for a blob.
    async fn attempt(
        &self,
        hash: Hash,
        max_bytes: u64,
        peer: &Endpoint,
        activity: &Activity,
    ) -> Attempt {
        let failed = |error, received| match error {
            DownloadError::Peer(failure) => Attempt::Failed(failure, received),
            DownloadError::Fetch(error) => Attempt::Hopeless(error),
        };
        let source = match self.find_source(hash, max_bytes, peer).await {
            Ok(source) => source,
            Err(error) => return failed(error, 0),
        };
        if !activity.is_quiet(self.0.limits.quiet_delay) {
            source.close();
            return Attempt::Spare;
        }
        let mut progress = Progress::new(activity);
        let transferred = self.transfer(&source, hash, &mut progress).await;
        source.close();
        match transferred {
            Ok(()) => match self.has(hash).await {
                Ok(true) => Attempt::Complete(progress.received()),
                Ok(false) => Attempt::Failed(PeerFailure::Broken("parts are missing".into()), 0),
                Err(error) => Attempt::Hopeless(error),
            },
            Err(error) => {
                activity.end();
                failed(error, progress.received())
            }
        }
    }
}
