// SPDX-License-Identifier: Apache-2.0

//! Metrics of a process, and the endpoint at which Prometheus reads them.
//!
//! A group of metrics is a struct with a field for each, such as [`Trainer`], and a function that
//! returns the group of this process, such as [`trainer`]. The process exposes the groups whose
//! functions were called, so that a trainer shows nothing of validators. Names follow the
//! [conventions of Prometheus][names]: a prefix, base units, and `_total` for counters.
//!
//! - [`chain`](fn@chain), [`round`](fn@round), [`head`], [`network`], [`beacon`], and [`account`]
//!   are facts of the chain.
//! - [`trainer`], [`validator`], [`measurement`], [`swarm`], [`data`](fn@data), [`beacon_relay`],
//!   [`observer`], and [`disk`] are about the work of this process.
//! - [`GenerationRequest`] records what clients ask a model for, and [`http`](fn@http) all requests
//!   over HTTP.
//! - [`index`](fn@index) is about the follower that writes an index of the past.
//! - [`encode`] returns the text of a scrape, and [`Endpoint`] serves it. [`snapshot`](fn@snapshot)
//!   returns the same as values.
//!
//! Recording takes atomic operations only. A label is an enum, so that the number of series is a
//! constant of the program, whatever clients and peers send. Only requests over HTTP have labels
//! that the program makes, its routes and status codes.
//!
//! [names]: https://prometheus.io/docs/practices/naming/
//!
//! # Example
//!
//! ```
//! use pol_metrics::UpdateOutcome;
//!
//! let trainer = pol_metrics::trainer();
//! trainer.segments_total.inc();
//! trainer.updates_total.count(UpdateOutcome::Valid);
//! assert!(pol_metrics::encode().contains("pol_trainer_updates_total{outcome=\"valid\"} 1\n"));
//! ```

mod chain;
mod data;
mod error;
mod family;
mod generation;
mod http;
mod index;
mod process;
mod roles;
mod server;
mod snapshot;

pub use chain::{
    AccountFacts, BeaconFacts, Block, ChainFacts, HeadFacts, Measure, MemberRole, NetworkFacts,
    RoundFacts, RoundPhase, Total, account, beacon, chain, head, network, round,
};
pub use data::{Data, PassEnd, TextKind, data};
pub use error::MetricsError;
pub use family::{
    Counter, Counters, Definition, Entered, Family, Gauge, Gauges, Histogram, Histograms, Kind,
    Labels, Level,
};
pub use generation::{
    GenerationLoad, GenerationMetrics, GenerationRequest, Operation, Provider, RequestEnd,
    TokenType, generation_load, generation_metrics,
};
pub use http::{Http, HttpMethod, RouteHistograms, http};
pub use index::{IndexFacts, index};
pub use process::describe_process;
pub use roles::{
    AnswerStage, AttestationTime, BeaconRelay, Disk, FetchResult, Measurement, Observer,
    ServeResult, SwarmTraffic, Trainer, UpdateOutcome, Validator, beacon_relay, disk, measurement,
    observer, swarm, trainer, validator,
};
pub use server::{Endpoint, Readiness};
pub use snapshot::{BucketSnapshot, MetricSnapshot, SeriesSnapshot, SnapshotValue, snapshot};

use prometheus::TextEncoder;
use std::time::{SystemTime, UNIX_EPOCH};

/// Media type of what [`encode`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Target of the spans that tell how long work took. They are for traces, and the log leaves them
/// out.
pub const SPANS: &str = "pol_spans";

/// Returns all metrics of this process in the text format of Prometheus.
pub fn encode() -> String {
    let families = family::registry().gather();
    TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
        tracing::warn!("the metrics cannot be written: {error}");
        String::new()
    })
}

/// Returns the definitions of all metrics, by group.
pub fn definitions() -> Vec<Definition> {
    [
        chain::ChainFacts::definitions(),
        chain::RoundFacts::definitions(),
        chain::HeadFacts::definitions(),
        chain::NetworkFacts::definitions(),
        chain::BeaconFacts::definitions(),
        chain::AccountFacts::definitions(),
        roles::Trainer::definitions(),
        roles::Validator::definitions(),
        roles::Measurement::definitions(),
        roles::SwarmTraffic::definitions(),
        roles::Disk::definitions(),
        roles::BeaconRelay::definitions(),
        roles::Observer::definitions(),
        data::Data::definitions(),
        generation::GenerationMetrics::definitions(),
        generation::GenerationLoad::definitions(),
        http::Http::definitions(),
        index::IndexFacts::definitions(),
        process::definitions(),
    ]
    .concat()
}

/// Returns the seconds since 1970.
pub fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests;
