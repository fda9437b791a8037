//! Stages of an audit and their lengths.

use super::{MAX_AUDITED_SEGMENTS, MAX_PROBE_SHARDS, MAX_SEATS};
use crate::{RoundNumber, round::BlockNumber};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// How much is audited, and how long it may take.
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
pub struct AuditConfig {
    /// Seats on every included update.
    pub seats: u8,
    /// Seats of the second draw, where the first decided nothing.
    pub more_seats: u8,
    /// Segments of every update that its seats replay.
    pub segments: u8,
    /// Shards that scores are measured on.
    pub probe: u8,
    /// Blocks after the one that included an update whose randomness its draw is made of, besides
    /// that one's. Whoever decides when a head comes about then does not know the draw, unless all
    /// these blocks are its own.
    pub mix: BlockNumber,
    /// Blocks in which trainers show the states that drawn segments start from.
    pub serve: BlockNumber,
    /// Blocks in which seats replay and commit.
    pub replay: BlockNumber,
    /// Blocks in which trainers open the ends.
    pub open: BlockNumber,
    /// Blocks in which seats reveal.
    pub reveal: BlockNumber,
    /// Rounds a reward waits before it can be claimed, and can be lost to a later finding.
    pub escrow: RoundNumber,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            seats: 3,
            more_seats: 7,
            segments: 1,
            probe: 4,
            mix: 8,
            serve: 20,
            replay: 100,
            open: 20,
            reveal: 20,
            escrow: 2,
        }
    }
}

impl AuditConfig {
    /// Whether every number is positive and within the protocol's limits.
    pub fn is_valid(&self) -> bool {
        let within = |value: u8, most: u32| value > 0 && u32::from(value) <= most;
        within(self.seats, MAX_SEATS)
            && within(self.more_seats, MAX_SEATS)
            && self.more_seats > self.seats
            && within(self.segments, MAX_AUDITED_SEGMENTS)
            && within(self.probe, MAX_PROBE_SHARDS)
            && ![self.serve, self.replay, self.open, self.reveal, self.escrow].contains(&0)
    }

    /// Blocks of `stage`; none for settling, which takes as long as it takes.
    pub(super) fn blocks(&self, stage: Stage) -> Option<BlockNumber> {
        match stage {
            Stage::Serve => Some(self.serve),
            Stage::Replay => Some(self.replay),
            Stage::Open => Some(self.open),
            Stage::Reveal => Some(self.reveal),
            Stage::Settle => None,
        }
    }
}

/// What an audit waits for.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Trainers show the states that their drawn segments start from.
    #[codec(index = 0)]
    #[default]
    Serve,
    /// Seats replay, and commit to what they found.
    #[codec(index = 1)]
    Replay,
    /// Trainers open the ends of their drawn segments.
    #[codec(index = 2)]
    Open,
    /// Seats reveal what they found.
    #[codec(index = 3)]
    Reveal,
    /// Anybody settles the cases.
    #[codec(index = 4)]
    Settle,
}

impl Stage {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Serve => Self::Replay,
            Self::Replay => Self::Open,
            Self::Open => Self::Reveal,
            Self::Reveal | Self::Settle => Self::Settle,
        }
    }
}
