// SPDX-License-Identifier: Apache-2.0

//! Explanations of rewards in numbers that add up.
//!
//! A reward has three parts: for training, for seats in audits, and for data. Each has a weight in
//! a pot of its own, and its amount is `pot · weight ÷ weights`, rounded down. The amounts add up
//! to what a claim in the same block pays.

use crate::{
    Balance, Ppm, RoundNumber, audit::AuditId, recipe::Tier, rewards::Pot, submission::Outcome,
};
use alloc::vec::Vec;
use codec::{Decode, Encode};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Explanation of the reward of an account in a round, at a block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Explanation<AccountId> {
    /// Account that earns.
    pub account: AccountId,
    /// Round that emits the reward.
    pub round: RoundNumber,
    /// Round under way at the block.
    pub now: RoundNumber,
    /// Stage of the reward.
    pub state: RewardState,
    /// First round in which it can be claimed, once it is settled.
    pub from: RoundNumber,
    /// Amount that a claim pays: the sum of the amounts of the parts. `None` until every update of
    /// the round is settled.
    pub amount: Option<Balance>,
    /// Part for the account's update.
    pub training: TrainingPart,
    /// Part for seats in audits of the round's updates.
    pub seats: SeatsPart,
    /// Part for shards that updates of the round trained on.
    pub data: DataPart,
    /// Updates that the round waits for, in account order; at most 64.
    pub unsettled: Vec<OpenUpdate<AccountId>>,
}

/// Stage of a reward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardState {
    /// The round has not begun.
    #[codec(index = 0)]
    Future,
    /// The round is under way.
    #[codec(index = 1)]
    UnderWay,
    /// The round ended without a head, and emitted nothing.
    #[codec(index = 2)]
    Void,
    /// The head of the round includes no update, so the round emitted nothing.
    #[codec(index = 3)]
    Unpaid,
    /// Updates of the round are not settled, so no amount is known.
    #[codec(index = 4)]
    Unsettled,
    /// The amount is known, and held until the escrow is over.
    #[codec(index = 5)]
    Escrow,
    /// The amount can be claimed.
    #[codec(index = 6)]
    Claimable,
    /// The account has no reward in the round: it earned none, has claimed it, or has forfeited
    /// it. Only events tell these apart.
    #[codec(index = 7)]
    Empty,
    /// Rewards of the round have expired.
    #[codec(index = 8)]
    Expired,
}

/// Share of a part in its pot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct PotShare {
    /// Weight of the account that it has not claimed.
    pub weight: u128,
    /// Sum of all weights that nobody has claimed.
    pub weights: u128,
    /// Amount that nobody has claimed.
    pub pot: Balance,
    /// Amount of the part; `None` until every update of the round is settled.
    pub amount: Option<Balance>,
}

impl PotShare {
    /// Returns the share of `weight` in a pot, whose amount is known if the round `is_settled`.
    pub fn new(pot: Pot, weight: u128, is_settled: bool) -> Self {
        let amount = is_settled.then(|| pot.share(weight));
        Self { weight, weights: pot.weight, pot: pot.left, amount }
    }
}

/// Part of a reward for an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct TrainingPart {
    /// Share in the trainers' pot. The weight is the update's score times [`Self::worth`].
    pub share: PotShare,
    /// Update of the account to the round, if the chain knows one.
    pub update: Option<UpdateSummary>,
}

impl TrainingPart {
    /// Returns the bonus of the kinds of the update's text times the quality of the text; `None`
    /// unless the update has a weight.
    pub fn worth(&self) -> Option<Ppm> {
        let score = u128::try_from(self.update?.gain).ok()?;
        let worth = self.share.weight.checked_div(score)?;
        Ppm::try_from(worth).ok().filter(|worth| *worth > 0)
    }

