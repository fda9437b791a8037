// SPDX-License-Identifier: Apache-2.0

//! Phases of a round and their lengths.
//!
//! The chain calls [`Round::transition`] once per block. The function depends on its arguments
//! only, so simulations of thousands of trainers use it too.

use crate::{Balance, Hash, MAX_SUBMISSIONS, RoundNumber, submission::RevealSet};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Longest phase of a round or stage of an audit in blocks: a week of blocks of three seconds. One
/// member that says nothing holds the others up for so long, and a deadline stays as it began.
pub const MAX_LENGTH: BlockNumber = 201_600;

/// Height of a block.
pub type BlockNumber = u32;

/// Phase of a round, in the order in which phases follow each other.
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
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The network pauses: there is no recipe, no data to lease, or the next round opens soon.
    /// Usually this phase lasts one block.
    #[default]
    #[codec(index = 0)]
    Idle,
    /// Trainers join, lease data, train and commit to their updates.
    #[codec(index = 1)]
    Train,
    /// Trainers open their commitments; validators fetch the payloads.
    #[codec(index = 2)]
    Reveal,
    /// Validators report the updates that they hold, which decides what the next head includes.
    #[codec(index = 3)]
    Hold,
    /// Validators agree on the next head.
    #[codec(index = 4)]
    Attest,
}

/// Maximum lengths of the phases in blocks. A phase ends early when every account it waits for has
/// acted.
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
    Serialize,
    Deserialize,
)]
pub struct RoundConfig {
    /// Blocks from the first lease of a round until joining closes.
    pub join: BlockNumber,
    /// Blocks from the first lease of a round until commitments close; greater than `join`.
    pub train: BlockNumber,
    /// Blocks for opening commitments.
    pub reveal: BlockNumber,
    /// Blocks for reporting the updates that validators hold.
    pub hold: BlockNumber,
    /// Blocks for agreeing on the next head.
    pub attest: BlockNumber,
    /// Blocks between a round that attested a model without training, in vain, and the next try.
    pub pause: BlockNumber,
    /// Number of attest phases that a validator may miss in a row before any account may chill it.
    pub missed: u32,
}

impl RoundConfig {
    /// Returns `true` if every length is positive and at most [`MAX_LENGTH`], and the lengths are
    /// consistent.
    pub fn is_valid(&self) -> bool {
        let Self { join, train, reveal, hold, attest, pause, missed } = *self;
        let is_within = |length: &u32| (1..=MAX_LENGTH).contains(length);
        [join, train, reveal, hold, attest, pause, missed].iter().all(is_within) && join < train
    }
}

impl Default for RoundConfig {
    /// Returns lengths for a local network with a block time of three seconds.
    fn default() -> Self {
        Self { join: 3, train: 100, reveal: 20, hold: 20, attest: 60, pause: 15, missed: 3 }
    }
}

/// The current round.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
pub struct Round {
    /// Number of the round. Void rounds are counted too.
    pub number: RoundNumber,
    /// Current phase.
    pub phase: Phase,
    /// Randomness drawn after the previous head.
    #[serde(with = "crate::hex_hash")]
    pub seed: Hash,
    /// Root of the head that this round starts from.
    #[serde(with = "crate::hex_hash")]
    pub base_root: Hash,
    /// Block in which the round opened.
    pub opened_at: BlockNumber,
    /// Block in which the phase began.
    pub phase_since: BlockNumber,
    /// Last block in which trainers may join; `None` until the first one has joined.
    pub join_until: Option<BlockNumber>,
    /// First block after the phase; `None` while the round waits for its first lease.
    pub deadline: Option<BlockNumber>,
    /// Number of leases due in this round.
    pub due: u32,
    /// Number of commitments received.
    pub committed: u32,
    /// Number of commitments opened.
    pub revealed: u32,
    /// Stake of the count under way: of validators that count, as it was when the count began.
    pub stake: Balance,
    /// Set if further reports cannot help the hold phase, so that it ends.
    pub decided: bool,
    /// Number of attest phases of this round that ended without a head.
    pub attempt: u8,
    /// Reveals that the next head includes; empty until the attest phase.
    pub included: RevealSet,
    /// [`head_inputs`](crate::head::head_inputs) of the next head; zeros until the attest phase.
    #[serde(with = "crate::hex_hash")]
    pub inputs: Hash,
}

