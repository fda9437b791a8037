// SPDX-License-Identifier: Apache-2.0

use pol_model::Error;
use tch::{Kind, Reduction, Tensor};

/// Predictions of a model for a sequence of tokens, as the metrics need them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenPredictions {
    /// Cross-entropy of each token in nats.
    pub losses: Vec<f64>,
    /// Probability of the likeliest token.
    pub confidence: Vec<f64>,
    /// `true` if the likeliest token is the actual one.
    pub correct: Vec<bool>,
}

impl TokenPredictions {
    /// Compares `logits` (float32 `[n, vocabulary]`) with the actual tokens `targets` (int64
    /// `[n]`).
    ///
    /// # Errors
    ///
    /// Fails if the shapes do not match or a token is outside the vocabulary.
    pub fn new(logits: &Tensor, targets: &Tensor) -> Result<Self, Error> {
        let logits = logits.f_detach()?;
        let losses =
            logits.f_cross_entropy_loss(targets, None::<Tensor>, Reduction::None, -100, 0.0)?;
        let (confidence, likeliest) = logits.f_softmax(-1, Kind::Float)?.f_max_dim(-1, false)?;
        Ok(Self {
            losses: Vec::try_from(losses.f_to_kind(Kind::Double)?)?,
            confidence: Vec::try_from(confidence.f_to_kind(Kind::Double)?)?,
            correct: Vec::try_from(likeliest.f_eq_tensor(targets)?)?,
        })
    }

    /// Appends the tokens of `other`.
    pub fn extend(&mut self, other: Self) {
        self.losses.extend(other.losses);
        self.confidence.extend(other.confidence);
        self.correct.extend(other.correct);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_tokens_by_hand() {
        let thirds = 3f32.ln();
        let logits = Tensor::from_slice(&[thirds, 0.0, 0.0, thirds, 0.0, thirds]).view([3, 2]);
        let predictions =
            TokenPredictions::new(&logits, &Tensor::from_slice(&[0i64, 0, 1])).unwrap();
        assert_eq!(predictions.correct, [true, false, true]);
        for (found, expected) in predictions.losses.iter().zip([0.75f64, 0.25, 0.75]) {
            assert!((found + expected.ln()).abs() < 1e-6);
        }
        assert!(predictions.confidence.iter().all(|confidence| (confidence - 0.75).abs() < 1e-6));
        let mut twice = predictions.clone();
        twice.extend(predictions);
        assert_eq!(
            (twice.losses.len(), twice.correct),
            (6, vec![true, false, true, true, false, true])
        );
    }
}
