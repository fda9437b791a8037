// SPDX-License-Identifier: Apache-2.0

//! Emission of a round by the time that it took, its fixed shares, and their payment to the last
//! unit.

use crate::{Balance, MILLION, POL, Ppm, round::BlockNumber};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::ops::Range;
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};
use sp_arithmetic::{Rounding, helpers_128bit::multiply_by_rational_with_rounding};

/// Emission of the rounds that advance the head.
///
/// Time emits, whatever the number of rounds in it. A round draws what the blocks since the round
/// before it emit, at most [`EmissionSchedule::per_round`]. What no round draws is never minted.
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
pub struct EmissionSchedule {
    /// Emission of a block before the first halving. Blocks are those of the protocol's clock.
    pub per_block: Balance,
    /// Maximum emission of a round, however long it takes. Penalties must outweigh it.
    pub per_round: Balance,
    /// Number of blocks between halvings; 0 means that it never halves.
    pub halving: BlockNumber,
    /// Share of the trainers.
    pub trainers: Ppm,
    /// Share of the validators.
    pub validators: Ppm,
    /// Share of the data providers. The treasury receives the rest.
    pub providers: Ppm,
    /// Share of the validators' part that a seat earns at most in a round that improved nothing.
    pub per_seat: Ppm,
}

impl Default for EmissionSchedule {
    fn default() -> Self {
        Self {
            per_block: POL,
            per_round: 100 * POL,
            halving: BLOCKS_PER_YEAR,
            trainers: 700_000,
            validators: 180_000,
            providers: 70_000,
            per_seat: 5_000,
        }
    }
}

/// Number of blocks in a year of 365 days.
pub const BLOCKS_PER_YEAR: BlockNumber = 10_512_000;

/// Maximum sum of all emissions: twice what the default schedule emits before its first halving.
pub const MAX_EMISSION: Balance = 21_024_000 * POL;

/// The emission of one round, divided among the recipients.
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
)]
pub struct EmissionShares {
    /// For trainers, by [`training_weight`].
    pub trainers: Balance,
    /// For validators, by seats that agreed with the quorum. Most of it is for gain, too.
    pub validators: Balance,
    /// For data providers, by the measured effect of their shards.
    pub providers: Balance,
    /// For the treasury.
    pub treasury: Balance,
}

impl EmissionShares {
    /// Returns the sum of the shares.
    pub fn total(&self) -> Balance {
        self.trainers
            .saturating_add(self.validators)
            .saturating_add(self.providers)
            .saturating_add(self.treasury)
    }
}

/// An amount that accounts share by weight.
///
/// Each account takes its share of the amount left, so the last one empties the pot, and no list of
/// accounts is needed.
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
)]
pub struct Pot {
    /// Amount that has not been taken.
    pub left: Balance,
    /// Sum of the weights that have not taken their shares.
    pub weight: u128,
}

impl Pot {
    /// Returns the current share of `weight`.
    pub fn share(&self, weight: u128) -> Balance {
        let weight = weight.min(self.weight);
        if weight == 0 {
            return 0;
        }
        multiply_by_rational_with_rounding(self.left, weight, self.weight, Rounding::Down)
            .unwrap_or(0)
    }

    /// Takes the share of `weight` out of the pot and returns it.
    pub fn take(&mut self, weight: u128) -> Balance {
        let share = self.share(weight);
        self.left = self.left.saturating_sub(share);
        self.weight = self.weight.saturating_sub(weight);
        share
    }
}

/// The emission of a round in escrow, until its updates are settled and its shares are claimed.
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
)]
pub struct RoundPool {
    /// Number of updates that are not settled. Nothing is paid before all are.
    pub unsettled: u32,
    /// For trainers, by [`training_weight`].
    pub trainers: Pot,
    /// For validators, by seats that agreed with the quorum.
    pub validators: Pot,
    /// For data providers, by the measured effect of their shards.
    pub providers: Pot,
    /// Set if the gain of a valid update is positive.
    pub improved: bool,
    /// Amount that a seat earns at most unless the round improved something.
    pub per_seat: Balance,
}

/// Earnings of an account in a round, as weights in the pots of [`RoundPool`].
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
)]
pub struct RoundEarnings {
    /// [`training_weight`] of its update.
    pub training: u128,
    /// Number of seats that agreed with the quorum.
    pub seats: u32,
    /// Measured effect of the shards that it provided, in billionths of a nat per token.
    pub effect: u64,
}

