// SPDX-License-Identifier: Apache-2.0

//! Facts of a block, by its events and the state of the chain after it.

mod data;
mod learning;
mod money;

use crate::{
    facts::{AccountState, Extrinsic, LedgerState, ManifestStage, MemberState, Movement, Penalty},
    store::BlockFacts,
};
use futures::{StreamExt, TryStreamExt, stream};
use pol_chain::{
    AccountId, BlockContent, BlockExtrinsic, BlockInfo, Chain, ChainError, ChainEvent,
};
use pol_primitives::{
    Balance, RoundNumber,
    data::ManifestId,
    submission::{Submission, SubmissionRecord},
};
use std::collections::{BTreeMap, BTreeSet};

/// Number of requests to the node at a time.
const REQUESTS: usize = 16;

/// Reads a block with its facts.
pub(crate) async fn read_block(chain: &Chain, block: BlockInfo) -> Result<BlockFacts, ChainError> {
    let content = chain.block_content(block).await?;
    let mut reader = BlockReader::new(chain, &content);
    if block.number == 0 {
        reader.accounts.extend(reader.here.accounts().await?);
        let members = reader.here.members().await?;
        reader.members.extend(members.into_iter().map(|member| member.account));
    }
    reader.note_extrinsics(&content);
    for event in &content.events {
        reader.note_money(&event.event, event.extrinsic);
        reader.note_learning(&event.event).await?;
        reader.note_data(&event.event).await?;
    }
    reader.finish().await
}

/// Facts of a block that are being collected.
struct BlockReader {
    /// State after the block.
    here: Chain,
    /// State before it.
    before: Chain,
    facts: BlockFacts,
    /// Accounts whose balance changed.
    accounts: BTreeSet<AccountId>,
    /// Accounts whose membership changed.
    members: BTreeSet<AccountId>,
    /// Manifests whose stage changed, with the stage of those that the state no longer has.
    manifests: BTreeMap<ManifestId, Option<ManifestStage>>,
    /// Rounds that were settled, with what nobody earned.
    settled_rounds: Vec<(RoundNumber, Balance)>,
    /// Rewards that were claimed.
    claims: Vec<(AccountId, RoundNumber, Balance)>,
    penalties: Vec<Penalty>,
    is_ledger_changed: bool,
    /// Submissions that are not settled after the block, by the rounds that were asked for.
    submissions: BTreeMap<RoundNumber, Vec<(AccountId, Submission)>>,
    /// Settled submissions, likewise.
    history: BTreeMap<RoundNumber, Vec<(AccountId, SubmissionRecord)>>,
}

impl BlockReader {
    fn new(chain: &Chain, content: &BlockContent) -> Self {
        let BlockContent { block, parent, time, author, .. } = *content;
        let before = if block.number == 0 { block.hash } else { parent };
        Self {
            here: chain.at(block.hash),
            before: chain.at(before),
            facts: BlockFacts::new(block, parent, time, author),
            accounts: BTreeSet::new(),
            members: BTreeSet::new(),
            manifests: BTreeMap::new(),
            settled_rounds: Vec::new(),
            claims: Vec::new(),
            penalties: Vec::new(),
            is_ledger_changed: false,
            submissions: BTreeMap::new(),
            history: BTreeMap::new(),
        }
    }

    /// Notes the extrinsics but that which sets the time.
    fn note_extrinsics(&mut self, content: &BlockContent) {
        let mut fees = BTreeMap::new();
        for event in &content.events {
            if let (ChainEvent::FeePaid { fee, tip, .. }, Some(index)) =
                (&event.event, event.extrinsic)
            {
                fees.insert(index, (fee.saturating_sub(*tip), *tip));
            }
        }
        for (number, extrinsic) in (0..).zip(&content.extrinsics) {
            let BlockExtrinsic { hash, signer, nonce, pallet, call, failure } = extrinsic.clone();
            if signer.is_none() && pallet == "Timestamp" {
                continue;
            }
            let (fee, tip) = fees.get(&number).copied().unwrap_or_default();
            self.facts.push(&Extrinsic {
                number,
                hash,
                signer,
                nonce,
                pallet,
                call,
                fee,
                tip,
                failure,
            });
        }
    }

    fn note_movement(&mut self, movement: &Movement) {
        self.accounts.insert(movement.account);
        self.facts.push(movement);
    }

    /// Adds the facts that follow from the state after the block.
    async fn finish(mut self) -> Result<BlockFacts, ChainError> {
        self.add_rewards().await?;
        self.add_manifests().await?;
        for penalty in std::mem::take(&mut self.penalties) {
            self.facts.push(&penalty);
        }
        if self.is_ledger_changed {
            let ledger = self.here.ledger().await?;
            let pol_primitives::rewards::Ledger { emitted, seized, paid, burned, waiting } = ledger;
            self.facts.push(&LedgerState { emitted, seized, paid, burned, waiting });
        }
        self.add_members().await?;
        self.add_balances().await?;
        Ok(self.facts)
    }

    async fn add_balances(&mut self) -> Result<(), ChainError> {
        let here = &self.here;
        let balances: Vec<_> = stream::iter(std::mem::take(&mut self.accounts))
            .map(async |account| Ok::<_, ChainError>((account, here.balance(&account).await?)))
            .buffered(REQUESTS)
            .try_collect()
            .await?;
        for (account, balance) in balances {
            let pol_chain::AccountBalance { free, held, frozen } = balance;
            self.facts.push(&AccountState { account, free, held, frozen });
        }
        Ok(())
    }

    async fn add_members(&mut self) -> Result<(), ChainError> {
        if self.members.is_empty() {
            return Ok(());
        }
        let stakes = self.here.stakes().await?;
        for account in std::mem::take(&mut self.members) {
            let stake = stakes.iter().find(|(other, _)| *other == account).map(|(_, stake)| *stake);
            let member = self.here.member(&account).await?;
            self.facts.push(&match member {
                Some(member) => MemberState {
                    account,
                    role: Some(member.role),
                    bond: member.bond,
                    stake,
                    bonded: member.bonded,
                    chilled: member.chilled,
                    absent: member.absent,
                    endpoint: member.endpoint,
                },
                None => MemberState {
                    account,
                    role: None,
                    bond: 0,
                    stake,
                    bonded: false,
                    chilled: false,
                    absent: false,
                    endpoint: None,
                },
            });
        }
        Ok(())
    }
}
