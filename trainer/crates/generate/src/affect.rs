// SPDX-License-Identifier: Apache-2.0

/// Share of the state that remains after a token.
const DECAY: f64 = 0.9;
/// Surprise, in nats, at which it saturates.
const FULL_SURPRISE: f64 = 4.0;

/// Running summary of the model's surprise at a text. `valence`, −1 to 1, is the negative
/// exponential moving average of surprise. `arousal`, 0 to 1, is that of its magnitude.
///
/// The dimensions are Russell's (1980, "A circumplex model of affect"). That prediction errors
/// drive them follows Joffily and Coricelli (2013, "Emotional valence and the free-energy
/// principle"). The arithmetic is plain IEEE 754, so the same tokens give the same state.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Affect {
    valence: f64,
    arousal: f64,
}

impl Affect {
    /// Updates the state with a token: introspection expected a loss of `expected` nats, and
    /// `observed` nats came out.
    ///
    /// The difference is clamped to ±4 nats. A NaN changes nothing.
    pub fn observe(&mut self, expected: f64, observed: f64) {
        let surprise = ((observed - expected) / FULL_SURPRISE).clamp(-1.0, 1.0);
        if !surprise.is_nan() {
            self.valence = DECAY * self.valence - (1.0 - DECAY) * surprise;
            self.arousal = DECAY * self.arousal + (1.0 - DECAY) * surprise.abs();
        }
    }

    /// Returns the valence, from −1 (everything was worse than expected) to 1 (better).
    pub fn valence(&self) -> f64 {
        self.valence
    }

    /// Returns the arousal, from 0 (all as expected) to 1. It is at least the magnitude of the
    /// valence.
    pub fn arousal(&self) -> f64 {
        self.arousal
    }

    /// Returns the temperature `base · (1 + sensitivity · (valence − arousal) / 2)`.
    ///
    /// Pleasant surprise leaves `base` as it is. Unpleasant surprise lowers it, to `base · (1 −
    /// sensitivity)` at worst. Mixed surprise has half that effect. `sensitivity` is clamped to 0
    /// to 1.
    pub fn temperature(&self, base: f64, sensitivity: f64) -> f64 {
        base * (1.0 + sensitivity.clamp(0.0, 1.0) * (self.valence - self.arousal) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_tokens_by_hand() {
        let mut affect = Affect::default();
        // One nat worse than expected: a surprise of 1/4, weighted by a tenth.
        affect.observe(2.0, 3.0);
        assert!(
            (affect.valence() + 0.025).abs() < 1e-15 && (affect.arousal() - 0.025).abs() < 1e-15
        );
        // Ten nats better, clamped to −1.
        affect.observe(11.0, 1.0);
        assert!((affect.valence() - 0.077_5).abs() < 1e-15, "{affect:?}");
        assert!((affect.arousal() - 0.122_5).abs() < 1e-15, "{affect:?}");
        assert!((affect.temperature(0.8, 0.5) - 0.8 * (1.0 - 0.5 * 0.045 / 2.0)).abs() < 1e-15);
    }

    #[test]
    fn a_model_that_is_always_right_keeps_its_temperature() {
        let (mut calm, mut pleased, mut dismayed) =
            (Affect::default(), Affect::default(), Affect::default());
        for _ in 0..400 {
            calm.observe(1.5, 1.5);
            pleased.observe(9.0, 0.0);
            dismayed.observe(0.0, 9.0);
        }
        assert_eq!(calm, Affect::default());
        assert_eq!(calm.temperature(0.7, 1.0), 0.7);
        assert!((pleased.temperature(0.7, 0.5) - 0.7).abs() < 1e-12);
        assert!((dismayed.temperature(0.7, 0.5) - 0.35).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_state_stays_in_its_bounds(
            tokens in proptest::collection::vec(any::<(f64, f64)>(), 0..99),
            base in 0.0..5.0f64,
            sensitivity: f64,
        ) {
            let mut affect = Affect::default();
            for (expected, observed) in tokens {
                affect.observe(expected, observed);
                prop_assert!(affect.arousal() <= 1.0 + 1e-12);
                prop_assert!(affect.valence().abs() <= affect.arousal() + 1e-12);
            }
            if !sensitivity.is_nan() {
                let temperature = affect.temperature(base, sensitivity);
                prop_assert!((-1e-9..=base + 1e-9).contains(&temperature));
            }
        }
    }
}
