// SPDX-License-Identifier: Apache-2.0

//! Draws of a document: integers that its seed and its index determine.

use pol_primitives::{Hash, prf::Prf};

/// Number of documents that a seed can make.
const INDICES: u64 = 1 << 32;

/// Source of the integers that a document is made from.
///
/// Some of them spell the index of the document, enciphered with the seed. Two documents that show
/// all of these differ, however many are made, and nothing has to be remembered.
pub(crate) struct Draws {
    prf: Prf,
    /// Part of the enciphered index that is not spelled yet, and the number of values it can have.
    serial: u64,
    left: u64,
}

impl Draws {
    pub(crate) fn new(seed: &Hash, index: u32) -> Self {
        Self {
            prf: Prf::new("pol/synthesis/draws/1", seed, &[&index.to_le_bytes()]),
            serial: permuted(seed, index).into(),
            left: INDICES,
        }
    }

    /// Draws a number in `0..bound`, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.prf.below(u32::try_from(bound).unwrap_or(u32::MAX)) as usize
    }

    /// Draws a number from `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: i64, high: i64) -> i64 {
        low + self.below(span(low, high)) as i64
    }

    /// Returns `true` in `share` of a hundred cases.
    pub(crate) fn chance(&mut self, share: usize) -> bool {
        self.below(100) < share
    }

    /// Draws a number in `0..bound` that the text shows. It spells a part of the index, as long as
    /// parts are left.
    pub(crate) fn distinct(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        let radix = bound.min(self.left);
        let digit = self.serial % radix;
        self.serial /= radix;
        self.left = self.left.div_ceil(radix);
        // The last digit has fewer values than asked for. The rest of the range is drawn.
        digit as usize + radix as usize * self.below((bound / radix) as usize)
    }

    /// Draws a number from `low` to `high`, both included, that the text shows.
    pub(crate) fn distinct_range(&mut self, low: i64, high: i64) -> i64 {
        low + self.distinct(span(low, high)) as i64
    }

    /// Draws `count` of `0..bound` in an order that the text shows.
    pub(crate) fn distinct_choice(&mut self, count: usize, bound: usize) -> Vec<usize> {
        let mut rest: Vec<usize> = (0..bound).collect();
        (0..count.min(bound))
            .map(|taken| {
                let at = self.distinct(bound - taken);
                rest.remove(at)
            })
            .collect()
    }

    /// Draws one of `options`.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    pub(crate) fn pick<T: Copy>(&mut self, options: &[T]) -> T {
        options[self.below(options.len())]
    }

    /// Draws an order of `items`.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// Returns a source for values that need not be shown. They spell no part of the index.
    pub(crate) fn detached(&mut self) -> Self {
        let prf = Prf::new("pol/synthesis/draws/1", &self.seed(), &[]);
        Self { prf, serial: 0, left: 1 }
    }

    /// Draws a seed.
    pub(crate) fn seed(&mut self) -> Hash {
        let mut seed = [0; 32];
        self.prf.fill(&mut seed);
        seed
    }

    /// Returns `true` if the whole index has been spelled.
    pub(crate) fn is_spent(&self) -> bool {
        self.left <= 1
    }
}

fn span(low: i64, high: i64) -> usize {
    usize::try_from(high - low + 1).unwrap_or(0)
}

/// Returns the value of `index` in a permutation of all indices: four rounds of a Feistel network
/// (Luby and Rackoff 1988, "How to Construct Pseudorandom Permutations from Pseudorandom
/// Functions").
fn permuted(seed: &Hash, index: u32) -> u32 {
    let (mut left, mut right) = ((index >> 16) as u16, index as u16);
    for round in 0..4u8 {
        let inputs: [&[u8]; 2] = [&[round], &right.to_le_bytes()];
        let mixed = Prf::new("pol/synthesis/order/1", seed, &inputs).next_u64() as u16;
        (left, right) = (right, left ^ mixed);
    }
    u32::from(left) << 16 | u32::from(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_order_is_a_permutation() {
        let reached: BTreeSet<u32> = (0..20_000).map(|index| permuted(&[3; 32], index)).collect();
        assert_eq!(reached.len(), 20_000);
        assert!(reached.iter().any(|&value| value > 1 << 31));
    }

    #[test]
    fn digits_are_spread_over_their_range() {
        let mut counts = [0u32; 7];
        for index in 0..7_000 {
            let mut draws = Draws::new(&[4; 32], index);
            draws.distinct(1 << 30);
            // Four values of the index are left, and seven are asked for.
            counts[draws.distinct(7)] += 1;
        }
        assert!(counts[..4].iter().all(|&count| count > 1_500), "{counts:?}");
    }

    proptest! {
        #[test]
        fn digits_spell_the_index(
            seed: [u8; 32],
            first: u32,
            second: u32,
            bounds in prop::collection::vec(2usize..900, 33),
        ) {
            prop_assume!(first != second);
            let spelled = |index| {
                let mut draws = Draws::new(&seed, index);
                let digits: Vec<usize> = bounds.iter().map(|&bound| {
                    let digit = draws.distinct(bound);
                    assert!(digit < bound);
                    digit
                }).collect();
                assert!(draws.is_spent());
                digits
            };
            prop_assert_ne!(spelled(first), spelled(second));
        }

        #[test]
        fn choices_are_distinct(seed: [u8; 32], index: u32, bound in 0usize..50) {
            let mut chosen = Draws::new(&seed, index).distinct_choice(bound, bound);
            chosen.sort_unstable();
            prop_assert_eq!(chosen, (0..bound).collect::<Vec<_>>());
        }
    }
}
