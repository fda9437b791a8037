// SPDX-License-Identifier: Apache-2.0

//! Logistic function of integers.

use pol_primitives::{MILLION, Ppm};

/// One, as an argument of [`logistic`].
pub(super) const ONE: i64 = 1 << 16;
/// Arguments of 16 and more give the largest value.
const LIMIT: u64 = 16;
const STEPS_OF_ONE: u64 = 128;
const STEP: u64 = ONE.unsigned_abs() / STEPS_OF_ONE;
/// exp(-1/128) in units of 2^-63, rounded down.
const DECAY: u128 = 9_151_595_186_215_228_389;
/// Parts of a millionth that the table resolves.
const FINE: u64 = 1 << 10;
static TABLE: [u64; (LIMIT * STEPS_OF_ONE) as usize + 2] = table();

/// Computes values of the logistic function at multiples of 1/128, in parts of a millionth.
const fn table() -> [u64; (LIMIT * STEPS_OF_ONE) as usize + 2] {
    let mut table = [0; (LIMIT * STEPS_OF_ONE) as usize + 2];
    let one = 1u128 << 63;
    let (mut power, mut at) = (one, 0);
    while at < table.len() {
        table[at] = ((MILLION as u128 * FINE as u128 * one) / (one + power)) as u64;
        power = (power * DECAY) >> 63;
        at += 1;
    }
    table
}

/// Returns 1 / (1 + exp(-x)) in millionths, where `x` is in units of 2^-16.
///
/// The result is within two millionths of the exact value, monotone, and symmetric: that of `-x` is
/// a million less that of `x`.
pub(super) fn logistic(x: i64) -> Ppm {
    let size = x.unsigned_abs().min(LIMIT * ONE.unsigned_abs());
    let (at, rest) = ((size / STEP) as usize, size % STEP);
    let (low, high) = (TABLE[at], TABLE[at + 1]);
    let value = ((low + (high - low) * rest / STEP) / FINE) as Ppm;
    if x < 0 { MILLION - value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_the_logistic_function() {
        for x in (-20 * ONE..20 * ONE).step_by(97) {
            let exact = 1e6 / (1.0 + (-(x as f64) / ONE as f64).exp());
            assert!((f64::from(logistic(x)) - exact).abs() < 2.0, "at {x}");
        }
        assert_eq!(
            [i64::MIN, -ONE, 0, ONE, i64::MAX].map(logistic),
            [1, 268_942, 500_000, 731_058, 999_999]
        );
    }

    proptest! {
        #[test]
        fn it_is_monotone_and_symmetric(x in -20 * ONE..20 * ONE, y in -20 * ONE..20 * ONE) {
            prop_assert!(logistic(x.min(y)) <= logistic(x.max(y)));
            prop_assert_eq!(logistic(x) + logistic(-x), MILLION);
        }
    }
}
