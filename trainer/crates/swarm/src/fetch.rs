// SPDX-License-Identifier: Apache-2.0

//! Fetching side: one blob from many peers.
//!
//! Peers are asked in their order, the next one as soon as one failed or none makes progress at a
//! fair speed. As long as one transfer does, no other begins, so that a blob is rarely sent twice.
//! Of two slow ones, the slower is cut before a third one begins. A dead or silent peer therefore
//! costs a fraction of a second and a slow one some seconds, however many there are, and whoever
//! was overtaken by another is asked later the next time.

use std::{collections::VecDeque, pin::pin, time::Instant};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use pol_primitives::{Hash, member::Endpoint};
use tokio::time::{sleep_until, timeout_at};
use tracing::debug;

use crate::{
    PeerFailure, PeerFailures, Result, Swarm, SwarmError,
    download::DownloadError,
    progress::{Activity, Progress},
    turns::Turn,
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

/// A peer that is being asked, and since when.
struct Asked {
    peer: Endpoint,
    since: Instant,
}

/// A search for a blob among peers.
struct Search<'a> {
    swarm: &'a Swarm,
    hash: Hash,
    max_bytes: u64,
    /// Peers to ask, in order.
    waiting: VecDeque<Endpoint>,
    /// Peers that were slower than others, to be asked again when no one else is left.
    outpaced: Vec<Endpoint>,
    /// Peers that are being asked, in the order they were.
    asked: Vec<Asked>,
    /// Bytes that arrived from peers that did not deliver the blob.
    received: u64,
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
            outpaced: Vec::new(),
            asked: Vec::new(),
            received: 0,
            failures: PeerFailures::default(),
        };
        let mut was_asked = search.waiting.is_empty();
        // The first one that the caller names has to deliver.
        let owner = peers.iter().map(|peer| peer.id).find(|id| *id != self.endpoint().id);
        let owner = owner.unwrap_or_default();
        while let Ok(turn) = timeout_at(deadline.into(), self.turns().take(owner)).await {
            was_asked = true;
            match search.take_turn(&turn, deadline).await {
                Some(Ok(true)) => return Ok(()),
                Some(Ok(false)) => break,
                Some(Err(error)) => return Err(error),
                None if Instant::now() >= deadline => break,
                None => {}
            }
        }
        if !was_asked {
            return Err(SwarmError::NoTurn { hash });
        }
        let failures = std::mem::take(&mut search.failures);
        Err(SwarmError::Unavailable { hash, received: search.received, failures })
    }
}

