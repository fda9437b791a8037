// SPDX-License-Identifier: Apache-2.0

//! Election of authorities: the readiness of candidates over sessions, and the choice among them.
//!
//! An election changes only a part of the set. Newcomers, which have not produced a block yet, are
//! so few that finality continues if none of them runs a node. Authorities that are no longer ready
//! leave at the rate of the faults that finality tolerates, so that a partition empties no set.

use crate::Balance;
use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::cmp::Reverse;
use scale_info::TypeInfo;

/// Number of elections in a row at which a newcomer must be ready before it can be elected: a full
/// session lies between two.
pub const PROBATION: u32 = 2;
/// Longest probation, in elections. Each absence doubles the probation up to this.
pub const MAX_PROBATION: u32 = 1_024;
/// Number of blocks that an authority is expected to produce before it counts as absent without
/// one. An authority that is there produces none of fifteen with a probability of 0.3 millionths.
pub const SILENCE_LIMIT: u32 = 15;
/// Number of blocks by which an authority is behind three quarters of its share when it counts as
/// absent. An authority that is there is never so far behind: its probability is below three in a
/// billion a session of 200 blocks, for any number of authorities.
pub const SHORTFALL_LIMIT: u32 = 30;
/// Part of its share that an authority should at least produce, in thousandths.
const FAIR_PART: u32 = 750;

/// Unit of expected blocks: thousandths of a block.
const THOUSANDTHS: u32 = 1_000;

/// Record of a candidate over the sessions.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub struct Candidacy {
    /// Number of elections in a row at which it was ready.
    pub ready: u32,
    /// Number of those that it needs to be elected.
    pub probation: u32,
    /// `true` if it has produced a block since it was elected.
    pub proven: bool,
    /// Number of blocks that it was expected to produce since its last one, in thousandths.
    pub expected: u32,
    /// Number of blocks by which it is behind three quarters of its share, in thousandths.
    pub shortfall: u32,
    /// `true` if it produced no or too few blocks, until it says that it is back.
    pub absent: bool,
}

impl Candidacy {
    /// Creates the record of a newcomer.
    pub const fn newcomer() -> Self {
        Self {
            ready: 0,
            probation: PROBATION,
            proven: false,
            expected: 0,
            shortfall: 0,
            absent: false,
        }
    }

    /// Creates the record of an authority at genesis, which serves no probation.
    pub const fn founder() -> Self {
        Self { ready: PROBATION, proven: true, ..Self::newcomer() }
    }

    /// Records a session in which the candidate was one of `authorities`, and produced `own` of
    /// `total` blocks. If the candidate is absent from now on, returns the factor of the penalty,
    /// which doubles with each absence as the probation does.
    ///
    /// A slow chain is nobody's absence, since expectations follow the blocks that exist.
    pub fn note_session(&mut self, own: u32, total: u32, authorities: u32) -> Option<u32> {
        if self.absent {
            // It serves only until others may leave, and is found already.
            return None;
        }
        let share = total.saturating_mul(THOUSANDTHS).checked_div(authorities).unwrap_or(0);
        let fair = total.saturating_mul(FAIR_PART).checked_div(authorities).unwrap_or(0);
        let made = own.saturating_mul(THOUSANDTHS);
        self.shortfall = self.shortfall.saturating_add(fair).saturating_sub(made);
        self.expected = if own > 0 { 0 } else { self.expected.saturating_add(share) };
        self.proven |= own > 0;
        let falls = self.expected >= SILENCE_LIMIT.saturating_mul(THOUSANDTHS)
            || self.shortfall >= SHORTFALL_LIMIT.saturating_mul(THOUSANDTHS);
        if !falls {
            return None;
        }
        let factor = self.probation.checked_div(PROBATION);
        *self = Self {
            probation: self.probation.saturating_mul(2).min(MAX_PROBATION),
            absent: true,
            ..Self::newcomer()
        };
        factor
    }

    /// Records if the candidate is ready at an election, and if it serves in the session that
    /// begins.
    pub const fn note_election(&mut self, ready: bool, serves: bool) {
        self.ready = if ready { self.ready.saturating_add(1) } else { 0 };
        if !serves {
            (self.proven, self.expected, self.shortfall) = (false, 0, 0);
        }
    }

