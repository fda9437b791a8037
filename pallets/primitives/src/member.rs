//! Roles, and where a peer is reached.

use crate::{Balance, BoundedVec, ConstU32, MILLION, POL, Ppm};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::net::{IpAddr, SocketAddr};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// What an account does, and is bonded for.
#[derive(
    Clone,
    Copy,
    Debug,
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
pub enum Role {
    /// Leases data, trains, commits and reveals.
    #[codec(index = 0)]
    Trainer,
    /// Checks payloads and attests the head.
    #[codec(index = 1)]
    Validator,
    /// All a validator does, and block production and finality.
    #[codec(index = 2)]
    Authority,
}

impl Role {
    /// The smallest bond, in the token's smallest unit.
    pub const fn minimum_bond(self) -> Balance {
        match self {
            Self::Trainer => 1_000 * POL,
            Self::Validator => 5_000 * POL,
            Self::Authority => 10_000 * POL,
        }
    }

    /// Whether a bond of this size still lets it be exercised. For trainers that is nine tenths of
    /// the smallest bond, so that the small penalties of a slow or interrupted machine do not put
    /// them out at once.
    pub const fn is_backed_by(self, bond: Balance) -> bool {
        let minimum = self.minimum_bond();
        let spare = if matches!(self, Self::Trainer) { minimum / 10 } else { 0 };
        bond >= minimum.saturating_sub(spare)
    }

    /// Whether it attests heads.
    pub const fn attests(self) -> bool {
        matches!(self, Self::Validator | Self::Authority)
    }
}

/// An internet address and port, in the peer's own words.
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
pub enum Address {
    /// IPv4.
    #[codec(index = 0)]
    V4([u8; 4], u16),
    /// IPv6.
    #[codec(index = 1)]
    V6([u8; 16], u16),
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => Self::V4(ip.octets(), address.port()),
            IpAddr::V6(ip) => Self::V6(ip.octets(), address.port()),
        }
    }
}

impl From<Address> for SocketAddr {
    fn from(address: Address) -> Self {
        match address {
            Address::V4(ip, port) => (ip, port).into(),
            Address::V6(ip, port) => (ip, port).into(),
        }
    }
}

/// Most addresses of one peer.
pub const MAX_ADDRESSES: u32 = 4;

/// Where a peer serves blobs.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Endpoint {
    /// Its Ed25519 public key, which connections are authenticated by.
    pub id: [u8; 32],
    /// Where it listens.
    pub addresses: BoundedVec<Address, ConstU32<MAX_ADDRESSES>>,
}

/// Moves a moving average by a sixteenth of the way to `target`; both in millionths.
pub fn move_reputation(reputation: Ppm, good: bool) -> Ppm {
    let step = |distance: Ppm| distance.div_ceil(16);
    let reputation = reputation.min(MILLION);
    if good {
        reputation.saturating_add(step(MILLION.saturating_sub(reputation)))
    } else {
        reputation.saturating_sub(step(reputation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reputation_comes_to_both_its_ends() {
        let after =
            |good| (0..300).fold(MILLION / 2, |reputation, _| move_reputation(reputation, good));
        assert_eq!((after(true), after(false)), (MILLION, 0));
        assert_eq!(move_reputation(0, true), 62_500);
        assert_eq!(move_reputation(MILLION, false), 937_500);
    }

    proptest! {
        #[test]
        fn reputation_stays_a_share(reputation: Ppm) {
            let (up, down) = (move_reputation(reputation, true), move_reputation(reputation, false));
            prop_assert!(down <= reputation.min(MILLION) && reputation.min(MILLION) <= up && up <= MILLION);
            prop_assert!(up - reputation.min(MILLION) <= MILLION / 16 && reputation.min(MILLION) - down <= MILLION / 16);
        }
    }
}
