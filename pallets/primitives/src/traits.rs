//! What the pallets know of each other.

use crate::{Balance, Hash, Ppm, RoundNumber, data::ShardId, prf::Prf, rewards::RoundEarnings};
use alloc::vec::Vec;

/// Bonded roles, as the learning pallet sees them.
pub trait Bonds<AccountId> {
    /// Whether the account is bonded as a trainer.
    fn is_trainer(account: &AccountId) -> bool;
    /// Stake of a validator or authority that takes part in attesting; none for everybody else.
    fn validator_stake(account: &AccountId) -> Option<Balance>;
    /// Sum of the stakes of everybody taking part in attesting.
    fn total_validator_stake() -> Balance;
    /// The validator whose turn it is to propose, rotating from one that `seed` names.
    fn lead(seed: &Hash, turn: u32) -> Option<AccountId>;
    /// Notes that the account took part in attest phase `phase`, counted from zero, so that it
    /// counts as alive.
    fn note_attested(account: &AccountId, phase: u32);
    /// Burns up to `amount` of the account's bond; returns what was burned.
    fn slash(account: &AccountId, amount: Balance) -> Balance;
    /// Moves up to `amount` of the account's bond to `to`; returns what was moved.
    fn seize(account: &AccountId, amount: Balance, to: &AccountId) -> Balance;
    /// Everybody taking part in attesting with its stake, in account order.
    fn stakes() -> Vec<(AccountId, Balance)>;
    /// Notes how a trainer's update ended, in its reputation.
    fn note_training(account: &AccountId, accepted: bool);
    /// Notes whether a validator was right in a seat, in its reputation; returns how often in a row
    /// it has not been.
    fn note_seat(account: &AccountId, right: bool) -> u32;
}

/// The round under way, as staking and rewards see it.
pub trait Rounds {
    /// Number of the round.
    fn number() -> RoundNumber;
    /// Whether a quorum is being counted, while which stakes may not change.
    fn is_attesting() -> bool;
    /// Attest phases that have ended so far, with or without a head.
    fn attest_phases() -> u32;
    /// Attest phases a validator may miss in a row.
    fn max_missed_phases() -> u32;
    /// Rounds a reward waits before it can be claimed.
    fn escrow_rounds() -> RoundNumber;
}

/// The pool of shards, as the learning pallet sees it.
pub trait ShardPool<AccountId> {
    /// Shards nobody has.
    fn free_shards() -> u32;
    /// Leases up to `count` shards at positions drawn from `prf`; fewer when the pool runs out.
    fn lease(count: u32, prf: &mut Prf) -> Vec<ShardId>;
    /// Takes shards back whose lease came to nothing.
    fn release(shards: &[ShardId]);
    /// Marks shards as part of the model, once and for all, with what each did to it: by the update
    /// that was `index` among the round's reveals, in millionths of a nat a token. A delta that is
    /// missing counts as zero.
    fn consume(shards: &[ShardId], round: RoundNumber, index: u8, deltas: &[i32]);
    /// Draws up to `count` different shards that nobody has, and leaves them where they are.
    fn sample(count: u32, prf: &mut Prf) -> Vec<ShardId>;
    /// Who provided the shards, with how many are theirs.
    fn owners(shards: &[ShardId]) -> Vec<(AccountId, u32)>;
    /// How much the kinds of these shards are worth, on average.
    fn bonus(shards: &[ShardId]) -> Ppm;
}

/// Money for learning, as the learning pallet sees it.
pub trait Payouts<AccountId> {
    /// Emits what `round` earned into escrow, for its `updates` included updates.
    fn emit_round(round: RoundNumber, updates: u32);
    /// Notes that one more update of `round` is settled, and what everybody earned by it.
    fn record_settlement(round: RoundNumber, earned: &[(AccountId, RoundEarnings)]);
    /// Where fines are moved to before they are shared out.
    fn pot_account() -> AccountId;
    /// Shares out a fine that has arrived in the pot: half is burned, a quarter goes to those who
    /// proved it, the rest to the treasury.
    fn distribute_fine(amount: Balance, provers: &[AccountId]);
    /// Takes everything that waits in escrow for the account, as a fine.
    fn forfeit(account: &AccountId, provers: &[AccountId]);
}

/// What data must look like to be trained on.
pub trait DataFormat {
    /// Tokens of a shard and the tokenizer they were made with, of the recipe that will be in force
    /// when the next round opens; none before there is a recipe.
    fn shard_tokens_and_tokenizer() -> Option<(u32, Hash)>;
}
