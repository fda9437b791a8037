// SPDX-License-Identifier: Apache-2.0

//! Reports of generated tokens: probability, surprise, and likely alternatives.

use crate::sampler::{entropy, log_probabilities};
use serde::{Serialize, Serializer, ser::SerializeStruct};

/// Report of a generated token. All figures are of the model's own distribution, before the
/// sampling parameters change it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenReport {
    /// Token.
    pub token: u32,
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// Loss, in nats, that was expected before the draw: by the introspection head, or else the
    /// entropy of the distribution.
    pub expected_loss: f64,
    /// Likeliest tokens with the logarithms of their probabilities, the likeliest first.
    pub top: Vec<(u32, f64)>,
}

impl TokenReport {
    /// Creates the report of `token`, with the `top` likeliest tokens.
    pub(super) fn new(logits: &[f32], token: u32, expected: Option<f64>, top: usize) -> Self {
        let log = log_probabilities(logits);
        Self {
            token,
            log_probability: log(token),
            expected_loss: expected.unwrap_or_else(|| entropy(logits)),
            top: likeliest(logits, top).into_iter().map(|token| (token, log(token))).collect(),
        }
    }

    /// Returns the surprise in nats: the loss of the token without the expected one. It drives
    /// [`Affect`](crate::Affect).
    pub fn surprise(&self) -> f64 {
        -self.log_probability - self.expected_loss
    }

    /// Returns the confidence, 0 to 1: the probability at which a token has the expected loss.
    pub fn confidence(&self) -> f64 {
        libm::exp(-self.expected_loss).clamp(0.0, 1.0)
    }
}

impl Serialize for TokenReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("TokenReport", 5)?;
        object.serialize_field("token", &self.token)?;
        object.serialize_field("log_probability", &self.log_probability)?;
        object.serialize_field("expected_loss", &self.expected_loss)?;
        object.serialize_field("surprise", &self.surprise())?;
        object.serialize_field("confidence", &self.confidence())?;
        object.end()
    }
}

/// Returns the `count` tokens with the largest logits, and of equals the first.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut tokens: Vec<u32> = (0..).take(logits.len()).collect();
    let order = |a: &u32, b: &u32| {
        logits[*b as usize].total_cmp(&logits[*a as usize]).then_with(|| a.cmp(b))
    };
    if count == 0 {
        return Vec::new();
    }
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count - 1, order);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(order);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_models_own_probabilities() {
        // Probabilities 1/2, 1/4, 1/8, 1/8.
        let logits = [2f32.ln(), 4f32.ln(), 1f32.ln(), 1f32.ln()];
        let report = TokenReport::new(&logits, 0, None, 3);
        assert!((report.log_probability + 4f64.ln()).abs() < 1e-6);
        assert!((report.expected_loss - 1.75 * 2f64.ln()).abs() < 1e-6);
        assert!((report.surprise() - 0.25 * 2f64.ln()).abs() < 1e-6);
        assert!((report.confidence() - 2f64.powf(-1.75)).abs() < 1e-6);
        let tokens: Vec<u32> = report.top.iter().map(|&(token, _)| token).collect();
        assert_eq!(tokens, [1, 0, 2]);
        assert!((report.top[0].1 + 2f64.ln()).abs() < 1e-6);
        // Introspection replaces the entropy.
        let report = TokenReport::new(&logits, 1, Some(0.0), 0);
        assert_eq!((report.confidence(), report.top.len()), (1.0, 0));
        assert_eq!(likeliest(&logits, 9), [1, 0, 2, 3]);
    }
}
