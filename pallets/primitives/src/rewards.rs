//! Emission of a round, and its fixed shares.

use crate::{Balance, MILLION, POL, Ppm, RoundNumber};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// How much a round that moved the head emits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo, Serialize, Deserialize,
)]
pub struct Emission {
    /// Of the first rounds.
    pub initial: Balance,
    /// Rounds after which it halves, void ones counted; zero for never.
    pub halving: RoundNumber,
    /// Share of the trainers.
    pub trainers: Ppm,
    /// Share of the validators.
    pub validators: Ppm,
    /// Share of the data providers. The treasury gets the rest.
    pub providers: Ppm,
}

impl Default for Emission {
    fn default() -> Self {
        Self { initial: 100 * POL, halving: 100_000, trainers: 700_000, validators: 180_000, providers: 70_000 }
    }
}

/// One round's emission, split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Shares {
    /// For trainers, by score.
    pub trainers: Balance,
    /// For validators, by agreeing seat.
    pub validators: Balance,
    /// For data providers, by consumed shard.
    pub providers: Balance,
    /// For the treasury.
    pub treasury: Balance,
}

impl Shares {
    /// Their sum.
    pub fn total(&self) -> Balance {
        self.trainers.saturating_add(self.validators).saturating_add(self.providers).saturating_add(self.treasury)
    }
}

impl Emission {
    /// Whether the shares are at most the whole.
    pub fn is_valid(&self) -> bool {
        self.trainers.saturating_add(self.validators).saturating_add(self.providers) <= MILLION
            && self.initial < Balance::MAX / 2_000_000
    }

    /// What `round` emits. The shares add up to it to the last unit.
    pub fn of(&self, round: RoundNumber) -> Shares {
        let halvings = round.checked_div(self.halving).unwrap_or(0);
        let total = self.initial.checked_shr(halvings).unwrap_or(0);
        let part = |share: Ppm| total.saturating_mul(share.into()).checked_div(MILLION.into()).unwrap_or(0);
        let (trainers, validators, providers) = (part(self.trainers), part(self.validators), part(self.providers));
        let treasury = total.saturating_sub(trainers).saturating_sub(validators).saturating_sub(providers);
        Shares { trainers, validators, providers, treasury }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_halves() {
        let emission = Emission::default();
        assert_eq!(emission.of(0).total(), 100 * POL);
        assert_eq!(emission.of(100_000).total(), 50 * POL);
        assert_eq!(emission.of(u32::MAX).total(), 0);
        assert_eq!(Emission { halving: 0, ..emission }.of(u32::MAX).total(), 100 * POL);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_in_the_split(initial in 0..Balance::MAX / 2_000_000, round: u32, a in 0..=MILLION, b in 0..=MILLION, c in 0..=MILLION) {
            let emission = Emission { initial, halving: 10, trainers: a, validators: b.min(MILLION - a), providers: c.min(MILLION - a - b.min(MILLION - a)) };
            prop_assert!(emission.is_valid());
            prop_assert_eq!(emission.of(round).total(), initial.checked_shr(round / 10).unwrap_or(0));
        }
    }
}
