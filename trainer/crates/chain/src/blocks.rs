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
    /// the connection is lost, it logs that once, subscribes again and continues.
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
        Ok(BlockSubscription { chain: self.clone(), headers, last: None })
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

/// Endless subscription to the best chain's blocks.
pub(crate) struct BlockSubscription {
    chain: Chain,
    headers: RpcSubscription<Header>,
    last: Option<BlockInfo>,
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
            tracing::warn!(url = self.chain.node.url, reason, "lost the node; reconnecting");
            self.resubscribe().await;
            tracing::info!(url = self.chain.node.url, "following the node again");
        }
    }

    /// Subscribes again, waiting for as long as the node is away.
    async fn resubscribe(&mut self) {
        let mut delays = reconnect_delays();
        loop {
            match self.chain.subscribe_blocks().await {
                Ok(blocks) => break self.headers = blocks.headers,
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
