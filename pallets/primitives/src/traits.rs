// SPDX-License-Identifier: Apache-2.0

//! Interfaces between the pallets.

use crate::{
    Balance, Hash, Ppm, RoundNumber,
    audit::{SeatTally, seated_stakes},
    beacon::Pulse,
    data::ShardId,
    explanation::RoundWork,
    prf::Prf,
    rewards::RoundEarnings,
    round::BlockNumber,
};
use alloc::vec::Vec;
use core::ops::Range;

/// Bonded roles, as used by the learning pallet.
pub trait Bonds<AccountId> {
    /// Returns `true` if the account is bonded as a trainer.
    fn is_trainer(account: &AccountId) -> bool;
    /// Returns the round in which the account took its role; none if it has no role.
    fn bonded_since(account: &AccountId) -> Option<RoundNumber>;
    /// Returns the stake of a validator or authority that takes part in attesting, `None` for any
    /// other account.
    fn validator_stake(account: &AccountId) -> Option<Balance>;
    /// Returns the total stake that takes part in attesting.
    fn total_validator_stake() -> Balance;
    /// Returns the accounts among those of [`Bonds::stakes`] that have not acted since they came,
    /// in account order. Their stakes count in no whole.
    fn newcomers() -> Vec<AccountId>;
    /// Records that a validator acted, so that it is no newcomer.
    fn note_active(account: &AccountId);
    /// Records that the account took part in attest phase `phase`, counted from 0, and is alive.
    fn note_attested(account: &AccountId, phase: u32);
    /// Returns `true` if the account took part in attest phase `phase` or a later one, or could not
    /// have, since it came after that phase.
    fn has_attested(account: &AccountId, phase: u32) -> bool;
    /// Records if the root that the account attested is that of the head. Returns the number of
    /// wrong roots in a row.
    fn note_root(account: &AccountId, right: bool) -> u32;
    /// Returns the part of a trainer's bond that is not locked, 0 for any other account.
    fn free_bond(account: &AccountId) -> Balance;
    /// Locks `amount` of the bond for an update, until it is settled. The caller has checked that
    /// so much is free.
    fn lock(account: &AccountId, amount: Balance);
    /// Unlocks what [`Bonds::lock`] locked.
    fn unlock(account: &AccountId, amount: Balance);
    /// Burns up to `amount` of the account's bond. Returns the amount burned.
    fn slash(account: &AccountId, amount: Balance) -> Balance;
    /// Moves up to `amount` of the account's bond to `to`. Returns the amount moved.
    fn seize(account: &AccountId, amount: Balance, to: &AccountId) -> Balance;
    /// Returns the accounts that take part in attesting with their stakes, in account order.
    fn stakes() -> Vec<(AccountId, Balance)>;
    /// Adjusts a trainer's reputation to the outcome of an update.
    fn note_training(account: &AccountId, accepted: bool);
    /// Adjusts a validator's reputation and strikes to the results of its seats in a round.
    /// Returns the strikes.
    fn note_seats(account: &AccountId, tally: &SeatTally) -> u32;
}

/// Watcher of accounts that leave, as used by the staking pallet.
pub trait Departures<AccountId> {
    /// Notes that the account has withdrawn its bond.
    fn note_departure(account: &AccountId);
}

/// No watcher.
impl<AccountId> Departures<AccountId> for () {
    fn note_departure(_: &AccountId) {}
}

/// Stakes of validators, as used by the lineage pallet.
pub trait ValidatorStakes<AccountId> {
    /// Returns the validators whose word counts with their stakes, in account order.
    fn stakes() -> Vec<(AccountId, Balance)>;
}

/// Those count from whom seats are drawn, so that bonds without nodes outvote nobody.
impl<AccountId: Ord, B: Bonds<AccountId>> ValidatorStakes<AccountId> for B {
    fn stakes() -> Vec<(AccountId, Balance)> {
        seated_stakes(B::stakes(), &B::newcomers())
    }
}

