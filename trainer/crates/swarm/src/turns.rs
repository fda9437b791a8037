// SPDX-License-Identifier: Apache-2.0

//! Turns of the downloads through one handle.
//!
//! Each download has an owner: the peer that is asked for the blob first, since it has to deliver.
//! An owner that sends just enough not to be cut could hold all turns, whoever else waits. So few
//! turns are one owner's, owners that left their last turn unused wait until no other does, and
//! some turns are never theirs. A crowd of slow owners thus costs others one turn of waiting, and
//! not one for each blob.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// Public key of a peer.
type Key = [u8; 32];

/// Number of owners above which the slow ones are forgotten.
const MAX_OWNERS: usize = 4096;

/// Turns of the downloads through one handle.
pub(crate) struct Turns {
    /// Maximum number of turns at a time.
    max: usize,
    /// Maximum number of them that one owner has.
    max_per_owner: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Numbers of turns under way, by owner.
    running: HashMap<Key, usize>,
    /// Number of turns under way of owners that were slow when they began.
    running_slow: usize,
    /// Downloads that wait, in the order they came.
    waiting: VecDeque<Waiting>,
    /// Owners whose last turn ended before the blob was complete.
    slow: HashSet<Key>,
}

struct Waiting {
    owner: Key,
    grant: oneshot::Sender<Turn>,
}

impl Turns {
    /// Creates `max` turns, of which an owner has at most `max_per_owner` at a time.
    pub(crate) fn new(max: usize, max_per_owner: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_owner, state: Mutex::default() })
    }

    /// Waits for a turn to download a blob of `owner`.
    pub(crate) async fn take(self: &Arc<Self>, owner: Key) -> Turn {
        loop {
            let (grant, granted) = oneshot::channel();
            self.state().waiting.push_back(Waiting { owner, grant });
            self.advance();
            // The sender goes on with its turn alone, so this does not fail.
            if let Ok(turn) = granted.await {
                return turn;
            }
        }
    }

    /// Gives the turns that are free to downloads that wait.
    fn advance(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            let Some((waiting, was_slow)) = state.next(self) else { return };
            let turn = Turn { turns: self.clone(), owner: waiting.owner, was_slow };
            drop(state);
            // A download that was cancelled meanwhile gives its turn back at once.
            drop(waiting.grant.send(turn));
        }
    }

    /// Returns the number of turns that slow owners have at most.
    fn max_slow(&self) -> usize {
        self.max - self.max / 4
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Removes the download that has the next turn, and counts its turn. Returns `true` beside it
    /// if its owner was slow.
    fn next(&mut self, turns: &Turns) -> Option<(Waiting, bool)> {
        self.waiting.retain(|waiting| !waiting.grant.is_closed());
        if self.running.values().sum::<usize>() >= turns.max {
            return None;
        }
        let may_be_slow = self.running_slow < turns.max_slow();
        let places = self.waiting.iter().enumerate().map(|(place, waiting)| {
            (self.slow.contains(&waiting.owner), self.running(&waiting.owner), place)
        });
        let may_run = |(is_slow, running, _): &(bool, usize, usize)| {
            *running < turns.max_per_owner && (may_be_slow || !is_slow)
        };
        let (is_slow, _, place) = places.filter(may_run).min()?;
        let waiting = self.waiting.remove(place)?;
        *self.running.entry(waiting.owner).or_default() += 1;
        self.running_slow += usize::from(is_slow);
        Some((waiting, is_slow))
    }

    /// Returns the number of turns under way of an owner.
    fn running(&self, owner: &Key) -> usize {
        self.running.get(owner).copied().unwrap_or_default()
    }
}

/// Turn of one download, which the next one gets when this is dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    owner: Key,
    was_slow: bool,
}

