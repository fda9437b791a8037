// SPDX-License-Identifier: Apache-2.0

//! Traces of a process, sent to a collector of OpenTelemetry by [OTLP] over HTTP.
//!
//! `Traces` exports spans, and its `layer` makes them of those spans of `tracing`
//! that have one target. Neither lines of the log nor other spans leave the process.
//!
//! A field `otel.name` replaces the name of a span, and `otel.kind` sets its kind, as in the crate
//! tracing-opentelemetry. A field `error.type` marks the span as failed, as the conventions of
//! OpenTelemetry have it. All other fields are attributes.
//!
//! The crate is empty without its feature `otlp`.
//!
//! [OTLP]: https://opentelemetry.io/docs/specs/otlp/
#![cfg(feature = "otlp")]

mod layer;
#[cfg(test)]
mod tests;

use layer::SpanLayer;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::{env, ffi::OsString, time::Duration};
use tracing_subscriber::{Layer, Registry, filter::filter_fn};

/// Variables that name the collector.
const ENDPOINTS: [&str; 2] = [OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT];
/// Variable that names the service in place of the program.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
/// Longest time of a request to the collector, and of all that are left at the end.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Error of the export.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The variables of OpenTelemetry do not describe a collector.
    #[error(
        "traces cannot be sent ({0}): OTEL_EXPORTER_OTLP_ENDPOINT is the address of a collector, \
         such as http://127.0.0.1:4318; unset it to send none"
    )]
    Exporter(#[from] ExporterBuildError),
    /// The client of HTTP cannot be made.
    #[error("traces cannot be sent, since there is no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Export of the spans of this process.
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts the export to the collector that `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` names, as `service` unless `OTEL_SERVICE_NAME` has another
    /// name. Returns `None` if neither is set. It must not be called from asynchronous code.
    ///
    /// # Errors
    ///
    /// Fails if a variable of OpenTelemetry has a malformed value.
    pub fn from_env(service: &str) -> Result<Option<Self>, TracesError> {
        if !is_asked_for(|name| env::var_os(name)) {
            return Ok(None);
        }
        Self::start(service, None).map(Some)
    }

    fn start(service: &str, endpoint: Option<&str>) -> Result<Self, TracesError> {
        // Other parts of the process may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let redirects = reqwest::redirect::Policy::none();
        let client =
            reqwest::blocking::Client::builder().timeout(TIMEOUT).redirect(redirects).build()?;
        let exporter = SpanExporter::builder().with_http().with_http_client(client);
        let exporter = match endpoint {
            Some(endpoint) => exporter.with_endpoint(endpoint),
            None => exporter,
        };
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_attribute(version);
        let resource = match env::var_os(SERVICE_NAME) {
            Some(_) => resource,
            None => resource.with_service_name(service.to_owned()),
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter.build()?)
            .with_resource(resource.build())
            .build();
        Ok(Self { provider })
    }

    /// Returns the layer that exports the spans with `target`.
    pub fn layer(&self, target: &'static str) -> impl Layer<Registry> + use<> {
        let is_ours = filter_fn(move |facts| facts.is_span() && facts.target() == target);
        SpanLayer { tracer: self.provider.tracer("pol") }.with_filter(is_ours)
    }

    /// Sends what is left, within seconds, and ends the export.
    pub fn finish(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(TIMEOUT) {
            tracing::debug!("the last traces are lost: {error}");
        }
    }
}

/// Returns `true` if one of the variables names a collector.
fn is_asked_for(variable: impl Fn(&str) -> Option<OsString>) -> bool {
    ENDPOINTS.iter().any(|name| variable(name).is_some_and(|value| !value.is_empty()))
}
