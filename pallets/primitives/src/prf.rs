// SPDX-License-Identifier: Apache-2.0

//! The pseudo-random function behind every draw of the protocol.
//!
//! BLAKE3 in extendable-output mode gives the same integers on every machine and needs no stored
//! state.

use crate::Hash;
use alloc::vec::Vec;

/// A stream of pseudo-random integers, determined by a domain, a seed and any number of inputs.
#[derive(Clone, Debug)]
pub struct Prf {
    reader: blake3::OutputReader,
}

impl Prf {
    /// Creates the stream of `domain`, keyed by `seed`, over `inputs`.
    ///
    /// Each input is prefixed with its length, so different lists of inputs cannot collide.
    pub fn new(domain: &str, seed: &Hash, inputs: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(seed);
        for input in core::iter::once(&domain.as_bytes()).chain(inputs) {
            hasher.update(&(input.len() as u64).to_le_bytes());
            hasher.update(input);
        }
        Self { reader: hasher.finalize_xof() }
    }

    /// Fills `bytes` with the next bytes of the stream. This is the fast way to draw many values.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.reader.fill(bytes);
    }

    /// Returns the next 64 bits of the stream.
    pub fn next_u64(&mut self) -> u64 {
        let mut bytes = [0u8; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// Draws a number in `0..bound` without modulo bias. Returns 0 if `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let bound = u64::from(bound);
        if bound <= 1 {
            return 0;
        }
        // Values of the incomplete last interval are rejected: one in 2^32 at most, on average.
        let limit = u64::MAX.saturating_sub(u64::MAX.checked_rem(bound).unwrap_or(0));
        loop {
            let value = self.next_u64();
            if value < limit {
                return u32::try_from(value.checked_rem(bound).unwrap_or(0)).unwrap_or(0);
            }
        }
    }

    /// Draws a number in `0..bound` without modulo bias. Returns 0 if `bound` is 0.
    pub fn below_u128(&mut self, bound: u128) -> u128 {
        if bound <= 1 {
            return 0;
        }
        let limit = u128::MAX.saturating_sub(u128::MAX.checked_rem(bound).unwrap_or(0));
        loop {
            let mut bytes = [0u8; 16];
            self.fill(&mut bytes);
            let value = u128::from_le_bytes(bytes);
            if value < limit {
                return value.checked_rem(bound).unwrap_or(0);
            }
        }
    }

    /// Draws a permutation of `0..n` uniformly (Fisher and Yates).
    pub fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n).collect();
        for last in (1..n).rev() {
            let other = self.below(last.saturating_add(1));
            order.swap(last as usize, other as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn inputs_are_kept_apart() {
        let first = Prf::new("a", &[1; 32], &[b"bc", b"d"]).next_u64();
        assert_ne!(first, Prf::new("a", &[1; 32], &[b"b", b"cd"]).next_u64());
        assert_ne!(first, Prf::new("ab", &[1; 32], &[b"c", b"d"]).next_u64());
        assert_ne!(first, Prf::new("a", &[2; 32], &[b"bc", b"d"]).next_u64());
        assert_eq!(first, Prf::new("a", &[1; 32], &[b"bc", b"d"]).next_u64());
    }

    #[test]
    fn draws_are_uniform() {
        // The 0.999 quantile of chi-squared with 9 degrees of freedom is 27.9. The stream is fixed.
        let mut prf = Prf::new("uniform", &[7; 32], &[]);
        let mut counts = [0u32; 10];
        for _ in 0..10_000 {
            counts[prf.below(10) as usize] += 1;
        }
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 27.9, "chi-squared {chi}");
    }

    #[test]
    fn wide_draws_are_uniform_too() {
        // The bound is three quarters of the range: a remainder without rejection would draw the
        // lowest third twice as often as the others. The 0.999 quantile of chi-squared with 2
        // degrees of freedom is 13.8.
        let third = 1u128 << 126;
        let mut prf = Prf::new("uniform", &[8; 32], &[]);
        let mut counts = [0u32; 3];
        for _ in 0..9_000 {
            counts[(prf.below_u128(3 * third) / third) as usize] += 1;
        }
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 3000.0).powi(2) / 3000.0).sum();
        assert!(chi < 13.8, "chi-squared {chi}");
    }

    #[test]
    fn there_is_one_number_below_one() {
        let mut prf = Prf::new("t", &[0; 32], &[]);
        assert_eq!(
            (prf.below(0), prf.below(1), prf.below_u128(0), prf.below_u128(1)),
            (0, 0, 0, 0)
        );
        let reached: std::collections::BTreeSet<_> = (0..100).map(|_| prf.below_u128(3)).collect();
        assert_eq!(reached.into_iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn wide_draws_stay_below(seed: [u8; 32], bound in 1u128..) {
            prop_assert!(Prf::new("t", &seed, &[]).below_u128(bound) < bound);
        }

        #[test]
        fn filling_at_once_or_piece_by_piece_is_the_same(seed: [u8; 32], at in 0usize..64) {
            let (mut whole, mut pieces) = ([0u8; 64], [0u8; 64]);
            Prf::new("t", &seed, &[]).fill(&mut whole);
            let mut prf = Prf::new("t", &seed, &[]);
            let (first, second) = pieces.split_at_mut(at);
            prf.fill(first);
            prf.fill(second);
            prop_assert_eq!(whole, pieces);
        }

        #[test]
        fn below_stays_below(seed: [u8; 32], bound in 1u32..) {
            prop_assert!(Prf::new("t", &seed, &[]).below(bound) < bound);
        }

        #[test]
        fn permutations_hold_every_index_once(seed: [u8; 32], n in 0u32..500) {
            let mut order = Prf::new("t", &seed, &[]).permutation(n);
            order.sort_unstable();
            prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }
    }
}