impl Turn {
    /// Returns `true` if a download waits that could have this turn.
    pub(crate) fn is_awaited(&self) -> bool {
        let (turns, state) = (&self.turns, self.turns.state());
        let may_be_slow = state.running_slow - usize::from(self.was_slow) < turns.max_slow();
        state.waiting.iter().any(|Waiting { owner, grant }| {
            let running = state.running(owner) - usize::from(*owner == self.owner);
            !grant.is_closed()
                && running < turns.max_per_owner
                && (may_be_slow || !state.slow.contains(owner))
        })
    }

    /// Notes how the turn ended: whether the blob is complete.
    pub(crate) fn note(&self, is_complete: bool) {
        let mut state = self.turns.state();
        if is_complete {
            state.slow.remove(&self.owner);
        } else {
            if state.slow.len() >= MAX_OWNERS {
                state.slow.clear();
            }
            state.slow.insert(self.owner);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.turns.state();
        state.running_slow -= usize::from(self.was_slow);
        if let Some(running) = state.running.get_mut(&self.owner) {
            *running -= 1;
            if *running == 0 {
                state.running.remove(&self.owner);
            }
        }
        drop(state);
        self.turns.advance();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use std::pin::Pin;

    use super::*;

    type Take = Pin<Box<dyn Future<Output = Turn>>>;

    /// Returns a download of `owner` that waits.
    fn wait(turns: &Arc<Turns>, owner: u8) -> Take {
        let turns = turns.clone();
        let mut take: Take = Box::pin(async move { turns.take([owner; 32]).await });
        assert!(take.as_mut().now_or_never().is_none(), "it has a turn at once");
        take
    }

    fn take(turns: &Arc<Turns>, owner: u8) -> Turn {
        turns.take([owner; 32]).now_or_never().expect("no turn is free")
    }

    #[test]
    fn an_owner_has_few_turns_and_the_one_with_fewest_comes_first() {
        let turns = Turns::new(3, 2);
        let first = take(&turns, 1);
        let _second = take(&turns, 1);
        let mut own = wait(&turns, 1);
        let _other = take(&turns, 2);
        let mut third = wait(&turns, 3);
        assert!(first.is_awaited());
        // The one that came last has none yet.
        drop(first);
        let third = third.as_mut().now_or_never().expect("its owner has fewest");
        assert!(own.as_mut().now_or_never().is_none() && third.is_awaited());
        drop(third);
        assert!(own.as_mut().now_or_never().is_some());
    }

    #[test]
    fn slow_owners_come_last_and_never_have_all_turns() {
        let turns = Turns::new(4, 4);
        take(&turns, 1).note(false);
        let slow: Vec<_> = (0..3).map(|_| take(&turns, 1)).collect();
        let mut next = wait(&turns, 1);
        // Another owner has a turn at once.
        let mut fast = take(&turns, 2);
        for _ in 0..70 {
            assert!(!fast.is_awaited(), "the turn is not for slow ones");
            fast.note(true);
            let mut again = wait(&turns, 2);
            drop(fast);
            fast = again.as_mut().now_or_never().expect("the slow one was faster");
        }
        drop(fast);
        assert!(next.as_mut().now_or_never().is_none());
        // A blob that was completed makes up for it.
        slow[0].note(true);
        drop(take(&turns, 3));
        assert!(next.as_mut().now_or_never().is_some());
    }

    #[test]
    fn a_download_that_is_cancelled_takes_no_turn() {
        let turns = Turns::new(1, 1);
        let turn = take(&turns, 1);
        let (gone, mut kept) = (wait(&turns, 2), wait(&turns, 3));
        drop(gone);
        drop(turn);
        let turn = kept.as_mut().now_or_never().expect("the cancelled one has the turn");
        // One that is cancelled after it was given its turn gives it back.
        let granted = wait(&turns, 4);
        drop(turn);
        drop(granted);
        drop(take(&turns, 5));
        let state = turns.state();
        assert!(state.running.is_empty() && state.waiting.is_empty() && state.running_slow == 0);
    }
}