    /// Returns the reason for which an update has no weight; `None` if it has one, or if there is
    /// no update.
    pub fn unpaid(&self) -> Option<Unpaid> {
        let update = self.update.filter(|_| self.share.weight == 0)?;
        let UpdateStatus::Settled(outcome) = update.status else { return Some(Unpaid::Waiting) };
        Some(match outcome {
            Outcome::NoShow => Unpaid::NotRevealed,
            Outcome::Excluded => Unpaid::LeftOut,
            Outcome::Invalid => Unpaid::Invalid,
            Outcome::Withheld => Unpaid::Withheld,
            Outcome::Unresolved => Unpaid::Unresolved,
            Outcome::Tainted => Unpaid::Tainted,
            Outcome::Valid if update.gain <= 0 => Unpaid::NotImproved,
            Outcome::Valid if update.flagged => Unpaid::Flagged,
            Outcome::Valid => Unpaid::Gone,
        })
    }
}

/// Reason for which an update has no weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unpaid {
    /// It is not settled.
    Waiting,
    /// It was committed and never revealed.
    NotRevealed,
    /// It was revealed, and is not part of the head.
    LeftOut,
    /// It is not the result of its lease.
    Invalid,
    /// Its trainer did not answer the audit.
    Withheld,
    /// No quorum agreed on a finding.
    Unresolved,
    /// It continues from an update that was taken out.
    Tainted,
    /// It did not improve the model.
    NotImproved,
    /// It is valid, but the trainer is [flagged](crate::standing::Standing::is_flagged).
    Flagged,
    /// Its weight is gone: the reward was claimed or forfeited, or it has expired.
    Gone,
}

/// Facts about an account's update to a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct UpdateSummary {
    /// Stage that the update has reached.
    pub status: UpdateStatus,
    /// Tier of the trainer.
    pub tier: Tier,
    /// Number of rounds by which the update was late.
    pub staleness: u8,
    /// Number of tokens credited; 0 until the update is revealed.
    pub tokens: u64,
    /// Gain on unassigned text, in billionths of a nat per token; 0 until the update is settled.
    pub gain: i32,
    /// `true` if the trainer is [flagged](crate::standing::Standing::is_flagged) at the block.
    pub flagged: bool,
    /// Penalty that the runtime has for the outcome; 0 for none. A bond may have had less, and a
    /// series of lapses costs more.
    pub penalty: Balance,
}

/// Stage of an account's work for a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub enum UpdateStatus {
    /// Leased, and not committed.
    #[codec(index = 0)]
    Leased,
    /// Committed, and not opened.
    #[codec(index = 1)]
    Committed,
    /// Opened, and not part of a head.
    #[codec(index = 2)]
    Revealed,
    /// Part of a head, and under audit.
    #[codec(index = 3)]
    Included,
    /// Settled.
    #[codec(index = 4)]
    Settled(Outcome),
}

impl UpdateStatus {
    /// Returns the outcome of a settled update.
    pub fn outcome(self) -> Option<Outcome> {
        if let Self::Settled(outcome) = self { Some(outcome) } else { None }
    }

    /// Returns the name of the stage in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Committed => "committed",
            Self::Revealed => "revealed",
            Self::Included => "included",
            Self::Settled(_) => "settled",
        }
    }
}

/// Part of a reward for seats in audits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct SeatsPart {
    /// Share in the validators' pot. The weight is the number of updates about which the account
    /// was right.
    pub share: PotShare,
    /// Number of unsettled updates on which the account has seats.
    pub open: u32,
    /// `true` if an update that is settled improved the model, so that the whole pot is shared.
    pub improved: bool,
    /// Amount that each seat earns at most otherwise.
    pub per_seat: Balance,
}

/// Part of a reward for data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct DataPart {
    /// Share in the providers' pot. The weight is the measured effect of the account's shards, in
    /// billionths of a nat per token.
    pub share: PotShare,
}

/// Update that is not settled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct OpenUpdate<AccountId> {
    /// Trainer of the update.
    pub trainer: AccountId,
    /// 0 for the first draw of seats, 1 for the second.
    pub draw: u8,
    /// Audit of the update; `None` while it waits for its draw.
    pub audit: Option<AuditId>,
}

