// SPDX-License-Identifier: Apache-2.0

//! Progress of a source: a bar, or lines of JSON.

use super::{super::progress::progress_bar, counts::Collected, refusals::Refusals};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use pol_sources::{Observer, Progress, Totals};
use serde_json::json;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Time between two lines about a source.
const LINE_INTERVAL: Duration = Duration::from_secs(1);

/// Display of the progress of a source.
pub(super) struct FillDisplay {
    name: String,
    json: bool,
    bars: MultiProgress,
    bar: ProgressBar,
    /// Time of the last line.
    last: Mutex<Option<Instant>>,
    refusals: Mutex<Refusals>,
    collected: Collected,
    /// Time after which the source may have news.
    wait: Mutex<Option<Duration>>,
}

impl FillDisplay {
    /// Creates the display of the source `name` that yields at most `max_bytes`.
    pub(super) fn new(name: &str, max_bytes: Option<u64>, json: bool) -> Self {
        let bars = if json {
            MultiProgress::with_draw_target(ProgressDrawTarget::hidden())
        } else {
            MultiProgress::new()
        };
        let template = match max_bytes {
            Some(_) => "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{msg} {spinner} {bytes} in {elapsed}, {bytes_per_sec}",
        };
        let bar = bars.add(progress_bar(json, template)).with_message(name.to_owned());
        if let Some(bytes) = max_bytes {
            bar.set_length(bytes);
        }
        Self {
            name: name.to_owned(),
            json,
            bars,
            bar,
            last: Mutex::default(),
            refusals: Mutex::default(),
            collected: Collected::default(),
            wait: Mutex::default(),
        }
    }

    /// Notes what the store has of earlier runs.
    pub(super) fn begin(&self, totals: Totals) {
        self.collected.begin(totals);
    }

    /// Returns a bar for downloads.
    pub(super) fn download_bar(&self) -> ProgressBar {
        let template = "{msg} {wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
        self.bars.add(progress_bar(self.json, template))
    }

    /// Takes the bars away. Returns the refusals, and the time after which the source may have news
    /// if it has none now.
    pub(super) fn end(self) -> (Refusals, Option<Duration>) {
        self.bar.finish_and_clear();
        // Bars of downloads go with it.
        let _ = self.bars.clear();
        let wait = self.wait.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.refusals.into_inner().unwrap_or_else(PoisonError::into_inner), wait)
    }

    /// Returns `true` if it is time for a line.
    fn is_due(&self) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = last.is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
        if is_due {
            *last = Some(Instant::now());
        }
        is_due
    }
}

impl Observer for FillDisplay {
    fn observe(&self, progress: Progress<'_>) {
        match progress {
            Progress::Written(totals) => {
                self.collected.count(totals);
                self.bar.set_position(totals.bytes);
                self.bar.set_message(format!("{}: {} documents", self.name, totals.documents));
                if self.json && self.is_due() {
                    let line = json!({
                        "stage": "collecting",
                        "source": self.name,
                        "documents": totals.documents,
                        "bytes": totals.bytes,
                        "refused": totals.refused,
                    });
                    eprintln!("{line}");
                }
            }
            Progress::Refused(refusal) => {
                tracing::debug!(
                    source = self.name,
                    location = refusal.origin.location,
                    "refused: {}",
                    refusal.reason
                );
                self.refusals.lock().unwrap_or_else(PoisonError::into_inner).note(refusal);
            }
            Progress::Waiting(time) => {
                *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = Some(time);
            }
            Progress::Committed(_) => {}
        }
    }
}
