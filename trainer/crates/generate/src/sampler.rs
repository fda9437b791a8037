// SPDX-License-Identifier: Apache-2.0

//! Sampling of tokens. Equal logits and seed give the same token on every machine.

use crate::{
    candidates::{
        Candidate, by_weight, exclude_likeliest, exp, keep_mass, keep_typical, keep_unsurprising,
        sum_by_token,
    },
    controls::{Controls, SamplingError},
    repeats::Repeats,
};
use pol_primitives::prf::Prf;
use std::collections::BTreeMap;

/// Sampling parameters. They apply in this order: repetition penalty, temperature, top-k, top-p,
/// min-p.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Divisor of the logits. At 0 the token with the largest logit is taken.
    pub temperature: f32,
    /// Number of likeliest tokens to draw from; 0 for all.
    pub top_k: usize,
    /// Total probability of the smallest set of likeliest tokens to draw from (Holtzman et al.
    /// 2020, "The Curious Case of Neural Text Degeneration"); 1 for all.
    pub top_p: f32,
    /// Smallest probability to draw, relative to the likeliest token (Nguyen et al. 2024, "Turning
    /// Up the Heat: Min-p Sampling"); 0 for all.
    pub min_p: f32,
    /// Divisor of the positive logits of tokens that occurred, and factor of their negative ones
    /// (Keskar et al. 2019, "CTRL"); 1 for no penalty.
    pub repetition_penalty: f32,
    /// Seed of all draws.
    pub seed: u64,
}

impl Default for Sampling {
    /// Returns parameters that draw from the model's own distribution.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Checks every parameter against its range.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range or NaN.
    pub fn validate(&self) -> Result<(), SamplingError> {
        let checks = [
            (
                "temperature",
                "0 or more, and finite",
                self.temperature,
                self.temperature >= 0.0 && self.temperature.is_finite(),
            ),
            ("top-p", "above 0 and at most 1", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0),
            ("min-p", "from 0 to 1", self.min_p, (0.0..=1.0).contains(&self.min_p)),
            (
                "the repetition penalty",
                "above 0, and finite",
                self.repetition_penalty,
                self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite(),
            ),
        ];
        match checks.into_iter().find(|check| !check.3) {
            Some((name, range, value, _)) => Err(SamplingError::Control { name, range, value }),
            None => Ok(()),
        }
    }
}

/// Sampler of one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    draws: Prf,
    seen: Vec<u32>,
    is_seen: Vec<bool>,
    candidates: Vec<Candidate>,
    controls: Controls,
    /// Numbers of times that tokens were drawn, if they have a penalty.
    drawn: BTreeMap<u32, u32>,
    /// Tokens so far, if repeated sequences are penalised.
    repeats: Option<Repeats>,
    /// Surprise in bits up to which tokens are drawn, if it is controlled.
    most_surprise: f64,
}

impl Sampler {
    /// Creates a sampler. The seed of `sampling` and `stream` fix its draws; `stream` separates
    /// sequences with the same seed.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is out of range.
    pub fn new(sampling: Sampling, stream: u64) -> Result<Self, SamplingError> {
        sampling.validate()?;
        Ok(Self {
            draws: draws(&sampling, stream),
            sampling,
            seen: Vec::new(),
            is_seen: Vec::new(),
            candidates: Vec::new(),
            controls: Controls::default(),
            drawn: BTreeMap::new(),
            repeats: None,
            most_surprise: 0.0,
        })
    }

    /// Adds controls for a model with `vocabulary` tokens. Repeated sequences are penalised up to
    /// the last token that `breaks` them.
    ///
    /// # Errors
    ///
    /// Fails if a control is out of range, or if a token with a bias is outside the vocabulary.
    pub fn with_controls(
        self,
        controls: Controls,
        vocabulary: usize,
        breaks: impl Fn(u32) -> bool,
    ) -> Result<Self, SamplingError> {
        controls.validate(vocabulary)?;
        let repeats = controls.dry.map(|_| Repeats::new((0..).take(vocabulary).map(breaks)));
        let most_surprise = controls.mirostat.map_or(0.0, |it| 2.0 * f64::from(it.target));
        Ok(Self { controls, repeats, most_surprise, ..self })
    }

