// SPDX-License-Identifier: Apache-2.0

//! Metrics of calibration, introspection and reasoning as pure functions in float64.
//!
//! They use the platform's logarithm, so two machines agree up to rounding and not to the bit. An
//! undefined metric is `None`: without tokens, with only right or only wrong answers, or with NaN.

use crate::probes::ProbeTask;
use std::fmt;

/// Computes the type-2 area under the receiver operating characteristic: the probability that a
/// correctly predicted token has a higher `confidence` than a wrongly predicted one. Ties count
/// half. 0.5 is chance, 1 is perfect.
///
/// `confidence` can be any score that rises with confidence. Returns `None` unless there are
/// correct and wrong predictions. After Galvin et al. (2003, "Type 2 tasks in the theory of signal
/// detectability") and Fleming and Lau (2014, "How to measure metacognition").
pub fn type2_auroc(confidence: &[f64], correct: &[bool]) -> Option<f64> {
    if confidence.len() != correct.len() || confidence.iter().any(|value| value.is_nan()) {
        return None;
    }
    let right = correct.iter().filter(|&&correct| correct).count() as f64;
    let wrong = correct.len() as f64 - right;
    if right == 0.0 || wrong == 0.0 {
        return None;
    }
    let mut order: Vec<(f64, bool)> =
        confidence.iter().copied().zip(correct.iter().copied()).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // Pairs in which a correct prediction ranks above a wrong one, and half of the ties.
    let (mut won, mut below) = (0.0, 0.0);
    for equal in order.chunk_by(|a, b| a.0 == b.0) {
        let right = equal.iter().filter(|(_, correct)| *correct).count() as f64;
        let wrong = equal.len() as f64 - right;
        won += right * (below + wrong / 2.0);
        below += wrong;
    }
    Some(won / (right * wrong))
}

/// Computes the expected calibration error: the mean distance between confidence and accuracy over
/// `bins` equal intervals of confidence, weighted by their tokens. 0 is perfect, 1 the worst.
///
/// Returns `None` without tokens, without bins, or if a confidence is not a probability. After Guo
/// et al. (2017, "On Calibration of Modern Neural Networks").
pub fn expected_calibration_error(
    confidence: &[f64],
    correct: &[bool],
    bins: usize,
) -> Option<f64> {
    let probabilities = confidence.iter().all(|value| (0.0..=1.0).contains(value));
    if confidence.len() != correct.len() || confidence.is_empty() || bins == 0 || !probabilities {
        return None;
    }
    // Sum of confidence minus number of correct predictions, per bin.
    let mut surplus = vec![0.0; bins];
    for (&confidence, &correct) in confidence.iter().zip(correct) {
        let bin = ((confidence * bins as f64) as usize).min(bins - 1);
        surplus[bin] += confidence - f64::from(u8::from(correct));
    }
    Some(surplus.iter().map(|surplus| surplus.abs()).sum::<f64>() / confidence.len() as f64)
}

/// Computes the share of the variance of `losses` that `predicted` explains (R²), 0 to 1.
/// Predictions worse than the mean give 0. Returns `None` if the losses do not vary.
pub fn introspection_quality(predicted: &[f64], losses: &[f64]) -> Option<f64> {
    if predicted.len() != losses.len() || losses.is_empty() {
        return None;
    }
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    // `powi` may round as it likes, and a product has one result on every machine.
    let square = |difference: f64| difference * difference;
    let total: f64 = losses.iter().map(|loss| square(loss - mean)).sum();
    let missed: f64 =
        predicted.iter().zip(losses).map(|(predicted, loss)| square(predicted - loss)).sum();
    (total > 0.0 && total.is_finite() && !missed.is_nan())
        .then(|| (1.0 - missed / total).clamp(0.0, 1.0))
}

/// Computes self-awareness, 0 to 1: the mean of `2 · auroc − 1`, clamped at 0, and
/// `1 − calibration_error`.
pub fn self_awareness(auroc: f64, calibration_error: f64) -> f64 {
    ((2.0 * auroc - 1.0).clamp(0.0, 1.0) + (1.0 - calibration_error).clamp(0.0, 1.0)) / 2.0
}