impl RoundEarnings {
    /// Returns the sum of these earnings and `more`.
    pub fn plus(&self, more: &Self) -> Self {
        Self {
            training: self.training.saturating_add(more.training),
            seats: self.seats.saturating_add(more.seats),
            effect: self.effect.saturating_add(more.effect),
        }
    }
}

impl RoundPool {
    /// Creates a pool of `shares` for `updates` updates, without the share of the treasury. A seat
    /// earns the share `per_seat` of the validators' part whatever the round improves.
    pub fn new(shares: &EmissionShares, per_seat: Ppm, updates: u32) -> Self {
        let pot = |left| Pot { left, weight: 0 };
        Self {
            unsettled: updates,
            trainers: pot(shares.trainers),
            validators: pot(shares.validators),
            providers: pot(shares.providers),
            improved: false,
            per_seat: part_of(shares.validators, per_seat),
        }
    }

    /// Returns the amount that has not been taken.
    pub fn left(&self) -> Balance {
        self.trainers.left.saturating_add(self.validators.left).saturating_add(self.providers.left)
    }

    /// Adds the earnings of an account.
    pub fn add(&mut self, earned: &RoundEarnings) {
        self.trainers.weight = self.trainers.weight.saturating_add(earned.training);
        self.validators.weight = self.validators.weight.saturating_add(earned.seats.into());
        self.providers.weight = self.providers.weight.saturating_add(earned.effect.into());
    }

    /// Removes the earnings of an account, whose share falls to the others.
    pub fn remove(&mut self, earned: &RoundEarnings) {
        self.trainers.weight = self.trainers.weight.saturating_sub(earned.training);
        self.validators.weight = self.validators.weight.saturating_sub(earned.seats.into());
        self.providers.weight = self.providers.weight.saturating_sub(earned.effect.into());
    }

    /// Returns `true` if every update is settled and every share has been taken.
    pub fn is_done(&self) -> bool {
        self.unsettled == 0
            && [self.trainers, self.validators, self.providers].iter().all(|pot| pot.weight == 0)
    }

    /// Returns the current share of `earned`.
    pub fn share(&self, earned: &RoundEarnings) -> Balance {
        let RoundEarnings { training, seats, effect } = *earned;
        let (training, seats) =
            (self.trainers.share(training), self.validators.share(seats.into()));
        training.saturating_add(seats).saturating_add(self.providers.share(effect.into()))
    }

    /// Takes the share of `earned` out of the pool and returns it.
    pub fn take(&mut self, earned: &RoundEarnings) -> Balance {
        let RoundEarnings { training, seats, effect } = *earned;
        let (training, seats) = (self.trainers.take(training), self.validators.take(seats.into()));
        training.saturating_add(seats).saturating_add(self.providers.take(effect.into()))
    }

    /// Takes what nobody earned, and returns the sum. Call it when every update is settled.
    ///
    /// That is every pot without a weight. Validators are paid for the round's gain. If there is
    /// none, they are paid a fixed amount for each seat, as far as their pot lasts, so that a bad
    /// round is worth auditing and not worth making.
    pub fn take_unearned(&mut self) -> Balance {
        let mut sum: Balance = 0;
        if !self.improved {
            let due =
                self.per_seat.saturating_mul(self.validators.weight).min(self.validators.left);
            sum = self.validators.left.saturating_sub(due);
            self.validators.left = due;
        }
        for pot in [&mut self.trainers, &mut self.validators, &mut self.providers] {
            if pot.weight == 0 {
                sum = sum.saturating_add(core::mem::take(&mut pot.left));
            }
        }
        sum
    }
}

/// Totals of all rewards and fines: `emitted + seized = paid + burned + waiting`.
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
pub struct Ledger {
    /// Minted for rounds that advanced the head.
    pub emitted: Balance,
    /// Seized from the bonds of cheats.
    pub seized: Balance,
    /// Claimed by accounts, and paid to the treasury.
    pub paid: Balance,
    /// Burned: unearned shares, forfeited rewards, and fines.
    pub burned: Balance,
    /// Held in the pot for future claims.
    pub waiting: Balance,
}

impl EmissionSchedule {
    /// Returns `true` if the shares add up to at most 1 and the emission of a round is small enough
    /// for the computation of shares.
    pub fn is_valid(&self) -> bool {
        self.trainers.saturating_add(self.validators).saturating_add(self.providers) <= MILLION
            && self.per_round < Balance::MAX / 2_000_000
    }

