// SPDX-License-Identifier: Apache-2.0

//! What an audit says about the validators with seats in it.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Largest number of strikes. A validator with a machine that works again is rid of them after as
/// many audits, however long it was away.
pub const MAX_STRIKES: u32 = 8;

/// What the decision of a case says about a seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatResult {
    /// The seat found what was decided.
    Right,
    /// The seat found something else.
    Wrong,
    /// The seat revealed nothing.
    Silent,
}

impl SeatResult {
    /// Returns the result of a seat that is right or not, and revealed something or not.
    pub fn new(is_right: bool, is_revealed: bool) -> Self {
        match (is_right, is_revealed) {
            (true, _) => Self::Right,
            (false, true) => Self::Wrong,
            (false, false) => Self::Silent,
        }
    }
}

/// Results of a validator's seats on the decided cases of one audit.
///
/// A validator is judged once for each audit. So the order in which cases are settled decides
/// nothing, and an outage costs the same however many updates it hits. A wrong finding is a lie or
/// the work of a broken machine, and each of them makes others work. So it weighs more than
/// silence, and each one is fined.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct SeatTally {
    /// Number of cases on which the validator was right.
    pub right: u16,
    /// Number of cases on which its finding was wrong.
    pub wrong: u16,
    /// Number of cases on which it revealed nothing.
    pub silent: u16,
}

impl SeatTally {
    /// Adds the result of a seat.
    pub fn note(&mut self, result: SeatResult) {
        let count = match result {
            SeatResult::Right => &mut self.right,
            SeatResult::Wrong => &mut self.wrong,
            SeatResult::Silent => &mut self.silent,
        };
        *count = count.saturating_add(1);
    }

    /// Returns the strikes that the audit adds: 2 for wrong findings, 1 if the validator was silent
    /// more often than right, and otherwise none.
    pub fn strikes(&self) -> u32 {
        match self {
            Self { wrong: 1.., .. } => 2,
            Self { right, silent, .. } => (silent > right).into(),
        }
    }

    /// Returns the strikes of a validator that had `before`. An audit that adds none takes one
    /// away.
    pub fn strikes_after(&self, before: u32) -> u32 {
        match self.strikes() {
            0 => before.saturating_sub(1),
            more => before.saturating_add(more).min(MAX_STRIKES),
        }
    }

    /// Returns the number of fines for the audit, after which the validator has `strikes`: none
    /// below `limit`, and from there one for each wrong finding, or one for silence.
    pub fn fines(&self, strikes: u32, limit: u32) -> u32 {
        if self.strikes() == 0 || strikes < limit { 0 } else { u32::from(self.wrong).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SeatResult::{Right, Silent, Wrong};
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn tally(results: &[SeatResult]) -> SeatTally {
        let mut tally = SeatTally::default();
        results.iter().for_each(|&result| tally.note(result));
        tally
    }

    #[test]
    fn an_outage_costs_one_fine_at_most() {
        let away = tally(&[Silent; 64]);
        assert_eq!((away.strikes(), away.fines(2, 3), away.fines(3, 3)), (1, 0, 1));
    }

    #[test]
    fn a_few_late_answers_cost_nothing() {
        let late = tally(&[Right, Silent, Right, Silent]);
        assert_eq!((late.strikes_after(1), late.fines(8, 3)), (0, 0));
        assert_eq!(tally(&[Right, Silent, Silent]).strikes_after(0), 1);
    }

    #[test]
    fn each_lie_is_fined() {
        let liar = tally(&[Right, Wrong, Wrong, Silent, Right, Wrong]);
        assert_eq!((liar.strikes_after(0), liar.strikes_after(1)), (2, 3));
        assert_eq!((liar.fines(2, 3), liar.fines(3, 3)), (0, 3));
    }

    #[test]
    fn lies_in_more_than_a_third_of_the_audits_are_fined() {
        let fines = |period: usize| {
            let audits = (0..60).map(|audit| if audit % period == 0 { Wrong } else { Right });
            let mut strikes = 0;
            let fines = audits.map(|result| {
                let tally = tally(&[result]);
                strikes = tally.strikes_after(strikes);
                tally.fines(strikes, 3)
            });
            fines.sum::<u32>()
        };
        assert_eq!((fines(1), fines(2), fines(3)), (59, 29, 0));
    }

    #[test]
    fn old_strikes_are_forgotten() {
        let strikes = (0..100).fold(0, |strikes, _| tally(&[Wrong]).strikes_after(strikes));
        assert_eq!(strikes, MAX_STRIKES);
        let clean =
            (0..MAX_STRIKES).fold(strikes, |strikes, _| tally(&[Right]).strikes_after(strikes));
        assert_eq!(clean, 0);
    }

    const RESULTS: [SeatResult; 3] = [Right, Wrong, Silent];

    proptest! {
        #[test]
        fn the_order_of_results_decides_nothing(
            results in prop::collection::vec(prop::sample::select(&RESULTS[..]), 1..64),
        ) {
            let back: Vec<_> = results.iter().rev().copied().collect();
            prop_assert_eq!(tally(&results), tally(&back));
        }
    }
}
