// SPDX-License-Identifier: Apache-2.0

//! Requests over HTTP, by route.
//!
//! Labels and buckets follow the [conventions of OpenTelemetry for HTTP][conventions]. A route is
//! the pattern of a path, such as `/audits/{id}`, never the path that a client sent.
//!
//! [conventions]: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/

use crate::{
    Counter, Definition, Kind, Labels, Level,
    family::{label, metrics, registry},
};
use prometheus::{HistogramOpts, HistogramVec};
use std::time::Duration;

/// Seconds until an answer begins.
const SECONDS: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Names of the labels of a request.
const LABELS: [&str; 3] = ["route", "method", "status"];

label! {
    /// Method of a request.
    HttpMethod "method" { Get "GET", Post "POST", Options "OPTIONS", Other "_OTHER", }
}

metrics! {
    /// Requests of clients of the HTTP interface.
    Http http "pol_http" {
        /// Time from a request to the beginning of its answer, in seconds, by the route, which is
        /// empty for unknown paths, and by the status code.
        request_duration_seconds: RouteHistograms = SECONDS,
        /// Requests whose answers are not sent to the end.
        active_requests: Level,
        /// Requests whose head was malformed, too large, or too slow.
        unreadable_requests_total: Counter,
        /// Connections of clients.
        connections: Level,
        /// Connections that were refused, since their client had too many.
        refused_connections_total: Counter,
        /// Bytes that clients sent, with the heads of their requests.
        received_bytes_total: Counter,
        /// Bytes that were sent to clients, with the heads of the answers.
        sent_bytes_total: Counter,
    }
}

/// Histograms by the route, the method, and the status code of a request. There are as many as the
/// routes of the server allow, and each exists from its first observation on.
pub struct RouteHistograms(Option<HistogramVec>);

impl RouteHistograms {
    pub(crate) fn register(name: &str, help: &str, buckets: &[f64]) -> Self {
        let created = || -> prometheus::Result<HistogramVec> {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            let family = HistogramVec::new(opts, &LABELS)?;
            registry().register(Box::new(family.clone()))?;
            Ok(family)
        };
        // The definition is a constant, which a test registers.
        let created = created().inspect_err(|error| {
            tracing::warn!("the metric {name} is not recorded: {error}");
        });
        Self(created.ok())
    }

    pub(crate) fn define(name: &str, help: &str) -> Definition {
        let [route, method, status] = LABELS;
        let methods = HttpMethod::all().into_iter().flat_map(HttpMethod::values).collect();
        Definition {
            name: name.to_owned(),
            help: help.to_owned(),
            kind: Kind::Histogram,
            labels: vec![(route, Vec::new()), (method, methods), (status, Vec::new())],
        }
    }

    /// Records the time of a request. `route` is one of the patterns of the server, or empty.
    pub fn record(&self, route: &str, method: HttpMethod, status: u16, time: Duration) {
        let status = status.to_string();
        let labels = [&[route], &method.values()[..], &[&status]].concat();
        let cell = self.0.as_ref().map(|family| family.get_metric_with_label_values(&labels));
        if let Some(Ok(cell)) = cell {
            cell.observe(time.as_secs_f64());
        }
    }
}

impl HttpMethod {
    /// Returns the method with this name.
    pub fn named(name: &str) -> Self {
        let mut known = [Self::Get, Self::Post, Self::Options].into_iter();
        known.find(|method| method.values() == [name]).unwrap_or(Self::Other)
    }
}