/// Change of the round at a block.
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
pub enum Transition {
    /// The phase goes on.
    Stay,
    /// A new phase begins, with the given deadline.
    Enter(Phase, BlockNumber),
    /// The round ends without a head.
    Void,
}

impl Round {
    /// Returns `true` if a trainer may join at block `now`.
    pub fn is_joinable(&self, now: BlockNumber) -> bool {
        self.phase == Phase::Train && self.join_until.is_none_or(|last| now <= last)
    }

    /// Returns `true` if all places are taken at block `now`, and trainers may still join, so that
    /// places can be lost.
    pub fn is_contested(&self, now: BlockNumber) -> bool {
        self.due >= MAX_SUBMISSIONS && self.is_joinable(now)
    }

    /// Counts a lease that is due in this round. The first one sets the deadline of the train
    /// phase.
    pub fn count_due_lease(&mut self, config: &RoundConfig, now: BlockNumber) {
        self.due = self.due.saturating_add(1);
        if self.join_until.is_none() {
            self.join_until = Some(now.saturating_add(config.join));
            self.deadline = Some(now.saturating_add(config.train));
        }
    }

    /// Records a lease that is due in a later round. It sets a deadline, so that this round ends
    /// even without a lease of its own.
    pub fn note_later_lease(&mut self, config: &RoundConfig, now: BlockNumber) {
        if self.deadline.is_none() {
            self.deadline = Some(now.saturating_add(config.train));
        }
    }

    /// Returns the change of the round at block `now`.
    pub fn transition(&self, config: &RoundConfig, now: BlockNumber) -> Transition {
        let over = self.deadline.is_some_and(|deadline| now >= deadline);
        let joined = self.join_until.is_some_and(|last| now > last);
        match self.phase {
            Phase::Idle => Transition::Stay,
            Phase::Train if over || (joined && self.committed >= self.due) => {
                if self.committed == 0 {
                    Transition::Void
                } else {
                    Transition::Enter(Phase::Reveal, now.saturating_add(config.reveal))
                }
            }
            Phase::Reveal if over || self.revealed >= self.committed => {
                if self.revealed == 0 {
                    Transition::Void
                } else {
                    Transition::Enter(Phase::Hold, now.saturating_add(config.hold))
                }
            }
            Phase::Hold if over || self.decided => {
                Transition::Enter(Phase::Attest, now.saturating_add(config.attest))
            }
            // An included update that too few could fetch is left out of the second attempt.
            Phase::Attest if over && self.attempt == 0 && !self.attests_only() => {
                Transition::Enter(Phase::Hold, now.saturating_add(config.hold))
            }
            Phase::Attest if over => Transition::Void,
            Phase::Train | Phase::Reveal | Phase::Hold | Phase::Attest => Transition::Stay,
        }
    }

    /// Returns `true` if the round attests a model without training: the first model of a network,
    /// or a rewritten one.
    pub fn attests_only(&self) -> bool {
        self.phase == Phase::Attest && self.revealed == 0
    }
}

/// Least share of the stake that is a quorum, in percent.
pub const QUORUM_PERCENT: u32 = 67;

/// Returns `true` if `part` is a quorum of `whole`: at least [`QUORUM_PERCENT`] of it.
pub fn is_quorum(part: Balance, whole: Balance) -> bool {
    whole > 0 && part.saturating_mul(100) >= whole.saturating_mul(QUORUM_PERCENT.into())
}

