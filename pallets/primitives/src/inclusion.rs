// SPDX-License-Identifier: Apache-2.0

//! Inclusion of updates by the validators that hold them.
//!
//! In the hold phase each validator reports the revealed updates that it has fetched and found
//! sound. [`StakeCount`] adds up the stake behind each, and what enough of the stake holds is
//! included. Nobody proposes anything, so nobody can propose wrongly.
//!
//! If liars have at most 33 % of the counted stake, three things hold whatever they report. An
//! update that all honest validators hold is included. One that none of them holds is not. And the
//! liars cannot keep the count open, since honest reports alone decide it.
//!
//! Newcomers count once they act. Until then the others decide only with a third of all stake, so
//! that a small rest of it does not decide alone while most of the stake is new.

use crate::{
    Balance, BoundedVec, ConstU32, MAX_VALIDATORS,
    round::{is_quorum, is_third},
    submission::RevealSet,
};
use alloc::{collections::BTreeSet, vec::Vec};
use codec::{Decode, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

/// A validator in a count.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Voter<AccountId> {
    /// Account of the validator.
    pub account: AccountId,
    /// Stake of the validator when the count began.
    pub stake: Balance,
    /// `true` if the stake is part of the whole. That of a newcomer is not until it acts.
    pub counts: bool,
    /// Reveals that the validator holds; `None` before it acts in this count.
    pub held: Option<RevealSet>,
}

/// Reasons to refuse a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidReport {
    /// The account had no stake when the count began.
    NotAVoter,
    /// The report names no more reveals than the account's last one, or leaves one out.
    NotMore,
}

/// Stakes as they were when a count began, with the reports since.
///
/// Stakes that change during the count change neither its parts nor its whole.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct StakeCount<AccountId>(BoundedVec<Voter<AccountId>, ConstU32<MAX_VALIDATORS>>);

impl<AccountId> Default for StakeCount<AccountId> {
    fn default() -> Self {
        Self(BoundedVec::new())
    }
}

impl<AccountId: Ord> StakeCount<AccountId> {
    /// Begins a count of `stakes`. The stake of `newcomers`, which are sorted and have never acted,
    /// is left out of the whole until they do. If nobody has ever acted, all count.
    pub fn new(stakes: Vec<(AccountId, Balance)>, newcomers: &[AccountId]) -> Self {
        let mut count = Self::default();
        count.refresh(stakes, newcomers);
        count
    }

    /// Replaces the validators that have not acted in this count by those of now, as long as there
    /// are places, as if the count began without the others. These keep their stakes.
    pub fn refresh(&mut self, stakes: Vec<(AccountId, Balance)>, newcomers: &[AccountId]) {
        self.0.retain(|voter| voter.held.is_some());
        let acted: BTreeSet<&AccountId> = self.0.iter().map(|voter| &voter.account).collect();
        let others: Vec<_> =
            stakes.into_iter().filter(|(account, _)| !acted.contains(account)).collect();
        let is_new = |account: &AccountId| newcomers.binary_search(account).is_ok();
        let nobody_acted = others.iter().all(|(account, _)| is_new(account));
        for (account, stake) in others {
            let counts = nobody_acted || !is_new(&account);
            if self.0.try_push(Voter { account, stake, counts, held: None }).is_err() {
                break;
            }
        }
    }

    /// Returns the validators of the count.
    pub fn voters(&self) -> &[Voter<AccountId>] {
        &self.0
    }

    /// Returns the stake of those that count.
    pub fn whole(&self) -> Balance {
        self.sum(|voter| voter.counts)
    }

    /// Returns `true` if `part` makes a head, or ends the count: it is a quorum of those that
    /// count, and at least a third of all stake, newcomers included.
    pub fn suffices(&self, part: Balance) -> bool {
        is_quorum(part, self.whole()) && self.is_third(part)
    }

    fn is_third(&self, part: Balance) -> bool {
        is_third(part, self.sum(|_| true))
    }

    /// Returns the stake that has reported.
    pub fn reported(&self) -> Balance {
        self.sum(|voter| voter.held.is_some())
    }

    /// Returns the stake that holds the reveal at `index`.
    pub fn holding(&self, index: u8) -> Balance {
        self.sum(|voter| voter.held.as_ref().is_some_and(|held| held.contains(index)))
    }

    fn sum(&self, counted: impl Fn(&Voter<AccountId>) -> bool) -> Balance {
        let counted = self.0.iter().filter(|voter| counted(voter));
        counted.fold(0, |sum: Balance, voter| sum.saturating_add(voter.stake))
    }

