//! Phases of a round, and when they end.
//!
//! The chain calls [`Round::transition`] once a block; everything it decides from is in the two
//! arguments, so the same function drives simulations of thousands of trainers.

use crate::{Balance, Hash, RoundNumber};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// A block's height.
pub type BlockNumber = u32;

/// What the network does in a round, in this order.
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
    /// No recipe, no data to lease, or a pause until the next round opens: usually a block.
    #[default]
    #[codec(index = 0)]
    Idle,
    /// Trainers join, lease data, train and commit.
    #[codec(index = 1)]
    Train,
    /// Commitments are opened; payloads are fetched.
    #[codec(index = 2)]
    Reveal,
    /// Validators agree on the next head.
    #[codec(index = 3)]
    Attest,
}

/// Lengths in blocks. They are limits: a phase ends as soon as everybody it waits for is done.
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
    /// From the first lease of a round until joining closes.
    pub join: BlockNumber,
    /// From the first lease of a round until commitments close; longer than `join`.
    pub train: BlockNumber,
    /// Time to open commitments.
    pub reveal: BlockNumber,
    /// Time to agree on the next head.
    pub attest: BlockNumber,
    /// Time the lead validator has before the next one may propose; also the pause before round
    /// zero opens again.
    pub lead: BlockNumber,
    /// Attest phases a validator may miss in a row before anybody may chill it.
    pub missed: u32,
}

impl RoundConfig {
    /// Whether every length is positive and the lengths fit each other.
    pub fn is_valid(&self) -> bool {
        ![self.join, self.train, self.reveal, self.attest, self.lead, self.missed].contains(&0)
            && self.join < self.train
            && self.lead <= self.attest
    }
}

impl Default for RoundConfig {
    /// Lengths for a local network with blocks of three seconds.
    fn default() -> Self {
        Self { join: 3, train: 100, reveal: 20, attest: 60, lead: 15, missed: 3 }
    }
}

/// The round under way.
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
    /// Its number. Void rounds have one too.
    pub number: RoundNumber,
    /// What the network does now.
    pub phase: Phase,
    /// Randomness fixed after the previous head.
    #[serde(with = "crate::hex_hash")]
    pub seed: Hash,
    /// Root of the head that this round trains.
    #[serde(with = "crate::hex_hash")]
    pub base_root: Hash,
    /// Block in which it opened.
    pub opened_at: BlockNumber,
    /// Block in which the phase began.
    pub phase_since: BlockNumber,
    /// Last block of joining, once somebody has joined.
    pub join_until: Option<BlockNumber>,
    /// First block after the phase; none while the round waits for its first lease.
    pub deadline: Option<BlockNumber>,
    /// Leases due in this round.
    pub due: u32,
    /// Commitments received.
    pub committed: u32,
    /// Commitments opened.
    pub revealed: u32,
    /// Validator stake that a quorum is measured against, fixed when the attest phase began.
    pub stake: Balance,
}

/// What a block changes.
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
    /// Nothing.
    Stay,
    /// A new phase, with its deadline.
    Enter(Phase, BlockNumber),
    /// The round ends without a head.
    Void,
}

impl Round {
    /// Whether a trainer may join at block `now`.
    pub fn is_joinable(&self, now: BlockNumber) -> bool {
        self.phase == Phase::Train && self.join_until.is_none_or(|last| now <= last)
    }

    /// Counts a lease that is due in this round; the first one starts the clock of the train phase.
    pub fn count_due_lease(&mut self, config: &RoundConfig, now: BlockNumber) {
        self.due = self.due.saturating_add(1);
        if self.join_until.is_none() {
            self.join_until = Some(now.saturating_add(config.join));
            self.deadline = Some(now.saturating_add(config.train));
        }
    }

    /// Notes a lease that is due in a later round: this one must then end even if nobody works for
    /// it.
    pub fn note_later_lease(&mut self, config: &RoundConfig, now: BlockNumber) {
        if self.deadline.is_none() {
            self.deadline = Some(now.saturating_add(config.train));
        }
    }

    /// What block `now` changes.
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
                    Transition::Enter(Phase::Attest, now.saturating_add(config.attest))
                }
            }
            Phase::Attest if over => Transition::Void,
            Phase::Train | Phase::Reveal | Phase::Attest => Transition::Stay,
        }
    }

    /// Whether it attests a model that nothing was trained for: a network's first, or a rewritten
    /// one.
    pub fn attests_only(&self) -> bool {
        self.phase == Phase::Attest && self.revealed == 0
    }

    /// How many leads have had their turn by block `now`.
    pub fn turn(&self, config: &RoundConfig, now: BlockNumber) -> u32 {
        now.saturating_sub(self.phase_since).checked_div(config.lead).unwrap_or(0)
    }
}

/// Whether `part` of `whole` is a quorum: at least 67 %.
pub fn is_quorum(part: Balance, whole: Balance) -> bool {
    whole > 0 && part.saturating_mul(100) >= whole.saturating_mul(67)
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
        assert_eq!(reveal.transition(&config, 12), Transition::Enter(Phase::Attest, 72));
        assert_eq!(round(Phase::Attest).transition(&config, 99), Transition::Stay);
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
        fn two_quorums_share_stake(a in 0u128..1 << 100, b in 0u128..1 << 100, whole in 1u128..1 << 100) {
            let (a, b) = (a.min(whole), b.min(whole));
            if is_quorum(a, whole) && is_quorum(b, whole) {
                prop_assert!(a + b > whole);
            }
        }
    }
}
