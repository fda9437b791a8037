// SPDX-License-Identifier: Apache-2.0

//! Follower of a chain: adds its blocks to the index, and takes those of other forks back.

use crate::{Index, IndexError, read::read_block, store::BlockFacts};
use futures::{StreamExt, stream};
use pol_chain::{BlockInfo, Chain, ChainError};
use pol_primitives::{Hash, round::BlockNumber};
use std::convert::Infallible;

/// Number of blocks that are added with one transaction.
const BATCH: u32 = 64;
/// Number of blocks that are read at a time.
const BLOCKS_AT_ONCE: usize = 4;
/// Number of times in a row that the node may fail to answer before the follower gives up.
const MAX_FAILURES: u32 = 10;

/// Follower of a chain, which continues behind the last block of its index.
#[derive(Clone, Debug)]
pub struct Follower {
    index: Index,
}

/// State of a follower after a batch of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Last block of the index.
    pub last: BlockInfo,
    /// Height of the best block of the chain.
    pub best: BlockNumber,
    /// Height of the last block of the index that is final.
    pub finalised: Option<BlockNumber>,
    /// Number of blocks that were added.
    pub added: u32,
    /// Number of facts that were added.
    pub facts: usize,
    /// Number of blocks of another fork that were taken back before.
    pub retracted: u32,
}

impl Progress {
    /// Records the metrics of the follower.
    fn measure(&self) {
        let metrics = pol_metrics::index();
        metrics.block_height.set(self.last.number.into());
        metrics.behind_blocks.set(self.best.saturating_sub(self.last.number).into());
        if self.added > 0 {
            metrics.last_block_timestamp_seconds.set_now();
        }
        metrics.blocks_total.add(self.added.into());
        metrics.facts_total.add(self.facts as u64);
        metrics.retracted_blocks_total.add(self.retracted.into());
    }
}

impl Follower {
    /// Creates a follower that writes to an index. An index has one follower.
    #[must_use]
    pub fn new(index: Index) -> Self {
        pol_metrics::index().last_block_timestamp_seconds.set_now();
        Self { index }
    }

    /// Follows the chain for ever, and calls `notify` after each batch of blocks. It waits while
    /// the node is away. It can be stopped at any moment, and continues where it was.
    ///
    /// # Errors
    ///
    /// Fails as [`Self::catch_up`] does; only errors of the node are tried again first.
    pub async fn run(
        &self,
        chain: &Chain,
        mut notify: impl FnMut(&Progress),
    ) -> Result<Infallible, IndexError> {
        let mut blocks = chain.blocks().await?;
        let mut failures = 0;
        loop {
            match self.catch_up(chain, &mut notify).await {
                Ok(()) => failures = 0,
                // It is synchronising, or has just been started.
                Err(error @ IndexError::NodeBehind { .. }) => tracing::warn!("{error}"),
                // A node that was killed forgets its last blocks, and may be asked for one of them.
                Err(IndexError::Chain(error @ ChainError::Node(_))) if failures < MAX_FAILURES => {
                    failures += 1;
                    tracing::warn!(%error, "cannot read a block; trying again with the next one");
                }
                Err(error) => return Err(error),
            }
            blocks.next().await;
        }
    }

    /// Adds all blocks up to the best one, and calls `notify` after each batch of them.
    ///
    /// # Errors
    ///
    /// Fails with [`IndexError::OtherChain`] or [`IndexError::OtherHistory`] if the index is of
    /// another chain, with [`IndexError::NodeBehind`] if the node has fewer blocks than the index
    /// has final ones, with [`IndexError::Pruned`] if the node no longer has the state of a block,
    /// and if the node cannot answer or the database fails.
    pub async fn catch_up(
        &self,
        chain: &Chain,
        mut notify: impl FnMut(&Progress),
    ) -> Result<(), IndexError> {
        self.check_genesis(chain).await?;
        loop {
            let best = chain.best_block().await?.number;
            let retracted = self.retract_forks(chain).await?;
            let last = self.index.last_block().await?;
            let next = last.map_or(0, |last| last.number.saturating_add(1));
            let blocks = self.read_batch(chain, last, next, best).await?;
            self.index.apply(&blocks).await?;
            let finalised = self.finalise(chain).await?;
            if let Some(last) = self.index.last_block().await? {
                let progress = Progress {
                    last,
                    best,
                    finalised,
                    added: u32::try_from(blocks.len()).unwrap_or(u32::MAX),
                    facts: blocks.iter().map(BlockFacts::len).sum(),
                    retracted,
                };
                progress.measure();
                if progress.added > 0 || retracted > 0 {
                    notify(&progress);
                }
            }
            if next > best || (blocks.is_empty() && retracted == 0) {
                return Ok(());
            }
        }
    }

