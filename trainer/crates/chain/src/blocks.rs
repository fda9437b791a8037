// SPDX-License-Identifier: Apache-2.0

//! Blocks, and the subscription to new ones.

use crate::{
    Chain, ChainError,
    failover::{MAX_RECONNECT_DELAY, reconnect_delays},
};
use codec::Encode;
use futures::stream::{self, BoxStream};
use pol_primitives::{Hash, round::BlockNumber};
use sp_crypto_hashing::blake2_256;
use std::sync::{MutexGuard, PoisonError};
use subxt::{
    config::substrate::SubstrateHeader, error::BackendError, rpcs::client::RpcSubscription,
    utils::H256,
};
use tokio::time;

type Header = SubstrateHeader<H256>;

/// A block, by height and hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    /// Height of the block.
    pub number: BlockNumber,
    /// Hash of the block.
    pub hash: Hash,
}

impl From<&Header> for BlockInfo {
    fn from(header: &Header) -> Self {
        // The chain's own block number has 32 bits.
        Self {
            number: u32::try_from(header.number).unwrap_or(u32::MAX),
            hash: blake2_256(&header.encode()),
        }
    }
}

impl Chain {
    /// Returns the best block.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn best_block(&self) -> Result<BlockInfo, ChainError> {
        self.block(None).await
    }

    /// Returns the last finalised block.
    ///
    /// # Errors
    ///
    /// Fails if the node cannot answer.
    pub async fn finalised_block(&self) -> Result<BlockInfo, ChainError> {
        let hash = self.request(|| self.node.rpc.chain_get_finalized_head()).await?;
        self.block(Some(hash)).await
    }

    /// Returns a stream of the best block, and of each block that becomes the best one, in order.
    ///
    /// Blocks may be skipped and, in a reorganisation, numbers repeated. The stream never ends: if
    /// the connection is lost, it subscribes again and continues. All streams of this client and
    /// of its clones together log the loss once, and once that the node is back.
    ///
    /// # Errors
    ///
    /// Fails if the node refuses the subscription.
    pub async fn blocks(&self) -> Result<BoxStream<'static, BlockInfo>, ChainError> {
        let blocks = self.subscribe_blocks().await?;
        Ok(Box::pin(stream::unfold(blocks, |mut blocks| async {
            Some((blocks.next().await, blocks))
        })))
    }

    pub(crate) async fn subscribe_blocks(&self) -> Result<BlockSubscription, ChainError> {
        let headers = self.request(|| self.node.rpc.chain_subscribe_new_heads()).await?;
        let losses = self.link().losses;
        Ok(BlockSubscription { chain: self.clone(), headers, last: None, losses })
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.node.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the block with this hash, or the best block if none is given.
    pub(crate) async fn block(&self, hash: Option<H256>) -> Result<BlockInfo, ChainError> {
        let header = self.request(|| self.node.rpc.chain_get_header(hash)).await?;
        header.as_ref().map(BlockInfo::from).ok_or_else(|| {
            unknown_block(hash.map_or("best".to_owned(), |hash| format!("{hash:?}")))
        })
    }

    /// Returns the block at a height of the best chain.
    pub(crate) async fn block_at(&self, number: u64) -> Result<BlockInfo, ChainError> {
        let hash = self.request(|| self.node.rpc.chain_get_block_hash(Some(number.into()))).await?;
        self.block(Some(hash.ok_or_else(|| unknown_block(number.to_string()))?)).await
    }
}

/// State of the connection to the node, as the subscriptions of one client find it.
///
/// One loss ends all of them, each at its own moment. So a subscription remembers the number of
/// losses that were known when it began, and only the first one to notice another loss tells it.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Number of losses so far.
    losses: u64,
    /// Set from a loss until the first subscription that begins again.
    is_lost: bool,
}

impl Link {
    /// Notes that a subscription ended that knew of `known` losses. Returns `true` if no other one
    /// noted this loss before.
    fn note_end(&mut self, known: u64) -> bool {
        let is_first = known == self.losses;
        if is_first {
            self.losses += 1;
            self.is_lost = true;
        }
        is_first
    }

    /// Notes that a subscription began again. Returns `true` if it is the first one since the loss.
    fn note_return(&mut self) -> bool {
        std::mem::take(&mut self.is_lost)
    }
}

/// Endless subscription to the best chain's blocks.
pub(crate) struct BlockSubscription {
    chain: Chain,
    headers: RpcSubscription<Header>,
    last: Option<BlockInfo>,
    /// Number of losses of the node that were known when the subscription began.
    losses: u64,
}

impl BlockSubscription {
    pub(crate) async fn next(&mut self) -> BlockInfo {
        loop {
            let reason = match self.headers.next().await {
                Some(Ok(header)) => {
                    let block = BlockInfo::from(&header);
                    // A new subscription begins with the best block, which may be known.
                    if self.last.replace(block) != Some(block) {
                        return block;
                    }
                    continue;
                }
                Some(Err(error)) => error.to_string(),
                None => "the subscription ended".to_owned(),
            };
            let url = &self.chain.node.url;
            if self.chain.link().note_end(self.losses) {
                tracing::warn!(url, reason, "lost the node; reconnecting");
            } else {
                tracing::debug!(url, reason, "the subscription ended with the node");
            }
            self.resubscribe().await;
            if self.chain.link().note_return() {
                tracing::info!(url = self.chain.node.url, "following the node again");
            }
        }
    }

    /// Subscribes again, waiting for as long as the node is away.
    async fn resubscribe(&mut self) {
        let mut delays = reconnect_delays();
        loop {
            match self.chain.subscribe_blocks().await {
                Ok(blocks) => {
                    (self.headers, self.losses) = (blocks.headers, blocks.losses);
                    break;
                }
                Err(error) => tracing::debug!(%error, "cannot follow the node yet"),
            }
            time::sleep(delays.next().unwrap_or(MAX_RECONNECT_DELAY)).await;
        }
    }
}

/// Returns the error of a node that does not know `block`.
pub(crate) fn unknown_block(block: String) -> ChainError {
    ChainError::node(BackendError::other(format!("it does not know block {block}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_told_once_however_many_subscriptions_it_ends() {
        let mut link = Link::default();
        let known = link.losses;
        assert!(link.note_end(known), "the first subscription tells it");
        assert!(!link.note_end(known), "the second one does not");
        assert!(link.note_return() && !link.note_return());
        assert!(!link.note_end(known), "nor does one that notices it after the node is back");
        assert!(!link.note_return());
    }

    #[test]
    fn each_further_loss_is_told() {
        let mut link = Link::default();
        for loss in 0..3 {
            assert_eq!(link.losses, loss);
            assert!(link.note_end(loss) && link.note_return());
        }
    }
}
