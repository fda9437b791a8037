// SPDX-License-Identifier: Apache-2.0

//! Integer statistics of stake-weighted values.

use crate::Balance;
use alloc::vec::Vec;

/// Returns the smallest value at or below which at least half of the weight lies, or 0 if there are
/// no values.
pub fn weighted_median(values: impl Iterator<Item = (i64, Balance)>) -> i64 {
    let mut values: Vec<(i64, Balance)> = values.collect();
    values.sort_unstable_by_key(|(value, _)| *value);
    let whole = values.iter().fold(0, |sum: Balance, (_, weight)| sum.saturating_add(*weight));
    let mut below: Balance = 0;
    for (value, weight) in &values {
        below = below.saturating_add(*weight);
        if below >= whole.saturating_sub(below) {
            return *value;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_median_is_by_weight() {
        let median = |values: &[(i64, Balance)]| weighted_median(values.iter().copied());
        assert_eq!(median(&[]), 0);
        assert_eq!(median(&[(5, 0)]), 5);
        assert_eq!(median(&[(1, 1), (2, 1)]), 1);
        assert_eq!(median(&[(9, 1), (1, 3), (2, 1)]), 1);
        assert_eq!(median(&[(1, 2), (2, 1), (9, 4)]), 9);
    }

    proptest! {
        #[test]
        fn the_median_is_one_of_its_values(
            values in prop::collection::vec((any::<i64>(), 0u128..1 << 80), 1..20),
        ) {
            let median = weighted_median(values.iter().copied());
            prop_assert!(values.iter().any(|(value, _)| *value == median));
            let whole: Balance = values.iter().map(|(_, weight)| weight).sum();
            let up_to: Balance =
                values.iter().filter(|(value, _)| *value <= median).map(|(_, weight)| weight).sum();
            let below: Balance =
                values.iter().filter(|(value, _)| *value < median).map(|(_, weight)| weight).sum();
            prop_assert!(2 * up_to >= whole && (2 * below < whole || whole == 0));
        }

        #[test]
        fn the_median_is_monotone(
            values in prop::collection::vec((-1_000i64..1_000, 1u128..100), 1..12),
            at: prop::sample::Index,
            more in 0i64..1_000,
        ) {
            let before = weighted_median(values.iter().copied());
            let mut raised = values.clone();
            raised[at.index(values.len())].0 += more;
            prop_assert!(weighted_median(raised.into_iter()) >= before);
        }
    }
}