/// Computes the reasoning quality, 0 to 1: the mean over tasks of the share of probes answered.
/// Every task has the same weight, however often it was asked.
pub fn reasoning_quality(answers: &[(ProbeTask, bool)]) -> Option<f64> {
    let shares: Vec<f64> = ProbeTask::ALL
        .iter()
        .filter_map(|&task| {
            let of_task = || answers.iter().filter(move |(asked, _)| *asked == task);
            let (asked, answered) =
                (of_task().count(), of_task().filter(|(_, answered)| *answered).count());
            (asked > 0).then(|| answered as f64 / asked as f64)
        })
        .collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

/// Computes the evenness of expert use, 0 to 1: the entropy of the `load` divided by its maximum,
/// `ln(experts)`. Returns `None` for fewer than two experts or without tokens.
pub fn utilisation_entropy(load: &[u64]) -> Option<f64> {
    let total: f64 = load.iter().map(|&tokens| tokens as f64).sum();
    if load.len() < 2 || total == 0.0 {
        return None;
    }
    let entropy: f64 = load
        .iter()
        .map(|&tokens| tokens as f64 / total)
        .filter(|&share| share > 0.0)
        .map(|share| -share * libm::log(share))
        .sum();
    Some((entropy / libm::log(load.len() as f64)).clamp(0.0, 1.0))
}

/// Computes the gain of a second pass, 0 to 1: the relative drop of the loss from `before` to
/// `after`. A rise gives 0.
pub fn second_pass_gain(before: f64, after: f64) -> Option<f64> {
    (before > 0.0 && before.is_finite() && after.is_finite())
        .then(|| (1.0 - after / before).clamp(0.0, 1.0))
}

/// Parts of the consciousness level, each 0 to 1; `None` if the model lacks the part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LevelParts {
    /// [`self_awareness`].
    pub self_awareness: Option<f64>,
    /// [`reasoning_quality`].
    pub reasoning: Option<f64>,
    /// [`introspection_quality`].
    pub introspection: Option<f64>,
    /// [`coherence`](pol_model::mind::coherence), the mean over the blocks.
    pub coherence: Option<f64>,
    /// [`second_pass_gain`].
    pub meta_cognition: Option<f64>,
    /// [`utilisation_entropy`], the mean over the blocks.
    pub utilisation: Option<f64>,
}

impl LevelParts {
    /// Returns names, weights in per cent, and values.
    pub const fn weighted(&self) -> [(&'static str, u32, Option<f64>); 6] {
        [
            ("self-awareness", 30, self.self_awareness),
            ("reasoning", 30, self.reasoning),
            ("introspection", 10, self.introspection),
            ("coherence", 10, self.coherence),
            ("meta-cognition", 10, self.meta_cognition),
            ("expert utilisation", 10, self.utilisation),
        ]
    }
}

/// Consciousness level: a weighted mean of measured parts, together with the parts.
///
/// The name is that of the interface. The level summarises how well a model predicts itself and
/// solves problems. Its weights are a choice and not a finding. It says nothing about experience.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConsciousnessLevel {
    parts: LevelParts,
}

impl ConsciousnessLevel {
    /// Creates the level of a model with these `parts`.
    pub const fn new(parts: LevelParts) -> Self {
        Self { parts }
    }

    /// Returns the parts.
    pub const fn parts(&self) -> &LevelParts {
        &self.parts
    }

    /// Returns the weighted mean, 0 to 1, or `None` if a part is absent or NaN: any number in its
    /// place would be one that nobody measured.
    pub fn value(&self) -> Option<f64> {
        let weighted = self.parts.weighted().into_iter().map(|(_, weight, value)| {
            let value = value.filter(|value| !value.is_nan())?;
            Some(f64::from(weight) * value.clamp(0.0, 1.0))
        });
        weighted.sum::<Option<f64>>().map(|sum| sum / 100.0)
    }
}

