// SPDX-License-Identifier: Apache-2.0

//! Server-sent events.

use axum::response::{
    IntoResponse, Response,
    sse::{Event, Sse},
};
use futures::{
    StreamExt,
    stream::{self, Stream},
};
use serde::Serialize;
use std::{convert::Infallible, time::Duration};

/// Time without an event after which a comment keeps the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Returns the response that sends `events` as they come.
pub fn respond(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let kept = stream::unfold(events.boxed(), |mut events| async move {
        match tokio::time::timeout(KEEP_ALIVE, events.next()).await {
            Ok(event) => event.map(|event| (event, events)),
            Err(_) => Some((Event::default().comment("waiting"), events)),
        }
    });
    Sse::new(kept.map(Ok::<_, Infallible>)).into_response()
}

/// Returns an event with `data` in JSON.
pub fn json(data: &impl Serialize) -> Event {
    // Values without maps of other keys than strings always serialize.
    Event::default().data(serde_json::to_string(data).unwrap_or_default())
}
