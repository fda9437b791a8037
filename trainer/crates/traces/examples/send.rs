// SPDX-License-Identifier: Apache-2.0

//! Sends one span to the collector that the variables of OpenTelemetry name.
//!
//! ```sh
//! export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
//! cargo run -p pol-traces --features otlp --example send
//! ```

use pol_traces::Traces;
use tracing_subscriber::layer::SubscriberExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let traces = Traces::from_env("example")?.ok_or("OTEL_EXPORTER_OTLP_ENDPOINT is not set")?;
    let subscriber = tracing_subscriber::registry().with(traces.layer("example"));
    tracing::subscriber::with_default(subscriber, || {
        drop(tracing::info_span!(target: "example", "hello", otel.kind = "client"));
    });
    traces.finish();
    Ok(())
}
