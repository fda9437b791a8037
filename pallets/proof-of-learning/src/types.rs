// SPDX-License-Identifier: Apache-2.0

//! Limits of the pallet, and types that only it stores.

use codec::{Decode, Encode, MaxEncodedLen};
use pol_primitives::{
    Balance, BoundedVec, ConstU32, Hash, MAX_SUBMISSIONS, MAX_VALIDATORS,
    audit::{Binding, Finding, PendingAudit},
    head::Excision,
    round::BlockNumber,
};
use polkadot_sdk::frame_support::traits::StorageVersion;
use scale_info::TypeInfo;

/// Version of the pallet's storage.
pub const STORAGE_VERSION: StorageVersion = StorageVersion::new(1);

/// Number of attestations of past phases that one block clears for each phase that waits.
pub const SWEEP_BATCH: u32 = 32;

/// Maximum number of attestations of past phases that one block clears. A thousand validators in
/// rounds of eight blocks leave 125 a block.
pub const MAX_SWEEP: u32 = 4 * SWEEP_BATCH;

/// Maximum number of records of submissions that one block removes. A round has 64 at most.
pub const MAX_EXPIRED: u32 = 32;

/// Number of open audits at which no further round opens: learning waits for its audits.
pub const MAX_OPEN_AUDITS: u32 = 32;

/// Maximum number of duties in a block. A block has weight for about as many.
pub const MAX_DUTIES: u32 = 1_024;

/// Maximum number of duties that one account has in a block. Further ones wait for the next block.
pub const MAX_DUTIES_PER_BLOCK: usize = 4;

/// Blocks for which a second draw waits beside the mix, so that the other updates of the audit are
/// settled meanwhile, and one audit has all that need it. Settlements of 64 updates take 11 blocks.
pub const SECOND_DRAW_WAIT: BlockNumber = 12;

/// Maximum number of updates that wait for a draw: those of two heads, and as many as one head has
/// that a first draw did not acquit.
pub const MAX_PENDING_AUDITS: u32 = 3 * MAX_SUBMISSIONS;

/// Maximum number of updates that wait to be taken out of the model.
///
/// When a round opens, at most `MAX_OPEN_AUDITS - 1` audits of 64 updates each are unsettled, and
/// 64 updates wait for either draw. A head adds 64 updates, and takes out as many as wait, up to
/// 64. The sum of unsettled and waiting updates therefore never exceeds this limit.
pub const MAX_PENDING_EXCISIONS: u32 = (MAX_OPEN_AUDITS + 2) * MAX_SUBMISSIONS;

/// Updates that wait for their seats to be drawn, each with the block in which it began to wait.
pub type PendingAudits<AccountId> =
    BoundedVec<(PendingAudit<AccountId>, BlockNumber), ConstU32<MAX_PENDING_AUDITS>>;

/// Stakes that seats are drawn from, in account order.
pub type SeatedStakes<AccountId> = BoundedVec<(AccountId, Balance), ConstU32<MAX_VALIDATORS>>;

/// Updates to be taken out of the model, each with the block that settled it, oldest first.
pub type PendingExcisions = BoundedVec<(Excision, BlockNumber), ConstU32<MAX_PENDING_EXCISIONS>>;

/// Finding that a seat revealed, with its judgement of the opened ends where the recipe is native.
pub type SeatFinding = (Finding, Option<Binding>);

/// Attestation of the next head, with the stake that counts for it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct StakedAttestation {
    /// Root of the head that the validator computed.
    pub root: Hash,
    /// Stake of the validator when the count began.
    pub stake: Balance,
}
