// SPDX-License-Identifier: Apache-2.0

//! Facts of the network at a block, and their reader.

use super::history::{History, MAX_BLOCKS};
use anyhow::Result;
use futures::{StreamExt, stream};
use pol_chain::{AccountBalance, AccountId, BlockContent, BlockInfo, Chain, ChainError};
use pol_primitives::{
    RoundNumber,
    audit::{Audit, AuditId},
    lease::Lease,
    metrics::HeadMeasurement,
    queries::{Member, Overview, PendingReward},
    rewards::Ledger,
    round::BlockNumber,
};
use std::{collections::BTreeMap, time::Duration};

/// Heads whose measurements are shown.
const MAX_HEADS: RoundNumber = 64;
/// Newest rounds whose measurement by validators may still come.
const MEASURED_ROUNDS: RoundNumber = 4;
/// Reads of the past at a time.
const READS_AT_ONCE: usize = 8;

/// State of the network at a block.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Best block, at which everything was read.
    pub(super) best: BlockInfo,
    /// Height of the last final block.
    pub(super) finalised: BlockNumber,
    /// Expected seconds between two blocks.
    pub(super) block_seconds: f64,
    pub(super) overview: Overview,
    /// Members by role, those with the largest bonds first.
    pub(super) members: Vec<Member<AccountId>>,
    pub(super) audits: Vec<(AuditId, Audit<AccountId>)>,
    pub(super) ledger: Ledger,
    /// Measurements of heads by their rounds.
    pub(super) measured: BTreeMap<RoundNumber, HeadMeasurement>,
    pub(super) account: Option<AccountFacts>,
    pub(super) history: History,
}

/// State of one account.
#[derive(Clone, Debug)]
pub(super) struct AccountFacts {
    pub(super) account: AccountId,
    pub(super) balance: AccountBalance,
    pub(super) member: Option<Member<AccountId>>,
    pub(super) lease: Option<Lease>,
    pub(super) rewards: Vec<PendingReward>,
}

/// Reader of the facts, which keeps those of the past.
pub(super) struct FactReader {
    chain: Chain,
    account: Option<AccountId>,
    block_time: Duration,
    history: History,
    measured: BTreeMap<RoundNumber, HeadMeasurement>,
    /// Set once the measurements of earlier heads are read.
    knows_past: bool,
}

impl FactReader {
    /// Creates a reader that also reads the facts of `account`.
    pub(super) async fn new(chain: Chain, account: Option<AccountId>) -> Result<Self> {
        let block_time = chain.block_time().await?;
        Ok(Self {
            chain,
            account,
            block_time,
            history: History::default(),
            measured: BTreeMap::new(),
            knows_past: false,
        })
    }

    /// Returns the client that reads go through.
    pub(super) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Returns the expected time between two blocks.
    pub(super) fn block_time(&self) -> Duration {
        self.block_time
    }

    /// Reads the facts at the best block.
    pub(super) async fn read_best(&mut self) -> Result<Facts> {
        let best = self.chain.best_block().await?;
        self.read(best).await
    }

    /// Reads the facts at a block.
    pub(super) async fn read(&mut self, best: BlockInfo) -> Result<Facts> {
        if self.history.last().is_some_and(|last| last.number > best.number) {
            // Another fork, or a development chain that began anew.
            (self.history, self.measured, self.knows_past) = Default::default();
        }
        let chain = self.chain.at(best.hash);
        let overview = chain.overview().await?;
        self.read_history(best).await?;
        if let Some(head) = &overview.head {
            self.read_measurements(&chain, head.round).await?;
        }
        let mut members = chain.members().await?;
        members.sort_by_key(|member| (member.role as u8, u128::MAX - member.bond, member.account));
        Ok(Facts {
            best,
            finalised: chain.finalised_block().await?.number,
            block_seconds: self.block_time.as_secs_f64(),
            members,
            audits: chain.audits().await?,
            ledger: chain.ledger().await?,
            measured: self.measured.clone(),
            account: match self.account {
                Some(account) => Some(AccountFacts::read(&chain, account).await?),
                None => None,
            },
            history: self.history.clone(),
            overview,
        })
    }

    /// Reads the events of the blocks up to `best` that are not known.
    async fn read_history(&mut self, best: BlockInfo) -> Result<(), ChainError> {
        let oldest = best.number.saturating_sub(MAX_BLOCKS).saturating_add(1).max(1);
        // Once more after blocks of another fork.
        for _ in 0..2 {
            let next = self.history.last().map_or(oldest, |last| last.number.saturating_add(1));
            if next < oldest {
                self.history = History::default();
            }
            let numbers = stream::iter(next.max(oldest)..=best.number);
            let chain = &self.chain;
            let mut contents =
                numbers.map(|number| block_content(chain, number)).buffered(READS_AT_ONCE);
            let mut is_connected = true;
            while let Some(content) = contents.next().await {
                let Some(content) = content? else { continue };
                is_connected = self.history.push(&content);
                if !is_connected {
                    break;
                }
            }
            drop(contents);
            if is_connected {
                break;
            }
            self.history = History::default();
        }
        Ok(())
    }

    /// Reads the measurements of heads that are not known.
    async fn read_measurements(
        &mut self,
        chain: &Chain,
        head: RoundNumber,
    ) -> Result<(), ChainError> {
        let rounds = if self.knows_past { MEASURED_ROUNDS } else { MAX_HEADS };
        let first = head.saturating_sub(rounds - 1);
        let missing: Vec<_> =
            (first..=head).filter(|round| !self.measured.contains_key(round)).collect();
        let mut found = stream::iter(missing)
            .map(|round| async move {
                Ok::<_, ChainError>((round, chain.head_measurement(round).await?))
            })
            .buffered(READS_AT_ONCE);
        while let Some(measurement) = found.next().await {
            let (round, measured): (_, Option<HeadMeasurement>) = measurement?;
            self.measured.extend(measured.map(|measured| (round, measured)));
        }
        drop(found);
        self.knows_past = true;
        let oldest = head.saturating_sub(MAX_HEADS - 1);
        self.measured.retain(|round, _| *round >= oldest);
        Ok(())
    }
}

impl AccountFacts {
    async fn read(chain: &Chain, account: AccountId) -> Result<Self, ChainError> {
        Ok(Self {
            account,
            balance: chain.balance(&account).await?,
            member: chain.member(&account).await?,
            lease: chain.lease(&account).await?,
            rewards: chain.pending_rewards(&account).await?,
        })
    }
}

/// Returns a block of the best chain, or `None` if it or its state is gone.
async fn block_content(
    chain: &Chain,
    number: BlockNumber,
) -> Result<Option<BlockContent>, ChainError> {
    let Some(hash) = chain.block_hash(number).await? else { return Ok(None) };
    match chain.block_content(BlockInfo { number, hash }).await {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.is_pruned() => Ok(None),
        Err(error) => Err(error),
    }
}