impl Search<'_> {
    /// Searches as [`Self::run`] does. Returns `None` at the deadline, or earlier when another
    /// download waits for its turn and this one had a long one.
    async fn take_turn(&mut self, turn: &Turn, deadline: Instant) -> Option<Result<bool>> {
        let (swarm, activity, started) = (self.swarm, Activity::default(), Instant::now());
        let stall_timeout = swarm.0.limits.stall_timeout;
        let done = {
            let mut run = pin!(self.run(&activity));
            loop {
                let end = deadline.min(Instant::now() + stall_timeout);
                match timeout_at(end.into(), &mut run).await {
                    Ok(done) => break Some(done),
                    Err(_) if end < deadline && !turn.is_awaited() => {}
                    Err(_) => break None,
                }
            }
        };
        let is_complete = matches!(done, Some(Ok(true)));
        // One that the deadline cut short says nothing about the owner.
        if is_complete || (done.is_none() && started.elapsed() >= stall_timeout) {
            turn.note(is_complete);
        }
        if done.is_none() {
            self.interrupt(&activity);
        }
        done
    }

    /// Returns `true` once the blob is complete, and `false` if no peer delivers it.
    async fn run(&mut self, activity: &Activity) -> Result<bool> {
        let (swarm, limits) = (self.swarm, &self.swarm.0.limits);
        let (hash, max_bytes) = (self.hash, self.max_bytes);
        let mut attempts: FuturesUnordered<BoxFuture<'_, (Endpoint, Attempt)>> =
            FuturesUnordered::new();
        let (mut is_due, mut last_start) = (true, Instant::now());
        loop {
            if attempts.is_empty() && self.waiting.is_empty() {
                self.waiting.extend(self.outpaced.drain(..));
            }
            if (is_due || attempts.is_empty())
                && attempts.len() < limits.max_asked
                && let Some(peer) = self.waiting.pop_front()
            {
                last_start = Instant::now();
                self.asked.push(Asked { peer: peer.clone(), since: last_start });
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
                return Ok(false);
            }
            let may_start = !self.waiting.is_empty() && attempts.len() < limits.max_asked;
            let start = last_start + limits.hedge_delay;
            let start = activity.suffices_until().map_or(start, |until| until.max(start));
            tokio::select! {
                Some((peer, attempt)) = attempts.next() => {
                    let overtaken = self.end_asking(&peer);
                    match attempt {
                        Attempt::Complete(received) => {
                            self.deliver(&peer, &overtaken, received);
                            return Ok(true);
                        }
                        Attempt::Spare => self.waiting.push_front(peer),
                        Attempt::Failed(failure, received) => {
                            // Another one was begun when the transfer was cut.
                            let is_cut = failure == PeerFailure::Outpaced;
                            self.fail(peer, failure, received);
                            is_due = !is_cut && activity.is_quiet();
                        }
                        Attempt::Hopeless(error) => return Err(error),
                    }
                }
                () = sleep_until(start.into()), if may_start || activity.is_shared() => {
                    is_due = activity.is_quiet();
                    if is_due {
                        activity.cut_slowest();
                    }
                }
            }
        }
    }

    /// Notes that the peer is not being asked any more, and returns the keys of the peers that were
    /// asked before it and still are.
    fn end_asking(&mut self, peer: &Endpoint) -> Vec<[u8; 32]> {
        let before = self.asked.iter().take_while(|asked| asked.peer.id != peer.id);
        let before = before.map(|asked| asked.peer.id).collect();
        self.asked.retain(|asked| asked.peer.id != peer.id);
        before
    }

    /// Notes that the peer delivered before those that it has `overtaken`.
    fn deliver(&mut self, peer: &Endpoint, overtaken: &[[u8; 32]], received: u64) {
        let (mut peers, now) = (self.swarm.peers(), Instant::now());
        peers.note_delivered(peer.id, now);
        for slower in overtaken {
            peers.note_failure(*slower, now);
        }
        self.asked.clear();
        let (hash, peer) = (hex::encode(self.hash), hex::encode(peer.id));
        debug!(hash, peer, received, "fetched");
    }

    /// Notes how far the peers came that were being asked when the time or the turn ended. Those
    /// that sent at a fair speed come first in the next turn, and the others last.
    fn interrupt(&mut self, activity: &Activity) {
        let (limits, now) = (&self.swarm.0.limits, Instant::now());
        for Asked { peer, since } in std::mem::take(&mut self.asked) {
            let received = activity.received(&peer.id);
            self.received = self.received.saturating_add(received);
            // One that was asked later may still be connecting.
            let is_silent = received == 0 && now >= since + limits.connect_timeout;
            if is_silent {
                self.failures.note(peer.id, PeerFailure::Silent);
            } else {
                self.failures.note(peer.id, PeerFailure::OutOfTime);
            }
            if activity.is_fair(&peer.id) {
                self.waiting.push_front(peer);
            } else {
                self.swarm.peers().note_failure(peer.id, now);
                self.waiting.push_back(peer);
            }
        }
    }

    fn fail(&mut self, peer: Endpoint, failure: PeerFailure, received: u64) {
        let failure = match failure {
            PeerFailure::Full => self.swarm.note_refusal(peer.id),
            failure => failure,
        };
        debug!(
            hash = hex::encode(self.hash),
            peer = hex::encode(peer.id),
            received,
            "not fetched: the peer {failure}"
        );
        if failure != PeerFailure::NotServed {
            self.swarm.peers().note_failure(peer.id, Instant::now());
        }
        self.received = self.received.saturating_add(received);
        // Parts that arrived stay, so a slow or faltering peer may deliver the rest.
        if failure == PeerFailure::Outpaced {
            self.outpaced.push(peer.clone());
        } else if received > 0 {
            self.waiting.push_back(peer.clone());
        }
        self.failures.note(peer.id, failure);
    }
}

impl Drop for Search<'_> {
    /// Remembers the peers that a search that is cancelled was waiting for.
    fn drop(&mut self) {
        let (limits, now) = (&self.swarm.0.limits, Instant::now());
        for asked in self.asked.iter().filter(|asked| now >= asked.since + limits.slow_delay) {
            self.swarm.peers().note_failure(asked.peer.id, now);
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
        if !activity.is_quiet() {
            source.close();
            return Attempt::Spare;
        }
        let mut progress = Progress::new(peer.id, &self.0.limits, activity);
        let transferred = self.transfer(&source, hash, &mut progress).await;
        let transferred = transferred.map_err(|error| source.explain(error));
        source.close();
        match transferred {
            Ok(()) => match self.has(hash).await {
                Ok(true) => Attempt::Complete(progress.received()),
                Ok(false) => Attempt::Failed(PeerFailure::Broken("parts are missing".into()), 0),
                Err(error) => Attempt::Hopeless(error),
            },
            Err(error) => {
                progress.end();
                failed(error, progress.received())
            }
        }
    }
}
