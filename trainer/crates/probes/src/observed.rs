use pol_model::Error;
use tch::{Kind, Reduction, Tensor};

/// What the metrics need to know of each token that a model predicted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Cross-entropy, in nats.
    pub losses: Vec<f64>,
    /// Probability of the token that the model thought most likely.
    pub confidence: Vec<f64>,
    /// Whether that was the token that came.
    pub correct: Vec<bool>,
}

impl Observed {
    /// Reads predictions, `logits` float32 `[n, vocabulary]`, against the tokens that came,
    /// `targets` int64 `[n]`.
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

    /// Adds the tokens of `other` after these.
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
        let observed = Observed::new(&logits, &Tensor::from_slice(&[0i64, 0, 1])).unwrap();
        assert_eq!(observed.correct, [true, false, true]);
        for (found, expected) in observed.losses.iter().zip([0.75f64, 0.25, 0.75]) {
            assert!((found + expected.ln()).abs() < 1e-6);
        }
        assert!(observed.confidence.iter().all(|confidence| (confidence - 0.75).abs() < 1e-6));
        let mut twice = observed.clone();
        twice.extend(observed);
        assert_eq!(
            (twice.losses.len(), twice.correct),
            (6, vec![true, false, true, true, false, true])
        );
    }
}
