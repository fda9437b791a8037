// SPDX-License-Identifier: Apache-2.0

//! Tokens that a sampler may draw, and filters of them.

use std::cmp::Ordering;

/// A token with its weight relative to the likeliest token, which has weight 1.
pub(super) type Candidate = (u32, f64);

/// Orders candidates by descending weight, and equals by ascending token.
pub(super) fn by_weight(a: &Candidate, b: &Candidate) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the smallest set of heaviest candidates whose weights sum to `share` of all.
pub(super) fn keep_mass(kept: &mut Vec<Candidate>, share: f64) {
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

/// Keeps the smallest set of candidates whose surprise is nearest to the expected one, and whose
/// weights sum to `share` of all.
pub(super) fn keep_typical(kept: &mut Vec<Candidate>, share: f64) {
    let sum = sum_by_token(kept);
    let surprise = |weight: f64| -libm::log(weight / sum);
    let expected: f64 = kept.iter().map(|&(_, weight)| weight / sum * surprise(weight)).sum();
    let distance = |candidate: &Candidate| (surprise(candidate.1) - expected).abs();
    let mut order: Vec<(f64, Candidate)> = kept.iter().map(|it| (distance(it), *it)).collect();
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| by_weight(&a.1, &b.1)));
    let mut mass = 0.0;
    let reached = order.iter().position(|&(_, (_, weight))| {
        mass += weight;
        mass >= share * sum
    });
    order.truncate(reached.map_or(order.len(), |last| last + 1));
    kept.clear();
    kept.extend(order.into_iter().map(|(_, candidate)| candidate));
}

/// Removes all candidates with at least `threshold` of the probability but the least likely of
/// them.
pub(super) fn exclude_likeliest(kept: &mut Vec<Candidate>, threshold: f64) {
    let least = threshold * sum_by_token(kept);
    let likely = kept.iter().copied().filter(|candidate| candidate.1 >= least);
    if let Some(last) = likely.max_by(by_weight) {
        kept.retain(|candidate| candidate.1 < least || *candidate == last);
    }
}

/// Keeps candidates with a surprise of at most so many bits, and the likeliest in any case.
pub(super) fn keep_unsurprising(kept: &mut Vec<Candidate>, bits: f64) {
    let least = exp(-bits.max(0.0) * std::f64::consts::LN_2) * sum_by_token(kept);
    if let Some(best) = kept.iter().copied().min_by(by_weight) {
        kept.retain(|candidate| candidate.1 >= least || *candidate == best);
    }
}

/// Sorts candidates by token, since floating-point sums depend on the order, and returns the sum of
/// their weights.
pub(super) fn sum_by_token(kept: &mut [Candidate]) -> f64 {
    kept.sort_unstable_by_key(|&(token, _)| token);
    kept.iter().map(|&(_, weight)| weight).sum()
}

/// Returns `e^x` for `x ≤ 0` with a relative error below 1e-14, or zero below -700. It uses
/// operations whose results IEEE 754 fixes, since C libraries differ between machines.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
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

    /// Tokens 0 to 3 with these probabilities.
    fn candidates(probabilities: [f64; 4]) -> Vec<Candidate> {
        let highest = probabilities.iter().copied().fold(0.0, f64::max);
        (0..).zip(probabilities).map(|(token, p)| (token, p / highest)).collect()
    }

    fn tokens(kept: &[Candidate]) -> Vec<u32> {
        let mut tokens: Vec<u32> = kept.iter().map(|&(token, _)| token).collect();
        tokens.sort_unstable();
        tokens
    }

    #[test]
    fn typical_tokens_are_as_surprising_as_expected() {
        // The entropy is 1.22 nats. Surprises are 0.69, 1.61, 1.61, and 2.30.
        let typical = |share| {
            let mut kept = candidates([0.5, 0.2, 0.2, 0.1]);
            keep_typical(&mut kept, share);
            tokens(&kept)
        };
        assert_eq!(typical(0.15), [1]);
        assert_eq!(typical(0.3), [1, 2]);
        assert_eq!(typical(0.6), [0, 1, 2]);
        assert_eq!(typical(1.0), [0, 1, 2, 3]);
        // A token that is too likely is not typical of a flat distribution: the entropy is 1.97,
        // and surprises are 1.20 and 2.30.
        let mut kept: Vec<Candidate> = vec![(9, 1.0)];
        kept.extend((0..7).map(|token| (token, 1.0 / 3.0)));
        keep_typical(&mut kept, 0.15);
        assert_eq!(tokens(&kept), [0, 1]);
    }

    #[test]
    fn the_likeliest_are_excluded_but_for_the_last_of_them() {
        let excluded = |threshold| {
            let mut kept = candidates([0.1, 0.4, 0.2, 0.3]);
            exclude_likeliest(&mut kept, threshold);
            tokens(&kept)
        };
        assert_eq!(excluded(0.15), [0, 2]);
        assert_eq!(excluded(0.25), [0, 2, 3]);
        // One token alone stays, and where none is likely all do.
        assert_eq!(excluded(0.35), [0, 1, 2, 3]);
        assert_eq!(excluded(0.9), [0, 1, 2, 3]);
    }

    #[test]
    fn surprising_tokens_are_dropped() {
        let kept = |bits| {
            let mut kept = candidates([0.5, 0.25, 0.125, 0.125]);
            keep_unsurprising(&mut kept, bits);
            tokens(&kept)
        };
        assert_eq!((kept(-3.0), kept(0.9), kept(1.1)), (vec![0], vec![0], vec![0]));
        assert_eq!((kept(2.1), kept(3.1)), (vec![0, 1], vec![0, 1, 2, 3]));
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
    }
}