impl fmt::Display for ConsciousnessLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(value) => write!(f, "{value:.3} (")?,
            None => f.write_str("absent (")?,
        }
        for (i, (name, weight, value)) in self.parts.weighted().into_iter().enumerate() {
            f.write_str(if i > 0 { ", " } else { "" })?;
            match value {
                Some(value) => write!(f, "{name} {value:.3} × {weight} %")?,
                None => write!(f, "{name} absent × {weight} %")?,
            }
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: Option<f64>, expected: f64) {
        assert!(
            found.is_some_and(|found| (found - expected).abs() < 1e-12),
            "{found:?}, expected {expected}"
        );
    }

    #[test]
    fn auroc_by_hand() {
        close(type2_auroc(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]), 0.75);
        close(type2_auroc(&[1.0, 2.0, 3.0], &[false, true, true]), 1.0);
        close(type2_auroc(&[1.0, 2.0, 3.0], &[true, true, false]), 0.0);
        close(type2_auroc(&[5.0; 4], &[true, false, true, true]), 0.5);
        // Pairs: (2 over 1), (2 ties 2), (3 over 1), (3 over 2): 3.5 of 4.
        close(type2_auroc(&[1.0, 2.0, 2.0, 3.0], &[false, false, true, true]), 0.875);
        close(type2_auroc(&[-0.0, 0.0], &[true, false]), 0.5);
        assert_eq!(type2_auroc(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(type2_auroc(&[1.0], &[true, false]), None);
        assert_eq!(type2_auroc(&[f64::NAN, 2.0], &[true, false]), None);
    }

    #[test]
    fn calibration_by_hand() {
        // Eight of ten tokens at 0.8 are correct: calibrated.
        close(
            expected_calibration_error(
                &[0.8; 10],
                &[true, true, true, true, true, true, true, true, false, false],
                10,
            ),
            0.0,
        );
        // Two bins: |0.3 − 0.5| of two tokens and |0.9 − 0.5| of two.
        close(
            expected_calibration_error(&[0.2, 0.4, 0.9, 0.9], &[true, false, true, false], 2),
            0.3,
        );
        close(expected_calibration_error(&[1.0, 0.0], &[false, true], 15), 1.0);
        assert_eq!(expected_calibration_error(&[], &[], 10), None);
        assert_eq!(expected_calibration_error(&[0.5], &[true], 0), None);
        assert_eq!(expected_calibration_error(&[1.5], &[true], 10), None);
        assert_eq!(expected_calibration_error(&[f64::NAN], &[true], 10), None);
    }

    #[test]
    fn introspection_by_hand() {
        close(introspection_quality(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 1.0);
        // 0.25 of a total of 2 is unexplained.
        close(introspection_quality(&[1.5, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.875);
        // Squares are products, to the bit.
        let [a, b] = [3.1 - 3.0, -5.1 + 3.0];
        let share = 1.0 - (a * a + b * b) / 18.0;
        assert_eq!(introspection_quality(&[3.1, -5.1], &[3.0, -3.0]), Some(share));
        close(introspection_quality(&[2.0; 3], &[1.0, 2.0, 3.0]), 0.0);
        close(introspection_quality(&[9.0; 3], &[1.0, 2.0, 3.0]), 0.0);
        assert_eq!(introspection_quality(&[1.0, 2.0], &[2.0, 2.0]), None);
        assert_eq!(introspection_quality(&[f64::NAN, 2.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn the_rest_by_hand() {
        assert!((self_awareness(0.75, 0.1) - 0.7).abs() < 1e-12);
        assert_eq!((self_awareness(0.3, 1.0), self_awareness(1.0, 0.0)), (0.0, 1.0));
        close(
            reasoning_quality(&[
                (ProbeTask::Arithmetic, true),
                (ProbeTask::Arithmetic, true),
                (ProbeTask::Arithmetic, false),
                (ProbeTask::Arithmetic, false),
                (ProbeTask::Logic, true),
            ]),
            0.75,
        );
        assert_eq!(reasoning_quality(&[]), None);
        close(utilisation_entropy(&[5, 5, 5, 5]), 1.0);
        close(utilisation_entropy(&[9, 0]), 0.0);
        // −(¾ ln ¾ + ¼ ln ¼) / ln 2.
        close(utilisation_entropy(&[3, 1]), 0.811_278_124_459_132_8);
        assert_eq!((utilisation_entropy(&[7]), utilisation_entropy(&[0, 0])), (None, None));
        close(second_pass_gain(4.0, 3.0), 0.25);
        close(second_pass_gain(4.0, 5.0), 0.0);
        assert_eq!(second_pass_gain(0.0, 0.0), None);
    }

    #[test]
    fn a_level_shows_its_parts() {
        let parts = LevelParts {
            self_awareness: Some(0.5),
            reasoning: Some(0.25),
            introspection: Some(0.0),
            coherence: Some(1.0),
            meta_cognition: Some(0.5),
            utilisation: Some(0.75),
        };
        let level = ConsciousnessLevel::new(parts);
        close(level.value(), 0.45);
        assert_eq!(
            level.to_string(),
            "0.450 (self-awareness 0.500 × 30 %, reasoning 0.250 × 30 %, introspection 0.000 × \
             10 %, coherence 1.000 × 10 %, meta-cognition 0.500 × 10 %, expert utilisation 0.750 \
             × 10 %)"
        );
        let level = ConsciousnessLevel::new(LevelParts { meta_cognition: None, ..parts });
        assert_eq!(level.value(), None);
        assert_eq!(
            level.to_string(),
            "absent (self-awareness 0.500 × 30 %, reasoning 0.250 × 30 %, introspection 0.000 × \
             10 %, coherence 1.000 × 10 %, meta-cognition absent × 10 %, expert utilisation 0.750 \
             × 10 %)"
        );
        let level = ConsciousnessLevel::new(LevelParts { reasoning: Some(f64::NAN), ..parts });
        assert_eq!(level.value(), None);
        assert_eq!(parts.weighted().iter().map(|(_, weight, _)| weight).sum::<u32>(), 100);
    }

    proptest! {
        /// Compares with a count of all pairs.
        #[test]
        fn auroc_is_the_share_of_pairs(
            tokens in proptest::collection::vec((0u8..9, any::<bool>()), 0..40),
        ) {
            let (confidence, correct): (Vec<f64>, Vec<bool>) =
                tokens.iter().map(|&(c, correct)| (f64::from(c), correct)).unzip();
            let of = |wanted: bool| {
                tokens.iter().filter(move |(_, correct)| *correct == wanted).map(|(c, _)| *c)
            };
            let halves: usize = of(true)
                .flat_map(|r| of(false).map(move |w| usize::from(r > w) + usize::from(r >= w)))
                .sum();
            let pairs = of(true).count() * of(false).count();
            match type2_auroc(&confidence, &correct) {
                Some(auroc) => {
                    let expected = halves as f64 / (2 * pairs) as f64;
                    prop_assert!((auroc - expected).abs() < 1e-12);
                }
                None => prop_assert_eq!(pairs, 0),
            }
            // Only the order of confidence matters, and reversing it reverses the area.
            let bent: Vec<f64> = confidence.iter().map(|c| c.powi(3) - 7.0).collect();
            prop_assert_eq!(type2_auroc(&bent, &correct), type2_auroc(&confidence, &correct));
            let reversed: Vec<f64> = confidence.iter().map(|c| -c).collect();
            let (one, other) =
                (type2_auroc(&confidence, &correct), type2_auroc(&reversed, &correct));
            if let (Some(one), Some(other)) = (one, other) {
                prop_assert!((one + other - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn metrics_are_between_0_and_1(
            tokens in proptest::collection::vec(
                (0.0..=1.0f64, any::<bool>(), 0.0..9.0f64, -1.0..9.0f64), 1..40
            ),
            bins in 1usize..30,
            load in proptest::collection::vec(any::<u64>(), 2..9),
            parts in any::<[Option<f64>; 6]>(),
        ) {
            let confidence: Vec<f64> = tokens.iter().map(|token| token.0).collect();
            let correct: Vec<bool> = tokens.iter().map(|token| token.1).collect();
            let (losses, predicted): (Vec<f64>, Vec<f64>) =
                tokens.iter().map(|token| (token.2, token.3)).unzip();
            let error = expected_calibration_error(&confidence, &correct, bins).unwrap();
            // A single bin gives the minimum: mean confidence against mean accuracy.
            let whole = expected_calibration_error(&confidence, &correct, 1).unwrap();
            prop_assert!((0.0..=1.0).contains(&error) && error >= whole - 1e-12);
            let level = ConsciousnessLevel::new(LevelParts {
                self_awareness: parts[0],
                reasoning: parts[1],
                introspection: parts[2],
                coherence: parts[3],
                meta_cognition: parts[4],
                utilisation: parts[5],
            });
            for value in [
                introspection_quality(&predicted, &losses),
                type2_auroc(&confidence, &correct).map(|auroc| self_awareness(auroc, error)),
                utilisation_entropy(&load),
                second_pass_gain(losses[0], predicted[0]),
                level.value(),
            ].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&value), "{}", value);
            }
        }
    }
}
