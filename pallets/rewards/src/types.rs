//! How rounds are ordered in storage.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use pol_primitives::RoundNumber;
use scale_info::TypeInfo;

/// A round as a key: stored as it is, keys iterate from the newest round to the oldest.
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
pub struct NewestFirst([u8; 4]);

impl From<RoundNumber> for NewestFirst {
    fn from(round: RoundNumber) -> Self {
        Self((!round).to_be_bytes())
    }
}

impl From<NewestFirst> for RoundNumber {
    fn from(key: NewestFirst) -> Self {
        !Self::from_be_bytes(key.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn newer_rounds_come_first(a: RoundNumber, b: RoundNumber) {
            prop_assert_eq!(RoundNumber::from(NewestFirst::from(a)), a);
            prop_assert_eq!(NewestFirst::from(a).encode().cmp(&NewestFirst::from(b).encode()), b.cmp(&a));
        }
    }
}