    /// Notes that the account acts, so that its stake counts. Returns the stake, or `None` if it
    /// had none when the count began.
    pub fn act(&mut self, account: &AccountId) -> Option<Balance> {
        let voter = self.0.iter_mut().find(|voter| voter.account == *account)?;
        voter.counts = true;
        voter.held.get_or_insert_default();
        Some(voter.stake)
    }

    /// Notes the reveals that the account holds. A later report adds to the earlier one.
    ///
    /// # Errors
    ///
    /// Fails with [`InvalidReport`], and then changes nothing.
    pub fn report(&mut self, account: &AccountId, held: RevealSet) -> Result<(), InvalidReport> {
        let voter = self.0.iter_mut().find(|voter| voter.account == *account);
        let voter = voter.ok_or(InvalidReport::NotAVoter)?;
        let is_more = voter.held.as_ref().is_none_or(|before| {
            before.len() < held.len() && before.indices().all(|index| held.contains(index))
        });
        if !is_more {
            return Err(InvalidReport::NotMore);
        }
        voter.counts = true;
        voter.held = Some(held);
        Ok(())
    }

    /// Returns `true` if waiting for further reports cannot help the round: all that count have
    /// reported, or a quorum holds each of the `revealed` reveals. A third of all stake must have
    /// reported.
    pub fn is_decided(&self, revealed: u32) -> bool {
        let whole = self.whole();
        let reported = self.reported();
        let all_held = || indices(revealed).all(|index| is_quorum(self.holding(index), whole));
        whole > 0 && self.is_third(reported) && (reported >= whole || all_held())
    }

    /// Returns the set to include of the `revealed` reveals: what more than half of the stake
    /// holds. Once an attempt of the round has failed, a quorum has to hold it.
    pub fn included(&self, revealed: u32, attempt: u8) -> RevealSet {
        let whole = self.whole();
        RevealSet::from_indices(indices(revealed).filter(|&index| {
            let part = self.holding(index);
            if attempt == 0 { part > whole.saturating_sub(part) } else { is_quorum(part, whole) }
        }))
    }
}

