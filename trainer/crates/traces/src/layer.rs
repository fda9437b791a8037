// SPDX-License-Identifier: Apache-2.0

//! The layer between tracing and OpenTelemetry.

use opentelemetry::{
    Context as OtelContext, KeyValue, Value,
    trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use std::fmt;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

/// Layer that makes a span of OpenTelemetry for each of tracing.
pub(crate) struct SpanLayer {
    pub(crate) tracer: SdkTracer,
}

/// Span of OpenTelemetry, beside that of tracing.
struct OpenSpan(Span);

impl<S> Layer<S> for SpanLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let parent = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<OpenSpan>().map(|open| open.0.span_context().clone())
        });
        let parent = match parent {
            Some(parent) => OtelContext::new().with_remote_span_context(parent),
            None => OtelContext::new(),
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let builder = SpanBuilder::from_name(span.name())
            .with_kind(fields.kind.clone().unwrap_or(SpanKind::Internal));
        let mut open = OpenSpan(self.tracer.build_with_context(builder, &parent));
        fields.apply(&mut open.0);
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<OpenSpan>() {
            let mut fields = Fields::default();
            values.record(&mut fields);
            fields.apply(&mut open.0);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let open = span.extensions_mut().remove::<OpenSpan>();
        if let Some(mut open) = open {
            open.0.end();
        }
    }
}

/// Fields of a span.
#[derive(Default)]
struct Fields {
    name: Option<String>,
    kind: Option<SpanKind>,
    attributes: Vec<KeyValue>,
}

impl Fields {
    fn apply(self, span: &mut Span) {
        if let Some(name) = self.name {
            span.update_name(name);
        }
        for attribute in self.attributes {
            if attribute.key.as_str() == "error.type" {
                span.set_status(Status::error(attribute.value.to_string()));
            }
            span.set_attribute(attribute);
        }
    }

    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        self.attributes.push(KeyValue::new(field.name(), value));
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "otel.name" => self.name = Some(value.to_owned()),
            "otel.kind" => self.kind = kind(value),
            _ => self.add(field, value.to_owned()),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

fn kind(name: &str) -> Option<SpanKind> {
    match name {
        "server" => Some(SpanKind::Server),
        "client" => Some(SpanKind::Client),
        _ => None,
    }
}
