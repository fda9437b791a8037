//! Numbers on what a model knows of itself and of the world: pure functions of what was observed,
//! in float64.
//!
//! They use the platform's logarithm, so two machines agree to rounding, not to the bit. A metric
//! that cannot be told (no tokens, one outcome only, values that are no numbers) is `None`, never a
//! guess.

use crate::probes::Task;
use std::fmt;

/// Type-2 area under the receiver operating characteristic: the chance that a token the model got
/// right had the higher `confidence` than one that it got wrong, ties counting half. 0.5 is knowing
/// nothing, 1 knowing always.
///
/// Any score that rises with confidence will do. `None` unless there are right and wrong answers.
/// After Galvin et al. (2003, "Type 2 tasks in the theory of signal detectability") and Fleming and
/// Lau (2014, "How to measure metacognition").
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
    // Pairs that a right answer wins against the wrong ones below it, and half of those it ties
    // with.
    let (mut won, mut below) = (0.0, 0.0);
    for equal in order.chunk_by(|a, b| a.0 == b.0) {
        let right = equal.iter().filter(|(_, correct)| *correct).count() as f64;
        let wrong = equal.len() as f64 - right;
        won += right * (below + wrong / 2.0);
        below += wrong;
    }
    Some(won / (right * wrong))
}

/// Expected calibration error: the mean distance between confidence and accuracy, over `bins` equal
/// intervals of confidence, weighted by the tokens in them. 0 is perfect, 1 the worst.
///
/// Confidences are probabilities; `None` for others, for no tokens and for no bins. After Guo et
/// al. (2017, "On Calibration of Modern Neural Networks").
pub fn expected_calibration_error(
    confidence: &[f64],
    correct: &[bool],
    bins: usize,
) -> Option<f64> {
    let probabilities = confidence.iter().all(|value| (0.0..=1.0).contains(value));
    if confidence.len() != correct.len() || confidence.is_empty() || bins == 0 || !probabilities {
        return None;
    }
    // Sum of confidence less number of right answers, in each bin.
    let mut surplus = vec![0.0; bins];
    for (&confidence, &correct) in confidence.iter().zip(correct) {
        let bin = ((confidence * bins as f64) as usize).min(bins - 1);
        surplus[bin] += confidence - f64::from(u8::from(correct));
    }
    Some(surplus.iter().map(|surplus| surplus.abs()).sum::<f64>() / confidence.len() as f64)
}

/// Share of the variance of `losses` that `predicted` explains (R²), 0 to 1; predictions worse than
/// the mean are 0. `None` where losses do not vary.
pub fn introspection_quality(predicted: &[f64], losses: &[f64]) -> Option<f64> {
    if predicted.len() != losses.len() || losses.is_empty() {
        return None;
    }
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    let total: f64 = losses.iter().map(|loss| (loss - mean).powi(2)).sum();
    let missed: f64 =
        predicted.iter().zip(losses).map(|(predicted, loss)| (predicted - loss).powi(2)).sum();
    (total > 0.0 && total.is_finite() && !missed.is_nan())
        .then(|| (1.0 - missed / total).clamp(0.0, 1.0))
}

/// How well a model knows what it knows, 0 to 1: the mean of `2 · auroc − 1`, cut at 0, and
/// `1 − calibration_error`.
pub fn self_awareness(auroc: f64, calibration_error: f64) -> f64 {
    ((2.0 * auroc - 1.0).clamp(0.0, 1.0) + (1.0 - calibration_error).clamp(0.0, 1.0)) / 2.0
}

