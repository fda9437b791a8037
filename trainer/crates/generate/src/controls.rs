// SPDX-License-Identifier: Apache-2.0

//! Controls of sampling beside the usual parameters.

/// Largest bias of a token, in either direction.
const MAX_BIAS: f32 = 100.0;
/// Largest penalty of the tokens that were drawn, in either direction, as OpenAI has it.
const MAX_PENALTY: f32 = 2.0;
/// Most tokens with a bias.
const MAX_BIASES: usize = 1_024;

/// Controls of sampling that most requests go without. Receipts have no place for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Controls {
    /// Numbers that are added to the logits of tokens, before all else.
    pub logit_bias: Vec<(u32, f32)>,
    /// Number that is subtracted from the logit of a token for each time that it was drawn (OpenAI
    /// 2026, "API reference"); 0 for no penalty.
    pub frequency_penalty: f32,
    /// Number that is subtracted from the logit of each token that was drawn, however often; 0 for
    /// no penalty.
    pub presence_penalty: f32,
    /// Total probability of the tokens to draw from whose surprise is nearest to the expected one
    /// (Meister et al. 2023, "Locally Typical Sampling"); 1 for all.
    pub typical_p: f32,
    /// Penalty of tokens that would go on with a sequence from before.
    pub dry: Option<Dry>,
    /// Exclusion of the likeliest tokens.
    pub xtc: Option<Xtc>,
    /// Control of surprise.
    pub mirostat: Option<Mirostat>,
}

/// Penalty of tokens that would go on with a sequence from before, "don't repeat yourself"
/// (Weidmann 2024). It is `multiplier · base^(n − allowed_length)` for a sequence of `n` tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dry {
    /// Penalty of the shortest sequence.
    pub multiplier: f32,
    /// Factor of each further token.
    pub base: f32,
    /// Length of the shortest sequence that is penalised.
    pub allowed_length: usize,
}

impl Dry {
    /// Returns a penalty with the usual base and length.
    pub fn new(multiplier: f32) -> Self {
        Self { multiplier, base: 1.75, allowed_length: 2 }
    }
}

/// Exclusion of all tokens with at least `threshold` of the probability but the least likely of
/// them, "exclude top choices" (Weidmann 2024).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Xtc {
    /// Probability that a draw excludes them.
    pub probability: f32,
    /// Probability from which tokens are excluded.
    pub threshold: f32,
}

impl Xtc {
    /// Returns an exclusion with the usual threshold.
    pub fn new(probability: f32) -> Self {
        Self { probability, threshold: 0.1 }
    }
}

/// Control of surprise (Basu et al. 2021, "Mirostat: A Neural Text Decoding Algorithm that Directly
/// Controls Perplexity", version 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mirostat {
    /// Mean surprise of tokens, in bits.
    pub target: f32,
    /// Share of the difference from the target that changes the next draw.
    pub rate: f32,
}

impl Mirostat {
    /// Returns a control with the usual rate.
    pub fn new(target: f32) -> Self {
        Self { target, ..Self::default() }
    }
}

impl Default for Mirostat {
    /// Returns a control with the usual target and rate.
    fn default() -> Self {
        Self { target: 5.0, rate: 0.1 }
    }
}

impl Default for Controls {
    /// Returns controls that change nothing.
    fn default() -> Self {
        Self {
            logit_bias: Vec::new(),
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            typical_p: 1.0,
            dry: None,
            xtc: None,
            mirostat: None,
        }
    }
}

/// Error of sampling.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum SamplingError {
    /// A sampling parameter is out of range.
    #[error("{name} must be {range}, not {value}")]
    Control {
        /// Name of the parameter.
        name: &'static str,
        /// Allowed range.
        range: &'static str,
        /// Given value.
        value: f32,
    },
    /// A logit is NaN, or all are infinite.
    #[error("the model's scores are not numbers; its parameters are damaged or have diverged")]
    Scores,
}