/// Returns the indices of `revealed` reveals.
fn indices(revealed: u32) -> impl Iterator<Item = u8> {
    (0..=u8::MAX).take_while(move |&index| u32::from(index) < revealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(indices: &[u8]) -> RevealSet {
        RevealSet::from_indices(indices.iter().copied())
    }

    /// Returns the account, the stake, and if it counts, of each voter.
    fn voters(count: &StakeCount<u8>) -> Vec<(u8, Balance, bool)> {
        let voters = count.voters().iter();
        voters.map(|voter| (voter.account, voter.stake, voter.counts)).collect()
    }

    #[test]
    fn whoever_comes_into_a_first_count_counts_and_who_acted_keeps_its_stake() {
        let mut count = StakeCount::new(vec![(5, 10), (8, 70)], &[5, 8]);
        assert_eq!(count.act(&5), Some(10));
        // One has left before it acted.
        count.refresh(vec![(2, 40), (5, 99), (7, 30)], &[2, 7]);
        assert_eq!(voters(&count), [(5, 10, true), (2, 40, true), (7, 30, true)]);
        assert_eq!(count.act(&8), None);
        assert!(!count.suffices(50), "whoever acts first does not decide alone");
        // One has left after it acted.
        count.refresh(vec![(3, 20), (7, 70)], &[3, 7]);
        assert_eq!(voters(&count), [(5, 10, true), (3, 20, true), (7, 70, true)]);
        assert!(!count.suffices(66) && count.suffices(67));
    }

    #[test]
    fn newcomers_wait_beside_others_until_they_act() {
        let founders = [(1, 30), (4, 30), (6, 30)];
        let mut count = StakeCount::new(founders[..1].to_vec(), &[]);
        let present = [&founders[..], &[(7, 60)]].concat();
        for (account, stake) in founders {
            count.refresh(present.clone(), &[7]);
            assert_eq!((count.act(&account), count.whole()), (Some(stake), 90));
        }
        assert!(count.suffices(90) && !count.suffices(49), "a third of all is needed too");
        count.refresh(present, &[7]);
        assert_eq!((count.act(&7), count.whole()), (Some(60), 150));
    }

    #[test]
    fn a_full_count_keeps_its_voters() {
        let stakes = |accounts: core::ops::Range<u32>| -> Vec<(u32, Balance)> {
            accounts.map(|account| (account, 1)).collect()
        };
        let mut count = StakeCount::new(stakes(5..MAX_VALIDATORS + 4), &[]);
        for account in 5..MAX_VALIDATORS + 4 {
            count.act(&account);
        }
        count.refresh(stakes(0..MAX_VALIDATORS + 9), &[]);
        assert_eq!((count.voters().len(), count.act(&0)), (MAX_VALIDATORS as usize, Some(1)));
        assert_eq!((count.act(&1), count.act(&(MAX_VALIDATORS + 3))), (None, Some(1)));
    }

    fn count(stakes: &[Balance], newcomers: &[usize]) -> StakeCount<usize> {
        StakeCount::new(stakes.iter().copied().enumerate().collect(), newcomers)
    }

    #[test]
    fn more_than_half_of_the_stake_includes_and_a_quorum_ends_the_count() {
        let mut count = count(&[34, 16, 50], &[]);
        assert_eq!((count.whole(), count.is_decided(2)), (100, false));
        count.report(&2, set(&[0, 1])).unwrap();
        assert!(count.included(2, 0).is_empty(), "half is not more than half");
        count.report(&1, set(&[0])).unwrap();
        assert_eq!(count.included(2, 0), set(&[0]));
        assert!(count.included(2, 1).is_empty(), "66 of 100 are no quorum");
        assert!(!count.is_decided(2));
        count.report(&0, set(&[])).unwrap();
        assert!(count.is_decided(2), "all have reported");
        count.report(&0, set(&[0, 1])).unwrap();
        assert_eq!((count.included(2, 0), count.included(2, 1)), (set(&[0, 1]), set(&[0, 1])));
    }

    #[test]
    fn a_count_without_stake_includes_nothing() {
        let count = StakeCount::<usize>::default();
        assert!(!count.is_decided(0) && !count.is_decided(3));
        assert!(count.included(3, 0).is_empty() && count.included(3, 1).is_empty());
    }

    #[test]
    fn reports_only_grow() {
        let mut count = count(&[1, 1], &[]);
        assert_eq!(count.report(&2, set(&[])), Err(InvalidReport::NotAVoter));
        count.report(&0, set(&[])).unwrap();
        assert_eq!(count.report(&0, set(&[])), Err(InvalidReport::NotMore));
        count.report(&0, set(&[3])).unwrap();
        for other in [set(&[]), set(&[3]), set(&[4]), set(&[4, 5])] {
            assert_eq!(count.report(&0, other), Err(InvalidReport::NotMore));
        }
        count.report(&0, set(&[3, 4])).unwrap();
        assert_eq!((count.holding(3), count.holding(4), count.holding(5)), (1, 1, 0));
    }

    #[test]
    fn a_newcomer_counts_on_both_sides_once_it_acts() {
        let mut newcomer = count(&[60, 40], &[1]);
        assert_eq!(newcomer.whole(), 60);
        assert_eq!((newcomer.act(&1), newcomer.whole()), (Some(40), 100));
        assert_eq!(newcomer.act(&2), None);
        assert_eq!(count(&[60, 40], &[0, 1]).whole(), 100, "nobody has acted, so all count");
    }

    #[test]
    fn a_small_rest_of_the_stake_decides_nothing_alone() {
        for (newcomer, decides) in [(0, true), (20, true), (21, false), (1_000, false)] {
            let mut count = count(&[10, newcomer], &[1]);
            count.report(&0, set(&[0])).unwrap();
            let decided = (count.is_decided(1), count.suffices(10));
            assert_eq!(decided, (decides, decides), "{newcomer}");
        }
        let mut count = count(&[10, 21], &[1]);
        count.report(&1, set(&[0])).unwrap();
        assert!(count.is_decided(1) && count.suffices(21), "67 % of all");
        assert!(!count.suffices(20) && !StakeCount::<usize>::default().suffices(0));
    }

    /// Reveals of the round.
    const REVEALS: u8 = 5;

    /// Honest validators, liars with at most 33 % of the stake, and idle newcomers with no more
    /// than all of them.
    #[derive(Clone, Debug)]
    struct Network {
        honest: Vec<(Balance, Vec<u8>)>,
        liars: Vec<(Balance, Option<Vec<u8>>)>,
        idle: Vec<Balance>,
    }

    impl Network {
        fn honest_stake(&self) -> Balance {
            self.honest.iter().map(|(stake, _)| stake).sum()
        }

        fn liar_stake(&self) -> Balance {
            self.liars.iter().map(|(stake, _)| stake).sum()
        }

        /// Returns the count after all reports. Liars may stay silent.
        fn count(&self) -> StakeCount<usize> {
            let stakes = self.honest.iter().map(|(stake, _)| *stake);
            let stakes = stakes.chain(self.liars.iter().map(|(stake, _)| *stake));
            let stakes: Vec<_> = stakes.chain(self.idle.iter().copied()).enumerate().collect();
            let newcomers: Vec<usize> =
                (self.honest.len() + self.liars.len()..stakes.len()).collect();
            let mut count = StakeCount::new(stakes, &newcomers);
            for (at, (_, held)) in self.honest.iter().enumerate() {
                count.report(&at, set(held)).unwrap();
            }
            for (at, (_, held)) in (self.honest.len()..).zip(&self.liars) {
                if let Some(held) = held {
                    count.report(&at, set(held)).unwrap();
                }
            }
            count
        }

        /// Returns the stake of the honest validators that hold the reveal.
        fn honest_holding(&self, index: u8) -> Balance {
            let holders = self.honest.iter().filter(|(_, held)| held.contains(&index));
            holders.map(|(stake, _)| stake).sum()
        }
    }

    /// Stakes with a heavy tail: magnitudes of ten differ by up to five.
    fn stake() -> impl Strategy<Value = Balance> {
        (1u128..1_000, 0u32..6).prop_map(|(digits, zeros)| digits * 10u128.pow(zeros))
    }

    fn network() -> impl Strategy<Value = Network> {
        let held = || prop::collection::vec(0..REVEALS, 0..8);
        let honest = prop::collection::vec((stake(), held()), 1..12);
        let liars = prop::collection::vec((stake(), prop::option::of(held())), 0..8);
        let idle = prop::collection::vec(stake(), 0..4);
        (honest, liars, idle).prop_map(|(honest, liars, idle)| {
            let mut network = Network { honest, liars, idle };
            // Liars leave until they have at most 33 %.
            while network.liar_stake() * 67 > network.honest_stake() * 33 {
                network.liars.pop();
            }
            let acting = network.honest_stake() + network.liar_stake();
            while network.idle.iter().sum::<Balance>() > acting {
                network.idle.pop();
            }
            network
        })
    }

    proptest! {
        #[test]
        fn liars_leave_out_nothing_that_the_honest_hold(network in network(), attempt in 0u8..2) {
            let included = network.count().included(REVEALS.into(), attempt);
            for index in 0..REVEALS {
                if network.honest_holding(index) == network.honest_stake() {
                    prop_assert!(included.contains(index));
                }
            }
        }

        #[test]
        fn liars_put_in_nothing_that_the_honest_do_not_hold(
            network in network(), attempt in 0u8..2,
        ) {
            let (count, whole) = (network.count(), network.count().whole());
            for index in count.included(REVEALS.into(), attempt).indices() {
                // It can be fetched from honest validators with a sixth, then a third of the stake.
                let percent = if attempt == 0 { 17 } else { 34 };
                prop_assert!(network.honest_holding(index) * 100 >= whole * percent);
            }
        }

        #[test]
        fn the_honest_alone_end_the_count_and_make_the_head(network in network()) {
            let all: Vec<u8> = (0..REVEALS).collect();
            let mut network = network;
            network.honest.iter_mut().for_each(|(_, held)| *held = all.clone());
            let count = network.count();
            prop_assert!(count.is_decided(REVEALS.into()));
            prop_assert!(count.suffices(network.honest_stake()));
            prop_assert_eq!(count.included(REVEALS.into(), 0), set(&all));
        }

        #[test]
        fn idle_newcomers_change_nothing(network in network(), attempt in 0u8..2) {
            let without = Network { idle: Vec::new(), ..network.clone() }.count();
            let with = network.count();
            prop_assert_eq!(with.whole(), without.whole());
            let of = |count: &StakeCount<usize>| {
                (count.is_decided(REVEALS.into()), count.included(REVEALS.into(), attempt))
            };
            prop_assert_eq!(of(&with), of(&without));
        }

        #[test]
        fn what_suffices_is_a_quorum_and_a_third_of_all(network in network(), part in stake()) {
            let count = network.count();
            let all: Balance = count.voters().iter().map(|voter| voter.stake).sum();
            let expected = is_quorum(part, count.whole()) && part * 3 >= all;
            prop_assert_eq!(count.suffices(part), expected);
        }

        #[test]
        fn parts_never_exceed_the_whole(network in network()) {
            let count = network.count();
            for index in 0..REVEALS {
                prop_assert!(count.holding(index) <= count.whole());
            }
        }
    }
}
