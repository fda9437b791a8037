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
use tokio::sync::watch;

/// Sender of the overviews of new blocks, of which only the newest matters.
pub type OverviewSender = watch::Sender<Option<Overview>>;

/// Types that act at every block.
pub trait BlockHandler {
    /// Does what is due at `overview`.
    ///
    /// # Errors
    ///
    /// Fails with a transient error if it should be called again at the next block, and with a
    /// fatal one if only a person can help.
    fn on_block(&mut self, overview: &Overview) -> impl Future<Output = Result<()>> + Send;

    /// Returns the senders to the tasks of this role that get every block, even while the role
    /// itself is busy.
    fn tasks(&self) -> Vec<OverviewSender> {
        Vec::new()
    }
}

/// Calls `role` at every block of the chain whose first block is `first_block`, and passes each
/// block on to its [tasks](BlockHandler::tasks).
///
/// # Errors
///
/// Returns the first fatal error, or an error if the node ends the stream of blocks.
pub async fn run(
    context: &NodeContext,
    first_block: &Hash,
    role: &mut impl BlockHandler,
) -> anyhow::Result<()> {
    let (sender, newest) = watch::channel(None);
    let mut receivers = role.tasks();
    receivers.push(sender);
    let end = tokio::select! {
        end = follow_blocks(context, first_block, &receivers) => end,
        end = handle_newest(role, newest) => end,
    };
    end.map_err(RoleError::into_inner).context("cannot go on")
}

/// Sends the overview of each new block to `receivers`.
async fn follow_blocks(
    context: &NodeContext,
    first_block: &Hash,
    receivers: &[OverviewSender],
) -> Result<()> {
    let mut blocks = pin!(context.chain.blocks().await?);
    while blocks.next().await.is_some() {
        // Of the blocks that came in the meantime, only the newest matters.
        while let Some(Some(_)) = blocks.next().now_or_never() {}
        match read_overview(context, first_block).await {
            Ok(overview) => {
                for receiver in receivers {
                    receiver.send_replace(Some(overview.clone()));
                }
                context.refresh_members().await.or_else(RoleError::log_transient)?;
            }
            Err(error) => error.log_transient()?,
        }
    }
    let reason = "the node ended the stream of blocks; start this process again";
    Err(RoleError::fatal(anyhow!(reason)))
}

/// Calls `role` with each overview that it receives, once it is done with the one before, until a
/// fatal error or until the sender is gone.
pub(super) async fn handle_newest(
    role: &mut impl BlockHandler,
    mut newest: watch::Receiver<Option<Overview>>,
) -> Result<()> {
    while newest.changed().await.is_ok() {
        let overview = newest.borrow_and_update().clone();
        let Some(overview) = overview else { continue };
        role.on_block(&overview).await.or_else(RoleError::log_transient)?;
    }
    Ok(())
}

/// Returns the overview of the newest block of the chain whose first block is `first_block`.
async fn read_overview(context: &NodeContext, first_block: &Hash) -> Result<Overview> {
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
    Ok(context.chain.overview().await?)
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
