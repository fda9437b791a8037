// SPDX-License-Identifier: Apache-2.0

//! Work of the data engine.

use crate::{
    Counter, Counters, Gauge, Gauges, Histogram,
    family::{label, metrics},
};

/// Seconds of an ingestion.
const INGEST_SECONDS: [f64; 8] = [1.0, 3.0, 10.0, 30.0, 120.0, 600.0, 3_600.0, 14_400.0];

label! {
    /// Reason why a pass over a source ended.
    PassEnd "end" {
        Done "done",
        Idle "idle",
        Budget "budget",
        Full "full",
        Held "held",
        Spent "spent",
        Stopped "stopped",
        Failed "failed",
    }
}
label! {
    /// Kind of text.
    TextKind "kind" {
        Pretrained "pretrained", Dataset "dataset", Web "web", Synthetic "synthetic",
    }
}

metrics! {
    /// Work of the data engine.
    Data data "pol_data" {
        /// Passes over a source, by the reason why they ended.
        source_passes_total: Counters<PassEnd>,
        /// Documents collected from sources.
        documents_total: Counter,
        /// Bytes of text collected from sources.
        collected_bytes_total: Counter,
        /// Things that sources gave and that are no documents.
        refused_documents_total: Counter,
        /// Time at which a document last came, in seconds since 1970; at first the start of the
        /// process.
        last_document_timestamp_seconds: Gauge,
        /// Time to make shards of collected documents, in seconds.
        ingestion_duration_seconds: Histogram = INGEST_SECONDS,
        /// Shards to train on that this process registered on the chain.
        registered_shards_total: Counter,
        /// Deposits on hold for registered data, in POL.
        deposits_pol: Gauge,
        /// Shards that can be leased, by the kind of their text.
        free_shards: Gauges<TextKind>,
    }
}