    /// Returns the standing of the candidate in an election; none if it cannot be elected.
    pub const fn standing(&self, serves: bool) -> Option<Standing> {
        if self.ready > 0 && self.proven {
            Some(Standing::Proven)
        } else if self.ready > 0 && self.ready >= self.probation {
            Some(Standing::Newcomer)
        } else if serves {
            Some(Standing::Absent)
        } else {
            None
        }
    }
}

/// Standing of a candidate in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It serves, is ready, and has produced a block.
    Proven,
    /// It is ready and has not produced a block yet.
    Newcomer,
    /// It serves and is not ready, so it stays only as long as too many would leave at once.
    Absent,
}

/// Candidate of an election.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<AccountId> {
    /// Account of the candidate.
    pub account: AccountId,
    /// Election weight, `bond × (1 + reputation)`.
    pub weight: Balance,
    /// Standing of the candidate.
    pub standing: Standing,
}

/// Returns the number of authorities that may leave a set of `authorities` at once: the faults that
/// finality tolerates, at least one, but not the last authority.
pub fn tolerance(authorities: usize) -> usize {
    let others = authorities.saturating_sub(1);
    (others / 3).max(others.min(1))
}

/// Returns the number of votes that a motion of the authorities' council needs: two thirds of its
/// `members`.
pub fn votes_needed(members: usize) -> u32 {
    u32::try_from(members.saturating_mul(2).div_ceil(3)).unwrap_or(u32::MAX)
}

/// Elects up to `target` authorities by weight, ties by account, and returns them in account order.
/// `serving` is the number of authorities of the current session.
///
/// At most as many newcomers are elected as finality tolerates faults, at least one. At most
/// [`tolerance`] authorities that serve leave because they are absent. A newcomer takes no place of
/// the last authority that serves.
pub fn elect<AccountId: Ord>(
    candidates: Vec<Candidate<AccountId>>,
    serving: usize,
    target: usize,
) -> Vec<AccountId> {
    let (newcomers, serves): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.standing == Standing::Newcomer);
    let (mut chosen, absent): (Vec<_>, Vec<_>) =
        serves.into_iter().partition(|candidate| candidate.standing == Standing::Proven);
    let proven = chosen.len();
    let stay = serving.saturating_sub(tolerance(serving)).min(target);
    chosen.extend(heaviest(absent, stay.saturating_sub(proven)));
    let tolerated = (proven.saturating_sub(1) / 2).min(target.saturating_sub(1) / 3).max(1);
    let places = target.saturating_sub(stay.min(chosen.len()));
    chosen.extend(heaviest(newcomers, tolerated.min(places)));
    let mut elected: Vec<_> =
        heaviest(chosen, target).into_iter().map(|candidate| candidate.account).collect();
    elected.sort_unstable();
    elected
}

