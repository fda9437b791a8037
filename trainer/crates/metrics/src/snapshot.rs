// SPDX-License-Identifier: Apache-2.0

//! The metrics of this process as values.

use crate::family::registry;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde::Serialize;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Metric with its present numbers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct MetricSnapshot {
    /// Name.
    pub name: String,
    /// Type: `counter`, `gauge`, or `histogram`.
    pub kind: &'static str,
    /// Meaning.
    pub help: String,
    /// Numbers, one for each combination of labels.
    pub values: Vec<SeriesSnapshot>,
}

/// Number of a metric, or the counts of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SeriesSnapshot {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Number.
    #[serde(flatten)]
    pub value: SnapshotValue,
}

/// Value of a metric. Numbers that are unknown or infinite are `null` in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum SnapshotValue {
    /// Number of a counter or a gauge.
    Number {
        /// Number.
        value: f64,
    },
    /// Counts of a histogram.
    Histogram {
        /// Number of observations.
        count: u64,
        /// Sum of the observations.
        sum: f64,
        /// Observations up to each bound, those of smaller bounds included.
        buckets: Vec<BucketSnapshot>,
    },
}

/// Bucket of a histogram.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BucketSnapshot {
    /// Upper bound.
    pub below: f64,
    /// Number of observations up to it.
    pub count: u64,
}

/// Returns all metrics of this process, in the order of their names.
pub fn snapshot() -> Vec<MetricSnapshot> {
    registry().gather().iter().map(metric).collect()
}

fn metric(family: &MetricFamily) -> MetricSnapshot {
    let kind = family.get_field_type();
    MetricSnapshot {
        name: family.get_name().to_owned(),
        kind: match kind {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        },
        help: family.get_help().to_owned(),
        values: family.get_metric().iter().map(|metric| series(kind, metric)).collect(),
    }
}

fn series(kind: MetricType, metric: &Metric) -> SeriesSnapshot {
    let label = |pair: &prometheus::proto::LabelPair| {
        (pair.get_name().to_owned(), pair.get_value().to_owned())
    };
    let value = match kind {
        MetricType::COUNTER => SnapshotValue::Number { value: metric.get_counter().get_value() },
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            SnapshotValue::Histogram {
                count: histogram.get_sample_count(),
                sum: histogram.get_sample_sum(),
                buckets: histogram
                    .get_bucket()
                    .iter()
                    .map(|bucket| BucketSnapshot {
                        below: bucket.get_upper_bound(),
                        count: bucket.get_cumulative_count(),
                    })
                    .collect(),
            }
        }
        _ => SnapshotValue::Number { value: metric.get_gauge().get_value() },
    };
    SeriesSnapshot { labels: metric.get_label().iter().map(label).collect(), value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnswerStage, trainer};

    fn json(name: &str) -> serde_json::Value {
        let found = snapshot().into_iter().find(|metric| metric.name == name);
        serde_json::to_value(found).unwrap()
    }

    #[test]
    fn all_kinds_of_metrics_are_values() {
        let metrics = trainer();
        metrics.audit_answers_total.count(AnswerStage::Open);
        metrics.segment_duration_seconds.observe(2.0);
        let counter = json("pol_trainer_audit_answers_total");
        assert_eq!(counter["kind"], "counter");
        assert_eq!(counter["values"][0]["labels"]["stage"], "open");
        assert!(counter["values"][0]["value"].as_f64() >= Some(1.0), "{counter}");
        let gauge = json("pol_trainer_last_commitment_timestamp_seconds");
        assert_eq!(gauge["kind"], "gauge");
        let histogram = json("pol_trainer_segment_duration_seconds");
        let values = &histogram["values"][0];
        assert!(values["count"].as_u64() >= Some(1) && values["sum"].as_f64() >= Some(2.0));
        assert_eq!(values["buckets"][0]["below"], 0.1);
        assert!(values["value"].is_null(), "{histogram}");
    }
}
