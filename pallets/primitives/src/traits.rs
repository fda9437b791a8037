//! What the pallets know of each other.

use crate::{Balance, Hash, RoundNumber, data::ShardId, prf::Prf};
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
    /// Notes that the account took part in attest phase `phase`, counted from zero, so that it counts as alive.
    fn note_attested(account: &AccountId, phase: u32);
    /// Takes up to `amount` of the account's bond; returns what was taken.
    fn slash(account: &AccountId, amount: Balance) -> Balance;
}

/// The round under way, as staking and rewards see it.
pub trait Rounds {
    /// Number of the round.
    fn number() -> RoundNumber;
    /// Whether a quorum is being counted, while which stakes may not change.
    fn attesting() -> bool;
    /// Attest phases that have ended so far, with or without a head.
    fn attest_phases() -> u32;
    /// Attest phases a validator may miss in a row.
    fn missable() -> u32;
}

/// The pool of shards, as the learning pallet sees it.
pub trait ShardPool {
    /// Shards nobody has.
    fn free() -> u32;
    /// Leases up to `count` shards at positions drawn from `prf`; fewer when the pool runs out.
    fn lease(count: u32, prf: &mut Prf) -> Vec<ShardId>;
    /// Takes shards back whose lease came to nothing.
    fn release(shards: &[ShardId]);
    /// Marks shards as part of the model, once and for all.
    fn consume(shards: &[ShardId], round: RoundNumber);
}

/// Money for learning, as the learning pallet sees it.
pub trait Payouts {
    /// Emits what `round` earned into escrow.
    fn round_concluded(round: RoundNumber);
}

/// What data must look like to be trained on.
pub trait DataFormat {
    /// Tokens of a shard and the tokenizer they were made with, of the recipe that will be in force when the next round opens;
    /// none before there is a recipe.
    fn shard_tokens_and_tokenizer() -> Option<(u32, Hash)>;
}