/// Returns the `count` candidates of the highest weight.
fn heaviest<AccountId: Ord>(
    mut candidates: Vec<Candidate<AccountId>>,
    count: usize,
) -> Vec<Candidate<AccountId>> {
    candidates.sort_unstable_by(|a, b| {
        (Reverse(a.weight), &a.account).cmp(&(Reverse(b.weight), &b.account))
    });
    candidates.truncate(count);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Absent, Newcomer, Proven};
    use proptest::prelude::*;

    fn field(candidates: &[(u8, Balance, Standing)]) -> Vec<Candidate<u8>> {
        candidates
            .iter()
            .map(|&(account, weight, standing)| Candidate { account, weight, standing })
            .collect()
    }

    #[test]
    fn a_few_leave_at_once_and_never_the_last() {
        let of = [0, 1, 2, 3, 4, 6, 7, 10, 100].map(tolerance);
        assert_eq!(of, [0, 0, 1, 1, 1, 1, 2, 3, 33]);
    }

    #[test]
    fn a_motion_needs_two_thirds_of_the_council() {
        let needed = [0, 1, 2, 3, 4, 5, 6, 100].map(votes_needed);
        assert_eq!(needed, [0, 1, 2, 2, 3, 4, 4, 67]);
    }

    #[test]
    fn weights_decide_and_ties_go_by_account() {
        let candidates =
            field(&[(1, 10, Proven), (2, 12, Proven), (3, 12, Proven), (4, 11, Proven)]);
        assert_eq!(elect(candidates.clone(), 4, 2), [2, 3]);
        assert_eq!(elect(candidates, 4, 9), [1, 2, 3, 4]);
    }

    #[test]
    fn newcomers_are_fewer_than_the_faults_that_finality_tolerates() {
        let mut candidates = field(&[(1, 1, Proven), (2, 1, Proven), (3, 1, Proven)]);
        candidates.extend(field(&[(8, 90, Newcomer), (9, 99, Newcomer)]));
        assert_eq!(elect(candidates, 3, 22), [1, 2, 3, 9]);
        // The heaviest newcomers replace the lightest of a full set, a third of it at most.
        let mut candidates: Vec<_> = (1..=7).map(|who| (who, who.into(), Proven)).collect();
        candidates.extend((11..=17).map(|who| (who, who.into(), Newcomer)));
        assert_eq!(elect(field(&candidates), 7, 7), [3, 4, 5, 6, 7, 16, 17]);
    }

    #[test]
    fn the_last_authority_is_not_replaced_by_a_newcomer() {
        let candidates = field(&[(1, 1, Absent), (2, 99, Newcomer)]);
        assert_eq!(elect(candidates.clone(), 1, 1), [1]);
        assert_eq!(elect(candidates, 1, 2), [1, 2]);
    }

    #[test]
    fn absent_authorities_leave_a_few_at_a_time() {
        let mut set: Vec<(u8, Balance, Standing)> =
            (1..=7).map(|who| (who, who.into(), if who > 2 { Absent } else { Proven })).collect();
        let mut sizes = Vec::new();
        for _ in 0..5 {
            let elected = elect(field(&set), set.len(), 22);
            set.retain(|(who, ..)| elected.contains(who));
            sizes.push(set.len());
        }
        assert_eq!(sizes, [5, 4, 3, 2, 2]);
        assert_eq!(elect(field(&set), 2, 22), [1, 2]);
    }

    #[test]
    fn silence_counts_by_the_blocks_that_exist() {
        let mut candidacy = Candidacy::founder();
        // A hundred authorities: two blocks a session are expected of each.
        for _ in 0..7 {
            assert_eq!(candidacy.note_session(0, 200, 100), None);
        }
        assert_eq!(candidacy.note_session(0, 200, 100), Some(1));
        assert!(candidacy.absent && !candidacy.proven);
        assert_eq!(candidacy.probation, 2 * PROBATION);
        // It is reported once, and the next absence has twice the penalty.
        assert_eq!(candidacy.note_session(0, 200, 1), None);
        candidacy.absent = false;
        assert_eq!(candidacy.note_session(0, 200, 4), Some(2));
        // A session without blocks is nobody's absence, and a block ends the silence.
        let mut candidacy = Candidacy::founder();
        assert_eq!(candidacy.note_session(0, 0, 3), None);
        assert_eq!(candidacy.note_session(0, 27, 3), None);
        assert_eq!(candidacy.note_session(5, 27, 3), None);
        assert_eq!(candidacy.expected, 0);
        assert_eq!(candidacy.note_session(0, 200, 3), Some(1));
    }

    #[test]
    fn whoever_makes_fewer_blocks_than_three_quarters_of_its_share_is_absent_in_the_end() {
        let sessions = |own| {
            let mut candidacy = Candidacy::founder();
            (1..1_000).find(|_| candidacy.note_session(own, 200, 4).is_some())
        };
        // Its share is 50 blocks a session, and three quarters of it are 37.5.
        assert_eq!([0, 1, 5, 20, 36].map(sessions), [1, 1, 1, 2, 20].map(Some));
        assert_eq!([38, 50, 100].map(sessions), [None; 3]);
        // Blocks beyond the share buy no silence later.
        let mut candidacy = Candidacy::founder();
        assert_eq!(candidacy.note_session(200, 200, 4), None);
        assert_eq!(candidacy.note_session(1, 200, 4), Some(1));
    }

    #[test]
    fn whoever_is_back_is_not_charged_for_the_time_of_its_absence() {
        let mut candidacy = Candidacy::founder();
        // One of 22 falls in the second session. It stays for a few more, since others leave first.
        let fell = (0..7).filter_map(|_| candidacy.note_session(0, 200, 22)).collect::<Vec<_>>();
        assert_eq!(fell, [1]);
        candidacy.absent = false;
        // It is back, and makes its whole share.
        assert!((0..20).all(|_| candidacy.note_session(9, 200, 22).is_none()));
    }

    #[test]
    fn whoever_is_there_is_not_absent() {
        for authorities in [3, 4, 10, 22, 100] {
            let mut prf = crate::prf::Prf::new("authors", &[7; 32], &[&[authorities as u8]]);
            let mut candidacy = Candidacy::founder();
            for _ in 0..2_000 {
                let own = (0..200).filter(|_| prf.below(authorities) == 0).count() as u32;
                assert_eq!(candidacy.note_session(own, 200, authorities), None);
            }
        }
    }

    #[test]
    fn a_newcomer_is_ready_at_two_elections_before_it_is_elected() {
        let mut candidacy = Candidacy::newcomer();
        candidacy.note_election(true, false);
        assert_eq!(candidacy.standing(false), None);
        candidacy.note_election(false, false);
        candidacy.note_election(true, false);
        assert_eq!(candidacy.standing(false), None);
        candidacy.note_election(true, false);
        assert_eq!(candidacy.standing(false), Some(Newcomer));
        // It serves, and then has proven itself.
        candidacy.note_election(true, true);
        assert_eq!(candidacy.standing(true), Some(Newcomer));
        assert_eq!(candidacy.note_session(47, 200, 4), None);
        candidacy.note_election(true, true);
        assert_eq!(candidacy.standing(true), Some(Proven));
        candidacy.note_election(false, true);
        assert_eq!(candidacy.standing(true), Some(Absent));
        candidacy.note_election(true, false);
        assert!(!candidacy.proven);
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate<u8>>> {
        let standing = prop_oneof![Just(Proven), Just(Newcomer), Just(Absent)];
        prop::collection::btree_map(any::<u8>(), (0u128..50, standing), 1..40).prop_map(|all| {
            all.into_iter()
                .map(|(account, (weight, standing))| Candidate { account, weight, standing })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn elections_keep_their_promises(
            all in candidates(),
            extra in 0usize..3,
            target in 1usize..40,
            turn in any::<prop::sample::Index>(),
        ) {
            let count = |standing| all.iter().filter(|one| one.standing == standing).count();
            let (proven, absent) = (count(Proven), count(Absent));
            let serving = proven + absent + extra;
            let elected = elect(all.clone(), serving, target);
            let mut turned = all.clone();
            turned.rotate_left(turn.index(all.len()));
            prop_assert_eq!(&elected, &elect(turned, serving, target), "the order decides");
            prop_assert!(!elected.is_empty() && elected.len() <= target);
            prop_assert!(elected.is_sorted());
            let chosen = |standing| {
                all.iter()
                    .filter(move |one| one.standing == standing)
                    .filter(|one| elected.contains(&one.account))
            };
            let new = chosen(Newcomer).count();
            prop_assert!(new <= 1.max((proven.saturating_sub(1) / 2).min((target - 1) / 3)));
            let stay = (serving - tolerance(serving)).min(target).min(proven + absent);
            prop_assert!(elected.len() - new >= stay, "too many left at once");
            // In each standing the heavier ones are elected.
            for standing in [Proven, Newcomer, Absent] {
                let lightest = chosen(standing).map(|one| one.weight).min();
                let left = all
                    .iter()
                    .filter(|one| one.standing == standing && !elected.contains(&one.account));
                let heaviest = left.map(|one| one.weight).max();
                prop_assert!(heaviest.is_none() || lightest.is_none() || heaviest <= lightest);
            }
        }

        #[test]
        fn records_stay_within_their_bounds(
            sessions in prop::collection::vec(any::<(bool, u32, u32, bool)>(), 0..60),
        ) {
            let mut candidacy = Candidacy::newcomer();
            for (authored, total, authorities, serves) in sessions {
                let (own, before) = (u32::from(authored), candidacy);
                let fell = candidacy.note_session(own, total, authorities);
                prop_assert_eq!(fell.is_some(), candidacy.absent && !before.absent);
                prop_assert!(fell.is_none_or(|factor| factor == before.probation / PROBATION));
                prop_assert!(!(candidacy.absent && candidacy.proven));
                candidacy.note_election(!candidacy.absent, serves);
                prop_assert!((PROBATION..=MAX_PROBATION).contains(&candidacy.probation));
            }
        }
    }
}
