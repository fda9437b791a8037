// SPDX-License-Identifier: Apache-2.0

//! Figures of the training since the process started, bounded in their number.

use super::report::{GradientFigures, Progress};
use crate::display::utc_now;
use pol_primitives::RoundNumber;
use serde::Serialize;
use std::collections::VecDeque;
use utoipa::ToSchema;

/// Newest segments that are remembered.
const MAX_SEGMENTS: usize = 1_000;
/// Newest updates that are remembered.
const MAX_UPDATES: usize = 256;

/// Segment that was trained.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct SegmentFigures {
    /// Round that the update is for.
    #[schema(example = 12)]
    pub(crate) round: RoundNumber,
    /// Number of the segment in its lease, from 1.
    #[schema(example = 3)]
    pub(crate) segment: u16,
    /// Segments of the lease.
    #[schema(example = 8)]
    pub(crate) segments: u16,
    /// Optimiser steps of the segment.
    #[schema(example = 4)]
    pub(crate) steps: u32,
    /// Training loss, in nats per token.
    #[schema(example = 3.214)]
    pub(crate) loss: Option<f64>,
    /// Norms of its gradients.
    #[serde(flatten)]
    pub(crate) gradient: GradientFigures,
    /// End of the segment, in UTC.
    pub(crate) time: String,
}

/// Update that was made of a whole lease.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct UpdateFigures {
    /// Round that the update is for.
    #[schema(example = 12)]
    pub(crate) round: RoundNumber,
    /// L2 norm of the change of the parameters by the lease, before it is compressed.
    #[schema(example = 1.25)]
    pub(crate) movement: f64,
    /// End of the training, in UTC.
    pub(crate) time: String,
}

/// Figures of the training of a process, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct History {
    segments: VecDeque<SegmentFigures>,
    updates: VecDeque<UpdateFigures>,
}

impl History {
    /// Remembers the newest segment of a lease, if its gradients are known.
    pub(super) fn add_segment(&mut self, progress: &Progress) {
        let Some(gradient) = progress.gradient else { return };
        let figures = SegmentFigures {
            round: progress.round,
            segment: progress.segment,
            segments: progress.segments,
            steps: progress.steps_total / u32::from(progress.segments.max(1)),
            loss: progress.loss,
            gradient,
            time: utc_now(),
        };
        push(&mut self.segments, figures, MAX_SEGMENTS);
    }

    /// Remembers an update.
    pub(super) fn add_update(&mut self, round: RoundNumber, movement: f64) {
        let figures = UpdateFigures { round, movement, time: utc_now() };
        push(&mut self.updates, figures, MAX_UPDATES);
    }

    /// Returns the segments, the oldest first.
    pub(crate) fn segments(&self) -> Vec<SegmentFigures> {
        self.segments.iter().cloned().collect()
    }

    /// Returns the updates, the oldest first.
    pub(crate) fn updates(&self) -> Vec<UpdateFigures> {
        self.updates.iter().cloned().collect()
    }
}

/// Appends an item, and forgets the oldest ones beyond `most`.
fn push<T>(items: &mut VecDeque<T>, item: T, most: usize) {
    items.push_back(item);
    while items.len() > most {
        items.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_segments_and_updates_are_remembered() {
        let mut history = History::default();
        history.add_segment(&Progress { round: 7, ..Progress::default() });
        assert!(history.segments().is_empty(), "its gradients are not known");
        let gradient = GradientFigures { mean: 0.5, largest: 2.0, limit: 1.0, clipped_steps: 1 };
        for round in 0..1_500 {
            let progress = Progress {
                round,
                segment: 2,
                segments: 4,
                steps_total: 32,
                loss: Some(2.5),
                gradient: Some(gradient),
                ..Progress::default()
            };
            history.add_segment(&progress);
            history.add_update(round, f64::from(round));
        }
        let (segments, updates) = (history.segments(), history.updates());
        assert_eq!((segments.len(), segments[0].round), (MAX_SEGMENTS, 500));
        assert_eq!((segments[999].steps, segments[999].gradient), (8, gradient));
        assert_eq!((updates.len(), updates[255].movement), (MAX_UPDATES, 1_499.0));
    }
}
