// SPDX-License-Identifier: Apache-2.0

//! Counts and verdict of a scenario.

use serde::Serialize;

/// Counts and verdict of a scenario.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tally {
    /// Updates, calls or draws.
    pub(crate) attempts: u64,
    /// Attempts in which an audit looked at something false.
    pub(crate) sampled: u64,
    /// Attempts that were found or refused.
    pub(crate) detected: u64,
    /// Penalties taken from bonds.
    pub(crate) slashed: u64,
    /// Honest updates that were taken for an attack meanwhile.
    pub(crate) false_positives: u64,
    /// 95 % interval of the rate that the requirement is about.
    pub(crate) interval: [f64; 2],
    /// `true` if the requirement was met.
    #[serde(rename = "held")]
    pub(crate) passed: bool,
    /// `true` if this machine lacks what the scenario needs, so that it was not tried.
    pub(crate) skipped: bool,
    /// Figures and reasons.
    pub(crate) note: String,
}

impl Tally {
    /// Creates an empty tally that has not passed.
    pub(crate) fn new() -> Self {
        Self {
            attempts: 0,
            sampled: 0,
            detected: 0,
            slashed: 0,
            false_positives: 0,
            interval: [0.0, 1.0],
            passed: false,
            skipped: false,
            note: String::new(),
        }
    }

    /// Counts attempts, samples of something false, and detections. The interval is that of
    /// detections per sample.
    pub(crate) fn counted(attempts: u64, sampled: u64, detected: u64) -> Self {
        let interval = wilson(detected, sampled);
        Self { attempts, sampled, detected, interval, ..Self::new() }
    }

    /// Counts `count` attempts that all have to be found or refused; `found` were.
    pub(crate) fn tried(count: u64, found: u64) -> Self {
        Self::counted(count, count, found)
    }

    /// Counts one call that the chain has to refuse with the error `expected`.
    pub(crate) fn refused(expected: &str, found: &str) -> Self {
        let passed = found == expected;
        Self::tried(1, passed.into()).passed(passed, format!("refused with {found}"))
    }

    /// Returns the tally of a scenario that could not be tried to its end.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self::new().passed(false, format!("could not be tried: {error:#}"))
    }

    /// Returns the tally of a scenario that this machine cannot try, for this reason.
    pub(crate) fn skipped(reason: &str) -> Self {
        Self { skipped: true, ..Self::new() }.passed(false, format!("not tried: {reason}"))
    }

    /// Returns `true` if the scenario was tried and its requirement was not met.
    pub(crate) fn is_failure(&self) -> bool {
        !self.passed && !self.skipped
    }

    /// Adds the tally of the same scenario on another network. Both have to pass, unless one was
    /// not tried.
    pub(crate) fn and(self, other: Self) -> Self {
        match (self.skipped, other.skipped) {
            (_, true) => self,
            (true, false) => other,
            (false, false) => Self {
                attempts: self.attempts + other.attempts,
                sampled: self.sampled + other.sampled,
                detected: self.detected + other.detected,
                slashed: self.slashed + other.slashed,
                false_positives: self.false_positives + other.false_positives,
                // The wider one of both.
                interval: [
                    self.interval[0].min(other.interval[0]),
                    self.interval[1].max(other.interval[1]),
                ],
                passed: self.passed && other.passed,
                skipped: false,
                note: format!("{} {}", self.note, other.note).trim().to_owned(),
            },
        }
    }

    /// Sets the number of penalties.
    pub(crate) fn slashed(self, slashed: u64) -> Self {
        Self { slashed, ..self }
    }

    /// Sets the number of honest updates that were taken for an attack.
    pub(crate) fn false_positives(self, false_positives: u64) -> Self {
        Self { false_positives, ..self }
    }

    /// Sets the interval of the rate that the requirement is about.
    pub(crate) fn interval(self, interval: [f64; 2]) -> Self {
        Self { interval, ..self }
    }

    /// Sets the verdict and a note on it.
    pub(crate) fn passed(self, passed: bool, note: impl Into<String>) -> Self {
        Self { passed, note: note.into(), ..self }
    }
}

/// Returns the 95 % interval of a rate with `hits` of `tries` (Wilson 1927, "Probable Inference,
/// the Law of Succession, and Statistical Inference").
pub(crate) fn wilson(hits: u64, tries: u64) -> [f64; 2] {
    if tries == 0 {
        return [0.0, 1.0];
    }
    const Z: f64 = 1.959_964;
    let (hits, tries) = (hits as f64, tries as f64);
    let rate = hits / tries;
    let whole = 1.0 + Z * Z / tries;
    let middle = rate + Z * Z / (2.0 * tries);
    let reach = Z * (rate * (1.0 - rate) / tries + Z * Z / (4.0 * tries * tries)).sqrt();
    [((middle - reach) / whole).max(0.0), ((middle + reach) / whole).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_of_two_networks_has_to_pass_on_both() {
        let tally = |passed| Tally::tried(2, 2).passed(passed, "");
        assert!(tally(true).and(tally(true)).passed);
        assert_eq!(tally(true).and(tally(true)).attempts, 4);
        assert!(tally(true).and(tally(false)).is_failure());
        assert!(tally(false).and(tally(true)).is_failure());
        assert!(Tally::skipped("").and(tally(true)).passed);
        assert!(tally(true).and(Tally::skipped("")).passed);
    }

    #[test]
    fn intervals_are_wilsons() {
        // Values of the formula as published in tables.
        let [low, high] = wilson(10, 10);
        assert!((low - 0.7225).abs() < 1e-3 && (high - 1.0).abs() < 1e-9);
        let [low, high] = wilson(0, 10_000);
        assert!(low.abs() < 1e-9 && (high - 0.000_384).abs() < 1e-5);
        let [low, high] = wilson(50, 100);
        assert!((low - 0.4038).abs() < 1e-3 && (high - 0.5962).abs() < 1e-3);
        assert_eq!(wilson(0, 0), [0.0, 1.0]);
    }
}
