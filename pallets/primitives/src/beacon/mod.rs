// SPDX-License-Identifier: Apache-2.0

//! Beacons of public randomness: the schedule of their pulses, and what a pulse signs.
//!
//! A beacon is a group of servers of which a threshold must sign together. For each of its rounds
//! it signs the number of the round at a fixed time. The signature is the pulse, and its hash is
//! randomness that nobody knows before and nobody can choose. The scheme is that of the network
//! quicknet of drand, `bls-unchained-g1-rfc9380`: keys in the group G2 of BLS12-381, signatures in
//! G1.

#[cfg(feature = "bls")]
pub mod bls;

use crate::{Hash, round::BlockNumber};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};
use sp_crypto_hashing::sha2_256;

/// Number of a beacon's round; counts up from 1.
pub type BeaconRound = u64;
/// Public key of a beacon: a compressed point of G2.
pub type BeaconKey = [u8; 96];
/// Signature of a pulse: a compressed point of G1.
pub type PulseSignature = [u8; 48];

/// Maximum number of blocks that a draw waits for a pulse.
pub const MAX_PATIENCE: BlockNumber = 100;

/// A beacon, and the way in which draws use it.
#[derive(
    Clone,
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
pub struct BeaconConfig {
    /// Public key of the beacon.
    #[serde(with = "crate::hex_hash")]
    pub key: BeaconKey,
    /// Time of round 1, in seconds since 1970.
    pub genesis: u64,
    /// Time between two rounds, in seconds.
    pub period: u32,
    /// Number of seconds between the block that begins to wait and the pulse that it waits for. The
    /// block should be final by then.
    pub margin: u32,
    /// Number of blocks after which a draw waits no longer, at most [`MAX_PATIENCE`].
    pub patience: BlockNumber,
}

impl BeaconConfig {
    /// Returns `true` if the beacon has rounds and draws wait for them.
    pub fn has_rounds(&self) -> bool {
        self.period > 0 && self.patience > 0
    }

    /// Returns `true` if draws wait long enough for every pulse, with a block each `block_time`
    /// milliseconds, and for no more than [`MAX_PATIENCE`] blocks.
    pub fn is_patient(&self, block_time: u64) -> bool {
        let longest = u64::from(self.margin).saturating_add(self.period.into());
        let patience = u64::from(self.patience).saturating_mul(block_time);
        self.patience <= MAX_PATIENCE && longest.saturating_mul(1_000) < patience
    }

    /// Returns the round that a draw waits for if it begins to wait at `now`, in seconds since
    /// 1970: the first one that is due after the margin.
    ///
    /// ```
    /// use pol_primitives::beacon::BeaconConfig;
    ///
    /// let key = [0; 96];
    /// let beacon = BeaconConfig { key, genesis: 100, period: 3, margin: 10, patience: 12 };
    /// assert_eq!(beacon.round_from(50), 1);
    /// assert_eq!(beacon.round_from(91), 2);
    /// assert_eq!(beacon.due(2), 103);
    /// ```
    pub fn round_from(&self, now: u64) -> BeaconRound {
        let since = now.saturating_add(self.margin.into()).saturating_sub(self.genesis);
        since.div_ceil(u64::from(self.period).max(1)).saturating_add(1)
    }

    /// Returns the time at which `round` is due, in seconds since 1970.
    pub fn due(&self, round: BeaconRound) -> u64 {
        let since = round.saturating_sub(1).saturating_mul(self.period.into());
        self.genesis.saturating_add(since)
    }
}

/// The pulse that draws wait for, or that they use once it has arrived.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct AwaitedPulse {
    /// Round of the pulse.
    pub round: BeaconRound,
    /// Last block in which the pulse is accepted.
    pub until: BlockNumber,
    /// Randomness of the pulse once it has arrived.
    pub randomness: Option<Hash>,
}

/// State of the pulse that draws wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// The pulse may still come.
    Awaited,
    /// The pulse has arrived, with this randomness.
    Arrived(Hash),
    /// No pulse came in time, or the beacon was replaced.
    Missed,
}

/// Returns the message that the beacon signs in `round`.
pub fn message(round: BeaconRound) -> Hash {
    sha2_256(&round.to_be_bytes())
}

/// Returns the randomness of a pulse.
pub fn randomness(signature: &PulseSignature) -> Hash {
    sha2_256(signature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn beacon(genesis: u64, period: u32, margin: u32) -> BeaconConfig {
        BeaconConfig { key: [7; 96], genesis, period, margin, patience: 12 }
    }

    #[test]
    fn a_beacon_is_read_as_written() {
        let beacon = beacon(1_692_803_367, 3, 12);
        let text = serde_json::to_string(&beacon).unwrap();
        assert!(text.contains(&format!("\"0x{}\"", "07".repeat(96))), "{text}");
        assert_eq!(serde_json::from_str::<BeaconConfig>(&text).unwrap(), beacon);
        assert!(serde_json::from_str::<BeaconConfig>(&text.replace("0x07", "0x")).is_err());
    }

    #[test]
    fn a_beacon_without_time_has_no_rounds() {
        assert!(beacon(0, 3, 0).has_rounds());
        assert!(!beacon(0, 0, 0).has_rounds());
        assert!(!BeaconConfig { patience: 0, ..beacon(0, 3, 0) }.has_rounds());
    }

    #[test]
    fn patience_outlasts_margin_and_period_and_has_a_limit() {
        let patient =
            |patience, margin| BeaconConfig { patience, ..beacon(0, 3, margin) }.is_patient(3_000);
        assert!(patient(12, 32) && !patient(12, 33) && !patient(0, 0));
        assert!(patient(MAX_PATIENCE, 30) && !patient(MAX_PATIENCE + 1, 30));
        assert!(!patient(BlockNumber::MAX, u32::MAX));
    }

    proptest! {
        #[test]
        fn the_awaited_round_is_the_first_after_the_margin(
            genesis in 0_u64..1 << 40,
            period in 1_u32..100_000,
            margin in 0_u32..100_000,
            now in 0_u64..1 << 41,
        ) {
            let beacon = beacon(genesis, period, margin);
            let round = beacon.round_from(now);
            let earliest = now + u64::from(margin);
            prop_assert!(round >= 1 && beacon.due(round) >= earliest);
            prop_assert!(round == 1 || beacon.due(round - 1) < earliest);
        }

        #[test]
        fn no_time_overflows(
            genesis: u64, period: u32, margin: u32, now: u64, round: BeaconRound,
        ) {
            let beacon = beacon(genesis, period, margin);
            prop_assert!(beacon.round_from(now) >= 1);
            prop_assert!(beacon.due(round) >= genesis);
        }
    }
}
