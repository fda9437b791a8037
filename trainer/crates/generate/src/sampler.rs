// SPDX-License-Identifier: Apache-2.0

//! Sampling of tokens. Equal logits and seed give the same token on every machine.

use pol_primitives::prf::Prf;
use std::cmp::Ordering;

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

/// A token with its weight relative to the likeliest token, which has weight 1.
type Candidate = (u32, f64);

/// Sampler of one sequence.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    draws: Prf,
    seen: Vec<u32>,
    is_seen: Vec<bool>,
    candidates: Vec<Candidate>,
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
        })
    }

    /// Restarts the draws with another `stream`. Accepted tokens stay.
    pub fn restart(&mut self, stream: u64) {
        self.draws = draws(&self.sampling, stream);
    }

    /// Sets the temperature, 0 or more, of later draws.
    pub(super) fn set_temperature(&mut self, temperature: f32) {
        self.sampling.temperature = temperature;
    }

    /// Records an occurrence of `token`, for the repetition penalty.
    pub fn accept(&mut self, token: u32) {
        let index = token as usize;
        if self.is_seen.len() <= index {
            self.is_seen.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.is_seen[index], true) {
            self.seen.push(token);
        }
    }

    /// Draws a token. The repetition penalty changes `logits` in place.
    ///
    /// # Errors
    ///
    /// Fails if a logit is NaN or no logit is finite.
    pub fn sample(&mut self, logits: &mut [f32]) -> Result<u32, SamplingError> {
        let Sampling { temperature, top_k, top_p, min_p, repetition_penalty: penalty, .. } =
            self.sampling;
        if penalty != 1.0 {
            for &token in &self.seen {
                if let Some(score) = logits.get_mut(token as usize) {
                    *score = if *score > 0.0 { *score / penalty } else { *score * penalty };
                }
            }
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
        if top_p < 1.0 {
            // Floating-point sums depend on their order, and selection leaves an unspecified one.
            kept.sort_unstable_by_key(|&(token, _)| token);
            keep_mass(kept, f64::from(top_p));
        }
        if min_p > 0.0 {
            kept.retain(|&(_, weight)| weight >= f64::from(min_p));
        }
        kept.sort_unstable_by_key(|&(token, _)| token);
        let mut left =
            uniform(&mut self.draws) * kept.iter().map(|&(_, weight)| weight).sum::<f64>();
        for &(token, weight) in kept.iter() {
            left -= weight;
            if left < 0.0 {
                return Ok(token);
            }
        }
        Ok(best)
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

/// Orders candidates by descending weight, and equals by ascending token.
fn by_weight(a: &Candidate, b: &Candidate) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the smallest set of heaviest candidates whose weights sum to `share` of all.
fn keep_mass(kept: &mut Vec<Candidate>, share: f64) {
    let sum: f64 = kept.iter().map(|&(_, weight)| weight).sum();
    // Most tokens need no sorting: those lighter than this have less than the rest of the mass
    // together.
    let light = (1.0 - share) * sum / kept.len() as f64;
    kept.retain(|&(_, weight)| weight >= light);
    kept.sort_unstable_by(by_weight);
    let mut mass = 0.0;
    let reached = kept.iter().position(|&(_, weight)| {
        mass += weight;
        mass >= share * sum
    });
    kept.truncate(reached.map_or(kept.len(), |last| last + 1));
}

/// Returns `e^x` for `x ≤ 0` with a relative error below 1e-14, or zero below -700. It uses
/// operations whose results IEEE 754 fixes, since C libraries differ between machines.
#[inline(always)]
fn exp(x: f64) -> f64 {
    /// Adding this constant rounds to an integer, which is then in the lowest bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let bounded = x.max(-700.0);
    let shifted = bounded * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    // bounded = k·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts keeps r exact enough.
    let r = bounded - k * 0.693_147_180_369_123_8 - k * 1.908_214_929_270_587_7e-10;
    let mut sum = INVERSE_FACTORIALS[0];
    for factor in &INVERSE_FACTORIALS[1..] {
        sum = sum * r + factor;
    }
    let scaled = sum * f64::from_bits(shifted.to_bits().wrapping_add(1_023) << 52);
    // Without a branch the compiler vectorises the loop.
    if x < -700.0 { 0.0 } else { scaled }
}

/// The reciprocals 1/13!, 1/12!, … 1/0!.
const INVERSE_FACTORIALS: [f64; 14] = {
    let (mut all, mut factorial, mut n) = ([1.0; 14], 1.0, 0);
    while n < 13 {
        n += 1;
        factorial *= n as f64;
        all[13 - n] = 1.0 / factorial;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        fn the_exponential_is_exact_enough(x in -700.0f64..=0.0) {
            prop_assert!((exp(x) / x.exp() - 1.0).abs() < 1e-14);
        }

        /// Partial selection and full sorting keep the same tokens.
        #[test]
        fn the_mass_kept_is_the_smallest(
            weights in prop::collection::vec(0u32..50, 1..900),
            share in 0.01f64..1.0,
        ) {
            let weights = weights.iter().map(|&weight| f64::from(weight) + 1.0);
            let mut kept: Vec<Candidate> = (0..).zip(weights).collect();
            let mut sorted = kept.clone();
            sorted.sort_by(by_weight);
            let goal = share * sorted.iter().map(|c| c.1).sum::<f64>();
            let mut mass = 0.0;
            let count = sorted.iter().position(|c| { mass += c.1; mass >= goal }).unwrap() + 1;
            sorted.truncate(count);
            keep_mass(&mut kept, share);
            prop_assert_eq!(kept, sorted);
        }

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