    /// Restarts the draws with another `stream`. Accepted tokens stay.
    pub fn restart(&mut self, stream: u64) {
        self.draws = draws(&self.sampling, stream);
    }

    /// Sets the temperature, 0 or more, of later draws.
    pub(super) fn set_temperature(&mut self, temperature: f32) {
        self.sampling.temperature = temperature;
    }

    /// Records that the text so far is no start of a sequence that could be repeated.
    pub(super) fn break_sequence(&mut self) {
        self.repeats.iter_mut().for_each(Repeats::break_sequence);
    }

    /// Records an occurrence of `token`, for the penalties of repetitions.
    pub fn accept(&mut self, token: u32) {
        self.repeats.iter_mut().for_each(|repeats| repeats.push(token));
        let index = token as usize;
        if self.is_seen.len() <= index {
            self.is_seen.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.is_seen[index], true) {
            self.seen.push(token);
        }
    }

    /// Records a token of a text. One of `ends` is no repetition, because turns of a conversation
    /// end with a token that the next turn needs too.
    pub(super) fn accept_or_end(&mut self, token: u32, ends: &[u32]) {
        if ends.contains(&token) {
            self.break_sequence();
        } else {
            self.accept(token);
        }
    }

    /// Records an occurrence of `token` that was drawn, for the penalties of repetitions and of
    /// drawn tokens.
    pub(super) fn accept_drawn(&mut self, token: u32, ends: &[u32]) {
        self.accept_or_end(token, ends);
        if self.controls.has_penalty() && !ends.contains(&token) {
            *self.drawn.entry(token).or_default() += 1;
        }
    }

    /// Draws a token. Biases and penalties change `logits` in place.
    ///
    /// # Errors
    ///
    /// Fails if a logit is NaN or no logit is finite.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32, SamplingError> {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty: penalty, .. } =
            self.sampling;
        for &(token, bias) in &self.controls.logit_bias {
            if let Some(score) = logits.get_mut(token as usize) {
                *score += bias;
            }
        }
        if penalty != 1.0 {
            for &token in &self.seen {
                if let Some(score) = logits.get_mut(token as usize) {
                    *score = if *score > 0.0 { *score / penalty } else { *score * penalty };
                }
            }
        }
        let Controls { frequency_penalty, presence_penalty, .. } = self.controls;
        for (&token, &count) in &self.drawn {
            if let Some(score) = logits.get_mut(token as usize) {
                *score -= frequency_penalty * count as f32 + presence_penalty;
            }
        }
        if let Some((repeats, dry)) = self.repeats.as_ref().zip(self.controls.dry) {
            repeats.penalise(&dry, logits);
        }
        let best = best(logits)?;
        if temperature == 0.0 {
            return Ok(best);
        }
        let (highest, scale) = (f64::from(logits[best as usize]), 1.0 / f64::from(temperature));
        let kept = &mut self.candidates;
        kept.clear();
        let weighed = logits
            .iter()
            .zip(0u32..)
            .map(|(&score, token)| (token, exp((f64::from(score) - highest) * scale)));
        kept.extend(weighed.filter(|&(_, weight)| weight > 0.0));
        if top_k > 0 && top_k < kept.len() {
            kept.select_nth_unstable_by(top_k - 1, by_weight);
            kept.truncate(top_k);
        }
        if self.controls.typical_p < 1.0 {
            keep_typical(kept, self.controls.typical_p.into());
        }
        if top_p < 1.0 {
            // Floating-point sums depend on their order, and selection leaves an unspecified one.
            kept.sort_unstable_by_key(|&(token, _)| token);
            keep_mass(kept, f64::from(top_p));
        }
        if min_p > 0.0 {
            // The likeliest token need not be typical.
            let highest = kept.iter().map(|&(_, weight)| weight).fold(0.0, f64::max);
            kept.retain(|&(_, weight)| weight >= f64::from(min_p) * highest);
        }
        if let Some(xtc) = self.controls.xtc.filter(|xtc| xtc.probability > 0.0)
            && uniform(&mut self.draws) < f64::from(xtc.probability)
        {
            exclude_likeliest(kept, xtc.threshold.into());
        }
        if self.controls.mirostat.is_some() {
            keep_unsurprising(kept, self.most_surprise);
        }
        let sum = sum_by_token(kept);
        let mut left = uniform(&mut self.draws) * sum;
        for &(token, weight) in kept.iter() {
            left -= weight;
            if left < 0.0 {
                if let Some(mirostat) = self.controls.mirostat {
                    let excess = -libm::log2(weight / sum) - f64::from(mirostat.target);
                    self.most_surprise -= f64::from(mirostat.rate) * excess;
                }
                return Ok(token);
            }
        }
        // Rounding may leave a rest, and the likeliest token may be one that controls rule out.
        let is_controlled = self.controls.typical_p < 1.0 || self.controls.xtc.is_some();
        let last = kept.last().filter(|_| is_controlled);
        Ok(last.map_or(best, |&(token, _)| token))
    }
}