impl Controls {
    /// Returns `true` if the tokens that were drawn have a penalty.
    pub(crate) fn has_penalty(&self) -> bool {
        self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    /// Returns `true` if these controls change nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks every control against its range, for a model with `vocabulary` tokens.
    ///
    /// # Errors
    ///
    /// Fails if a control is out of range or NaN.
    pub fn validate(&self, vocabulary: usize) -> Result<(), SamplingError> {
        let dry = self.dry.unwrap_or(Dry::new(0.0));
        let xtc = self.xtc.unwrap_or(Xtc::new(0.0));
        let mirostat = self.mirostat.unwrap_or(Mirostat::new(1.0));
        let (biases, length) = (self.logit_bias.len(), dry.allowed_length);
        let from_0_to = |value: f32, most: f32| (0.0..=most).contains(&value);
        let is_penalty = |value: f32| (-MAX_PENALTY..=MAX_PENALTY).contains(&value);
        let (frequency, presence) = (self.frequency_penalty, self.presence_penalty);
        let mut checks = vec![
            ("the number of biased tokens", "at most 1024", biases as f32, biases <= MAX_BIASES),
            ("the frequency penalty", "-2 to 2", frequency, is_penalty(frequency)),
            ("the presence penalty", "-2 to 2", presence, is_penalty(presence)),
            (
                "typical-p",
                "above 0 and at most 1",
                self.typical_p,
                self.typical_p > 0.0 && self.typical_p <= 1.0,
            ),
            ("the multiplier of DRY", "0 to 100", dry.multiplier, from_0_to(dry.multiplier, 100.0)),
            ("the base of DRY", "1 to 4", dry.base, (1.0..=4.0).contains(&dry.base)),
            ("the length of DRY", "1 to 64", length as f32, (1..=64).contains(&length)),
            ("the probability of XTC", "0 to 1", xtc.probability, from_0_to(xtc.probability, 1.0)),
            ("the threshold of XTC", "0 to 1", xtc.threshold, from_0_to(xtc.threshold, 1.0)),
            (
                "the target of mirostat",
                "above 0 and at most 32 bits",
                mirostat.target,
                mirostat.target > 0.0 && mirostat.target <= 32.0,
            ),
            (
                "the rate of mirostat",
                "above 0 and at most 1",
                mirostat.rate,
                mirostat.rate > 0.0 && mirostat.rate <= 1.0,
            ),
        ];
        for &(token, bias) in &self.logit_bias {
            checks.push(("a bias", "-100 to 100", bias, (-MAX_BIAS..=MAX_BIAS).contains(&bias)));
            let is_known = (token as usize) < vocabulary;
            checks.push(("a token with a bias", "in the vocabulary", token as f32, is_known));
        }
        match checks.into_iter().find(|check| !check.3) {
            Some((name, range, value, _)) => Err(SamplingError::Control { name, range, value }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_have_bounds() {
        let default = Controls::default();
        assert_eq!((default.validate(0), default.is_default()), (Ok(()), true));
        let usual = Controls {
            logit_bias: vec![(6, 100.0), (0, -100.0)],
            frequency_penalty: 2.0,
            presence_penalty: -2.0,
            typical_p: 0.5,
            dry: Some(Dry::new(0.8)),
            xtc: Some(Xtc::new(0.5)),
            mirostat: Some(Mirostat::new(5.0)),
        };
        assert_eq!((usual.validate(7), usual.is_default()), (Ok(()), false));
        let dry = Dry::new(0.8);
        for (wrong, name) in [
            (Controls { logit_bias: vec![(7, 1.0)], ..Default::default() }, "vocabulary"),
            (Controls { logit_bias: vec![(1, f32::NAN)], ..Default::default() }, "a bias"),
            (Controls { logit_bias: vec![(1, 0.0); 1_025], ..Default::default() }, "1025"),
            (Controls { frequency_penalty: -2.1, ..Default::default() }, "frequency"),
            (Controls { presence_penalty: f32::NAN, ..Default::default() }, "presence"),
            (Controls { typical_p: 0.0, ..Default::default() }, "typical-p"),
            (Controls { dry: Some(Dry { base: 0.5, ..dry }), ..Default::default() }, "base"),
            (Controls { dry: Some(Dry { allowed_length: 0, ..dry }), ..default.clone() }, "length"),
            (Controls { dry: Some(Dry::new(f32::INFINITY)), ..default.clone() }, "multiplier"),
            (Controls { xtc: Some(Xtc::new(1.5)), ..default.clone() }, "probability"),
            (Controls { mirostat: Some(Mirostat::new(0.0)), ..default.clone() }, "target"),
        ] {
            let error = wrong.validate(7).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
