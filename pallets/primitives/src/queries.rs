//! What the runtime tells a trainer: one answer for one decision.

use crate::{
    Balance, Hash,
    head::Head,
    member::{Endpoint, Role},
    round::{BlockNumber, Round, RoundConfig},
};
use codec::{Decode, Encode};
use scale_info::TypeInfo;
use serde::{Deserialize, Serialize};

/// The network at a block.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct Overview<AccountId> {
    /// Height of this block.
    pub now: BlockNumber,
    /// The round under way.
    pub round: Round,
    /// Lengths of its phases.
    pub config: RoundConfig,
    /// The global model; none before round zero is attested.
    pub head: Option<Head>,
    /// Hash of the recipe in force; none before governance set one.
    #[serde(with = "crate::hex_hash::option")]
    pub recipe_hash: Option<Hash>,
    /// The validator whose turn it is to propose an included set.
    pub lead: Option<AccountId>,
    /// Shards nobody has.
    pub free_shards: u32,
    /// Stake taking part in attesting.
    pub validator_stake: Balance,
}

/// An account's part in the network.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Member<AccountId> {
    /// Who.
    pub account: AccountId,
    /// What it is bonded as.
    pub role: Role,
    /// Its active bond.
    pub bond: Balance,
    /// Whether it was set aside for missing too many attest phases.
    pub chilled: bool,
    /// Where it serves blobs.
    pub endpoint: Option<Endpoint>,
}

/// A share of a round's emission that waits for its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, TypeInfo, Serialize, Deserialize)]
pub struct PendingReward {
    /// The round.
    pub round: crate::RoundNumber,
    /// What a claim would pay; none until every update of the round is settled.
    pub amount: Option<Balance>,
    /// The round from which on it can be claimed.
    pub from: crate::RoundNumber,
}

/// An attestation of the next head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, TypeInfo)]
pub struct Attestation<AccountId> {
    /// The validator.
    pub account: AccountId,
    /// Root of the head it computed.
    pub root: Hash,
    /// The updates it was computed from.
    pub included: crate::submission::RevealSet,
}