fn draws(sampling: &Sampling, stream: u64) -> Prf {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&sampling.seed.to_le_bytes());
    Prf::new("pol/sample/1", &key, &[&stream.to_le_bytes()])
}

/// Returns a number in `[0, 1)`.
fn uniform(draws: &mut Prf) -> f64 {
    (draws.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Returns the token with the largest logit, and of equals the first.
fn best(logits: &[f32]) -> Result<u32, SamplingError> {
    let mut best: Option<(u32, f32)> = None;
    for (&score, token) in logits.iter().zip(0..) {
        if score.is_nan() {
            return Err(SamplingError::Scores);
        }
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((token, score));
        }
    }
    best.filter(|(_, score)| score.is_finite()).map(|(token, _)| token).ok_or(SamplingError::Scores)
}

/// Returns the natural logarithm of the model's probability of `token`. Equal logits give the same
/// bits on every machine.
pub fn log_probability(logits: &[f32], token: u32) -> f64 {
    log_probabilities(logits)(token)
}

/// Returns the function that [`log_probability`] computes for the tokens of one prediction.
pub(super) fn log_probabilities(logits: &[f32]) -> impl Fn(u32) -> f64 {
    let (highest, sum) = mass(logits);
    let log = libm::log(sum);
    move |token| {
        let score = logits.get(token as usize);
        score.map_or(f64::NEG_INFINITY, |&score| f64::from(score) - highest - log)
    }
}

/// Returns the entropy, in nats, of the distribution of `logits`, which is the loss that the model
/// expects of itself.
pub fn entropy(logits: &[f32]) -> f64 {
    let (highest, sum) = mass(logits);
    let weighted =
        |score: f64| if score.is_finite() { exp(score - highest) * (score - highest) } else { 0.0 };
    libm::log(sum) - logits.iter().map(|&score| weighted(score.into())).sum::<f64>() / sum
}

/// Returns the largest logit, and the sum of all exponentials relative to it.
fn mass(logits: &[f32]) -> (f64, f64) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max).into();
    (highest, logits.iter().map(|&score| exp(f64::from(score) - highest)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controls::{Dry, Mirostat, Xtc};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const SCORES: [f32; 6] = [1.0, 3.0, -2.0, 2.5, f32::NEG_INFINITY, 0.0];

    fn counts(sampling: Sampling) -> [u32; 6] {
        let mut sampler = Sampler::new(sampling, 0).unwrap();
        let mut counts = [0; 6];
        for _ in 0..20_000 {
            counts[sampler.sample(&mut SCORES.clone()).unwrap() as usize] += 1;
        }
        counts
    }

    fn probabilities(temperature: f64) -> [f64; 6] {
        let weights = SCORES.map(|score| (f64::from(score) / temperature).exp());
        weights.map(|weight| weight / weights.iter().sum::<f64>())
    }

    #[test]
    fn draws_follow_the_distribution() {
        for temperature in [1.0, 0.7, 2.0] {
            let counts = counts(Sampling { temperature, ..Default::default() });
            for (count, p) in counts.into_iter().zip(probabilities(temperature.into())) {
                // Four standard errors.
                let error = 4.0 * (p * (1.0 - p) * 20_000.0).sqrt() + 1e-9;
                assert!(
                    (f64::from(count) - p * 20_000.0).abs() <= error,
                    "{count} of {p} at {temperature}"
                );
            }
            assert_eq!(counts[4], 0);
        }
    }

    #[test]
    fn filters_keep_the_best_only() {
        let drawn = |sampling| counts(sampling).map(|count| count > 0);
        let all = Sampling::default();
        assert_eq!(drawn(Sampling { top_k: 1, ..all }), [false, true, false, false, false, false]);
        assert_eq!(drawn(Sampling { top_k: 3, ..all }), [true, true, false, true, false, false]);
        // Probabilities 0.075, 0.554, 0.004, 0.336, 0, 0.028.
        assert_eq!(
            drawn(Sampling { top_p: 0.5, ..all }),
            [false, true, false, false, false, false]
        );
        assert_eq!(drawn(Sampling { top_p: 0.6, ..all }), [false, true, false, true, false, false]);
        assert_eq!(drawn(Sampling { top_p: 0.95, ..all }), [true, true, false, true, false, false]);
        assert_eq!(drawn(Sampling { min_p: 0.1, ..all }), [true, true, false, true, false, false]);
        assert_eq!(drawn(Sampling { min_p: 0.2, ..all }), [false, true, false, true, false, false]);
        assert_eq!(
            drawn(Sampling { top_k: 2, min_p: 1.0, ..all }),
            [false, true, false, false, false, false]
        );
    }

    #[test]
    fn what_occurred_is_penalised() {
        let greedy = Sampling { temperature: 0.0, repetition_penalty: 1.5, ..Default::default() };
        let mut sampler = Sampler::new(greedy, 0).unwrap();
        assert_eq!(sampler.sample(&mut SCORES.clone()), Ok(1));
        sampler.accept(1);
        sampler.accept(1);
        let mut logits = SCORES;
        assert_eq!(sampler.sample(&mut logits), Ok(3));
        assert_eq!(logits[1], 2.0);
        sampler.accept(2);
        let mut logits = SCORES;
        sampler.sample(&mut logits).unwrap();
        assert_eq!((logits[1], logits[2], logits[0]), (2.0, -3.0, 1.0));
    }

    fn controlled(sampling: Sampling, controls: Controls) -> Sampler {
        let sampler = Sampler::new(sampling, 0).unwrap();
        sampler.with_controls(controls, SCORES.len(), |token| token == 5).unwrap()
    }

    #[test]
    fn biases_come_first() {
        let greedy = Sampling { temperature: 0.0, ..Default::default() };
        let logit_bias = vec![(1, -100.0), (0, 2.0)];
        let mut sampler = controlled(greedy, Controls { logit_bias, ..Default::default() });
        let mut logits = SCORES;
        assert_eq!(sampler.sample(&mut logits), Ok(0));
        assert_eq!((logits[0], logits[1], logits[3]), (3.0, -97.0, 2.5));
        // What a form rules out stays ruled out.
        let logit_bias = vec![(4, 100.0)];
        let mut sampler = controlled(greedy, Controls { logit_bias, ..Default::default() });
        assert_eq!(sampler.sample(&mut SCORES.clone()), Ok(1));
    }

    #[test]
    fn drawn_tokens_are_penalised_by_their_number_and_their_presence() {
        let greedy = Sampling { temperature: 0.0, ..Default::default() };
        let controls =
            Controls { frequency_penalty: 0.25, presence_penalty: 0.5, ..Default::default() };
        let mut sampler = controlled(greedy, controls);
        let mut sample = |drawn: &[u32]| {
            drawn.iter().for_each(|&token| sampler.accept_drawn(token, &[]));
            let mut logits = SCORES;
            let token = sampler.sample(&mut logits).unwrap();
            (token, logits)
        };
        assert_eq!(sample(&[]), (1, SCORES));
        // Token 4 is ruled out, and stays so.
        let (token, logits) = sample(&[1, 4]);
        assert_eq!((token, logits[1], logits[4]), (3, 2.25, f32::NEG_INFINITY));
        let (_, logits) = sample(&[1, 3, 1]);
        assert_eq!((logits[1], logits[3], logits[0]), (1.75, 1.75, 1.0));
        // The prompt has no such penalty, and one below 0 is a reward.
        let controls = Controls { presence_penalty: -2.0, ..Default::default() };
        let mut sampler = controlled(greedy, controls);
        sampler.accept(3);
        assert_eq!(sampler.sample(&mut SCORES.clone()), Ok(1));
        sampler.accept_drawn(3, &[]);
        assert_eq!(sampler.sample(&mut SCORES.clone()), Ok(3));
    }

    #[test]
    fn a_token_is_at_least_so_likely_as_part_of_the_likeliest_typical_one() {
        // The entropy is 1.01 nats. Token 1 has a surprise of 0.59, and token 3 one of 1.09.
        let controls = Controls { typical_p: 0.2, ..Default::default() };
        for min_p in [0.0, 0.5, 1.0] {
            let sampling = Sampling { min_p, ..Default::default() };
            let mut sampler = controlled(sampling, controls.clone());
            for _ in 0..100 {
                assert_eq!(sampler.sample(&mut SCORES.clone()), Ok(3), "{min_p}");
            }
        }
    }

    #[test]
    fn repeated_sequences_are_penalised() {
        let greedy = Sampling { temperature: 0.0, ..Default::default() };
        let dry = Some(Dry { multiplier: 1.0, base: 2.0, allowed_length: 2 });
        let mut sampler = controlled(greedy, Controls { dry, ..Default::default() });
        let mut sample = |tokens: &[u32]| {
            tokens.iter().for_each(|&token| sampler.accept(token));
            let mut logits = SCORES;
            let token = sampler.sample(&mut logits).unwrap();
            (token, logits[1])
        };
        assert_eq!(sample(&[0, 2, 3, 1, 0, 2]), (1, 3.0), "token 3 followed, and not token 1");
        assert_eq!(sample(&[3]), (3, 1.0), "three tokens are repeated");
        // Token 5 breaks the sequence.
        assert_eq!(sample(&[5, 3]), (1, 3.0));
    }

    #[test]
    fn draws_are_controlled() {
        let drawn = |controls: Controls| {
            let mut sampler = controlled(Sampling::default(), controls);
            let mut drawn = [false; 6];
            for _ in 0..5_000 {
                drawn[sampler.sample(&mut SCORES.clone()).unwrap() as usize] = true;
            }
            drawn
        };
        // Probabilities 0.075, 0.554, 0.004, 0.336, 0, 0.028: an entropy of 1.03 nats.
        let typical = Controls { typical_p: 0.3, ..Default::default() };
        assert_eq!(drawn(typical), [false, false, false, true, false, false]);
        let xtc = Some(Xtc { probability: 1.0, threshold: 0.2 });
        let excluded = Controls { xtc, ..Default::default() };
        assert_eq!(drawn(excluded), [true, false, true, true, false, true]);
        let xtc = Some(Xtc { probability: 0.5, threshold: 0.2 });
        assert!(drawn(Controls { xtc, ..Default::default() })[1]);
    }

    #[test]
    fn surprise_is_held_at_its_target() {
        // All tokens together have a surprise of 4.8 bits.
        let logits: Vec<f32> = (0..64).map(|token| -(token as f32) / 8.0).collect();
        let counts = [1.0, 2.0, 3.0].map(|target| {
            let controls = Controls { mirostat: Some(Mirostat::new(target)), ..Default::default() };
            let sampler = Sampler::new(Sampling::default(), 0).unwrap();
            let mut sampler = sampler.with_controls(controls, 64, |_| false).unwrap();
            let drawn: Vec<u32> =
                (0..3_000).map(|_| sampler.sample(&mut logits.clone()).unwrap()).collect();
            drawn[1_000..].iter().collect::<BTreeSet<_>>().len()
        });
        // About two, four, and eight tokens are as likely as each other.
        assert!(counts.is_sorted_by(|a, b| a < b), "{counts:?}");
        assert!((2..8).contains(&counts[0]) && (7..24).contains(&counts[2]), "{counts:?}");
    }

    #[test]
    fn broken_input_is_an_error() {
        let mut sampler = Sampler::new(Sampling::default(), 0).unwrap();
        for mut logits in
            [vec![], vec![1.0, f32::NAN], vec![f32::NEG_INFINITY; 3], vec![0.0, f32::INFINITY]]
        {
            assert_eq!(sampler.sample(&mut logits), Err(SamplingError::Scores));
        }
        let valid = Sampling::default();
        for sampling in [
            Sampling { temperature: -1.0, ..valid },
            Sampling { temperature: f32::NAN, ..valid },
            Sampling { top_p: 0.0, ..valid },
            Sampling { top_p: 1.1, ..valid },
            Sampling { min_p: -0.1, ..valid },
            Sampling { repetition_penalty: 0.0, ..valid },
        ] {
            assert!(
                matches!(Sampler::new(sampling, 0), Err(SamplingError::Control { .. })),
                "{sampling:?}"
            );
        }
    }

    #[test]
    fn a_seed_and_a_stream_fix_the_draws() {
        let draw = |seed, stream| {
            let mut sampler =
                Sampler::new(Sampling { seed, temperature: 3.0, ..Default::default() }, stream)
                    .unwrap();
            (0..12).map(|_| sampler.sample(&mut SCORES.clone()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 0), draw(1, 0));
        assert_ne!(draw(1, 0), draw(2, 0));
        assert_ne!(draw(1, 0), draw(1, 1));
        // Pinned: the same text everywhere.
        assert_eq!(draw(1, 0), [3, 3, 1, 1, 0, 0, 1, 3, 1, 0, 3, 1]);
    }

    #[test]
    fn a_log_probability_is_the_models_own() {
        let p = probabilities(1.0);
        assert!((log_probability(&SCORES, 3) - p[3].ln()).abs() < 1e-12);
        assert_eq!(log_probability(&SCORES, 4), f64::NEG_INFINITY);
        let expected: f64 = p.iter().filter(|&&p| p > 0.0).map(|p| -p * p.ln()).sum();
        assert!((entropy(&SCORES) - expected).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn every_draw_is_possible(
            logits in prop::collection::vec(-30f32..30.0, 1..400),
            temperature in 0f32..3.0,
            top_k in 0usize..20,
            top_p in 0.01f32..=1.0,
            min_p in 0f32..=1.0,
            seed: u64,
        ) {
            let repetition_penalty = 1.0;
            let sampling = Sampling { temperature, top_k, top_p, min_p, repetition_penalty, seed };
            let token = Sampler::new(sampling, 0).unwrap().sample(&mut logits.clone()).unwrap();
            let score = logits[token as usize];
            let better = logits.iter().filter(|&&other| other > score).count();
            prop_assert!(top_k == 0 || better < top_k);
            let highest = logits.iter().copied().fold(f32::MIN, f32::max);
            prop_assert!(temperature > 0.0 || score == highest);
        }
    }
}