    /// Returns the emission of the blocks in `time`.
    pub fn accrued(&self, time: Range<BlockNumber>) -> Balance {
        let (mut sum, mut from) = (0, time.start);
        while from < time.end {
            let halvings = from.checked_div(self.halving).unwrap_or(0);
            let rate = self.per_block.checked_shr(halvings).unwrap_or(0);
            if rate == 0 {
                break;
            }
            // Without a further halving in the range of numbers, the rate stays.
            let next = halvings.checked_add(1).and_then(|next| next.checked_mul(self.halving));
            let until = next.filter(|&next| next > from).map_or(time.end, |at| at.min(time.end));
            let blocks = until.saturating_sub(from);
            sum = rate.saturating_mul(blocks.into()).saturating_add(sum);
            from = until;
        }
        sum
    }

    /// Returns the emission of a round that took the blocks in `time`.
    pub fn of_round(&self, time: Range<BlockNumber>) -> Balance {
        self.accrued(time).min(self.per_round)
    }

    /// Divides the emission of a round without a remainder.
    pub fn divide(&self, total: Balance) -> EmissionShares {
        let (trainers, validators, providers) = (
            part_of(total, self.trainers),
            part_of(total, self.validators),
            part_of(total, self.providers),
        );
        let treasury =
            total.saturating_sub(trainers).saturating_sub(validators).saturating_sub(providers);
        EmissionShares { trainers, validators, providers, treasury }
    }
}

/// Returns a share of an amount, rounded down.
fn part_of(whole: Balance, share: Ppm) -> Balance {
    whole.saturating_mul(share.into()).checked_div(MILLION.into()).unwrap_or(0)
}

