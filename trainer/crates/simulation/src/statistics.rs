// SPDX-License-Identifier: Apache-2.0

//! Estimates with their uncertainty, and exact chances to compare them with.

use serde::Serialize;

/// The rate of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Rate {
    /// Trials in which the event happened.
    pub hits: u32,
    /// Number of trials.
    pub trials: u32,
}

impl Rate {
    /// Adds a trial.
    pub fn count(&mut self, hit: bool) {
        self.trials = self.trials.saturating_add(1);
        self.hits = self.hits.saturating_add(hit.into());
    }

    /// Returns hits per trial; 0 without trials.
    pub fn share(&self) -> f64 {
        f64::from(self.hits) / f64::from(self.trials.max(1))
    }

    /// Returns the interval that holds the true chance with the confidence of `z` standard
    /// deviations (Wilson 1927, "Probable inference, the law of succession, and statistical
    /// inference").
    pub fn interval(&self, z: f64) -> (f64, f64) {
        let (n, share) = (f64::from(self.trials.max(1)), self.share());
        let centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half =
            z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
        ((centre - half).max(0.0), (centre + half).min(1.0))
    }
}

/// Standard deviations of a confidence of 95 %.
pub const Z95: f64 = 1.96;

/// Returns the chance of exactly `hits` of the `marked` items among `all` in `draws` draws
/// without replacement.
pub fn hypergeometric(all: u32, marked: u32, draws: u32, hits: u32) -> f64 {
    if hits > marked || hits > draws || draws.saturating_sub(hits) > all.saturating_sub(marked) {
        return 0.0;
    }
    choose(marked, hits) * choose(all.saturating_sub(marked), draws.saturating_sub(hits))
        / choose(all, draws)
}

/// Returns the number of ways to choose `k` of `n`.
pub fn choose(n: u32, k: u32) -> f64 {
    (0..k).map(|i| f64::from(n.saturating_sub(i)) / f64::from(i.saturating_add(1))).product()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_add_up_to_one() {
        let sum: f64 = (0..=7).map(|hits| hypergeometric(30, 11, 7, hits)).sum();
        assert!((sum - 1.0).abs() < 1e-12);
        assert!((hypergeometric(10, 5, 2, 2) - 2.0 / 9.0).abs() < 1e-12);
        assert_eq!(hypergeometric(3, 1, 3, 0), 0.0);
    }

    #[test]
    fn an_interval_holds_its_share_and_narrows() {
        let (few, many) = (Rate { hits: 3, trials: 10 }, Rate { hits: 300, trials: 1_000 });
        for rate in [
            few,
            many,
            Rate { hits: 0, trials: 10 },
            Rate { hits: 10, trials: 10 },
            Rate::default(),
        ] {
            let (low, high) = rate.interval(Z95);
            assert!(
                low - 1e-12 <= rate.share() && rate.share() <= high + 1e-12,
                "{rate:?} {low} {high}"
            );
        }
        // Published example: 3 of 10 at 95 % is 0.108 to 0.603.
        let (low, high) = few.interval(Z95);
        assert!((low - 0.108).abs() < 0.001 && (high - 0.603).abs() < 0.001, "{low} {high}");
        assert!(many.interval(Z95).1 - many.interval(Z95).0 < high - low);
    }
}
