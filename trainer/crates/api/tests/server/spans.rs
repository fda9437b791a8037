// SPDX-License-Identifier: Apache-2.0

//! Spans of requests, as the layer for a collector of traces sees them.

use super::{client::SOON, models::Server};
use pol_metrics::SPANS;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    thread::{self, ThreadId},
    time::{Duration, Instant},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Spans of all tests. A subscriber of one test alone could miss its spans: the interest in a place
/// of the code is kept for the process, by the first thread that comes there.
static SPANS_OF_ALL: LazyLock<Spans> = LazyLock::new(|| {
    let spans = Spans::default();
    tracing::subscriber::set_global_default(spans.clone()).unwrap();
    spans
});

/// Has spans for traces seen from now on.
pub(crate) fn see() {
    LazyLock::force(&SPANS_OF_ALL);
}

/// Spans for traces.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Spans in the order in which they began.
    spans: Vec<Span>,
    /// Places of those that a thread has entered.
    entered: HashMap<ThreadId, Vec<usize>>,
}

#[derive(Clone, Debug)]
struct Span {
    thread: ThreadId,
    parent: Option<usize>,
    fields: BTreeMap<&'static str, String>,
}

impl Spans {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Returns the spans that began on this thread, by their places.
    fn of_this_thread(&self) -> BTreeMap<usize, Span> {
        let all = self.state().spans.clone();
        let is_own = |(_, span): &(usize, Span)| span.thread == thread::current().id();
        all.into_iter().enumerate().filter(is_own).collect()
    }
}

fn place(id: &Id) -> usize {
    usize::try_from(id.into_u64()).unwrap() - 1
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == SPANS
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut state = self.state();
        let thread = thread::current().id();
        let parent = state.entered.get(&thread).and_then(|entered| entered.last().copied());
        let mut span = Span { thread, parent, fields: BTreeMap::new() };
        attributes.record(&mut span);
        state.spans.push(span);
        Id::from_u64(state.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        values.record(&mut self.state().spans[place(id)]);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, id: &Id) {
        self.state().entered.entry(thread::current().id()).or_default().push(place(id));
    }

    fn exit(&self, _: &Id) {
        self.state().entered.entry(thread::current().id()).or_default().pop();
    }
}

impl Visit for Span {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

#[tokio::test]
async fn a_request_is_a_span_with_its_text_below() {
    let server = Server::start().await;
    let request = json!({"prompt": "s3cret", "max_tokens": 3, "ignore_end": true});
    assert_eq!(server.client.post("/generate", &request).await.status, 200);
    assert_eq!(server.client.get("/nowhere/s3cret").await.status, 404);
    // The text ends once its place is free, which may be after the answer.
    let end = Instant::now() + SOON;
    let text = loop {
        let all = SPANS_OF_ALL.of_this_thread();
        let is_text = |span: &&Span| span.fields.contains_key("gen_ai.usage.output_tokens");
        if let Some(text) = all.values().find(is_text) {
            break text.clone();
        }
        assert!(Instant::now() < end, "{all:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let all = SPANS_OF_ALL.of_this_thread();
    assert_eq!(all.len(), 3, "{all:#?}");
    let field = |span: &Span, name: &str| span.fields.get(name).cloned().unwrap_or_default();
    let request = &all[&text.parent.unwrap()];
    for (name, value) in [
        ("otel.name", "POST /generate"),
        ("otel.kind", "server"),
        ("http.request.method", "POST"),
        ("http.route", "/generate"),
        ("http.response.status_code", "200"),
        ("error.type", ""),
    ] {
        assert_eq!(field(request, name), value, "{name}");
    }
    for (name, value) in [
        ("gen_ai.operation.name", "text_completion"),
        ("gen_ai.usage.input_tokens", "6"),
        ("gen_ai.usage.output_tokens", "3"),
        ("error.type", ""),
    ] {
        assert_eq!(field(&text, name), value, "{name}");
    }
    assert!(request.parent.is_none());
    let last = all.values().next_back().unwrap();
    assert_eq!(field(last, "http.response.status_code"), "404");
    assert!(!format!("{all:?}").contains("s3cret"), "{all:#?}");
}
