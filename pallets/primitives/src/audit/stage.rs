// SPDX-License-Identifier: Apache-2.0

//! Stages of an audit and their configuration.

use super::{MAX_AUDITED_SEGMENTS, MAX_ESCROW_ROUNDS, MAX_PROBE_SHARDS, MAX_SEATS};
use crate::{
    RoundNumber,
    round::{BlockNumber, MAX_LENGTH},
};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Amount of auditing, and the maximum lengths of the stages.
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
    /// Number of seats on every included update.
    pub seats: u8,
    /// Number of seats in the second draw, which takes all updates that the first did not acquit.
    /// Two thirds of these seats decide over bonds, so they should be many.
    pub more_seats: u8,
    /// Number of segments of every update that its seats replay.
    pub segments: u8,
    /// Number of probe shards on which gains are measured.
    pub probe: u8,
    /// Number of blocks, after the one that included an update, whose randomness is mixed into its
    /// draw. The validator that completes a quorum cannot predict the draw unless it authors all of
    /// them.
    pub mix: BlockNumber,
    /// Blocks for serving the states from which drawn segments start.
    pub serve: BlockNumber,
    /// Blocks for replaying and committing.
    pub replay: BlockNumber,
    /// Blocks for opening the ends of drawn segments.
    pub open: BlockNumber,
    /// Blocks for revealing findings.
    pub reveal: BlockNumber,
    /// Number of rounds that a reward stays in escrow, where a later finding can forfeit it.
    pub escrow: RoundNumber,
}

impl Default for AuditConfig {
    fn default() -> Self {
        Self {
            seats: 3,
            more_seats: 16,
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
    /// Returns `true` if every number is within the limits of the protocol.
    pub fn is_valid(&self) -> bool {
        let within = |value: u8, most: u32| value > 0 && u32::from(value) <= most;
        within(self.seats, MAX_SEATS)
            && within(self.more_seats, MAX_SEATS)
            && self.more_seats > self.seats
            && within(self.segments, MAX_AUDITED_SEGMENTS)
            && within(self.probe, MAX_PROBE_SHARDS)
            && [self.serve, self.replay, self.open, self.reveal]
                .iter()
                .all(|length| (1..=MAX_LENGTH).contains(length))
            && self.mix <= MAX_LENGTH
            && (1..=MAX_ESCROW_ROUNDS).contains(&self.escrow)
    }

    /// Returns `true` if a stage is shorter than under `other`.
    pub fn shortens(&self, other: &Self) -> bool {
        [Stage::Serve, Stage::Replay, Stage::Open, Stage::Reveal]
            .iter()
            .any(|stage| self.blocks(*stage) < other.blocks(*stage))
    }

    /// Returns the configuration with one seat more in both draws, within the limits of the
    /// protocol. It makes up for a draw whose randomness can be steered.
    pub fn with_one_seat_more(self) -> Self {
        let more = |seats: u8| seats.saturating_add(1).min(MAX_SEATS as u8);
        Self { seats: more(self.seats), more_seats: more(self.more_seats), ..self }
    }

    /// Returns the maximum length of `stage` in blocks. Settling has none.
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

/// Stage of an audit.
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
    /// Trainers serve the states from which their drawn segments start.
    #[codec(index = 0)]
    #[default]
    Serve,
    /// Seats replay the drawn segments and commit to their findings.
    #[codec(index = 1)]
    Replay,
    /// Trainers open the ends of their drawn segments.
    #[codec(index = 2)]
    Open,
    /// Seats reveal their findings.
    #[codec(index = 3)]
    Reveal,
    /// Any account settles the cases.
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
