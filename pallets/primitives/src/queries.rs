// SPDX-License-Identifier: Apache-2.0

//! Answers of the runtime API to trainers and validators.

use crate::{
    Balance, Hash,
    head::Head,
    member::{Endpoint, Role},
    round::{BlockNumber, Round, RoundConfig},
};
use alloc::vec::Vec;
use codec::{Decode, Encode};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// Maximum number of audits in one answer. An audit of a thousand holders takes 92 kB.
pub const AUDITS_PAGE: usize = 16;

/// Number of manifests that are looked at for one answer.
pub const MANIFESTS_PAGE: u32 = 512;
/// Number of chunks of shard records that are read for one answer. It holds up to 16,384 records,
/// of 13 bytes each.
pub const RECORD_CHUNKS_PAGE: u32 = 128;

/// Part of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Page<T> {
    /// Items of this part; possibly none although others follow.
    pub items: Vec<T>,
    /// Start of the next part; `None` if this is the last one.
    pub next: Option<u32>,
}

/// State of the network at a block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct Overview {
    /// Height of the block.
    pub height: BlockNumber,
    /// Time on the [`Clock`](crate::clock::Clock) of all deadlines.
    pub now: BlockNumber,
    /// Current round.
    pub round: Round,
    /// Lengths of the phases.
    pub config: RoundConfig,
    /// Current model; `None` until round 0 is attested.
    pub head: Option<Head>,
    /// Hash of the recipe in force; `None` until governance has set one.
    #[serde(with = "crate::hex_hash::option")]
    pub recipe_hash: Option<Hash>,
    /// Number of shards that are neither leased nor consumed.
    pub free_shards: u32,
    /// Total stake that takes part in attesting.
    pub validator_stake: Balance,
}

/// A bonded account.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Member<AccountId> {
    /// Account of the member.
    pub account: AccountId,
    /// Role that the account is bonded for.
    pub role: Role,
    /// Active bond.
    pub bond: Balance,
    /// Part of the bond that is locked for unsettled updates.
    pub locked: Balance,
    /// `true` if the active bond is enough to act in the role.
    pub bonded: bool,
    /// Set if the member is inactive because it missed too many attest phases.
    pub chilled: bool,
    /// `true` if the authority produced no or too few blocks, and is not elected until
    /// it says that it is back.
    pub absent: bool,
    /// Endpoint at which it serves blobs.
    pub endpoint: Option<Endpoint>,
}

/// A share of a round's emission that its owner has not claimed yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct PendingReward {
    /// Round that emitted it.
    pub round: crate::RoundNumber,
    /// Amount that a claim would pay; `None` until every update of the round is settled.
    pub amount: Option<Balance>,
    /// First round in which it can be claimed.
    pub from: crate::RoundNumber,
}

/// A validator's attestation of the next head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Attestation<AccountId> {
    /// Account of the validator.
    pub account: AccountId,
    /// Root of the head that the validator computed.
    pub root: Hash,
}
