// SPDX-License-Identifier: Apache-2.0

//! The task that follows the chain, and tells when it cannot.

use super::facts::{FactReader, Facts};
use anyhow::{Context, Result};
use futures::{FutureExt, StreamExt};
use pol_chain::Chain;
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, time};

/// Longest wait for a block before the node is asked for a sign of life.
const PROBE_INTERVAL: Duration = Duration::from_secs(4);
/// Longest wait for a sign of life.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for all facts of a block.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Number of block times after which a new block is late.
const LATE_BLOCKS: u32 = 5;

/// State of the connection to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// The facts are those of the best block.
    Live,
    /// The node answers, but has no new block since that time.
    Late(Instant),
    /// The node does not answer since that time.
    Lost(Instant),
}

/// Newest facts, and the state of the connection.
#[derive(Clone, Debug)]
pub(super) struct Update {
    pub(super) facts: Arc<Facts>,
    pub(super) link: Link,
}

impl Update {
    /// Creates the update of facts that were just read.
    pub(super) fn live(facts: Facts) -> Self {
        Self { facts: Arc::new(facts), link: Link::Live }
    }
}

/// Sends the facts of each block, and each change of the connection. Ends only with an error.
pub(super) async fn follow(mut reader: FactReader, updates: watch::Sender<Update>) -> Result<()> {
    let chain = reader.chain().clone();
    let mut blocks = pin!(chain.blocks().await?);
    let patience = reader.block_time().saturating_mul(LATE_BLOCKS);
    let mut last_block = Instant::now();
    loop {
        let link = match time::timeout(PROBE_INTERVAL, blocks.next()).await {
            Ok(mut next) => {
                // Only the newest block matters.
                while let Some(newer @ Some(_)) = blocks.next().now_or_never() {
                    next = newer;
                }
                let block = next.context("the node ended the stream of blocks")?;
                match time::timeout(READ_TIMEOUT, reader.read(block)).await {
                    Ok(Ok(facts)) => {
                        last_block = Instant::now();
                        updates.send_replace(Update::live(facts));
                        continue;
                    }
                    Ok(Err(error)) => {
                        tracing::debug!("cannot read block {}: {error:#}", block.number);
                        Link::Lost(last_block)
                    }
                    Err(_) => Link::Lost(last_block),
                }
            }
            Err(_) if !answers(&chain).await => Link::Lost(last_block),
            Err(_) if last_block.elapsed() > patience => Link::Late(last_block),
            Err(_) => Link::Live,
        };
        updates.send_if_modified(|update| std::mem::replace(&mut update.link, link) != link);
    }
}

/// Returns `true` if the node gives a sign of life.
async fn answers(chain: &Chain) -> bool {
    matches!(time::timeout(PROBE_TIMEOUT, chain.best_block()).await, Ok(Ok(_)))
}