/// Reasoning quality, 0 to 1: the share of probes answered, as the mean over the kinds of task
/// present, so that no kind counts for more because it was asked more often.
pub fn reasoning_quality(answers: &[(Task, bool)]) -> Option<f64> {
    let shares: Vec<f64> = Task::ALL
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

/// How evenly experts are used, 0 to 1: the entropy of the tokens sent to each over its greatest
/// value, `ln(experts)`. `None` for fewer than two experts, and where no token was sent.
pub fn utilisation_entropy(load: &[u64]) -> Option<f64> {
    let total: f64 = load.iter().map(|&tokens| tokens as f64).sum();
    if load.len() < 2 || total == 0.0 {
        return None;
    }
    let entropy: f64 = load
        .iter()
        .map(|&tokens| tokens as f64 / total)
        .filter(|&share| share > 0.0)
        .map(|share| -share * share.ln())
        .sum();
    Some((entropy / (load.len() as f64).ln()).clamp(0.0, 1.0))
}

/// What a second pass gains, 0 to 1: the share of the loss `before` it that is gone `after` it; 0
/// where it does harm.
pub fn second_pass_gain(before: f64, after: f64) -> Option<f64> {
    (before > 0.0 && before.is_finite() && after.is_finite())
        .then(|| (1.0 - after / before).clamp(0.0, 1.0))
}

/// What the consciousness level is made of, each 0 to 1; `None` where a model lacks the part.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
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

impl Parts {
    /// Names, weights in hundredths, and values.
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

/// The consciousness level: a weighted mean of measured parts, which come with it wherever it goes.
///
/// The name is the interface's. It is a summary of how well a model predicts itself and solves
/// problems, by weights that were chosen and not found, and says nothing about experience.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConsciousnessLevel {
    parts: Parts,
}

impl ConsciousnessLevel {
    /// The level of a model with these `parts`.
    pub const fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// What it is made of.
    pub const fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The weighted mean, 0 to 1. A part that is absent, or no number, counts as 0: having less of
    /// a mind must not raise the level.
    pub fn value(&self) -> f64 {
        let weighted = self.parts.weighted();
        let sum: f64 = weighted
            .iter()
            .map(|(_, weight, value)| {
                f64::from(*weight)
                    * value.filter(|value| !value.is_nan()).unwrap_or(0.0).clamp(0.0, 1.0)
            })
            .sum();
        sum / 100.0
    }
}

impl fmt::Display for ConsciousnessLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} (", self.value())?;
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
        // Of ten tokens at 0.8, eight right: calibrated.
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
        // Missed 0.25 of a total of 2.
        close(introspection_quality(&[1.5, 2.0, 3.0], &[1.0, 2.0, 3.0]), 0.875);
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
                (Task::Arithmetic, true),
                (Task::Arithmetic, true),
                (Task::Arithmetic, false),
                (Task::Arithmetic, false),
                (Task::Logic, true),
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
        let parts = Parts {
            self_awareness: Some(0.5),
            reasoning: Some(0.25),
            coherence: Some(1.0),
            ..Parts::default()
        };
        let level = ConsciousnessLevel::new(parts);
        assert!((level.value() - 0.325).abs() < 1e-12);
        assert_eq!(
            level.to_string(),
            "0.325 (self-awareness 0.500 × 30 %, reasoning 0.250 × 30 %, introspection absent × 10 %, coherence 1.000 × 10 %, \
             meta-cognition absent × 10 %, expert utilisation absent × 10 %)"
        );
        assert_eq!(parts.weighted().iter().map(|(_, weight, _)| weight).sum::<u32>(), 100);
    }

    proptest! {
        /// Against counting all pairs.
        #[test]
        fn auroc_is_the_share_of_pairs(tokens in proptest::collection::vec((0u8..9, any::<bool>()), 0..40)) {
            let (confidence, correct): (Vec<f64>, Vec<bool>) = tokens.iter().map(|&(c, correct)| (f64::from(c), correct)).unzip();
            let of = |wanted: bool| tokens.iter().filter(move |(_, correct)| *correct == wanted).map(|(c, _)| *c);
            let halves: usize = of(true).flat_map(|r| of(false).map(move |w| usize::from(r > w) + usize::from(r >= w))).sum();
            let pairs = of(true).count() * of(false).count();
            match type2_auroc(&confidence, &correct) {
                Some(auroc) => prop_assert!((auroc - halves as f64 / (2 * pairs) as f64).abs() < 1e-12),
                None => prop_assert_eq!(pairs, 0),
            }
            // Only the order of confidence matters, and turning it round turns the area round.
            let bent: Vec<f64> = confidence.iter().map(|c| c.powi(3) - 7.0).collect();
            prop_assert_eq!(type2_auroc(&bent, &correct), type2_auroc(&confidence, &correct));
            let turned: Vec<f64> = confidence.iter().map(|c| -c).collect();
            if let (Some(one), Some(other)) = (type2_auroc(&confidence, &correct), type2_auroc(&turned, &correct)) {
                prop_assert!((one + other - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn metrics_are_between_0_and_1(
            tokens in proptest::collection::vec((0.0..=1.0f64, any::<bool>(), 0.0..9.0f64, -1.0..9.0f64), 1..40),
            bins in 1usize..30, load in proptest::collection::vec(any::<u64>(), 2..9),
            parts in any::<[Option<f64>; 6]>(),
        ) {
            let confidence: Vec<f64> = tokens.iter().map(|token| token.0).collect();
            let correct: Vec<bool> = tokens.iter().map(|token| token.1).collect();
            let (losses, predicted): (Vec<f64>, Vec<f64>) = tokens.iter().map(|token| (token.2, token.3)).unzip();
            let error = expected_calibration_error(&confidence, &correct, bins).unwrap();
            // One bin for all is the least: the mean confidence against the mean accuracy.
            let whole = expected_calibration_error(&confidence, &correct, 1).unwrap();
            prop_assert!((0.0..=1.0).contains(&error) && error >= whole - 1e-12);
            let [self_awareness_part, reasoning, introspection, coherence, meta_cognition, utilisation] = parts;
            let level = ConsciousnessLevel::new(Parts {
                self_awareness: self_awareness_part, reasoning, introspection, coherence, meta_cognition, utilisation,
            });
            for value in [
                introspection_quality(&predicted, &losses),
                type2_auroc(&confidence, &correct).map(|auroc| self_awareness(auroc, error)),
                utilisation_entropy(&load),
                second_pass_gain(losses[0], predicted[0]),
                Some(level.value()),
            ].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&value), "{}", value);
            }
        }
    }
}
