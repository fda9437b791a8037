// SPDX-License-Identifier: Apache-2.0

//! Storage keys.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use pol_primitives::RoundNumber;
use scale_info::TypeInfo;

/// Round number as a storage key. Keys without a hash iterate in descending order of rounds.
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
pub struct DescendingRound([u8; 4]);

impl From<RoundNumber> for DescendingRound {
    fn from(round: RoundNumber) -> Self {
        Self((!round).to_be_bytes())
    }
}

impl From<DescendingRound> for RoundNumber {
    fn from(key: DescendingRound) -> Self {
        !Self::from_be_bytes(key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_descend_by_round(a: RoundNumber, b: RoundNumber) {
            prop_assert_eq!(RoundNumber::from(DescendingRound::from(a)), a);
            let [key_a, key_b] = [a, b].map(|round| DescendingRound::from(round).encode());
            prop_assert_eq!(key_a.cmp(&key_b), b.cmp(&a));
        }
    }
}
