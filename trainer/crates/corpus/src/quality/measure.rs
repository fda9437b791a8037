// SPDX-License-Identifier: Apache-2.0

//! Measure of how well scores tell good text from poor.

use pol_primitives::{MILLION, Ppm};

/// Returns the area under the receiver operating characteristic, in millionths: the probability
/// that a good text scores higher than a poor one, where a tie counts half (Mann and Whitney).
///
/// Returns `None` if one of the two has no scores.
pub fn auroc(good: &[Ppm], poor: &[Ppm]) -> Option<Ppm> {
    let mut poor = poor.to_vec();
    poor.sort_unstable();
    let pairs = good.len() as u128 * poor.len() as u128;
    let halves = good.iter().fold(0u128, |halves, score| {
        let below = poor.partition_point(|other| other < score);
        let not_above = poor.partition_point(|other| other <= score);
        halves + (below + not_above) as u128
    });
    let area = (halves * u128::from(MILLION)).checked_div(2 * pairs)?;
    Some(area as Ppm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ties_count_half() {
        assert_eq!(auroc(&[3, 4], &[1, 2]), Some(MILLION));
        assert_eq!(auroc(&[1, 2], &[3, 4]), Some(0));
        assert_eq!(auroc(&[1, 1], &[1, 1, 1]), Some(500_000));
        assert_eq!(auroc(&[2], &[1, 2]), Some(750_000));
        assert_eq!((auroc(&[], &[1]), auroc(&[1], &[])), (None, None));
    }

    proptest! {
        #[test]
        fn sides_add_up(
            good in proptest::collection::vec(0..5u32, 1..20),
            poor in proptest::collection::vec(0..5u32, 1..20),
        ) {
            let sum = auroc(&good, &poor).unwrap() + auroc(&poor, &good).unwrap();
            prop_assert!((MILLION - 1..=MILLION).contains(&sum));
        }
    }
}