    async fn check_genesis(&self, chain: &Chain) -> Result<(), IndexError> {
        let node = chain.genesis_hash();
        match self.index.block_hash(0).await? {
            Some(indexed) if indexed != node => Err(IndexError::OtherChain { indexed, node }),
            _ => Ok(()),
        }
    }

    /// Takes back the blocks that the best chain does not have. Returns their number.
    async fn retract_forks(&self, chain: &Chain) -> Result<u32, IndexError> {
        let finalised = self.index.finalised_block().await?.map(|block| block.number);
        let mut retracted = 0;
        while let Some(last) = self.index.last_block().await? {
            let here = chain.block_hash(last.number).await?;
            if here == Some(last.hash) {
                break;
            }
            if finalised.is_some_and(|finalised| last.number <= finalised) {
                return Err(self.explain_missing(chain, last, here).await?);
            }
            self.index.retract(last).await?;
            retracted += 1;
        }
        Ok(retracted)
    }

    /// Returns the reason why the node does not have `last`, which is final in the index. `here` is
    /// its block at that height, if it has one.
    async fn explain_missing(
        &self,
        chain: &Chain,
        last: BlockInfo,
        here: Option<Hash>,
    ) -> Result<IndexError, IndexError> {
        let best = chain.best_block().await?;
        if here.is_some() || self.index.block_hash(best.number).await? != Some(best.hash) {
            return Ok(IndexError::OtherHistory { number: best.number.min(last.number) });
        }
        Ok(IndexError::NodeBehind { node: best.number, index: last.number })
    }

    /// Reads the blocks from `next` to `best`, at most a batch of them, as far as they follow each
    /// other. They do not where the best chain changes meanwhile.
    async fn read_batch(
        &self,
        chain: &Chain,
        last: Option<BlockInfo>,
        next: BlockNumber,
        best: BlockNumber,
    ) -> Result<Vec<BlockFacts>, IndexError> {
        let end = best.min(next.saturating_add(BATCH - 1));
        let read = async |number| {
            let Some(hash) = chain.block_hash(number).await? else { return Ok(None) };
            match read_block(chain, BlockInfo { number, hash }).await {
                // The state of an abandoned fork is soon gone.
                Err(_) if chain.block_hash(number).await? != Some(hash) => Ok(None),
                Err(error) if error.is_pruned() => Err(IndexError::Pruned { number }),
                read => Ok(Some(read?)),
            }
        };
        let mut reads = std::pin::pin!(stream::iter(next..=end).map(read).buffered(BLOCKS_AT_ONCE));
        let (mut blocks, mut before) = (Vec::new(), last);
        while let Some(read) = reads.next().await {
            let Some(block) = read? else { break };
            if before.is_some_and(|before| before.hash != block.parent) {
                break;
            }
            before = Some(block.block);
            blocks.push(block);
        }
        Ok(blocks)
    }

    /// Notes which block of the index is final, and returns its height.
    async fn finalise(&self, chain: &Chain) -> Result<Option<BlockNumber>, IndexError> {
        let Some(last) = self.index.last_block().await? else { return Ok(None) };
        let finalised = chain.finalised_block().await?;
        let final_here = if finalised.number <= last.number { finalised } else { last };
        // A block at or below the final one is final if the best chain has it.
        let is_indexed = self.index.block_hash(final_here.number).await? == Some(final_here.hash);
        if is_indexed && chain.block_hash(final_here.number).await? == Some(final_here.hash) {
            self.index.finalise(final_here.number).await?;
        }
        Ok(self.index.finalised_block().await?.map(|block| block.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_can_run_on_any_thread() {
        fn sendable<T: Send>(_: T) {}
        fn runs(follower: &Follower, chain: &Chain) {
            sendable(follower.run(chain, |_| {}));
        }
        let _: fn(&Follower, &Chain) = runs;
    }
}
