// SPDX-License-Identifier: Apache-2.0

//! Spans of requests, as the layer for a collector of traces sees them.

use super::{client::SOON, models::Server};
use pol_metrics::SPANS;
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Spans for traces that were made on this thread.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Spans in the order in which they began.
    spans: Vec<Span>,
    /// Places of those that are entered.
    entered: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Span {
    parent: Option<usize>,
    fields: BTreeMap<&'static str, String>,
}

impl Spans {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn all(&self) -> Vec<Span> {
        self.state().spans.clone()
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
        let mut span = Span { parent: state.entered.last().copied(), ..Span::default() };
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
        self.state().entered.push(place(id));
    }

    fn exit(&self, _: &Id) {
        self.state().entered.pop();
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
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let server = Server::start().await;
    let request = json!({"prompt": "s3cret", "max_tokens": 3, "ignore_end": true});
    assert_eq!(server.client.post("/generate", &request).await.status, 200);
    assert_eq!(server.client.get("/nowhere/s3cret").await.status, 404);
    // The text ends once its place is free, which may be after the answer.
    let end = Instant::now() + SOON;
    let text = loop {
        let all = spans.all();
        let is_text = |span: &&Span| span.fields.contains_key("gen_ai.usage.output_tokens");
        if let Some(text) = all.iter().find(is_text) {
            break text.clone();
        }
        assert!(Instant::now() < end, "{all:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let all = spans.all();
    assert_eq!(all.len(), 3, "{all:#?}");
    let field = |span: &Span, name: &str| span.fields.get(name).cloned().unwrap_or_default();
    let request = &all[text.parent.unwrap()];
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
    assert_eq!(field(&all[2], "http.response.status_code"), "404");
    assert!(!format!("{all:?}").contains("s3cret"), "{all:#?}");
}