/// Returns the weight of an update in the trainers' pot.
///
/// It is the product of its `score` and of the bonus and the quality of the data. A score is a part
/// of the round's improvement and grows with the work, so that tokens are not counted again.
pub fn training_weight(score: u32, bonus: Ppm, quality: Ppm) -> u128 {
    let worth = u128::from(bonus)
        .saturating_mul(u128::from(quality.min(MILLION)))
        .checked_div(u128::from(MILLION))
        .unwrap_or(0);
    u128::from(score).saturating_mul(worth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_halves_with_the_blocks() {
        let emission = EmissionSchedule::default();
        let year = BLOCKS_PER_YEAR;
        assert_eq!(emission.accrued(7..27), 20 * POL);
        assert_eq!(emission.accrued(year - 4..year + 4), 6 * POL);
        assert_eq!(emission.accrued(5..5), 0);
        assert_eq!(emission.accrued(0..year), Balance::from(year) * POL);
        let yearly = |years| emission.accrued(year * years..year * (years + 1)) / POL;
        let expected = [10_512_000, 5_256_000, 2_628_000, 1_314_000, 657_000];
        assert_eq!([yearly(0), yearly(1), yearly(2), yearly(3), yearly(4)], expected);
        let forever = EmissionSchedule { halving: 0, ..emission };
        assert_eq!(forever.accrued(u32::MAX - 1..u32::MAX), POL);
        assert!(emission.accrued(0..u32::MAX) <= MAX_EMISSION);
    }

    #[test]
    fn a_long_round_draws_no_more_than_the_limit() {
        let emission = EmissionSchedule::default();
        assert_eq!(emission.of_round(0..8), 8 * POL);
        assert_eq!(emission.of_round(0..100), 100 * POL);
        assert_eq!(emission.of_round(0..5_000), 100 * POL);
    }

    #[test]
    fn a_round_without_gain_pays_for_seats_only() {
        let emission = EmissionSchedule::default();
        let shares = emission.divide(100 * POL);
        // Seats, gain, and what is left for validators.
        for (seats, improved, left) in [
            (3, true, 18 * POL),
            (3, false, 27 * POL / 100),
            (200, false, 18 * POL),
            (500, false, 18 * POL),
            (0, true, 0),
        ] {
            let mut pool = RoundPool::new(&shares, emission.per_seat, 0);
            pool.add(&RoundEarnings { seats, ..Default::default() });
            pool.improved = improved;
            let unearned = pool.take_unearned();
            assert_eq!(pool.validators.left, left);
            assert_eq!(unearned, 95 * POL - left);
        }
    }

    proptest! {
        #[test]
        fn rounds_of_any_speed_emit_what_time_does(
            per_block in 0..Balance::MAX >> 40,
            halving in 0u32..400,
            mut ends in prop::collection::vec(0u32..4_000, 1..40),
        ) {
            let emission = EmissionSchedule { per_block, halving, ..Default::default() };
            ends.sort_unstable();
            let mut from = 0;
            let mut sum = 0;
            for end in ends {
                sum += emission.accrued(from..end);
                from = end;
            }
            prop_assert_eq!(sum, emission.accrued(0..from));
            let each = (0..from).map(|block| {
                per_block.checked_shr(block.checked_div(halving).unwrap_or(0)).unwrap_or(0)
            });
            prop_assert_eq!(sum, each.sum::<Balance>());
        }

        #[test]
        fn nothing_is_lost_in_the_split(
            total in 0..Balance::MAX / 2_000_000,
            a in 0..=MILLION,
            b in 0..=MILLION,
            c in 0..=MILLION,
        ) {
            let emission = EmissionSchedule {
                trainers: a,
                validators: b.min(MILLION - a),
                providers: c.min(MILLION - a - b.min(MILLION - a)),
                ..Default::default()
            };
            prop_assert!(emission.is_valid());
            prop_assert_eq!(emission.divide(total).total(), total);
        }

        #[test]
        fn a_pot_empties_to_the_last_unit(
            left in 0..Balance::MAX / 2,
            weights in prop::collection::vec(1u128..1 << 120, 1..40),
            order: u64,
        ) {
            let mut pot = Pot { left, weight: weights.iter().sum() };
            let mut paid: Balance = 0;
            for at in shuffled(weights.len(), order) {
                let due = pot.share(weights[at]);
                prop_assert_eq!(pot.take(weights[at]), due);
                paid += due;
                prop_assert_eq!(pot.left + paid, left);
            }
            prop_assert_eq!(pot, Pot { left: 0, weight: 0 });
        }

        #[test]
        fn the_order_of_claims_is_worth_no_more_than_a_unit_each(
            left in 0u128..1 << 64,
            weights in prop::collection::vec(1u128..1 << 40, 1..40),
            order: u64,
        ) {
            let whole: u128 = weights.iter().sum();
            let mut pot = Pot { left, weight: whole };
            for at in shuffled(weights.len(), order) {
                let fair = left * weights[at] / whole;
                prop_assert!(pot.take(weights[at]).abs_diff(fair) <= weights.len() as u128);
            }
        }

        #[test]
        fn nothing_of_a_round_is_lost(
            trainers in 0..1u128 << 70,
            validators in 0..1u128 << 70,
            providers in 0..1u128 << 70,
            earned in prop::collection::vec((0u128..3, any::<u64>(), 0u32..4, 0u64..40), 0..40),
            forfeited in prop::collection::vec(any::<bool>(), 40),
            (improved, per_seat) in (any::<bool>(), 0..=MILLION),
            order: u64,
        ) {
            let shares = EmissionShares { trainers, validators, providers, treasury: 7 };
            let earned: Vec<RoundEarnings> = earned
                .into_iter()
                .map(|(some, training, seats, effect)| RoundEarnings {
                    training: some.min(1) * u128::from(training),
                    seats,
                    effect,
                })
                .collect();
            let mut pool = RoundPool::new(&shares, per_seat, earned.len() as u32);
            pool.improved = improved;
            let whole = shares.total() - shares.treasury;
            prop_assert_eq!(pool.left(), whole);
            earned.iter().for_each(|earned| {
                pool.add(earned);
                pool.unsettled -= 1;
            });
            earned
                .iter()
                .zip(&forfeited)
                .filter(|(_, forfeited)| **forfeited)
                .for_each(|(earned, _)| pool.remove(earned));
            let burned = pool.take_unearned();
            let mut paid = 0;
            for at in shuffled(earned.len(), order).into_iter().filter(|&at| !forfeited[at]) {
                prop_assert!(!pool.is_done() || earned[at] == RoundEarnings::default());
                let due = pool.share(&earned[at]);
                prop_assert_eq!(pool.take(&earned[at]), due);
                paid += due;
                prop_assert_eq!(pool.left() + paid + burned, whole);
            }
            prop_assert!(pool.is_done());
            prop_assert_eq!(paid + burned, whole, "nothing is left when all have taken theirs");
        }

        #[test]
        fn nobody_takes_more_than_there_is(left: Balance, weight: u128, asked: u128) {
            let mut pot = Pot { left, weight };
            let taken = pot.take(asked);
            prop_assert!(taken <= left);
            prop_assert_eq!(pot.left, left - taken);
            prop_assert!(asked < weight || weight == 0 || pot.left == 0);
        }
    }

    /// Returns the numbers below `count` in an order determined by `seed`.
    fn shuffled(count: usize, seed: u64) -> Vec<usize> {
        let order = crate::prf::Prf::new("order", &[0; 32], &[&seed.to_le_bytes()])
            .permutation(count as u32);
        order.into_iter().map(|at| at as usize).collect()
    }

    #[test]
    fn shares_are_by_weight_and_without_weight_there_is_none() {
        let mut pot = Pot { left: 100, weight: 4 };
        assert_eq!((pot.share(0), pot.share(1), pot.share(4), pot.share(9)), (0, 25, 100, 100));
        assert_eq!((pot.take(1), pot.take(1), pot.take(2)), (25, 25, 50));
        assert_eq!(Pot { left: 100, weight: 0 }.take(1), 0);
        let largest = Pot { left: Balance::MAX, weight: u128::MAX };
        assert_eq!(
            largest.share(u128::MAX / 2),
            Balance::MAX / 2,
            "products of large numbers do not overflow"
        );
    }

    #[test]
    fn each_kind_of_work_has_a_pot_of_its_own() {
        let shares = EmissionShares { trainers: 700, validators: 180, providers: 70, treasury: 50 };
        let mut pool = RoundPool { improved: true, ..RoundPool::new(&shares, 0, 2) };
        let (trainer, validator, provider) = (
            RoundEarnings { training: 9, ..Default::default() },
            RoundEarnings { seats: 2, ..Default::default() },
            RoundEarnings { effect: 5, ..Default::default() },
        );
        [trainer, validator, validator, provider].iter().for_each(|earned| pool.add(earned));
        assert_eq!(
            (pool.share(&trainer), pool.share(&validator), pool.share(&provider)),
            (700, 90, 70)
        );
        assert_eq!(
            trainer.plus(&validator).plus(&provider),
            RoundEarnings { training: 9, seats: 2, effect: 5 }
        );
        assert_eq!(pool.share(&trainer.plus(&validator).plus(&provider)), 860);
        pool.unsettled = 0;
        pool.remove(&trainer);
        assert_eq!(pool.take_unearned(), 700, "nobody earned the trainers' part any more");
        assert_eq!((pool.left(), pool.is_done()), (250, false));
        assert_eq!(
            (pool.take(&validator), pool.take(&provider), pool.take(&validator)),
            (90, 70, 90)
        );
        assert!(pool.is_done());
        assert!(!RoundPool::new(&shares, 0, 1).is_done(), "an update is not settled");
    }

    #[test]
    fn a_pool_is_small() {
        assert!(
            RoundPool::max_encoded_len() <= 128
                && RoundEarnings::max_encoded_len() <= 32
                && Ledger::max_encoded_len() <= 80
        );
    }

    #[test]
    fn a_weight_never_overflows_nor_does_the_sum_of_a_round() {
        let largest = training_weight(u32::MAX, MILLION, MILLION);
        assert_eq!(largest, u128::from(u32::MAX) * u128::from(MILLION));
        assert!(largest.checked_mul(crate::MAX_SUBMISSIONS.into()).is_some());
        assert_eq!(training_weight(10, MILLION, 500_000), 10 * 500_000);
        assert_eq!(
            (training_weight(0, 9, 9), training_weight(9, 0, 9), training_weight(9, 9, 0)),
            (0, 0, 0)
        );
        assert_eq!(
            training_weight(1, MILLION, u32::MAX),
            u128::from(MILLION),
            "quality is at most one"
        );
    }

    proptest! {
        #[test]
        fn a_weight_grows_with_each_factor(
            score: u32,
            bonus in 0..=MILLION,
            quality in 0..=MILLION,
        ) {
            let base = training_weight(score, bonus, quality);
            prop_assert!(training_weight(score.saturating_add(1), bonus, quality) >= base);
            prop_assert!(training_weight(score, bonus + 1, quality) >= base);
            prop_assert!(training_weight(score, bonus, quality + 1) >= base);
        }
    }
}
