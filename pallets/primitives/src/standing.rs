// SPDX-License-Identifier: Apache-2.0

//! A trainer's state between two leases.

use crate::{Balance, Hash, MILLION, RoundNumber, audit::UpdateMeasurement};
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
    /// Moving average, in millionths, of one for each update that improved its own text by more
    /// than half of what it improved unassigned text, and minus one for each by less.
    pub advantage: i32,
    /// Number of leases that the trainer let lapse, or whose updates it did not reveal or
    /// validators left out, less those whose updates were included since. Below zero, that many
    /// lapses cost nothing.
    pub lapses: i8,
}

impl Standing {
    /// Number of valid updates from which on the average is meaningful.
    const SETTLING_IN: u32 = 8;
    /// Number of lapses from which on each costs the same.
    const MAX_DOUBLINGS: i8 = 10;
    /// Most lapses that included updates make up for in advance. The links of an honest trainer may
    /// break at any time.
    const MAX_FREE_LAPSES: i8 = 2;

    /// Records a lease without a commitment, or whose update was not revealed or left out. Returns
    /// its penalty: none if included updates made up for it, and else twice that of the lapse
    /// before, beginning with `first`, and at most 1,024 times as much.
    ///
    /// One lapse may be an accident. Places taken again and again without work keep others out.
    pub fn note_lapse(&mut self, first: Balance) -> Balance {
        let doublings = self.lapses.min(Self::MAX_DOUBLINGS);
        self.lapses = self.lapses.saturating_add(1);
        if doublings < 0 { 0 } else { first.saturating_mul(1 << doublings) }
    }

    /// Records an included update, which makes up for one lapse, before it or after it.
    pub fn note_included(&mut self) {
        let lapses = self.lapses.min(Self::MAX_DOUBLINGS).saturating_sub(1);
        self.lapses = lapses.max(Self::MAX_FREE_LAPSES.saturating_neg());
    }

    /// Records a valid update and its measurement.
    ///
    /// Signs alone are averaged. Seats that agree on a false figure could otherwise outweigh dozens
    /// of later updates with one.
    pub fn note_valid(&mut self, measure: &UpdateMeasurement) {
        // Samples of text differ by less than half of a gain.
        let half = measure.gain.checked_div(2).unwrap_or(0);
        let lead = i64::from(measure.own).saturating_sub(half.into()).signum();
        let moved = i64::from(self.advantage)
            .saturating_mul(7)
            .saturating_add(lead.saturating_mul(MILLION.into()))
            .checked_div(8)
            .unwrap_or(0);
        self.advantage = i32::try_from(moved).unwrap_or(0);
        self.valid = self.valid.saturating_add(1);
    }

    /// Returns `true` if as many of the trainer's last updates as not improve their own text less
    /// than half as much as unassigned text.
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

    fn measure(own: i32, gain: i32) -> UpdateMeasurement {
        UpdateMeasurement { own, gain, ..Default::default() }
    }

    fn after(updates: u32, measure: &UpdateMeasurement) -> Standing {
        let mut standing = Standing::default();
        (0..updates).for_each(|_| standing.note_valid(measure));
        standing
    }

    #[test]
    fn nobody_is_flagged_before_the_average_says_something() {
        assert!(!Standing::default().is_flagged());
        let other_text = measure(100, 1_000);
        assert!(!after(7, &other_text).is_flagged());
        assert!(after(8, &other_text).is_flagged());
        assert_eq!(after(8, &other_text).valid, 8);
    }

    #[test]
    fn training_on_the_lease_is_not_flagged_and_doubt_counts_for_the_trainer() {
        assert!(!after(50, &measure(1_200, 1_000)).is_flagged());
        assert!(!after(50, &measure(600, 1_000)).is_flagged(), "samples of text differ");
        assert!(after(50, &measure(500, 1_000)).is_flagged());
        assert!(after(50, &measure(0, 0)).is_flagged(), "no improvement at all");
    }

    #[test]
    fn one_false_figure_flags_nobody() {
        let mut standing = after(8, &measure(1_200, 1_000));
        let before = standing.advantage;
        standing.note_valid(&measure(i32::MIN, 0));
        assert!(!standing.is_flagged());
        (0..3).for_each(|_| standing.note_valid(&measure(1_200, 1_000)));
        assert!(standing.advantage > before * 9 / 10, "it is made up for soon");
        // A third of all measurements are false.
        let mut flagged = 0;
        for update in 0..3_000 {
            let own = if update % 3 == 0 { i32::MIN } else { 1_200 };
            standing.note_valid(&measure(own, 1_000));
            flagged += u32::from(standing.is_flagged());
        }
        assert_eq!(flagged, 0);
    }

    #[test]
    fn a_flag_is_lost_by_training_on_the_lease() {
        let mut standing = after(20, &measure(100, 1_000));
        assert!(standing.is_flagged());
        let honest = measure(1_500, 1_000);
        let needed = (1..).find(|_| {
            standing.note_valid(&honest);
            !standing.is_flagged()
        });
        assert!(needed.is_some_and(|updates| updates < 20), "{needed:?}");
    }

    #[test]
    fn a_standing_is_small() {
        assert!(Standing::max_encoded_len() <= 49);
    }

    #[test]
    fn each_lapse_costs_twice_the_one_before_and_work_makes_up_for_it() {
        let mut standing = Standing::default();
        let lapses: Vec<_> = (0..13).map(|_| standing.note_lapse(10)).collect();
        assert_eq!(lapses[..4], [10, 20, 40, 80]);
        assert_eq!(lapses[10..], [10_240; 3], "it stops growing");
        standing.note_included();
        assert_eq!(standing.note_lapse(10), 5_120, "one update makes up for one lapse");
        (0..20).for_each(|_| standing.note_included());
        assert_eq!([(); 4].map(|()| standing.note_lapse(10)), [0, 0, 10, 20]);
    }

    proptest! {
        #[test]
        fn a_lapse_is_never_cheaper_than_the_one_before(lapses: i8, first in 0u128..1 << 100) {
            let mut standing = Standing { lapses, ..Default::default() };
            let cost = standing.note_lapse(first);
            prop_assert_eq!(cost == 0, lapses < 0 || first == 0);
            prop_assert!(cost <= first * 1_024);
            prop_assert!(standing.note_lapse(first) >= cost);
        }

        #[test]
        fn one_measurement_weighs_an_eighth_at_most(
            own: i32,
            gain: i32,
            before in -1_000_000i32..=1_000_000,
        ) {
            let mut standing =
                Standing { advantage: before, valid: u32::MAX, ..Default::default() };
            standing.note_valid(&measure(own, gain));
            prop_assert!(standing.advantage.abs() <= 1_000_000);
            prop_assert!((standing.advantage - before).abs() <= 250_001);
            prop_assert_eq!(standing.valid, u32::MAX);
        }

        #[test]
        fn doing_better_on_the_own_text_never_hurts(
            own in -1_000_000i32..1_000_000,
            gain in -1_000_000i32..1_000_000,
            more in 0i32..1_000_000,
            before in -1_000_000i32..1_000_000,
        ) {
            let of = |own| {
                let mut standing = Standing { advantage: before, ..Default::default() };
                standing.note_valid(&measure(own, gain));
                standing.advantage
            };
            prop_assert!(of(own + more) >= of(own));
        }
    }
}
