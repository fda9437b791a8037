// SPDX-License-Identifier: Apache-2.0

//! Counts of the work for Prometheus.

use super::config::Kind;
use pol_metrics::TextKind;
use pol_sources::Totals;
use std::sync::{Mutex, PoisonError};

/// Counter of what a source yields, from the totals of its store.
#[derive(Default)]
pub(super) struct Collected(Mutex<Totals>);

impl Collected {
    /// Notes what is in the store already, from earlier runs.
    pub(super) fn begin(&self, totals: Totals) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = totals;
    }

    /// Counts what is in the store now and was not before.
    pub(super) fn count(&self, totals: Totals) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *known, totals);
        let metrics = pol_metrics::data();
        let documents = totals.documents.saturating_sub(before.documents);
        if documents > 0 {
            metrics.last_document_timestamp_seconds.set_now();
        }
        metrics.documents_total.add(documents);
        metrics.collected_bytes_total.add(totals.bytes.saturating_sub(before.bytes));
        metrics.refused_documents_total.add(totals.refused.saturating_sub(before.refused));
    }
}

/// States the shards of a kind that can be leased.
pub(super) fn state_supply(kind: Kind, shards: u32) {
    let kind = match kind {
        Kind::Pretrained => TextKind::Pretrained,
        Kind::Dataset => TextKind::Dataset,
        Kind::Web => TextKind::Web,
        Kind::Synthetic => TextKind::Synthetic,
    };
    pol_metrics::data().free_shards.put(kind, shards.into());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_earlier_runs_are_not_counted() {
        let totals = |documents, refused| Totals { documents, bytes: 10 * documents, refused };
        let collected = Collected::default();
        collected.begin(totals(100, 3));
        collected.count(totals(102, 3));
        collected.count(totals(105, 4));
        let text = pol_metrics::encode();
        for line in [
            "\npol_data_documents_total 5\n",
            "\npol_data_collected_bytes_total 50\n",
            "\npol_data_refused_documents_total 1\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
