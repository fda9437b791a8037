// SPDX-License-Identifier: Apache-2.0

//! Durations of the phases of rounds.

use pol_primitives::{RoundNumber, round::Phase};
use std::{collections::BTreeMap, time::Instant};

/// First observation of each phase of each round.
#[derive(Default)]
pub(super) struct PhaseClock {
    starts: Vec<(RoundNumber, Phase, Instant)>,
}

impl PhaseClock {
    /// Records the present phase.
    pub(super) fn record(&mut self, round: RoundNumber, phase: Phase) {
        if self.starts.last().is_none_or(|(number, last, _)| (*number, *last) != (round, phase)) {
            self.starts.push((round, phase, Instant::now()));
        }
    }

    /// Returns the age of the present phase, in seconds.
    pub(super) fn phase_seconds(&self) -> f64 {
        self.starts.last().map_or(0.0, |(_, _, start)| start.elapsed().as_secs_f64())
    }

    /// Returns the observed seconds of each phase of a round.
    pub(super) fn seconds(&self, round: RoundNumber) -> BTreeMap<&'static str, f64> {
        let mut seconds = BTreeMap::new();
        for (i, (number, phase, start)) in self.starts.iter().enumerate() {
            let end = self.starts.get(i + 1).map_or_else(Instant::now, |(_, _, next)| *next);
            if *number == round {
                let name = match phase {
                    Phase::Idle => "idle",
                    Phase::Train => "train",
                    Phase::Reveal => "reveal",
                    Phase::Hold => "hold",
                    Phase::Attest => "attest",
                };
                *seconds.entry(name).or_default() += end.duration_since(*start).as_secs_f64();
            }
        }
        seconds
    }
}
