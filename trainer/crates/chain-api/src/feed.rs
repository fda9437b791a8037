// SPDX-License-Identifier: Apache-2.0

//! The source of all streams of events. It holds up nobody: a stream that is too slow ends.

use crate::failure::{Failure, Trouble};
use axum::response::sse::Event;
use pol_api::ApiError;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch},
    time::timeout,
};

/// Most streams at once.
const STREAMS: usize = 128;
/// Events that a stream may be behind.
const BACKLOG: usize = 1_024;

/// Event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    name: &'static str,
    data: String,
}

impl Notice {
    /// Creates an event with a name and data in JSON.
    pub(crate) fn new(name: &'static str, data: &impl Serialize) -> Self {
        // Types of this crate always serialize.
        Self { name, data: serde_json::to_string(data).unwrap_or_default() }
    }

    /// Returns the event in its form.
    pub(crate) fn event(&self) -> Event {
        Event::default().event(self.name).data(&self.data)
    }
}

/// Source of all streams. Clones share it.
#[derive(Clone)]
pub(crate) struct Feed {
    sender: broadcast::Sender<Arc<Notice>>,
    places: Arc<Semaphore>,
    stage: watch::Sender<Stage>,
}

/// Stage of the source of all streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has not seen the index yet.
    Starting,
    /// It reports what is new.
    Open,
    /// All streams end.
    Closed,
}

impl Default for Feed {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(BACKLOG).0,
            places: Arc::new(Semaphore::new(STREAMS)),
            stage: watch::channel(Stage::Starting).0,
        }
    }
}

impl Feed {
    /// Lets streams begin.
    pub(crate) fn open(&self) {
        self.stage.send_if_modified(|stage| {
            let is_starting = *stage == Stage::Starting;
            if is_starting {
                *stage = Stage::Open;
            }
            is_starting
        });
    }

    /// Ends all streams.
    pub(crate) fn close(&self) {
        self.stage.send_replace(Stage::Closed);
    }

    /// Returns `true` if somebody listens.
    pub(crate) fn has_streams(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Sends an event to all streams.
    pub(crate) fn send(&self, notice: Notice) {
        // Without streams it is dropped.
        let _ = self.sender.send(Arc::new(notice));
    }

    /// Begins a stream, once the source has seen the index.
    ///
    /// # Errors
    ///
    /// Fails if there are too many streams, or if that takes longer than `patience`.
    pub(crate) async fn subscribe(&self, patience: Duration) -> Result<Subscription, Failure> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Failure(ApiError::Busy))?;
        let mut stage = self.stage.subscribe();
        // All that comes before the first look at the index is new to nobody.
        let opened = stage.wait_for(|stage| *stage != Stage::Starting);
        if timeout(patience, opened).await.is_err() {
            return Err(Failure::indexing(&Trouble::default()));
        }
        let notices = self.sender.subscribe();
        Ok(Subscription { notices, stage, is_over: false, _place: place })
    }
}

/// End of a stream that was too slow.
#[derive(Serialize)]
struct LagNotice {
    missed: u64,
}

/// Stream of one client.
pub(crate) struct Subscription {
    notices: broadcast::Receiver<Arc<Notice>>,
    stage: watch::Receiver<Stage>,
    is_over: bool,
    _place: OwnedSemaphorePermit,
}

impl Subscription {
    /// Returns the next event, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        let received = tokio::select! {
            received = self.notices.recv() => received,
            _ = self.stage.wait_for(|stage| *stage == Stage::Closed) => return None,
        };
        match received {
            Ok(notice) => Some(notice.event()),
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                self.is_over = true;
                Some(Notice::new("lag", &LagNotice { missed }).event())
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