/// Returns `true` if `part` is at least a third of `whole`. So much of all stake decides by itself
/// if the rest has never acted.
pub(crate) fn is_third(part: Balance, whole: Balance) -> bool {
    part.saturating_mul(3) >= whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round(phase: Phase) -> Round {
        Round { phase, deadline: Some(100), join_until: Some(10), due: 2, ..Default::default() }
    }

    #[test]
    fn a_round_waits_for_its_first_trainer() {
        let config = RoundConfig::default();
        let mut round = Round { phase: Phase::Train, ..Default::default() };
        assert_eq!(round.transition(&config, 1_000_000), Transition::Stay);
        assert!(round.is_joinable(1_000_000));
        round.count_due_lease(&config, 50);
        assert_eq!((round.join_until, round.deadline), (Some(53), Some(150)));
        assert!(round.is_joinable(53) && !round.is_joinable(54));
        assert!(!round.is_contested(53));
        round.due = MAX_SUBMISSIONS;
        assert!(round.is_contested(53) && !round.is_contested(54));
    }

    #[test]
    fn a_round_without_work_of_its_own_ends_for_the_next_ones() {
        let config = RoundConfig::default();
        let mut round = Round { phase: Phase::Train, ..Default::default() };
        round.note_later_lease(&config, 50);
        round.note_later_lease(&config, 90);
        assert_eq!((round.join_until, round.deadline, round.due), (None, Some(150), 0));
        assert!(round.is_joinable(149));
        assert_eq!(round.transition(&config, 149), Transition::Stay);
        assert_eq!(round.transition(&config, 150), Transition::Void);
        round.count_due_lease(&config, 149);
        assert_eq!((round.join_until, round.deadline, round.due), (Some(152), Some(249), 1));
    }

    #[test]
    fn phases_end_early_when_all_are_done_and_late_when_not() {
        let config = RoundConfig::default();
        let mut train = round(Phase::Train);
        train.committed = 2;
        assert_eq!(train.transition(&config, 10), Transition::Stay, "joining is still open");
        assert_eq!(train.transition(&config, 11), Transition::Enter(Phase::Reveal, 31));
        train.committed = 1;
        assert_eq!(train.transition(&config, 99), Transition::Stay);
        assert_eq!(train.transition(&config, 100), Transition::Enter(Phase::Reveal, 120));
        train.committed = 0;
        assert_eq!(train.transition(&config, 100), Transition::Void);
        let mut reveal = round(Phase::Reveal);
        reveal.committed = 2;
        assert_eq!(reveal.transition(&config, 99), Transition::Stay);
        assert_eq!(reveal.transition(&config, 100), Transition::Void);
        reveal.revealed = 2;
        assert_eq!(reveal.transition(&config, 12), Transition::Enter(Phase::Hold, 32));
        let mut hold = round(Phase::Hold);
        assert_eq!(hold.transition(&config, 99), Transition::Stay);
        assert_eq!(hold.transition(&config, 100), Transition::Enter(Phase::Attest, 160));
        hold.decided = true;
        assert_eq!(hold.transition(&config, 12), Transition::Enter(Phase::Attest, 72));
    }

    #[test]
    fn a_round_that_trains_has_two_attempts() {
        let config = RoundConfig::default();
        let mut attest = Round { revealed: 1, ..round(Phase::Attest) };
        assert_eq!(attest.transition(&config, 99), Transition::Stay);
        assert_eq!(attest.transition(&config, 100), Transition::Enter(Phase::Hold, 120));
        attest.attempt = 1;
        assert_eq!(attest.transition(&config, 100), Transition::Void);
        // What attests only computes the same again, and pauses first.
        assert_eq!(round(Phase::Attest).transition(&config, 100), Transition::Void);
    }

    #[test]
    fn a_round_that_trains_attests_what_was_revealed() {
        for (phase, revealed, only) in [
            (Phase::Attest, 0, true),
            (Phase::Attest, 1, false),
            (Phase::Train, 0, false),
            (Phase::Idle, 0, false),
        ] {
            assert_eq!(Round { revealed, ..round(phase) }.attests_only(), only);
        }
    }

    #[test]
    fn quorum_is_two_thirds_and_a_bit() {
        assert!(!is_quorum(0, 0));
        assert!(!is_quorum(66, 100));
        assert!(is_quorum(67, 100));
        assert!(!is_quorum(2, 3));
    }

    proptest! {
        #[test]
        fn two_quorums_share_stake(
            a in 0u128..1 << 100, b in 0u128..1 << 100, whole in 1u128..1 << 100,
        ) {
            let (a, b) = (a.min(whole), b.min(whole));
            if is_quorum(a, whole) && is_quorum(b, whole) {
                prop_assert!(a + b > whole);
            }
        }
    }
}