/// The current round, as used by staking and rewards.
pub trait Rounds {
    /// Returns the number of the round.
    fn number() -> RoundNumber;
    /// Returns the number of attest phases that have ended, with or without a head.
    fn attest_phases() -> u32;
    /// Returns the number of attest phases that a validator may miss in a row.
    fn max_missed_phases() -> u32;
    /// Returns the number of rounds that a reward stays in escrow.
    fn escrow_rounds() -> RoundNumber;
}

/// The pool of shards, as used by the learning pallet.
pub trait ShardPool<AccountId> {
    /// Returns the number of shards that are neither leased nor consumed.
    fn free_shards() -> u32;
    /// Leases up to `count` shards at positions drawn from `prf`, fewer if the pool runs out.
    fn lease(count: u32, prf: &mut Prf) -> Vec<ShardId>;
    /// Returns the shards of a failed lease to the pool.
    fn release(shards: &[ShardId]);
    /// Marks shards as permanently consumed by the update at `index` among the round's reveals.
    ///
    /// `deltas` holds the part of the update's gain that is due to each shard, in billionths of a
    /// nat per token. A missing delta counts as 0, which means that the shard was not measured.
    fn consume(shards: &[ShardId], round: RoundNumber, index: u8, deltas: &[i32]);
    /// Draws up to `count` different free shards without leasing them.
    fn sample(count: u32, prf: &mut Prf) -> Vec<ShardId>;
    /// Returns the providers of the shards, each with the measured effect of its shards: the sum of
    /// the positive `deltas`. A missing delta counts as 0.
    fn effects(shards: &[ShardId], deltas: &[i32]) -> Vec<(AccountId, u64)>;
    /// Returns the mean [bonus](crate::data::SourceKind::bonus) of the shards.
    fn bonus(shards: &[ShardId]) -> Ppm;
    /// Returns `true` if a manifest of the shards was paused or retired.
    fn is_stopped(shards: &[ShardId]) -> bool;
}

/// Payment of rewards and fines, as used by the learning pallet.
pub trait Payouts<AccountId> {
    /// Mints the emission of `round` into escrow, for its `updates` included updates. The round
    /// took the blocks in `time`, on the protocol's clock.
    fn emit_round(round: RoundNumber, time: Range<BlockNumber>, updates: u32);
    /// Records that one more update of `round` is settled, with the earnings of each account.
    /// `improved` says that it stays in the model and its gain is positive.
    fn record_settlement(round: RoundNumber, improved: bool, earned: &[(AccountId, RoundEarnings)]);
    /// Returns the account that holds fines until they are burned.
    fn pot_account() -> AccountId;
    /// Burns a fine that has arrived in the pot.
    fn burn_fine(amount: Balance);
    /// Forfeits all rewards of the account in escrow, and burns those of settled rounds.
    fn forfeit(account: &AccountId);
}

/// Work of accounts in rounds, as used by the rewards pallet to explain rewards.
pub trait WorkRecords<AccountId> {
    /// Returns the work of the account in a round, and what the round waits for.
    fn work(account: &AccountId, round: RoundNumber) -> RoundWork<AccountId>;
}

/// Format of the data that can be trained on.
pub trait DataFormat {
    /// Returns the number of tokens in a shard and the hash of the tokenizer, according to the
    /// recipe of the next round to open; `None` if there is no recipe.
    fn shard_tokens_and_tokenizer() -> Option<(u32, Hash)>;
}

/// Beacon of public randomness, as used by the learning pallet.
pub trait Beacon {
    /// Begins to wait for a pulse that nobody knows before this block is final, and forgets any
    /// pulse before. Returns `false` if there is no beacon.
    fn await_pulse() -> bool;
    /// Returns the state of the pulse that is waited for.
    fn pulse() -> Pulse;
    /// Forgets the pulse: no draw needs it any more.
    fn release();
}

/// No beacon.
impl Beacon for () {
    fn await_pulse() -> bool {
        false
    }

    fn pulse() -> Pulse {
        Pulse::Missed
    }

    fn release() {}
}
