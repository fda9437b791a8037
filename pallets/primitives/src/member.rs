// SPDX-License-Identifier: Apache-2.0

//! Roles, reputation and network addresses of members.

use crate::{Balance, BoundedVec, ConstU32, MILLION, POL, Ppm};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::net::{IpAddr, SocketAddr};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// The role that an account is bonded for.
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
    /// Leases data, trains, commits and reveals updates.
    #[codec(index = 0)]
    Trainer,
    /// Checks payloads, attests heads and holds seats in audits.
    #[codec(index = 1)]
    Validator,
    /// Does the work of a validator, produces blocks and finalizes them.
    #[codec(index = 2)]
    Authority,
}

impl Role {
    /// Returns the minimum bond.
    pub const fn minimum_bond(self) -> Balance {
        match self {
            Self::Trainer => 1_000 * POL,
            Self::Validator => 5_000 * POL,
            Self::Authority => 10_000 * POL,
        }
    }

    /// Returns the bond with which the role is kept: nine tenths of the minimum.
    pub const fn kept_bond(self) -> Balance {
        let minimum = self.minimum_bond();
        minimum.saturating_sub(minimum / 10)
    }

    /// Returns `true` if `bond` backs the role, given that it did or did not before.
    ///
    /// A role is taken up, or taken up again, with the minimum bond, and kept with nine tenths of
    /// it. The margin covers small penalties, so that the first one excludes nobody.
    pub const fn is_backed_by(self, bond: Balance, was_backed: bool) -> bool {
        bond >= if was_backed { self.kept_bond() } else { self.minimum_bond() }
    }

    /// Returns `true` if the role attests heads.
    pub const fn attests(self) -> bool {
        matches!(self, Self::Validator | Self::Authority)
    }
}

/// Part of a trainer's bond that each lease and each unsettled update locks, and that an update
/// costs which is not that of its lease. Whoever has the role has at least so much.
pub const UPDATE_LOCK: Balance = Role::Trainer.kept_bond();

/// An IP address and port, as announced by the member.
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
    /// IPv4 address and port.
    #[codec(index = 0)]
    V4([u8; 4], u16),
    /// IPv6 address and port.
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

/// Maximum number of addresses of one member.
pub const MAX_ADDRESSES: u32 = 4;

/// The endpoint at which a member serves blobs.
#[derive(
    Clone, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Endpoint {
    /// Ed25519 public key that authenticates connections.
    pub id: [u8; 32],
    /// Addresses at which the member listens.
    pub addresses: BoundedVec<Address, ConstU32<MAX_ADDRESSES>>,
}

/// Moves `reputation` a sixteenth of the way to 1 if `good`, and to 0 otherwise.
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
    fn every_role_outlasts_a_small_penalty_and_is_taken_up_again_with_the_whole_bond() {
        for role in [Role::Trainer, Role::Validator, Role::Authority] {
            let (minimum, kept) = (role.minimum_bond(), role.kept_bond());
            assert_eq!(kept, minimum / 10 * 9);
            assert!(role.is_backed_by(minimum, false) && role.is_backed_by(kept, true));
            assert!(!role.is_backed_by(minimum - 1, false) && !role.is_backed_by(kept - 1, true));
        }
    }

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
            let (up, down) =
                (move_reputation(reputation, true), move_reputation(reputation, false));
            prop_assert!(
                down <= reputation.min(MILLION) && reputation.min(MILLION) <= up && up <= MILLION
            );
            prop_assert!(
                up - reputation.min(MILLION) <= MILLION / 16
                    && reputation.min(MILLION) - down <= MILLION / 16
            );
        }
    }
}
