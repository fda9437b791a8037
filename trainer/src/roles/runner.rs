// SPDX-License-Identifier: Apache-2.0

//! The loop over the chain's blocks.

use crate::{
    context::NodeContext,
    display::short_hash,
    error::{Result, RoleError},
};
use anyhow::{Context, anyhow};
use futures::{FutureExt, StreamExt};
use pol_primitives::{Hash, queries::Overview};
use std::{future::Future, pin::pin};

/// Types that act at every block.
pub trait BlockHandler {
    /// Does what is due at `overview`.
    ///
    /// # Errors
    ///
    /// Fails with a transient error if it should be called again at the next block, and with a
    /// fatal one if only a person can help.
    fn on_block(&mut self, overview: &Overview) -> impl Future<Output = Result<()>> + Send;
}

/// Calls `role` at every block of the chain whose first block is `first_block`.
///
/// # Errors
///
/// Returns the first fatal error, or an error if the node ends the stream of blocks.
pub async fn run(
    context: &NodeContext,
    first_block: &Hash,
    role: &mut impl BlockHandler,
) -> anyhow::Result<()> {
    let mut blocks = pin!(context.chain.blocks().await?);
    while blocks.next().await.is_some() {
        // Of the blocks that came during the last call, only the newest matters.
        while let Some(Some(_)) = blocks.next().now_or_never() {}
        handle_block(context, first_block, role)
            .await
            .or_else(RoleError::log_transient)
            .map_err(RoleError::into_inner)
            .context("cannot go on")?;
    }
    Err(anyhow!("the node ended the stream of blocks; start this process again"))
}

async fn handle_block(
    context: &NodeContext,
    first_block: &Hash,
    role: &mut impl BlockHandler,
) -> Result<()> {
    // Another node may have taken the place of the first one.
    match context.chain.first_block_hash().await? {
        Some(found) if found == *first_block => {}
        Some(found) => {
            return Err(RoleError::fatal(anyhow!(
                "the node serves another chain now: its first block was {} and is {}; start this \
                 process again to take part in that one",
                short_hash(first_block),
                short_hash(&found)
            )));
        }
        None => {
            return Err(RoleError::transient(anyhow!(
                "the node has lost its chain or is still loading it"
            )));
        }
    }
    let overview = context.chain.overview().await?;
    role.on_block(&overview).await
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn shutdown_signal() {
    let mut terminate =
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(terminate) => terminate,
            Err(error) => {
                tracing::warn!("cannot listen for SIGTERM: {error}");
                return std::future::pending().await;
            }
        };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
