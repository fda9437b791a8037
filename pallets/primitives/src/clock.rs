// SPDX-License-Identifier: Apache-2.0

//! Clock of the protocol, which stands still while blocks are full or missing.

use crate::round::BlockNumber;
use codec::{Decode, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Number of blocks for which an empty slot stops the clock. With 2, the clock's speed is `3f − 2`
/// where a share `f` of the slots has a block: full speed if all have one, none from two thirds
/// down, where blocks are not made final either.
const BLOCKS_PER_EMPTY_SLOT: u64 = 2;
/// Maximum number of blocks for which the clock stands still once all slots have blocks again. In
/// that time peers find each other, and calls of the losing side of a fork are included again.
const MAX_CATCH_UP: u64 = 12;

/// Clock that all deadlines of rounds and audits are read on.
///
/// It counts the blocks that had room for everybody's calls, in slots that were not followed by
/// empty ones. Nobody's time runs out while others keep their calls out of blocks, or on a part of
/// the network that has lost touch with the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Clock {
    /// Time, at most the height of the block.
    pub now: BlockNumber,
    /// Number of blocks in a row for which the clock has stood still.
    pub standstill: BlockNumber,
    /// Set if the last finished block was congested.
    pub congested: bool,
    /// Slot of the block; 0 before the first one.
    pub slot: u64,
    /// Number of blocks for which the clock still stands still because slots were empty.
    pub catch_up: u64,
}

impl Clock {
    /// Notes the slot of the next block, before the clock moves to it.
    pub fn note_slot(&mut self, slot: u64) {
        let passed = if self.slot == 0 { 0 } else { slot.saturating_sub(self.slot) };
        let empty = passed.saturating_sub(1);
        let stop = empty.saturating_mul(BLOCKS_PER_EMPTY_SLOT);
        self.catch_up = self.catch_up.saturating_add(stop).min(MAX_CATCH_UP);
        self.slot = slot;
    }

    /// Moves the clock to the next block.
    ///
    /// It stands still after empty slots. It also stands still after a congested block, but for at
    /// most `most` blocks in a row, so that nobody can stop the network for good.
    pub fn tick(&mut self, most: BlockNumber) {
        if let Some(rest) = self.catch_up.checked_sub(1) {
            self.catch_up = rest;
        } else if self.congested && self.standstill < most {
            self.standstill = self.standstill.saturating_add(1);
        } else {
            self.standstill = 0;
            self.now = self.now.saturating_add(1);
        }
        self.congested = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the time in each block after the blocks that were congested or not.
    fn times(congested: &[bool], most: BlockNumber) -> Vec<BlockNumber> {
        let mut clock = Clock::default();
        let mut next = |congested| {
            clock.congested = congested;
            clock.tick(most);
            clock.now
        };
        congested.iter().map(|congested| next(*congested)).collect()
    }

    #[test]
    fn the_clock_stands_still_while_blocks_are_full_and_not_for_ever() {
        assert_eq!(times(&[false; 4], 2), [1, 2, 3, 4]);
        assert_eq!(times(&[false, true, true, false, true], 2), [1, 1, 1, 2, 2]);
        assert_eq!(times(&[true; 7], 2), [0, 0, 1, 1, 1, 2, 2]);
        assert_eq!(times(&[true; 3], 0), [1, 2, 3], "a limit of zero is the height");
    }

    #[test]
    fn the_clock_stands_still_after_empty_slots() {
        let mut clock = Clock::default();
        let mut next = |slot| {
            clock.note_slot(slot);
            clock.tick(2);
            clock.now
        };
        assert_eq!([next(70), next(71), next(72)], [1, 2, 3], "any slot may be the first");
        assert_eq!([next(74), next(75), next(76)], [3, 3, 4], "one slot was empty");
        assert_eq!(next(1_000), 4);
        let times: Vec<_> = (1_001..1_014).map(&mut next).collect();
        assert_eq!(times, [[4; 11].as_slice(), &[5, 6]].concat(), "a long pause costs 12 blocks");
    }

    /// Returns the clock's speed where a share of the slots has blocks, in ticks a slot.
    fn speed(share: f64) -> f64 {
        const SLOTS: u32 = 20_000;
        let mut prf = crate::prf::Prf::new("slots", &[7; 32], &[]);
        let mut clock = Clock::default();
        for slot in 1..=SLOTS {
            if f64::from(prf.below(1 << 20)) < share * f64::from(1 << 20) {
                clock.note_slot(slot.into());
                clock.tick(0);
            }
        }
        f64::from(clock.now) / f64::from(SLOTS)
    }

    #[test]
    fn the_clock_stops_where_blocks_are_not_made_final() {
        assert!((speed(1.0) - 1.0).abs() < 1e-9);
        // One of four authorities is dead: others fill a fifth of its slots.
        assert!((speed(0.8) - 0.4).abs() < 0.05, "{}", speed(0.8));
        // Half of the authorities fill 57 % of the slots.
        assert!(speed(0.57) < 0.05, "{}", speed(0.57));
        assert!(speed(0.4) < 0.005, "{}", speed(0.4));
    }

    proptest! {
        #[test]
        fn time_never_goes_back_and_passes_in_the_end(
            congested in prop::collection::vec(any::<bool>(), 0..200), most in 0u32..20,
        ) {
            let times = times(&congested, most);
            let mut before = 0;
            for (at, (&time, &was_congested)) in times.iter().zip(&congested).enumerate() {
                prop_assert!(time == before || time == before + 1);
                prop_assert!(was_congested || time == before + 1, "a block with room counts");
                prop_assert!(time >= (at as u32 + 1) / (most + 1));
                before = time;
            }
        }
    }
}