/// End of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundEnd {
    /// It has not ended.
    Open,
    /// It ended without a head.
    Void,
    /// It ended with a head of this number of updates.
    Head(u32),
    /// Its record is no longer kept.
    Forgotten,
}

/// Work of an account in a round, and what the round waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoundWork<AccountId> {
    /// End of the round.
    pub end: RoundEnd,
    /// Update of the account.
    pub update: Option<UpdateSummary>,
    /// Number of unsettled updates on which the account has seats.
    pub open_seats: u32,
    /// Unsettled updates, in account order; at most 64.
    pub unsettled: Vec<OpenUpdate<AccountId>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewards::training_weight;
    use proptest::prelude::*;

    fn part(weight: u128, status: UpdateStatus, gain: i32, flagged: bool) -> TrainingPart {
        let (tier, staleness, tokens, penalty) = (Tier::Miner, 0, 1, 0);
        let update = UpdateSummary { status, tier, staleness, tokens, gain, flagged, penalty };
        TrainingPart { share: PotShare { weight, ..Default::default() }, update: Some(update) }
    }

    #[test]
    fn every_update_without_a_weight_has_a_reason() {
        use UpdateStatus::*;
        for (status, reason) in [
            (Leased, Unpaid::Waiting),
            (Committed, Unpaid::Waiting),
            (Revealed, Unpaid::Waiting),
            (Included, Unpaid::Waiting),
            (Settled(Outcome::NoShow), Unpaid::NotRevealed),
            (Settled(Outcome::Excluded), Unpaid::LeftOut),
            (Settled(Outcome::Invalid), Unpaid::Invalid),
            (Settled(Outcome::Withheld), Unpaid::Withheld),
            (Settled(Outcome::Unresolved), Unpaid::Unresolved),
            (Settled(Outcome::Tainted), Unpaid::Tainted),
            (Settled(Outcome::Valid), Unpaid::NotImproved),
        ] {
            assert_eq!(part(0, status, 0, false).unpaid(), Some(reason));
        }
        let valid = Settled(Outcome::Valid);
        assert_eq!(part(0, valid, 7, true).unpaid(), Some(Unpaid::Flagged));
        assert_eq!(part(0, valid, 7, false).unpaid(), Some(Unpaid::Gone));
        assert_eq!(part(9, valid, 7, true).unpaid(), None);
        assert_eq!(TrainingPart::default().unpaid(), None);
        assert_eq!((valid.name(), valid.outcome()), ("settled", Some(Outcome::Valid)));
        assert_eq!((Leased.name(), Leased.outcome()), ("leased", None));
    }

    #[test]
    fn an_amount_is_known_once_the_round_is_settled() {
        let pot = Pot { left: 100, weight: 3 };
        let known = PotShare { weight: 2, weights: 3, pot: 100, amount: Some(66) };
        assert_eq!(PotShare::new(pot, 2, true), known);
        assert_eq!(PotShare::new(pot, 2, false), PotShare { amount: None, ..known });
    }

    proptest! {
        #[test]
        fn the_worth_of_text_follows_from_the_weight(
            gain in 1i32..,
            bonus in 1..=crate::MILLION,
            quality in 0..=crate::MILLION,
        ) {
            let weight = training_weight(gain.unsigned_abs(), bonus, quality);
            let valid = UpdateStatus::Settled(Outcome::Valid);
            let worth = part(weight, valid, gain, false).worth().unwrap_or(0);
            prop_assert_eq!(u128::from(worth) * u128::from(gain.unsigned_abs()), weight);
        }

        #[test]
        fn no_figures_lead_to_a_panic(weight: u128, gain: i32, flagged: bool) {
            let part = part(weight, UpdateStatus::Included, gain, flagged);
            prop_assert!(part.worth().is_none() || gain > 0);
            prop_assert_eq!(part.unpaid().is_some(), weight == 0);
        }
    }
}
