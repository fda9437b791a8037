// SPDX-License-Identifier: Apache-2.0

//! Results of validators' seats in the audits of a round.

use super::Verdict;
use alloc::collections::BTreeMap;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// Largest number of strikes. A validator that works again is rid of them after as many rounds,
/// however long it was away.
pub const MAX_STRIKES: u32 = 8;
/// Largest number of wrong findings of a round that are fined. A machine that breaks does not cost
/// the whole bond before anybody notices.
pub const MAX_FINES: u32 = 8;

/// Result of a seat by the decision of its case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatResult {
    /// The seat found what was decided.
    Right,
    /// The seat found that training ended elsewhere, or did not find it.
    Wrong,
    /// The seat found nothing: it revealed nothing, could not compare, or reports states as
    /// unavailable that others had. A trainer that serves only some seats can bring that about.
    Silent,
}

impl SeatResult {
    /// Returns the result of a seat that is right or not, and has this opinion.
    pub fn new(is_right: bool, opinion: Option<Verdict>) -> Self {
        match opinion {
            _ if is_right => Self::Right,
            Some(Verdict::Valid | Verdict::Invalid) => Self::Wrong,
            Some(Verdict::Withheld | Verdict::Unresolved) | None => Self::Silent,
        }
    }

    /// Returns one result for each account, whatever seats it had in both draws of an update.
    pub fn by_account<AccountId: Ord>(
        results: impl Iterator<Item = (AccountId, Self)>,
    ) -> BTreeMap<AccountId, Self> {
        let mut accounts = BTreeMap::new();
        for (account, result) in results {
            let entry = accounts.entry(account).or_insert(result);
            *entry = entry.and(result);
        }
        accounts
    }

    /// Returns the result of an account with two seats. A wrong finding is not made good by a right
    /// one, since it has made others work.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Wrong, _) | (_, Self::Wrong) => Self::Wrong,
            (Self::Right, _) | (_, Self::Right) => Self::Right,
            (Self::Silent, Self::Silent) => Self::Silent,
        }
    }
}

/// Results of a validator's seats on the decided updates of one round.
///
/// They are judged together. So the order in which updates are settled decides nothing, and an
/// outage costs the same however many updates it hits. A wrong finding is a lie or the work of a
/// broken machine, and each of them makes others work, so it is fined at once. Silence is a strike.
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
    /// Number of updates about which the validator was right.
    pub right: u16,
    /// Number of updates about which its finding was wrong.
    pub wrong: u16,
    /// Number of updates about which it revealed nothing.
    pub silent: u16,
}

impl SeatTally {
    /// Adds the result of the seats on an update.
    pub fn note(&mut self, result: SeatResult) {
        let count = match result {
            SeatResult::Right => &mut self.right,
            SeatResult::Wrong => &mut self.wrong,
            SeatResult::Silent => &mut self.silent,
        };
        *count = count.saturating_add(1);
    }

    /// Returns `true` if the validator was silent about more updates than it was right about.
    pub fn is_strike(&self) -> bool {
        self.silent > self.right
    }

    /// Returns `true` if the validator did what its seats are for.
    pub fn is_good(&self) -> bool {
        self.wrong == 0 && !self.is_strike()
    }

    /// Returns the strikes of a validator that had `before`. A tally without one takes one away.
    pub fn strikes_after(&self, before: u32) -> u32 {
        if self.is_strike() {
            before.saturating_add(1).min(MAX_STRIKES)
        } else {
            before.min(MAX_STRIKES).saturating_sub(1)
        }
    }

    /// Returns the number of fines for a tally after which the validator has `strikes`: one for
    /// each wrong finding, and one for a strike from `limit` on.
    pub fn fines(&self, strikes: u32, limit: u32) -> u32 {
        let silence = self.is_strike() && strikes >= limit;
        u32::from(self.wrong).min(MAX_FINES).saturating_add(silence.into())
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
    fn only_findings_about_training_can_be_wrong() {
        let results = [Some(Verdict::Valid), Some(Verdict::Invalid), Some(Verdict::Withheld), None]
            .map(|opinion| SeatResult::new(false, opinion));
        assert_eq!(results, [Wrong, Wrong, Silent, Silent]);
        assert_eq!(SeatResult::new(true, Some(Verdict::Withheld)), Right);
    }

    #[test]
    fn a_lie_is_not_made_good_by_the_truth() {
        assert_eq!((Wrong.and(Right), Right.and(Wrong), Wrong.and(Silent)), (Wrong, Wrong, Wrong));
        assert_eq!((Right.and(Silent), Silent.and(Right)), (Right, Right));
        assert_eq!(Silent.and(Silent), Silent);
    }

    #[test]
    fn an_outage_costs_one_fine_at_most() {
        let away = tally(&[Silent; 64]);
        assert_eq!((away.strikes_after(2), away.fines(2, 3), away.fines(3, 3)), (3, 0, 1));
        assert!(!away.is_good());
    }

    #[test]
    fn a_few_late_answers_cost_nothing() {
        let late = tally(&[Right, Silent, Right, Silent]);
        assert_eq!((late.strikes_after(1), late.fines(8, 3), late.is_good()), (0, 0, true));
        assert_eq!(tally(&[Right, Silent, Silent]).strikes_after(0), 1);
    }

    #[test]
    fn each_lie_is_fined() {
        let liar = tally(&[Right, Wrong, Wrong, Silent, Right, Wrong]);
        assert_eq!((liar.strikes_after(0), liar.fines(0, 3), liar.is_good()), (0, 3, false));
        assert_eq!(tally(&[Wrong; 64]).fines(0, 3), MAX_FINES);
    }

    #[test]
    fn old_strikes_are_forgotten() {
        let after = |before, result| tally(&[result]).strikes_after(before);
        assert_eq!((0..100).fold(0, |strikes, _| after(strikes, Silent)), MAX_STRIKES);
        assert_eq!((0..MAX_STRIKES).fold(MAX_STRIKES, |strikes, _| after(strikes, Right)), 0);
        assert_eq!(after(1_000, Right), MAX_STRIKES - 1);
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
