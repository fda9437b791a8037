// SPDX-License-Identifier: Apache-2.0

//! A trainer's state between two leases.

use crate::{Hash, RoundNumber, audit::UpdateMeasurement};
use codec::{Decode, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// State of a trainer that carries over to its next lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Standing {
    /// Number of earlier leases.
    pub nonce: u32,
    /// Hash of the carry of the last included submission; zeros if there is none.
    pub carry: Hash,
    /// Round that included that submission. Meaningless without a carry.
    pub carry_round: RoundNumber,
    /// Number of updates found valid.
    pub valid: u32,
    /// Moving average of the advantage of its updates on their own text over unassigned text, in
    /// millionths of a nat per token. Twice the standard error is added in the trainer's favour.
    pub advantage: i32,
}

impl Standing {
    /// Number of valid updates from which on the average is meaningful.
    const SETTLING_IN: u32 = 8;

    /// Records a valid update and its measurement.
    pub fn note_valid(&mut self, measure: &UpdateMeasurement) {
        let lead = i64::from(measure.own)
            .saturating_add(i64::from(measure.error).saturating_mul(2))
            .saturating_sub(i64::from(measure.gain));
        let moved = i64::from(self.advantage)
            .saturating_mul(7)
            .saturating_add(lead)
            .checked_div(8)
            .unwrap_or(0);
        self.advantage =
            i32::try_from(moved).unwrap_or(if moved < 0 { i32::MIN } else { i32::MAX });
        self.valid = self.valid.saturating_add(1);
    }

    /// Returns `true` if the trainer's updates improve their own text no more than unassigned text.
    ///
    /// Training on the leased text improves that text most, so a flagged trainer is not paid. No
    /// trainer is slashed on statistics alone.
    pub fn is_flagged(&self) -> bool {
        self.valid >= Self::SETTLING_IN && self.advantage <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measure(own: i32, gain: i32, error: u32) -> UpdateMeasurement {
        UpdateMeasurement { own, gain, error, ..Default::default() }
    }

    fn after(updates: u32, measure: &UpdateMeasurement) -> Standing {
        let mut standing = Standing::default();
        (0..updates).for_each(|_| standing.note_valid(measure));
        standing
    }

    #[test]
    fn nobody_is_flagged_before_the_average_says_something() {
        assert!(!Standing::default().is_flagged());
        let other_text = measure(100, 1_000, 50);
        assert!(!after(7, &other_text).is_flagged());
        assert!(after(8, &other_text).is_flagged());
        assert_eq!(after(8, &other_text).valid, 8);
    }

    #[test]
    fn training_on_the_lease_is_not_flagged_and_doubt_counts_for_the_trainer() {
        assert!(!after(50, &measure(1_200, 1_000, 10)).is_flagged());
        assert!(!after(50, &measure(1_000, 1_050, 30)).is_flagged(), "within two standard errors");
        assert!(after(50, &measure(1_000, 1_070, 30)).is_flagged());
        assert!(after(50, &measure(0, 0, 0)).is_flagged(), "no lead at all");
    }

    #[test]
    fn a_flag_is_lost_by_training_on_the_lease() {
        let mut standing = after(20, &measure(100, 1_000, 50));
        assert!(standing.is_flagged());
        let honest = measure(1_500, 1_000, 50);
        let needed = (1..).find(|_| {
            standing.note_valid(&honest);
            !standing.is_flagged()
        });
        assert!(needed.is_some_and(|updates| updates < 20), "{needed:?}");
    }

    #[test]
    fn a_standing_is_small() {
        assert!(Standing::max_encoded_len() <= 48);
    }

    proptest! {
        #[test]
        fn the_average_stays_between_what_it_is_of(own: i32, gain: i32, error: u32, before: i32) {
            let mut standing =
                Standing { advantage: before, valid: u32::MAX, ..Default::default() };
            standing.note_valid(&measure(own, gain, error));
            let lead = i64::from(own) + 2 * i64::from(error) - i64::from(gain);
            let now = i64::from(standing.advantage);
            prop_assert!(now >= lead.min(before.into()).max(i32::MIN.into()));
            prop_assert!(now <= lead.max(before.into()).min(i32::MAX.into()));
            prop_assert_eq!(standing.valid, u32::MAX);
        }

        #[test]
        fn doing_better_on_the_own_text_never_hurts(
            own in -1_000_000i32..1_000_000,
            gain in -1_000_000i32..1_000_000,
            error in 0u32..100_000,
            more in 0i32..1_000_000,
            before in -1_000_000i32..1_000_000,
        ) {
            let of = |own| {
                let mut standing = Standing { advantage: before, ..Default::default() };
                standing.note_valid(&measure(own, gain, error));
                standing.advantage
            };
            prop_assert!(of(own + more) >= of(own));
        }
    }
}
