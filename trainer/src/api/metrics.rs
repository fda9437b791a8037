// SPDX-License-Identifier: Apache-2.0

//! `GET /metrics`: all metrics of this process, in JSON or in the text format of Prometheus.

use axum::{
    Json,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use pol_metrics::MetricSnapshot;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Media types that Prometheus asks for.
const TEXTS: [&str; 2] = ["text/plain", "application/openmetrics-text"];

/// Metrics of this process.
#[derive(Serialize, ToSchema)]
struct Metrics {
    /// Metrics in the order of their names.
    metrics: Vec<MetricSnapshot>,
}

/// Returns the metrics of this process: in JSON, or in the text format of Prometheus if the header
/// `Accept` names `text/plain` or `application/openmetrics-text`.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "This process",
    responses((status = 200, content((Metrics = "application/json"), (String = "text/plain"))))
)]
async fn metrics(headers: HeaderMap) -> Response {
    let mut accepted =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.any(asks_for_text) {
        return ([(header::CONTENT_TYPE, pol_metrics::CONTENT_TYPE)], pol_metrics::encode())
            .into_response();
    }
    Json(Metrics { metrics: pol_metrics::snapshot() }).into_response()
}

/// Returns `true` if a header `Accept` names a media type of Prometheus.
fn asks_for_text(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let essence = range.split(';').next().unwrap_or_default().trim();
        TEXTS.iter().any(|text| essence.eq_ignore_ascii_case(text))
    })
}

/// Returns the endpoint.
pub(super) fn routes() -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(metrics))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_gets_text_and_people_get_json() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        for accept in ["text/plain", "Text/Plain; q=1", prometheus] {
            assert!(asks_for_text(accept), "{accept}");
        }
        for accept in ["", "*/*", "application/json", "text/html,*/*;q=0.8", "text/plainer"] {
            assert!(!asks_for_text(accept), "{accept}");
        }
    }
}
